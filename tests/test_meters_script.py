"""The comparison with other meters: its table from stored results, and one case for real."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
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
    assert "and no word, at most 1: met" in meters("--from", stored(tmp_path / "a", lost))
    text = meters("--from", stored(tmp_path / "b", lost, silent))
    assert "**missed**; the worst is -25 %, silent (counter reset)" in text
    hung = ("faults", "a call hangs", "bench", "hung", 3.0)
    assert "**missed**; the worst is hung" in meters("--from", stored(tmp_path / "c", hung))


@pytest.mark.parametrize(
    ("tool", "said", "shown"),
    [
        ("bench", "warning counter: gpu # the counter went back", "+50 %, said so"),
        ("bench", "warning slow: gpu # took # s to answer", "+50 %, silent"),
        ("zeus", "slow", "+50 %, said so"),
    ],
)
def test_only_a_warning_about_the_fault_speaks_of_it(
    monkeypatch: pytest.MonkeyPatch, tool: str, said: str, shown: str
) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts/meters_peers"))
    cases, stage, results = map(importlib.import_module, ("cases", "stage", "results"))
    (case,) = (c for c in cases.cases(quick=True) if c.name == "counter reset")
    world = cases.World({}, lambda start, stop: 100.0)
    out = {"windows": [[0, 1, 2, 3]], "energies": [{"gpu": [150.0]}]}
    run = stage.Run(tool, out, [said], None, Path(), world)
    assert results.outcome(case, run, set(), 0.0).shown == shown


def test_windows_of_six_seconds_are_not_judged_as_ten(tmp_path: Path) -> None:
    path = Path(stored(tmp_path / "a", ("accuracy", "constant, counter", "bench", "0 %", 0.0)))
    assert "with a counter, at most 0.001: met" in meters("--from", str(path))
    path.write_text(path.read_text().replace('"command": "here"', '"command": "--quick"'))
    assert "with a counter, at most 0.001: not judged" in meters("--from", str(path))


@pytest.mark.skipif(find_spec("codecarbon") is not None, reason="it is installed here")
def test_there_is_no_table_without_the_peers(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "scripts/meters_peers"), "--to"]
    ended = subprocess.run([*command, str(tmp_path / "x")], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "not installed here: zeus, codecarbon, carbontracker" in ended.stderr
    assert not (tmp_path / "x").exists()


def test_an_interrupted_installation_is_begun_anew(tmp_path: Path) -> None:
    """pip fails once: the next call installs again instead of comparing with nothing."""
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(REPOSITORY / "scripts/meters", tmp_path / "scripts")
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\nmkdir -p $3/bin\n"
        'printf \'#!/bin/sh\\ncase "$*" in *pip*) test -e works;; *) echo ran "$@";; esac\\n\''
        " > $3/bin/python\nchmod +x $3/bin/python\n"
    )
    python.chmod(0o755)

    def call() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHON": str(python)}
        environment.pop("PYTHON_METERS", None)
        return subprocess.run([script], capture_output=True, text=True, env=environment)

    assert call().returncode == 1
    (tmp_path / "works").touch()
    again = call()
    assert "installing" in again.stderr
    assert again.stdout == "ran scripts/meters_peers\n"
    assert "installing" not in call().stderr


@pytest.mark.compiler
def test_one_case_is_measured_against_the_truth_and_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    only = ["--tools", "bench", "--only", "accuracy/constant, counter"]
    text = meters("--quick", *only, "--to", str(kept))
    results = [json.loads(line) for line in kept.read_text().splitlines()[1:]]
    (error,) = (r["value"] for r in results if r["group"] == "accuracy")
    assert abs(error) < 0.02
    assert "constant, counter" in text
