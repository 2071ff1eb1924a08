"""Where attempts run: one module a place, with a class `Executor`.

An executor starts processes and knows whether they live. It knows nothing of runs or results, and
keeps nothing: whoever drives the ledger next may have another one, and attempts of the last.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import Protocol

from bench.errors import unknown_name
from bench.study.ledger import Attempt


class Executor(Protocol):
    slots: int  # attempts at once
    here: bool  # on this machine, so that what it refuses is refused there, too

    def start(self, attempt: Attempt) -> None:
        """Have `command(attempt)` run; returns at once. BenchError when it can't be."""

    def lives(self, attempt: Attempt) -> bool:
        """Whether it waits, runs, or may yet write. Also asked of attempts that an executor before
        this one has started. False means that its files say all that they will ever say."""

    def stop(self, attempt: Attempt) -> None:
        """Ask it to end, as Ctrl-C does; returns at once."""


def named(name: str, options: Sequence[str] = ()) -> Executor:
    """The executor of this name, with its options as typed; UsageError with near names where there
    is none."""
    known = [m.name for m in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise unknown_name("executor", name, known, "bench study --help")
    executor: Executor = importlib.import_module(f"{__name__}.{name}").Executor(options)
    return executor


def command(attempt: Attempt) -> list[str]:
    """What makes the run, on any machine that has the folder."""
    ledger = str(attempt.ledger.absolute())
    numbers = [attempt.job.id, str(attempt.number)]
    return [sys.executable, "-P", "-m", "bench.study.attempt", ledger, *numbers]
