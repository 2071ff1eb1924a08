"""Calibration: an injected gain and offset are found and change energies, or why not is said."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError, UsageError
from bench.power import calibration, log
from bench.power.calibration import Calibration, Load, Point, apply, calibrate, fit, load_of
from bench.power.energy import Series
from bench.power.probes import Domain, Mark
from bench.power.trace import Trace
from tests.power.simulated import Constant, Ramp, SimulatedRapl
from tests.power.stand_ins import program

GPU = Domain("gpu:GPU-1", "gpu", "H100", "M1", 0.1, "GPU-1", None, {"driver": "570.1"})
CPU = Domain("cpu:package-0", "cpu", "EPYC", "M1", 0.1)
GUESS = Domain("dram:estimate", "dram", "64 GB", "M0", 0.4)


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "calibration.json"
    monkeypatch.setenv("BENCH_CALIBRATION", str(path))
    monkeypatch.setattr(calibration, "_machine_ids", lambda: {"system": "this one"})
    return path


BOTH = {
    "domains": {GPU.name: calibration._identity(GPU), "gpu:GPU-2": {}},
    "range_w": {GPU.name: (60.0, 400.0), "gpu:GPU-2": (60.0, 400.0)},
}


def kept(*domains: Domain, **changes: Any) -> Calibration:
    fields: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(),
        "reference": {"probe": "shelly:plug", "domain": "node:shelly", "device": "a plug"},
        "protocol": {"window_s": 60.0, "windows": 5, "loads": ["idle", "half", "all"]},
        "machine": {},
        "machine_ids": {"system": "this one"},
        "domains": {d.name: calibration._identity(d) for d in domains},
        "range_w": {d.name: (60.0, 400.0) for d in domains},
        "gain": 1.25, "offset_w": 10.0, "uncertainty": 0.02,
    }  # fmt: skip
    return Calibration(**{**fields, **changes})


def points(gain: float, offset_w: float, scatter: float = 0.0) -> list[Point]:
    chance = random.Random(5)
    return [
        Point(load, watts, (gain * watts + offset_w) * (1 + chance.gauss(0, scatter)))
        for load, watts in (("idle", 60.0), ("half", 250.0), ("all", 400.0))
        for _ in range(5)
    ]


# --- the line


@pytest.mark.parametrize(("gain", "offset_w"), [(1.0, 0.0), (1.13, 35.0), (0.9, -4.0)])
def test_gain_and_offset_are_found(gain: float, offset_w: float) -> None:
    found = fit(points(gain, offset_w), 0.0)
    assert found == (pytest.approx(gain), pytest.approx(offset_w), pytest.approx(0, abs=1e-6))


def test_the_uncertainty_is_the_scatter_and_the_references_own() -> None:
    assert fit(points(1.1, 20, scatter=0.01), 0.0)[2] == pytest.approx(0.02, rel=0.5)
    assert fit(points(1.1, 20), 0.03)[2] == pytest.approx(0.03)


def test_loads_that_move_nothing_calibrate_nothing() -> None:
    with pytest.raises(BenchError, match="hardly move"):
        fit([Point("idle", 50.0 + k, 60.0 + k) for k in range(5)], 0.0)


def test_meters_of_different_things_are_not_calibrated() -> None:
    with pytest.raises(BenchError, match="don't meter the same thing"):
        fit(points(3.0, 0.0), 0.0)


# --- using it


def test_without_a_calibration_domains_are_as_they_are() -> None:
    assert apply([GPU, CPU]) == [GPU, CPU]


def test_what_is_calibrated_is_of_level_m3(path: Path) -> None:
    kept(GPU).write()
    gpu, cpu, guess = apply([GPU, CPU, GUESS])
    assert (gpu.level, gpu.gain, cpu, guess) == ("M3", 0.02, CPU, GUESS)
    assert gpu.facts["calibration"]["gain"] == 1.25
    assert gpu.facts["driver"] == "570.1"


def test_the_offset_of_a_sum_is_shared_out() -> None:
    kept(GPU, CPU).write()
    assert [d.facts["calibration"]["offset_w"] for d in apply([GPU, CPU])] == [5.0, 5.0]


@pytest.mark.parametrize(
    ("changes", "now", "why"),
    [
        ({"date": (datetime.now(UTC) - timedelta(days=366)).isoformat()}, [GPU], "than a year"),
        ({}, [GPU._replace(device="A100")], "device was H100 when it was calibrated and is A100"),
        ({}, [GPU._replace(facts={"driver": "580.2"})], "driver was 570.1"),
        ({"machine_ids": {"system": "another"}}, [GPU], "another machine's"),
        ({"machine_ids": {"system": "this one", "board": "a"}, **BOTH}, [GPU], "GPU-2 was"),
        ({"protocol": {"window_s": 0.4}}, [GPU], "windows were of 0.4 s, not 60 s"),
    ],
)
def test_what_does_not_fit_is_refused_and_said(
    changes: dict[str, Any], now: list[Domain], why: str
) -> None:
    kept(GPU, **changes).write()
    (domain,) = apply(now)
    assert (domain.level, domain.gain) == ("M1", 0.1)
    assert why in domain.facts["not_calibrated"]
    (warn,) = trace_of(domain).warnings(2 * 10**9, 12 * 10**9)
    assert (warn.id, warn.rankable) == ("calibration", True)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1}', '{"version": 2, "gain": 1}'],
)
def test_a_file_that_can_not_be_used_is_said(path: Path, text: str) -> None:
    path.write_text(text)
    gpu, guess = apply([GPU, GUESS])
    assert "can't be used" in gpu.facts["not_calibrated"]
    assert guess == GUESS


@pytest.mark.parametrize(
    "damage",
    [
        {"gain": float("nan")}, {"gain": 17.0}, {"domains": []}, {"domains": {}},
        {"domains": {"gpu:GPU-1": 3}}, {"machine_ids": None}, {"date": "2026-11-20T10:00:00"},
        {"range_w": {}}, {"range_w": {"gpu:GPU-1": 3}}, {"reference": []}, {"protocol": {}},
        {"protocol": {"window_s": "long"}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_damaged_is_not_applied(path: Path, damage: dict[str, Any]) -> None:
    kept(GPU).write()
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    (gpu,) = apply([GPU])
    assert gpu.level == "M1"
    assert "can't be used" in gpu.facts["not_calibrated"]


def test_where_nothing_tells_machines_apart_only_boards_with_a_name_are_calibrated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Containers that share a home: None is not the same machine as None."""
    monkeypatch.setattr(calibration, "_machine_ids", dict)
    kept(GPU, machine_ids={}).write()
    assert apply([GPU])[0].level == "M3"
    kept(CPU, machine_ids={}).write()
    (cpu,) = apply([CPU])
    assert cpu.level == "M1"
    assert "nothing tells this machine from others" in cpu.facts["not_calibrated"]
    with pytest.raises(BenchError, match="no /etc/machine-id"):
        calibration._to_calibrate([CPU], [CPU._replace(name="cpu:shunt")])


