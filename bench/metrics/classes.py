"""Metrics of classes. Each has a twin, `<name>_of`, that computes it from its statistics alone.

Of answers that are all of one class F1 and Matthews' correlation may be 0 / 0: they are 0 then,
as in scikit-learn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from bench.metrics import Scored


def accuracy(labels: Sequence[str], predictions: Sequence[str]) -> Scored:
    """The share of examples that are right."""
    correct = _correct(labels, predictions)
    statistics = {"correct": float(sum(correct))}
    return Scored(accuracy_of(statistics, len(labels)), statistics, correct)


def accuracy_of(statistics: Mapping[str, float], n: int) -> float:
    return statistics["correct"] / n


def f1(labels: Sequence[str], predictions: Sequence[str], positive: str) -> Scored:
    """Harmonic mean of precision and recall of the class `positive`; 0 where nobody names it."""
    pairs = Counter(zip(labels, predictions, strict=True))
    statistics = {
        "true_positives": float(pairs[positive, positive]),
        "false_positives": float(sum(n for (a, b), n in pairs.items() if a != positive == b)),
        "false_negatives": float(sum(n for (a, b), n in pairs.items() if a == positive != b)),
    }
    return Scored(f1_of(statistics, len(labels)), statistics, _correct(labels, predictions))


def f1_of(statistics: Mapping[str, float], n: int) -> float:
    right = 2 * statistics["true_positives"]
    named = right + statistics["false_positives"] + statistics["false_negatives"]
    return right / named if named else 0.0


def mcc(labels: Sequence[str], predictions: Sequence[str]) -> Scored:
    """Matthews' correlation, R_K of K classes (Gorodkin 2004); 0 where all labels or all
    predictions are of one class. Its statistics: what is right, and each class's count."""
    correct = _correct(labels, predictions)
    statistics = {"correct": float(sum(correct))}
    for said, names in (("labels", labels), ("predictions", predictions)):
        statistics |= {f"{said} {name}": float(n) for name, n in sorted(Counter(names).items())}
    return Scored(mcc_of(statistics, len(labels)), statistics, correct)


def mcc_of(statistics: Mapping[str, float], n: int) -> float:
    labels, predictions = (
        {k.removeprefix(said): v for k, v in statistics.items() if k.startswith(said)}
        for said in ("labels ", "predictions ")
    )
    by_chance = sum(v * predictions.get(name, 0.0) for name, v in labels.items())
    spreads = [n * n - sum(v * v for v in counts.values()) for counts in (labels, predictions)]
    if not all(spreads):
        return 0.0
    return (n * statistics["correct"] - by_chance) / math.sqrt(spreads[0] * spreads[1])


def _correct(labels: Sequence[str], predictions: Sequence[str]) -> list[bool]:
    return [a == b for a, b in zip(labels, predictions, strict=True)]
