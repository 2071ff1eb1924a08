"""A run's energy over time, met by the grid's intensity over time.

The trace says how much of a run's energy fell into each period; each part is multiplied by what the
grid emitted then. What no period covers takes the yearly mean, if that counts in the same way:
life-cycle and combustion figures are never added.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import account
from bench.errors import BenchError
from bench.footprint import formulas
from bench.footprint.live._samples import Sample, shown
from bench.footprint.quantity import Quantity, derived, given
from bench.power import calibration
from bench.power.carbon import Kind, Scenario
from bench.power.energy import Curve
from bench.record import Metered, on_node, part_folder
from bench.units import J_PER_KWH, NS_PER_S, significant

if TYPE_CHECKING:
    from bench.footprint.live import Course
    from bench.power.trace import Trace

_SPELLED_OUT = 24  # periods, up to which each is an input of its own
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Part:
    """A stretch of a run, its energy (of the machines alone) and the intensity that it met."""

    start: datetime
    stop: datetime
    energy_j: float
    g_per_kwh: float
    source: str | None  # None: the yearly mean
    estimated: bool = False


@dataclass(frozen=True)
class Matched:
    """Emissions of a run's window by the time of day. `emissions` is None where a part has no live
    figure and the yearly mean counts in another way."""

    scenario: Scenario
    energy: Quantity  # kWh, as metered
    share: Quantity  # of it that met a live figure, 0 to 1
    mean: Quantity | None  # intensity of that share, weighted by energy
    emissions: Quantity | None
    kind: Kind | None  # of `emissions`
    yearly: Quantity  # emissions by the yearly mean alone
    source: str | None
    parts: tuple[Part, ...]
    notes: tuple[str, ...]  # where each number is from, and why others are not

    def as_dict(self) -> dict[str, Any]:
        region = self.scenario.region
        return {
            "region": region.code, "source": self.source, "kind": self.kind,
            "energy": self.energy.as_dict(), "share": self.share.as_dict(),
            "mean": self.mean and self.mean.as_dict(),
            "emissions": self.emissions and self.emissions.as_dict(),
            "yearly": self.yearly.as_dict(), "yearly_kind": region.kind,
            "parts": [
                {
                    "start": p.start.isoformat(), "stop": p.stop.isoformat(),
                    "energy_j": p.energy_j, "g_per_kwh": p.g_per_kwh,
                    "source": p.source or f"yearly mean, {region.source} {region.year}",
                    "estimated": p.estimated,
                }
                for p in self.parts
            ],
            "notes": list(self.notes),
        }  # fmt: skip

    def json(self) -> str:
        return json.dumps(self.as_dict(), indent=1)


def matched(
    folder: Path,
    record: Metered,
    scenario: Scenario,
    source: str | None = None,
    at: datetime | None = None,
) -> Matched:
    """The window of a run in `folder`, by its trace and the intensity of `source` (auto, off, or a
    source's name). BenchError where the run's energy is not known."""
    from bench.footprint import live

    if record.window_energy_j is None:
        raise BenchError(
            f"the energy of {record.run_id} is not known", "a meter that counts was not read"
        )
    run = _Run(folder, record)
    course = live.course(scenario.region, run.start, run.stop, source, at)
    parts = _parts(run, course, scenario)
    return _summed(record, scenario, course, parts, run.notes)


# --- how a run's energy lies in time -------------------------------------------------------------


class _Run:
    """All machines of a run; the first one's clock says when it was."""

    def __init__(self, folder: Path, record: Metered) -> None:
        numbers = sorted({d.node for d in record.charged} | {0})
        self._machines = [_Machine(folder, record, number) for number in numbers]
        self._record = record
        self.start, self.stop = self._machines[0].span

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys(note for m in self._machines for note in m.notes))

    def joules(self, edges: Sequence[datetime]) -> list[float]:
        """Of each stretch between two edges; together the record's energy of the window."""
        total = np.zeros(len(edges) - 1)
        for machine in self._machines:
            for d in self._record.charged:
                if d.node == machine.number and d.energy_j is not None:
                    total += d.energy_j * machine.shares(d.domain, edges)
        return [float(j) for j in total]


