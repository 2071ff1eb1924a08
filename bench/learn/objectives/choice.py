"""One of several completions: each choice is a text pair with its context and gets one number;
softmax over the choices of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from bench.learn.batches import Batch, Packed
from bench.learn.completions import read
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

    def texts(self) -> Sequence[str]:
        rows = (read(self._task, texts) for texts in self._task.train.inputs)
        return [text for context, choices in rows for text in (context, *choices)]

    def encode(self, tokenizer: Tokenizer, max_length: int) -> dict[str, Packed]:
        task = self._task
        return {
            "train": self._pairs(tokenizer, task.train.inputs, task.train.labels, max_length),
            "tune": self._pairs(tokenizer, task.tune.inputs, task.tune.labels, max_length),
            "scored": self._pairs(tokenizer, task.scored, None, max_length),
        }

    def _pairs(
        self,
        tokenizer: Tokenizer,
        inputs: Sequence[tuple[str, ...]],
        labels: Sequence[str] | None,
        max_length: int,
    ) -> Packed:
        rows = (read(self._task, texts) for texts in inputs)
        pairs = [(context, choice) for context, choices in rows for choice in choices]
        packed = encode(tokenizer, pairs, None, max_length)
        packed.group = len(self._task.choices)
        if labels is not None:
            packed.labels = np.array([self._task.classes.index(label) for label in labels])
        return packed

    def loss(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        assert batch.labels is not None
        return F.cross_entropy(self.logits(model, batch, outputs), batch.labels)

    def logits(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        return outputs.view(len(batch.rows), -1)

    def evaluate(self, model: Model, rows: Packed) -> tuple[str, float]:
        return on_tune(self._task, self.predict(model, rows).labels)

    def predict(self, model: Model, rows: Packed, chosen: np.ndarray | None = None) -> Predictions:
        scores = torch.softmax(torch.from_numpy(outputs_of(model, rows, chosen)), -1).numpy()
        return Predictions([self._task.classes[i] for i in scores.argmax(1)], list(scores))
