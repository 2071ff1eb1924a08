"""Models from scratch in a size of one's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from bench import recipes
from bench.cards import Family
from bench.errors import UsageError
from bench.learn import models
from bench.learn.models.wanted import Wanted
from bench.learn.objectives import Outputs

WORDS = Tokenizer(WordLevel({f"w{i}": i for i in range(50)}, "w0"))


def build(name: str, family: Family = "classification", per: Any = "text", **given: Any) -> Any:
    texts = {setting: str(value) for setting, value in given.items()}
    settings = recipes.resolve("baseline", name, texts, family, pretrained=False)
    models.layers(name, False, family, settings)
    recipe = recipes.build("baseline", settings)
    outputs = Outputs(per, 2)
    wanted = Wanted(None, WORDS, recipe, outputs, False, 1, torch.device("cpu"))
    return models.entry(name, False, family).build(wanted)


@pytest.mark.parametrize(
    ("name", "given", "shape"),
    [
        ("transformer-small", {}, (2, 128, 4, 512)),
        ("transformer-small", {"layers": 3}, (3, 128, 4, 512)),
        ("transformer-small", {"width": 64}, (2, 64, 4, 256)),
        ("transformer-small", {"width": 60, "heads": 5, "hidden": 32}, (2, 60, 5, 32)),
        ("bert-tiny", {"layers": 1, "heads": 4}, (1, 128, 4, 512)),
        ("gpt2-tiny", {"width": 32, "hidden": 96}, (2, 32, 2, 96)),
    ],
)
def test_the_size_is_as_set(
    name: str, given: dict[str, int], shape: tuple[int, int, int, int]
) -> None:
    found = build(name, **given).shape
    assert (found.layers, found.width, found.heads, found.hidden) == shape


def test_language_models_and_translators_have_a_size_too() -> None:
    found = build("gpt2-tiny", "language-modelling", "word", layers=1, width=64).shape
    assert (found.layers, found.width, found.hidden) == (1, 64, 256)
    found = build("transformer-tiny", "translation", "word", layers=1, width=48, heads=3).shape
    assert (found.layers, found.width, found.heads, found.hidden) == (1, 48, 3, 96)


@pytest.mark.parametrize(
    ("name", "given", "said", "hint"),
    [
        (
            "transformer-small",
            {"width": 100, "heads": 3},
            "100 can't be cut into 3 heads",
            "2 or 4",
        ),
        ("transformer-small", {"heads": 7}, "128 can't be cut into 7 heads", "--set heads=4 or 8"),
        (
            "elmo-tiny",
            {"layers": 3},
            "layers=3: the size of this model can't be set",
            "from scratch",
        ),
        ("transformer-small", {"layers": 0}, "layers=0: must be at least 1", ""),
    ],
)
def test_a_size_that_cant_be(name: str, given: dict[str, int], said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(name, **given)
    assert said in caught.value.message
    assert hint in (caught.value.hint or "")


def test_pretrained_weights_have_one_size() -> None:
    settings = recipes.resolve("baseline", "bert-base", {"width": "64"}, "classification")
    with pytest.raises(UsageError, match="width=64: the size of this model can't be set"):
        models.layers("bert-base", True, "classification", settings)
