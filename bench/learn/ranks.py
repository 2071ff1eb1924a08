"""What a process that torchrun started knows of itself, and who hears it. No torch at the top."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

from bench.events import Events, identity

_PR_SET_PDEATHSIG = 1


def number() -> int:
    """Of this process among all."""
    return int(os.environ["RANK"])


def device(asked: str) -> str:
    """Of the GPUs that all can see, the one that is this process's own."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if asked == "cuda" else asked


def end_with_launcher() -> None:
    """Let the kernel end this process when the one that started it is gone: torchrun gives each a
    session of its own, where nobody else would find it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # gone before that was asked for
            os.kill(os.getpid(), signal.SIGKILL)


class RankEvents(Events):
    """The first process of a machine tells its meter what happens; the others, what only they know.
    Whether to stop is seen by the first of all, for all: each must ask as often as the others."""

    _OF_EACH = ("devices", "failure")

    def __init__(self) -> None:
        super().__init__()
        self._fd = _launchers() if self._fd is None else self._fd

    def send(self, event: str, **fields: Any) -> None:
        if os.environ["LOCAL_RANK"] == "0" or event in self._OF_EACH:
            super().send(event, **fields)

    def stop_asked(self) -> bool:
        from bench.learn import parallel

        return parallel.first_says(super().stop_asked())


def _launchers() -> int | None:
    """The meter's pipe, which torchrun has and keeps from those that it starts."""
    try:
        path = f"/proc/{os.getppid()}/fd/{int(os.environ['BENCH_EVENTS_FD'])}"
        fd = os.open(path, os.O_WRONLY)
        if identity(fd) == os.environ["BENCH_EVENTS_ID"]:
            return fd
        os.close(fd)
    except (KeyError, ValueError, OSError):
        return None
    return None
