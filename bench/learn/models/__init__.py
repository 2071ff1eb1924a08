"""Models by name, a list of them a file: sizes from scratch, and checkpoints pinned by hash.

Any other name is a local folder (config.json, model.safetensors, tokenizer.json) or an id on the
Hub, and runs on the track `open`. Nothing here imports torch at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.errors import unknown_name
from bench.learn.models import listed
from bench.learn.models.download import Located

if TYPE_CHECKING:
    import torch

    from bench.learn.model import Model
    from bench.learn.objectives import Outputs

DEFAULT = "transformer-small"

_LISTS = [listed]
"""Modules with MODELS, by name."""


class Entry(Protocol):
    """One model."""

    def describe(self, name: str) -> dict[str, Any]:
        """What `bench models` shows, its `kind`, and the `settings` that recipes take from it."""

    def locate(self, name: str) -> Located:
        """Find the weights, from the network if need be: called before the measured window."""

    def tokenizer(
        self, texts: Sequence[str], recipe: Any, checkpoint: Path | None, cased: bool = False
    ) -> Any:
        """Trained on `texts`, or the checkpoint's. `cased`: with capitals; what reads them anyway
        need not take it."""

    def build(
        self,
        checkpoint: Path | None,
        tokenizer: Any,
        recipe: Any,
        outputs: Outputs,
        pairs: bool,
        seed: int,
        device: torch.device,
    ) -> Model:
        """The model, ready to train on `device` in the recipe's precision."""


def names() -> list[str]:
    return sorted(_entries())


def entry(name: str) -> Entry:
    """The model called `name`; UsageError with near names when there is none."""
    entries = _entries()
    if name in entries:
        return entries[name]
    if "/" in name or Path(name).is_dir():
        return listed.Foreign()
    raise unknown_name("model", name, names(), "bench models")


def describe(name: str) -> dict[str, Any]:
    return entry(name).describe(name)


def locate(name: str) -> Located:
    return entry(name).locate(name)


def _entries() -> dict[str, Entry]:
    return {name: model for module in _LISTS for name, model in module.MODELS.items()}
