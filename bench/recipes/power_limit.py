"""Run with a lower power limit of the GPU: slower steps, each with less energy, up to a point.

The parent sets it before the window opens and puts it back afterwards, whatever happens
(`bench.power.limit`); nothing is asked of the process that learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bench.recipes import Use, baseline, setting
from bench.record import Scalar


@dataclass
class Recipe(baseline.Recipe):
    """The watts are of each GPU that the training can see."""

    summary: ClassVar[str] = "a lower power limit of the GPU from before the window to its end"
    paper: ClassVar[str] = "https://arxiv.org/abs/2208.06102"
    place: ClassVar[int] = 90

    limit_share: float = setting(0.7, "of the GPU's default power limit", above=0, high=1)
    limit_w: float = setting(0.0, "watts, in place of the share; 0: the share", low=0)

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        if use.device != "cpu":
            return None
        return "it is a setting of NVIDIA GPUs, and this training uses the processor alone"

    def power_limit_w(self, default_w: float) -> float:
        return self.limit_w or self.limit_share * default_w
