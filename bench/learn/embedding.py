"""A table of embeddings that costs what the rows in use cost, with dense AdamW's arithmetic.

Rows are kept in order of first use in training, so the rows touched so far are a prefix. A row
beyond it has zero moments and no gradient: dense AdamW would only let it decay. That product of
factors is applied when the row is first touched, or when something else wants to read it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.learn.layers import row_sums


class Table:
    """`rows` is [vocabulary, width], float32, in order of first use."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self.touched = 0
        self.learns = True  # or is only looked up
        self._behind = 1.0  # the decay that the rows beyond `touched` have not had yet
        self._looked_up: list[tuple[Tensor, Tensor]] = []
        self._reduced: Tensor | None = None

    @property
    def collected(self) -> slice | Tensor:
        """The rows whose gradient `collect` gave."""
        return slice(0, self.touched)

    def touch(self, highest: int) -> None:
        """Let rows up to `highest` take part in updates from now on."""
        if highest >= self.touched:
            self.rows[self.touched : highest + 1].mul_(self._behind)
            self.touched = highest + 1

    def catch_up(self) -> None:
        """Apply all decay that is due, so that every row may be read."""
        if self._behind != 1.0:
            self.rows[self.touched :].mul_(self._behind)
            self._behind = 1.0

    def whole(self) -> Tensor:
        """A copy that had all decay that is due."""
        rows = self.rows.clone()
        rows[self.touched :].mul_(self._behind)
        return rows

    @property
    def progress(self) -> tuple[int, float]:
        """Rows touched, and the decay that the others have not had yet."""
        return self.touched, self._behind

    @progress.setter
    def progress(self, progress: tuple[int, float]) -> None:
        self.touched, self._behind = progress

    def decay_others(self, factor: float) -> None:
        """Note a step's decay of the rows beyond the touched ones."""
        self._behind *= factor

    def look_up(self, tokens: Tensor, training: bool) -> Tensor:
        """The rows of `tokens`, [T, width]; while training, their gradient is collected."""
        found = self.rows.index_select(0, tokens)
        if training and self.learns:
            self._looked_up.append((tokens, found.requires_grad_()))
        return found

    def reduce(self, add: Callable[[Tensor], object]) -> None:
        """After the backward pass: let `add` add to a gradient what other processes have of it,
        which have touched the same rows. `collect` then gives the sum."""
        grad = self._own()
        add(grad)
        self._reduced = grad

    def collect(self) -> Tensor:
        """After the backward pass: the gradient of the touched rows, [touched, width]."""
        grad, self._reduced = self._reduced, None
        return self._own() if grad is None else grad

    def _own(self) -> Tensor:
        """What the passes of this process gave."""
        grad = None
        for tokens, found in self._looked_up:
            if found.grad is not None:
                part = row_sums(found.grad, tokens, self.touched)
                grad = part if grad is None else grad.add_(part)
        self._looked_up.clear()
        return self.rows.new_zeros(self.touched, self.rows.shape[1]) if grad is None else grad


class SparseTable(Table):
    """A table of which a step changes the rows that it has looked up and no others: neither decay
    nor a moment moves them meanwhile."""

    collected: slice | Tensor = slice(0, 0)

    def touch(self, highest: int) -> None:
        """No row is behind."""

    def decay_others(self, factor: float) -> None:
        """They don't decay."""

    def reduce(self, add: Callable[[Tensor], object]) -> None:
        """The rows that any process has looked up."""
        grad = self._own()
        looked_up = self.rows.new_zeros(len(self.rows))
        looked_up[self.collected] = 1.0
        places = torch.arange(len(self.rows), device=self.rows.device)[self.collected]
        add(looked_up)
        self.collected = torch.nonzero(looked_up)[:, 0]
        whole = self.rows.new_zeros(len(self.collected), self.rows.shape[1])
        whole[torch.searchsorted(self.collected, places)] = grad
        add(whole)
        self._reduced = whole

    def _own(self) -> Tensor:
        """The gradient of the rows that were looked up, [rows, width]."""
        found = [(tokens, rows.grad) for tokens, rows in self._looked_up if rows.grad is not None]
        self._looked_up.clear()
        if not found:
            self.collected = slice(0, 0)
            return self.rows.new_zeros(0, self.rows.shape[1])
        tokens, grads = (torch.cat(column) for column in zip(*found, strict=True))
        distinct, places = torch.unique(tokens, return_inverse=True)
        self.collected = distinct
        return row_sums(grads, places, len(distinct))
