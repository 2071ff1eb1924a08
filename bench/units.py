"""Units are converted here and nowhere else; a name carries its unit (`energy_j`, `power_w`)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from bench.errors import UsageError

J_PER_WH = 3600.0
J_PER_KWH = 3.6e6
NS_PER_S = 1_000_000_000
KG_PER_LB = 0.45359237


def kwh_from_j(energy_j: float) -> float:
    return energy_j / J_PER_KWH


def g_co2e(energy_j: float, intensity_g_per_kwh: float) -> float:
    """Emissions in g CO2e of `energy_j` at a grid intensity in g CO2e/kWh."""
    return kwh_from_j(energy_j) * intensity_g_per_kwh


def significant(value: float, digits: int = 3) -> str:
    """`value` with at most `digits` significant digits, never in exponent form."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # of the rounded value
    places = digits - 1 - exponent
    return f"{round(value, places):,.{max(places, 0)}f}"


@dataclass(frozen=True)
class EnergyUnit:
    """Of numbers that stand below each other."""

    name: str
    in_j: float

    def number(self, energy_j: float, digits: int = 3) -> str:
        return significant(energy_j / self.in_j, digits)


KWH, WH = EnergyUnit("kWh", J_PER_KWH), EnergyUnit("Wh", J_PER_WH)


def common_unit(energies_j: Iterable[float]) -> EnergyUnit:
    """Wh where each is below a tenth of a kWh, else kWh: one unit, so that a column can be read
    at a glance, and no row of zeros."""
    return WH if max(energies_j, default=J_PER_KWH) < 0.1 * J_PER_KWH else KWH


def show_energy(energy_j: float, like_j: float | None = None) -> str:
    """Energy for people: kWh from a tenth of a kWh up, Wh below, J below a tenth of a Wh; or in
    the unit that suits `like_j`, so that parts read like their sum."""
    unit, in_j = _energy_unit(energy_j if like_j is None else like_j)
    return f"{significant(energy_j / in_j)} {unit}"


def show_energy_band(energy_j: float, low_j: float, high_j: float) -> str:
    """An energy and what it may be, in the unit of the energy."""
    unit, in_j = _energy_unit(energy_j)
    low, high = significant(low_j / in_j), significant(high_j / in_j)
    return f"{significant(energy_j / in_j)} {unit} ({low} to {high} {unit})"


def _energy_unit(energy_j: float) -> tuple[str, float]:
    if abs(energy_j) >= 0.1 * J_PER_KWH:
        return "kWh", J_PER_KWH
    return ("Wh", J_PER_WH) if abs(energy_j) >= 0.1 * J_PER_WH else ("J", 1.0)


def show_emissions(emissions_g: float) -> str:
    if abs(emissions_g) >= 1000:
        return f"{significant(emissions_g / 1000)} kg CO2e"
    return f"{significant(emissions_g)} g CO2e"


def show_duration(duration_s: float) -> str:
    """3.21 s, 59.3 s, 2 min 05 s, 1 h 02 min."""
    if duration_s < 59.95:
        return f"{significant(duration_s)} s"
    if not math.isfinite(duration_s):
        return "unknown"
    seconds = round(duration_s)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    minutes = round(duration_s / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True)
class Budget:
    """What a run may spend; exactly one of these is set."""

    text: str
    energy_j: float | None = None
    duration_s: float | None = None
    emissions_g: float | None = None
    steps: float | None = None  # these two are counted by what trains, not by a meter
    tokens: float | None = None

    @property
    def metered(self) -> bool:
        return self.steps is None and self.tokens is None

    def is_spent(self, *, duration_s: float, energy_j: float, emissions_g: float) -> bool:
        """Whether a metered one is used up by these."""
        spent = (
            (self.duration_s, duration_s),
            (self.energy_j, energy_j),
            (self.emissions_g, emissions_g),
        )
        return any(limit is not None and value >= limit for limit, value in spent)


_BUDGET_UNITS = {
    "j": ("energy_j", 1.0), "kj": ("energy_j", 1e3),
    "wh": ("energy_j", J_PER_WH), "kwh": ("energy_j", J_PER_KWH),
    "s": ("duration_s", 1.0), "sec": ("duration_s", 1.0), "m": ("duration_s", 60.0),
    "min": ("duration_s", 60.0), "h": ("duration_s", 3600.0), "d": ("duration_s", 86400.0),
    "gco2e": ("emissions_g", 1.0), "kgco2e": ("emissions_g", 1e3),
    "gco2": ("emissions_g", 1.0), "kgco2": ("emissions_g", 1e3),
}  # fmt: skip
_COUNTED = {
    "step": ("steps", 1.0), "steps": ("steps", 1.0), "ksteps": ("steps", 1e3),
    "tokens": ("tokens", 1.0), "ktokens": ("tokens", 1e3), "mtokens": ("tokens", 1e6),
    "gtokens": ("tokens", 1e9),
}  # fmt: skip


def parse_budget(text: str, counted: bool = False) -> Budget:
    """`0.05kWh`, `15min` or `20gCO2e` as a Budget; if `counted`, `500steps` or `2Mtokens`, too."""
    units = _BUDGET_UNITS | (_COUNTED if counted else {})
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z0-9]+)\s*", text)
    unit = match and units.get(match[2].lower())
    if not match or not unit:
        more = ", 500steps, 2Mtokens" if counted else ""
        raise UsageError(
            f"'{text}' is not a budget",
            f"a number and a unit: 0.05kWh, 200Wh, 15min, 2h, 20gCO2e{more}",
        )
    amount = float(match[1]) * unit[1]
    if not amount > 0:
        raise UsageError(f"the budget '{text}' allows nothing", "give a number above 0")
    return Budget(text=text.strip(), **{unit[0]: amount})


def show_bytes(size: int) -> str:
    """1.2 MB; decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{significant(size / factor)} {unit}"
    return f"{size} bytes"
