"""Metrics by the name that task cards use, a family of them a file. Nothing heavy at the top."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.cards import Card, Kind, MetricFacts
from bench.errors import UsageError, near_names
from bench.record import Metric, pack_bits

_MODULES = {
    "accuracy": "classes",
    "bidirectional_perplexity": "language",
    "bleu": "translation",
    "chrf": "translation",
    "f1": "classes",
    "mcc": "classes",
    "pearson": "numbers",
    "perplexity": "language",
    "pseudo_perplexity": "language",
    "span_f1": "spans",
    "span_precision": "spans",
    "span_recall": "spans",
    "spearman": "numbers",
}
"""Metric -> the module whose function of that name computes it, and whose function of that name
with `_of` computes it again from its statistics and the number of examples."""

_KINDS: dict[str, tuple[Kind, ...]] = {
    "classes": ("class", "text"),
    "language": ("words",),
    "numbers": ("number",),
    "spans": ("tags",),
    "translation": ("text",),
}
"""Module -> the kinds of labels that its metrics are of."""


class Scored(NamedTuple):
    """A metric's value, and what it takes to compute it again without the data."""

    value: float
    statistics: dict[str, float]  # sufficient statistics, such as correct
    correct: list[bool] | None = None  # of each example, where it can be right or wrong
    signature: str | None = None  # of the tool whose definition it is


def check(card: Card) -> None:
    """UsageError where a card asks for a metric that there is not, or that its labels don't have:
    before anything is trained."""
    for facts in (card.metric, *card.metrics.values()):
        for name in (facts.name, *facts.also):
            if name not in _MODULES:
                raise _unknown(name)
            if card.kind not in _KINDS[_MODULES[name]]:
                able = [m for m, module in _MODULES.items() if card.kind in _KINDS[module]]
                raise UsageError(
                    f"the task {card.name}: {name} is no metric of {card.family}",
                    f"one of {', '.join(able)}",
                )


def score(
    facts: MetricFacts,
    labels: Sequence[str],
    predictions: Sequence[str] | Sequence[float],
    parts: Mapping[str, int] | None = None,
    texts: Sequence[tuple[str, ...]] = (),
) -> Metric:
    """`predictions` against `labels`, in the scored split's order; `texts` are its inputs, where
    chance is what their words give.

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
            found = compute(facts.name, labels[there], predictions[there], facts.positive)
            also[f"{facts.name}, {part}"] = found.value
        begin += n
    labels, predictions = labels[:first], predictions[:first]
    found = compute(facts.name, labels, predictions, facts.positive)
    for name in facts.also:
        also[name] = compute(name, labels, predictions, facts.positive).value
    chance = facts.chance
    if chance == "majority":
        chance = max(Counter(labels).values()) / len(labels)
    elif chance == "unigram":
        from bench.metrics.language import unigram

        chance = unigram([text for (text,) in texts[:first]])
    return Metric(
        name=facts.name, value=found.value, n=len(labels), chance=chance, best=facts.best,
        scale=facts.scale, also=also, signature=found.signature, statistics=found.statistics,
        correct=None if found.correct is None else pack_bits(found.correct),
    )  # fmt: skip


def compute(
    name: str, labels: Sequence[str], predictions: Sequence[Any], positive: str | None = None
) -> Scored:
    """One metric by name; UsageError when there is none. `positive` is the class that F1 is of."""
    given = {"positive": positive} if name == "f1" else {}
    found: Scored = _function(name, name)(labels, predictions, **given)
    return found


def falls(name: str) -> bool:
    """Whether the better model has the lower value."""
    return _MODULES.get(name) == "language"


def recompute(metric: Metric) -> float:
    """A metric's value from its statistics alone, without labels or predictions."""
    value: float = _function(metric.name, f"{metric.name}_of")(metric.statistics, metric.n)
    return value


def _function(metric: str, name: str) -> Any:
    if metric not in _MODULES:
        raise _unknown(metric)
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[metric]}"), name)


def _unknown(metric: str) -> UsageError:
    near = near_names(metric, _MODULES)
    hint = f"did you mean '{near[0]}'?" if near else f"one of {', '.join(_MODULES)}"
    return UsageError(f"no metric is called '{metric}'", hint)
