"""Ends when tune has stopped improving, and goes back to the weights that were best on it.

A rate that falls to zero at the last step is planned for that step: whoever stops before has not
had its low rates. So after the warm-up it falls with the root of the steps instead, which is the
same training wherever it ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError
from bench.recipes import baseline, setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.learn.loop import Training
    from bench.learn.model import Model


@dataclass
class Recipe(baseline.Recipe):
    """The best weights are kept on the device, beside those that are trained."""

    summary: ClassVar[str] = "ends when tune has stopped improving, with the best weights"
    charges: ClassVar[str] = "all, each evaluation that watches tune included"
    paper: ClassVar[str] = "https://doi.org/10.1007/3-540-49430-8_3"
    place: ClassVar[int] = 25
    refuses: ClassVar[dict[str, str]] = {
        "prune": "the weights that are best on tune may be those from before they were pruned"
    }

    patience: int = setting(5, "evaluations without a gain after which it ends", low=1)
    least_gain: float = setting(
        0.0, "what a gain on tune must exceed, in the unit of what is scored there", low=0
    )
    evaluations: int = setting(20, "times that tune is scored, if it doesn't end before", low=1)
    schedule: str = setting(
        "inverse-sqrt", "how the rate falls: linear or inverse-sqrt", choices=baseline.SCHEDULES
    )

    def prepare(self, training: Training) -> None:
        super().prepare(training)
        if not len(training.tune):
            raise UsageError("early-stop watches tune, and there is none: train has too few rows")
        self._best = Best()
        self._mark = -math.inf  # what is to be exceeded by least_gain
        self._without = 0  # evaluations since it was
        self._scored_at = -1  # the step
        self._ended = False

    def evaluated(self, training: Training, value: float) -> bool:
        ends = super().evaluated(training, value)
        if training.step > self._scored_at:
            self._scored_at = training.step
            self._best.see(training.model, training.step, value)
            if value > self._mark + self.least_gain:
                self._mark, self._without = value, 0
            else:
                self._without += 1
        self._ended = self._without >= self.patience
        return ends or self._ended

    def finish(self, training: Training) -> None:
        from bench.learn.loop import evaluate

        if self._scored_at < training.step:
            evaluate(training)
        self._best.put_back(training.model)
        super().finish(training)

    def facts(self, training: Training) -> dict[str, Any]:
        ended = self._ended and training.step < training.total_steps
        return super().facts(training) | {
            "best_step": self._best.step,
            "last_step": training.step,
            "steps_saved": training.total_steps - training.step if ended else 0,
        }

    def state(self, training: Training) -> dict[str, Tensor]:
        import torch

        seen = [self._mark, self._without, self._scored_at, self._best.value, self._best.step]
        found = {"seen": torch.tensor(seen, dtype=torch.float64), **self._best.weights}
        return super().state(training) | {f"early-stop.{name}": t for name, t in found.items()}

    def resume(self, training: Training, state: dict[str, Tensor]) -> None:
        super().resume(training, state)
        own = {
            name.removeprefix("early-stop."): tensor
            for name, tensor in state.items()
            if name.startswith("early-stop.")
        }
        mark, without, scored_at, value, step = own.pop("seen").tolist()
        self._mark, self._without, self._scored_at = mark, int(without), int(scored_at)
        self._best = Best(value, int(step), own)


class Best:
    """The weights that scored highest, and when."""

    def __init__(
        self, value: float = -math.inf, step: int = 0, weights: dict[str, Tensor] | None = None
    ) -> None:
        self.value, self.step, self.weights = value, step, weights or {}

    def see(self, model: Model, step: int, value: float) -> None:
        """Take what has just been scored, where it is better; what is not a number never is."""
        if value > self.value:
            self.value, self.step = value, step
            for name, tensor in _weights(model).items():
                if name in self.weights:
                    self.weights[name].copy_(tensor)
                else:
                    self.weights[name] = tensor.clone()

    def put_back(self, model: Model) -> None:
        if self.weights:
            for name, tensor in _weights(model).items():
                tensor.copy_(self.weights[name])


def _weights(model: Model) -> dict[str, torch.Tensor]:
    """All of a model that has just been scored, when no decay of its table is due."""
    found = {"parameters": model.parameters.master}
    return found if model.table is None else found | {"table": model.table.rows}
