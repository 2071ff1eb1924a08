"""A task's texts, a tokenizer and a model become what can be trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.learn import models, objectives, parallel
from bench.learn.batches import order_of_first_use
from bench.learn.encoder import Encoder
from bench.learn.models.wanted import Wanted

if TYPE_CHECKING:
    import torch

    from bench.learn.batches import Rows
    from bench.learn.data import TaskFolder
    from bench.learn.model import Model
    from bench.learn.objectives import Keeps, Objective
    from bench.learn.state import State


@dataclass(frozen=True)
class Parts:
    """What is put together. A recipe that trains another model first changes some of it."""

    task: TaskFolder
    objective: str
    recipe: Any
    model: str
    checkpoint: Path | None  # None: from random weights
    seed: int
    device: torch.device
    state: State | None = None  # of the training that goes on


@dataclass(frozen=True)
class Assembly:
    """Ready to train. `splits` are train and tune with targets, and scored without."""

    parts: Parts
    objective: Objective
    tokenizer: Any
    model: Model
    splits: dict[str, Rows]


def assemble(parts: Parts, say: Callable[[str, int], None] = lambda what, done: None) -> Assembly:
    """Make or load tokenizer and model, and tokenise; `say` is told what begins, and how many of
    the two steps are done."""
    objective = objectives.build(parts.objective, parts.task, parts.recipe)
    tokenizer = parts.state.tokenizer() if parts.state else None
    if tokenizer is None:
        if parts.checkpoint is None:
            say("training the tokenizer", 0)
        tokenizer = _tokenizer(parts, objective)
    say("tokenising", 1)
    return _encoded(parts, objective, tokenizer)


def beside(made: Assembly, parts: Parts) -> Assembly:
    """Another model of the same task and objective: a tokenizer that is the same is not trained a
    second time, and what it makes of the texts is used again where `made` reads as much of them."""
    alike = _train_one_tokenizer(made.parts, parts)
    tokenizer = made.tokenizer if alike else _tokenizer(parts, made.objective)
    if _read_alike(made, parts, tokenizer):
        model = _model(parts, made.objective, tokenizer)
        if isinstance(model, Encoder):
            assert isinstance(made.model, Encoder)
            assert made.model.order is not None
            model.reorder(made.model.order)
            return Assembly(parts, made.objective, tokenizer, model, made.splits)
    return _encoded(parts, objectives.build(parts.objective, parts.task, parts.recipe), tokenizer)


def _entry(parts: Parts) -> models.Entry:
    return models.entry(parts.model, parts.checkpoint is not None, parts.task.family)


def _tokenizer(parts: Parts, objective: Objective) -> Any:
    keeps: Keeps = getattr(objective, "keeps", "words")

    def made() -> Any:
        return _entry(parts).tokenizer(objective.texts(), parts.recipe, parts.checkpoint, keeps)

    return parallel.from_first(made) if parts.checkpoint is None else made()


def _train_one_tokenizer(parts: Parts, others: Parts) -> bool:
    """Whether two models from scratch train the same tokenizer on the same texts."""
    one, other = _entry(parts), _entry(others)
    return (
        parts.checkpoint is None
        and others.checkpoint is None
        and type(one) is type(other)
        and getattr(one, "architecture", None) == getattr(other, "architecture", None)
        and parts.recipe.vocabulary_size == others.recipe.vocabulary_size
    )


def _read_alike(made: Assembly, parts: Parts, tokenizer: Any) -> bool:
    """Whether `tokenizer` makes of the texts what `made` reads."""
    own, longest = made.parts.recipe.max_length, parts.recipe.max_length
    if not isinstance(made.model, Encoder) or own != longest or not hasattr(tokenizer, "to_str"):
        return False
    for each in (tokenizer, made.tokenizer):
        each.no_truncation()  # it is part of the text
    return bool(tokenizer.to_str() == made.tokenizer.to_str())


def _model(parts: Parts, objective: Objective, tokenizer: Any) -> Model:
    pairs = len(parts.task.columns) > 1
    return _entry(parts).build(
        Wanted(
            parts.checkpoint, tokenizer, parts.recipe, objective.outputs, pairs, parts.seed,
            parts.device,
        )
    )  # fmt: skip


def _encoded(parts: Parts, objective: Objective, tokenizer: Any) -> Assembly:
    splits = objective.encode(tokenizer, parts.recipe.max_length)
    model = _model(parts, objective, tokenizer)
    if isinstance(model, Encoder):
        order = parts.state.order if parts.state else None
        _order_rows(model, splits, _first_use(model, parts, splits) if order is None else order)
    return Assembly(parts, objective, tokenizer, model, splits)


def _first_use(model: Encoder, parts: Parts, splits: dict[str, Any]) -> np.ndarray:
    """All token ids, in the order of first use in training."""
    train = splits["train"]
    batches = parts.recipe.batches(train, 0, np.random.default_rng(parts.seed))
    seen = np.concatenate([train.tokens[train.places_of(rows)[0]] for rows in batches])
    return order_of_first_use(seen, model.shape.vocabulary)


def _order_rows(model: Encoder, splits: dict[str, Any], order: np.ndarray) -> None:
    """Number tokens, and keep the table's rows, in this order of token ids."""
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    model.reorder(order)
    for split in splits.values():
        split.renumber(number)
