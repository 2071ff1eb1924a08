"""What there is: tasks and what a run of each cost, recipes and what they brought, models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from statistics import fmean
from typing import Any

from bench import cards as task_cards
from bench import listing, recipes
from bench.cards import Card
from bench.errors import BenchError
from bench.learn import models, objectives
from bench.rank import costs, notation, standing
from bench.rank.columns import named
from bench.rank.costs import Cost
from bench.rank.entry import Cell, Entry, Run
from bench.rank.render import as_text
from bench.site import boards, guide, page, paths
from bench.site.contents import Contents, Piece
from bench.units import EnergyUnit, common_unit, show_duration

FEW = 4  # models and recipes whose costs are shown, of one machine and task
MACHINES = 4  # kinds of machines, of one task
MOST = 6  # cells in which a recipe's best entry is shown, measured ones and estimated ones apart
FAMILIES = {
    "classification": "A class for each text, or pair of texts.",
    "regression": "A number for each pair of texts.",
    "tagging": "A tag for each word.",
    "completion": "The right one of several endings, or the last word.",
    "translation": "A text in another language.",
    "language-modelling": "How probable each next word of a text is.",
}  # fmt: skip


def pieces(contents: Contents) -> Iterator[Piece]:
    tasks = tuple(_tasks(contents))
    yield Piece((paths.TASKS,), page.digest(tasks), partial(_tasks_page, tasks))
    shown = (_recipes(contents), _models(contents), _kinds())
    yield Piece((paths.RECIPES,), page.digest(shown), partial(_recipes_page, *shown))


# --- tasks -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standings:
    """How many entries have a rank, of how many: measured and estimated ones apart."""

    measured: int = 0
    estimated: int = 0
    entries: int = 0


@dataclass(frozen=True)
class CostLine:
    name: str
    energy: str
    spread: str  # of the runs, where they are several
    time: str
    metric: str
    runs: int


@dataclass(frozen=True)
class CostTable:
    """What runs took on one kind of machine, the cheapest first."""

    place: str  # machine, meter and data
    estimated: bool
    unit: str  # of all energies
    lines: tuple[CostLine, ...]
    left_out: int
    runs: int  # of those left out too


Fact = tuple[str, tuple[str, ...]]
"""A name, and what is said of it."""

SOURCES = ("published", "data", "fingerprint", "citation")


@dataclass(frozen=True)
class Task:
    name: str
    title: str
    family: str
    asks: str
    metric: str
    why_unranked: str | None
    rows: tuple[str, str] | None  # to train on, scored
    facts: tuple[Fact, ...]
    sources: tuple[Fact, ...]  # of its data and numbers
    board: str | None  # its address
    standings: Standings
    costs: tuple[CostTable, ...]
    more_costs: int  # machines that are not shown
    command: str


def _tasks(contents: Contents) -> Iterator[Task]:
    """Every task that has a card, by family."""
    found = {name: task_cards.load(name) for name in task_cards.names()} | dict(contents.cards)
    runs = _by_task(standing.standing(contents.runs, contents.standings))
    order = list(FAMILIES)
    for card in sorted(found.values(), key=lambda c: (order.index(c.family), c.title.casefold())):
        yield _task(card, runs.get(card.name, []), contents.tasks.get(card.name, []))


def _by_task(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.record.spec.task, []).append(run)
    return found


def _task(card: Card, runs: Sequence[Run], cells: Sequence[Cell]) -> Task:
    known, said = listing.task_facts(card), list(boards.facts_of(card))
    tables = list(_cost_tables(costs.of(card, runs)))
    shown = _most_used(tables)
    return Task(
        name=card.name,
        title=card.title,
        family=card.family,
        asks=card.description,
        metric=notation.of(card.metric.name).title,
        why_unranked=known["why_unranked"],
        rows=(f"{card.rows.train:,}", f"{card.rows.scored:,}") if card.rows else None,
        facts=tuple(fact for fact in said if fact[0] not in SOURCES),
        sources=tuple(fact for fact in said if fact[0] in SOURCES),
        board=paths.board(card.name) if cells else None,
        standings=_standings((cell, e) for cell in cells for e in cell.entries),
        costs=shown,
        more_costs=len(tables) - len(shown),
        command=f"bench run --task {card.name} --runs 3",
    )


def _standings(entries: Iterable[tuple[Cell, Entry]]) -> Standings:
    every = list(entries)
    ranked = [cell.place.estimated for cell, entry in every if entry.rank]
    return Standings(ranked.count(False), ranked.count(True), len(every))


def _cost_tables(found: Sequence[Cost]) -> Iterator[CostTable]:
    for (place, estimated), group in groupby(found, key=lambda c: (c.place, c.estimated)):
        every = list(group)
        shown = every[:FEW]
        unit = common_unit(cost.energy_j for cost in shown)
        lines = tuple(_cost_line(cost, unit) for cost in shown)
        machine = place.partition(" · ")[2]
        yield CostTable(machine, estimated, unit.name, lines, len(every) - len(shown),
                        sum(cost.runs for cost in every))  # fmt: skip


def _most_used(tables: Sequence[CostTable]) -> tuple[CostTable, ...]:
    """Those of the most runs, measured ones before estimated ones, in their order."""
    order = sorted(range(len(tables)), key=lambda i: (tables[i].estimated, -tables[i].runs))
    return tuple(tables[i] for i in sorted(order[:MACHINES]))


def _cost_line(cost: Cost, unit: EnergyUnit) -> CostLine:
    low, middle, high = map(unit.number, (cost.lowest_j, cost.energy_j, cost.highest_j))
    return CostLine(
        name=cost.name,
        energy=f"≈{middle}" if cost.estimated else middle,
        spread=f"{low} to {high}" if low != high else "",
        time=show_duration(cost.duration_s),
        metric="" if cost.value is None else notation.named(cost.metric or "", cost.value),
        runs=cost.runs,
    )


def _tasks_page(tasks: Sequence[Task]) -> Mapping[str, str]:
    by_family = {
        family: list(group) for family, group in groupby(tasks, key=lambda task: task.family)
    }
    facts = {"families": by_family, "says": FAMILIES}
    return {paths.TASKS: page.render("tasks.html", paths.TASKS, **facts)}


# --- recipes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Brought:
    """A recipe's best ranked entry in a cell."""

    title: str  # of the cell's task
    cell: str  # the address
    place: str
    entry: str
    address: str | None
    tier: str
    numbers: tuple[tuple[str, str], ...]  # metric, energy, score: text and ±
    unit: str  # of the energies of all in the table
    metric: str


