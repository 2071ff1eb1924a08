"""A board as a table for people, and as CSV, JSON and Markdown.

Every text in a record may be hostile: what is shown passes `plain`, and each format escapes what
it would otherwise take for its own syntax.
"""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError
from bench.rank import notation
from bench.rank.columns import COLUMNS, Column, Scenario, named
from bench.rank.entry import Cell, Entry, Section
from bench.units import J_PER_KWH, EnergyUnit, significant

if TYPE_CHECKING:
    from rich.console import Console

JSON_SCHEMA = "bench.leaderboard/1"
LONGEST = 200  # characters of one text that people are shown
LOCAL = "yours: a local run, not submitted"
EMPTY = "no run matches; `bench run --task sst2` makes one"
FORMATS = ("table", "csv", "json", "markdown")

_LEVELS = {
    "M0": "M0, estimated",
    "M1": "M1, software counters",
    "M2": "M2, node or wall meter",
    "M3": "M3, calibrated meter",
}


def render(
    cells: Sequence[Cell],
    format: str = "table",
    *,
    width: int = 80,
    colour: bool = False,
    scenario: Scenario | None = None,
) -> str:
    """The board as text that ends in a newline. `width` and `colour` concern the table."""
    if format == "table":
        return table(cells, width, colour, scenario)
    if format == "csv":
        return as_csv(cells, scenario)
    if format == "json":
        return as_json(cells, scenario)
    if format == "markdown":
        return markdown(cells, scenario)
    raise UsageError(f"'{format}' is not a format", f"one of {', '.join(FORMATS)}")


