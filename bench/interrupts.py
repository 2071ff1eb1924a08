"""What happens when the user, a batch system or a closed terminal wants an end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP came; BaseException so that nothing swallows it."""


@contextmanager
def handled(
    numbers: Sequence[signal.Signals], handler: Callable[[int], object]
) -> Iterator[list[signal.Signals]]:
    """`handler` gets these signals; one that is ignored (nohup, a job in the background) stays so.
    Gives those that are handled."""
    caught = [s for s in numbers if signal.getsignal(s) is not signal.SIG_IGN]
    before = {s: signal.signal(s, lambda number, _: handler(number)) for s in caught}
    try:
        yield caught
    finally:
        for s, old in before.items():
            signal.signal(s, old)


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """The first interrupt raises; later ones are ignored while things end."""

    def first(number: int) -> None:
        for s in caught:
            signal.signal(s, signal.SIG_IGN)
        raise Interrupted("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    with handled(ENDING, first) as caught:
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold interrupts back, so that a record is written whole; one that came is sent afterwards.

    A mask would not do: the signal goes to another thread, and its handler runs here all the same.
    """
    came: list[int] = []
    with handled(ENDING, came.append):
        yield
    if came:
        signal.raise_signal(came[0])
