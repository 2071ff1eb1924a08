"""Task cards: facts about a task in TOML under a closed schema, one file a task.

`tasks/` in the wheel lies inside the package; in a checkout or an editable install it lies beside
it. A user's own cards come from the folders given with `--tasks DIR`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import UsageError, near_names, unknown_name


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Labels(Closed):
    """Classes by name, in order; `values` maps what files hold to the class."""

    column: str
    classes: list[str]
    values: dict[str, str]


class MetricFacts(Closed):
    name: str
    chance: float | Literal["majority"]  # majority: the largest class's share of the scored split
    best: float = 1.0


class Reference(Closed):
    """The published score that the tiers come from."""

    model: str
    value: float
    source: str


class LocalFiles(Closed):
    """Where the task's files lie in a local folder, and how they are written."""

    folder: str  # below a root that holds several tasks
    format: Literal["tsv", "csv", "jsonl", "parquet"]
    train: str
    scored: str
    header: bool = True
    columns: list[str] | None = None  # names, where there is no header


class HubFiles(Closed):
    """A data set on the Hub at a pinned revision."""

    repo: str
    config: str
    revision: str
    train: str  # the Hub's split
    scored: str


class Pinned(Closed):
    """The identity of the official data: SHA-256 per split, and of the scored labels alone."""

    train: str
    scored: str
    labels: str


class Rows(Closed):
    train: int
    scored: int


class Card(Closed):
    name: str
    version: int
    title: str
    description: str
    family: Literal["classification"]
    inputs: list[str]  # the columns a model may read
    labels: Labels
    metric: MetricFacts
    reference: Reference
    rows: Rows  # official
    local: LocalFiles
    hub: HubFiles
    fingerprints: Pinned | None = None
    embedded: str | None = None  # the embedded corpus that stands in where no data is at hand
    licence: str
    citation: str
    published: dict[str, float] = {}  # model -> score, in percent as printed


def folder() -> Path:
    """The folder of the cards that come with bench."""
    inside = Path(__file__).parent / "tasks"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "tasks"


def names(extra: Sequence[Path] = ()) -> list[str]:
    return sorted(_paths(extra))


def load(name: str, extra: Sequence[Path] = ()) -> Card:
    """The card called `name`; UsageError with near names when there is none or it is wrong."""
    paths = _paths(extra)
    if name not in paths:
        raise unknown_name("task", name, paths, "bench tasks")
    return _read(paths[name])


def _paths(extra: Sequence[Path]) -> dict[str, Path]:
    for place in extra:
        if not place.is_dir():
            raise UsageError(f"there is no folder {place}", "--tasks names a folder of task cards")
    return {p.stem: p for place in (folder(), *extra) for p in sorted(place.glob("*.toml"))}


@cache
def _read(path: Path) -> Card:
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    try:
        card = Card.model_validate(facts)
    except ValidationError as error:
        raise UsageError(*_complaint(path, error)) from None
    if card.name != path.stem:
        raise UsageError(f"{path}: name is '{card.name}'", f"it must be the file's: '{path.stem}'")
    return card


def _complaint(path: Path, error: ValidationError) -> tuple[str, str | None]:
    """The first thing wrong with a card, with its line and the near key."""
    # A misspelt key is also a missing one: the unknown key says more.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    keys = [str(k) for k in first["loc"]]
    key = keys[-1] if keys else ""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = (i for i, text in enumerate(lines, 1) if text.split("=")[0].strip(" []\"'") == key)
    line = next(found, None)
    where = f"{path}:{line}" if line else str(path)
    if first["type"] == "extra_forbidden":
        model: type[BaseModel] = Card
        for k in keys[:-1]:
            annotation = model.model_fields[k].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                model = annotation
        near = near_names(key, model.model_fields)
        return (
            f"{where}: unknown key '{'.'.join(keys)}'",
            f"did you mean '{near[0]}'?" if near else None,
        )
    return f"{where}: '{'.'.join(keys)}': {first['msg'].lower()}", None
