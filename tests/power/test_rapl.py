"""RAPL through a simulated powercap tree."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.power.meter import Meter
from bench.power.probes.rapl import Probe
from bench.power.processes import Tree
from tests.power.simulated import Constant, Curve, Ramp, SimulatedRapl


def probe(root: Path) -> Probe:
    return Probe(Tree(), str(root))


def working(root: Path) -> Probe:
    found = probe(root)
    assert found.why_not() is None
    return found


def set_counter(rapl: SimulatedRapl, zone: str, value: int) -> None:
    (rapl.paths[zone] / "energy_uj").write_text(f"{value}\n")


def joules(found: Probe) -> dict[str, float | None]:
    return {r.domain: r.energy_j for r in found.read()}


def test_packages_and_memory_count_once(tmp_path: Path) -> None:
    zones: dict[str, Curve] = {
        "package-0": Constant(100), "package-0/core": Constant(60), "package-0/uncore": Constant(9),
        "package-0/dram": Constant(20), "package-1": Constant(50), "package-1/dram": Constant(10),
        "psys": Constant(250), "mmio/package-0": Constant(100),
    }  # fmt: skip
    rapl = SimulatedRapl(tmp_path / "powercap", zones)
    for number, zone in enumerate(rapl.paths):  # no two counters alike
        set_counter(rapl, zone, 10_000_000 * (number + 1))
    found = {d.name: d.kind for d in working(rapl.root).domains()}
    assert found == {
        "cpu:package-0": "cpu", "dram:package-0": "dram",
        "cpu:package-1": "cpu", "dram:package-1": "dram",
    }  # fmt: skip


def test_mirrored_packages_count_once(tmp_path: Path) -> None:
    with SimulatedRapl(
        tmp_path / "powercap",
        {"package-0": Constant(100), "package-1": Constant(100)},
        mirrors={"package-1": "package-0"},
    ) as mirrored:
        assert [d.name for d in working(mirrored.root).domains()] == ["cpu:package-0"]


def test_two_packages_of_a_like_power_both_count(tmp_path: Path) -> None:
    rapl = SimulatedRapl(
        tmp_path / "powercap", {"package-0": Constant(100), "package-1": Constant(100)}
    )
    set_counter(rapl, "package-1", 1_000_001)
    assert len(working(rapl.root).domains()) == 2


def test_a_wrap_is_unwrapped(tmp_path: Path) -> None:
    rapl = SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(100)}, range_uj=5_000_000)
    set_counter(rapl, "package-0", 4_900_000)
    found = working(rapl.root)
    before = joules(found)["cpu:package-0"]
    for value in (100_000, 4_950_000, 50_000):
        set_counter(rapl, "package-0", value)
        after = joules(found)["cpu:package-0"]
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(5.15)


def test_a_reset_is_not_taken_for_a_wrap(tmp_path: Path) -> None:
    """65 kJ in a tenth of a second is no power that a package has: the fall stays a fall."""
    rapl = SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(100)})
    set_counter(rapl, "package-0", 9_000_000)
    found = working(rapl.root)
    before = joules(found)["cpu:package-0"]
    set_counter(rapl, "package-0", 1_000_000)
    after = joules(found)["cpu:package-0"]
    assert (before, after) == (9.0, 1.0)


def test_a_zone_that_goes_away_is_missing(tmp_path: Path) -> None:
    rapl = SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(100)})
    found = working(rapl.root)
    shutil.rmtree(rapl.paths["package-0"])
    (reading,) = found.read()
    assert (reading.energy_j, reading.power_w) == (None, None)
    assert reading.error


def test_garbage_in_a_counter_is_missing(tmp_path: Path) -> None:
    rapl = SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(100)})
    found = working(rapl.root)
    (rapl.paths["package-0"] / "energy_uj").write_text("")
    (reading,) = found.read()
    assert reading.energy_j is None
    assert reading.error


def test_no_tree_is_a_refusal(tmp_path: Path) -> None:
    refusal = probe(tmp_path / "absent").why_not()
    assert refusal is not None
    assert "virtual machine" in refusal.reason


def test_a_tree_without_a_package_is_a_refusal(tmp_path: Path) -> None:
    refusal = probe(tmp_path).why_not()
    assert refusal is not None
    assert "no processor package" in refusal.reason


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_counters_that_only_root_may_read_name_the_command(open_folder: Path) -> None:
    rapl = SimulatedRapl(open_folder / "powercap", {"package-0": Constant(100)})
    (rapl.paths["package-0"] / "energy_uj").chmod(0o000)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        refusal = probe(rapl.root).why_not()
    finally:
        if user == 0:
            os.seteuid(0)
    assert refusal is not None
    assert "only root's" in refusal.reason
    assert (refusal.fix or "").startswith("sudo chmod -R a+r /sys/class/powercap/intel-rapl:*")


def test_a_metered_tree_gives_the_injected_energy_across_wraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones: dict[str, Curve] = {"package-0": Ramp(40, 160, 0.9), "package-0/dram": Constant(15)}
    with SimulatedRapl(tmp_path / "powercap", zones, range_uj=60_000_000) as rapl:
        monkeypatch.setenv("BENCH_POWERCAP_ROOT", str(rapl.root))
        meter = Meter(tmp_path, probes=["rapl", "estimate"])
        started = meter.start()
        start_ns = meter.edge(lead_s=0.25)
        time.sleep(2.5)
        stop_ns = meter.edge()
        trace = meter.stop()
    assert [d.name for d in started.domains] == ["cpu:package-0", "dram:package-0"]  # no estimate
    package, memory = trace.energy(start_ns, stop_ns)
    wanted = rapl.energy_j("package-0", start_ns, stop_ns)
    assert wanted > 4 * 60  # it wrapped several times
    assert package.energy_j == pytest.approx(wanted, rel=0.01)
    assert memory.energy_j == pytest.approx(
        rapl.energy_j("package-0/dram", start_ns, stop_ns), rel=0.01
    )
    assert (package.method, package.level) == ("counter", "M1")
    assert trace.warnings(start_ns, stop_ns) == []
