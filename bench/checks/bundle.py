"""What lies in a submission's folder, each part read once and safely, when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from bench import lineage, merging, submission
from bench.cards import Card
from bench.checks import safe, shapes, tables, weights
from bench.checks.safe import Fault, Item
from bench.checks.shapes import Hello
from bench.checks.weights import Tensor
from bench.errors import BenchError, UsageError
from bench.record import Record, part_folder
from bench.submission import EntryFile

if TYPE_CHECKING:
    from bench.checks.labels import Scored
    from bench.power.trace import Trace

MOST_ENTRIES = 100_000  # below one folder
MOST_SUMS = 20_000  # phases times domains: a millisecond or more each
MANIFEST = submission.MANIFEST
Read = TypeVar("Read")

_UNFIT = (
    BenchError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError,
    RecursionError, MemoryError,
)  # fmt: skip
"""What arithmetic over events and facts of wrong kinds ends in."""


class Folder:
    """A folder whose parts are read once: `part` gives one or raises its `Fault`. `where` is what
    it is called in verdicts."""

    _readers: ClassVar[Mapping[str, Callable[[Any], Any]]]
    depth = 1  # of names below it that are its own

    def __init__(self, folder: Path, where: str, submitted: bool = True) -> None:
        self.folder, self.where, self.submitted = folder, safe.shown(where), submitted
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

    def faults(self, rule: str) -> Iterator[Fault]:
        """Those of all parts that break this rule, each once."""
        seen = set()
        for name in self.parts:
            fault = self.fault(name)
            if fault and fault.rule == rule and (fault.file, fault.message) not in seen:
                seen.add((fault.file, fault.message))
                yield fault

    @property
    def files(self) -> dict[str, Item]:
        """Path below the folder -> what is there."""
        found: dict[str, Item] = self.part("files")
        return found

    def reading(self, name: str, read: Callable[[Path], Read]) -> Read:
        """What `read` makes of a file, which is one; a `Fault` says of which file it is."""
        item = self.files.get(name)
        try:
            if item is None:
                raise Fault("S10", "is not there")
            if item.kind != "file":
                raise Fault("S3", "is no file")
            return read(self.folder / name)
        except Fault as fault:
            fault.file = fault.file or name
            raise

    def digest(self, name: str) -> str:
        """SHA-256 of a file."""
        if name not in self._digests:
            self._digests[name] = self.reading(name, safe.sha256)
        return self._digests[name]

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {}

    @property
    def manifest(self) -> dict[str, str]:
        """Path below the folder -> SHA-256."""
        found: dict[str, str] = self.part("manifest")
        return found

    def _files(self) -> dict[str, Item]:
        return safe.listing(self.folder, self.depth)

    def _manifest(self) -> dict[str, str]:
        return self.reading(MANIFEST, lambda path: shapes.manifest(safe.data(path)))


class Part(NamedTuple):
    """What one of several machines has metered."""

    events: list[dict[str, Any]]
    trace: Trace


def _trace(path: Path) -> Trace:
    from bench.power.trace import Trace

    table = tables.trace(path)
    about = shapes.trace_about((table.schema.metadata or {}).get(b"bench", b""))
    tables.check_domains(table, {domain.name for domain in about.domains})
    try:
        return Trace.of_table(table, "the file")
    except BenchError as error:
        raise Fault("S7", safe.shown(error.message)) from None


class RunFolder(Folder):
    """One run: `record`, `manifest`, `events`, `trace`, `predictions`, `nodes` (what other machines
    handed over), `weights` (the tensors of those that lie beside it; None: there are none), and
    `derived`, the record as it follows from the other files."""

    depth = 2

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

    @cached_property
    def hellos(self) -> dict[int, Hello]:
        """By number, what machines said of themselves, where `nodes` could be read."""
        there = merging.HELLOS in self.files and not self.fault("nodes")
        return {int(number): hello for number, hello in self._hellos().items()} if there else {}

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
        return self.reading("record.json", lambda path: shapes.record(safe.data(path)))

    def _events(self, below: str = "") -> list[dict[str, Any]]:
        return self.reading(f"{below}events.jsonl", lambda path: shapes.events(safe.data(path)))

    def _trace(self, below: str = "") -> Trace:
        return self.reading(f"{below}trace.parquet", _trace)

    def _hellos(self) -> dict[str, Hello]:
        return self.reading(merging.HELLOS, lambda path: shapes.hellos(safe.data(path)))

    def _nodes(self) -> dict[int, Part]:
        """By number; one that handed over less than all has none, as in `bench.merging`."""
        nodes = self.record.spec.nodes
        if nodes > 1 and merging.HELLOS in self.files:
            self._hellos()
        found = {}
        for number in range(1, nodes):
            below = f"{part_folder(Path(), number)}/"
            start, events, trace = (
                below + name in self.files
                for name in ("node.json", "events.jsonl", "trace.parquet")
            )
            if start:  # each that is there, as the record is derived from what can be read
                self.reading(f"{below}node.json", lambda path: shapes.start(safe.data(path)))
            said = self._events(below) if events else []
            read = self._trace(below) if trace else None
            if start and events and read is not None:
                found[number] = Part(said, read)
        return found

    def _predictions(self) -> list[str] | list[float]:
        return self.reading("predictions.parquet", tables.predictions)

    def _weights(self) -> dict[str, Tensor] | None:
        if lineage.WEIGHTS not in self.files:
            return None
        return self.reading(lineage.WEIGHTS, weights.header)

    def _derived(self) -> Record:
        """By the same arithmetic that wrote it, from events and trace. What was known before the
        window opened (notes, charged runs, reference) can't be derived and is taken as stated."""
        import numpy as np

        from bench import account, measure
        from bench.child import Outcome

        for name in ("record", "events", "trace", "nodes"):
            if self.fault(name):
                raise Fault("D1", f"{name} can't be read")
        self._check_sums()
        stated = self.record
        start = account.Start(
            run_id=stated.run_id, nonce=stated.nonce, started_at=stated.started_at,
            machine=stated.machine, software=stated.software,
            visible_gpus=_visible_gpus(stated),
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

    def _check_sums(self) -> None:
        """Each phase is a sum over the readings of each domain."""
        parts = [(self.events, self.trace), *self.nodes.values()]
        sums = sum(
            len(trace.domains) * sum(e["event"] == "phase_start" for e in events)
            for events, trace in parts
        )
        if sums > MOST_SUMS:
            text = f"has phases whose energies are {sums:,} sums; {MOST_SUMS:,} are the most"
            raise Fault("S6", text, {"sums": sums, "most": MOST_SUMS})

    _readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "files": Folder._files,
        "record": _record,
        "manifest": Folder._manifest,
        "events": _events,
        "trace": _trace,
        "nodes": _nodes,
        "predictions": _predictions,
        "weights": _weights,
        "derived": _derived,
    }


