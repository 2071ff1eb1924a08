"""The first page: what this is, one command, a real trace, and the boards at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from bench import cards as task_cards
from bench import record as records
from bench.cards import Card
from bench.errors import BenchError
from bench.plot import figure as figures
from bench.rank import notation, score
from bench.rank.columns import named
from bench.rank.entry import Cell, Entry, Run, usable_energy_j
from bench.rank.render import as_text
from bench.record import Record
from bench.site import boards, drawing, page, paths
from bench.site.contents import Contents, Piece
from bench.units import EnergyUnit, common_unit, show_energy, significant

if TYPE_CHECKING:
    from markupsafe import Markup

LATEST = 5
MOST = 12  # cells that are measured, and that are estimated
TIERS = (*score.TIERS, "provisional")


@dataclass(frozen=True)
class Leader:
    """The best of a cell, in the highest of its tiers."""

    task: str
    title: str  # of the task
    place: str  # track and hardware
    address: str  # of the cell
    tier: str
    entry: str
    settings: str
    entry_address: str | None
    metric: str  # its name, with its unit
    unit: str  # of the energies of all in the table
    numbers: tuple[tuple[str, str], ...]  # metric, energy, score: text and ±
    entries: int
    estimated: bool


@dataclass(frozen=True)
class Sum:
    """Of some runs: energy, its ± (k = 2; meters share their gain, so that it adds up), count."""

    energy: str
    unsure: str
    runs: int


@dataclass(frozen=True)
class Sums:
    """Of all runs that have an energy: measured and estimated are never added."""

    runs: int
    entries: int
    measured: Sum | None
    estimated: Sum | None


@dataclass(frozen=True)
class News:
    day: str
    title: str
    place: str
    kind: str


@dataclass(frozen=True)
class Hero:
    """A run whose power the page shows: the best measured one, else the best."""

    folder: Path
    run_id: str
    said: str  # model, recipe, task, machine
    energy: str
    unsure: str
    metric: str
    estimated: bool
    stamps: tuple[tuple[int, int], ...]


def pieces(contents: Contents) -> Iterator[Piece]:
    leaders = list(_leaders(contents))
    shown = (
        tuple(_first_of_each(leaders)), sums(contents.runs, len(contents.standings)),
        tuple(_news(contents)), tuple(_open(contents)), _hero(contents.cells),
    )  # fmt: skip
    yield Piece((paths.HOME,), page.digest(shown), partial(_home, *shown))


def _home(
    leaders: Sequence[Leader],
    totals: Sums,
    news: Sequence[News],
    unrun: Sequence[Card],
    hero: Hero | None,
) -> Mapping[str, str]:
    facts = {
        "leaders": leaders,
        "sums": totals,
        "news": news,
        "unrun": unrun,
        "tiers": TIERS,
        "most": MOST,
    }
    power = _power(hero) if hero else None
    return {paths.HOME: page.render("home.html", paths.HOME, hero=hero, power=power, **facts)}


def _hero(cells: Sequence[Cell]) -> Hero | None:
    for cell in cells:  # measured ones first
        for entry in (e for e in cell.entries if e.rank):
            run = entry.runs[0]
            trace = run.folder / "trace.parquet"
            record = run.record
            if trace.is_file() and record.metric and record.energy_j:
                task = cell.card.title if cell.card else cell.place.task
                return Hero(
                    run.folder, record.run_id,
                    f"{entry.spec.model} {entry.spec.recipe} on {task}, {cell.place.hardware}",
                    show_energy(record.energy_j), _unsure([record]),
                    notation.named(record.metric.name, record.metric.value),
                    cell.place.estimated, (stamp(trace), stamp(run.folder / "record.json")),
                )  # fmt: skip
    return None


def stamp(path: Path) -> tuple[int, int]:
    """Size and time: what tells a file from another at no cost."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _power(hero: Hero) -> Markup | None:
    """Of what is charged alone."""
    try:
        figure = figures.figure(hero.folder, records.read(hero.folder), 300)
    except BenchError:
        return None
    charged = [line for line in figure.lines if line.charged]
    return drawing.power(replace(figure, lines=charged, flags=[]))


