"""Whether the board follows from the files: each of its numbers from records as stated, and again
from records as derived."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import metrics
from bench import record as records
from bench.cards import Card
from bench.checks import Report
from bench.checks.safe import shown
from bench.errors import BenchError
from bench.rank import board, columns
from bench.rank.entry import Entry, Place, Run
from bench.record import Metric, Record
from bench.units import significant


@dataclass(frozen=True)
class Difference:
    """Between what the board says and what follows, relative to the former."""

    share: float
    column: str
    entry: str


def differences(reports: Sequence[Report], cards: Mapping[str, Card]) -> list[Difference]:
    """Of each number that the board has of the entries that were checked."""
    pairs = [pair for report in reports for pair in _pairs(report)]
    if not pairs:
        return []
    stated, derived = (_entries(several, cards) for several in zip(*pairs, strict=True))
    return [d for key, entry in stated.items() for d in _differences(entry, derived.get(key))]


def agreement(reports: Sequence[Report], cards: Mapping[str, Card]) -> list[str]:
    """The same in a line, if there is anything to say."""
    found = differences(reports, cards)
    if not found:
        return []
    runs = sum(len(report.derived) for report in reports)
    of = f"{len(found):,} numbers computed again from the files of {runs} run{'s'[: runs != 1]}"
    worst = max(found, key=lambda d: d.share)
    if worst.share == 0:
        return [f"the board: {of}, without a difference"]
    far = f"{significant(100 * worst.share, 2)} %"
    return [
        f"the board: {of}; the largest difference is {far} ({worst.column} of {shown(worst.entry)})"
    ]


def _pairs(report: Report) -> Iterator[tuple[Run, Run]]:
    """Each run as stated and as derived. Doubts from before the window opened can't be derived:
    a rule holds the doubts against each other."""
    known = {record.run_id: record for record in report.derived}
    for folder in _folders(report.folder):
        try:
            stated = records.read(folder)
        except BenchError:
            continue
        if stated.run_id in known:
            again = {"warnings": stated.warnings, "metric": _metric(stated)}
            derived = known[stated.run_id].model_copy(update=again)
            yield Run(stated, folder, "results"), Run(derived, folder, "results")


def _metric(stated: Record) -> Metric | None:
    """As its statistics have it, which a rule holds against the predictions."""
    if stated.metric is None:
        return None
    try:
        return stated.metric.model_copy(update={"value": metrics.recompute(stated.metric)})
    except (BenchError, ArithmeticError, LookupError, ValueError):
        return stated.metric


def _folders(folder: Path) -> list[Path]:
    return [folder] if (folder / "record.json").is_file() else list(records.folders([folder]))


def _entries(runs: Sequence[Run], cards: Mapping[str, Card]) -> dict[tuple[str, Place], Entry]:
    return {(e.key, e.place): e for cell in board.build(runs, cards) for e in cell.entries}


def _differences(stated: Entry, derived: Entry | None) -> Iterator[Difference]:
    for column in columns.COLUMNS:
        said = column.value(stated, None)
        if isinstance(said, bool) or not isinstance(said, int | float):
            continue
        again = column.value(derived, None) if derived else None
        yield Difference(_share(said, again), column.title, stated.title)


def _share(said: float, again: object) -> float:
    if not isinstance(again, int | float):
        return math.inf
    return abs(said - again) / abs(said) if said else abs(again)
