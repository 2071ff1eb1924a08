"""Whether the stated uncertainty covers the truth, over random windows of simulated meters.

Curves, registers, counters and the times at which a sampler reads are drawn at random; the truth is
the integral of the curve. The meter's own gain is 0 here: it is not in the simulation, and counting
it would make these tests unable to fail. Faults are in `test_energy.py`.

    python -m tests.power.test_coverage [trials]      the table that stands in the docs
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.power.energy import Curve, Series
from bench.power.probes import Domain
from bench.power.sampler import BURST_HZ, BURST_S, GOLDEN

Floats = NDArray[np.float64]
Chance = np.random.Generator
Joules = Callable[[Floats], Floats]  # energy since time 0 at each instant
Drawn = Callable[[Chance, float], Joules]

LEAD_S, FIRST_BURST_S = 0.25, 0.5
IN_TIME = 0.06  # periods that are within this share of one another
MOST_TIMES = 12.0  # mean stated uncertainty over mean error
DIGITS = 1e-5  # what the registers' last digit may do
WINDOWS_S = (0.25, 1.0, 3.0, 10.0, 30.0, 60.0)


# --- what is metered; `unlike_s` is how often a register is renewed that no counter stands beside:
# a load that repeats in time with it can't be seen, and is warned of


def constant(chance: Chance, unlike_s: float = 0.0) -> Joules:
    watts = chance.uniform(20, 700)
    return lambda t: watts * t


def square(chance: Chance, unlike_s: float = 0.0) -> Joules:
    """From 50 to 150 W up to 200 to 700 W; periods of 20 ms to 5 s, duties of 20 to 80 %."""
    low, high = chance.uniform(50, 150), chance.uniform(200, 700)
    duty, period_s = chance.uniform(0.2, 0.8), unlike_s
    while any(abs(period_s - x) <= IN_TIME * x for x in (unlike_s, unlike_s / 2)):
        period_s = np.exp(chance.uniform(np.log(0.02), np.log(5)))
    phase_s = chance.uniform(0, period_s)

    def joules(t: Floats) -> Floats:
        whole, part = np.divmod((t + phase_s) / period_s, 1)
        return period_s * (
            low * (whole + part) + (high - low) * (whole * duty + np.minimum(part, duty))
        )

    return joules


def ramp(chance: Chance, unlike_s: float = 0.0) -> Joules:
    """A saw tooth."""
    first, last = chance.uniform(30, 150), chance.uniform(200, 700)
    period_s = chance.uniform(1, 20)
    phase_s = chance.uniform(0, period_s)

    def joules(t: Floats) -> Floats:
        whole, part = np.divmod((t + phase_s) / period_s, 1)
        return period_s * (whole * (first + last) / 2 + first * part + (last - first) * part**2 / 2)

    return joules


def training(chance: Chance, unlike_s: float = 0.0) -> Joules:
    """As recorded ones look: steps that dip while data are moved, noise, pauses to evaluate."""
    step_s = 0.005
    n = round(80 / step_s)
    t = np.arange(n) * step_s
    low, high = chance.uniform(60, 120), chance.uniform(250, 650)
    lengths_s = chance.uniform(0.05, 0.8) * chance.uniform(0.9, 1.1, 2000)
    starts_s = np.cumsum(lengths_s)
    since_s = t - np.concatenate([[0.0], starts_s])[np.searchsorted(starts_s, t, "right")]
    watts = np.where(since_s < chance.uniform(0.1, 0.4) * lengths_s.mean(), high * 0.6, high)
    slow = np.cumsum(chance.normal(0, 1, n)) * np.sqrt(step_s)
    watts = watts + 10 * (slow - slow.mean()) / max(1.0, float(slow.std())) + chance.normal(0, 8, n)
    for pause_s in chance.uniform(0, 80, 5):
        watts[(t >= pause_s) & (t < pause_s + chance.uniform(0.2, 3))] = low
    total = np.concatenate([[0.0], np.cumsum(np.maximum(watts, 20.0)) * step_s])
    edges = np.arange(n + 1) * step_s
    return lambda x: np.interp(x, edges, total)


CURVES = {"constant": constant, "square": square, "ramp": ramp, "training": training}


# --- what reads it


def instant(joules: Joules, t: Floats, phase_s: float) -> Floats:
    return (joules(t) - joules(t - 1e-5)) / 1e-5


def quarter(joules: Joules, t: Floats, phase_s: float) -> Floats:
    """The mean over 25 ms of each 100 ms, as A100 and H100 have it."""
    seen = np.floor((t - phase_s) / 0.1) * 0.1 + phase_s
    return (joules(seen) - joules(seen - 0.025)) / 0.025


def average(joules: Joules, t: Floats, phase_s: float) -> Floats:
    """The mean over the last second, renewed every 100 ms."""
    seen = np.floor((t - phase_s) / 0.1) * 0.1 + phase_s
    return joules(seen) - joules(seen - 1)


@dataclass(frozen=True)
class Source:
    """A meter: its register of power, if any, and its counter, if any."""

    power: Callable[[Joules, Floats, float], Floats] | None
    tick_s: float | None
    unit_j: float = 1e-3
    average_s: float = 0.0
    blind_s: float = 0.0
    jitter: float = 0.01  # how far a tick may be off its beat, as a share of it

    def read(self, joules: Joules, t: Floats, chance: Chance) -> tuple[Floats, Floats]:
        """(power_w, energy_j) at each instant."""
        nothing = np.full(len(t), np.nan)
        power_w = self.power(joules, t, chance.uniform(0, 0.1)) if self.power else nothing
        return np.round(power_w, 3), self._count(joules, t, chance) if self.tick_s else nothing

    def _count(self, joules: Joules, t: Floats, chance: Chance) -> Floats:
        assert self.tick_s
        tick_s = self.tick_s * chance.uniform(0.97, 1.03)
        ticks = np.arange(-1.0, t[-1] / tick_s + 2) * tick_s + chance.uniform(0, tick_s)
        ticks += chance.uniform(-self.jitter, self.jitter, len(ticks)) * tick_s
        counted = np.floor(joules(np.maximum(ticks, 0.0)) / self.unit_j) * self.unit_j
        return counted[np.maximum(np.searchsorted(ticks, t, "right") - 1, 0)]


SOURCES = {
    "counter of 100 ms, power now": Source(instant, 0.1),
    "counter of 100 ms, power 25 of 100 ms": Source(quarter, 0.1),
    "counter of 100 ms, power over 1 s": Source(average, 0.1, average_s=1.0),
    "counter of 100 ms alone": Source(None, 0.1),
    "counter of 50 to 150 ms, power 25 of 100 ms": Source(quarter, 0.1, jitter=0.25),
    "counter of 20 ms, power 25 of 100 ms": Source(quarter, 0.02),
    "RAPL, 1 ms": Source(None, 0.001, 61e-6),
    "RAPL, 4 ms": Source(None, 0.004, 61e-6),
    "power now": Source(instant, None),
    "power 25 of 100 ms": Source(quarter, None, blind_s=0.1),
    "power over 1 s": Source(average, None, average_s=1.0),
}


# --- when it is read


def reading_times(
    start_s: float, stop_s: float, end_s: float, rate_hz: float, busy: bool, chance: Chance
) -> Floats:
    """As the sampler reads: at its rate, and in bursts at its start and at a window's edges."""
    first, lead, last = FIRST_BURST_S, start_s - LEAD_S, stop_s + BURST_S
    stretches = [
        (first, BURST_HZ), (lead, rate_hz), (start_s + BURST_S, BURST_HZ), (stop_s, rate_hz),
        (last, BURST_HZ), (end_s, rate_hz),
    ]  # fmt: skip
    times = [np.zeros(1)]
    for until_s, hz in stretches:
        since_s = times[-1][-1]
        most = int(max(0.0, until_s - since_s) * hz) + 2
        beat = np.cumsum(np.ones(most))
        if hz == rate_hz:
            beat += (chance.random() + GOLDEN * beat) % 1 - 0.5
        at = since_s + beat / hz + np.cumsum(_lateness(most, busy, chance))
        times += [at[at < until_s], np.array([until_s]) + _lateness(1, busy, chance)]
    found = np.concatenate(times)
    return np.unique(found[found < end_s])


