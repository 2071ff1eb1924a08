from __future__ import annotations

import pytest

from bench.cards import MetricFacts
from bench.errors import UsageError
from bench.metrics import score
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


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 872])
def test_bits_survive(n: int) -> None:
    bits = [i % 3 == 0 for i in range(n)]
    assert unpack_bits(pack_bits(bits), n) == bits
