"""What a person reads of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import show
from bench.power import carbon
from bench.record import Record
from tests.rank.records import make_domain, make_record


def line(record: Record, label: str, region: str | None = None) -> str:
    """The line with this label, in the scenario of a region as it is typed."""
    return dict(show.record_lines(record, Path("nowhere"), carbon.asked(region)))[label]


def test_a_region_is_assumed_only_where_none_was_asked_for() -> None:
    assert "assumed, --region names yours" in line(make_record(), "carbon")
    assert "assumed" not in line(make_record(), "carbon", "DE")
    assert "assumed" not in line(make_record(), "carbon", "strubell-2018")
    assert "assumed" not in line(make_record(region="DE"), "carbon", "DE")


@pytest.mark.parametrize(("unsure_j", "says"), [(2_000.0, "± 0.556 Wh"), (None, "± unknown")])
def test_an_uncertainty_that_is_not_known_is_not_zero(unsure_j: float | None, says: str) -> None:
    record = make_record(domains=[make_domain(20_000.0, uncertainty_j=unsure_j)])
    assert f"5.56 Wh {says}, measured by software counters" in line(record, "energy")
