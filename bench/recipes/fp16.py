"""Products and activations in float16; weights, moments and updates stay in float32.

Gradients below 6e-8 are zero in float16, so the loss is multiplied by a factor before the backward
pass, and the update divides by it. Where that makes a gradient too large the step is left out and
the factor halved; after many steps without that it is doubled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import BenchError
from bench.recipes import baseline, setting

if TYPE_CHECKING:
    from torch import Tensor

    from bench.learn.loop import Training

LEAST = 2.0**-10
"""A factor below which the gradients are too large for float16, or not numbers, by themselves."""


@dataclass
class Recipe(baseline.Recipe):
    """The weights are cast once a step; the embedding's rows as they are looked up."""

    summary: ClassVar[str] = "products and activations in float16, with dynamic loss scaling"
    paper: ClassVar[str] = "https://arxiv.org/abs/1710.03740"
    precision: ClassVar[str] = "float16"
    place: ClassVar[int] = 80
    refuses: ClassVar[dict[str, str]] = {"bf16": "products have one precision"}

    loss_scale: float = setting(65536.0, "what the loss is multiplied by at first", low=1)
    scale_doubles_after: int = setting(2000, "steps without an overflow", low=1)

    def prepare(self, training: Training) -> None:
        super().prepare(training)
        self._scale, self._since, self._skipped = self.loss_scale, 0, 0

    def backward(self, training: Training, loss: Tensor) -> None:
        super().backward(training, loss * self._scale)

    def update(self, training: Training, rate: float) -> None:
        """Leave the step out where a gradient is not finite."""
        if not training.optimizer.step(rate, self.clip_norm, self._scale):
            self._skipped, self._since, self._scale = self._skipped + 1, 0, self._scale / 2
            if self._scale < LEAST:
                raise BenchError(
                    f"gradients are too large for float16 at step {training.step}",
                    "--recipe bf16 has the range of float32",
                )
            return
        self._since += 1
        if self._since == self.scale_doubles_after:
            self._since, self._scale = 0, min(2 * self._scale, math.ldexp(1.0, 24))

    def facts(self, training: Training) -> dict[str, Any]:
        done = {"skipped_steps": self._skipped, "loss_scale": self._scale}
        return super().facts(training) | done

    def state(self, training: Training) -> dict[str, Tensor]:
        import torch

        kept = torch.tensor([self._scale, self._since, self._skipped], dtype=torch.float64)
        return super().state(training) | {"fp16": kept}

    def resume(self, training: Training, state: dict[str, Tensor]) -> None:
        super().resume(training, state)
        scale, since, skipped = state["fp16"].tolist()
        self._scale, self._since, self._skipped = scale, int(since), int(skipped)
