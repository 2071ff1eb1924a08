"""P: what a training computed and learned can have been done in its time, with its energy, by its
steps; and beside what other runs took for the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.checks import Found, Problem, Skipped, computing, others, rule
from bench.checks.bundle import RunFolder, Surroundings
from bench.checks.computing import Steps
from bench.checks.metered import DERIVED
from bench.errors import UsageError
from bench.rank import score
from bench.record import Metric, Record, Spec
from bench.units import parse_budget, significant

if TYPE_CHECKING:
    from bench.cards import Card

_SPENT = 0.9  # of a budget, when it is looked at four times a second
_ENOUGH = 3  # other runs that tell what is usual
_FEWER, _THRIFT = 10.0, 3.0  # times less than usual, of operations and of energy


# --- computing


def training(run: RunFolder) -> tuple[Steps, set[str]] | str:
    """What is known of the training, or why nothing is."""
    recipes = computing.recipes_of(run.record.spec.recipe)
    if recipes is None:
        return "the recipe is not bench's own: it may compute anything"
    steps = Steps.of(run)
    return "no step is reported" if steps is None else (steps, recipes)


def floor(run: RunFolder) -> tuple[float, computing.Peak, int] | str:
    """(operations, peak of one device, devices), or why there is no floor."""
    known = training(run)
    if isinstance(known, str):
        return known
    flops = computing.floor_flops(run, *known)
    if flops is None:
        return "the model does not say its layers and width"
    spec = run.record.spec
    if not spec.device.startswith("cuda"):
        cores = run.record.machine.get("cores")
        if type(cores) is not int or not 0 < cores < 1 << 16:
            return "the machine does not say its cores"
        named = re.search(r", (\d{1,5}) cores?$", spec.hardware)
        cores = min(cores, int(named[1])) if named else cores
        return flops, computing.processor(cores, known[1]), spec.nodes
    hardware = computing.named(spec.hardware)
    peaks = [computing.peak(device, known[1]) for device in hardware]
    if len(peaks) != 1 or peaks[0] is None:
        return f"no peak of {spec.hardware[:60]} is known"
    return flops, peaks[0], hardware.total()


def _train_s(run: RunFolder) -> float:
    named = [p.duration_s for p in run.derived.phases if p.name == "train"]
    return sum(named) if named else run.derived.duration_s


@rule(
    "P7", "time to compute",
    "Training takes at least what its products take at the hardware's peak: 2 operations a weight "
    "and token, twice where all weights learn, of the four square matrices of each layer's "
    "attention and one token a row alone; clocks may be 1.1 times the data sheet's.",
    needs=DERIVED, counting=True,
)  # fmt: skip
def time_to_compute(run: RunFolder, around: Surroundings) -> Found:
    found = floor(run)
    if isinstance(found, str):
        yield Skipped(found)
        return
    flops, peak, devices = found
    least_s, train_s = flops / (devices * peak.flops * computing.BOOST), _train_s(run)
    if train_s < least_s:
        text = (
            f"it trained for {significant(train_s)} s; {flops:.2e} operations take "
            f"{significant(least_s)} s at least"
        )
        yield Problem(text, {"flops": flops, "train_s": train_s, "least_s": least_s})


@rule(
    "P8", "energy to compute",
    "Training on a known accelerator takes at least a third of the energy that these products take "
    "at its peak and default power limit.",
    needs=DERIVED, counting=True,
)  # fmt: skip
def energy_to_compute(run: RunFolder, around: Surroundings) -> Found:
    found = floor(run)
    if isinstance(found, str) or found[1].power_w is None:
        yield Skipped(found if isinstance(found, str) else "the energy of processors has no floor")
        return
    flops, peak, devices = found
    energy_j = run.derived.phase_energy_j("train")
    energy_j = run.derived.window_energy_j if energy_j is None else energy_j
    possible = flops / (devices * peak.flops * computing.BOOST) <= _train_s(run)  # else P7 says it
    least_j = flops * (found[1].power_w or 0.0) / (peak.flops * computing.BOOST * computing.THRIFT)
    if possible and energy_j is not None and energy_j < least_j:
        text = (
            f"it trained with {significant(energy_j)} J; {flops:.2e} operations take "
            f"{significant(least_j)} J at least"
        )
        yield Problem(text, {"flops": flops, "energy_j": energy_j, "least_j": least_j})


# --- all of it


@rule(
    "P15", "training as asked",
    "A complete run made all steps that its settings ask for, and its steps read all of its rows; "
    "one that ended with its budget had spent it.",
    needs=DERIVED, counting=True,
)  # fmt: skip
def trained(run: RunFolder, around: Surroundings) -> Found:
    record = run.record
    known = training(run)
    if isinstance(known, str):
        if record.status == "complete" and computing.recipes_of(record.spec.recipe):
            yield Problem(f"{known}: nothing says that it trained")
        else:
            yield Skipped(known)
        return
    steps, recipes = known
    if record.status == "complete" and "early-stop" not in recipes and steps.last < steps.total:
        yield Problem(f"{steps.last:,} of {steps.total:,} steps were made",
                      {"steps": steps.last, "total": steps.total})  # fmt: skip
    elif not computing.as_asked(run, steps, recipes):
        epochs = record.spec.settings.get("epochs")
        text = f"{steps.total:,} steps are not {epochs} epochs of {significant(steps.per_epoch)}"
        yield Problem(text, {"total": steps.total})
    yield from _spent(record, steps)
    numbers = [e["step"] for e in run.events if e["event"] == "step"]
    if any(after <= before for before, after in pairwise(numbers)):
        yield Problem("the numbers of its steps go back")
    yield from _all_rows(run, steps, around)


def _spent(record: Record, steps: Steps) -> Iterator[Problem]:
    """What ended because a budget was spent has a budget, and has spent it."""
    if record.status != "budget":
        return
    try:
        budget = parse_budget(record.spec.budget or "", counted=True)
    except UsageError:
        yield Problem(f"it ended with its budget, and {str(record.spec.budget)[:40]!r} is none")
        return
    took = {"energy_j": record.window_energy_j, "duration_s": record.duration_s,
            "steps": float(steps.last)}  # fmt: skip
    for name, spent in took.items():
        limit = getattr(budget, name)
        if limit and spent is not None and spent < _SPENT * limit:
            text = f"it ended with its budget of {budget.text[:40]}, of which it had spent"
            numbers = {"spent": spent, "limit": limit}
            yield Problem(f"{text} {100 * spent / limit:.3g} %", numbers, warns=True)


def _all_rows(run: RunFolder, steps: Steps, around: Surroundings) -> Iterator[Problem]:
    """An epoch has a batch for each `batch_size` rows, of tasks whose rows are examples."""
    card, size = around.card(run.record), run.record.spec.settings.get("batch_size")
    if card is None or card.family not in ("classification", "regression", "tagging"):
        return
    if type(size) is not int or size < 1:
        yield Problem(f"its batches are of {str(size)[:20]!r} rows")
        return
    if not steps.epochs_here:
        return
    rows = computing.rows_read(run, steps) / steps.epochs_here
    if steps.per_epoch * size < 0.99 * rows:
        text = f"{steps.per_epoch:,.0f} batches of {size} are not {rows:,.0f} rows"
        yield Problem(text, {"batches": steps.per_epoch, "rows": rows})


# --- beside other runs


@rule(
    "P16", "too good",
    "A run that reaches silver has computed at least a tenth of what each other run on the board "
    "did that reached it, once three have.",
    needs=DERIVED, counting=True,
)  # fmt: skip
def too_good(run: RunFolder, around: Surroundings) -> Found:
    card, own = around.card(run.record), _learned(run.record)
    if card is None or card.reference is None or own is None or not _is_silver(own, card):
        return
    beside = (_learned_in(f) for i, f in around.others.items()
              if i != run.record.run_id and f.parent.parent.name == own.task)  # fmt: skip
    beaten = [o.flops for o in beside if o and o[:3] == own[:3] and _is_silver(o, card)]
    if len(beaten) >= _ENOUGH and own.flops < min(beaten) / _FEWER:
        text = f"{own.flops:.2g} operations; each other run with silver took {min(beaten):.2g}"
        yield Problem(text, {"flops": own.flops, "least_flops": min(beaten)}, warns=True)


class Learned(NamedTuple):
    """What a run that may be ranked has reached, and what it took."""

    task: str
    track: str
    board: str
    metric: Metric
    flops: float


def _learned(record: Record) -> Learned | None:
    """By rule of thumb, 6 operations a weight and row; None where something is not known."""
    weights, epochs = record.model_facts.get("parameters"), record.spec.settings.get("epochs")
    rows = record.spec.data.rows.get("train", 0)
    if not isinstance(weights, int | float) or not isinstance(epochs, int | float):
        return None
    if record.metric is None or not record.rankable or min(weights, epochs, rows) <= 0:
        return None
    spec, metric = record.spec, record.metric.model_copy(update={"correct": None})
    flops = 6.0 * weights * rows * epochs
    return Learned(spec.task, spec.track, spec.data.board(), metric, flops)


@cache
def _learned_in(folder: Path) -> Learned | None:
    """The same of a run submitted before."""
    run = RunFolder(folder, folder.name)
    return None if run.fault("record") else _learned(run.record)


def _is_silver(learned: Learned, card: Card) -> bool:
    value, chance = learned.metric.value, learned.metric.chance
    best, scale = learned.metric.best, learned.metric.scale
    assert card.reference
    try:
        asked = score.thresholds(card.reference, chance, best, scale)
        return score.skill(value, chance, best, scale) >= asked.get("silver", np.inf)
    except (ValueError, ZeroDivisionError):
        return False


@rule(
    "P18", "too thrifty",
    "Training takes at least a third of the energy that other runs took a row, with the same "
    "model, recipe and hardware, once three have told; batches that are larger may save as much.",
    needs=DERIVED, counting=True,
)  # fmt: skip
def too_thrifty(run: RunFolder, around: Surroundings) -> Found:
    own_j, like = others.row_j(run.derived), others.made_with(run.derived)
    if own_j is None:
        return
    size = _batch(run.record.spec)
    usual = [
        known.row_j * min(1.0, _batch(known.spec) / size)
        for known in others.submitted(around)
        if known.row_j is not None and known.made_with == like
    ]
    if len(usual) >= _ENOUGH and own_j < median(usual) / _THRIFT:
        text = f"training took {significant(own_j)} J a row; {len(usual)} other runs with the same"
        text += f" model, recipe and hardware {significant(median(usual))} J"
        yield Problem(text, {"row_j": own_j, "median_j": median(usual)}, warns=True)


def _batch(spec: Spec) -> int:
    size = spec.settings.get("batch_size")
    return size if isinstance(size, int) and 0 < size < 1 << 53 else 1
