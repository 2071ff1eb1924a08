"""What a run rests on: the parts before it, and the runs that made the weights it began with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bench import record as records
from bench.errors import BenchError, UsageError
from bench.record import DomainEnergy, Metered, Record, RunCost, Saved, Warn

WEIGHTS = "weights/model.safetensors"
"""In a run's folder: what other runs may start from."""

STATES = ("state-0.safetensors", "state-1.safetensors")
"""There, in turn: what the run is continued from, and the one before, for when all is killed
between a new file and the word that it is there."""

SIGNATURE = "run.json"
"""Beside saved weights: the run that made them, so that a copy of the folder still tells."""

LIMITS = ("epochs", "max_steps", "max_tokens")
"""Settings that say when a training ends; others may not change when it is continued."""


def saved(record: Record, name: Literal["state", "weights"]) -> Saved | None:
    """What a run has kept, as its record says."""
    return next((s for s in record.saved if s.name == name), None)


def part(record: Record, folder: Path) -> RunCost:
    """A run as the last part before another one: what its own window took."""
    settings = record.spec.settings
    limits = {name: settings[name] for name in LIMITS if name in settings}
    return _cost(_alone(record), folder, "part", "state").model_copy(
        update={"limits": {"budget": record.spec.budget, **limits}}
    )


def check_teacher(record: Record, folder: Path, task: str) -> None:
    """UsageError where a run can't be the teacher of one of this task."""
    why = None
    if record.spec.task != task:
        why = f"it learned {record.spec.task}, not {task}"
    elif record.status != "complete":
        why = f"it is {record.status}"
    elif (kept := saved(record, "weights")) is None:
        why = "it kept no weights (--save keeps them)"
    elif _sha256(folder / WEIGHTS) != kept.sha256:
        why = f"{folder / WEIGHTS} is not what it kept"
    if why:
        raise UsageError(f"run {record.run_id} can't be a teacher: {why}")


def _sha256(path: Path) -> str | None:
    """Of a file's bytes; None where it can't be read."""
    try:
        return records.file_sha256(path)
    except OSError:
        return None


def teacher(record: Record, folder: Path) -> RunCost:
    """A run whose weights teach another one: all that it cost."""
    return _cost(record, folder, "teacher", "weights")


def _alone(record: Record) -> Record:
    """The record without what is charged to it from elsewhere."""
    return record.model_copy(update={"charged_runs": []})


def upstream(weights: Path) -> list[RunCost]:
    """The runs that made the weights in a folder, the last one first: empty where no run of bench
    says that it made them. One whose record is not at hand has an unknown energy."""
    made_by = _made_by(weights)
    if made_by is None:
        return []
    try:
        record = records.read(weights.parent)
    except (BenchError, OSError):
        return _signed(weights, made_by)
    if record.run_id != made_by:
        return _signed(weights, made_by)
    return _upstream_of(record, weights.parent)


def settle(folder: Path, record: Record) -> None:
    """After a run: remove what was being kept when it ended, and write beside the weights what they
    cost."""
    sweep(folder)
    for name in set(STATES) - {s.file for s in record.saved}:
        (folder / name).unlink(missing_ok=True)
    if saved(record, "weights"):
        costs = [cost.model_dump(mode="json") for cost in _upstream_of(record, folder)]
        path = (folder / WEIGHTS).with_name(SIGNATURE)
        records.write_file(path, json.dumps(costs, indent=1) + "\n")


def sweep(folder: Path) -> None:
    """Remove what was being written when a run, or its disk, ended."""
    for path in folder.glob(".*.partial"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def doubts(record: Record) -> list[Warn]:
    """Why a sum over a run and what is charged to it is not like that of one run."""
    said = []
    others = record.charged_runs
    if elsewhere := _other([record.spec.hardware], (c.hardware for c in others)):
        text = f"charged runs used other hardware: {elsewhere}; this one {record.spec.hardware}"
        said.append(Warn(id="parts-hardware", message=text, rankable=False))
    own = _alone(record).level
    if levels := _other([own], (c.level for c in others)):
        text = f"charged runs were measured at {levels}, this one at {own}: {record.level} counts"
        said.append(Warn(id="parts-level", message=text))
    if covered := _other([record.coverage], (c.coverage for c in others)):
        text = f"charged runs covered {covered}: {record.coverage} was covered throughout"
        said.append(Warn(id="parts-coverage", message=text))
    return said


def _other(own: list[str], found: Iterable[str | None]) -> str:
    return ", ".join(sorted({str(f) for f in found} - set(own)))


def _upstream_of(record: Record, folder: Path) -> list[RunCost]:
    return [_cost(record, folder, "upstream", "weights"), *record.upstream]


def _cost(
    record: Record,
    folder: Path,
    role: Literal["part", "teacher", "upstream"],
    took: Literal["state", "weights"],
) -> RunCost:
    kept = saved(record, took)
    return RunCost(
        role=role,
        run_id=record.run_id,
        record_sha256=records.file_sha256(folder / "record.json"),
        task=record.spec.task,
        model=record.spec.model,
        hardware=record.spec.hardware,
        level=record.level,
        coverage=record.coverage,
        energy_j=record.energy_j,
        uncertainty_j=record.uncertainty_j,
        band_j=band_j(record),
        duration_s=record.total_duration_s,
        step=kept.step if kept else None,
    )


def band_j(record: Metered) -> tuple[float, float] | None:
    """Between what and what an energy may lie, where some of it is estimated."""
    others = record.charged_runs if isinstance(record, Record) else []
    counted: list[DomainEnergy | RunCost] = [*record.charged, *others]
    if record.energy_j is None or not any(c.band_j for c in counted):
        return None
    ends = [c.band_j or (c.energy_j or 0.0, c.energy_j or 0.0) for c in counted]
    return sum(low for low, _ in ends), sum(high for _, high in ends)


def _made_by(weights: Path) -> str | None:
    """The id of the run that a folder's config.json names."""
    try:
        config: Any = json.loads((weights / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    found = config.get("bench_run") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None


def _signed(weights: Path, run_id: str) -> list[RunCost]:
    """As the signature has it; without one, a run of which nothing is known."""
    try:
        told: Any = json.loads((weights / SIGNATURE).read_bytes())
        costs = [RunCost.model_validate(cost) for cost in told]
        if costs and costs[0].run_id == run_id:
            return costs
    except (OSError, ValueError, TypeError, ValidationError):
        pass
    unknown: dict[str, Any] = dict.fromkeys(RunCost.model_fields)
    return [RunCost(**unknown | {"role": "upstream", "run_id": run_id, "limits": {}})]
