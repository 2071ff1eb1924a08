"""The study's own case: the research behind one paper, added up."""

from __future__ import annotations

from dataclasses import dataclass

from bench.footprint import formulas, published
from bench.footprint.quantity import Quantity, derived, given
from bench.power import carbon


@dataclass(frozen=True)
class Case:
    """Table 4 of the study: the research behind one paper."""

    jobs: int
    searches: int
    days: int
    mean_h: float
    shortest_h: float
    longest_h: float
    device_hours: Quantity
    energy: Quantity  # with the building
    emissions: Quantity
    electricity: Quantity
    multiple: Quantity
    tuning: Quantity
    source: str


def of_study() -> Case:
    """From the inputs of the study's table 4."""
    facts = published.document()
    table, study = facts["table4"], facts["study"]
    scenario = carbon.scenario(study["scenario"])
    source = f"{study['title']}, {study['source']}, table 4"
    one, whole = table["rows"][0], table["rows"][-1]
    hours = given("device-hours", whole["gpu_hours"], "h", source)
    power = given("power", table["power_w"], "W", " ".join(table["power_source"].split()))
    energy = formulas.energy(power, hours, formulas.pue_of(scenario.pue))
    once = given("one training", one["gpu_hours"], "h", source)
    return Case(
        jobs=whole["models"],
        mean_h=52.0,
        searches=123,
        days=172,
        shortest_h=0.05,
        longest_h=9 * 24.0,
        device_hours=hours,
        energy=energy,
        emissions=formulas.emissions_kg(energy, formulas.intensity_of(scenario.region)),
        electricity=formulas.cost_usd(
            "electricity", energy, given("price", study["usd_per_kwh"], "USD/kWh", source)
        ),
        multiple=derived(
            "multiple of one training",
            "",
            "all device-hours / those of one training",
            lambda a, b: a / b,
            hours,
            once,
        ),
        tuning=derived(
            "multiple of one training",
            "",
            "device-hours of tuning for a new dataset / those of one training",
            lambda a, b: a / b,
            given("tuning", table["rows"][1]["gpu_hours"], "h", source),
            once,
        ),
        source=source,
    )
