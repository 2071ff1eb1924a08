"""Every way of being wrong that is known is refused, by the rule that is there for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import checks
from tests.checks import bundles, corpus

BAD = corpus.everything()


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad.rule}: {bad.what}")
def test_a_bad_submission_is_refused_by_its_rule_alone(bad: corpus.Bad, tmp_path: Path) -> None:
    report = bundles.checked(*bad.written(tmp_path))
    said = report.warnings if bad.warns else report.errors
    assert {v.rule for v in said} == {bad.rule}, [(v.rule, v.message) for v in said]
    assert not (bad.warns and report.errors)
    assert all(v.message for v in said)


def test_every_rule_has_a_bad_submission() -> None:
    """Those of the whole tree are in test_proposal."""
    assert {bad.rule for bad in BAD} == {rule.id for rule in checks.rules() if rule.scope != "tree"}
