"""Models by name, a list of them a file: sizes from scratch, and checkpoints pinned by hash.

Any other name is a local folder (config.json, model.safetensors, tokenizer.json) or an id on the
Hub, and runs on the track `open`. Nothing here imports torch at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.errors import UsageError, unknown_name
from bench.learn.models import elmo, listed, published
from bench.learn.models.download import FILES, Located

if TYPE_CHECKING:
    import torch

    from bench.cards import Family
    from bench.learn.model import Model
    from bench.learn.objectives import Outputs

DEFAULT = "transformer-small"

_LISTS = [listed, published, elmo]
"""Modules with MODELS, by name."""


class Entry(Protocol):
    """One model."""

    def describe(self, name: str) -> dict[str, Any]:
        """What `bench models` shows, its `kind`, and the `settings` that recipes take from it:
        for all families of tasks, and in `settings_of` for some."""

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


def start(name: str, family: Family, asked: bool | None = None) -> bool:
    """Whether a training starts from pretrained weights: as `asked`. Else, of a model that has
    both, language modelling starts from scratch and any other task from the weights."""
    model = _entries().get(name)
    if isinstance(model, published.Both):
        return family != "language-modelling" if asked is None else asked
    has = describe(name)["track"] != "scratch"
    if asked and not has:
        raise UsageError(
            f"bench knows no pretrained weights of {name}",
            f"leave out --pretrained; --model DIR takes a folder of {', '.join(FILES)}",
        )
    if asked is False and has:
        raise UsageError(f"{name} is pretrained weights and nothing else", "leave out --scratch")
    return has


def entry(name: str, pretrained: bool = True) -> Entry:
    """The model called `name`, from pretrained weights or not where it has both; UsageError with
    near names when there is none."""
    entries = _entries()
    if name in entries:
        model = entries[name]
        if isinstance(model, published.Both):
            return model.pretrained if pretrained else model.scratch
        return model
    if "/" in name or Path(name).is_dir():
        return listed.Foreign()
    raise unknown_name("model", name, names(), "bench models")


def describe(name: str, pretrained: bool = True) -> dict[str, Any]:
    return entry(name, pretrained).describe(name)


def settings(name: str, family: Family | None = None, pretrained: bool = True) -> dict[str, Any]:
    """What the model wants of a recipe where nothing is said."""
    facts = describe(name, pretrained)
    found: dict[str, Any] = facts["settings"] | facts.get("settings_of", {}).get(family, {})
    return found


def locate(name: str, pretrained: bool = True) -> Located:
    return entry(name, pretrained).locate(name)


def _entries() -> dict[str, Entry | published.Both]:
    return {name: model for module in _LISTS for name, model in module.MODELS.items()}
