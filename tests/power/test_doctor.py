"""What the doctor says of simulated machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.power import doctor, gpus, machine, processes
from bench.power.gpus import Listing
from bench.power.meter import Started
from bench.power.probes import Domain
from bench.power.trace import Trace
from tests.power.conftest import MakeGpus
from tests.power.simulated import Constant, Curve, SimulatedGpu, SimulatedRapl
from tests.power.stand_ins import program


@pytest.fixture
def rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedRapl]:
    zones: dict[str, Curve] = {"package-0": Constant(60), "package-0/dram": Constant(8)}
    with SimulatedRapl(tmp_path / "powercap", zones) as tree:
        monkeypatch.setenv("BENCH_POWERCAP_ROOT", str(tree.root))
        yield tree


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "listing", lambda: Listing([], []))


@pytest.mark.usefixtures("rapl", "no_gpu")
def test_what_works_is_looked_at() -> None:
    report = doctor.examine(["rapl", "estimate"])
    first, second = report.meters
    assert (first.name, first.works, first.measures) == ("rapl", True, True)
    package, memory = first.reads
    assert (package.domain, package.level, package.gain) == ("cpu:package-0", "M1", 0.1)
    assert package.power_w == pytest.approx(60, rel=0.2)
    assert memory.power_w == pytest.approx(8, rel=0.2)
    assert package.rate_hz is not None
    assert 20 < package.rate_hz < 150  # 100 on an idle machine
    assert (second.name, second.works, second.measures) == ("estimate", True, False)
    assert second.what == "stands back: a meter covers it"
    assert report.uncovered == {}
    assert report.measures


@pytest.mark.usefixtures("no_gpu")
def test_a_counter_that_stands_still_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(60)})
    monkeypatch.setenv("BENCH_POWERCAP_ROOT", str(tree.root))
    (rapl,) = doctor.examine(["rapl"], look_s=0.3).meters
    assert rapl.reads[0].power_w is None
    assert rapl.reads[0].not_read


@pytest.mark.usefixtures("no_gpu")
def test_what_is_not_covered_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_POWERCAP_ROOT", str(tmp_path / "absent"))
    report = doctor.examine(["rapl", "estimate"])
    assert not report.measures
    why = f"there is no folder {tmp_path / 'absent'}"
    assert report.uncovered == {"cpu": why, "dram": why}  # and no GPU, for there is none
    assert report.meters[-1].fix
    assert report.gpus == []


@pytest.mark.compiler
def test_a_driver_that_fails_leaves_a_gpu_uncovered(make_gpus: MakeGpus) -> None:
    make_gpus(SimulatedGpu(), init_code=18)
    report = doctor.examine(["nvml", "estimate"], look_s=0.0)
    assert "NVML 18" in report.uncovered["gpu"]


@pytest.mark.usefixtures("no_gpu")
def test_a_node_meter_covers_all(tmp_path: Path) -> None:
    script = program(tmp_path / "watts", "echo 321 W")
    report = doctor.examine([f"command:every=0.2 {script}", "nvml"])
    meter = report.meters[0]
    assert (meter.name, meter.reads[0].kind) == (f"command:every=0.2 {script}", "node")
    assert meter.reads[0].power_w == pytest.approx(321)
    assert report.uncovered == {}


@pytest.mark.usefixtures("no_gpu")
def test_meters_that_have_to_be_asked_for_are_at_hand() -> None:
    meters = {m.name: m for m in doctor.examine(look_s=0.0).meters}
    assert {"nvml", "rapl", "estimate"} <= {n for n, m in meters.items() if m.asked}
    at_hand = {n: m.fix for n, m in meters.items() if not m.asked}
    assert at_hand == {
        "command": "--probe 'command:PROGRAM ARGUMENTS'",
        "ipmitool": "--probe 'ipmitool'",
        "prometheus": "--probe 'prometheus:http://HOST:9090?query=METRIC'",
        "replay": "--probe 'replay:trace.parquet'",
        "shelly": "--probe 'shelly:HOST'",
    }
    assert all(m.what and not m.works for m in meters.values() if not m.asked)


def test_a_name_that_is_none_is_a_refusal() -> None:
    (status,) = doctor.examine(["rapple"], look_s=0.0).meters
    assert not status.works
    assert "rapl" in (status.fix or "")


@pytest.mark.usefixtures("rapl", "no_gpu")
def test_the_report_is_json() -> None:
    report = doctor.examine(look_s=0.2)
    assert report.calibration.startswith("none: ")
    said = json.loads(json.dumps(report.as_dict()))
    assert {"meters", "uncovered", "gpus", "gpus_unknown", "calibration", "machine",
            "notes"} == said.keys()  # fmt: skip
    assert "virtual" in said["machine"]
    assert said["meters"][0]["reads"][0]["domain"] == "cpu:package-0"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "none: the uncertainties are what is known of such meters; bench power calibrate"),
        ({"calibration": {"date": "2026-11-20T10:00:00+00:00", "reference": "a Shelly plug",
                          "uncertainty": 0.0213, "gain": 1.1, "offset_w": 3.0}},
         "of 2026-11-20, against a Shelly plug: 2.1 % (k = 2)"),
        ({"not_calibrated": "not calibrated: the calibration is another machine's"},
         "not calibrated: the calibration is another machine's; bench power calibrate"),
    ],
)  # fmt: skip
def test_the_calibration_that_counts_is_told(facts: dict[str, Any], said: str) -> None:
    domain = Domain("cpu:package-0", "cpu", "Xeon", "M1", 0.1, facts=facts)
    started = Started([domain], [], {"rapl": [domain]})
    meters = doctor._statuses(started, Trace.empty(), 0, 0)
    assert doctor._calibration(meters) == said


# --- surroundings


def surroundings(monkeypatch: pytest.MonkeyPatch, **facts: str | None) -> list[str]:
    monkeypatch.setattr(machine, "facts", lambda: {"virtual": None, "container": None, **facts})
    return doctor.examine(["estimate"]).notes


@pytest.mark.usefixtures("no_gpu")
def test_a_virtual_machine_has_no_counters_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = surroundings(monkeypatch, virtual="KVM")
    assert note.startswith("a virtual machine (KVM): ")
    assert "--probe" in note
    (note,) = surroundings(monkeypatch, virtual="yes")
    assert note.startswith("a virtual machine: ")


@pytest.mark.usefixtures("no_gpu")
def test_a_container_hides_rapl(monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = surroundings(monkeypatch, container="docker")
    assert "-e BENCH_POWERCAP_ROOT=/powercap" in note
    assert surroundings(monkeypatch) == []


@pytest.mark.compiler
@pytest.mark.parametrize("seen", [True, False])
def test_a_container_may_hide_who_uses_a_gpu(
    make_gpus: MakeGpus, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """Unless it sees the machine's processes: --pid=host, or a machine made of an image."""
    make_gpus(SimulatedGpu())
    monkeypatch.setattr(machine, "facts", lambda: {"virtual": None, "container": "docker"})
    monkeypatch.setattr(doctor, "all_seen", lambda: seen)
    notes = doctor.examine(["nvml"]).notes
    assert any("docker run --pid=host" in note for note in notes) is not seen


@pytest.mark.parametrize(
    ("link", "files", "seen"),
    [
        ("pid:[4026531836]", True, True),  # --pid=host
        ("pid:[4026532201]", False, False),
        (None, True, False),
        (None, False, True),
    ],
)
def test_whether_all_processes_are_seen(
    monkeypatch: pytest.MonkeyPatch, link: str | None, files: bool, seen: bool
) -> None:
    def readlink(path: str) -> str:
        assert path == "/proc/self/ns/pid"
        if link is None:
            raise PermissionError(path)
        return link

    monkeypatch.setattr(processes.os, "readlink", readlink)
    monkeypatch.setattr(processes.os.path, "exists", lambda path: files)
    assert processes.all_seen() is seen
