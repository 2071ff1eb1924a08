"""Energies, emissions and grids as a report says them."""

from __future__ import annotations

from bench.footprint.quantity import Quantity
from bench.power.carbon import Scenario
from bench.units import significant


def energy_text(kwh: float) -> str:
    return f"{significant(kwh, 4 if kwh >= 1000 else 3)} kWh"


def mass_text(kg: float) -> str:
    """g below a kg."""
    if kg < 1:
        return f"{significant(1000 * kg)} g CO2e"
    return f"{kg:,.0f} kg CO2e" if kg >= 1000 else f"{significant(kg)} kg CO2e"


def unsure_text(quantity: Quantity) -> str:
    """In per cent of the number; what is not known is said."""
    if quantity.uncertainty is None:
        return "± unknown"
    return f"±{significant(100 * quantity.uncertainty / quantity.value, 2)} %"


def grid_text(scenario: Scenario) -> str:
    region = scenario.region
    assumed = "; assumed, since none was named" if scenario.assumed else ""
    return (
        f"{region.name} {region.year}, {significant(region.g_per_kwh)} g CO2e/kWh ({region.source},"
        f" {region.kind}{assumed}), {scenario.pue}"
    )
