"""On this machine, one after the other: the machine's turn sees to it that no two are metered at
once, of whatever user."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.errors import UsageError
from bench.study.attempt import words
from bench.study.executors import command
from bench.study.ledger import Attempt

_OPTIONS = ("BENCH_DATA", "BENCH_REGION", "BENCH_PUE", "BENCH_TASKS", "BENCH_RUNS")
"""What a command takes from the environment: a job says it itself."""


class Executor:
    """Attempts are processes of their own sessions: what kills who drives them leaves them alone,
    and whoever goes on finds them."""

    slots = 1
    here = True

    def __init__(self, options: Sequence[str] = ()) -> None:
        if options:
            raise UsageError(
                f"--slurm {options[0]} is for --executor slurm", "add it, or leave it out"
            )
        self._own: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, attempt: Attempt) -> None:
        with attempt.words.open("ab") as held, attempt.log.open("ab") as log:
            fcntl.flock(held, fcntl.LOCK_EX)  # the child has it with the descriptor
            self._own[attempt.name] = subprocess.Popen(
                command(attempt), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(held.fileno(),), env=environment(), start_new_session=True,
            )  # fmt: skip

    def lives(self, attempt: Attempt) -> bool:
        own = self._own.get(attempt.name)
        if own is not None and own.poll() is None:
            return True
        if attempt.words.with_suffix(".slurm").exists() and "ended" not in words(attempt):
            raise UsageError(
                f"{attempt.job.name} was given to Slurm, and may yet run there",
                "the same command with --executor slurm finds out",
            )
        try:
            with attempt.words.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:  # it was written down, and never started
            return False
        except BlockingIOError:
            return True
        return False

    def stop(self, attempt: Attempt) -> None:
        own = self._own.get(attempt.name)
        if own is not None:
            own.send_signal(signal.SIGINT)
            return
        began = words(attempt).get("began", {})
        if began.get("host") == socket.gethostname() and self.lives(attempt):
            os.kill(began["pid"], signal.SIGINT)


def environment() -> dict[str, str]:
    """This process's, less the options in it, with the way to this bench."""
    kept = {k: v for k, v in os.environ.items() if k not in _OPTIONS}
    package = str(Path(__file__).parents[3])
    path = kept.get("PYTHONPATH")
    return {**kept, "PYTHONPATH": f"{package}{os.pathsep}{path}" if path else package}
