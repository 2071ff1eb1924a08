"""The training loop. A recipe is handed in; the loop calls its hooks and wastes nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bench import metrics
from bench.errors import BenchError
from bench.events import Events
from bench.learn import parallel
from bench.learn.adamw import AdamW
from bench.learn.batches import Rows
from bench.learn.layers import Dropout
from bench.learn.model import Model
from bench.learn.objectives import Objective

if TYPE_CHECKING:
    from bench.learn.assembly import Assembly

REPORT_EVERY_S = 0.3


class Keeper(Protocol):
    def look(self, training: Training) -> None:
        """Between two steps: keep the training's state when it is time to."""


class NotFinite(BenchError):
    """The loss became infinite or not a number."""


@dataclass
class Training:
    """One training under way: what the hooks of a recipe may look at and change."""

    recipe: Any
    objective: Objective
    model: Model
    train: Rows
    tune: Rows
    seed: int
    events: Events
    keeper: Keeper | None = None
    source: Assembly | None = None  # what the model was made of
    weights: Mapping[str, Path] = field(default_factory=dict)
    """Folders that settings of the recipe name, found before the run, by setting."""
    trial_steps: int | None = None  # of a forecast: at most so many, thrown away
    total_steps: int = field(init=False)
    step: int = 0  # updates made
    tokens: int = 0  # learned from in these, and in those of earlier parts
    first_step: int = 0  # those of earlier parts
    budget_ends: float = math.inf  # the step at which a budget of steps or tokens is spent
    epoch: int = 0
    place: int = 0  # batches taken of this epoch
    epoch_began: Any = field(init=False)  # the state of `random` then
    optimizer: AdamW = field(init=False)
    dropout: Dropout = field(init=False)
    random: np.random.Generator = field(init=False)  # of the order of batches

    def __post_init__(self) -> None:
        self.recipe.prepare(self)  # what follows depends on what it left
        recipe, model = self.recipe, self.model
        self.total_steps = self.planned_steps()
        self.optimizer = AdamW(model.parameters, model.table, recipe.weight_decay, recipe.beta2)
        self.dropout = Dropout(recipe.dropout, self.seed, model.dtype, model.device)
        self.random = np.random.default_rng(self.seed)
        self.epoch_began = self.random.bit_generator.state

    @cached_property
    def _first_epoch(self) -> tuple[int, int]:
        """Its batches and their tokens: the others have as many."""
        random, lengths = np.random.default_rng(self.seed), self.train.lengths
        sizes = [int(lengths[rows].sum()) for rows in self.recipe.batches(self.train, 0, random)]
        return len(sizes), sum(sizes)

    @property
    def steps_per_epoch(self) -> int:
        return self._first_epoch[0]

    @property
    def tokens_per_epoch(self) -> int:
        """Of all rows that an epoch has."""
        return self._first_epoch[1]

    def planned_steps(self) -> int:
        """What the recipe's limits leave, from the first step on."""
        return max(1, min(self._limits()))

    def _limits(self) -> Iterator[int]:
        """The steps after which a limit of the recipe is reached."""
        recipe = self.recipe
        yield round(recipe.epochs * self.steps_per_epoch)
        if recipe.max_steps:
            yield recipe.max_steps
        if recipe.max_tokens:
            yield self.steps_of(recipe.max_tokens)

    def steps_of(self, tokens: float) -> int:
        """Steps that learn from about so many tokens."""
        share: float = self.recipe.share_read(self)
        return int(tokens * self.steps_per_epoch / (share * self.tokens_per_epoch))

    def batches(self) -> Iterator[np.ndarray]:
        """Row numbers of each step's batch, epoch after epoch, without end: from `place` on."""
        while True:
            self.epoch_began = self.random.bit_generator.state
            epoch = self.recipe.batches(self.train, self.epoch, self.random)
            for rows in islice(epoch, self.place, None):
                self.place += 1
                yield rows
            self.epoch, self.place = self.epoch + 1, 0


