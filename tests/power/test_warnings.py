"""Every warning has an id, a line in the docs that says what it means, and a test that trips it."""

from __future__ import annotations

import ast
import re
import textwrap
import time
from collections.abc import Iterable
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


IMPORTS = ROOT / "bench/power/imports"


def ids(paths: Iterable[Path]) -> set[str]:
    """Those that code gives to marks and warnings."""
    groups = [g for path in paths for g in SAID.findall(path.read_text("utf-8"))]
    return {id for group in groups for id in group if id}


def said() -> set[str]:
    """By the meter's own code."""
    paths = (ROOT / "bench/power").rglob("*.py")
    return CHANGED | ids(p for p in paths if IMPORTS not in p.parents)


def documented() -> set[str]:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    return {row.split("`")[1] for row in rows}


def test_the_page_of_imports_lists_theirs_and_each_has_a_test() -> None:
    own = ids(IMPORTS.glob("*.py")) - said()
    page = (ROOT / "bench/docs/exchange.md").read_text("utf-8")
    assert set(re.findall(r"(?m)^\| `([a-z-]+)` \| .* \| (?:yes|no) \|$", page)) == own
    tests = (ROOT / "tests/power/test_imports.py").read_text("utf-8")
    assert {id for id in own if f'"{id}"' not in tests} == set()


def test_the_page_lists_every_warning_and_no_other() -> None:
    assert documented() == said()


TRIPPED = {  # id -> the test that brings it about and asserts it
    "application-clock-changed": "test_nvml.test_what_happens_to_a_board_is_marked",
    "calibration": "test_calibration.test_what_does_not_fit_is_refused_and_said",
    "clock-set": "test_energy.test_a_suspend_and_a_set_clock_are_seen",
    "contended": "test_meter.test_a_shared_board_is_not_ranked",
    "counter": "test_meter.test_a_counter_that_lies_is_replaced_and_told",
    "counter-still": "test_warnings.test_a_counter_that_never_moves_is_replaced_and_said",
    "disagreement": "test_meter.test_counter_and_power_that_disagree_are_not_ranked",
    "gap": "test_energy.test_a_gap_over_three_seconds_is_not_ranked",
    "gpu-unmetered": "test_machine.test_a_gpu_that_nvml_does_not_show_is_unmetered",
    "hung": "test_nvml.test_a_board_that_hung_for_a_while_is_read_again",
    "implausible-power": "test_energy.test_power_that_can_not_be_is_left_out_and_said",
    "log-damaged": "test_trace.test_a_damaged_line_is_left_out_and_told",
    "log-failed": "test_meter.test_a_full_disk_loses_nothing",
    "lost": "test_nvml.test_lost_is_final",
    "mig": "test_meter.test_a_shared_board_is_not_ranked",
    "missing": "test_meter.test_what_could_not_be_read_is_missing",
    "no-counter": "test_energy.test_power_alone_may_hide_what_repeats_in_time_with_it",
    "no-energy": "test_energy.test_no_energy_at_all_is_doubted",
    "node-omits": "test_slow_meters.test_a_node_meter_that_leaves_out_a_part_is_found",
    "power-brake": "test_nvml.test_what_happens_to_a_board_is_marked",
    "power-capped": "test_nvml.test_what_happens_to_a_board_is_marked",
    "power-limited": "test_limit.test_a_run_says_that_the_power_is_limited",
    "power-limit-changed": "test_nvml.test_what_happens_to_a_board_is_marked",
    "probe-failed": "test_warnings.test_a_probe_that_raises_is_said",
    "processes-hidden": "test_nvml.test_a_busy_board_on_which_no_process_is_seen",
    "replayed": "test_meter.test_a_replayed_trace_gives_the_recorded_energy",
    "same-name": "test_trace.test_two_domains_of_one_name_are_not_added_up",
    "sampler-died": "test_sampler.test_a_recorder_that_fails_ends_the_sampler",
    "sampler-hung": "test_meter.test_a_stopped_sampler_does_not_hold_up_the_run",
    "several-nodes": "test_slow_meters.test_two_node_meters_are_added_up_aloud",
    "slow": "test_sampler.test_a_probe_that_is_slow_now_and_then_is_told",
    "suspended": "test_sampler.test_a_suspend_is_seen",
    "throttled": "test_nvml.test_what_happens_to_a_board_is_marked",
    "too-few-samples": "test_energy.test_too_few_readings_are_not_ranked",
    "unreadable": "test_trace.test_a_failed_reading_is_missing_and_marked_once",
}


def test_each_has_a_test_that_trips_it() -> None:
    assert TRIPPED.keys() == said()


@pytest.mark.parametrize("id", TRIPPED)
def test_a_test_trips_it(id: str) -> None:
    """The test is there, and what it expects or asserts holds the id as a text of its own."""
    module, name = TRIPPED[id].split(".")
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text("utf-8"))
    (test,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    expected = [*test.decorator_list, *(n for n in ast.walk(test) if isinstance(n, ast.Assert))]
    texts = {n.value for part in expected for n in ast.walk(part) if isinstance(n, ast.Constant)}
    assert id in texts


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
