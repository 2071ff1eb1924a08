"""The Transformer as published for translation (Vaswani et al. 2017): an encoder and a decoder.

For other families of tasks the same names are encoders, in `listed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cards import Family
from bench.learn.models.download import Located
from bench.learn.models.scratch import Settings, from_scratch, sized

if TYPE_CHECKING:
    from bench.learn.model import Model
    from bench.learn.models.wanted import Wanted
    from bench.learn.objectives import Keeps
    from bench.learn.translator import Shape

FAMILIES: tuple[Family, ...] = ("translation",)


@dataclass(frozen=True)
class Scratch:
    """An encoder-decoder; the byte-level BPE that both languages share is trained with it."""

    width: int
    layers: int  # of the encoder, and as many of the decoder
    heads: int
    hidden: int
    settings: Settings = field(default_factory=dict)

    def shape(self, vocabulary: int) -> Shape:
        from bench.learn.translator import Shape

        return Shape(vocabulary, self.width, self.layers, self.heads, self.hidden)

    def describe(self, name: str) -> dict[str, Any]:
        about = f"{self.layers} and {self.layers} layers of width {self.width}"
        parameters = self.parameters(self.settings["vocabulary_size"])
        return from_scratch(name, "encoder-decoder", about, parameters, self.settings)

    def parameters(self, vocabulary: int) -> int:
        """Of a model whose tokenizer has this many tokens: no torch is needed to count them."""
        d, block = self.width, 2 * self.width * self.hidden + self.hidden + self.width
        attention, norm = 4 * (d * d + d), 2 * d
        encoder, decoder = attention + block + 2 * norm, 2 * attention + block + 3 * norm
        return vocabulary * d + self.layers * (encoder + decoder)

    def locate(self, name: str) -> Located:
        return Located("scratch")

    def tokenizer(
        self, texts: Sequence[str], recipe: Any, checkpoint: Path | None, keeps: Keeps = "words"
    ) -> Any:
        from bench.learn import tokenize

        return tokenize.train_bytes(texts, recipe.vocabulary_size)

    def build(self, wanted: Wanted) -> Model:
        from bench.learn.beam import EXTRA
        from bench.learn.translator import Translator

        shape = sized(self, vars(wanted.recipe)).shape(wanted.tokenizer.get_vocab_size())
        positions = wanted.recipe.max_length + EXTRA
        model = Translator(shape, positions, wanted.dtype, wanted.device)
        model.initialise(wanted.seed)
        return model


_AS_PUBLISHED = {
    "schedule": "inverse-sqrt",
    "beta2": 0.98,
    "label_smoothing": 0.1,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
}
_WARMUP = 4000  # steps, to a rate of (width * steps) ** -0.5
_PUBLISHED_BATCH = {"batch_tokens": 50_000, "vocabulary_size": 37_000}  # 25,000 a side


def _rate(width: int) -> dict[str, float]:
    return {"learning_rate": round((width * _WARMUP) ** -0.5, 7)}


MODELS = {
    # The size that papers on Multi30k use. Small batches at a small rate make enough steps of a few
    # epochs on a CPU; at 0.002 it learned several times slower, at 0.004 nothing.
    "transformer-tiny": Scratch(128, 4, 4, 256, _AS_PUBLISHED | {
        "epochs": 10.0, "batch_tokens": 512, "vocabulary_size": 8000, "learning_rate": 1e-3,
        "warmup_share": 0.1, "dropout": 0.1, "clip_norm": 1.0,
    }),
    "transformer-base": Scratch(512, 6, 8, 2048, _AS_PUBLISHED | _PUBLISHED_BATCH | _rate(512) | {
        # 100,000 steps on the 4.5 million pairs of WMT14
        "epochs": 19.0, "warmup_share": _WARMUP / 100_000, "dropout": 0.1,
    }),
    "transformer-big": Scratch(1024, 6, 16, 4096, _AS_PUBLISHED | _PUBLISHED_BATCH | _rate(1024) | {
        # 300,000 steps
        "epochs": 57.0, "warmup_share": _WARMUP / 300_000, "dropout": 0.3,
    }),
}  # fmt: skip
