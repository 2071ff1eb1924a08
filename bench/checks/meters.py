"""P: each meter is what it says it is, and every accelerator has one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bench.account import window_of
from bench.checks import Found, Problem, computing, rule
from bench.checks.bundle import RunFolder, Surroundings
from bench.checks.metered import (
    DERIVED,
    Floats,
    Metered,
    busy_share,
    doubts,
    measured,
    metered,
    watts,
)
from bench.power.calibration import uncalibrated
from bench.record import DomainEnergy, Record
from bench.units import NS_PER_S

if TYPE_CHECKING:
    from bench.power.probes import Domain

_AT_REST, _USED = 0.05, 0.2  # share of time that a board works
_LOOKED_AT = 60  # readings that tell an estimate from a meter


# --- which devices


@rule(
    "P6", "accelerators",
    "Every accelerator that the run used, and as many as its hardware class names, are metered and "
    "charged; no other one works just when the run does.",
    needs=DERIVED, counting=True,
)  # fmt: skip
def accelerators(run: RunFolder, around: Surroundings) -> Found:
    unmetered = list(doubts(run, "unmetered"))
    yield from unmetered
    if unmetered:
        return
    record = run.record
    boards = [d for d in run.derived.domains if d.kind == "gpu" and _counts(d, run.derived)]
    stated, found = computing.named(record.spec.hardware), Counter(d.device for d in boards)
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
        before = busy_share(busy[t_ns < here.start_ns])
        within = busy_share(busy[(t_ns >= here.start_ns) & (t_ns <= here.stop_ns)])
        after = busy_share(busy[t_ns > here.stop_ns + NS_PER_S])
        if before is None or within is None or after is None:
            continue
        if max(before, after) < _AT_REST and within > _USED:
            text = (
                f"{domain.domain} is not charged, and was {100 * within:.0f} % busy in the window"
            )
            yield Problem(f"{text} alone", {"utilisation": within}, warns=True)


def _counts(domain: DomainEnergy, record: Record) -> bool:
    """Whether it is charged, or a meter of the whole machine is in its place."""
    return domain.charged or any(d.kind == "node" and d.node == domain.node for d in record.charged)


def _text(several: Counter[str]) -> str:
    return " + ".join(f"{n} x {name[:60]}" for name, n in sorted(several.items()))


# --- meters that are none


@rule(
    "P10", "estimates in disguise",
    "What is said to be measured is no function of utilisation, and does not repeat one value; no "
    "GPU is estimated.",
    needs=DERIVED, counting=True,
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
            text = f"{one.name}: nearly all of {len(one.power_w)} readings are {watts(middle_w)}"
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
    needs=DERIVED, counting=True,
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


# --- levels


_IN_THE_MACHINE = {"estimate", "nvml", "rapl"}
"""Meters that read no node, and say what is drawn now."""
_SLOW_S = 2.0  # of a meter in the machine
_SURE = 0.01  # nearer than this nobody knows a counter of a board or package
_CORRECTED = 0.5  # `bench power calibrate` makes no line that changes more


@rule(
    "P17", "levels",
    "A meter has the level of its kind: M3 by a calibration on record, and by that alone; what is "
    "read in the machine is M1, and neither slow nor without doubt.",
    needs=DERIVED, counting=True,
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
