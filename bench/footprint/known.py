"""The runs that exist, as a plan draws on them: what the training phase took, and of how much work.

Of a run's training phase: joules and seconds, the examples and the tokens that it learned from, and
what was around it (preparation, evaluation, prediction). Runs that failed teach nothing of this.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from bench import record as records
from bench.checks import computing
from bench.errors import BenchError
from bench.rank.entry import usable_energy_j, written_now
from bench.rank.render import plain
from bench.record import Record

PREPARATION = {"prepare", "other", "save"}
"""Phases that a recipe doesn't shorten."""
_TAIL_BYTES = 1 << 16  # of the events: the last step is told near the end


@dataclass(frozen=True)
class Known:
    """What one run says. Energy is gross, of what its meters covered."""

    run_id: str
    entry: str  # its folder's name, or the run's
    task: str
    model: str
    recipe: str
    device: str  # of one accelerator; of a processor with its cores
    devices: int
    accelerated: bool
    estimated: bool
    level: str
    coverage: str
    settings: Mapping[str, Any]
    parameters: float | None
    examples: float
    tokens: float | None  # None: the run does not say
    train_j: float
    train_s: float
    around_j: float
    around_s: float
    work_j: float  # with evaluations, predictions and charged runs, less preparation
    unsure: float | None  # share of the energy, expanded (k = 2)
    metric: float | None
    code: str = ""
    trial_share: float | None = None  # of a trial that chose its settings, of this training

    @property
    def power_w(self) -> float:
        """Of one device, while it trained."""
        return self.train_j / self.train_s / self.devices

    def units(self, unit: str) -> float | None:
        """How much was done in the training phase: tokens, examples, device-seconds."""
        if unit == "token":
            return self.tokens
        return self.examples if unit == "example" else self.train_s * self.devices


def runs(roots: Iterable[Path]) -> tuple[list[Known], list[str]]:
    """Those below `roots` that say something, each once; a line for each that can't be read."""
    found: dict[str, Known] = {}
    broken = []
    for folder in records.folders(r for r in roots if r.is_dir()):
        try:
            record = records.read(folder)
        except (BenchError, OSError) as error:
            broken.append(f"left out: {getattr(error, 'message', None) or error}")
            continue
        if record.run_id not in found and (run := known(record, folder)):
            found[record.run_id] = run
    return _with_tokens(list(found.values())), broken


def known(record: Record, folder: Path) -> Known | None:
    """None where the training was not whole, or its energy is not known."""
    if record.status not in ("complete", "budget") or not usable_energy_j(record):
        return None
    train_j = record.phase_energy_j("train")
    train_s = sum(p.duration_s for p in record.phases if p.name == "train")
    step = last_step(folder)
    if step is None or not train_j or not train_s or not record.window_energy_j:
        return None
    examples, tokens = _learned(record, step)
    if not examples:
        return None
    devices, device = split_hardware(written_now(record.spec.hardware))
    energy_j, unsure_j = record.energy_j, record.uncertainty_j
    assert energy_j is not None
    return Known(
        run_id=shown(record.run_id),
        entry=shown(folder.parent.name if folder.name == record.run_id else folder.name),
        task=shown(record.spec.task),
        model=shown(record.spec.model),
        recipe=shown(record.spec.recipe),
        device=shown(device),
        devices=max(devices, record.spec.processes),
        accelerated=record.spec.device.startswith("cuda"),
        estimated=record.level == "M0",
        level=record.level,
        coverage=record.coverage,
        settings=record.spec.settings,
        parameters=_positive(record.model_facts.get("parameters")),
        examples=examples,
        tokens=tokens,
        train_j=train_j,
        train_s=train_s,
        around_j=max(0.0, record.window_energy_j - train_j),
        around_s=max(0.0, record.duration_s - train_s),
        work_j=energy_j - _prepared_j(record),
        unsure=None if unsure_j is None else unsure_j / energy_j,
        metric=record.metric.value if record.metric else None,
        code=record.code_sha256,
        trial_share=_trial_share(record),
    )


