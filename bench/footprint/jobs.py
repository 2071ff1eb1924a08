"""Runs in folders as jobs that can be added: each once, with what its own window took."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from bench import record as records
from bench.errors import BenchError, UsageError
from bench.footprint import known
from bench.power import carbon
from bench.power.carbon import Scenario
from bench.rank.slim import paused_gc
from bench.record import Measurement, Record, RunCost, Tuning
from bench.units import J_PER_KWH

JOURNAL = "journal.jsonl"
LEVELS = ("measured", "estimated")


@dataclass(frozen=True)
class Job:
    """A run of any kind; or runs whose records lie elsewhere, by what a run here says of them.
    `charged`: ids of the runs that it rests on."""

    run_id: str
    kind: str  # training, trial, profile, measurement, charged
    status: str
    started: datetime
    duration_s: float
    devices: int
    energy_j: float | None  # of its own window
    unsure_j: float | None  # expanded, k = 2
    level: str  # measured, estimated; "" where energy is not known
    scenario: Scenario
    task: str = ""
    model: str = ""
    recipe: str = ""
    sweep: str = ""
    rankable: bool = False
    charged: tuple[str, ...] = ()
    coverage: str = ""
    count: int = 1  # jobs that it stands for: attempts of a sweep whose records lie elsewhere

    @property
    def device_hours(self) -> float:
        return self.devices * self.duration_s / 3600

    @property
    def kwh(self) -> float:
        return (self.energy_j or 0.0) / J_PER_KWH

    @property
    def week(self) -> str:
        year, week, _ = self.started.isocalendar()
        return f"{year}-W{week:02d}"


@dataclass
class Found:
    """What lies there, and what could not be read."""

    jobs: dict[str, Job] = field(default_factory=dict)
    charges: dict[str, tuple[RunCost, Job]] = field(default_factory=dict)
    tunings: dict[str, tuple[Tuning, Job]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    copies: int = 0
    unfinished: int = 0
    lost: int = 0  # attempts without a run


def gathered(folders: Sequence[Path], scenario: Scenario) -> Found:
    """Each run once; and what runs here were charged for, and were chosen by, where that lies
    elsewhere."""
    found = Found()
    with paused_gc():  # records that stay, and thousands of them
        for folder in _listed(folders, found):
            _take(folder, scenario, found)
    for cost, by in found.charges.values():
        if cost.run_id not in found.jobs:
            found.jobs[cost.run_id] = _elsewhere(cost, by)
    here = {j.sweep for j in found.jobs.values()}
    for name, (tuning, by) in found.tunings.items():
        if tuning.sweep not in here:
            found.jobs[name] = _sweep_elsewhere(name, tuning, by)
    return found


def _listed(folders: Sequence[Path], found: Found) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", "a folder of runs, such as runs")
        yield from (
            _of_ledger(folder, found) if (folder / JOURNAL).is_file() else _below(folder, found)
        )


def _of_ledger(folder: Path, found: Found) -> Iterator[Path]:
    """The runs that the journal of a study or a sweep names."""
    from bench.study import ledger

    kept = ledger.read(folder)
    for attempt in (a for tried in kept.attempts.values() for a in tried):
        if attempt.folder is None:
            found.lost += attempt.status is not None
            found.unfinished += attempt.status is None
        elif records.is_written(attempt.folder):
            yield attempt.folder
        else:
            found.broken.append(f"left out: the run {attempt.run} is not there any more")


def _below(root: Path, found: Found) -> Iterator[Path]:
    """Folders that hold a record, in order; none that is hidden."""
    for at, inside, files in os.walk(root):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        if "record.json" in files or "measurement.json" in files:
            yield Path(at)
        elif "start.json" in files:
            found.unfinished += 1


def _take(folder: Path, scenario: Scenario, found: Found) -> None:
    try:
        record = records.read_any(folder)
        job = _job(record, scenario, found)
    except BenchError as error:
        found.broken.append(f"left out: {error.message}")
        return
    except (OSError, ValueError, OverflowError) as error:
        found.broken.append(f"left out: {folder}: {getattr(error, 'strerror', None) or error}")
        return
    if job.run_id in found.jobs:
        found.copies += 1
        return
    found.jobs[job.run_id] = job
    if isinstance(record, Record):
        for cost in record.charged_runs:
            found.charges.setdefault(cost.run_id, (cost, job))
        if record.tuning:
            name = f"{record.tuning.sweep} {record.tuning.journal_sha256[:12]}"
            found.tunings.setdefault(name, (record.tuning, job))


def _job(record: Record | Measurement, scenario: Scenario, found: Found) -> Job:
    energy_j, started = _finite(record.window_energy_j), _when(record.started_at)
    if not 0 <= record.duration_s < _LONGEST_S:
        raise ValueError(f"a duration of {record.duration_s:g} s")
    if not 1990 <= started.year <= 2200:
        raise ValueError(f"a start in {started.year}")
    levels = [d.level for d in record.charged]
    job = Job(
        run_id=record.run_id,
        kind="measurement",
        status=record.status,
        started=started,
        duration_s=record.duration_s,
        devices=max(1, sum(d.kind == "gpu" for d in record.charged)),
        energy_j=energy_j,
        unsure_j=record.window_uncertainty_j,
        level="" if energy_j is None or not levels else _level(min(levels)),
        scenario=_scenario(record, scenario, found),
        coverage=record.coverage,
    )
    if isinstance(record, Measurement):
        return job
    spec = record.spec
    many, _ = known.split_hardware(spec.hardware)
    trial = record.trial is not None and not record.is_profile
    return replace(
        job,
        kind="profile" if record.is_profile else "trial" if trial else "training",
        devices=max(many, spec.processes),
        task=known.shown(spec.task),
        model=known.shown(spec.model),
        recipe=known.shown(spec.recipe),
        sweep=(record.trial or "") if trial else "",
        rankable=record.rankable,
        charged=tuple(c.run_id for c in record.charged_runs),
    )


_LONGEST_S = 10 * 365 * 86400.0


def _finite(value: float | None, most: float = math.inf) -> float | None:
    """None of what can't be an amount."""
    return value if value is not None and 0 <= value < most else None


