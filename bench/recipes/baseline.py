"""Float32, dense AdamW, batches of similar length: the arithmetic that others are compared with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from bench.cards import Family
from bench.recipes import Use, setting
from bench.record import Scalar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from bench.learn.batches import Batch, Rows
    from bench.learn.encoder import Shape
    from bench.learn.loop import Training
    from bench.learn.model import Model

TRANSLATION: tuple[Family, ...] = ("translation",)
RUNNING_TEXT: tuple[Family, ...] = ("language-modelling",)
OTHERS = tuple(f for f in get_args(Family) if f not in TRANSLATION)
SCHEDULES = ("linear", "inverse-sqrt")


@dataclass
class Recipe:
    """The hooks, in the order in which the loop calls them. Others inherit and override some, and
    call `super()` for what they are combined with."""

    summary: ClassVar[str] = "float32, dense AdamW, batches of similar length without padding"
    charges: ClassVar[str] = "preparation, training, evaluation, prediction"
    paper: ClassVar[str] = "https://arxiv.org/abs/1711.05101"
    precision: ClassVar[str] = "float32"  # of activations and products; or bfloat16, float16
    place: ClassVar[int] = 50  # in a combination: hooks of a lower one are around those of others
    refuses: ClassVar[Mapping[str, str]] = {}  # recipes that it doesn't combine with, and why

    epochs: float = setting(None, "passes over the training split", above=0)
    max_steps: int = setting(0, "updates at most, if fewer than in all epochs; 0: no limit", low=0)
    max_tokens: int = setting(0, "tokens learned from at most; 0: no limit", low=0)
    batch_size: int = setting(None, "examples a step", low=1, families=OTHERS)
    learning_rate: float = setting(None, "the highest rate", above=0)
    schedule: str = setting(
        "linear", "how the rate falls: linear or inverse-sqrt", choices=SCHEDULES
    )
    warmup_share: float = setting(0.06, "share of steps with a rising rate", low=0, high=1)
    beta2: float = setting(0.999, "how slowly AdamW forgets squared gradients", low=0, high=0.9999)
    weight_decay: float = setting(0.01, "AdamW's, on matrices", low=0)
    dropout: float = setting(0.1, "rate after embeddings and blocks", low=0, high=0.9)
    clip_norm: float = setting(1.0, "largest norm of the gradient; 0: no limit", low=0)
    max_length: int = setting(128, "tokens of a text (the rest is cut off) or window", low=4)
    stride: int = setting(
        0,
        "tokens predicted a window, with the others as context; 0: half of max_length",
        low=0,
        families=RUNNING_TEXT,
    )
    layers: int = setting(None, "of a transformer from scratch; else as its name says", low=1)
    width: int = setting(None, "of its activations; else as its name says", low=2)
    heads: int = setting(None, "of its attention; else as its name says", low=1)
    hidden: int = setting(
        None, "width inside its feed-forward layers; else grows with width", low=1
    )
    vocabulary_size: int = setting(8000, "entries of a trained tokenizer", low=200)
    evaluations: int = setting(3, "times that tune is scored while training", low=0)
    batch_tokens: int = setting(
        4096, "tokens a step, of both sides, in place of batch_size", low=1, families=TRANSLATION
    )
    label_smoothing: float = setting(
        0.1, "share of the wanted chance that all tokens get", low=0, high=0.9, families=TRANSLATION
    )
    beam_size: int = setting(4, "translations kept at each step", low=1, families=TRANSLATION)
    length_penalty: float = setting(
        0.6,
        "power of the length that a translation's score is divided by",
        low=0,
        families=TRANSLATION,
    )

    @classmethod
    def preset(
        cls, model: str, family: Family | None = None, pretrained: bool = True
    ) -> dict[str, Any]:
        """What this model wants where nothing is said."""
        from bench.learn import models

        return models.settings(model, family, pretrained)

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        """Why it can't be used for that, if so. Asked of each part of a combination."""
        return None

    def power_limit_w(self, default_w: float) -> float | None:
        """What each GPU's power is limited to from before the window to its end, where `default_w`
        is its own; None: nothing is changed. Asked in the parent, without a training."""
        return None

    def plain(self, changes: Mapping[str, Any]) -> Recipe:
        """What another model of the run learns by, and a proxy: the plain recipe in the precision
        of this one, with its settings but for these changes."""
        kind = next(kind for kind in type(self).__mro__ if "precision" in vars(kind))
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(kind)}
        made: Recipe = kind(**{**own, **changes})
        return made

    def prepare(self, training: Training) -> None:
        """Before the first step, and before there is an optimizer: change the model, train a
        teacher, choose rows."""

    def batches(self, rows: Rows, epoch: int, random: np.random.Generator) -> Iterator[np.ndarray]:
        """One epoch's batches, each an array of row numbers."""
        return rows.batches(self.batch_size, random)

    def batch(self, training: Training, rows: np.ndarray) -> Batch:
        """What the model reads of a batch's rows in this step: of several processes, each its
        part."""
        from bench.learn import parallel

        return training.train.batch(parallel.part(rows), training.model.device)

    def share_read(self, training: Training) -> float:
        """How much `batch` reads of the tokens of its rows, over the whole training."""
        return 1.0

    def rate(self, step: int, total_steps: int) -> float:
        """The learning rate of a step (from 0): a linear rise, then a linear fall to zero, or one
        with the root of the number of steps."""
        warmup = round(self.warmup_share * total_steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        if self.schedule == "inverse-sqrt":
            return self.learning_rate * math.sqrt(max(1, warmup) / (step + 1))
        return self.learning_rate * (total_steps - step) / max(1, total_steps - warmup)

    def loss(self, training: Training, batch: Batch, outputs: Tensor) -> Tensor:
        """The mean loss of a batch, of what the model returned for it."""
        return training.objective.loss(training.model, batch, outputs)

    def backward(self, training: Training, loss: Tensor) -> None:
        """From the loss to the gradients."""
        loss.backward()

    def update(self, training: Training, rate: float) -> None:
        """From the gradients to the weights."""
        training.optimizer.step(rate, self.clip_norm)

    def after_step(self, training: Training) -> bool:
        """After each update; True ends the training."""
        return False

    def evaluated(self, training: Training, value: float) -> bool:
        """After tune was scored, which is higher for the better model; True ends the training."""
        return False

    def finish(self, training: Training) -> None:
        """After the last step, before the prediction."""

    def left(self, shape: Shape) -> list[Shape]:
        """What a model of this shape may have become when its training ends, the likeliest last:
        who has its weights alone asks."""
        return [shape]

    def ready(self, model: Model) -> None:
        """Make of weights that were kept what `finish` has made of them to predict with."""

    def facts(self, training: Training) -> dict[str, Any]:
        """What it did, at the end, for the record: numbers and texts by name."""
        return {}

    def state(self, training: Training) -> dict[str, Tensor]:
        """What the recipe remembers of the steps so far, for a training that is continued."""
        return {}

    def resume(self, training: Training, state: dict[str, Tensor]) -> None:
        """After `prepare`, where a training goes on: take back what `state` gave. The step is
        known; weights and moments are filled in afterwards."""