def _lateness(n: int, busy: bool, chance: Chance) -> Floats:
    """How much later than due a thread wakes up, s."""
    held_up = (chance.random(n) < 0.15) * chance.exponential(0.012, n)
    return np.asarray(chance.exponential(1e-4, n) + busy * held_up)


def _stamp_error(n: int, busy: bool, chance: Chance) -> Floats:
    """The middle of the call is not when the value was taken: half of what calls take, s."""
    took = chance.exponential(1e-4, n) + busy * (chance.random(n) < 0.05) * chance.uniform(
        0, 2e-3, n
    )
    return took * chance.uniform(-0.5, 0.5, n)


# --- trials


@dataclass(frozen=True)
class Trial:
    error: float  # relative
    stated: float  # uncertainty, relative
    covered: bool
    refused: bool  # it would not be ranked


def trial(
    source: Source, curve: Drawn, window_s: float, rate_hz: float, busy: bool, seed: int
) -> Trial:
    chance = np.random.default_rng(seed)
    joules = curve(chance, source.blind_s)
    start_s = chance.uniform(1.5, 4)
    stop_s = start_s + window_s
    end_s = stop_s + chance.choice([BURST_S, 3.0])
    t = reading_times(start_s, stop_s, end_s, rate_hz, busy, chance)
    power_w, energy_j = source.read(joules, t, chance)
    stamps_s = np.maximum.accumulate(t + _stamp_error(len(t), busy, chance))  # one thread reads
    empty = np.full(len(t), np.nan)
    series = Series((stamps_s * 1e9).astype(np.int64), power_w, energy_j, empty, empty, empty)
    domain = Domain("gpu:GPU-1", "gpu", "", "M1", 0.0, facts={"power_average_s": source.average_s})
    energy, warnings = Curve(domain, series, [], rate_hz).energy(
        round(start_s * 1e9), round(stop_s * 1e9)
    )
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    true_j = float(np.diff(joules(np.array([start_s, stop_s])))[0])
    off_j = abs(energy.energy_j - true_j)
    covered = off_j <= energy.uncertainty_j + DIGITS * true_j
    refused = any(not w.rankable for w in warnings)
    return Trial(off_j / true_j, energy.uncertainty_j / true_j, covered, refused)


