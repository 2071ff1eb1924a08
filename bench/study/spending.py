"""What a ledger's runs have taken so far, what is ahead of them, and what a budget allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.errors import BenchError, UsageError
from bench.power.carbon import Scenario
from bench.study.job import Job
from bench.study.ledger import Attempt, Ledger
from bench.units import Budget, show_duration, show_energy


@dataclass(frozen=True)
class Cost:
    """Of one run or several; the energy that is known, which is a part where some is not."""

    duration_s: float = 0.0
    energy_j: float = 0.0
    estimated: bool = False
    unknown: int = 0  # runs of which no energy is known

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.duration_s + other.duration_s, self.energy_j + other.energy_j,
            self.estimated or other.estimated, self.unknown + other.unknown,
        )  # fmt: skip

    def __str__(self) -> str:
        about = "≈" if self.estimated else ""
        energy = (
            [f"{about}{show_energy(self.energy_j)}"] if self.energy_j or not self.unknown else []
        )
        if self.unknown:
            runs = "run" if self.unknown == 1 else "runs"
            energy.append(f"{self.unknown} {runs} of unknown energy")
        return f"{show_duration(self.duration_s)}, {' and '.join(energy)}"


def total(costs: Iterable[Cost]) -> Cost:
    return sum(costs, Cost())


def cost(attempt: Attempt) -> Cost:
    """Of an attempt that has ended: what its own window took, whatever became of it. One that ended
    before its run had begun took nothing that was metered."""
    if attempt.run is None:
        return Cost()
    try:
        record = attempt.record()
    except (BenchError, OSError):
        record = None
    if record is None:
        return Cost(unknown=1)
    known = record.window_energy_j
    return Cost(record.duration_s, known or 0.0, record.level == "M0", int(known is None))


class Spending:
    """Kept up to date by `ended`; a driver's runs before this one are in it from the start."""

    def __init__(self, ledger: Ledger) -> None:
        self.so_far = Cost()
        self._of_cells: dict[str, list[Cost]] = {}
        for attempt in ledger.ended():
            self.ended(attempt)

    def ended(self, attempt: Attempt) -> Cost:
        found = cost(attempt)
        self.so_far += found
        if attempt.good:
            self._of_cells.setdefault(attempt.job.cell, []).append(found)
        return found

    def expected(self, job: Job) -> Cost | None:
        """As its cell's runs so far; else as the mean cell; None before the first run."""
        own = self._of_cells.get(job.cell)
        each = own or [_mean(costs) for costs in self._of_cells.values()]
        return _mean(each) if each else None

    def left(self, jobs: Iterable[Job]) -> Cost | None:
        """What the jobs will come to; None while nothing is known."""
        each = [self.expected(job) for job in jobs]
        return total(c for c in each if c) if any(each) or not each else None


def _mean(costs: list[Cost]) -> Cost:
    """Of single runs, or of means."""
    whole, n = total(costs), len(costs)
    known = n - whole.unknown
    energy_j = whole.energy_j / known if known else 0.0
    return Cost(whole.duration_s / n, energy_j, whole.estimated, 0 if known else 1)


@dataclass(frozen=True)
class Limit:
    """A budget of all runs together. No run is started that is expected to go beyond it; one that
    runs is not cut short, because it would be another training than its repeats."""

    budget: Budget
    scenario: Scenario

    def __post_init__(self) -> None:
        if not self.budget.metered:
            raise UsageError(
                f"{self.budget.text} is no budget of several runs", "0.1kWh, 2h, 50gCO2e"
            )

    def reached(self, spending: Spending, job: Job, going: Iterable[Job] = ()) -> bool:
        """Whether the next run would go beyond it, after those that are `going`; what is not known
        can't be kept in it."""
        ahead = total(spending.expected(j) or Cost() for j in (*going, job))
        return self.used_up_by(spending.so_far + ahead)

    def used_up_by(self, cost: Cost) -> bool:
        if cost.unknown and self.budget.duration_s is None:
            return True
        return self.budget.is_spent(
            duration_s=cost.duration_s,
            energy_j=cost.energy_j,
            emissions_g=self.scenario.emissions_g(cost.energy_j),
        )
