"""Energy of one domain over a window, from its readings, and how sure that is.

The counter is primary. It moves in ticks (10 to 100 ms on GPUs), so a plain difference is off by up
to power x tick at each edge: the instants at which it moved are located, and it is interpolated
between them, in the shape of the power readings where there are any. The trapezoid over power is
kept beside it, and takes its place where there is no counter or the counter can't be believed.
What could not be read is missing, never zero.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bench.power.probes import Domain, Mark

if TYPE_CHECKING:
    from bench.record import DomainEnergy, Warn

BAND = (0.6, 1.4)  # of an estimate: published validations found errors up to 40 %
MOST_GAP_S = 3.0
LEAST_HZ, LEAST_SAMPLES = 1.0, 60  # or 10 Hz over the whole of a shorter window

_DENSE_S = 0.02  # readings this close show when a counter moved
_POLL_S = 0.006  # as close as readings come
_STAMP_S = 0.001  # how far off the time of a reading may be: half of what a call may take
_UNIFORM = 2 / math.sqrt(3)  # k = 2 of an error that is uniform within plus and minus 1
_EDGE_S = 0.5  # a window may reach this far beyond the readings
_FROZEN_S = 1.0
_LEAP = 2.0  # times the power limit: boards may exceed it for milliseconds
_TREND_S = 0.5  # the stretch that says how power would have gone on beyond the last tick
_DOUBTFUL, _WRONG = (0.03, 2.0), (0.05, 3.0)  # disagreement: share, or times the uncertainty
OF_THE_TRACE = {"sampler-hung": False, "sampler-died": False, "replayed": False, "log-failed": True}
_SERIOUS = {"contended", "probe-failed"}  # marks that make the energy unfit for a rank

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]


@dataclass(frozen=True)
class Series:
    """The readings of one domain in order of time; NaN where something could not be read."""

    t_ns: Instants  # CLOCK_MONOTONIC
    power_w: Floats
    energy_j: Floats  # cumulative, from any origin
    utilisation: Floats
    clock_mhz: Floats
    temperature_c: Floats


@dataclass(frozen=True)
class Sure:
    """A value and its expanded uncertainty (k = 2)."""

    value: float
    uncertainty: float


class Curve:
    """Energy of one domain as a function of time. Times are seconds from its first reading."""

    def __init__(self, domain: Domain, series: Series, marks: list[Mark], rate_hz: float) -> None:
        self.domain = domain
        self.marks = marks
        self.period_s = 1 / rate_hz
        t_ns, first = np.unique(series.t_ns, return_index=True)
        self._origin_ns = int(t_ns[0]) if len(t_ns) else 0
        t = self._seconds(t_ns)
        power_w, energy_j = series.power_w[first], series.energy_j[first]
        has_power, has_energy = np.isfinite(power_w), np.isfinite(energy_j)
        average_s = float(domain.facts.get("power_average_s", 0.0))
        limit_w = float(domain.facts.get("power_limit_w") or math.inf)
        self.integral = Integral(t[has_power], power_w[has_power], average_s)
        self.counter = TickedCounter(t[has_energy], energy_j[has_energy], self.integral, limit_w)

    def _seconds(self, t_ns: Instants) -> Floats:
        return (t_ns - self._origin_ns) / 1e9

    @cached_property
    def method(self) -> Literal["counter", "integral", "missing"]:
        """What the energy is taken from, the same for every window of a trace."""
        if self.counter.usable and not self.counter.distrust:
            return "counter"
        return "integral" if self.integral.usable else "missing"

    def joules(self, start_ns: int, stop_ns: int) -> float:
        """Energy between two instants by the curve's method; additive over adjoining windows."""
        start, stop = self._seconds(np.array([start_ns, stop_ns], np.int64))
        if self.method == "counter":
            return self.counter.at(stop).value - self.counter.at(start).value
        return self.integral.to(stop) - self.integral.to(start)

    def energy(self, start_ns: int, stop_ns: int) -> tuple[DomainEnergy, list[Warn]]:
        """Energy of a window with what qualifies it, and the reasons to doubt it."""
        from bench.record import DomainEnergy

        start, stop = self._seconds(np.array([start_ns, stop_ns], np.int64))
        cover = self._cover(start, stop)
        reason = self.why_missing(start_ns, stop_ns)
        counter = self.counter.between(start, stop) if self.counter.usable else None
        integral = self.integral.between(start, stop) if self.integral.usable else None
        chosen = counter if self.method == "counter" else integral
        disagreement = None
        if counter and integral and counter.value > 0:
            disagreement = abs(counter.value - integral.value) / counter.value
        energy_j = unsure_j = None
        if chosen and not reason:
            energy_j, unsure_j = chosen.value, self._uncertainty_j(chosen, start, stop)
        modelled = self.domain.level == "M0"
        tick_s = self.counter.tick_s if self.counter.usable else None
        energy = DomainEnergy(
            domain=self.domain.name,
            kind=self.domain.kind,  # type: ignore[arg-type]
            device=self.domain.device,
            method="missing" if energy_j is None else "modelled" if modelled else self.method,
            level=self.domain.level,  # type: ignore[arg-type]
            charged=True,
            energy_j=energy_j,
            uncertainty_j=unsure_j,
            counter_j=counter.value if counter and not modelled else None,
            integral_j=integral.value if integral and not modelled else None,
            disagreement=None if modelled else disagreement,
            coverage=cover.share,
            samples=cover.samples,
            largest_gap_s=cover.largest_gap_s,
            counter_tick_s=None if modelled else tick_s,
            reason=reason or self.domain.reason,
            band_j=(energy_j * BAND[0], energy_j * BAND[1]) if modelled and energy_j else None,
        )
        return energy, self._doubts(energy, counter, integral, start, stop)

    def _uncertainty_j(self, chosen: Sure, start: float, stop: float) -> float:
        """Of the meter itself, of the edges, and of calls that took long just there."""
        if self.domain.level == "M0":
            return chosen.value * (BAND[1] - 1)
        mean_w = chosen.value / max(stop - start, 1e-9)
        slow_j = [mean_w * self._slow_s(edge) for edge in (start, stop)]
        return math.hypot(self.domain.gain * chosen.value, chosen.uncertainty, *slow_j)

    def _slow_s(self, x: float) -> float:
        """How far off the time of readings near `x` may be because the driver took so long."""
        slow = [m for m in self.marks if m.id == "slow" and m.value]
        return max((m.value or 0 for m in slow if abs(self._mark_s(m) - x) < 1), default=0.0)

    def _cover(self, start: float, stop: float) -> Cover:
        return Cover.of(
            self.counter.t if self.method == "counter" else self.integral.t, start, stop
        )

    def why_missing(self, start_ns: int, stop_ns: int) -> str | None:
        """Why there is no energy of this window at all; None when there is."""
        start, stop = self._seconds(np.array([start_ns, stop_ns], np.int64))
        cover = self._cover(start, stop)
        if self.method == "missing" and self.counter.usable and self.counter.distrust:
            return f"{self.counter.distrust}, and there are no power readings to integrate"
        if self.method == "missing" or not cover.samples:
            return self._last_error(stop) or "no reading in the window"
        least_s = max(_EDGE_S, 3 * self.period_s)
        if cover.late_s > least_s:
            return f"no reading in the first {cover.late_s:.1f} s of {stop - start:.1f} s"
        if cover.early_s > least_s:
            error = self._last_error(stop)
            read_s = stop - start - cover.early_s
            return f"no reading after {read_s:.1f} of {stop - start:.1f} s" + (
                f": {error}" if error else ""
            )
        return None

    def _last_error(self, stop: float) -> str | None:
        ids = ("unreadable", "lost", "hung", "probe-failed")
        found = [m for m in self.marks if m.id in ids and self._mark_s(m) <= stop + MOST_GAP_S]
        return found[-1].message if found else None

    def _mark_s(self, mark: Mark) -> float:
        return (mark.t_ns - self._origin_ns) / 1e9

    # --- doubts

    def _doubts(
        self,
        energy: DomainEnergy,
        counter: Sure | None,
        integral: Sure | None,
        start: float,
        stop: float,
    ) -> list[Warn]:
        from bench.record import Warn

        name = self.domain.name
        if energy.energy_j is None:
            return [Warn(id="missing", message=f"{name}: {energy.reason}", rankable=False)]
        doubts = self._mark_doubts(start, stop)
        if self.counter.usable and self.counter.distrust:
            text = f"{name}: {self.counter.distrust}; energy is the integral of power"
            doubts.append(Warn(id="counter", message=text, rankable=False))
        elif counter and integral and energy.disagreement is not None:
            doubts += _disagreement(name, energy.disagreement, counter, integral)
        if energy.largest_gap_s is not None and energy.largest_gap_s > MOST_GAP_S:
            text = f"{name}: no reading for {energy.largest_gap_s:.1f} s"
            doubts.append(Warn(id="gap", message=text, rankable=False))
        doubts += self._sampling_doubts(energy.samples, stop - start)
        if self.domain.facts.get("mig"):
            text = f"{name}: the board is divided (MIG); its readings are the whole board's"
            doubts.append(Warn(id="mig", message=text, rankable=False))
        return doubts

    def _sampling_doubts(self, samples: int, duration_s: float) -> list[Warn]:
        from bench.record import Warn

        least = min(LEAST_SAMPLES, math.floor(0.8 * duration_s / min(self.period_s, 0.1)))
        if samples >= max(least, LEAST_HZ * 0.9 * duration_s):
            return []
        text = f"{self.domain.name}: {samples} readings in {duration_s:.1f} s are too few"
        return [Warn(id="too-few-samples", message=text, rankable=False)]

    def _mark_doubts(self, start: float, stop: float) -> list[Warn]:
        """One doubt for each kind of mark in the window, with how often and the worst value."""
        from bench.record import Warn

        inside = [m for m in self.marks if start - 1 <= self._mark_s(m) <= stop + 1]
        doubts = []
        for id, count in Counter(m.id for m in inside).items():
            if id in OF_THE_TRACE:
                continue
            worst = max((m for m in inside if m.id == id), key=lambda m: m.value or 0.0)
            often = f" ({count} times)" if count > 1 else ""
            text = f"{self.domain.name}: {worst.message}{often}"
            doubts.append(Warn(id=id, message=text, rankable=id not in _SERIOUS))
        return doubts


