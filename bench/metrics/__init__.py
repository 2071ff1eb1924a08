"""Metrics by the name that task cards use, a family of them a file. Nothing heavy at the top."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.cards import MetricFacts
from bench.errors import unknown_name
from bench.record import Metric, pack_bits

_MODULES = {
    "accuracy": "classes",
    "bleu": "translation",
    "chrf": "translation",
    "f1": "classes",
    "mcc": "classes",
    "pearson": "numbers",
    "span_f1": "spans",
    "span_precision": "spans",
    "span_recall": "spans",
    "spearman": "numbers",
}
"""Metric -> the module whose function of that name computes it, and whose function of that name
with `_of` computes it again from its statistics and the number of examples."""


class Scored(NamedTuple):
    """A metric's value, and what it takes to compute it again without the data."""

    value: float
    statistics: dict[str, float]  # sufficient statistics, such as correct
    correct: list[bool] | None = None  # of each example, where it can be right or wrong
    signature: str | None = None  # of the tool whose definition it is


def score(
    facts: MetricFacts,
    labels: Sequence[str],
    predictions: Sequence[str] | Sequence[float],
    parts: Mapping[str, int] | None = None,
) -> Metric:
    """`predictions` against `labels`, in the scored split's order.

    With `parts` (name -> rows, in order) the first is scored; of the others the metric is shown
    (`also`, as 'accuracy, mismatched'). BenchError where predictions don't fit the labels.
    """
    if len(labels) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} examples")
    parts = parts or {"": len(labels)}
    also, first, begin = {}, 0, 0
    for i, (part, n) in enumerate(parts.items()):
        if i == 0:
            first = n
        else:
            there = slice(begin, begin + n)
            found = compute(facts, facts.name, labels[there], predictions[there])
            also[f"{facts.name}, {part}"] = found.value
        begin += n
    labels, predictions = labels[:first], predictions[:first]
    found = compute(facts, facts.name, labels, predictions)
    also |= {name: compute(facts, name, labels, predictions).value for name in facts.also}
    chance = facts.chance
    if chance == "majority":
        chance = max(Counter(labels).values()) / len(labels)
    return Metric(
        name=facts.name, value=found.value, n=len(labels), chance=chance, best=facts.best,
        scale=facts.scale, also=also, signature=found.signature, statistics=found.statistics,
        correct=None if found.correct is None else pack_bits(found.correct),
    )  # fmt: skip


def compute(
    facts: MetricFacts, name: str, labels: Sequence[str], predictions: Sequence[Any]
) -> Scored:
    """One metric by name, for a task with these facts; UsageError when there is none."""
    given = {"positive": facts.positive} if name == "f1" else {}
    found: Scored = _function(name, name)(labels, predictions, **given)
    return found


def recompute(metric: Metric) -> float:
    """A metric's value from its statistics alone, without labels or predictions."""
    value: float = _function(metric.name, f"{metric.name}_of")(metric.statistics, metric.n)
    return value


def _function(metric: str, name: str) -> Any:
    if metric not in _MODULES:
        raise unknown_name("metric", metric, _MODULES, "bench rules")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[metric]}"), name)