@dataclass(frozen=True)
class Recipe:
    name: str
    why_not: str | None  # why it can't be described
    summary: str
    charges: str
    papers: tuple[str, ...]
    combines: str
    settings: tuple[tuple[str, str, str], ...]  # name, default, what it is; the recipe's own
    told: str | None  # the address of more about it
    standings: Standings
    measured: tuple[Brought, ...]
    estimated: tuple[Brought, ...]
    left_out: int  # cells


def _recipes(contents: Contents) -> tuple[Recipe, ...]:
    """The baseline first, which all others start from."""
    names = sorted(recipes.names(), key=lambda name: (name != recipes.DEFAULT, name))
    found = _entries_of_recipes(contents)
    common = _settings(_described(recipes.DEFAULT))
    return tuple(_recipe(name, common, found.get(name, []), contents) for name in names)


def _entries_of_recipes(contents: Contents) -> dict[str, list[tuple[Cell, Entry]]]:
    """By each part of what an entry's recipe is made of."""
    found: dict[str, list[tuple[Cell, Entry]]] = {}
    for cell in contents.cells:
        for entry in cell.entries:
            for part in entry.spec.recipe.split("+"):
                found.setdefault(part, []).append((cell, entry))
    return found


def _described(name: str) -> dict[str, Any]:
    """What a recipe says of itself, or why it can't: its packages are missing, or it is broken."""
    try:
        return recipes.describe(name)
    except (BenchError, ImportError) as error:
        return {"why_not": str(error)}


def _settings(described: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(s["name"], _default(s["default"]), s["about"]) for s in described.get("settings", [])]


def _default(value: Any) -> str:
    if value is None:
        return "the model's own"
    return "none" if value == "" else str(value)


