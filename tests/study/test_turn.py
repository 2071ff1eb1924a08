"""One metered run at a time on a machine."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import turn
from bench.errors import BenchError
from tests.command import Command, write_reviews

HOLD = "import sys, time; from bench import turn\nwith turn.taken(): print('has it', flush=True); time.sleep(60)"  # noqa: E501


@contextmanager
def holder() -> Iterator[subprocess.Popen[str]]:
    """Another process that has the turn."""
    other = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "has it\n"
    try:
        yield other
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


def lock_file() -> Path:
    return Path(os.environ[turn.VARIABLE])


def test_who_does_not_wait_is_told_for_whom(bench: Command) -> None:
    with holder() as other:
        said = bench("measure", "--no-wait", "--", "true")
    assert said.code == 1
    assert f"process {other.pid} of " in said.err
    assert "turn.taken" in said.err  # what it was asked
    assert "hint: leave out --no-wait" in said.err


def test_a_study_that_does_not_wait_starts_nothing(bench: Command, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews", train=20, scored=10)
    with holder():
        said = bench("study", "--task", "sst2", "--data", data, "--no-wait")
    assert said.code == 1
    assert "is metered on this machine" in said.err
    assert not Path("runs/studies").exists()


def test_who_waits_is_told_and_begins_when_the_other_has_ended(bench: Command) -> None:
    with holder() as other:
        later = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {other.pid}"])
        began_s = time.monotonic()
        said = bench("measure", "--idle", "0", "--", "true")
        later.wait()
    assert said.code == 0
    assert f"waiting until process {other.pid}" in said.err
    assert time.monotonic() - began_s >= 1


def test_what_a_metered_program_meters_waits_for_nothing(bench: Command) -> None:
    inner = [sys.executable, "-m", "bench", "measure", "--no-wait", "--idle", "0", "--", "true"]
    said = bench("measure", "--idle", "0", "--", *inner)
    assert said.code == 0
    assert "metered on this machine" not in said.err


def test_a_killed_holder_leaves_no_turn_behind() -> None:
    with holder() as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with turn.taken(wait=False):
            pass
    assert turn._HOLDER not in os.environ


def test_the_file_is_everybodys_and_nobody_can_write_it() -> None:
    old = os.umask(0o077)
    try:
        with turn.taken():
            assert lock_file().stat().st_mode & 0o777 == 0o444
    finally:
        os.umask(old)


@pytest.mark.parametrize("trap", ["link", "fifo", "folder"])
def test_a_trap_is_told_and_not_opened(trap: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    if trap == "link":
        lock_file().symlink_to(target)
    elif trap == "fifo":
        os.mkfifo(lock_file())
    else:
        lock_file().mkdir()
    told: list[str] = []
    with turn.taken(tell=told.append):
        assert not target.exists()
    assert "warning: no turn can be taken" in told[0]


def test_a_file_that_was_removed_meanwhile_is_not_what_others_lock() -> None:
    """Who waited holds a lock on a file that nobody finds any more: it takes the new one."""
    with holder() as other:
        script = f"sleep 0.5; rm -f {lock_file()}; kill -9 {other.pid}"
        later = subprocess.Popen(["sh", "-c", script])
        with turn.taken(), lock_file().open() as found:
            later.wait()
            with pytest.raises(BlockingIOError):
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_where_no_file_is_named_no_turn_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with holder():
        monkeypatch.setenv(turn.VARIABLE, "")
        with turn.taken(wait=False):
            pass


def test_without_a_file_named_all_users_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(turn.VARIABLE)
    path = turn._path()
    assert path is not None
    assert path.parent in (Path("/run/lock"), Path("/tmp"))
    assert path.parent.stat().st_mode & 0o1777 == 0o1777


def test_the_error_is_one_for_users() -> None:
    with holder(), pytest.raises(BenchError, match="is metered on this machine"), turn.taken(False):
        pass
