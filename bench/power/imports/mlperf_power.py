"""MLPerf Training's power logs: `node_K.txt`, one file a node, and `sw_K.txt`, one a switch.

Each line is `:::MLLOG` and a JSON object with `time_ms`, `key` and `value`. A node's file has
`power_measurement_start`, one `power_reading` in watts a second, and `power_measurement_stop`; a
switch's has `interconnect_power_est`. Of published files some stop at the time at which they start,
and some begin a line with two colons. Sources: MLCommons training_policies, power_measurement.adoc;
MLCommons logging, mllog/examples/power and result_summarizer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.errors import BenchError, UsageError
from bench.power.energy import Series
from bench.power.imports import GAINS, Imported, text_of
from bench.power.imports._readings import LATEST_NS, rate_hz, series
from bench.power.probes import Domain, Mark
from bench.power.trace import Trace
from bench.record import Warn
from bench.units import significant

_LINE = re.compile(r":{2,3}MLLOG\s+(\{.*)")
_decode = json.JSONDecoder().raw_decode
_NS_PER_MS = 1_000_000
_TELLING = 10  # so many different values in a row are no chance when another node has them too


class Entry(NamedTuple):
    """A line of a log."""

    where: str
    t_ns: int
    key: str
    value: Any
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Node:
    """What one node's file holds."""

    path: Path
    readings: Series
    start_ns: int | None
    stop_ns: int | None
    conversion: float  # of what the meter reads to what MLPerf counts

    @property
    def name(self) -> str:
        return f"node:{self.path.stem.removeprefix('node_')[:60]}"


Span = tuple[int, int]


def read(paths: Sequence[Path], *, result_log: Path | None = None) -> list[Imported]:
    """The nodes of one run together. The window is the result log's, from `run_start` to
    `run_stop`, where that is given; else the power logs' own."""
    nodes, switches = [], []
    for path in paths:
        entries = sorted(_entries(path), key=lambda e: e.t_ns)
        keys = {e.key for e in entries}
        if "power_reading" in keys:
            nodes.append(_node(path, entries))
        elif "interconnect_power_est" in keys:
            switches.append((path, entries))
        else:
            raise BenchError(
                f"{path} holds no power_reading", "give the node files of the folder power/"
            )
    if not nodes:
        raise UsageError("there is no node among the files", "give node_0.txt, node_1.txt, … too")
    _all_different(nodes)
    (start_ns, stop_ns), doubts = _window(nodes, result_log)
    doubts += _conversions(nodes)
    doubts += [_estimated(path, entries, stop_ns - start_ns) for path, entries in switches]
    several = f"{len(nodes)} nodes are added up, each a machine of its own"
    return [
        Imported(
            trace=_trace(nodes),
            start_ns=start_ns,
            stop_ns=stop_ns,
            doubts=doubts + ([Warn(id="nodes", message=several)] if len(nodes) > 1 else []),
            settled=frozenset({"several-nodes"}),
            machine={"nodes": len(nodes)},
        )
    ]


# --- lines


def _entries(path: Path, about: str = "") -> Iterator[Entry]:
    """Of every line, or of those that have `about` in them: what many processes print to one
    log may be torn elsewhere."""
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if (found := _LINE.search(line)) and about in line:
            yield _entry(f"{path}, line {number}", found[1])


def _entry(where: str, text: str) -> Entry:
    try:
        told, _ = _decode(text)
        t_ns = round(_number(told["time_ms"]) * _NS_PER_MS)
        key, value, metadata = str(told["key"]), told.get("value"), told.get("metadata")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise BenchError(f"{where} is no line of an MLPerf log: {text[:60]!r}") from None
    if not 0 <= t_ns <= LATEST_NS:
        raise BenchError(f"{where}: the time is {str(told['time_ms'])[:40]} ms, which is no date")
    return Entry(where, t_ns, key, value, metadata if isinstance(metadata, dict) else {})


def _number(value: Any) -> float:
    """TypeError or ValueError for what is none."""
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, bool):
        raise TypeError("true and false are no numbers")
    return float(value)


def _of(entry: Entry) -> float:
    """The value of a line; NaN where it has none."""
    if entry.value is None:
        return math.nan
    try:
        return _number(entry.value)
    except (TypeError, ValueError, OverflowError):
        said = repr(entry.value)[:40]
        raise BenchError(f"{entry.where}: the {entry.key} is {said}, which is no number") from None


# --- nodes


def _node(path: Path, entries: Sequence[Entry]) -> Node:
    read = [e for e in entries if e.key == "power_reading"]
    stops = [e.t_ns for e in entries if e.key == "power_measurement_stop"]
    factors = [_of(e) for e in entries if e.key == "conversion_eff"]
    return Node(
        path=path,
        readings=series([e.t_ns for e in read], [_of(e) for e in read]),
        start_ns=next((e.t_ns for e in entries if e.key == "power_measurement_start"), None),
        stop_ns=stops[-1] if stops else None,
        conversion=factors[-1] if factors else 1.0,
    )


