"""Energy from readings: exact where it can be, unsure where it must be, missing where nothing was
read. The readings here are made from curves whose integral is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bench.power.energy import Series
from bench.power.probes import Domain, Mark
from bench.power.trace import Trace
from tests.power.simulated import Constant, Curve, Ramp, Square

ORIGIN_NS = 5_000_000_000_000
NAN = math.nan


def at(seconds: float) -> int:
    return ORIGIN_NS + round(seconds * 1e9)


def readings(stop_s: float, *, edges: tuple[float, ...] = (), rate_hz: float = 10) -> list[float]:
    """Instants as a sampler reads: at a rate, thick at the start and after each edge. Only the
    first edge is announced, so that it is thick before it too."""
    bursts = [(0.0, 0.5), *((e - 0.25 * (e == edges[0]), e + 0.35) for e in edges)]
    times = [k / rate_hz for k in range(int(stop_s * rate_hz))]
    for since, until in bursts:
        times += [since + 0.005 * k for k in range(int((until - since) / 0.005))]
    return sorted(t for t in set(times) if 0 <= t < stop_s)


def trace_of(
    curve: Curve,
    times: list[float],
    *,
    tick_s: float = 0.1,
    phase_s: float = 0.03,
    counter: Callable[[float, float], float] = lambda t, joules: joules,
    power: Callable[[float, float], float] = lambda t, watts: watts,
    level: str = "M1",
    facts: dict[str, Any] | None = None,
    marks: list[Mark] | None = None,
) -> Trace:
    """A trace of one GPU whose counter ticks; `counter` and `power` spoil what is read."""
    ticked = [math.floor((t - phase_s) / tick_s) * tick_s + phase_s for t in times]
    energy_j = [counter(t, curve.energy_j(q + 100)) for t, q in zip(times, ticked, strict=True)]
    power_w = [power(t, curve.power_w(t + 100)) for t in times]
    empty = np.full(len(times), NAN)
    series = Series(
        np.array([at(t) for t in times], np.int64),
        np.array(power_w), np.array(energy_j), empty, empty, empty,
    )  # fmt: skip
    domain = Domain("gpu:GPU-1", "gpu", "Simulated", level, 0.1, "GPU-1", None, facts or {})
    return Trace([domain], {domain.name: series}, marks or [], [], {"rate_hz": 10.0})


def truth(curve: Curve, start: float, stop: float) -> float:
    return curve.energy_j(stop + 100) - curve.energy_j(start + 100)


def ids(trace: Trace, start: float, stop: float, *, rankable: bool) -> set[str]:
    return {w.id for w in trace.warnings(at(start), at(stop)) if w.rankable is rankable}


CURVES = [Constant(400), Square(100, 400, 0.73), Square(100, 400, 0.2), Ramp(80, 700, 3.1)]


@pytest.mark.parametrize("curve", CURVES, ids=str)
@pytest.mark.parametrize("tick_s", [0.001, 0.02, 0.1])
def test_a_window_of_ten_seconds_is_within_a_thousandth(curve: Curve, tick_s: float) -> None:
    start, stop = 2.017, 12.151
    trace = trace_of(curve, readings(14, edges=(start, stop)), tick_s=tick_s)
    (energy,) = trace.energy(at(start), at(stop))
    assert energy.method == "counter"
    assert energy.energy_j == pytest.approx(truth(curve, start, stop), rel=1e-3)
    assert trace.warnings(at(start), at(stop)) == []


@pytest.mark.parametrize("curve", CURVES, ids=str)
@pytest.mark.parametrize("length_s", [0.25, 1.0, 5.0])
def test_the_stated_uncertainty_covers_the_truth(curve: Curve, length_s: float) -> None:
    """Of random windows, at least 95 in 100; the gain is left out, for this meter has none."""
    chance = random.Random(f"{curve}{length_s}")
    covered = 0
    for _ in range(100):
        start = chance.uniform(1.5, 2.5)
        stop = start + length_s
        trace = trace_of(
            curve, readings(stop + 1, edges=(start, stop)), phase_s=chance.uniform(0, 0.1)
        )
        (energy,) = trace.energy(at(start), at(stop))
        assert energy.energy_j is not None
        assert energy.uncertainty_j is not None
        edge_j = math.sqrt(energy.uncertainty_j**2 - (0.1 * energy.energy_j) ** 2)
        covered += abs(energy.energy_j - truth(curve, start, stop)) <= edge_j + 1e-6
    assert covered >= 95


def test_calls_of_90_ms_are_covered_and_no_doubt() -> None:
    """A value is latched when the call ends and stamped with its middle."""
    curve, took_s, chance = Square(100, 400, 0.73), 0.09, random.Random(9)
    covered = 0
    for _ in range(60):
        start = chance.uniform(1.5, 2.5)
        times = [0.095 * k for k in range(45)]
        marks = [Mark(at(t), "slow", "took long", "gpu:GPU-1", took_s) for t in times]
        late = [t + took_s / 2 for t in times]
        trace = trace_of(curve, late, phase_s=chance.uniform(0, 0.1), marks=marks)
        series = trace.series["gpu:GPU-1"]
        trace.series["gpu:GPU-1"] = replace(series, t_ns=series.t_ns - round(took_s / 2 * 1e9))
        (energy,) = trace.energy(at(start), at(start + 1))
        assert energy.energy_j is not None
        assert energy.uncertainty_j is not None
        edge_j = math.sqrt(energy.uncertainty_j**2 - (0.1 * energy.energy_j) ** 2)
        covered += abs(energy.energy_j - truth(curve, start, start + 1)) <= edge_j
    assert covered >= 57
    assert "slow" not in ids(trace, start, start + 1, rankable=True)


def test_the_uncertainty_of_a_phase_is_that_of_a_window() -> None:
    trace = trace_of(Square(100, 400, 0.73), readings(9, edges=(2.0, 5.0, 7.0)))
    (energy,) = trace.energy(at(2), at(5))
    assert trace.phase_uncertainty_j(at(2), at(5)) == {"gpu:GPU-1": energy.uncertainty_j}
    assert trace.phase_uncertainty_j(at(20), at(25)) == {}


def test_a_raw_difference_would_be_off_by_a_tick() -> None:
    """What interpolation is for: the same readings, one second, a tenth of the error at most."""
    curve, start, stop = Constant(400), 2.12, 3.04
    trace = trace_of(curve, readings(5, edges=(start, stop)))
    series = trace.series["gpu:GPU-1"]
    raw = [series.energy_j[np.searchsorted(series.t_ns, at(x)) - 1] for x in (start, stop)]
    (energy,) = trace.energy(at(start), at(stop))
    wanted = truth(curve, start, stop)
    assert energy.energy_j == pytest.approx(wanted, rel=0.005)
    assert abs(raw[1] - raw[0] - wanted) > 10 * abs((energy.energy_j or 0) - wanted)


def test_a_tick_before_a_burst_is_found_by_counting_back() -> None:
    """Readings were 100 ms apart when the window ended, and the tick before is known to a few."""
    curve, start, stop = Constant(400), 2.12, 7.37
    trace = trace_of(curve, readings(9, edges=(start, stop)))
    (energy,) = trace.energy(at(start), at(stop))
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    edges_j = math.sqrt(energy.uncertainty_j**2 - (0.1 * energy.energy_j) ** 2)
    assert abs(energy.energy_j - truth(curve, start, stop)) <= edges_j < 400 * 0.025


def test_without_a_counter_power_is_integrated() -> None:
    trace = trace_of(Ramp(100, 400, 20), readings(14), counter=lambda t, joules: NAN)
    (energy,) = trace.energy(at(2), at(12))
    assert (energy.method, energy.counter_j) == ("integral", None)
    assert energy.energy_j == pytest.approx(truth(Ramp(100, 400, 20), 2, 12), rel=0.005)


def test_without_power_the_counter_stands_alone() -> None:
    trace = trace_of(Constant(60), readings(14), tick_s=0.001, power=lambda t, watts: NAN)
    (energy,) = trace.energy(at(2), at(12))
    assert (energy.method, energy.integral_j, energy.disagreement) == ("counter", None, None)
    assert energy.energy_j == pytest.approx(600, rel=1e-3)


def test_away_from_bursts_a_fast_counter_is_known_to_its_tick() -> None:
    curve = Ramp(40, 400, 8)  # power at the window's end is not that at its start
    trace = trace_of(curve, readings(14), tick_s=0.001, power=lambda t, watts: NAN)
    (energy,) = trace.energy(at(4.45), at(9.95))
    assert energy.energy_j == pytest.approx(truth(curve, 4.45, 9.95), rel=0.002)


def test_parts_sum_to_the_window() -> None:
    trace = trace_of(Square(100, 400, 0.73), readings(14, edges=(2, 12)))
    edges = [at(2), at(2.0001), at(3.3), at(3.35), at(9), at(12)]
    parts = [trace.phase_energy_j(a, b)["gpu:GPU-1"] for a, b in pairwise(edges)]
    (energy,) = trace.energy(at(2), at(12))
    assert sum(parts) == pytest.approx(energy.energy_j, rel=1e-9)


def test_mean_power() -> None:
    trace = trace_of(Constant(123), readings(6))
    assert trace.mean_power_w(at(1), at(5))["gpu:GPU-1"] == pytest.approx(123, rel=0.01)


# --- what must never pass for a number


def test_a_counter_that_goes_back_is_not_believed() -> None:
    def back(t: float, joules: float) -> float:
        return joules - 1_001_000 if t > 5 else joules

    trace = trace_of(Constant(400), readings(14), counter=back)
    (energy,) = trace.energy(at(2), at(12))
    assert (energy.method, energy.energy_j) == ("integral", pytest.approx(4000, rel=0.01))
    assert "counter" in ids(trace, 2, 12, rankable=False)


def test_a_counter_that_goes_back_with_no_power_to_integrate_gives_no_energy() -> None:
    trace = trace_of(
        Constant(400), readings(14), power=lambda t, watts: NAN,
        counter=lambda t, joules: joules - 5000 if t > 5 else joules,
    )  # fmt: skip
    (energy,) = trace.energy(at(2), at(12))
    assert (energy.method, energy.energy_j) == ("missing", None)
    assert "went back" in (energy.reason or "")
    assert "missing" in ids(trace, 2, 12, rankable=False)


def test_a_counter_that_leaps_is_not_believed() -> None:
    trace = trace_of(
        Constant(60), readings(14), tick_s=0.001, power=lambda t, watts: NAN,
        counter=lambda t, joules: joules + 65_000 if t > 5 else joules,
        facts={"power_limit_w": 300},
    )  # fmt: skip
    (energy,) = trace.energy(at(2), at(12))
    assert energy.energy_j is None
    assert "leapt by 6.501e+04 J" in (energy.reason or "")


def test_a_frozen_counter_is_not_believed() -> None:
    frozen = 400 * 105.0
    trace = trace_of(Constant(400), readings(14), counter=lambda t, joules: min(joules, frozen))
    (energy,) = trace.energy(at(2), at(12))
    assert (energy.method, energy.energy_j) == ("integral", pytest.approx(4000, rel=0.01))
    assert "counter" in ids(trace, 2, 12, rankable=False)


def counted_only(since: float, until: float) -> Callable[[float, float], float]:
    return lambda t, joules: joules if since <= t < until else NAN


@pytest.mark.parametrize("curve", CURVES, ids=str)
@pytest.mark.parametrize(
    ("since", "until", "start"), [(2.1, 99, 0.3), (0, 10, 2.0), (2.1, 10, 0.3)]
)
def test_power_stands_in_where_a_counter_was_not_read(
    curve: Curve, since: float, until: float, start: float
) -> None:
    """It came late, ended early, or both: the parts still sum, and the truth is covered."""
    trace = trace_of(curve, readings(14, edges=(start, 12)), counter=counted_only(since, until))
    (energy,) = trace.energy(at(start), at(12))
    assert energy.method == "counter"
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    edge_j = math.sqrt(energy.uncertainty_j**2 - (0.1 * energy.energy_j) ** 2)
    assert abs(energy.energy_j - truth(curve, start, 12)) <= edge_j
    assert edge_j < 0.15 * energy.energy_j
    (warn,) = [w for w in trace.warnings(at(start), at(12)) if w.id == "no-counter"]
    uncounted_s = max(0, since - start) + max(0, 12 - until)
    said_s = float(warn.message.partition("counter in ")[2].partition(" of 1")[0])
    assert said_s == pytest.approx(uncounted_s, abs=0.15)
    assert warn.rankable
    edges = (start, start + 1, 4, 11.5, 12)
    parts = [trace.phase_energy_j(at(a), at(b))["gpu:GPU-1"] for a, b in pairwise(edges)]
    assert sum(parts) == pytest.approx(energy.energy_j)


def test_a_window_before_the_counter_is_the_integral() -> None:
    curve = Square(100, 400, 0.2)
    spoilt = trace_of(curve, readings(9, edges=(0.3, 1.9)), counter=counted_only(2.1, 99))
    alone = trace_of(curve, readings(9, edges=(0.3, 1.9)), counter=lambda t, joules: NAN)
    (energy,), (wanted,) = (t.energy(at(0.3), at(1.9)) for t in (spoilt, alone))
    assert (energy.method, energy.energy_j) == ("integral", pytest.approx(wanted.energy_j))
    assert energy.uncertainty_j == pytest.approx(wanted.uncertainty_j)
    assert "no-counter" in ids(spoilt, 0.3, 1.9, rankable=True)


def test_without_power_nothing_stands_in_for_a_counter() -> None:
    trace = trace_of(
        Constant(400), readings(14), counter=counted_only(2.1, 99), power=lambda t, watts: NAN
    )
    (energy,) = trace.energy(at(0.3), at(12))
    assert energy.energy_j is None
    assert "no reading in the first 1.8 s" in (energy.reason or "")


@pytest.mark.parametrize(
    ("factor", "rankable", "said"),
    [(1.01, True, False), (1.04, True, True), (1.3, False, True), (0.5, False, True)],
)
def test_counter_against_integral(factor: float, rankable: bool, said: bool) -> None:
    trace = trace_of(Constant(400), readings(14), power=lambda t, watts: watts * factor)
    (energy,) = trace.energy(at(2), at(12))
    assert energy.disagreement == pytest.approx(abs(factor - 1), abs=0.01)
    assert ("disagreement" in ids(trace, 2, 12, rankable=rankable)) is said


def lost_after(limit: float) -> Callable[[float, float], float]:
    return lambda t, value: NAN if t > limit else value


def test_a_lost_device_has_no_energy() -> None:
    trace = trace_of(
        Constant(400), readings(14), counter=lost_after(8), power=lost_after(8),
        marks=[Mark(at(8), "lost", "NVML 15: GPU is lost", "gpu:GPU-1")],
    )  # fmt: skip
    (energy,) = trace.energy(at(2), at(12))
    assert energy.energy_j is None
    assert energy.reason == "no reading after 6.0 of 10.0 s: NVML 15: GPU is lost"
    assert "missing" in ids(trace, 2, 12, rankable=False)
    assert trace.phase_energy_j(at(9), at(10)) == {}
    assert trace.energy(at(2), at(7))[0].energy_j == pytest.approx(2000, rel=1e-3)


def test_a_device_that_was_never_read_has_no_energy() -> None:
    trace = trace_of(
        Constant(400), readings(14), counter=lost_after(-1), power=lost_after(-1),
        marks=[Mark(at(0), "unreadable", "NVML 4: Insufficient Permissions", "gpu:GPU-1")],
    )  # fmt: skip
    (energy,) = trace.energy(at(2), at(12))
    assert energy.energy_j is None
    assert energy.reason == "NVML 4: Insufficient Permissions"


def test_a_gap_over_three_seconds_is_not_ranked() -> None:
    times = [t for t in readings(14) if not 5 < t < 8.5]
    trace = trace_of(Constant(400), times)
    (energy,) = trace.energy(at(2), at(12))
    assert energy.energy_j == pytest.approx(4000, rel=1e-3)  # the counter went on
    assert energy.largest_gap_s == pytest.approx(3.5, abs=0.2)
    assert "gap" in ids(trace, 2, 12, rankable=False)


def test_a_gap_makes_the_integral_unsure() -> None:
    def unsure(times: list[float]) -> float:
        trace = trace_of(Square(100, 400, 0.73), times, counter=lambda t, joules: NAN)
        return trace.energy(at(2), at(12))[0].uncertainty_j or 0.0

    assert unsure([t for t in readings(14) if not 5 < t < 7.5]) > unsure(readings(14)) + 100


def test_too_few_readings_are_not_ranked() -> None:
    trace = trace_of(Constant(400), readings(14, rate_hz=2)[100:])
    assert "too-few-samples" in ids(trace, 2, 12, rankable=False)


@pytest.mark.parametrize(("id", "rankable"), [("contended", False), ("throttled", True)])
def test_marks_in_the_window_are_told_once(id: str, rankable: bool) -> None:
    marks = [Mark(at(s), id, "something", "gpu:GPU-1") for s in (3, 4, 5, 13.5)]
    trace = trace_of(Constant(400), readings(14), marks=marks)
    (warn,) = trace.warnings(at(2), at(12))
    assert (warn.id, warn.rankable, warn.message) == (
        id,
        rankable,
        "gpu:GPU-1: something (3 times)",
    )
    assert trace.warnings(at(6.5), at(12)) == []


def test_a_divided_board_is_not_ranked() -> None:
    trace = trace_of(Constant(400), readings(14), facts={"mig": True})
    assert "mig" in ids(trace, 2, 12, rankable=False)


def test_averaged_power_does_not_shape_the_edges() -> None:
    """`PowerUsage` lags by up to a second: its integral is unsure where power changes."""
    edges = (2.0, 4.0)

    def unsure(average_s: float) -> float:
        trace = trace_of(
            Square(100, 400, 4), readings(6, edges=edges), counter=lambda t, joules: NAN,
            facts={"power_average_s": average_s},
        )  # fmt: skip
        return trace.energy(at(2.5), at(4.5))[0].uncertainty_j or 0.0

    assert unsure(1.0) > unsure(0.0) + 50


def test_a_suspend_and_a_set_clock_are_seen() -> None:
    trace = trace_of(Constant(400), readings(14))
    trace.clocks = [(at(s), at(s) + 10, at(s) + 20) for s in (3, 4)]
    assert trace.warnings(at(2), at(12)) == []
    trace.clocks.append((at(5), at(65) + 10, at(65) + 20))
    assert ids(trace, 2, 12, rankable=False) == {"suspended"}
    trace.clocks[-1] = (at(5), at(3605) + 10, at(5) + 20)
    assert ids(trace, 2, 12, rankable=True) == {"clock-set"}


def test_an_estimate_is_modelled_with_its_band() -> None:
    trace = trace_of(Constant(10), readings(14), level="M0")
    (energy,) = trace.energy(at(2), at(12))
    assert (energy.method, energy.level) == ("modelled", "M0")
    assert energy.band_j == pytest.approx((60, 140), rel=0.01)
    assert energy.uncertainty_j == pytest.approx(40, rel=0.01)


def test_readings_out_of_order_or_not_finite_do_no_harm() -> None:
    times = readings(14)
    trace = trace_of(Constant(400), times, power=lambda t, watts: math.inf if t > 9 else watts)
    order = np.argsort(np.sin(np.arange(len(times))))
    series = trace.series["gpu:GPU-1"]
    twice = np.concatenate([order, order])
    columns = (series.power_w, series.energy_j, *[np.full(len(times), NAN)] * 3)
    trace.series["gpu:GPU-1"] = Series(series.t_ns[twice], *(c[twice] for c in columns))
    (energy,) = trace.energy(at(2), at(12))
    assert energy.energy_j == pytest.approx(4000, rel=1e-3)


# --- which domains count


def test_what_the_child_could_not_see_is_not_charged() -> None:
    trace = trace_of(
        Constant(400), readings(14), marks=[Mark(at(5), "contended", "x", "gpu:GPU-1")]
    )
    (energy,) = trace.energy(at(2), at(12), charged=lambda name: False)
    assert (energy.charged, energy.energy_j) == (False, pytest.approx(4000, rel=1e-3))
    assert trace.warnings(at(2), at(12), charged=lambda name: False) == []


def test_a_device_that_no_meter_reads_is_missing() -> None:
    trace = trace_of(Constant(400), readings(14))
    found = trace.energy(at(2), at(12), expected=["gpu:GPU-1", "gpu:GPU-2"])
    assert [(e.domain, e.energy_j is None, e.charged) for e in found] == [
        ("gpu:GPU-1", False, True),
        ("gpu:GPU-2", True, True),
    ]


def test_a_node_meter_is_the_total_and_the_rest_its_parts() -> None:
    trace = trace_of(Constant(400), readings(14))
    node = Domain("node:plug", "node", "plug", "M2", 0.02)
    trace.domains.append(node)
    trace.series[node.name] = trace.series["gpu:GPU-1"]
    charged = {e.domain: e.charged for e in trace.energy(at(2), at(12))}
    assert charged == {"gpu:GPU-1": False, "node:plug": True}


# --- counters, powers and clocks that lie in smaller ways


def half_joules(counter: Callable[[float, float], float], **options: Any) -> Trace:
    """A constant 400 W, whose counter alone is read: no power to compare it with."""
    return trace_of(
        Constant(400), readings(14), power=lambda t, watts: NAN, counter=counter, **options
    )


def test_a_counter_that_starts_frozen_is_not_believed() -> None:
    def late(t: float, joules: float) -> float:
        return max(joules, 400 * 105.0)

    trace = trace_of(Constant(400), readings(14), counter=late)
    (energy,) = trace.energy(at(2), at(12))
    assert (energy.method, energy.energy_j) == ("integral", pytest.approx(4000, rel=0.01))
    assert "counter" in ids(trace, 2, 12, rankable=False)
    (energy,) = half_joules(late).energy(at(2), at(12))
    assert energy.energy_j is None
    assert "stood still" in (energy.reason or "")


def test_a_counter_that_never_moves_is_said_to() -> None:
    trace = trace_of(Constant(400), readings(14), counter=lambda t, joules: 7.0)
    (energy,) = trace.energy(at(2), at(12))
    assert (energy.method, energy.energy_j) == ("integral", pytest.approx(4000, rel=0.01))
    assert "counter" in ids(trace, 2, 12, rankable=False)
    (energy,) = half_joules(lambda t, joules: 7.0).energy(at(2), at(12))
    assert energy.energy_j is None


@pytest.mark.parametrize("factor", [1e-3, 1e3, 1 / 3600])
def test_a_counter_in_another_unit_is_not_ranked(factor: float) -> None:
    trace = trace_of(Constant(400), readings(14), counter=lambda t, joules: joules * factor)
    assert ids(trace, 2, 12, rankable=False) & {"counter", "disagreement"}


def test_a_small_leap_shows_beside_power() -> None:
    """200 J at once are within twice the limit between two readings, and 12 % of the window."""
    trace = trace_of(
        Constant(400), readings(8, edges=(2, 6)), facts={"power_limit_w": 700},
        counter=lambda t, joules: joules + 200 * (t > 4),
    )  # fmt: skip
    assert "disagreement" in ids(trace, 2, 6, rankable=False)


def test_without_a_limit_power_itself_says_what_a_leap_is() -> None:
    trace = trace_of(Constant(400), readings(64), counter=lambda t, joules: joules + 500 * (t > 30))
    assert "counter" in ids(trace, 2, 62, rankable=False)


def test_a_driver_that_was_loaded_again_is_seen() -> None:
    """Its counter starts from 0, at 40 kJ before."""
    trace = trace_of(
        Constant(400), readings(14), counter=lambda t, joules: joules - 400 * 105 * (t > 5)
    )
    (energy,) = trace.energy(at(2), at(12))
    assert (energy.method, energy.energy_j) == ("integral", pytest.approx(4000, rel=0.01))
    assert "counter" in ids(trace, 2, 12, rankable=False)


@pytest.mark.parametrize("watts", [-50.0, math.inf, -math.inf, 9000.0])
def test_power_that_can_not_be_is_left_out_and_said(watts: float) -> None:
    def wrong(t: float, true_w: float) -> float:
        return watts if 5 < t < 5.45 else true_w

    facts = {"power_limit_w": 700}
    trace = trace_of(Constant(400), readings(14), power=wrong, facts=facts)
    assert trace.energy(at(2), at(12))[0].energy_j == pytest.approx(4000, rel=1e-3)
    assert ids(trace, 2, 12, rankable=True) == {"implausible-power"}
    assert ids(trace, 7, 12, rankable=True) == set()
    trace = trace_of(
        Constant(400), readings(14), power=wrong, facts=facts, counter=lambda t, joules: NAN
    )
    assert trace.energy(at(2), at(12))[0].energy_j == pytest.approx(4000, rel=1e-3)
    assert "implausible-power" in ids(trace, 2, 12, rankable=False)


def test_power_alone_may_hide_what_repeats_in_time_with_it() -> None:
    """A register that sees 25 of each 100 ms shows a load of 100 ms as constant."""

    def seen(t: float, watts: float) -> float:
        renewed = math.floor(t / 0.1) * 0.1
        return Square(100, 400, 0.1).power_w(renewed + 0.01)

    trace = trace_of(Square(100, 400, 0.1), readings(14), power=seen, counter=lambda t, joules: NAN)
    (energy,) = trace.energy(at(2), at(12))
    assert energy.energy_j == pytest.approx(4000, rel=0.01)  # and it was 2500
    assert ids(trace, 2, 12, rankable=True) == {"no-counter"}


@pytest.mark.parametrize(("since", "until"), [(3.0, 20.0), (0.0, 9.0)])
def test_a_domain_that_comes_late_or_ends_early_has_no_energy(since: float, until: float) -> None:
    trace = trace_of(Constant(400), [t for t in readings(14) if since <= t <= until])
    (energy,) = trace.energy(at(2), at(12))
    assert (energy.method, energy.energy_j) == ("missing", None)
    assert energy.coverage < 1
    assert ids(trace, 2, 12, rankable=False) == {"missing"}
    assert trace.energy(at(4), at(8))[0].energy_j == pytest.approx(1600, rel=0.01)


@pytest.mark.parametrize("curve", CURVES, ids=str)
@pytest.mark.parametrize("length_s", [0.001, 0.03, 0.09])
def test_a_window_shorter_than_a_tick_states_what_it_does_not_know(
    curve: Curve, length_s: float
) -> None:
    start, stop = 2.0, 2.0 + length_s
    trace = trace_of(curve, readings(4, edges=(start, stop)))
    (energy,) = trace.energy(at(start), at(stop))
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    assert abs(energy.energy_j - truth(curve, start, stop)) <= energy.uncertainty_j
    assert 0 <= energy.energy_j <= 2 * 700 * length_s


def test_a_counter_of_a_billion_joules_loses_nothing() -> None:
    curve = Square(100, 400, 0.73)
    times = readings(14, edges=(2, 12))
    small, large = (
        trace_of(curve, times, counter=lambda t, joules, o=o: joules + o).energy(at(2), at(12))[0]
        for o in (0.0, 1e9)
    )
    assert large.energy_j == pytest.approx(small.energy_j, rel=1e-6)


def test_several_wraps_that_a_probe_unwrapped_are_one_counter() -> None:
    """A range of 500 J at 400 W; what is left of a wrap that was missed goes back."""
    trace = half_joules(lambda t, joules: joules % 500 + 500 * (joules // 500), tick_s=0.004)
    assert trace.energy(at(2), at(12))[0].energy_j == pytest.approx(4000, rel=1e-3)
    trace = half_joules(lambda t, joules: joules % 500, tick_s=0.004)
    assert trace.energy(at(2), at(12))[0].energy_j is None


def test_an_average_never_shapes_a_tick() -> None:
    curve, edges = Square(100, 400, 0.31), (2.0, 3.33)
    with_it, without = (
        trace_of(
            curve, readings(5, edges=edges), facts={"power_average_s": 1.0},
            power=lambda t, watts, shown=shown: watts if shown else NAN,
        ).energy(at(2.0), at(3.33))[0]
        for shown in (True, False)
    )  # fmt: skip
    assert with_it.energy_j == without.energy_j


def test_no_energy_at_all_is_doubted() -> None:
    trace = trace_of(
        Constant(400), readings(14), power=lambda t, watts: 0.0, counter=lambda t, joules: NAN
    )
    assert trace.energy(at(2), at(12))[0].energy_j == 0
    assert "no-energy" in ids(trace, 2, 12, rankable=False)


def test_a_power_that_never_changes_crashes_nothing() -> None:
    for times in ([], [1.0], [1.0, 1.0], [1.0, 1.1], [2.0 + k for k in range(5)]):
        trace = trace_of(Constant(400), times)
        (energy,) = trace.energy(at(1), at(2))
        assert energy.energy_j is None or energy.uncertainty_j is not None


def test_random_readings_crash_nothing() -> None:
    """And whatever comes out is finite, or missing with a reason."""
    chance = np.random.default_rng(3)
    for _ in range(60):
        n = int(chance.integers(0, 60))
        t = 10**9 * chance.integers(0, 100, n) // chance.integers(1, 40)
        columns = [chance.choice([0.0, -1.0, NAN, math.inf, 5.0, 1e12], n) for _ in range(2)]
        empty = np.full(n, NAN)
        domain = Domain("gpu:GPU-1", "gpu", "Simulated", "M1", 0.1)
        series = Series(t.astype(np.int64), columns[0], columns[1], empty, empty, empty)
        trace = Trace([domain], {domain.name: series}, [], [], {"rate_hz": 10.0})
        start, stop = sorted(int(x) for x in chance.integers(0, 30 * 10**9, 2))
        (energy,) = trace.energy(start, stop)
        if energy.energy_j is None:
            assert energy.reason
        else:
            assert math.isfinite(energy.energy_j)
            assert energy.uncertainty_j is not None
            assert math.isfinite(energy.uncertainty_j)


def test_a_suspend_that_only_the_edges_show_is_seen() -> None:
    """A window shorter than the second between two looks at the clocks."""
    trace = trace_of(Constant(400), readings(14))
    trace.clocks = [(at(2), at(2), at(2)), (at(3), at(3), at(63))]
    assert "suspended" in ids(trace, 2.2, 2.7, rankable=False)


@pytest.mark.parametrize("counted", [True, False], ids=["counter", "power alone"])
def test_what_was_not_read_at_the_end_may_have_been_anything(counted: bool) -> None:
    """The last reading comes just after power rose, 0.4 s before the window ends."""
    curve = Square(80, 480, 4)
    for read_until_s in np.arange(20.0, 24.0, 0.25):
        times = [t for t in readings(30, edges=(10,)) if t < read_until_s]
        counter = (lambda t, joules: joules) if counted else (lambda t, joules: NAN)
        trace = trace_of(curve, times, counter=counter)
        (energy,) = trace.energy(at(10), at(read_until_s + 0.4))
        assert energy.energy_j is not None
        assert energy.uncertainty_j is not None
        off_j = abs(energy.energy_j - truth(curve, 10, read_until_s + 0.4))
        gain_j = 0.1 * energy.energy_j
        assert off_j <= math.sqrt(energy.uncertainty_j**2 - gain_j**2), read_until_s


def test_a_hang_is_told_from_when_it_began() -> None:
    """It is noticed 2.5 s after the window has ended."""
    mark = Mark(at(22.5), "hung", "has not answered for 3.0 s", "gpu:GPU-1", 3.0)
    trace = trace_of(Constant(300), readings(20), marks=[mark])
    assert any(w.id == "hung" for w in trace.warnings(at(10), at(20)))
    assert not any(w.id == "hung" for w in trace.warnings(at(5), at(15)))
