"""Power limits are put back whatever ends, on boards that take them and boards that don't."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.power.conftest import MakeGpus
from tests.power.simulated import FOREVER, SimulatedGpu

SET = "nvmlDeviceSetPowerManagementLimit"
HOLDER = """
import sys, time
from bench.power import limit
with limit.held({sys.argv[1]: 300.0}):
    print("held", flush=True)
    time.sleep(60)
"""


class Board:
    """A board of 700 W, 200 to 700 W allowed, in processes that `patch` has told of it."""

    def __init__(self, folder: Path, make_gpus: MakeGpus, **more: object) -> None:
        self.log = folder / "limits"
        gpu = SimulatedGpu(limits_w=(700.0, 200.0, 700.0), settable=self.log, **more)  # type: ignore
        self.simulated = make_gpus(gpu)
        self.uuid = gpu.uuid

    def set_w(self) -> list[float]:
        """Every limit that was set so far."""
        return (
            [int(line) / 1e3 for line in self.log.read_text().split()] if self.log.exists() else []
        )


@pytest.fixture
def board(tmp_path: Path, make_gpus: MakeGpus, monkeypatch: pytest.MonkeyPatch) -> Board:
    state(tmp_path, monkeypatch)
    return Board(tmp_path, make_gpus)


def state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process apart: the simulated library is read when a process first loads it."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@contextmanager
def holder(board: Board) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the board to 300 W."""
    command = [sys.executable, "-c", HOLDER, board.uuid]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        assert board.set_w() == [300.0]
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def guard_of(process: subprocess.Popen[str]) -> int:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (only,) = map(int, listed)
    return only


