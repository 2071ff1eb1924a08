"""Metrics of classes against scikit-learn, and again from their statistics."""

from __future__ import annotations

import random

import pytest
from sklearn import metrics as sklearn

from bench.cards import MetricFacts
from bench.metrics import recompute, score
from bench.record import unpack_bits

F1 = MetricFacts(name="f1", chance=0.5, positive="b")
MCC = MetricFacts(name="mcc", chance=0.0)


def drawn(classes: str, seed: int, n: int = 200) -> tuple[list[str], list[str]]:
    """Labels, and predictions that are right more often than not."""
    chance = random.Random(seed)
    labels = [chance.choice(classes) for _ in range(n)]
    return labels, [x if chance.random() < 0.6 else chance.choice(classes) for x in labels]


@pytest.mark.parametrize("seed", range(5))
def test_f1_is_scikit_learns(seed: int) -> None:
    labels, predictions = drawn("aab", seed)
    found = score(F1, labels, predictions)
    assert found.value == pytest.approx(sklearn.f1_score(labels, predictions, pos_label="b"))
    assert recompute(found) == found.value
    assert found.correct
    assert sum(unpack_bits(found.correct, 200)) == sum(map(str.__eq__, labels, predictions))


@pytest.mark.parametrize("classes", ["ab", "abb", "abc", "aaabcd"])
def test_mcc_is_scikit_learns_for_two_classes_and_for_more(classes: str) -> None:
    labels, predictions = drawn(classes, 3)
    found = score(MCC, labels, predictions)
    assert found.value == pytest.approx(sklearn.matthews_corrcoef(labels, predictions))
    assert found.value > 0.3
    assert recompute(found) == found.value


def test_mcc_reaches_both_ends() -> None:
    assert score(MCC, ["a", "b", "a"], ["a", "b", "a"]).value == pytest.approx(1)
    assert score(MCC, ["a", "b", "a"], ["b", "a", "b"]).value == pytest.approx(-1)


@pytest.mark.parametrize(
    ("labels", "predictions"), [("aabb", "aaaa"), ("aaaa", "aabb"), ("aaaa", "aaaa")]
)
def test_mcc_is_0_where_all_are_of_one_class(labels: str, predictions: str) -> None:
    found = score(MCC, list(labels), list(predictions))
    assert found.value == recompute(found) == 0
    assert sklearn.matthews_corrcoef(list(labels), list(predictions)) == 0


def test_f1_of_a_class_that_nobody_names_is_0() -> None:
    found = score(F1, ["a", "a"], ["a", "a"])
    assert found.value == recompute(found) == 0


def test_accuracy_again_from_its_statistics() -> None:
    labels, predictions = drawn("ab", 1)
    found = score(MetricFacts(name="accuracy", chance="majority"), labels, predictions)
    assert recompute(found) == found.value == sklearn.accuracy_score(labels, predictions)


def test_others_are_shown_beside_the_first_with_a_class_of_their_own() -> None:
    facts = MetricFacts(name="accuracy", chance="majority", also=["f1"], positive="b")
    labels, predictions = drawn("ab", 2)
    expected = sklearn.f1_score(labels, predictions, pos_label="b")
    assert score(facts, labels, predictions).also == {"f1": pytest.approx(expected)}


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"name": "mcc", "chance": "majority"}, "say what mcc has"),
        ({"name": "f1", "chance": 0.5}, "f1 needs positive"),
        ({"name": "accuracy", "chance": 0.5, "also": ["f1"]}, "f1 needs positive"),
    ],
)
def test_facts_that_a_metric_needs_are_asked_for(facts: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MetricFacts(**facts)
