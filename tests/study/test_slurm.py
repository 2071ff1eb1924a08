"""`--executor slurm`: real jobs on a real Slurm of one node, and what a made-up Slurm says."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError, UsageError
from bench.run import Request
from bench.study import ledger
from bench.study.drive import drive
from bench.study.executors import local, slurm
from bench.study.job import Job
from bench.study.ledger import Attempt, Ledger
from tests.command import Command, write_reviews
from tests.study import slurm as real
from tests.study.test_study import STUDY, begun, records, start, until

# --- a real one ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def configuration() -> Iterator[Path]:
    if missing := real.missing():
        pytest.skip(f"no Slurm here ({', '.join(missing)}): apt-get install slurm-wlm munge")
    pytest.importorskip("submitit")
    with real.cluster() as conf:
        yield conf


@pytest.fixture
def cluster(
    configuration: Path, bench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setenv("SLURM_CONF", str(configuration))
    monkeypatch.setenv("COLUMNS", "140")
    write_reviews(tmp_path / "reviews", train=120, scored=40)
    yield
    subprocess.run(["scancel", "--me"], check=False)


ON_SLURM = ("--executor", "slurm", "--slurm", "slots=2,time=10min", "--name", "one")


def jobs() -> dict[str, str]:
    """The ids of the jobs by attempt, in the order of submission."""
    files = Path("runs/studies/one/attempts").glob("*.slurm")
    return {f.stem: json.loads(f.read_text())["job"] for f in sorted(files, key=os.path.getmtime)}


def queue(*job_ids: str) -> list[list[str]]:
    """Name, state and whether others may be on the node."""
    asked = ["squeue", "-h", "-t", "all", "-o", "%j|%T|%h", "-j", ",".join(job_ids)]
    return [line.split("|") for line in subprocess.check_output(asked, text=True).splitlines()]


def window(folder: Path) -> tuple[int, int]:
    """When a run began and ended."""
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    times = [event["t_ns"] for event in events]
    return min(times), max(times)


def test_a_study_of_two_cells_whose_driver_is_killed(cluster: None, bench: Command) -> None:
    asked = (*STUDY, "--recipes", "baseline,bf16", "--idle", "1", "--runs", "1", *ON_SLURM)
    driver = start(*asked)
    until(lambda: begun("one") and len(jobs()) == 2)
    driver.kill()
    driver.communicate()
    before = jobs()
    said = bench(*asked)
    assert said.code == 0, said.err
    assert said.err.count("goes on since its driver ended") == 2
    assert "1 job waits in Slurm's queue (" in said.err
    assert "2 of 2 runs are made" in said.err
    assert jobs() == before
    assert {r["spec"]["recipe"] for r in records()} == {"baseline", "bf16"}
    assert [r["status"] for r in records()] == ["complete", "complete"]
    done = queue(*before.values())
    assert len(done) == 2
    assert {shares for _, _, shares in done} == {"NO"}
    (_, end), (begin, _) = sorted(map(window, Path("runs/sst2").iterdir()))
    assert end < begin


def test_a_cancelled_job_is_made_again_and_ctrl_c_ends_what_runs_and_waits(cluster: None) -> None:
    asked = (*STUDY, "--recipes", "baseline,bf16", "--idle", "30", "--runs", "1", *ON_SLURM)
    driver = start(*asked)
    (folder,) = until(lambda: begun("one"))
    cancelled, second = until(lambda: len(jobs()) == 2 and list(jobs().values()))
    subprocess.run(["scancel", cancelled], check=True)
    until(lambda: {*begun("one")} - {folder} and len(jobs()) == 3)
    again = list(jobs().values())[-1]
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 130, err
    assert "attempt 2 of 3" in err
    (first, told_waiting), (told_running,) = ledger.read(Path("runs/studies/one")).attempts.values()
    assert (first.status, first.told) == ("interrupted", None)
    assert first.failure == f"Slurm ended job {cancelled}: CANCELLED; interrupted by SIGTERM"
    assert {told_waiting.told, told_running.told} == {"interrupted by Ctrl-C"}
    assert told_waiting.run is None
    assert told_running.failure == "interrupted by Ctrl-C"
    assert sorted(r["failure"] for r in records()) == [
        "interrupted by Ctrl-C", "interrupted by SIGTERM",
    ]  # fmt: skip
    until(lambda: [state in slurm.ENDED for _, state, _ in queue(second, again)] == [True, True])


def test_what_a_real_slurm_refuses_is_one_line(cluster: None, bench: Command) -> None:
    asked = (*STUDY, "--runs", "1", *ON_SLURM)
    said = bench(*asked, "--slurm", "partition=shared")
    assert said.code == 2
    assert "'shared' shares its nodes whatever a job asks for" in said.err
    said = bench(*asked, "--slurm", "gpus=8")
    assert said.code == 1
    assert "error: Slurm takes no job: " in said.err
    assert "Traceback" not in said.err
    book = ledger.read(Path("runs/studies/one"))
    assert [(a.told, book.tries(a.job)) for a in book.ended()] == [("its driver failed", 0)]


# --- a made-up one -------------------------------------------------------------------------------

TOOL = """#!{python}
import os, pathlib, sys, time
folder = pathlib.Path({folder!r})
name = pathlib.Path(sys.argv[0]).name
with (folder / "asked").open("a") as asked:
    asked.write(" ".join([name, *sys.argv[1:]]) + chr(10))
