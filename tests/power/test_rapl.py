"""RAPL through a simulated powercap tree."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.power.meter import Meter
from bench.power.probes import rapl as rapl_probe
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


def test_amds_package_and_core_count_once(tmp_path: Path) -> None:
    zones: dict[str, Curve] = {"package-0": Constant(100), "package-0/core": Constant(60)}
    rapl = SimulatedRapl(tmp_path / "powercap", zones)
    assert [d.name for d in working(rapl.root).domains()] == ["cpu:package-0"]


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


# --- wraps


class Clock:
    """Stands in for the clock that the time between two readings is taken from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr(rapl_probe, "_now_s", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def one_package(tmp_path: Path, **options: int) -> SimulatedRapl:
    return SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(100)}, **options)


def test_several_wraps_are_unwrapped(tmp_path: Path, clock: Clock) -> None:
    rapl = one_package(tmp_path, range_uj=65_000_000_000)
    set_counter(rapl, "package-0", 64_900_000_000)
    found = working(rapl.root)
    before = joules(found)["cpu:package-0"]
    for value in (100_000_000, 30_000_000_000, 64_950_000_000, 50_000_000):
        clock.now_s += 20
        set_counter(rapl, "package-0", value)
        after = joules(found)["cpu:package-0"]
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(65_150)


@pytest.mark.parametrize("moved_j", [200, -200])
def test_after_a_gap_that_may_hide_another_wrap_nothing_is_known(
    tmp_path: Path, clock: Clock, moved_j: int
) -> None:
    """65 kJ at no more than 2 kW take 32.5 s: after that a rise may be a wrap and a fall two."""
    rapl = one_package(tmp_path, range_uj=65_000_000_000)
    set_counter(rapl, "package-0", 30_000_000_000)
    found = working(rapl.root)
    set_counter(rapl, "package-0", 30_000_000_000 + moved_j * 1_000_000)
    clock.now_s += 70
    (reading,) = found.read()
    assert reading.energy_j is None
    assert reading.error == (
        "intel-rapl:0 was not read for 70 s, and may have wrapped any number of times meanwhile"
    )
    clock.now_s += 0.1
    (later,) = found.read()
    assert later.energy_j is None  # what is lost does not come back


def test_a_gap_that_can_hide_no_wrap_costs_nothing(tmp_path: Path, clock: Clock) -> None:
    rapl = one_package(tmp_path, range_uj=65_000_000_000)
    set_counter(rapl, "package-0", 30_000_000_000)
    found = working(rapl.root)
    set_counter(rapl, "package-0", 30_003_000_000)
    clock.now_s += 30
    assert joules(found) == {"cpu:package-0": 30_003.0}


def test_a_reset_is_not_taken_for_a_wrap(tmp_path: Path) -> None:
    """65 kJ in a tenth of a second is no power that a package has: the fall stays a fall."""
    rapl = one_package(tmp_path)
    set_counter(rapl, "package-0", 9_000_000)
    found = working(rapl.root)
    before = joules(found)["cpu:package-0"]
    set_counter(rapl, "package-0", 1_000_000)
    after = joules(found)["cpu:package-0"]
    assert (before, after) == (9.0, 1.0)


@pytest.mark.parametrize("text", ["0\n", "", "many\n", None])
def test_without_a_range_a_fall_stays_a_fall(
    tmp_path: Path, clock: Clock, text: str | None
) -> None:
    rapl = one_package(tmp_path)
    path = rapl.paths["package-0"] / "max_energy_range_uj"
    path.write_text(text) if text is not None else path.unlink()
    set_counter(rapl, "package-0", 5_000_000)
    found = working(rapl.root)
    assert found.domains()[0].facts["range_j"] is None
    set_counter(rapl, "package-0", 1_000_000)
    clock.now_s += 1
    assert joules(found) == {"cpu:package-0": 1.0}
    clock.now_s += 40  # the smallest counter that is known could have wrapped
    assert joules(found) == {"cpu:package-0": None}


# --- a tree that changes while it is read