def test_an_id_that_was_never_set_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    (tmp_path / "id").write_text("uninitialized\n")
    (tmp_path / "board").write_text("1f3a\n")
    machines = {"system": str(tmp_path / "id"), "board": str(tmp_path / "board")}
    monkeypatch.setattr(calibration, "_MACHINES", machines)
    assert list(calibration._machine_ids()) == ["board"]


def test_it_comes_back_as_it_was_written(path: Path) -> None:
    written = kept(GPU, points=points(1.1, 2))
    assert written.write() == path
    assert Calibration.read() == written
    with pytest.raises(BenchError, match="there is no calibration"):
        Calibration.read(path.with_name("other.json"))


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_CALIBRATION")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/xdg")
    assert calibration.where() == Path("/etc/xdg/wattbench/calibration.json")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert calibration.where() == Path.home() / ".config/wattbench/calibration.json"


# --- what it does to energy


def trace_of(*domains: Domain) -> Trace:
    """Ten times a second for 14 s: 100 W each, in a counter that moves every 20 ms and in power."""
    t = np.arange(0, 14, 0.1)
    empty = np.full(len(t), np.nan)
    series = Series((t * 1e9).astype(np.int64), 100 + 0 * t, 100 * t, empty, empty, empty)
    return Trace([*domains], {d.name: series for d in domains}, [], [], {"rate_hz": 10.0})


