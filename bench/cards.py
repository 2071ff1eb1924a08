"""Task cards: facts about a task in TOML under a closed schema, one file a task.

`tasks/` in the wheel lies inside the package; in a checkout or an editable install it lies beside
it. A user's own cards come from the folders given with `--tasks DIR`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bench.errors import UsageError, near_names, unknown_name


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


Family = Literal[
    "classification", "regression", "tagging", "completion", "translation", "language-modelling"
]
Kind = Literal["class", "number", "tags", "text", "words"]
"""What a label is, in its canonical form: a class's name, the shortest decimal that reads back,
tags joined by spaces, a text, or how many words a text has (for language modelling, whose
predictions are nats)."""

_KINDS: dict[Family, Kind] = {
    "classification": "class",
    "regression": "number",
    "tagging": "tags",
    "completion": "class",  # of a choice, by number
    "translation": "text",
    "language-modelling": "words",
}


class Labels(Closed):
    """Classes or tags by name, in order; `values` maps what files hold to the class."""

    column: str
    classes: list[str] = []
    values: dict[str, str] = {}


class MetricFacts(Closed):
    """`scale` is what skill is linear in; `also` are metrics that are shown and never rank."""

    name: str
    chance: float | Literal["majority"]  # majority: the largest class's share of the scored split
    best: float = 1.0
    scale: Literal["linear", "log"] = "linear"
    also: list[str] = []
    positive: str | None = None  # the class that F1 is of

    @model_validator(mode="after")
    def _whole(self) -> MetricFacts:
        if self.chance == "majority" and self.name != "accuracy":
            raise ValueError(f"chance = 'majority' is of accuracy: say what {self.name} has")
        if "f1" in (self.name, *self.also) and self.positive is None:
            raise ValueError("f1 needs positive, the class that it is of")
        return self


class Reference(Closed):
    """The score that the tiers come from; where it is not BERT-base's, `reason` says why."""

    model: str
    value: float
    source: str
    reason: str | None = None


class LocalFiles(Closed):
    """Where the task's files lie in a local folder, and how they are written.

    `parallel`: one file a column, a row a line, `{column}` in the name. `conll`: a token and its
    tag a line, a blank line between sentences. `lines`: one text a line.
    """

    folder: str = "."  # below a root that holds several tasks
    format: Literal["tsv", "csv", "jsonl", "parquet", "parallel", "conll", "lines"]
    train: str
    scored: str | dict[str, str]  # or part -> file; the first part is ranked
    header: bool = True
    columns: list[str] | None = None  # names, where there is no header
    renamed: dict[str, str] = {}  # column -> what the header calls it, where that is another name


class HubFiles(Closed):
    """A data set on the Hub at a pinned revision."""

    repo: str
    config: str
    revision: str
    train: str  # the Hub's split
    scored: str | dict[str, str]  # or part -> split

    @property
    def splits(self) -> list[str]:
        """The names of train and of scored's parts."""
        scored = [self.scored] if isinstance(self.scored, str) else list(self.scored.values())
        return [self.train, *scored]


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
    family: Family
    inputs: list[str]  # the columns a model may read
    choices: list[str] | str = []  # completion: a column a choice, or the one that lists them
    words: dict[str, dict[str, str]] = {}  # column -> value -> the words that stand for it
    labels: Labels | None = None
    metric: MetricFacts
    metrics: dict[str, MetricFacts] = {}  # objective -> its metric, where that is another
    reference: Reference | None = None  # None: no tiers
    unranked: str | None = None  # why its results are shown and never ranked
    rows: Rows | None = None  # official
    local: LocalFiles | None = None
    hub: HubFiles | None = None
    fingerprints: Pinned | None = None
    embedded: str | None = None  # the embedded corpus that stands in where no data is at hand
    licence: str
    citation: str
    published: dict[str, float] = {}  # model -> score, in percent as printed

    @property
    def kind(self) -> Kind:
        """What its labels are."""
        return "text" if self.family == "completion" and not self.choices else _KINDS[self.family]

    @property
    def columns(self) -> list[str]:
        """What a row's texts are: the inputs, then the choices (`endings.0` of a list)."""
        if isinstance(self.choices, str):
            return [*self.inputs, *(f"{self.choices}.{i}" for i in range(len(self.classes)))]
        return [*self.inputs, *self.choices]

    @property
    def classes(self) -> list[str]:
        """Classes, tags, or the numbers of choices listed by column; else none."""
        if isinstance(self.choices, list) and self.choices:
            return [str(i) for i in range(len(self.choices))]
        return self.labels.classes if self.labels else []

    @model_validator(mode="after")
    def _whole(self) -> Card:
        if self.labels is None and self.family != "language-modelling":
            raise ValueError(f"{self.family} needs [labels] with a column")
        if self.family in ("classification", "tagging") and len(self.classes) < 2:
            raise ValueError(f"{self.family} needs two labels.classes or more")
        if self.choices and self.family != "completion":
            raise ValueError("choices belong to completion")
        if self.metric.positive and self.metric.positive not in self.classes:
            raise ValueError(f"metric.positive = '{self.metric.positive}' is none of its classes")
        if not (self.local or self.hub or self.embedded):
            raise ValueError("it names no data: [local], [hub] or embedded")
        return self


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
            model = _section(model, k) or model
        near = near_names(key, model.model_fields)
        return (
            f"{where}: unknown key '{'.'.join(keys)}'",
            f"did you mean '{near[0]}'?" if near else None,
        )
    said = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"].lower()
    return f"{where}: '{'.'.join(keys)}': {said}" if keys else f"{where}: {said}", None


def _section(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The schema of the section `key` of a card, which may be optional."""
    field = model.model_fields.get(key)
    annotation = field.annotation if field else None
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None
