"""One class a text, or a pair of texts: cross-entropy over all classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from bench.learn.batches import Batch, Packed
from bench.learn.data import Predictions, TaskFolder
from bench.learn.evaluate import on_tune, probabilities
from bench.learn.model import Model
from bench.learn.objectives import Outputs
from bench.learn.tokenize import encode


class Objective:
    def __init__(self, task: TaskFolder, recipe: Any) -> None:
        self._task = task
        self.outputs = Outputs("text", len(task.classes))

    def texts(self) -> Sequence[str]:
        return [text for texts in self._task.train.inputs for text in texts]

    def encode(self, tokenizer: Tokenizer, max_length: int) -> dict[str, Packed]:
        task = self._task
        number = {name: i for i, name in enumerate(task.classes)}
        train, tune = (
            encode(tokenizer, rows.inputs, [number[label] for label in rows.labels], max_length)
            for rows in (task.train, task.tune)
        )
        scored = encode(tokenizer, task.scored, None, max_length)
        return {"train": train, "tune": tune, "scored": scored}

    def loss(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        assert batch.labels is not None
        return F.cross_entropy(outputs, batch.labels)

    def logits(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        return outputs

    def evaluate(self, model: Model, rows: Packed) -> tuple[str, float]:
        return on_tune(self._task, self.predict(model, rows).labels)

    def predict(self, model: Model, rows: Packed, chosen: np.ndarray | None = None) -> Predictions:
        scores = probabilities(model, rows, chosen)
        return Predictions([self._task.classes[i] for i in scores.argmax(1)], list(scores))
