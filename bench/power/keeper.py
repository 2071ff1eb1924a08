"""Keeps programs that nobody may find running after who asked for them has gone, however it went.

A small process in between starts them. What they leave behind becomes its child, and it kills all
of that when its input closes, which is what happens to the input of who is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.power.processes import Tree

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_END_S = 5.0  # to end, and what it has to: only what hangs in the kernel takes longer
_RUNNING = "running"

_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """In a new process: who is killed leaves no program behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def kept(command: Sequence[str], times: int) -> Iterator[Callable[[], str | None]]:
    """Run a command so many times at once, without input and output, and end it with all that it
    started. What this gives says how it could not start or how one has ended; None while all run.
    """
    with beside("keeper", str(times), *command) as said:

        def heard() -> str | None:
            text = said.readline().decode().rstrip("\n") or "was lost: what kept it has ended"
            return None if text == _RUNNING else text

        over = heard()

        def why_over() -> str | None:
            nonlocal over
            if over is None and select.select([said], [], [], 0)[0]:
                over = heard()
            return over

        yield why_over


@contextmanager
def beside(module: str, *arguments: str, pass_fds: Sequence[int] = ()) -> Iterator[IO[bytes]]:
    """Run `main` of a module of `bench.power` in a small process of its own: what it says. Its
    input is open for as long as this lasts, and it has to end when that closes."""
    path = [str(Path(__file__).parents[2]), *map(str, sys.path)]
    code = f"import sys; sys.path += {path}; from bench.power import {module}; {module}.main()"
    process = subprocess.Popen(
        [sys.executable, "-P", "-S", "-c", code, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=pass_fds, bufsize=0,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


# --- the process in between


def main() -> None:
    """Started by `kept`, with how often and what in its arguments."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    poll = select.poll()
    poll.register(0)
    try:
        running = {os.pidfd_open(p.pid): p for p in _started(int(sys.argv[1]), sys.argv[2:])}
    except OSError as error:
        _say(f"can't be started: {error.strerror}")
    else:
        for fd in running:
            poll.register(fd)
        _say(_RUNNING)
        over = [running[fd] for fd, _ in poll.poll() if fd]
        if over:
            _say(f"ended with {over[0].wait()}")
    end_children()
    os._exit(0)


def _started(times: int, command: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    nothing = subprocess.DEVNULL
    return [
        subprocess.Popen(
            command, stdin=nothing, stdout=nothing, stderr=nothing, preexec_fn=die_with_parent
        )
        for _ in range(times)
    ]


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked is gone
        os.write(1, text.encode() + b"\n")


def end_children() -> None:
    """Kill the children of this process, and theirs as they become its own, until none is left
    that it may kill."""
    while killed := [pid for pid in _children() if _kill(pid)]:
        for pid in killed:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    tree, own = Tree(), os.getpid()
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
            if tree.parent(pid) == own]  # fmt: skip


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True
