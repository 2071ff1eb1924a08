"""Texts as token ids without padding, and the batches that a step takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """Texts laid end to end: T tokens of B texts, the longest of L tokens."""

    rows: np.ndarray  # row numbers, one for each text or group of texts
    lengths: np.ndarray  # [B]
    tokens: torch.Tensor  # [T]
    positions: torch.Tensor  # [T]
    segments: torch.Tensor | None  # [T] 0, or 1 in the second text of a pair; None: all 0
    starts: torch.Tensor  # [B] where each text begins
    places: torch.Tensor | None  # [T] of each token in a [B, L] grid; None if all are of length L
    labels: torch.Tensor | None  # one a row: numbers of classes, or float32
    highest_token: int
    carried: dict[str, Any] = field(default_factory=dict)
    """What a recurrent model leaves for the next batch of the same streams; empty: it begins."""
    marks: torch.Tensor | None = None  # [T] as in Packed
    target: Batch | None = None  # what a translation of these texts reads and writes
    directions: int = 1  # in which each token is read: a text for each of them
    chosen: torch.Tensor | None = None
    """[M] tokens that a language model is asked for, `labels` being theirs; None: all of them."""

    @property
    def size(self) -> int:
        """How many texts: of rows of several texts each, all of them."""
        return len(self.lengths)

    @property
    def longest(self) -> int:
        return int(self.lengths.max())

    @property
    def total(self) -> int:
        """Tokens of all texts, each once, and of their translations."""
        own = int(self.lengths.sum()) // self.directions
        return own if self.target is None else own + self.target.total


class Rows(Protocol):
    """Encoded examples of one split."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row."""

    def batches(
        self, size: int, random: np.random.Generator, among: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Once all rows, or those `among` them, in the batches and the order that suit them."""

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch: ...


@dataclass(frozen=True)
class Some:
    """Some rows of others, as those who make batches see them: numbered from 0."""

    rows: Rows
    numbers: np.ndarray  # theirs in `rows`

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def lengths(self) -> np.ndarray:
        found: np.ndarray = self.rows.lengths[self.numbers]
        return found

    def batches(
        self, size: int, random: np.random.Generator, among: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        numbers = self.numbers if among is None else self.numbers[among]
        place = np.zeros(len(self.rows), dtype=np.int64)
        place[self.numbers] = np.arange(len(self))
        for batch in self.rows.batches(size, random, numbers):
            yield place[batch]

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch:
        return self.rows.batch(self.numbers[rows], device)


@dataclass
class Packed:
    """A split: text i is `tokens[starts[i]:starts[i + 1]]`, and row i is the texts from `i * group`
    to `(i + 1) * group`."""

    tokens: np.ndarray  # int32
    segments: np.ndarray | None  # int8; None: all 0
    starts: np.ndarray  # int64, one more than texts
    labels: np.ndarray | None  # one a row
    marks: np.ndarray | None = None  # int16, one a token: the number of its label; -1 without one
    group: int = 1

    def __len__(self) -> int:
        return (len(self.starts) - 1) // self.group

    @property
    def lengths(self) -> np.ndarray:
        lengths = np.diff(self.starts)
        return lengths if self.group == 1 else lengths.reshape(-1, self.group).sum(1)

    def batches(
        self, size: int, random: np.random.Generator, among: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        return similar_lengths(self.lengths, size, random, among)

    def renumber(self, number: np.ndarray) -> None:
        """Give each token id a new number."""
        self.tokens = number[self.tokens]

    def places_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the tokens of `rows` are: index into `tokens`, lengths of texts, first places in a
        batch."""
        texts = rows
        if self.group > 1:
            texts = (rows[:, None] * self.group + np.arange(self.group)).ravel()
        lengths = self.starts[texts + 1] - self.starts[texts]
        firsts = np.cumsum(lengths) - lengths
        index = np.arange(lengths.sum()) + np.repeat(self.starts[texts] - firsts, lengths)
        return index, lengths, firsts

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch:
        index, lengths, firsts = self.places_of(rows)
        positions = np.arange(len(index)) - np.repeat(firsts, lengths)
        tokens = self.tokens[index]
        longest = lengths.max()
        grid = None
        if lengths.min() < longest:
            grid = positions + np.repeat(np.arange(len(lengths)) * longest, lengths)
        labels = None if self.labels is None else self.labels[rows]
        return Batch(
            rows=rows,
            lengths=lengths,
            tokens=send(tokens, device),
            positions=send(positions, device),
            segments=None if self.segments is None else send(self.segments[index], device),
            starts=send(firsts, device),
            places=None if grid is None else send(grid, device),
            labels=None if labels is None else _send_labels(labels, device),
            highest_token=int(tokens.max()),
            marks=None if self.marks is None else send(self.marks[index], device),
        )


def _send_labels(labels: np.ndarray, device: torch.device) -> torch.Tensor:
    return send(labels, device, np.int64 if labels.dtype.kind == "i" else np.float32)


def send(
    values: np.ndarray, device: torch.device, kind: type[np.generic] = np.int64
) -> torch.Tensor:
    """A tensor on the device, without waiting for the copy."""
    import torch

    tensor = torch.from_numpy(values.astype(kind, copy=False))
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def means(
    values: torch.Tensor, starts: torch.Tensor, places: torch.Tensor | None = None
) -> torch.Tensor:  # [B]
    """The mean of each text's values, which are those of the tokens at `places` (None: of all), in
    order; 0 for a text that has none. `starts` is where each text begins."""
    import torch

    if places is None:
        places = torch.arange(len(values), device=values.device)
    text = torch.searchsorted(starts, places, right=True) - 1
    zeros = values.new_zeros(len(starts))
    counts = zeros.index_add(0, text, torch.ones_like(values))
    return zeros.index_add(0, text, values) / counts.clamp(min=1.0)


class ByLength:
    """The rows of an epoch in the order of length, those of equal length shuffled."""

    def __init__(self, rows: Rows, epoch: np.ndarray, random: np.random.Generator) -> None:
        lengths = rows.lengths[epoch]
        order = np.lexsort((random.random(len(epoch)), lengths))
        self._rows, self._lengths = epoch[order], lengths[order]
        self._place = np.zeros(len(rows), dtype=np.int64)
        self._place[self._rows] = np.arange(len(epoch))

    @cached_property
    def _until(self) -> np.ndarray:
        """Tokens of the first n rows: [rows + 1]."""
        return np.append(0, np.cumsum(self._lengths))

    def at_share(self, rows: np.ndarray, share: float) -> np.ndarray:
        """As many rows as these, from this share of the place of their first one on."""
        begin = min(int(share * self._place[rows[0]]), len(self._rows) - len(rows))
        return self._rows[begin : begin + len(rows)]

    def tokens_below(self, share: float) -> float:
        """The mean length of this share of the rows, the shortest, by that of all."""
        count = max(1, round(share * len(self._rows)))
        return float(self._until[count] / count / (self._until[-1] / len(self._rows)))


def pack(
    token_lists: Sequence[Sequence[int]],
    segment_lists: Sequence[Sequence[int]] | None,
    labels: Sequence[int] | np.ndarray | None,
) -> Packed:
    """Rows from one list of ids a text, and one of segments where texts come in pairs."""
    starts = np.zeros(len(token_lists) + 1, dtype=np.int64)
    np.cumsum([len(t) for t in token_lists], out=starts[1:])
    return Packed(
        tokens=np.fromiter(chain.from_iterable(token_lists), np.int32, starts[-1]),
        segments=None
        if segment_lists is None
        else np.fromiter(chain.from_iterable(segment_lists), np.int8, starts[-1]),
        starts=starts,
        labels=None if labels is None else np.asarray(labels),
    )


def similar_lengths(
    lengths: np.ndarray,
    batch_size: int,
    random: np.random.Generator,
    among: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Batches of rows of similar length, in random order; equal lengths are shuffled anew."""
    rows = np.arange(len(lengths)) if among is None else among
    order = rows[np.lexsort((random.random(len(rows)), lengths[rows]))]
    firsts = np.arange(0, len(order), batch_size)
    for first in random.permutation(firsts):
        yield order[first : first + batch_size]


def by_length(lengths: np.ndarray, most_tokens: int) -> Iterator[np.ndarray]:
    """Batches for prediction: rows in order of length, at most about `most_tokens` each."""
    order = np.argsort(lengths, kind="stable")
    first = 0
    while first < len(order):
        size = max(1, most_tokens // int(lengths[order[first]]))
        yield order[first : first + size]
        first += size


def order_of_first_use(tokens: np.ndarray, vocabulary: int) -> np.ndarray:
    """All ids, those in `tokens` first, by where they first occur: [vocabulary]."""
    first = np.full(vocabulary, len(tokens))
    first[tokens[::-1]] = np.arange(len(tokens))[::-1]  # of equal ids the last written stays
    return np.argsort(first, kind="stable")
