"""A folder that knows every planned run: an append-only journal that survives whoever drives it.

    runs/studies/NAME/
      journal.jsonl               one event a line, each on the disk before anything follows from it
      local.jsonl                 what the journal does not say, since others may read it (`hiding`)
      lock                        held (flock) by the command that drives it
      attempts/JOB-N.jsonl        what the N-th attempt at a job says of itself; held while it lives
      attempts/JOB-N.log          what it prints
      attempts/JOB-N.progress     where it is

The runs lie where all runs lie, two folders up: `runs/TASK/RUN`. What a run was and took, its
record says; the journal names it. Events: `asked` (the first), `planned`, `skipped`, `started`,
`ended`, `note`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import record as records
from bench.errors import BenchError, UsageError
from bench.record import Record, Status
from bench.study import hiding, older
from bench.study.job import Job

SCHEMA = 1
JOURNAL = "journal.jsonl"
MOST_ATTEMPTS = 3
"""At one job, less those that were told to end: what fails so often, fails."""

GOOD = ("complete", "budget")


@dataclass(frozen=True)
class Attempt:
    """One try at a job."""

    job: Job
    number: int  # from 1
    ledger: Path  # the folder
    at: str = ""  # when it was started: UTC, ISO 8601
    status: Status | None = None  # None: it goes on, or nobody has looked yet
    failure: str | None = None
    told: str | None = None  # why it was told to end, if it was
    run: str | None = None  # the folder of its run, relative to `root`

    @property
    def name(self) -> str:
        return f"{self.job.id}-{self.number}"

    @property
    def good(self) -> bool:
        return self.status in GOOD

    @property
    def root(self) -> Path:
        """Where runs go."""
        return self.ledger.parent.parent

    @property
    def folder(self) -> Path | None:
        """Of its run."""
        return None if self.run is None else self.root / self.run

    @property
    def words(self) -> Path:
        return self._file(".jsonl")

    @property
    def log(self) -> Path:
        return self._file(".log")

    @property
    def progress(self) -> Path:
        return self._file(".progress")

    def _file(self, suffix: str) -> Path:
        return self.ledger / "attempts" / f"{self.name}{suffix}"

    def record(self) -> Record | None:
        """Of its run, once that is written; BenchError when it can't be read."""
        if self.folder is None or not records.is_written(self.folder):
            return None
        return records.read(self.folder)


@dataclass
class Ledger:
    """What the journal says. Only who `opened` it writes."""

    folder: Path
    asked: dict[str, Any] = field(default_factory=dict)  # what the driver was asked
    jobs: dict[str, Job] = field(default_factory=dict)  # by id, in the order of planning
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)  # by the job's id
    skipped: dict[str, str] = field(default_factory=dict)  # cell -> why it is not run
    notes: list[dict[str, Any]] = field(default_factory=list)  # whatever a driver wrote down
    damaged: list[int] = field(default_factory=list)  # numbers of lines that are none
    _lines: int = 0
    _file: int | None = None
    _local: int | None = None

    # --- reading

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def root(self) -> Path:
        """Where runs go."""
        return self.folder.parent.parent

    def state(self, job: Job) -> str:
        """planned, started, or how its last attempt ended."""
        tried = self.attempts.get(job.id)
        return "planned" if not tried else tried[-1].status or "started"

    def done(self, job: Job) -> bool:
        return any(a.good for a in self.attempts.get(job.id, ()))

    def open_attempts(self) -> list[Attempt]:
        """Those that nobody knows the end of."""
        return [a for tried in self.attempts.values() for a in tried if a.status is None]

    def tries(self, job: Job) -> int:
        """Attempts that count towards MOST_ATTEMPTS."""
        return sum(a.status is not None and not a.told for a in self.attempts.get(job.id, ()))

    def given_up(self, job: Job) -> bool:
        return not self.done(job) and self.tries(job) >= MOST_ATTEMPTS

    def wanted(self, job: Job) -> bool:
        """Whether it should be started: neither done, nor under way, nor given up."""
        going_on = any(a.status is None for a in self.attempts.get(job.id, ()))
        return not (self.done(job) or going_on or self.given_up(job))

    def ended(self) -> list[Attempt]:
        """All attempts whose end is known, in the order of their jobs."""
        return [a for tried in self.attempts.values() for a in tried if a.status is not None]

    # --- writing

    def plan(self, jobs: Iterable[Job]) -> None:
        """Write down what is to be run; what is there already stays as it is, with its paths where
        only the journal was kept."""
        for job in jobs:
            if job.id not in self.jobs or self.jobs[job.id].dump() != job.dump():
                self._write("planned", job=job.id, **job.dump())

    def skip(self, cell: str, reason: str) -> None:
        """Write down why a cell is not run."""
        if self.skipped.get(cell) != reason:
            self._write("skipped", cell=cell, reason=reason)

    def note(self, **facts: Any) -> None:
        """Write down something of the driver's own; it is found again in `notes`."""
        self._write("note", **facts)

    def begin(self, job: Job) -> Attempt:
        """A new attempt at a planned job; it is on the disk before it starts."""
        number = len(self.attempts.get(job.id, ())) + 1
        self._write("started", job=job.id, attempt=number)
        return self.attempts[job.id][-1]

    def end(
        self,
        attempt: Attempt,
        status: Status,
        *,
        failure: str | None = None,
        run: str | None = None,
        told: str | None = None,
        **facts: Any,
    ) -> Attempt:
        """How an attempt ended; `told`: why it was told to. The attempt as it is now."""
        fields = {"status": status, "failure": failure, "run": run, "told": told, **facts}
        self._write("ended", job=attempt.job.id, attempt=attempt.number, **fields)
        return self.attempts[attempt.job.id][attempt.number - 1]

    def _write(self, event: str, **facts: Any) -> None:
        """One line, on the disk when this returns."""
        assert self._file is not None, "a ledger that is only read"
        assert self._local is not None
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.loads(json.dumps({"event": event, "at": at, **facts}))
        if says := hiding.difference(line):
            _append(self._local, {"line": self._lines + 1, "at": at, "says": says})
        _append(self._file, hiding.hidden(line))
        self._lines += 1
        self._take(line)

    def _take(self, event: dict[str, Any]) -> None:
        """One event of the journal. KeyError and the like for what is none."""
        match event["event"]:
            case "asked":
                if event["schema"] != SCHEMA:
                    raise BenchError(
                        f"{self.folder / JOURNAL} is of schema {event['schema']}, not {SCHEMA}",
                        "written by a newer bench? `pip install -U wattbench`",
                    )
                self.asked = event["asked"]
            case "planned":
                job = replace(Job.load(event), called=event["job"])
                self.jobs[event["job"]] = job
                self.skipped.pop(job.cell, None)
            case "skipped":
                self.skipped[event["cell"]] = event["reason"]
            case "started":
                job = self.jobs[event["job"]]
                tried = self.attempts.setdefault(event["job"], [])
                tried.append(Attempt(job, int(event["attempt"]), self.folder, event["at"]))
            case "ended":
                tried = self.attempts[event["job"]]
                at = int(event["attempt"]) - 1
                fields = {f: event[f] for f in ("status", "failure", "told", "run")}
                tried[at] = replace(tried[at], **fields)
            case "note":
                self.notes.append(event)
            case other:
                raise ValueError(f"an event '{other}'")


