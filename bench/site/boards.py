"""The page of a task: its cells, tier by tier, each with the intervals that its ranks come from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from bench import listing
from bench.cards import Card
from bench.power.carbon import Scenario
from bench.rank import pareto, render
from bench.rank.columns import Column, named
from bench.rank.entry import Cell, Entry, Place, Section
from bench.rank.pareto import Dot
from bench.site import again, charts, page, paths
from bench.site.contents import Contents, Piece

COLUMNS = tuple(map(named, ("score", "metric", "energy", "emissions", "duration", "runs")))
ALWAYS = {"score", "metric", "energy"}
"""Columns that narrow screens have as well."""

MOST = 120
"""Entries that a page shows of all its cells, beside those in its plot: about 1 kB each."""

FEW = 2
"""Entries that nobody filters."""

FEWEST = 4
"""Entries that every table shows, the best first."""


@dataclass(frozen=True)
class Heading:
    at: int  # of its numbers in a line
    key: str
    text: str  # empty: no entry of the cell has a value
    better: str | None
    always: bool


@dataclass(frozen=True)
class Line:
    """An entry in a table. A number is its text, its ± and whether it is made bold."""

    entry: Entry = field(repr=False)
    numbers: tuple[tuple[str, str], ...]  # in the order of COLUMNS
    address: str | None  # of its page
    run_id: str | None  # the first of its runs that count
    level: str  # how well it was checked
    strip: tuple[float, float, float] | None  # low, middle, high of the score, 0 to 100
    said: tuple[str, ...]
    dot: int | None = None  # its number in the plot

    @property
    def settings(self) -> str:
        return settings_of(self.entry)


@dataclass(frozen=True)
class Table:
    """A tier, or entries without a rank; `left_out` are how many more there are."""

    name: str
    title: str
    said: tuple[str, ...]  # of all of them
    lines: tuple[Line, ...]
    left_out: int


@dataclass(frozen=True)
class Shown:
    """A cell as a page shows it."""

    cell: Cell = field(repr=False)
    name: str  # of its place in a page, and of its own page
    how: str
    headings: tuple[Heading, ...]
    tables: tuple[Table, ...]
    axis: tuple[str, str] | None  # the lowest and the highest score of the strips

    @property
    def meters(self) -> str:
        """Cells of equal ones share a front in the plot."""
        return _slug(pareto.metered_as(self.cell.place))

    @property
    def checked(self) -> bool:
        return any(line.level for table in self.tables for line in table.lines)

    @property
    def left_out(self) -> int:
        return sum(table.left_out for table in self.tables)


def pieces(contents: Contents) -> Iterator[Piece]:
    for task, cells in contents.tasks.items():
        every = [_shown(cell, contents) for cell in cells]
        dots, card = charts.chosen(cells), contents.cards.get(task)
        shown = _within([_numbered(each, dots) for each in every], MOST)
        drawn = dots, charts.marks(cells)
        key = page.digest([*map(_said, shown)], drawn, card, contents.scenario)
        at = paths.board(task)
        yield Piece((at,), key, partial(_board, at, card, task, shown))
        for whole, cut in zip(every, shown, strict=True):
            if cut.left_out:
                at = paths.cell(task, whole.name)
                yield Piece((at,), page.digest(_said(whole)), partial(_cell, at, whole))


def _said(shown: Shown) -> tuple[object, ...]:
    """What a page says of a cell, without the records that it comes from: they are large."""
    cell, entries = shown.cell, [line.entry for table in shown.tables for line in table.lines]
    each = [(e.title, e.origin, e.rank, e.date, e.spec.model, e.spec.recipe) for e in entries]
    return shown, cell.title, cell.place, cell.notes, render.legend([cell]), each


def _board(at: str, card: Card | None, task: str, shown: Sequence[Shown]) -> Mapping[str, str]:
    title = card.title if card else task
    cells = [s.cell for s in shown]
    return {
        at: page.render(
            "board.html", at, title=title, task=task, card=card, shown=shown,
            facts=list(facts_of(card)) if card else [], choices=choices(shown),
            legend=render.legend(cells), front=charts.front_svg(cells, at),
            entries=sum(len(t.lines) for s in shown for t in s.tables), few=FEW,
            marks=charts.marks(cells), left_out=charts.left_out(cells),
        )
    }  # fmt: skip


def _cell(at: str, shown: Shown) -> Mapping[str, str]:
    return {at: page.render("cell.html", at, shown=shown, legend=render.legend([shown.cell]))}


def facts_of(card: Card) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What its card says, by name; where a user's own card lies is nobody's business."""
    hidden = {"task", "family", "run it", *(["data"] if card.beside else [])}
    name, found = "", dict[str, list[str]]()
    for label, text in listing.card_lines(card):
        name = label or name
        found.setdefault(name, []).append(text)
    for name, texts in found.items():
        if name not in hidden:
            yield name, tuple(texts)


def choices(shown: Sequence[Shown]) -> dict[str, list[str]]:
    """What a page can be filtered by, where there is a choice."""
    places = [s.cell.place for s in shown]
    found: dict[str, list[str]] = {
        "track": [p.track for p in places],
        "hardware": [p.hardware for p in places],
        "access": [p.access for p in places],
        "level": [p.level for p in places],
    }
    return {name: sorted(set(values)) for name, values in found.items()}


# --- a cell ------------------------------------------------------------------------------------


