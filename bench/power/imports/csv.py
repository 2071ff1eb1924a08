"""A table of times and watts: CSV, also with semicolons or tabs, such as `nvidia-smi` prints.

How the watts were measured no table tells: it is an estimate (M0) unless the user states a level.
"""

from __future__ import annotations

import csv
import io
import math
import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError, UsageError, near_names
from bench.power.imports import GAINS, Imported, text_of
from bench.power.imports._readings import LATEST_NS, rate_hz, series
from bench.power.probes import KINDS, Domain, Mark
from bench.power.trace import Trace
from bench.record import Warn

_LEVELS = ("M0", "M1", "M2")  # M3 has a protocol, which no table holds
_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
_WATTS = {"W": 1.0, "mW": 1e-3, "kW": 1e3, "MW": 1e6}
_ALSO = {"w": "W", "watts": "W", "mw": "mW", "milliwatts": "mW", "kw": "kW", "kilowatts": "kW"}
_TIMES = ("time", "timestamp", "t", "date", "datetime", "time_s", "time_ms")
_POWERS = ("power", "watts", "power_w", "power.draw [w]", "w")
_DEVICES = {"index", "uuid", "gpu", "gpu_id", "gpu_uuid", "device", "host", "hostname", "node"}
"""Names of columns that tell whose reading a line is, where lines of several are mixed."""
_MISSING = {"", "nan", "n/a", "[n/a]", "na", "null", "none", "-", "[not supported]",
            "[unknown error]"}  # fmt: skip
_READING = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([mkM]?W)?")
_UNIT_IN_NAME = re.compile(rf"(?:^|[\[(_. ])({'|'.join([*_WATTS, *_ALSO])})[\])]?$")
_TIME_IN_NAME = re.compile(r"(?:[\[(]|_)(s|ms|us|ns|seconds)[\])]?$")
_NAME = re.compile(r"[\w.:-]{1,60}")
_PLACES = ((1e9, "s"), (1e12, "ms"), (1e15, "us"), (1e18, "ns"))
"""Since 1970, in each unit: 2001 is here, 5138 a hundred times further on."""
_SAME_TIME = 0.1  # of the rows: more is no slip of a clock


class Table(NamedTuple):
    path: Path
    header: list[str]
    rows: list[list[str]]

    def where(self, i: int) -> str:
        return f"{self.path}, row {i + 2}"

    def column(self, name: str) -> list[str]:
        """By the name in the header, in any case; UsageError with near names."""
        plain = [c.casefold() for c in self.header]
        if name.strip().casefold() not in plain:
            near = near_names(name, self.header) or self.header
            shown = ", ".join(repr(c[:40]) for c in near[:6])
            raise UsageError(f"{self.path} has no column {name!r}", f"such as {shown}")
        if plain.count(name.strip().casefold()) > 1:
            raise UsageError(f"{self.path} has several columns called {name[:40]!r}", "rename one")
        at = plain.index(name.strip().casefold())
        return [row[at] for row in self.rows]


def read(
    paths: Sequence[Path],
    *,
    time: str | None = None,
    time_unit: str | None = None,
    power: Sequence[str] = (),
    unit: str | None = None,
    by: str | None = None,
    kind: str | None = None,
    level: str = "M0",
    gain: float | None = None,
) -> list[Imported]:
    """One file. `power` has NAME=COLUMN, whose NAME may begin with the kind (`gpu:0=watts`); `by`
    names the column that tells devices apart, where each has lines of its own."""
    if len(paths) != 1:
        raise UsageError("one table at a time", "several meters are columns of one: --power NAME=…")
    _one_of("--level", level, _LEVELS)
    if gain is not None and not 0 <= gain < 10:
        raise UsageError(f"--gain {gain:g} is no relative uncertainty", "0.02 for 2 %")
    table = _table(paths[0])
    t_ns, dated = _times(table, time or _only(table, _TIMES, "--time", "time"), time_unit)
    chosen = [_chosen(text, kind, table) for text in power] or [
        _chosen(_only(table, _POWERS, "--power", "power"), kind, table)
    ]
    _one_device(table, by, [column for _, column in chosen])
    trace = Trace([], {}, facts={})
    for name, column in chosen:
        _add(trace, table, name, column, t_ns, by, (level, unit, gain))
    if len({d.name for d in trace.domains}) < len(trace.domains):
        raise UsageError("two columns have one name", "--power gpu:0=… --power gpu:1=…")
    trace.facts["rate_hz"] = min(rate_hz(s.t_ns) for s in trace.series.values())
    if trace.stop_ns <= trace.start_ns:
        raise BenchError(
            f"{table.path} has fewer than two times", "power over no time is no energy"
        )
    doubts = [] if dated else [_undated()]
    return [Imported(trace, trace.start_ns, trace.stop_ns, doubts=doubts)]