class _Machine:
    """One machine's trace, clock and window."""

    def __init__(self, folder: Path, record: Metered, number: int) -> None:
        self.number = number
        self.notes: list[str] = []
        self._record = record
        place = part_folder(folder, number) if number else folder
        self._trace = self._read(place)
        began_ns = _utc_ns(record.started_at)
        if self._trace is None:
            self._window = account.Window(0, round(record.duration_s * NS_PER_S))
            self._clock = _Clock([(0, began_ns)])
            return
        events = account.read_events(place / "events.jsonl")
        self._window = account.window_of(events, self._trace)
        self._clock = self._clock_of(self._trace, began_ns)

    def _read(self, place: Path) -> Trace | None:
        from bench.power.trace import Trace

        try:
            trace = Trace.read_parquet(place / "trace.parquet")
        except (OSError, BenchError):
            trace = None
        if trace is None or not trace.stop_ns:
            self.notes.append("there is no trace: the energy is spread evenly over the run")
            return None
        return trace

    def _clock_of(self, trace: Trace, began_ns: int) -> _Clock:
        if trace.clocks:
            return _Clock([(t_ns, real_ns) for t_ns, real_ns, _ in trace.clocks])
        if abs(self._window.start_ns - began_ns) > NS_PER_S:  # of an imported trace they are equal
            self.notes.append(
                "its trace has no time of day: the window is taken to begin when the run was "
                "started, which was before its idle power was read"
            )
        return _Clock([(self._window.start_ns, began_ns)])

    @property
    def span(self) -> tuple[datetime, datetime]:
        return self._clock.at(self._window.start_ns), self._clock.at(self._window.stop_ns)

    def shares(self, domain: str, edges: Sequence[datetime]) -> np.ndarray[Any, np.dtype[Any]]:
        """Of a domain's energy in each stretch; together 1."""
        window = self._window
        inner = [min(max(self._clock.ns(e), window.start_ns), window.stop_ns) for e in edges[1:-1]]
        edges_ns = [window.start_ns, *inner, window.stop_ns]
        curve = self._curves.get(domain)
        if curve and curve.method != "missing":
            joules = np.array([curve.joules(a, b) for a, b in pairwise(edges_ns)])
            if joules.sum() > 0:
                return joules / joules.sum()
        spans = np.diff(np.array(edges_ns, np.float64))
        return spans / spans.sum() if spans.sum() else np.full(len(spans), 1 / len(spans))

    @cached_property
    def _curves(self) -> dict[str, Curve]:
        """Of the charged domains, by the record's names."""
        trace = self._trace
        if trace is None:
            return {}
        mine = {d.domain for d in self._record.charged if d.node == self.number}
        names = {d.name: on_node(self.number, d.name) for d in trace.domains}
        counted = [name for name, in_record in names.items() if in_record in mine]
        rate_hz = float(trace.facts.get("rate_hz", 10.0))
        return {
            names[d.name]: Curve(
                d, trace.series[d.name],
                [m for m in trace.marks if m.domain in (None, d.name)], rate_hz,
            )
            for d in calibration.as_counted(trace.domains, counted)
            if d.name in counted
        }  # fmt: skip


class _Clock:
    """UTC of monotonic instants, from readings of both; beyond them one goes on as the other. A
    wall clock that was set back stands still until it is where it was."""

    def __init__(self, read: Sequence[tuple[int, int]]) -> None:
        both = np.array(read, np.int64)
        self._mono_ns, self._real_ns = read[0]
        self._mono_s, self._real_s = ((both - both[0]) / NS_PER_S).T
        self._real_s = np.maximum.accumulate(self._real_s)

    def at(self, t_ns: int) -> datetime:
        seconds = self._mapped((t_ns - self._mono_ns) / NS_PER_S, self._mono_s, self._real_s)
        return _EPOCH + timedelta(microseconds=round(self._real_ns / 1000 + 1e6 * seconds))

    def ns(self, at: datetime) -> int:
        real_ns = (at - _EPOCH) // timedelta(microseconds=1) * 1000
        seconds = self._mapped((real_ns - self._real_ns) / NS_PER_S, self._real_s, self._mono_s)
        return self._mono_ns + round(seconds * NS_PER_S)

    @staticmethod
    def _mapped(x: float, xs: Any, ys: Any) -> float:
        if x <= xs[0]:
            return float(ys[0] + x - xs[0])
        if x >= xs[-1]:
            return float(ys[-1] + x - xs[-1])
        return float(np.interp(x, xs, ys))


def _utc_ns(text: str) -> int:
    """Of a record's time, which is UTC."""
    at = datetime.fromisoformat(text)
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


# --- energy met by intensity ---------------------------------------------------------------------


def _parts(run: _Run, course: Course, scenario: Scenario) -> tuple[Part, ...]:
    """The run, cut where the intensity changes."""
    borders = {t for s in course.samples for t in (s.start, s.stop) if run.start < t < run.stop}
    edges = [run.start, *sorted(borders), run.stop]
    covering = _Covering(course.samples)
    found = []
    for (start, stop), energy_j in zip(pairwise(edges), run.joules(edges), strict=True):
        sample = covering.of(start)
        if sample:
            g_per_kwh, source, estimated = sample.g_per_kwh, course.source, sample.estimated
        else:
            g_per_kwh, source, estimated = scenario.region.g_per_kwh, None, False
        found.append(Part(start, stop, energy_j, g_per_kwh, source, estimated))
    return tuple(found)


