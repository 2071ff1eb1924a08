"""`bench measure`: any program, alone or as the learner of a task."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench import account, child, measure, program, record
from bench.child import Program
from bench.power import log
from bench.power.meter import Meter
from bench.units import parse_budget
from tests.command import write_reviews
from tests.power.simulated import Constant, SimulatedGpu, SimulatedGpus, Square, build_nvml
from tests.test_measure import START, text_of, wait_for

EXAMPLES = Path(measure.__file__).parent / "docs" / "examples"
BENCH = [sys.executable, "-m", "bench", "measure", "--idle", "0.1"]
PATIENCE_S = 120.0  # where many tests share a processor, starting bench takes ten seconds


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def bench(*arguments: str, given: str = "", code: int = 0, **environment: str) -> tuple[str, str]:
    """Standard output and error of `bench measure` that ends with `code`."""
    done = subprocess.run(
        [*BENCH, *arguments], input=given, capture_output=True, text=True, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def measurement(root: Path) -> record.Measurement:
    (path,) = root.glob("runs/measure/*/measurement.json")
    found = record.read_any(path.parent)
    assert isinstance(found, record.Measurement)
    return found


def script(folder: Path, text: str) -> list[str]:
    path = folder / "program.py"
    path.write_text("import os, signal, sys, time\n" + text)
    return [sys.executable, str(path)]


# --- it is the program's own run


def test_input_output_and_exit_code_are_the_programs_own(folder: Path) -> None:
    out, err = bench("--", "sh", "-c", "cat; echo oops >&2; exit 3", given="hello\n", code=3)
    assert out == "hello\n"
    assert err.startswith("oops\n")
    assert "ended with exit code 3" in err
    found = measurement(folder)
    assert (found.status, found.exit_code) == ("failed", 3)
    assert found.command == ["sh", "-c", "cat; echo oops >&2; exit 3"]
    assert found.energy_j
    assert found.idle_before
    assert found.idle_after


def test_quiet_says_nothing_and_options_after_the_program_are_its_own(folder: Path) -> None:
    out, err = bench("--quiet", "echo", "--task", "x")
    assert (out, err) == ("--task x\n", "")


def test_a_program_that_a_signal_ends(folder: Path) -> None:
    bench("--", "sh", "-c", "kill -9 $$", code=137)
    found = measurement(folder)
    assert (found.status, found.exit_code) == ("failed", -9)


def test_signals_are_passed_on(folder: Path) -> None:
    command = script(
        folder,
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('one', flush=True))\n"
        "print('ready', flush=True)\ntime.sleep(60)",
    )
    with subprocess.Popen([*BENCH, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "one\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 7
    assert measurement(folder).exit_code == 7


def test_ctrl_c_at_the_terminal_is_the_programs_alone(folder: Path) -> None:
    command = script(
        folder,
        "try:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('stopped by you')\n    sys.exit(5)",
    )
    with Terminal([*BENCH, *command]) as terminal:
        terminal.wait_for("ready")
        terminal.type("\x03")
        terminal.wait_for("stopped by you")
        assert terminal.ended() == 5
    assert measurement(folder).exit_code == 5


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash: jobs can't be controlled")
def test_ctrl_z_stops_both_and_fg_goes_on(folder: Path) -> None:
    command = script(
        folder, "print('ready', flush=True)\nline = input()\nprint('read', line, flush=True)"
    )
    with Terminal(["bash", "--norc", "--noprofile", "-i"]) as terminal:
        terminal.type(" ".join([*BENCH, *command]) + "\n")
        terminal.wait_for("ready\r\n")
        terminal.type("\x1a")
        terminal.wait_for("Stopped")
        terminal.type("echo shell $((40 + 2))\n")
        terminal.wait_for("shell 42")
        terminal.type("fg\n")
        terminal.wait_for("measure")
        time.sleep(0.5)
        terminal.type("again\n")
        terminal.wait_for("read again")
        terminal.wait_for("folder")
        terminal.type("exit $?\n")
        assert terminal.ended() == 0


@pytest.mark.parametrize(
    ("fills", "asks"),
    [("echo rows", "read x < /dev/tty; echo got $x"), ("cat", "read x; echo got $x")],
)
def test_a_program_in_a_pipe_is_behind_until_it_asks_at_the_terminal(
    folder: Path, fills: str, asks: str
) -> None:
    """What fills the pipe may read the terminal, too."""
    command = shlex.join([*BENCH, "--", "sh", "-c", f"echo ready; {asks}"])
    with Terminal(["sh", "-c", f"{fills} | {command}"]) as terminal:
        terminal.wait_for("ready")
        terminal.type("hello\n")
        terminal.wait_for("got hello")
        terminal.type("\x04")
        assert terminal.ended() == 0


def test_a_program_that_is_stopped_is_ended_all_the_same(folder: Path) -> None:
    stops = "os.kill(os.getpid(), signal.SIGSTOP)"
    command = script(folder, f"print(os.getpid(), flush=True)\n{stops}\ntime.sleep(60)")
    with subprocess.Popen(
        [*BENCH, *command], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout
            stopped = psutil.Process(int(process.stdout.readline()))
            wait_for(lambda: stopped.status() == "stopped")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
        finally:
            process.kill()


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command: list[str]) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvp(command[0], command)
        self._seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for each in psutil.Process(self._pid).children(recursive=True):
                each.kill()
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        except (psutil.NoSuchProcess, ProcessLookupError, ChildProcessError):
            pass
        os.close(self._fd)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while text not in self._seen:
            assert time.monotonic() < deadline, self._seen
            self._read(0.1)
        self._seen = self._seen.partition(text)[2]

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return True
        try:
            data = os.read(self._fd, 4096)
        except OSError:  # its other end is closed
            return False
        self._seen += data.decode(errors="replace")
        return bool(data)

    def ended(self) -> int:
        """The exit code; reads what it prints until then."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if not self._read(0.1):
                time.sleep(0.1)
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(self._seen)


