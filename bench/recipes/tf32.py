"""Products of float32 numbers by the tensor cores of NVIDIA GPUs since Ampere, which read 10 bits
of their 23 and sum in float32. Everything else is as in `baseline`, which forbids it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError
from bench.recipes import Use, baseline
from bench.record import Scalar

if TYPE_CHECKING:
    from bench.learn.loop import Training

_ONE = "products have one precision"
_SINCE = (8, 0)  # compute capability of Ampere


@dataclass
class Recipe(baseline.Recipe):
    """A setting of the process, made before all else: it holds for a teacher and a proxy, too."""

    summary: ClassVar[str] = "float32 products by tensor cores, with 10 of 23 bits (TF32)"
    paper: ClassVar[str] = (
        "https://developer.nvidia.com/blog/accelerating-ai-training-with-tf32-tensor-cores/"
    )
    place: ClassVar[int] = 7
    refuses: ClassVar[Mapping[str, str]] = {"bf16": _ONE, "fp16": _ONE}

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        if use.device != "cpu":
            return None
        return "TF32 is a mode of NVIDIA GPUs; a CPU multiplies float32 as it is"

    def prepare(self, training: Training) -> None:
        import torch

        if torch.cuda.get_device_capability(training.model.device) < _SINCE:
            name = torch.cuda.get_device_name(training.model.device)
            raise UsageError(f"tf32 can't be used here: {name} is older than Ampere")
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        super().prepare(training)

    def facts(self, training: Training) -> dict[str, Any]:
        import torch

        allowed = torch.get_float32_matmul_precision() == "high"
        return super().facts(training) | {"products": "tf32" if allowed else "float32"}
