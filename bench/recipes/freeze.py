"""Some of a pretrained model does not learn: the embeddings and the lowest layers, which know most
of what another task needs (Lee et al. 2019), for good or until their turn comes (Howard and Ruder
2018).

What is frozen has no gradient, no moment and no decay. The backward pass ends at the lowest layer
that learns, and below it there is no dropout: what frozen layers give for a text is always the
same, so that later epochs recall it instead of computing it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError
from bench.recipes import Use, baseline, setting
from bench.record import Scalar

if TYPE_CHECKING:
    from torch import Tensor

    from bench.learn.encoder import Layers
    from bench.learn.loop import Training
    from bench.learn.recall import Recall


@dataclass
class Recipe(baseline.Recipe):
    """The parts of a model are its embeddings, its layers from the lowest on, and its head, which
    always learns."""

    summary: ClassVar[str] = "embeddings and the lowest layers don't learn, or begin to one by one"
    paper: ClassVar[str] = "https://arxiv.org/abs/1911.03090; https://arxiv.org/abs/1801.06146"
    place: ClassVar[int] = 60
    refuses: ClassVar[Mapping[str, str]] = {
        "lora": "its adapters are for layers that don't learn, in all of them",
        "sparse-embedding": "frozen embeddings have no update that could be cheaper",
    }

    frozen_layers: int = setting(
        -1,
        "lowest layers that never learn, nor do the embeddings; -1: half of them, or with "
        "unfreeze_share none",
        low=-1,
    )
    unfreeze_share: float = setting(
        0.0,
        "share of the steps over which layers begin to learn, the highest first; 0: at once",
        low=0,
        high=1,
    )
    cache: bool = setting(
        True, "keep in memory what frozen layers give for each token, for later epochs"
    )

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        if use.kind not in ("encoder", "decoder"):
            return f"it freezes layers of encoders and decoders, and {use.model} is {use.kind}"
        frozen: Any = settings["frozen_layers"]
        if use.layers is not None and frozen > use.layers:
            return _too_many(frozen, use.layers)
        return super().refusal(use, settings)

    def prepare(self, training: Training) -> None:
        model = _model(training)
        layers = model.shape.layers
        if self.frozen_layers > layers:
            raise UsageError(_too_many(self.frozen_layers, layers))
        self._lowest = self.frozen_layers + 1
        if self.frozen_layers < 0:
            self._lowest = 0 if self.unfreeze_share else layers // 2 + 1
        self._begun: list[
            tuple[int, int]
        ] = []  # parts that were frozen still, and since which step
        self._recall: Recall | None = None
        model.fix(layers + 1 if self.unfreeze_share else self._lowest)
        super().prepare(training)
        self._trained_at_first = _trained(model)
        if self.cache and model.fixed > 1 and not self.unfreeze_share and self.epochs > 1:
            self._remember(training, model)

    def _remember(self, training: Training, model: Layers) -> None:
        """Have later epochs recall what the frozen parts give, if that fits into memory."""
        from bench.learn.batches import Packed
        from bench.learn.recall import Recall

        if not isinstance(training.train, Packed):
            return
        per_text = model.first_only and model.fixed > model.shape.layers
        width, dtype = model.shape.width, model.dtype
        needed = Recall.bytes_of(training.train, width, dtype, per_text)
        free = _free_memory(model.device)
        if free is not None and needed > free / 2:
            message = (
                f"what frozen layers give takes {needed / 1e9:.1f} GB, of {free / 1e9:.1f} GB that "
                "are free: it is computed in each epoch"
            )
            training.events.send("warning", id="not-cached", message=message)
            return
        self._recall = Recall(training.train, width, dtype, model.device, per_text)
        model.recall = self._recall

    def after_step(self, training: Training) -> bool:
        ends = super().after_step(training)
        model = _model(training)
        still = self._still_frozen(training)
        if still < model.fixed and self.unfreeze_share:
            model.fix(still)
            self._begun.append((still, training.step))
        return ends

    def _still_frozen(self, training: Training) -> int:
        """Parts that don't learn in the next step: at first only the head does, and after the last
        of equal periods all that ever learns."""
        most = _model(training).shape.layers + 1
        done = training.step / (self.unfreeze_share * training.total_steps or 1)
        return max(self._lowest, most - math.floor((most - self._lowest) * done + 1e-9))

    def facts(self, training: Training) -> dict[str, Any]:
        model = _model(training)
        found: dict[str, Any] = {
            "frozen_layers": max(0, model.fixed - 1),
            "trained_parameters": self._trained_at_first,
        }
        if self.unfreeze_share:
            found["trained_parameters_at_last"] = _trained(model)
            found["unfrozen_at"] = " ".join(str(step) for _, step in self._begun)
        if self._recall is not None:
            found["recalled_share"] = round(self._recall.share, 4)
            found["recalled_bytes"] = self._recall.bytes
        return super().facts(training) | found

    def state(self, training: Training) -> dict[str, Tensor]:
        import torch

        begun = torch.tensor(self._begun, dtype=torch.int64).view(-1, 2)
        return super().state(training) | {"freeze": begun}

    def resume(self, training: Training, state: dict[str, Tensor]) -> None:
        """As it came about, since what began to learn together is updated together."""
        super().resume(training, state)
        for still, step in state["freeze"].tolist():
            _model(training).fix(still)
            self._begun.append((still, step))


def _model(training: Training) -> Layers:
    from bench.learn.encoder import layered

    return layered(training.model, "freeze")


def _trained(model: Any) -> int:
    """How many parameters learn."""
    table = getattr(model, "table", None)
    in_table = table.rows.numel() if table is not None and table.learns else 0
    return int(model.parameters.trained) + in_table


def _free_memory(device: Any) -> int | None:
    """Bytes; None where that is not known."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(sizes[0]) if sizes else None


def _too_many(frozen: int, layers: int) -> str:
    return f"frozen_layers={frozen}: the model has {layers} layers"
