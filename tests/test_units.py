from __future__ import annotations

import pytest

from bench.errors import UsageError
from bench.units import (
    KWH,
    WH,
    common_unit,
    parse_budget,
    show_duration,
    show_emissions,
    show_energy,
    show_energy_band,
    significant,
)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("0.05kWh", "energy_j", 180_000),
        ("200 Wh", "energy_j", 720_000),
        ("15min", "duration_s", 900),
        ("2h", "duration_s", 7200),
        ("20gCO2e", "emissions_g", 20),
        ("1e-3 kWh", "energy_j", 3600),
    ],
)
def test_a_budget_is_a_number_and_a_unit(text: str, field: str, value: float) -> None:
    budget = parse_budget(text)
    assert getattr(budget, field) == pytest.approx(value)
    set_fields = [budget.energy_j, budget.duration_s, budget.emissions_g]
    assert sum(v is not None for v in set_fields) == 1


@pytest.mark.parametrize("text", ["", "15", "kWh", "15 bananas", "-3 min", "0min", "1e999h1"])
def test_what_is_no_budget_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_budget(text)
    assert error.value.hint


def test_at_most_three_significant_digits() -> None:
    assert significant(1234.5) == "1,230"
    assert significant(0.0123456) == "0.0123"
    assert significant(9.996) == "10.0", "a carry makes no further digit"
    assert significant(99.96) == "100"
    assert significant(0.09999) == "0.100"
    assert significant(-999.9) == "-1,000"
    assert significant(0) == "0"


def test_energy_and_emissions_choose_their_unit() -> None:
    assert show_energy(7.2e6) == "2.00 kWh"
    assert show_energy(7200) == "2.00 Wh"
    assert show_energy(36, like_j=7200) == "0.0100 Wh", "a part reads like its sum"
    assert show_energy(42) == "42.0 J"
    assert show_energy_band(367, 221, 513) == "0.102 Wh (0.0614 to 0.142 Wh)"
    assert show_emissions(1500) == "1.50 kg CO2e"
    assert show_emissions(0.5) == "0.500 g CO2e"


def test_durations() -> None:
    assert show_duration(3.214) == "3.21 s"
    assert show_duration(59.97) == "1 min 00 s"
    assert show_duration(125) == "2 min 05 s"
    assert show_duration(3725) == "1 h 02 min"


@pytest.mark.parametrize(
    ("energies_j", "unit"),
    [([200.0, 359_000.0], "Wh"), ([200.0, 360_000.0], "kWh"), ([], "kWh"), ([0.0], "Wh")],
)
def test_numbers_below_each_other_share_a_unit(energies_j: list[float], unit: str) -> None:
    assert common_unit(energies_j).name == unit


def test_a_number_in_a_unit_has_no_unit() -> None:
    assert (WH.number(198.0), KWH.number(198.0)) == ("0.0550", "0.0000550")
