"""What every model says of itself that starts from random weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.cards import Family
    from bench.learn.objectives import ModelKind

Settings = dict[str, Any]


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
