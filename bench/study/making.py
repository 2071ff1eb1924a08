"""A study, from its grid to the end of its last run; again, from where it stopped."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.power.carbon import Scenario
from bench.run import Request
from bench.study import grid, ledger
from bench.study.choice import FirstWanted
from bench.study.drive import drive
from bench.study.executors import Executor
from bench.study.grid import Cell
from bench.study.job import dumped
from bench.study.ledger import Ledger
from bench.study.screen import Screen
from bench.study.spending import Cost, Limit

FOLDER = "studies"
"""Below the folder of runs."""

EXTENDED = ("models", "recipes", "runs", "set")
"""What a study may be asked more of; settings, of what is added."""


def asked(
    base: Request, cells: Sequence[Cell], runs: int, pairs: Sequence[str] = ()
) -> dict[str, Any]:
    """What makes it this study: the same command again goes on with it."""
    others = {k: v for k, v in dumped(base).items() if k != "task"}
    return {
        "task": base.task,
        "models": list(dict.fromkeys(c.model for c in cells)),
        "recipes": list(dict.fromkeys(c.recipe for c in cells)),
        "runs": runs,
        "set": list(pairs),
        **others,
    }


def name(given: str | None, asked: Mapping[str, Any]) -> str:
    """As given; else of the task and all that is asked. UsageError for what is no folder's name."""
    if given is None:
        digest = hashlib.sha256(json.dumps(dict(asked), sort_keys=True).encode()).hexdigest()
        return f"{asked['task']}-{digest[:6]}"
    if not re.fullmatch(r"[\w-][\w.+-]{0,99}", given):
        raise UsageError(f"'{given}' can't name a folder", "letters, digits, '-', '.', '_'")
    return given


@dataclass(frozen=True)
class Ending:
    """How far it came."""

    planned: int
    made: int
    given_up: int  # runs that failed as often as they may
    interrupted: str | None  # by what
    over_budget: bool
    so_far: Cost
    left: Cost | None  # what going on would take; None: nothing is known

    @property
    def whole(self) -> bool:
        return self.made == self.planned


def make(
    folder: Path,
    wanted: Mapping[str, Any],
    cells: Sequence[Cell],
    refused: Mapping[str, str],
    executor: Executor,
    scenario: Scenario,
    limit: Limit | None = None,
    extend: bool = False,
) -> Ending:
    """Make the runs of the cells that are not made yet, and say on the screen how it goes. With
    `extend`, more models, recipes and runs than the study was asked."""
    if extend and (folder / ledger.JOURNAL).exists():
        _check_settings(ledger.read(folder), wanted["set"], cells)
    jobs = grid.jobs(cells, wanted["runs"])
    with ledger.opened(folder, wanted, EXTENDED if extend else ()) as book:
        book.plan(jobs)
        for cell, why in refused.items():
            book.skip(cell, why)
        screen = Screen(book, jobs, scenario.g_per_metered_kwh)
        chooser = FirstWanted(book, jobs, screen.spending, limit)
        interrupted = drive(book, executor, chooser, screen)
        undone = [job for job in jobs if not book.done(job)]
        return Ending(
            planned=len(jobs),
            made=len(jobs) - len(undone),
            given_up=sum(map(book.given_up, undone)),
            interrupted=interrupted,
            over_budget=chooser.over_budget,
            so_far=screen.spending.so_far,
            left=screen.spending.left(undone),
        )


def _check_settings(book: Ledger, pairs: Sequence[str], cells: Sequence[Cell]) -> None:
    """UsageError where cells that are added would lack what was set for all, and where those that
    are there would get other settings."""
    of_all = [p for p in book.asked.get("set", ()) if "." not in p.partition("=")[0]]
    for pair in of_all:
        if pair not in pairs:
            raise UsageError(f"{book.name} was asked --set {pair}", "add it to what is asked now")
    before = {job.cell: dumped(job.request) for job in book.jobs.values()}
    for cell in cells:
        now = dumped(cell.request)
        if before.get(cell.name, now) != now:
            raise UsageError(
                f"{cell.name} is in {book.name} with other settings",
                "--set RECIPE.FIELD=VALUE is of one recipe; another study wants another --name",
            )
