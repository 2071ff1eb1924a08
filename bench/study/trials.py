"""A sweep's ledger as its trials: what each was set to, how it scored on tune, what it took.

What a run took and how it scored is written into the journal when it has ended (`write_down`), so
that the journal alone says what a sweep found and what it cost.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import lineage, metrics
from bench.errors import BenchError
from bench.record import Level, Record
from bench.study.attempt import words
from bench.study.job import Job
from bench.study.ledger import Attempt, Ledger

State = Literal["complete", "pruned", "failed", "open"]
FINAL = "final"
"""The cell of the runs that the best settings are trained in."""


@dataclass(frozen=True)
class Evaluation:
    """A score on tune while, or after, a trial was trained."""

    step: int
    total_steps: int
    value: float

    @property
    def share(self) -> float:
        """Of the training."""
        return self.step / self.total_steps


@dataclass(frozen=True)
class Taken:
    """What one attempt took by its record, and how it scored."""

    trial: str  # name of the cell
    attempt: str
    metric: str | None
    curve: tuple[Evaluation, ...]
    energy_j: float | None
    uncertainty_j: float | None
    band_j: tuple[float, float] | None
    level: Level | None  # None: nothing was metered
    coverage: str | None
    duration_s: float
    charged_j: Mapping[str, float | None]  # of runs that it is charged for: teachers


@dataclass(frozen=True)
class Trial:
    """Settings that were tried."""

    number: int  # from 1
    job: Job
    state: State
    why: str | None  # it was ended early, or failed
    attempts: int
    taken: tuple[Taken, ...]  # by its attempts
    decisive: Taken | None  # by that which made the state what it is

    @property
    def name(self) -> str:
        return self.job.cell

    @property
    def params(self) -> dict[str, str]:
        return dict(self.job.about["params"])

    @property
    def proposal(self) -> int:
        """Its number among the sampler's."""
        return int(self.job.about["proposal"])

    @property
    def metric(self) -> str | None:
        return self.decisive.metric if self.decisive else None

    @property
    def curve(self) -> tuple[Evaluation, ...]:
        return self.decisive.curve if self.decisive else ()

    @property
    def score(self) -> float | None:
        """The last one on tune: at the end, or where it was ended early. The scored split is never
        looked at."""
        if self.state not in ("complete", "pruned") or not self.curve:
            return None
        value = self.curve[-1].value
        return value if math.isfinite(value) else None

    @property
    def worth(self) -> float | None:
        """The score, so that higher is better."""
        if self.score is None or self.metric is None:
            return None
        return -self.score if metrics.falls(self.metric) else self.score


def trials(book: Ledger) -> list[Trial]:
    """In the order in which they were planned."""
    early, taken = _pruned(book), _taken(book)
    jobs = [job for job in book.jobs.values() if job.cell != FINAL]
    return [_trial(number, job, book, early, taken) for number, job in enumerate(jobs, 1)]


def _trial(
    number: int,
    job: Job,
    book: Ledger,
    early: Mapping[str, str],
    taken: Mapping[str, Taken],
) -> Trial:
    tried = book.attempts.get(job.id, [])
    state, decisive = _state(book, job, tried, early)
    why = None
    if decisive is not None:
        why = early[decisive.name] if state == "pruned" else decisive.failure
    own = {a.name: taken[a.name] for a in tried if a.name in taken}
    return Trial(
        number, job, state, why, len(tried), tuple(own.values()),
        own.get(decisive.name) if decisive else None,
    )  # fmt: skip


def _state(
    book: Ledger, job: Job, tried: list[Attempt], early: Mapping[str, str]
) -> tuple[State, Attempt | None]:
    """And the attempt that made it so. One that failed by itself would fail again: it is the
    settings' doing, and no second attempt is made."""
    kinds: dict[State, list[Attempt]] = {
        "complete": [a for a in tried if a.good],
        "pruned": [a for a in tried if a.name in early and a.status is not None],
        "failed": [a for a in tried if a.status == "failed"],
    }
    for state, found in kinds.items():
        if found:
            return state, found[-1]
    return ("failed", tried[-1]) if book.given_up(job) else ("open", tried[-1] if tried else None)


