"""The embedded corpus 'duplicates': two questions that ask the same, or do not.

Those that do not: the second asks for another part, or of a deed of which more is said, or of
another one.
"""

from __future__ import annotations

from bench.learn.corpora import _deeds
from bench.learn.data import Rows

LABELS = ("duplicate", "not_duplicate")


def corpus(train: int = 10_000, scored: int = 1_000) -> tuple[Rows, Rows]:
    """Train and scored rows: no two pairs are equal, both classes are equally frequent."""
    return _rows("train", train, 1), _rows("scored", scored, 2)


def _rows(split: str, n: int, seed: int) -> Rows:
    writer = _deeds.Writer(split, seed)

    def pair(i: int) -> tuple[str, str, str]:
        label = LABELS[i % 2]
        first = second = writer.deed(more=2)
        asked, said = writer.some([part for part in first if part in _deeds.MORE], 2)
        also_asked = asked
        if label == "not_duplicate":
            how = writer.choice(["asked", "more", "more", "changed"])
            if how == "asked":
                also_asked = said
            elif how == "more":
                second = writer.with_more(first)
            else:
                parts = [part for part in first if part != asked]
                second = writer.changed(first, writer.some(parts, writer.choice([1, 2])))
        return writer.question(first, asked), writer.question(second, also_asked), label

    return _deeds.rows(n, pair)
