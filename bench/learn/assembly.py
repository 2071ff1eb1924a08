"""A task's texts, a tokenizer and a model become what can be trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.learn import models, objectives
from bench.learn.batches import order_of_first_use
from bench.learn.encoder import Encoder
from bench.learn.models.wanted import Wanted

if TYPE_CHECKING:
    import torch

    from bench.learn.batches import Rows
    from bench.learn.data import TaskFolder
    from bench.learn.model import Model
    from bench.learn.objectives import Objective
    from bench.learn.state import State


@dataclass(frozen=True)
class Parts:
    """What is put together. A recipe that trains another model first changes some of it."""

    task: TaskFolder
    objective: str
    recipe: Any
    model: str
    pretrained: bool
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
    task, recipe, state = parts.task, parts.recipe, parts.state
    objective = objectives.build(parts.objective, task, recipe)
    entry = models.entry(parts.model, parts.pretrained, task.family)
    tokenizer = state.tokenizer() if state else None
    if tokenizer is None:
        if parts.checkpoint is None:
            say("training the tokenizer", 0)
        kept = {"cased": True} if getattr(objective, "cased", False) else {}
        tokenizer = entry.tokenizer(objective.texts(), recipe, parts.checkpoint, **kept)
    say("tokenising", 1)
    splits = objective.encode(tokenizer, recipe.max_length)
    pairs = len(task.columns) > 1
    model = entry.build(
        Wanted(
            parts.checkpoint, tokenizer, recipe, objective.outputs, pairs, parts.seed, parts.device
        )
    )
    if isinstance(model, Encoder):
        order = state.order if state else None
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
