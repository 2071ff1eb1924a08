"""Encoders by name: from scratch, and pretrained ones from an allow-list.

Any other name is a local folder (config.json, model.safetensors, tokenizer.json) or an id on the
Hub, and runs on the track `open`. Nothing here imports torch at the top.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import unknown_name
from bench.learn.models import download, listed
from bench.learn.models.download import Located

if TYPE_CHECKING:
    import torch

    from bench.learn.model import Model
    from bench.learn.objectives import Outputs

DEFAULT = "transformer-small"


def names() -> list[str]:
    return sorted([*listed.SCRATCH, *listed.PRETRAINED])


def describe(name: str) -> dict[str, Any]:
    """What `bench models` shows, and the settings that recipes take from the model."""
    if name in listed.SCRATCH:
        return listed.SCRATCH[name].describe(name)
    if name in listed.PRETRAINED:
        return listed.PRETRAINED[name].describe(name)
    if _is_foreign(name):
        return listed.describe_foreign(name)
    raise unknown_name("model", name, names(), "bench models")


def _is_foreign(name: str) -> bool:
    """Whether it can be an id on the Hub (owner/name) or a folder."""
    return "/" in name or Path(name).is_dir()


def locate(name: str) -> Located:
    """Find the weights, from the network if need be: called before the measured window."""
    if name in listed.SCRATCH:
        return Located("scratch")
    if name in listed.PRETRAINED:
        return download.listed_checkpoint(name, listed.PRETRAINED[name])
    if _is_foreign(name):
        return download.foreign_checkpoint(name)
    raise unknown_name("model", name, names(), "bench models")


def build(
    name: str,
    checkpoint: Path | None,
    tokenizer: Any,
    recipe: Any,
    outputs: Outputs,
    pairs: bool,
    seed: int,
    device: torch.device,
) -> Model:
    """The model, ready to train on `device` in the recipe's precision."""
    import torch

    from bench.learn.encoder import Encoder

    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[recipe.precision]
    if checkpoint is None:
        shape = listed.SCRATCH[name].shape(tokenizer.get_vocab_size(), recipe.max_length, pairs)
        model = Encoder(shape, outputs.size, dtype, device, outputs.per == "token")
        model.initialise(seed)
        return model
    from bench.learn.models import checkpoints

    return checkpoints.load(checkpoint, recipe.max_length, outputs, seed, dtype, device)
