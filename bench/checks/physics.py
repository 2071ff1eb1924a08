"""P: what a meter says, and what a computer did, can have been.

These look at the readings and events themselves. A run that says of itself that it does not count
(a gap, a counter that fell) is honest, and passes; one that hides it does not.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.account import Window, window_of
from bench.checks import Found, Problem, Skipped, computing, others, rule
from bench.checks.bundle import RunFolder, Surroundings
from bench.checks.computing import Steps
from bench.errors import UsageError
from bench.power.calibration import uncalibrated
from bench.power.trace import Trace
from bench.rank import score
from bench.record import DomainEnergy, Metric, Record, Spec, on_node
from bench.units import NS_PER_S, parse_budget, significant

if TYPE_CHECKING:
    from bench.cards import Card
    from bench.power.probes import Domain

Floats = NDArray[np.float64]

_DERIVED = ("record", "events", "trace", "derived")

_DAY_S = 86_400.0
_STARTED_S = (-5.0, 600.0)  # from `started_at` to the first clock: other machines are waited for
_BACK_NS = NS_PER_S // 10  # events of several senders may cross each other
LEAST_HZ, LEAST_SAMPLES, SHORT_HZ, MOST_GAP_S = 1.0, 60, 10.0, 3.0
_OVER, _SUSTAINED_S = 1.1, 2.0  # boards exceed their limit for milliseconds
_LEAST_WINDOW_S = 0.5  # Python alone takes longer
_EDGE_S = 0.5
_UNSEEN_S = 3.0  # from the power at rest to the window: reading all meters once
_SETTLED_S = 120.0  # until all machines have handed over what they metered
_BUSY, _AT_LOAD = 0.5, 0.7  # shares: of time, and of the window's power
_AT_REST, _USED = 0.05, 0.2  # share of time that a board works
_LOOKED_AT = 60  # readings that tell an estimate from a meter


@dataclass(frozen=True)
class Metered:
    """A domain of a trace, with its readings inside the run's window."""

    name: str  # as the record has it
    domain: Domain
    window: Window
    trace: Trace

    @property
    def t_ns(self) -> NDArray[np.int64]:
        return self.trace.series[self.domain.name].t_ns

    def readings(self, what: str) -> Floats:
        """A column of the trace; NaN where it was not read."""
        found: Floats = getattr(self.trace.series[self.domain.name], what)
        return found

    def within(self, values: Floats) -> Floats:
        t_ns = self.t_ns
        found: Floats = values[(t_ns >= self.window.start_ns) & (t_ns <= self.window.stop_ns)]
        return found

    @property
    def power_w(self) -> Floats:
        """Inside the window, of those read; of a meter that has a counter alone, between its
        readings."""
        power_w = self.within(self.readings("power_w"))
        if np.isfinite(power_w).any():
            return power_w[np.isfinite(power_w)]
        t_s, energy_j = self.within(self.t_ns / NS_PER_S), self.within(self.readings("energy_j"))
        read = np.isfinite(energy_j)
        apart_s = np.diff(t_s[read])
        found: Floats = np.diff(energy_j[read])[apart_s > 0] / apart_s[apart_s > 0]
        return found


def metered(run: RunFolder) -> Iterator[Metered]:
    """Every domain that counts, of all machines."""
    charged = {d.domain for d in run.derived.charged}
    parts = {0: (run.events, run.trace), **run.nodes}
    for number, (events, trace) in parts.items():
        window = window_of(events, trace)
        for domain in trace.domains:
            if (name := on_node(number, domain.name)) in charged:
                yield Metered(name, domain, window, trace)


def measured(run: RunFolder) -> Iterator[Metered]:
    return (m for m in metered(run) if m.domain.level != "M0")


def _w(power_w: float) -> str:
    return f"{significant(power_w)} W"


# --- time


@rule(
    "P1", "time",
    "Clocks go forward: readings and events in order, no two readings at once, the wall clock as "
    "the record's start, and nothing in the future.",
    needs=("record", "events", "trace", "nodes"),
)  # fmt: skip
def clocks(run: RunFolder, around: Surroundings) -> Found:
    record = run.record
    try:
        started_s = datetime.fromisoformat(record.started_at).timestamp()
    except (ValueError, OverflowError, OSError):
        yield Problem(f"{record.started_at[:60]!r} is no time")
        return
    if started_s > time.time() + _DAY_S:
        yield Problem(f"it was started in the future: {record.started_at[:40]}")
    parts = {0: (run.events, run.trace), **run.nodes}
    for number, (events, trace) in parts.items():
        yield from _order(number, events, trace)
    begun = run.trace.clocks[:1]
    for _, real_ns, _ in begun:
        late_s = real_ns / NS_PER_S - started_s
        if not _STARTED_S[0] <= late_s <= _STARTED_S[1]:
            text = (
                f"its meter began {significant(late_s)} s after it was started, by the wall clock"
            )
            yield Problem(text, {"late_s": late_s})


