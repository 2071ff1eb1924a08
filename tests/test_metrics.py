from __future__ import annotations

from typing import Any

import pytest

from bench import cards
from bench.cards import MetricFacts
from bench.errors import UsageError
from bench.metrics import check, score
from bench.record import pack_bits, unpack_bits


def test_accuracy_with_its_majority_chance_and_bits() -> None:
    facts = MetricFacts(name="accuracy", chance="majority")
    metric = score(facts, ["a", "a", "a", "b"], ["a", "b", "a", "b"])
    assert metric.value == 0.75
    assert metric.chance == 0.75
    assert metric.statistics == {"correct": 3}
    assert metric.correct
    assert unpack_bits(metric.correct, 4) == [True, False, True, True]


def test_every_example_needs_a_prediction() -> None:
    with pytest.raises(ValueError, match="1 predictions for 2"):
        score(MetricFacts(name="accuracy", chance=0.5), ["a", "b"], ["a"])


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(UsageError, match="no metric is called 'acuracy'"):
        score(MetricFacts(name="acuracy", chance=0.5), ["a"], ["a"])


@pytest.mark.parametrize(
    ("changes", "says", "hint"),
    [
        ({"name": "acuracy"}, "no metric is called 'acuracy'", "did you mean 'accuracy'?"),
        ({"also": ["spearman"]}, "spearman is no metric of classification", "accuracy, f1, mcc"),
    ],
)
def test_a_cards_metrics_are_checked_before_anything_is_trained(
    changes: dict[str, Any], says: str, hint: str
) -> None:
    card = cards.load("sst2")
    check(card)
    wrong = card.model_copy(update={"metric": card.metric.model_copy(update=changes)})
    with pytest.raises(UsageError, match=says) as error:
        check(wrong)
    assert hint in (error.value.hint or "")


@pytest.mark.parametrize("name", cards.names())
def test_the_metrics_of_cards_that_ship_are_known(name: str) -> None:
    check(cards.load(name))


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 872])
def test_bits_survive(n: int) -> None:
    bits = [i % 3 == 0 for i in range(n)]
    assert unpack_bits(pack_bits(bits), n) == bits
