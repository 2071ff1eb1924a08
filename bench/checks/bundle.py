"""What lies in a submission's folder, each part read once and safely, when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import ValidationError

from bench import merging, submission
from bench.cards import Card
from bench.checks import safe
from bench.checks.safe import Fault
from bench.errors import BenchError, UsageError, first_fault
from bench.record import Record, part_folder
from bench.submission import EntryFile

if TYPE_CHECKING:
    from bench.checks.labels import Scored
    from bench.power.trace import Trace

TRACE_COLUMNS = {
    "t_ns": "int64", "domain": "dictionary<values=string, indices=int32, ordered=0>|string",
    "power_w": "double", "energy_j": "double", "utilisation": "double", "clock_mhz": "double",
    "temperature_c": "double",
}  # fmt: skip
PREDICTION_COLUMNS = {
    "id": "int64", "prediction": "string|double",
    "scores": "list<element: float>|list<element: double>",
}  # fmt: skip


MOST_NODES = 1024  # machines of one run

_UNFIT = (
    BenchError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError,
    RecursionError, MemoryError,
)  # fmt: skip
"""What arithmetic over events and facts of wrong kinds ends in."""


class Folder:
    """A folder whose parts are read once: `part` gives one or raises its `Fault`."""

    _readers: ClassVar[Mapping[str, Callable[[Any], Any]]]

    def __init__(self, folder: Path, where: str) -> None:
        self.folder, self.where = folder, where
        self._read: dict[str, Any] = {}

    @property
    def parts(self) -> list[str]:
        return list(self._readers)

    def part(self, name: str) -> Any:
        if name not in self._read:
            try:
                self._read[name] = self._readers[name](self)
            except Fault as fault:
                self._read[name] = fault
        if isinstance(found := self._read[name], Fault):
            raise found
        return found

    def fault(self, name: str) -> Fault | None:
        """Why a part can't be had."""
        try:
            self.part(name)
        except Fault as fault:
            return fault
        return None

    def faults(self, rule: str) -> Iterator[tuple[str, Fault]]:
        """Part and fault of all parts that break this rule."""
        for name in self.parts:
            if (fault := self.fault(name)) and fault.rule == rule:
                yield name, fault

    def json(self, name: str) -> Any:
        return safe.json_value(safe.data(self.folder / name))

    def manifest(self) -> dict[str, str]:
        """Path below the folder -> SHA-256."""
        found = self.json("manifest.json")
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise Fault("S5", "manifest.json is no table of hashes")
        return found


class Part(NamedTuple):
    """What one of several machines has metered."""

    events: list[dict[str, Any]]
    trace: Trace


def _events_in(folder: Path) -> list[dict[str, Any]]:
    lines = safe.data(folder / "events.jsonl").split(b"\n")
    events = []
    for number, line in enumerate(lines, 1):
        if not line:
            if number < len(lines):
                raise Fault("S6", f"events.jsonl: line {number} is empty")
            continue
        event = safe.json_value(line)
        if (
            not isinstance(event, dict)
            or not isinstance(event.get("event"), str)
            or type(event.get("t_ns")) is not int
            or not 0 <= event["t_ns"] < 1 << 63
        ):
            raise Fault("S6", f"events.jsonl: line {number} is no event with its time")
        events.append(event)
    return events


def _trace_in(folder: Path) -> Trace:
    from bench.power.trace import Trace

    path = folder / "trace.parquet"
    safe.parquet(path, TRACE_COLUMNS)
    try:
        return Trace.read_parquet(path)
    except BenchError as error:
        raise Fault("S7", str(error.message).replace(f"{path} ", "")[:300]) from None