@pytest.mark.parametrize("arguments", [["--", "no-such-program"], ["--", "./program.txt"]])
def test_a_program_that_is_not_there(folder: Path, arguments: list[str]) -> None:
    (folder / "program.txt").write_text("not to be run")
    _, err = bench(*arguments, code=2)
    assert err.startswith("error: there is no program")
    assert "hint: " in err
    assert not (folder / "runs").exists()


def test_what_is_said_of_a_task_needs_one(folder: Path) -> None:
    _, err = bench("--model", "m", "--", "true", code=2)
    assert "--model" in err
    assert "--task" in err
    _, err = bench("--runs", "3", "--", "true", code=2)
    assert "--runs" in err
    bench("--", "true", BENCH_DATA="reviews")


# --- what is accounted for


def test_what_a_program_forks_is_accounted_for(folder: Path) -> None:
    burn = "end = time.process_time() + 1\nwhile time.process_time() < end: pass\n"
    bench("--", *script(folder, burn))
    alone = measurement(folder)
    shutil.rmtree(folder / "runs")
    bench("--", *script(folder, f"if os.fork() == 0:\n    {burn.replace(chr(10), chr(10) + '    ')}"
                                f"\n    os._exit(0)\nos.wait()"))  # fmt: skip
    forked = measurement(folder)
    one, other = (
        next(d.energy_j or 0 for d in m.domains if d.kind == "cpu") for m in (alone, forked)
    )
    assert other == pytest.approx(one, rel=0.4)


def test_what_it_leaves_running_goes_on_and_is_said(folder: Path) -> None:
    _, err = bench("--", "sh", "-c", "sleep 60 > /dev/null 2>&1 & echo $! > pid")
    left = psutil.Process(int((folder / "pid").read_text()))
    try:
        assert left.is_running()
        assert "left others running" in err
        assert [w.id for w in measurement(folder).warnings] == ["left-running"]
    finally:
        left.kill()


