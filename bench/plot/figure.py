"""What a plot of a run shows: its trace in lines of bounded length, its phases, what qualifies it.

Nothing is smoothed: where readings are denser than what can be drawn, each pixel has the mean of
its readings, the lowest and the highest.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import account
from bench.errors import BenchError
from bench.power import calibration
from bench.power.naming import short_names
from bench.record import DomainEnergy, Measurement, Metered, Record, on_node, part_folder
from bench.units import NS_PER_S, show_duration, show_energy, significant

if TYPE_CHECKING:
    from bench.power.energy import Series
    from bench.power.probes import Mark
    from bench.power.trace import Trace

_GAP_S, _GAP_PERIODS = 1.0, 5  # longer without a reading is a gap, and drawn as one
_MOST_MARKS = 6

Floats = NDArray[np.float64]


# --- what a plot shows ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Stretch:
    """Readings without a gap: at most one point a pixel. Seconds from the window's start."""

    t_s: Floats
    mean_w: Floats
    low_w: Floats
    high_w: Floats

    @property
    def dense(self) -> bool:
        """Whether a point stands for several readings."""
        return self.low_w is not self.high_w


@dataclass(frozen=True)
class Line:
    """The power of one domain; `gaps` are where nothing was read, from and to."""

    name: str  # GPU 0
    label: str  # GPU 0, 312 W: the mean over the window
    charged: bool
    stretches: list[Stretch]
    gaps: list[tuple[float, float]]
    estimated: bool = False  # by a model, not read from a meter

    @property
    def peak_w(self) -> float:
        return max((float(s.high_w.max()) for s in self.stretches), default=0.0)

    @property
    def last_w(self) -> float:
        return float(self.stretches[-1].mean_w[-1]) if self.stretches else 0.0

    @property
    def dense(self) -> bool:
        return any(s.dense for s in self.stretches)

    def around(self, gap: tuple[float, float]) -> list[tuple[float, float]]:
        """The last point before a gap and the first after it, as far as there are such."""
        before = [s for s in self.stretches if s.t_s[0] < gap[1] and s.t_s[-1] <= gap[0] + 1e-9]
        after = [s for s in self.stretches if s.t_s[0] >= gap[1] - 1e-9]
        ends = [(s.t_s[-1], s.mean_w[-1]) for s in before[-1:]]
        ends += [(s.t_s[0], s.mean_w[0]) for s in after[:1]]
        return [(float(t), float(w)) for t, w in ends]


@dataclass(frozen=True)
class Span:
    """A phase; `energy_j` is of the charged domains, None where one was not read in it."""

    name: str
    start_s: float
    stop_s: float
    energy_j: float | None

    @property
    def middle_s(self) -> float:
        return (self.start_s + self.stop_s) / 2


@dataclass(frozen=True)
class Flag:
    """Where something happened; several of one kind in one domain have one number."""

    number: int
    t_s: float


@dataclass(frozen=True)
class Figure:
    title: str
    measured: list[str]  # the energy, how sure it is, and how it was measured
    doubts: list[str]  # why the energy can't be relied on, the run not ranked
    caption: list[str]
    lines: list[Line]
    phases: list[Span]
    flags: list[Flag]
    start_s: float  # of the trace: the window is from 0 to `window_s`
    stop_s: float
    window_s: float

    @property
    def time_unit(self) -> tuple[str, float]:
        """The unit that suits the time axis, and its seconds."""
        span_s = self.stop_s - self.start_s
        return ("s", 1.0) if span_s <= 300 else ("min", 60.0) if span_s <= 7200 else ("h", 3600.0)

    @property
    def top_w(self) -> float:
        """Where the axis ends: room for the names of phases above the highest reading."""
        return 1.25 * max((line.peak_w for line in self.lines), default=0.0) or 1.0


def figure(folder: Path, record: Metered, points: int) -> Figure:
    """What a plot of a run shows, with at most `points` points a line, twice that where readings
    are sparse. BenchError when the run has no trace, or nothing was read."""
    path = folder / "trace.parquet"
    if not path.is_file():
        raise BenchError(
            f"{folder} has no trace",
            "a run that failed early, and an imported log of totals, have none",
        )
    parts = {0: _part(folder)}
    if not parts[0].trace.stop_ns:
        raise BenchError(f"the trace of {folder} holds no readings")
    for node in record.nodes[1:]:
        parts[node.number] = _part(part_folder(folder, node.number))
    return of_parts(record, parts, watts(record, parts), points)


