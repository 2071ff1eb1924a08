"""A meter on simulated boards, from start to trace: a real sampler, a real driver interface."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.power import doctor, log
from bench.power.meter import Meter
from bench.power.trace import Trace
from bench.record import DomainEnergy, Warn
from tests.power.conftest import MakeGpus
from tests.power.simulated import (
    FOREVER,
    Constant,
    Ramp,
    SimulatedGpu,
    SimulatedRapl,
    Square,
    agrees,
)

pytestmark = pytest.mark.compiler

Faults = dict[str, tuple[DomainEnergy, list[Warn], float]]  # energy, warnings, truth


def within_a_tick(energy_j: float, duration_s: float) -> Any:
    """Within 1 %, or what one tick of the counter holds: on a busy machine a burst may come too
    late to tell on which side of a plain edge a tick fell, which the uncertainty then states."""
    return pytest.approx(energy_j, rel=0.01, abs=0.11 * energy_j / duration_s)


def window(meter: Meter, duration_s: float) -> tuple[int, int, Trace]:
    start_ns = meter.edge(lead_s=0.25)
    time.sleep(duration_s)
    stop_ns = meter.edge()
    return start_ns, stop_ns, meter.stop()


def sampler_pid(folder: Path) -> int:
    """The sampler's own word, from the head of its log."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        lines = (folder / log.NAME).read_bytes().splitlines()
        head = log.decode(lines[0]) if lines else None
        if head:
            return int(head[2]["pid"])
        time.sleep(0.05)
    raise AssertionError("the sampler wrote nothing")


def is_gone(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # ended; nobody has waited for it yet
            return True
        time.sleep(0.05)
    return False


def test_the_energy_of_a_window_is_the_injected_one(make_gpus: MakeGpus, tmp_path: Path) -> None:
    gpus = make_gpus(
        SimulatedGpu(Constant(400)),
        SimulatedGpu(Square(100, 400, 0.73)),
        SimulatedGpu(Ramp(80, 700, 3.1), tick_s=0.02),
        SimulatedGpu.of("v100", Square(100, 400, 2.1)),
        SimulatedGpu.of("h200", Ramp(130, 700, 2.3)),
        # 32 bits are full at 2 s
        SimulatedGpu(Constant(500), start_j=4293967.0, faults=[("narrow", -99.0, FOREVER, 191)]),
    )
    meter = Meter(tmp_path, probes=["nvml"])
    started = meter.start()
    assert [d.name for d in started.domains] == [gpus.domain(i) for i in range(6)]
    assert started.domains[0].device == "NVIDIA H100 80GB HBM3"
    assert started.domains[3].facts["energy_source"] == "field 83"
    start_ns, stop_ns, trace = window(meter, 3.0)
    for i, energy in enumerate(trace.energy(start_ns, stop_ns)):
        wanted = gpus.energy_j(i, start_ns, stop_ns)
        assert energy.energy_j == within_a_tick(wanted, (stop_ns - start_ns) / 1e9)
        assert (energy.method, energy.level, energy.coverage) == ("counter", "M1", 1.0)
    assert trace.warnings(start_ns, stop_ns) == []


def test_live_watts_and_joules(make_gpus: MakeGpus, tmp_path: Path) -> None:
    gpus = make_gpus(SimulatedGpu(Constant(250)))
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    time.sleep(1.2)
    before_s = time.perf_counter()
    live = meter.live()
    assert time.perf_counter() - before_s < 0.05
    meter.stop()
    assert live.power_w == {gpus.domain(0): pytest.approx(250)}
    assert live.age_s is not None
    assert live.age_s < 0.9  # it is renewed twice a second
    assert live.domain_age_s == {gpus.domain(0): live.age_s}
    assert live.energy_j[gpus.domain(0)] == pytest.approx(250 * (1.2 - live.age_s), abs=50)


# --- faults: each is seen, and none passes for a number


@pytest.fixture(scope="module")
def faults(nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Faults:
    """One window of four seconds over boards that each have a fault of their own."""
    from tests.power.simulated import SimulatedGpus

    kinds: dict[str, SimulatedGpu] = {
        "fine": SimulatedGpu(Constant(400)),
        "lost": SimulatedGpu(Constant(400), faults=[("code", 3.0, FOREVER, 15)]),
        "came back": SimulatedGpu(Constant(400), faults=[("code", 3.0, 3.2, 15)]),
        "forbidden": SimulatedGpu(
            Constant(400), faults=[("power", 0, FOREVER, 4), ("energy", 0, FOREVER, 4)]
        ),
        "no counter": SimulatedGpu(Constant(400), counter=False),
        "no power": SimulatedGpu(Constant(400), faults=[("power", 0, FOREVER, 3)]),
        "back": SimulatedGpu(Constant(400), faults=[("back", 3.0, FOREVER)]),
        "frozen": SimulatedGpu(Constant(400), faults=[("frozen", 2.5, FOREVER)]),
        "gain": SimulatedGpu(Constant(400), faults=[("gain", 0, FOREVER, 1.5)]),
        "zero": SimulatedGpu(Constant(400), faults=[("zero", 3.0, 3.5)]),
        "hiccup": SimulatedGpu(Constant(400), faults=[("code", 3.0, 3.4, 999)]),
        "mig": SimulatedGpu(Constant(400), mig=True),
        "hidden": SimulatedGpu(Constant(400), processes=[(2**22 + 1, 2.5, 4.0)]),
        "contended": SimulatedGpu(Constant(400), processes=[(1, 2.5, 4.0)]),
    }
    folder = tmp_path_factory.mktemp("faults")
    gpus = SimulatedGpus(folder / "nvml.conf", nvml_library, list(kinds.values()))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in gpus.environment().items():
            patch.setenv(name, value)
        meter = Meter(folder, probes=["nvml"])
        meter.start()
        start_ns, stop_ns, trace = window(meter, 4.0)
    energies = trace.energy(start_ns, stop_ns)
    warnings = trace.warnings(start_ns, stop_ns)
    return {
        name: (
            energies[i],
            [w for w in warnings if gpus.domain(i) in w.message],
            gpus.energy_j(i, start_ns, stop_ns),
        )
        for i, name in enumerate(kinds)
    }


def test_a_healthy_board_among_sick_ones_is_measured(faults: Faults) -> None:
    energy, warnings, wanted = faults["fine"]
    assert energy.energy_j == within_a_tick(wanted, 4.0)
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lost", "GPU is lost"),
        ("came back", "GPU is lost"),
        ("forbidden", "Insufficient Permissions"),
    ],
)
def test_what_could_not_be_read_is_missing(faults: Faults, name: str, reason: str) -> None:
    energy, warnings, _ = faults[name]
    assert (energy.method, energy.energy_j) == ("missing", None)
    assert reason in (energy.reason or "")
    assert [(w.id, w.rankable) for w in warnings] == [("missing", False)]


