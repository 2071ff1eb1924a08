"""The page of the study: its tables computed again, later accounts, and the trainings here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.footprint import equivalents, formulas, published, quantity, report, trainings
from bench.footprint.amounts import grid_text
from bench.footprint.equivalents import Thing
from bench.footprint.report_html import drawings
from bench.footprint.sheets import sheet
from bench.footprint.today import today
from bench.footprint.trainings import Training
from bench.power.carbon import Scenario
from bench.site import page, paths
from bench.site.contents import Contents, Piece
from bench.units import significant

if TYPE_CHECKING:
    from markupsafe import Markup

AT = paths.FOOTPRINT
MOST = 100
"""Trainings that the page shows, measured ones first: the boards have all."""
COMMANDS = (
    ("bench footprint published --explain", "the tables of this page, each number by its formula"),
    ("bench footprint profile --model bert-base --minutes 10", "the power of a real training here"),
    ("bench footprint extrapolate PROFILE --as bert-base", "from that to the whole of it"),
    ("bench footprint plan --model bert-base --task sst2", "what one would take, from these runs"),
    ("bench footprint project runs", "all your runs added up, tuning and failures too"),
    ("bench footprint report -o report.html", "this page with your own runs, in one file"),
    ("bench footprint equivalents 652kg", "what an amount is like"),
)


def pieces(contents: Contents) -> Iterator[Piece]:
    every = trainings.best(contents.cells, contents.scenario)
    shown = tuple(every[:MOST]), len(every) - len(every[:MOST]), contents.scenario
    yield Piece((AT,), page.digest(shown), partial(_page, *shown))


def _page(found: Sequence[Training], left_out: int, scenario: Scenario) -> Mapping[str, str]:
    from bench.footprint import chart

    sheets = [sheet(table) for table in published.tables()]
    study = published.tables(["3"])[0]
    search = report.largest([study])
    assert search
    text = page.render(
        "footprint.html", AT,
        plot=_plot(found, scenario), caption=chart.caption(scenario),
        sheets={each.key: each for each in sheets}, groups=trainings.groups(found),
        row=trainings.row, left_out=left_out,
        explained=lambda training: quantity.explained(training.emissions),
        today=today(study), grid=grid_text(scenario),
        things=[(thing, _one(thing), _of_search(thing, search)) for thing in equivalents.things()],
        search=search, search_t=f"{_tonnes(search):,.0f}", commands=COMMANDS,
    )  # fmt: skip
    return {AT: text}


def _plot(found: Sequence[Training], scenario: Scenario) -> Markup:
    from markupsafe import Markup

    bars = trainings.bars(published.tables(), found)
    return Markup("").join(map(Markup, drawings(bars, scenario)))


def _tonnes(row: published.Row) -> float:
    lb = row.cells["lb"].computed
    assert lb
    return formulas.in_kg(lb).value / 1000


def _one(thing: Thing) -> str:
    """0.244 kg CO2e: what one of it emits or takes."""
    return f"{significant(thing.amount.value)} {thing.amount.unit}"


def _of_search(thing: Thing, search: published.Row) -> str:
    """How many of it the search was."""
    energy = search.cells["kwh"].computed
    assert energy
    whole = energy.value if thing.of == "energy" else 1000 * _tonnes(search)
    return significant(whole / thing.amount.value, 2)
