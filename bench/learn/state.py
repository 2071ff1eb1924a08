"""The whole state of a training in one file, from which it goes on step for step.

Weights, AdamW's moments, the table with its order and the decay that is due, random generators, the
place in the epoch and the tokenizer: safetensors, with what is no tensor as JSON in its header.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.learn.encoder import Encoder

if TYPE_CHECKING:
    from bench.learn.loop import Training

VERSION = "1"


def write(path: Path, training: Training, tokenizer: Any) -> None:
    """Write the state between two steps; the training is not changed by it."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach() for name, tensor in _live(training).items()}
    for name, found in _taken(training).items():
        tensors[name] = found.detach()
    if hasattr(tokenizer, "to_str"):  # ELMo's words need none
        text = bytearray(tokenizer.to_str().encode())
        tensors["tokenizer"] = torch.frombuffer(text, dtype=torch.uint8)
    whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, path, {"version": VERSION, "training": json.dumps(_facts(training))})


class State:
    """A state as read from its file."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
                self._tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        except (OSError, SafetensorError) as error:
            raise BenchError(f"{path} can't be read: {str(error).splitlines()[0]}") from None
        if told.get("version") != VERSION:
            raise BenchError(f"{path} is not a state of version {VERSION}")
        self._path = path
        self.facts: dict[str, Any] = json.loads(told["training"])

    def tokenizer(self) -> Any:
        """The tokenizer, trained already; None where there is none to train."""
        from tokenizers import Tokenizer

        found = self._tensors.get("tokenizer")
        return None if found is None else Tokenizer.from_str(bytes(found.numpy()).decode())

    @property
    def order(self) -> np.ndarray | None:
        """The token id of each row of the table."""
        found = self._tensors.get("order")
        return None if found is None else found.numpy()

    def remembered(self, name: str) -> Tensor | None:
        """What a recipe's `state` gave by this name, for one that must know it to prepare."""
        found: Tensor | None = self._tensors.get(f"recipe.{name}")
        return found

    def restore(self, training: Training) -> None:
        """Into a training that was made from the same spec, in which no step was made."""
        model, facts = training.model, self.facts
        training.step, training.tokens, training.epoch, training.place = (
            facts[name] for name in ("step", "tokens", "epoch", "place")
        )
        training.recipe.resume(training, self._below("recipe.", model.device))
        for name, tensor in _live(training).items():
            tensor.copy_(self._found(name, tensor.shape))
        if model.table is not None:
            model.table.progress = tuple(facts["table"])
        training.random.bit_generator.state = _with_arrays(facts["random"])
        training.dropout.random.state = _with_arrays(facts["dropout"])
        torch.set_rng_state(self._tensors["torch"])
        if model.device.type == "cuda" and "cuda" in self._tensors:
            torch.cuda.set_rng_state(self._tensors["cuda"], model.device)
        if rows := self._below("rows.", model.device):
            training.train.resume(rows)  # type: ignore[attr-defined]

    def _found(self, name: str, shape: torch.Size) -> Tensor:
        found = self._tensors.get(name)
        if found is None or found.shape != shape:
            was = "nothing" if found is None else tuple(found.shape)
            raise BenchError(f"{self._path} has {was} for {name}, where {tuple(shape)} is wanted")
        return found

    def _below(self, prefix: str, device: torch.device) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): tensor.to(device)
            for name, tensor in self._tensors.items()
            if name.startswith(prefix)
        }


def _live(training: Training) -> dict[str, Tensor]:
    """What the training computes with: writing to one changes it."""
    found = {"parameters": training.model.parameters.master}
    if training.model.table is not None:
        found["table"] = training.model.table.rows
    return found | {f"adamw.{name}": t for name, t in training.optimizer.state().items()}


def _taken(training: Training) -> dict[str, Tensor]:
    """The rest of what are tensors."""
    model = training.model
    found = {"torch": torch.get_rng_state()}
    if model.device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(model.device)
    if isinstance(model, Encoder) and model.order is not None:
        found["order"] = torch.from_numpy(model.order)
    if hasattr(training.train, "state"):  # rows that remember what was read
        found |= {f"rows.{name}": t for name, t in training.train.state().items()}
    own = training.recipe.state(training)
    return found | {f"recipe.{name}": t for name, t in own.items()}


def _facts(training: Training) -> dict[str, Any]:
    table = training.model.table
    return {
        "step": training.step,
        "tokens": training.tokens,
        "total_steps": training.total_steps,
        "epoch": training.epoch,
        "place": training.place,
        "random": _plain(training.epoch_began),
        "dropout": _plain(training.dropout.random.state),
        "table": None if table is None else table.progress,
    }


def _plain(value: Any) -> Any:
    """The state of a generator of numpy's as JSON."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [int(word) for word in value] if isinstance(value, np.ndarray) else value


def _with_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_arrays(inner) for key, inner in value.items()}
    return np.array(value, dtype=np.uint64) if isinstance(value, list) else value
