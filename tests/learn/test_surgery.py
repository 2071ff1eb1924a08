"""Heads, neurons and layers that are taken out: what is left computes what it did, and goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.learn import surgery
from bench.learn.adamw import AdamW
from bench.learn.encoder import Encoder, Shape
from bench.learn.language import LanguageModel
from bench.learn.models import download
from bench.learn.objectives import Outputs
from tests.learn.plain import PlainEncoder
from tests.learn.test_saved import BERT, CPU, GPT2, OURS, TWO, encoder, kept, logits, read, rows
from tests.learn.test_saved import tokenizer as tokenizer

LEFT = surgery.Kept([0, 2], [[1, 2], [0, 3]], [[0, 5, 6, 31], [1, 2, 3, 4]])
SHAPES = [replace(shape, layers=3, heads=4) for shape in (OURS, BERT)]


def without(model: Encoder) -> torch.Tensor:
    """The logits with what goes set to zero, where a layer is residual alone."""
    named = model.parameters.named()
    for i, heads, neurons in zip(LEFT.layers, LEFT.heads, LEFT.neurons, strict=True):
        width = model.shape.width // 4
        for head in set(range(4)) - set(heads):
            named[f"layers.{i}.mix.weight"][:, head * width : (head + 1) * width] = 0
        gone = sorted(set(range(32)) - set(neurons))
        named[f"layers.{i}.down.weight"][:, gone] = 0
    if model.shape.norm_first:
        for part in ("mix", "down"):
            named[f"layers.1.{part}.weight"].zero_()
            named[f"layers.1.{part}.bias"].zero_()
    return logits(model)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_what_is_left_computes_what_the_whole_did_without_the_rest(pooling: str) -> None:
    shape = replace(SHAPES[0], pooling=pooling)
    whole, small = encoder(shape), encoder(shape)
    surgery.cut(small, LEFT)
    assert (small.shape.layers, small.shape.heads, small.shape.hidden) == (2, 2, 4)
    assert small.shape.head_width == 4
    assert small.size < whole.size
    torch.testing.assert_close(logits(small), without(whole), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=["ours", "bert"])
def test_it_is_trained_as_autograd_trains_it(shape: Shape) -> None:
    model = encoder(shape)
    surgery.cut(model, LEFT)
    texts, everyone = rows(), np.arange(4)
    plain = PlainEncoder(model)
    model.table.touched = 60
    batch = texts.batch(everyone, CPU)
    model.begin_step(batch)
    model.outputs(batch, None).square().sum().backward()
    model.parameters.end_step()
    plain.logits(texts, everyone).square().sum().backward()
    found = model.parameters.views(model.parameters.grad)
    for name, weight in plain.weights.items():
        if name != "tokens" and weight.grad is not None:
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-4)


def test_moments_go_with_their_weights() -> None:
    model = encoder(SHAPES[0])
    optimizer = AdamW(model.parameters, model.table, 0.01)
    n = model.parameters.master.numel()
    for name in ("mean", "square"):
        optimizer.state()[name].copy_(torch.arange(n))
    before = {k: v.clone() for k, v in model.parameters.views(optimizer.state()["mean"]).items()}
    surgery.cut(model, LEFT, optimizer)
    left = optimizer.state()
    assert left["mean"].numel() == left["square"].numel() == model.parameters.master.numel() < n
    assert torch.equal(left["mean"], left["square"])
    moments = model.parameters.views(left["mean"])
    assert torch.equal(
        moments["layers.1.down.weight"], before["layers.2.down.weight"][:, [1, 2, 3, 4]]
    )
    assert torch.equal(moments["layers.0.up.bias"], before["layers.0.up.bias"][[0, 5, 6, 31]])
    assert torch.equal(moments["classes.weight"], before["classes.weight"])
    weights = model.parameters.named()["layers.0.qkv.weight"].clone()
    model.parameters.grad.fill_(1.0)
    for weight in model.parameters.weights.values():
        weight.fresh = False
    optimizer.step(0.1, 0.0)
    assert not torch.equal(model.parameters.named()["layers.0.qkv.weight"], weights)


def test_nothing_computes_with_the_weights_of_before() -> None:
    whole, small = encoder(SHAPES[0]), encoder(SHAPES[0])
    small.replaced = {"layers.0.up": torch.nn.Linear(16, 32)}
    for model in (whole, small):
        surgery.cut(model, LEFT)
    assert torch.equal(logits(small), logits(whole))


def test_layers_alone_leave_a_shape_that_others_know() -> None:
    model = encoder(SHAPES[1])
    second = model.parameters.named()["layers.2.mix.weight"].clone()
    surgery.cut(model, surgery.only_layers(model.shape, [0, 2]))
    assert model.shape == replace(SHAPES[1], layers=2)
    assert torch.equal(model.parameters.named()["layers.1.mix.weight"], second)


@pytest.mark.parametrize("shape", [*SHAPES, replace(GPT2, layers=3, heads=4)])
def test_another_task_starts_from_a_model_that_lost_heads(
    shape: Shape, tokenizer: object, tmp_path: Path
) -> None:
    model = encoder(shape)
    surgery.cut(model, LEFT)
    folder = kept(model, tokenizer, TWO, tmp_path / "weights")
    assert download.kind_of(folder) == ("decoder" if shape.causal else "encoder")
    torch.testing.assert_close(logits(read(folder, TWO)), logits(model))


@pytest.mark.parametrize("shape", [BERT, GPT2], ids=["bert", "gpt2"])
def test_so_does_a_language_model(shape: Shape, tokenizer: object, tmp_path: Path) -> None:
    model = LanguageModel(replace(shape, layers=3, heads=4), torch.float32, CPU)
    model.initialise(3)
    surgery.cut(model, LEFT)
    folder = kept(model, tokenizer, Outputs("word", 0), tmp_path / "weights")
    again = read(folder, Outputs("word", 0))
    assert torch.equal(again.parameters.master, model.parameters.master)
    ranks, fresh = read(folder, TWO), read(folder, TWO, seed=9)
    assert ranks.shape == again.shape
    assert torch.equal(ranks.table.rows, model.parameters.named()["tokens"])
    if not shape.causal:  # a head for words is none for texts
        heads = [m.parameters.named()["head.weight"] for m in (ranks, fresh)]
        assert not torch.equal(*heads)
