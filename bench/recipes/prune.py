"""Weights, heads, neurons or layers are removed while the model is trained, which recovers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.recipes import Use, baseline, setting
from bench.record import Scalar

if TYPE_CHECKING:
    from torch import Tensor

    from bench.learn.encoder import Shape
    from bench.learn.loop import Training
    from bench.learn.model import Model
    from bench.learn.pruning import Pruner

METHODS = ("magnitude", "structured", "2:4")
REMOVES = ("heads+neurons", "heads", "neurons")
BEFORE = "predict-before"
"""The phase in which the scored split is predicted once more, by the model that is still whole."""
OBSERVED = 32
"""Steps before a removal whose gradients choose what goes."""
_ONLY_OF = {
    "scope": "magnitude", "embeddings": "magnitude", "removes": "structured",
    "dropped_layers": "structured", "importance": "structured",
}  # fmt: skip


@dataclass
class Recipe(baseline.Recipe):
    """`magnitude`: the smallest weights become zero, more and more of them (Zhu and Gupta 2017).
    `structured`: heads, neurons and layers are gone (Michel et al. 2019). `2:4`: half of the
    weights are zero in the pattern of sparse tensor cores (Mishra et al. 2021)."""

    summary: ClassVar[str] = "weights become zero, or heads, neurons and layers go, in training"
    charges: ClassVar[str] = "removal and recovery, and a prediction before the first removal"
    paper: ClassVar[str] = (
        "https://arxiv.org/abs/1710.01878; https://arxiv.org/abs/1905.10650; "
        "https://arxiv.org/abs/2104.08378"
    )
    place: ClassVar[int] = 60
    refuses: ClassVar[Mapping[str, str]] = {
        "freeze": "what does not learn has no gradient to be judged by, and can't recover",
        "lora": "adapters leave the weights as they are, which pruning removes",
    }

    method: str = setting("magnitude", "magnitude, structured or 2:4", choices=METHODS)
    sparsity: float = setting(
        0.5, "share of the layers' weights, or of heads and neurons, that goes", low=0, high=0.99
    )
    begins: float = setting(0.1, "share of the steps before the first removal", low=0, high=1)
    ends: float = setting(0.5, "share of the steps before the last one", low=0, high=1)
    rounds: int = setting(8, "removals, ever smaller ones (2:4: one, when it begins)", low=1)
    scope: str = setting(
        "matrix", "smallest of each matrix, or global: of all", choices=("matrix", "global")
    )
    embeddings: bool = setting(False, "prune tables of embeddings as well")
    removes: str = setting("heads+neurons", "what goes in each layer", choices=REMOVES)
    dropped_layers: int = setting(0, "whole layers that go besides", low=0)
    importance: str = setting(
        "taylor", "taylor: by gradients; magnitude", choices=("taylor", "magnitude")
    )
    predict_before: bool = setting(
        True, "predict once before the first removal, to compare energies (not for magnitude)"
    )

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        method = settings["method"]
        for name, of in _ONLY_OF.items():
            if method != of and settings[name] != cls.__dataclass_fields__[name].default:
                return f"{name} is a setting of method={of}"
        if float(settings["begins"] or 0) > float(settings["ends"] or 0):
            return "begins must be at most ends"
        if method == "2:4" and settings["sparsity"] != 0.5:
            return "2:4 leaves two of four weights: its sparsity is 0.5"
        if not settings["sparsity"] and not settings["dropped_layers"]:
            return "with sparsity=0 nothing is removed"
        if method == "structured" and use.kind not in ("encoder", "decoder"):
            return f"it takes heads out of encoders and decoders, and {use.model} is {use.kind}"
        return super().refusal(use, settings)

    def prepare(self, training: Training) -> None:
        from bench.learn.encoder import layered

        super().prepare(training)
        if self.method == "structured":
            layered(training.model, "prune")  # or it is said before the first step
        self._made: Pruner | None = None
        self._removed = 0  # rounds
        self._predicted = False  # before the first of them, which may have to wait
        self._sparse_products = 0

    def _pruner(self, training: Training) -> Pruner:
        """Made when there is an optimizer."""
        from bench.learn import pruning

        if self._made is None:
            if self.method == "structured":
                self._made = pruning.Structure(training, *self._removed_shares(), self.importance)
            elif self.method == "2:4":
                self._made = pruning.TwoOfFour(training)
            else:
                self._made = pruning.Smallest(training, self.sparsity, self.scope, self.embeddings)
        return self._made

    def _removed_shares(self) -> tuple[float, float, int]:
        """Of heads and of neurons, and how many layers."""
        heads, neurons = ("heads" in self.removes, "neurons" in self.removes)
        return heads * self.sparsity, neurons * self.sparsity, self.dropped_layers

    def update(self, training: Training, rate: float) -> None:
        pruner = self._pruner(training)
        pruner.before_update()
        super().update(training, rate)
        ahead = self._steps(training)[self._removed :]
        pruner.after_update(bool(ahead) and ahead[0] - training.step <= OBSERVED)

    def after_step(self, training: Training) -> bool:
        steps = self._steps(training)
        due = sum(step <= training.step for step in steps)
        if due > self._removed:
            if not self._removed:
                self._predict_once(training)
            left = 1 - due / len(steps)
            if self._pruner(training).remove(_gone(left)):
                self._removed = due
        return super().after_step(training)

    def _predict_once(self, training: Training) -> None:
        if self.predict_before and not self._predicted and self._is_cheaper(training):
            predict_before(training)
            self._predicted = True

    def _is_cheaper(self, training: Training) -> bool:
        """Whether predictions take less afterwards."""
        from bench.learn import pruning

        if self.method == "2:4":
            return pruning.why_dense(training.model) is None
        return self.method == "structured"

    def _steps(self, training: Training) -> list[int]:
        """After which something goes."""
        rounds = 1 if self.method == "2:4" else self.rounds
        shares = [i / max(1, rounds - 1) for i in range(rounds)]
        spread = self.ends - self.begins
        return [max(1, round((self.begins + s * spread) * training.total_steps)) for s in shares]

    def finish(self, training: Training) -> None:
        super().finish(training)
        rounds = len(self._steps(training))
        if self._removed < rounds:
            message = f"the training ended after {self._removed} of {rounds} removals"
            training.events.send("warning", id="pruning-cut-short", message=message)
        if self.method == "2:4" and self._removed:
            self._multiply_sparsely(training)

    def left(self, shape: Shape) -> list[Shape]:
        """After each round: the training may have ended between two of them."""
        from bench.learn import pruning

        shapes = super().left(shape)
        if self.method != "structured":
            return shapes
        shares = [_gone(1 - due / self.rounds) for due in range(self.rounds + 1)]
        return [
            pruning.shape_left(of, *pruning.sizes_left(of, share, *self._removed_shares()))
            for of in shapes
            for share in shares
        ]

    def ready(self, model: Model) -> None:
        from bench.learn import pruning

        super().ready(model)
        if self.method == "2:4" and pruning.why_dense(model) is None:
            pruning.multiply_sparsely(model)

    def _multiply_sparsely(self, training: Training) -> None:
        from bench.learn import pruning

        if reason := pruning.why_dense(training.model):
            message = f"2:4: zeros are where they should be, and save nothing here: {reason}"
            training.events.send("warning", id="dense-2-of-4", message=message)
        else:
            self._sparse_products = pruning.multiply_sparsely(training.model)

    def facts(self, training: Training) -> dict[str, Any]:
        found = super().facts(training) | self._pruner(training).facts()
        return found | ({"sparse_products": self._sparse_products} if self.method == "2:4" else {})

    def state(self, training: Training) -> dict[str, Tensor]:
        import torch

        own = {"removed": torch.tensor(self._removed), **self._pruner(training).state()}
        return super().state(training) | {f"prune.{name}": t for name, t in own.items()}

    def resume(self, training: Training, state: dict[str, Tensor]) -> None:
        own = {n.removeprefix("prune."): t for n, t in state.items() if n.startswith("prune.")}
        self._removed = int(own.pop("removed"))
        self._pruner(training).resume(own)
        super().resume(training, state)


def _gone(left: float) -> float:
    """How much of what goes in the end is gone when this share of the rounds is left."""
    return 1 - left**3


_TRIED = 128
"""Rows that a forecast predicts."""


def predict_before(training: Training, within: str = "train") -> None:
    """Predict the scored split, or for a forecast some of it, in a phase of its own as a part of
    the phase `within`."""
    import numpy as np

    from bench.learn.loop import synchronise

    assert training.source is not None
    events, scored = training.events, training.source.splits["scored"]
    rows = None
    if training.trial_steps is not None:
        rows = np.linspace(0, len(scored) - 1, min(len(scored), _TRIED)).astype(int)
        share = float(scored.lengths[rows].sum() / scored.lengths.sum())
        events.send("plan_part", phase=BEFORE, share=share)
    synchronise(training.model.device)
    events.send("phase_start", phase=BEFORE)
    training.objective.predict(training.model, scored, rows)
    synchronise(training.model.device)
    events.send("phase_start", phase=within)