answers = sorted((folder / name).glob("*"))
if len(answers) > 1:
    answer = answers[0].read_text()
    answers[0].unlink()
else:
    answer = answers[0].read_text() if answers else ""
if answer == "hangs":
    time.sleep(60)
if name != "sbatch" and {{"SQUEUE_PARTITION", "SCANCEL_INTERACTIVE"}} & set(os.environ):
    sys.exit("error: the user's filters")
if name == "sbatch":
    (folder / "script").write_text(pathlib.Path(sys.argv[1]).read_text())
    (folder / "environment").write_text(chr(10).join(os.environ))
if answer.startswith("error: "):
    sys.exit(answer)
print(answer, end="")
"""


class Slurm:
    """Its commands, which answer as they are told, and the last answer again and again."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
        for tool in ("sbatch", "squeue", "scancel", "sinfo", "srun"):
            self.install(tool)
        self.answers(sinfo=["whole*|NO\nshared|FORCE:4\n"])

    def install(self, tool: str) -> None:
        path = self.folder / "bin" / tool
        path.write_text(TOOL.format(python=sys.executable, folder=str(self.folder)))
        path.chmod(0o755)

    def answers(self, **said: list[str]) -> None:
        for tool, texts in said.items():
            place = self.folder / tool
            place.mkdir(exist_ok=True)
            for old in place.iterdir():
                old.unlink()
            for number, text in enumerate(texts):
                (place / str(number)).write_text(text)

    def asked(self, tool: str) -> list[str]:
        lines = (self.folder / "asked").read_text().splitlines()
        return [line for line in lines if line.startswith(tool)]


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    pytest.importorskip("submitit")
    monkeypatch.setenv("SQUEUE_PARTITION", "another")
    monkeypatch.setenv("SCANCEL_INTERACTIVE", "1")
    monkeypatch.setattr(slurm, "SETTLE_S", 0.0)
    monkeypatch.setattr(slurm, "PAUSES_S", (0.0, 0.0))
    return Slurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Ledger]:
    with ledger.opened(tmp_path / "runs/studies/one", {"task": "sst2"}) as book:
        yield book


def attempt(book: Ledger, number: int = 1, job: str | None = "7", **began: Any) -> Attempt:
    """One that a driver before this one has submitted."""
    planned = Job("cell", number, Request(task="sst2"))
    book.plan([planned])
    found = book.begin(planned)
    found.words.touch()
    if job:
        found.words.with_suffix(".slurm").write_text(json.dumps({"job": job}))
    if began:
        found.words.write_text(json.dumps({"event": "began", **began}) + "\n")
    return found


