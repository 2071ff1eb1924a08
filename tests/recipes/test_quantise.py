"""Int8 predictions: what is 8 bits and what is not, what rounding in training does, and the record
of what it was good for."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench import recipes
from bench.errors import MissingExtra, UsageError
from bench.learn import int8
from bench.learn.evaluate import probabilities
from bench.learn.loop import Training
from bench.learn.loop import train as go_through
from tests.learn.test_loop import CPU, SHAPES, encoder, texts, training
from tests.learn.test_worker import correct, one_thread, run, task
from tests.recipes.small import small_job
from tests.recipes.test_compile import Kept

__all__ = ["one_thread", "task"]  # fixtures


def quantising(recipe: str = "quantise", **given: Any) -> Training:
    dtype = torch.bfloat16 if "bf16" in recipe else torch.float32
    given = {"predict_before": False, "evaluations": 0, **given}
    return training(encoder(SHAPES["as BERT"], dtype), texts(), recipe, **given)


@pytest.mark.parametrize(
    ("recipe", "mode"),
    [("quantise", "dynamic"), ("quantise", "weight-only"), ("quantise+bf16", "dynamic")],
)
def test_the_products_of_layers_are_of_8_bits_and_nearly_the_same(recipe: str, mode: str) -> None:
    run = quantising(recipe, mode=mode)
    go_through(run, run.batches())
    before, trained = probabilities(run.model, run.tune), run.model.parameters.master.clone()
    run.recipe.finish(run)
    after = probabilities(run.model, run.tune)
    assert torch.equal(run.model.parameters.master, trained), "what --save keeps"
    assert (before != after).any()
    np.testing.assert_allclose(before, after, atol=0.1)
    model: Any = run.model
    names = {f"layers.0.{part}" for part in ("qkv", "mix", "up", "down")}
    names |= {f"layers.1.{part}" for part in ("q", "kv", "mix", "up", "down")}
    assert set(model.replaced) == names
    facts = run.recipe.facts(run)
    weights = 2 * (3 * 16 * 16 + 16 * 16 + 2 * 16 * 32)
    rows = 2 * (3 * 16 + 16 + 32 + 16)
    scale = {"dynamic": 8 + 8, "weight-only": 4 + 1}[mode]  # bytes, with a zero point
    assert facts["float_weight_bytes"] == 4 * model.size
    spared = facts["float_weight_bytes"] - facts["weight_bytes"]
    assert spared == 3 * weights - scale * rows
    assert facts["quantised_by"] == {"dynamic": "torch.ao", "weight-only": "torchao"}[mode]


def test_a_weight_is_a_whole_number_times_the_scale_of_its_row() -> None:
    run = quantising()
    run.recipe.finish(run)
    model: Any = run.model
    found = model.replaced["layers.1.up"].weight()
    assert found.dtype == torch.qint8
    trained = model.parameters.named()["layers.1.up.weight"]
    scales = trained.abs().amax(1, keepdim=True) / 127.5
    assert (found.dequantize() - trained).abs().le(0.51 * scales).all()


def test_rounding_in_training_is_that_of_int8_products() -> None:
    """Against torchao's products, which a CPU has too, slow as they are."""
    from torchao.quantization import (
        Int8DynamicActivationInt8WeightConfig,
        MappingType,
        quantize_,
    )

    torch.manual_seed(1)
    x = torch.randn(12, 32, requires_grad=True)
    plain = nn.Linear(32, 16)
    fake, real = (nn.Sequential(nn.Linear(32, 16)) for _ in range(2))
    for tree in (fake, real):
        tree.load_state_dict({f"0.{k}": v for k, v in plain.state_dict().items()})
    int8.fake(fake)
    config = Int8DynamicActivationInt8WeightConfig(act_mapping_type=MappingType.ASYMMETRIC)
    quantize_(real, config)
    with torch.no_grad():
        rounded, exact, wanted = fake(x), plain(x), real(x)
    off = (exact - wanted).abs().mean()
    assert 0 < (rounded - wanted).abs().mean() < 0.3 * off
    fake(x).sum().backward()
    assert fake[0].weight.grad.abs().sum() > 0, "as if nothing were rounded"


def test_training_rounds_from_its_step_on_and_learns_with_it() -> None:
    run = quantising(mode="qat", rounded_from=0.5, epochs=2)
    rounded: list[bool] = []
    weights: list[torch.Tensor] = []
    update = run.recipe.update

    def watched(training: Training, rate: float) -> None:
        rounded.append(bool(training.model.replaced))  # type: ignore[attr-defined]
        weights.append(training.model.parameters.named()["layers.0.qkv.weight"].clone())
        update(training, rate)

    run.recipe.update = watched
    go_through(run, run.batches())
    assert rounded == [False] * 6 + [True] * 6
    changes = [float((b - a).abs().max()) for a, b in itertools.pairwise(weights)]
    assert min(changes) > 0