class RunFolder(Folder):
    """One run: `record`, `manifest`, `events`, `trace`, `predictions`, `nodes` (what other machines
    handed over), and `derived`, the record as it follows from the other files."""

    @property
    def record(self) -> Record:
        found: Record = self.part("record")
        return found

    @property
    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.part("events")
        return found

    @property
    def trace(self) -> Trace:
        found: Trace = self.part("trace")
        return found

    @property
    def nodes(self) -> dict[int, Part]:
        found: dict[int, Part] = self.part("nodes")
        return found

    @property
    def predictions(self) -> list[str] | list[float]:
        """In the order of the scored split. A run that failed has none: a fault."""
        found: list[str] | list[float] = self.part("predictions")
        return found

    @property
    def derived(self) -> Record:
        found: Record = self.part("derived")
        return found

    @cached_property
    def counts(self) -> bool:
        """Whether the run says of itself that it may be ranked."""
        return not self.fault("record") and self.record.rankable

    def _record(self) -> Record:
        value = self.json("record.json")
        try:
            return Record.model_validate(value)
        except ValidationError as error:
            raise Fault("S5", f"record.json: {first_fault(error)}"[:300]) from None

    def _events(self) -> list[dict[str, Any]]:
        return _events_in(self.folder)

    def _trace(self) -> Trace:
        return _trace_in(self.folder)

    def _nodes(self) -> dict[int, Part]:
        """By number; one that handed over less than all has none, as in `bench.merging`."""
        if self.fault("record"):
            return {}
        nodes = self.record.spec.nodes
        if nodes > MOST_NODES:
            raise Fault("D1", f"{nodes:,} machines; {MOST_NODES:,} are the most")
        found = {}
        if nodes > 1 and (self.folder / merging.HELLOS).exists():
            self.json(merging.HELLOS)
        for number in range(1, nodes):
            folder = part_folder(self.folder, number)
            if folder.is_symlink():
                raise Fault("S3", f"{folder.name} is a link")
            names = ("node.json", "events.jsonl", "trace.parquet")
            if all((folder / name).exists() for name in names):
                safe.json_value(safe.data(folder / "node.json"))
                found[number] = Part(_events_in(folder), _trace_in(folder))
        return found

    def _predictions(self) -> list[Any]:
        table = safe.parquet(self.folder / "predictions.parquet", PREDICTION_COLUMNS)
        if not {"id", "prediction"} <= set(table.column_names):
            raise Fault("S7", "predictions.parquet lacks id or prediction")
        if table["id"].to_pylist() != list(range(table.num_rows)):
            raise Fault("S7", "predictions.parquet: the ids are not 0, 1, 2, ... in order")
        predictions: list[Any] = table["prediction"].to_pylist()
        if None in predictions:
            raise Fault("S7", f"predictions.parquet: {predictions.index(None)} has no prediction")
        return predictions

    def _derived(self) -> Record:
        """By the same arithmetic that wrote it, from events and trace. What was known before the
        window opened (notes, charged runs, reference) can't be derived and is taken as stated."""
        import numpy as np

        from bench import account, measure
        from bench.child import Outcome

        for name in ("record", "events", "trace", "nodes"):
            if self.fault(name):
                raise Fault("D1", f"{name} can't be read")
        stated = self.record
        start = account.Start(
            run_id=stated.run_id, nonce=stated.nonce, started_at=stated.started_at,
            machine=stated.machine, software=stated.software,
            visible_gpus=[d.domain[4:] for d in stated.charged if d.domain.startswith("gpu:")],
            region=stated.region, pue=stated.pue, spec=stated.spec,
            code_sha256=stated.code_sha256,
            references=[stated.reference] if stated.reference else [],
            charged_runs=stated.charged_runs, upstream=stated.upstream, trial=stated.trial,
            tuning=stated.tuning,
        )  # fmt: skip
        outcome = Outcome(stated.status, stated.failure)
        try:
            with np.errstate(all="ignore"):
                found = measure.concluded(self.folder, start, self.trace, stated.metric, outcome)
        except _UNFIT as error:
            text = (str(error).splitlines() or [""])[0]
            raise Fault("D1", f"nothing can be derived: {type(error).__name__}: {text}") from None
        assert isinstance(found, Record)
        return found

    _readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "record": _record,
        "manifest": Folder.manifest,
        "events": _events,
        "trace": _trace,
        "nodes": _nodes,
        "predictions": _predictions,
        "derived": _derived,
    }


class EntryFolder(Folder):
    """An entry: `entry`, `manifest`, and its runs. A run that is in no entry stands alone."""

    def __init__(self, folder: Path, where: str, runs: list[RunFolder], submitted: bool) -> None:
        super().__init__(folder, where)
        self.runs, self.submitted = runs, submitted

    @classmethod
    def of(cls, folder: Path, where: str) -> EntryFolder:
        """The entry in a folder, with every folder below it as a run."""
        below = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.is_symlink()]
        runs = [RunFolder(p, f"{where}/{p.name}") for p in below]
        return cls(folder, where, runs, submitted=True)

    @classmethod
    def of_run(cls, folder: Path, where: str) -> EntryFolder:
        return cls(folder, where, [RunFolder(folder, where)], submitted=False)

    @property
    def entry(self) -> EntryFile:
        found: EntryFile = self.part("entry")
        return found

    @property
    def read_runs(self) -> list[RunFolder]:
        """Those whose record could be read."""
        return [run for run in self.runs if not run.fault("record")]

    @property
    def counting(self) -> list[RunFolder]:
        return [run for run in self.runs if run.counts]

    def _entry(self) -> EntryFile:
        value = self.json(submission.NAME)
        try:
            return EntryFile.model_validate(value)
        except ValidationError as error:
            raise Fault("S5", f"{submission.NAME}: {first_fault(error)}"[:300]) from None

    _readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "entry": _entry,
        "manifest": Folder.manifest,
    }


@dataclass
class Surroundings:
    """What a submission is held against, apart from itself."""

    cards: Mapping[str, Card]
    labels: Callable[[Card], list[str] | None] = lambda card: None
    """The scored split's labels in canonical form, where they are at hand."""
    scored: Callable[[Card], Scored | None] = lambda card: None
    """The same with texts and parts, which a few metrics need."""
    others: Mapping[str, Path] = field(default_factory=dict)
    """Run id -> folder, of all runs beside the submission's own: those submitted before."""
    entries: Mapping[str, Path] = field(default_factory=dict)
    """Place (task/name) -> folder of the entries that were submitted before."""

    memory: dict[str, Any] = field(default_factory=dict)
    """What rules have found out about all that is around, to find it out once."""

    def run(self, run_id: str) -> RunFolder | None:
        """One of those submitted before."""
        folder = self.others.get(run_id)
        return RunFolder(folder, folder.name) if folder else None

    def card(self, record: Record) -> Card | None:
        """The card of a record's task, in its version."""
        card = self.cards.get(record.spec.task)
        return card if card and card.version == record.spec.task_version else None


def found(folder: Path) -> list[EntryFolder]:
    """The entries in or below a folder: one entry, one run, a task's, or all of `results/`."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", "give an entry's folder, or results/")
    if (folder / "record.json").exists():
        return [EntryFolder.of_run(folder, folder.name)]
    if (folder / submission.NAME).exists() or any(folder.glob("*/record.json")):
        return [EntryFolder.of(folder, submission.place(folder.resolve()))]
    several = [
        EntryFolder.of(below, submission.place(below.resolve()))
        for pattern in ("*", "*/*")
        for below in sorted(folder.glob(pattern))
        if below.is_dir()
        and ((below / submission.NAME).exists() or any(below.glob("*/record.json")))
    ]
    if not several:
        raise UsageError(f"{folder} holds no entry and no run", "`bench submit` makes entries")
    return several