def _trace(nodes: Sequence[Node]) -> Trace:
    domains = [
        Domain(n.name, "node", f"MLPerf Training power log {n.path.name[:60]}", "M2", GAINS["node"])
        for n in nodes
    ]
    marks = [
        Mark(int(t), "unreadable", "a line without a reading", n.name)
        for n in nodes
        for t in n.readings.t_ns[~np.isfinite(n.readings.power_w)]
    ]
    rate = min(rate_hz(n.readings.t_ns) for n in nodes)
    return Trace(domains, {n.name: n.readings for n in nodes}, marks, facts={"rate_hz": rate})


def _all_different(nodes: Sequence[Node]) -> None:
    """UsageError for two files of one node: the same name, or the same watts one after another."""
    for i, one in enumerate(nodes):
        for other in nodes[:i]:
            if one.name == other.name:
                raise UsageError(
                    f"{other.path} and {one.path} are both {one.path.stem}",
                    "give the node files of one run: each node has one",
                )
            if _alike(one.readings, other.readings):
                raise UsageError(
                    f"{other.path} and {one.path} hold the same readings: a node would be counted "
                    "twice",
                    "each node has a meter, and a file, of its own",
                )


def _alike(one: Series, other: Series) -> bool:
    same_w = np.array_equal(one.power_w, other.power_w, equal_nan=True)
    telling = len(np.unique(one.power_w)) >= _TELLING
    return same_w and (telling or np.array_equal(one.t_ns, other.t_ns))


# --- the window


def _window(nodes: Sequence[Node], result_log: Path | None) -> tuple[Span, list[Warn]]:
    own, doubts = _own_window(nodes)
    if result_log is None:
        if own is None:
            raise BenchError(
                "; ".join(d.message for d in doubts),
                "--result-log FILE takes the window from the run's run_start and run_stop",
            )
        return own, doubts
    span, more = _of_result(result_log)
    if own and (own[0] > span[0] or own[1] < span[1]):
        text = "the power logs' own window does not contain the run of the result log"
        more.append(Warn(id="window-outside", message=text))
    return span, doubts + more


def _own_window(nodes: Sequence[Node]) -> tuple[Span | None, list[Warn]]:
    """From the first start to the last stop, so that no node is left out for a part of it; None
    where a file's window is empty, or it never opens."""
    doubts, spans = [], []
    for node in nodes:
        start_ns, stop_ns, name = node.start_ns, node.stop_ns, node.path.name
        if start_ns is not None and stop_ns is None:
            text = f"{name} has no power_measurement_stop: its last reading stands for it"
            doubts.append(Warn(id="window-open", message=text))
            stop_ns = int(node.readings.t_ns[-1])
        if start_ns is None:
            text = f"{name} has no power_measurement_start"
            doubts.append(Warn(id="window-missing", message=text))
        elif stop_ns is None or stop_ns <= start_ns:
            length_s = ((stop_ns or start_ns) - start_ns) / 1e9
            text = f"the window of {name}, from its start to its stop line, is {length_s:g} s long"
            doubts.append(Warn(id="window-empty", message=text))
        else:
            spans.append((start_ns, stop_ns))
    if len(spans) < len(nodes):
        return None, doubts
    return (min(s[0] for s in spans), max(s[1] for s in spans)), doubts


def _of_result(path: Path) -> tuple[Span, list[Warn]]:
    entries = list(_entries(path, about="run_st"))
    starts = sorted({e.t_ns for e in entries if e.key == "run_start"})
    stops = [e for e in entries if e.key == "run_stop"]
    if len(starts) != 1 or len({e.t_ns for e in stops}) != 1 or stops[0].t_ns <= starts[0]:
        raise BenchError(
            f"{path} has {len(starts)} run_start and {len(stops)} run_stop; one of each, the stop "
            "after the start, says when a run was",
            "give the result log of this very run",
        )
    status = str(stops[0].metadata.get("status", "success"))
    doubts = []
    if status != "success":
        text = f"the result log says that the run ended as {status[:40]!r}, not as a success"
        doubts.append(Warn(id="run-status", message=text, rankable=False))
    return (starts[0], stops[0].t_ns), doubts


# --- doubts


def _conversions(nodes: Sequence[Node]) -> list[Warn]:
    """Where MLPerf counts another number than the meter read."""
    doubts = []
    for node in (n for n in nodes if n.conversion != 1.0):
        if not 0 < node.conversion < 10:
            raise BenchError(f"{node.path}: a conversion_eff of {node.conversion:g} can't be")
        text = (
            f"{node.path.name}: its conversion_eff of {node.conversion:g} is not applied: what the "
            f"meter read counts; MLPerf's own figure is {node.conversion:g} times that"
        )
        doubts.append(Warn(id="conversion", message=text))
    return doubts


def _estimated(path: Path, entries: Sequence[Entry], window_ns: int) -> Warn:
    """An interconnect: rated watts times the time, which is no measurement."""
    watts = next(_of(e) for e in entries if e.key == "interconnect_power_est")
    if not 0 <= watts < 1e9:
        raise BenchError(f"{path}: an interconnect of {watts:g} W can't be")
    kwh = watts * window_ns / 1e9 / 3.6e6
    text = (
        f"{path.name} is an estimate, {significant(watts)} W or {significant(kwh)} kWh, and not "
        "added; MLPerf's own figure has it"
    )
    return Warn(id="interconnect", message=text)