@pytest.mark.parametrize(
    ("squeue", "sacct", "status", "said"),
    [
        ("7|bench|OUT_OF_MEMORY|OutOfMemory", None, "failed",
         "Slurm ended job 7: OUT_OF_MEMORY (OutOfMemory); "),
        ("7|bench|TIMEOUT|TimeLimit", None, "failed", "Slurm ended job 7: TIMEOUT (TimeLimit); "),
        ("7|bench|NODE_FAIL|NodeDown", None, "interrupted", "job 7: NODE_FAIL (NodeDown); "),
        ("7|bench|CANCELLED|Priority", None, "interrupted", "Slurm ended job 7: CANCELLED; "),
        ("8|bench|RUNNING|None", "bench|CANCELLED by 1000", "interrupted",
         "Slurm ended job 7: CANCELLED (by 1000); "),
        ("", "bench|OUT_OF_MEMORY", "failed", "Slurm ended job 7: OUT_OF_MEMORY; "),
        ("", "error: accounting is disabled", "interrupted", "Slurm knows its job 7 no more; "),
        ("", None, "interrupted", "Slurm knows its job 7 no more; "),
    ],
)  # fmt: skip
def test_how_a_job_died_is_in_the_ledger(
    made_up: Slurm, book: Ledger, squeue: str, sacct: str | None, status: str, said: str
) -> None:
    if sacct:
        made_up.install("sacct")
        made_up.answers(sacct=[sacct])
    made_up.answers(squeue=[squeue])
    died = attempt(book, pid=1, host="node7")
    died.words.write_text(died.words.read_text() + '{"event": "torn')
    died.log.write_text("Killed\n")
    assert drive(book, slurm.Executor(), lambda: None) is None
    (ended,) = book.ended()
    assert ended.status == status
    assert said in (ended.failure or "")
    assert (ended.failure or "").endswith("it was killed before its run had begun: Killed")
    assert book.tries(ended.job) == 1


def test_what_a_run_says_of_itself_is_enough(made_up: Slurm, book: Ledger) -> None:
    good = attempt(book)
    good.words.write_text('{"event": "ended", "status": "complete", "failure": null}\n')
    made_up.answers(squeue=["error: no answer"])
    assert not slurm.Executor().lives(good)
    assert made_up.asked("squeue") == []


def test_a_job_that_was_being_submitted_when_its_driver_died(made_up: Slurm, book: Ledger) -> None:
    taken, never = attempt(book, 1, job=None), attempt(book, 2, job=None)
    made_up.answers(squeue=[f"12|{slurm._name(taken)}|PENDING|Resources\n9|other|RUNNING|None\n"])
    executor = slurm.Executor()
    assert [executor.lives(a) for a in (taken, never)] == [True, False]
    assert "its job was never submitted" in never.words.read_text()
    assert "1 job waits in Slurm's queue (Resources)" in taken.progress.read_text()
    executor.stop(taken)
    executor.lives(taken)
    assert made_up.asked("scancel") == ["scancel --quiet 12"]


def test_a_ledger_goes_from_one_executor_to_the_other(made_up: Slurm, book: Ledger) -> None:
    made_up.answers(squeue=[""])
    here, there = attempt(book, 1, job=None), attempt(book, 2)
    executor = slurm.Executor()
    with here.words.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert executor.lives(here)
    assert not executor.lives(here)
    with pytest.raises(UsageError, match="was given to Slurm"):
        local.Executor().lives(there)
    there.words.write_text('{"event": "ended", "status": "failed", "failure": "it fell"}\n')
    assert not local.Executor().lives(there)