class _Covering:
    """The sample that a stretch lies in; stretches are asked for in order of time, and cross no
    sample's border."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._left = list(reversed(samples))

    def of(self, start: datetime) -> Sample | None:
        while self._left and self._left[-1].stop <= start:
            self._left.pop()
        return self._left[-1] if self._left and self._left[-1].start <= start else None


def _summed(
    record: Metered,
    scenario: Scenario,
    course: Course,
    parts: tuple[Part, ...],
    notes: Sequence[str],
) -> Matched:
    live = [p for p in parts if p.source]
    total_j, live_j = (sum(p.energy_j for p in some) for some in (parts, live))
    unsure_j = record.window_uncertainty_j
    energy = given(
        "energy", total_j / J_PER_KWH, "kWh", f"run {record.run_id}, as metered ({record.level})",
        None if unsure_j is None else unsure_j / J_PER_KWH,
    )  # fmt: skip
    whole, none = len(live) == len(parts), not live or live_j <= 0
    share = given(
        "share", 0.0 if none else 1.0 if whole else live_j / total_j, "",
        "of the energy in periods whose intensity is known",
    )  # fmt: skip
    mean = None if none else _mean(live, course, live_j)
    pue, by_year = formulas.pue_of(scenario.pue), formulas.intensity_of(scenario.region)
    yearly = _emitted("CO2e", pue, energy, by_year)
    said = [*notes, *course.whys]
    emissions: Quantity | None
    kind: Kind | None
    if mean is None:
        emissions, kind = yearly, scenario.region.kind
    elif whole:
        emissions, kind = _emitted(course.unit, pue, energy, mean), course.kind
    elif course.kind == scenario.region.kind:
        emissions, kind = _mixed(pue, energy, share, mean, by_year), course.kind
    else:
        emissions, kind = None, None
        said.append(
            f"not summed: {course.title} counts {course.kind}, the yearly mean for the rest "
            f"{scenario.region.kind}"
        )
    said += _about(record, scenario, course, live, live_j, mean)
    return Matched(
        scenario, energy, share, mean, emissions, kind, yearly, course.source, parts, tuple(said)
    )


def _mean(live: Sequence[Part], course: Course, live_j: float) -> Quantity:
    """Intensity weighted by energy; each period is an input, unless they are many."""
    unit, name = f"g {course.unit}/kWh", "live intensity"
    if len(live) > _SPELLED_OUT:
        value = sum(p.energy_j * p.g_per_kwh for p in live) / live_j
        when = f"{shown(live[0].start)} to {shown(live[-1].stop)}"
        about = f"{course.title}, {course.kind}: {len(live)} periods weighted by energy, {when}"
        return given(name, value, unit, about)
    inputs = [
        quantity
        for p in live
        for quantity in (
            given(f"energy {p.start:%H:%M}", p.energy_j / J_PER_KWH, "kWh", "by the trace"),
            given(
                f"intensity {p.start:%H:%M}", p.g_per_kwh, unit,
                f"{course.title}, {course.kind}, {shown(p.start)}"
                + (", estimated" if p.estimated else ""),
            ),
        )
    ]  # fmt: skip

    def weighted(*values: float) -> float:
        pairs = list(zip(values[::2], values[1::2], strict=True))
        return sum(e * g for e, g in pairs) / sum(e for e, _ in pairs)

    return derived(
        name, unit, "sum of energy x intensity by period / sum of energy", weighted, *inputs
    )


def _emitted(unit: str, pue: Quantity, energy: Quantity, intensity: Quantity) -> Quantity:
    return derived(
        "emissions", f"kg {unit}", "PUE x energy x intensity / 1000",
        lambda p, e, g: p * e * g / 1000, pue, energy, intensity,
    )  # fmt: skip


def _mixed(
    pue: Quantity, energy: Quantity, share: Quantity, mean: Quantity, yearly: Quantity
) -> Quantity:
    return derived(
        "emissions", "kg CO2e",
        "PUE x energy x (share x live intensity + (1 - share) x intensity) / 1000",
        lambda p, e, s, g, y: p * e * (s * g + (1 - s) * y) / 1000,
        pue, energy, share, mean, yearly,
    )  # fmt: skip


def _about(
    record: Metered,
    scenario: Scenario,
    course: Course,
    live: Sequence[Part],
    live_j: float,
    mean: Quantity | None,
) -> list[str]:
    """What is to be known of the numbers."""
    region, said = scenario.region, []
    if mean is not None and course.kind != region.kind:
        said.append(
            f"{course.title} counts {course.kind} and the yearly mean {region.kind}: they don't "
            "compare"
        )
    estimated_j = sum(p.energy_j for p in live if p.estimated)
    if mean is not None and estimated_j > 0:
        share = significant(100 * estimated_j / live_j, 2)
        said.append(f"{share} % of what met a live figure met one that its source has estimated")
    if record.energy_j != record.window_energy_j:
        said.append("of this run's own window: what it rests on (parts, teachers) is not in it")
    return said
