"""What submissions are held against here, and the checks of many of them, several at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench import cards as task_cards
from bench import record as records
from bench import submission
from bench.cards import Card
from bench.checks import Report, check
from bench.checks.bundle import EntryFolder, Surroundings, found
from bench.checks.labels import Scored, scored_of

_FEW = 4  # entries that are not worth another process


@dataclass
class Setting:
    """`results` has what was submitted before; `data` is where labels may lie, as for a run;
    `tasks` are folders of cards; `beside` are entries that come together, each of which is held
    against the others."""

    results: Path
    data: str | None = None
    tasks: Sequence[Path] = ()
    beside: Sequence[Path] = ()
    _scored: dict[tuple[str, str | None], Scored | None] = field(default_factory=dict)
    _memory: dict[str, Any] = field(default_factory=dict)  # of other runs: each is read once

    @cached_property
    def cards(self) -> dict[str, Card]:
        names = task_cards.names(self.tasks)
        return {name: task_cards.load(name, self.tasks) for name in names}

    @cached_property
    def runs(self) -> dict[Path, Path]:
        """Folder -> where it is without links, of every run that was submitted."""
        return {folder: folder.resolve() for folder in records.folders(self._roots)}

    @cached_property
    def entries(self) -> dict[str, Path]:
        """Place -> folder."""
        found = [*self.beside, *submission.folders(self.results)]
        return {submission.place(f): f for f in found}

    @property
    def _roots(self) -> list[Path]:
        return [self.results, *self.beside]

    def around(self, folder: Path) -> Surroundings:
        """For a submission in that folder, of which nothing is among the others."""
        here = folder.resolve()
        return Surroundings(
            cards=self.cards, scored=self.scored, embedded=self.embedded, memory=self._memory,
            others={f.name: f for f, at in self.runs.items() if not at.is_relative_to(here)},
            entries={p: f for p, f in self.entries.items() if f.resolve() != here},
        )  # fmt: skip

    def scored(self, card: Card) -> Scored | None:
        return self._scored_of(card, self.data)

    def embedded(self, card: Card) -> Scored | None:
        return self._scored_of(card, "embedded")

    def _scored_of(self, card: Card, data: str | None) -> Scored | None:
        if (card.name, data) not in self._scored:
            self._scored[card.name, data] = scored_of(card, data)
        return self._scored[card.name, data]

    def reports(self, folders: Sequence[Path]) -> Iterator[tuple[int, int, Report]]:
        """How many are done, of how many, and the next report, in order of the folders."""
        entries = {entry.folder: entry for folder in folders for entry in found(folder)}
        several = list(entries.values())
        workers = min(os.cpu_count() or 1, len(several) // _FEW)
        if workers < 2:
            yield from _numbered((self.report(e) for e in several), len(several))
            return
        with ProcessPoolExecutor(workers, initializer=_begin, initargs=(self,)) as pool:
            yield from _numbered(pool.map(_report, several), len(several))

    def report(self, entry: EntryFolder) -> Report:
        return check(entry, self.around(entry.folder))


def _numbered(reports: Iterator[Report], total: int) -> Iterator[tuple[int, int, Report]]:
    for done, report in enumerate(reports, 1):
        yield done, total, report


_setting: Setting


def _begin(setting: Setting) -> None:
    """In each process, once: labels and cards are read once in each."""
    global _setting
    _setting = setting


def _report(entry: EntryFolder) -> Report:
    return _setting.report(entry)
