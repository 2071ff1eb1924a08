"""Correlations of numbers. Each has a twin, `<name>_of`, that computes it from its statistics.

Where all labels or all predictions are equal there is no correlation: it is 0, which is chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bench.metrics import Scored


def pearson(labels: Sequence[str], predictions: Sequence[float]) -> Scored:
    """Pearson's correlation coefficient."""
    return _correlation([float(label) for label in labels], predictions)


def spearman(labels: Sequence[str], predictions: Sequence[float]) -> Scored:
    """Spearman's: Pearson's of the ranks, equal values having the mean of their ranks."""
    return _correlation(_ranks([float(label) for label in labels]), _ranks(predictions))


def pearson_of(statistics: Mapping[str, float], n: int) -> float:
    spread = math.sqrt(statistics["label_squares"] * statistics["prediction_squares"])
    if not spread:
        return 0.0
    return min(max(statistics["products"] / spread, -1.0), 1.0)  # rounding may pass 1


spearman_of = pearson_of


def _correlation(labels: Sequence[float], predictions: Sequence[float]) -> Scored:
    """Its statistics are sums over deviations from the mean, in units of the largest value."""
    x, y = _deviations(labels), _deviations(predictions)
    statistics = {
        "label_squares": _dot(x, x),
        "prediction_squares": _dot(y, y),
        "products": _dot(x, y),
    }
    return Scored(pearson_of(statistics, len(labels)), statistics)


def _dot(x: Sequence[float], y: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(x, y, strict=True))


def _deviations(values: Sequence[float]) -> list[float]:
    """Scaled first, so that no square overflows; exactly 0 where all are equal."""
    largest = max(map(abs, values)) or 1.0
    scaled = [value / largest for value in values]
    mean = math.fsum(scaled) / len(scaled)
    return [value - mean for value in scaled]


def _ranks(values: Sequence[float]) -> list[float]:
    ranks = [0.0] * len(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    first = 0
    while first < len(order):
        last = first
        while last + 1 < len(order) and values[order[last + 1]] == values[order[first]]:
            last += 1
        for i in order[first : last + 1]:
            ranks[i] = (first + last) / 2 + 1
        first = last + 1
    return ranks