def test_energy_is_corrected_and_its_uncertainty_is_the_residual() -> None:
    kept(GPU).write()
    trace = trace_of(apply([GPU])[0])
    (energy,) = trace.energy(2 * 10**9, 12 * 10**9)
    assert energy.level == "M3"
    assert energy.energy_j == pytest.approx(1.25 * 1000 + 10 * 10, rel=1e-3)
    assert energy.counter_j == pytest.approx(1350, rel=1e-3)
    assert energy.integral_j == pytest.approx(1350, rel=1e-3)
    assert energy.uncertainty_j == pytest.approx(0.02 * 1350, rel=0.3)
    assert trace.series[GPU.name].energy_j[10] == pytest.approx(100)  # readings stay raw


def test_calibrated_parts_sum_to_the_window() -> None:
    kept(GPU).write()
    trace = trace_of(apply([GPU])[0])
    parts = [trace.phase_energy_j(a * 10**9, b * 10**9)[GPU.name] for a, b in ((2, 5), (5, 12))]
    assert sum(parts) == pytest.approx(trace.energy(2 * 10**9, 12 * 10**9)[0].energy_j)


def test_a_part_of_what_was_calibrated_is_not_calibrated() -> None:
    """Two boards on one shunt, one of them hidden from the program."""
    both = [GPU, GPU._replace(name="gpu:GPU-2", uuid="GPU-2")]
    kept(*both).write()
    trace, window = trace_of(*apply(both)), (2 * 10**9, 12 * 10**9)
    whole = trace.energy(*window)
    assert sum(e.energy_j or 0 for e in whole) == pytest.approx(1.25 * 2000 + 10 * 10, rel=1e-3)
    assert {e.level for e in whole} == {"M3"}
    alone = GPU.name.__eq__
    energy = next(e for e in trace.energy(*window, alone) if e.charged)
    assert (energy.level, energy.energy_j) == ("M1", pytest.approx(1000, rel=1e-3))
    assert energy.uncertainty_j == pytest.approx(0.1 * 1000, rel=0.1)
    (warn,) = trace.warnings(*window, alone)
    assert (warn.id, "gpu:GPU-2, which does not count" in warn.message) == ("calibration", True)
    assert trace.phase_energy_j(*window, alone)[GPU.name] == pytest.approx(energy.energy_j)
    assert trace.mean_power_w(*window, alone)[GPU.name] == pytest.approx(100, rel=1e-3)


def test_the_parts_of_a_node_that_counts_are_not_calibrated() -> None:
    node = Domain("node:plug", "node", "a plug", "M2", 0.05)
    kept(CPU).write()
    trace = trace_of(*apply([CPU, node]))
    levels = {e.domain: e.level for e in trace.energy(2 * 10**9, 12 * 10**9)}
    assert levels == {CPU.name: "M1", node.name: "M2"}


def test_what_takes_the_place_of_a_calibrated_counter_is_not_calibrated(tmp_path: Path) -> None:
    both = [GPU, GPU._replace(name="gpu:GPU-2", uuid="GPU-2")]
    kept(*both).write()
    lines: list[list[Any]] = [["head", log.VERSION, {"rate_hz": 10.0}]]
    lines += [["domain", i, d._asdict()] for i, d in enumerate([*apply(both), CPU])]
    lines += [["r", [i, k * 10**8, 100.0, None]] for k in range(140) for i in range(3)]
    mark = Mark(2 * 10**9, "counter-still", "the energy counter stands still", GPU.name)
    for marks, level in (([], "M3"), ([["mark", *mark]], "M1")):
        path = tmp_path / "trace.log"
        path.write_bytes(b"".join(map(log.encode, lines + marks)))
        trace = Trace.read_log(path)
        energies = trace.energy(2 * 10**9, 12 * 10**9, lambda name: name != CPU.name)
        assert [e.level for e in energies] == [level, level, "M1"]
        assert energies[0].energy_j == pytest.approx(1300 if level == "M3" else 1000)
    said = {w.message for w in trace.warnings(2 * 10**9, 12 * 10**9) if w.id == "calibration"}
    assert any("took the place of the counter of gpu:GPU-1" in text for text in said)


