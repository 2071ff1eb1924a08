"""P: times and powers of a run can have been, by its readings and its events.

What each meter is, `meters` looks at; what was computed and learned, `trained`. A run that says of
itself that it does not count (a gap, a counter that fell) is honest, and passes; one that hides it
does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from bench.account import Window, window_of
from bench.checks import Found, Problem, computing, rule
from bench.checks.bundle import RunFolder, Surroundings
from bench.checks.metered import (
    DERIVED,
    Floats,
    busy_share,
    doubts,
    mean_powers,
    measured,
    watts,
    windows,
)
from bench.power.trace import Trace
from bench.record import DomainEnergy, on_node
from bench.units import NS_PER_S, significant

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
    needs=DERIVED, counting=True,
)  # fmt: skip
def sampling(run: RunFolder, around: Surroundings) -> Found:
    found = [(domain, window_s) for domain, window_s in windows(run) if _sparse(domain, window_s)]
    for domain, window_s in found:
        text = f"{domain.domain}: {domain.samples} readings in {significant(window_s)} s"
        yield Problem(text, {"samples": domain.samples, "window_s": window_s})
    if not found:
        yield from doubts(run, "too-few-samples")


def _sparse(domain: DomainEnergy, window_s: float) -> bool:
    if domain.level not in ("M0", "M1") or domain.energy_j is None:
        return False
    least = max(min(LEAST_SAMPLES, 0.8 * SHORT_HZ * window_s), 0.9 * LEAST_HZ * window_s)
    return domain.samples < int(least)


@rule(
    "P3", "gaps", "No meter in the machine is unread for more than three seconds.",
    needs=DERIVED, counting=True,
)  # fmt: skip
def gaps(run: RunFolder, around: Surroundings) -> Found:
    if any(_sparse(domain, window_s) for domain, window_s in windows(run)):
        return  # all of it is one gap after another
    found = [d for d, _ in windows(run)
             if d.level in ("M0", "M1") and (d.largest_gap_s or 0.0) > MOST_GAP_S]  # fmt: skip
    for domain in found:
        gap_s = domain.largest_gap_s
        text = f"{domain.domain}: no reading for {significant(gap_s or 0.0)} s"
        yield Problem(text, {"gap_s": gap_s})
    if not found:
        yield from doubts(run, "gap")


@rule(
    "P4", "power limit",
    "No board draws more than 1.1 times its power limit for two seconds: it may for milliseconds.",
    needs=DERIVED, counting=True,
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
            for_s, limit = f"{_SUSTAINED_S:g} s", watts(limit_w)
            text = f"{one.name}: {watts(most_w)} for {for_s}, and its limit is {limit}"
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
    needs=DERIVED, counting=True,
)  # fmt: skip
def counters(run: RunFolder, around: Surroundings) -> Found:
    yield from doubts(run, "counter")


# --- the window


_WORK = ("run_start", "devices", "model", "phase_start", "phase_stop", "step", "eval", "run_stop")


@rule(
    "P9", "window",
    "All of the work is inside the window: its events from first to last, none before or after, "
    "no accelerator under load before it, and nothing unmetered beside it.",
    needs=DERIVED, counting=True,
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
    powers = {name: (power_w, rest_w) for name, power_w, rest_w, _ in mean_powers(run)}
    begin, end = (
        next((e["t_ns"] for e in run.events if e["event"] == name), None)
        for name in ("idle_before_start", "idle_before_stop")
    )
    for one in measured(run):
        power_w, rest_w = powers.get(one.name, (0.0, None))
        if one.domain.kind != "gpu" or rest_w is None or begin is None or end is None:
            continue
        t_ns, busy = one.t_ns, one.readings("utilisation")
        share = (
            busy_share(busy[(t_ns >= begin) & (t_ns <= end)]) if one.trace is run.trace else None
        )
        if share is not None and share > _BUSY and rest_w > _AT_LOAD * power_w:
            text = (
                f"{one.name} worked before the window: {100 * share:.0f} % busy at {watts(rest_w)}"
            )
            yield Problem(text, {"utilisation": share, "rest_w": rest_w, "power_w": power_w})


# --- what only looks odd


@rule(
    "P12", "power below idle",
    "A measured run draws more than the machine at rest, which was read before it.",
    needs=DERIVED, counting=True,
)  # fmt: skip
def below_idle(run: RunFolder, around: Surroundings) -> Found:
    several = list(mean_powers(run))
    if several and run.derived.idle_before is None:
        text = "power before the window was not read: nobody can see where work began"
        yield Problem(text, warns=True)
    for name, power_w, rest_w, _ in several:
        if rest_w is not None and power_w < 0.9 * rest_w:
            text = f"{name}: {watts(power_w)} in the window, {watts(rest_w)} before it"
            yield Problem(text, {"power_w": power_w, "rest_w": rest_w}, warns=True)


@rule(
    "P13", "tail",
    "Power falls when the work has ended, where the work drew twice what the machine did at rest.",
    needs=DERIVED, counting=True,
)  # fmt: skip
def tail(run: RunFolder, around: Surroundings) -> Found:
    for name, power_w, rest_w, after_w in mean_powers(run):
        if rest_w is None or after_w is None:
            continue
        if power_w > 2 * rest_w and after_w > 0.95 * power_w:
            text = f"{name}: {watts(after_w)} after the window, {watts(power_w)} in it"
            yield Problem(text, {"after_w": after_w, "power_w": power_w}, warns=True)


@rule(
    "P14", "power at rest",
    "An accelerator draws at least what boards of its kind are known to draw at rest: less means "
    "readings that were made smaller, counter and power alike.",
    needs=DERIVED, counting=True,
)  # fmt: skip
def at_rest(run: RunFolder, around: Surroundings) -> Found:
    boards = {d.domain: d.device for d in run.derived.charged if d.kind == "gpu"}
    for name, _, rest_w, _ in mean_powers(run):
        row = computing.accelerator(boards[name]) if name in boards else None
        least_w = row.get("idle_w") if row else None
        if least_w is not None and rest_w is not None and rest_w < least_w:
            text = (
                f"{name}: {watts(rest_w)} before the window; such boards draw {least_w} W or more"
            )
            yield Problem(text, {"rest_w": rest_w, "least_w": least_w}, warns=True)
