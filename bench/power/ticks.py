"""When a register changed, from readings that only bracket it.

A change came after the last reading of the old value and not after the first of the new one. Three
things narrow that down. It came at most one tick before that first reading, or the next would have
shown. Where readings are thick it is known to some milliseconds. And a register that ticks evenly
ticks on a line: changes that are known well say where the others must have been.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DENSE_S = 0.02  # readings this close show when a register changed, but for what answers late
FROZEN_S = 1.0
_STAMP_S = 0.001  # how far off the time of a reading may be (k = 2): half of what a call may take
_FINER = 2.5  # a tick of fewer readings than this may be the reading's own
_ALIKE = 4.0  # changes that are worth as one: readings may beat in time with them
_NEIGHBOURS = 12  # on each side of a change


@dataclass(frozen=True)
class Tick:
    """How often a register changes, s, how sure that is, and how much it varies (k = 2)."""

    length_s: float
    unsure_s: float
    jitter_s: float
    resolved: bool  # it is longer than the time between readings, so it is the register's own

    @classmethod
    def measure(cls, t: Floats, values: Floats, dense_s: float = DENSE_S) -> Tick | None:
        """From where readings are thick; None where they are not, or nothing changed.

        A register that changes faster than it is read yields the time between readings: an upper
        bound, which is all that is needed. Reading every 5 ms scatters the length by itself; what
        is left of the scatter is the register's.
        """
        moved = np.flatnonzero(np.diff(values) != 0) + 1
        if len(moved) < 2:
            return None
        width, apart = t[moved] - t[moved - 1], np.diff(t[moved])
        thick = (width[1:] <= dense_s) & (width[:-1] <= dense_s) & (apart <= FROZEN_S)
        if not thick.any():
            return None
        middle_s = float(np.quantile(apart[thick], 0.5, method="nearest"))
        near = thick & (np.abs(apart - middle_s) <= max(middle_s / 4, 0.006))
        n = int(np.sum(near))
        by_reading = float(np.mean(width[1:][near] ** 2 + width[:-1][near] ** 2)) / 12
        scatter = float(np.var(apart[near]))
        own = max(0.0, scatter * (1 + math.sqrt(2 / n)) - by_reading)
        length_s = float(np.mean(apart[near]))
        between_s = float(np.median(np.concatenate([width[1:][near], width[:-1][near]])))
        unsure_s = 2 * math.sqrt((by_reading + own) / n)
        return cls(length_s, unsure_s, 2 * math.sqrt(own), length_s > _FINER * between_s)


class Ticks:
    """The instants at which a register changed, each with its expanded uncertainty (k = 2), s."""

    def __init__(
        self,
        t: Floats,
        values: Floats,
        joules: Callable[[float, float], float] | None = None,
        dense_s: float = DENSE_S,
    ) -> None:
        """`joules` is the energy between two instants by another witness, where there is one."""
        self._joules = joules
        self._values = values
        self.moved = np.flatnonzero(np.diff(values) != 0) + 1  # the first reading of each new value
        self.tick = Tick.measure(t, values, dense_s)
        after, self.until = t[self.moved - 1], t[self.moved]
        if self.tick:
            after = np.maximum(after, self.until - self.tick.length_s - self.tick.jitter_s)
        self.after = after
        self._middle, self._half = (after + self.until) / 2, (self.until - after) / 2
        self._known: dict[int, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self.moved)

    def last_before(self, x: float) -> int:
        """The last change at or before `x`; -1 when there is none."""
        k = int(np.searchsorted(self.until, x, "right"))
        return k if k < len(self) and self.at(k)[0] <= x else k - 1

    def at(self, j: int) -> tuple[float, float]:
        """(instant, uncertainty) of change `j`."""
        if j not in self._known:
            self._known[j] = self._locate(j)
        return self._known[j]

    def _locate(self, j: int) -> tuple[float, float]:
        middle, variance = float(self._middle[j]), float(self._half[j]) ** 2 / 3
        guess = self._by_neighbours(j) if self.tick and self.tick.resolved else None
        if guess is not None and variance > 0:
            expected, doubt = guess
            if math.isnan(expected):  # right after the one reading or right before the other
                variance *= 3
            else:
                weight = variance / (variance + doubt)
                middle += weight * (expected - middle)
                variance *= 1 - weight
        middle = min(max(middle, float(self.after[j])), float(self.until[j]))
        return middle, 2 * math.sqrt(variance + (_STAMP_S / 2) ** 2)

    def _by_neighbours(self, j: int) -> tuple[float, float] | None:
        """(instant, variance) of change `j` from the line through those around it that are known
        well; NaN where two instants are as likely; None where too few are known."""
        assert self.tick
        length_s, own = self.tick.length_s, (self.tick.jitter_s / 2) ** 2
        first = max(0, j - _NEIGHBOURS)
        k = np.arange(first, min(len(self), j + _NEIGHBOURS + 1))
        k = k[(k != j) & (self._half[k] < length_s / 6)]
        if not len(k):
            return None
        nearest = int(k[np.argmin(np.abs(self._middle[k] - self._middle[j]))])
        origin = self._middle[nearest]
        n = np.round((self._middle[k] - origin) / length_s)
        mine = round((self._middle[j] - origin) / length_s)
        variance = self._half[k] ** 2 / 3 + (_STAMP_S / 2) ** 2
        variance = variance + own * np.maximum(1, np.abs(n - mine))
        line = _Line(n, self._middle[k] - origin, variance, length_s, self.tick.unsure_s)
        found = []
        for beat in (mine - 1, mine, mine + 1):
            at, doubt = origin + line.at(beat), own + line.variance(beat)
            margin_s = 2 * math.sqrt(doubt)
            if self.after[j] - margin_s < at < self.until[j] + margin_s:
                found.append((float(at), doubt))
        if len(found) == 2 and (chosen := self._by_energy(j, nearest, [at for at, _ in found])):
            return found[chosen - 1]
        return found[0] if len(found) == 1 else (math.nan, 0.0) if found else None

    def _by_energy(self, j: int, known: int, instants: list[float]) -> int:
        """Which of two instants (1 or 2) explains the energy between change `j` and a known one;
        0 when neither does clearly."""
        if self._joules is None:
            return 0
        wanted_j = self._values[self.moved[known]] - self._values[self.moved[j]]
        off_j = [abs(self._joules(at, self._middle[known]) - wanted_j) for at in instants]
        apart_j = abs(self._joules(instants[0], instants[1]))
        return int(np.argmin(off_j)) + 1 if min(off_j) < apart_j / 4 < max(off_j) else 0


class _Line:
    """The line through instants `t` of beats `n`, weighted by their variances, whose slope is known
    to be `length_s`, give or take `unsure_s`."""

    def __init__(
        self, n: Floats, t: Floats, variance: Floats, length_s: float, unsure_s: float
    ) -> None:
        weight, off = 1 / variance, t - n * length_s
        self._one, self._two = float(weight.sum()), float(weight @ n)
        self._four = float(weight @ n**2) + 1 / max(unsure_s, 1e-6) ** 2
        self._both = self._one * self._four - self._two**2
        first, second = float(weight @ off), float(weight @ (n * off))
        self._start = (self._four * first - self._two * second) / self._both
        self._slope = length_s + (self._one * second - self._two * first) / self._both
        self._least = float(variance.min()) / _ALIKE

    def at(self, beat: int) -> float:
        return self._start + beat * self._slope

    def variance(self, beat: int) -> float:
        found = (self._four - 2 * self._two * beat + self._one * beat**2) / self._both
        return max(found, self._least)
