"""What runs did over time, thinned to what several drawn over each other need: the power of all
that is charged, and the metric on the tune split against energy.

A text in place of a course is why there is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.plot.figure import slope
from bench.power import calibration
from bench.power.probes import Domain
from bench.rank import notation
from bench.rank.render import plain
from bench.record import DomainEnergy, Record, on_node, part_folder
from bench.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST = 300  # points of a trace
MOST_EVALUATIONS = 120
MOST_SPANS = 160  # of phases that a ruler shows
_SHORTEST_S, _LONGEST_S = 1e-3, 1e9
_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, OSError, RuntimeError)  # pyarrow
_GAP_S, _GAP_PERIODS = 1.0, 5  # longer without a reading is a gap, as in `bench show --plot`

Events = list[dict[str, Any]]


def events(folder: Path) -> Events:
    """Those of a run that its courses need; what is no event is left out."""
    try:
        text = (folder / "events.jsonl").read_bytes()
    except OSError:
        return []
    return list(_events(line for line in text.split(b"\n") if _needed(line)))


def _needed(line: bytes) -> bool:
    """Few are: a long run has thousands of others."""
    return b'"window_start"' in line or b'"eval"' in line


def _events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        at_ns = event.get("t_ns") if isinstance(event, dict) else None
        if isinstance(at_ns, int) and abs(at_ns) < 2**62:
            yield event


def _opened_ns(found: Events) -> int | None:
    return next((e["t_ns"] for e in found if e.get("event") == "window_start"), None)


# --- power -------------------------------------------------------------------------------------


def power(folder: Path, record: Record, found: Events) -> dict[str, Any] | str:
    """Watts of all charged domains together, each the mean over an equal part of the window; None
    where one of them was not read."""
    if not record.charged:
        return "no meter was read"
    if not _SHORTEST_S < record.duration_s < _LONGEST_S:
        return "its window has no length"
    count = max(30, min(MOST, int(10 * record.duration_s)))
    total_w = np.zeros(count)
    for number in sorted({d.node for d in record.charged}):
        part = part_folder(folder, number) if number else folder
        mine = [d for d in record.charged if d.node == number]
        try:
            opened_ns = _opened_ns(events(part) if number else found)
            if opened_ns is None:
                return "no event says when the window began"
            total_w += _machine(part / "trace.parquet", mine, number, opened_ns, record, count)
        except FileNotFoundError:
            return "it has no trace"
        except _UNREADABLE:
            return "its trace can't be read"
    if not np.isfinite(total_w).any():
        return "a meter that counts was not read"
    return {
        "step_s": record.duration_s / count,
        "power_w": [_short(w, 4) if math.isfinite(w) else None for w in total_w.tolist()],
    }


def _machine(
    path: Path, mine: list[DomainEnergy], number: int, opened_ns: int, record: Record, count: int
) -> Floats:
    """The sum over the domains of one machine."""
    import pyarrow.parquet as pq

    with path.open("rb") as source, pq.ParquetFile(source) as file:
        table = file.read(["t_ns", "domain", "power_w", "energy_j"], use_threads=False)
    about = json.loads(table.schema.metadata[b"bench"])
    counted = {d.domain for d in mine}
    domains = {
        on_node(number, d.name): d
        for d in calibration.as_counted(
            [Domain(**d) for d in about["domains"]],
            [d["name"] for d in about["domains"] if on_node(number, d["name"]) in counted],
        )
    }
    rate_hz = float(about["facts"].get("rate_hz", 10.0))
    column = table["domain"].combine_chunks()
    index, names = column.indices.to_numpy(), column.dictionary.to_pylist()
    t_s = (table["t_ns"].to_numpy() - opened_ns) / NS_PER_S
    columns = [table[c].to_numpy().astype(np.float64) for c in ("power_w", "energy_j")]
    total_w = np.zeros(count)
    for each in mine:
        domain = domains[each.domain]
        rows = index == names.index(domain.name)
        period_s = max(1 / rate_hz, float(domain.facts.get("period_s") or 0.0))
        power_w, energy_j = (c[rows] for c in columns)
        read_s, read_w = _readings(t_s[rows], power_w, energy_j, period_s)
        total_w += _on_grid(read_s, read_w, domain, period_s, record.duration_s, count)
    return total_w


def _readings(
    t_s: Floats, power_w: Floats, energy_j: Floats, period_s: float
) -> tuple[Floats, Floats]:
    """Watts as they were read; where only a counter was, its slope."""
    read = np.isfinite(power_w)
    if read.any():
        return t_s[read], power_w[read]
    read = np.isfinite(energy_j)
    return slope(t_s[read], energy_j[read], max(period_s, 0.1))


def _on_grid(
    t_s: Floats, power_w: Floats, domain: Domain, period_s: float, window_s: float, count: int
) -> Floats:
    """The mean of the readings in each part of the window; between two readings that lie close
    enough what a line through them says, else NaN."""
    if not len(t_s):
        return np.full(count, math.nan)
    step_s = window_s / count
    middle_s = (np.arange(count) + 0.5) * step_s
    part = np.floor(t_s / step_s).astype(np.int64)
    inside = (part >= 0) & (part < count)
    read = np.bincount(part[inside], minlength=count)
    sums = np.bincount(part[inside], power_w[inside], minlength=count)
    after = np.searchsorted(t_s, middle_s)
    before_s = np.concatenate([[-math.inf], t_s])[after]
    after_s = np.concatenate([t_s, [math.inf]])[after]
    near_s = np.minimum(middle_s - before_s, after_s - middle_s)
    most_s = max(_GAP_S, _GAP_PERIODS * period_s)
    known = (after_s - before_s <= most_s) | (near_s <= period_s + 0.5)
    between = np.where(known, np.interp(middle_s, t_s, power_w), math.nan)
    gain, offset_w = calibration.Correction.of(domain)
    mean_w = np.where(read > 0, sums / np.maximum(read, 1), between)
    return np.asarray(gain * mean_w + offset_w)


def spans(record: Record) -> list[list[Any]]:
    """Phases as a ruler shows them: name, start and end in seconds. Of very many the longest."""
    each = [p for p in record.phases if math.isfinite(p.start_s + p.duration_s)]
    if len(each) > MOST_SPANS:
        least_s = sorted((p.duration_s for p in each), reverse=True)[MOST_SPANS]
        each = [p for p in each if p.duration_s > least_s]
    return [
        [plain(p.name, 40), _short(p.start_s, 6), _short(p.start_s + p.duration_s, 6)] for p in each
    ]


# --- learning ----------------------------------------------------------------------------------


def learning(record: Record, found: Events) -> dict[str, Any] | str:
    """The metric on the tune split after so many joules, those of earlier parts and teachers
    included; within a phase energy is taken to go evenly."""
    opened_ns = _opened_ns(found)
    evals = [e for e in found if _is_evaluation(e)]
    if not evals or opened_ns is None:
        return "it was not scored on the tune split while it trained"
    before = [c.energy_j for c in record.charged_runs]
    parts = [record.energy_of(p) for p in record.phases]
    if not parts or None in parts or None in before:
        return "the energy of a phase is not known"
    ends_s = [0.0, *(p.start_s + p.duration_s for p in record.phases)]
    so_far_j = np.cumsum([sum(b or 0.0 for b in before), *(p or 0.0 for p in parts)])
    if not (math.isfinite(so_far_j[-1]) and math.isfinite(ends_s[-1])):
        return "the energy of a phase is not known"
    metric = str(evals[0]["metric"])
    mine = _thinned([e for e in evals if e["metric"] == metric])
    at_s = [(e["t_ns"] - opened_ns) / NS_PER_S for e in mine]
    at_j = np.interp(at_s, ends_s, so_far_j).tolist()
    shown = notation.of(metric)
    return {
        "metric": plain(metric, 60),
        "notation": as_list(shown),
        "points": [[_short(j, 6), _short(e["value"], 6)] for j, e in zip(at_j, mine, strict=True)],
    }


def _is_evaluation(event: Mapping[str, Any]) -> bool:
    value = event.get("value")
    return (
        event.get("event") == "eval"
        and event.get("split") == "tune"
        and isinstance(event.get("metric"), str)
        and isinstance(value, int | float)
        and math.isfinite(value)
    )


def _thinned(evals: Events) -> Events:
    """Evenly, the last one always."""
    every = -(-len(evals) // MOST_EVALUATIONS)
    return evals[::-1][::every][::-1]


def as_list(shown: notation.Notation) -> list[Any]:
    """How a metric is written, for `comparison.js`."""
    return [plain(shown.title, 60), shown.unit, shown.times, shown.decimals]


def _short(value: float, digits: int) -> float:
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
