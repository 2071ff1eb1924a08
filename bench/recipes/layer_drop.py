"""A model with fewer layers than it has, from the first step on; or with some left out at random
while it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError
from bench.recipes import Use, baseline, setting
from bench.record import Scalar

if TYPE_CHECKING:
    from torch import Tensor

    from bench.learn.encoder import Shape
    from bench.learn.loop import Training

KEEP = ("first", "last", "every-other")


@dataclass
class Recipe(baseline.Recipe):
    """Layers that are dropped are gone: no parameters, no time (Sajjad et al. 2020). With a
    `drop_rate`, each step leaves out some of the others, which all predict (LayerDrop, Fan et al.
    2019)."""

    summary: ClassVar[str] = "fewer layers of the model from the start, or in each step at random"
    paper: ClassVar[str] = "https://arxiv.org/abs/2004.03844; https://arxiv.org/abs/1909.11556"
    place: ClassVar[int] = 30

    kept_layers: int = setting(0, "layers that stay; 0: half of them, rounded up", low=0)
    keep: str = setting("first", "which: first, last, or every-other, evenly spread", choices=KEEP)
    drop_rate: float = setting(0.0, "chance that a step leaves out a layer", low=0, high=0.9)

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        if use.kind not in ("encoder", "decoder"):
            return f"it takes layers out of encoders and decoders, and {use.model} is {use.kind}"
        if use.layers is not None:
            kept: Any = settings["kept_layers"]
            rate: Any = settings["drop_rate"]
            wanted = _wanted(kept, use.layers)
            if not _drops(wanted, use.layers, rate):
                return _nothing_dropped(wanted, use.layers)
        return super().refusal(use, settings)

    def prepare(self, training: Training) -> None:
        from bench.learn import surgery
        from bench.learn.encoder import layered

        model = layered(training.model, "layer-drop")
        self._kept = self._chosen_layers(model.shape.layers)
        self._passes = self._left_out = 0
        surgery.cut(model, surgery.only_layers(model.shape, self._kept))
        super().prepare(training)
        self._leave_out(training)

    def _chosen_layers(self, has: int) -> list[int]:
        """Numbers of the layers that stay."""
        wanted = _wanted(self.kept_layers, has)
        if not _drops(wanted, has, self.drop_rate):
            raise UsageError(
                _nothing_dropped(wanted, has),
                "a smaller --set kept_layers=..., or --set drop_rate=...",
            )
        if self.keep == "first":
            return list(range(wanted))
        if self.keep == "last":
            return list(range(has - wanted, has))
        return [round(i * (has - 1) / max(1, wanted - 1)) for i in range(wanted)]

    def left(self, shape: Shape) -> list[Shape]:
        from bench.learn import surgery

        kept = surgery.only_layers(shape, self._chosen_layers(shape.layers))
        return super().left(kept.shape(shape))

    def resume(self, training: Training, state: dict[str, Tensor]) -> None:
        super().resume(training, state)
        self._passes, self._left_out = state["layer_drop"].tolist()
        self._leave_out(training)

    def state(self, training: Training) -> dict[str, Tensor]:
        import torch

        passes = torch.tensor([self._passes, self._left_out])
        return super().state(training) | {"layer_drop": passes}

    def after_step(self, training: Training) -> bool:
        model: Any = training.model
        self._passes += model.shape.layers
        self._left_out += len(model.skipped)
        ends = super().after_step(training)
        self._leave_out(training)
        return ends

    def _leave_out(self, training: Training) -> None:
        """Choose what the next step leaves out: the same in each process, and after a break."""
        import numpy as np

        model: Any = training.model
        chances = np.random.default_rng((training.seed, training.step)).random(model.shape.layers)
        learn = range(max(0, model.fixed - 1), model.shape.layers)  # others may be frozen
        model.skipped = frozenset(i for i in learn if chances[i] < self.drop_rate)

    def facts(self, training: Training) -> dict[str, Any]:
        found: dict[str, Any] = {"layers_kept": " ".join(map(str, self._kept))}
        if self.drop_rate:
            found["left_out_share"] = round(self._left_out / max(1, self._passes), 4)
        return super().facts(training) | found


def _wanted(kept_layers: int, has: int) -> int:
    return kept_layers or (has + 1) // 2


def _drops(wanted: int, has: int, drop_rate: float) -> bool:
    return wanted < has or (wanted == has and drop_rate > 0)


def _nothing_dropped(wanted: int, has: int) -> str:
    return f"kept_layers={wanted}: the model has {has}, and none would be dropped"
