"""One tag a word: cross-entropy at the first piece of each word, of words parted by spaces.

The other pieces of a word are read and bear no loss. A tokenizer from scratch keeps capitals,
which names are known by; a checkpoint's does what it was made for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from bench.learn.batches import Batch, Packed, means
from bench.learn.data import Predictions, TaskFolder
from bench.learn.evaluate import on_tune, token_classes
from bench.learn.model import Model
from bench.learn.objectives import Keeps, Outputs
from bench.learn.tokenize import encode_words
from bench.metrics.spans import spans


class Objective:
    keeps: ClassVar[Keeps] = "capitals"

    def __init__(self, task: TaskFolder, recipe: Any) -> None:
        spans(task.classes)  # what the metric can't read is better known before the training
        self._task = task
        self.outputs = Outputs("token", len(task.classes))
        self.warnings: list[tuple[str, str]] = []

    def texts(self) -> Sequence[str]:
        return [text for (text,) in self._task.train.inputs]

    def encode(self, tokenizer: Tokenizer, max_length: int) -> dict[str, Packed]:
        task = self._task
        number = {tag: i for i, tag in enumerate(task.classes)}
        splits = {}
        for split, rows in (("train", task.train), ("tune", task.tune)):
            marks = [[number[tag] for tag in label.split(" ")] for label in rows.labels]
            texts = [text for (text,) in rows.inputs]
            splits[split] = encode_words(tokenizer, texts, marks, max_length)
        texts = [text for (text,) in task.scored]
        unknown = [[0] * _words(text) for text in texts]
        splits["scored"] = encode_words(tokenizer, texts, unknown, max_length)
        self._warn_of_cut_words(splits["scored"], max_length)
        return splits

    def _warn_of_cut_words(self, scored: Packed, max_length: int) -> None:
        assert scored.marks is not None
        words = sum(_words(text) for (text,) in self._task.scored)
        if cut := words - int((scored.marks >= 0).sum()):
            message = (
                f"{cut:,} of {words:,} words to be tagged lie beyond max_length={max_length} "
                "tokens of their text: they are predicted O"
            )
            self.warnings.append(("words-cut", message))

    def loss(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        assert batch.marks is not None
        return F.cross_entropy(outputs, batch.marks, ignore_index=-1)

    def losses(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        """The mean over a text's words."""
        assert batch.marks is not None
        bears = torch.nonzero(batch.marks >= 0)[:, 0]
        each = F.cross_entropy(outputs[bears], batch.marks[bears], reduction="none")
        return means(each, batch.starts, bears)

    def evaluate(self, model: Model, rows: Packed) -> tuple[str, float]:
        return on_tune(self._task, self._tags(model, rows, self._task.tune.inputs))

    def predict(self, model: Model, rows: Packed, chosen: np.ndarray | None = None) -> Predictions:
        inputs = self._task.scored
        if chosen is not None:
            inputs = [inputs[i] for i in chosen]
        return Predictions(self._tags(model, rows, inputs, chosen), None)

    def _tags(
        self,
        model: Model,
        rows: Packed,
        inputs: Sequence[tuple[str, ...]],
        chosen: np.ndarray | None = None,
    ) -> list[str]:
        """The tags of the texts `inputs`, which are the chosen rows."""
        assert rows.marks is not None
        marks = np.split(rows.marks, rows.starts[1:-1])
        places = range(len(rows)) if chosen is None else chosen
        found = []
        for place, numbers, (text,) in zip(
            places, token_classes(model, rows, chosen), inputs, strict=True
        ):
            tags = [self._task.classes[i] for i in numbers[marks[place] >= 0]]
            found.append(" ".join([*tags, *["O"] * (_words(text) - len(tags))]))
        return found


def _words(text: str) -> int:
    return text.count(" ") + 1
