"""The last word of a passage, written token by token: each time the likeliest (LAMBADA).

Learned from passages, or pieces of novels, as a language is: each token after those before it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from torch import Tensor

from bench.learn import continuations
from bench.learn.batches import Batch, Packed, means
from bench.learn.continuations import Continuations
from bench.learn.data import Predictions, TaskFolder
from bench.learn.evaluate import on_tune
from bench.learn.evaluate import outputs as outputs_of
from bench.learn.model import LanguageModel
from bench.learn.objectives import Outputs

MOST_TOKENS = 8
"""Tokens that a word may have."""


class Objective:
    outputs = Outputs("word", 0)

    def __init__(self, task: TaskFolder, recipe: Any) -> None:
        self._task = task

    def texts(self) -> Sequence[str]:
        train = self._task.train
        return [
            f"{text} {word}".strip()
            for (text,), word in zip(train.inputs, train.labels, strict=True)
        ]

    def encode(self, tokenizer: Tokenizer, max_length: int) -> dict[str, Packed]:
        """Of a passage as much is read as leaves room for a word."""
        self._tokenizer = tokenizer
        most = max(1, max_length - MOST_TOKENS)
        tune, scored = (
            continuations.unfinished(
                continuations.beginnings(tokenizer, [text for (text,) in inputs], most)
            )
            for inputs in (self._task.tune.inputs, self._task.scored)
        )
        train = continuations.passages(tokenizer, self.texts(), max_length)
        return {"train": train, "tune": tune, "scored": scored}

    def loss(self, model: LanguageModel, batch: Batch, outputs: Tensor) -> Tensor:
        assert batch.marks is not None
        return model.mean_nats(outputs, batch.marks)

    def losses(self, model: LanguageModel, batch: Batch, outputs: Tensor) -> Tensor:
        """The mean over a passage's tokens."""
        assert batch.marks is not None
        return means(model.nats(outputs, batch.marks), batch.starts)

    def evaluate(self, model: LanguageModel, rows: Continuations) -> tuple[str, float]:
        return on_tune(self._task, self.predict(model, rows).labels)

    def predict(
        self, model: LanguageModel, rows: Continuations, chosen: np.ndarray | None = None
    ) -> Predictions:
        chosen = np.arange(len(rows)) if chosen is None else chosen
        texts = [rows.tokens[rows.starts[i] : rows.starts[i + 1]].tolist() for i in chosen]
        written = write(model, self._tokenizer, texts)
        return Predictions([first_word(text) for text in written], None)


def write(model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[list[int]]) -> list[str]:
    """How each text goes on, to the end of a word at least, or MOST_TOKENS far."""
    added: list[list[int]] = [[] for _ in texts]
    ongoing = list(range(len(texts)))
    for _ in range(MOST_TOKENS):
        rows = continuations.unfinished([[*texts[i], *added[i]] for i in ongoing])
        found = outputs_of(model, rows, None, lambda batch, out: model.likeliest(out))
        for i, token in zip(ongoing, found[:, 0].tolist(), strict=True):
            added[i].append(token)
        ongoing = [i for i in ongoing if not _is_over(tokenizer.decode(added[i]))]
        if not ongoing:
            break
    return [tokenizer.decode(tokens) for tokens in added]


def _is_over(text: str) -> bool:
    """Whether white space follows a word."""
    return re.search(r"\S\s", text) is not None


_MARKS = string.punctuation + "“”‘’«»…–—"


def first_word(text: str) -> str:
    """Without the punctuation marks around it, unless it is nothing else."""
    first = next(iter(text.split()), "")
    return first.strip(_MARKS) or first
