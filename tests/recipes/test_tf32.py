"""TF32: a setting of torch that a GPU alone obeys, and that the baseline turns off."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bench import recipes
from bench.errors import UsageError
from bench.learn import worker
from bench.recipes import data_prune
from tests.learn.test_loop import SHAPES, encoder, texts, training

USE = recipes.Use("classification", "transformer-tiny", "encoder", False, "cpu")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    kept = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(kept[0])
    torch.backends.cudnn.allow_tf32 = kept[1]


def on_a_gpu_of(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")


def test_a_cpu_is_refused_and_a_gpu_is_not() -> None:
    with pytest.raises(UsageError, match="tf32 can't be used here: TF32 is a mode of NVIDIA GPUs"):
        recipes.check("tf32", USE, {})
    recipes.check("tf32", dataclasses.replace(USE, device="cuda"), {})


@pytest.mark.parametrize("recipe", ["tf32", "power-limit"])
def test_a_device_that_nobody_knows_yet_is_not_refused(recipe: str) -> None:
    recipes.check(recipe, dataclasses.replace(USE, device=""), {})


def test_products_of_the_process_are_tf32_and_the_record_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_a_gpu_of((9, 0), monkeypatch)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    torch.backends.cudnn.allow_tf32 = True  # torch's own default
    worker.start("cuda", 1)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (
        "highest",
        False,
    ), "the baseline's products are exact"
    run = training(encoder(SHAPES["as BERT"]), texts(), "tf32")
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (
        "high",
        True,
    )
    assert run.recipe.facts(run) == {"products": "tf32"}


def test_a_gpu_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_gpu_of((7, 5), monkeypatch)
    with pytest.raises(UsageError, match="Tesla T4 is older than Ampere"):
        training(encoder(SHAPES["as BERT"]), texts(), "tf32")


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_products_have_one_precision(half: str) -> None:
    with pytest.raises(UsageError, match="don't combine: products have one precision"):
        recipes.named(f"tf32+{half}")


def test_what_is_trained_before_has_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_gpu_of((9, 0), monkeypatch)
    torch.set_float32_matmul_precision("highest")
    found = []

    def chosen(self: object, training: object) -> np.ndarray:
        found.append(torch.get_float32_matmul_precision())
        return np.arange(8)

    monkeypatch.setattr(data_prune.Recipe, "_chosen", chosen)
    training(encoder(SHAPES["as BERT"]), texts(), "data-prune+tf32")
    assert found == ["high"]