def _undated() -> Warn:
    text = "the table has no dates: its times count from its own start, here from 1970"
    return Warn(id="undated", message=text)


# --- the table


def _table(path: Path) -> Table:
    text = text_of(path)
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        rows = [r for r in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(r)]
    except csv.Error as error:
        raise BenchError(f"{path} is no table: {error}") from None
    table = Table(path, [c.strip() for c in rows[0]] if rows else [], rows[1:])
    if not table.rows:
        raise BenchError(f"{path} has no rows below a header", "the first line names the columns")
    for i, row in enumerate(table.rows):
        if len(row) != len(table.header):
            cells = len(table.header)
            raise BenchError(f"{table.where(i)} has {len(row)} cells, the header has {cells}")
    return table


def _only(table: Table, names: Sequence[str], flag: str, what: str) -> str:
    """The one column of a name that says what it is; UsageError where there is none, or several."""
    found = [c for c in table.header if c.casefold() in names]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(repr(c[:40]) for c in table.header[:12])
    raise UsageError(f"which column of {table.path} is the {what}?", f"{flag}, of {shown}")


def _one_device(table: Table, by: str | None, used: Sequence[str]) -> None:
    """UsageError where lines of several devices are mixed and nobody has said so."""
    for name in (c for c in table.header if c.casefold() in _DEVICES and c not in used):
        if by is None and len({cell.strip() for cell in table.column(name)}) > 1:
            raise UsageError(
                f"the column {name[:40]!r} tells several devices apart: taken as one, their power "
                "would be their mean",
                f"--by {shlex.quote(name[:40])} makes each one of its own",
            )


# --- times


def _times(table: Table, column: str, unit: str | None) -> tuple[list[int], bool]:
    """ns, and whether they are dates; BenchError where a time is none, or goes back."""
    cells = [c.strip() for c in table.column(column)]
    if _float(cells[0]) is None:
        t_ns, dated = [_date_ns(c, table.where(i)) for i, c in enumerate(cells)], True
    else:
        unit, dated = _time_unit(column, cells[0], unit)
        t_ns = [_number_ns(c, table.where(i), _NS[unit]) for i, c in enumerate(cells)]
    for i, (before, now) in enumerate(pairwise(t_ns), 1):
        if now < before:
            raise BenchError(
                f"{table.where(i)}: the time goes back, from {cells[i - 1][:40]!r} to "
                f"{cells[i][:40]!r}",
                "the rows of one log are in order; was a clock set?",
            )
    return t_ns, dated


def _date_ns(cell: str, where: str) -> int:
    """A date without a zone is taken as UTC."""
    try:
        at = datetime.fromisoformat(cell.replace("/", "-"))
        t_ns = round(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1e6) * 1000
        if not 0 <= t_ns <= LATEST_NS:
            raise ValueError("no computer was on then")
    except (ValueError, OverflowError):
        raise BenchError(
            f"{where}: {cell[:40]!r} is no time", "a number, or 2026-01-31 12:00:00.5"
        ) from None
    return t_ns


def _number_ns(cell: str, where: str, in_ns: float) -> int:
    value = _float(cell)
    if value is None or not 0 <= value * in_ns <= LATEST_NS:
        raise BenchError(f"{where}: {cell[:40]!r} is no time like the first")
    return round(value * in_ns)


def _time_unit(column: str, first: str, asked: str | None) -> tuple[str, bool]:
    """By what was asked, by how large a number is that counts since 1970, or by the name."""
    value = abs(_float(first) or 0.0)
    since_1970 = next((u for least, u in _PLACES if least <= value < 100 * least), None)
    if asked is not None:
        _one_of("--time-unit", asked, tuple(_NS))
        return asked, value * _NS[asked] >= 1e18
    named = _TIME_IN_NAME.search(column)
    told = {"seconds": "s"}.get(named[1], named[1]) if named else None
    if since_1970 or told:
        return since_1970 or told or "s", since_1970 is not None
    raise UsageError(f"are the times of {column[:40]!r} seconds?", "--time-unit s, or ms, us, ns")


