"""Task cards: facts about a task in TOML under a closed schema, one file a task.

`tasks/` in the wheel lies inside the package; in a checkout or an editable install it lies beside
it. Cards of others come from the folders given with `--tasks DIR`, and from packages that an entry
point of the group `bench.tasks` names.
"""

from __future__ import annotations

import tomllib
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, model_validator

from bench import registry
from bench.errors import UsageError, near_names, unknown_name

GROUP = "bench.tasks"


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class Fault(ValueError):
    """What is wrong with the value of a key, whose path starts at the model that says so."""

    def __init__(self, key: str, says: str) -> None:
        super().__init__(says)
        self.key = tuple(key.split("."))


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

LAST_WORD, BEGINNING = ".last_word", ".beginning"  # of a column of texts: its two parts


class Labels(Closed):
    """Classes or tags by name, in order; `values` maps what files hold to the class."""

    column: str
    classes: list[str] = []
    values: dict[str, str] = {}

    @model_validator(mode="after")
    def _leads_to_classes(self) -> Labels:
        if len(set(self.classes)) < len(self.classes):
            raise Fault("classes", "a class is named twice")
        for value, name in self.values.items():
            if self.classes and name not in self.classes:
                raise Fault(f"values.{value}", f"'{name}' is none of the classes")
        return self


class MetricFacts(Closed):
    """`scale` is what skill is linear in; `also` are metrics that are shown and never rank."""

    name: str
    chance: float | Literal["majority", "unigram"]
    """Or what is computed of the scored split: the largest class's share; the perplexity that its
    own frequencies of words give."""
    best: float = 1.0
    scale: Literal["linear", "log"] = "linear"
    also: list[str] = []
    positive: str | None = None  # the class that F1 is of

    @model_validator(mode="after")
    def _whole(self) -> MetricFacts:
        if self.chance == "majority" and self.name != "accuracy":
            raise Fault("chance", f"'majority' is of accuracy: say what {self.name} has")
        if self.chance == "unigram" and not self.name.endswith("perplexity"):
            raise Fault("chance", f"'unigram' is of perplexity: say what {self.name} has")
        if self.chance == self.best:
            raise Fault("best", f"{self.best:g} is chance, too")
        chance = {"majority": 0.0, "unigram": 1.0}.get(str(self.chance), self.chance)
        if self.scale == "log" and min(float(chance), self.best) <= 0:
            raise Fault("scale", "a logarithm needs chance and best above 0")
        if "f1" in (self.name, *self.also) and self.positive is None:
            raise Fault("positive", "f1 needs positive, the class that it is of")
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
    train: str | list[str]  # or several, of which the later ones stand in for the first
    scored: str | dict[str, str] | float
    """A file; or part -> file, the first of which is ranked; or the share of train's rows that is
    put aside, by their hash."""
    header: bool = True
    columns: list[str] | None = None  # names, where there is no header
    renamed: dict[str, str] = {}  # column -> what the header calls it, where that is another name

    @model_validator(mode="after")
    def _whole(self) -> LocalFiles:
        if self.train == []:
            raise Fault("train", "it names no file")
        if isinstance(self.scored, float) and not 0 < self.scored <= 0.2:
            raise Fault("scored", f"a share of {self.scored:g} is not above 0 and at most 0.2")
        return self


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
    name: str  # the file's
    version: int = 1
    title: str
    description: str = ""
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
    licence: str = "not stated"
    citation: str = ""
    published: dict[str, float] = {}  # model -> score, in percent as printed

    _beside: Path | None = PrivateAttr(None)

    @property
    def beside(self) -> Path | None:
        """The folder that the card lies in, where its own files may lie; None for bench's own."""
        return self._beside

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

    @property
    def passages(self) -> str | None:
        """The column of texts whose last word is to be told (`text.last_word` is the label, and
        `text.beginning` the input), if it is that kind of task."""
        column = self.labels.column if self.labels else ""
        return column.removesuffix(LAST_WORD) if column.endswith(LAST_WORD) else None

    @model_validator(mode="after")
    def _whole(self) -> Card:
        """What one section asks of another."""
        if not self.inputs:
            raise Fault("inputs", "it names no column")
        if self.labels is None and self.family != "language-modelling":
            raise Fault("labels", f"{self.family} needs [labels] with a column")
        if self.labels and self.labels.column in self.columns:
            raise Fault("inputs", f"'{self.labels.column}' is the label, which no model may read")
        if self.family in ("classification", "tagging") and len(self.classes) < 2:
            raise Fault("labels.classes", f"{self.family} needs two labels.classes or more")
        positive = self.metric.positive
        if positive is not None and self.classes and positive not in self.classes:
            raise Fault("metric.positive", f"'{positive}' is none of the classes")
        if self.choices and self.family != "completion":
            raise Fault("choices", "they belong to completion")
        if not (self.local or self.hub or self.embedded):
            raise Fault("local", "the card names no data: it needs [local], [hub] or embedded")
        if self.reference and not _between(self.reference.value, self.metric):
            best = f"{self.reference.value:g} is beyond metric.best, {self.metric.best:g}"
            raise Fault("reference.value", f"{best}: is it in percent?")
        return self


