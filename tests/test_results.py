"""Every run in `results/` can be read and recomputed from what lies beside it."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from bench import record, submission
from bench.checks import Report, board, report
from bench.checks.bundle import found
from bench.checks.setting import Setting
from bench.rank import notation
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "results"
FOLDERS = list(record.folders([RESULTS]))
DOCS = REPOSITORY / "bench" / "docs"
PAGES = [p for p in DOCS.glob("*.md") if "../../results/" in p.read_text(encoding="utf-8")]


ENTRIES = list(submission.folders(RESULTS))


def test_there_are_results_and_each_is_in_an_entry() -> None:
    assert len(ENTRIES) >= 40
    assert {folder.parent for folder in FOLDERS} == {
        e for e in ENTRIES if submission.read(e).kind == "runs"
    }


@functools.cache
def setting(data: str | None) -> Setting:
    """Cards and labels are read once for all entries."""
    return Setting(RESULTS, data)


def report_on(folder: Path, data: str | None) -> Report:
    (entry,) = found(folder)
    return setting(data).report(entry)


@pytest.mark.parametrize("folder", ENTRIES, ids=submission.place)
def test_an_entry_follows_from_its_files(folder: Path) -> None:
    """And so does every number that the board has of it."""
    made = report_on(folder, None)
    assert [(v.rule, v.where, v.message) for v in made.errors] == []
    assert max((d.share for d in board.differences([made], setting(None).cards)), default=0) < 1e-3


@pytest.mark.shared
@pytest.mark.parametrize("task", sorted({e.parent.name for e in ENTRIES}))
def test_every_metric_is_that_of_the_predictions(task: str, shared_data: Path) -> None:
    for folder in (e for e in ENTRIES if e.parent.name == task):
        made = report_on(folder, str(shared_data))
        scored = any(record.metric for record in made.derived)  # or it came to nothing
        said = [(v.rule, v.message) for v in made.verdicts if v.status != "pass"]
        assert report.level(made) == ("T1" if scored else "T0"), said


def numbers(text: str) -> list[tuple[str, Path]]:
    """Of a page: what it says was reached, and the folder of the run that it names for that."""
    told = re.findall(r"\[([\d.,]+)\]\(\.\./\.\./(results/[^)]+)\)", text)
    return [(shown, REPOSITORY / place) for shown, place in told]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_what_the_runs_say(page: Path) -> None:
    for shown, folder in numbers(page.read_text(encoding="utf-8")):
        run = record.read(folder)
        assert run.metric is not None
        assert notation.of(run.metric.name).number(run.metric.value) == shown, folder


def test_the_page_of_real_data_has_every_run_and_what_it_took() -> None:
    page = (DOCS / "real-data.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if numbers(line)]
    assert len(rows) >= 9
    for row in rows:
        *_, wh, minutes, _ = (cell.strip() for cell in row.split("|"))
        for _, folder in numbers(row):
            run = record.read(folder)
            assert run.energy_j is not None
            assert f"{run.energy_j / 3600:.2g}" == wh, folder
            assert f"{run.duration_s / 60:.0f}" == minutes, folder
    named = {folder for _, folder in numbers(page)}
    for folder in FOLDERS:
        run = record.read(folder)
        if run.metric is not None and run.spec.task != "sst2":
            assert folder in named, f"{folder} is not on the page"


def test_the_page_of_the_study_has_means_and_savings_of_its_runs() -> None:
    page = (DOCS / "sst2-study.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    tables = [row for row in rows if len(row) == 8 and numbers(row[1])]
    assert len(tables) >= 16
    baseline_wh: dict[str, float] = {}
    for recipe, reached, mean, wh, saves, _, _, _ in tables:
        found = [record.read(folder) for _, folder in numbers(reached)]
        assert len(found) == 3, recipe
        assert {r.spec.recipe for r in found} == {recipe}
        energies_wh = [r.energy_j / 3600 for r in found if r.energy_j is not None]
        mean_wh = sum(energies_wh) / 3
        assert f"{mean_wh:.3g}" == wh, recipe
        values = [r.metric.value for r in found if r.metric]
        assert mean.startswith(f"{100 * sum(values) / 3:.1f} ±"), recipe
        model = found[0].spec.model
        if recipe == "baseline":
            baseline_wh[model] = mean_wh
        else:
            assert saves.startswith(f"{100 * (1 - mean_wh / baseline_wh[model]):.0f} ("), recipe