def test_power_outside_of_what_was_calibrated_is_said() -> None:
    kept(GPU, range_w={GPU.name: (120.0, 400.0)}).write()
    (warn,) = trace_of(*apply([GPU])).warnings(2 * 10**9, 12 * 10**9)
    assert (warn.id, warn.rankable) == ("calibration", True)
    assert "between 120 and 400 W, and 100 W were read" in warn.message
    kept(GPU, range_w={GPU.name: (105.0, 400.0)}).write()
    assert trace_of(*apply([GPU])).warnings(2 * 10**9, 12 * 10**9) == []


# --- making one


REFERENCE = """
    import time
    from bench.power.probes import Domain, Reading

    class Probe:
        kinds = ("node",)
        def __init__(self, tree, argument=""):
            pass
        def why_not(self):
            return None
        def domains(self):
            return [Domain("node:reference", "node", "a wall meter", "M2", 0.01)]
        def read(self):
            t_ns = time.monotonic_ns()
            watts = {first} + ({last} - {first}) * ((t_ns / 1e9 - {boot_s}) / {period_s} % 1)
            return [Reading("node:reference", t_ns, {gain} * watts + {offset_w})]
        def close(self):
            pass
"""


SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.fixture
def rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedRapl:
    curve = Ramp(20, 120, 12)
    rapl = SimulatedRapl(tmp_path / "powercap", {"package-0": curve})
    monkeypatch.setenv("BENCH_POWERCAP_ROOT", str(rapl.root))
    return rapl


def reference(tmp_path: Path, rapl: SimulatedRapl, gain: float, offset_w: float) -> str:
    path = tmp_path / "wall.py"
    text = textwrap.dedent(REFERENCE).format(
        first=20, last=120, period_s=12, boot_s=rapl.boot_s, gain=gain, offset_w=offset_w
    )
    path.write_text(text)
    return str(path)


