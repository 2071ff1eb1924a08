"""Layers that don't learn: their weights, the passes that they need, and what is recalled."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench import recipes
from bench.errors import UsageError
from bench.learn.encoder import Layers
from bench.learn.layers import Dropout
from bench.learn.loop import Training
from bench.learn.loop import train as go_through
from bench.learn.parameters import Weight
from bench.recipes import freeze
from bench.run import Request, prepare
from tests.learn import test_state
from tests.learn.plain import PlainEncoder
from tests.learn.test_loop import CPU, SHAPES, encoder, texts, training
from tests.learn.test_state import Trained, small
from tests.learn.test_state import train as train_and_keep
from tests.learn.test_worker import correct, one_thread, run, task
from tests.recipes.small import small_job

__all__ = ["one_thread", "small", "task", "train_and_keep"]  # fixtures
FOUR = dataclasses.replace(SHAPES["as BERT"], layers=4)


def freezing(recipe: str = "freeze", **given: object) -> Training:
    dtype = torch.bfloat16 if "bf16" in recipe else torch.float32
    options = {"epochs": 3, "evaluations": 0, "weight_decay": 0.3, "clip_norm": 0.5, **given}
    return training(encoder(FOUR, dtype), texts(), recipe, **options)


def part_of(name: str) -> int:
    """0: embeddings, 1: the lowest layer."""
    if name.startswith("layers."):
        return int(name.split(".")[1]) + 1
    return 5 if name.startswith(("head", "classes")) else 0


def plain_steps(run: Training, plain: PlainEncoder, frozen: Callable[[int], int]) -> None:
    """The steps of PyTorch's AdamW over the weights that learn in each of them."""
    matrices = [w for w in plain.weights.values() if w.dim() > 1]
    others = [w for w in plain.weights.values() if w.dim() == 1]
    groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.3)
    for step, chosen in enumerate(itertools.islice(run.batches(), run.total_steps)):
        for name, weight in plain.weights.items():
            weight.requires_grad_(part_of(name) >= frozen(step))
        for group in optimizer.param_groups:
            group["lr"] = run.recipe.rate(step, run.total_steps)
        optimizer.zero_grad()
        labels = torch.from_numpy(run.train.labels[chosen])
        F.cross_entropy(plain.logits(run.train, chosen), labels).backward()
        torch.nn.utils.clip_grad_norm_([*matrices, *others], 0.5)
        optimizer.step()


def assert_same(run: Training, plain: PlainEncoder) -> None:
    model: Any = run.model
    model.begin_evaluation()
    torch.testing.assert_close(
        model.table.rows, plain.weights["tokens"].detach(), rtol=1e-3, atol=2e-4
    )
    for name, weight in model.parameters.named().items():
        wanted = plain.weights[name].detach()
        if name.endswith("qkv.bias"):  # softmax ignores the keys' bias: its gradient is rounding
            weight, wanted = weight.view(3, -1)[[0, 2]], wanted.view(3, -1)[[0, 2]]
        torch.testing.assert_close(weight, wanted, rtol=1e-3, atol=2e-4, msg=name)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("layers", [0, 2, 4])
def test_steps_are_those_of_pytorch_with_some_weights_frozen(layers: int, cache: bool) -> None:
    run = freezing(frozen_layers=layers, cache=cache)
    before = {name: w.clone() for name, w in run.model.parameters.named().items()}
    plain = PlainEncoder(run.model)
    rows = plain.weights["tokens"].detach().clone()
    go_through(run, run.batches())
    plain_run = freezing(frozen_layers=layers)
    plain_steps(plain_run, plain, lambda step: layers + 1)
    assert_same(run, plain)
    assert torch.equal(run.model.table.rows, rows), "no gradient, and no decay"
    for name, weight in run.model.parameters.named().items():
        assert torch.equal(weight, before[name]) == (part_of(name) <= layers), name


def test_layers_begin_to_learn_from_the_top_with_steps_of_their_own() -> None:
    given = {"unfreeze_share": 0.5, "epochs": 4, "batch_size": 6}
    run = freezing(**given)
    assert run.total_steps == 32
    plain = PlainEncoder(run.model)
    go_through(run, run.batches())
    facts = run.recipe.facts(run)
    assert facts["unfrozen_at"] == "4 7 10 13 16"  # a fifth of half of the steps each
    begun = [int(step) for step in facts["unfrozen_at"].split()]
    plain_steps(freezing(**given), plain, lambda step: 5 - sum(step >= b for b in begun))
    assert_same(run, plain)
    assert facts["frozen_layers"] == 0
    head = 16 * 16 + 16 + 16 * 2 + 2
    assert facts["trained_parameters"] == head
    assert facts["trained_parameters_at_last"] == run.model.facts()["parameters"]


