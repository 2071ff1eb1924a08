"""A good submission passes, and what every rule looks at can be told."""

from __future__ import annotations

from pathlib import Path

from bench import checks
from bench.checks import report as reporting
from tests.checks import bundles


def test_a_good_submission_has_no_error_and_no_warning(tmp_path: Path) -> None:
    report = bundles.checked(bundles.write(tmp_path))
    assert [v for v in report.verdicts if v.status != "pass"] == []
    assert {v.rule for v in report.verdicts} == {r.id for r in checks.rules() if r.scope != "tree"}


def test_a_rule_that_could_not_look_does_not_hold() -> None:
    told: list[tuple[str, checks.Status]] = [
        ("S1", "pass"), ("S1", "skipped"), ("S2", "skipped"), ("S3", "pass"), ("S3", "warning")
    ]  # fmt: skip
    said = [checks.Verdict(rule, rule, status, "toy/one/run") for rule, status in told]
    (head, _) = reporting.as_text([checks.Report("toy/one", Path(), tuple(said))])
    assert head == "toy/one  1 rule holds, 1 skipped, 1 warning"


def test_what_was_never_scored_was_not_scored_again(tmp_path: Path) -> None:
    plans = bundles.plans()
    for plan in plans:
        plan.status = "failed"
    report = bundles.checked(bundles.write(tmp_path, plans))
    assert report.errors == []
    assert reporting.level(report) == "T0"
    assert reporting.level(bundles.checked(bundles.write(tmp_path / "good"))) == "T1"
