"""`bench study` with real runs: a grid, a driver that is killed, Ctrl-C, two at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.study import ledger
from tests.command import Command, write_reviews

QUICK = ("--set", "max_steps=3", "--set", "evaluations=0", "--set", "vocabulary_size=200")
STUDY = (
    "study", "--task", "sst2", "--data", "reviews", "--models", "transformer-tiny",
    "--idle", "0", *QUICK,
)  # fmt: skip

FAILING = """
from dataclasses import dataclass
from typing import ClassVar
from bench.recipes import baseline

@dataclass
class Recipe(baseline.Recipe):
    summary: ClassVar[str] = "fails"

    def after_step(self, training):
        raise RuntimeError("the ink is spilt")
"""
REFUSING = """
from dataclasses import dataclass
from typing import ClassVar
from bench.recipes import baseline

@dataclass
class Recipe(baseline.Recipe):
    summary: ClassVar[str] = "refuses"

    @classmethod
    def refusal(cls, use, settings):
        return f"{use.model} has no left side"
"""


@pytest.fixture
def reviews(bench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "140")
    return write_reviews(tmp_path / "reviews", train=120, scored=40)


def start(*arguments: str, before: Callable[[], Any] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before,
    )  # fmt: skip


def until(what: Callable[[], Any], timeout_s: float = 120) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


def begun(name: str) -> list[Path]:
    """The folders of runs that attempts of a study have begun."""
    said = []
    for path in Path("runs/studies", name, "attempts").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            said += [Path("runs", event["folder"])] if event["event"] == "run" else []
    return [f for f in said if (f / "start.json").exists()]


def records() -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in Path("runs").glob("sst2/*/record.json")]


def test_a_study_from_its_grid_to_its_table(bench: Command, reviews: Path) -> None:
    Path("spilling.py").write_text(FAILING)
    Path("left.py").write_text(REFUSING)
    recipes = "baseline,bf16,./spilling.py,./left.py"
    asked = (*STUDY, "--recipes", recipes, "--runs", "1", "--set", "bf16.max_steps=2")
    said = bench(*asked, "--name", "one")
    assert said.code == 1  # a cell failed
    assert "left can't be used here: transformer-tiny has no left side" in said.err
    assert "failed: " in said.err
    assert "RuntimeError: the ink is spilt  (runs/sst2/" in said.err
    assert "2 of 3 runs are made" in said.err
    assert "the same command tries 1 again" in said.err
    for text in ("transformer-tiny · bf16", "0/1 of 1", "not run: transformer-tiny · left",
                 "NOT SST-2", " Wh a run"):  # fmt: skip
        assert text in said.out
    steps = {r["spec"]["recipe"]: r["spec"]["settings"]["max_steps"] for r in records()}
    assert steps == {"baseline": 3, "bf16": 2, "spilling": 3}
    assert {r["spec"]["seed_origin"] for r in records()} == {"harness"}

    other = bench(*STUDY, "--recipes", "baseline", "--runs", "1", "--name", "one")
    assert other.code == 2
    assert "recipes was baseline, bf16, spilling, left, now baseline" in other.err
    assert len(records()) == 3


def test_a_killed_drivers_run_is_found_and_not_made_twice(bench: Command, reviews: Path) -> None:
    asked = (*STUDY, "--idle", "2", "--runs", "1", "--name", "one")
    first = start(*asked)
    (folder,) = until(lambda: begun("one"))
    first.kill()
    first.communicate()
    assert not (folder / "record.json").exists()
    said = bench(*asked)
    assert said.code == 0
    assert "goes on since its driver ended" in said.err
    assert [r["run_id"] for r in records()] == [folder.name]
    assert records()[0]["status"] == "complete"
    again = bench(*asked)
    assert again.code == 0
    assert len(records()) == 1


def test_a_killed_run_is_in_the_ledger_and_made_again(bench: Command, reviews: Path) -> None:
    asked = (*STUDY, "--runs", "1", "--name", "one")
    first = start(*asked, "--idle", "2")
    until(lambda: begun("one"))
    words = next(Path("runs/studies/one/attempts").glob("*-1.jsonl"))
    os.kill(json.loads(words.read_text().splitlines()[0])["pid"], signal.SIGKILL)
    out, err = first.communicate(timeout=180)
    assert first.returncode == 0, err
    assert "interrupted: bench itself was killed" in err
    assert "attempt 2 of 3" in err
    tried = ledger.read(Path("runs/studies/one")).ended()
    assert [a.status for a in tried] == ["interrupted", "complete"]
    assert "1/1 of 2" in out


def in_the_background() -> None:
    """As a script's shell starts what has `&` behind it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize(
    ("before", "number", "by"),
    [(None, signal.SIGINT, "Ctrl-C"), (in_the_background, signal.SIGTERM, "SIGTERM")],
)
def test_an_interrupt_keeps_what_there_is(
    bench: Command, reviews: Path, before: Any, number: int, by: str
) -> None:
    asked = (*STUDY, "--idle", "20", "--runs", "1", "--name", "one")
    driver = start(*asked, before=before)
    until(lambda: begun("one"))
    driver.send_signal(number)
    out, err = driver.communicate(timeout=180)
    assert driver.returncode == 130
    assert f"interrupted by {by}: 0 of 1 runs are made" in err
    assert "the same command goes on" in err
    assert "transformer-tiny · baseline" in out
    book = ledger.read(Path("runs/studies/one"))
    (attempt,) = book.ended()
    assert (attempt.status, attempt.told) == ("interrupted", f"interrupted by {by}")
    assert book.tries(attempt.job) == 0
    assert records()[0]["status"] == "interrupted"