def test_some_layers_may_never_begin() -> None:
    run = freezing(unfreeze_share=1.0, frozen_layers=2)
    go_through(run, run.batches())
    facts = run.recipe.facts(run)
    assert len(facts["unfrozen_at"].split()) == 2
    assert facts["frozen_layers"] == 2


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool, bool]]:
    """Of each layer that is passed: its number, and whether what it reads and gives has a
    gradient."""
    layer, found = Layers._layer, []

    def watched(self: Layers, i: int, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        out = layer(self, i, x, *arguments)
        found.append((i, x.requires_grad, out.requires_grad))
        return out

    monkeypatch.setattr(Layers, "_layer", watched)
    return found


def test_the_backward_pass_ends_where_nothing_learns(
    seen: list[tuple[int, bool, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = freezing(frozen_layers=2)
    made = set()
    add = Weight.add_product

    def counted(self: Weight, a: torch.Tensor, b: torch.Tensor) -> None:
        made.add(id(self))
        add(self, a, b)

    monkeypatch.setattr(Weight, "add_product", counted)
    batch = run.train.batch(np.arange(8), CPU)
    run.model.begin_step(batch)
    run.recipe.loss(run, batch, run.model.outputs(batch, run.dropout)).backward()
    assert seen == [(0, False, False), (1, False, False), (2, False, True), (3, True, True)]
    names = {n: id(w) for n, w in run.model.parameters.weights.items() if n.endswith(".weight")}
    asked = {part_of(name) for name, number in names.items() if number in made}
    assert asked == {3, 4, 5}


@pytest.mark.parametrize("layers", [2, 4])
def test_later_epochs_recall_what_frozen_layers_give(
    seen: list[tuple[int, bool, bool]], layers: int
) -> None:
    run = freezing(frozen_layers=layers, dropout=0.2)
    go_through(run, run.batches())
    steps = run.total_steps
    passes = [sum(number == i for number, _, _ in seen) for i in range(4)]
    assert passes == [steps // 3] * layers + [steps] * (4 - layers)
    facts = run.recipe.facts(run)
    assert facts["recalled_share"] == pytest.approx(2 / 3, abs=1e-3)
    kept = len(run.train) if layers == 4 else len(run.train.tokens)
    assert facts["recalled_bytes"] == kept * 16 * 4


def test_a_text_that_is_cut_short_is_not_recalled(seen: list[tuple[int, bool, bool]]) -> None:
    run = freezing(frozen_layers=2)
    model: Any = run.model
    rows = np.arange(4)
    whole = run.train.batch(rows, CPU)
    lists = [run.train.tokens[run.train.starts[i] :][:2].tolist() for i in rows]
    from bench.learn.batches import pack

    cut = pack(lists, None, None).batch(rows, CPU)
    first = [model.outputs(batch, run.dropout).detach() for batch in (whole, cut)]
    seen.clear()
    again = [model.outputs(batch, run.dropout).detach() for batch in (whole, cut)]
    assert [number for number, _, _ in seen] == [2, 3, 0, 1, 2, 3]
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other)


def test_nothing_is_cached_where_it_does_not_fit(
    seen: list[tuple[int, bool, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeze, "_free_memory", lambda device: 1000)
    run = freezing(frozen_layers=2)
    go_through(run, run.batches())
    assert sum(number == 0 for number, _, _ in seen) == run.total_steps
    assert "recalled_share" not in run.recipe.facts(run)


def test_only_what_learns_is_cast_and_has_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """With bf16; the frozen weights are cast once, and are what they were."""
    run = freezing("freeze+bf16", frozen_layers=2, dropout=0.2)
    before = run.model.parameters.master.clone()
    drawn: list[int] = []
    draw = Dropout.draw
    monkeypatch.setattr(Dropout, "draw", lambda self, n: (drawn.append(n), draw(self, n))[1])
    go_through(run, run.batches())
    assert not run.dropout._left.numel(), "all that was drawn was taken"
    tokens = len(run.train.tokens) * 3
    assert sum(drawn) == 2 * 16 * tokens + (2 + 1) * 16 * len(run.train) * 3
    for name, view in run.model.parameters.views(before).items():
        still = torch.equal(view, run.model.parameters.named()[name])
        assert still == (part_of(name) <= 2), name
    cast = run.model.parameters["layers.0.up.weight"].value
    assert torch.equal(cast, run.model.parameters.named()["layers.0.up.weight"].bfloat16())


def test_it_learns(task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(small_job(tmp_path, "freeze", epochs="4"), task, monkeypatch)
    assert correct(ran.predictions()["prediction"]) > 0.8
    told = [e for e in ran.events if e["event"] == "model"][-1]
    assert told["frozen_layers"] == 1, "half of two"
    assert 0.4 < told["trained_parameters"] / told["parameters"] < 0.6


def test_gradually_it_learns_in_parts_as_in_one_piece(
    train_and_keep: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(test_state.KINDS, "small", ("sst2", "transformer-small", {}))
    given = {"recipe": "freeze", "unfreeze_share": "0.8", "max_steps": "12"}
    whole = train_and_keep("small", **given)
    first = train_and_keep("small", budget="7steps", **given)
    train_and_keep("small", state=first.state, **given).assert_same(whole)


def test_a_language_model_keeps_its_table(train_and_keep: Callable[..., Trained]) -> None:
    given = {"recipe": "freeze", "max_steps": "4", "evaluations": "0"}
    told = test_state.events(train_and_keep("causal", **given), "model")[-1]
    assert told["frozen_layers"] == told["layers"] // 2
    assert told["trained_parameters"] < 0.5 * told["parameters"], "the table is the last product's"


def test_what_it_can_not_freeze_is_said() -> None:
    with pytest.raises(UsageError, match="frozen_layers=5: the model has 4 layers"):
        freezing(frozen_layers=5)
    with pytest.raises(UsageError, match="frozen_layers=3: the model has 2 layers"):
        prepare(Request("sst2", "transformer-small", "freeze", settings={"frozen_layers": "3"}))
    settings = recipes.resolve("freeze", "elmo-tiny", {})
    use = recipes.Use("classification", "elmo-tiny", "elmo", False, "cpu")
    with pytest.raises(UsageError, match="freeze can't be used here: it freezes layers of encod"):
        recipes.check("freeze", use, settings)
    with pytest.raises(UsageError, match="freeze and sparse-embedding don't combine"):
        recipes.named("sparse-embedding+freeze")
