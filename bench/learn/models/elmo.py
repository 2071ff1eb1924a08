"""ELMo (Peters et al. 2018): sizes from scratch, and weights that a run has saved."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.learn.models.download import Located
from bench.learn.models.scratch import Settings, from_scratch
from bench.learn.shapes import Shapes, dense

if TYPE_CHECKING:
    import torch

    from bench.cards import Family
    from bench.learn.elmo import Elmo
    from bench.learn.model import Model
    from bench.learn.models.wanted import Wanted
    from bench.learn.objectives import Keeps, Outputs
    from bench.learn.words import Words

DIRECTIONS = ("forward", "backward")
LAYERS = 2


@dataclass(frozen=True)
class Shape:
    filters: tuple[tuple[int, int], ...]  # (characters wide, how many)
    highways: int
    cell: int  # units of an LSTM
    width: int  # of words, and of what the LSTMs are projected to
    longest: int  # characters of a word that are read
    embedding: int = 16  # of a character

    @property
    def widest(self) -> int:
        return max(width for width, _ in self.filters)

    def weights(self) -> Shapes:
        """The weights of the layers by name, without what predicts words or classes."""
        from bench.learn.words import CHARACTERS

        features = sum(n for _, n in self.filters)
        found: Shapes = {"characters": (CHARACTERS, self.embedding)}
        for width, n in self.filters:
            found |= dense(f"filters.{width}", width * self.embedding, n)
        for i in range(self.highways):
            found |= dense(f"highways.{i}", features, 2 * features)
        found |= dense("words", features, self.width)
        for i in range(LAYERS):
            for direction in DIRECTIONS:
                name = f"layers.{i}.{direction}"
                found |= dense(f"{name}.input", self.width, 4 * self.cell)
                found[f"{name}.hidden.weight"] = (4 * self.cell, self.width)
                found[f"{name}.projection.weight"] = (self.width, self.cell)
        return found

    @property
    def parameters(self) -> int:
        """As papers count them: of the layers alone."""
        return sum(map(math.prod, self.weights().values()))


@dataclass(frozen=True)
class Scratch:
    """An ELMo from random weights; it reads words by their characters."""

    shape: Shape
    about: str
    settings: Settings
    of_running_text: Settings  # its settings as a language model

    def describe(self, name: str) -> dict[str, Any]:
        language: dict[Family, Settings] = {"language-modelling": self.of_running_text}
        parameters = self.shape.parameters
        return from_scratch(name, "elmo", self.about, parameters, self.settings, language)

    def locate(self, name: str) -> Located:
        return Located("scratch")

    def tokenizer(
        self, texts: Sequence[str], recipe: Any, checkpoint: Path | None, keeps: Keeps = "words"
    ) -> Words:
        """Words as they are, with capitals: nothing is trained."""
        from bench.learn.words import Words

        return Words(self.shape.longest)

    def build(self, wanted: Wanted) -> Model:
        from bench.learn.elmo import Elmo

        model = Elmo(
            self.shape, wanted.outputs, wanted.tokenizer, wanted.pairs, wanted.dtype, wanted.device
        )
        model.initialise(wanted.seed)
        return model


def read_shape(folder: Path) -> Shape:
    """The shape in a folder's config.json: Shape's fields and a model_type of bench-elmo."""
    path = folder / "config.json"
    try:
        facts = json.loads(path.read_bytes())
        given = {f.name: facts[f.name] for f in dataclasses.fields(Shape)}
        if facts["model_type"] != "bench-elmo":
            raise ValueError
        given["filters"] = tuple((int(width), int(n)) for width, n in given["filters"])
        return Shape(**given)
    except (OSError, ValueError, KeyError, TypeError):
        raise BenchError(f"{path} does not describe an ELMo of bench") from None


def load_elmo(
    folder: Path,
    outputs: Outputs,
    words: Words,
    pairs: bool,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Elmo:
    """The ELMo whose layers were saved in `folder` (config.json, model.safetensors), for `outputs`:
    with the head that was saved where it is of that shape, else with a new one. `words` must have
    been made for the shape's longest word (`read_shape`)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from bench.learn.elmo import Elmo

    shape = read_shape(folder)
    model = Elmo(shape, outputs, words, pairs, dtype, device)
    model.initialise(seed)  # for the head
    path = folder / "model.safetensors"
    try:
        saved = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BenchError(f"{path} can't be read: {str(error).splitlines()[0]}") from None
    layers = shape.weights()
    for name, weight in model.parameters.named().items():
        found = tuple(saved[name].shape) if name in saved else "nothing"
        if found == tuple(weight.shape) and (name in layers or outputs.per != "word"):
            weight.copy_(saved[name])
        elif name in layers:
            raise BenchError(f"{path} has {found} for {name}, where {layers[name]} is wanted")
    return model


_OF_TASKS = {"epochs": 2.0, "batch_size": 32}

MODELS = {
    "elmo-tiny": Scratch(
        Shape(((1, 16), (2, 16), (3, 32), (4, 64)), highways=1, cell=128, width=64, longest=20),
        "word characters, 2 bidirectional LSTM layers of 128 units projected to 64",
        _OF_TASKS | {"learning_rate": 2e-3},
        {"epochs": 4.0, "batch_size": 16, "max_length": 32, "learning_rate": 4e-3,
         "vocabulary_size": 10_000},
    ),
    "elmo-original": Scratch(
        Shape(
            ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024)),
            highways=2, cell=4096, width=512, longest=50,
        ),
        "as published: word characters, 2 bidirectional LSTM layers of 4096 units projected to 512",
        _OF_TASKS | {"learning_rate": 3e-4},
        {"epochs": 10.0, "batch_size": 128, "max_length": 20, "learning_rate": 5e-4,
         "vocabulary_size": 100_000},
    ),
}  # fmt: skip
