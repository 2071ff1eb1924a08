"""What a model is made for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from bench.learn.encoder import Encoder, Shape
    from bench.learn.language import LanguageModel
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

    def transformer(self, shape: Shape) -> LanguageModel | Encoder:
        """Of this shape, for what is asked; its weights are still to be filled."""
        from bench.learn.encoder import Encoder
        from bench.learn.language import LanguageModel

        if self.outputs.per == "word":
            return LanguageModel(shape, self.dtype, self.device)
        return Encoder(shape, self.outputs.size, self.dtype, self.device, self.per_token)