def _leaders(contents: Contents) -> Iterator[Leader]:
    """Of each cell where something has a rank or may get one."""
    found = []
    for cell in contents.cells:
        best = [(s.name, s.entries[0]) for s in cell.sections if s.name in TIERS]
        if best:
            found.append((cell, *min(best, key=lambda pair: TIERS.index(pair[0]))))
    for estimated in (False, True):  # a table each
        some = [each for each in found if each[0].place.estimated == estimated]
        unit = common_unit(fmean(e.energies_j) for _, _, e in some if e.energies_j)
        for cell, tier, entry in some:
            yield _leader(cell, tier, entry, unit, contents)


def _leader(cell: Cell, tier: str, entry: Entry, unit: EnergyUnit, contents: Contents) -> Leader:
    p = cell.place
    how = page.TRACKS.get(p.track, p.track)
    keys = ("metric", "energy", "score")
    texts = [as_text(named(key), entry, cell, contents.scenario, unit) for key in keys]
    return Leader(
        task=p.task, title=cell.card.title if cell.card else p.task,
        place=f"{p.hardware}, {how}" + ("" if p.data == "official" else ", other data"),
        address=f"{paths.board(p.task)}#{boards.name_of(cell)}", tier=tier,
        entry=f"{entry.spec.model} {entry.spec.recipe}", settings=boards.settings_of(entry),
        entry_address=boards.address_of(entry), metric=notation.of(cell.metric).title,
        unit=unit.name,
        numbers=tuple((page.number(text), spread.strip()) for text, spread in texts),
        entries=sum(1 for _ in cell.entries), estimated=p.estimated,
    )  # fmt: skip


def _first_of_each(leaders: Sequence[Leader]) -> Iterator[Leader]:
    """Each cell that has a ranked entry; of a task without one, its first cell."""
    ranked = {(leader.task, leader.estimated) for leader in leaders if leader.tier in score.TIERS}
    seen = set()
    for leader in leaders:
        key = (leader.task, leader.estimated)
        if leader.tier in score.TIERS or (key not in ranked and key not in seen):
            seen.add(key)
            yield leader


def sums(runs: Sequence[Run], entries: int) -> Sums:
    """How much electricity all runs here took, those that failed as well."""
    known: dict[bool, list[Record]] = {True: [], False: []}
    for run in runs:
        if usable_energy_j(run.record) is not None:
            known[run.record.level == "M0"].append(run.record)
    return Sums(len(runs), entries, _sum(known[False]), _sum(known[True]))


def _sum(found: Sequence[Record]) -> Sum | None:
    energy_j = sum(r.energy_j or 0.0 for r in found)
    return Sum(show_energy(energy_j), _unsure(found), len(found)) if found else None


def _unsure(found: Sequence[Record]) -> str:
    """In percent of the sum; empty where that of a run is not known."""
    each = [r.uncertainty_j for r in found if r.uncertainty_j is not None]
    energy_j = sum(r.energy_j or 0.0 for r in found)
    if len(each) < len(found) or not energy_j:
        return ""
    return f"±{significant(100 * sum(each) / energy_j, 2)} %"


def _news(contents: Contents) -> Iterator[News]:
    """The latest entries, the newest first."""
    every = sorted(contents.standings.values(), key=lambda s: (s.entry.submitted_at, s.place))
    for standing in reversed(every[-LATEST:]):
        entry = standing.entry
        yield News(entry.submitted_at[:10], entry.title, standing.place, entry.kind)


def _open(contents: Contents) -> Iterator[Card]:
    """Tasks that nobody has submitted a run of."""
    for name in task_cards.names():
        if name not in contents.tasks:
            yield task_cards.load(name)
