"""Energy by a cumulative counter that moves in ticks, interpolated between them."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from bench.power.integral import Integral, Sure
from bench.power.ticks import DENSE_S, FROZEN_S, Floats, Ticks

_LEAP = 2.0  # times the power limit: boards may exceed it for milliseconds
_TREND_S = 0.5  # the stretch that says how power would have gone on beyond the last tick
_HIDDEN = 0.8  # of power: what may swing faster than the tick and show nowhere
_STEPS = 2.0  # of a slow meter's counter: as much may flow before it shows
_AROUND = 20  # ticks on each side of one that say how power swings


class TickedCounter:
    """A cumulative counter, the instants at which it moved, and the power readings beside it."""

    def __init__(
        self,
        t: Floats,
        energy_j: Floats,
        integral: Integral,
        limit_w: float = math.inf,
        dense_s: float = DENSE_S,
    ) -> None:
        self.t, self.energy_j = t, energy_j
        self._integral = integral
        self._limit_w = limit_w
        if math.isinf(limit_w) and integral.usable:
            self._limit_w = _LEAP * float(np.max(integral.power_w))
        self.may_stand_s = 0.0  # between two ticks of a slow one
        shown = integral.usable and not integral.average_s
        self._ticks = Ticks(t, energy_j, integral.joules if shown else None, dense_s)
        self._values = energy_j[self._ticks.moved]
        tick = self._ticks.tick
        self.tick_s = tick.length_s if tick else None

    @property
    def usable(self) -> bool:
        return len(self._ticks) >= 2

    @cached_property
    def distrust(self) -> str | None:
        """Why the counter can't be believed: it went back, leapt, or stood still under power."""
        if len(self.t) < 2:
            return None
        falls = np.flatnonzero(np.diff(self.energy_j) < 0)
        if len(falls):
            k = falls[0]
            return f"the counter went back by {self.energy_j[k] - self.energy_j[k + 1]:.4g} J"
        leap_j = self._largest_leap_j()
        if leap_j:
            return f"the counter leapt by {leap_j:.4g} J, more than its power allows"
        still_s = self._longest_still_s()
        patience_s = 3 * self.may_stand_s
        if self.may_stand_s and not self._integral.usable:
            patience_s = max(patience_s, _STEPS * self._least_step_j / self._overall_w)
        if still_s > max(FROZEN_S, 10 * (self.tick_s or 0.0), patience_s):
            return f"the counter stood still for {still_s:.1f} s"
        return None

    def at(self, x: float) -> Sure:
        """The counter's value at `x`, J, and the uncertainty that its ticks leave."""
        j = self._ticks.last_before(x)
        if j < 0 or j == len(self._ticks) - 1:
            return self._beyond(x, max(j, 0))
        (since, since_unsure), (until, until_unsure) = self._ticks.at(j), self._ticks.at(j + 1)
        joules = float(self._values[j + 1] - self._values[j])
        share, bend_j = self._share(x, j)
        shift_s = (1 - share) * since_unsure + share * until_unsure
        shift_j = joules / max(until - since, 1e-9) * shift_s
        return Sure(float(self._values[j] + share * joules), math.hypot(bend_j, shift_j))

    def between(self, start: float, stop: float) -> Sure:
        first_s, last_s = self._ticks.at(0)[0], self._ticks.at(len(self._ticks) - 1)[0]
        if self._integral.usable and (stop <= first_s or start >= last_s):
            return self._integral.between(start, stop)
        first, last = self.at(start), self.at(stop)
        return Sure(last.value - first.value, math.hypot(first.uncertainty, last.uncertainty))

    def _beyond(self, x: float, j: int) -> Sure:
        """Before the first tick or after the last: by power where that is known, else its mean."""
        at, unsure = self._ticks.at(j)
        ticks = max(1, round(_TREND_S / self.tick_s)) if self.tick_s else 1
        other = j + ticks if j == 0 else j - ticks
        power_w = self._mean_w(j, min(max(other, 0), len(self._ticks) - 1))
        if self._integral.usable:
            joules = self._integral.joules(at, x)
            doubt_j = abs(joules) / 4
            if self.tick_s and abs(x - at) > self.tick_s:
                doubt_j = self._integral.between(min(at, x), max(at, x)).uncertainty
        else:
            joules = power_w * (x - at)
            doubt_j = abs(joules)
        return Sure(float(self._values[j] + joules), math.hypot(doubt_j, power_w * unsure))

    def _share(self, x: float, j: int) -> tuple[float, float]:
        """The share of a tick's energy that came before `x`, and its uncertainty, J.

        Power readings finer than the tick give the shape: between two of them power may have done
        anything that it did nearby. Without them it may have within the whole tick.
        """
        since, until = self._ticks.at(j)[0], self._ticks.at(j + 1)[0]
        span_s = max(until - since, 1e-9)
        even = (x - since) / span_s
        most_s = min(x - since, until - x, span_s / 4)
        power = self._integral
        if power.usable and not power.average_s and power.held_s < span_s / 2:
            whole_j = power.joules(since, until)
            share = (power.joules(since, x)) / whole_j if whole_j > 0 else -1.0
            if 0 <= share <= 1:
                blind_s = power.longest_s(since, until)
                swing_w = power.swing_w(since - span_s, until + span_s)
                return share, swing_w * min(blind_s / 2, most_s)
        return even, self._swing_w(j) * most_s

    def _swing_w(self, j: int) -> float:
        """How far power may have swung within a tick, by how it differs from tick to tick: the
        range right here, and what is usual around."""
        first, last = max(0, j - _AROUND), min(j + _AROUND, len(self._ticks) - 2)
        means_w = np.array([self._mean_w(k, k + 1) for k in range(first, last + 1)])
        here = means_w[max(0, j - first - 2) : j - first + 3]
        swing_w = max(
            float(np.ptp(here)), 3 * _rms(np.diff(means_w)), 1.5 * float(np.std(means_w)),
            _HIDDEN * float(np.mean(here)),
        )  # fmt: skip
        if self._integral.usable and not self._integral.average_s:
            since, until = self._ticks.at(j)[0], self._ticks.at(j + 1)[0]
            span_s = until - since
            around = since + span_s * np.arange(-_AROUND, _AROUND + 2)
            seen_w = np.interp(around, self._integral.t, self._integral.power_w)
            swing_w = max(
                swing_w, self._integral.swing_w(since - span_s, until + span_s),
                2 * _rms(np.diff(seen_w)),
            )  # fmt: skip
        return swing_w

    def _mean_w(self, j: int, k: int) -> float:
        """Mean power between ticks j and k."""
        span_s = self._ticks.at(k)[0] - self._ticks.at(j)[0]
        return float((self._values[k] - self._values[j]) / span_s) if span_s else 0.0

    def _largest_leap_j(self) -> float:
        """The largest step between ticks that twice the power limit does not explain; 0 if none."""
        moved = self._ticks.moved
        earliest, latest = self.t[moved - 1][:-1], self.t[moved][1:]
        joules = np.diff(self._values)
        leaps = joules[joules > _LEAP * self._limit_w * (latest - earliest)]
        return float(leaps.max()) if len(leaps) else 0.0

    @property
    def _least_step_j(self) -> float:
        """The smallest step of a counter, which may be coarse; one that never moved is none."""
        steps = np.diff(self.energy_j)
        return min(steps[steps > 0].tolist(), default=math.inf)

    @property
    def _overall_w(self) -> float:
        """Mean power by the counter alone."""
        return float((self.energy_j[-1] - self.energy_j[0]) / (self.t[-1] - self.t[0])) or math.nan

    def _longest_still_s(self) -> float:
        """The longest stretch in which readings went on, power flowed, and the counter stood; of a
        slow meter, in which more flowed than a step or two of it."""
        moved = self._ticks.moved
        if not len(self.t):
            return 0.0
        seen = self.t[np.append(0, moved)]
        last_same = self.t[np.append(moved - 1, len(self.t) - 1)]
        longest_s = 0.0
        least_j = _STEPS * self._least_step_j if self.may_stand_s else 0.0
        for k in np.flatnonzero(last_same - seen > FROZEN_S):
            power = self._integral
            if not power.usable or power.joules(seen[k], last_same[k]) > least_j:
                longest_s = max(longest_s, float(last_same[k] - seen[k]))
        return longest_s


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else 0.0