def _recipe(
    name: str,
    common: Sequence[tuple[str, str, str]],
    entries: Sequence[tuple[Cell, Entry]],
    contents: Contents,
) -> Recipe:
    said = _described(name)
    settings = [s for s in _settings(said) if name == recipes.DEFAULT or s not in common]
    measured, estimated = (_best(entries, contents, of) for of in (False, True))
    return Recipe(
        name=name,
        why_not=said.get("why_not"),
        summary=said.get("summary", ""),
        charges=said.get("charges", ""),
        papers=tuple(re.findall(r"https://[^\s;\"<>]+", said.get("paper", ""))),
        combines=said.get("combines", ""),
        settings=tuple(settings),
        told=guide.place("recipes", name),
        standings=_standings(entries),
        measured=tuple(measured[:MOST]),
        estimated=tuple(estimated[:MOST]),
        left_out=max(0, len(measured) - MOST) + max(0, len(estimated) - MOST),
    )


def _best(
    entries: Iterable[tuple[Cell, Entry]], contents: Contents, estimated: bool
) -> list[Brought]:
    """The first of each cell: its tables have the highest tier and the best entry first."""
    first: dict[int, tuple[Cell, Entry]] = {}
    for cell, entry in entries:
        if entry.rank and cell.place.estimated == estimated:
            first.setdefault(id(cell), (cell, entry))
    shown = list(first.values())
    unit = common_unit(fmean(entry.energies_j) for _, entry in shown[:MOST])
    return [_brought(cell, entry, contents, unit) for cell, entry in shown]


def _brought(cell: Cell, entry: Entry, contents: Contents, unit: EnergyUnit) -> Brought:
    p = cell.place
    texts = [as_text(named(k), entry, cell, contents.scenario, unit) for k in _SHOWN]
    data = "" if p.data == "official" else ", other data"
    return Brought(
        title=cell.card.title if cell.card else p.task,
        cell=f"{paths.board(p.task)}#{boards.name_of(cell)}",
        place=f"{p.hardware}, {page.TRACKS.get(p.track, p.track)}{data}",
        entry=f"{entry.spec.model} {entry.spec.recipe}",
        address=boards.address_of(entry),
        tier=entry.tier or "",
        numbers=tuple((text.strip(), spread.strip()) for text, spread in texts),
        unit=unit.name,
        metric=notation.of(cell.metric).heading,
    )


_SHOWN = ("metric", "energy", "score")


# --- models ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    name: str
    kind: str
    track: str
    parameters: str
    about: str
    source: str
    licence: str
    seen: tuple[str, ...]  # tasks whose data a checkpoint has seen
    standings: Standings


def _models(contents: Contents) -> tuple[Model, ...]:
    """By kind, those from scratch first, the smallest first."""
    found: dict[str, list[tuple[Cell, Entry]]] = {}
    for cell in contents.cells:
        for entry in cell.entries:
            found.setdefault(entry.spec.model, []).append((cell, entry))
    known = [models.describe(name) for name in models.names()]
    known.sort(key=lambda d: (d["kind"], d["track"] != "scratch", d["parameters"]))
    return tuple(_model(said, found.get(said["name"], [])) for said in known)


def _model(said: dict[str, Any], entries: Iterable[tuple[Cell, Entry]]) -> Model:
    return Model(
        name=said["name"],
        kind=said["kind"],
        track=said["track"],
        parameters=f"{said['parameters'] / 1e6:,.1f}",
        about=said["about"],
        source=said["source"],
        licence=said.get("licence", ""),
        seen=tuple(said.get("contaminated", ())),
        standings=_standings(entries),
    )


def _kinds() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What each kind of model can do."""
    kinds = sorted({models.describe(name)["kind"] for name in models.names()})
    return tuple((kind, tuple(objectives.families(kind))) for kind in kinds)


def _recipes_page(
    found: Sequence[Recipe], known: Sequence[Model], kinds: Sequence[tuple[str, Sequence[str]]]
) -> Mapping[str, str]:
    by_kind = {kind: [m for m in known if m.kind == kind] for kind, _ in kinds}
    facts = {"recipes": found, "models": by_kind, "can": dict(kinds)}
    return {paths.RECIPES: page.render("recipes.html", paths.RECIPES, **facts)}
