"""What the meters of a run read, inside its window and beside it: what rules of physics look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.account import Window, window_of
from bench.checks import Problem
from bench.checks.bundle import RunFolder
from bench.power.trace import Trace
from bench.record import DomainEnergy, on_node
from bench.units import NS_PER_S, significant

if TYPE_CHECKING:
    from bench.power.probes import Domain

DERIVED = ("record", "events", "trace", "derived")
"""What must have been read, for most rules of physics."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metered:
    """A domain of a trace, with its readings inside the run's window."""

    name: str  # as the record has it
    domain: Domain
    window: Window
    trace: Trace

    @property
    def t_ns(self) -> NDArray[np.int64]:
        return self.trace.series[self.domain.name].t_ns

    def readings(self, what: str) -> Floats:
        """A column of the trace; NaN where it was not read."""
        found: Floats = getattr(self.trace.series[self.domain.name], what)
        return found

    def within(self, values: Floats) -> Floats:
        t_ns = self.t_ns
        found: Floats = values[(t_ns >= self.window.start_ns) & (t_ns <= self.window.stop_ns)]
        return found

    @property
    def power_w(self) -> Floats:
        """Inside the window, of those read; of a meter that has a counter alone, between its
        readings."""
        power_w = self.within(self.readings("power_w"))
        if np.isfinite(power_w).any():
            return power_w[np.isfinite(power_w)]
        t_s, energy_j = self.within(self.t_ns / NS_PER_S), self.within(self.readings("energy_j"))
        read = np.isfinite(energy_j)
        apart_s = np.diff(t_s[read])
        found: Floats = np.diff(energy_j[read])[apart_s > 0] / apart_s[apart_s > 0]
        return found


def metered(run: RunFolder) -> Iterator[Metered]:
    """Every domain that counts, of all machines."""
    charged = {d.domain for d in run.derived.charged}
    parts = {0: (run.events, run.trace), **run.nodes}
    for number, (events, trace) in parts.items():
        window = window_of(events, trace)
        for domain in trace.domains:
            if (name := on_node(number, domain.name)) in charged:
                yield Metered(name, domain, window, trace)


def measured(run: RunFolder) -> Iterator[Metered]:
    return (m for m in metered(run) if m.domain.level != "M0")


def windows(run: RunFolder) -> Iterator[tuple[DomainEnergy, float]]:
    """Each domain that counts, and how long the window of its machine was."""
    of = {node.number: node.duration_s for node in run.derived.nodes}
    for domain in run.derived.charged:
        yield domain, of.get(domain.node, run.derived.duration_s)


def mean_powers(run: RunFolder) -> Iterator[tuple[str, float, float | None, float | None]]:
    """Name and mean watts in, before and after the window, of each domain that is measured."""
    before, after = run.derived.idle_before, run.derived.idle_after
    for domain, window_s in windows(run):
        if domain.level != "M0" and domain.energy_j is not None and window_s > 0:
            rest_w, after_w = (i.power_w.get(domain.domain) if i else None for i in (before, after))
            yield domain.domain, domain.energy_j / window_s, rest_w, after_w


def doubts(run: RunFolder, id_: str) -> Iterator[Problem]:
    """What follows from the readings and keeps a run from being ranked."""
    for doubt in run.derived.warnings:
        if doubt.id == id_ and not doubt.rankable:
            yield Problem(doubt.message)


def busy_share(busy: Floats) -> float | None:
    read = busy[np.isfinite(busy)]
    return float(read.mean()) if len(read) else None


def watts(power_w: float) -> str:
    return f"{significant(power_w)} W"