@pytest.mark.parametrize("answer", ["error: Unable to contact slurm controller", "hangs"])
def test_while_slurm_says_nothing_jobs_live(
    made_up: Slurm, book: Ledger, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, answer: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(slurm, "EVERY_S", 0.0)
    executor, going = slurm.Executor(), attempt(book)
    monkeypatch.setattr(slurm, "ANSWER_S", 0.5 if answer == "hangs" else 30.0)
    made_up.answers(squeue=[answer])
    assert executor.lives(going)
    assert executor.lives(going)
    assert capsys.readouterr().err.count("warning: Slurm gives no answer") == 1
    monkeypatch.setattr(slurm, "ANSWER_S", 30.0)
    made_up.answers(squeue=["7|bench|FAILED|NonZeroExitCode"])
    assert not executor.lives(going)


def test_slurm_is_asked_about_all_at_once(made_up: Slurm, book: Ledger) -> None:
    going = [attempt(book, n, job=str(n)) for n in range(1, 5)]
    made_up.answers(squeue=["".join(f"{n}|bench-{n}|RUNNING|None\n" for n in range(1, 5))])
    executor = slurm.Executor()
    for _ in range(5):
        assert all(executor.lives(a) for a in going)
    assert len(made_up.asked("squeue")) == 1
    going[1].words.write_text('{"event": "began", "pid": 1, "host": "n"}\n')
    for told in going[:3]:
        executor.stop(told)
    assert executor.lives(going[3])
    assert executor.lives(going[3])
    assert made_up.asked("scancel") == [
        "scancel --quiet 1 3", "scancel --quiet --full --signal=INT 2",
    ]  # fmt: skip


def test_what_is_submitted(made_up: Slurm, book: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SBATCH_EXCLUSIVE", "SBATCH_PARTITION", "SBATCH_QOS", "BENCH_REGION"):
        monkeypatch.setenv(name, "user")
    made_up.answers(sbatch=["Submitted batch job 31"])
    asked = slurm.Executor(["partition=whole,time=90min,gpus=2", "nodelist=n[1,3],account=me"])
    begun = attempt(book, job=None)
    asked.start(begun)
    assert slurm._kept(begun) == "31"
    script = (made_up.folder / "script").read_text()
    for line in (
        "--exclusive", "--mem=0", "--nodes=1", "--no-requeue", "--time=90", "--gpus-per-node=2",
        "--partition=whole", "--account=me", "--nodelist='n[1,3]'", f"--output={begun.log}",
        f"--job-name={slurm._name(begun)}",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
    assert "\ntrap : TERM INT\n" in script
    assert "\nunset BENCH_REGION\n" in script
    assert "wckey" not in script
    seen = (made_up.folder / "environment").read_text().split()
    assert "SBATCH_QOS" in seen  # nothing is asked instead
    assert not {"SBATCH_EXCLUSIVE", "SBATCH_PARTITION"} & set(seen)
    assert os.environ["SBATCH_EXCLUSIVE"] == "user"


def test_a_busy_controller_is_asked_again(made_up: Slurm, book: Ledger) -> None:
    busy = "error: Batch job submission failed: Socket timed out on send/recv operation"
    made_up.answers(sbatch=[busy, "Submitted batch job 4"])
    executor, first, second = slurm.Executor(), attempt(book, 1, None), attempt(book, 2, None)
    executor.start(first)
    assert slurm._kept(first) == "4"
    made_up.answers(sbatch=[busy], squeue=[f"5|{slurm._name(second)}|PENDING|None"])
    executor.start(second)
    assert slurm._kept(second) == "5"  # it was taken all the same
    made_up.answers(squeue=[""])
    with pytest.raises(BenchError, match=r"Slurm takes no job: .*timed out"):
        executor.start(attempt(book, 3, None))
    assert len(made_up.asked("sbatch")) == 6


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (["partitoin=x"], 2, "did you mean partition or"),
        (["partition"], 2, "--slurm partition is no option of a job"),
        (["time=soon"], 2, "'soon' is not a budget"),
        (["time=2kWh"], 2, "--slurm time=2kWh is no time"),
        (["slots=0"], 2, "--slurm slots=0 is no number from 1"),
        (["partition=gpu"], 2, "Slurm has no partition 'gpu'"),
        (["partition=whole,shared"], 2, "'shared' shares its nodes"),
    ],
)
def test_a_slip_is_one_line(
    made_up: Slurm, bench: Command, tmp_path: Path, asked: list[str], code: int, said: str
) -> None:
    write_reviews(tmp_path / "reviews", train=40, scored=10)
    found = bench(*STUDY, "--executor", "slurm", "--slurm", *asked)
    assert found.code == code
    assert said in found.err
    assert "Traceback" not in found.err


def test_what_is_missing_is_named(
    made_up: Slurm, bench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reviews(tmp_path / "reviews", train=40, scored=10)
    asked = (*STUDY, "--executor", "slurm")
    assert "--plan tries the steps on this machine" in bench(*asked, "--plan").err
    made_up.answers(sinfo=["error: slurm_load_partitions: Unable to contact slurm controller"])
    assert "Slurm gives no answer: error: slurm_load_partitions" in bench(*asked).err
    sweep = ("sweep", *STUDY[1:5], "--space", "epochs=1|2")
    (made_up.folder / "bin/sbatch").unlink()
    if not any(Path(p, "sbatch").exists() for p in ("/usr/bin", "/bin")):
        assert "there is no Slurm here: sbatch is not found" in bench(*asked).err
        assert "there is no Slurm here" in bench(*sweep, "--executor", "slurm").err
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert "pip install 'wattbench[slurm]'" in bench(*asked).err
    assert "is for --executor slurm" in bench(*STUDY, "--slurm", "slots=2").err
