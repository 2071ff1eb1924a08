"""The arithmetic of the study, each rule one function over quantities."""

from __future__ import annotations

from bench.footprint.quantity import Quantity, derived, given
from bench.power.carbon import Pue, Region
from bench.units import J_PER_KWH, KG_PER_LB


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


# --- of a training that is planned ---------------------------------------------------------------


def training_j(each_j: Quantity, amount: Quantity, factor: Quantity) -> Quantity:
    """Of the training phase, from what one unit of its work takes."""
    return derived(
        "training", "J", f"{each_j.name} x {amount.name} x factor", lambda e, n, f: e * n * f,
        each_j, amount, factor,
    )  # fmt: skip


def training_s(each_s: Quantity, amount: Quantity, factor: Quantity) -> Quantity:
    """The same in device-seconds."""
    return derived(
        "training", "s", f"{each_s.name} x {amount.name} x factor", lambda e, n, f: e * n * f,
        each_s, amount, factor,
    )  # fmt: skip


def work(power_w: Quantity, device_s: Quantity) -> Quantity:
    return derived(
        "training", "J", f"power x {device_s.name}", lambda w, s: w * s, power_w, device_s
    )


def whole_kwh(training: Quantity, around: Quantity, pue: Quantity) -> Quantity:
    """A training with what is around it and what the building adds."""
    return derived(
        "energy", "kWh", f"PUE x (training + {around.name}) / 3.6e6",
        lambda t, a, p: p * (t + a) / J_PER_KWH, training, around, pue,
    )  # fmt: skip


def wall_hours(device_s: Quantity, around_s: Quantity, devices: Quantity) -> Quantity:
    """By the clock: devices share the training, and not what is around it."""
    return derived(
        "hours", "h", f"({device_s.name} / devices + {around_s.name}) / 3600",
        lambda t, a, n: (t / n + a) / 3600, device_s, around_s, devices,
    )  # fmt: skip


def many(count: Quantity, share: Quantity, one: Quantity) -> Quantity:
    """So many, each a share of one."""
    return derived(
        one.name, one.unit, f"{count.name} x {share.name} x {one.name} of one training",
        lambda n, s, v: n * s * v, count, share, one,
    )  # fmt: skip


def added(first: Quantity, second: Quantity) -> Quantity:
    return derived(
        first.name, first.unit, "one training + all trials", lambda a, b: a + b, first, second
    )
