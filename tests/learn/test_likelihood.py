"""Completions by their likelihood, and last words written by a model of running text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.errors import UsageError
from bench.learn import continuations, tokenize
from bench.learn.data import Rows, TaskFolder
from bench.learn.encoder import Shape
from bench.learn.language import LanguageModel
from bench.learn.objectives import last_word, likelihood

CPU = torch.device("cpu")
TEXT = "the cat sat on a mat and the dog sat on the cat"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenize.train_bytes([TEXT] * 3, 300)


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> LanguageModel:
    shape = Shape(
        vocabulary=tokenizer.get_vocab_size(), width=16, layers=2, heads=2, hidden=32,
        positions=32, norm_first=True, causal=True, pooling="last",
    )  # fmt: skip
    model = LanguageModel(shape, torch.float32, CPU)
    model.initialise(1, deviation=0.5)
    return model


def whole(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_what_is_asked_for_is_the_ending_after_all_before_it(tokenizer: Any) -> None:
    rows = continuations.encode(tokenizer, ["the cat", ""], ["sat on", "a mat"], 32)
    text, ending = whole(tokenizer, "the cat sat on"), whole(tokenizer, " sat on")
    assert rows.tokens[: rows.starts[1]].tolist() == [tokenize.line_end(tokenizer), *text[:-1]]
    marks = rows.marks[: rows.starts[1]].tolist()
    assert marks == [*[-1] * (len(text) - len(ending)), *ending]
    assert rows.marks[rows.starts[1] :].tolist() == whole(tokenizer, "a mat")
    batch = rows.batch(np.array([1, 0]), CPU)
    asked = batch.marks[batch.chosen].tolist()
    assert asked == [*whole(tokenizer, "a mat"), *ending]


def test_long_texts_lose_their_beginning(tokenizer: Any) -> None:
    rows = continuations.encode(tokenizer, [TEXT], ["sat on"], 4)
    assert rows.lengths.tolist() == [4]
    kept = [m for m in rows.marks.tolist() if m >= 0]
    assert kept == whole(tokenizer, " sat on")[-4:]


def test_an_empty_choice_is_refused(tokenizer: Any) -> None:
    with pytest.raises(UsageError, match="nothing follows 'the cat'"):
        continuations.encode(tokenizer, ["the cat"], [""], 32)


def test_other_tokenizers_are_refused() -> None:
    with pytest.raises(UsageError, match="not byte-level"):
        continuations.check(tokenize.train([TEXT], 200))


def by_hand(model: LanguageModel, tokenizer: Any, context: str, ending: str) -> float:
    """The mean nats of the ending's tokens, one pass a token."""
    found = []
    text = [tokenize.line_end(tokenizer), *whole(tokenizer, context)]
    for token in whole(tokenizer, f" {ending}"):
        batch = continuations.unfinished([text]).batch(np.array([0]), CPU)
        scores = model.outputs(batch, None) @ model.parameters["tokens"].value.t()
        found.append(-float(F.log_softmax(scores, -1)[0, token].detach()))
        text.append(token)
    return float(np.mean(found))


def task(choices: list[str], train: Rows, scored: list[tuple[str, ...]]) -> TaskFolder:
    return TaskFolder(
        name="mine", version=1, family="completion", kind="class" if choices else "text",
        inputs=["text"], choices=choices, words={}, classes=[str(i) for i in range(len(choices))],
        metric="accuracy", train=train, tune=train, scored=scored,
    )  # fmt: skip


ROWS = [
    ("the cat", "sat on", "a mat and the dog"),
    ("on the", "mat", "cat"),
    ("a", "dog", "the cat"),
]


def test_the_likeliest_choice_a_token_is_predicted(model: LanguageModel, tokenizer: Any) -> None:
    objective = likelihood.Objective(task(["x", "y"], Rows(ROWS, ["0", "1", "1"]), ROWS), None)
    splits = objective.encode(tokenizer, 32)
    costs = [[by_hand(model, tokenizer, row[0], choice) for choice in row[1:]] for row in ROWS]
    predictions = objective.predict(model, splits["scored"])
    assert predictions.labels == [str(np.argmin(row)) for row in costs]
    expected = F.softmax(-torch.tensor(costs), -1).numpy()
    assert np.allclose(np.array(predictions.scores), expected, atol=1e-5)
    chosen = objective.predict(model, splits["scored"], np.array([2, 0]))
    assert chosen.labels == [predictions.labels[2], predictions.labels[0]]

    batch = splits["train"].batch(np.array([2, 0]), CPU)
    loss = objective.loss(model, batch, model.outputs(batch, None))
    wanted = torch.tensor([costs[2], costs[0]])
    right = torch.tensor([1, 0])
    by_the_book = F.cross_entropy(-wanted, right) + 0.5 * wanted.gather(1, right[:, None]).mean()
    assert float(loss.detach()) == pytest.approx(float(by_the_book), abs=1e-5)


