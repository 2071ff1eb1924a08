"""Texts and their translations as token ids, in batches of about as many tokens each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.learn.batches import Batch, Packed
from bench.learn.tokenize import encode_lines, line_end

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer


@dataclass
class Pairs:
    """A split. `target` is None for texts that are to be translated; its `marks` are the tokens
    that follow each of its tokens."""

    source: Packed
    target: Packed | None
    batch_tokens: int  # of both sides, in a batch

    def __len__(self) -> int:
        return len(self.source)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, those of its translation included."""
        return self.source.lengths + (0 if self.target is None else self.target.lengths)

    def batches(
        self, size: int, random: np.random.Generator, among: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Rows of similar length in random order, `batch_tokens` at most; `size` does not count."""
        rows = np.arange(len(self)) if among is None else among
        first, lengths = self.source.lengths[rows], self.lengths[rows]
        for batch in by_tokens(first, lengths, self.batch_tokens, random):
            yield rows[batch]

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch:
        source = self.source.batch(rows, device)
        return replace(source, target=self.target.batch(rows, device)) if self.target else source


def by_tokens(
    first: np.ndarray, lengths: np.ndarray, most: int, random: np.random.Generator
) -> Iterator[np.ndarray]:
    """Batches in random order, each of `most` tokens at most, or one row: rows in order of length
    and, where that is equal, of the length of their `first` side; what is equal in both is shuffled
    anew. How many batches there are depends on the lengths alone."""
    order = np.lexsort((random.random(len(lengths)), first, lengths))
    until = np.cumsum(lengths[order])
    begins = [0]
    while begins[-1] < len(order):
        before = until[begins[-1] - 1] if begins[-1] else 0
        end = int(np.searchsorted(until, before + most, side="right"))
        begins.append(max(end, begins[-1] + 1))
    for i in random.permutation(len(begins) - 1):
        yield order[begins[i] : begins[i + 1]]


def encode(
    tokenizer: Tokenizer,
    texts: Sequence[tuple[str, ...]],
    translations: Sequence[str] | None,
    max_length: int,
    batch_tokens: int,
) -> Pairs:
    """Each text ends with the token of a line's end, with which a translation also begins. A text
    is cut to `max_length` tokens; of a translation that is cut, no end is asked for."""
    end = line_end(tokenizer)
    source = _cut(*encode_lines(tokenizer, [text for (text,) in texts]), max_length)
    source.tokens[source.starts[1:] - 1] = end
    if translations is None:
        return Pairs(source, None, batch_tokens)
    target = _cut(*encode_lines(tokenizer, translations), max_length)
    target.marks = target.tokens
    target.tokens = np.roll(target.tokens, 1)
    target.tokens[target.starts[:-1]] = end
    return Pairs(source, target, batch_tokens)


def _cut(tokens: np.ndarray, counts: np.ndarray, most: int) -> Packed:
    firsts = np.cumsum(counts) - counts
    kept = np.arange(len(tokens)) - np.repeat(firsts, counts) < most
    starts = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(np.minimum(counts, most), out=starts[1:])
    return Packed(tokens[kept], None, starts, None)
