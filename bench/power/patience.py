"""Calls that may never return, made by a thread that can be left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

Thing = TypeVar("Thing", bound=Hashable)
Answer = TypeVar("Answer")


class Patient(Generic[Thing]):
    """Asks several things in turn; one that does not answer in time keeps none of the others."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._caller = _Caller()
        self._hung: dict[Thing, _Caller] = {}

    def each(self, ask: Callable[[Thing], Answer], things: Sequence[Thing]) -> list[Answer | None]:
        """The answer of each thing, None where it took longer than the patience.

        Such a thing is not asked again before it has answered. Raises what `ask` raises.
        """
        if self._hung:
            self._hung = {thing: one for thing, one in self._hung.items() if one.is_alive()}
        waiting = [thing for thing in things if thing not in self._hung]
        answers: dict[Thing, Answer] = {}
        while waiting:
            got = self._caller.each(ask, waiting, self._patience_s)
            answers.update(zip(waiting, got, strict=False))
            if len(got) < len(waiting):
                self._hung[waiting[len(got)]] = self._caller
                self._caller = _Caller()
            waiting = waiting[len(got) + 1 :]
        return [answers.get(thing) for thing in things]

    def leave(self) -> None:
        """End the thread."""
        self._caller.leave()


def within(patience_s: float, ask: Callable[[], Answer]) -> Answer:
    """What `ask` gives. TimeoutError if it takes longer, and what it raises."""
    caller = _Caller()
    got = caller.each(lambda _: ask(), [None], patience_s)
    caller.leave()
    if not got:
        raise TimeoutError
    return got[0]


_Job = tuple[Callable[[Any], Any], Sequence[Any], list[Any]]  # what to ask, whom, the answers


class _Caller(threading.Thread):
    """Asks things one after the other until it is left behind; ends when its last call does."""

    def __init__(self) -> None:
        super().__init__(name="caller", daemon=True)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._since_s = 0.0
        self._left = False
        self.start()

    def run(self) -> None:
        while (job := self._jobs.get()) is not None:
            ask, things, answers = job
            failure = None
            try:
                for thing in things:
                    self._since_s = time.monotonic()
                    answers.append(ask(thing))
                    if self._left:
                        return
            except BaseException as error:  # raised again where the answers are awaited
                failure = error
            self._done.put(failure)

    def each(
        self, ask: Callable[[Thing], Answer], things: Sequence[Thing], patience_s: float
    ) -> list[Answer]:
        """The answers of the things before the one that took too long; then this is left behind."""
        answers: list[Answer] = []
        self._since_s = time.monotonic()
        self._jobs.put((ask, things, answers))
        while (left_s := self._since_s + patience_s - time.monotonic()) > 0:
            try:
                failure = self._done.get(timeout=left_s)
            except Empty:
                continue  # perhaps it has come to another thing meanwhile
            if failure is not None:
                raise failure
            return answers
        self.leave()
        return answers[:]

    def leave(self) -> None:
        self._left = True
        self._jobs.put(None)
