"""The embedded corpus 'similarity': two sentences, and from 0 to 5 how much of what is said in
either is said in both.

The second leaves parts of the first out, or tells of something else in some.
"""

from __future__ import annotations

from bench.learn.corpora import _deeds
from bench.learn.data import Rows


def corpus(train: int = 10_000, scored: int = 1_000) -> tuple[Rows, Rows]:
    """Train and scored rows: no two pairs are equal."""
    return _rows("train", train, 1), _rows("scored", scored, 2)


def _rows(split: str, n: int, seed: int) -> Rows:
    writer = _deeds.Writer(split, seed)

    def pair(i: int) -> tuple[str, str, str]:
        first = writer.deed(more=writer.choice([2, 3]))
        kept = writer.some(
            [part for part in _deeds.MORE if part in first], writer.choice([0, 1, 2])
        )
        second = {part: m for part, m in first.items() if part in (*_deeds.CORE, *kept)}
        if writer.chance(0.4):
            second = writer.changed(second, writer.some(second, writer.choice([1, 2, 3])))
        return writer.sentence(first), writer.sentence(second), _similarity(first, second)

    return _deeds.rows(n, pair)


def _similarity(first: _deeds.Deed, second: _deeds.Deed) -> str:
    """5 times the share of parts that are the same in both, to a fifth, as STS-B's are."""
    both = sum(first.get(part) == meaning for part, meaning in second.items())
    either = len(first) + len(second) - both
    return repr(round(25 * both / either) / 5).removesuffix(".0")