def plain(text: str, longest: int = LONGEST) -> str:
    """One line without control, format, bidirectional or unassigned characters."""
    text = " ".join(text[: 4 * longest].split())
    if text.isprintable():  # has none of these: nearly every text, and the loop is slow
        return text[: longest - 1] + "…" if len(text) > longest else text
    kept = [c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn")]
    return "".join(kept[: longest - 1]) + "…" if len(kept) > longest else "".join(kept)


# --- JSON and CSV ------------------------------------------------------------------------------


def as_json(cells: Iterable[Cell], scenario: Scenario | None = None) -> str:
    """Everything, with full numbers; null is what is not known. Not ASCII is escaped."""
    document = {
        "schema": JSON_SCHEMA,
        "grid": scenario and _grid_object(scenario),
        "columns": [
            {"key": c.key, "title": c.title, "unit": c.unit, "better": c.better} for c in COLUMNS
        ],
        "cells": [_cell_object(c, scenario) for c in cells],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _grid_object(scenario: Scenario) -> dict[str, Any]:
    grid = scenario.region
    return {
        "name": grid.name, "year": grid.year, "source": grid.source,
        "kind": grid.kind, "g_per_kwh": grid.g_per_kwh,
        "pue": scenario.pue.value,
    }  # fmt: skip


def _cell_object(cell: Cell, scenario: Scenario | None) -> dict[str, Any]:
    return {
        **cell.place._asdict(),
        "access": cell.place.access,
        "title": cell.title,
        "better": cell.better,
        "notes": list(cell.notes),
        "sections": [
            {
                "name": s.name,
                "threshold": s.threshold,
                "entries": [_entry_object(e, scenario) for e in s.entries],
            }
            for s in cell.sections
        ],
    }


def _entry_object(entry: Entry, scenario: Scenario | None) -> dict[str, Any]:
    return {
        "entry": entry.key,
        "origin": entry.origin,
        "title": entry.title,
        "status": entry.status,
        "tier": entry.tier,
        "rank": list(entry.rank) if entry.rank else None,
        "reasons": list(entry.reasons),
        "settings": entry.spec.settings,
        "also": entry.also,
        "run_ids": [r.run_id for r in entry.records],
        "warnings": [
            {"run_id": r.run_id, "id": w.id, "message": w.message}
            for r in entry.records
            for w in r.warnings
        ],
        "values": {c.key: c.value(entry, scenario) for c in COLUMNS},
        "uncertainties": {c.key: c.spread(entry) for c in COLUMNS if c.spread},
    }


def as_csv(cells: Iterable[Cell], scenario: Scenario | None = None) -> str:
    """One line an entry, every column with its unit in the header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header: list[str] = []
    for c in COLUMNS:
        header.append(c.heading)
        if c.spread:
            header.append(f"{c.title} ± ({c.unit})" if c.unit else f"{c.title} ±")
    writer.writerow([*header, "remarks"])
    for cell in cells:
        for entry in cell.entries:
            writer.writerow([harmless(v) for v in _csv_row(cell, entry, scenario)])
    return out.getvalue()


def _csv_row(cell: Cell, entry: Entry, scenario: Scenario | None) -> list[Any]:
    row: list[Any] = []
    for c in COLUMNS:
        row.append(c.value(entry, scenario))
        if c.spread:
            row.append(c.spread(entry))
    return [*row, "; ".join((*cell.notes, *entry.reasons))]


def harmless(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula starts with an apostrophe instead."""
    if not isinstance(value, str):
        return value
    text = plain(value, 5 * LONGEST)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


# --- Markdown ----------------------------------------------------------------------------------


def markdown(cells: Sequence[Cell], scenario: Scenario | None = None) -> str:
    if not cells:
        return f"{EMPTY}\n"
    columns = _filled(_by_priority(), cells, scenario)
    columns.sort(key=COLUMNS.index)
    lines: list[str] = []
    for cell in cells:
        lines += [f"## {escaped(cell.title)}", "", escaped(how(cell)), ""]
        lines += [f"> **{escaped(note)}**\n" for note in cell.notes]
        for section in cell.sections:
            lines += [f"### {section_title(section, cell)}", ""]
            lines += _markdown_table(section, cell, columns, scenario)
    lines += [f"- {line}" for line in legend(cells)]
    lines += [f"- {escaped(line)}" for line in _grid_line(scenario, columns)]
    return "\n".join(lines) + "\n"


def _markdown_table(
    section: Section, cell: Cell, columns: list[Column], scenario: Scenario | None
) -> list[str]:
    lines = [
        "| " + " | ".join(escaped(heading_of(c, cell)) for c in columns) + " |",
        "| " + " | ".join("---" if c.key == "entry" else "---:" for c in columns) + " |",
    ]
    for entry in section.entries:
        texts = ["".join(as_text(c, entry, cell, scenario)) for c in columns]
        lines.append("| " + " | ".join(escaped(t.strip()) for t in texts) + " |")
    common = common_reasons(section)
    remarks = [f"- {escaped(r)}" for r in common]
    remarks += [
        f"- {escaped(e.title)}: {escaped(r)}"
        for e in section.entries for r in e.reasons if r not in common
    ]  # fmt: skip
    return [*lines, "", *remarks, *([""] if remarks else [])]


def common_reasons(section: Section) -> list[str]:
    """Why entries do not count, where it is the same of several and of all: said once."""
    first, *others = section.entries
    common = [r for r in first.reasons if all(r in e.reasons for e in others)]
    return common if others and not first.rank else []


_UNMARKED = re.compile(r"(?:[^\W_]|[ \-.,;:()+=/%±–·×≥≤≈…!'])*")
_MARKED = re.compile(r"://|www\.|^[-+=]")


def escaped(text: str) -> str:
    """Text that Markdown leaves alone; what it might take for syntax or a link, as code."""
    text = plain(text)
    if _UNMARKED.fullmatch(text) and not _MARKED.search(text):
        return text
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


# --- the table ---------------------------------------------------------------------------------


@dataclass
class _Layout:
    """Columns that fit, with the widths of their halves: the value and its ±."""

    columns: list[Column]
    halves: dict[str, tuple[int, int]]
    title_width: int

    def width(self, column: Column) -> int:
        return self.title_width if column.key == "entry" else sum(self.halves[column.key])

    @property
    def total(self) -> int:
        return sum(self.width(c) + GAP for c in self.columns) - GAP


GAP = 2
TITLE = (16, 60)  # terminal columns of a title, narrowest and widest
ESSENTIAL = 5  # columns of lower priority never make a title wrap


def table(
    cells: Sequence[Cell],
    width: int = 80,
    colour: bool = False,
    scenario: Scenario | None = None,
) -> str:
    """The board for a terminal; narrower ones are shown fewer columns, never half a number."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=colour, color_system="256" if colour else None,
        height=25,  # without one it asks the terminal, line by line
        highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    if not cells:
        console.print(EMPTY)
        return out.getvalue()
    layout = _fit(cells, width, scenario)
    for cell in cells:
        _print_cell(console, cell, layout, scenario)
    yours = [f"* {LOCAL}"] if any(e.origin == "local" for c in cells for e in c.entries) else []
    for line in [*yours, *legend(cells), *_grid_line(scenario, layout.columns)]:
        _print_wrapped(console, line, "dim")
    return out.getvalue()


def _fit(cells: Sequence[Cell], width: int, scenario: Scenario | None) -> _Layout:
    """As many columns as fit, the important ones first, all cells alike. An essential column
    that doesn't fit with its ± is shown without."""
    from rich.cells import cell_len

    halves: dict[str, tuple[int, int]] = {}
    titles = [cell_len(plain(e.title)) + 2 for c in cells for e in c.entries]
    wish = min(max(*titles, TITLE[0]), TITLE[1])
    chosen: list[Column] = []
    left = width - TITLE[0]
    for column in _filled(_by_priority(), cells, scenario):
        if column.key == "entry":
            chosen.append(column)
            continue
        value, spread = _halves(column, cells, scenario)
        room, options = left - (wish - TITLE[0]), [(value, spread)]
        if (column.priority or 0) <= ESSENTIAL:
            bare = max(value, *(len(heading_of(column, c)) for c in cells))
            room, options = left, [(value, spread), (bare, 0)]
        fitting = next((o for o in options if sum(o) + GAP <= room), None)
        if fitting:
            halves[column.key] = fitting
            chosen.append(column)
            left -= sum(fitting) + GAP
    chosen.sort(key=COLUMNS.index)
    return _Layout(chosen, halves, min(wish, TITLE[0] + left))


def _halves(column: Column, cells: Sequence[Cell], scenario: Scenario | None) -> tuple[int, int]:
    texts = [as_text(column, e, c, scenario) for c in cells for e in c.entries]
    value = max(len(t[0]) for t in texts)
    spread = max(len(t[1]) for t in texts)
    heading = max(len(heading_of(column, c)) for c in cells)
    return max(value, heading - spread), spread


def _by_priority() -> list[Column]:
    return sorted((c for c in COLUMNS if c.priority), key=lambda c: c.priority or 0)


def _filled(
    columns: list[Column], cells: Sequence[Cell], scenario: Scenario | None
) -> list[Column]:
    """The columns in which at least one entry has something to show."""
    return [
        c for c in columns
        if any(as_text(c, e, cell, scenario)[0].strip() for cell in cells for e in cell.entries)
    ]  # fmt: skip


def as_text(
    column: Column,
    entry: Entry,
    cell: Cell,
    scenario: Scenario | None,
    unit: EnergyUnit | None = None,
) -> tuple[str, str]:
    """What a reader sees of a value, and of its ± or mark; an energy in the unit of its cell, where
    it is not told another."""
    if column.key == "entry":
        return entry.title, " (local)" if entry.origin == "local" else ""
    if column.key == "runs":
        return f"{entry.counted} of {entry.attempts}", " !" if entry.warnings else ""
    value = column.value(entry, scenario)
    text = column.shown(entry) if column.shown else _shower(column, cell, unit)(value)
    if text and cell.place.estimated and column.key in _FROM_ENERGY:
        text = f"≈{text}"
    return text, _spread(column, entry, cell, value)


def _shower(column: Column, cell: Cell, unit: EnergyUnit | None = None) -> Callable[[Any], str]:
    """How a column's values are shown: a metric's as its table has it."""
    if column.in_common:
        number_in = (unit or cell.energy_unit).number
        return lambda kwh: "" if kwh is None else number_in(kwh * J_PER_KWH)
    if column.key != "metric":
        return column.show
    number = notation.of(cell.metric).number
    return lambda value: "" if value is None else number(value)


_FROM_ENERGY = {
    "energy",
    "tuned_energy",
    "score",
    "plain_ratio",
    "emissions",
    "prediction_energy",
    "idle_power",
    "reference",
}


def _spread(column: Column, entry: Entry, cell: Cell, value: Any) -> str:
    spread = column.spread(entry) if column.spread else None
    if spread is None or value is None:
        return ""
    if not column.relative:
        return f" ±{_shower(column, cell)(spread)}"
    return f" ±{_whole_percent(spread / abs(value))}" if value else ""


def _whole_percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.0995 else f"{significant(100 * share, 1)}%"


def heading_of(column: Column, cell: Cell) -> str:
    if column.key == "metric":
        return plain(notation.of(cell.metric).heading, 22)
    heading = column.short or column.title
    return heading.replace("kWh", cell.energy_unit.name) if column.in_common else heading


def _print_cell(console: Console, cell: Cell, layout: _Layout, scenario: Scenario | None) -> None:
    loud = "bold yellow" if cell.notes else "bold"
    _print_wrapped(console, cell.title, loud)
    _print_wrapped(console, how(cell), "dim")
    for note in cell.notes:
        _print_wrapped(console, note, "yellow", "! ")
    console.print()
    headings = [_pad(heading_of(c, cell), layout.width(c), c) for c in layout.columns]
    _print_line(console, headings, "bold")
    for section in cell.sections:
        _print_rule(console, section_title(section, cell), section.name, layout.total)
        common = common_reasons(section)
        for reason in common:
            _print_wrapped(console, reason, "dim italic", "   ")
        for entry in section.entries:
            _print_entry(console, entry, cell, layout, scenario)
            for reason in entry.reasons if not entry.rank else ():
                if reason not in common:
                    _print_wrapped(console, reason, "dim italic", "      └ ")
    console.print()


_TIER_STYLES = {"gold": "bold gold3", "silver": "bold grey70", "bronze": "bold dark_orange3"}


def _print_rule(console: Console, title: str, name: str, width: int) -> None:
    from rich.text import Text

    line = Text("── ", style="dim")
    line.append(title, style=_TIER_STYLES.get(name, "bold"))
    line.append(" " + "─" * max(width - len(title) - 4, 0), style="dim")
    console.print(line, no_wrap=True, overflow="crop")


def _print_entry(
    console: Console, entry: Entry, cell: Cell, layout: _Layout, scenario: Scenario | None
) -> None:
    style = "" if entry.rank else "dim"
    blank = [" " * layout.width(c) for c in layout.columns]
    numbers = [_aligned(c, as_text(c, entry, cell, scenario), layout) for c in layout.columns]
    at = next(i for i, c in enumerate(layout.columns) if c.key == "entry")
    for i, part in enumerate(_wrapped_title(entry, layout.title_width)):
        row = blank if i else numbers
        _print_line(console, [*row[:at], part, *row[at + 1 :]], style)


def _print_line(console: Console, cells: list[str], style: str) -> None:
    from rich.text import Text

    text = Text((" " * GAP).join(cells).rstrip(), style=style)
    console.print(text, no_wrap=True, overflow="crop")


def _print_wrapped(console: Console, text: str, style: str, lead: str = "") -> None:
    """A text from a record or a card, in at most three lines."""
    for line in textwrap.wrap(
        plain(text), max(console.width, 20), initial_indent=lead,
        subsequent_indent=" " * len(lead), max_lines=3, placeholder="…",
    ):  # fmt: skip
        console.print(line, style=style, no_wrap=True, overflow="crop")


def _aligned(column: Column, texts: tuple[str, str], layout: _Layout) -> str:
    """The value to the right and its ± to the left, so that both stand in columns."""
    value, spread = layout.halves.get(column.key, (0, 0))
    return _pad(texts[0], value, column) + texts[1][:spread].ljust(spread)


def _pad(text: str, width: int, column: Column | None = None) -> str:
    """`text` in `width` terminal columns: names and ranks to the left, numbers to the right."""
    from rich.cells import cell_len

    space = " " * max(width - cell_len(text), 0)
    return text + space if column is None or column.key in _LEFT else space + text


_LEFT = ("rank", "entry")


def _wrapped_title(entry: Entry, width: int) -> list[str]:
    """The title in at most three lines of `width` terminal columns; `*` marks a local entry."""
    from rich.cells import cell_len, set_cell_size

    mark = "* " if entry.origin == "local" else ""
    text = mark + plain(entry.title).replace(" · ", "\N{NO-BREAK SPACE}· ")
    lines = textwrap.wrap(text, width, subsequent_indent="  ", max_lines=3, placeholder="…")
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines or [""]]
    return [set_cell_size(t, width) if cell_len(t) > width else _pad(t, width) for t in lines]


# --- words -------------------------------------------------------------------------------------


def how(cell: Cell) -> str:
    p = cell.place
    data = "official data" if p.data == "official" else f"data {p.data}"
    if p.coverage == "nothing":
        energy = "no energy was read"
    else:
        energy = f"energy of {p.coverage} ({_LEVELS.get(p.level, p.level)})"
    noise = _noise(cell)
    return plain(
        f"{energy} · {data}, version {p.version} · edition {p.edition}"
        + (f" · {noise}" if noise else "")
    )


def _noise(cell: Cell) -> str:
    """What the scored split's size alone makes uncertain, in points."""
    column = named("split_noise")
    found = [v for e in cell.entries if isinstance(v := column.value(e, None), float)]
    if not found:
        return ""
    n = next(m.n for e in cell.entries for m in e.metrics)
    low, high = f"{100 * min(found):.1f}", f"{100 * max(found):.1f}"
    return f"{n:,} scored: ±{low if low == high else f'{low} to {high}'} points"


def section_title(section: Section, cell: Cell) -> str:
    if section.threshold is not None:
        sign, shown = "≥" if cell.better == "higher" else "≤", notation.of(cell.metric)
        asked = f"{shown.title} {sign} {shown.text(section.threshold)}"
        return plain(f"{section.name.capitalize()}, {asked}")
    return {
        "provisional": "Provisional: fewer than three complete runs",
        "below": "Below bronze: shown, not ranked",
        "unranked": "Not ranked",
    }[section.name]


def legend(cells: Sequence[Cell]) -> list[str]:
    """What the table's signs mean, and only those that are in it."""
    entries = [e for c in cells for e in c.entries]
    said = []
    if any(e.rank and e.rank[0] != e.rank[1] for e in entries):
        said.append("rank 1–3: can't be told apart from its neighbours (Welch's test, 5 %)")
    if any(e.warnings for e in entries):
        said.append("! the meter or the run has warnings; `bench show RUN` says which")
    if any(c.place.estimated for c in cells):
        said.append("≈ an estimate")
    names = {notation.of(c.metric).title for c in cells}
    metric = plain(names.pop(), 20) if len(names) == 1 else "metric"
    of = "qualified accuracy" if metric == "accuracy" else "skill"
    said.append(f"score: {of} per kWh, skill / (kWh + 0.0005)")
    if any(c.better == "lower" for c in cells):
        lower = {notation.of(c.metric).title for c in cells if c.better == "lower"}
        said.append(f"less is better: {plain(', '.join(sorted(lower)))}")
    said.append(f"± of {metric} and score: 95 %, between runs; ± of energy: the meter's, k = 2")
    if any(e.counted != e.attempts for e in entries):
        said.append("runs: those that count, of all that were started")
    return said


def _grid_line(scenario: Scenario | None, columns: list[Column]) -> list[str]:
    if scenario is None or named("emissions") not in columns:
        return []
    grid, pue = scenario.region, scenario.pue.value
    source = f"{grid.name} {grid.year}, {grid.source}, {grid.kind}"
    building = f", PUE {pue:g}" if pue != 1 else ""
    return [
        f"CO2e: if run at {significant(grid.g_per_kwh)} g/kWh ({source}){building}; never ranks"
    ]
