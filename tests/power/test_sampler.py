"""The sampler's parts: its log, its recorder, its clocks, its start, and other people's probes."""

from __future__ import annotations

import os
import pty
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pynvml
import pytest

from bench.power import calibration, log, probes, sampler
from bench.power.meter import Meter, Refused
from bench.power.probes import Domain, Reading
from bench.power.recorder import Look, Recorder
from bench.power.trace import Trace
from tests.power.conftest import MakeGpus
from tests.power.simulated import Constant, SimulatedGpu
from tests.power.test_meter import cpu_s, is_gone, sampler_pid, within_a_tick

EXAMPLES = Path(__file__).parents[2] / "bench/docs/examples"
BOARDS = [Domain(f"gpu:GPU-{i}", "gpu", "a card", "M1", 0.1) for i in range(8)]

# --- the log


def test_a_log_of_version_1_is_read() -> None:
    first = [["head", 1, {"rate_hz": 10.0}], ["domain", 0, BOARDS[0]._asdict()]]
    rows = [["r", 0, k * 10**8, 400.0, 40.0 * k, None, None, None] for k in range(50)]
    failed = [["r", 0, 50 * 10**8, None, None, None, None, None, "GPU is lost"]]
    lines = b"".join(map(log.encode, first + rows + failed))
    trace = Trace.read_log(Path("absent"), lines)
    assert trace.energy(10**9, 4 * 10**9)[0].energy_j == pytest.approx(1200)
    assert [m.message for m in trace.marks] == ["GPU is lost"]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[tuple[Recorder, Path]]:
    page = os.memfd_create("live")
    recorder = Recorder(log.Writer(tmp_path / log.NAME), page)
    recorder.seen.append(["head", log.VERSION, {"rate_hz": 10.0}])
    recorder.adopt(BOARDS)
    yield recorder, tmp_path / log.NAME
    os.close(page)


def look(k: int) -> Look:
    """The k-th look at eight boards of 400 W, ten a second."""
    t_ns = 10**15 + k * 10**8
    use = 0.5 if k % 10 == 0 else None
    readings = [Reading(b.name, t_ns + i, 401.234, 40.1234 * k, use) for i, b in enumerate(BOARDS)]
    return Look("cards", BOARDS, list(readings))


