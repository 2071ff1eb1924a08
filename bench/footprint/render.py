"""The study's tables and what amounts are like, for a terminal: wide, or narrow as two tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError, near_names
from bench.footprint import equivalents as alike
from bench.footprint import formulas, published
from bench.footprint.equivalents import Equivalent
from bench.footprint.published import Cell, Row, Table
from bench.footprint.quantity import Quantity, explained
from bench.units import KG_PER_LB, significant

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable

    from bench.footprint.live import Course, Matched, Sample
    from bench.power.carbon import Scenario

WIDE = 120  # columns of a terminal, from which energy and cost stand side by side
LEAST = 80  # and below which the tables don't fit
AGREES, DIFFERS = "✓", "≠"
_FEW = 3


@dataclass(frozen=True)
class Group:
    """Numbers that stand together: one title, and the keys of its cells (two: from, to)."""

    title: str
    keys: tuple[str, ...]


_ENERGY = (Group("kWh", ("kwh",)), Group("lb CO2e", ("lb",)))
_CLOUD = (Group("cloud cost, USD", ("usd_low", "usd_high")),)
_ELECTRICITY = (Group("electricity, USD", ("electricity_usd",)),)
# Table -> groups that make one table each in a narrow terminal.
LAYOUT: dict[str, tuple[tuple[Group, ...], ...]] = {
    "1": ((Group("lb CO2e", ("lb",)),),),
    "3": (_ENERGY, _CLOUD),
    "4": (_CLOUD, _ELECTRICITY),
    "later": ((Group("kWh", ("kwh",)), Group("t CO2e", ("t",))),),
}
INPUTS = {"3": (("power_w", "W"), ("hours", "hours")), "4": (("hours", "GPU-hours"),)}


# --- the study's tables --------------------------------------------------------------------------


def tables(
    found: Sequence[Table], width: int, scenario: Scenario | None = None
) -> Iterator[RenderableType]:
    """Each table with what is computed beside what is printed, and below it what differs; then the
    same trainings in `scenario`."""
    wide = width >= WIDE
    for table in found:
        layout = LAYOUT[table.key]
        yield _heading(table.title)
        for groups in [sum(layout, ())] if wide else layout:
            yield _table(table, groups, wide)
            yield ""
        yield _notes(table, wide)
        yield ""
    if scenario:
        yield from _again(found, scenario)
        yield ""
    if said := last_line(found):
        yield _text(said)


def last_line(found: Iterable[Table]) -> str:
    """What the largest row that was computed is like."""
    rows = [(kg, row) for table in found for row in table.rows if (kg := row_kg(row))]
    if not rows:
        return ""
    kg, row = max(rows, key=lambda each: each[0])
    return f"{row.name}: {alike.line(kg)}"


def row_kg(row: Row) -> float:
    lb, t = (row.cells[key].computed if key in row.cells else None for key in ("lb", "t"))
    return lb.value * KG_PER_LB if lb else 1000 * t.value if t else 0.0


def _table(table: Table, groups: Sequence[Group], wide: bool) -> RichTable:
    made = _empty()
    hardware = table.key != "4" and any(row.hardware for row in table.rows)
    cited = _sources(table)
    made.add_column("", overflow="fold", min_width=14)
    if hardware and wide:
        made.add_column("hardware", no_wrap=True)
    inputs = INPUTS.get(table.key, ())
    for _, unit in inputs:
        made.add_column(unit, justify="right", no_wrap=True)
    for group in groups:
        made.add_column(group.title, justify="right", no_wrap=True)
        made.add_column("printed", justify="right", no_wrap=True)
        made.add_column("", no_wrap=True)
    if cited and wide:
        made.add_column("source", overflow="fold")
    for row in table.rows:
        texts = [_name(row, cited, hardware, wide)]
        texts += [row.hardware] if hardware and wide else []
        texts += [input_text(row.inputs.get(key)) for key, _ in inputs]
        texts += [text for group in groups for text in compared(row, group)]
        texts += [_source(row)] if cited and wide else []
        made.add_row(*map(_text, texts))
    return made


def _name(row: Row, cited: Sequence[str], hardware: bool, wide: bool) -> str:
    """In a narrow terminal with the hardware below it, and the number of its source."""
    if wide:
        return row.name
    number = f" [{cited.index(_source(row)) + 1}]" if _source(row) else ""
    return row.name + number + (f"\n{row.hardware}" if hardware and row.hardware else "")


def _sources(table: Table) -> list[str]:
    return list(dict.fromkeys(filter(None, map(_source, table.rows))))


def _source(row: Row) -> str:
    return "; ".join(t for t in (row.source, row.note) if t)


def input_text(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}" if value % 1 else f"{value:,.0f}"


def compared(row: Row, group: Group) -> tuple[str, str, str]:
    """Computed, printed, and whether they agree."""
    cells = [row.cells[key] for key in group.keys if key in row.cells]
    computed = _range([(c.rounded, c.step) for c in cells])
    printed = _range([(c.printed, c.step) for c in cells])
    if not computed or not printed:
        return computed, printed, ""
    return computed, printed, AGREES if all(c.agrees for c in cells) else DIFFERS


def _range(values: Sequence[tuple[float | None, float]]) -> str:
    texts = [number_text(value, step) for value, step in values if value is not None]
    return "\N{EN DASH}".join(texts) if len(texts) == len(values) else ""


def number_text(value: float, step: float, sign: str = "") -> str:
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:{sign},.{places}f}"


def _notes(table: Table, wide: bool) -> RenderableType:
    """What differs and why, and what is to be known of all rows."""
    grid = _grid()
    for row in table.rows:
        if cells := {k: c for k, c in row.cells.items() if c.agrees is False}:
            name = f"{row.name}, {row.hardware}" if row.hardware else row.name
            grid.add_row(DIFFERS, _text(f"{name}: {differing(cells)}"))
    for number, source in enumerate([] if wide else _sources(table), 1):
        grid.add_row(f"[{number}]", _text(source))
    for note in table.notes:
        grid.add_row("", _text(note))
    return grid


def differing(cells: Mapping[str, Cell]) -> str:
    """kWh -4, lb CO2e -4: 79.2 h give 1,507 kWh, 1,438 lb CO2e (3.3 days, rounded)"""
    by = ", ".join(
        f"{c.computed.unit} {number_text(c.difference, c.step, '+')}"
        for c in cells.values()
        if c.computed and c.difference is not None
    )
    whys = dict.fromkeys(c.why for c in cells.values() if c.why)
    return f"{by}: {_joined(whys) or 'nothing explains it'}"


def _joined(whys: Iterable[str]) -> str:
    """Reasons that say the same of several numbers become one."""
    found: dict[tuple[str, str], list[str]] = {}
    for why in whys:
        match = re.fullmatch(r"(.* give )([^(]*)( \(.*\))", why)
        head, middle, tail = match.groups() if match else ("", why, "")
        found.setdefault((head, tail), []).append(middle)
    return "; ".join(head + ", ".join(some) + tail for (head, tail), some in found.items())


def _again(found: Sequence[Table], scenario: Scenario) -> Iterator[RenderableType]:
    """The trainings of table 3, whose power is that of all devices, under other factors."""
    region = scenario.region
    for table in (t for t in found if t.key == "3"):
        now = published.again(table, scenario)
        yield _heading(f"The same trainings in {region.name}, {scenario.pue}")
        made = _empty()
        made.add_column("", overflow="fold")
        for title in ("kWh", "kg CO2e", "in the study"):
            made.add_column(title, justify="right")
        for row in (r for r in table.rows if r.name in now and r.cells["lb"].computed):
            energy, emissions = now[row.name]
            texts = (
                row.name,
                f"{energy.value:,.0f}",
                f"{emissions.value:,.0f}",
                f"{row_kg(row):,.0f}",
            )
            made.add_row(*map(_text, texts))
        yield made
        yield ""
        yield _text(
            f"{significant(region.g_per_kwh)} g CO2e/kWh: {region.source} {region.year}, "
            f"{region.kind}; the study's factor is of combustion in the US of 2018, with PUE 1.58."
        )


# --- on demand -----------------------------------------------------------------------------------


def chosen(found: Sequence[Table], name: str | None) -> list[Table]:
    """The rows whose name or hardware has `name` in it; UsageError where there is none."""
    if name is None:
        return list(found)
    some = [
        Table(t.key, t.title, rows, t.notes)
        for t in found
        if (rows := tuple(r for r in t.rows if name.lower() in f"{r.name} {r.hardware}".lower()))
    ]
    if not some:
        near = near_names(name, [r.name for t in found for r in t.rows])
        hint = f"did you mean {' or '.join(near)}?" if near else "--table names another table"
        raise UsageError(f"no row is called '{name}'", hint)
    return some


def explanations(found: Iterable[Table]) -> Iterator[str]:
    """Each number that was computed: its formula down to its sources."""
    for table in found:
        yield table.title
        for row in table.rows:
            cells = {k: c for k, c in row.cells.items() if c.computed}
            if not cells:
                continue
            yield ""
            yield f"{row.name}, {row.hardware}" if row.hardware else row.name
            for key, cell in cells.items():
                yield from (f"  {text}" for text in cell_explained(key, cell))
        yield ""


def cell_explained(key: str, cell: Cell) -> Iterator[str]:
    assert cell.computed
    which = {"usd_low": ", lowest", "usd_high": ", highest"}.get(key, "")
    first, *others = explained(cell.computed)
    yield first.replace(" =", f"{which} =", 1)
    yield from others
    if cell.printed is not None:
        agrees = AGREES if cell.agrees else f"{DIFFERS}: {cell.why or 'nothing explains it'}"
        yield f"  printed {number_text(cell.printed, cell.step)} {cell.computed.unit} {agrees}"


def facts(found: Iterable[Table], scenario: Scenario | None = None) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {
            "table": table.key, "title": table.title, "notes": list(table.notes),
            "rows": [_facts(row) for row in table.rows],
            **({"again": _again_facts(table, scenario)} if scenario and table.key == "3" else {}),
        }
        for table in found
    ]  # fmt: skip


def _facts(row: Row) -> dict[str, Any]:
    cells = {
        key: {
            "computed": c.computed.as_dict() if c.computed else None, "printed": c.printed,
            "rounded": c.rounded, "difference": c.difference, "agrees": c.agrees, "why": c.why,
        }
        for key, c in row.cells.items()
    }  # fmt: skip
    return {
        "name": row.name, "hardware": row.hardware, "inputs": dict(row.inputs), "cells": cells,
        "source": row.source, "note": row.note,
    }  # fmt: skip


def _again_facts(table: Table, scenario: Scenario) -> Mapping[str, Any]:
    return {
        name: {"energy": energy.as_dict(), "emissions": emissions.as_dict()}
        for name, (energy, emissions) in published.again(table, scenario).items()
    }


# --- equivalents ---------------------------------------------------------------------------------


def equivalents(
    asked: Quantity,
    emissions: Quantity,
    scenario: Scenario | None,
    found: Sequence[Equivalent],
) -> Iterator[RenderableType]:
    """What an amount is like, by energy and by CO2e."""
    by_energy = [e for e in found if e.thing.of == "energy"]
    if by_energy:
        yield _text(f"{_plain(asked.value)} kWh is")
        yield _list(by_energy)
    if scenario:
        intensity = formulas.intensity_of(scenario.region)
        where = f"{significant(intensity.value, 4)} {intensity.unit} ({intensity.source})"
        assumed = ", which is assumed" if scenario.assumed else ""
        yield _text(f"and {_mass(emissions)} at {where}{assumed}, {scenario.pue}:")
    else:
        yield _text(f"{_mass(emissions)} is")
    yield _list([e for e in found if e.thing.of != "energy"])
    yield _text("Each source counts in its own way: these are for picturing, not for adding up.")


def counts_explained(found: Iterable[Equivalent]) -> Iterator[str]:
    """Each count: its formula down to its sources."""
    for each in found:
        yield ""
        yield str(each)
        yield from (f"  {line}" for line in explained(each.count))


def _mass(emissions: Quantity) -> str:
    kg = emissions.value
    return f"{_plain(kg)} kg CO2e" if kg >= 1 else f"{_plain(1000 * kg)} g CO2e"


def _plain(value: float) -> str:
    text = significant(value, 4)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _list(found: Sequence[Equivalent]) -> RichTable:
    """Those that can be pictured, and three at least."""
    grid = _grid()
    for each in [e for i, e in enumerate(found) if e.pictured or i < _FEW]:
        _, count, rest = str(each).split(" ", 2)
        grid.add_row(_text(f"  about {count}"), _text(rest))
    return grid


# --- the terminal --------------------------------------------------------------------------------


def _heading(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text, style="bold")


def _empty() -> RichTable:
    from rich import box
    from rich.table import Table as RichTable

    return RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def _grid() -> RichTable:
    from rich.table import Table as RichTable

    grid = RichTable.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _text(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text)


# --- intensity -----------------------------------------------------------------------------------

_BARS = "▁▂▃▄▅▆▇█"


def intensity(course: Course, at: datetime, assumed: bool = False) -> Iterator[RenderableType]:
    """Of a grid: now, the course of the day, and the yearly mean. The course may begin before the
    day; `assumed` says that nobody named the grid."""
    region = course.region
    grid = _grid()
    yield _heading(f"{region.name} ({region.code}){', which is assumed' if assumed else ''}")
    grid.add_row("now", _text(_now(course)))
    for label, line in zip(("today", "", "", ""), _day(course, at), strict=False):
        grid.add_row(label, _text(line))
    if course.source:
        grid.add_row("source", _text(f"{course.title}, {course.kind}"))
    by_year = f"{region.source} {region.year}, {region.kind}"
    grid.add_row("yearly", _text(f"{_grams(region.g_per_kwh, 'CO2e')}: {by_year}"))
    if course.kind and course.kind != region.kind:
        grid.add_row("", _text(f"{course.kind} and {region.kind} figures don't compare"))
    for i, why in enumerate(course.whys):
        grid.add_row("" if i else "notes", _text(why))
    yield grid


def _now(course: Course) -> str:
    if not course.samples:
        return "not known: the yearly mean stands in"
    newest = course.samples[-1]
    estimated = ", estimated" if newest.estimated else ""
    when = f"{newest.start:%H:%M} to {newest.stop:%H:%M} UTC{estimated}"
    return f"{_grams(newest.g_per_kwh, course.unit)}, {when}"


def _grams(value: float, unit: str) -> str:
    return f"{significant(value)} g {unit}/kWh"


def _day(course: Course, at: datetime) -> list[str]:
    """A bar for each half hour or hour of a day, a scale below them, and what it comes to."""
    samples = _since(course, _midnight(at))
    if not samples:
        return []
    step = min(s.stop - s.start for s in samples)
    count = round(timedelta(days=1) / step)
    by_slot = {round((s.start - _midnight(at)) / step): s.g_per_kwh for s in samples}
    most = max(by_slot.values()) or 1.0
    bars = "".join(
        " " if g is None else _BARS[min(int(g / most * len(_BARS)), len(_BARS) - 1)]
        for g in (by_slot.get(i) for i in range(count))
    )
    hours = "".join(f"{h:02d}".ljust(count // 8) for h in range(0, 24, 3))
    low, high = (f(samples, key=lambda s: s.g_per_kwh) for f in (min, max))
    mean = sum(s.g_per_kwh for s in samples) / len(samples)
    return [
        bars.rstrip(),
        f"{hours.rstrip()} UTC",
        f"low {significant(low.g_per_kwh)} at {low.start:%H:%M}, high "
        f"{significant(high.g_per_kwh)} at {high.start:%H:%M}, mean {significant(mean)}",
    ]


def _since(course: Course, start: datetime) -> list[Sample]:
    return [s for s in course.samples if s.start >= start]


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def matched_lines(found: Matched) -> list[tuple[str, str]]:
    """A run met by intensity, as labelled lines; the first says the emissions, or that there is no
    sum."""
    region = found.scenario.region
    kind = f", {found.kind}" if found.kind else ""
    said = [("emissions", f"{found.emissions}{kind}" if found.emissions else "not summed")]
    if found.mean:
        share = significant(100 * found.share.value, 3)
        said.append(("live", f"{share} % of the energy met {found.mean} on average"))
    by_year = f"{region.name} {region.year}, {region.source}, {region.kind}"
    said.append(("yearly", f"{found.yearly} by the mean of a year ({by_year})"))
    return said + [("" if i else "notes", note) for i, note in enumerate(found.notes)]


def intensity_facts(course: Course, at: datetime) -> dict[str, Any]:
    """For JSON."""
    region = course.region
    return {
        "region": region.code, "source": course.source, "kind": course.kind,
        "unit": f"g {course.unit}/kWh",
        "now": _sample(course.samples[-1]) if course.samples else None,
        "today": [_sample(s) for s in _since(course, _midnight(at))],
        "yearly": {
            "g_per_kwh": region.g_per_kwh, "year": region.year, "source": region.source,
            "kind": region.kind,
        },
        "not_used": list(course.whys),
    }  # fmt: skip


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        "start": sample.start.isoformat(), "stop": sample.stop.isoformat(),
        "g_per_kwh": sample.g_per_kwh, "estimated": sample.estimated,
    }  # fmt: skip