def _disagreement(name: str, share: float, counter: Sure, integral: Sure) -> list[Warn]:
    from bench.record import Warn

    unsure = math.hypot(counter.uncertainty, integral.uncertainty) / counter.value
    if share <= max(_DOUBTFUL[0], _DOUBTFUL[1] * unsure):
        return []
    text = (
        f"{name}: the counter says {counter.value:.4g} J, the integral of power "
        f"{integral.value:.4g} J, {100 * share:.1f} % apart"
    )
    rankable = share <= max(_WRONG[0], _WRONG[1] * unsure)
    return [Warn(id="disagreement", message=text, rankable=rankable)]


@dataclass(frozen=True)
class Cover:
    """How readings cover a window."""

    samples: int  # within it
    late_s: float  # from its start to the first reading, if none came before
    early_s: float  # from the last reading to its end, if none came after
    largest_gap_s: float | None
    share: float

    @classmethod
    def of(cls, t: Floats, start: float, stop: float) -> Cover:
        near = t[max(0, np.searchsorted(t, start, "right") - 1) : np.searchsorted(t, stop) + 1]
        inside = int(np.sum((near >= start) & (near <= stop)))
        if not len(near) or near[0] > stop or near[-1] < start:
            return cls(0, stop - start, stop - start, None, 0.0)
        late_s, early_s = max(0.0, near[0] - start), max(0.0, stop - near[-1])
        gaps = [late_s, early_s, *np.diff(near)]
        covered_s = max(0.0, stop - start - late_s - early_s)
        share = covered_s / (stop - start) if stop > start else 1.0
        return cls(max(inside, 1), float(late_s), float(early_s), float(max(gaps)), float(share))