def prune(book: Ledger, attempt: Attempt, why: str) -> None:
    """Write down that an attempt is ended early, before it is."""
    book.note(pruned=attempt.name, why=why)


def _pruned(book: Ledger) -> dict[str, str]:
    """Why, by attempt."""
    return {n["pruned"]: n["why"] for n in book.notes if "pruned" in n}


# --- what attempts took --------------------------------------------------------------------------


def write_down(book: Ledger) -> None:
    """Note what the attempts at trials took that have ended, where it is not noted yet."""
    known = _taken(book)
    for attempt in book.ended():
        if attempt.job.cell != FINAL and attempt.name not in known:
            book.note(took=attempt.name, trial=attempt.job.cell, **_of(attempt))


def _taken(book: Ledger) -> dict[str, Taken]:
    """By attempt, in the order in which they ended."""
    return {n["took"]: _loaded(n) for n in book.notes if "took" in n}


def taken(book: Ledger) -> list[Taken]:
    """By the attempts at all trials, in the order in which they ended."""
    return list(_taken(book).values())


def _of(attempt: Attempt) -> dict[str, Any]:
    """What an attempt took. One that ended before its run had begun took nothing that was metered;
    of a run whose record can't be read nothing is known."""
    if attempt.run is None:
        return _fields(energy_j=0.0, uncertainty_j=0.0)
    try:
        record = attempt.record()
    except (BenchError, OSError):
        record = None
    if record is None:
        return _fields()
    metric, curve = curve_of(record, attempt)
    alone = record.model_copy(update={"charged_runs": []})
    return _fields(
        metric=metric,
        curve=[[e.step, e.total_steps, e.value] for e in curve],
        energy_j=alone.energy_j,
        uncertainty_j=alone.uncertainty_j,
        band_j=lineage.band_j(alone),
        level=record.level,  # of what it is charged for, too, as those of the final runs
        coverage=record.coverage,
        duration_s=alone.duration_s,
        charged_j={c.run_id: c.energy_j for c in record.charged_runs},
    )


def _fields(**known: Any) -> dict[str, Any]:
    unknown = ("metric", "energy_j", "uncertainty_j", "band_j", "level", "coverage")
    fields: dict[str, Any] = {**dict.fromkeys(unknown), "curve": [], "duration_s": 0.0}
    return {**fields, "charged_j": {}, **known}


def _loaded(note: Mapping[str, Any]) -> Taken:
    fields = {name: note[name] for name in _fields()}
    fields["curve"] = tuple(Evaluation(int(s), int(n), float(v)) for s, n, v in note["curve"])
    fields["band_j"] = note["band_j"] and tuple(note["band_j"])
    return Taken(trial=note["trial"], attempt=note["took"], **fields)


def curve_of(record: Record, attempt: Attempt) -> tuple[str | None, list[Evaluation]]:
    """The metric, and its values on tune, from the run's events."""
    following = Following(attempt)
    following.look()
    return following.metric, following.curve


class Following:
    """The scores on tune of an attempt that goes on, read as they come: the machine under the meter
    reads each of its events once."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._path: Path | None = None
        self._read = 0  # bytes
        self._total_steps = 0
        self.metric: str | None = None
        self.curve: list[Evaluation] = []

    def look(self) -> bool:
        """Whether tune was scored since the last look."""
        before = len(self.curve)
        for event in self._events():
            if event.get("event") == "step":
                self._total_steps = int(event["total_steps"])
            elif event.get("event") == "eval" and event.get("split") == "tune":
                step, value = int(event["step"]), float(event["value"])
                self.metric = event["metric"]
                self.curve.append(Evaluation(step, self._total_steps or step, value))
        return len(self.curve) > before

    def _events(self) -> Iterator[dict[str, Any]]:
        """What was written since, in whole lines."""
        if self._path is None:
            run = words(self._attempt).get("run", {}).get("folder")
            if run is None:
                return
            self._path = self._attempt.root / run / "events.jsonl"
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                lines = file.read()
        except OSError:
            return
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue
