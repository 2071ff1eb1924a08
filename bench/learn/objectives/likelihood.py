"""One of several completions, by the mean log-likelihood of a choice's tokens after the context.

A model is zero-shot able to do it, and is trained for it as GPT was for multiple choice: softmax
over the choices' scores, plus half of the language-modelling loss, here of the right choice
(Radford et al. 2018, section 3.2; there a new head scores, here what predicts is what is trained).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from bench.learn import continuations
from bench.learn.batches import Batch
from bench.learn.completions import read
from bench.learn.continuations import Continuations, mean_nats
from bench.learn.data import Predictions, TaskFolder
from bench.learn.evaluate import on_tune
from bench.learn.evaluate import outputs as outputs_of
from bench.learn.model import LanguageModel
from bench.learn.objectives import Outputs

LANGUAGE_SHARE = 0.5


class Objective:
    outputs = Outputs("word", 0)

    def __init__(self, task: TaskFolder, recipe: Any) -> None:
        self._task = task

    def texts(self) -> Sequence[str]:
        rows = (read(self._task, texts) for texts in self._task.train.inputs)
        return [f"{context} {choice}" for context, choices in rows for choice in choices]

    def encode(self, tokenizer: Tokenizer, max_length: int) -> dict[str, Continuations]:
        task = self._task
        return {
            "train": self._rows(tokenizer, task.train.inputs, task.train.labels, max_length),
            "tune": self._rows(tokenizer, task.tune.inputs, task.tune.labels, max_length),
            "scored": self._rows(tokenizer, task.scored, None, max_length),
        }

    def _rows(
        self,
        tokenizer: Tokenizer,
        inputs: Sequence[tuple[str, ...]],
        labels: Sequence[str] | None,
        max_length: int,
    ) -> Continuations:
        rows = [read(self._task, texts) for texts in inputs]
        contexts = [context for context, choices in rows for _ in choices]
        endings = [choice for _, choices in rows for choice in choices]
        found = continuations.encode(tokenizer, contexts, endings, max_length)
        found.group = len(self._task.choices)
        if labels is not None:
            found.labels = np.array([self._task.classes.index(label) for label in labels])
        return found

    def loss(self, model: LanguageModel, batch: Batch, outputs: Tensor) -> Tensor:
        assert batch.labels is not None
        logits = self.logits(model, batch, outputs)
        language = -logits.gather(1, batch.labels[:, None]).mean()
        return F.cross_entropy(logits, batch.labels) + LANGUAGE_SHARE * language

    def logits(self, model: LanguageModel, batch: Batch, outputs: Tensor) -> Tensor:
        return -mean_nats(model, batch, outputs).view(len(batch.rows), -1)

    def evaluate(self, model: LanguageModel, rows: Continuations) -> tuple[str, float]:
        return on_tune(self._task, self.predict(model, rows).labels)

    def predict(
        self, model: LanguageModel, rows: Continuations, chosen: np.ndarray | None = None
    ) -> Predictions:
        nats = _nats(model, rows, chosen)
        scores = torch.softmax(torch.from_numpy(-nats), -1).numpy()
        return Predictions([self._task.classes[i] for i in nats.argmin(1)], list(scores))


def _nats(
    model: LanguageModel, rows: Continuations, chosen: np.ndarray | None = None
) -> np.ndarray:  # [rows, choices]
    return outputs_of(model, rows, chosen, lambda batch, out: mean_nats(model, batch, out))