def _shown(cell: Cell, contents: Contents) -> Shown:
    scale = _Strips([e for s in cell.sections for e in s.entries if e.rank])
    tables = tuple(_table(section, cell, contents, scale) for section in cell.sections)
    filled = [
        any(line.numbers[i][0] for table in tables for line in table.lines)
        for i in range(len(COLUMNS))
    ]
    return Shown(
        cell=cell,
        name=name_of(cell),
        how=render.how(cell),
        headings=tuple(
            Heading(
                i,
                c.key,
                render.heading_of(c, cell) if has else "",
                cell.better if c.key == "metric" else c.better,
                c.key in ALWAYS,
            )
            for i, (c, has) in enumerate(zip(COLUMNS, filled, strict=True))
        ),
        tables=tables,
        axis=scale.ends,
    )


def name_of(cell: Cell) -> str:
    """What a cell is called in the address of its task's page, and its own page's name."""
    return _slug(cell.place)


def _slug(p: Place) -> str:
    parts = [p.track, p.hardware, p.level, p.coverage, p.metric, f"v{p.version}", p.edition, p.data]
    return paths.slug("-".join(filter(None, parts)).replace(" ", "-").replace(",", ""))


def _numbered(shown: Shown, dots: Sequence[Dot]) -> Shown:
    """Its lines know their dots, so that the plot can follow what filters do to them."""
    number_of = {dot.of: number for number, dot in enumerate(dots)}

    def numbered(line: Line) -> Line:
        number = number_of.get(pareto.identity(line.entry, shown.cell.place))
        return line if number is None else replace(line, dot=number)

    tables = tuple(replace(t, lines=tuple(map(numbered, t.lines))) for t in shown.tables)
    return replace(shown, tables=tables)


def _table(section: Section, cell: Cell, contents: Contents, scale: _Strips) -> Table:
    common = render.common_reasons(section)
    return Table(
        name=section.name,
        title=render.section_title(section, cell),
        said=tuple(common),
        lines=tuple(_line(e, cell, contents, scale, common) for e in section.entries),
        left_out=0,
    )


def _line(
    entry: Entry, cell: Cell, contents: Contents, scale: _Strips, common: Sequence[str]
) -> Line:
    return Line(
        entry=entry,
        numbers=tuple(_number(c, entry, cell, contents.scenario) for c in COLUMNS),
        address=address_of(entry),
        run_id=entry.runs[0].record.run_id if entry.runs else None,
        level=_level(entry, contents),
        strip=scale.of(entry),
        said=() if entry.rank else tuple(r for r in entry.reasons if r not in common),
    )


def settings_of(entry: Entry) -> str:
    """What an entry's title says beside model and recipe; what an older record has not is no
    setting."""
    parts = entry.title.split(" · ")[2:]
    return " · ".join(part for part in parts if not part.endswith("=None"))


def address_of(entry: Entry) -> str | None:
    """Of the page that says most of an entry: as it was submitted, or its first run's."""
    if entry.submissions:
        return paths.entry(entry.submissions[0].place)
    return paths.run(entry.runs[0].record.run_id) if entry.runs else None


def _number(column: Column, entry: Entry, cell: Cell, scenario: Scenario) -> tuple[str, str]:
    text, spread = render.as_text(column, entry, cell, scenario)
    return page.number(text), spread.strip()


def _level(entry: Entry, contents: Contents) -> str:
    """T3 where somebody has trained it again, and what that came to if it does not agree; else the
    least of what the checks say."""
    if trained_again := again.level(entry, contents):
        return trained_again
    levels = [contents.checked[s.place].level for s in entry.submissions
              if s.place in contents.checked]  # fmt: skip
    return min(levels, default="")


class _Strips:
    """The scores of a cell's ranked entries on one logarithmic axis, from 0 to 100."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        every = [v for e in entries for v in self._values(e)]
        self._low, self._high = (min(every), max(every)) if every else (1.0, 1.0)
        if self._high < 1.02 * self._low:  # all alike
            self._low, self._high = self._low / 1.1, self._high * 1.1
        self._any = bool(every)

    @staticmethod
    def _values(entry: Entry) -> tuple[float, ...]:
        if not entry.score or entry.score <= 0:
            return ()
        low, high = entry.score_interval or (entry.score, entry.score)
        return low, entry.score, high

    @property
    def ends(self) -> tuple[str, str] | None:
        shown = named("score").show
        return (shown(self._low), shown(self._high)) if self._any else None

    def of(self, entry: Entry) -> tuple[float, float, float] | None:
        values = self._values(entry)
        if not self._any or not values:
            return None
        span = math.log(self._high / self._low)
        low, middle, high = (
            min(max(round(100 * math.log(v / self._low) / span, 1), -2.0), 102.0) for v in values
        )
        return (low, middle, high) if -2 < middle < 102 else None


# --- what fits ---------------------------------------------------------------------------------


def _within(shown: list[Shown], most: int) -> list[Shown]:
    """At most so many entries, as long as each table has a few; and all those in the plot, which
    the tables have to explain."""
    sizes = sorted(len(t.lines) for s in shown for t in s.tables)
    room, each, left = most, max(sizes, default=0), len(sizes)
    for size in sizes:  # what small tables leave, large ones may take
        if size * left >= room:
            each = max(FEWEST, room // left)
            break
        room, left = room - size, left - 1
    if not sizes or sizes[-1] <= each:
        return shown

    def cut(table: Table) -> Table:
        kept = [e for i, e in enumerate(table.lines) if i < each or e.dot is not None]
        return replace(table, lines=tuple(kept), left_out=len(table.lines) - len(kept))

    return [replace(s, tables=tuple(map(cut, s.tables))) for s in shown]
