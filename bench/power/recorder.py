"""Records what the probes' threads saw: on disk, and in a page of memory for the parent to look at.

A thread of its own, some times a second: no reading and no command waits for a disk, and writing
many readings at once costs a fraction of writing each.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.power import log
from bench.power.probes import Domain, Mark, Reading

_PERIOD_S, _SYNC_S = 0.5, 3.0
_SHORT_S = 0.05  # no watts from a counter over less
_SLOW_S = 0.01  # a call that takes longer is kept with how long it took


_NOTHING_ELSE = [None] * 3  # most readings tell energy and power alone
_Point = tuple[int, float | None, float | None]  # t_ns, power_w, energy_j


class Look(NamedTuple):
    """What one look at a probe gave."""

    probe: str
    domains: list[Domain]
    items: list[Reading | Mark]
    took_s: float = 0.0


class Recorder(threading.Thread):
    """Any thread appends to `seen`; records are lists as in the log."""

    def __init__(self, writer: log.Writer, live_fd: int) -> None:
        super().__init__(name="recorder", daemon=True)
        self.writer = writer
        self.seen: deque[Look | list[Any]] = deque()
        self._indices: dict[str, int] = {}
        self._live = _Live(live_fd)
        self._ended = threading.Event()

    def adopt(self, domains: list[Domain]) -> None:
        """Record these domains: readings of others are left out."""
        for domain in domains:
            self._live.read_ns[domain.name] = None
            index = self._indices[domain.name] = len(self._indices)
            self.seen.append(["domain", index, domain._asdict()])

    def run(self) -> None:
        sync_s = 0.0
        while not self._ended.wait(_PERIOD_S):
            self.record()
            self._live.publish()
            sync = time.monotonic() >= sync_s
            sync_s = time.monotonic() + _SYNC_S if sync else sync_s
            self.writer.flush(sync)

    def end(self, timeout_s: float) -> bytes:
        """Record what is left; what could not be written. A thread that its disk holds up stays."""
        self._ended.set()
        self.join(timeout_s)
        self.record()
        if not self.is_alive():
            self.writer.flush()
        if self.is_alive() or self.writer.error:
            why = self.writer.error or f"{log.NAME}: the disk does not answer"
            kept = "was kept in memory" + " until that was full" * self.writer.full
            text = f"{why}: the rest of the trace {kept}"
            self.writer.add(["mark", *Mark(time.monotonic_ns(), "log-failed", text)])
        return self.writer.rest()

    def record(self) -> None:
        """Hand all that was seen to the writer."""
        while self.seen:
            seen = self.seen.popleft()
            if isinstance(seen, Look):
                self._record(seen)
            else:
                self.writer.add(seen)

    def _record(self, look: Look) -> None:
        try:
            rows = [
                self._row(item)
                for item in look.items
                if not isinstance(item, Mark) and item.domain in self._indices
            ]
            if rows:
                self.writer.add(["r", *rows])
            marks = [item for item in look.items if isinstance(item, Mark)]
            for mark in (*marks, *_slow(look)):
                self.writer.add(_line(mark))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:  # somebody else's
            text = f"{look.probe} gave what is no reading: {error}"
            for domain in look.domains:
                mark = Mark(time.monotonic_ns(), "probe-failed", text, domain.name)
                self.writer.add(_line(mark))

    def _row(self, reading: Reading) -> list[Any]:
        """The reading as it stands in the log: Python's own numbers, and finite ones."""
        name, t_ns, power_w, energy_j, *others, error, _ = reading
        power_w, energy_j = _number(power_w), _number(energy_j)
        self._live.take(name, (t_ns, power_w, energy_j))
        row: list[Any] = [self._indices[name], int(t_ns), power_w, energy_j]
        if error is not None or others != _NOTHING_ELSE:
            row += [*map(_number, others), error]
        return row


def _line(mark: Mark) -> list[Any]:
    t_ns, id, message, domain, value = mark
    whose = None if domain is None else str(domain)
    return ["mark", int(t_ns), str(id), str(message), whose, _number(value)]


def _slow(look: Look) -> Iterator[Mark]:
    """Of readings whose call took so long that their time is not sure."""
    for item in look.items:
        if isinstance(item, Mark) or item.power_w is item.energy_j is None:
            continue
        took_s = look.took_s if item.took_s is None else item.took_s
        if took_s > _SLOW_S:
            text = f"{look.probe} took {took_s:.2f} s to answer"
            yield Mark(item.t_ns, "slow", text, item.domain, took_s)


def _number(value: Any) -> float | None:
    return None if value is None or value - value != 0 else float(value)


class _Live:
    """The newest watts and the joules so far, by domain."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._last: dict[str, _Point] = {}
        self._newest: dict[str, _Point] = {}  # since it was published last
        self._power_w: dict[str, float] = {}
        self._energy_j: dict[str, float] = {}
        self.read_ns: dict[str, int | None] = {}  # when it was read last, failures left out

    def take(self, name: str, point: _Point) -> None:
        if point[1] is not None or point[2] is not None:
            self.read_ns[name] = point[0]
            self._last.setdefault(name, point)
        self._newest[name] = point

    def publish(self) -> None:
        for name, point in self._newest.items():
            self._add(name, *point)
        self._newest.clear()
        record = ["live", self.read_ns, self._power_w, self._energy_j]
        os.pwrite(self._fd, log.encode(record), 0)

    def _add(self, name: str, t_ns: int, power_w: float | None, energy_j: float | None) -> None:
        if power_w is None and energy_j is None:
            self._power_w.pop(name, None)
            return
        last_ns, last_w, last_j = self._last[name]
        span_s = (t_ns - last_ns) / 1e9
        if energy_j is not None and last_j is not None:
            if power_w is None and 0 < span_s < _SHORT_S:
                return
            joules = max(0.0, energy_j - last_j)
            watts = joules / span_s if power_w is None and span_s > 0 else power_w
        else:
            joules = ((last_w or 0.0) + (power_w or 0.0)) / 2 * span_s
            watts = power_w
        self._last[name] = t_ns, power_w, energy_j
        self._energy_j[name] = self._energy_j.get(name, 0.0) + joules
        if watts is not None:
            self._power_w[name] = watts