def _between(value: float, metric: MetricFacts) -> bool:
    """Whether the best is at least as good as the value."""
    if metric.chance == "unigram":
        return value >= metric.best
    if metric.chance == "majority" or metric.chance < metric.best:
        return value <= metric.best
    return value >= metric.best


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
        unknown = unknown_name("task", name, paths, "bench tasks")
        raise UsageError(unknown.message, f"{unknown.hint}; --tasks DIR finds your own")
    return read(paths[name])


def _paths(extra: Sequence[Path]) -> dict[str, Path]:
    """Name -> card; UsageError where two cards have one name."""
    for place in extra:
        if not place.is_dir():
            raise UsageError(f"there is no folder {place}", "--tasks names a folder of task cards")
    found: dict[str, Path] = {}
    for place in (folder(), *map(Path, registry.folders(GROUP)), *extra):
        for path in sorted(place.glob("*.toml")):
            if path.name == "pyproject.toml":
                continue
            other = found.setdefault(path.stem, path)
            if other.resolve() != path.resolve():
                raise UsageError(
                    f"two cards are called '{path.stem}': {other} and {path}", "rename one of them"
                )
    return found


def read(path: Path) -> Card:
    """The card in a file; UsageError says which key of which line is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        facts = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    try:
        card = Card.model_validate({"name": path.stem, "title": path.stem, **facts})
    except ValidationError as error:
        raise _complaint(path, text, facts, error) from None
    if card.name != path.stem:
        where = f"{path}:{_line(text, ('name',))}"
        raise UsageError(f"{where}: name is '{card.name}'", f"it must be the file's: '{path.stem}'")
    if path.parent.resolve() != folder().resolve():
        card._beside = path.parent
    return card


# What is wrong with a card

Key = tuple[str | int, ...]


def _complaint(path: Path, text: str, facts: dict[str, Any], error: ValidationError) -> UsageError:
    """The first thing wrong with a card, with its line and the near key or value."""
    # A misspelt key is also a missing one: the unknown key says more.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    fault = first.get("ctx", {}).get("error")
    key = _known(facts, first["loc"])
    if isinstance(fault, Fault):
        key += fault.key
    elif first["type"] == "missing":
        key += first["loc"][-1:]
    line = _line(text, key)
    if first["type"] == "missing" or (fault and not line):
        line = _line(text, key[:-1]) if len(key) > 1 else None
    where = f"{path}:{line}" if line else str(path)
    return UsageError(*_said(where, key, first["type"], fault, facts))


def _said(
    where: str, key: Key, kind: str, fault: Exception | None, facts: dict[str, Any]
) -> tuple[str, str | None]:
    name, *above = str(key[-1]), *key[:-1]
    if kind == "extra_forbidden":
        return f"{where}: unknown key '{_dotted(key)}'", _where_it_belongs(name, tuple(above))
    if kind == "missing":
        section = f"[{_dotted(tuple(above))}]" if above else "the card"
        return f"{where}: {section} needs '{name}'", _MISSING.get(_dotted(key))
    if fault is not None:
        return f"{where}: '{_dotted(key)}': {fault}", None
    value, annotation = _at(facts, key), _annotation(key)
    allowed = [str(a) for a in _literals(annotation)]
    near = near_names(value, allowed) if isinstance(value, str) else []
    hint = f"did you mean '{near[0]}'?" if near else None
    if type(value) in (int, float) and str in _flat(annotation):
        hint = f'write it in quotes: "{value}"'
    shown = "a table" if isinstance(value, dict) else repr(value)
    return f"{where}: '{_dotted(key)}' is {shown}, not {_expected(annotation)}", hint


_MISSING = {
    "family": f"one of {', '.join(get_args(Family))}",
    "inputs": 'the columns that a model may read: inputs = ["text"]',
    "metric": '[metric] has a name and what guessing reaches: chance = "majority"',
    "metric.chance": 'what guessing reaches: "majority" for accuracy, 0 for a correlation',
    "hub.revision": "the commit, from the history of its page: a branch moves",
}


def _dotted(key: Key) -> str:
    return ".".join(map(str, key))


def _known(facts: Any, loc: Key) -> Key:
    """The part of an error's place that is in the card: pydantic adds branches of unions."""
    key: list[str | int] = []
    for part in loc:
        try:
            facts = facts[part]
        except (KeyError, IndexError, TypeError):
            break
        key.append(part)
    return tuple(key)


