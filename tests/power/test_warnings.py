"""Every warning has an id, a line in the docs that says what it means, and a test that trips it."""

from __future__ import annotations

import re
import textwrap
import time
from pathlib import Path

import pytest

from bench.power.meter import Meter
from tests.power.conftest import MakeGpus
from tests.power.simulated import FOREVER, Constant, SimulatedGpu

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "bench/docs/metering.md"
ID = r'"([a-z]+(?:-[a-z]+)*)"'
SAID = re.compile(rf"\bid={ID}|\bMark\([^,()]*(?:\(\))?,\s*{ID}|\.mark\(\s*{ID}")
CHANGED = {f"{what}-changed" for what in ("power-limit", "application-clock")}  # as probes do


def said() -> set[str]:
    """The ids that the meter's code gives to marks and warnings."""
    found = set(CHANGED)
    for path in (ROOT / "bench/power").rglob("*.py"):
        for groups in SAID.findall(path.read_text("utf-8")):
            found |= set(filter(None, groups))
    return found


def documented() -> set[str]:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    return {row.split("`")[1] for row in rows}


def test_the_page_lists_every_warning_and_no_other() -> None:
    assert documented() == said()


@pytest.mark.parametrize("id", sorted(said()))
def test_a_test_trips_it(id: str) -> None:
    tests = (ROOT / "tests").rglob("test_*.py")
    assert any(f'"{id}"' in path.read_text("utf-8") for path in tests)


RAISES = """
    import time
    from bench.power.probes import Domain, Reading

    class Probe:
        kinds = ("node",)
        def __init__(self, tree, argument=""):
            self.until_s = time.monotonic() + 1.0
        def why_not(self):
            return None
        def domains(self):
            return [Domain("node:mine", "node", "mine", "M2", 0.1)]
        def read(self):
            if time.monotonic() > self.until_s:
                raise RuntimeError("out of fuel")
            return [Reading("node:mine", time.monotonic_ns(), 100.0)]
        def close(self):
            pass
"""


def test_a_probe_that_raises_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(textwrap.dedent(RAISES))
    meter = Meter(tmp_path, probes=[f"{tmp_path}/mine.py"])
    meter.start()
    start_ns = meter.edge()
    time.sleep(1.2)
    trace = meter.stop()
    (energy,) = trace.energy(start_ns, start_ns + 3 * 10**9)
    assert energy.energy_j is None
    assert "out of fuel" in (energy.reason or "")
    found = {(w.id, w.rankable) for w in trace.warnings(start_ns, start_ns + 9 * 10**8)}
    assert ("probe-failed", False) in found


@pytest.mark.compiler
def test_a_counter_that_never_moves_is_replaced_and_said(
    make_gpus: MakeGpus, tmp_path: Path
) -> None:
    make_gpus(SimulatedGpu(Constant(400), faults=[("frozen", 0, FOREVER)]))
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    start_ns = meter.edge(lead_s=0.25)
    time.sleep(2.5)
    stop_ns = meter.edge()
    trace = meter.stop()
    (energy,) = trace.energy(start_ns, stop_ns)
    assert energy.method == "integral"
    assert energy.energy_j == pytest.approx(400 * (stop_ns - start_ns) / 1e9, rel=0.01)
    assert "counter-still" in {w.id for w in trace.warnings(start_ns, stop_ns)}
