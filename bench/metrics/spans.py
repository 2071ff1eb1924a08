"""Metrics of tagged spans, as the CoNLL shared tasks and seqeval's default define them.

A span is right if its type and both its ends are. Tags are O, or B- or I- (or, in IOBES, E- or S-)
and a type. A span begins at B- or S-, and wherever a type follows O, another type, or the end of
a span: so ill-formed tags, such as an I- after O, have one meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.errors import BenchError
from bench.metrics import Scored


def span_f1(labels: Sequence[str], predictions: Sequence[str]) -> Scored:
    """The harmonic mean of precision and recall, over all spans; 0 where none is right."""
    counts = _counts(labels, predictions)
    return Scored(span_f1_of(counts, len(labels)), counts)


def span_f1_of(statistics: Mapping[str, float], n: int) -> float:
    right = 2 * statistics["tp"]
    return right / ((right + statistics["fp"] + statistics["fn"]) or 1)


def span_precision(labels: Sequence[str], predictions: Sequence[str]) -> Scored:
    """The share of predicted spans that are right; 0 where none is predicted."""
    counts = _counts(labels, predictions)
    return Scored(span_precision_of(counts, len(labels)), counts)


def span_precision_of(statistics: Mapping[str, float], n: int) -> float:
    return statistics["tp"] / ((statistics["tp"] + statistics["fp"]) or 1)


def span_recall(labels: Sequence[str], predictions: Sequence[str]) -> Scored:
    """The share of spans that are found; 0 where there is none."""
    counts = _counts(labels, predictions)
    return Scored(span_recall_of(counts, len(labels)), counts)


def span_recall_of(statistics: Mapping[str, float], n: int) -> float:
    return statistics["tp"] / ((statistics["tp"] + statistics["fn"]) or 1)


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Type, first and last word of each span; BenchError for a tag that is none of the above."""
    found = set()
    begun = 0
    kind = before = "O"  # of the word before
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, type_ = tag.partition("-")
        if tag != "O" and (prefix not in _PREFIXES or not type_):
            raise BenchError(
                f"'{tag}' is not a tag of a span", "O, or B- or I- and a type: B-person"
            )
        goes_on = prefix in "IE" and before in "BI" and type_ == kind
        if before != "O" and not goes_on:
            found.add((kind, begun, i - 1))
        if not goes_on:
            begun = i
        kind, before = type_, prefix
    return found


_PREFIXES = ("B", "I", "E", "S")


def _counts(labels: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """Spans that are right (tp), that are wrong (fp) and that are missing (fn)."""
    right = predicted = wanted = 0
    for i, (label, prediction) in enumerate(zip(labels, predictions, strict=True)):
        tags, found = label.split(), prediction.split()
        if len(tags) != len(found):
            raise BenchError(
                f"the prediction for id {i} has {len(found)} tags, its text {len(tags)} words",
                "one tag a word, in order, joined by spaces",
            )
        theirs, ours = spans(tags), spans(found)
        right += len(theirs & ours)
        wanted += len(theirs)
        predicted += len(ours)
    counts = {"tp": right, "fp": predicted - right, "fn": wanted - right}
    return {name: float(n) for name, n in counts.items()}
