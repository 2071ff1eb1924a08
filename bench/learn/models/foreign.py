"""Any other classifier that transformers can build, from safetensors and without remote code."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.learn.batches import Batch
from bench.learn.layers import Dropout
from bench.learn.parameters import Parameters


class ForeignModel:
    """A transformers model whose weights are views of the flat buffers. Its texts are padded and
    its dropout is its own; in a half precision it runs under autocast."""

    table = None

    def __init__(
        self, folder: Path, classes: int, seed: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.dtype, self.device = dtype, device
        torch.manual_seed(seed)
        self._module: Any = _module(folder, classes).to(device)
        config: Any = self._module.config
        self._padding = int(config.pad_token_id)
        arguments = inspect.signature(self._module.forward).parameters
        self._has_segments = "token_type_ids" in arguments and (
            getattr(self._module.config, "type_vocab_size", 0) > 1
        )
        named = dict(self._module.named_parameters())
        shapes = {name: tuple(p.shape) for name, p in named.items()}
        self.parameters = Parameters(shapes, torch.float32, device)
        for name, value in self.parameters.named().items():
            value.copy_(named[name].detach())
            named[name].data = value
            named[name].grad = self.parameters[name].grad

    def facts(self) -> dict[str, Any]:
        return {
            "parameters": self.parameters.master.numel(),
            "architecture": type(self._module).__name__,
        }

    def config(self) -> dict[str, Any]:
        """What transformers makes the architecture from."""
        found: dict[str, Any] = self._module.config.to_dict()
        return found

    def compile(self) -> None:
        """Compile the passes, for batches of any size, when each is made first: also where that
        batch has as many rows as tokens in each, which would else be taken for a rule."""
        from torch.fx.experimental import _config

        _config.use_duck_shape = False
        self._module.compile(dynamic=True)

    def begin_step(self, batch: Batch) -> None:
        """Autograd adds to gradients, so they start at zero."""
        self.parameters.grad.zero_()
        for weight in self.parameters.weights.values():
            weight.fresh = False
        self._module.train()

    def begin_evaluation(self) -> None:
        self._module.eval()

    def outputs(self, batch: Batch, dropout: Dropout | None) -> Tensor:
        grid = torch.zeros(batch.size * batch.longest, dtype=torch.long, device=self.device)
        places = slice(None) if batch.places is None else batch.places
        tokens, mask = torch.full_like(grid, self._padding), grid.clone()
        tokens[places] = batch.tokens
        mask[places] = 1
        shape = (batch.size, batch.longest)
        inputs = {"input_ids": tokens.view(shape), "attention_mask": mask.view(shape)}
        if batch.segments is not None and self._has_segments:
            segments = torch.zeros_like(grid)
            segments[places] = batch.segments
            inputs["token_type_ids"] = segments.view(shape)
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            out = self._module(**inputs)
        return out.logits.float()


def _module(folder: Path, classes: int) -> nn.Module:
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(
            folder, num_labels=classes, local_files_only=True, trust_remote_code=False
        )
        if config.pad_token_id is None:
            # Decoders classify at the last token that is not this: one that no text ends with.
            end = config.eos_token_id
            end = end[0] if isinstance(end, list) else end
            config.pad_token_id = end if end is not None and end < config.vocab_size else 0
        return AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError, KeyError) as error:
        raise BenchError(
            f"transformers can't make a classifier of {folder}: {str(error).splitlines()[0]}"
        ) from None
