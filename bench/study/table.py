"""What a study came to: one row a cell, by the board's own entries and arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cards import Card
from bench.errors import BenchError
from bench.rank import board, columns, pareto, score
from bench.rank.entry import Cell as BoardCell
from bench.rank.entry import Entry, Run, usable_energy_j
from bench.recipes import DEFAULT
from bench.recipes.prune import BEFORE
from bench.record import Record
from bench.study.ledger import Attempt, Ledger

JSON_SCHEMA = "bench.study/1"
WORK = {"train", "evaluate", BEFORE, "quantise", "predict", "save", "other"}
"""Phases from the training's begin on; what comes before it, and teachers, is preparation."""


@dataclass(frozen=True)
class Savings:
    """Energy that an entry spares against the baseline of its model, as a share: 0.4 is 40 % less;
    with a 95 % interval where both have repeats."""

    share: float
    interval: tuple[float, float] | None
    baseline: str  # entry key


@dataclass(frozen=True)
class Row:
    """One entry of the board in a study, or a cell that has none."""

    cell: str  # of the study
    planned: int  # runs
    attempts: int  # that were started, whatever became of them
    entry: Entry | None
    skill_half_width: float | None  # 95 %, between runs
    energy_interval_j: tuple[float, float] | None  # the same; of the meter's, `entry` tells
    savings: Savings | None
    preparation: float | None  # share of the energy
    on_front: bool
    remarks: tuple[str, ...]

    @property
    def made(self) -> int:
        """Runs that count."""
        return self.entry.counted if self.entry else 0


@dataclass(frozen=True)
class Group:
    """Rows that compare: of one cell of the board; or of none, where nothing was measured."""

    board: BoardCell | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Result:
    name: str
    asked: dict[str, Any]
    groups: tuple[Group, ...]
    skipped: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def rows(self) -> Iterable[Row]:
        return (row for group in self.groups for row in group.rows)


def result(ledger: Ledger, cards: Mapping[str, Card]) -> Result:
    """What the ledger's runs say, as the board would if there were no others."""
    found, broken = runs(ledger)
    cell_of = {run.record.entry_key(): cell for cell, run in found}
    places = board.build((run for _, run in found), cards)
    groups = _groups(ledger, places, cell_of)
    return Result(
        name=ledger.name,
        asked=ledger.asked,
        groups=tuple(g for g in groups if g.rows),
        skipped=dict(ledger.skipped),
        warnings=(*broken, *_doubts(ledger)),
    )


def _doubts(ledger: Ledger) -> Iterable[str]:
    for attempt in ledger.open_attempts():
        yield (
            f"{attempt.job.name} is under way, or its command was killed: then the same one goes on"
        )
    if ledger.damaged:
        lines = ", ".join(map(str, ledger.damaged))
        yield f"lines of the journal that were cut off, and are left out: {lines}"


def runs(ledger: Ledger) -> tuple[list[tuple[str, Run]], list[str]]:
    """Every run that has a record, with its cell; and a line for each that can't be read."""
    found, broken = [], []
    for attempt in ledger.ended():
        try:
            record = attempt.record()
        except BenchError as error:
            broken.append(f"left out: {error.message}")
            continue
        if record is not None and attempt.folder is not None:
            found.append((attempt.job.cell, Run(record, attempt.folder, "local")))
        elif attempt.run is not None:
            broken.append(f"left out: the run {attempt.run} is not there any more")
    return found, broken


def _groups(
    ledger: Ledger, places: Sequence[BoardCell], cell_of: Mapping[str, str]
) -> Iterable[Group]:
    """By the board's cells, in its order, rows as they were planned; then what has no entry."""
    planned = Counter(job.cell for job in ledger.jobs.values())
    tried: dict[str, list[Attempt]] = {cell: [] for cell in planned}
    for job_id, attempts in ledger.attempts.items():
        tried[ledger.jobs[job_id].cell] += attempts
    every = [(place.place, entry) for place in places for entry in place.entries]
    for place in places:
        alike = [e for p, e in every if pareto.metered_as(p) == pareto.metered_as(place.place)]
        front = pareto.front(alike)
        rows = [
            Row(
                cell=cell_of[entry.key],
                planned=planned[cell_of[entry.key]],
                attempts=len(tried[cell_of[entry.key]]),
                entry=entry,
                skill_half_width=score.half_width(entry.skills),
                energy_interval_j=pareto.interval_j(entry.energies_j),
                savings=savings(entry, alike),
                preparation=entry.mean(preparation),
                on_front=entry.key in front,
                remarks=(*entry.reasons, *_remarks(tried[cell_of[entry.key]])),
            )
            for entry in place.entries
        ]
        order = list(planned)
        yield Group(place, tuple(sorted(rows, key=lambda row: order.index(row.cell))))
    bare = [cell for cell in planned if cell not in cell_of.values()]
    yield Group(None, tuple(_bare(cell, planned[cell], tried[cell]) for cell in bare))


