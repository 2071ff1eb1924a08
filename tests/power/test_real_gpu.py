"""What a real card's counter shows, by the traces of the runs in `results/`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bench.power.counter import TickedCounter
from bench.power.energy import Curve
from bench.power.integral import Integral
from bench.power.probes import nvml
from bench.power.trace import Trace

TRACES = sorted((Path(__file__).parents[2] / "results").glob("*/*-h200/*/trace.parquet"))
TICK_S = 0.1  # over seconds all ticks of an H200 fit one grid


def ticks_s(dense_s: float) -> np.ndarray:
    """What each trace's card seems to tick by; 0 where that is not known."""
    found = []
    for path in TRACES:
        trace = Trace.read_parquet(path)
        (series,) = (s for name, s in trace.series.items() if name.startswith("gpu:"))
        read = np.isfinite(series.energy_j)
        t = (series.t_ns[read] - series.t_ns[0]) / 1e9
        unread = Integral(np.empty(0), np.empty(0))
        counter = TickedCounter(t, series.energy_j[read], unread, 700.0, dense_s)
        found.append(counter.tick_s or 0.0)
    return np.array(found)


def test_the_tick_is_known_to_3_ms_from_readings_as_far_apart_as_the_card_makes_them() -> None:
    assert len(TRACES) >= 45
    assert np.abs(ticks_s(nvml._DENSE_S) - TICK_S).max() < 0.003


def test_from_readings_of_20_ms_and_less_it_would_not_be() -> None:
    assert (np.abs(ticks_s(0.02) - TICK_S) > 0.01).sum() >= 5


def test_a_trace_that_does_not_say_is_judged_as_when_it_was_made() -> None:
    for path in TRACES[:3]:
        trace = Trace.read_parquet(path)
        (domain,) = (d for d in trace.domains if d.kind == "gpu")
        series = trace.series[domain.name]
        known = json.loads(path.with_name("record.json").read_text(encoding="utf-8"))["domains"]
        (recorded,) = (d for d in known if d["domain"] == domain.name)
        assert Curve(domain, series, [], 10.0).counter.tick_s == recorded["counter_tick_s"]
        said = domain._replace(facts={**domain.facts, "counter_dense_s": nvml._DENSE_S})
        assert Curve(said, series, [], 10.0).counter.tick_s != recorded["counter_tick_s"]
