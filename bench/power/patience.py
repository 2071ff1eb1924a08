"""Calls that may never return, each made by a thread that can be left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")

_QUICK_S = 0.02


def each(
    patience_s: float, ask: Callable[[Thing], Answer], things: Sequence[Thing]
) -> list[Answer | None]:
    """What `ask` gives for each thing; None where there is nothing in time. Raises what it raises.

    Things are asked one after the other while they are quick and beside one another where not.
    """
    answers: dict[int, Answer] = {}
    failures: list[BaseException] = []

    def run(place: int, thing: Thing) -> None:
        try:
            answers[place] = ask(thing)
        except BaseException as error:  # raised again where it is waited for
            failures.append(error)

    several = [threading.Thread(target=run, args=one, daemon=True) for one in enumerate(things)]
    deadline_s = time.monotonic() + patience_s
    for thread in several:
        thread.start()
        thread.join(_QUICK_S)
    for thread in several:
        thread.join(max(0.0, deadline_s - time.monotonic()))
    if failures:
        raise failures[0]
    return [answers.get(place) for place in range(len(things))]


def within(patience_s: float, ask: Callable[[], Answer]) -> Answer:
    """What `ask` gives. TimeoutError if that takes longer, and what it raises."""
    answers = each(patience_s, lambda _: [ask()], [None])
    if answers[0] is None:
        raise TimeoutError
    return answers[0][0]
