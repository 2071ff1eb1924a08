"""Grid intensities by region: yearly, location-based, with year, source and kind."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from bench.errors import UsageError, near_names
from bench.units import KG_PER_LB

DEFAULT = "US"  # an assumption, and said to be one: the study behind this project took the US


@dataclass(frozen=True)
class Region:
    """A grid and its mean intensity over a year, g CO2e/kWh."""

    code: str
    name: str
    g_per_kwh: float
    year: int
    source: str
    kind: Literal["life-cycle", "combustion"]  # figures of two kinds don't compare


def region(text: str) -> Region:
    """The region of a code (DE, DEU, US-CA) or name (Germany); UsageError with near names."""
    found = _by_name().get(_plain(text))
    if found is None:
        names = [n for r in regions() for n in (r.code, r.name)]
        near = near_names(text, names)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "a country or a US state: DE, US-CA"
        )
        raise UsageError(f"no grid region is called '{text}'", hint)
    return found


def default() -> Region:
    """The region that is assumed when none is named."""
    return region(DEFAULT)


@cache
def regions() -> tuple[Region, ...]:
    """Every region, in the table's order."""
    return tuple(r for r, _ in _table())


@cache
def _table() -> tuple[tuple[Region, str], ...]:
    """Each region with its other code."""
    text = Path(__file__).with_name("carbon.toml").read_text(encoding="utf-8")
    found = []
    for group in tomllib.loads(text).values():
        to_g = {"g/kWh": 1.0, "lb/MWh": KG_PER_LB}[group["unit"]]
        for code, (other, name, year, value) in group["regions"].items():
            known = Region(code, name, value * to_g, year, group["source"], group["kind"])
            found.append((known, other))
    return tuple(found)


@cache
def _by_name() -> dict[str, Region]:
    return {_plain(n): r for r, other in _table() for n in (r.code, r.name, other) if n}


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("_", "-").split())
