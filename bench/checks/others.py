"""An entry's runs as one, and what is known of those that were submitted before."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from bench import submission
from bench.checks import Found, Look, Skipped, computing
from bench.checks.bundle import EntryFolder, RunFolder, Surroundings
from bench.record import Metric, Record, Reference, Spec, Tuning
from bench.submission import EntryFile
from bench.units import NS_PER_S

_FEWEST_PHASES, _FEWEST_ROWS = 3, 10  # fewer are alike by chance

LookAtRuns = Callable[[EntryFolder, list[RunFolder], Surroundings], Found]


def of_runs(look: LookAtRuns) -> Look:
    """A look at all runs that an entry submits. Without one of their records there is none, and a
    retraction has no runs."""

    @wraps(look)
    def looked(entry: EntryFolder, around: Surroundings) -> Found:
        if entry.entry.kind != "runs":
            return
        runs = own_runs(entry)
        if not runs or any(run.fault("record") for run in runs):
            yield Skipped("the record of a run can't be read")
            return
        yield from look(entry, runs, around)

    return looked


def own_runs(entry: EntryFolder) -> list[RunFolder]:
    """Those that it submits; not those that these are charged for."""
    named = set(entry.entry.runs)
    return [run for run in entry.runs if run.folder.name in named]


@dataclass(frozen=True)
class Known:
    """What the rules ask of a run that was submitted before."""

    run_id: str
    place: str  # of its entry
    key: str  # of spec and code
    spec: Spec
    machine: dict[str, Any]
    tuning: Tuning | None
    reference: Reference | None
    marks: frozenset[tuple[str, str]]
    made_with: tuple[Any, ...]
    row_j: float | None


def submitted(around: Surroundings) -> Iterator[Known]:
    """Each is read once."""
    memory = around.memory.setdefault("known", {})
    for folder in around.others.values():
        if folder not in memory:
            memory[folder] = _known(folder)
        if found := memory[folder]:
            yield found


def _known(folder: Path) -> Known | None:
    """None where it can't be read, which a check of that entry says."""
    run = RunFolder(folder, folder.name)
    if run.fault("record"):
        return None
    r = run.record
    return Known(
        r.run_id, submission.place(folder.parent), r.entry_key(), r.spec, r.machine, r.tuning,
        r.reference, frozenset(marks(r)), made_with(r), row_j(r),
    )  # fmt: skip


def made_with(record: Record) -> tuple[Any, ...]:
    """What two trainings share that take much the same energy a row."""
    spec = record.spec
    return (
        spec.task, spec.model, spec.recipe, spec.hardware, spec.processes, record.level,
        record.coverage,
    )  # fmt: skip


def row_j(record: Record) -> float | None:
    """What training took for a row that it read, by a meter; None where anything but its epochs
    ended it, or some of it is elsewhere."""
    spec, kept = record.spec, record.model_facts.get("rows_kept_share", 1.0)
    epochs, took_j = spec.settings.get("epochs"), record.phase_energy_j("train")
    ended = spec.settings.get("max_steps") or spec.settings.get("max_tokens") or (
        computing.LIMITED & set(spec.recipe.split("+"))
    )  # fmt: skip
    if record.status != "complete" or ended or record.parts or record.level == "M0":
        return None
    if not isinstance(epochs, int | float) or not isinstance(kept, int | float):
        return None
    rows = spec.data.rows.get("train", 0) * epochs * kept
    return took_j / rows if took_j is not None and rows > 0 else None


def marks(record: Record) -> Iterator[tuple[str, str]]:
    """What its record alone says of a run and no other one's does, however its files are written:
    what took how many nanoseconds, and which of many rows were right."""
    if len(record.phases) >= _FEWEST_PHASES:
        yield "times", str([(p.name, round(p.duration_s * NS_PER_S)) for p in record.phases])
    metric = record.metric
    if metric and metric.correct and min(_right_and_wrong(metric)) >= _FEWEST_ROWS:
        yield "answers", f"{record.spec.data.labels_sha256} {metric.n} {metric.correct}"


def _right_and_wrong(metric: Metric) -> tuple[int, int]:
    right = sum(byte.bit_count() for byte in base64.b64decode(metric.correct or ""))
    return right, metric.n - right


def entries(around: Surroundings) -> dict[str, EntryFile]:
    """Place -> what it says, of those that were submitted before and can be read."""
    memory = around.memory.setdefault("entries", {})
    for place, folder in around.entries.items():
        if place not in memory:
            memory[place] = _entry_file(folder)
    return {place: memory[place] for place in around.entries if memory[place]}


def corrections(entry: EntryFolder, around: Surroundings) -> set[str]:
    """Places of what an entry corrects, and of what has corrected it since, step by step."""
    corrected = {place: other.supersedes for place, other in entries(around).items()}
    heirs = {old: new for new, old in corrected.items() if old}
    back, on = entry.entry.supersedes, heirs.get(entry.where)
    return {*_steps(back, corrected), *_steps(on, heirs)}


def _steps(place: str | None, following: Mapping[str, str | None]) -> Iterator[str]:
    seen = set[str]()
    while place and place not in seen:
        seen.add(place)
        yield place
        place = following.get(place)


def _entry_file(folder: Path) -> EntryFile | None:
    entry = EntryFolder(folder, folder.name, [], submitted=True)
    return None if entry.fault("entry") else entry.entry
