"""What trainings took, for people to read elsewhere: published ones, one's own, and what they are
like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.footprint import chart, equivalents, formulas, published, render
from bench.footprint.amounts import energy_text, mass_text, unsure_text
from bench.footprint.chart import Bar
from bench.footprint.published import Cell, Row, Table
from bench.footprint.quantity import Quantity, explained
from bench.footprint.sheets import Sheet, sheet
from bench.footprint.trainings import Group, Training, bars, best, groups, own, own_bars
from bench.power.carbon import Scenario
from bench.rank.entry import Cell as BoardCell
from bench.rank.entry import Run
from bench.rank.render import plain
from bench.units import significant

if TYPE_CHECKING:
    from bench.footprint.project import Project

ROWS = 500
"""Of a table of one's own trainings."""


def ledger(found: Project) -> list[tuple[str, str]]:
    """A project added up, as labelled lines; the study's own project beside it."""
    from bench.footprint.case import of_study

    study, whole = of_study(), found.whole
    days, hours = f"{study.jobs:,} in {study.days:,}", f"{study.device_hours.value:,.0f}"
    said = [
        ("jobs", f"{whole.jobs:,} in {found.days:,} days; the study {days}"),
        ("device-hours", f"{significant(whole.device_hours)}; the study {hours}"),
    ]
    for level, cost in found.costs.items():
        about = "≈" if level == "estimated" else ""
        said.append((
            level,
            f"{about}{energy_text(cost.building.value)} {unsure_text(cost.building)}, "
            f"{about}{mass_text(cost.emissions.value)}, "
            f"electricity {about}{significant(cost.electricity.value)} USD",
        ))  # fmt: skip
    if whole.unknown:
        said.append(("not known", f"the energy of {whole.unknown:,} jobs"))
    share, multiple = found.share("hours"), found.multiple("hours")
    if share and multiple:
        times = study.multiple.value
        said.append((
            "final training",
            f"{significant(100 * share.value)} % of all device-hours: all of it is "
            f"{significant(multiple.value)} times one training; the study's {times:,.0f} times",
        ))  # fmt: skip
    return said + [("", note) for note in (f"final: {found.rule}", *found.notes)]


@dataclass(frozen=True)
class Report:
    scenario: Scenario
    tables: tuple[Table, ...]
    submitted: tuple[Training, ...]
    own: tuple[Training, ...]
    bars: tuple[Bar, ...]
    notes: tuple[str, ...] = ()
    ledger: tuple[tuple[str, str], ...] = ()  # of a project, as labelled lines

    @property
    def sheets(self) -> list[Sheet]:
        return [sheet(table) for table in self.tables]

    @property
    def own_groups(self) -> list[Group]:
        return groups(self.own)

    @property
    def submitted_groups(self) -> list[Group]:
        return groups(self.submitted)


def make(
    scenario: Scenario,
    cells: Iterable[BoardCell],
    runs: Sequence[Run],
    notes: Sequence[str] = (),
    ledger: Sequence[tuple[str, str]] = (),
) -> Report:
    """`cells` are of what was submitted, `runs` those of one's own."""
    tables = tuple(published.tables())
    submitted = best(cells, scenario)
    drawn = [*bars(tables, submitted), *own_bars(runs, scenario)]
    return Report(
        scenario, tables, tuple(submitted), tuple(own(runs, scenario)),
        tuple(chart.ordered(drawn)), tuple(notes), tuple(ledger),
    )  # fmt: skip


def summary(report: Report) -> list[str]:
    """What a reader who reads no further should know."""
    cells = [c for t in report.tables for r in t.rows for c in r.cells.values()]
    compared = [c for c in cells if c.agrees is not None]
    agree = sum(1 for c in compared if c.agrees)
    said = [
        f"Of {len(compared)} published numbers that follow from stated inputs, {agree} agree with "
        f"what was printed; each of the other {len(compared) - agree} is explained below.",
    ]
    if search := largest(report.tables):
        said.append(
            f"The largest training of the study, {search.name} on {search.hardware}, took "
            f"{_text(search.cells['kwh'])} and emitted {_text(search.cells['lb'])} "
            f"({mass_text(formulas.in_kg(_known(search.cells['lb'])).value)})."
        )
    for group in report.own_groups:
        said.append(f"One's own, {group.title.lower()}: {group.total}.")
    if not report.own:
        said.append("There are no runs of one's own here: bench run makes some.")
    return said


def largest(tables: Iterable[Table]) -> Row | None:
    rows = [
        r for t in tables if t.key == "3" for r in t.rows
        if r.cells["kwh"].computed and r.cells["lb"].computed
    ]  # fmt: skip
    return max(rows, key=lambda r: _known(r.cells["kwh"]).value, default=None)


def like(report: Report) -> list[str]:
    """The last lines: what the whole is like."""
    said = []
    for group in report.own_groups:
        if line := equivalents.line(group.kg):
            said.append(f"One's own trainings, {group.title.lower()}: {line}")
    if line := render.last_line(report.tables):
        said.append(line)
    return said


def _known(cell: Cell) -> Quantity:
    assert cell.computed
    return cell.computed


def _text(cell: Cell) -> str:
    found = _known(cell)
    return f"{found.value:,.0f} {found.unit}"


def appendix(report: Report) -> list[str]:
    """Every number: its formula down to its sources."""
    said = list(render.explanations(report.tables))
    for each in (*report.submitted, *report.own[:ROWS]):
        name = plain(f"{each.name}, {each.hardware}", 200)
        said += [name, *(f"  {plain_line(line)}" for line in explained(each.emissions)), ""]
    return said


def plain_line(line: str) -> str:
    """With its indent, and nothing that acts."""
    return " " * (len(line) - len(line.lstrip(" "))) + plain(line, 400)
