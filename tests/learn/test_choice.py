"""Completions as running text, and the choice among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench.errors import BenchError, UsageError
from bench.learn import models, objectives, tokenize
from bench.learn.completions import read
from bench.learn.data import Rows, TaskFolder
from bench.learn.objectives.choice import Objective

WORDS = {"question": {"cause": "because", "effect": "so"}}
COPA = ("premise", "question"), ["choice1", "choice2"]


def task(
    inputs: tuple[str, ...], choices: list[str], words: dict[str, dict[str, str]] | None = None,
    scored: list[tuple[str, ...]] = [], train: Rows = Rows([], []),  # noqa: B006, B008
) -> TaskFolder:  # fmt: skip
    return TaskFolder(
        name="mine", version=1, family="completion", kind="class", inputs=list(inputs),
        choices=choices, words=words or {}, classes=[str(i) for i in range(len(choices))],
        metric="accuracy", train=train, tune=train, scored=scored,
    )  # fmt: skip


def test_a_question_becomes_the_word_that_joins() -> None:
    copa = task(*COPA, WORDS)
    row = ("The man slept.", "cause", "The film was dull.", "I sang.")
    assert read(copa, row) == ("The man slept because", ["the film was dull.", "I sang."])
    row = ("Who slept?", "effect", "It was I.", "I'm ill.")
    assert read(copa, row) == ("Who slept so", ["it was I.", "I'm ill."])


def test_inputs_follow_each_other() -> None:
    plain = task(("first", "second"), ["a", "b"])
    row = ("He sat. ".strip(), "Then he", "left.", "Stood.")
    assert read(plain, row) == ("He sat. Then he", ["left.", "Stood."])


def test_a_value_without_words_is_named() -> None:
    with pytest.raises(BenchError, match="question is 'reason', for which the card of mine"):
        read(task(*COPA, WORDS), ("It fell.", "reason", "a", "b"))


class Longest:
    """Gives each text its length: the longest choice wins."""

    device = torch.device("cpu")

    def begin_evaluation(self) -> None:
        pass

    def outputs(self, batch: Any, dropout: None) -> torch.Tensor:
        return torch.from_numpy(batch.lengths).float()[:, None]


SCORED = [("one", "a b c d e f", "a"), ("one two three", "a", "a b"), ("", "a", "a b c")]


def test_the_choice_with_the_highest_number_is_predicted() -> None:
    tokenizer = tokenize.train(["one two three a b c d e f"] * 3, 200)
    train = Rows(SCORED, ["0", "1", "0"])
    objective = Objective(task(("text",), ["x", "y"], None, SCORED, train), None)
    splits = objective.encode(tokenizer, 32)
    predictions = objective.predict(Longest(), splits["scored"])
    assert predictions.labels == ["0", "1", "1"]
    assert np.allclose(np.sum(predictions.scores, axis=1), 1)
    assert objective.predict(Longest(), splits["scored"], np.array([1, 0])).labels == ["1", "0"]
    assert objective.evaluate(Longest(), splits["tune"]) == ("accuracy", pytest.approx(2 / 3))


def test_the_loss_is_that_of_the_right_choice_of_each_row() -> None:
    tokenizer = tokenize.train(["one two three a b c d e f"] * 3, 200)
    objective = Objective(
        task(("text",), ["x", "y"], None, [], Rows(SCORED, ["0", "1", "0"])), None
    )
    batch = objective.encode(tokenizer, 32)["train"].batch(np.array([1, 2]), torch.device("cpu"))
    outputs = torch.tensor([[0.0], [2.0], [1.0], [1.0]])
    expected = (np.log(1 + np.exp(-2)) + np.log(2)) / 2
    assert float(objective.loss(Longest(), batch, outputs)) == pytest.approx(expected)


def test_who_chooses_and_who_writes() -> None:
    assert objectives.name_of("completion", "encoder", "bert-base", "class") == "choice"
    assert objectives.name_of("completion", "decoder", "gpt2-tiny", "class") == "likelihood"
    assert objectives.name_of("completion", "decoder", "gpt2-tiny", "text") == "last_word"
    with pytest.raises(UsageError, match="for completion without choices: that takes decoder"):
        objectives.name_of("completion", "encoder", "bert-base", "text")
    assert models.describe(models.default("completion", "text"))["kind"] == "decoder"
    assert models.describe(models.default("completion", "class"))["kind"] == "encoder"