@pytest.mark.parametrize(
    ("name", "method", "told"),
    [("no counter", "integral", ["no-counter"]), ("no power", "counter", [])],
)
def test_half_of_the_readings_will_do(
    faults: Faults, name: str, method: str, told: list[str]
) -> None:
    energy, warnings, wanted = faults[name]
    assert energy.method == method
    assert energy.energy_j == within_a_tick(wanted, 4.0)
    assert [(w.id, w.rankable) for w in warnings] == [(id, True) for id in told]


@pytest.mark.parametrize("name", ["back", "frozen"])
def test_a_counter_that_lies_is_replaced_and_told(faults: Faults, name: str) -> None:
    energy, warnings, wanted = faults[name]
    assert energy.method == "integral"
    assert energy.energy_j == within_a_tick(wanted, 4.0)
    assert [w.id for w in warnings if not w.rankable] == ["counter"]


def test_counter_and_power_that_disagree_are_not_ranked(faults: Faults) -> None:
    _, warnings, _ = faults["gain"]
    assert [(w.id, w.rankable) for w in warnings] == [("disagreement", False)]


@pytest.mark.parametrize("name", ["zero", "hiccup"])
def test_a_short_failure_is_a_missing_sample(faults: Faults, name: str) -> None:
    energy, warnings, wanted = faults[name]
    assert energy.energy_j == within_a_tick(wanted, 4.0)
    assert energy.integral_j == pytest.approx(wanted, rel=0.01)
    assert all(w.rankable for w in warnings)


@pytest.mark.parametrize("name", ["mig", "contended"])
def test_a_shared_board_is_not_ranked(faults: Faults, name: str) -> None:
    _, warnings, _ = faults[name]
    assert [(w.id, w.rankable) for w in warnings] == [(name, False)]


def test_a_process_that_can_not_be_told_apart_is_said(faults: Faults) -> None:
    _, warnings, _ = faults["hidden"]
    assert [(w.id, w.rankable) for w in warnings] == [("processes-hidden", True)]


