"""Metrics of classes."""

from __future__ import annotations

from collections.abc import Sequence

from bench.metrics import Scored


def accuracy(labels: Sequence[str], predictions: Sequence[str]) -> Scored:
    """The share of examples that are right."""
    correct = [a == b for a, b in zip(labels, predictions, strict=True)]
    return Scored(sum(correct) / len(correct), {"correct": float(sum(correct))}, correct)