@dataclass(frozen=True)
class Tick:
    """How often a register changes, s, how sure that is, and how much it varies (k = 2)."""

    length_s: float
    unsure_s: float
    jitter_s: float

    @classmethod
    def measure(cls, t: Floats, values: Floats) -> Tick | None:
        """From where readings are thick; None where they are not, or nothing changed.

        A register that changes faster than it is read yields the time between readings: an upper
        bound, which is all that is needed. Reading every 5 ms scatters the length by itself; what
        is left of the scatter is the register's.
        """
        moved = np.flatnonzero(np.diff(values) != 0) + 1
        if len(moved) < 2:
            return None
        width, apart = t[moved] - t[moved - 1], np.diff(t[moved])
        thick = (width[1:] <= _DENSE_S) & (width[:-1] <= _DENSE_S) & (apart <= _FROZEN_S)
        if not thick.any():
            return None
        middle_s = float(np.median(apart[thick]))
        near = thick & (np.abs(apart - middle_s) <= max(middle_s / 4, _POLL_S))
        by_reading = float(np.mean(width[1:][near] ** 2 + width[:-1][near] ** 2)) / 12
        own = max(0.0, float(np.var(apart[near])) - by_reading)
        unsure_s = 2 * math.sqrt((by_reading + own) / int(np.sum(near)))
        return cls(float(np.mean(apart[near])), unsure_s, 2 * math.sqrt(own))


