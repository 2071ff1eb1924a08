"""What layers that don't learn give for each token of a split, computed once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bench.learn.batches import Batch, Packed


class Recall:
    """Takes the place of those layers, which must compute the same for a text whenever it comes:
    nothing in them learns or is dropped. What a text gives is [tokens, width], or if only its first
    token is read [1, width]."""

    def __init__(
        self, rows: Packed, width: int, dtype: torch.dtype, device: torch.device, per_text: bool
    ) -> None:
        self._rows, self._per_text = rows, per_text
        kept = len(rows.starts) - 1 if per_text else len(rows.tokens)
        self._values = torch.empty(kept, width, dtype=dtype, device=device)
        self._known = np.zeros(kept, dtype=bool)
        self._asked = self._recalled = 0

    @staticmethod
    def bytes_of(rows: Packed, width: int, dtype: torch.dtype, per_text: bool) -> int:
        """What it takes of memory once it knows all rows."""
        return (len(rows.starts) - 1 if per_text else len(rows.tokens)) * width * dtype.itemsize

    @property
    def bytes(self) -> int:
        """What is in memory by now."""
        width = self._values.shape[1]
        return int(self._known.sum()) * width * self._values.dtype.itemsize

    @property
    def share(self) -> float:
        """Of what was asked for, how much was not computed again."""
        return self._recalled / max(1, self._asked)

    def __call__(self, batch: Batch, compute: Callable[[], Tensor]) -> Tensor:
        """[T, width], or [B, width] a text."""
        tokens, lengths, firsts = self._rows.places_of(batch.rows)
        if not np.array_equal(lengths, batch.lengths):  # texts that were cut for this step
            return compute()
        places = tokens
        if self._per_text:
            places = np.searchsorted(self._rows.starts, tokens[firsts])
        index = torch.from_numpy(places).to(self._values.device, non_blocking=True)
        self._asked += len(places)
        if self._known[places].all():
            self._recalled += len(places)
            return self._values.index_select(0, index)
        found = compute()
        self._values.index_copy_(0, index, found)
        self._known[places] = True
        return found
