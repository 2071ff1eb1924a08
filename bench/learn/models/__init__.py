"""Models by name, a list of them a file: sizes from scratch, and checkpoints pinned by hash.

Any other name is a local folder (config.json, model.safetensors, tokenizer.json) or an id on the
Hub, and runs on the track `open`. Nothing here imports torch at the top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.cards import Family, Kind
from bench.errors import UsageError, unknown_name
from bench.learn.models import elmo, listed, published, translators
from bench.learn.models.download import FILES, Located
from bench.learn.models.scratch import sized

if TYPE_CHECKING:
    from bench.learn.model import Model
    from bench.learn.models.wanted import Wanted
    from bench.learn.objectives import Keeps

DEFAULT = "transformer-small"
_DEFAULTS: dict[Family, str] = {
    "translation": "transformer-tiny",
    "language-modelling": "gpt2-tiny",
}

_LISTS: list[Any] = [listed, published, elmo, translators]
"""Modules with MODELS, by name. Those with FAMILIES are for these families of tasks, and there come
before others of the same name."""


class Entry(Protocol):
    """One model."""

    def describe(self, name: str) -> dict[str, Any]:
        """What `bench models` shows, its `kind`, and the `settings` that recipes take from it:
        for all families of tasks, and in `settings_of` for some."""

    def locate(self, name: str) -> Located:
        """Find the weights, from the network if need be: called before the measured window."""

    def tokenizer(
        self, texts: Sequence[str], recipe: Any, checkpoint: Path | None, keeps: Keeps = "words"
    ) -> Any:
        """Trained on `texts`, so that it keeps at least this much of them, or the checkpoint's."""

    def build(self, wanted: Wanted) -> Model:
        """The model, ready to train on `device` in the recipe's precision."""


def names() -> list[str]:
    return sorted(_entries())


def default(family: Family, labels: Kind | None = None) -> str:
    """The model that is trained where none is named, for labels of this kind: a completion that is
    a text is written."""
    if family == "completion" and labels == "text":
        return "gpt2-tiny"
    return _DEFAULTS.get(family, DEFAULT)


def start(name: str, family: Family, asked: bool | None = None) -> bool:
    """Whether a training starts from pretrained weights: as `asked`. Else, of a model that has
    both, language modelling starts from scratch and any other task from the weights."""
    if has_both(name):
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


def has_both(name: str) -> bool:
    """Whether a model starts from random weights or from pretrained ones, as one asks."""
    return isinstance(_entries().get(name), published.Both)


def entry(name: str, pretrained: bool = True, family: Family | None = None) -> Entry:
    """The model called `name`, from pretrained weights or not where it has both, for a family of
    tasks where that matters; UsageError with near names when there is none."""
    entries = _entries(family)
    if name in entries:
        model = entries[name]
        if isinstance(model, published.Both):
            return model.pretrained if pretrained else model.scratch
        return model
    if "/" in name or Path(name).is_dir():
        return listed.Foreign()
    raise unknown_name("model", name, names(), "bench models")


def describe(name: str, pretrained: bool = True, family: Family | None = None) -> dict[str, Any]:
    facts = entry(name, pretrained, family).describe(name)
    if pretrained and isinstance(_entries(family).get(name), published.Both):
        facts["source"] += "; or random weights, with --scratch"
    return facts


def settings(name: str, family: Family | None = None, pretrained: bool = True) -> dict[str, Any]:
    """What the model wants of a recipe where nothing is said."""
    facts = describe(name, pretrained, family)
    found: dict[str, Any] = facts["settings"] | facts.get("settings_of", {}).get(family, {})
    return found


def layers(name: str, pretrained: bool, family: Family, settings: Mapping[str, Any]) -> int | None:
    """How many the model has at the sizes in `settings`; None where only its weights tell.
    UsageError for a size that it can't have."""
    return getattr(sized(entry(name, pretrained, family), settings), "layers", None)


def locate(name: str, pretrained: bool = True) -> Located:
    return entry(name, pretrained).locate(name)


def _entries(family: Family | None = None) -> dict[str, Entry | published.Both]:
    """By name; of two of one name that which is for this family, else that which is for all."""
    general = [module for module in _LISTS if not hasattr(module, "FAMILIES")]
    special = [module for module in _LISTS if hasattr(module, "FAMILIES")]
    asked = [module for module in special if family in module.FAMILIES]
    lists = [*special, *general, *asked]  # the last one counts
    return {name: model for module in lists for name, model in module.MODELS.items()}