def test_the_childs_own_processes_are_not_foreign(make_gpus: MakeGpus, tmp_path: Path) -> None:
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE) as child:
        deadline = time.monotonic() + 5
        grandchild = None
        while grandchild is None and time.monotonic() < deadline:
            found = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(child.pid)], capture_output=True, text=True
            )
            grandchild = int(found.stdout) if found.stdout.strip() else None
        assert grandchild is not None
        make_gpus(SimulatedGpu(processes=[(child.pid, 0, 99), (grandchild, 0, 99)]))
        meter = Meter(tmp_path, probes=["nvml"])
        meter.start()
        meter.follow(child.pid)
        time.sleep(1.2)  # what was seen before the child was named is not the window's
        start_ns, stop_ns, trace = window(meter, 1.5)
        child.communicate()
    assert [w.id for w in trace.warnings(start_ns + 10**9, stop_ns)] == []


# --- a driver that hangs


def test_a_hang_stops_neither_the_other_meters_nor_the_run(
    make_gpus: MakeGpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = make_gpus(SimulatedGpu(faults=[("hang", 2.0, FOREVER)]))
    with SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(60)}) as rapl:
        monkeypatch.setenv("BENCH_POWERCAP_ROOT", str(rapl.root))
        meter = Meter(tmp_path, probes=["nvml", "rapl"])
        meter.start()
        start_ns = meter.edge(lead_s=0.25)
        time.sleep(5.0)
        stop_ns = meter.edge()
        before_s = time.monotonic()
        trace = meter.stop()
    assert time.monotonic() - before_s < 2
    board, package = trace.energy(start_ns, stop_ns)
    assert board.domain == gpus.domain(0)
    assert board.energy_j is None
    assert "has not answered" in (board.reason or "")
    assert package.energy_j == pytest.approx(
        rapl.energy_j("package-0", start_ns, stop_ns), rel=0.01
    )
    told = trace.warnings(start_ns, stop_ns)
    assert [w.id for w in told] == ["missing"]  # of the board; nothing is wrong with the package
    assert is_gone(trace.facts["pid"])


def test_a_hang_at_the_start_is_a_refusal(make_gpus: MakeGpus, tmp_path: Path) -> None:
    make_gpus(SimulatedGpu(faults=[("hang", 0, FOREVER)]))
    meter = Meter(tmp_path, probes=["nvml", "estimate"])
    before_s = time.monotonic()
    started = meter.start(timeout_s=2.0)
    assert time.monotonic() - before_s < 2.5
    (refused,) = started.refusals
    assert (refused.probe, refused.kinds) == ("nvml", ["gpu"])
    assert "did not answer" in refused.reason
    assert {d.kind for d in started.domains} == {"cpu", "dram"}
    meter.stop()


@pytest.mark.parametrize(("took_s", "told"), [(0.3, True), (0.06, False)])
def test_slow_calls_are_in_the_uncertainty(
    make_gpus: MakeGpus, tmp_path: Path, took_s: float, told: bool
) -> None:
    gpus = make_gpus(SimulatedGpu(Constant(400), faults=[("slow", 1.5, FOREVER, took_s)]))
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    start_ns, stop_ns, trace = window(meter, 3.0)
    (energy,) = trace.energy(start_ns, stop_ns)
    wanted = gpus.energy_j(0, start_ns, stop_ns)
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    edges_j = (energy.uncertainty_j**2 - (0.1 * energy.energy_j) ** 2) ** 0.5
    assert abs(energy.energy_j - wanted) <= edges_j
    assert edges_j >= 400 * took_s
    assert ("slow" in {w.id for w in trace.warnings(start_ns, stop_ns)}) is told


def test_a_counter_that_fails_beside_power_is_told(make_gpus: MakeGpus, tmp_path: Path) -> None:
    fails = ("code", 1.5, FOREVER, 4, "nvmlDeviceGetFieldValues")
    make_gpus(SimulatedGpu(Constant(400), fields=False, faults=[fails]))
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    start_ns, stop_ns, trace = window(meter, 2.0)
    found = {w.id: w.message for w in trace.warnings(start_ns, stop_ns)}
    assert "NVML 4: Insufficient Permissions" in found["unreadable"]
    assert "no energy counter in" in found["no-counter"], "power stands in from then on"
    (energy,) = trace.energy(start_ns, stop_ns)
    assert energy.energy_j == pytest.approx(400 * (stop_ns - start_ns) / 1e9, rel=0.05)


