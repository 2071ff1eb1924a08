"""The embedded corpus 'answers': a question, and a sentence that answers it or does not.

One that does not lacks the part that is asked for, or tells of something else.
"""

from __future__ import annotations

from bench.learn.corpora import _deeds
from bench.learn.data import Rows

LABELS = ("entailment", "not_entailment")


def corpus(train: int = 10_000, scored: int = 1_000) -> tuple[Rows, Rows]:
    """Train and scored rows: no two pairs are equal, both classes are equally frequent."""
    return _rows("train", train, 1), _rows("scored", scored, 2)


def _rows(split: str, n: int, seed: int) -> Rows:
    writer = _deeds.Writer(split, seed)

    def pair(i: int) -> tuple[str, str, str]:
        label = LABELS[i % 2]
        told = writer.deed(more=writer.choice([1, 2]))
        asked = writer.choice([part for part in told if part in _deeds.MORE])
        question = writer.question(told, asked)
        if label == "not_entailment" and writer.chance(0.75):
            told = {part: meaning for part, meaning in told.items() if part != asked}
        elif label == "not_entailment":
            parts = [part for part in told if part != asked]
            told = writer.changed(told, writer.some(parts, writer.choice([1, 2])))
        return question, writer.sentence(told), label

    return _deeds.rows(n, pair)