def test_an_injected_gain_and_offset_are_found_by_the_procedure(
    rapl: SimulatedRapl, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    sleeper = (sys.executable, "-c", "import time; time.sleep(60)")
    with rapl:
        found = calibrate(
            reference(tmp_path, rapl, 1.25, 15.0), ["rapl"],
            [Load("idle"), Load("asleep", sleeper, 2)], window_s=0.8, windows=3,
            on_progress=lambda *step: told.append(step),
        )  # fmt: skip
    assert found.gain == pytest.approx(1.25, rel=0.1)
    assert found.offset_w == pytest.approx(15.0, abs=6)
    assert 0.01 <= found.uncertainty < 0.1
    assert list(found.domains) == ["cpu:package-0"]
    assert found.reference["device"] == "a wall meter"
    assert found.protocol == {"window_s": 0.8, "windows": 3, "loads": ["idle", "asleep"]}
    assert [p.load for p in found.points] == ["idle"] * 3 + ["asleep"] * 3
    assert told[0] == ("idle", 0, 3)
    assert told[-1] == ("asleep", 3, 3)
    assert json.loads(found.write().read_text())["version"] == calibration.VERSION


def test_what_no_load_moves_is_not_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rapl = SimulatedRapl(
        tmp_path / "powercap", {"package-0": Ramp(20, 120, 12), "package-1": Constant(50)}
    )
    monkeypatch.setenv("BENCH_POWERCAP_ROOT", str(rapl.root))
    wall = reference(tmp_path, rapl, 1.0, 50.0)
    with rapl, pytest.raises(BenchError, match="hardly move cpu:package-1: ") as raised:
        calibrate(wall, ["rapl"], [Load("idle"), Load("other", SLEEP)], 0.8, 3)
    assert "--load" in (raised.value.hint or "")


def test_a_window_that_would_not_rank_calibrates_nothing(
    rapl: SimulatedRapl, tmp_path: Path
) -> None:
    path = Path(reference(tmp_path, rapl, 1.0, 0.0))
    marks = "return [Mark(t_ns, 'contended', 'suspicious', 'node:reference'),"
    text = path.read_text().replace("return [Reading", f"{marks} Reading")
    path.write_text(text.replace("import Domain", "import Domain, Mark"))
    with rapl, pytest.raises(BenchError, match=r"'idle' can't be used: .*suspicious"):
        calibrate(str(path), ["rapl"], [Load("idle"), Load("other", SLEEP)], 0.8, 3)


def test_a_load_ends_with_a_calibration_that_is_killed(rapl: SimulatedRapl, tmp_path: Path) -> None:
    """By SIGTERM, which is caught, and by SIGKILL, which can't be; with all that it started, in
    sessions of their own and left behind by who started them."""
    sleep = f"sleep 60.{os.getpid()}"
    load = program(tmp_path / "load", f"setsid {sleep} &\n(setsid {sleep} &)\n{sleep}")
    code = (
        "import sys; from bench.power.calibration import Load, calibrate\n"
        "def told(name, done, windows): print(name, done, flush=True)\n"
        "load = Load('asleep', (sys.argv[2],))\n"
        "calibrate(sys.argv[1], ['rapl'], [load, Load('idle')], 0.4, 9, told)"
    )
    wall = reference(tmp_path, rapl, 1.0, 0.0)
    with rapl:
        for number in (signal.SIGTERM, signal.SIGKILL):
            made = subprocess.Popen(
                [sys.executable, "-c", code, wall, str(load)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            assert made.stdout is not None
            while made.stdout.readline() != b"asleep 1\n":
                assert made.poll() is None
            assert running().count(sleep) == 3
            made.send_signal(number)
            _, said = made.communicate()
            assert (b"interrupted by SIGTERM" in said) is (number == signal.SIGTERM)
            deadline_s = time.monotonic() + 10
            while left(sleep, str(load)) and time.monotonic() < deadline_s:
                time.sleep(0.05)
            assert not left(sleep, str(load))


def left(*ends: str) -> list[str]:
    return [line for line in running() if line.endswith(ends)]


def running() -> list[str]:
    """The command lines of all processes."""
    command = ["ps", "-ww", "-eo", "args"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return listed.splitlines()


def test_no_load_outlives_a_calibration(rapl: SimulatedRapl, tmp_path: Path) -> None:
    text = f"import time; time.sleep(60)  # {tmp_path}"
    load = Load("asleep", (sys.executable, "-c", text))

    def stop(name: str, done: int, windows: int) -> None:
        if (name, done) == ("asleep", 1):
            raise KeyboardInterrupt

    with rapl, pytest.raises(KeyboardInterrupt):
        calibrate(reference(tmp_path, rapl, 1, 0), ["rapl"], [Load("idle"), load], 0.2, 2, stop)
    assert not any(text in line for line in running())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("true", "ended with 0"),
        ("sh -c 'kill -9 $$'", "ended with -9"),
        ("no-such-program", "can't be started: No such file"),
        ("sh -c 'kill -9 $PPID; sleep 60'", "was lost: what kept it has ended"),
    ],
)
def test_a_load_that_does_not_run_on_is_said(
    rapl: SimulatedRapl, tmp_path: Path, command: str, said: str
) -> None:
    wall, short = reference(tmp_path, rapl, 1, 0), load_of(command)
    with rapl, pytest.raises(BenchError) as raised:
        calibrate(wall, ["rapl"], [Load("idle"), short], 0.2, 2)
    assert f"the load '{command}' {said}" in raised.value.message


def test_a_reference_that_can_not_be_read_is_said(rapl: SimulatedRapl) -> None:
    with rapl, pytest.raises(BenchError, match="the reference command:false can't be read"):
        calibrate("command:false", ["rapl"], window_s=0.2, windows=2)


def test_an_estimate_is_no_reference(rapl: SimulatedRapl, tmp_path: Path) -> None:
    path = Path(reference(tmp_path, rapl, 1, 0))
    path.write_text(path.read_text().replace('"M2"', '"M0"'))
    with rapl, pytest.raises(UsageError, match="is an estimate"):
        calibrate(str(path), ["rapl"], window_s=0.2, windows=2)


@pytest.mark.parametrize(("loads", "windows"), [([Load("idle")], 5), (None, 1)])
def test_too_little_to_compare_is_refused(loads: list[Load] | None, windows: int) -> None:
    with pytest.raises(UsageError, match="needs idle and a load"):
        calibrate("command:x", ["rapl"], loads, 1.0, windows)


def test_a_command_of_ones_own_is_a_load() -> None:
    assert load_of("./train.sh --fast 'a b'").command == ("./train.sh", "--fast", "a b")
    for wrong in ("", "'"):
        with pytest.raises(UsageError):
            load_of(wrong)


def test_the_loads_are_idle_half_and_all() -> None:
    idle, half, all_of_them = calibration.default_loads()
    assert (idle.command, idle.times) == ((), 1)
    assert 1 <= half.times <= all_of_them.times
