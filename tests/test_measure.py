"""What a run's folder says, however the run ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bench import child, measure, record
from bench.account import Start, Window, phase_spans, read_events
from bench.child import Gauge, Limit, Outcome, Program, Progress
from bench.interrupts import undisturbed
from bench.power import log
from bench.power.meter import Live, Meter
from bench.power.probes import Domain
from bench.record import Data, Record, Spec
from bench.units import parse_budget
from tests.test_reference import made

DATA = Data(
    source="embedded", official=False, fingerprints={"train": "a" * 64, "scored": "b" * 64},
    labels_sha256="c" * 64, rows={"train": 10, "tune": 2, "scored": 4},
)  # fmt: skip
SPEC = Spec(
    edition="1.0", task="sst2", task_version=1, data=DATA, track="scratch", model="m",
    checkpoint_sha256=None, recipe="baseline", settings={"epochs": 1}, device="cpu",
    hardware="CPU test", budget=None, seed=1, seed_origin="harness",
)  # fmt: skip
START = Start(
    run_id="0" * 16, nonce="n", started_at="2026-01-01T00:00:00.000+00:00", spec=SPEC,
    code_sha256="d" * 64, machine={}, software={}, visible_gpus=[], region=None,
)  # fmt: skip


def metered(folder: Path, script: str, **options) -> tuple[Outcome, Record]:
    """Run a Python child under the estimating meter."""
    folder.mkdir(exist_ok=True)
    meter = Meter(folder, probes=["estimate"])
    with measure.opened(folder, START):
        outcome = measure.measure(
            program(CHILD + textwrap.dedent(script), folder), folder, START, meter,
            **{"idle_s": 0.2, **options},
        )  # fmt: skip
        return outcome, measure.finish(folder, START, meter.stop(), None, outcome)


def program(code: str, folder: Path) -> Program:
    command = [sys.executable, "-c", code]
    return Program(command, {**os.environ}, folder / "stop", folder / "log.txt")


CHILD = """
import os, signal, sys, time
from bench.events import Events
events = Events()
"""


def test_a_run_that_ends_well(tmp_path: Path) -> None:
    outcome, run = metered(
        tmp_path / "r",
        """
        events.send("phase_start", phase="prepare")
        events.send("model", name="m", parameters=3)
        time.sleep(0.3)
        events.send("phase_start", phase="train")
        deadline = time.process_time() + 0.6
        while time.process_time() < deadline: pass
        events.send("phase_stop", phase="train")
        events.send("run_stop", reason="done")
        """,
    )
    assert outcome == Outcome("complete", code=0)
    assert run.status == "complete"
    assert [p.name for p in run.phases if p.name != "other"] == ["prepare", "train"]
    assert run.model_facts == {"name": "m", "parameters": 3}
    assert sum(p.duration_s for p in run.phases) == pytest.approx(run.duration_s)
    assert run.energy_j
    total_j = sum(sum(p.energy_j.values()) for p in run.phases)
    assert total_j == pytest.approx(run.energy_j, rel=0.01)
    assert run.idle_before
    assert run.idle_before.duration_s == pytest.approx(0.2, abs=0.15)
    train = next(p for p in run.phases if p.name == "train")
    prepare = next(p for p in run.phases if p.name == "prepare")
    cpu = next(d.domain for d in run.domains if d.kind == "cpu")
    train_w = train.energy_j[cpu] / train.duration_s
    assert train_w > 1.2 * prepare.energy_j[cpu] / prepare.duration_s
    assert record.read(tmp_path / "r") == run
    names = {p.name for p in (tmp_path / "r").iterdir()}
    assert names == {"record.json", "manifest.json", "events.jsonl", "trace.parquet", "log.txt"}


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL (out of memory?)"),
        ("events.send('failure', kind='out-of-memory', message='too big'); sys.exit(1)", "too big"),
        ("raise RuntimeError('bad')", "see log.txt"),
    ],
)
def test_a_child_that_fails_is_in_the_record(tmp_path: Path, script: str, says: str) -> None:
    outcome, run = metered(tmp_path / "r", "time.sleep(0.2)\n" + script)
    assert outcome.status == run.status == "failed"
    assert run.failure
    assert says in run.failure
    assert run.energy_j is not None
    assert not run.rankable


def test_a_child_may_end_between_two_looks() -> None:
    """Just after it was asked whether it has ended, and before whether it is stopped."""
    with subprocess.Popen(["true"]) as ended:
        wait_for(lambda: psutil.Process(ended.pid).status() == psutil.STATUS_ZOMBIE)
        child._stop_along(ended)
    assert ended.returncode == 0


def test_a_budget_asks_the_child_to_stop(tmp_path: Path) -> None:
    outcome, run = metered(
        tmp_path / "r",
        """
        for step in range(1000):
            if events.stop_asked():
                events.send("run_stop", reason="budget")
                sys.exit(0)
            time.sleep(0.01)
        sys.exit(9)
        """,
        budget=parse_budget("0.5s"),
    )
    assert outcome.status == "budget"
    assert 0.5 <= run.duration_s < 3


def test_a_sampler_that_does_not_start_fails_the_run_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    outcome, run = metered(tmp_path / "r", "")
    assert outcome.status == run.status == "failed"
    assert "sampler did not start" in (run.failure or "")
    assert run.energy_j is None


def test_nonsense_from_the_child_is_kept_and_harms_nothing(tmp_path: Path) -> None:
    outcome, run = metered(
        tmp_path / "r",
        r"""
        fd = int(os.environ["BENCH_EVENTS_FD"])
        for line in (
            b'{"event": "phase_start"}', b'not json', b'[1, 2]', b'{"event": "step"}',
            b'{"no": "event"}', b'{"event": "window_stop"}', b'{"event": "outcome"}', b'\xff\xfe',
            b'{"event": "step", "step": "x"}', b'{"event": "step", "step": 1e400}',
            b'{"event": "warning"}', b'{"event": "devices", "uuids": 5}',
            b'{"event": "eval", "metric": "accuracy", "value": "high"}',
            b'{"event": "phase_start", "phase": "train", "t_ns": "now"}',
            b'{"event": "phase_begin", "phase": "train"}',
            b'{"event": "model", "layers": ' + b"[" * 3000 + b"]" * 3000 + b'}',
        ):
            os.write(fd, line + b"\n")
        for t_ns in (0, time.time_ns(), time.monotonic_ns() + 2 * 10**9, 10**400):
            os.write(fd, b'{"event": "phase_start", "phase": "train", "t_ns": %d}\n' % t_ns)
        events.send("run_stop", reason="done")
        """,
    )
    assert outcome.status == "complete"
    events = read_events(tmp_path / "r" / "events.jsonl")
    assert sum(e["event"] == "bad_event" for e in events) == 20
    assert {p.name for p in run.phases} == {"other"}
    (warning,) = [w for w in run.warnings if w.id == "bad-event"]
    assert warning.message.startswith("20 event(s) of the program are left out")
    assert "it has no 'phase'" in warning.message


def test_what_the_child_forked_ends_with_it(tmp_path: Path) -> None:
    metered(
        tmp_path / "r",
        """
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
        open("%s", "w").write(str(pid))
        """
        % (tmp_path / "pid"),
    )
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 3
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


PARENT = """
import os, sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from tests.test_measure import START, CHILD, Meter, measure, program, undisturbed
folder = Path(sys.argv[1])
meter = Meter(folder, probes=["estimate"])
with undisturbed(), measure.opened(folder, START):
    child = CHILD + "events.send('phase_start', phase='train')\\ntime.sleep(60)"
    outcome = measure.measure(program(child, folder), folder, START, meter, idle_s=0.1)
    measure.finish(folder, START, meter.stop(), None, outcome)
