"""The loop does what plain PyTorch does: the same passes, the same dense AdamW, step by step."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench import recipes
from bench.events import Events
from bench.learn.batches import Packed, order_of_first_use, pack
from bench.learn.encoder import Encoder, Shape
from bench.learn.evaluate import probabilities
from bench.learn.layers import Dropout
from bench.learn.loop import NotFinite, Training, train
from tests.learn.plain import Labels, PlainEncoder, accuracy

CPU = torch.device("cpu")
SHAPES = {
    "pre-norm, mean": Shape(50, 16, 2, 4, 32, 12, norm_first=True, pooling="mean", epsilon=1e-5),
    "pre-norm, first": Shape(50, 16, 2, 4, 32, 12, norm_first=True, epsilon=1e-5),
    "as BERT": Shape(50, 16, 2, 2, 32, 12, segments=2, head="tanh"),
    "as ELECTRA": Shape(50, 16, 2, 2, 32, 12, segments=2, embedding_width=8, head="gelu"),
    "as DistilBERT": Shape(50, 16, 3, 2, 32, 12, head="relu"),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def encoder(shape: Shape, dtype: torch.dtype = torch.float32) -> Encoder:
    model = Encoder(shape, 2, dtype, CPU)
    model.initialise(3, deviation=0.3)
    return model


def texts(rows: int = 48, seed: int = 0, vocabulary: int = 40) -> Packed:
    """Rows of 3 to 12 tokens; ids from `vocabulary` up never occur."""
    random = np.random.default_rng(seed)
    lists = [random.integers(0, vocabulary, random.integers(3, 13)).tolist() for _ in range(rows)]
    return pack(lists, None, [int(min(text) < 3) for text in lists])


def training(model: Encoder, rows: Packed, recipe: str = "baseline", **given: object) -> Training:
    options = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "dropout": 0.0, **given}
    text = {name: str(value) for name, value in options.items()}
    built = recipes.build(recipe, recipes.resolve(recipe, "transformer-tiny", text))
    return Training(built, Labels(), model, rows, texts(8, seed=9), 1, Events())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("mixed", [True, False], ids=["mixed lengths", "one length"])
def test_logits_and_gradients_are_those_of_plain_pytorch(shape: Shape, mixed: bool) -> None:
    rows = texts()
    chosen = np.arange(8) if mixed else np.flatnonzero(rows.lengths == rows.lengths[0])
    model = encoder(shape)
    plain = PlainEncoder(model)
    batch = rows.batch(chosen, CPU)
    model.begin_step(batch)
    outputs = model.outputs(batch, None)
    expected = plain.logits(rows, chosen)
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)

    F.cross_entropy(outputs, batch.labels).backward()
    F.cross_entropy(expected, batch.labels).backward()
    model.parameters.end_step()
    n = model.table.touched
    torch.testing.assert_close(
        model.table.collect(), plain.weights["tokens"].grad[:n], rtol=1e-3, atol=1e-6
    )
    flat = model.parameters.grad.split([w.numel() for w in model.parameters.named().values()])
    for name, grad in zip(model.parameters.named(), flat, strict=True):
        wanted = plain.weights[name].grad
        torch.testing.assert_close(grad.view_as(wanted), wanted, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("clip_norm", [0.0, 0.05], ids=["unclipped", "clipped"])
def test_steps_are_those_of_dense_adamw_over_the_whole_table(clip_norm: float) -> None:
    rows = texts(vocabulary=300)
    model = encoder(dataclasses.replace(SHAPES["as BERT"], vocabulary=320))
    order = order_of_first_use(rows.tokens, 320)
    number = np.argsort(order)
    plain = PlainEncoder(model)
    plain_rows = dataclasses.replace(rows)
    model.reorder(order)
    rows.renumber(number)
    run = training(model, rows, clip_norm=clip_norm, weight_decay=0.3)
    batches = list(itertools.islice(run.batches(), run.total_steps))
    early = {i for b in batches[:2] for i in rows.tokens[rows.places_of(b)[0]]}
    assert len(early) < 0.7 * len(set(rows.tokens)) < 0.7 * 320  # some later, some never

    matrices = [w for w in plain.weights.values() if w.dim() > 1]
    others = [w for w in plain.weights.values() if w.dim() == 1]
    groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.3)
    for step, chosen in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = run.recipe.rate(step, run.total_steps)
        optimizer.zero_grad()
        labels = torch.from_numpy(plain_rows.labels[chosen])
        F.cross_entropy(plain.logits(plain_rows, chosen), labels).backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_([*matrices, *others], clip_norm)
        optimizer.step()

    assert train(run, iter(batches)) == "done"
    model.begin_evaluation()
    wanted = plain.weights["tokens"][torch.from_numpy(order)]
    torch.testing.assert_close(model.table.rows, wanted, rtol=1e-3, atol=2e-4)
    for name, weight in model.parameters.named().items():
        wanted = plain.weights[name]
        if name.endswith("qkv.bias"):  # softmax ignores the keys' bias: its gradient is rounding
            weight, wanted = weight.view(3, -1)[[0, 2]], wanted.view(3, -1)[[0, 2]]
        torch.testing.assert_close(weight, wanted, rtol=1e-3, atol=2e-4, msg=name)


def test_the_same_seed_gives_the_same_model_and_another_does_not() -> None:
    def scores(seed: int) -> np.ndarray:
        run = training(encoder(SHAPES["pre-norm, mean"]), texts(), dropout=0.2)
        run = dataclasses.replace(run, seed=seed)
        train(run, run.batches())
        return probabilities(run.model, run.tune)

    assert (scores(1) == scores(1)).all()
    assert (scores(1) != scores(2)).any()


def test_it_learns() -> None:
    rows = texts(200)
    run = training(encoder(SHAPES["pre-norm, first"]), rows, epochs=12, evaluations=0)
    train(run, run.batches())
    assert accuracy(run.model, rows) > 0.95


def test_bf16_keeps_its_weights_in_float32_and_learns() -> None:
    rows = texts(200)
    model = encoder(SHAPES["as BERT"], torch.bfloat16)
    run = training(model, rows, "bf16", epochs=12, evaluations=0, learning_rate=0.003)
    train(run, run.batches())
    assert model.parameters.master.dtype == torch.float32
    assert accuracy(model, rows) > 0.9


def test_bf16_passes_are_near_those_of_float32() -> None:
    rows = texts()
    exact, rough = encoder(SHAPES["as BERT"]), encoder(SHAPES["as BERT"], torch.bfloat16)
    assert np.abs(probabilities(exact, rows) - probabilities(rough, rows)).max() < 0.1


def test_predictions_come_in_the_order_of_the_rows() -> None:
    rows = texts()
    model = encoder(SHAPES["as BERT"])
    together = probabilities(model, rows)
    alone = np.concatenate([probabilities(model, rows, np.array([i])) for i in range(len(rows))])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-5)


def test_a_loss_that_is_not_a_number_ends_the_training() -> None:
    model = encoder(SHAPES["pre-norm, mean"])
    model.table.rows.fill_(float("nan"))
    run = training(model, texts())
    with pytest.raises(NotFinite, match="loss is nan at step 1"):
        train(run, run.batches())


def test_a_recipe_can_end_the_training() -> None:
    run = training(encoder(SHAPES["as BERT"]), texts())
    run.recipe.after_step = lambda training: training.step == 3
    assert train(run, run.batches()) == "done"
    assert run.step == 3 < run.total_steps


def test_half_an_epoch_is_half_of_the_steps() -> None:
    run = training(encoder(SHAPES["as BERT"]), texts(), epochs=0.5)
    assert run.total_steps == 3
    train(run, run.batches())
    assert run.step == 3


def test_the_tokens_that_it_learns_from_are_counted() -> None:
    run = training(encoder(SHAPES["as BERT"]), texts(), epochs=2)
    assert run.tokens_per_epoch == texts().lengths.sum()
    train(run, run.batches())
    assert run.tokens == 2 * texts().lengths.sum()
    assert run.steps_of(run.tokens) == run.step


def test_tune_is_scored_at_even_distances(tmp_path: Path) -> None:
    with (tmp_path / "events").open("wb+") as file:
        run = training(encoder(SHAPES["as BERT"]), texts(), evaluations=3)
        run.events = Events(file.fileno())
        train(run, run.batches())
        file.seek(0)
        events = [json.loads(line) for line in file]
    assert run.total_steps == 12
    assert [e["step"] for e in events if e["event"] == "eval"] == [3, 6, 9]


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    dropout = Dropout(0.1, 7, torch.float32, CPU)
    x = torch.ones(1000, 100)
    dropout.draw(x.numel())
    out = dropout(x)
    assert dropout.rate == 26 / 256
    assert (out == 0).float().mean().item() == pytest.approx(26 / 256, abs=0.003)
    assert out.mean().item() == pytest.approx(1, abs=0.005)
    assert len(out.unique()) == 2


def test_each_step_draws_other_masks() -> None:
    dropout = Dropout(0.5, 7, torch.float32, CPU)
    x = torch.ones(64)
    dropout.draw(128)
    first, second = dropout(x), dropout(x)
    assert (first != second).any()
