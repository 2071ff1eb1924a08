"""Replays a recorded trace as if it were live: `replay:trace.parquet` or `replay:trace.log`.

The first recorded reading falls on the moment the replay starts. What it feeds is marked
`replayed` and never ranks. After the recording's end there is nothing more to read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.power.probes import Domain, Mark, Reading, Refusal
from bench.power.processes import Tree

if TYPE_CHECKING:
    from bench.power.trace import Trace


class Probe:
    usage = "replay:trace.parquet"
    about = "a recorded trace, as if it were live"
    kinds = ("gpu", "cpu", "dram", "node")

    def __init__(self, tree: Tree, argument: str = "") -> None:
        self._path = Path(argument)
        self._domains: list[Domain] = []
        self._items: list[Reading | Mark] = []
        self._start_ns = 0
        self._next = 0

    def why_not(self) -> Refusal | None:
        from bench.power.trace import Trace

        if not self._path.is_file():
            return Refusal(f"there is no trace {self._path}", "give a trace.parquet or trace.log")
        try:
            as_log = self._path.suffix == ".log"
            trace = Trace.read_log(self._path) if as_log else Trace.read_parquet(self._path)
        except BenchError as error:
            return Refusal(error.message, error.hint)
        self._domains = trace.domains
        self._items = sorted(_items(trace), key=lambda item: item.t_ns)
        return None if self._items else Refusal(f"{self._path} holds no readings")

    def domains(self) -> list[Domain]:
        return self._domains

    def read(self) -> Iterable[Reading | Mark]:
        now_ns = time.monotonic_ns()
        if not self._start_ns:
            self._start_ns = now_ns
            yield Mark(now_ns, "replayed", f"replayed from {self._path.name}, not measured")
        shift_ns = self._start_ns - self._items[0].t_ns
        while self._next < len(self._items) and self._items[self._next].t_ns + shift_ns <= now_ns:
            item = self._items[self._next]
            self._next += 1
            yield item._replace(t_ns=item.t_ns + shift_ns)

    def close(self) -> None:
        return None


def _items(trace: Trace) -> Iterable[Reading | Mark]:
    for name, series in trace.series.items():
        columns = (series.power_w, series.energy_j, series.utilisation, series.clock_mhz,
                   series.temperature_c)  # fmt: skip
        for t_ns, *values in zip(series.t_ns.tolist(), *(c.tolist() for c in columns), strict=True):
            known = [None if v != v else v for v in values]  # NaN is not itself
            failed = known[0] is None and known[1] is None
            error = "failed when recorded" if failed else None
            yield Reading(name, t_ns, known[0], known[1], known[2], known[3], known[4], error)
    yield from (m for m in trace.marks if m.domain is not None and m.id != "unreadable")
