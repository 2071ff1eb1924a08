"""The models that have a name: sizes from scratch, and checkpoints pinned by hash."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bench.learn.encoder import Shape


@dataclass(frozen=True)
class Scratch:
    """A pre-norm encoder with GELU; its tokenizer is trained with it."""

    width: int
    layers: int
    heads: int
    about: str
    pooling: Literal["first", "mean"] = "mean"
    settings: dict[str, Any] = field(default_factory=dict)

    def shape(self, vocabulary: int, max_length: int, pairs: bool) -> Shape:
        from bench.learn.encoder import Shape

        return Shape(
            vocabulary=vocabulary,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            hidden=4 * self.width,
            positions=max_length,
            segments=2 if pairs else 0,
            norm_first=True,
            pooling=self.pooling,
            epsilon=1e-5,
        )

    def describe(self, name: str) -> dict[str, Any]:
        blocks = self.layers * 12 * self.width**2
        return {
            "name": name,
            "track": "scratch",
            "about": self.about,
            "parameters": blocks + 8000 * self.width,
            "source": "trained from random weights",
            "licence": "Apache-2.0",
            "seen": [],
            "settings": self.settings,
        }


_FROM_SCRATCH = {"epochs": 3.0, "batch_size": 64, "learning_rate": 1e-3}

SCRATCH = {
    "transformer-tiny": Scratch(64, 2, 2, "2 layers of width 64", settings=_FROM_SCRATCH),
    "transformer-small": Scratch(128, 2, 4, "2 layers of width 128", settings=_FROM_SCRATCH),
    "transformer-base": Scratch(256, 4, 4, "4 layers of width 256", settings=_FROM_SCRATCH),
}
PRETRAINED: dict[str, Any] = {}


def describe_foreign(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "track": "open",
        "settings": {"epochs": 2.0, "batch_size": 32, "learning_rate": 3e-5},
    }