def read(folder: Path) -> Ledger:
    """The ledger in a folder, whoever drives it; UsageError where there is none."""
    path = folder / JOURNAL
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no ledger", _near(folder)) from None
    return of_lines(folder, lines, hiding.read(folder))


def of_lines(
    folder: Path,
    lines: Iterable[bytes],
    local: Mapping[tuple[int, str], dict[str, Any]] | None = None,
) -> Ledger:
    """What the lines of a journal say, wherever they were kept; with what only this machine knows
    of them."""
    ledger = Ledger(folder)
    for number, line in enumerate(lines, 1):
        if line.strip():
            ledger._lines = number
            try:
                event = json.loads(line)
                ledger._take({**event, **(local or {}).get((number, event.get("at")), {})})
            except (ValueError, KeyError, IndexError, TypeError):
                ledger.damaged.append(number)
    return ledger


def _near(folder: Path) -> str:
    there = sorted(p.parent.name for p in folder.parent.glob(f"*/{JOURNAL}"))
    return f"there are {', '.join(there[:5])}" if there else f"nothing lies in {folder.parent}"


@contextmanager
def opened(
    folder: Path, asked: Mapping[str, Any], extends: Collection[str] = ()
) -> Iterator[Ledger]:
    """The ledger to go on with, or a new one. UsageError when it was asked something else, with
    what differs; BenchError when another command drives it. What it was asked grows by what is
    asked under the names in `extends`: lists and numbers."""
    (folder / "attempts").mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(
                f"another command is at work on {folder.name}",
                "let it end, or give this one another --name",
            ) from None
        path = folder / JOURNAL
        older.rewrite(folder, JOURNAL)
        how = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        file, local = (os.open(p, how, 0o666) for p in (path, folder / hiding.LOCAL))
        try:
            for place, each in ((path, file), (folder / hiding.LOCAL, local)):
                _end_line(place, each)
            ledger = read(folder)
            ledger._file, ledger._local = file, local
            wanted = json.loads(json.dumps(dict(asked)))
            ledger.asked = _with_paths(ledger.asked, wanted)
            if ledger.asked:
                wanted |= {k: _grown(ledger.asked.get(k), wanted.get(k)) for k in extends}
                _check_same(ledger, wanted, extends)
            if ledger.asked != wanted or not ledger.jobs:
                ledger._write("asked", schema=SCHEMA, asked=wanted)
            yield ledger
        finally:
            os.close(file)
            os.close(local)


def _append(file: int, line: Mapping[str, Any]) -> None:
    """On the disk when this returns."""
    data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
    while data:
        data = data[os.write(file, data) :]
    os.fsync(file)


def _with_paths(asked: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, where only the journal was kept: with the paths that are asked for now."""
    shown = hiding.hidden(now)
    return {k: now[k] if k in now and v == shown[k] else v for k, v in asked.items()}


def _end_line(path: Path, file: int) -> None:
    """A line that was cut off by a kill or a full disk ends here, and is not understood."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        os.write(file, b"\n")


def _grown(was: Any, now: Any) -> Any:
    if isinstance(was, list) and isinstance(now, list):
        return list(dict.fromkeys([*was, *now]))
    return max(was, now) if isinstance(was, int) and isinstance(now, int) else now


def _check_same(ledger: Ledger, wanted: dict[str, Any], extends: Collection[str]) -> None:
    said = [d for name, d in differences(ledger.asked, wanted) if name not in extends]
    if said:
        raise UsageError(
            f"{ledger.name} was asked something else: {'; '.join(said)}",
            "the same command goes on with it; another one needs another --name, or --extend",
        )


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where two commands differ: the name, and how, in words."""
    for name in dict.fromkeys([*was, *now]):
        if was.get(name) != now.get(name):
            yield name, f"{name} was {_shown(was.get(name))}, now {_shown(now.get(name))}"


def _shown(value: Any) -> str:
    if value in (None, [], {}):
        return "not given"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items())
    return str(value)