def _visible_gpus(stated: Record) -> list[str]:
    """What this machine's child could see: what is charged, or lies below a meter that is."""
    whole = any(d.kind == "node" and d.node == 0 for d in stated.charged)
    return [d.domain[4:] for d in stated.domains
            if d.domain.startswith("gpu:") and (d.charged or whole)]  # fmt: skip


class EntryFolder(Folder):
    """An entry: `entry`, `manifest`, and its runs. A run that is in no entry stands alone."""

    def __init__(
        self, folder: Path, where: str, runs: Sequence[RunFolder] = (), submitted: bool = True
    ) -> None:
        super().__init__(folder, where, submitted)
        self.runs = list(runs)

    @classmethod
    def of(cls, folder: Path, where: str) -> EntryFolder:
        """The entry in a folder, with every folder below it that is called like a run."""
        entry = cls(folder, where)
        if not entry.fault("files"):
            entry.runs = [
                RunFolder(folder / name, f"{where}/{name}")
                for name, item in entry.files.items()
                if item.kind == "folder" and submission.RUN_ID.fullmatch(name)
            ]
        return entry

    @classmethod
    def of_run(cls, folder: Path, where: str) -> EntryFolder:
        return cls(folder, where, [RunFolder(folder, where, submitted=False)], submitted=False)

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
        return self.reading(submission.NAME, lambda path: shapes.entry(safe.data(path)))

    _readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "files": Folder._files,
        "entry": _entry,
        "manifest": Folder._manifest,
    }


@dataclass
class Surroundings:
    """What a submission is held against, apart from itself."""

    cards: Mapping[str, Card]
    scored: Callable[[Card], Scored | None] = lambda card: None
    """The scored split's labels and texts, where they are at hand."""
    embedded: Callable[[Card], Scored | None] = lambda card: None
    """The same of the corpus that stands in for the task's data."""
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
    """The entries in or below a folder: one entry, one run, a task's, or all of `results/`. A link
    in the place of an entry is one, and refused."""
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", "give an entry's folder, or results/")
    if _holds(folder, "record.json"):
        return [EntryFolder.of_run(folder, folder.name)]
    if _is_entry(folder):
        return [EntryFolder.of(folder, submission.place(folder))]
    several = [
        entry
        for below in _below(folder)
        for entry in ([below] if below.is_symlink() or _is_entry(below) else _below(below))
    ]
    if not several:
        raise UsageError(f"{folder} holds no entry and no run", "`bench submit` makes entries")
    return [EntryFolder.of(entry, submission.place(entry)) for entry in several]


def _is_entry(folder: Path) -> bool:
    runs = (below for below in _below(folder) if submission.RUN_ID.fullmatch(below.name))
    return _holds(folder, submission.NAME) or any(runs)


def _holds(folder: Path, name: str) -> bool:
    """Whether it is there, whatever it is."""
    return os.path.lexists(folder / name)


def _below(folder: Path) -> list[Path]:
    """Folders and links in a folder that is no link itself; none that is hidden, which no board
    sees either."""
    try:
        items = safe.listing(folder, depth=1, most=MOST_ENTRIES)
    except Fault:
        return []
    wanted = ("folder", "link")
    return [folder / name for name, i in items.items() if i.kind in wanted and name[0] != "."]
