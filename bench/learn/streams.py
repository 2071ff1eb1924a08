"""Running text in parallel streams, read in blocks from either end, without padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from bench.learn.batches import Batch, send
from bench.learn.words import END


class Streams:
    """`count` stretches of one text, of equal length, that a batch reads side by side.

    Block k of a stream is its words from `k * block` on when read forward, and from its end when
    read backward: a model goes on in both directions where it was at the end of the last block
    (`Batch.carried`). Row `k * count + s` is block k of stream s. Streams overlap by a few words
    where the text can't be divided.
    """

    def __init__(self, tokens: np.ndarray, targets: np.ndarray, count: int, block: int) -> None:
        """`targets`: what a model of words calls each of `tokens`."""
        words = len(tokens)
        self.count = min(count, words)
        self.length = -(-words // self.count)
        self.block = min(block, self.length)
        self._firsts = np.linspace(0, words - self.length, self.count).astype(np.int64)
        self._targets = targets
        self._around = np.concatenate([[END], tokens, [END]])
        self._carried: dict[str, Any] = {}

    @property
    def words(self) -> int:
        return len(self._targets)

    def __len__(self) -> int:
        return -(-self.length // self.block) * self.count

    @property
    def lengths(self) -> np.ndarray:
        begins = np.arange(0, self.length, self.block)
        return np.repeat(np.minimum(self.block, self.length - begins), self.count)

    def batches(
        self, size: int = 0, random: np.random.Generator | None = None
    ) -> Iterator[np.ndarray]:
        """Blocks in order, of all streams at once: `size` and chance have no say in it."""
        return iter(np.arange(len(self)).reshape(-1, self.count))

    def state(self) -> dict[str, torch.Tensor]:
        """What a model left at the end of the last block."""
        each = {name: dict(zip("hc", pair, strict=True)) for name, pair in self._carried.items()}
        return {f"{name}.{part}": t for name, pair in each.items() for part, t in pair.items()}

    def resume(self, state: dict[str, torch.Tensor]) -> None:
        names = {name.rpartition(".")[0] for name in state}
        self._carried = {name: (state[f"{name}.h"], state[f"{name}.c"]) for name in names}

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Which words are predicted, in the order of reading: [2, B, L], forward and backward."""
        block, streams = rows[0] // self.count, rows % self.count
        steps = np.arange(self.block * block, min(self.block * (block + 1), self.length))
        firsts = self._firsts[streams, None]
        return np.stack([firsts + steps, firsts + self.length - 1 - steps])

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch:
        """2 B texts of L words, B forward and B backward, each word being what was read just before
        the one that `labels` [2 B L] asks for."""
        places = self.places(rows)
        read = self._around[places + np.array([0, 2])[:, None, None]]
        if rows[0] < self.count:
            self._carried = {}
        texts, length = 2 * len(rows), places.shape[2]
        positions = np.tile(np.arange(length), texts)
        return Batch(
            rows=rows,
            lengths=np.full(texts, length),
            tokens=send(read.ravel(), device),
            positions=send(positions, device),
            segments=None,
            starts=send(np.arange(texts) * length, device),
            places=None,
            labels=send(self._targets[places].ravel(), device),
            highest_token=int(read.max()),
            carried=self._carried,
            directions=2,
        )
