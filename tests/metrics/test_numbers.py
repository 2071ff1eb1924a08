"""Correlations against scipy, and again from their statistics."""

from __future__ import annotations

import math
import random
import warnings

import pytest
from scipy import stats

from bench.cards import MetricFacts
from bench.metrics import recompute, score
from bench.metrics.numbers import pearson

PEARSON = MetricFacts(name="pearson", chance=0.0, also=["spearman"])
SPEARMAN = MetricFacts(name="spearman", chance=0.0)


def drawn(seed: int, scale: float = 1.0, shift: float = 0.0) -> tuple[list[str], list[float]]:
    """Labels with many ties, as people give them, and noisy predictions, some of them equal."""
    chance = random.Random(seed)
    labels = [chance.randrange(26) / 5 for _ in range(300)]
    noisy = [shift + scale * round(x + chance.gauss(0, 1.5), 1) for x in labels]
    return [repr(x) for x in labels], noisy


@pytest.mark.parametrize(
    ("scale", "shift"), [(1, 0), (-1, 2), (1e-9, 0), (1e300, 0), (1, 1e6), (1e-300, 0)]
)
def test_pearson_and_spearman_are_scipys(scale: float, shift: float) -> None:
    labels, predictions = drawn(1, scale, shift)
    numbers = [float(x) for x in labels]
    found, ranked = score(PEARSON, labels, predictions), score(SPEARMAN, labels, predictions)
    unscaled = [(p - shift) / scale for p in predictions]
    expected = stats.pearsonr(numbers, unscaled).statistic
    assert found.value == pytest.approx(expected * (1 if scale > 0 else -1), abs=1e-9)
    assert ranked.value == pytest.approx(stats.spearmanr(numbers, predictions).statistic)
    assert found.also == {"spearman": ranked.value}
    assert abs(found.value) > 0.5
    for metric in (found, ranked):
        assert recompute(metric) == metric.value
        assert metric.correct is None


def test_it_is_never_beyond_1() -> None:
    for seed in range(50):
        chance = random.Random(seed)
        labels = [chance.random() for _ in range(7)]
        value = score(PEARSON, [repr(x) for x in labels], [3 * x for x in labels]).value
        assert value == pytest.approx(1)
        assert value <= 1


def test_what_is_no_number_does_not_pass_for_1() -> None:
    assert math.isnan(pearson(["1", "2", "3"], [0.0, math.nan, 1.0]).value)


@pytest.mark.parametrize("facts", [PEARSON, SPEARMAN])
@pytest.mark.parametrize(
    ("labels", "predictions"),
    [([1, 2, 3], [0.1, 0.1, 0.1]), ([4.2, 4.2, 4.2], [1, 2, 3]), ([1, 2], [0, 0]), ([3], [2])],
)
def test_it_is_0_where_all_are_equal(
    facts: MetricFacts, labels: list[float], predictions: list[float]
) -> None:
    found = score(facts, [repr(x) for x in labels], predictions)
    assert found.value == recompute(found) == 0
    if len(labels) > 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert str(stats.pearsonr(labels, predictions).statistic) == "nan"
