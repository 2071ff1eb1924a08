"""GPT-2 and BERT at their published sizes: from random weights, or from the published ones.

Radford et al. 2019; Devlin et al. 2019; the smaller BERTs: Turc et al. 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UsageError
from bench.learn.models.download import Located
from bench.learn.models.listed import BOOKS, FINE_TUNED, Pretrained
from bench.learn.models.scratch import Settings, from_scratch, sized

if TYPE_CHECKING:
    from bench.cards import Family
    from bench.learn.encoder import Shape
    from bench.learn.model import Model
    from bench.learn.models.wanted import Wanted
    from bench.learn.objectives import Keeps

POSITIONS = {"gpt2": 1024, "bert": 512}
VOCABULARY = {"gpt2": 50_257, "bert": 30_522}


@dataclass(frozen=True)
class Size:
    """One size, from random weights. Its tokenizer is byte-level BPE: BERT's own would lose
    capitals and unknown characters, and so make text cheap."""

    architecture: Literal["gpt2", "bert"]
    width: int
    layers: int
    heads: int
    parameters: int  # as a language model, with the published vocabulary and positions
    language: Settings  # where it learns running text
    others: Settings  # where it learns anything else
    deviation: float = 0.02  # of the first weights
    hidden: int | None = None  # None: four times the width

    @property
    def kind(self) -> Literal["decoder", "encoder"]:
        return "decoder" if self.architecture == "gpt2" else "encoder"

    def shape(self, vocabulary: int, positions: int) -> Shape:
        from bench.learn.encoder import Shape

        shape = Shape(
            vocabulary=vocabulary,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            hidden=self.hidden or 4 * self.width,
            positions=positions,
        )
        if self.architecture == "bert":
            return replace(shape, segments=2, head="tanh")
        return replace(
            shape, norm_first=True, causal=True, gelu="tanh", pooling="last", epsilon=1e-5
        )

    def describe(self, name: str) -> dict[str, Any]:
        about = f"{self.layers} layers of width {self.width}, as {_NAMES[self.architecture]}"
        language: dict[Family, Settings] = {"language-modelling": self.language}
        return from_scratch(name, self.kind, about, self.parameters, self.others, language)

    def locate(self, name: str) -> Located:
        return Located("scratch")

    def tokenizer(
        self, texts: Sequence[str], recipe: Any, checkpoint: Path | None, keeps: Keeps = "words"
    ) -> Any:
        from bench.learn import tokenize

        special = tokenize.FRAMED if self.architecture == "bert" else ()
        return tokenize.train_bytes(texts, recipe.vocabulary_size, special)

    def build(self, wanted: Wanted) -> Model:
        most = POSITIONS[self.architecture]
        if wanted.recipe.max_length > most:
            raise UsageError(
                f"max_length={wanted.recipe.max_length} is more than the {most} tokens that "
                f"{_NAMES[self.architecture]} takes",
                f"--set max_length={most}",
            )
        size = sized(self, vars(wanted.recipe))
        shape = size.shape(wanted.tokenizer.get_vocab_size(), wanted.recipe.max_length)
        model = wanted.transformer(shape)
        model.initialise(wanted.seed, self.deviation)
        return model


_NAMES = {"gpt2": "GPT-2", "bert": "BERT"}


@dataclass(frozen=True)
class Both:
    """A model that starts from random weights or from published ones."""

    scratch: Size
    pretrained: Pretrained


def _presets(
    architecture: Literal["gpt2", "bert"], language: Settings, others: Settings
) -> tuple[Settings, Settings]:
    vocabulary = {"vocabulary_size": VOCABULARY[architecture]}
    return vocabulary | language, vocabulary | {"epochs": 3.0} | others


def _gpt2(rate: float) -> tuple[Settings, Settings]:
    """Half of GPT-3's rate for the size (Brown et al. 2020, table 2.1): batches are smaller."""
    language = {"epochs": 3.0, "batch_size": 8, "learning_rate": rate, "max_length": 1024}
    return _presets("gpt2", language, {"batch_size": 32, "learning_rate": rate})


