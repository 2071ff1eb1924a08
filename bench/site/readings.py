"""What the trace and the events of a run hold: read once, for its page and for the page that
compares runs.

A text in place of a course is why there is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.checks import safe
from bench.errors import BenchError
from bench.plot import figure as figures
from bench.plot.figure import Part, Watts
from bench.rank import notation, score
from bench.rank.entry import is_share
from bench.record import Record, on_node, part_folder
from bench.site import drawing
from bench.site.drawing import Key, Learning, Score
from bench.units import J_PER_KWH, J_PER_WH, NS_PER_S, show_energy

if TYPE_CHECKING:
    import pyarrow
    from markupsafe import Markup

    from bench.power.energy import Series
    from bench.power.trace import Trace

MOST_SCORES = 40  # evaluations that are drawn
MOST_STEPS = 300  # of the power of all domains together
_SHORTEST_S, _LONGEST_S = 1e-3, 1e9

Floats = NDArray[np.float64]
Events = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Total:
    """Watts of all charged domains together, each the mean over an equal part of the window; NaN
    where one of them was not read."""

    step_s: float
    power_w: Floats


@dataclass(frozen=True)
class Course:
    """A metric on the tune split while it trained, and the energy that all had taken until then:
    this run, its earlier parts and its teachers."""

    metric: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    energy_j: tuple[float, ...]


@dataclass(frozen=True)
class Seen:
    """What is drawn from the trace and the events; `why_not` says why nothing is."""

    total: Total | str
    course: Course | str
    power: Markup | None = None
    legend: Sequence[Key] = ()
    caption: Sequence[str] = ()
    learning: Markup | None = None
    scores: Learning | None = None
    rests: str = ""  # energy of the runs that it rests on
    why_not: str = ""

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Of each evaluation the steps, the energy so far and the value."""
        if self.scores is None:
            return []
        return [
            (f"{s.step:,}", f"{s.energy:.3g} {self.scores.unit}", f"{s.value:.4g}")
            for s in self.scores.scores
        ]


def read(folder: Path, record: Record, refused: str = "") -> Seen:
    """Whatever a file holds, there is an answer. `refused` is why the checks would not read it:
    it is not read here either."""
    if refused:
        why = "the checks refuse its files"
        return Seen(why, why, why_not=f"the checks refuse it, {refused}")
    try:
        told = events(folder)
        parts = {0: _part(folder, told)}
        for node in record.nodes[1:]:
            part = part_folder(folder, node.number)
            parts[node.number] = _part(part, events(part))
        return _seen(record, parts, told)
    except _UNREADABLE as error:
        said = str(error).splitlines() or [type(error).__name__]
        absent = isinstance(error, safe.Fault) and error.rule == "S10"
        why = "it has no trace" if absent else "its trace can't be read"
        why_not = said[0].replace(f"{folder}/", "").replace(str(folder), "its folder")
        return Seen(why, why, why_not=why_not)


_UNREADABLE = (BenchError, safe.Fault, OSError, ValueError, LookupError, TypeError, ArithmeticError,
               AttributeError, MemoryError)  # fmt: skip


def _seen(record: Record, parts: Mapping[int, Part], told: Events) -> Seen:
    every = figures.watts(record, parts)
    shown = figures.of_parts(record, parts, every, drawing.points(len(every)))
    is_open = any(e["event"] == "window_start" for e in told)
    course = _course(record, parts, _evaluations(told))
    scores = None if isinstance(course, str) else _learning(record, course)
    rests_j = _rests_j(record)
    return Seen(
        total=_total(record, every) if is_open else "no event says when the window began",
        course=course,
        power=drawing.power(shown), legend=drawing.legend(shown),
        caption=[*shown.doubts, *shown.caption, *drawing.left_out(shown)],
        learning=drawing.learning(scores) if scores else None, scores=scores,
        rests=show_energy(rests_j, record.energy_j) if rests_j and record.energy_j else "",
    )  # fmt: skip


# --- files -------------------------------------------------------------------------------------


def _part(folder: Path, told: Events) -> Part:
    from bench import account

    trace = _trace(folder)
    return Part(trace, account.window_of([dict(e) for e in told], trace).start_ns)


_UNSEEN = ("utilisation", "clock_mhz", "temperature_c")
"""Columns of a trace that nothing here shows."""


def _trace(folder: Path) -> Trace:
    """BenchError or Fault where there is none, or nothing was read. By this thread alone: others
    make other pages meanwhile."""
    import pyarrow
    import pyarrow.parquet

    data = pyarrow.BufferReader(safe.data(folder / "trace.parquet"))
    file = pyarrow.parquet.ParquetFile(data, pre_buffer=False)
    wanted = [name for name in file.schema_arrow.names if name not in _UNSEEN]
    trace = _trace_of(file.read(wanted, use_threads=False))
    if not trace.stop_ns:
        raise BenchError("it holds no readings")
    return trace


