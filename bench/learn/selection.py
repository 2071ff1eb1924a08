"""Which rows are worth learning from: scores of all of them, and a choice by these.

Scores that need a model come from a proxy: the model that will be trained, after a short training
that is thrown away. A higher score is of a harder row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.learn.batches import Batch, by_length, send
from bench.learn.evaluate import MOST_TOKENS
from bench.learn.inner import Inner, counted, try_steps
from bench.learn.loop import Training, train
from bench.learn.model import Model

SELECT = "select"
STEPS, SCORES = "select steps", "select scores"
"""Phases: a run has the first; in the trial of a forecast, what grows with steps and with rows has
phases of its own."""


# --- a choice ------------------------------------------------------------------------------------


def choose(
    scores: np.ndarray,
    count: int,
    which: str,
    random: np.random.Generator,
    among: np.ndarray | None = None,
) -> np.ndarray:
    """The `count` rows, `among` some, whose scores are the lowest ('easiest'), the highest
    ('hardest') or between as many others ('middle'); between equal ones chance decides."""
    rows = np.arange(len(scores)) if among is None else among
    order = rows[np.lexsort((random.random(len(rows)), scores[rows]))]
    spare = max(0, len(rows) - count)
    begin = {"easiest": 0, "middle": spare // 2, "hardest": spare}[which]
    return order[begin : begin + count]


def firsts(inputs: Sequence[tuple[str, ...]], labels: Sequence[str]) -> np.ndarray:
    """The rows that say what no row before them does: case, marks and spaces don't count."""
    found: dict[tuple[str, ...], int] = {}
    for i, (texts, label) in enumerate(zip(inputs, labels, strict=True)):
        found.setdefault((*map(_words, texts), label), i)
    return np.fromiter(found.values(), np.int64)


def _words(text: str) -> str:
    """A text without what does not count; one that is nothing else as it is."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text


# --- scores from a proxy -------------------------------------------------------------------------


def scores(training: Training, by: str, recipe: Any) -> tuple[np.ndarray, int] | None:
    """What the model says of each row of `train` ('loss', 'el2n' or 'forgetting') when it has
    learned as `recipe` says, and its steps; None where the meter ended that. The model is then what
    it was."""
    watched: Any = Forgetting(training) if by == "forgetting" else None
    with _as_it_was(training.model):
        proxy = Training(
            recipe, watched or training.objective, training.model, training.train, training.tune,
            training.seed, Inner(training.events, SELECT), source=training.source,
        )  # fmt: skip
        steps = proxy.total_steps
        if training.trial_steps is not None:
            try_steps(training, proxy, STEPS, SELECT)
        elif train(proxy, proxy.batches()) == "budget":
            return None
        found = watched.scores() if watched else _scored(training, by)
    return None if found is None else (found, steps)


@contextmanager
def _as_it_was(model: Model) -> Iterator[None]:
    """Take back within the block's weights what it learned."""
    table = model.table
    live = [model.parameters.master, *([table.rows] if table else [])]
    kept, progress = [tensor.clone() for tensor in live], table.progress if table else (0, 1.0)
    yield
    for tensor, was in zip(live, kept, strict=True):
        tensor.copy_(was)
    if table:
        table.progress = progress
    model.parameters.cast()  # what is frozen from now on is not cast again


TRIED = 16
"""Batches that a trial scores, at most; and as many of a run between two looks at its budget."""


def _scored(training: Training, by: str) -> np.ndarray | None:
    """A score a row, from passes without gradients; in a trial 0 for most."""
    lengths = training.train.lengths
    parts = list(by_length(lengths, MOST_TOKENS))
    if training.trial_steps is None:
        return _passes(training, by, parts)
    some = parts[:: -(-len(parts) // TRIED)]
    read = sum(int(lengths[part].sum()) for part in some)
    with counted(training, SCORES, read / int(lengths.sum()), SELECT):
        return _passes(training, by, some)


def _passes(training: Training, by: str, parts: Sequence[np.ndarray]) -> np.ndarray | None:
    model, rows, events = training.model, training.train, training.events
    objective: Any = training.objective
    found = []
    model.begin_evaluation()
    for done, part in enumerate(parts):
        if done % TRIED == 0:
            events.send("progress", text="scoring rows", done=done, total=len(parts))
            if events.stop_asked():
                return None
        with torch.inference_mode():
            batch = rows.batch(part, model.device)
            found.append(_score(objective, by, model, batch, model.outputs(batch, None)))
    values = np.zeros(len(rows), np.float32)
    values[np.concatenate(parts)] = torch.cat(found).float().cpu().numpy()
    return values


def _score(objective: Any, by: str, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
    """[rows]: the loss, or the length of the error vector (EL2N, Paul et al. 2021)."""
    if not hasattr(objective, "logits"):
        losses: Tensor = objective.losses(model, batch, outputs)
        return losses
    assert batch.labels is not None
    logits = objective.logits(model, batch, outputs)
    if by == "loss":
        return F.cross_entropy(logits, batch.labels, reduction="none")
    wanted = F.one_hot(batch.labels, logits.shape[1])
    return (torch.softmax(logits, 1) - wanted).norm(dim=1)


class Forgetting:
    """An objective that counts, as rows come by, how often one that was right is wrong the next
    time (Toneva et al. 2019). One that never was right is the hardest."""

    def __init__(self, training: Training) -> None:
        self._objective: Any = training.objective
        device, n = training.model.device, len(training.train)
        self._right, self._learned = (
            torch.zeros(n, dtype=torch.bool, device=device) for _ in range(2)
        )
        self._forgotten = torch.zeros(n, device=device)

    def loss(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        assert batch.labels is not None
        rows = send(batch.rows, model.device)
        with torch.no_grad():
            right = self._objective.logits(model, batch, outputs).argmax(1) == batch.labels
            self._forgotten[rows] += self._right[rows] & ~right
            self._learned[rows] |= right
            self._right[rows] = right
        loss: Tensor = self._objective.loss(model, batch, outputs)
        return loss

    def scores(self) -> np.ndarray:
        most = self._forgotten.max() + 1
        return torch.where(self._learned, self._forgotten, most).cpu().numpy()
