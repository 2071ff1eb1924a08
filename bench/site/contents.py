"""What the site is made of: boards, runs, what others and the checks have said of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.rank import board, index, standing
from bench.rank.board import Filters
from bench.rank.entry import Cell, Entry, Run
from bench.rank.standing import Standing, Standings
from bench.site.checked import Checked

if TYPE_CHECKING:
    from bench.cards import Card
    from bench.power.carbon import Scenario
    from bench.site.downloads import File


@dataclass(frozen=True)
class Piece:
    """Some files of the site that are made together. `key` is of all that they follow from but
    bench's own code; `make` answers the text or bytes of each, maybe in another process."""

    files: tuple[str, ...]  # paths below the site's folder
    key: str
    make: Callable[[], Mapping[str, str | bytes]]


class Seat(NamedTuple):
    """Where an entry stands on the boards."""

    cell: Cell
    entry: Entry


@dataclass(frozen=True)
class Contents:
    """`runs` are all that were submitted, those of entries that were taken back as well. Their
    records are those of the index, which lack what no board shows: `record.read` has all."""

    results: Path
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...]
    standings: Standings
    cards: Mapping[str, Card]
    scenario: Scenario
    checked: Mapping[str, Checked]  # by place, task/name
    broken: tuple[str, ...]
    url: str | None = None  # where the site will be, for what must name itself from elsewhere

    @cached_property
    def tasks(self) -> dict[str, list[Cell]]:
        """The cells of each task that has any; in the order of the boards."""
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.place.task, []).append(cell)
        return found

    @cached_property
    def seats(self) -> dict[str, Seat]:
        """By run id: where the runs that the boards show have come to."""
        return {
            run.record.run_id: Seat(cell, entry)
            for cell in self.cells
            for entry in cell.entries
            for run in entry.runs
        }

    @cached_property
    def seats_of(self) -> dict[str, list[Seat]]:
        """By place, task/name: where an entry stands on the boards, if only by runs that came to
        nothing."""
        found: dict[str, list[Seat]] = {}
        for cell in self.cells:
            for entry in cell.entries:
                for submitted in entry.submissions:
                    found.setdefault(submitted.place, []).append(Seat(cell, entry))
        return found

    @cached_property
    def by_place(self) -> dict[str, list[Run]]:
        """The runs of each entry, as they lie in its folder."""
        found: dict[str, list[Run]] = {s.place: [] for s in self.standings.values()}
        for run in self.runs:
            if run.folder.parent in self.standings:
                found[self.standings[run.folder.parent].place].append(run)
        return found

    @cached_property
    def submitted(self) -> list[Standing]:
        """The entries directly below `results`, in order of place: those that have pages."""
        found = (s for s in self.standings.values() if s.folder == self.results / s.place)
        return sorted(found, key=lambda s: s.place)

    @cached_property
    def run_by_id(self) -> dict[str, Run]:
        return {run.record.run_id: run for run in self.runs}

    @cached_property
    def marks(self) -> dict[str, tuple[object, ...]]:
        """By run id: what a page that shows some of its numbers follows from."""
        return {run.record.run_id: _mark(run) for run in self.runs}

    @cached_property
    def offered(self) -> dict[str, tuple[File, ...]]:
        """By place, task/name: the files of an entry that the site has."""
        from bench.site.downloads import offered

        return {about.place: offered(about) for about in self.submitted}

    def standing_of(self, run: Run) -> Standing | None:
        """The entry that a run came with; None of the user's own."""
        return self.standings.get(run.folder.parent)


def _mark(run: Run) -> tuple[object, ...]:
    r, m = run.record, run.record.metric
    return (
        r.run_id, run.key, run.folder.parts[-3:], r.spec.seed, r.started_at, r.status, r.failure,
        m and (m.name, m.value, m.n, m.chance, m.best, m.scale, m.also, m.signature),
        r.level, r.coverage, r.energy_j, r.uncertainty_j, r.total_duration_s,
        r.idle_w(r.idle_before), r.reference and (r.reference.measured_at, r.reference.energy_j),
        [(p.name, p.duration_s, p.energy_j) for p in r.phases],
        [(w.id, w.message, w.rankable) for w in r.warnings],
        r.tuning and r.tuning.model_dump_json(),
    )  # fmt: skip


def read(
    results: Path,
    cards_of: Callable[[list[Run]], Mapping[str, Card]],
    scenario: Scenario,
    checks: Callable[[list[Path]], Mapping[str, Checked]],
    own: Path | None = None,
    url: str | None = None,
) -> Contents:
    """Everything below `results`; `own` are the user's runs, which the boards then show marked."""
    roots: list[tuple[Path, board.Origin]] = [(results, "results")]
    if own:
        roots.append((own, "local"))

    def question(source: index.Source) -> tuple[list[Run], list[str], dict[Path, bytes]]:
        return source.board(Filters()), source.broken(), source.submissions()

    with unswept():
        runs, broken, files = index.ask(roots, question)
        standings = standing.of(files, runs)
        cards = cards_of(runs)
        cells = tuple(board.build(runs, cards, standings=standings))
    return Contents(
        results=results,
        cells=cells,
        runs=tuple(runs),
        standings=standings,
        cards=cards,
        scenario=scenario,
        checked=checks(sorted(standings)),
        broken=tuple(broken),
        url=url,
    )


@contextmanager
def unswept() -> Iterator[None]:
    """Looks for no garbage: of what is made meanwhile nearly everything is kept, and looking
    through it again and again takes a quarter of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
