"""The arithmetic of the study, each rule one function over quantities."""

from __future__ import annotations

from bench.footprint.quantity import Quantity, derived, given
from bench.power.carbon import Pue, Region
from bench.units import KG_PER_LB


def energy(power_w: Quantity, hours: Quantity, pue: Quantity) -> Quantity:
    """Of a training, what the building adds included."""
    return derived(
        "energy", "kWh", "PUE x hours x power / 1000", lambda w, h, p: p * h * w / 1000,
        power_w, hours, pue,
    )  # fmt: skip


def emissions_lb(energy_kwh: Quantity, intensity_lb: Quantity) -> Quantity:
    """As the study has them."""
    return derived(
        "emissions", "lb CO2e", "energy x intensity", lambda e, g: e * g, energy_kwh, intensity_lb
    )


def emissions_kg(energy_kwh: Quantity, intensity_g: Quantity) -> Quantity:
    return derived(
        "emissions", "kg CO2e", "energy x intensity / 1000", lambda e, g: e * g / 1000,
        energy_kwh, intensity_g,
    )  # fmt: skip


def in_kg(lb: Quantity) -> Quantity:
    return derived("emissions", "kg CO2e", f"lb x {KG_PER_LB}", lambda v: v * KG_PER_LB, lb)


def cost_usd(name: str, amount: Quantity, price: Quantity) -> Quantity:
    """Of device-hours, or of electricity."""
    return derived(name, "USD", f"{amount.name} x {price.name}", lambda a, p: a * p, amount, price)


def device_hours(devices: Quantity, hours: Quantity) -> Quantity:
    return derived("device-hours", "h", "devices x hours", lambda n, h: n * h, devices, hours)


def pue_of(pue: Pue) -> Quantity:
    return given("PUE", pue.value, "", ", ".join(str(p) for p in (pue.source, pue.year) if p))


def intensity_of(region: Region) -> Quantity:
    source = f"{region.name} {region.year}, {region.source}, {region.kind}"
    return given("intensity", region.g_per_kwh, "g CO2e/kWh", source)


def intensity_lb_of(region: Region) -> Quantity:
    source = f"{region.name} {region.year}, {region.source}"
    return given("intensity", region.g_per_kwh / 1000 / KG_PER_LB, "lb CO2e/kWh", source)