def _trace_of(table: pyarrow.Table) -> Trace:
    """What `Trace.of_table` makes of it in four times the time; where anything is odd, that is
    asked."""
    import pyarrow

    from bench.power.trace import Trace

    try:
        about = json.loads(table.schema.metadata[b"bench"])
        clocks = [(c[0], c[1], c[2]) for c in about["clocks"]]
        like = _alike(json.dumps({**about, "clocks": []}))
        series = dict(_series(table, like))
        return Trace(like.domains, series, like.marks, clocks, like.facts)
    except (pyarrow.ArrowInvalid, LookupError, TypeError, ValueError, AttributeError):
        nothing = pyarrow.nulls(len(table), pyarrow.float64())
        for name in _UNSEEN:
            table = table.append_column(name, nothing)
        return Trace.of_table(table, "trace.parquet")


@lru_cache(256)
def _alike(about: str) -> Trace:
    """A trace without readings that says so of itself, as all of one machine do."""
    import pyarrow

    from bench.power.trace import COLUMNS, Trace

    kinds = {"t_ns": pyarrow.int64(), "domain": pyarrow.string()}
    schema = pyarrow.schema(kinds | dict.fromkeys(COLUMNS, pyarrow.float64()), {"bench": about})
    return Trace.of_table(schema.empty_table(), "trace.parquet")


def _series(table: pyarrow.Table, of: Trace) -> Iterator[tuple[str, Series]]:
    """The readings of each domain; ValueError where nobody can tell them apart."""
    import pyarrow

    from bench.power.energy import Series

    whose = table["domain"].combine_chunks().dictionary_encode()
    names = whose.dictionary.cast(pyarrow.string()).to_pylist()
    number = {name: n for n, name in enumerate(names)}
    if whose.null_count or len(number) < len(names):
        raise ValueError("a reading is of no domain, or a domain has two numbers")
    number_of, t_ns = whose.indices.to_numpy(), table["t_ns"].to_numpy()
    power_w, energy_j = (
        table[c].to_numpy().astype(np.float64, copy=False) for c in ("power_w", "energy_j")
    )
    for domain in of.domains:
        mine = np.flatnonzero(number_of == number.get(domain.name, -1))
        unseen = np.full(len(mine), math.nan)
        yield domain.name, Series(t_ns[mine], power_w[mine], energy_j[mine], unseen, unseen, unseen)


_WANTED = (b'"eval"', b'"window_start"', b'"window_stop"')


def events(folder: Path) -> Events:
    """Those that are shown, in order: most of them are steps, and are not parsed."""
    try:
        data = safe.data(folder / "events.jsonl")
    except safe.Fault:
        return []
    found = []
    for start, stop in sorted({span for name in _WANTED for span in _lines_with(name, data)}):
        with suppress(ValueError, RecursionError):
            event = json.loads(data[start:stop])
            at_ns = event.get("t_ns") if isinstance(event, dict) else None
            if isinstance(at_ns, int) and abs(at_ns) < 2**62:
                found.append({"event": None, **event})
    return found