class Part(NamedTuple):
    """What the meter of one machine has left."""

    trace: Trace
    opened_ns: int  # its window

    @property
    def span_s(self) -> tuple[float, float]:
        """From when to when the trace is, from the start of the window."""
        start_s, stop_s = self.seconds(np.array([self.trace.start_ns, self.trace.stop_ns]))
        return float(start_s), float(stop_s)

    def seconds(self, t_ns: NDArray[np.int64]) -> Floats:
        return (t_ns - self.opened_ns) / NS_PER_S


def _part(folder: Path) -> Part:
    from bench.power.trace import Trace

    trace = Trace.read_parquet(folder / "trace.parquet")
    events = account.read_events(folder / "events.jsonl")
    return Part(trace, account.window_of(events, trace).start_ns)


class Watts(NamedTuple):
    """The power of one domain at each of its readings, as it is counted."""

    domain: str  # as the record calls it
    name: str  # GPU 0
    estimated: bool  # by a model, not read from a meter
    t_s: Floats  # from the start of the window
    power_w: Floats
    period_s: float  # between two readings, as it ought to be
    span_s: tuple[float, float]  # of all readings of its machine

    @property
    def gap_s(self) -> float:
        """Longer without a reading is a gap."""
        return max(_GAP_S, _GAP_PERIODS * self.period_s)


def watts(record: Metered, parts: Mapping[int, Part]) -> list[Watts]:
    """Of each domain of each machine, in the order of their traces."""
    return [w for number, part in parts.items() for w in _watts(record, number, part)]


def _watts(record: Metered, number: int, part: Part) -> Iterator[Watts]:
    trace, charged = part.trace, {d.domain for d in record.charged}
    names = short_names(trace.domains)
    rate_hz = float(trace.facts.get("rate_hz", 10.0))
    counted = [d.name for d in trace.domains if on_node(number, d.name) in charged]
    for domain in calibration.as_counted(trace.domains, counted):
        own_s = float(domain.facts.get("period_s") or 0.0)  # of a meter that is slower by itself
        period_s = max(1 / rate_hz, own_s)
        t_s, power_w = _power(part, trace.series[domain.name], period_s)
        gain, offset_w = calibration.Correction.of(domain)  # readings are kept as they were
        yield Watts(
            domain=on_node(number, domain.name),
            name=f"node {number} {names[domain.name]}" if number else names[domain.name],
            estimated=domain.level == "M0",
            t_s=t_s, power_w=gain * power_w + offset_w, period_s=period_s, span_s=part.span_s,
        )  # fmt: skip


def _power(part: Part, series: Series, period_s: float) -> tuple[Floats, Floats]:
    """Watts as they were read; where only a counter was, its slope from reading to reading."""
    read = np.isfinite(series.power_w)
    t_s = part.seconds(series.t_ns)
    if read.any():
        return t_s[read], series.power_w[read]
    read = np.isfinite(series.energy_j)
    return slope(t_s[read], series.energy_j[read], max(period_s, 0.1))


def of_parts(
    record: Metered, parts: Mapping[int, Part], every: Sequence[Watts], points: int
) -> Figure:
    """The same of what was read: of the traces of all machines, and their `watts`."""
    first = parts[0]
    lines = [_line(each, record, points) for each in every]
    flags, flagged = _flags(first)
    start_s, stop_s = first.span_s
    return Figure(
        title=_title(record),
        measured=_measured(record),
        doubts=_doubts(record, short_names(first.trace.domains)),
        caption=[*_energies(record), *_gaps(lines), *flagged],
        lines=[line for line in lines if line.stretches],
        phases=_phases(record),
        flags=flags,
        start_s=start_s,
        stop_s=stop_s,
        window_s=record.duration_s,
    )


