"""A good submission passes, and what every rule looks at can be told."""

from __future__ import annotations

from pathlib import Path

from bench import checks
from tests.checks import bundles


def test_a_good_submission_has_no_error_and_no_warning(tmp_path: Path) -> None:
    report = bundles.checked(bundles.write(tmp_path))
    assert [v for v in report.verdicts if v.status != "pass"] == []
    assert {v.rule for v in report.verdicts} == {r.id for r in checks.rules() if r.scope != "tree"}