# --- ends


def test_a_killed_sampler_leaves_what_it_saw(make_gpus: MakeGpus, tmp_path: Path) -> None:
    gpus = make_gpus(SimulatedGpu(Constant(400)))
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    start_ns = meter.edge(lead_s=0.25)
    time.sleep(2.0)
    os.kill(sampler_pid(tmp_path), signal.SIGKILL)
    stop_ns = time.monotonic_ns()
    time.sleep(1.0)
    assert not meter.alive
    assert (meter.live().age_s or 0) > 0.8  # the parent sees that nothing comes any more
    late_ns = meter.edge()
    trace = meter.stop()
    assert trace.stop_ns > stop_ns - 1_000_000_000
    (energy,) = trace.energy(start_ns, trace.stop_ns)
    assert agrees(energy, gpus.energy_j(0, start_ns, trace.stop_ns), rel=0.05)
    assert trace.energy(start_ns, late_ns)[0].energy_j is None
    assert {"missing", "sampler-died"} <= {w.id for w in trace.warnings(start_ns, late_ns)}


_PARENT = """
import sys, time
from pathlib import Path
from typing import Any
from bench.power.meter import Meter
meter = Meter(Path(sys.argv[1]), probes=["nvml"])
meter.start()
print("started", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_killed_parent_leaves_a_log_and_no_process(
    make_gpus: MakeGpus, tmp_path: Path, how: signal.Signals
) -> None:
    gpus = make_gpus(SimulatedGpu(Constant(400)))
    command = [sys.executable, "-c", _PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        pid = sampler_pid(tmp_path)
        time.sleep(1.5)
        killed_ns = time.monotonic_ns()
        parent.send_signal(how)
    assert is_gone(pid)
    trace = Trace.read_log(tmp_path / log.NAME)
    assert trace.stop_ns > killed_ns - 1_000_000_000
    start_ns = trace.start_ns + 300_000_000
    (energy,) = trace.energy(start_ns, trace.stop_ns)
    assert agrees(energy, gpus.energy_j(0, start_ns, trace.stop_ns), rel=0.05)


def test_a_fork_that_keeps_the_pipe_open_does_not_keep_the_sampler(
    make_gpus: MakeGpus, tmp_path: Path
) -> None:
    make_gpus(SimulatedGpu(Constant(400)))
    forks = _PARENT.replace("time.sleep(60)", "import os; os.fork() or input()")
    command = [sys.executable, "-c", forks, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        pid = sampler_pid(tmp_path)
        parent.kill()
        parent.wait()
        gone = is_gone(pid)
        parent.communicate()  # closes the fork's standard input, which ends it
    assert gone


@pytest.mark.parametrize("what", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_everybody_does_not_end_the_sampler(
    make_gpus: MakeGpus, tmp_path: Path, what: signal.Signals
) -> None:
    """Ctrl-C, a batch system's notice, a closed terminal: the parent decides what ends."""
    make_gpus(SimulatedGpu())
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    os.kill(sampler_pid(tmp_path), what)
    time.sleep(0.3)
    assert meter.alive
    assert not {"sampler-hung", "sampler-died"} & {m.id for m in meter.stop().marks}


def test_a_stopped_sampler_does_not_hold_up_the_run(make_gpus: MakeGpus, tmp_path: Path) -> None:
    make_gpus(SimulatedGpu())
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    time.sleep(0.8)
    pid = sampler_pid(tmp_path)
    os.kill(pid, signal.SIGSTOP)
    before_s = time.monotonic()
    trace = meter.stop()
    assert time.monotonic() - before_s < 6
    assert "sampler-hung" in {w.id for w in trace.warnings(trace.start_ns, trace.stop_ns)}
    assert is_gone(pid)


