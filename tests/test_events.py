"""What a program sends, and to whom."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.events import Events, identity

SENDS = "from bench.events import Events; Events().send('phase_start', phase='train')"


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """A meter's pipe that this process finds in its environment."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    monkeypatch.setenv("BENCH_EVENTS_FD", str(write))
    monkeypatch.setenv("BENCH_EVENTS_ID", identity(write))
    return read, write


def test_an_event_is_one_line(pipe: tuple[int, int]) -> None:
    with Events().phase("train"):
        pass
    lines = [json.loads(line) for line in os.read(pipe[0], 4096).splitlines()]
    assert [(e["event"], e["phase"]) for e in lines] == [
        ("phase_start", "train"), ("phase_stop", "train")
    ]  # fmt: skip


def test_a_process_that_inherits_the_pipe_sends(pipe: tuple[int, int]) -> None:
    subprocess.run([sys.executable, "-c", SENDS], pass_fds=[pipe[1]], check=True)
    assert os.read(pipe[0], 4096)


def test_a_process_without_the_pipe_is_not_disturbed(pipe: tuple[int, int], tmp_path: Path) -> None:
    """As torchrun starts its workers: the number is in the environment, the file is not."""
    subprocess.run([sys.executable, "-c", SENDS], check=True)
    with pytest.raises(BlockingIOError):
        os.read(pipe[0], 4096)
    mine = tmp_path / "mine"
    with mine.open("w") as file:
        os.dup2(file.fileno(), pipe[1])
    Events().send("step", step=1)
    assert mine.read_text() == "", "a file that has got the number is not the meter's"


def test_without_a_meter_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    Events().send("step", step=1)
    monkeypatch.setenv("BENCH_EVENTS_FD", "1")
    monkeypatch.setenv("BENCH_EVENTS_ID", "")
    Events().send("step", step=1)


def test_a_meter_that_ends_does_not_end_the_training(pipe: tuple[int, int]) -> None:
    events = Events()
    os.close(pipe[0])
    events.send("step", step=1)
    events.send("step", step=2)
    os.close(pipe[1])
    again = Events()
    again.send("step", step=3)
