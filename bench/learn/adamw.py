"""Dense AdamW (Loshchilov and Hutter 2019) over flat buffers, three passes a step at most."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from bench.learn.embedding import Table
from bench.learn.parameters import Parameters

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class AdamW:
    """Updates what learns of `parameters` and the touched prefix of `table`; biases and norms don't
    decay. What begins to learn later has its own count of steps."""

    def __init__(
        self,
        parameters: Parameters,
        table: Table | None,
        weight_decay: float,
        beta2: float = BETA2,
    ) -> None:
        self._parameters, self._table = parameters, table
        self.weight_decay, self._beta2 = weight_decay, beta2
        self._mean = torch.zeros_like(parameters.master)
        self._square = torch.zeros_like(parameters.master)
        self._steps: list[Tensor] = []  # made, one a stretch that learns
        if table is not None:
            self._table_mean = torch.zeros_like(table.rows)
            self._table_square = torch.zeros_like(table.rows)
            self._table_steps = torch.zeros((), device=table.rows.device)

    def _stretches(self) -> list[tuple[slice, Tensor]]:
        """What learns by now, with the count of its steps."""
        flat = self._parameters
        while len(self._steps) < len(flat.learning):
            self._steps.append(torch.zeros((), device=flat.master.device))
        return list(zip(flat.learning, self._steps, strict=True))

    def state(self) -> dict[str, Tensor]:
        """What it remembers of the steps so far, by name: writing to one changes it."""
        found = {"mean": self._mean, "square": self._square}
        if self._table is not None:
            found |= {"table_mean": self._table_mean, "table_square": self._table_square}
            found["steps.table"] = self._table_steps
        return found | {f"steps.{i}": steps for i, (_, steps) in enumerate(self._stretches())}

    def move(self, parameters: Parameters, carry: Callable[[Tensor, Tensor], None]) -> None:
        """Go on with other weights: `carry` copies a buffer of those of before into one of
        theirs."""
        mean, square = torch.zeros_like(parameters.master), torch.zeros_like(parameters.master)
        carry(self._mean, mean)
        carry(self._square, square)
        self._parameters, self._mean, self._square = parameters, mean, square

    def step(self, learning_rate: float, clip_norm: float, scale: float | None = None) -> bool:
        """Update with the gradients of the last backward pass, clipped to `clip_norm` if not 0.

        `scale` is what the loss was multiplied by. Where one is given and a gradient is not finite,
        nothing is changed, and this is False.
        """
        flat = self._parameters
        table = self._table if self._table is not None and self._table.learns else None
        flat.end_step()
        grads = [flat.grad[part] for part in flat.learning]
        if table is not None:
            grads.append(table.collect().view(-1))
        length = _length(grads) if clip_norm or scale is not None else None
        if scale is not None and length is not None and not length.isfinite():
            return False  # to know that waits for a GPU
        divisor = _divisor(length, clip_norm, scale)
        decayed: list[tuple[Tensor, ...]] = []
        others: list[tuple[Tensor, ...]] = []
        buffers = (flat.master, flat.grad, self._mean, self._square)
        for stretch, steps in self._stretches():
            group = decayed if stretch.stop <= flat.decayed else others
            group.append((*(buffer[stretch] for buffer in buffers), steps))
        if table is not None:
            wholes = (table.rows, self._table_mean, self._table_square)
            rows, mean, square = parts = [whole[table.collected] for whole in wholes]
            decayed.append((rows, grads[-1].view_as(rows), mean, square, self._table_steps))
            table.decay_others(1 - learning_rate * self.weight_decay)
        self._update(decayed, learning_rate, divisor, self.weight_decay)
        self._update(others, learning_rate, divisor, 0.0)
        if table is not None and isinstance(table.collected, Tensor):  # not views, but copies
            for whole, part in zip(wholes, parts, strict=True):
                whole[table.collected] = part
        return True

    def _update(
        self,
        parts: list[tuple[Tensor, ...]],  # weights, gradients, means, squares, steps
        learning_rate: float,
        divisor: Tensor | None,
        decay: float,
    ) -> None:
        parts = [part for part in parts if part[0].numel()]
        if not parts:
            return
        weights, grads, means, squares, steps = map(list, zip(*parts, strict=True))
        adamw(
            weights, grads, means, squares, [], steps,
            fused=True, grad_scale=divisor, amsgrad=False, beta1=BETA1, beta2=self._beta2,
            lr=learning_rate, weight_decay=decay, eps=EPSILON, maximize=False,
        )  # fmt: skip


def _length(grads: list[Tensor]) -> Tensor:
    """The norm of all of them together."""
    return torch.stack([torch.dot(g, g) for g in grads]).sum().sqrt()


def _divisor(length: Tensor | None, clip_norm: float, scale: float | None) -> Tensor | None:
    """What gradients of this length are divided by to be as if without the scale of the loss, and
    no longer than `clip_norm`; None: nothing."""
    if length is None:
        return None
    least = 1.0 if scale is None else scale
    divisor = (length / clip_norm).clamp(min=least) if clip_norm else length.new_full((), least)
    if divisor.device.type == "cpu" and divisor.item() == 1.0:  # on a GPU, reading it would wait
        return None
    return divisor
