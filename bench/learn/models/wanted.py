"""What a model is made for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from bench.learn.objectives import Outputs


@dataclass(frozen=True)
class Wanted:
    """What one training asks of the model that it begins with."""

    checkpoint: Path | None  # None: from random weights
    tokenizer: Any
    recipe: Any
    outputs: Outputs
    pairs: bool  # of texts
    seed: int
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Of activations and products."""
        import torch

        found: torch.dtype = getattr(torch, self.recipe.precision)
        return found

    @property
    def per_token(self) -> bool:
        return self.outputs.per == "token"