@pytest.mark.compiler
def test_two_gpus_under_any_program(folder: Path) -> None:
    gpus = SimulatedGpus(
        folder / "nvml.conf", build_nvml(folder / "lib"),
        [SimulatedGpu(Square(100, 400, 0.7)), SimulatedGpu(Constant(250))],
    )  # fmt: skip
    told = 'echo \'{"event": "phase_start", "phase": "%s"}\' > /dev/fd/$BENCH_EVENTS_FD; '
    bench("--", "sh", "-c", told % "train" + "sleep 1.5; " + told % "predict" + "sleep 0.5",
          **gpus.environment())  # fmt: skip
    found = measurement(folder)
    (place,) = (folder / "runs" / "measure").iterdir()
    events = {e["event"]: e["t_ns"] for e in account.read_events(place / "events.jsonl")}
    for i, gpu in enumerate(gpus.gpus):
        (domain,) = [d for d in found.domains if d.domain == f"gpu:{gpu.uuid}"]
        truth_j = gpus.energy_j(i, events["window_start"], events["window_stop"])
        assert domain.energy_j == pytest.approx(truth_j, rel=0.02)
    train = next(p for p in found.phases if p.name == "train")
    assert train.duration_s == pytest.approx(1.5, abs=0.4)
    total_j = sum(sum(p.energy_j.values()) for p in found.phases)
    assert total_j == pytest.approx(found.energy_j)


def test_a_place_that_can_not_be_written_is_told_in_one_line(folder: Path) -> None:
    (folder / "file").touch()
    _, err = bench("--out", "file", "--", "true", code=1)
    assert err.startswith("error: file/measure")
    assert err.count("\n") == 1


