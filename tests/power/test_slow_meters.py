"""Energy from meters that answer once in seconds, and of a node beside its parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bench import account
from bench.power.energy import Series
from bench.power.probes import Domain
from bench.power.trace import Trace
from bench.record import DomainEnergy, Warn
from tests.power.simulated import Constant, Curve, Square

S = 1_000_000_000


def trace(**meters: tuple[Domain, Curve, float]) -> Trace:
    """A trace of 1,000 s: domain, power, and the seconds between two readings."""
    found = Trace([], {}, facts={"rate_hz": 10.0})
    for domain, curve, period_s in meters.values():
        t = np.arange(1, 1001, period_s)
        counter_s = float(domain.facts.get("counter_period_s", 0))
        power_w = np.array([curve.power_w(x) for x in t])
        at = np.floor(t / counter_s) * counter_s if counter_s else t
        energy_j = np.array([curve.energy_j(x) for x in at])
        step_j = float(domain.facts.get("step_j", 0))
        energy_j = np.floor(energy_j / step_j) * step_j if step_j else energy_j
        none = np.full(len(t), math.nan)
        found.domains.append(domain)
        energy_j = energy_j if domain.facts.get("counts") else none
        t_ns = (t * S).astype(np.int64)
        found.series[domain.name] = Series(t_ns, power_w, energy_j, none, none, none)
    return found


def meter(name: str, kind: str = "node", gain: float = 0.0, **facts: Any) -> Domain:
    return Domain(f"{kind}:{name}", kind, name, "M2" if kind == "node" else "M1", gain, facts=facts)


def measure(
    power: Curve, period_s: float, start: float, stop: float, **facts: Any
) -> tuple[DomainEnergy, list[Warn], float]:
    """(energy, warnings, truth) of one slow meter over a window."""
    found = trace(a=(meter("slow", period_s=period_s, **facts), power, period_s))
    window = round(start * S), round(stop * S)
    (energy,) = found.energy(*window)
    return energy, found.warnings(*window), power.energy_j(stop) - power.energy_j(start)


POWERS: list[Curve] = [Constant(300), Square(100, 400, 37)]


@pytest.mark.parametrize("power", POWERS, ids=str)
@pytest.mark.parametrize("period_s", [1, 10, 15])
@pytest.mark.parametrize("counts", [False, True])
def test_a_long_window_is_within_its_uncertainty_and_fit_to_rank(
    power: Curve, period_s: float, counts: bool
) -> None:
    energy, warnings, truth_j = measure(power, period_s, 33.3, 955.5, counts=counts)
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    assert abs(energy.energy_j - truth_j) <= energy.uncertainty_j
    assert energy.method == ("counter" if counts else "integral")
    assert energy.uncertainty_j < (0.05 if counts or power == POWERS[0] else 0.4) * truth_j
    assert warnings == []


def test_a_counter_that_is_renewed_once_a_minute_does_not_stand_still() -> None:
    facts = {"counts": True, "counter_period_s": 60.0}
    energy, warnings, truth_j = measure(Square(100, 400, 37), 1, 100.5, 900.5, **facts)
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    assert (energy.method, warnings) == ("counter", [])
    assert abs(energy.energy_j - truth_j) <= energy.uncertainty_j < 0.05 * truth_j


def test_a_short_window_of_a_slow_meter_has_an_energy_that_does_not_rank() -> None:
    energy, warnings, truth_j = measure(Square(100, 400, 37), 10, 33, 76)
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    assert abs(energy.energy_j - truth_j) <= energy.uncertainty_j
    assert [(w.id, w.rankable) for w in warnings] == [("too-few-samples", False)]


def test_a_gap_is_one_by_the_meters_own_measure() -> None:
    found = trace(a=(meter("slow", period_s=10.0), Constant(300), 10))
    series = found.series["node:slow"]
    keep = ~((series.t_ns > 400 * S) & (series.t_ns < 450 * S))
    found.series["node:slow"] = Series(*(c[keep] for c in vars(series).values()))
    assert [w.id for w in found.warnings(30 * S, 960 * S)] == ["gap"]


# --- a node and its parts


def test_a_node_meter_that_leaves_out_a_part_is_found() -> None:
    gpu = meter("GPU-1", "gpu", 0.1)
    fine = trace(a=(meter("bmc", gain=0.1), Constant(600), 1), b=(gpu, Constant(400), 1))
    assert fine.warnings(10 * S, 900 * S) == []
    omits = trace(a=(meter("bmc", gain=0.1), Constant(300), 1), b=(gpu, Constant(400), 1))
    (warning,) = omits.warnings(10 * S, 900 * S)
    assert (warning.id, warning.rankable) == ("node-omits", False)
    assert "less than its parts" in warning.message


@pytest.mark.parametrize("step_j", [10_000, 100_000, 360_000])
def test_a_counter_of_coarse_steps_stands_still_as_it_should(step_j: int) -> None:
    """`123.4 W 1.5 kWh`: a tenth of a kWh is 20 minutes of 300 W."""
    energy, warns, truth_j = measure(Constant(300), 1, 10, 900, counts=True, step_j=step_j)
    assert warns == []
    assert energy.energy_j == pytest.approx(truth_j, rel=0.01)
    found = trace(a=(meter("slow", period_s=1.0, counts=True, step_j=1000), Constant(300), 1))
    stuck = found.series["node:slow"]
    stuck.energy_j[500:] = stuck.energy_j[500]
    (warn,) = found.warnings(10 * S, 900 * S)
    assert (warn.id, warn.rankable) == ("counter", False)


def test_two_node_meters_are_added_up_aloud() -> None:
    both = trace(
        a=(meter("psu1"), Constant(300), 1),
        b=(meter("psu2"), Constant(200), 1),
    )
    assert sum(e.energy_j or 0 for e in both.energy(10 * S, 110 * S)) == pytest.approx(50_000)
    (warning,) = both.warnings(10 * S, 110 * S)
    assert warning.id == "several-nodes"
    assert "node:psu1, node:psu2" in warning.message


def test_a_gpus_meter_that_was_asked_for_counts() -> None:
    """An accelerator that no driver names, such as one read by a program, is charged all the same;
    a GPU that the child can't see is not."""
    start = account.begin([], None)
    asked = meter("command", "gpu")
    hidden = meter("GPU-1", "gpu")._replace(uuid="GPU-1")
    counts = account.charged(start, [asked, hidden])
    assert (counts("gpu:command"), counts("gpu:GPU-1")) == (True, False)


def test_a_nodes_meter_is_all_that_counts_live_too() -> None:
    """What a budget is held against: the parts of a node are in it already."""
    start = account.begin(["GPU-1"], None)
    node, package = meter("psu"), meter("package-0", "cpu")
    counts = account.charged(start, [node, package])
    names = ("node:psu", "cpu:package-0", "gpu:GPU-1")
    assert [counts(name) for name in names] == [True, False, False], "nor is GPU-1 missing"
    guessed = meter("guess")._replace(level="M0")
    assert account.charged(start, [guessed, package])("cpu:package-0"), "what is measured counts"