def test_two_drivers_on_one_machine_take_turns(bench: Command, reviews: Path) -> None:
    both = [start(*STUDY, "--runs", "1", "--idle", "1", "--name", name) for name in ("a", "b")]
    said = [driver.communicate(timeout=180) for driver in both]
    assert [driver.returncode for driver in both] == [0, 0], said
    assert sum("waiting until process" in err for _, err in said) == 1
    windows = []
    for folder in Path("runs/sst2").iterdir():
        lines = (folder / "events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        ns = [e["t_ns"] for e in events if e["event"].startswith(("idle_", "window_"))]
        windows.append((min(ns), max(ns)))
    (_, end), (begin, _) = sorted(windows)
    assert end < begin


def test_a_plan_says_what_the_grid_would_cost(bench: Command, reviews: Path) -> None:
    said = bench(*STUDY, "--runs", "3", "--plan")
    assert said.code == 0
    assert "transformer-tiny · baseline  3 x " in said.out
    assert "nothing was kept" in said.out
    assert not list(Path("runs").glob("s*"))


# --- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--models", "transformer-tinny"), "no model is called 'transformer-tinny'"),
        (("--recipes", "bf61"), "no recipe is called 'bf61'"),
        (("--recipes", "bf16,bf16"), "the grid has transformer-tiny · bf16 twice"),
        (("--set", "bf17.epochs=1"), "the grid has no 'bf17'"),
        (("--set", "baseline.epoch=1"), "the recipe 'baseline' has no setting 'epoch'"),
        (("--set", "epochs"), "--set epochs names no value"),
        (("--name", "../one"), "'../one' can't name a folder"),
        (("--executor", "lokal"), "no executor is called 'lokal'"),
        (("--budget", "5steps"), "'5steps' is not a budget"),
    ],
)
def test_a_slip_is_one_line(
    bench: Command, reviews: Path, asked: tuple[str, str], said: str
) -> None:
    found = bench(*STUDY, *asked)
    assert found.code == 2
    assert said in found.err
    assert "Traceback" not in found.err
    assert not list(Path("runs").glob("studies/*"))


def test_a_study_needs_a_task(bench: Command) -> None:
    assert "which task?" in bench("study").err