"""


def start_parent(folder: Path) -> subprocess.Popen[bytes]:
    """A parent in a process of its own, metering a child that sleeps; returns once it trains."""
    folder.mkdir(parents=True)
    code = PARENT.format(repository=str(Path(__file__).parent.parent))
    parent = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    wait_for(lambda: "train" in text_of(folder / "events.jsonl"))
    return parent


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def wait_for(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def no_process_of(folder: Path) -> bool:
    """No process but this one has the folder's name on its command line or in its environment."""
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in text for text in told):
            return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_a_record(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "sst2" / "run"
    parent = start_parent(folder)
    time.sleep(1.0)
    parent.send_signal(number)
    parent.wait(20)
    run = record.read(folder)
    assert run.status == "interrupted"
    assert run.duration_s > 0.8
    assert run.energy_j
    assert {p.name for p in run.phases} >= {"train"}
    wait_for(lambda: no_process_of(folder))


def test_a_killed_parent_is_recovered_by_the_next_command(tmp_path: Path) -> None:
    folder = tmp_path / "sst2" / "run"
    parent = start_parent(folder)
    time.sleep(2.0)
    assert list(measure.recover(tmp_path)) == [], "a run that goes on is left alone"
    parent.kill()
    parent.wait()
    killed = time.monotonic()
    wait_for(lambda: no_process_of(folder))
    assert time.monotonic() - killed < 15
    # A process that ends loses its command line before its locks.
    wait_for(lambda: not log.being_written(folder / log.NAME))
    broken = tmp_path / "sst2" / "broken"
    broken.mkdir()
    (broken / "start.json").write_text("{")
    (tmp_path / "sst2" / "a folder").joinpath("start.json").mkdir(parents=True)
    (odd, other_why), (damaged, why), recovered = measure.recover(tmp_path)
    assert (odd.name, damaged) == ("a folder", broken)
    assert "IsADirectoryError" in (other_why or ""), (
        "nor does what can't be opened stand in the way"
    )
    assert "JSONDecodeError" in (why or "")
    (broken / "start.json").unlink()
    (odd / "start.json").rmdir()
    assert recovered == (folder, None)
    run = record.read(folder)
    assert run.status == "interrupted"
    assert "killed" in (run.failure or "")
    assert run.duration_s > 1.0, "the trace goes up to about the last second"
    assert run.energy_j
    assert record.read(folder) == run
    assert list(measure.recover(tmp_path)) == []


def test_an_interrupt_in_the_tail_cuts_it_short_and_ends_what_follows(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.phase == "tail":
            os.kill(os.getpid(), signal.SIGINT)

    outcome, run = metered(tmp_path / "r", "", idle_s=2.0, on_progress=interrupt)
    assert (outcome.status, outcome.end_asked) == ("complete", True)
    assert run.status == "complete"
    assert run.idle_before
    after_s = run.idle_after.duration_s if run.idle_after else 0.0
    assert after_s < 0.8 * run.idle_before.duration_s
    outcome, _ = metered(tmp_path / "undisturbed", "")
    assert not outcome.end_asked


def test_a_killed_sampler_is_said_and_does_not_end_the_run(tmp_path: Path) -> None:
    outcome, run = metered(
        tmp_path / "r",
        """
        import psutil
        time.sleep(0.5)
        for p in psutil.Process(os.getppid()).children():
            if p.pid != os.getpid():
                p.kill()
        time.sleep(4.5)
        """,
    )
    assert outcome.status == "complete"
    assert not run.rankable
    assert any(not w.rankable for w in run.warnings)


def test_a_full_disk_does_not_end_the_training(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        outcome, run = metered(
            disk / "r",
            f"""
            time.sleep(0.5)
            try:
                with open({str(disk / "filler")!r}, "wb", buffering=0) as file:
                    while file.write(b"x" * 4096): pass
            except OSError: pass
            for step in range(200):
                events.send("step", step=step, total_steps=200, loss=1.0)
                time.sleep(0.005)
            events.send("run_stop", reason="done")
            """,
        )
        assert outcome.status == "complete"
        steps = [e for e in read_events(disk / "r" / "events.jsonl") if e["event"] == "step"]
        assert len(steps) == 200, "what the disk did not take is written when there is room"
        assert record.read(disk / "r") == run
        assert run.status == "complete"
        assert any("No space left" in w.message for w in run.warnings)
        assert run.energy_j, "samples up to the full disk are kept"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_run_killed_while_its_record_is_written_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two of the last steps: before the record, before the manifest, before the end."""
    for step, name in enumerate(["write", "write_file", "_close"]):
        folder = tmp_path / "sst2" / f"run{step}"
        folder.mkdir(parents=True)
        with monkeypatch.context() as patch:
            if name == "_close":
                patch.setattr(Path, "unlink", lambda self, **_: None)
            elif name == "write":
                patch.setattr(record, "write", killed)
            else:
                patch.setattr(record, "write_file", once_then_killed(record.write_file))
            with contextlib.suppress(Killed):
                metered(folder, "time.sleep(0.3)\nevents.send('run_stop', reason='done')")
        assert (folder / "start.json").exists()
        assert list(measure.recover(tmp_path)) == [(folder, None)]
        run = record.read(folder)
        assert run.energy_j
        assert run.duration_s > 0.2
        assert {p.name for p in folder.iterdir() if p.name != "reserve"} == {
            "record.json", "manifest.json", "events.jsonl", "trace.parquet", "log.txt"
        }  # fmt: skip


class Killed(BaseException):
    pass


def killed(*_: object) -> None:
    raise Killed


def once_then_killed(write):
    calls = []

    def wrapper(path: Path, text: str) -> None:
        calls.append(path)
        if len(calls) > 1:
            raise Killed
        write(path, text)

    return wrapper


def test_an_interrupt_while_a_record_is_written_waits(tmp_path: Path) -> None:
    seen = []

    def write() -> None:
        with undisturbed():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            seen.append("whole")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert seen == ["whole"]


def test_a_device_that_is_not_charged_makes_a_run_unrankable(tmp_path: Path) -> None:
    _, run = metered(tmp_path / "r", "events.send('devices', uuids=['GPU-1'])")
    assert any("GPU-1" in w.message and not w.rankable for w in run.warnings)


def test_without_an_idle_baseline_there_is_no_idle_power(tmp_path: Path) -> None:
    _, run = metered(tmp_path / "r", "", idle_s=0.0)
    assert run.energy_j
    assert (run.idle_before, run.idle_after) == (None, None)


def test_an_energy_budget_does_not_count_the_idle_baseline(tmp_path: Path) -> None:
    seen = []
    script, idle_s = "time.sleep(0.5)", 1.5
    _, run = metered(
        tmp_path / "r", script, idle_s=idle_s, on_progress=lambda p: seen.append(p.energy_j)
    )
    assert run.energy_j
    assert seen[-1] < 2 * run.energy_j, "with the baseline it would be some four times as much"


def test_phases_cover_the_window_without_overlap() -> None:
    def event(kind: str, phase: str, t_ns: int) -> dict:
        return {"event": f"phase_{kind}", "phase": phase, "t_ns": t_ns}

    events = [
        event("start", "prepare", 50),  # before the window: clipped to it
        event("start", "train", 200),
        event("start", "evaluate", 300),
        event("start", "train", 350),
        event("stop", "train", 400),
        event("start", "predict", 500),
        event("stop", "predict", 2000),  # after it
    ]
    assert phase_spans(events, Window(100, 1000)) == [
        ("prepare", 100, 200),
        ("train", 200, 300),
        ("evaluate", 300, 350),
        ("train", 350, 400),
        ("other", 400, 500),
        ("predict", 500, 1000),
    ]


class Shown:
    """A meter that shows this."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def live(self) -> Live:
        return self._live


def test_a_budget_is_not_held_against_what_is_not_read_any_more() -> None:
    gpu, slow, never = (
        Domain(name, "node", name, "M2", 0.1, facts=facts)
        for name, facts in (("gpu", {}), ("slow", {"period_s": 10.0}), ("never", {}))
    )
    ages_s: dict[str, float | None] = {"gpu": 0.3, "slow": 25.0, "other": 99.0, "never": None}
    watt_hours = Limit(parse_budget("1Wh"), 0.0)

    def looked(**ages: float | None) -> Progress:
        gauge = Gauge(Shown(Live({}, {}, 0.0, {**ages_s, **ages})), [gpu, slow, never])  # type: ignore[arg-type]
        gauge.open()
        gauge.opened_ns -= round(elapsed_s * 1e9)
        gauge.look(progress := Progress())
        return progress

    elapsed_s = 3.0
    assert watt_hours.spent(looked()) is None, "it has just begun"
    elapsed_s = 60.0
    assert looked().silent == ["never"]
    assert looked(gpu=6.0, never=1.0).silent == ["gpu"], "though others are read"
    assert looked(slow=31.0, never=1.0).silent == ["slow"]
    assert "no reading of gpu" in (watt_hours.spent(looked(gpu=6.0, never=1.0)) or "")
    assert Limit(parse_budget("2min"), 0.0).spent(looked()) is None


def test_what_is_shown_is_calibrated_as_the_record_is() -> None:
    """A budget of joules is held against what the record will say."""
    line = {"gain": 1.25, "offset_w": 10.0}
    gpu = Domain("gpu", "gpu", "H100", "M3", 0.02, facts={"calibration": line})
    plain = gpu._replace(name="plain", level="M1", facts={})
    joules = {"gpu": 1000.0, "plain": 500.0}
    shown = Shown(Live({"gpu": 80.0, "plain": 40.0}, joules, 0.1, {"gpu": 0.1, "plain": 0.1}))
    gauge = Gauge(shown, [gpu, plain])  # type: ignore[arg-type]
    gauge.open()
    gauge.opened_ns -= 10 * 10**9
    joules |= {"gpu": 1800.0, "plain": 900.0}
    gauge.look(progress := Progress())
    assert progress.power_w == {"gpu": 110.0, "plain": 40.0}
    assert progress.energy_j == pytest.approx(1.25 * 800 + 10 * 10 + 400, rel=1e-3)


def test_a_torn_journal_is_read_up_to_the_tear(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps({"event": "step"}) + '\n{"event": "st')
    assert read_events(path) == [{"event": "step"}]


def test_a_run_carries_the_reference_that_its_meters_fit(tmp_path: Path) -> None:
    estimated = made(level="M0", coverage="cpu+dram")
    start = replace(START, references=[made(level="M1", coverage="gpu"), estimated])
    assert Start.load(json.loads(json.dumps(start.dump()))) == start
    (tmp_path / "r").mkdir()
    meter = Meter(tmp_path / "r", probes=["estimate"])
    outcome = measure.measure(
        program("import time; time.sleep(0.3)", tmp_path / "r"),
        tmp_path / "r",
        start,
        meter,
        idle_s=0,
    )
    run = measure.finish(tmp_path / "r", start, meter.stop(), None, outcome)
    assert isinstance(run, Record)
    assert run.reference == estimated
