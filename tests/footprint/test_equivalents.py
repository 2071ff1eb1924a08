"""What amounts are like: by the study's figures and everyday ones, never the result."""

from __future__ import annotations

import json

import pytest

from bench.errors import UsageError
from bench.footprint import equivalents
from bench.footprint.quantity import explained
from bench.units import KG_PER_LB
from tests.command import Command


@pytest.mark.parametrize(
    ("key", "lb"),
    [("car-lifetime", 126000), ("flight", 1984), ("human-year", 11023), ("american-year", 36156)],
)
def test_one_of_a_thing_is_one_of_it_as_the_study_cites_it(key: str, lb: float) -> None:
    found = {e.thing.key: e for e in equivalents.of(lb * KG_PER_LB)}
    assert found[key].count.value == pytest.approx(1)
    assert str(found[key]).endswith("(Strubell et al. 2019, table 1)")


def test_a_round_trip_across_america_is_what_bert_took() -> None:
    """The study's own comparison: 1,438 lb for BERT, 1,984 for a flight there and back."""
    found = {e.thing.key: str(e) for e in equivalents.of(1438 * KG_PER_LB)}
    assert found["flight"].startswith("about 0.72 flights from New York to San Francisco")


def test_the_search_is_nearly_five_lifetimes_of_a_car() -> None:
    assert equivalents.line(626155 * KG_PER_LB).startswith("about 5.0 lifetimes of an average car")


def test_a_km_is_a_mile_over_1_609_and_says_so() -> None:
    (km,) = [e for e in equivalents.of(1.0) if e.thing.key == "car-km"]
    assert km.count.value == pytest.approx(1.609344 / 0.393)
    said = "\n".join(explained(km.count))
    assert "mile / 1.609344" in said
    assert "US EPA, equivalencies calculator, 2024, tailpipe" in said


@pytest.mark.parametrize("kg", [1e-6, 0.01, 1, 50, 232, 1e4, 3e5, 1e9])
def test_those_that_can_be_pictured_come_first(kg: float) -> None:
    found = equivalents.of(kg)
    pictured = [0.1 <= e.count.value <= 1000 for e in found]
    assert pictured == sorted(pictured, reverse=True)
    assert len(found) == len([t for t in equivalents.things() if t.of != "energy"])


def test_counts_have_two_digits() -> None:
    said = [str(e).split()[1].replace(",", "").strip("0.") for e in equivalents.of(123.456)]
    assert all(len(text.replace(".", "").strip("0")) <= 2 for text in said)


def test_one_of_a_thing_is_not_called_many() -> None:
    (flight,) = [e for e in equivalents.of(1984 * KG_PER_LB) if e.thing.key == "flight"]
    assert str(flight).startswith("about 1.0 flight from")


def test_energy_is_never_like_something_that_is_of_co2e() -> None:
    assert {e.thing.of for e in equivalents.of_energy(1.0)} == {"energy"}
    assert {e.thing.of for e in equivalents.of(1.0)} == {"CO2e", "CO2"}
    (boiled,) = [e for e in equivalents.of_energy(0.0988) if e.thing.key == "litre-boiled"]
    assert boiled.count.value == pytest.approx(1, rel=1e-3)
    assert boiled.thing.amount.value == pytest.approx(85 * 4.186 / 3600, rel=1e-3)


def test_every_thing_says_its_source_and_what_it_counts() -> None:
    things = equivalents.things()
    assert len({t.key for t in things}) == len(things) == 9
    for thing in things:
        assert thing.source
        assert thing.kind
        assert thing.amount.value > 0
        assert thing.amount.unit == ("kWh" if thing.of == "energy" else f"kg {thing.of}")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("652kg", 652, "kg CO2e"), ("1.4 t", 1400, "kg CO2e"), ("20gCO2e", 0.02, "kg CO2e"),
        ("1,438 lb", 1438 * KG_PER_LB, "kg CO2e"), ("0.5kWh", 0.5, "kWh"), ("3.6e6 J", 1, "kWh"),
        ("200Wh", 0.2, "kWh"), ("1287MWh", 1287000, "kWh"), ("5 kg CO2e", 5, "kg CO2e"),
    ],
)  # fmt: skip
def test_an_amount_as_it_is_typed(text: str, value: float, unit: str) -> None:
    found = equivalents.parse(text)
    assert (found.value, found.unit) == (pytest.approx(value), unit)


@pytest.mark.parametrize(
    "text", ["", "kg", "5", "5 cows", "-3kg", "0kg", "1e999kWh", "nankg", "1,5kg", "5kWhCO2x"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        equivalents.parse(text)


def test_nothing_is_like_no_emissions_and_less_than_none_is_refused() -> None:
    assert equivalents.of(0) == []
    assert equivalents.line(0) == ""
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError):
            equivalents.of(wrong)


def test_the_command_says_what_co2e_is_like(bench: Command) -> None:
    said = bench("footprint", "equivalents", "652kg")
    assert said.code == 0
    assert "652 kg CO2e is" in said.out
    assert "about 0.72" in said.out
    assert "for picturing, not for adding up" in said.out
    assert "53,000" not in said.out  # charges of a phone, which nobody can picture


def test_the_command_says_what_energy_is_like_somewhere(bench: Command) -> None:
    said = bench("footprint", "equivalents", "0.5kWh", "--region", "DE", "--pue", "1.2")
    assert "0.5 kWh is" in said.out
    assert "206.5 g CO2e" in " ".join(said.out.split())  # 0.5 x 1.2 x 344.1
    assert "assumed" not in said.out
    assumed = bench("footprint", "equivalents", "0.5kWh")
    assert "which is assumed" in " ".join(assumed.out.split())


def test_the_command_explains_and_gives_json(bench: Command) -> None:
    explains = bench("footprint", "equivalents", "5kg", "--explain").out
    assert "lb x 0.45359237" in explains
    found = json.loads(bench("footprint", "equivalents", "5kg", "--json").out)
    assert found["amount"]["value"] == 5
    assert {e["key"] for e in found["equivalents"]} >= {"flight", "phone-charge"}
    assert all(e["count"]["formula"] for e in found["equivalents"])


def test_a_bad_amount_is_a_line_and_a_hint(bench: Command) -> None:
    said = bench("footprint", "equivalents", "12 bananas")
    assert said.code == 2
    assert said.err.startswith("error: '12 bananas' is no amount of CO2e or energy")
    assert "hint: " in said.err