def finished(recorder: Recorder) -> bytes:
    """Let the recorder end; what it could not write."""
    recorder.start()
    return recorder.end(5.0)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_ten_minutes_of_eight_cards_leaves_memory_flat(record: tuple[Recorder, Path]) -> None:
    recorder, path = record
    sizes = []
    for k in range(6_000):
        recorder.seen.append(look(k))
        if k % 5 == 0:
            recorder.record()
            recorder.writer.flush()
            sizes.append(resident_bytes())
    assert sizes[-1] - sizes[len(sizes) // 10] < 500_000
    assert 6 * path.stat().st_size < 14e6  # bytes an hour
    assert finished(recorder) == b""
    trace = Trace.read_log(path)
    assert trace.facts["damaged_lines"] == 0
    assert [len(s.t_ns) for s in trace.series.values()] == [6_000] * 8


def test_calls_that_took_long_are_kept_with_how_long(record: tuple[Recorder, Path]) -> None:
    """Each by its own time where the probe tells it, by that of the whole look where not."""
    recorder, path = record
    t_ns, names = 10**15, [b.name for b in BOARDS]
    told = [Reading(names[0], t_ns, 400.0, took_s=0.04), Reading(names[1], t_ns, 400.0, took_s=0.0)]
    recorder.seen.append(Look("cards", BOARDS, [*told, Reading(names[2], t_ns, 400.0)], 0.05))
    recorder.seen.append(Look("cards", BOARDS, [Reading(names[3], t_ns, 400.0)], 0.009))
    assert finished(recorder) == b""
    slow = {m.domain: m.value for m in Trace.read_log(path).marks if m.id == "slow"}
    assert slow == {names[0]: 0.04, names[2]: 0.05}


def test_each_domain_has_its_own_newest_reading(record: tuple[Recorder, Path]) -> None:
    """A board that is lost is not young because another is read."""
    recorder, _ = record
    first, second, third = (b.name for b in BOARDS[:3])
    recorder.seen.append(
        Look("cards", BOARDS, [Reading(first, 10**9, 400.0), Reading(second, 10**9, 400.0)])
    )
    recorder.seen.append(
        Look(
            "cards",
            BOARDS,
            [Reading(first, 2 * 10**9, 400.0), Reading(second, 2 * 10**9, error="lost")],
        )
    )
    recorder.record()
    recorder._live.publish()
    page = log.decode(os.pread(recorder._live._fd, 1 << 16, 0).partition(b"\n")[0])
    assert page is not None
    assert [page[1][name] for name in (first, second, third)] == [2 * 10**9, 10**9, None]


def test_a_first_reading_that_failed_was_not_of_0_watts(record: tuple[Recorder, Path]) -> None:
    recorder, _ = record
    power, counter = (b.name for b in BOARDS[:2])
    for second, power_w in enumerate((None, 400.0, 400.0)):
        energy_j = None if power_w is None else 5.0 + 300.0 * second
        error = "not yet" if power_w is None else None
        t_ns = second * 10**9
        recorder.seen.append(
            Look("cards", BOARDS, [Reading(power, t_ns, power_w, error=error),
                                   Reading(counter, t_ns, power_w, energy_j, error=error)])
        )  # fmt: skip
        recorder.record()
        recorder._live.publish()
    assert recorder._live._energy_j == {power: 400.0, counter: 300.0}


def test_a_log_cut_anywhere_is_read_up_to_there(record: tuple[Recorder, Path]) -> None:
    recorder, path = record
    recorder.seen += [look(k) for k in range(20)]
    finished(recorder)
    whole = path.read_bytes()
    for cut in range(len(whole) - 900, len(whole), 7):
        path.write_bytes(whole[:cut])
        trace = Trace.read_log(path)
        assert trace.facts["damaged_lines"] == 0
        assert 17 <= len(trace.series[BOARDS[0].name].t_ns) <= 20


def test_a_disk_that_does_not_answer_holds_nothing_up(
    record: tuple[Recorder, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, path = record
    answers = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda fd: answers.wait(30))
    recorder.start()
    time.sleep(1.2)  # it is in its first fsync now
    recorder.seen += [look(k) for k in range(20)]
    rest = recorder.end(0.1)
    answers.set()
    trace = Trace.read_log(path, rest)
    assert len(trace.series[BOARDS[0].name].t_ns) == 20
    assert [m.id for m in trace.marks] == ["log-failed"]


def test_more_than_memory_holds_is_lost_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_MOST_WAITING", 2000)
    recorder = Recorder(log.Writer(tmp_path / "absent" / log.NAME), 0)
    recorder.adopt(BOARDS[:1])
    recorder.seen += [look(k) for k in range(100)]
    trace = Trace.read_log(tmp_path / "absent", finished(recorder))
    assert 10 < len(trace.series[BOARDS[0].name].t_ns) < 100
    assert "until that was full" in trace.marks[-1].message


# --- clocks


def test_a_suspend_is_seen(record: tuple[Recorder, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds between two looks at the clocks, eight of them asleep."""
    recorder, path = record
    clock = {"mono": 10**15, "asleep": 0}

    def read_clock(which: int) -> int:
        return clock["mono"] + (clock["asleep"] if which == time.CLOCK_BOOTTIME else 0)

    monkeypatch.setattr(time, "monotonic_ns", lambda: clock["mono"])
    monkeypatch.setattr(time, "time_ns", lambda: clock["mono"] + clock["asleep"] + 10**18)
    monkeypatch.setattr(time, "clock_gettime_ns", read_clock)
    for k in range(40):
        if k % 10 == 0:
            recorder.seen.append(sampler._clock())
        recorder.seen.append(look(k))
        clock["mono"] += 10**8
        clock["asleep"] += (k == 25) * 8 * 10**9
    monkeypatch.undo()
    finished(recorder)
    trace = Trace.read_log(path)
    (warn,) = trace.warnings(10**15, clock["mono"] - 10**8)
    assert (warn.id, warn.rankable) == ("suspended", False)
    assert "8.0 s" in warn.message
    assert trace.warnings(10**15, 10**15 + 19 * 10**8) == []


# --- when it reads


def test_readings_keep_the_rate_and_no_beat(make_gpus: MakeGpus, tmp_path: Path) -> None:
    make_gpus(SimulatedGpu())
    meter = Meter(tmp_path, probes=["nvml"], rate_hz=20)
    meter.start()
    time.sleep(3.0)
    (series,) = meter.stop().series.values()
    t_s = series.t_ns[series.t_ns > series.t_ns[0] + 7 * 10**8] / 1e9  # past the first burst
    gaps_s = np.diff(t_s)
    assert np.mean(gaps_s) == pytest.approx(0.05, rel=0.25)
    assert np.std(gaps_s) > 0.01
    places = t_s * 20 % 1  # where in its period a reading lies
    assert np.ptp(np.histogram(places, 4, (0, 1))[0]) <= len(t_s) / 3


# --- the start


def test_the_start_costs_little(
    make_gpus: MakeGpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The aim is 50 ms on an idle machine; a busy one can tell by what Python takes for nothing."""
    make_gpus(SimulatedGpu())
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # it would compile each time
    bare_s, start_s = [], []
    for k in range(5):
        before_s = children_cpu_s()
        subprocess.run([sys.executable, "-P", "-S", "-c", "pass"], check=True)
        bare_s.append(children_cpu_s() - before_s)
        (tmp_path / str(k)).mkdir()
        meter = Meter(tmp_path / str(k), probes=["nvml"])
        meter.start()
        assert meter._process is not None
        start_s.append(cpu_s(meter._process.pid))
        meter.stop()
    assert min(start_s) < 7 * min(bare_s)


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_start_imports_only_what_it_needs(make_gpus: MakeGpus) -> None:
    """Each of these costs more than all of the sampler's own modules."""
    make_gpus(SimulatedGpu())
    heavy = {"numpy", "pydantic", "dataclasses", "inspect", "subprocess", "asyncio",
             "tempfile", "pathlib", "pkgutil", "importlib.metadata", "bench.record"}  # fmt: skip
    code = (
        f"import sys; sys.path += {[str(EXAMPLES.parents[2]), str(Path(pynvml.__file__).parent)]}\n"
        "from bench.power import sampler, probes; from bench.power.processes import Tree\n"
        "probe = probes.build(probes.Found('nvml', 'bench.power.probes.nvml'), Tree())\n"
        "probe.why_not(), probe.domains(), list(probe.read())\n"
        f"print(*sorted({heavy!r} & set(sys.modules)))"
    )
    command = [sys.executable, "-P", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_calibration_is_applied_where_domains_are_adopted(
    make_gpus: MakeGpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = make_gpus(SimulatedGpu(Constant(400)))
    monkeypatch.setenv("BENCH_CALIBRATION", str(tmp_path / "calibration.json"))
    named = {gpus.domain(0): {"device": gpus.gpus[0].name, "uuid": gpus.gpus[0].uuid}}
    calibration.Calibration(
        date=datetime.now(UTC).isoformat(), reference={"device": "a shunt", "probe": "shunt"},
        protocol={"window_s": 60.0}, machine={}, machine_ids=calibration._machine_ids(),
        domains=named, range_w={gpus.domain(0): (60.0, 400.0)}, gain=1.05, offset_w=2.0,
        uncertainty=0.01,
    ).write()  # fmt: skip
    meter = Meter(tmp_path, probes=["nvml"])
    (domain,) = meter.start().domains
    trace = meter.stop()
    assert trace.domains == [domain]
    assert (domain.level, domain.gain) == ("M3", 0.01)
    assert domain.facts["calibration"]["gain"] == 1.05


# --- other people's probes

_PROBE = """
import os, sys, time
from bench.power.probes import Domain, Mark, Reading, Refusal

class Probe:
    kinds = ("node",)

    def __init__(self, tree, argument=""):
        self.argument, self.began_s, self.reads = argument, time.monotonic(), 0

    def why_not(self):
        return None

    def domains(self):
        return [Domain("node:mine", "node", "a wall meter " + self.argument, "M2", 0.02)]

    def read(self):
        self.reads += 1
        t_ns = time.monotonic_ns()
        t = time.monotonic() - self.began_s
        {read}
        return [Reading("node:mine", t_ns, power_w=60.0)]

    def close(self):
        {close}
"""

Mine = Callable[..., str]


@pytest.fixture
def mine(tmp_path: Path) -> Mine:
    """A probe in a file of one's own, which does something special when it is read or closed."""

    def write(read: str = "pass", close: str = "pass") -> str:
        (tmp_path / "mine.py").write_text(_PROBE.format(read=read, close=close))
        return str(tmp_path / "mine.py")

    return write


def energy_of(meter: Meter, duration_s: float) -> tuple[float | None, dict[str, bool], str, Trace]:
    """What a window gave: J, the warnings and whether they rank, the reason, the trace."""
    start_ns = meter.edge(lead_s=0.25)
    time.sleep(duration_s)
    stop_ns = meter.edge()
    trace = meter.stop()
    energy = next(e for e in trace.energy(start_ns, stop_ns) if e.domain == "node:mine")
    warns = {w.id: w.rankable for w in trace.warnings(start_ns, stop_ns)}
    share = None if energy.energy_j is None else energy.energy_j / (stop_ns - start_ns) * 1e9
    return share, warns, energy.reason or "", trace


def refused(probe: str, tmp_path: Path) -> Refused:
    meter = Meter(tmp_path, probes=[probe])
    started = meter.start()
    meter.stop()
    (refusal,) = started.refusals
    assert started.domains == []
    return refusal


def test_a_file_is_a_probe(mine: Mine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine()
    monkeypatch.chdir(tmp_path)
    meter = Meter(tmp_path, probes=["./mine.py:in the cellar"])
    (domain,) = meter.start().domains
    assert (domain.device, domain.level) == ("a wall meter in the cellar", "M2")
    power_w, warns, _, _ = energy_of(meter, 1.0)
    assert power_w == pytest.approx(60)
    assert warns == {}


def test_an_entry_point_is_a_probe(
    mine: Mine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine()
    about = tmp_path / "cellar-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: cellar\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench.probes]\ncellar = mine\n")
    assert "cellar" not in probes.names()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "cellar" in probes.names()
    meter = Meter(tmp_path, probes=["cellar:B", "nothing"])
    started = meter.start()
    meter.stop()
    assert [d.device for d in started.domains] == ["a wall meter B"]
    assert [r.reason for r in started.refusals] == ["no probe is called 'nothing'"]


def test_what_site_sets_up_is_there_for_other_peoples_probes(
    mine: Mine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Editable installs and the like live in what `site` runs."""
    setup = "import sys\nsys.modules['hidden'] = type(sys)('hidden')\n"
    (tmp_path / "sitecustomize.py").write_text(setup)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    meter = Meter(tmp_path, probes=[mine("import hidden")])
    meter.start()
    assert energy_of(meter, 1.0)[:2] == (pytest.approx(60), {})


def test_the_example_of_a_probe(tmp_path: Path) -> None:
    battery = tmp_path / "BAT1"
    probe = f"{EXAMPLES / 'battery.py'}:{battery}"
    assert refused(probe, tmp_path).reason == f"{battery} tells no power"
    battery.mkdir()
    (battery / "power_now").write_text("17500000\n")
    (battery / "status").write_text("Charging\n")
    (tmp_path / "second").mkdir()
    assert refused(probe, tmp_path / "second").fix == "unplug the charger"
    (battery / "status").write_text("Discharging\n")
    (tmp_path / "third").mkdir()
    meter = Meter(tmp_path / "third", probes=[probe])
    meter.start()
    start_ns, _ = meter.edge(), time.sleep(1.0)
    stop_ns = meter.edge()
    (energy,) = meter.stop().energy(start_ns, stop_ns)
    assert energy.energy_j == pytest.approx(17.5 * (stop_ns - start_ns) / 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nowhere", "can't be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("def Probe(:", "can't be imported: SyntaxError"),
        ("x = 1", "has no class called Probe"),
        ("class Probe: pass", "failed: TypeError: Probe() takes no arguments"),
    ],
)
def test_a_probe_that_can_not_be_built_is_one_refusal(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "bad.py").write_text(text)
    refusal = refused(str(tmp_path / "bad.py"), tmp_path)
    assert refusal.reason.removeprefix(f"{tmp_path / 'bad.py'} ").startswith(reason)
    assert "\n" not in refusal.reason


@pytest.mark.parametrize(
    ("domain", "reason"),
    [
        ('"node:mine", "wall", "mine", "M2", 0.02', "of kind 'wall' and level 'M2'"),
        ('"node:mine", "node", "mine", "M9", 0.02', "of kind 'node' and level 'M9'"),
        ('"node:mine", "node", "mine", "M2", "2 %"', "a gain of '2 %'"),
        ('"node:mine", "node", "mine", "M2", float("nan")', "a gain of nan"),
        ('"node:mine", "node", "mine", "M2", 0.02, facts={"of": {1, 2}}', "not JSON serializable"),
        ('"node:mine", "node", 7, "M2", 0.02', "are texts"),
    ],
)
def test_a_probe_of_what_can_not_be_recorded_is_refused_alone(
    mine: Mine, tmp_path: Path, domain: str, reason: str
) -> None:
    """At once, and not when the record is written, hours later."""
    path = Path(mine())
    made = 'Domain("node:mine", "node", "a wall meter " + self.argument, "M2", 0.02)'
    path.write_text(path.read_text().replace(made, f"Domain({domain})"))
    meter = Meter(tmp_path, probes=[str(path), "estimate"])
    started = meter.start()
    meter.stop()
    (refusal,) = started.refusals
    assert reason in refusal.reason
    assert [d.name for d in started.domains] == ["cpu:estimate", "dram:estimate"]


def test_a_file_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    assert "there is no probe file" in refused("./absent.py", tmp_path).reason


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        ("if t > 0.5: raise OSError('the cable is out')", "failed: OSError: the cable is out"),
        ("if t > 0.5: return [Reading('node:mine', t_ns, 'many')]", "gave what is no reading"),
        ("if t > 0.5: return [Reading('node:mine', t_ns, 1e999)]", "no reading after"),
        ("if t > 0.5: return [('node:mine', t_ns, 60.0)]", "gave what is no reading"),
        ("if t > 0.5: return None", "failed: TypeError"),
        ("if t > 0.5: return [Mark(t_ns, 'odd', 'odd', value='many')]", "gave what is no reading"),
    ],
)
def test_a_probe_that_fails_while_it_is_read_is_told(
    mine: Mine, tmp_path: Path, read: str, reason: str
) -> None:
    meter = Meter(tmp_path, probes=[mine(read)])
    meter.start()
    power_w, warns, why, _ = energy_of(meter, 1.2)
    assert power_w is None
    assert reason in why
    assert warns == {"missing": False}


def test_numbers_of_other_libraries_are_numbers(mine: Mine, tmp_path: Path) -> None:
    path = Path(mine("return [Reading('node:mine', t_ns, numpy.float32(60), numpy.nan)]"))
    path.write_text("import numpy\n" + path.read_text())
    meter = Meter(tmp_path, probes=[str(path)])
    meter.start()
    assert energy_of(meter, 1.0)[:2] == (pytest.approx(60), {})


def test_a_probe_that_is_slow_now_and_then_is_told(mine: Mine, tmp_path: Path) -> None:
    meter = Meter(tmp_path, probes=[mine("if self.reads % 20 == 0: time.sleep(0.4)"), "estimate"])
    meter.start()
    power_w, warns, _, trace = energy_of(meter, 3.0)
    assert power_w == pytest.approx(60)
    assert warns == {"slow": True}
    slow = [m.value for m in trace.marks if m.id == "slow"]
    assert all(value == pytest.approx(0.4, abs=0.3) for value in slow)


def test_a_hang_is_told_and_the_other_probes_go_on(mine: Mine, tmp_path: Path) -> None:
    meter = Meter(tmp_path, probes=[mine("if t > 0.5: time.sleep(99)"), "estimate"])
    meter.start()
    before_s = time.monotonic()
    power_w, warns, why, trace = energy_of(meter, 3.0)
    assert time.monotonic() - before_s < 6
    assert power_w is None
    assert "has not answered" in why
    assert warns == {"missing": False}
    (other,) = (s for name, s in trace.series.items() if name == "cpu:estimate")
    assert max(b - a for a, b in zip(other.t_ns, other.t_ns[1:], strict=False)) < 0.5e9
    assert is_gone(trace.facts["pid"])


def test_a_hang_at_the_end_holds_nothing_up(mine: Mine, tmp_path: Path) -> None:
    meter = Meter(tmp_path, probes=[mine(close="time.sleep(99)")])
    meter.start()
    start_ns, _ = meter.edge(), time.sleep(1.0)
    stop_ns, before_s = meter.edge(), time.monotonic()
    trace = meter.stop()
    assert time.monotonic() - before_s < 3
    assert trace.warnings(start_ns, stop_ns) == []
    assert is_gone(trace.facts["pid"])


# --- ends


def test_a_folder_that_is_read_only_is_told(
    make_gpus: MakeGpus, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = make_gpus(SimulatedGpu(Constant(400)))
    meter = Meter(Path("/sys"), probes=["nvml"])  # nobody may write there, not even root
    meter.start()
    assert capsys.readouterr().err.startswith("warning: trace.log: ")
    start_ns, _ = meter.edge(lead_s=0.25), time.sleep(1.0)
    stop_ns = meter.edge()
    trace = meter.stop()
    assert trace.energy(start_ns, stop_ns)[0].energy_j == within_a_tick(
        gpus.energy_j(0, start_ns, stop_ns), (stop_ns - start_ns) / 1e9
    )
    assert {w.id: w.rankable for w in trace.warnings(start_ns, stop_ns)} == {"log-failed": True}


_IN_A_TERMINAL = """
import sys, time
from pathlib import Path
from bench.power.meter import Meter
meter = Meter(Path(sys.argv[1]), probes=["estimate"])
meter.start()
time.sleep(60)
"""


def test_a_closed_terminal_leaves_a_log_and_no_process(tmp_path: Path) -> None:
    parent, terminal = pty.fork()
    if parent == 0:
        os.execv(sys.executable, [sys.executable, "-c", _IN_A_TERMINAL, str(tmp_path)])
    deadline_s = time.monotonic() + 20
    while not (tmp_path / log.NAME).exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    pid = sampler_pid(tmp_path)
    time.sleep(1.2)
    closed_ns = time.monotonic_ns()
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == -signal.SIGHUP
    assert is_gone(pid)
    trace = Trace.read_log(tmp_path / log.NAME)
    assert trace.stop_ns > closed_ns - 1_000_000_000


def test_a_parent_killed_while_a_driver_hangs_at_the_start_leaves_no_process(
    mine: Mine, tmp_path: Path
) -> None:
    path = Path(mine())
    path.write_text(
        path.read_text().replace("        return None\n", "        time.sleep(99)\n", 1)
    )
    code = _IN_A_TERMINAL.replace("estimate", str(path))
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as parent:
        deadline_s = time.monotonic() + 20
        while not (tmp_path / log.NAME).exists() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        pid = sampler_pid(tmp_path)
        parent.kill()
    assert is_gone(pid, within_s=3.0)


@pytest.mark.parametrize("how", ["told", "alone"])
def test_what_a_probe_started_ends_with_the_sampler(mine: Mine, tmp_path: Path, how: str) -> None:
    """A program that a meter runs may have started others, in groups of their own."""
    starts = f"""if self.reads == 1:
            import subprocess
            child = "sleep 300 & echo $! > {tmp_path}/pid; wait"
            subprocess.Popen(["sh", "-c", child], process_group=0)"""
    meter = Meter(tmp_path, probes=[mine(starts)])
    meter.start()
    deadline_s = time.monotonic() + 5
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    time.sleep(0.2)
    pid = int((tmp_path / "pid").read_text())
    if how == "alone":
        assert meter._process is not None
        assert meter._process.stdin is not None
        meter._process.stdin.close()  # as when the parent is gone
        assert is_gone(meter._process.pid)
    else:
        meter.stop()
    assert is_gone(pid, within_s=1.0)


def test_a_recorder_that_fails_ends_the_sampler(mine: Mine, tmp_path: Path) -> None:
    """A sampler that records nothing must not look alive."""
    odd = "type('Odd', (), {'__sub__': lambda *_: 1 / 0})()"  # no way for a number to fail
    meter = Meter(tmp_path, probes=[mine(f"if t > 1: return [Reading('node:mine', t_ns, {odd})]")])
    meter.start()
    start_ns, _ = meter.edge(), time.sleep(2.5)
    assert not meter.alive
    stop_ns = meter.edge()
    told = {w.id for w in meter.stop().warnings(start_ns, stop_ns)}
    assert told == {"sampler-died", "missing"}
