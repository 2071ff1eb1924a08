from __future__ import annotations

import pytest

from bench.errors import UsageError
from bench.power import carbon


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
        ("us-2018-strubell", "us-2018-strubell", 432.7),
    ],
)
def test_regions_by_code_and_name(text: str, code: str, g_per_kwh: float) -> None:
    found = carbon.region(text)
    assert (found.code, round(found.g_per_kwh, 1)) == (code, g_per_kwh)


def test_kinds_are_told() -> None:
    assert carbon.region("US").kind == "life-cycle"
    assert carbon.region("US-TX").kind == "combustion"


def test_near_names_are_offered() -> None:
    with pytest.raises(UsageError) as caught:
        carbon.region("Germny")
    assert "Germany" in (caught.value.hint or "")


def test_the_default_is_a_region() -> None:
    assert carbon.default().code == carbon.DEFAULT


def test_every_region_is_plausible_and_found_by_its_code() -> None:
    codes = [r.code for r in carbon.regions()]
    assert len(set(codes)) == len(codes) > 200
    for known in carbon.regions():
        assert carbon.region(known.code) is known
        assert 0 < known.g_per_kwh < 1400
        assert 2018 <= known.year <= 2025
