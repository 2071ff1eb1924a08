"""Float32, dense AdamW, batches of similar length: the arithmetic that others are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.recipes import setting

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from bench.learn.batches import Batch, Rows
    from bench.learn.loop import Training


@dataclass
class Recipe:
    """The hooks, in the order in which the loop calls them. Others inherit and override some."""

    summary: ClassVar[str] = "float32, dense AdamW, batches of similar length without padding"
    charges: ClassVar[str] = "preparation, training, evaluation, prediction"
    paper: ClassVar[str] = "https://arxiv.org/abs/1711.05101"
    precision: ClassVar[str] = "float32"  # of activations and products; or "bfloat16"

    epochs: float = setting(None, "passes over the training split", above=0)
    batch_size: int = setting(None, "examples a step", low=1)
    learning_rate: float = setting(None, "the highest rate", above=0)
    warmup_share: float = setting(0.06, "share of steps with a rising rate", low=0, high=1)
    weight_decay: float = setting(0.01, "AdamW's, on matrices", low=0)
    dropout: float = setting(0.1, "rate after embeddings and blocks", low=0, high=0.9)
    clip_norm: float = setting(1.0, "largest norm of the gradient; 0: no limit", low=0)
    max_length: int = setting(128, "tokens of a text; the rest is cut off", low=4)
    vocabulary_size: int = setting(8000, "entries of a trained tokenizer", low=200)
    evaluations: int = setting(3, "times that tune is scored while training", low=0)

    @classmethod
    def preset(cls, model: str) -> dict[str, Any]:
        """What this model wants where nothing is said."""
        from bench.learn import models

        return models.describe(model)["settings"]

    def prepare(self, training: Training) -> None:
        """Before the first step: change the model, train a teacher, choose rows."""

    def batches(self, rows: Rows, epoch: int, random: np.random.Generator) -> Iterator[np.ndarray]:
        """One epoch's batches, each an array of row numbers."""
        return rows.batches(self.batch_size, random)

    def rate(self, step: int, total_steps: int) -> float:
        """The learning rate of a step (from 0): a linear rise, then a linear fall to zero."""
        warmup = round(self.warmup_share * total_steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * (total_steps - step) / max(1, total_steps - warmup)

    def loss(self, training: Training, batch: Batch, outputs: Tensor) -> Tensor:
        """The mean loss of a batch, of what the model returned for it."""
        return training.objective.loss(training.model, batch, outputs)

    def after_step(self, training: Training) -> bool:
        """After each update; True ends the training."""
        return False

    def finish(self, training: Training) -> None:
        """After the last step, before the prediction."""
