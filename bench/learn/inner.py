"""A training inside another one's run: its events are told apart, and a forecast counts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.events import Events
from bench.learn.loop import Training, representative, synchronise, train


class Inner(Events):
    """The events of a training inside another one. Its steps and scores have names of their own
    (`teacher_step`) and are shown as progress; its phases are part of the one that is open."""

    def __init__(self, outer: Events, name: str) -> None:
        self._outer, self._name = outer, name

    def send(self, event: str, **fields: Any) -> None:
        if event in ("step", "eval"):
            self._outer.send(f"{self._name}_{event}", **fields)
        elif event == "warning":
            self._outer.send(event, **fields)
        if event == "step":
            done, total, loss = (fields[key] for key in ("step", "total_steps", "loss"))
            text = f"step {done}/{total}, loss {loss:.3f}"
            self._outer.send("progress", text=text, done=done, total=total)

    def stop_asked(self) -> bool:
        return self._outer.stop_asked()


@contextmanager
def counted(outer: Training, phase: str, share: float, within: str) -> Iterator[None]:
    """A phase of a forecast's trial that is so much of what a whole run has of it, as a part of the
    phase `within`."""
    synchronise(outer.model.device)
    outer.events.send("phase_start", phase=phase)
    yield
    synchronise(outer.model.device)
    outer.events.send("plan_part", phase=phase, share=share)
    outer.events.send("phase_start", phase=within)


def try_steps(outer: Training, inner: Training, phase: str, within: str) -> None:
    """In the trial of a forecast: a few steps of the inner training, which stand for all."""
    assert outer.trial_steps is not None
    chosen, share = representative(inner, min(outer.trial_steps, inner.total_steps))
    inner.total_steps = 1
    train(inner, iter(chosen[:1]))  # not counted: the first call of an operation is slower
    inner.step, inner.total_steps = 0, len(chosen)
    with counted(outer, phase, share, within):
        train(inner, iter(chosen))