def _level(level: str) -> str:
    return "estimated" if level == "M0" else "measured"


def _when(text: str) -> datetime:
    """UTC; a text without an offset is meant so."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _scenario(record: Record | Measurement, asked: Scenario, found: Found) -> Scenario:
    """Where the run says that it was; else where somebody says now."""
    if not record.region and not record.pue:
        return asked
    try:
        own = carbon.asked(record.region, record.pue)
    except UsageError as error:
        found.broken.append(f"{record.run_id}: {error.message}: counted in {asked.region.name}")
        return asked
    region = own.region if record.region else asked.region
    named = record.pue or own.pue.name != carbon.NO_PUE  # a scenario has a building of its own
    pue = own.pue if named else asked.pue
    return Scenario(region.name, region, pue, asked.assumed and not record.region)


def _elsewhere(cost: RunCost, by: Job) -> Job:
    """A run whose record lies elsewhere, by what the run says that is charged for it."""
    energy_j = _finite(cost.energy_j)
    level = "" if energy_j is None or cost.level is None else _level(cost.level)
    many = known.split_hardware(cost.hardware)[0] if cost.hardware else 1
    return Job(
        run_id=cost.run_id, kind="charged", status="complete", started=by.started,
        duration_s=_finite(cost.duration_s, _LONGEST_S) or 0.0, devices=many,
        energy_j=energy_j if level else None,
        unsure_j=cost.uncertainty_j, level=level, scenario=by.scenario, task=cost.task or "",
        model=cost.model or "", coverage=cost.coverage or "",
    )  # fmt: skip


def _sweep_elsewhere(name: str, tuning: Tuning, by: Job) -> Job:
    """All attempts of a sweep, by what the run says whose settings it chose."""
    energy_j = _finite(tuning.energy_j)
    level = "" if energy_j is None else _level(tuning.level)
    return Job(
        run_id=name, kind="trial", status="complete", started=by.started,
        duration_s=_finite(tuning.duration_s, _LONGEST_S) or 0.0, devices=by.devices,
        energy_j=energy_j,
        unsure_j=tuning.uncertainty_j, level=level, scenario=by.scenario, task=by.task,
        model=by.model, recipe=by.recipe, sweep=tuning.sweep, coverage=tuning.coverage,
        count=max(1, tuning.attempts),
    )  # fmt: skip