class Integral:
    """Energy as the trapezoid over readings of power, which may be means over `average_s`."""

    def __init__(self, t: Floats, power_w: Floats, average_s: float = 0.0) -> None:
        self.t, self.power_w, self.average_s = t, power_w, average_s
        self._sums = np.concatenate(
            [[0.0], np.cumsum(np.diff(t) * (power_w[1:] + power_w[:-1]) / 2)]
        )

    @property
    def usable(self) -> bool:
        return len(self.t) >= 2

    def to(self, x: float) -> float:
        """Joules from the first reading to `x`; outside the readings the nearest one holds."""
        if x <= self.t[0]:
            return float(self.power_w[0] * (x - self.t[0]))
        if x >= self.t[-1]:
            return float(self._sums[-1] + self.power_w[-1] * (x - self.t[-1]))
        k = int(np.searchsorted(self.t, x, "right")) - 1
        share = (x - self.t[k]) / (self.t[k + 1] - self.t[k])
        at_x = self.power_w[k] + share * (self.power_w[k + 1] - self.power_w[k])
        return float(self._sums[k] + (self.power_w[k] + at_x) / 2 * (x - self.t[k]))

    def between(self, start: float, stop: float) -> Sure:
        """Power may step anywhere between two readings: an error uniform over the step's area.

        In a gap it may have been anything that it was elsewhere in the window. Averages lag: what
        happened within one average of an edge may lie on its other side.
        """
        t, power_w = self._near(start, stop)
        steps_s, changes_w = np.diff(t), np.abs(np.diff(power_w))
        if len(steps_s):
            regular_s = np.median(steps_s[steps_s > _DENSE_S]) if steps_s.max() > _DENSE_S else 0.1
            changes_w = np.where(steps_s > 5 * regular_s, np.ptp(power_w), changes_w)
        variance = float(np.sum((changes_w * steps_s) ** 2)) / 12
        lags_j = [self.average_s / 2 * self._swing_w(edge) for edge in (start, stop)]
        unsure_j = math.hypot(2 * math.sqrt(variance), *lags_j)
        return Sure(self.to(stop) - self.to(start), unsure_j)

    def _near(self, start: float, stop: float) -> tuple[Floats, Floats]:
        """The readings of a window and the one on each side of it."""
        first = max(0, int(np.searchsorted(self.t, start, "right")) - 1)
        last = int(np.searchsorted(self.t, stop)) + 1
        return self.t[first:last], self.power_w[first:last]

    def blindness(self, start: float, stop: float) -> tuple[float, float]:
        """(the longest time without news within a short window, s; the swing around it, W)."""
        t, power_w = self._near(start, stop)
        wider = self._near(2 * start - stop, 2 * stop - start)[1]
        longest_s = float(np.max(np.diff(t))) if len(t) > 1 else stop - start
        return max(longest_s, self._refresh_s), float(np.ptp(wider)) if len(power_w) else 0.0

    @cached_property
    def _refresh_s(self) -> float:
        """How often the register of power is renewed; 0 where it never changed."""
        tick = Tick.measure(self.t, self.power_w)
        return tick.length_s if tick else 0.0

    def _swing_w(self, x: float) -> float:
        """How far power swings within one average of `x`."""
        near = self._near(x - self.average_s, x + self.average_s)[1]
        return float(np.ptp(near)) if self.average_s and len(near) else 0.0


