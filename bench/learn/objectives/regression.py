"""One number a text, or a pair of texts: the mean square error of standardised targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from bench.learn.batches import Batch, Packed
from bench.learn.data import Predictions, TaskFolder
from bench.learn.evaluate import on_tune
from bench.learn.evaluate import outputs as outputs_of
from bench.learn.model import Model
from bench.learn.objectives import Outputs
from bench.learn.tokenize import encode


class Objective:
    outputs = Outputs("text", 1)

    def __init__(self, task: TaskFolder, recipe: Any) -> None:
        self._task = task
        train = np.array(task.train.labels, dtype=np.float64)
        self._mean, self._deviation = float(train.mean()), float(train.std()) or 1.0

    def texts(self) -> Sequence[str]:
        return [text for texts in self._task.train.inputs for text in texts]

    def encode(self, tokenizer: Tokenizer, max_length: int) -> dict[str, Packed]:
        task = self._task
        train, tune = (
            encode(tokenizer, rows.inputs, self._standardised(rows.labels), max_length)
            for rows in (task.train, task.tune)
        )
        scored = encode(tokenizer, task.scored, None, max_length)
        return {"train": train, "tune": tune, "scored": scored}

    def _standardised(self, labels: Sequence[str]) -> np.ndarray:
        return (np.array(labels, dtype=np.float64) - self._mean) / self._deviation

    def loss(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        assert batch.labels is not None
        return F.mse_loss(outputs[:, 0], batch.labels)

    def losses(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        assert batch.labels is not None
        return (outputs[:, 0] - batch.labels).square()

    def evaluate(self, model: Model, rows: Packed) -> tuple[str, float]:
        return on_tune(self._task, self.predict(model, rows).labels)

    def predict(self, model: Model, rows: Packed, chosen: np.ndarray | None = None) -> Predictions:
        found = outputs_of(model, rows, chosen)[:, 0].astype(np.float64)
        return Predictions((found * self._deviation + self._mean).tolist(), None)