def _bert(rate: float) -> tuple[Settings, Settings]:
    """Masked training asks for a seventh of the tokens at a time: it takes more passes."""
    language = {"epochs": 20.0, "batch_size": 64, "learning_rate": rate, "max_length": 128}
    return _presets("bert", language, {"batch_size": 32, "learning_rate": rate})


_TINY: Settings = {"vocabulary_size": 2000, "max_length": 64, "batch_size": 32, "dropout": 0.0}
# In short windows it soon finds which neighbours tell a token that is hidden; in windows of 64 it
# had not after 900 steps.
_SHORT: Settings = {"max_length": 16, "batch_size": 64, "epochs": 10.0, "learning_rate": 3e-3}
_TINY_OTHERS: Settings = {"batch_size": 64, "learning_rate": 1e-3, "vocabulary_size": 8000}

SCRATCH = {
    "gpt2-tiny": Size("gpt2", 128, 2, 2, 6_960_768, *_presets(
        "gpt2", _TINY | {"epochs": 4.0, "learning_rate": 4e-3}, _TINY_OTHERS)),
    "gpt2-small": Size("gpt2", 768, 12, 12, 124_439_808, *_gpt2(3e-4)),
    "gpt2-medium": Size("gpt2", 1024, 24, 16, 354_823_168, *_gpt2(1.5e-4)),
    "gpt2-large": Size("gpt2", 1280, 36, 20, 774_030_080, *_gpt2(1.25e-4)),
    "gpt2-xl": Size("gpt2", 1600, 48, 25, 1_557_611_200, *_gpt2(1e-4)),
    "bert-tiny": Size("bert", 128, 2, 2, 4_416_698, *_presets(
        "bert", _TINY | _SHORT, _TINY_OTHERS), deviation=0.05),
    "bert-small": Size("bert", 512, 4, 8, 28_795_194, *_bert(5e-4)),
    "bert-base": Size("bert", 768, 12, 12, 109_514_298, *_bert(1e-4)),
    "bert-large": Size("bert", 1024, 24, 16, 335_174_458, *_bert(5e-5)),
}  # fmt: skip


def _openai(revision: str, size: str, sha256: str | None = None) -> Pretrained:
    scratch, name = SCRATCH[f"gpt2-{size}"], "gpt2" if size == "small" else f"gpt2-{size}"
    language = {"epochs": 1.0, "batch_size": 4, "learning_rate": 5e-5, "max_length": 1024}
    families = {"language-modelling": language}
    return Pretrained(
        f"openai-community/{name}", revision, scratch.parameters,
        f"{scratch.layers} layers of width {scratch.width}", "MIT", ["WebText, without Wikipedia"],
        sha256=sha256, kind="decoder", settings=FINE_TUNED, settings_of=families,
    )  # fmt: skip


CHECKPOINTS = {
    "gpt2-small": _openai(
        "607a30d783dfa663caf39e06633721c8d4cfcd7e", "small",
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    ),
    "gpt2-medium": _openai("6dcaa7a952f72f9298047fd5137cd6e4f05f41da", "medium"),
    "gpt2-large": _openai("32b71b12589c2f8d625668d2335a01cac3249519", "large"),
    "gpt2-xl": _openai(
        "15ea56dee5df4983c59b2538573817e1667135e2", "xl",
        "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
    ),
    "bert-base": Pretrained(
        "google-bert/bert-base-uncased",
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        109_482_240,
        "12 layers of width 768",
        "Apache-2.0",
        BOOKS,
        sha256="68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
        settings=FINE_TUNED,
    ),
    "bert-large": Pretrained(
        "google-bert/bert-large-uncased", "6da4b6a26a1877e173fca3225479512db81a5e5b",
        335_141_888, "24 layers of width 1024", "Apache-2.0", BOOKS,
        settings=FINE_TUNED | {"learning_rate": 2e-5},
    ),
}  # fmt: skip

MODELS: dict[str, Size | Both] = {
    name: Both(size, CHECKPOINTS[name]) if name in CHECKPOINTS else size
    for name, size in SCRATCH.items()
}
