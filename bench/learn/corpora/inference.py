"""The embedded corpus 'inference': does a hypothesis follow from a premise, contradict it, or
neither?

What follows says less, or the same in other words; what contradicts denies it; what is neutral says
more, or tells of something else. Where the premise is a denial, it is the other way round: what
follows from that says more, and what contradicts affirms.
"""

from __future__ import annotations

from bench.learn.corpora import _deeds
from bench.learn.corpora._deeds import Deed
from bench.learn.data import Rows

LABELS = ("entailment", "neutral", "contradiction")


def corpus(train: int = 10_000, scored: int = 1_000) -> tuple[Rows, Rows]:
    """Train and scored rows: no two pairs are equal, all classes are equally frequent."""
    return rows("train", train, 1, LABELS), rows("scored", scored, 2, LABELS)


def rows(split: str, n: int, seed: int, labels: tuple[str, ...]) -> Rows:
    writer = _deeds.Writer(split, seed)

    def pair(i: int) -> tuple[str, str, str]:
        label = labels[i % len(labels)]
        denied = writer.chance(0.1)
        less = writer.deed(more=writer.choice([0, 1, 2]))
        more = writer.with_more(less)
        premise, hypothesis = (less, more) if denied else (more, less)
        if label == "neutral":
            premise, hypothesis = _neutral(writer, premise, hypothesis)
        also_denied = denied != (label == "contradiction")
        return writer.sentence(premise, denied), writer.sentence(hypothesis, also_denied), label

    return _deeds.rows(n, pair)


def _neutral(writer: _deeds.Writer, premise: Deed, hypothesis: Deed) -> tuple[Deed, Deed]:
    """The other way round, so that it does not follow; or about something else."""
    if writer.chance(0.7):
        return hypothesis, premise
    return premise, writer.changed(
        hypothesis, [writer.choice([p for p in hypothesis if p in premise])]
    )
