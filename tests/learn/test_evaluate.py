"""The tune split is scored by the metric that the task's card names."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.cards import Family
from bench.learn import objectives, tokenize
from bench.learn.data import Rows, TaskFolder

TEXTS = ["a", "a b", "a b c", "a b c d", "a b c d e", "a b c d e f"]
LONG = ["no", "no", "no", "yes", "yes", "yes"]


class Longer:
    """Says yes to texts of four tokens or more; or a number that grows with their square."""

    device = torch.device("cpu")

    def __init__(self, size: int) -> None:
        self._size = size

    def begin_evaluation(self) -> None:
        pass

    def outputs(self, batch: Any, dropout: None) -> torch.Tensor:
        words = torch.from_numpy(batch.lengths).float()[:, None] - 2  # [CLS] and [SEP]
        return words**2 if self._size == 1 else torch.cat([3.5 - words, words - 3.5], 1)


@pytest.mark.parametrize(
    ("family", "metric", "labels", "value"),
    [
        ("classification", "accuracy", ["yes", *LONG[1:]], 5 / 6),
        ("classification", "mcc", ["yes", *LONG[1:]], 0.70711),
        ("classification", "f1", ["yes", *LONG[1:]], 6 / 7),
        ("regression", "pearson", ["1", "2", "3", "4", "5", "6"], 0.97892),
        ("regression", "spearman", ["1", "2", "3", "4", "5", "6"], 1.0),
    ],
)
def test_the_cards_metric_is_reported(
    family: Family, metric: str, labels: list[str], value: float
) -> None:
    numbers = family == "regression"
    rows = Rows([(text,) for text in TEXTS], labels)
    task = TaskFolder(
        name="mine", version=1, family=family, kind="number" if numbers else "class",
        inputs=["text"], choices=[], words={}, classes=[] if numbers else ["no", "yes"],
        metric=metric, train=rows, tune=rows, scored=rows.inputs, positive="yes",
    )  # fmt: skip
    objective = objectives.build(family, task, None)
    tune = objective.encode(tokenize.train(TEXTS * 3, 100), 32)["tune"]
    found = objective.evaluate(Longer(objective.outputs.size), tune)  # type: ignore[arg-type]
    assert found == (metric, pytest.approx(value, abs=1e-5))
