"""What each step away from the runs that a plan rests on may change: least, middle, most, and where
that comes from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from bench.checks import computing
from bench.footprint import known
from bench.footprint.known import Known
from bench.footprint.planned import Asked, Factor
from bench.units import significant

# What is assumed where no run says anything.
_ELSEWHERE = math.sqrt(0.580 / 0.279)
_ELSEWHERE_SOURCE = (
    "four GPU models took 0.279 to 0.580 kWh for the same work: Zeus NSDI 2023 traces, BERT base"
)
_OTHER_PROCESSOR = 2.0
_TOGETHER = 1.4  # what devices that wait for each other may add at most
_ROWS = {"token": (0.5, 1.2), "example": (1 / 3, 3.0)}
_SHOWN_POWER = 0.5


def of_meter(runs: Sequence[Known]) -> Iterator[Factor]:
    each = [r.unsure for r in runs if r.unsure is not None]
    if each:
        u = min(fmean(each), 0.9)
        kind = "model of the estimate" if runs[0].estimated else "meter"
        yield Factor(kind, 1 - u, 1, 1 + u, "as the records state it, k = 2", "energy")


def of_scatter(asked: Asked, runs: Sequence[Known]) -> Iterator[Factor]:
    """Of what a unit takes in energy, and in time."""
    batches = sorted({str(r.settings.get("batch_size")) for r in runs}, key=lambda b: (len(b), b))
    sizes = f", batches of {' and '.join(batches)}" if len(batches) > 1 else ""
    tasks = {r.task for r in runs}
    of = f", {len(tasks)} tasks" if len(tasks) > 1 else ""
    many = "a single run: its scatter is not known" if len(runs) == 1 else f"{len(runs)} runs"
    joules = [per_unit(r, asked.unit) for r in runs]
    yield _extremes("runs", joules, f"{many}{sizes}{of}", "energy")
    if asked.unit != "second":
        seconds = [s_per_unit(r, asked.unit) for r in runs]
        yield _extremes("runs", seconds, f"{many}{sizes}{of}", "time")


def _extremes(name: str, values: Sequence[float], source: str, of: str) -> Factor:
    middle = fmean(values)
    return Factor(name, min(values) / middle, 1, max(values) / middle, source, of)


def of_device(device: str, asked: Asked, recipe: str) -> tuple[Factor, ...] | None:
    """From one device to another, in the number format of the runs; None where their data sheets
    are not at hand."""
    if known.same_device(device, asked.device):
        return ()
    if not asked.accelerated:
        source = f"assumed: a factor of {_OTHER_PROCESSOR:g} either way between processors"
        wide = _OTHER_PROCESSOR
        return (Factor("other processor", 1 / wide, 1, wide, source, assumed=True),)
    there, here = known.peak(device, recipe), known.peak(asked.device, recipe)
    if not (there and here and there.power_w and here.power_w):
        return None
    power, speed = here.power_w / there.power_w, here.flops / there.flops
    sheets = f"data sheets: {_sheet(asked.device, here)}; {_sheet(device, there)}"
    middle = power if asked.unit == "second" else power / speed
    scaled = [
        Factor("power and peak of the device", middle, middle, middle, sheets, "energy"),
        Factor("other device", 1 / _ELSEWHERE, 1, _ELSEWHERE, _ELSEWHERE_SOURCE),
    ]
    if asked.unit != "second":
        scaled.insert(
            1, Factor("peak of the device", 1 / speed, 1 / speed, 1 / speed, sheets, "time")
        )
    return tuple(scaled)


def _sheet(device: str, peak: computing.Peak) -> str:
    return f"{device} {significant(peak.flops / 1e12)} TFLOP/s at {peak.power_w:g} W"


def of_size(
    asked: Asked, runs: Sequence[Known], others: Sequence[Known], device: str
) -> Iterator[Factor]:
    """What another size makes of energy and time: a power of the ratio of parameters.

    Work grows as 6 N, what it takes by less: small models leave a device idle. The power that the
    two nearest models show is the middle downwards, from nothing less to in proportion; upwards it
    is the least, in proportion the most, and the middle lies between. No device does better than
    its peak."""
    names = " and ".join(dict.fromkeys(r.model for r in (*runs, *others)))
    if asked.unit == "second":
        watts = [r.power_w for r in (*runs, *others)]
        middle = fmean(r.power_w for r in runs)
        source = f"power of the models that are nearest in size: {names}"
        yield Factor("other size", min(watts) / middle, 1, max(watts) / middle, source, "energy")
        return
    ratio = (asked.parameters or 1.0) / (runs[0].parameters or 1.0)
    every: tuple[tuple[str, Callable[[Known, str], float]], ...] = (
        ("energy", per_unit), ("time", s_per_unit)
    )  # fmt: skip
    for of, each in every:
        power = _power_law(asked.unit, runs, others, each)
        shown = _SHOWN_POWER if power is None else power
        low, middle, high = sorted(
            ratio**e for e in ((shown, (1 + shown) / 2, 1) if ratio > 1 else (1, shown, 0))
        )
        least = _least(asked, device, of) / fmean(each(r, asked.unit) for r in runs)
        low, middle = max(low, least), max(middle, least)
        said = "assumed, as there is one model" if power is None else f"as between {names}"
        size = f"{significant(ratio)} times the parameters, to the power of"
        ends = f"{shown:.2f} ({said}) to 1, as operations grow"
        source = f"{size} {ends if ratio > 1 else f'0 to 1, in the middle {shown:.2f} ({said})'}"
        yield Factor("other size", low, middle, max(high, middle), source, of)


def _power_law(
    unit: str, runs: Sequence[Known], others: Sequence[Known],
    each: Callable[[Known, str], float],
) -> float | None:  # fmt: skip
    """By which what a unit takes grows with parameters, between two models: 0 to 1."""
    if not others:
        return None
    sizes = [math.log(some[0].parameters or 1.0) for some in (runs, others)]
    taken = [math.log(fmean(each(r, unit) for r in some)) for some in (runs, others)]
    if sizes[0] == sizes[1]:
        return None
    return min(1.0, max(0.0, (taken[1] - taken[0]) / (sizes[1] - sizes[0])))


def _least(asked: Asked, device: str, of: str) -> float:
    """J or s that 6 N operations of a token take at the peak of the device of the runs; 0 where
    nothing is known of it, or of how many tokens an example has."""
    peak = known.peak(device, asked.recipe)
    if peak is None or not peak.power_w or asked.unit != "token":
        return 0.0
    seconds = 6 * (asked.parameters or 0.0) / peak.flops
    return seconds * (peak.power_w if of == "energy" else 1.0)


def of_devices(asked: Asked, runs: Sequence[Known]) -> Factor:
    have = known.most_common(str(r.devices) for r in runs)
    source = f"assumed: up to {_TOGETHER:g} times, as devices wait; the runs had {have}"
    return Factor("devices together", 1, math.sqrt(_TOGETHER), _TOGETHER, source, assumed=True)


def of_rows(asked: Asked, runs: Sequence[Known], pool: Sequence[Known]) -> Iterator[Factor]:
    """Rows of another task have another length."""
    if asked.unit == "second" or (asked.task and {r.task for r in runs} == {asked.task}):
        return
    low, high = _ROWS[asked.unit]
    tasks = " and ".join(sorted({r.task for r in runs}))
    said = f"the runs had rows of {tasks}"
    seen = _between_tasks(asked.unit, runs, pool)
    if seen and asked.unit == "example":
        (low, high), how = seen, "a row of other tasks takes so much here"
        yield Factor("other rows", min(low, 1), 1, max(high, 1), f"{said}; {how}")
        return
    length = fmean((r.tokens or 0) / r.examples for r in runs)
    said += f" ({significant(length, 2)} tokens)" if length else ""
    why = "assumed: longer rows waste less, attention costs more"
    yield Factor("other rows", low, 1, high, f"{said}; {why}", assumed=True)


def _between_tasks(
    unit: str, runs: Sequence[Known], pool: Sequence[Known]
) -> tuple[float, float] | None:
    """Least and most that a unit of another task takes, of one model on one machine."""
    tasks = {r.task for r in runs}
    groups: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for run in pool:
        group = groups.setdefault((run.model, run.device, run.recipe), {})
        group.setdefault(run.task, []).append(per_unit(run, unit))
    ratios = [
        fmean(values) / fmean(v for t in tasks & set(group) for v in group[t])
        for group in groups.values() if tasks & set(group) and set(group) - tasks
        for values in group.values()
    ]  # fmt: skip
    return (min(ratios), max(ratios)) if ratios else None


def of_trials(found: Sequence[Known], estimated: bool) -> Factor:
    """As sweeps here had it, whose energy is of the same kind."""
    each = [r.trial_share for r in found if r.trial_share and r.estimated == estimated]
    if not each:
        return Factor("a trial, of a training", 1, 1, 1, "counted as a whole training")
    least = min(1.0, *each)
    source = (
        f"counted as a whole training; in the sweeps here a trial took {least:.0%} at least: "
        "some were ended early"
    )
    return Factor("a trial, of a training", least, 1, 1, source)


def per_unit(run: Known, unit: str) -> float:
    """J."""
    return run.train_j / (run.units(unit) or 1.0)


def s_per_unit(run: Known, unit: str) -> float:
    """Of one device."""
    return run.train_s * run.devices / (run.units(unit) or 1.0)
