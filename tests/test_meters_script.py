"""The comparison with other meters: its table from stored results, and one case for real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

ABOUT = dict.fromkeys(("command", "date", "machine", "load", "versions"), "here")


def meters(*arguments: str) -> str:
    command = [sys.executable, str(REPOSITORY / "scripts/meters_peers"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def stored(path: Path, *cells: tuple[str, str, str, str, float | None]) -> str:
    """A file of results, each given as group, case, tool, what is shown and the score."""
    names = ("group", "case", "tool", "shown", "score")
    lines = [ABOUT, *(dict(zip(names, cell, strict=True)) for cell in cells)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def row(text: str, case: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {case} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_best_of_a_row_is_named_and_where_bench_is_behind_is_said(tmp_path: Path) -> None:
    path = stored(
        tmp_path / "kept",
        ("short", "1 s", "bench", "1.20 %", 0.012),
        ("short", "1 s", "zeus", "0.80 %", 0.008),
        ("short", "2 s", "bench", "0.10 %", 0.001),
        ("short", "2 s", "zeus", "0.40 %", 0.004),
        ("short", "2 s", "carbontracker", "not offered", None),
    )
    text = meters("--from", path, "--markdown")
    assert row(text, "1 s") == ["1 s", "1.20 %", "0.80 %", "", "", "zeus"]
    assert row(text, "2 s")[4:] == ["not offered", "bench"]
    assert "short windows, 1 s: 1.20 % against 0.80 % (zeus)" in text
    assert "RMS error at 1 s, at most 0.01: **missed**" in text


def test_a_fault_without_a_word_misses_the_aim(tmp_path: Path) -> None:
    lost = ("faults", "GPU lost", "bench", "missing", 1.0)
    silent = ("faults", "counter reset", "bench", "-25 %, silent", 4.0)
    assert "and no word, at most 3: met" in meters("--from", stored(tmp_path / "a", lost))
    text = meters("--from", stored(tmp_path / "b", lost, silent))
    assert "**missed**; the worst is -25 %, silent (counter reset)" in text


@pytest.mark.compiler
def test_one_case_is_measured_against_the_truth_and_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    only = ["--tools", "bench", "--only", "accuracy/constant, counter"]
    text = meters("--quick", *only, "--to", str(kept))
    results = [json.loads(line) for line in kept.read_text().splitlines()[1:]]
    (error,) = (r["value"] for r in results if r["group"] == "accuracy")
    assert abs(error) < 0.02
    assert "constant, counter" in text
