"""The embedded corpus 'paraphrase': two sentences that say the same, or do not.

Those that do not: the second denies what the first tells (or the other way round), tells more, or
tells of something else in one or two parts. Which words mean the same is learned from the pairs.
"""

from __future__ import annotations

from bench.learn.corpora import _deeds
from bench.learn.data import Rows

LABELS = ("equivalent", "not_equivalent")


def corpus(train: int = 10_000, scored: int = 1_000) -> tuple[Rows, Rows]:
    """Train and scored rows: no two pairs are equal, both classes are equally frequent."""
    return _rows("train", train, 1), _rows("scored", scored, 2)


def _rows(split: str, n: int, seed: int) -> Rows:
    writer = _deeds.Writer(split, seed)

    def pair(i: int) -> tuple[str, str, str]:
        label = LABELS[i % 2]
        first = second = writer.deed(more=1)
        denied = also_denied = writer.chance(0.1)
        if label == "not_equivalent":
            how = writer.choice(["denied", "denied", "more", "more", "changed"])
            if how == "denied":
                also_denied = not denied
            elif how == "more":
                second = writer.with_more(first)
            else:
                second = writer.changed(first, writer.some(first, writer.choice([1, 2])))
        return writer.sentence(first, denied), writer.sentence(second, also_denied), label

    return _deeds.rows(n, pair)
