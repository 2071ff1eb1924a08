from __future__ import annotations

import pytest

from bench.errors import UsageError
from bench.power import carbon
from bench.units import J_PER_KWH, KG_PER_LB, kwh_from_j


@pytest.mark.parametrize(
    ("text", "code", "g_per_kwh"),
    [
        ("DE", "DE", 344.1),
        ("deu", "DE", 344.1),
        ("germany", "DE", 344.1),
        ("FR", "FR", 44.2),
        ("Poland", "PL", 615.0),
        ("US", "US", 383.5),
        ("US-EGRID", "US-EGRID", 349.7),  # combustion only, and so lower than Ember's
        ("us_ca", "US-CA", 179.1),
        ("Vermont", "US-VT", 23.7),
        ("Alabama", "US-AL", 323.9),
        ("us-2018-strubell", "us-2018-strubell", 432.7),
        ("UK", "GB", 210.9),
        ("  united   kingdom ", "GB", 210.9),
        ("Türkiye", "TR", 469.7),
        ("Côte d'Ivoire", "CI", 393.5),
    ],
)
def test_regions_by_code_and_name(text: str, code: str, g_per_kwh: float) -> None:
    found = carbon.region(text)
    assert (found.code, round(found.g_per_kwh, 1)) == (code, g_per_kwh)


def test_kinds_are_told() -> None:
    assert carbon.region("US").kind == "life-cycle"
    assert carbon.region("US-TX").kind == "combustion"


@pytest.mark.parametrize(
    ("text", "near"),
    [("Germny", "Germany"), ("Luxemburg", "Luxembourg"), ("US-XX", "US-"), ("zzz", "US-CA")],
)
def test_near_names_are_offered(text: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        carbon.region(text)
    assert near in (caught.value.hint or "")


@pytest.mark.parametrize(("text", "codes"), [("Georgia", "GE or US-GA"), ("korea", "KP or KR")])
def test_a_name_of_two_regions_is_not_guessed(text: str, codes: str) -> None:
    with pytest.raises(UsageError) as caught:
        carbon.region(text)
    assert caught.value.hint == f"give a code: {codes}"


def test_the_default_is_a_region() -> None:
    assert carbon.default().code == carbon.DEFAULT


def test_every_region_is_plausible_and_found_by_its_code() -> None:
    codes = [r.code for r in carbon.regions()]
    assert len(set(codes)) == len(codes) > 200
    for known in carbon.regions():
        assert carbon.region(known.code) is known
        assert 0 < known.g_per_kwh < 1400
        assert 2018 <= known.year <= 2025
        assert known.source


def test_every_state_of_the_us_is_there() -> None:
    states = [r for r in carbon.regions() if r.code.startswith("US-") and len(r.code) == 5]
    assert len(states) == 51  # with the District of Columbia
    assert {r.kind for r in states} == {"combustion"}


def test_other_names_lead_to_regions() -> None:
    for name, code in carbon._document()["names"].items():
        for each in code.split(" or "):
            assert carbon.region(each).code == each, name


# --- PUE


@pytest.mark.parametrize(
    ("text", "value", "year"),
    [("none", 1.0, None), ("uptime-2025", 1.54, 2025), ("Uptime_2024", 1.56, 2024),
     ("uptime-2023", 1.58, 2023), ("strubell-2018", 1.58, 2018), ("cloud-low", 1.1, None),
     ("cloud-high", 1.2, None), ("1.25", 1.25, None), ("1", 1.0, None)],
)  # fmt: skip
def test_pue_by_name_and_number(text: str, value: float, year: int | None) -> None:
    found = carbon.pue(text)
    assert (found.value, found.year) == (value, year)
    assert found.source


@pytest.mark.parametrize("text", ["0.9", "-1", "nan", "inf", "158"])
def test_what_is_no_pue_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no PUE"):
        carbon.pue(text)


def test_near_pues_are_offered() -> None:
    with pytest.raises(UsageError) as caught:
        carbon.pue("uptime")
    assert "uptime-20" in (caught.value.hint or "")


def test_a_pue_says_what_it_is() -> None:
    assert str(carbon.pue("none")) == "PUE 1: none applied"
    assert str(carbon.pue("uptime-2025")).startswith("PUE 1.54 (Uptime Institute")
    assert str(carbon.pue("1.3")) == "PUE 1.3 (as given)"


# --- scenarios


@pytest.mark.parametrize(
    ("power_w", "hours", "kwh", "lb"),
    [(1415.78, 12, 27, 26), (1515.43, 84, 201, 192), (517.66, 336, 275, 262),
     (12041.51, 79.2, 1507, 1438), (1515.43, 274_120, 656_347, 626_155)],
)  # fmt: skip
def test_the_studys_scenario_gives_the_studys_table(
    power_w: float, hours: float, kwh: int, lb: int
) -> None:
    """Strubell et al. 2019, table 3; for BERT base the 3.3 days that its printed values fit."""
    study = carbon.scenario("strubell-2018")
    energy_j = power_w * hours * 3600
    assert round(kwh_from_j(study.building_j(energy_j))) == pytest.approx(kwh, rel=1e-5)
    assert round(study.emissions_g(energy_j) / 1000 / KG_PER_LB) == pytest.approx(lb, rel=1e-5)


def test_a_scenario_applies_its_pue_once() -> None:
    study = carbon.scenario("STRUBELL-2018")
    assert study.emissions_g(J_PER_KWH) == pytest.approx(432.7 * 1.58, rel=1e-3)
    with pytest.raises(UsageError) as caught:
        carbon.scenario("strubel")
    assert "strubell-2018" in (caught.value.hint or "")
