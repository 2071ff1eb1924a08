"""A study's grid: one cell a model and recipe, each run so many times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import recipes
from bench import run as running
from bench.cards import Card
from bench.errors import UsageError, near_names
from bench.learn import models
from bench.run import Plan, Request
from bench.study.job import Job


@dataclass(frozen=True)
class Cell:
    """A model and a recipe, by the names that records have."""

    model: str
    recipe: str
    request: Request

    @property
    def name(self) -> str:
        return f"{self.model} · {self.recipe}"

    def called(self) -> set[str]:
        """The names that a setting may have before it to be this cell's."""
        return {self.model, self.recipe, *self.recipe.split("+")}


@dataclass(frozen=True)
class Setting:
    """`--set FIELD=VALUE`, of all cells, or with names before it of those that are called so."""

    names: tuple[str, ...]
    field: str
    value: str

    def is_of(self, cell: Cell) -> bool:
        return set(self.names) <= cell.called()


def cells(
    base: Request,
    card: Card,
    asked_models: Sequence[str],
    asked_recipes: Sequence[str],
    pairs: Sequence[str] = (),
) -> list[Cell]:
    """Every model with every recipe, with its settings. UsageError for a name that is none, and a
    setting that a cell does not have."""
    found = [
        Cell(model, recipes.named(recipe), replace(base, model=model, recipe=_whole(recipe)))
        for model in asked_models or [models.default(card.family, card.kind)]
        for recipe in asked_recipes or [recipes.DEFAULT]
    ]  # fmt: skip
    twice = [c.name for i, c in enumerate(found) if c.name in {d.name for d in found[:i]}]
    if twice:
        raise UsageError(f"the grid has {twice[0]} twice", "name each model and recipe once")
    for model in asked_models:
        models.entry(model)
    return with_settings(found, addressed(pairs, found))


def _whole(recipe: str) -> str:
    """A recipe with the full paths of its files, which another process does not know by name."""
    parts = recipe.split("+")
    return "+".join(str(Path(p).absolute()) if p.endswith(".py") else p for p in parts)


def addressed(pairs: Iterable[str], cells: Sequence[Cell]) -> list[Setting]:
    """The settings as typed, those with more names later: they win. UsageError for a name that no
    cell has."""
    known = sorted(set[str]().union(*(c.called() for c in cells)), key=len, reverse=True)
    found = [_setting(pair, known) for pair in pairs]
    for setting, pair in zip(found, pairs, strict=True):
        if not any(setting.is_of(c) for c in cells):
            raise UsageError(f"--set {pair}: no cell is called that", f"there is {cells[0].name}")
    return sorted(found, key=lambda s: len(s.names))


def _setting(pair: str, known: Sequence[str]) -> Setting:
    key, equals, value = pair.partition("=")
    names, rest = [], key.strip()
    while name := next((n for n in known if rest.startswith(f"{n}.")), None):
        names.append(name)
        rest = rest.removeprefix(f"{name}.")
    if "." in rest:
        wrong = rest.rpartition(".")[0]
        near = near_names(wrong, known)
        raise UsageError(
            f"--set {pair}: the grid has no '{wrong}'",
            f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}",
        )
    if not (equals and rest):
        raise UsageError(f"--set {pair} names no value", "--set epochs=1, --set bf16.epochs=1")
    return Setting(tuple(names), rest, value.strip())


def with_settings(cells: Sequence[Cell], settings: Sequence[Setting]) -> list[Cell]:
    """Each cell with what is set for it. UsageError for a field that its recipe does not have."""
    done = []
    for cell in cells:
        own = {s.field: s for s in settings if s.is_of(cell)}
        fields = {s["name"] for s in recipes.describe(cell.request.recipe or "")["settings"]}
        for name in own.keys() - fields:
            near = near_names(name, fields)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(fields)}"
            if not own[name].names:
                hint += f"; --set RECIPE.{name}=... sets it where it is"
            raise UsageError(f"the recipe '{cell.recipe}' has no setting '{name}'", hint)
        given = {**cell.request.settings, **{n: s.value for n, s in own.items()}}
        done.append(replace(cell, request=replace(cell.request, settings=given)))
    return done


def resolved(request: Request, find_run: Callable[[str], Path]) -> Request:
    """With full paths in place of those that depend on where the command was typed, and the folder
    of a run that a setting names."""
    given = dict(request.settings)
    for name in recipes.found_before(recipes.named(request.recipe or recipes.DEFAULT), "run"):
        if given.get(name):
            given[name] = str(find_run(given[name]).absolute())
    return replace(
        request,
        settings=given,
        data=_path(request.data),
        model=_path(request.model),
        task_folders=[folder.absolute() for folder in request.task_folders],
        probes=[str(_path(probe)) for probe in request.probes],
    )


def _path(text: str | None) -> str | None:
    """In full where it is a path that is there."""
    if text is None or "/" not in text or not Path(text).exists():
        return text
    return str(Path(text).absolute())


def plans(cells: Iterable[Cell], here: bool) -> tuple[list[tuple[Cell, Plan]], dict[str, str]]:
    """What can be run, as it would be, and why the rest can't: by the cell's name. Elsewhere than
    `here` the device is not known. UsageError where nothing can."""
    possible: list[tuple[Cell, Plan]] = []
    refused: dict[str, str] = {}
    for cell in cells:
        try:
            possible.append((cell, running.prepare(cell.request, elsewhere=not here)))
        except UsageError as error:
            refused[cell.name] = error.message
            last = error
    if not possible:
        raise last
    return possible, refused


def jobs(cells: Sequence[Cell], runs: int) -> list[Job]:
    """One run of every cell, then the second of each, so that an early end leaves a comparison.
    Each round begins with another cell: none always comes first, on a machine that is still cold.
    """
    return [
        Job(cell.name, number + 1, cell.request)
        for number in range(runs)
        for cell in [*cells[number % len(cells) :], *cells[: number % len(cells)]]
    ]