@pytest.mark.parametrize(("steps", "said"), [(2, ["never-rounded"]), (7, [])])
def test_a_training_that_ends_before_it_rounds_says_so(steps: int, said: list[str]) -> None:
    run = quantising(mode="qat", rounded_from=0.5, epochs=2)
    run.events = events = Kept()
    run.budget_ends = steps
    go_through(run, run.batches())
    run.recipe.finish(run)
    assert [e["id"] for e in events.told if e["event"] == "warning"] == said


def test_rounded_gradients_are_near_those_without() -> None:
    plain, rounded = quantising(), quantising(mode="qat", rounded_from=0)
    grads = []
    for made in (plain, rounded):
        batch = made.recipe.batch(made, np.arange(8))
        for _ in range(2):  # what autograd adds to is zero each time
            made.model.begin_step(batch)
            loss = made.recipe.loss(made, batch, made.model.outputs(batch, made.dropout))
            made.recipe.backward(made, loss)
            made.model.parameters.end_step()
        grads.append(made.model.parameters.grad.clone())
    assert not torch.equal(*grads)
    assert torch.nn.functional.cosine_similarity(*grads, dim=0) > 0.98
    assert grads[1].norm().item() == pytest.approx(grads[0].norm().item(), rel=0.1)


@pytest.mark.parametrize(
    ("recipe", "mode"),
    [("quantise", "dynamic"), ("quantise", "qat"), ("freeze+quantise", "dynamic")],
)
def test_it_learns_and_tells_what_was_without_it(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, mode: str
) -> None:
    ran = run(small_job(tmp_path, recipe, mode=mode, epochs="4"), task, monkeypatch)
    assert ran.code == 0, ran.events[-1]
    assert correct(ran.predictions()["prediction"]) > 0.8
    phases = [e["phase"] for e in ran.events if e["event"] == "phase_start"]
    wanted = ["evaluate", "predict-before", "train", "quantise", "evaluate", "predict"]
    assert phases[-6:] == wanted
    told = [e for e in ran.events if e["event"] == "model"][-1]
    assert told["tune_metric"] == "accuracy"
    assert told["tune_before"] == pytest.approx(told["tune_after"], abs=0.1)
    assert told["weight_bytes"] < told["float_weight_bytes"]
    assert told["quantised_products"] == 9


def test_a_forecast_knows_of_the_second_prediction(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(small_job(tmp_path, "quantise", plan_steps=2), task, monkeypatch)
    assert ran.only("plan_part")["phase"] == "predict-before"
    assert ran.only("plan")["steps"] == 2


def test_a_forecast_with_pruning_counts_one_second_prediction(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = small_job(tmp_path, "prune+quantise", plan_steps=8, method="structured")
    ran = run(job, task, monkeypatch)
    assert ran.only("plan_part")["phase"] == "predict-before"
    phases = [e["phase"] for e in ran.events if e["event"] == "phase_start"]
    begun = ["prepare", "rehearse", "train", "predict-before", "train", "rehearse", "predict"]
    assert phases == begun


def refused(name: str, use: recipes.Use, **given: str) -> str:
    with pytest.raises(UsageError) as caught:
        recipes.check(name, use, recipes.resolve(name, "transformer-tiny", given))
    return caught.value.message


def test_what_it_can_not_quantise_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    use = recipes.Use("classification", "transformer-tiny", "encoder", False, "cpu")
    assert "frozen ones don't learn" in refused("quantise+freeze", use, mode="qat")
    assert "of 2:4" in refused("quantise+prune", use, method="2:4")
    assert "may go back to weights from before" in refused("early-stop+quantise", use, mode="qat")
    elmo = recipes.Use("classification", "elmo-tiny", "elmo", False, "cpu")
    assert "it quantises encoders and decoders" in refused("quantise", elmo)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    settings = recipes.resolve("quantise", "transformer-tiny", {})
    recipes.check("quantise", use, settings)  # PyTorch alone does it
    with pytest.raises(MissingExtra) as caught:
        recipes.check("quantise", use, settings | {"mode": "qat"})
    assert "wattbench[quantise]" in (caught.value.hint or "")
    monkeypatch.setattr(int8, "_KERNELS", ())
    with pytest.raises(UsageError, match="no products of int8 for this processor"):
        int8.check(CPU)
