"""Keeps a training in the run's folder: its state now and then, its weights at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from bench.learn import state
from bench.learn.loop import synchronise
from bench.learn.models import saved
from bench.lineage import STATES, WEIGHTS, sweep
from bench.record import file_sha256

if TYPE_CHECKING:
    from bench.learn.loop import Training


class Keeper:
    """Writes in a phase of its own (`save`), whole or not at all. A disk that takes no more is a
    warning: the training goes on."""

    def __init__(self, folder: Path, run_id: str, every_s: float, tokenizer: Any) -> None:
        """`every_s`: what may be lost when all is killed, beside the step under way."""
        self._folder, self._run_id, self._every_s = folder, run_id, every_s
        self._tokenizer = tokenizer
        self._kept_s = time.monotonic()
        self._told = ""
        self._states = 0  # kept so far

    def look(self, training: Training) -> None:
        """Between two steps: keep the state when it is time to."""
        if time.monotonic() - self._kept_s >= self._every_s:
            self.keep_state(training)
            training.events.send("phase_start", phase="train")

    def keep_state(self, training: Training) -> None:
        """What the training is continued from."""

        target = self._folder / STATES[self._states % len(STATES)]

        def write() -> None:
            target.unlink(missing_ok=True)  # the one before the last makes room
            path = _scratch(target)
            state.write(path, training, self._tokenizer)
            _settle(path)
            path.replace(target)

        if self._keep("state", target, training, write):
            self._states += 1

    def keep_weights(self, training: Training) -> None:
        """What other runs can start from."""

        def write() -> None:
            folder = (self._folder / WEIGHTS).parent
            scratch = _scratch(folder)
            scratch.mkdir()
            outputs = training.objective.outputs
            saved.write(training.model, self._tokenizer, outputs, scratch, self._run_id)
            for path in [*scratch.iterdir(), scratch]:
                _settle(path)
            scratch.replace(folder)

        self._keep("weights", self._folder / WEIGHTS, training, write)

    def _keep(self, name: str, path: Path, training: Training, write: Callable[[], None]) -> bool:
        events, file = training.events, str(path.relative_to(self._folder))
        synchronise(training.model.device)
        events.send("phase_start", phase="save")
        try:
            write()
        except (OSError, SafetensorError) as error:
            self._warn(training, f"the {name} could not be kept: {error}")
            return False
        finally:
            sweep(self._folder)
            self._kept_s = time.monotonic()
        digest, size, step = file_sha256(path), path.stat().st_size, training.step
        events.send("saved", name=name, file=file, sha256=digest, bytes=size, step=step)
        return True

    def _warn(self, training: Training, message: str) -> None:
        if message != self._told:
            training.events.send("warning", id="not-saved", message=message)
        self._told = message


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _settle(path: Path) -> None:
    """Let those read it who read the run's folder, and wait until the disk has it."""
    if path.is_file():
        path.chmod(path.parent.stat().st_mode & 0o666)
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