def shown(name: str) -> str:
    """Of a record that anybody may have written: one line without control characters."""
    return plain(name, 200)


def split_hardware(text: str) -> tuple[int, str]:
    """'8 x NVIDIA H100' is 8 devices; a processor is one with all its cores."""
    nodes = re.match(r"(\d+) nodes? of (.+)", text)
    many, rest = (int(nodes[1]), nodes[2]) if nodes else (1, text)
    each = re.fullmatch(r"(\d+) x (.+)", rest)
    return (many * int(each[1]), each[2]) if each else (many, rest)


def last_step(folder: Path) -> dict[str, Any] | None:
    """The last `step` event of a run's folder; None where there is none."""
    try:
        with (folder / "events.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        if b'"step"' in line:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") == "step":
                return event
    return None


def _learned(record: Record, step: Mapping[str, Any]) -> tuple[float, float | None]:
    """Examples and tokens of this run, less those of earlier parts."""
    last, first = (_positive(step.get(n)) or 0.0 for n in ("step", "first_step"))
    epoch, rows = _positive(step.get("epoch")), record.spec.data.rows.get("train", 0)
    if not last or not epoch or first >= last:
        return 0.0, None
    here = (last - first) / last
    kept = record.model_facts.get("rows_kept_share", 1.0)
    share = kept if isinstance(kept, int | float) and 0 < kept <= 1 else 1.0
    tokens = _positive(step.get("tokens")) or _positive(record.model_facts.get("tokens"))
    of_all = record.spec.processes if step.get("tokens") else 1  # a process tells of its own
    return epoch * here * rows * share, tokens and tokens * here * of_all


def _positive(value: object) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e18
    return float(value) if good else None  # type: ignore[arg-type]


def _prepared_j(record: Record) -> float:
    each = [record.energy_of(p) for p in record.phases if p.name in PREPARATION]
    return sum(e for e in each if e is not None)


def _trial_share(record: Record) -> float | None:
    tuning, energy_j = record.tuning, record.energy_j
    if not tuning or not tuning.energy_j or not tuning.trials or not energy_j:
        return None
    if not tuning.adds_to(record.level, record.coverage):
        return None
    return tuning.energy_j / tuning.trials / energy_j


_OTHER_ROWS = {"data-prune", "length-warmup", "token-budget"}  # they choose texts by length, or few


def _with_tokens(found: Sequence[Known]) -> list[Known]:
    """Runs that don't tell of their tokens have as many in an example as those of the task that
    do and read all texts alike; where none does, none."""
    told: dict[str, list[float]] = defaultdict(list)
    for run in found:
        if run.tokens and not _OTHER_ROWS & set(run.recipe.split("+")):
            told[run.task].append(run.tokens / run.examples)
    return [
        run if run.tokens or run.task not in told
        else replace(run, tokens=run.examples * fmean(told[run.task]))
        for run in found
    ]  # fmt: skip


# --- devices -------------------------------------------------------------------------------------


def same_device(a: str, b: str) -> bool:
    return a.casefold() == b.casefold()


def peak(device: str, recipe: str) -> computing.Peak | None:
    """Of an accelerator in a recipe's number format; None where nothing is known of it."""
    row = computing.accelerator(device)
    if row is None or device[len(row["name"]) : len(row["name"]) + 1].isalnum():
        return None
    return computing.peak(device, set(recipe.split("+")))


def devices(found: Iterable[Known]) -> Iterator[str]:
    """Every device that something is known of."""
    seen = {run.device for run in found}
    yield from sorted(seen)
    yield from (name for name in computing.accelerators() if name not in seen)


def most_common(names: Iterable[str], default: str = "") -> str:
    listed = list(names)
    return max(dict.fromkeys(listed), key=listed.count, default=default)