def _lines_with(name: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    """From where to where a line is that has the name."""
    at = data.find(name)
    while at >= 0:
        stop = data.find(b"\n", at)
        stop = len(data) if stop < 0 else stop
        yield data.rfind(b"\n", 0, at) + 1, stop
        at = data.find(name, stop)


# --- power of all that is charged --------------------------------------------------------------


def _total(record: Record, every: Sequence[Watts]) -> Total | str:
    if not record.charged:
        return "no meter was read"
    if not _SHORTEST_S < record.duration_s < _LONGEST_S:
        return "its window has no length"
    count = max(30, min(MOST_STEPS, int(10 * record.duration_s)))
    read = {each.domain: each for each in every}
    total_w = np.zeros(count)
    for domain in record.charged:
        if domain.domain not in read:
            return "a meter that counts was not read"
        total_w += _on_grid(read[domain.domain], record.duration_s, count)
    if not np.isfinite(total_w).any():
        return "a meter that counts was not read"
    return Total(record.duration_s / count, total_w)


def _on_grid(read: Watts, window_s: float, count: int) -> Floats:
    """The mean of the readings in each part of the window; between two readings that lie close
    enough what a line through them says, else NaN."""
    t_s, power_w = read.t_s, read.power_w
    if not len(t_s):
        return np.full(count, math.nan)
    step_s = window_s / count
    middle_s = (np.arange(count) + 0.5) * step_s
    part = np.floor(t_s / step_s).astype(np.int64)
    inside = (part >= 0) & (part < count)
    times = np.bincount(part[inside], minlength=count)
    sums = np.bincount(part[inside], power_w[inside], minlength=count)
    after = np.searchsorted(t_s, middle_s)
    before_s = np.concatenate([[-math.inf], t_s])[after]
    after_s = np.concatenate([t_s, [math.inf]])[after]
    near_s = np.minimum(middle_s - before_s, after_s - middle_s)
    known = (after_s - before_s <= read.gap_s) | (near_s <= read.period_s + 0.5)
    between = np.where(known, np.interp(middle_s, t_s, power_w), math.nan)
    return np.where(times > 0, sums / np.maximum(times, 1), between)


# --- learning ----------------------------------------------------------------------------------


def _evaluations(told: Events) -> Events:
    """On the tune split by one metric, the first that there is, in order of time; of many some."""
    found = [e for e in told if e["event"] == "eval" and _is_score(e)]
    alike = [e for e in found if e["metric"] == found[0]["metric"]]
    return drawing.evenly(sorted(alike, key=lambda e: int(e["t_ns"])), MOST_SCORES)


def _is_score(event: Mapping[str, Any]) -> bool:
    value = event.get("value")
    return (
        event.get("split") == "tune"
        and isinstance(event.get("metric"), str)
        and isinstance(event.get("step"), int)
        and isinstance(value, int | float)
        and abs(value) < 1e15
    )


def _course(record: Record, parts: Mapping[int, Part], told: Events) -> Course | str:
    if not told:
        return "it was not scored on the tune split while it trained"
    rests_j = _rests_j(record)
    at_ns = np.array([e["t_ns"] for e in told], np.float64)
    taken_j = _taken_j(record, parts, at_ns)
    if rests_j is None or taken_j is None or not np.isfinite(rests_j + taken_j).all():
        return "the energy that it had taken by then is not known"
    return Course(
        told[0]["metric"],
        tuple(e["step"] for e in told),
        tuple(e["value"] for e in told),
        tuple((rests_j + taken_j).tolist()),
    )


def _taken_j(record: Record, parts: Mapping[int, Part], at_ns: Floats) -> Floats | None:
    """What the charged domains had taken since the window was opened, at times of the first
    machine's clock. In the end it is what the record says, and on the way there it goes as the
    readings do."""
    if not record.energy_j:
        return None
    since_ns, window_ns = at_ns - parts[0].opened_ns, NS_PER_S * record.duration_s
    taken_j = np.zeros(len(at_ns))
    for domain in record.charged:
        part = parts.get(domain.node)
        series = part and part.trace.series.get(
            domain.domain.removeprefix(on_node(domain.node, ""))
        )
        if part is None or series is None or domain.energy_j is None:
            return None
        t_ns, sums_j = _sums_j(series, domain.method)
        if len(t_ns) < 2:
            return None
        t_ns -= part.opened_ns
        first_j, last_j = np.interp([0, window_ns], t_ns, sums_j)
        if not last_j > first_j:
            return None
        share = (np.interp(since_ns, t_ns, sums_j) - first_j) / (last_j - first_j)
        taken_j += domain.energy_j * np.clip(share, 0, 1)
    return taken_j


def _sums_j(series: Series, method: str) -> tuple[Floats, Floats]:
    """The energy at each reading, from any zero: of the counter, or of power."""
    of = series.energy_j if method == "counter" else series.power_w
    read = np.isfinite(of)
    t_ns, values = series.t_ns[read].astype(np.float64), of[read]
    if method == "counter" or not len(t_ns):
        return t_ns, values
    areas_j = np.diff(t_ns) * (values[1:] + values[:-1]) / (2 * NS_PER_S)
    return t_ns, np.concatenate([[0.0], np.cumsum(areas_j)])


def _rests_j(record: Record) -> float | None:
    """Energy of earlier parts and of teachers; None where one is not known."""
    each = [c.energy_j for c in record.charged_runs]
    known = [e for e in each if e is not None]
    return sum(known) if len(known) == len(each) else None


# --- learning as the page of a run draws it ----------------------------------------------------


def _learning(record: Record, course: Course) -> Learning:
    whole_j, rests_j = record.energy_j or 0.0, _rests_j(record) or 0.0
    times = notation.of(course.metric).times
    unit = show_energy(whole_j).rpartition(" ")[2]
    in_j = {"J": 1.0, "Wh": J_PER_WH, "kWh": J_PER_KWH}[unit]
    allowed = _allowed(course.metric, record.spec.data.rows.get("tune", 0))
    scores = tuple(
        Score(energy_j / in_j, step, times * value, allowed(value))
        for energy_j, step, value in zip(course.energy_j, course.steps, course.values, strict=True)
    )
    end = whole_j / in_j
    return Learning(
        metric=notation.of(course.metric).heading, unit=unit, estimated=record.level == "M0",
        scores=scores, final=_final(record, course.metric, Score(end, scores[-1].step, 0.0)),
        rests=rests_j / in_j, end=end,
    )  # fmt: skip


def _allowed(metric: str, rows: int) -> Callable[[float], tuple[float, float] | None]:
    """What the size of a split alone allows of a share of right answers, 95 %, as it is printed."""
    times = notation.of(metric).times

    def of(value: float) -> tuple[float, float] | None:
        if metric != "accuracy" or rows < 1 or not 0 <= value <= 1:
            return None
        low, high = score.wilson(value, rows)
        return times * low, times * high

    return of


def _final(record: Record, name: str, at: Score) -> Score | None:
    """The metric on the scored split, where it is the one that was watched."""
    m = record.metric
    if m is None or m.name != name:
        return None
    allowed = _allowed(m.name, m.n)(m.value) if is_share(m) else None
    return Score(at.energy, at.step, notation.of(name).times * m.value, allowed)
