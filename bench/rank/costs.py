"""What a run of a task cost, by machine and model, from the runs that there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from bench.cards import Card
from bench.rank import notation
from bench.rank.board import data_board
from bench.rank.entry import Run, hardware_class, usable_energy_j, usable_metric
from bench.units import show_duration, show_energy, show_energy_band


@dataclass(frozen=True)
class Cost:
    """Medians over the whole runs of one model and recipe on one kind of machine and data."""

    estimated: bool
    hardware: str
    level: str
    coverage: str
    data: str  # official, embedded, or the board of other rows
    model: str
    recipe: str
    runs: int
    energy_j: float
    lowest_j: float
    highest_j: float
    duration_s: float
    metric: str | None
    value: float | None

    @property
    def place(self) -> str:
        data = "the official data" if self.data == "official" else f"{self.data} data"
        how = "ESTIMATED, not measured" if self.estimated else "measured"
        return f"{how} · {self.hardware} · {self.coverage} ({self.level}) · {data}"

    @property
    def name(self) -> str:
        return f"{self.model} · {self.recipe}"

    @property
    def text(self) -> str:
        """Energy, time, metric and runs, for people."""
        energy = show_energy(self.energy_j)
        if self.lowest_j < self.highest_j:
            energy = show_energy_band(self.energy_j, self.lowest_j, self.highest_j)
        energy = f"≈{energy}" if self.estimated else energy
        score = [] if self.value is None else [notation.named(self.metric or "", self.value)]
        runs = f"{self.runs} {'run' if self.runs == 1 else 'runs'}"
        return ", ".join([energy, show_duration(self.duration_s), *score, runs])


def of(card: Card, runs: Iterable[Run]) -> list[Cost]:
    """The measured ones first; runs that failed, were cut short or have no energy say nothing."""
    groups: dict[tuple[object, ...], list[Run]] = defaultdict(list)
    for run in runs:
        r = run.record
        ours = (r.spec.task, r.spec.task_version) == (card.name, card.version)
        if ours and r.status == "complete" and usable_energy_j(r):
            groups[_key(run, card)].append(run)
    return sorted((_cost(group, card) for group in groups.values()), key=_order)


def _key(run: Run, card: Card) -> tuple[object, ...]:
    r = run.record
    metric = usable_metric(r)
    return (
        hardware_class(r), r.level, r.coverage, _data(run, card), r.spec.model, r.spec.recipe,
        metric and metric.name,
    )  # fmt: skip


def _data(run: Run, card: Card) -> str:
    board = data_board(run.record, card)
    return "embedded" if run.record.spec.data.source == "embedded" else board


def _cost(group: list[Run], card: Card) -> Cost:
    records = [run.record for run in group]
    energies_j = [e for r in records if (e := usable_energy_j(r))]
    metrics = [m for r in records if (m := usable_metric(r))]
    first = records[0]
    return Cost(
        estimated=first.level == "M0",
        hardware=hardware_class(first),
        level=first.level,
        coverage=first.coverage,
        data=_data(group[0], card),
        model=first.spec.model,
        recipe=first.spec.recipe,
        runs=len(records),
        energy_j=median(energies_j),
        lowest_j=min(energies_j),
        highest_j=max(energies_j),
        duration_s=median(r.total_duration_s or r.duration_s for r in records),
        metric=metrics[0].name if metrics else None,
        value=median(m.value for m in metrics) if metrics else None,
    )


def _order(cost: Cost) -> tuple[object, ...]:
    """Machines and data together, the official data first, then what costs less."""
    data = (cost.data != "official", cost.data)
    return cost.estimated, cost.hardware, cost.level, cost.coverage, data, cost.energy_j
