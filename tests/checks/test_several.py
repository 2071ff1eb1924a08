"""Runs on several machines are derived from what each has handed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.checks.bundle import RunFolder
from tests.checks import bundles, several


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bundles.write(tmp_path, several.plans())


def first(folder: Path) -> RunFolder:
    return bundles.entry_of(folder).runs[0]


def test_a_good_submission_of_two_machines_passes(folder: Path) -> None:
    run = first(folder)
    assert [d.domain for d in run.derived.charged] == [
        f"gpu:{bundles.UUID}", f"node1:gpu:{several.SECOND}",
    ]  # fmt: skip
    report = bundles.checked(folder)
    assert [v for v in report.verdicts if v.rule[0] in "DP" and v.status != "pass"] == []
    assert report.errors == []


def test_a_part_that_was_changed_gives_another_energy(folder: Path) -> None:
    run = first(folder).folder
    other = several.second(bundles.trace_of(several.plans()[1]))
    other.write_parquet(run / "node-1" / "trace.parquet")
    bundles.reseal(folder)
    assert "D6" in bundles.errors(folder)


def test_a_part_that_is_gone_is_missing_and_not_free(folder: Path) -> None:
    (first(folder).folder / "node-1" / "trace.parquet").unlink()
    bundles.reseal(folder)
    run = first(folder)
    assert run.derived.energy_j is None
    assert "D6" in bundles.errors(folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nodes.json", "[" * 100_000),
        ("nodes.json", json.dumps({"0": {"boot": []}, "1": 7})),
        ("node-1/node.json", "7"),
        ("node-1/node.json", json.dumps({"run_id": 3})),
        ("node-1/events.jsonl", '{"event": ["window_start"], "t_ns": 1}\n'),
        ("node-1/events.jsonl", '{"event": "window_start", "t_ns": 1e400}\n'),
        ("node-1/trace.parquet", "PAR1" * 100),
    ],
)
def test_whatever_a_part_holds_ends_in_a_fault(folder: Path, name: str, text: str) -> None:
    (first(folder).folder / name).write_text(text)
    bundles.reseal(folder)
    run = first(folder)
    assert run.fault("nodes")
    assert run.fault("derived")
    assert bundles.checked(folder).errors