def test_a_full_disk_loses_nothing(make_gpus: MakeGpus, tmp_path: Path) -> None:
    gpus = make_gpus(SimulatedGpu(Constant(400)))
    meter = Meter(tmp_path, probes=["nvml"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        meter.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    start_ns, stop_ns, trace = window(meter, 2.0)
    assert (tmp_path / log.NAME).stat().st_size == 6000
    assert trace.energy(start_ns, stop_ns)[0].energy_j == within_a_tick(
        gpus.energy_j(0, start_ns, stop_ns), (stop_ns - start_ns) / 1e9
    )
    assert trace.facts["damaged_lines"] == 0
    (warn,) = trace.warnings(start_ns, stop_ns)
    assert (warn.id, warn.rankable) == ("log-failed", True)


def test_a_folder_that_can_not_be_written_is_told(
    make_gpus: MakeGpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = make_gpus(SimulatedGpu(Constant(400)))
    meter = Meter(tmp_path / "absent", probes=["nvml"])
    meter.start()
    said = capsys.readouterr().err
    assert said == (
        "warning: trace.log: No such file or directory: readings are kept in memory alone\n"
    )
    start_ns, stop_ns, trace = window(meter, 1.0)
    assert trace.energy(start_ns, stop_ns)[0].energy_j == within_a_tick(
        gpus.energy_j(0, start_ns, stop_ns), (stop_ns - start_ns) / 1e9
    )


def test_a_meter_that_never_started_can_be_stopped(tmp_path: Path) -> None:
    meter = Meter(tmp_path, probes=["estimate"])
    assert meter.live().power_w == {}
    assert meter.stop().domains == []


def test_the_rate_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1000 Hz"):
        Meter(tmp_path, rate_hz=1000)


def test_an_unknown_probe_is_refused_with_near_names(tmp_path: Path) -> None:
    meter = Meter(tmp_path, probes=["nvm", "estimate"])
    started = meter.start(timeout_s=5)
    meter.stop()
    (refused,) = started.refusals
    assert "no probe is called 'nvm'" in refused.reason


def test_the_sampler_costs_little(make_gpus: MakeGpus, tmp_path: Path) -> None:
    """Eight boards at 10 Hz: the aim is 0.5 % of a core; a loaded machine's caches are cold."""
    make_gpus(*[SimulatedGpu(Square(100, 400, 0.73)) for _ in range(8)])
    meter = Meter(tmp_path, probes=["nvml"])
    meter.start()
    time.sleep(1.0)
    pid = sampler_pid(tmp_path)
    shares = []
    for _ in range(6):
        before_s, began_s = cpu_s(pid), time.monotonic()
        time.sleep(1.0)
        shares.append((cpu_s(pid) - before_s) / (time.monotonic() - began_s))
    meter.stop()
    assert min(shares) < 0.01


def cpu_s(pid: int) -> float:
    """Processor time of all threads, in ns resolution."""
    spent_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            spent_ns += int((task / "schedstat").read_text().split()[0])
    return spent_ns / 1e9


# --- refusals


@pytest.mark.parametrize(
    ("code", "fix"), [(9, "modprobe nvidia"), (18, "reboot"), (4, "chmod"), (999, "nvidia-smi")]
)
def test_a_driver_that_does_not_work_says_why(make_gpus: MakeGpus, code: int, fix: str) -> None:
    make_gpus(SimulatedGpu(), init_code=code)
    (status,) = doctor.examine(["nvml"], look_s=0.0).meters
    assert not status.works
    assert f"NVML {code}" in (status.reason or "")
    assert fix in (status.fix or "")


def test_doctor_says_what_works(make_gpus: MakeGpus) -> None:
    make_gpus(SimulatedGpu(), SimulatedGpu())
    report = {s.name: s for s in doctor.examine(["nvml", "estimate"], look_s=0.0).meters}
    assert report["nvml"].measures
    assert report["nvml"].what.count("NVIDIA H100 80GB HBM3") == 2
    assert report["estimate"].works
    assert not report["estimate"].measures
    json.dumps([s.as_dict() for s in report.values()])


def test_a_replayed_trace_gives_the_recorded_energy(make_gpus: MakeGpus, tmp_path: Path) -> None:
    make_gpus(SimulatedGpu(Constant(400)))
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    meter = Meter(tmp_path / "first", probes=["nvml"])
    meter.start()
    window(meter, 2.0)[2].write_parquet(tmp_path / "trace.parquet")
    meter = Meter(tmp_path / "second", replay=tmp_path / "trace.parquet")
    started = meter.start()
    assert [d.level for d in started.domains] == ["M1"]
    start_ns, stop_ns, trace = window(meter, 1.0)
    (energy,) = trace.energy(start_ns, stop_ns)
    assert energy.energy_j == pytest.approx(400 * (stop_ns - start_ns) / 1e9, rel=0.05)
    assert "replayed" in {w.id for w in trace.warnings(start_ns, stop_ns) if not w.rankable}
