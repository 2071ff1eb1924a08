"""Every run in `results/` can be read and recomputed from what lies beside it."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from pathlib import Path

import pyarrow.parquet
import pytest

from bench import account, cards, metrics, record
from bench.learn import data, sources
from bench.power.trace import Trace
from bench.rank import notation
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "results"
FOLDERS = list(record.folders([RESULTS]))
DOCS = REPOSITORY / "bench" / "docs"
PAGES = [p for p in DOCS.glob("*.md") if "../../results/" in p.read_text(encoding="utf-8")]


def test_there_are_results() -> None:
    assert len(FOLDERS) >= 3


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_run_agrees_with_its_files(folder: Path) -> None:
    run = record.read(folder)
    assert run.run_id == folder.name == record.run_id(run.spec, run.started_at, run.nonce)
    assert run.spec.task == folder.relative_to(RESULTS).parts[0]

    digests = json.loads((folder / "manifest.json").read_text())
    files = {p.name for p in folder.iterdir()} - {"manifest.json"}
    assert set(digests) == files
    for name, digest in digests.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name

    events = {e["event"]: e for e in account.read_events(folder / "events.jsonl")}
    if run.status == "interrupted" and "window_start" not in events:
        assert run.energy_j == 0
        return
    assert events["run_start"]["seed"] == run.spec.seed
    assert events["run_start"]["spec_sha256"] == run.spec.sha256()
    window = account.Window(events["window_start"]["t_ns"], events["window_stop"]["t_ns"])
    assert window.duration_s == pytest.approx(run.duration_s)
    trace = Trace.read_parquet(folder / "trace.parquet")
    derived = {d.domain: d.energy_j for d in trace.energy(window.start_ns, window.stop_ns)}
    for domain in run.domains:
        # The arithmetic has been refined since: far less than the uncertainty that was stated.
        assert domain.energy_j == pytest.approx(derived[domain.domain], rel=1e-4)

    if run.metric is None:
        assert run.status in ("failed", "interrupted")
        return
    assert run.metric.value == pytest.approx(metrics.recompute(run.metric), rel=1e-12)
    if run.metric.name == "accuracy":
        assert run.metric.correct
        bits = record.unpack_bits(run.metric.correct, run.metric.n)
        assert run.metric.value == sum(bits) / run.metric.n
    assert pyarrow.parquet.read_metadata(folder / "predictions.parquet").num_rows == run.metric.n


@functools.cache
def resolved_from(place: Path, task: str) -> data.Resolved:
    """Read once for all runs of a task."""
    return sources.resolve(cards.load(task), str(place))


@pytest.mark.shared
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_run_scores_what_it_says(folder: Path, shared_data: Path) -> None:
    run = record.read(folder)
    if run.metric is None:
        return
    card = cards.load(run.spec.task)
    resolved = resolved_from(shared_data, run.spec.task)
    labels = resolved.scored.labels
    assert resolved.identity.fingerprints["scored"] == run.spec.data.fingerprints["scored"]
    said = data.read_predictions(folder, len(labels), card.kind, card.classes).labels
    known = [card.metric, *card.metrics.values()]
    facts = next(f for f in known if f.name == run.metric.name)
    again = metrics.score(facts, labels, said, resolved.parts, resolved.scored.inputs)
    assert again.value == pytest.approx(run.metric.value, rel=1e-9)
    assert again.also == pytest.approx(run.metric.also, rel=1e-9)
    assert again.correct == run.metric.correct


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


def test_one_code_and_distinct_seeds_make_an_entry() -> None:
    for entry in {folder.parent for folder in FOLDERS}:
        runs = [record.read(f) for f in record.folders([entry])]
        assert len({r.entry_key() for r in runs}) == 1, entry
        assert len({r.spec.seed for r in runs}) == len(runs), entry
        assert all(r.spec.seed_origin == "harness" for r in runs), entry
