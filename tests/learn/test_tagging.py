"""Tags of words: where they are learned, where they are predicted, and what is cut off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.errors import BenchError
from bench.learn import tokenize
from bench.learn.data import Rows, TaskFolder
from bench.learn.objectives.tagging import Objective

TAGS = ["O", "B-x", "I-x"]
TRAIN = Rows([("Ada Li sleeps",), ("nobody sleeps",)], ["B-x I-x O", "O O"])
CPU = torch.device("cpu")


def task(scored: list[str], classes: list[str] = TAGS) -> TaskFolder:
    return TaskFolder(
        name="mine", version=1, family="tagging", kind="tags", inputs=["text"], choices=[],
        words={}, classes=classes, metric="span_f1", train=TRAIN, tune=TRAIN,
        scored=[(text,) for text in scored],
    )  # fmt: skip


class ByToken:
    """Gives each token the tag that `tag_of` has for it."""

    device = CPU

    def __init__(self, tag_of: dict[int, int]) -> None:
        self._tag_of = tag_of

    def begin_evaluation(self) -> None:
        pass

    def outputs(self, batch: Any, dropout: None) -> torch.Tensor:
        numbers = [self._tag_of.get(int(t), 2) for t in batch.tokens]
        return F.one_hot(torch.tensor(numbers), len(TAGS)).float()


@pytest.fixture
def tokenizer() -> Any:
    return tokenize.train(["Ada Li sleeps nobody"] * 3, 200, cased=True)


def by_token(tokenizer: Any, **tags: str) -> ByToken:
    return ByToken({tokenizer.token_to_id(w): TAGS.index(tag) for w, tag in tags.items()})


KNOWN = {"Ada": "B-x", "Li": "I-x", "sleeps": "O", "nobody": "O"}


def test_each_word_has_the_tag_of_its_first_piece(tokenizer: Any) -> None:
    texts = ["Ada Li sleeps", "nobody", "sleeps Ada", "Adasleeps Ada"]
    objective = Objective(task(texts), None)
    rows = objective.encode(tokenizer, 32)["scored"]
    model = by_token(tokenizer, **KNOWN)
    assert objective.predict(model, rows).labels == ["B-x I-x O", "O", "O B-x", "B-x B-x"]
    chosen = np.array([2, 0])
    assert objective.predict(model, rows, chosen).labels == ["O B-x", "B-x I-x O"]
    assert objective.warnings == []


def test_words_that_are_cut_off_are_o_and_counted(tokenizer: Any) -> None:
    objective = Objective(task(["Ada Li Ada Ada", "Ada"]), None)
    rows = objective.encode(tokenizer, 4)["scored"]
    assert objective.predict(by_token(tokenizer, **KNOWN), rows).labels == ["B-x I-x O O", "B-x"]
    ((id_, message),) = objective.warnings
    assert id_ == "words-cut"
    assert message.startswith("2 of 5 words to be tagged lie beyond max_length=4")


def test_only_first_pieces_bear_a_loss(tokenizer: Any) -> None:
    objective = Objective(task([]), None)
    batch = objective.encode(tokenizer, 32)["train"].batch(np.array([0, 1]), CPU)
    outputs = torch.randn(len(batch.tokens), 3)
    expected = F.cross_entropy(outputs[batch.marks >= 0], torch.tensor([1, 2, 0, 0, 0]))
    assert objective.loss(SimpleNamespace(), batch, outputs) == pytest.approx(float(expected))
    outputs[batch.marks < 0] = 1e6
    assert objective.loss(SimpleNamespace(), batch, outputs) == pytest.approx(float(expected))


def test_tune_is_scored_by_its_spans(tokenizer: Any) -> None:
    objective = Objective(task([]), None)
    rows = objective.encode(tokenizer, 32)["tune"]
    assert objective.evaluate(by_token(tokenizer, **KNOWN), rows) == ("span_f1", 1.0)
    wrong = by_token(tokenizer, **KNOWN | {"nobody": "B-x"})
    assert objective.evaluate(wrong, rows) == ("span_f1", pytest.approx(2 / 3))


def test_tags_that_are_no_spans_are_refused_before_the_training() -> None:
    with pytest.raises(BenchError, match="'NN' is not a tag of a span"):
        Objective(task([], ["NN", "VB"]), None)
