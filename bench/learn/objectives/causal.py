"""Each token of running text after those before it (GPT-2): the nats of a line are a probability,
so that exp(nats / words) is the text's perplexity per word, whatever the tokens are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from tokenizers import Tokenizer
from torch import Tensor

from bench.errors import UsageError
from bench.learn import tokenize
from bench.learn.batches import Batch, means
from bench.learn.data import Predictions, TaskFolder
from bench.learn.model import LanguageModel
from bench.learn.objectives import Keeps, Outputs
from bench.learn.windows import Following, Stream, Windows, nats


class Objective:
    outputs = Outputs("word", 0)
    metric: ClassVar[str] = "perplexity"
    keeps: ClassVar[Keeps] = "all"

    def __init__(self, task: TaskFolder, recipe: Any) -> None:
        self._task, self._recipe = task, recipe

    def texts(self) -> Sequence[str]:
        return [text for (text,) in self._task.train.inputs]

    def encode(self, tokenizer: Tokenizer, max_length: int) -> dict[str, Windows]:
        """Tune is read in windows that don't overlap; of the scored text, a window counts `stride`
        tokens, for which the others are context."""
        if not tokenize.loses_nothing(tokenizer):
            raise UsageError(
                "this checkpoint's tokenizer loses a part of the text (capitals, spaces, unknown "
                "characters), so its perplexity would be that of another text",
                "--scratch trains a byte-level one",
            )
        stride = min(self._recipe.stride or -(-max_length // 2), max_length)
        train, tune, scored = (
            Stream.of(tokenizer, [text for (text,) in inputs])
            for inputs in (self._task.train.inputs, self._task.tune.inputs, self._task.scored)
        )
        return {
            "train": self._train(train, max_length, tokenizer),
            "tune": self._read(tune, max_length, max_length, tokenizer),
            "scored": self._read(scored, max_length, stride, tokenizer),
        }

    def _train(self, stream: Stream, length: int, tokenizer: Tokenizer) -> Windows:
        return Following(stream, length)

    def _read(self, stream: Stream, length: int, stride: int, tokenizer: Tokenizer) -> Windows:
        return Following(stream, length, stride)

    def loss(self, model: LanguageModel, batch: Batch, outputs: Tensor) -> Tensor:
        assert batch.labels is not None
        return model.mean_nats(outputs, batch.labels)

    def losses(self, model: LanguageModel, batch: Batch, outputs: Tensor) -> Tensor:
        """The mean over what is asked for in a window."""
        assert batch.labels is not None
        return means(model.nats(outputs, batch.labels), batch.starts, batch.chosen)

    def evaluate(self, model: LanguageModel, rows: Windows) -> tuple[str, float]:
        words = sum(map(int, self._task.tune.labels))
        return self.metric, math.exp(min(nats(model, rows).sum() / words, 700.0))

    def predict(
        self, model: LanguageModel, rows: Windows, chosen: np.ndarray | None = None
    ) -> Predictions:
        """The nats of each row of the text; with `chosen`, what some windows of it count."""
        return Predictions(rows.stream.per_row(nats(model, rows, chosen)).tolist(), None)