def test_a_folder_of_ones_own_is_recovered_when_it_is_shown(folder: Path) -> None:
    place = folder / "elsewhere"
    place.mkdir()
    code = (
        "import os, time, bench\n"
        "with bench.meter('elsewhere', probes=['estimate']):\n"
        "    time.sleep(1.2)\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    wait_for(lambda: not log.being_written(place / log.NAME))
    show = [sys.executable, "-m", "bench", "show", "elsewhere"]
    said = subprocess.run(show, capture_output=True, text=True, check=True)
    assert "recovered run elsewhere" in said.stderr
    assert "interrupted" in said.stdout


def test_a_killed_meter_asks_the_program_to_end_and_is_recovered(folder: Path) -> None:
    command = script(
        folder,
        "signal.signal(signal.SIGTERM, lambda *_: (open('told', 'w').close(), sys.exit(0)))\n"
        "open('ready', 'w').close()\ntime.sleep(60)",
    )
    with subprocess.Popen([*BENCH, *command]) as process:
        wait_for(lambda: (folder / "ready").exists())
        time.sleep(1.5)
        process.kill()
    wait_for(lambda: (folder / "told").exists())

    def recovered() -> bool:
        return bool(list(measure.recover(folder / "runs")))

    wait_for(recovered)
    found = measurement(folder)
    assert found.status == "interrupted"
    assert found.duration_s > 0.8
    assert found.command == command


def test_a_budget_that_is_not_looked_at_ends_by_sigterm(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "STOP_PATIENCE_S", 0.5)
    (folder / "r").mkdir()
    meter = Meter(folder / "r", probes=["estimate"])
    sleeps = Program(["sleep", "60"], os.environ, folder / "r" / "stop", keeps_others=True)
    outcome = measure.measure(
        sleeps, folder / "r", START, meter, budget=parse_budget("0.3s"), idle_s=0
    )
    meter.stop()
    assert (outcome.status, outcome.code) == ("interrupted", -signal.SIGTERM)
    assert (folder / "r" / "stop").exists()


# --- as the learner of a task


def learned(folder: Path, *command: str, code: int = 0, options: tuple[str, ...] = ()) -> str:
    write_reviews(folder / "reviews")
    _, err = bench(
        "--task", "sst2", "--data", "reviews", *options, "--", *command, code=code
    )  # fmt: skip
    return err


def the_run(folder: Path) -> record.Record:
    (place,) = record.folders([folder / "runs"])
    return record.read(place)


@pytest.mark.skipif(shutil.which("awk") is None, reason="no awk")
def test_the_example_that_is_not_python(folder: Path) -> None:
    err = learned(folder, "awk", "-f", str(EXAMPLES / "bayes.awk"), options=("--track", "scratch"))
    one = the_run(folder)
    assert one.status == "complete"
    assert one.metric
    assert one.metric.value > 0.9
    assert (one.spec.track, one.spec.model, one.spec.recipe) == ("scratch", "bayes", "program")
    assert "awk -f" in str(one.spec.settings["command"])
    assert [p.name for p in one.phases if p.name != "other"] == ["train", "predict"]
    assert "accuracy" in err
    assert not [w for w in one.warnings if not w.rankable]
    names = {p.name for p in next(record.folders([folder / "runs"])).iterdir()}
    assert {"predictions.parquet", "trace.parquet", "record.json", "manifest.json"} <= names


def test_the_example_in_plain_pytorch(folder: Path) -> None:
    learned(folder, sys.executable, str(EXAMPLES / "plain.py"))
    one = the_run(folder)
    assert one.metric
    assert one.metric.value > 0.7
    assert {p.name for p in one.phases} >= {"prepare", "train", "predict"}


def test_the_example_with_the_trainer(folder: Path) -> None:
    from tests.checkpoints import write_tiny_bert

    pytest.importorskip("accelerate", reason="the Trainer needs accelerate")
    write_tiny_bert(folder / "tiny")
    learned(folder, sys.executable, str(EXAMPLES / "trainer.py"), "tiny")
    one = the_run(folder)
    assert one.status == "complete", one.failure
    assert one.metric
    assert {p.name for p in one.phases} >= {"prepare", "train", "predict"}


def test_three_runs_of_a_program_get_seeds_of_their_own(folder: Path) -> None:
    write_reviews(folder / "reviews")
    command = script(
        folder,
        "print(os.environ['BENCH_SEED'])\n"
        "out = open(os.environ['BENCH_OUT'] + '/predictions.csv', 'w')\n"
        "print('id,prediction', *[f'{i},positive' for i in range(60)], sep='\\n', file=out)",
    )
    out, _ = bench("--task", "sst2", "--data", "reviews", "--runs", "3", "--", *command)
    found = [record.read(f) for f in record.folders([folder / "runs"])]
    assert sorted(out.split()) == sorted(str(r.spec.seed) for r in found)
    assert len({r.entry_key() for r in found}) == 1
    assert len({r.spec.seed for r in found}) == 3
    Path(command[1]).write_text(Path(command[1]).read_text() + "# changed\n")
    bench("--task", "sst2", "--data", "reviews", "--", *command)
    keys = {record.read(f).entry_key() for f in record.folders([folder / "runs"])}
    assert len(keys) == 2, "another program is another entry"


PREDICTS = """
import os
with open(os.environ["BENCH_OUT"] + "/predictions.csv", "w") as out:
    print("id,prediction", *[f"{i},positive" for i in range(60)], sep="\\n", file=out)
"""


def keys(folder: Path) -> list[tuple[str, bool]]:
    """Entry and rankability of each run, in their order."""
    found = [record.read(f) for f in record.folders([folder / "runs"])]
    found.sort(key=lambda r: r.started_at)
    return [(r.entry_key(), r.rankable) for r in found]


def test_what_a_program_imports_tells_its_versions_apart(folder: Path) -> None:
    package = folder / "mine"
    (package / "deep").mkdir(parents=True)
    (package / "train.py").write_text("from mine.deep import model" + PREDICTS)
    (package / "deep" / "model.py").write_text("size = 1\n")
    other = folder / ".hidden"
    other.mkdir()
    by_module = (sys.executable, "-m", "mine.train")
    for text in ("size = 1\n", "size = 2\n"):
        (package / "deep" / "model.py").write_text(text)
        (other / "x.py").write_text(text)
        learned(folder, *by_module)
    (one, ranks), (changed, _) = keys(folder)
    assert one != changed
    assert ranks


def files(command: list[str], *code: str) -> tuple[list[str], list[str]]:
    """Names of the files that tell the program's versions apart, and doubts."""
    found, doubts = program._code(command, [Path(c) for c in code], Path("runs"))
    assert not any(d.rankable for d in doubts)
    return [str(f) for f in found], [d.message for d in doubts]


def test_which_files_are_the_programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/train.py", "a/b/net.py", "a/b/net.cfg", "a/.git/x.py", "a/env/lib/y.py",
                 "a/__pycache__/z.py", "other.py", "run.sh", "runs/sst2/1/kept.py"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "a/env/pyvenv.cfg").touch()
    beside = ["a/b/net.py", "a/train.py"]
    assert files(["python", "a/train.py"]) == (beside, [])
    assert files(["torchrun", "-m", "a.train"]) == ([*beside, "other.py"], [])
    assert files(["sh", "run.sh"]) == (["run.sh"], [])
    assert files(["sh", "run.sh"], "a/b", "other.py") == (
        ["a/b/net.cfg", "a/b/net.py", "other.py", "run.sh"], []
    )  # fmt: skip
    assert "no file of the program is known: --code" in files(["make", "train"])[1][0]
    monkeypatch.setattr(program, "_MOST_FILES", 3)
    assert "more than 3 files lie below a" in files(["python", "a/train.py"])[1][0]
    assert files(["python", "a/train.py"], "a/b")[1] == []
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder / "empty")
    assert "no file of the program" in files([sys.executable, "-m", "installed"])[1][0]