def train(training: Training, batches: Iterator[np.ndarray]) -> str:
    """Train for `total_steps` or until the recipe or the meter ends it: 'done' or 'budget'."""
    with parallel.together(training):
        return _train(training, batches)


def _train(training: Training, batches: Iterator[np.ndarray]) -> str:
    recipe, events, total = training.recipe, training.events, training.total_steps
    evaluate_after = _evaluation_steps(total, recipe.evaluations)
    reported = 0.0
    if training.step in evaluate_after and evaluate(training):  # it was kept before that
        return "done"
    for rows in batches:
        rate = recipe.rate(training.step, total)
        loss = step(training, rows, rate)
        now = time.monotonic()
        if now - reported >= REPORT_EVERY_S or training.step == total:
            _report(training, loss, rate)  # reading the loss waits for a GPU: not at each step
            reported = now
        if recipe.after_step(training) or training.step == total:
            break
        if events.stop_asked() or training.step >= training.budget_ends:
            return "budget"
        if training.keeper:
            training.keeper.look(training)
        if training.step in evaluate_after and evaluate(training):
            break
    return "done"


def step(training: Training, rows: np.ndarray, rate: float) -> Tensor:
    """One update by the rows of a batch; their mean loss."""
    recipe, model = training.recipe, training.model
    share = parallel.share(recipe.batch(training, rows), rows)
    model.begin_step(share.batch)
    outputs = model.outputs(share.batch, training.dropout)
    loss = share.weighted(recipe.loss(training, share.batch, outputs))
    recipe.backward(training, loss)
    parallel.reduce(model.parameters, model.table)
    recipe.update(training, rate)
    training.step += 1
    training.tokens += share.tokens
    return parallel.total(loss)


def _evaluation_steps(total: int, evaluations: int) -> set[int]:
    """Spread evenly: one evaluation is after half of the steps."""
    return {round(total * (i + 1) / (evaluations + 1)) for i in range(evaluations)} - {0, total}


def _report(training: Training, loss: Tensor, rate: float) -> None:
    value = loss.item()
    if not np.isfinite(value):
        raise NotFinite(
            f"the loss is {value} at step {training.step}",
            "a lower --set learning_rate=... usually helps",
        )
    training.events.send(
        "step",
        step=training.step,
        total_steps=training.total_steps,
        epoch=training.step / training.steps_per_epoch,
        first_step=training.first_step,
        loss=value,
        learning_rate=rate,
        tokens=training.tokens,
    )


def evaluate(training: Training) -> bool:
    """Score tune, then go on with training, unless the recipe ends it."""
    found = score_tune(training)
    if found is None:
        return False
    training.events.send("phase_start", phase="train")
    metric, value = found
    ends: bool = training.recipe.evaluated(training, -value if metrics.falls(metric) else value)
    return ends


def score_tune(training: Training) -> tuple[str, float] | None:
    """The metric and its value on tune, in a phase of its own; None where there is no tune."""
    if not len(training.tune):
        return None
    events = training.events
    synchronise(training.model.device)
    events.send("phase_start", phase="evaluate")
    metric, value = training.objective.evaluate(training.model, training.tune)
    events.send("eval", step=training.step, split="tune", metric=metric, value=value)
    return metric, value


def representative(training: Training, steps: int) -> tuple[list[np.ndarray], float]:
    """So many batches, of all sizes in random order, and their share of the whole training by
    tokens."""
    epoch = list(training.recipe.batches(training.train, 0, training.random))
    steps = max(1, min(steps, len(epoch)))
    lengths = training.train.lengths
    sizes = np.array([lengths[rows].sum() for rows in epoch])
    middles = (np.arange(steps) + 0.5) * len(epoch) / steps
    chosen = training.random.permutation(np.argsort(sizes)[middles.astype(int)])
    whole = sizes.sum() * training.total_steps / len(epoch)
    return [epoch[i] for i in chosen], min(1.0, float(sizes[chosen].sum() / whole))


def synchronise(device: torch.device) -> None:
    """Wait for the device, so that what follows is stamped when the work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
