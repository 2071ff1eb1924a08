"""Whole words for models that read their characters: a tokenizer without a vocabulary.

A word is what stands between spaces, and is known by its number; its characters are the bytes of
its UTF-8, between a sign that it begins and a sign that it ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.learn.batches import Packed, pack

END = 0  # the number of what ends a line, and stands at both ends of a text
NOTHING, LINE_ENDS, WORD_BEGINS, WORD_ENDS, FIRST_BYTE = range(5)
CHARACTERS = FIRST_BYTE + 256


class Words:
    """Gives each word that it meets a number, from 1 in the order of meeting."""

    def __init__(self, longest: int) -> None:
        """`longest`: characters of a word that a model reads, both signs included."""
        self.longest = longest
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        """Numbers given so far, END's included."""
        return 1 + len(self._numbers)

    def numbers(self, text: str) -> list[int]:
        """The numbers of a text's words."""
        known = self._numbers
        return [known.setdefault(word, len(known) + 1) for word in text.split()]

    def bytes_of(self, numbers: Sequence[int] | np.ndarray) -> list[bytes]:
        """How the words of these numbers (not END) are spelled."""
        words = list(self._numbers)
        return [words[number - 1].encode() for number in numbers]

    def lines(self, lines: Sequence[str]) -> Packed:
        """Running text: the words of each line and END."""
        return pack([[*self.numbers(line), END] for line in lines], None, None)

    def encode(
        self,
        inputs: Sequence[tuple[str, ...]],
        labels: Sequence[int] | np.ndarray | None,
        max_length: int,
    ) -> Packed:
        """Each text, or pair of texts, between ENDs, cut to `max_length` numbers, ENDs included."""
        if not inputs or len(inputs[0]) == 1:
            cut = max_length - 2
            texts = [[END, *self.numbers(text)[:cut], END] for (text,) in inputs]
            return pack(texts, None, labels)
        room = max_length - 3
        pairs = [self._cut(self.numbers(a), self.numbers(b), room) for a, b in inputs]
        texts = [[END, *a, END, *b, END] for a, b in pairs]
        segments = [[0] * (len(a) + 2) + [1] * (len(b) + 1) for a, b in pairs]
        return pack(texts, segments, labels)

    @staticmethod
    def _cut(a: list[int], b: list[int], room: int) -> tuple[list[int], list[int]]:
        """Both in `room` numbers: the longer one is cut, and neither below a half."""
        first = max(room - len(b), room - room // 2)
        return a[:first], b[: room - min(len(a), first)]

    def windows(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """(windows, starts): row i of `windows` [characters, width] is `width` characters from the
        i-th on, with NOTHING after the end of its word; word n has the rows from `starts[n]` to
        `starts[n + 1]`."""
        spelled = (word.encode()[: self.longest - 2] for word in self._numbers)
        words = ([WORD_BEGINS, *(FIRST_BYTE + byte for byte in s), WORD_ENDS] for s in spelled)
        packed = pack([[LINE_ENDS], *words], None, None)
        left = np.repeat(packed.starts[1:], packed.lengths) - np.arange(len(packed.tokens))
        ahead = np.concatenate([packed.tokens, np.full(width, NOTHING, packed.tokens.dtype)])
        shifted = np.lib.stride_tricks.sliding_window_view(ahead, width)[: len(packed.tokens)]
        inside = np.arange(width) < left[:, None]
        return np.where(inside, shifted, NOTHING).astype(np.int16), packed.starts
