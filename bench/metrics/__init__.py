"""Metrics by the name that task cards use, a family of them a file. Nothing heavy at the top."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.cards import MetricFacts
from bench.errors import unknown_name
from bench.record import Metric, pack_bits

_MODULES = {"accuracy": "classes"}
"""Metric -> the module whose function of that name computes it."""


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
            found = compute(facts.name, labels[there], predictions[there])
            also[f"{facts.name}, {part}"] = found.value
        begin += n
    labels, predictions = labels[:first], predictions[:first]
    found = compute(facts.name, labels, predictions)
    also |= {name: compute(name, labels, predictions).value for name in facts.also}
    chance = facts.chance
    if chance == "majority":
        chance = max(Counter(labels).values()) / len(labels)
    return Metric(
        name=facts.name, value=found.value, n=len(labels), chance=chance, best=facts.best,
        scale=facts.scale, also=also, signature=found.signature, statistics=found.statistics,
        correct=None if found.correct is None else pack_bits(found.correct),
    )  # fmt: skip


def compute(name: str, labels: Sequence[str], predictions: Sequence[Any]) -> Scored:
    """One metric by name; UsageError when there is none of that name."""
    if name not in _MODULES:
        raise unknown_name("metric", name, _MODULES, "bench rules")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    found: Scored = getattr(module, name)(labels, predictions)
    return found
