"""Spans of tags, against seqeval."""

from __future__ import annotations

import random

import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from bench.cards import MetricFacts
from bench.errors import BenchError
from bench.metrics import score
from bench.metrics.spans import span_f1_of, spans

IOB2 = ["O", "B-x", "I-x", "B-creative-work", "I-creative-work"]
IOBES = [*IOB2, "S-x", "E-x", "E-creative-work"]


@pytest.mark.parametrize("tags", [IOB2, IOBES])
def test_any_tags_mean_what_they_mean_to_seqeval(tags: list[str]) -> None:
    draw = random.Random(1)
    for _ in range(2000):
        sentence = draw.choices(tags, k=draw.randint(1, 9))
        assert spans(sentence) == set(get_entities(sentence)), sentence


def test_scores_are_seqevals() -> None:
    draw = random.Random(2)
    labels = [draw.choices(IOB2, k=draw.randint(1, 12)) for _ in range(300)]
    found = [[t if draw.random() < 0.8 else draw.choice(IOB2) for t in tags] for tags in labels]
    facts = MetricFacts(name="span_f1", chance=0.0, also=["span_precision", "span_recall"])
    metric = score(facts, [" ".join(t) for t in labels], [" ".join(t) for t in found])
    assert metric.value == pytest.approx(f1_score(labels, found))
    assert metric.also["span_precision"] == pytest.approx(precision_score(labels, found))
    assert metric.also["span_recall"] == pytest.approx(recall_score(labels, found))
    assert span_f1_of(metric.statistics, metric.n) == metric.value
    assert 0.3 < metric.value < 0.9
    assert metric.statistics["tp"] + metric.statistics["fn"] == len(get_entities(labels))


def test_without_spans_the_score_is_zero() -> None:
    facts = MetricFacts(name="span_f1", chance=0.0, also=["span_precision", "span_recall"])
    metric = score(facts, ["O O", "B-x"], ["O O", "O"])
    assert metric.value == 0.0
    assert metric.also == {"span_precision": 0.0, "span_recall": 0.0}
    assert score(facts, ["O"], ["O"]).value == 0.0


def test_a_row_with_too_few_tags_is_named() -> None:
    with pytest.raises(BenchError, match="id 1 has 1 tags, its text 2 words"):
        score(MetricFacts(name="span_f1", chance=0.0), ["O", "O B-x"], ["O", "O"])


@pytest.mark.parametrize("tag", ["NN", "B-", "-x", "X-person"])
def test_a_tag_of_no_span_is_refused(tag: str) -> None:
    with pytest.raises(BenchError, match=f"'{tag}' is not a tag of a span"):
        spans(["O", tag])
