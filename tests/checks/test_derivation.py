"""Metrics of other kinds than classes, derived again from what is at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.cards import Card, LocalFiles, MetricFacts, Pinned
from bench.checks.labels import Scored
from bench.learn import data
from bench.metrics.language import unigram
from tests.checks import bundles

ROWS = bundles.ROWS
TEXTS: list[tuple[str, ...]] = [("a b c" if i % 3 else "a d",) for i in range(ROWS)]
WORDS = [str(len(text.split()) + 1) for (text,) in TEXTS]
NATS = [3.0 + (i % 7) / 7 for i in range(ROWS)]
CHANCE = unigram([text for (text,) in TEXTS])


def made(
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    facts: MetricFacts,
    rows: Sequence[str],
    said: Sequence[Any],
    **changes: Any,
) -> tuple[Path, Card]:
    """A submission of another kind of task, and its card."""
    pinned = Pinned(train="1" * 64, scored="2" * 64, labels=data.labels_digest(rows))
    card = bundles.CARD.model_copy(
        update={"metric": facts, "reference": None, "fingerprints": pinned, **changes}
    )
    monkeypatch.setattr(bundles, "CARD", card)
    monkeypatch.setattr(bundles, "LABELS", rows)
    monkeypatch.setattr(bundles, "predictions_of", lambda plan: said)
    return bundles.write(root, bundles.plans(1)), card


def said_of(folder: Path, card: Card, scored: Scored) -> list[tuple[str, str]]:
    """Status and message of D2."""
    around = bundles.around(cards={"toy": card}, scored=lambda card: scored)
    found = bundles.checked(folder, around).verdicts
    return [(v.status, v.message) for v in found if v.rule == "D2"]


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Card]:
    facts = MetricFacts(name="perplexity", chance=CHANCE, best=1.0, scale="log")
    folder, card = made(
        monkeypatch, tmp_path, facts, WORDS, NATS, family="language-modelling", labels=None
    )
    told = facts.model_copy(update={"chance": "unigram"})
    return folder, card.model_copy(update={"metric": told})


def test_perplexity_and_its_chance_follow_from_texts(spoken: tuple[Path, Card]) -> None:
    folder, card = spoken
    assert said_of(folder, card, Scored(WORDS, TEXTS)) == [("pass", "")]
    others: list[tuple[str, ...]] = [("b",)] * ROWS
    ((status, message),) = said_of(folder, card, Scored(WORDS, others))
    assert status == "error"
    assert "chance" in message


def test_without_texts_the_value_alone_is_derived(spoken: tuple[Path, Card]) -> None:
    folder, card = spoken
    ((status, message),) = said_of(folder, card, Scored(WORDS))
    assert (status, "chance was not derived" in message) == ("skipped", True)
    path = next(folder.glob("*/predictions.parquet"))
    data.Predictions([n + 1 for n in NATS], None).write(path)
    bundles.reseal(folder)
    assert "error" in {status for status, _ in said_of(folder, card, Scored(WORDS))}


def test_labels_of_other_data_are_none_of_these(spoken: tuple[Path, Card]) -> None:
    folder, card = spoken
    ((status, message),) = said_of(folder, card, Scored(["9"] * ROWS))
    assert (status, message) == ("skipped", "not re-scored here: the labels are not at hand")


@pytest.mark.parametrize("odd", ["7.5", math.inf])
def test_a_prediction_that_is_no_number_is_refused(spoken: tuple[Path, Card], odd: Any) -> None:
    folder, card = spoken
    path = next(folder.glob("*/predictions.parquet"))
    said = [str(n) for n in NATS] if isinstance(odd, str) else NATS
    data.Predictions([*said[:-1], odd], None).write(path)
    bundles.reseal(folder)
    report = bundles.checked(folder, bundles.around(cards={"toy": card}))
    assert {v.rule for v in report.errors} & {"D2", "S7"}


def test_only_the_first_part_is_scored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parts = {"matched": 300, "mismatched": 100}
    files = {part: f"{part}.tsv" for part in parts}
    facts = MetricFacts(name="accuracy", chance="majority")
    labels = bundles.LABELS
    said = [*labels[:290], *["negative"] * 110]
    local = LocalFiles(format="tsv", train="train.tsv", scored=files)
    from bench import metrics

    score = metrics.score
    monkeypatch.setattr(
        metrics, "score", lambda f, a, b, p=None, t=(): score(f, a, b, p or parts, t)
    )
    folder, card = made(monkeypatch, tmp_path, facts, labels, said, local=local)
    monkeypatch.setattr(metrics, "score", score)
    assert said_of(folder, card, Scored(labels, [], parts)) == [("pass", "")]
    ((status, message),) = said_of(folder, card, Scored(labels))
    assert (status, "part" in message) == ("skipped", True)
    fewer = Scored(labels, [], {"matched": 200, "mismatched": 200})
    assert {status for status, _ in said_of(folder, card, fewer)} == {"error"}
