"""What the trace and the events of a run hold, as its page shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.checks import safe
from bench.errors import BenchError
from bench.plot import figure as figures
from bench.rank import notation, score
from bench.rank.entry import is_share
from bench.record import Record
from bench.site import drawing
from bench.site.drawing import Key, Learning, Score
from bench.units import J_PER_KWH, J_PER_WH, NS_PER_S, show_energy

if TYPE_CHECKING:
    from markupsafe import Markup

    from bench.plot.figure import Figure
    from bench.power.energy import Series
    from bench.power.trace import Trace

MOST_SCORES = 40  # evaluations that are drawn

Floats = NDArray[np.float64]
Events = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Seen:
    """What is drawn from the trace and the events; `why_not` says why nothing is."""

    power: Markup | None = None
    legend: Sequence[Key] = ()
    caption: Sequence[str] = ()
    learning: Markup | None = None
    scores: Learning | None = None
    split: str = ""  # that these are of
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
        return Seen(why_not=f"the checks refuse it, {refused}")
    try:
        trace = _trace(folder)
        events = _events(folder / "events.jsonl")
        opened_ns = _opened_ns(events, trace)
        points = drawing.points(len(trace.domains) * max(1, len(record.nodes)))
        shown = figures.of_trace(folder, record, trace, opened_ns, points)
        return _seen(record, shown, _evaluations(events), trace, opened_ns)
    except _UNREADABLE as error:
        said = str(error).splitlines() or [type(error).__name__]
        return Seen(why_not=said[0].replace(f"{folder}/", "").replace(str(folder), "its folder"))


_UNREADABLE = (BenchError, safe.Fault, OSError, ValueError, LookupError, TypeError, ArithmeticError,
               AttributeError, MemoryError)  # fmt: skip


def _seen(record: Record, shown: Figure, told: Events, trace: Trace, opened_ns: int) -> Seen:
    scores = _learning(record, told, trace, opened_ns)
    rests_j = _rests_j(record)
    return Seen(
        power=drawing.power(shown), legend=drawing.legend(shown),
        caption=[*shown.doubts, *shown.caption, *drawing.left_out(shown)],
        learning=drawing.learning(scores) if scores else None, scores=scores,
        split=str(told[0]["split"]) if told else "",
        rests=show_energy(rests_j, record.energy_j) if rests_j and record.energy_j else "",
    )  # fmt: skip


def _trace(folder: Path) -> Trace:
    """BenchError or Fault where there is none, or nothing was read. By this thread alone: others
    make other pages meanwhile."""
    import pyarrow
    import pyarrow.parquet

    from bench.power.trace import Trace

    data = pyarrow.BufferReader(safe.data(folder / "trace.parquet"))
    table = pyarrow.parquet.ParquetFile(data, pre_buffer=False).read(use_threads=False)
    trace = Trace.of_table(table, "trace.parquet")
    if not trace.stop_ns:
        raise BenchError("it holds no readings")
    return trace


_WANTED = (b'"eval"', b'"window_start"', b'"window_stop"')


def _events(path: Path) -> Events:
    """Those that a page needs, in order: most of them are steps, and are not parsed."""
    try:
        data = safe.data(path)
    except safe.Fault:
        return []
    found = []
    for start, stop in sorted({span for name in _WANTED for span in _lines_with(name, data)}):
        with suppress(ValueError, RecursionError):
            event = json.loads(data[start:stop])
            if isinstance(event, dict) and isinstance(event.get("t_ns"), int):
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


def _opened_ns(events: Events, trace: Trace) -> int:
    from bench import account

    return account.window_of([dict(e) for e in events], trace).start_ns


def _evaluations(events: Events) -> Events:
    """On one split by one metric, the first that there is, in order of time."""
    told = [e for e in events if e["event"] == "eval" and _is_score(e)]
    alike = [e for e in told if (e["split"], e["metric"]) == (told[0]["split"], told[0]["metric"])]
    return sorted(alike, key=lambda e: int(e["t_ns"]))


def _is_score(event: Mapping[str, Any]) -> bool:
    named = isinstance(event.get("metric"), str) and isinstance(event.get("split"), str)
    value = event.get("value")
    return (
        named
        and isinstance(event.get("step"), int)
        and isinstance(value, int | float)
        and abs(value) < 1e15
    )


def _learning(record: Record, told: Events, trace: Trace, opened_ns: int) -> Learning | None:
    """What was scored while it trained, with the energy that it had taken until then; None where
    nothing was, or where that energy is not known."""
    whole_j, rests_j = record.energy_j, _rests_j(record)
    told = drawing.evenly(told, MOST_SCORES)
    at_ns = np.array([e["t_ns"] for e in told], np.float64)
    if not told or not whole_j or rests_j is None:
        return None
    taken_j = _taken_j(record, trace, opened_ns, at_ns)
    if taken_j is None:
        return None
    name = told[0]["metric"]
    times = notation.of(name).times
    unit = show_energy(whole_j).rpartition(" ")[2]
    in_j = {"J": 1.0, "Wh": J_PER_WH, "kWh": J_PER_KWH}[unit]
    allowed = _allowed(name, record.spec.data.rows.get(told[0]["split"], 0))
    scores = tuple(
        Score((rests_j + energy_j) / in_j, e["step"], times * e["value"], allowed(e["value"]))
        for e, energy_j in zip(told, taken_j.tolist(), strict=True)
    )
    end = whole_j / in_j
    return Learning(
        metric=notation.of(name).heading, unit=unit, estimated=record.level == "M0",
        scores=scores, final=_final(record, name, Score(end, scores[-1].step, 0.0)),
        rests=rests_j / in_j, end=end,
    )  # fmt: skip


def _taken_j(record: Record, trace: Trace, opened_ns: int, at_ns: Floats) -> Floats | None:
    """What the charged domains had taken since the window was opened. In the end it is what the
    record says, and on the way there it goes as the readings do."""
    taken_j = np.zeros(len(at_ns))
    edges_ns = np.array([opened_ns, opened_ns + NS_PER_S * record.duration_s])
    for domain in record.charged:
        series = trace.series.get(domain.domain)
        if series is None or domain.energy_j is None:
            return None
        t_ns, sums_j = _sums_j(series, domain.method)
        if len(t_ns) < 2:
            return None
        first_j, last_j = np.interp(edges_ns, t_ns, sums_j)
        if not last_j > first_j:
            return None
        share = (np.interp(at_ns, t_ns, sums_j) - first_j) / (last_j - first_j)
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
