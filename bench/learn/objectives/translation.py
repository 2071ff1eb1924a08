"""A text from another: cross-entropy of the next token with smoothed labels, then beam search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from bench.errors import BenchError
from bench.learn import beam, pairs, parallel
from bench.learn.batches import Batch, by_length, means
from bench.learn.data import Predictions, TaskFolder
from bench.learn.objectives import Outputs
from bench.learn.pairs import Pairs
from bench.learn.tokenize import line_end
from bench.learn.translator import Translator
from bench.learn.vocabulary import mean_nats, nats

EVALUATED_TOKENS = 4096  # of both sides, in a batch


class Objective:
    outputs = Outputs("word", 0)
    evaluation_cost = 0.05  # one pass, where a search makes some twenty over four hypotheses

    def __init__(self, task: TaskFolder, recipe: Any) -> None:
        if len(task.columns) > 1:
            raise BenchError(f"{task.name} has {len(task.columns)} inputs; a translation has one")
        self._task, self._recipe = task, recipe

    def texts(self) -> Sequence[str]:
        train = self._task.train
        return [*(text for (text,) in train.inputs), *train.labels]

    def encode(self, tokenizer: Tokenizer, max_length: int) -> dict[str, Pairs]:
        self._tokenizer = tokenizer
        task, budget = self._task, self._recipe.batch_tokens
        return {
            "train": pairs.encode(
                tokenizer, task.train.inputs, task.train.labels, max_length, budget
            ),
            "tune": pairs.encode(tokenizer, task.tune.inputs, task.tune.labels, max_length, budget),
            "scored": pairs.encode(tokenizer, task.scored, None, max_length, budget),
        }

    def loss(self, model: Translator, batch: Batch, outputs: Tensor) -> Tensor:
        return _loss(model, batch, outputs, self._recipe.label_smoothing)

    def losses(self, model: Translator, batch: Batch, outputs: Tensor) -> Tensor:
        """The mean over a translation's tokens, without smoothing."""
        target = batch.target
        assert target is not None
        assert target.marks is not None
        each = nats(outputs, model.parameters["tokens"], None, target.marks)
        return means(each, target.starts)

    def evaluate(self, model: Translator, rows: Pairs) -> tuple[str, float]:
        """Perplexity per token, the right ones before it being given."""
        model.begin_evaluation()
        passes = []
        with torch.inference_mode():
            for chosen in parallel.mine(by_length(rows.lengths, EVALUATED_TOKENS)):
                batch = rows.batch(chosen, model.device)
                assert batch.target is not None
                mean = _loss(model, batch, model.outputs(batch, None), 0.0)
                tokens = len(batch.target.tokens)
                passes.append((float(mean) * tokens, tokens))
        total, tokens = map(sum, zip(*parallel.gathered(passes), strict=True))
        return "perplexity", math.exp(min(total / tokens, 700.0))

    def predict(
        self, model: Translator, rows: Pairs, chosen: np.ndarray | None = None
    ) -> Predictions:
        recipe = self._recipe
        search = beam.Search(recipe.beam_size, recipe.length_penalty, line_end(self._tokenizer))
        found = beam.translate(model, rows, search, chosen)
        return Predictions(self._tokenizer.decode_batch(found), None)


def _loss(model: Translator, batch: Batch, outputs: Tensor, smoothing: float) -> Tensor:
    assert batch.target is not None
    assert batch.target.marks is not None
    return mean_nats(outputs, model.parameters["tokens"], None, batch.target.marks, smoothing)