def soon(true: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def notes(folder: Path) -> list[Path]:
    return list((folder / "state" / "wattbench").glob("*"))


def test_a_limit_is_as_it_was_afterwards(board: Board, tmp_path: Path) -> None:
    ran = python(HOLDER.replace("time.sleep(60)", "raise SystemExit(3)"), board.uuid)
    assert (ran.stdout, ran.returncode, ran.stderr) == ("held\n", 3, "")
    assert board.set_w() == [300.0, 700.0]
    assert notes(tmp_path) == []


def test_who_is_killed_leaves_no_limit_behind(board: Board, tmp_path: Path) -> None:
    with holder(board) as process:
        assert len(notes(tmp_path)) == 1
        process.send_signal(signal.SIGKILL)
        assert soon(lambda: board.set_w() == [300.0, 700.0])
        assert soon(lambda: notes(tmp_path) == [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_puts_it_back(board: Board, number: signal.Signals) -> None:
    with holder(board) as process:
        process.send_signal(number)
        assert soon(lambda: board.set_w()[-1] == 700.0)


def test_what_puts_it_back_may_be_killed(board: Board, tmp_path: Path) -> None:
    with holder(board) as process:
        os.kill(guard_of(process), signal.SIGKILL)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) != 0
    assert board.set_w() == [300.0, 700.0]
    assert notes(tmp_path) == []


def test_what_puts_it_back_is_not_ended_by_signals_to_all(board: Board) -> None:
    """As a batch system sends them, before it kills."""
    with holder(board) as process:
        guard = guard_of(process)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(guard, number)
        time.sleep(0.2)
        assert board.set_w() == [300.0], "it is not put back under a run that goes on"
        process.kill()
        assert soon(lambda: board.set_w() == [300.0, 700.0])


def test_the_next_run_puts_back_what_nobody_was_left_to(board: Board, tmp_path: Path) -> None:
    look = "from bench.power import limit; print(limit.put_back_left())"
    with holder(board) as process:
        assert python(look).stdout == "[]\n", "not under a run that goes on"
        os.kill(guard_of(process), signal.SIGKILL)
        process.kill()
        process.wait()
    assert board.set_w() == [300.0]
    assert python(look).stdout == f"['{board.uuid}']\n"
    assert board.set_w() == [300.0, 700.0]
    assert notes(tmp_path) == []
    assert python(look).stdout == "[]\n"


def test_a_note_of_another_boot_is_left_alone(board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "wattbench"
    folder.mkdir(parents=True)
    (folder / "power-limit-another-boot-7.json").write_text(f'{{"{board.uuid}": 1}}')
    ran = python("from bench.power import limit; print(limit.put_back_left())")
    assert (ran.stdout, board.set_w()) == ("[]\n", [])


def test_who_may_not_is_told_what_would_let_him(
    tmp_path: Path, make_gpus: MakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = SimulatedGpu()  # settable by nobody
    make_gpus(gpu)
    code = "import sys; from bench.power import limit; limit.check(sys.argv[1])"
    ran = python(code, gpu.uuid)
    assert "only an administrator may change the power limit of GPU-" in ran.stderr
    assert "(NVML 4: Insufficient Permissions)" in ran.stderr


def test_a_board_without_limits_is_told(
    tmp_path: Path, make_gpus: MakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path, make_gpus, faults=[("code", 0, FOREVER, 3, SET)])
    code = "import sys; from bench.power import limit; limit.check(sys.argv[1])"
    ran = python(code, board.uuid)
    assert "takes no power limit: NVML 3: Not Supported" in ran.stderr


def test_a_check_changes_nothing(board: Board) -> None:
    ran = python("import sys; from bench.power import limit; limit.check(sys.argv[1])", board.uuid)
    assert ran.stderr == ""
    assert board.set_w() == [700.0], "what it was"


def test_a_limit_that_is_refused_leaves_the_others_as_they_were(board: Board) -> None:
    code = HOLDER.replace("300.0}", "9000.0}")
    ran = python(code, board.uuid)
    assert "BenchError: a power limit of 9000 W can't be set on GPU-" in ran.stderr
    assert "held" not in ran.stdout
    assert board.set_w() == []


def test_who_has_put_it_back_by_hand_is_asked_no_more(
    tmp_path: Path, make_gpus: MakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(tmp_path, monkeypatch)
    gpu = SimulatedGpu(limits_w=(700.0, 200.0, 700.0))  # settable by nobody
    make_gpus(gpu)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    note = tmp_path / "state" / "wattbench" / f"power-limit-{boot}-7.json"
    note.parent.mkdir(parents=True)
    look = "from bench.power import limit; print(limit.put_back_left())"
    note.write_text(f'{{"{gpu.uuid}": 600000}}')
    assert "BenchError: a GPU's power limit could not be put back" in python(look).stderr
    note.write_text(f'{{"{gpu.uuid}": 700000}}')
    assert python(look).stdout == f"['{gpu.uuid}']\n"
    assert notes(tmp_path) == []


def test_a_limit_that_can_not_be_put_back_is_said_with_the_command(
    tmp_path: Path, make_gpus: MakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(tmp_path, monkeypatch)
    board = Board(tmp_path, make_gpus)
    shut = "    import os; os.chmod(sys.argv[2], 0o444)\n"
    code = HOLDER.replace("    time.sleep(60)\n", shut)
    ran = python(code, board.uuid, str(board.log))
    assert "BenchError: a GPU's power limit could not be put back" in ran.stderr
    assert len(notes(tmp_path)) == 1, "the next run tries again"


def test_a_run_says_that_the_power_is_limited(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import sys
from bench.power import limit, machine
uuids = [sys.argv[1]]
print(machine.limited(uuids), machine.limited([]))
with limit.held({sys.argv[1]: 300.0}):
    (warning,) = machine.limited(uuids)
    print(warning.id, warning.message, warning.rankable, sep="; ")
    print(machine.facts()["gpus"][0]["power_limit_w"])
print(machine.limited(uuids))
"""
    before, warning, limit_w, after = python(code, board.uuid).stdout.splitlines()
    assert before == "[] []"
    name, text, rankable = warning.split("; ")
    assert name == "power-limited"
    assert text == "power limited to 300 of 700 W: NVIDIA H100 80GB HBM3"
    assert (rankable, limit_w, after) == ("True", "300.0", "[]")