def test_a_few_steps_make_the_right_choice_likelier(tokenizer: Any) -> None:
    shape = Shape(
        vocabulary=tokenizer.get_vocab_size(), width=16, layers=1, heads=2, hidden=32,
        positions=32, norm_first=True, causal=True, pooling="last",
    )  # fmt: skip
    model = LanguageModel(shape, torch.float32, CPU)
    model.initialise(1)
    objective = likelihood.Objective(task(["x", "y"], Rows(ROWS, ["0", "1", "1"]), ROWS), None)
    train = objective.encode(tokenizer, 32)["train"]
    batch = train.batch(np.array([0, 1, 2]), CPU)
    losses = []
    for _ in range(30):
        model.begin_step(batch)
        loss = objective.loss(model, batch, model.outputs(batch, None))
        loss.backward()
        model.parameters.master.sub_(model.parameters.grad, alpha=0.5)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    assert objective.evaluate(model, train) == ("accuracy", 1.0)


class Recites:
    """Goes on with the text that it knows by heart."""

    device = CPU

    def __init__(self, tokenizer: Any, text: str) -> None:
        self.text = [*whole(tokenizer, text), tokenize.line_end(tokenizer)]

    def begin_evaluation(self) -> None:
        pass

    def outputs(self, batch: Any, dropout: None) -> torch.Tensor:
        ends = batch.chosen.tolist()
        starts = batch.starts.tolist()
        assert ends == [s + n - 1 for s, n in zip(starts, batch.lengths.tolist(), strict=True)]
        texts = [batch.tokens[s : e + 1].tolist() for s, e in zip(starts, ends, strict=True)]
        return torch.tensor([[self._next(text)] for text in texts])

    def _next(self, text: list[int]) -> int:
        known = [-1, *self.text]
        for n in range(min(len(text), 3), 0, -1):
            for i in range(len(known) - n):
                if known[i : i + n] == text[-n:]:
                    return known[i + n]
        return self.text[-1]

    def likeliest(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs[:, 0]


def test_last_words_are_written_to_their_end(tokenizer: Any) -> None:
    text = "the cat sat on a mat and the quill dog."
    passages = [
        ("the cat sat on",),
        ("the cat sat on a mat and the",),
        ("a mat and the quill",),
    ]
    train = Rows(passages, ["a", "quill", "cat"])
    objective = last_word.Objective(task([], train, passages), None)
    splits = objective.encode(tokenizer, 32)
    model: Any = Recites(tokenizer, text)
    assert len(whole(tokenizer, " quill")) > 3
    assert objective.predict(model, splits["scored"]).labels == ["a", "quill", "dog"]
    assert objective.predict(model, splits["scored"], np.array([2, 0])).labels == ["dog", "a"]
    assert objective.evaluate(model, splits["tune"]) == ("accuracy", pytest.approx(2 / 3))


def test_long_passages_leave_room_for_a_word(tokenizer: Any) -> None:
    objective = last_word.Objective(task([], Rows([(TEXT,)], ["mat"]), [(TEXT,)]), None)
    scored = objective.encode(tokenizer, 12)["scored"]
    assert scored.tokens.tolist() == whole(tokenizer, TEXT)[-4:]


def test_passages_are_learned_token_by_token(model: LanguageModel, tokenizer: Any) -> None:
    train = Rows([("the cat",), ("",)], ["sat", "dog"])
    objective = last_word.Objective(task([], train, [("a",)]), None)
    rows = objective.encode(tokenizer, 3)["train"]
    end = tokenize.line_end(tokenizer)
    text, other = whole(tokenizer, "the cat sat"), whole(tokenizer, "dog")
    assert rows.marks.tolist() == [*text, end, *other, end]
    assert rows.tokens.tolist() == [end, *text, end, *other]
    assert rows.lengths.max() == 3
    assert {0, len(text) + 1} <= {*rows.starts.tolist()}
    batch = rows.batch(np.array([1, 0]), CPU)
    costs = model.nats(model.outputs(batch, None), batch.marks)
    loss = objective.loss(model, batch, model.outputs(batch, None))
    assert float(loss.detach()) == pytest.approx(float(costs.detach().mean()), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "word"),
    [(" door.", "door"), (" “no”, he", "no"), ("\n her", "her"), (" ...", "..."), ("", ""),
     (" don't go", "don't")],
)  # fmt: skip
def test_words_come_without_punctuation_marks(text: str, word: str) -> None:
    assert last_word.first_word(text) == word
