"""The labels that a metric is derived again from: found where they lie, and nowhere else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import cards
from bench.checks.labels import scored_of
from bench.learn import data, sources
from tests.command import write_reviews


@pytest.fixture(autouse=True)
def no_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("BENCH_DATA", raising=False)


def test_a_folders_labels_are_those_that_a_run_is_scored_on(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    sst2 = cards.load("sst2")
    resolved = sources.resolve(sst2, tmp_path)
    found = scored_of(sst2, str(tmp_path))
    assert found
    assert data.labels_digest(found.labels) == resolved.identity.labels_sha256
    assert found.texts == resolved.scored.inputs
    next(tmp_path.rglob("train.tsv")).write_text("no table at all")
    assert scored_of(sst2, str(tmp_path)) == found, "train is not read"


def test_what_is_not_there_is_not_at_hand(tmp_path: Path) -> None:
    sst2 = cards.load("sst2")
    assert scored_of(sst2, str(tmp_path / "nowhere")) is None
    assert scored_of(sst2, "hub") is None
    write_reviews(tmp_path / "data")
    next((tmp_path / "data").rglob("dev.tsv")).write_text("sentence\tlabel\n")
    assert scored_of(sst2, str(tmp_path / "data")) is None, "a damaged file is none"


def test_the_embedded_corpus_is_made_where_it_is_asked_for() -> None:
    sst2 = cards.load("sst2")
    assert scored_of(sst2) is None
    found = scored_of(sst2, "embedded")
    assert found
    assert found.labels == sources.resolve(sst2).scored.labels


def test_several_parts_are_told_apart(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    folder = next(tmp_path.rglob("dev.tsv")).parent
    for name in ("matched", "mismatched"):
        shutil.copy(folder / "dev.tsv", folder / f"dev_{name}.tsv")
    card = cards.load("sst2").model_copy(update={"hub": None})
    assert card.local
    parts = {"matched": "dev_matched.tsv", "mismatched": "dev_mismatched.tsv"}
    local = card.local.model_copy(update={"scored": parts})
    found = scored_of(card.model_copy(update={"local": local}), str(tmp_path))
    assert found
    assert set(found.parts) == set(parts)
    assert sum(found.parts.values()) == len(found.labels)


def test_rows_that_were_put_aside_from_train_are_found(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    card = cards.load("sst2").model_copy(update={"hub": None})
    assert card.local
    local = card.local.model_copy(update={"scored": 0.1})
    card = card.model_copy(update={"local": local})
    found = scored_of(card, str(tmp_path))
    assert found
    assert found.labels == sources.resolve(card, tmp_path).scored.labels
