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
    """Updates `parameters` and the touched prefix of `table`; biases and norms don't decay."""

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
        if table is not None:
            self._table_mean = torch.zeros_like(table.rows)
            self._table_square = torch.zeros_like(table.rows)
        self._steps = [torch.zeros((), device=parameters.master.device) for _ in range(3)]

    def state(self) -> dict[str, Tensor]:
        """What it remembers of the steps so far, by name: writing to one changes it."""
        found = {"mean": self._mean, "square": self._square}
        if self._table is not None:
            found |= {"table_mean": self._table_mean, "table_square": self._table_square}
        return found | {f"steps.{i}": steps for i, steps in enumerate(self._steps)}

    def move(self, parameters: Parameters, carry: Callable[[Tensor, Tensor], None]) -> None:
        """Go on with other weights: `carry` copies a buffer of those of before into one of
        theirs."""
        mean, square = torch.zeros_like(parameters.master), torch.zeros_like(parameters.master)
        carry(self._mean, mean)
        carry(self._square, square)
        self._parameters, self._mean, self._square = parameters, mean, square

    def step(self, learning_rate: float, clip_norm: float) -> None:
        """Update with the gradients of the last backward pass, clipped to `clip_norm` if not 0."""
        flat, n = self._parameters, self._parameters.decayed
        flat.end_step()
        decayed = [(flat.master[:n], flat.grad[:n], self._mean[:n], self._square[:n])]
        others = [(flat.master[n:], flat.grad[n:], self._mean[n:], self._square[n:])]
        grads = [flat.grad]
        if (table := self._table) is not None:
            grad = table.collect()
            grads.append(grad.view(-1))
            prefix = slice(0, table.touched)
            mean, square = self._table_mean[prefix], self._table_square[prefix]
            decayed.append((table.rows[prefix], grad, mean, square))
            table.decay_others(1 - learning_rate * self.weight_decay)
        too_long = excess(grads, clip_norm) if clip_norm else None
        self._update(decayed, self._steps[: len(decayed)], learning_rate, too_long, True)
        self._update(others, self._steps[2:], learning_rate, too_long, False)

    def _update(
        self,
        parts: list[tuple[Tensor, Tensor, Tensor, Tensor]],
        steps: list[Tensor],
        learning_rate: float,
        too_long: Tensor | None,
        decay: bool,
    ) -> None:
        parts = [part for part in parts if part[0].numel()]
        weights, grads, means, squares = (list(column) for column in zip(*parts, strict=True))
        adamw(
            weights, grads, means, squares, [], steps[: len(parts)],
            fused=True, grad_scale=too_long, amsgrad=False, beta1=BETA1, beta2=self._beta2,
            lr=learning_rate, weight_decay=self.weight_decay if decay else 0.0, eps=EPSILON,
            maximize=False,
        )  # fmt: skip


def excess(grads: list[Tensor], clip_norm: float) -> Tensor | None:
    """What the gradients must be divided by to be no longer than `clip_norm`; None: nothing."""
    square = torch.stack([torch.dot(g, g) for g in grads]).sum()
    scale = (square.sqrt() / clip_norm).clamp(min=1.0)
    if scale.device.type == "cpu" and scale.item() == 1.0:  # on a GPU, reading it would wait
        return None
    return scale
