"""Phases: readings come thick where one begins or ends, and each energy says how sure it is."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.power.trace import Trace
from bench.record import Phase

PROBE = """
    import time
    from bench.power.probes import Domain, Reading

    class Probe:
        kinds = ("node",)
        def __init__(self, tree, argument=""):
            pass
        def why_not(self):
            return None
        def domains(self):
            return [Domain("node:mine", "node", "mine", "M2", 0.1)]
        def read(self):
            return [Reading("node:mine", time.monotonic_ns(), 100.0)]
        def close(self):
            pass
"""
PROGRAM = """
import os, time
def tell(text): os.write(int(os.environ["BENCH_EVENTS_FD"]), text + b"\\n")
time.sleep(1.3)
tell(b'{"event": "phase_start", "phase": "train"}')
time.sleep(1.3)
"""


@pytest.fixture
def probe(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(textwrap.dedent(PROBE))
    return str(tmp_path / "mine.py")


def check(folder: Path, phases: list[Phase]) -> None:
    """Around the edge between two phases there are far more readings than ten a second."""
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    edge_ns = next(e["t_ns"] for e in events if e["event"] == "phase_start")
    t_s = (Trace.read_parquet(folder / "trace.parquet").series["node:mine"].t_ns - edge_ns) / 1e9
    assert np.sum((t_s > 0) & (t_s < 0.3)) > 12
    assert np.sum((t_s > -0.3) & (t_s < 0)) < 6
    assert [p.name for p in phases] == ["other", "train"]
    for phase in phases:
        unsure_j = phase.uncertainty_j["node:mine"]
        assert unsure_j is not None
        assert unsure_j >= 0.1 * phase.energy_j["node:mine"]


def test_of_a_python_program(probe: str, tmp_path: Path) -> None:
    with bench.meter(tmp_path / "run", probes=[probe]) as m:
        time.sleep(1.3)
        with m.phase("train"):
            time.sleep(1.0)
    assert m.result.phases[-1].name in ("train", "other")
    check(tmp_path / "run", [p for p in m.result.phases if p.duration_s > 0.1])


def test_of_any_program(probe: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "bench", "measure", "--probe", probe, "--out", "runs"]
    subprocess.run(
        [*command, "--", sys.executable, "program.py"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (record,) = (tmp_path / "runs").glob("measure/*/measurement.json")
    phases = [Phase(**p) for p in json.loads(record.read_text())["phases"]]
    check(record.parent, phases)


def test_phases_that_follow_by_the_millisecond_do_not_keep_readings_thick(
    probe: str, tmp_path: Path
) -> None:
    with bench.meter(tmp_path / "run", probes=[probe]) as m:
        for _ in range(200):
            m.phase("step")
            time.sleep(0.01)
    series = Trace.read_parquet(tmp_path / "run/trace.parquet").series["node:mine"]
    span_s = np.ptp(series.t_ns) / 1e9
    assert len(series.t_ns) < 140 * span_s, "a burst a second, not 200 readings a second"
