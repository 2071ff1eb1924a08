"""What a word costs that a model of words can't name: the probability of its spelling.

A model over a vocabulary gives the words outside it a probability together. Each of them then
costs that, and its bytes under this model, so that perplexities per word compare with those of
tokenizers that can spell everything.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EDGE = 256  # before the first byte, and after the last
_NOTHING, _SYMBOLS = 257, 258  # what is before a word's begin
_BEFORE = 5  # bytes that the next one is told by
_PRIOR = 3.0  # how many observations the next shorter context counts for


class Spelling:
    """Each byte given up to five before it, smoothed with one less and so on, down to all bytes
    being equal (Dirichlet priors): the probabilities of all strings of a byte or more sum to 1."""

    def __init__(self, words: Sequence[bytes]) -> None:
        """Fitted on `words`, each counted once."""
        before, after, _ = _pairs(words)
        codes = _codes(before)
        self._contexts = [np.unique(code, return_counts=True) for code in codes]
        self._joint = [np.unique(code * _SYMBOLS + after, return_counts=True) for code in codes]
        self._empty = float(self._chances(np.array([EDGE]), _first())[0])

    def nats(self, words: Sequence[bytes]) -> np.ndarray:
        """-log of each word's probability, [words]; none of them empty."""
        if not words:
            return np.zeros(0)
        before, after, firsts = _pairs(words)
        nats = np.add.reduceat(-np.log(self._chances(after, before)), firsts)
        return nats + np.log(1.0 - self._empty)

    def nats_outside(self, words: Sequence[bytes], vocabulary: Sequence[bytes]) -> np.ndarray:
        """-log of each word's probability among the words that are not in `vocabulary`."""
        outside = 1.0 - np.exp(-self.nats(vocabulary)).sum()
        return self.nats(words) + np.log(outside)

    def _chances(self, after: np.ndarray, before: np.ndarray) -> np.ndarray:
        """The probability of each symbol after those before it: [N], [N, _BEFORE]."""
        found = np.full(len(after), 1.0 / 257)
        for code, contexts, joint in zip(_codes(before), self._contexts, self._joint, strict=True):
            seen = _counts(joint, code * _SYMBOLS + after)
            found = (seen + _PRIOR * found) / (_counts(contexts, code) + _PRIOR)
        return found


def _first() -> np.ndarray:
    """What is before the first byte of a word, [1, _BEFORE]."""
    return np.array([[EDGE, *[_NOTHING] * (_BEFORE - 1)]])


def _codes(before: np.ndarray) -> list[np.ndarray]:
    """The last 0, 1, … symbols as one number each."""
    codes = [np.zeros(len(before), dtype=np.int64)]
    for i in range(_BEFORE):
        codes.append(codes[-1] + (before[:, i] + 1) * (_SYMBOLS + 1) ** i)
    return codes


def _counts(table: tuple[np.ndarray, np.ndarray], codes: np.ndarray) -> np.ndarray:
    """How often each code was seen."""
    known, counts = table
    if not len(known):
        return np.zeros(len(codes))
    places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[places] == codes, counts[places], 0)


def _pairs(words: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(before, after, firsts) of all words end to end, their edges included: [N, _BEFORE], the last
    symbol first, [N], and where each word begins."""
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    ends = np.cumsum(lengths)
    spelled = np.frombuffer(b"".join(words), np.uint8).astype(np.int64)
    after = np.insert(spelled, ends, EDGE)
    firsts = ends - lengths + np.arange(len(words))
    place = np.arange(len(after)) - np.repeat(firsts, lengths + 1)
    before = np.full((len(after), _BEFORE), _NOTHING)
    for i in range(_BEFORE):
        inside = np.flatnonzero(place > i)
        before[inside, i] = after[inside - i - 1]
        before[place == i, i] = EDGE
    return before, after, firsts
