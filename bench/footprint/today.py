"""The study's trainings by grids of today."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.footprint import formulas, published
from bench.footprint.published import Table
from bench.footprint.quantity import explained
from bench.power import carbon
from bench.power.carbon import Scenario
from bench.units import significant

TODAY = ("SE", "FR", "GB", "DE", "US", "PL", "IN")
"""Grids of today that the study's trainings are set beside: from few grams to many."""
TODAY_PUE = "uptime-2025"


@dataclass(frozen=True)
class Today:
    """The study's trainings by grids of today: kg CO2e of each in each."""

    scenarios: tuple[Scenario, ...]
    rows: tuple[tuple[str, str, str, tuple[str, ...]], ...]
    """Name, kWh, kg in the study, kg in each scenario."""
    explained: tuple[tuple[str, ...], ...]

    @property
    def spread(self) -> str:
        """How many times as much the dirtiest grid emits as the cleanest."""
        grams = [s.g_per_metered_kwh for s in self.scenarios]
        return significant(max(grams) / min(grams), 2)


def today(table: Table, codes: Sequence[str] = TODAY, pue: str = TODAY_PUE) -> Today:
    scenarios = tuple(carbon.asked(code, pue) for code in codes)
    by_grid = [published.again(table, scenario) for scenario in scenarios]
    rows, why = [], []
    for row in table.rows:
        study, energy = row.cells["lb"].computed, by_grid[0].get(row.name)
        if study is None or energy is None:
            continue
        kg = tuple(_whole(grid[row.name][1].value) for grid in by_grid)
        rows.append(
            (row.name, _whole(energy[0].value), _whole(formulas.in_kg(study).value), kg)
        )  # fmt: skip
        why.append(tuple(explained(energy[1])))
    return Today(scenarios, tuple(rows), tuple(why))


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else significant(value, 2)
