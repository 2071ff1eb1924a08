"""What an amount of CO2e or of energy is like, for people: lifetimes of cars, flights, charges of
a phone. On request, or as the last line of a summary; never the result, and never more than two
digits.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.footprint import formulas
from bench.footprint.quantity import Quantity, derived, given
from bench.power.carbon import Scenario
from bench.units import J_PER_KWH, KG_PER_LB, significant

LEAST, MOST = 0.1, 1000.0  # of a thing; people can't picture fewer or more
_PICTURED = 5.0  # how many of a thing are pictured best
_KM_PER_MILE, _DAYS_PER_YEAR = 1.609344, 365.25


@dataclass(frozen=True)
class Thing:
    """One of something: what it emits, kg, or takes, kWh."""

    key: str
    one: str
    many: str
    of: str  # CO2e, CO2, energy
    amount: Quantity
    source: str
    year: int | None  # None: of no year
    kind: str
    note: str = ""


@dataclass(frozen=True)
class Equivalent:
    """How many of a thing an amount is."""

    thing: Thing
    count: Quantity

    @property
    def pictured(self) -> bool:
        """Whether people can picture so many."""
        return LEAST <= self.count.value <= MOST

    def __str__(self) -> str:
        """about 3.1 flights from New York to San Francisco, one passenger (Strubell et al. 2019,
        table 1)"""
        shown = significant(self.count.value, 2)
        name = self.thing.one if shown in ("1", "1.0") else self.thing.many
        return f"about {shown} {name} ({self.thing.source})"

    def as_dict(self) -> dict[str, Any]:
        thing = self.thing
        return {
            "key": thing.key, "said": str(self), "of": thing.of, "source": thing.source,
            "year": thing.year, "kind": thing.kind, "note": thing.note,
            "count": self.count.as_dict(),
        }  # fmt: skip


# --- what an amount is like ----------------------------------------------------------------------


def of(kg: float | Quantity) -> list[Equivalent]:
    """Of emissions, kg CO2e: those that people can picture first, the best of them at the head.
    None of no emissions at all."""
    return _counted(_quantity("emissions", kg, "kg CO2e"), ("CO2e", "CO2"))


def of_energy(kwh: float | Quantity) -> list[Equivalent]:
    """The same of an energy, kWh."""
    return _counted(_quantity("energy", kwh, "kWh"), ("energy",))


def line(kg: float | Quantity) -> str:
    """The last line of a summary; nothing where nothing is emitted."""
    return next((str(e) for e in of(kg)), "")


def _quantity(name: str, amount: float | Quantity, unit: str) -> Quantity:
    found = amount if isinstance(amount, Quantity) else given(name, amount, unit, "as given")
    if found.unit != unit:
        raise ValueError(f"{found.unit} is not {unit}")
    if not 0 <= found.value < math.inf:
        raise UsageError(f"{found.value:g} {unit} is no amount of {name}", "a number from 0 up")
    return found


def _counted(amount: Quantity, kinds: Iterable[str]) -> list[Equivalent]:
    if not amount.value:
        return []
    found = [
        Equivalent(t, _count(amount, t.amount)) for t in things() if t.of in kinds
    ]  # fmt: skip
    return sorted(found, key=lambda e: (not e.pictured, abs(math.log(e.count.value / _PICTURED))))


def _count(amount: Quantity, one: Quantity) -> Quantity:
    return derived("count", "", f"{amount.name} / {one.name}", lambda a, b: a / b, amount, one)


# --- an amount as it is typed --------------------------------------------------------------------

_KG = {"g": 1e-3, "kg": 1.0, "t": 1e3, "lb": KG_PER_LB}
_KWH = {"j": 1 / J_PER_KWH, "kj": 1e3 / J_PER_KWH, "wh": 1e-3, "kwh": 1.0, "mwh": 1e3, "gwh": 1e6}


def parse(text: str) -> Quantity:
    """`652kg`, `1.4 t`, `1,438 lb`, `0.5kWh`; UsageError else. MWh are megawatt-hours."""
    match = re.fullmatch(r"\s*([-+0-9.,eE]+?)\s*([A-Za-z]+)\s*(CO2e?)?\s*", text)
    amount, unit = _number(match[1]) if match else None, match[2].lower() if match else ""
    if match and match[3] is None and unit.endswith(("co2e", "co2")):
        unit = unit.partition("co2")[0]
    if amount is None or unit not in _KG | _KWH:
        raise UsageError(
            f"'{text}' is no amount of CO2e or energy", "a number and a unit: 652kg, 1.4t, 0.5kWh"
        )
    if not 0 < amount < math.inf:
        raise UsageError(f"'{text}' is nothing that is like something", "give a number above 0")
    if unit in _KG:
        return given("emissions", amount * _KG[unit], "kg CO2e", f"{text.strip()}, as given")
    return given("energy", amount * _KWH[unit], "kWh", f"{text.strip()}, as given")


def _number(text: str) -> float | None:
    plain = text.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", text) else text
    try:
        return float(plain)
    except ValueError:
        return None


def emitted(energy: Quantity, scenario: Scenario) -> Quantity:
    """By an energy in a scenario, what the building adds included."""
    pue, intensity = formulas.pue_of(scenario.pue), formulas.intensity_of(scenario.region)
    return derived(
        "emissions", "kg CO2e", "PUE x energy x intensity / 1000",
        lambda p, e, g: p * e * g / 1000, pue, energy, intensity,
    )  # fmt: skip


# --- the table -----------------------------------------------------------------------------------


@cache
def things() -> tuple[Thing, ...]:
    """Every thing, in the table's order."""
    text = Path(__file__).with_name("equivalents.toml").read_text(encoding="utf-8")
    return tuple(_thing(facts) for facts in tomllib.loads(text)["equivalents"])


def _thing(facts: dict[str, Any]) -> Thing:
    about = {k: facts[k] for k in ("key", "one", "many", "of", "source", "kind")}
    said = ", ".join(str(p) for p in (facts["source"], facts.get("year"), facts["kind"]) if p)
    year = facts.get("year")
    return Thing(**about, amount=_amount(facts, said), year=year, note=facts.get("note", ""))


def _amount(facts: dict[str, Any], said: str) -> Quantity:
    """In kg or kWh, by the unit that the source has."""
    name, unit = f"one {facts['key']}", f"kg {facts['of']}"
    if "lb" in facts:
        stated = given(name, facts["lb"], f"lb {facts['of']}", said)
        return derived(name, unit, f"lb x {KG_PER_LB}", lambda v: v * KG_PER_LB, stated)
    if "kg_per_mile" in facts:
        stated = given("one mile", facts["kg_per_mile"], unit, said)
        return derived(name, unit, f"mile / {_KM_PER_MILE}", lambda v: v / _KM_PER_MILE, stated)
    if "kwh_per_year" in facts:
        stated = given("one year", facts["kwh_per_year"], "kWh", said)
        return derived(
            name, "kWh", f"year / {_DAYS_PER_YEAR}", lambda v: v / _DAYS_PER_YEAR, stated
        )
    if "kwh" in facts:
        return given(name, facts["kwh"], "kWh", said)
    return given(name, facts["kg"], unit, said)