def _line(read: Watts, record: Metered, points: int) -> Line:
    gaps = _missing(read)
    edges = [0, *np.searchsorted(read.t_s, [(a + b) / 2 for a, b in gaps]), len(read.t_s)]
    bins = np.linspace(*read.span_s, points + 1)
    stretches = [thin(read.t_s[a:b], read.power_w[a:b], bins) for a, b in pairwise(edges) if a < b]
    known = next((d for d in record.domains if d.domain == read.domain), None)
    mean = "not read"
    if known and known.energy_j is not None and record.duration_s:
        mean = f"{significant(known.energy_j / record.duration_s)} W"
    charged = bool(known and known.charged)
    label = f"{read.name}, {mean}" if charged else f"({read.name}, {mean})"
    return Line(read.name, label, charged, stretches, gaps, read.estimated)


def _missing(read: Watts) -> list[tuple[float, float]]:
    start_s, stop_s = read.span_s
    if not len(read.t_s):
        return [(start_s, stop_s)]
    t = np.concatenate([[start_s], read.t_s, [stop_s]])
    return [(float(t[i]), float(t[i + 1])) for i in np.flatnonzero(np.diff(t) > read.gap_s)]


def _flags(part: Part) -> tuple[list[Flag], list[str]]:
    """Where the trace is marked, and what each number means."""
    names = short_names(part.trace.domains)
    start_s, stop_s = part.span_s
    kinds: dict[str, list[Mark]] = {}
    for mark in part.trace.marks:
        kinds.setdefault(re.sub(r"[0-9.]+", "#", mark.message), []).append(mark)
    flags, said = [], []
    for number, marks in enumerate(list(kinds.values())[:_MOST_MARKS], 1):
        at = part.seconds(np.array([m.t_ns for m in marks]))
        flags += [Flag(number, float(t)) for t in at if start_s <= t <= stop_s]
        often = f", {len(marks)} times" if len(marks) > 1 else ""
        who = ", ".join(dict.fromkeys(names.get(m.domain, m.domain) for m in marks if m.domain))
        text = f"{who}: {marks[0].message}" if who else marks[0].message
        said.append(f"▼{number} {text} (at {at[0]:.1f} s{often})")
    if len(kinds) > _MOST_MARKS:
        said.append(f"and {len(kinds) - _MOST_MARKS} more kinds of marks")
    return flags, said


def thin(t_s: Floats, power_w: Floats, bins: Floats) -> Stretch:
    """One point a bin: the mean of its readings, the lowest and the highest. Readings that are
    sparse stay as they are. An empty bin has no point."""
    first = np.searchsorted(t_s, bins[:-1])  # in order
    first = first[(first < len(t_s)) & (np.diff(first, prepend=-1) > 0)]
    if len(t_s) <= 2 * max(1, len(first)):
        return Stretch(t_s, power_w, power_w, power_w)
    if first[0] > 0:
        first = np.concatenate([[0], first])
    count = np.diff(np.append(first, len(t_s)))
    return Stretch(
        np.add.reduceat(t_s, first) / count,
        np.add.reduceat(power_w, first) / count,
        np.minimum.reduceat(power_w, first),
        np.maximum.reduceat(power_w, first),
    )


def slope(t_s: Floats, energy_j: Floats, step_s: float) -> tuple[Floats, Floats]:
    """Mean watts of each step of a counter; a step in which it was not read, or fell, has none."""
    if len(t_s) < 2:
        return np.empty(0), np.empty(0)
    grid = np.arange(t_s[0], t_s[-1], step_s)
    if len(grid) < 2:
        grid = t_s[[0, -1]]
    power_w = np.diff(np.interp(grid, t_s, energy_j)) / np.diff(grid)
    middle_s = (grid[1:] + grid[:-1]) / 2
    near = np.clip(np.searchsorted(t_s, middle_s), 1, len(t_s) - 1)
    good = (t_s[near] - t_s[near - 1] <= max(_GAP_S, _GAP_PERIODS * step_s)) & (power_w >= 0)
    return middle_s[good], power_w[good]


def _phases(record: Metered) -> list[Span]:
    return [
        Span(p.name, p.start_s, p.start_s + p.duration_s, record.energy_of(p))
        for p in record.phases
    ]


# --- what it says --------------------------------------------------------------------------------

_METHODS = {"counter": "energy counter", "integral": "integral of power", "modelled": "estimate"}