def _at(facts: Any, key: Key) -> Any:
    for part in key:
        facts = facts[part]
    return facts


def _line(text: str, key: Key) -> int | None:
    """The line on which a key's value begins: that before which the card had no such key."""
    lines = text.split("\n")
    begin = 1
    for n in range(1, len(lines) + 1):
        try:
            facts = tomllib.loads("\n".join(lines[:n]))
        except tomllib.TOMLDecodeError:
            continue  # inside a value of several lines
        if len(_known(facts, key)) == len(key):
            return begin
        begin = n + 1
    return None


def _where_it_belongs(name: str, above: Key) -> str | None:
    """A hint for a key that its section does not have: the section that has it, or a near key."""
    places = [section for section, model in _sections() if name in model.model_fields]
    if name in Card.model_fields:
        return f"'{name}' belongs above the first [section]"
    model = next(_models(_annotation(above)), Card) if above else Card
    near = near_names(name, model.model_fields)
    if places and not (near and len(near[0]) == len(name)):
        return f"'{name}' belongs to {' or '.join(f'[{p}]' for p in places)}"
    return f"did you mean '{near[0]}'?" if near else None


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Card.model_fields.items():
        for model in _models(field.annotation):
            yield name, model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schemas among what an annotation allows."""
    for part in _flat(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def _flat(annotation: Any) -> list[Any]:
    """The alternatives of a union; None is none of them."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [p for a in get_args(annotation) for p in _flat(a)]
    return [] if annotation is type(None) else [annotation]


def _annotation(key: Key) -> Any:
    """What the schema allows at a place of a card."""
    found: Any = Card
    for part in key:
        for option in _flat(found):
            if isinstance(option, type) and issubclass(option, BaseModel):
                field = option.model_fields.get(str(part))
                found = field.annotation if field else None
                break
            if get_origin(option) in (dict, list):
                found = get_args(option)[-1]
                break
    return found


def _literals(annotation: Any) -> list[Any]:
    return [v for p in _flat(annotation) if get_origin(p) is Literal for v in get_args(p)]


_TYPES = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false",
    list: "a list", dict: "a table",
}  # fmt: skip


def _expected(annotation: Any) -> str:
    """What an annotation allows, in words."""
    names = [
        _TYPES.get(get_origin(p) or p, "a table")
        for p in _flat(annotation) if get_origin(p) is not Literal
    ]  # fmt: skip
    return " or ".join([*names, *(f"'{v}'" for v in _literals(annotation))])
