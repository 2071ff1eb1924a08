"""float16 with a scaled loss: what is half, which steps are left out, what is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import recipes
from bench.errors import BenchError, UsageError
from bench.learn import loop
from bench.learn.loop import Training
from tests.learn.test_loop import CPU, SHAPES, encoder, one_thread, texts, training
from tests.learn.test_worker import job, run, task

__all__ = ["one_thread", "task"]  # fixtures
HALF = torch.float16


def half(**given: object) -> Training:
    return training(encoder(SHAPES["as BERT"], HALF), texts(), "fp16", **given)


def one_step(run: Training, factor: float = 1.0) -> None:
    batch = run.train.batch(np.arange(8), CPU)
    run.model.begin_step(batch)
    loss = run.recipe.loss(run, batch, run.model.outputs(batch, run.dropout))
    run.recipe.backward(run, factor * loss)


def steps(run: Training, count: int = 1) -> None:
    for _ in range(count):
        one_step(run)
        run.recipe.update(run, 0.01)


def weights(run: Training) -> list[torch.Tensor]:
    assert run.model.table is not None
    live = [run.model.parameters.master, run.model.table.rows, *run.optimizer.state().values()]
    return [tensor.clone() for tensor in live]


def test_it_learns_with_half_products_and_says_what_it_did(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Training] = []
    train = loop.train

    def seen(training: Training, batches: Any) -> str:
        trained.append(training)
        return train(training, batches)

    monkeypatch.setattr(loop, "train", seen)
    ran = run(job(tmp_path, "fp16"), task, monkeypatch)
    assert ran.code == 0
    assert [e["value"] for e in ran.events if e["event"] == "eval"][-1] > 0.9
    (only,) = trained
    kept = only.model.parameters
    assert {w.value.dtype for w in kept.weights.values()} == {HALF}
    assert {w.grad.dtype for w in kept.weights.values()} == {HALF}
    assert kept.master.dtype == only.optimizer._mean.dtype == torch.float32
    facts = [e for e in ran.events if e["event"] == "model"][-1]
    assert facts["loss_scale"] == 65536 / 2 ** facts["skipped_steps"]


def test_gradients_that_float16_can_not_hold_are_those_of_float32() -> None:
    whole, scaled = training(encoder(SHAPES["as BERT"]), texts()), half()
    for each in (whole, scaled):
        one_step(each, 1e-6)
        each.model.parameters.end_step()
    wanted, found = whole.model.parameters.grad, scaled.model.parameters.grad / 65536
    assert 0 < wanted.abs().median() < 3e-8, "most would be nothing in float16"
    assert (found - wanted).norm() < 0.01 * wanted.norm()


def test_a_step_that_overflows_changes_nothing_but_the_scale() -> None:
    run = half(loss_scale=2.0**30)
    before = weights(run)
    steps(run)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(run), strict=True))
    assert run.recipe.facts(run) == {"skipped_steps": 1, "loss_scale": 2.0**29}
    while run.recipe.facts(run)["skipped_steps"] < 20:
        steps(run)
        if not torch.equal(before[0], run.model.parameters.master):
            break
    assert not torch.equal(before[0], run.model.parameters.master), "a smaller factor fits"


def test_the_scale_doubles_after_steps_without_an_overflow() -> None:
    run = half(loss_scale=8, scale_doubles_after=2)
    scales = []
    for _ in range(4):
        steps(run)
        scales.append(run.recipe.facts(run)["loss_scale"])
    assert scales == [8, 16, 16, 32]


def test_what_is_no_number_at_any_scale_ends_the_training() -> None:
    run = half()
    run.model.parameters.named()["classes.bias"].fill_(float("nan"))
    with pytest.raises(BenchError, match="gradients are too large for float16"):
        steps(run, 40)


@pytest.mark.parametrize("clip_norm", [0.0, 0.05], ids=["unclipped", "clipped"])
def test_a_scale_alone_changes_no_update(clip_norm: float) -> None:
    plain, scaled = (training(encoder(SHAPES["as BERT"]), texts()) for _ in range(2))
    one_step(plain)
    one_step(scaled, 1024.0)
    assert plain.optimizer.step(0.01, clip_norm)
    assert scaled.optimizer.step(0.01, clip_norm, 1024.0)
    for a, b in zip(weights(plain), weights(scaled), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


def test_a_training_that_goes_on_remembers_the_scale() -> None:
    first, second = half(loss_scale=2.0**30), half()
    steps(first, 3)
    state = first.recipe.state(first)
    second.recipe.resume(second, state)
    assert second.recipe.facts(second) == first.recipe.facts(first)
    assert second.recipe.facts(second)["skipped_steps"] > 0


def test_products_have_one_precision() -> None:
    with pytest.raises(UsageError, match="fp16 and bf16 don't combine: products have one"):
        recipes.named("bf16+fp16")


@pytest.mark.parametrize("given", [{"loss_scale": "0.5"}, {"scale_doubles_after": "0"}])
def test_a_wrong_setting_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be at least 1"):
        recipes.resolve("fp16", "transformer-tiny", given)
