"""Grid intensities by region and what a building adds: each with year, source and kind.

Intensities are yearly and location-based. Emissions are a scenario over a measured energy, and
figures of two kinds (life-cycle, combustion) never stand in one column.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bench.errors import UsageError, near_names
from bench.units import KG_PER_LB, g_co2e

DEFAULT = "US"  # an assumption, and said to be one: the study behind this project took the US
NO_PUE = "none"

Kind = Literal["life-cycle", "combustion"]


@dataclass(frozen=True)
class Region:
    """A grid and its mean intensity over a year, g CO2e/kWh."""

    code: str
    name: str
    g_per_kwh: float
    year: int
    source: str
    kind: Kind  # figures of two kinds don't compare
    code3: str = ""  # of a country, by ISO 3166


@dataclass(frozen=True)
class Pue:
    """Power usage effectiveness: energy of a building over that of the machines in it."""

    name: str
    value: float
    year: int | None  # None: of no year
    source: str

    def __str__(self) -> str:
        if self.name == NO_PUE:
            return "PUE 1: none applied"
        return f"PUE {self.value:g} ({', '.join(str(p) for p in (self.source, self.year) if p)})"


@dataclass(frozen=True)
class Scenario:
    """A grid and a building by one name."""

    name: str
    region: Region
    pue: Pue
    assumed: bool = False  # no region was named

    @property
    def g_per_metered_kwh(self) -> float:
        """g CO2e/kWh of the machines, what the building adds included."""
        return self.pue.value * self.region.g_per_kwh

    def building_j(self, energy_j: float) -> float:
        """Energy with what the building adds."""
        return energy_j * self.pue.value

    def emissions_g(self, energy_j: float) -> float:
        """g CO2e of a metered energy, what the building adds included."""
        return g_co2e(self.building_j(energy_j), self.region.g_per_kwh)


# --- regions


def region(text: str) -> Region:
    """The region of a code (DE, DEU, US-CA) or name (Germany); UsageError with near names."""
    found = _by_name().get(_plain(text), "")
    if isinstance(found, Region):
        return found
    if found:
        raise UsageError(f"'{text}' is the name of two regions", f"give a code: {found}")
    names = [n for r in regions() for n in (r.code, r.name)] + list(_document()["names"])
    raise _unknown("grid region", text, names, "a country or a US state: DE, US-CA")


def default() -> Region:
    """The region that is assumed when none is named."""
    return region(DEFAULT)


@cache
def regions() -> tuple[Region, ...]:
    """Every region, in the table's order."""
    return tuple(r for r, _ in _table())


# --- buildings, and both by name


def pue(text: str) -> Pue:
    """The PUE of a name (uptime-2025, cloud-low, none) or a number from 1 up; UsageError else."""
    known = {p.name: p for p in pues()}
    if found := known.get(_plain(text)):
        return found
    try:
        value = float(text)
    except ValueError:
        raise _unknown("PUE", text, known, "a number from 1 up, or uptime-2025") from None
    if not 1 <= value <= 10:
        raise UsageError(f"{text} is no PUE", "a number from 1 up: a building adds to its machines")
    return Pue(text, value, None, "as given")


@cache
def pues() -> tuple[Pue, ...]:
    """Every PUE that has a name; the first is that nothing is added."""
    table = _document()["pue"]
    return tuple(Pue(name, value, year or None, src) for name, (value, year, src) in table.items())


def scenario(text: str) -> Scenario:
    """The scenario of a name, such as the study's (strubell-2018); UsageError with near names."""
    known = {s.name: s for s in scenarios()}
    if found := known.get(_plain(text)):
        return found
    raise _unknown("scenario", text, known, " or ".join(known))


def asked(region_text: str | None, pue_text: str | None = None) -> Scenario:
    """A scenario as it is typed: a region or a scenario's name, and a PUE that overrides its own;
    the default region and no PUE where nothing is said."""
    named = {s.name: s for s in scenarios()}.get(_plain(region_text or ""))
    grid = named.region if named else region(region_text) if region_text else default()
    building = pue(pue_text) if pue_text else named.pue if named else pue(NO_PUE)
    return Scenario(named.name if named else grid.name, grid, building, not region_text)


@cache
def scenarios() -> tuple[Scenario, ...]:
    table = _document()["scenarios"]
    return tuple(Scenario(name, region(code), pue(p)) for name, (code, p) in table.items())


# --- the table


def _unknown(what: str, text: str, names: Iterable[str], hint: str) -> UsageError:
    near = near_names(text, names)
    return UsageError(
        f"no {what} is called '{text}'", f"did you mean {' or '.join(near)}?" if near else hint
    )


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("carbon.toml").read_text(encoding="utf-8"))


@cache
def _table() -> tuple[tuple[Region, str], ...]:
    """Each region with its other code."""
    found = []
    for group in (g for g in _document().values() if "regions" in g):
        to_g = {"g/kWh": 1.0, "lb/MWh": KG_PER_LB}[group["unit"]]
        for code, (other, name, year, value) in group["regions"].items():
            known = Region(code, name, value * to_g, year, group["source"], group["kind"], other)
            found.append((known, other))
    return tuple(found)


@cache
def _by_name() -> dict[str, Region | str]:
    """Region by every name; the codes to choose from where a name means two."""
    found: dict[str, Region | str] = {
        _plain(n): r for r, other in _table() for n in (r.code, r.name, other) if n
    }
    for name, code in _document()["names"].items():
        found[_plain(name)] = found.get(_plain(code), code)
    return found


def _plain(text: str) -> str:
    """Without case, accents and the choice of spaces, hyphens and underscores."""
    letters = unicodedata.normalize("NFKD", text.casefold().replace("_", "-"))
    return " ".join("".join(c for c in letters if not unicodedata.combining(c)).split())
