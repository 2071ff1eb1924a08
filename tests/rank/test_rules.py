"""The printed rules state the numbers that the code works with."""

from __future__ import annotations

from pathlib import Path

import bench
from bench.rank import score
from tests.rank.records import CHANCE, SST2

RULES = (Path(bench.__file__).parent / "docs" / "rules.md").read_text(encoding="utf-8")


def test_the_rules_are_of_this_edition() -> None:
    assert RULES.startswith(f"# Rules, edition {bench.EDITION}\n")


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"+ {score.FLOOR_KWH} kWh)" in RULES
    assert f"p < {score.ALPHA:.0%}".replace("%", " %") in RULES
    assert f"counts as at least {score.LEAST_SCATTER}" in RULES
    assert score.RANKED_RUNS == 3
    assert "**three or more complete runs with different seeds**" in RULES


def test_the_table_of_tiers_is_what_the_card_gives() -> None:
    for tier, skill in score.thresholds(SST2.reference, CHANCE, 1.0).items():
        accuracy = score.metric_at(skill, CHANCE, 1.0)
        row = f"| {tier} | {100 * score.TIERS[tier]:.0f} % | {100 * accuracy:.1f} % |"
        assert row in RULES


def test_every_level_and_track_is_explained() -> None:
    for term in ("M0", "M1", "M2", "M3", "T0", "T1", "T2", "T3"):
        assert f"| {term} |" in RULES
    for track in ("scratch", "finetune", "open"):
        assert f"| `{track}` |" in RULES