class TickedCounter:
    """A cumulative counter that moves in ticks, with the instants at which it moved.

    A tick came after the last reading of the old value and not after the first of the new one. Two
    things narrow that down: it came at most one tick before that first reading, and where thick
    readings show the next tick well, one tick earlier is where this one was.
    """

    def __init__(
        self, t: Floats, energy_j: Floats, integral: Integral, limit_w: float = math.inf
    ) -> None:
        self.t, self.energy_j = t, energy_j
        self._integral = integral
        self._limit_w = limit_w
        self._moved = np.flatnonzero(np.diff(energy_j) != 0) + 1
        self._tick = Tick.measure(t, energy_j)
        self.tick_s = self._tick.length_s if self._tick else None

    @property
    def usable(self) -> bool:
        return len(self._moved) >= 2

    @cached_property
    def distrust(self) -> str | None:
        """Why the counter can't be believed: it went back, leapt, or stood still under power."""
        falls = np.flatnonzero(np.diff(self.energy_j) < 0)
        if len(falls):
            k = falls[0]
            return f"the counter went back by {self.energy_j[k] - self.energy_j[k + 1]:.4g} J"
        leap_j = self._largest_leap_j()
        if leap_j:
            return f"the counter leapt by {leap_j:.4g} J, more than the power limit allows"
        still_s = self._longest_still_s()
        if still_s > max(_FROZEN_S, 10 * (self.tick_s or 0.0)):
            return f"the counter stood still for {still_s:.1f} s"
        return None

    def at(self, x: float) -> Sure:
        """The counter's value at `x`, J, and the uncertainty that its ticks leave."""
        at, unsure = self._located
        values = self.energy_j[self._moved]
        j = int(np.searchsorted(at, x, "right")) - 1
        if j < 0 or j == len(at) - 1:
            return self._beyond(x, max(j, 0))
        span_s, joules = at[j + 1] - at[j], values[j + 1] - values[j]
        share, bend = self._share(x, j)
        shift = joules / span_s * ((1 - share) * unsure[j] + share * unsure[j + 1])
        return Sure(float(values[j] + share * joules), float(math.hypot(bend, shift)))

    def between(self, start: float, stop: float) -> Sure:
        first, last = self.at(start), self.at(stop)
        return Sure(last.value - first.value, math.hypot(first.uncertainty, last.uncertainty))

    def _beyond(self, x: float, j: int) -> Sure:
        """Before the first tick or after the last: by power where that is known, else its mean."""
        at, unsure = self._located
        values = self.energy_j[self._moved]
        near = np.flatnonzero(np.abs(at - at[j]) <= max(_TREND_S, 2 * (self.tick_s or 0)))
        value, power_w = values[j], self._mean_w(j)
        if len(near) > 1:
            power_w = float((values[near[-1]] - values[near[0]]) / (at[near[-1]] - at[near[0]]))
        if self._integral.usable:
            joules, doubt = self._integral.to(x) - self._integral.to(at[j]), 0.25
        else:
            joules, doubt = power_w * (x - at[j]), 1.0
        unsure_j = math.hypot(abs(joules) * doubt, power_w * unsure[j])
        return Sure(float(value + joules), float(unsure_j))

    def _share(self, x: float, j: int) -> tuple[float, float]:
        """The share of a tick's energy that came before `x`, and its uncertainty, J.

        Power readings give the shape. Between two of them, or within one renewal of the register,
        power may have done anything that it did nearby; without them, within the whole tick.
        """
        since, until = self._located[0][j : j + 2]
        even = (x - since) / (until - since)
        most_s = (until - since) * even * (1 - even)
        power = self._integral
        if power.usable and not power.average_s:
            whole = power.to(until) - power.to(since)
            share = (power.to(x) - power.to(since)) / whole if whole > 0 else -1.0
            if 0 <= share <= 1:
                blind_s, swing_w = power.blindness(since, until)
                return share, swing_w * min(blind_s / 2, most_s)
        around = [self._mean_w(k) for k in range(j - 2, j + 3)]
        return even, (max(around) - min(around)) * most_s

    def _mean_w(self, j: int) -> float:
        """Mean power between ticks j and j + 1, of the nearest pair at the ends."""
        at, values = self._located[0], self.energy_j[self._moved]
        j = min(max(j, 0), len(at) - 2)
        return float((values[j + 1] - values[j]) / (at[j + 1] - at[j]))

    @cached_property
    def _located(self) -> tuple[Floats, Floats]:
        """The instant of each tick and its uncertainty, s."""
        after, until = self.t[self._moved - 1].copy(), self.t[self._moved]
        if self._tick:
            after = np.maximum(after, until - self._tick.length_s - self._tick.jitter_s)
        at, unsure = (after + until) / 2, np.hypot(_UNIFORM * (until - after) / 2, _STAMP_S)
        for k in np.flatnonzero(unsure <= _POLL_S) if self._tick else ():
            for j in (k - 1, k + 1):
                if 0 <= j < len(at) and unsure[j] > 2 * _POLL_S:
                    guess, sure = self._beat(at[k], unsure[k], (after[j] + until[j]) / 2)
                    if after[j] + sure < guess < until[j] - sure:
                        at[j], unsure[j] = guess, min(sure, unsure[j])
                    else:  # it came right after the one reading or right before the other
                        unsure[j] = until[j] - after[j]
        return at, unsure

    def _beat(self, known: float, unsure_s: float, near: float) -> tuple[float, float]:
        """The tick nearest to `near`, counted from one that is known well; its uncertainty."""
        assert self._tick
        beats = round((near - known) / self._tick.length_s)
        each_s = self._tick.jitter_s + self._tick.unsure_s
        return known + beats * self._tick.length_s, unsure_s + abs(beats) * each_s

    def _largest_leap_j(self) -> float:
        """The largest step between ticks that twice the power limit does not explain; 0 if none."""
        earliest, latest = self.t[self._moved - 1][:-1], self.t[self._moved][1:]
        joules = np.diff(self.energy_j[self._moved])
        leaps = joules[joules > _LEAP * self._limit_w * (latest - earliest)]
        return float(leaps.max()) if len(leaps) else 0.0

    def _longest_still_s(self) -> float:
        """The longest stretch in which readings went on, power flowed, and the counter stood."""
        seen = self.t[self._moved]
        last_same = self.t[np.append(self._moved[1:] - 1, len(self.t) - 1)]
        longest_s = 0.0
        for k in np.flatnonzero(last_same - seen > _FROZEN_S):
            power = self._integral
            if not power.usable or power.to(last_same[k]) - power.to(seen[k]) > 0:
                longest_s = max(longest_s, float(last_same[k] - seen[k]))
        return longest_s
