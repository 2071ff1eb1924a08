"""Products and activations in bfloat16; weights, moments and updates stay in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.recipes import baseline


@dataclass
class Recipe(baseline.Recipe):
    """The weights are cast once a step; the embedding's rows as they are looked up."""

    summary: ClassVar[str] = "products and activations in bfloat16, weights in float32"
    paper: ClassVar[str] = "https://arxiv.org/abs/1905.12322"
    precision: ClassVar[str] = "bfloat16"
