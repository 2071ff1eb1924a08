"""What models have in common that start from random weights: what they say of themselves, and
sizes other than that of their name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.cards import Family
    from bench.learn.objectives import ModelKind

Settings = dict[str, Any]
Model = TypeVar("Model")

SIZES = ("layers", "width", "heads", "hidden")
"""The settings of a recipe that give a model from scratch another size."""


def from_scratch(
    name: str,
    kind: ModelKind,
    about: str,
    parameters: int,
    settings: Settings,
    settings_of: Mapping[Family, Settings] | None = None,
) -> dict[str, Any]:
    """As `Entry.describe` gives it: nothing was seen, and the weights are bench's own."""
    return {
        "name": name,
        "kind": kind,
        "track": "scratch",
        "about": about,
        "parameters": parameters,
        "source": "trained from random weights",
        "licence": "Apache-2.0",
        "seen": [],
        "contaminated": [],
        "settings": settings,
        "settings_of": dict(settings_of or {}),
    }


def sized(model: Model, settings: Mapping[str, Any]) -> Model:
    """The model in the size that `settings` ask for; None is that of its name, and `hidden` grows
    with the width. UsageError for a model that has one size, and for sizes that can't be."""
    given = {name: settings[name] for name in SIZES if settings.get(name) is not None}
    if not given:
        return model
    assert dataclasses.is_dataclass(model)
    fields = {field.name for field in dataclasses.fields(model)}
    if not fields.issuperset(SIZES):
        said = ", ".join(f"{name}={value}" for name, value in given.items())
        raise UsageError(
            f"{said}: the size of this model can't be set",
            "transformers from scratch have one: transformer-*, gpt2-* and bert-* with --scratch",
        )
    named: Any = model
    if named.hidden and "width" in given:
        given.setdefault("hidden", round(named.hidden * given["width"] / named.width))
    made: Any = dataclasses.replace(named, **given)
    if made.width % made.heads:
        divide = [n for n in range(1, made.width + 1) if made.width % n == 0]
        near = sorted(sorted(divide, key=lambda n: abs(n - made.heads))[:2])
        raise UsageError(
            f"a width of {made.width} can't be cut into {made.heads} heads",
            f"--set heads={' or '.join(map(str, near))}",
        )
    sized: Model = made
    return sized