def trials(source: str, curve: str, windows_s: Iterable[float], times: int) -> list[Trial]:
    """`times` of each window; half of them at 100 Hz, and half on a busy machine."""
    kinds = [(hz, busy) for hz in (10, 100) for busy in (False, True)]
    found = []
    for window_s, k in product(windows_s, range(times)):
        hz, busy = kinds[k % 4]
        seed = zlib.crc32(f"{source} {curve} {window_s} {k}".encode())
        found.append(trial(SOURCES[source], CURVES[curve], window_s, hz, busy, seed))
    return found


@cache
def sample(source: str, curve: str) -> dict[float, list[Trial]]:
    times = 20 if curve == "square" else 8
    return {w: trials(source, curve, [w], times) for w in WINDOWS_S[:-1]}


@pytest.mark.parametrize("source", SOURCES)
def test_the_stated_uncertainty_covers_the_truth(source: str) -> None:
    """For each curve, in at least 95 of 100 random windows of 0.25 to 30 s."""
    for curve in CURVES:
        found = [t for of_window in sample(source, curve).values() for t in of_window]
        assert np.mean([t.covered for t in found]) >= 0.95, curve


def test_a_load_in_step_with_the_rate_can_not_hide() -> None:
    """A square of exactly the sampler's period: readings are spread over it on purpose."""

    def in_step(chance: Chance, unlike_s: float = 0.0) -> Joules:
        low, high, phase_s = 100.0, 400.0, chance.uniform(0, 0.1)

        def joules(t: Floats) -> Floats:
            whole, part = np.divmod((t + phase_s) / 0.1, 1)
            return 0.1 * (low * (whole + part) + (high - low) * (whole / 2 + np.minimum(part, 0.5)))

        return joules

    source = SOURCES["power now"]
    found = [trial(source, in_step, 10.0, 10, busy=False, seed=seed) for seed in range(30)]
    assert np.mean([t.covered for t in found]) >= 0.95
    assert np.mean([t.error for t in found]) < 0.08


@pytest.mark.parametrize("source", SOURCES)
def test_the_stated_uncertainty_is_not_absurd(source: str) -> None:
    """It is some times the error, on the mean over curves. A constant load is left out: a register
    that shows nothing of what happens within it can't tell it from others."""
    several = [sample(source, curve) for curve in CURVES if curve != "constant"]
    found = [t for by_window in several for of_window in by_window.values() for t in of_window]
    stated, error = (np.mean([getattr(t, x) for t in found]) for x in ("stated", "error"))
    assert stated < MOST_TIMES * error


@pytest.mark.parametrize("source", [s for s in SOURCES if SOURCES[s].tick_s])
def test_a_counter_is_within_a_percent_at_1_s_and_a_thousandth_at_10_s(source: str) -> None:
    """The mean error over all curves, which may swing within a tick."""
    for window_s, most in ((1.0, 0.01), (10.0, 0.001), (30.0, 0.001)):
        errors = [t.error for curve in CURVES for t in sample(source, curve)[window_s]]
        assert np.mean(errors) < most


@pytest.mark.parametrize("source", SOURCES)
def test_a_healthy_meter_is_hardly_ever_refused(source: str) -> None:
    """What is doubted beyond ranking is at most one window in fifty."""
    found = [t for c in CURVES for of_window in sample(source, c).values() for t in of_window]
    assert np.mean([t.refused for t in found]) <= 0.02


def table(times: int) -> Iterable[str]:
    """Rows of Markdown. A cell: windows covered, those of the least covered curve; the error that
    95 of 100 stay below; the mean uncertainty that was stated."""
    yield "| what is read | " + " | ".join(f"{w:g} s" for w in WINDOWS_S) + " |"
    yield "| --- " * (len(WINDOWS_S) + 1) + "|"
    for source in SOURCES:
        cells = []
        for window_s in WINDOWS_S:
            by_curve = [trials(source, curve, [window_s], times) for curve in CURVES]
            every = [t for found in by_curve for t in found]
            covered = 100 * np.mean([t.covered for t in every])
            least = 100 * min(np.mean([t.covered for t in found]) for found in by_curve)
            error = 100 * np.quantile([t.error for t in every], 0.95)
            stated = 100 * np.mean([t.stated for t in every])
            cells.append(f"{covered:.0f} ({least:.0f}); {error:.2g}; {stated:.2g}")
        yield f"| {source} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for row in table(int(sys.argv[1]) if len(sys.argv) > 1 else 48):
        print(row, flush=True)