def _bare(cell: str, planned: int, tried: Sequence[Attempt]) -> Row:
    """A cell without a run whose record could be read."""
    return Row(
        cell=cell, planned=planned, attempts=len(tried), entry=None, skill_half_width=None,
        energy_interval_j=None, savings=None, preparation=None, on_front=False,
        remarks=_remarks(tried),
    )  # fmt: skip


def _remarks(attempts: Sequence[Attempt]) -> tuple[str, ...]:
    """Attempts that have no run whose record would say what became of them."""
    lost = [a for a in attempts if a.run is None and a.status is not None and not a.good]
    said = Counter(f"{a.status}: {a.failure}" for a in lost)
    return tuple(f"{n} {'attempt' if n == 1 else 'attempts'} {why}" for why, n in said.items())


def savings(entry: Entry, others: Iterable[Entry]) -> Savings | None:
    """Against the baseline of the same model and, where there are several, the same code."""
    bases = [
        e for e in others
        if e.spec.recipe == DEFAULT and e.spec.model == entry.spec.model and e.counted and e.scored
    ]  # fmt: skip
    if not (bases and entry.counted and entry.scored) or entry.spec.recipe == DEFAULT:
        return None
    code = entry.records[0].code_sha256
    base = max(bases, key=lambda e: (e.records[0].code_sha256 == code, e.counted))
    ratio, interval = score.ratio_of_means(base.energies_j, entry.energies_j)
    spared = None if interval is None else (1 - interval[1], 1 - interval[0])
    return Savings(1 - ratio, spared, base.key)


def preparation(record: Record) -> float | None:
    """What is spent before the training itself, teachers included, as a share of the whole; None
    where a part of it is not known."""
    energy_j = usable_energy_j(record)
    spent = [record.energy_of(p) for p in record.phases if p.name not in WORK]
    spent += [c.energy_j for c in record.charged_runs if c.role == "teacher"]
    known = [e for e in spent if e is not None]
    if energy_j is None or len(known) < len(spent):
        return None
    return sum(known) / energy_j


def as_dict(result: Result) -> dict[str, Any]:
    """For JSON, with full numbers; None is what is not known."""
    return {
        "schema": JSON_SCHEMA,
        "name": result.name,
        "asked": result.asked,
        "groups": [
            {
                **(group.board.place._asdict() if group.board else {}),
                "title": group.board.title if group.board else None,
                "notes": list(group.board.notes) if group.board else [],
                "rows": [_row_object(row) for row in group.rows],
            }
            for group in result.groups
        ],
        "skipped": result.skipped,
        "warnings": list(result.warnings),
    }


_SHOWN = ("metric_name", "metric", "skill", "energy", "score", "tier", "duration", "runs")


def _row_object(row: Row) -> dict[str, Any]:
    e = row.entry
    spread = {} if e is None else {
        c.key: c.spread(e) for c in columns.COLUMNS if c.spread and c.key in _SHOWN
    }  # fmt: skip
    return {
        "cell": row.cell,
        "entry": e and e.key,
        "model": e and e.spec.model,
        "recipe": e and e.spec.recipe,
        "settings": e and e.spec.settings,
        "run_ids": [r.run_id for r in e.records] if e else [],
        "planned": row.planned,
        "attempts": row.attempts,
        "values": {key: columns.named(key).value(e, None) for key in _SHOWN} if e else {},
        "uncertainties": {**spread, "skill": row.skill_half_width} if e else {},
        "savings": row.savings and row.savings.share,
        "savings_interval": row.savings and row.savings.interval and list(row.savings.interval),
        "energy_interval_j": row.energy_interval_j and list(row.energy_interval_j),
        "preparation": row.preparation,
        "on_front": row.on_front,
        "remarks": list(row.remarks),
    }
