"""What a family of tasks asks of a kind of model: one objective a file. No torch at the top.

Each module has a class `Objective`, made from the task's folder and the recipe.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from bench.cards import Family, Kind
from bench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer
    from torch import Tensor

    from bench.learn.batches import Batch, Rows
    from bench.learn.data import Predictions, TaskFolder
    from bench.learn.model import Model

ModelKind = Literal["encoder", "decoder", "encoder-decoder", "elmo"]
Keeps = Literal["words", "capitals", "all"]
"""What a tokenizer from scratch keeps of a text: its words, in capitals too, or all of it."""

_TABLE: dict[Family, dict[ModelKind, str]] = {
    "classification": {
        "encoder": "classification",
        "decoder": "classification",
        "elmo": "classification",
    },
    "regression": {"encoder": "regression", "decoder": "regression", "elmo": "regression"},
    "tagging": {"encoder": "tagging", "elmo": "tagging"},
    "translation": {"encoder-decoder": "translation"},
    "completion": {"encoder": "choice", "decoder": "likelihood", "elmo": "choice"},
    "language-modelling": {"decoder": "causal", "encoder": "masked", "elmo": "bidirectional"},
}


class Outputs(NamedTuple):
    """What a model returns: `size` numbers a text, or a token; or what tells one of `size` words,
    for a word."""

    per: Literal["text", "token", "word"]
    size: int


class Objective(Protocol):
    """More attributes that an objective may have: `keeps` (else "words"), `warnings` (id and
    message of each, after `encode`) and `evaluation_cost` (what a token takes to evaluate, where
    predicting one takes 1; for forecasts). Of the rows of a batch,
    from what `loss` takes: `logits` ([rows, classes], where a class is chosen, whose number is the
    label) or else `losses` ([rows], of each alone)."""

    outputs: Outputs

    def texts(self) -> Sequence[str]:
        """What a tokenizer from scratch is trained on."""

    def encode(self, tokenizer: Tokenizer, max_length: int) -> dict[str, Rows]:
        """`train` and `tune` with targets, and `scored` without."""

    def loss(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        """The mean loss of a batch."""

    def evaluate(self, model: Model, rows: Rows) -> tuple[str, float]:
        """A metric's name and value on the tune split, the task's where that is cheap to know."""

    def predict(self, model: Model, rows: Rows, chosen: np.ndarray | None = None) -> Predictions:
        """What the model says of all rows, or of the `chosen` ones in their order."""


def name_of(family: Family, kind: ModelKind, model: str, labels: Kind | None = None) -> str:
    """The objective's name; UsageError when this kind of model can't do such tasks. `labels`: of
    which kind they are, as completion without choices has texts."""
    kinds, said = _TABLE[family], str(family)
    if family == "completion" and labels == "text":
        kinds, said = {"decoder": "last_word"}, "completion without choices"
    if kind not in kinds:
        able = " or ".join(kinds)
        raise UsageError(
            f"{model} ({kind}) can't be trained for {said}: that takes {able} models",
            "bench models",
        )
    return kinds[kind]


def families(kind: ModelKind) -> list[Family]:
    """The families of tasks that a kind of model can be trained for."""
    return [family for family, kinds in _TABLE.items() if kind in kinds]


def build(name: str, task: TaskFolder, recipe: Any) -> Objective:
    """The objective called `name` for this task."""
    return importlib.import_module(f"{__name__}.{name}").Objective(task, recipe)
