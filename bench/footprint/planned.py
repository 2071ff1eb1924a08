"""A training that somebody plans, and what it would take: energy, emissions, money and time, each
between the least and the most that it may well be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.footprint.known import Known
from bench.footprint.quantity import Quantity
from bench.power.carbon import Scenario
from bench.units import significant

FORMATS = {"fp32": "", "tf32": "tf32", "bf16": "bf16", "fp16": "fp16"}
"""Number format -> the recipe that trains in it."""
BASELINE = "baseline"


@dataclass(frozen=True)
class Asked:
    """The training that is planned. One of `tokens`, `examples`, `hours` is set."""

    model: str
    device: str
    scenario: Scenario
    devices: int = 1
    parameters: float | None = None
    tokens: float | None = None
    examples: float | None = None  # of all epochs
    hours: float | None = None  # by the clock, of one training
    task: str | None = None
    recipe: str = BASELINE
    trials: int = 0
    power_w: float | None = None  # of one device
    usd_per_kwh: float | None = None
    usd_per_hour: float | None = None  # of one device
    extra: tuple[Factor, ...] = ()  # what an alternative changes

    @property
    def unit(self) -> str:
        return "token" if self.tokens else "example" if self.examples else "second"

    @property
    def amount(self) -> float:
        """Of units; device-seconds where hours are given."""
        return self.tokens or self.examples or (self.hours or 0.0) * 3600 * self.devices

    @property
    def accelerated(self) -> bool:
        return not self.device.startswith("CPU")


@dataclass(frozen=True)
class Factor:
    """What a number may be times: least, middle, most. `of`: energy, time or both."""

    name: str
    low: float
    middle: float
    high: float
    source: str
    of: str = "both"
    assumed: bool = False

    @property
    def spreads(self) -> bool:
        return self.low < 0.995 * self.middle or self.high > 1.005 * self.middle


@dataclass(frozen=True)
class Basis:
    """The runs that a plan rests on, and how near they are."""

    nearness: str  # same, recipe, hardware, operations, given
    runs: tuple[Known, ...]
    factors: tuple[Factor, ...]
    warnings: tuple[str, ...] = ()

    @property
    def estimated(self) -> bool:
        return any(run.estimated for run in self.runs)

    @property
    def coverage(self) -> str:
        return ", ".join(sorted({run.coverage for run in self.runs}))


@dataclass(frozen=True)
class Band:
    """A number between the least and the most that it may well be."""

    low: Quantity
    middle: Quantity
    high: Quantity

    def map(self, rule: Callable[[Quantity], Quantity]) -> Band:
        return Band(rule(self.low), rule(self.middle), rule(self.high))

    def with_(self, other: Band, rule: Callable[[Quantity, Quantity], Quantity]) -> Band:
        pairs = zip(self.ends, other.ends, strict=True)
        return Band(*(rule(a, b) for a, b in pairs))

    @property
    def ends(self) -> tuple[Quantity, Quantity, Quantity]:
        return self.low, self.middle, self.high

    def as_dict(self) -> dict[str, Any]:
        return {n: q.as_dict() for n, q in zip(("low", "middle", "high"), self.ends, strict=True)}


@dataclass(frozen=True)
class Cost:
    """Of one training, of trials, or of both. Energy is with what the building adds."""

    energy: Band  # kWh
    emissions: Band  # kg CO2e
    electricity: Band  # USD
    hours: Band  # by the clock
    cloud: Band | None  # USD

    @property
    def bands(self) -> dict[str, Band]:
        found = {
            "energy": self.energy, "emissions": self.emissions, "electricity": self.electricity,
            "hours": self.hours,
        }  # fmt: skip
        return found | ({"cloud": self.cloud} if self.cloud else {})


@dataclass(frozen=True)
class Plan:
    asked: Asked
    basis: Basis
    one: Cost
    trials: Cost | None  # None: none are planned
    together: Cost
    factors: tuple[Factor, ...] = field(default=())

    @property
    def estimated(self) -> bool:
        return self.basis.estimated


def shown_count(value: float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{significant(value / size)} {unit}"
    return f"{value:g}"
