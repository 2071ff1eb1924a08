"""Running text as one stream of tokens, read in windows of one length, without padding.

Windows may overlap, so that a token has context; each token is counted in exactly one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

from bench.learn import parallel, tokenize
from bench.learn.batches import Batch, by_length, send, similar_lengths
from bench.learn.evaluate import MOST_TOKENS
from bench.learn.model import LanguageModel


@dataclass(frozen=True)
class Stream:
    """The tokens of all rows in order, a line's end after each row: N tokens."""

    tokens: np.ndarray  # [N], int32
    rows: np.ndarray  # [N], int32: the row that a token belongs to
    line_end: int  # the token

    @classmethod
    def of(cls, tokenizer: Tokenizer, texts: Sequence[str]) -> Stream:
        tokens, lengths = tokenize.encode_lines(tokenizer, texts)
        rows = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
        return cls(tokens, rows, tokenize.line_end(tokenizer))

    def per_row(self, nats: np.ndarray) -> np.ndarray:
        """Sums over the tokens of each row."""
        return np.bincount(self.rows, weights=nats, minlength=int(self.rows[-1]) + 1)


class Windows:
    """The rows of a split of running text, as the loop takes them: windows of `length` tokens.

    A window counts `stride` of its tokens, and the next one begins so much further on; of the
    others, which are context, those after what counts are as many as those before it
    (`both_sides`), or none. In training (no stride) all that is asked for counts.
    """

    def __init__(
        self, stream: Stream, length: int, stride: int | None = None, both_sides: bool = False
    ) -> None:
        n = len(stream.tokens)
        self.stream = stream
        self.length = min(length, n)
        step = min(stride or self.length, self.length)
        before = (self.length - step) // 2 if both_sides else self.length - step
        windows = 1 + -(-(n - self.length) // step)
        self.begins = np.minimum(np.arange(windows) * step, n - self.length)
        ends = np.append(self.begins[:-1] + before + step, n)
        self._counted = None if stride is None else (np.append(0, ends[:-1]), ends)

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def lengths(self) -> np.ndarray:
        return np.full(len(self), self.length)

    def batches(
        self, size: int, random: np.random.Generator, among: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        return similar_lengths(self.lengths, size, random, among)

    @contextmanager
    def cut_to(self, length: int) -> Iterator[None]:
        """Within the block a window is the first `length` of its tokens."""
        whole, self.length = self.length, min(length, self.length)
        try:
            yield
        finally:
            self.length = whole

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where in the stream the tokens of each row are: [B, L]."""
        return self.begins[rows, None] + np.arange(self.length)

    def asked(self, rows: np.ndarray) -> np.ndarray:
        """Which of them are asked for: [B, L], True or False."""
        places = self.places(rows)
        if self._counted is None:
            return np.ones(places.shape, dtype=bool)
        first, end = (bounds[rows, None] for bounds in self._counted)
        return (first <= places) & (places < end)

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch:
        raise NotImplementedError

    def _batch(
        self, rows: np.ndarray, read: np.ndarray, asked: np.ndarray, device: torch.device
    ) -> Batch:
        """`read`: the tokens that the model sees, [B, L]; `asked` as above."""
        return Batch(
            rows=rows,
            lengths=np.full(len(rows), self.length),
            tokens=send(read.ravel(), device),
            positions=send(np.tile(np.arange(self.length), len(rows)), device),
            segments=None,
            starts=send(np.arange(len(rows)) * self.length, device),
            places=None,
            labels=send(self.stream.tokens[self.places(rows)[asked]], device),
            highest_token=int(read.max()),
            chosen=None if asked.all() else send(np.flatnonzero(asked), device),
        )


class Following(Windows):
    """Each token is asked for after those before it: what is read is the stream one token late,
    after a line's end."""

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch:
        places = self.places(rows)
        read = np.where(places > 0, self.stream.tokens[places - 1], self.stream.line_end)
        return self._batch(rows, read, self.asked(rows), device)


class Masked(Windows):
    """15 % of the tokens are asked for, drawn anew for each batch; of these 80 % show as `mask`,
    10 % as any token and 10 % as themselves (Devlin et al. 2019)."""

    def __init__(self, stream: Stream, length: int, mask: int, vocabulary: int) -> None:
        super().__init__(stream, length)
        self._mask, self._vocabulary = mask, vocabulary
        self._batches = 0

    def state(self) -> dict[str, torch.Tensor]:
        return {"batches": torch.tensor(self._batches)}

    def resume(self, state: dict[str, torch.Tensor]) -> None:
        self._batches = int(state["batches"])

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch:
        self._batches += 1
        # The order of rows comes from the run's seed; the count tells epochs apart.
        random = np.random.Generator(np.random.SFC64([self._batches, *rows.tolist()]))
        read = self.stream.tokens[self.places(rows)]
        asked = random.random(read.shape) < 0.15
        if not asked.any():
            asked[0, 0] = True
        fate = random.random(read.shape)
        others = random.integers(self._vocabulary, size=read.shape)
        read = np.where(asked & (fate < 0.8), self._mask, read)
        read = np.where(asked & (fate >= 0.9), others, read)
        return self._batch(rows, read, asked, device)


class MaskedInTurn(Windows):
    """Each token is asked for once: row i is window i // `passes`, in which one token in `passes`
    shows as `mask`, those at the places that leave the remainder i % `passes`."""

    def __init__(self, stream: Stream, length: int, stride: int, mask: int, passes: int) -> None:
        super().__init__(stream, length, stride, both_sides=True)
        self._mask, self._passes = mask, passes
        self.begins = np.repeat(self.begins, passes)
        if self._counted is not None:
            first, end = self._counted
            self._counted = np.repeat(first, passes), np.repeat(end, passes)

    def _hidden(self, rows: np.ndarray) -> np.ndarray:
        return self.places(rows) % self._passes == (rows % self._passes)[:, None]

    def asked(self, rows: np.ndarray) -> np.ndarray:
        return super().asked(rows) & self._hidden(rows)

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch:
        read = np.where(self._hidden(rows), self._mask, self.stream.tokens[self.places(rows)])
        return self._batch(rows, read, self.asked(rows), device)


def nats(
    model: LanguageModel, windows: Windows, chosen: np.ndarray | None = None
) -> np.ndarray:  # [N], float64
    """What each token of the stream costs; 0 where only `chosen` rows are read and none counts
    it."""
    chosen = np.arange(len(windows)) if chosen is None else chosen
    passes = []
    model.begin_evaluation()
    with torch.inference_mode():
        for some in parallel.mine(by_length(windows.lengths[chosen], MOST_TOKENS)):
            rows = chosen[some]
            batch = windows.batch(rows, model.device)
            assert batch.labels is not None
            cost = model.nats(model.outputs(batch, None), batch.labels)
            passes.append((windows.places(rows)[windows.asked(rows)], cost))
    places, found = zip(*parallel.gathered(passes), strict=True)
    all_nats = np.zeros(len(windows.stream.tokens))
    all_nats[np.concatenate(places)] = torch.cat(found).cpu().numpy()
    return all_nats
