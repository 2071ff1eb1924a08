"""What a word costs that a model of words can't name: the probability of its spelling.

A model over a vocabulary gives the words outside it a probability together. Each of them then
costs that, and its bytes under this model, so that perplexities per word compare with those of
tokenizers that can spell everything.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_EDGE = 256  # before the first byte, and after the last
_PRIOR = 5.0  # how many observations the shorter context counts for


class Spelling:
    """Bytes given the byte before, smoothed with bytes alone, and these with all being equal
    (Dirichlet priors): the probabilities of all strings of one byte or more sum to 1."""

    def __init__(self, words: Sequence[bytes]) -> None:
        """Fitted on `words`, each counted once."""
        counts = np.zeros((257, 257))
        before, after, _ = _pairs(words)
        np.add.at(counts, (before, after), 1.0)
        alone = counts.sum(0) + _PRIOR / 257
        prior = np.tile(alone / alone.sum(), (257, 1))
        prior[_EDGE, _EDGE] = 0.0  # no word is empty
        prior[_EDGE] /= prior[_EDGE].sum()
        counts += _PRIOR * prior
        self.transitions = counts / counts.sum(1, keepdims=True)

    def nats(self, words: Sequence[bytes]) -> np.ndarray:
        """-log of each word's probability, [words]."""
        if not words:
            return np.zeros(0)
        before, after, firsts = _pairs(words)
        with np.errstate(divide="ignore"):  # the empty word
            return np.add.reduceat(-np.log(self.transitions[before, after]), firsts)

    def nats_outside(self, words: Sequence[bytes], vocabulary: Sequence[bytes]) -> np.ndarray:
        """-log of each word's probability among the words that are not in `vocabulary`."""
        outside = 1.0 - np.exp(-self.nats(vocabulary)).sum()
        return self.nats(words) + np.log(outside)


def _pairs(words: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(before, after, firsts) of all words end to end, the edges of each included; `firsts` is
    where each word's pairs begin."""
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    ends = np.cumsum(lengths)
    spelled = np.frombuffer(b"".join(words), np.uint8).astype(np.int64)
    before, after = np.insert(spelled, ends - lengths, _EDGE), np.insert(spelled, ends, _EDGE)
    return before, after, ends - lengths + np.arange(len(words))