def test_a_zone_that_goes_away_is_missing(tmp_path: Path) -> None:
    rapl = SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(100)})
    found = working(rapl.root)
    shutil.rmtree(rapl.paths["package-0"])
    (reading,) = found.read()
    assert (reading.energy_j, reading.power_w) == (None, None)
    assert reading.error


def test_a_zone_that_comes_back_is_read_on(tmp_path: Path) -> None:
    rapl = one_package(tmp_path)
    set_counter(rapl, "package-0", 5_000_000)
    found = working(rapl.root)
    counter = rapl.paths["package-0"] / "energy_uj"
    counter.unlink()
    assert joules(found) == {"cpu:package-0": None}
    counter.write_text("6000000\n")
    assert joules(found) == {"cpu:package-0": 6.0}
    (rapl.paths["package-0"] / ".new").write_text("7000000\n")
    (rapl.paths["package-0"] / ".new").rename(counter)  # what is open still shows the old one
    assert joules(found) == {"cpu:package-0": 7.0}


def test_a_device_that_was_removed_and_is_back_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in sysfs, where what was open says "no such device" for ever."""
    rapl = one_package(tmp_path)
    found = working(rapl.root)
    set_counter(rapl, "package-0", 6_000_000)
    removed = found._zones[0]._file._fd
    read = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        if fd == removed:
            monkeypatch.setattr(os, "pread", read)  # its number is given to what is opened next
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return read(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert joules(found) == {"cpu:package-0": 6.0}


@pytest.mark.parametrize("text", ["", "\n", "12", "-5\n", "0x12\n", "1 2\n", "1_0\n", "1.5\n"])
def test_what_is_no_whole_number_is_missing(tmp_path: Path, text: str) -> None:
    rapl = one_package(tmp_path)
    found = working(rapl.root)
    (rapl.paths["package-0"] / "energy_uj").write_text(text)
    (reading,) = found.read()
    assert (reading.energy_j, reading.power_w) == (None, None)
    assert reading.error == f"intel-rapl:0: it holds {text.encode()!r}, not a number"


def test_no_half_written_number_passes_for_one(tmp_path: Path) -> None:
    """A writer that truncates and writes in pieces, as no kernel does, while it is read."""
    rapl = one_package(tmp_path)
    set_counter(rapl, "package-0", 5_000_000_000)
    found = working(rapl.root)
    path, stop = rapl.paths["package-0"] / "energy_uj", threading.Event()

    def write() -> None:
        value = 5_000_000_000
        while not stop.is_set():
            value += 1000
            with path.open("wb", buffering=0) as file:
                file.write(str(value)[:4].encode())
                time.sleep(0.0002)
                file.write(str(value)[4:].encode() + b"\n")
            time.sleep(0.0002)

    writer = threading.Thread(target=write)
    writer.start()
    whole: list[float] = []
    deadline = time.monotonic() + 10
    while len(whole) < 300 and time.monotonic() < deadline:
        whole += [j for j in joules(found).values() if j is not None]
    stop.set()
    writer.join()
    assert whole == sorted(whole)
    assert len(whole) >= 10
    assert all(5000 <= j < 6000 for j in whole)


def test_a_counter_that_stands_still_has_no_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rapl = one_package(tmp_path)
    monkeypatch.setenv("BENCH_POWERCAP_ROOT", str(rapl.root))
    meter = Meter(tmp_path, probes=["rapl"])
    meter.start()
    start_ns = meter.edge()
    time.sleep(1.2)
    stop_ns = meter.edge()
    trace = meter.stop()
    (package,) = trace.energy(start_ns, stop_ns)
    assert (package.energy_j, package.method) == (None, "missing")
    (warning,) = trace.warnings(start_ns, stop_ns)
    assert not warning.rankable


# --- trees of every shape


def test_no_tree_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_POWERCAP_ROOT", raising=False)
    monkeypatch.setattr(rapl_probe, "ROOT", str(tmp_path / "absent"))
    refusal = Probe(Tree()).why_not()
    assert refusal is not None
    assert "virtual machine" in refusal.reason


def test_a_tree_that_was_named_and_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    refusal = probe(tmp_path / "absent").why_not()
    assert refusal is not None
    assert refusal.reason == f"there is no folder {tmp_path / 'absent'}"


def test_a_tree_without_a_package_is_a_refusal(tmp_path: Path) -> None:
    SimulatedRapl(tmp_path / "powercap", {"psys": Constant(50)})
    refusal = probe(tmp_path / "powercap").why_not()
    assert refusal is not None
    assert "no processor package" in refusal.reason


def test_dies_of_a_package_all_count(tmp_path: Path) -> None:
    dies = [f"package-{p}-die-{d}" for p in (0, 1) for d in (0, 1)]
    rapl = SimulatedRapl(tmp_path / "powercap", {name: Constant(100) for name in dies})
    for number, zone in enumerate(rapl.paths):
        set_counter(rapl, zone, 10_000_000 * (number + 1))
    assert [d.name for d in working(rapl.root).domains()] == [f"cpu:{name}" for name in dies]


def test_zones_of_one_name_stay_apart(tmp_path: Path) -> None:
    rapl = SimulatedRapl(
        tmp_path / "powercap", {"package-0": Constant(100), "package-1": Constant(100)}
    )
    set_counter(rapl, "package-1", 7_000_000)
    (rapl.paths["package-1"] / "name").write_text("package-0\n")
    names = [d.name for d in working(rapl.root).domains()]
    assert names == ["cpu:package-0", "cpu:package-0@intel-rapl:1"]


def test_packages_are_in_order_of_number(tmp_path: Path) -> None:
    rapl = SimulatedRapl(tmp_path / "p", {f"package-{i}": Constant(100) for i in range(11)})
    for number, zone in enumerate(rapl.paths):
        set_counter(rapl, zone, 10_000_000 * (number + 1))
    assert [d.name for d in working(rapl.root).domains()][-1] == "cpu:package-10"


def as_the_kernel_lays_it_out(tmp_path: Path) -> tuple[Path, SimulatedRapl]:
    """(sys/class/powercap with a relative link to every zone, the zones below sys/devices)."""
    zones: dict[str, Curve] = {"package-0": Constant(100), "package-0/dram": Constant(10)}
    devices = tmp_path / "sys" / "devices" / "virtual" / "powercap"
    rapl = SimulatedRapl(devices / "intel-rapl", zones)
    links = tmp_path / "sys" / "class" / "powercap"
    links.mkdir(parents=True)
    for path in (devices / "intel-rapl", *rapl.paths.values()):
        inside = path.relative_to(tmp_path / "sys")
        (links / path.name).symlink_to(Path("../..") / inside)
    return links, rapl


def test_the_kernels_relative_links_are_followed_and_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links, rapl = as_the_kernel_lays_it_out(tmp_path)
    wanted = ["cpu:package-0", "dram:package-0"]
    assert [d.name for d in working(links).domains()] == wanted
    assert [d.name for d in working(rapl.root.parent).domains()] == wanted  # the folder above
    monkeypatch.chdir(tmp_path)
    assert [d.name for d in working(Path("sys/class/powercap")).domains()] == wanted


@pytest.mark.parametrize("gone", ["package-0", "package-0/dram"])
def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path, gone: str) -> None:
    """As in a container, which masks the devices or has only the links mounted."""
    links, rapl = as_the_kernel_lays_it_out(tmp_path)
    shutil.rmtree(rapl.paths[gone])
    refusal = probe(links).why_not()
    assert refusal is not None
    assert "leads nowhere" in refusal.reason
    assert (refusal.fix or "").startswith("docker run -v /sys/devices/virtual/powercap:/powercap")


def test_power_limits_are_facts(tmp_path: Path) -> None:
    rapl = one_package(tmp_path)
    for i, (name, value) in enumerate([("long_term", "125000000"), ("short_term", "")]):
        (rapl.paths["package-0"] / f"constraint_{i}_name").write_text(f"{name}\n")
        (rapl.paths["package-0"] / f"constraint_{i}_power_limit_uw").write_text(value)
    (domain,) = working(rapl.root).domains()
    assert domain.facts["limits_w"] == {"long_term": 125.0}


def test_an_empty_counter_at_the_start_is_a_refusal(tmp_path: Path) -> None:
    rapl = one_package(tmp_path)
    (rapl.paths["package-0"] / "energy_uj").write_text("")
    refusal = probe(rapl.root).why_not()
    assert refusal is not None
    assert "it holds b''" in refusal.reason


# --- permissions


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions count, even where the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(
    ("closed", "said"),
    [
        (["package-0", "package-0/dram", "package-1"],
         "3 of 3 RAPL counters are only root's to read (cpu:package-0, dram:package-0, "
         "cpu:package-1)"),
        (["package-1"], "1 of 3 RAPL counters are only root's to read (cpu:package-1)"),
        (["package-0/dram"], "1 of 3 RAPL counters are only root's to read (dram:package-0)"),
    ],
)  # fmt: skip
def test_the_command_that_is_named_opens_counters_that_only_root_may_read(
    open_folder: Path, closed: list[str], said: str
) -> None:
    """Some of them are not the whole: a sum without the others would be a wrong number."""
    zones: dict[str, Curve] = {
        "package-0": Constant(9), "package-0/dram": Constant(9), "package-1": Constant(9)
    }  # fmt: skip
    rapl = SimulatedRapl(open_folder / "powercap", zones)
    set_counter(rapl, "package-1", 7_000_000)
    for zone in closed:
        (rapl.paths[zone] / "energy_uj").chmod(0o000)
    with as_nobody():
        refusal = probe(rapl.root).why_not()
    assert refusal is not None
    assert refusal.reason == said
    assert refusal.fix is not None
    assert refusal.fix.startswith("sudo chmod a+r ")
    command = refusal.fix.removeprefix("sudo ").partition("   (")[0]
    subprocess.run(command, shell=True, check=True)
    with as_nobody():
        assert len(working(rapl.root).domains()) == 3


def test_a_metered_tree_gives_the_injected_energy_across_wraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones: dict[str, Curve] = {"package-0": Ramp(400, 1600, 0.9), "package-0/dram": Constant(15)}
    with SimulatedRapl(tmp_path / "powercap", zones, range_uj=1_600_000_000) as rapl:
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
    assert wanted > 1600  # it wrapped
    assert package.energy_j == pytest.approx(wanted, rel=0.01)
    assert memory.energy_j == pytest.approx(
        rapl.energy_j("package-0/dram", start_ns, stop_ns), rel=0.01
    )
    assert (package.method, package.level) == ("counter", "M1")
    assert trace.warnings(start_ns, stop_ns) == []


def test_zones_that_go_away_while_they_are_metered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stays, one is away for half a second, one is gone for good: no number is wrong."""
    zones: dict[str, Curve] = {f"package-{i}": Constant(50 * (i + 1)) for i in range(3)}
    with SimulatedRapl(tmp_path / "powercap", zones) as rapl:
        monkeypatch.setenv("BENCH_POWERCAP_ROOT", str(rapl.root))
        meter = Meter(tmp_path, probes=["rapl"])
        meter.start()
        start_ns = meter.edge(lead_s=0.25)
        time.sleep(0.8)
        for zone in ("package-1", "package-2"):
            rapl.paths[zone].rename(tmp_path / zone)
        time.sleep(0.5)
        (tmp_path / "package-1").rename(rapl.paths["package-1"])
        time.sleep(1.2)
        stop_ns = meter.edge()
        trace = meter.stop()
    stayed, came_back, gone = trace.energy(start_ns, stop_ns)
    for energy, zone in ((stayed, "package-0"), (came_back, "package-1")):
        wanted = rapl.energy_j(zone, start_ns, stop_ns)
        assert energy.energy_j == pytest.approx(wanted, rel=0.02)
    assert (gone.energy_j, gone.method) == (None, "missing")
    assert gone.reason is not None
    assert "No such file" in gone.reason
    warnings = {w.id: w for w in trace.warnings(start_ns, stop_ns)}
    assert "package-1" in warnings["unreadable"].message
    assert not warnings["missing"].rankable
