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

from bench.power import calibration
from bench.power.counter import TickedCounter
from bench.power.integral import Integral, Sure
from bench.power.probes import Domain, Mark
from bench.power.ticks import DENSE_S, Floats

if TYPE_CHECKING:
    from bench.record import DomainEnergy, Warn

BAND = (0.6, 1.4)  # of an estimate: published validations found errors up to 40 %
MOST_GAP_S = 3.0
LEAST_HZ, LEAST_SAMPLES = 1.0, 60  # or 10 Hz over the whole of a shorter window

_MOST_POWER = 3.0  # times the power limit, for some milliseconds
_EDGE_S = 0.5  # a window may reach this far beyond the readings
_DOUBTFUL, _WRONG = (0.03, 2.0), (0.05, 3.0)  # disagreement: share, or times the uncertainty
OF_THE_TRACE = {  # ids of marks that concern all of a trace, and whether it may rank all the same
    "sampler-hung": False, "sampler-died": False, "replayed": False, "log-failed": True,
    "same-name": False,
}  # fmt: skip
_SERIOUS = {"contended", "probe-failed"}  # marks that make the energy unfit for a rank
_INFORMATION = {"power-capped"}  # marks that are no reason to doubt: most trainings meet the limit
# Calls that take less long are in the uncertainty and are no doubt of their own: those of an H200
# take up to 0.11 s whenever a process begins to use it.
_SLOW_S = 0.2

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