def test_code_that_is_not_there(folder: Path) -> None:
    _, err = bench("--task", "sst2", "--code", "nowhere", "--", "true", code=2)
    assert "there is no nowhere" in err


def test_an_interrupt_in_the_tail_is_the_last_run(folder: Path) -> None:
    write_reviews(folder / "reviews")
    command = script(folder, PREDICTS + "open('ended', 'w').close()")
    options = ["--idle", "4", "--runs", "3", "--task", "sst2", "--data", "reviews"]
    with subprocess.Popen([*BENCH[:-2], *options, "--", *command]) as process:
        wait_for(lambda: (folder / "ended").exists(), 60)
        wait_for(lambda: tail_began(folder))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 130
    assert the_run(folder).status == "complete"


def tail_began(folder: Path) -> bool:
    return any("idle_after" in text_of(p) for p in folder.glob("runs/sst2/*/events.jsonl"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "left no predictions"),
        ("open(os.environ['BENCH_OUT'] + '/predictions.csv', 'w').write('id,prediction\\n0,x\\n')",
         "predictions.csv"),
    ],
)  # fmt: skip
def test_predictions_that_are_not_there_or_wrong(folder: Path, text: str, says: str) -> None:
    learned(folder, *script(folder, text), code=1)
    one = the_run(folder)
    assert one.status == "failed"
    assert says in (one.failure or "")
    assert one.energy_j


def test_the_labels_are_not_at_hand_and_nothing_is_left_running(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", "reviews")
    monkeypatch.setenv("HF_TOKEN", "mine")
    command = script(
        folder,
        "import json, subprocess\n"
        "assert 'BENCH_DATA' not in os.environ\n"
        "assert os.environ['HF_TOKEN'] == 'mine', 'its own checkpoints may be gated'\n"
        "rows = [json.loads(l) for l in open(os.environ['BENCH_TASK_DIR'] + '/scored.jsonl')]\n"
        "assert all(set(r) == {'id', 'sentence'} for r in rows)\n"
        "p = subprocess.Popen(['sleep', '60'])\n"
        "open('pid', 'w').write(str(p.pid))\n"
        "sys.exit(4)",
    )
    learned(folder, *command, code=4)
    pid = int(text_of(folder / "pid"))
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_the_page_shows_the_examples_as_they_are() -> None:
    page = (EXAMPLES.parent / "measure.md").read_text()
    for name in ("trainer.py", "plain.py", "bayes.awk"):
        assert f"](examples/{name})" in page
    for name in ("BENCH_TASK_DIR", "BENCH_OUT", "BENCH_SEED", "BENCH_STOP", "BENCH_EVENTS_FD"):
        assert name in page


def test_a_node_meter_is_all_that_counts(folder: Path) -> None:
    _, err = bench("--probe", "command:every=0.2 echo 100 W", "--", "sleep", "2")
    found = measurement(folder)
    (node,) = found.charged
    assert (node.kind, node.level) == ("node", "M2")
    assert found.energy_j == pytest.approx(100 * found.duration_s, rel=0.02)
    assert found.not_covered == []
    assert "no meter" not in err
