"""Energy as the integral of power readings, and how far off it may be.

Between two readings power may have done anything that it did elsewhere; how much that matters is
read off the readings themselves: how far they step, how soon they forget what they were, and
whether they beat in time with the reading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.power.ticks import DENSE_S, FROZEN_S, Floats, Tick

_REFRESHES_S = (0.1, 0.05, 0.02)  # of registers of power
_POLL_S = 0.006  # readings come no closer than this
_WIDE_S = 5.0  # how far around a window its readings are looked at
_HIDDEN = 0.2  # of power: what may happen while a value is held and show nowhere
_LAG, _LOST = 0.15, 0.18  # of an average's length: times the swing seen there, times the power
_RARE = 2.0  # large steps may be rare: a few readings show fewer than there are
_LARGE = 0.25  # of the largest step

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Sure:
    """A value and its expanded uncertainty (k = 2)."""

    value: float
    uncertainty: float


class Integral:
    """The trapezoid over readings of power, which may be means over the last `average_s`.

    Readings are of the past: by half of what they average and half of how long they are held. The
    curve is moved back by that much.
    """

    def __init__(self, t: Floats, power_w: Floats, average_s: float = 0.0) -> None:
        self.read_s, self.average_s, self.power_w = t, average_s, power_w
        self._tick = Tick.measure(t, power_w)
        self.held_s = self._held_s(t, power_w)
        self.t = t - average_s / 2 - self._renewed_s / 2
        self._sums = np.concatenate(
            [[0.0], np.cumsum(np.diff(t) * (power_w[1:] + power_w[:-1]) / 2)]
        )

    @property
    def usable(self) -> bool:
        return len(self.t) >= 2

    def _held_s(self, t: Floats, power_w: Floats) -> float:
        """How long a value may have been held before a new one: the longest period of registers
        that the changes which are known well allow."""
        if self._renewed_s:
            return self._renewed_s
        moved = np.flatnonzero(np.diff(power_w) != 0) + 1
        known = moved[t[moved] - t[moved - 1] <= DENSE_S]
        width_s = t[known] - t[known - 1]
        apart_s = np.diff(t[known] - width_s / 2)
        doubt_s = _POLL_S / 2 + (width_s[1:] + width_s[:-1]) / 2
        for period_s in _REFRESHES_S:
            off_s = np.abs(apart_s - period_s * np.maximum(1, np.round(apart_s / period_s)))
            if np.all((off_s < doubt_s)[apart_s < FROZEN_S]):
                return period_s
        return 0.0

    @cached_property
    def _renewed_s(self) -> float:
        """How often the register is renewed, where that is certain: evenly, and never the same."""
        tick = self._tick
        if tick is None or not tick.resolved or tick.length_s > 2 * _REFRESHES_S[0]:
            return 0.0
        even = tick.jitter_s < tick.length_s / 5
        changes = self.power_w[np.flatnonzero(np.diff(self.power_w) != 0) + 1]
        return tick.length_s if even and len(np.unique(changes)) > 0.8 * len(changes) else 0.0

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

    def joules(self, start: float, stop: float) -> float:
        return self.to(stop) - self.to(start)

    def between(self, start: float, stop: float) -> Sure:
        """Joules of a window: unsure by what happened between readings and about its edges."""
        edges_j = [self._edge_j(edge) for edge in (start, stop)]
        lag_j = self._lag_s * abs(self._at_w(stop) - self._at_w(start))
        unsure_j = math.hypot(self._within_j(start, stop), lag_j, *edges_j)
        return Sure(self.joules(start, stop), unsure_j)

    # --- between readings

    def _within_j(self, start: float, stop: float) -> float:
        """Each step may have come anywhere between two readings: an area error of the step times
        the time between them. Steps that follow each other in time with the reading err alike and
        add up; others are independent. A short window may just not show what is usual around."""
        t, power_w = self._thinned(start, stop, 0.9 * self.held_s)
        if len(t) < 2:
            return 0.0
        apart_s, steps_w = np.diff(t), _surprises(power_w)
        in_gap = apart_s > 5 * max(self._pace_s, self.held_s)
        hidden_w = (_HIDDEN if self.held_s else 0.0) * np.mean(power_w)
        areas_j = np.hypot(np.where(in_gap, np.ptp(power_w), steps_w), hidden_w) * apart_s
        together_j = np.bincount(_beats(steps_w), areas_j)
        around_w = _surprises(self._around(start, stop))
        usual = _RARE * float(np.sum(around_w**2)) / max(1, len(around_w)) * np.sum(apart_s**2)
        forgetting = self._forgetting(start, stop)
        return 2 * math.sqrt(forgetting * float(max(np.sum(together_j**2), usual)))

    def _forgetting(self, start: float, stop: float) -> float:
        """The variance of an area error, of a step that is 1 in a time that is 1.

        1/12 when power stays what it was until the next reading but for one step, 1/2 when it has
        forgotten. In between, of a process that forgets evenly, by how much more power changes
        within two readings than within one.
        """
        power_w = self._around(start, stop)
        once = float(np.sum(np.diff(power_w) ** 2))
        twice = float(np.sum((power_w[2:] - power_w[:-2]) ** 2))
        if len(power_w) < 8 or once == 0:
            return 1 / 6
        kept = min(max(twice / once - 1, 0.01), 0.97)
        return ((1 + kept) / (1 - kept) + 2 / math.log(kept)) / (2 * (1 - kept))

    def _around(self, start: float, stop: float) -> Floats:
        """Readings of a window and of some seconds on each side, as far apart as most are."""
        pace_s = 0.9 * max(self._pace_s, self.held_s)
        return self._thinned(start - _WIDE_S, stop + _WIDE_S, pace_s)[1]

    @cached_property
    def _pace_s(self) -> float:
        """The time between readings in most of the time, bursts left out."""
        apart_s = np.sort(np.diff(self.t))
        passed_s = np.cumsum(apart_s)
        return float(apart_s[np.searchsorted(passed_s, passed_s[-1] / 2)])

    def _thinned(self, start: float, stop: float, apart_s: float) -> tuple[Floats, Floats]:
        """The readings of a window and one on each side of it, about `apart_s` apart or more."""
        first, last = self._near(start, stop)
        t, power_w = self.t[first:last], self.power_w[first:last]
        if not apart_s or not len(t):
            return t, power_w
        k = np.append(np.unique(np.floor((t - t[0]) / apart_s), return_index=True)[1], len(t) - 1)
        k = np.unique(k)
        return t[k], power_w[k]

    # --- about the edges

    def _edge_j(self, x: float) -> float:
        """What was held or averaged over an edge may lie on its other side."""
        held_j = self._lag_s * self.swing_w(x - 2 * self.held_s, x + 2 * self.held_s)
        if not self.average_s:
            return held_j
        seen_w = self.swing_w(x - self.average_s, x + self.average_s)
        return math.hypot(held_j, self.average_s * max(_LAG * seen_w, _LOST * self._at_w(x)))

    @property
    def _lag_s(self) -> float:
        """How much later or earlier than assumed power may have been what was read."""
        return self.held_s * (0.6 if self._renewed_s else 1.0)

    def _at_w(self, x: float) -> float:
        return float(np.interp(x, self.t, self.power_w))

    def swing_w(self, start: float, stop: float) -> float:
        """How far power swings between two instants."""
        first, last = self._near(start, stop)
        return float(np.ptp(self.power_w[first:last])) if last > first else 0.0

    def longest_s(self, start: float, stop: float) -> float:
        """The longest time without news within a short window."""
        first, last = self._near(start, stop)
        t = self.t[first:last]
        return max(float(np.max(np.diff(t))) if len(t) > 1 else stop - start, self.held_s)

    def _near(self, start: float, stop: float) -> tuple[int, int]:
        """The readings of a window and the one on each side of it, as a range."""
        first = max(0, int(np.searchsorted(self.t, start, "right")) - 1)
        return first, int(np.searchsorted(self.t, stop)) + 1


def _surprises(power_w: Floats) -> Floats:
    """The steps between readings, less what their neighbours make expected: 0 along a slope."""
    steps = np.diff(power_w)
    around = np.stack([np.append(steps[:1] * 0, steps[:-1]), steps, np.append(steps[1:], 0.0)])
    return np.asarray(steps - np.median(around, axis=0))


def _beats(steps: Floats) -> Counts:
    """A number for each step, equal for those that follow each other in time with the reading:
    large steps of one sign that lie equally many readings apart."""
    groups = np.arange(len(steps))
    large = np.abs(steps) > _LARGE * np.max(np.abs(steps), initial=0.0)
    for sign in (1, -1):
        k = np.flatnonzero(large & (np.sign(steps) == sign))
        if len(k) < 3:
            continue
        same = np.diff(k, 2) == 0
        joined = np.append(same, False) | np.append(False, same)  # to the one before
        groups[k] = k[
            np.maximum.accumulate(np.where(np.append(False, joined), 0, np.arange(len(k))))
        ]
    return groups
