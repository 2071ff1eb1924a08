"""Metrics by the name that task cards use: value, sufficient statistics, one bit an example."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.cards import MetricFacts
from bench.errors import unknown_name
from bench.record import Metric, pack_bits


def score(
    facts: MetricFacts,
    labels: Sequence[str],
    predictions: Sequence[str] | Sequence[float],
    parts: Mapping[str, int] | None = None,
) -> Metric:
    """`predictions` against `labels`, in the scored split's order.

    With `parts` (name -> rows, in order) the first is scored; the others are shown (`also`).
    """
    if len(labels) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} examples")
    if facts.name not in _METRICS:
        raise unknown_name("metric", facts.name, _METRICS, "bench rules")
    value, statistics, correct = _METRICS[facts.name](labels, predictions)
    chance = facts.chance
    if chance == "majority":
        chance = max(Counter(labels).values()) / len(labels)
    return Metric(
        name=facts.name, value=value, n=len(labels), chance=chance, best=facts.best,
        statistics=statistics, correct=pack_bits(correct),
    )  # fmt: skip


_Scored = tuple[float, dict[str, float], list[bool]]


def _accuracy(labels: Sequence[str], predictions: Sequence[Any]) -> _Scored:
    correct = [a == b for a, b in zip(labels, predictions, strict=True)]
    return sum(correct) / len(correct), {"correct": float(sum(correct))}, correct


_METRICS: dict[str, Callable[[Sequence[str], Sequence[Any]], _Scored]] = {"accuracy": _accuracy}