def _title(record: Metered) -> str:
    if isinstance(record, Record):
        s = record.spec
        return f"Power of a training run: {s.task}, {s.model}, {s.recipe}, seed {s.seed}"
    words = record.command if isinstance(record, Measurement) else []
    named = " ".join(Path(w).name if "/" in w else w for w in words) or "a part of a program"
    return f"Power of {textwrap.shorten(named, 80, placeholder=' …')}"


def _measured(record: Metered) -> list[str]:
    """The energy with its uncertainty, on what; and how each kind was measured."""
    hardware = record.spec.hardware if isinstance(record, Record) else _hardware(record)
    time = show_duration(record.duration_s)
    first = f"{_energy(record)} in {time}; {hardware}; {record.started_at[:10]}"
    kinds: dict[str, list[DomainEnergy]] = {}
    for d in record.domains:
        kinds.setdefault(d.kind.upper(), []).append(d)
    ways: dict[str, list[str]] = {}
    for kind, domains in kinds.items():
        ways.setdefault(_way(domains), []).append(kind)
    return [first, "; ".join(f"{', '.join(found)}: {way}" for way, found in ways.items())]


def _energy(record: Metered) -> str:
    energy_j, unsure_j = record.window_energy_j, record.window_uncertainty_j
    if energy_j is None:
        return "Energy unknown, a meter that counts could not be read,"
    said = show_energy(energy_j)
    if unsure_j is not None and energy_j > 0:
        share = significant(100 * unsure_j / energy_j, 2)
        said += f" ± {show_energy(unsure_j, energy_j)} (k = 2, {share} %)"
    return f"About {said}, estimated, not measured," if record.level == "M0" else said


def _hardware(record: Metered) -> str:
    names = [d.device for d in record.charged if d.kind == "gpu"]
    several = [f"{names.count(n)} x {n}" for n in dict.fromkeys(names)]
    return " + ".join(several) or f"CPU {record.machine.get('cpu', 'unknown')}"


def _way(domains: Sequence[DomainEnergy]) -> str:
    """How the domains of one kind were measured, with the longest tick of their counters."""
    ways = dict.fromkeys(
        "missing" if d.method == "missing" else
        f"{_METHODS[d.method]} ({d.level}{'' if d.charged else ', not counted'})"
        for d in domains
    )  # fmt: skip
    ticks = [d.counter_tick_s for d in domains if d.counter_tick_s and d.method == "counter"]
    said = " and ".join(ways)
    return f"{said}, ticks of {significant(1000 * max(ticks), 1)} ms" if ticks else said


def _doubts(record: Metered, names: Mapping[str, str]) -> list[str]:
    """Why the energy can't be relied on, with short names for the domains."""
    said = []
    for warn in record.warnings:
        if not warn.rankable:
            text = warn.message
            for name, short in names.items():
                text = text.replace(name, short)
            said.append(f"{'Not rankable' if isinstance(record, Record) else 'Doubtful'}: {text}")
    return said


def _energies(record: Metered) -> list[str]:
    """Energy by phase, and idle power, which is never taken off."""
    names = dict.fromkeys(p.name for p in record.phases)
    parts = {name: record.phase_energy_j(name) for name in names}
    if "other" in parts:
        parts["other"] = parts.pop("other")  # last: it lies between the others
    total_j = record.window_energy_j
    said = []
    if total_j and len(record.phases) > 1:
        split = [
            f"{name} unknown"
            if j is None
            else f"{name} {show_energy(j, total_j)} ({_percent(j / total_j)})"
            for name, j in parts.items()
        ]
        said.append(f"Energy by phase: {', '.join(split)}.")
    idle = [
        f"{significant(power_w)} W {when} ({show_duration(idle.duration_s)})"
        for when, idle in (("before", record.idle_before), ("after", record.idle_after))
        if idle and (power_w := record.idle_w(idle)) is not None
    ]
    if idle:
        said.append(f"Idle power: {', '.join(idle)}; not subtracted.")
    return said


def _percent(share: float) -> str:
    return "< 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _gaps(lines: Sequence[Line]) -> list[str]:
    said = [
        f"{line.name} from {start:.1f} to {stop:.1f} s"
        for line in lines
        for start, stop in line.gaps
    ]
    return [f"No reading: {', '.join(said)}."] if said else []
