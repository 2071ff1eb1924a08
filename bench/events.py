"""Events that a metered program sends to its meter: one JSON object a line.

The program finds the number of an open file descriptor in `BENCH_EVENTS_FD` and writes lines to
it. A process that did not inherit it may have another file under that number: `BENCH_EVENTS_ID`
says which file it is, as `st_dev:st_ino`. Each line has `event`, and `t_ns` (CLOCK_MONOTONIC; one
without came when it was read). Known events:

    run_start    seed, spec_sha256
    devices      uuids: the accelerators used (empty on a CPU)
    model        parameters, and whatever describes it
    phase_start  phase: prepare | train | evaluate | predict | any other name
    phase_stop   phase
    progress     text, done, total: while preparing
    step         step, total_steps, first_step (made by earlier parts), epoch, loss, learning_rate
    eval         step, split, metric, value
    saved        name: state | weights; file, sha256, bytes, step
    warning      id, message, numbers
    failure      kind, message
    run_stop     reason: done | budget

A training inside a run sends its steps and scores under names of its own, such as `teacher_step`.
Phases don't nest: a phase_start ends the phase that is open. Time outside any phase is `other`.
A program that finds a file at the path in `BENCH_STOP` should stop, evaluate what it has, and end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REHEARSAL = "rehearse"
"""The phase of what a forecast or a profile does for nothing: the run won't."""


class Events:
    """Sends events to the meter; does nothing when no meter listens."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = _inherited() if fd is None else fd
        self._stop = Path(os.environ["BENCH_STOP"]) if "BENCH_STOP" in os.environ else None

    def send(self, event: str, **fields: Any) -> None:
        """Send one event, stamped now. Synchronise the device first when it marks a phase."""
        if self._fd is None:
            return
        line = json.dumps({"event": event, "t_ns": time.monotonic_ns(), **fields}) + "\n"
        try:
            os.write(self._fd, line.encode())
        except OSError:  # the meter is gone; the training is not its business
            self._fd = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase from here to the end of the block. Synchronise the device before its end."""
        self.send("phase_start", phase=name)
        try:
            yield
        finally:
            self.send("phase_stop", phase=name)

    def stop_asked(self) -> bool:
        """Whether the meter asks for a stop (a budget is spent)."""
        return self._stop is not None and self._stop.exists()


def identity(fd: int) -> str:
    """What tells an open file from others, as in `BENCH_EVENTS_ID`."""
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}"


def _inherited() -> int | None:
    """The meter's descriptor, where this process has it."""
    try:
        fd = int(os.environ["BENCH_EVENTS_FD"])
        return fd if identity(fd) == os.environ["BENCH_EVENTS_ID"] else None
    except (KeyError, ValueError, OSError):
        return None