def _order(number: int, events: list[dict[str, Any]], trace: Trace) -> Iterator[Problem]:
    for name, series in trace.series.items():
        if (np.diff(series.t_ns) <= 0).any():
            at = int(np.argmax(np.diff(series.t_ns) <= 0))
            yield Problem(f"{on_node(number, name)}: reading {at + 2} is not after the one before")
    ticks = [c[0] for c in trace.clocks]
    if any(after <= before for before, after in pairwise(ticks)):
        yield Problem("the clocks of the trace go back")
    if not ticks and trace.stop_ns - trace.start_ns > 2 * NS_PER_S:
        yield Problem("no clock joins the readings to a time of day")
    latest_ns = 0
    for event in events:
        if event["t_ns"] < latest_ns - _BACK_NS:
            back_s = (latest_ns - event["t_ns"]) / NS_PER_S
            yield Problem(f"{event['event'][:40]} comes {significant(back_s)} s before what was "
                          "written before it", {"back_s": back_s})  # fmt: skip
            return
        latest_ns = max(latest_ns, event["t_ns"])


# --- readings


@rule(
    "P2", "sampling",
    "Meters in the machine were read at least once a second and 60 times, or ten times a second in "
    "a shorter run; slower ones outside of it as often as they can be.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def sampling(run: RunFolder, around: Surroundings) -> Found:
    found = [(domain, window_s) for domain, window_s in _windows(run) if _sparse(domain, window_s)]
    for domain, window_s in found:
        text = f"{domain.domain}: {domain.samples} readings in {significant(window_s)} s"
        yield Problem(text, {"samples": domain.samples, "window_s": window_s})
    if not found:
        yield from _doubt(run, "too-few-samples")


def _windows(run: RunFolder) -> Iterator[tuple[DomainEnergy, float]]:
    """Each domain that counts, and how long the window of its machine was."""
    of = {node.number: node.duration_s for node in run.derived.nodes}
    for domain in run.derived.charged:
        yield domain, of.get(domain.node, run.derived.duration_s)


def _sparse(domain: DomainEnergy, window_s: float) -> bool:
    if domain.level not in ("M0", "M1") or domain.energy_j is None:
        return False
    least = max(min(LEAST_SAMPLES, 0.8 * SHORT_HZ * window_s), 0.9 * LEAST_HZ * window_s)
    return domain.samples < int(least)


def _doubt(run: RunFolder, id_: str) -> Iterator[Problem]:
    """What follows from the readings and keeps a run from being ranked."""
    for doubt in run.derived.warnings:
        if doubt.id == id_ and not doubt.rankable:
            yield Problem(doubt.message)


@rule(
    "P3", "gaps", "No meter in the machine is unread for more than three seconds.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def gaps(run: RunFolder, around: Surroundings) -> Found:
    if any(_sparse(domain, window_s) for domain, window_s in _windows(run)):
        return  # all of it is one gap after another
    found = [d for d, _ in _windows(run)
             if d.level in ("M0", "M1") and (d.largest_gap_s or 0.0) > MOST_GAP_S]  # fmt: skip
    for domain in found:
        gap_s = domain.largest_gap_s
        text = f"{domain.domain}: no reading for {significant(gap_s or 0.0)} s"
        yield Problem(text, {"gap_s": gap_s})
    if not found:
        yield from _doubt(run, "gap")


@rule(
    "P4", "power limit",
    "No board draws more than 1.1 times its power limit for two seconds: it may for milliseconds.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def limits(run: RunFolder, around: Surroundings) -> Found:
    for one in measured(run):
        limit_w = one.domain.facts.get("power_limit_w")
        if not isinstance(limit_w, int | float) or not limit_w > 0:
            continue
        power_w = one.within(one.readings("power_w"))
        t_s = one.within(one.t_ns / NS_PER_S)
        read = np.isfinite(power_w)
        most_w = _sustained(t_s[read], power_w[read])
        if most_w > _OVER * limit_w:
            text = (
                f"{one.name}: {_w(most_w)} for {_SUSTAINED_S:g} s, and its limit is {_w(limit_w)}"
            )
            yield Problem(text, {"power_w": most_w, "limit_w": float(limit_w)})


def _sustained(t_s: Floats, power_w: Floats) -> float:
    """The highest mean over two seconds; 0 where there are no two seconds of readings."""
    if len(t_s) < 2 or t_s[-1] - t_s[0] < _SUSTAINED_S:
        return 0.0
    sums_j = np.concatenate([[0.0], np.cumsum(np.diff(t_s) * (power_w[1:] + power_w[:-1]) / 2)])
    begins = np.linspace(t_s[0], t_s[-1] - _SUSTAINED_S, min(len(t_s), 20_000))
    joules = np.interp(begins + _SUSTAINED_S, t_s, sums_j) - np.interp(begins, t_s, sums_j)
    return float(joules.max() / _SUSTAINED_S)


@rule(
    "P5", "counter", "Energy counters never go back, leap, or stand still under power.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def counters(run: RunFolder, around: Surroundings) -> Found:
    yield from _doubt(run, "counter")


# --- which devices


_NODES = re.compile(r"(\d{1,6}) nodes of (.*)", re.DOTALL)
_SEVERAL = re.compile(r"(\d{1,6}) x (.+)", re.DOTALL)


@rule(
    "P6", "accelerators",
    "Every accelerator that the run used, and as many as its hardware class names, are metered and "
    "charged; no other one works just when the run does.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def accelerators(run: RunFolder, around: Surroundings) -> Found:
    unmetered = list(_doubt(run, "unmetered"))
    yield from unmetered
    if unmetered:
        return
    record = run.record
    boards = [d for d in run.derived.domains if d.kind == "gpu" and _counts(d, run.derived)]
    stated, found = _named(record.spec.hardware), Counter(d.device for d in boards)
    standing_in = any(m.domain.kind == "gpu" and not m.domain.uuid for m in metered(run))
    if stated != found and not standing_in:
        texts = [_text(c) or "none" for c in (stated, found)]
        yield Problem(f"its hardware is {texts[0]}; metered: {texts[1]}",
                      {"stated": stated.total(), "metered": found.total()})  # fmt: skip
        return
    used = {u for e in run.events if e["event"] == "devices" for u in e.get("uuids", ())}
    if record.spec.device.startswith("cuda") and not used:
        yield Problem(f"it does not say which accelerator {record.spec.device[:20]} was")
    yield from _left_out(run)


def _left_out(run: RunFolder) -> Iterator[Problem]:
    """Boards that are not charged and were busy during the run, not before it and not after."""
    trace, here = run.trace, window_of(run.events, run.trace)
    for domain in run.derived.domains:
        if domain.kind != "gpu" or domain.node or _counts(domain, run.derived):
            continue
        if (series := trace.series.get(domain.domain)) is None:
            continue
        t_ns, busy = series.t_ns, series.utilisation
        before = _share(busy[t_ns < here.start_ns])
        within = _share(busy[(t_ns >= here.start_ns) & (t_ns <= here.stop_ns)])
        after = _share(busy[t_ns > here.stop_ns + NS_PER_S])
        if before is None or within is None or after is None:
            continue
        if max(before, after) < _AT_REST and within > _USED:
            text = (
                f"{domain.domain} is not charged, and was {100 * within:.0f} % busy in the window"
            )
            yield Problem(f"{text} alone", {"utilisation": within}, warns=True)


def _share(busy: Floats) -> float | None:
    read = busy[np.isfinite(busy)]
    return float(read.mean()) if len(read) else None


def _counts(domain: DomainEnergy, record: Record) -> bool:
    """Whether it is charged, or a meter of the whole machine is in its place."""
    return domain.charged or any(d.kind == "node" and d.node == domain.node for d in record.charged)


def _named(hardware: str) -> Counter[str]:
    """Name -> number, of `2 nodes of 8 x NVIDIA H100`, `1 x A + 1 x B`, `1 x A; CPU C, 2 cores`."""
    times, found = 1, Counter[str]()
    if several := _NODES.fullmatch(hardware):
        times, hardware = int(several[1]), several[2]
        if ";" in hardware:
            times = 1
    for part in re.split(r"; | \+ ", hardware):
        if (one := _SEVERAL.fullmatch(part)) and one[2] != "unknown GPU":
            found[one[2]] += times * int(one[1])
    return found


def _text(several: Counter[str]) -> str:
    return " + ".join(f"{n} x {name[:60]}" for name, n in sorted(several.items()))


# --- computing


def _training(run: RunFolder) -> tuple[Steps, set[str]] | str:
    """What is known of the training, or why nothing is."""
    recipes = computing.recipes_of(run.record.spec.recipe)
    if recipes is None:
        return "the recipe is not bench's own: it may compute anything"
    steps = Steps.of(run)
    return "no step is reported" if steps is None else (steps, recipes)


def _floor(run: RunFolder) -> tuple[float, computing.Peak, int] | str:
    """(operations, peak of one device, devices), or why there is no floor."""
    known = _training(run)
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
    hardware = _named(spec.hardware)
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
    needs=_DERIVED, counting=True,
)  # fmt: skip
def time_to_compute(run: RunFolder, around: Surroundings) -> Found:
    found = _floor(run)
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
    needs=_DERIVED, counting=True,
)  # fmt: skip
def energy_to_compute(run: RunFolder, around: Surroundings) -> Found:
    found = _floor(run)
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


# --- the window


_WORK = ("run_start", "devices", "model", "phase_start", "phase_stop", "step", "eval", "run_stop")


@rule(
    "P9", "window",
    "All of the work is inside the window: its events from first to last, none before or after, "
    "no accelerator under load before it, and nothing unmetered beside it.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def window(run: RunFolder, around: Surroundings) -> Found:
    here = window_of(run.events, run.trace)
    if here.duration_s < _LEAST_WINDOW_S:
        text = f"a window of {significant(here.duration_s)} s: nothing is trained in that"
        yield Problem(text, {"window_s": here.duration_s})
        return
    work = [e for e in run.events if e["event"] in _WORK]
    names = {e["event"] for e in work}
    for name in ("run_start", "run_stop"):
        if name not in names:
            yield Problem(f"no {name}: the window does not hold all of the run")
    edge_ns = int(_EDGE_S * NS_PER_S)
    outside = [
        e for e in work
        if not here.start_ns - edge_ns <= e["t_ns"] <= here.stop_ns + edge_ns
    ]  # fmt: skip
    if outside:
        first = outside[0]
        off_s = max(here.start_ns - first["t_ns"], first["t_ns"] - here.stop_ns) / NS_PER_S
        text = (
            f"{len(outside)} events are outside of it; {first['event']} by {significant(off_s)} s"
        )
        yield Problem(text, {"events": len(outside), "off_s": off_s})
        return
    yield from _late(run, here)
    yield from _unseen(run, here)
    yield from _worked_before(run)


def _unseen(run: RunFolder, here: Window) -> Iterator[Problem]:
    """Between the power at rest and the window nothing has time to work, unless others are waited
    for."""
    at = {e["event"]: e["t_ns"] for e in run.events if e["event"].startswith("idle_")}
    edges = {
        "before": (at.get("idle_before_stop", here.start_ns), here.start_ns),
        "after": (here.stop_ns, at.get("idle_after_start", here.stop_ns)),
    }
    for where, (begin_ns, end_ns) in edges.items():
        gap_s = (end_ns - begin_ns) / NS_PER_S
        if gap_s > _UNSEEN_S and run.record.spec.nodes == 1:
            text = f"{significant(gap_s)} s lie between the window and the power at rest {where} it"
            yield Problem(text, {"gap_s": gap_s}, warns=True)


def _late(run: RunFolder, here: Window) -> Iterator[Problem]:
    """The meter's own last word comes when the tail has been read, not long after."""
    told = [e["t_ns"] for e in run.events if e["event"] in ("outcome", "idle_after_stop")]
    tail_s = run.derived.idle_after.duration_s if run.derived.idle_after else 0.0
    late_s = (max(told, default=here.stop_ns) - here.stop_ns) / NS_PER_S - tail_s
    if late_s > _SETTLED_S:
        text = f"the run ended {significant(late_s)} s after its window"
        yield Problem(text, {"late_s": late_s})


def _worked_before(run: RunFolder) -> Iterator[Problem]:
    """How busy accelerators were is told by some of their readings alone."""
    powers = {name: (power_w, rest_w) for name, power_w, rest_w, _ in _powers(run)}
    begin, end = (
        next((e["t_ns"] for e in run.events if e["event"] == name), None)
        for name in ("idle_before_start", "idle_before_stop")
    )
    for one in measured(run):
        power_w, rest_w = powers.get(one.name, (0.0, None))
        if one.domain.kind != "gpu" or rest_w is None or begin is None or end is None:
            continue
        t_ns, busy = one.t_ns, one.readings("utilisation")
        share = _share(busy[(t_ns >= begin) & (t_ns <= end)]) if one.trace is run.trace else None
        if share is not None and share > _BUSY and rest_w > _AT_LOAD * power_w:
            text = f"{one.name} worked before the window: {100 * share:.0f} % busy at {_w(rest_w)}"
            yield Problem(text, {"utilisation": share, "rest_w": rest_w, "power_w": power_w})


# --- meters that are none


@rule(
    "P10", "estimates in disguise",
    "What is said to be measured is no function of utilisation, and does not repeat one value; no "
    "GPU is estimated.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def disguised(run: RunFolder, around: Surroundings) -> Found:
    for domain in run.trace.domains:
        if domain.kind == "gpu" and domain.level == "M0":
            yield Problem(f"{domain.name}: bench estimates no GPU")
    for one in measured(run):
        if one.name.endswith(":estimate"):
            yield Problem(f"{one.name} is said to be measured at {one.domain.level}")
        elif _follows(one):
            yield Problem(f"{one.name}: its power is a linear function of its utilisation")
        elif one.domain.level == "M1" and _constant(one.power_w):
            middle_w = float(np.median(one.power_w))
            text = f"{one.name}: nearly all of {len(one.power_w)} readings are {_w(middle_w)}"
            yield Problem(text, {"power_w": middle_w}, warns=True)


def _follows(one: Metered) -> bool:
    """Whether power is a + b x utilisation, to a thousandth of how far it moves."""
    power_w = one.within(one.readings("power_w"))
    busy = one.within(one.readings("utilisation"))
    read = np.isfinite(power_w) & np.isfinite(busy)
    power_w, busy = power_w[read], busy[read]
    if len(power_w) < _LOOKED_AT or len(np.unique(busy)) < 3 or np.ptp(power_w) <= 0:
        return False
    rows = np.stack([busy, np.ones(len(busy))], axis=1)
    line, *_ = np.linalg.lstsq(rows, power_w, rcond=None)
    return bool(np.max(np.abs(rows @ line - power_w)) < 1e-3 * np.ptp(power_w))


def _constant(power_w: Floats) -> bool:
    """Whether nearly all readings are one value, as no board's are under work."""
    if len(power_w) < _LOOKED_AT:
        return False
    _, times = np.unique(np.round(power_w, 6), return_counts=True)
    return bool(times.max() > 0.95 * len(power_w))


@rule(
    "P11", "twice the same",
    "No two domains are one device, or have the same readings.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def twice(run: RunFolder, around: Surroundings) -> Found:
    several = list(measured(run))
    for i, one in enumerate(several):
        for other in several[:i]:
            if one.domain.uuid and one.domain.uuid == other.domain.uuid:
                yield Problem(f"{other.name} and {one.name} are one device")
            elif _alike(one, other):
                yield Problem(f"{other.name} and {one.name} have the same readings")


def _alike(one: Metered, other: Metered) -> bool:
    """Whether the one's power is the other's, at the same or at other times."""
    a, b = one.power_w, other.power_w
    n = min(len(a), len(b))
    return n >= _LOOKED_AT and not _constant(a) and bool(np.array_equal(a[:n], b[:n]))


_IN_THE_MACHINE = {"estimate", "nvml", "rapl"}
"""Meters that read no node, and say what is drawn now."""
_SLOW_S = 2.0  # of a meter in the machine
_SURE = 0.01  # nearer than this nobody knows a counter of a board or package
_CORRECTED = 0.5  # `bench power calibrate` makes no line that changes more


@rule(
    "P17", "levels",
    "A meter has the level of its kind: M3 by a calibration on record, and by that alone; what is "
    "read in the machine is M1, and neither slow nor without doubt.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def levels(run: RunFolder, around: Surroundings) -> Found:
    for one in measured(run):
        why = _why_no_calibration(one.domain) or _why_another_level(one)
        if why:
            yield Problem(f"{one.name}: {why}")


def _why_no_calibration(domain: Domain) -> str | None:
    line = domain.facts.get("calibration")
    if (domain.level == "M3") != bool(line):
        return f"at level {domain.level}, and {'a' if line else 'no'} calibration is on record"
    if not line:
        return None
    low_w, gain, offset_w = line["range_w"][0], line["gain"], line["offset_w"]
    if line["uncertainty"] != domain.gain:
        return f"calibrated to {line['uncertainty']:g}, and its gain is {domain.gain:g}"
    if abs(gain - 1) > _CORRECTED or gain * low_w + offset_w < (1 - _CORRECTED) * low_w:
        return f"{gain:g} times what was read and {offset_w:g} W is no calibration"
    return None


def _why_another_level(one: Metered) -> str | None:
    plain, used = uncalibrated(one.domain), one.trace.facts.get("probes")
    names = set(map(str, used)) if isinstance(used, list) else set()
    if names and names <= _IN_THE_MACHINE and (plain.level != "M1" or plain.kind == "node"):
        return f"{plain.kind} at level {plain.level}, by {', '.join(sorted(names))}"
    if plain.level != "M1":
        return None
    for fact in ("period_s", "counter_period_s", "power_average_s"):
        if (seconds := plain.facts.get(fact) or 0.0) > _SLOW_S:
            return f"{fact} of {seconds:g} s, of a meter in the machine"
    return f"a gain of {plain.gain:g} without a calibration" if plain.gain < _SURE else None


# --- what only looks odd


@rule(
    "P12", "power below idle",
    "A measured run draws more than the machine at rest, which was read before it.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def below_idle(run: RunFolder, around: Surroundings) -> Found:
    several = list(_powers(run))
    if several and run.derived.idle_before is None:
        text = "power before the window was not read: nobody can see where work began"
        yield Problem(text, warns=True)
    for name, power_w, rest_w, _ in several:
        if rest_w is not None and power_w < 0.9 * rest_w:
            text = f"{name}: {_w(power_w)} in the window, {_w(rest_w)} before it"
            yield Problem(text, {"power_w": power_w, "rest_w": rest_w}, warns=True)


def _powers(run: RunFolder) -> Iterator[tuple[str, float, float | None, float | None]]:
    """Name and mean watts in, before and after the window, of each domain that is measured."""
    before, after = run.derived.idle_before, run.derived.idle_after
    for domain, window_s in _windows(run):
        if domain.level != "M0" and domain.energy_j is not None and window_s > 0:
            rest_w, after_w = (i.power_w.get(domain.domain) if i else None for i in (before, after))
            yield domain.domain, domain.energy_j / window_s, rest_w, after_w


@rule(
    "P13", "tail",
    "Power falls when the work has ended, where the work drew twice what the machine did at rest.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def tail(run: RunFolder, around: Surroundings) -> Found:
    for name, power_w, rest_w, after_w in _powers(run):
        if rest_w is None or after_w is None:
            continue
        if power_w > 2 * rest_w and after_w > 0.95 * power_w:
            text = f"{name}: {_w(after_w)} after the window, {_w(power_w)} in it"
            yield Problem(text, {"after_w": after_w, "power_w": power_w}, warns=True)


@rule(
    "P14", "power at rest",
    "An accelerator draws at least what boards of its kind are known to draw at rest: less means "
    "readings that were made smaller, counter and power alike.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def at_rest(run: RunFolder, around: Surroundings) -> Found:
    boards = {d.domain: d.device for d in run.derived.charged if d.kind == "gpu"}
    for name, _, rest_w, _ in _powers(run):
        row = computing.accelerator(boards[name]) if name in boards else None
        least_w = row.get("idle_w") if row else None
        if least_w is not None and rest_w is not None and rest_w < least_w:
            text = f"{name}: {_w(rest_w)} before the window; such boards draw {least_w} W or more"
            yield Problem(text, {"rest_w": rest_w, "least_w": least_w}, warns=True)


# --- what was learned


@rule(
    "P15", "training as asked",
    "A complete run made all steps that its settings ask for, and its steps read all of its rows; "
    "one that ended with its budget had spent it.",
    needs=_DERIVED, counting=True,
)  # fmt: skip
def trained(run: RunFolder, around: Surroundings) -> Found:
    record = run.record
    known = _training(run)
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


_SPENT = 0.9  # of a budget, when it is looked at four times a second


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


@rule(
    "P16", "too good",
    "A run that reaches silver has computed at least a tenth of what each other run on the board "
    "did that reached it, once three have.",
    needs=_DERIVED, counting=True,
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


_ENOUGH, _FEWER = 3, 10.0


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
    needs=_DERIVED, counting=True,
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


_THRIFT = 3.0


def _batch(spec: Spec) -> int:
    size = spec.settings.get("batch_size")
    return size if isinstance(size, int) and 0 < size < 1 << 53 else 1