class Curve:
    """Energy of one domain as a function of time. Times are seconds from its first reading."""

    def __init__(self, domain: Domain, series: Series, marks: list[Mark], rate_hz: float) -> None:
        self.domain = domain
        self.marks = marks
        own_s = float(domain.facts.get("period_s") or 0.0)  # of a meter that is slower by itself
        self.period_s = max(1 / rate_hz, own_s)
        t_ns, first = np.unique(series.t_ns, return_index=True)
        self._origin_ns = int(t_ns[0]) if len(t_ns) else 0
        t = self._seconds(t_ns)
        power_w, energy_j = series.power_w[first], series.energy_j[first]
        average_s = float(domain.facts.get("power_average_s", 0.0))
        limits_w = (domain.facts.get(f) for f in ("power_limit_w", "most_power_limit_w"))
        limit_w = float(max((w for w in limits_w if w), default=math.inf))
        has_energy = np.isfinite(energy_j)
        has_power = np.isfinite(power_w) & (power_w >= 0) & (power_w <= _MOST_POWER * limit_w)
        self._correction = calibration.Correction.of(domain)
        self._implausible_s = t[~has_power & ~np.isnan(power_w)]
        self.integral = Integral(t[has_power], power_w[has_power], average_s)
        dense_s = float(domain.facts.get("counter_dense_s") or DENSE_S)
        self.counter = TickedCounter(
            t[has_energy], energy_j[has_energy], self.integral, limit_w, dense_s
        )
        self.counter.may_stand_s = float(domain.facts.get("counter_period_s") or own_s)

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
            raw_j = self.counter.at(stop).value - self.counter.at(start).value
        else:
            raw_j = self.integral.joules(start, stop)
        return self._correction.joules(raw_j, float(stop - start))

    def uncertainty_j(self, start_ns: int, stop_ns: int) -> float | None:
        """The expanded uncertainty (k = 2) of what `joules` says; None where nothing was read."""
        start, stop = self._seconds(np.array([start_ns, stop_ns], np.int64))
        by = self.counter if self.method == "counter" else self.integral
        chosen = self._calibrated(by, start, stop)
        return None if chosen is None else self._uncertainty_j(chosen, start, stop)

    def energy(self, start_ns: int, stop_ns: int) -> tuple[DomainEnergy, list[Warn]]:
        """Energy of a window with what qualifies it, and the reasons to doubt it."""
        from bench.record import DomainEnergy

        start, stop = self._seconds(np.array([start_ns, stop_ns], np.int64))
        cover = self._cover(start, stop)
        reason = self.why_missing(start_ns, stop_ns)
        counter = self._calibrated(self.counter, start, stop)
        integral = self._calibrated(self.integral, start, stop)
        chosen = counter if self.method == "counter" else integral
        disagreement = None
        if counter and integral and max(counter.value, integral.value) > 0:
            least = counter.value if counter.value > 0 else integral.value
            disagreement = abs(counter.value - integral.value) / least
        energy_j = unsure_j = None
        if chosen and not reason:
            energy_j, unsure_j = chosen.value, self._uncertainty_j(chosen, start, stop)
        modelled = self.domain.level == "M0"
        tick_s = self.counter.tick_s if self.counter.usable else None
        energy = DomainEnergy(
            domain=self.domain.name,
            kind=self.domain.kind,  # type: ignore[arg-type]
            device=self.domain.device,
            method=self._named(energy_j, start, stop),
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

    def _named(
        self, energy_j: float | None, start: float, stop: float
    ) -> Literal["counter", "integral", "modelled", "missing"]:
        """The method as a record has it: what most of the window's energy is taken from."""
        if energy_j is None:
            return "missing"
        if self.domain.level == "M0":
            return "modelled"
        mostly = self._uncounted_s(start, stop) > (stop - start) / 2
        return "integral" if mostly else self.method

    def _calibrated(
        self, witness: TickedCounter | Integral, start: float, stop: float
    ) -> Sure | None:
        """What one witness says of a window, corrected by the calibration where there is one."""
        if not witness.usable:
            return None
        raw = witness.between(start, stop)
        joules = self._correction.joules(raw.value, float(stop - start))
        return Sure(joules, self._correction.gain * raw.uncertainty)

    def _uncertainty_j(self, chosen: Sure, start: float, stop: float) -> float:
        """Of the meter itself, of the edges, and of calls that took long just there."""
        if self.domain.level == "M0":
            return chosen.value * (BAND[1] - 1)
        mean_w = chosen.value / max(stop - start, 1e-9)
        slow_j = [mean_w * self._slow_s(edge) for edge in (start, stop)]
        unread_j = self._unread_j(start, stop, mean_w)
        return math.hypot(self.domain.gain * chosen.value, chosen.uncertainty, unread_j, *slow_j)

    def _unread_j(self, start: float, stop: float, mean_w: float) -> float:
        """Before the first reading of all, or after the last, power may have done what it ever
        did."""
        cover = self._cover(start, stop)
        seen_w = self.integral.power_w
        swing_w = float(np.ptp(seen_w)) if self.integral.usable else mean_w
        return swing_w * self._correction.gain * (cover.late_s + cover.early_s)

    def _slow_s(self, x: float) -> float:
        """How far off the time of readings near `x` may be because the driver took so long."""
        at, took_s = self._slow
        first, last = np.searchsorted(at, [x - 1, x + 1])
        return float(took_s[first:last].max(initial=0.0))

    @cached_property
    def _slow(self) -> tuple[Floats, Floats]:
        """When calls took long, and how long each took, s."""
        slow = sorted((self._mark_s(m), m.value) for m in self.marks if m.id == "slow" and m.value)
        at, took_s = np.array(slow, np.float64).reshape(-1, 2).T
        return at, took_s

    def _cover(self, start: float, stop: float) -> Cover:
        return Cover.of(self._read_s, start, stop)

    @cached_property
    def _read_s(self) -> Floats:
        """When what the energy is taken from was read: power stands in where a counter came late
        or ended early."""
        counter_s, power_s = self.counter.t, self.integral.read_s
        if self.method != "counter":
            return power_s
        if not self.integral.usable:
            return counter_s
        before, after = power_s < counter_s[0], power_s > counter_s[-1]
        return np.concatenate([power_s[before], counter_s, power_s[after]])

    def _uncounted_s(self, start: float, stop: float) -> float:
        """For how long of a window power stands in for the counter, some moments left out."""
        if self.method != "counter":
            return 0.0
        cover = Cover.of(self.counter.t, start, stop)
        return sum(s for s in (cover.late_s, cover.early_s) if s > self._edge_s)

    @property
    def _edge_s(self) -> float:
        return max(_EDGE_S, 3 * self.period_s)

    def why_missing(self, start_ns: int, stop_ns: int) -> str | None:
        """Why there is no energy of this window at all; None when there is."""
        start, stop = self._seconds(np.array([start_ns, stop_ns], np.int64))
        cover = self._cover(start, stop)
        if self.method == "missing" and self.counter.distrust:
            return f"{self.counter.distrust}, and there are no power readings to integrate"
        if self.method == "missing" or not cover.samples:
            seen = Cover.of(self.counter.t, start, stop).samples
            still = "the counter never moved" if seen > 1 else "no reading in the window"
            return self._last_error(stop) or still
        if cover.late_s > self._edge_s:
            return f"no reading in the first {cover.late_s:.1f} s of {stop - start:.1f} s"
        if cover.early_s > self._edge_s:
            error = self._last_error(stop)
            read_s = stop - start - cover.early_s
            return f"no reading after {read_s:.1f} of {stop - start:.1f} s" + (
                f": {error}" if error else ""
            )
        return None

    @property
    def _most_gap_s(self) -> float:
        return max(MOST_GAP_S, 3 * self.period_s)

    def _last_error(self, stop: float) -> str | None:
        ids = ("unreadable", "lost", "hung", "probe-failed")
        found = [m for m in self.marks if m.id in ids and self._mark_s(m) <= stop + MOST_GAP_S]
        return found[-1].message if found else None

    @staticmethod
    def _waited_s(mark: Mark) -> float:
        """How long before the mark it began."""
        return (mark.value or 0.0) if mark.id == "hung" else 0.0

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
        if self.counter.distrust:
            text = f"{name}: {self.counter.distrust}; energy is the integral of power"
            doubts.append(Warn(id="counter", message=text, rankable=False))
        elif counter and integral and energy.disagreement is not None:
            doubts += _disagreement(name, energy.disagreement, counter, integral)
        if energy.largest_gap_s is not None and energy.largest_gap_s > self._most_gap_s:
            text = f"{name}: no reading for {energy.largest_gap_s:.1f} s"
            doubts.append(Warn(id="gap", message=text, rankable=False))
        doubts += self._sampling_doubts(energy.samples, stop - start)
        doubts += self._power_doubts(start, stop)
        if energy.energy_j <= 0 and stop > start:
            text = f"{name}: the meter says {energy.energy_j:.3g} J, which nothing that is on uses"
            doubts.append(Warn(id="no-energy", message=text, rankable=False))
        if why := calibration.doubt(self.domain, energy.energy_j, stop - start):
            doubts.append(Warn(id="calibration", message=f"{name}: {why}"))
        if self.domain.facts.get("mig"):
            text = f"{name}: the board is divided (MIG); its readings are the whole board's"
            doubts.append(Warn(id="mig", message=text, rankable=False))
        return doubts

    def _sampling_doubts(self, samples: int, duration_s: float) -> list[Warn]:
        from bench.record import Warn

        least = min(LEAST_SAMPLES, math.floor(0.8 * duration_s / min(self.period_s, 0.1)))
        if samples >= max(least, 0.9 * duration_s * min(LEAST_HZ, 1 / self.period_s)):
            return []
        text = f"{self.domain.name}: {samples} readings in {duration_s:.1f} s are too few"
        return [Warn(id="too-few-samples", message=text, rankable=False)]

    def _power_doubts(self, start: float, stop: float) -> list[Warn]:
        """Readings of power that can't be, and a register that may hide what power did."""
        from bench.record import Warn

        found = []
        bad = int(np.sum((self._implausible_s >= start - 1) & (self._implausible_s <= stop + 1)))
        if bad:
            text = (
                f"{self.domain.name}: {bad} readings of power are left out: negative, infinite, or "
                f"over {_MOST_POWER:g} times the power limit"
            )
            rankable = self.method == "counter"
            found.append(Warn(id="implausible-power", message=text, rankable=rankable))
        alone = self.method == "integral" and not self.counter.distrust
        uncounted_s = self._uncounted_s(start, stop)
        if uncounted_s or (alone and self.domain.kind == "gpu" and self.domain.level != "M0"):
            when = f" in {uncounted_s:.1f} of {stop - start:.1f} s" if uncounted_s else ""
            text = (
                f"{self.domain.name}: no energy counter{when}: a load that repeats in time with "
                "how often the register of power is renewed can hide from it"
            )
            found.append(Warn(id="no-counter", message=text))
        return found

    def _mark_doubts(self, start: float, stop: float) -> list[Warn]:
        """One doubt for each kind of mark in the window, with how often and the worst value."""
        from bench.record import Warn

        inside = [
            m for m in self.marks if start - 1 <= self._mark_s(m) <= stop + 1 + self._waited_s(m)
        ]
        doubts = []
        for id, count in Counter(m.id for m in inside).items():
            if id in OF_THE_TRACE or id in _INFORMATION:
                continue
            worst = max((m for m in inside if m.id == id), key=lambda m: m.value or 0.0)
            if id == "slow" and (worst.value or 0.0) <= _SLOW_S:
                continue
            often = f" ({count} times)" if count > 1 else ""
            text = f"{self.domain.name}: {worst.message}{often}"
            doubts.append(Warn(id=id, message=text, rankable=id not in _SERIOUS))
        return doubts


def _disagreement(name: str, share: float, counter: Sure, integral: Sure) -> list[Warn]:
    from bench.record import Warn

    unsure = math.hypot(counter.uncertainty, integral.uncertainty) / max(
        counter.value, 1e-3 * integral.value
    )
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