def _float(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# --- power


def _chosen(text: str, kind: str | None, table: Table) -> tuple[str, str]:
    """(domain, column) of NAME=COLUMN, or of a column alone."""
    name, equals, column = text.partition("=")
    if not equals:
        name, column = "", text
    table.column(column)
    if name and not _NAME.fullmatch(name):
        raise UsageError(f"{name[:60]!r} is no name of a meter", "letters, digits, . : - and _")
    head, stem = name.partition(":")[0], table.path.stem[:40]
    if head in KINDS:
        return (name if ":" in name else f"{name}:{stem}"), column
    if kind is None and column.casefold().startswith("power.draw"):  # nvidia-smi's
        kind = "gpu"
    if kind is None:
        raise UsageError(
            f"of what is {column[:40]!r} the power?",
            f"--kind {', '.join(KINDS)}; or --power {shlex.quote(f'gpu:0={column[:40]}')}",
        )
    _one_of("--kind", kind, KINDS)
    return f"{kind}:{name or stem}", column


def _add(
    trace: Trace, table: Table, name: str, column: str, t_ns: Sequence[int], by: str | None,
    stated: tuple[str, str | None, float | None],
) -> None:  # fmt: skip
    """Add the domain of a column, or one for each device that `by` tells apart."""
    level, unit, gain = stated
    watts = _watts(table, column, unit)
    devices = [c.strip() for c in table.column(by)] if by else [""] * len(watts)
    for device in dict.fromkeys(devices):
        mine = [i for i, d in enumerate(devices) if d == device]
        full = f"{name.partition(':')[0]}:{device[:60]}" if by else name
        domain = Domain(
            full, full.partition(":")[0], f"{column[:60]} of {table.path.name[:60]}", level,
            GAINS[full.partition(":")[0]] if gain is None else gain,
            reason=_UNSTATED if level == "M0" else None,
        )  # fmt: skip
        trace.domains.append(domain)
        trace.series[full] = series([t_ns[i] for i in mine], [watts[i] for i in mine])
        trace.marks += _marks(full, [t_ns[i] for i in mine], [watts[i] for i in mine])


_UNSTATED = "nobody has stated how these numbers were measured (--level), so they are an estimate"


def _watts(table: Table, column: str, unit: str | None) -> list[float]:
    if unit is not None:
        _one_of("--unit", unit, tuple(_WATTS))
    named = _UNIT_IN_NAME.search(column)
    told = _ALSO.get(named[1], named[1]) if named else ""
    if unit and told and unit != told:
        raise UsageError(f"--unit {unit}, and the column is called {column[:40]!r}",
                         "leave out --unit")  # fmt: skip
    usual = _WATTS[unit or told or "W"]
    return [_power(c.strip(), usual, table.where(i)) for i, c in enumerate(table.column(column))]


def _power(cell: str, usual: float, where: str) -> float:
    """Watts; NaN where the table has no reading."""
    if cell.casefold() in _MISSING:
        return math.nan
    found = _READING.fullmatch(cell)
    if not found or not math.isfinite(float(found[1])):
        raise BenchError(
            f"{where}: {cell[:40]!r} is no power", "a number, or one with W, mW, kW, MW"
        )
    return float(found[1]) * (_WATTS[found[2]] if found[2] else usual)


def _marks(name: str, t_ns: Sequence[int], watts: Sequence[float]) -> list[Mark]:
    """Where readings are missing, and where several have one time, of which the first counts;
    UsageError where so many have that they may be of several meters."""
    lost = [t for t, w in zip(t_ns, watts, strict=True) if math.isnan(w)]
    marks = [Mark(t, "unreadable", "a row without a reading", name) for t in lost]
    again = sum(b == a for a, b in pairwise(t_ns))
    if again > _SAME_TIME * len(t_ns):
        raise UsageError(
            f"{again} of {len(t_ns)} rows have the time of the row before: are they of several "
            "meters?",
            "--by COLUMN tells them apart; or give times to the millisecond",
        )
    if again:
        text = f"{again} rows have the time of the row before: of each time the first counts"
        marks.append(Mark(t_ns[0], "same-time", text, name))
    return marks


def _one_of(flag: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"{flag} {value[:40]} is none", f"one of {', '.join(known)}")
