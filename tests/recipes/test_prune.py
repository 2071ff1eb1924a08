"""What is zero, what is gone, what chooses it, and that a training goes on with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bench import recipes
from bench.errors import UsageError
from bench.learn import pruning
from bench.learn.encoder import Encoder
from bench.learn.evaluate import probabilities
from bench.learn.loop import Training
from bench.learn.loop import train as go_through
from bench.learn.objectives import Outputs
from bench.lineage import STATES
from tests.learn import test_state
from tests.learn.test_loop import CPU, SHAPES, encoder, texts, training
from tests.learn.test_saved import read
from tests.learn.test_state import Trained, small
from tests.learn.test_state import train as train_and_keep
from tests.learn.test_worker import Ran, correct, one_thread, run, task
from tests.recipes.small import small_job

__all__ = ["one_thread", "small", "task", "train_and_keep"]  # fixtures
BERT = replace(SHAPES["as BERT"], heads=4, layers=3)
MATRICES = ("qkv.weight", "mix.weight", "up.weight", "down.weight")


def pruning_of(shape: Any = BERT, **given: object) -> Training:
    settings = {"predict_before": False, "evaluations": 0, **given}
    return training(encoder(shape), texts(), "prune", **settings)


def zeros(weights: dict[str, Tensor]) -> dict[str, float]:
    return {name: float((w == 0).float().mean()) for name, w in weights.items()}


def step_by_step(run: Training) -> list[dict[str, Any]]:
    """What the recipe says after each step."""
    said = []
    after_step = run.recipe.after_step

    def told(training: Training) -> bool:
        ends: bool = after_step(training)
        said.append(run.recipe.facts(run))
        return ends

    run.recipe.after_step = told
    go_through(run, run.batches())
    return said


def phases(ran: Ran) -> list[str]:
    return [e["phase"] for e in ran.events if e["event"] == "phase_start"]


# --- what a run leaves ---------------------------------------------------------------------------


def test_zeros_are_in_the_saved_weights_and_the_model_has_learned(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(small_job(tmp_path, "prune", keep=True, sparsity="0.8"), task, monkeypatch)
    assert correct(ran.predictions()["prediction"]) > 0.9
    weights = load_file(tmp_path / "weights" / "model.safetensors")
    for name, share in zeros(weights).items():
        if name.endswith(MATRICES):
            assert share == pytest.approx(0.8, abs=1e-3), name
        elif not name.endswith("bias"):
            assert share < 0.01, name
    facts = [e for e in ran.events if e["event"] == "model"][-1]
    assert facts["sparsity"] == pytest.approx(0.8, abs=1e-3)
    assert facts["prunable_weights"] == 2 * 12 * 128**2
    assert "predict-before" not in phases(ran), "the same products are made"
    state = load_file(tmp_path / STATES[0])
    gone = state["parameters"] == 0
    assert not state["adamw.mean"][gone].any()
    assert not state["adamw.square"][gone].any()


def test_heads_and_neurons_are_gone_and_both_predictions_are_metered(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"method": "structured", "sparsity": "0.75", "rounds": "3", "evaluations": "1"}
    ran = run(small_job(tmp_path, "prune", keep=True, **given), task, monkeypatch)
    assert correct(ran.predictions()["prediction"]) > 0.9
    assert phases(ran) == [
        "prepare", "train", "predict-before", "train", "evaluate", "train", "save", "train",
        "save", "predict",
    ]  # fmt: skip
    first, last = (e for e in ran.events if e["event"] == "model")
    assert (last["layers"], last["heads"], last["hidden"]) == (2, 1, 128)
    # Of each matrix a quarter: 32 of 128 channels in attention, 128 of 512 neurons; with biases.
    gone = 2 * 0.75 * (12 * 128**2 + 3 * 128 + 512)
    assert last["parameters"] == last["parameters_before"] - gone == first["parameters"] - gone
    assert last["sparsity"] == 0.75
    assert last["parameters_ratio"] == round(last["parameters"] / first["parameters"], 4)
    again = read(tmp_path / "weights", Outputs("text", 2), max_length=32)
    assert (again.shape.heads, again.shape.head_width, again.shape.hidden) == (1, 32, 128)
    assert again.parameters.master.numel() == load_file(tmp_path / STATES[0])["parameters"].numel()


def test_a_removal_that_must_wait_is_predicted_before_once(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, asked = pruning.Structure.remove, []

    def later(pruner: pruning.Structure, share: float) -> bool:
        asked.append(share)
        return len(asked) > 2 and remove(pruner, share)

    monkeypatch.setattr(pruning.Structure, "remove", later)
    given = {"method": "structured", "rounds": "1", "max_steps": "8"}
    ran = run(small_job(tmp_path, "prune", **given), task, monkeypatch)
    assert len(asked) == 3
    assert phases(ran).count("predict-before") == 1


def test_a_forecast_tries_all_that_a_run_does(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(small_job(tmp_path, "prune", 8, method="structured"), task, monkeypatch)
    assert ran.code == 0
    begun = ["prepare", "rehearse", "train", "predict-before", "train", "rehearse", "predict"]
    assert phases(ran) == begun
    assert ran.only("plan_part") | {"t_ns": 0} == {
        "event": "plan_part", "phase": "predict-before", "share": 1.0, "t_ns": 0
    }  # fmt: skip


@pytest.mark.parametrize("method", ["magnitude", "structured"])
def test_in_two_parts_or_in_one_it_is_the_same(
    method: str, train_and_keep: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut after the second of three removals, and while a third is being chosen."""
    monkeypatch.setitem(test_state.KINDS, "small", ("sst2", "transformer-small", {}))
    given = {"recipe": "prune", "method": method, "rounds": "3", "max_steps": "12", "ends": "0.7"}
    whole = train_and_keep("small", **given)
    first = train_and_keep("small", budget="6steps", **given)
    assert int(first.tensors["recipe.prune.removed"]) == 2
    train_and_keep("small", state=first.state, **given).assert_same(whole)


def test_what_is_cut_short_says_so(train_and_keep: Callable[..., Trained]) -> None:
    given = {"recipe": "prune", "max_steps": "12", "rounds": "4"}
    short = train_and_keep("encoder", budget="3steps", **given)
    said = [e["message"] for e in test_state.events(short, "warning")]
    assert "the training ended after 2 of 4 removals" in said


@pytest.mark.parametrize(("recipe", "kind"), [("bf16", "small"), ("layer-drop", "masked")])
def test_it_combines(
    recipe: str, kind: str, train_and_keep: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(test_state.KINDS, "small", ("sst2", "transformer-small", {}))
    given = {"method": "structured", "max_steps": "4", "evaluations": "0"}
    told = test_state.events(train_and_keep(kind, recipe=f"prune+{recipe}", **given), "model")[-1]
    assert told["layers"] == (1 if recipe == "layer-drop" else 2)
    assert (told["heads"], told["hidden"]) == ((2 if kind == "small" else 1), 256)


# --- single weights ------------------------------------------------------------------------------


def test_more_and_more_weights_go_as_zhu_and_gupta_have_it() -> None:
    run = pruning_of(sparsity=0.64, begins=0.2, ends=0.6, rounds=4, max_steps=20, epochs=9)
    found = [said["sparsity"] for said in step_by_step(run)]
    levels = [0.64 * (1 - (1 - i / 4) ** 3) for i in range(1, 5)]
    wanted = np.repeat([0.0, *levels], [3, 3, 2, 3, 9])  # after steps 4, 7, 9 and 12
    assert found == pytest.approx(wanted.tolist(), abs=2e-3)


@pytest.mark.parametrize("clip_norm", [0.0, 0.1])
def test_what_is_zero_stays_zero_and_has_no_moments(clip_norm: float) -> None:
    run = pruning_of(begins=0.0, rounds=1, clip_norm=clip_norm, max_steps=6)
    gone: list[Tensor] = []
    update = run.recipe.update

    def watched(training: Training, rate: float) -> None:
        update(training, rate)
        master, moments = training.model.parameters.master, training.optimizer.state()
        if training.step:  # the first update is before the removal
            gone.append(master == 0)
            assert not moments["mean"][gone[0]].any()
            assert not moments["square"][gone[0]].any()
            assert bool(moments["square"][~gone[0]].any())

    run.recipe.update = watched
    go_through(run, run.batches())
    assert len(gone) == 5
    assert 0.3 < gone[0].float().mean() < 0.6
    assert all(torch.equal(gone[0], other) for other in gone)


def test_the_smallest_go_of_each_matrix_or_of_all() -> None:
    apart, together = pruning_of(begins=0), pruning_of(begins=0, scope="global")
    for each in (apart, together):
        each.model.parameters.named()["layers.1.up.weight"].mul_(100)
        go_through(each, each.batches())
        assert each.recipe.facts(each)["sparsity"] == pytest.approx(0.5, abs=2e-3)
    shares = [
        zeros(each.model.parameters.named())["layers.1.up.weight"] for each in (apart, together)
    ]
    assert shares == pytest.approx([0.5, 0.0], abs=2e-2)


def test_tables_are_pruned_if_asked() -> None:
    run = pruning_of(sparsity=0.5, embeddings=True)
    go_through(run, run.batches())
    assert run.model.table is not None
    assert zeros({"rows": run.model.table.rows})["rows"] == pytest.approx(0.5, abs=2e-3)
    assert zeros(run.model.parameters.named())["positions"] == pytest.approx(0.5, abs=5e-3)
    moments = run.optimizer.state()["table_mean"]
    assert not moments[run.model.table.rows == 0].any()


def test_two_of_four_neighbours_stay() -> None:
    run = pruning_of(method="2:4")
    go_through(run, run.batches())
    for name, weight in run.model.parameters.named().items():
        if name.endswith(MATRICES):
            assert ((weight.view(-1, 4) == 0).sum(1) == 2).all(), name
    assert run.recipe.facts(run)["sparsity"] == 0.5


def test_a_cpu_is_told_that_it_saves_nothing(train_and_keep: Callable[..., Trained]) -> None:
    trained = train_and_keep("encoder", recipe="prune", method="2:4", max_steps="3")
    (said,) = (e["message"] for e in test_state.events(trained, "warning"))
    assert said.endswith("save nothing here: a cpu has no sparse tensor cores")
    assert test_state.events(trained, "model")[-1]["sparse_products"] == 0
    phases = [e["phase"] for e in test_state.events(trained, "phase_start")]
    assert "predict-before" not in phases


def test_where_there_are_sparse_tensor_cores_predictions_use_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stand-ins for the hardware: what is packed is what is multiplied with."""
    used = []

    def packed(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
        assert ((weight.reshape(-1, 4) == 0).sum(1) == 2).all()
        return lambda x: used.append(weight.shape) or torch.addmm(bias, x, weight.t())

    monkeypatch.setattr(pruning, "why_dense", lambda model: None)
    monkeypatch.setattr(pruning, "_sparse", packed)
    monkeypatch.setattr(pruning, "_fits", lambda weight: True)
    run = pruning_of(method="2:4")
    go_through(run, run.batches())
    before = probabilities(run.model, run.tune)
    run.recipe.finish(run)
    assert not used
    np.testing.assert_allclose(before, probabilities(run.model, run.tune), rtol=1e-4, atol=1e-6)
    assert len(used) == run.recipe.facts(run)["sparse_products"] == 3 * 4 + 1


def test_the_larger_two_of_four_stay() -> None:
    weight = torch.tensor([[4.0, -5.0, 1.0, 2.0, 0.5, 0.1, -0.2, 0.3, 9.0, 9.0]])
    wanted = [[1, 1, 0, 0, 1, 0, 0, 1, 1, 1]]
    assert pruning._two_of_four(weight).tolist() == [[bool(x) for x in row] for row in wanted]


# --- heads, neurons, layers ----------------------------------------------------------------------


def loss_of(run: Training) -> Tensor:
    batch = run.train.batch(np.arange(8), CPU)
    run.model.begin_step(batch)
    return run.recipe.loss(run, batch, run.model.outputs(batch, None))


@pytest.mark.parametrize("shape", [BERT, replace(SHAPES["pre-norm, mean"], layers=3)])
def test_importance_is_what_the_loss_changes_by_to_first_order(shape: Any) -> None:
    run = pruning_of(shape, method="structured", learning_rate=1e-9)
    pruner = run.recipe._pruner(run)
    loss_of(run).backward()
    run.model.parameters.end_step()
    pruner.after_update(observes=True)
    weights, width = run.model.parameters.named(), shape.width // shape.heads

    def change(scaled: list[Tensor], by: float = 1e-2) -> float:
        """The derivative of the loss by a factor on these weights."""
        found = []
        for factor in (1 + by, (1 - by) / (1 + by), 1 / (1 - by)):
            for weight in scaled:
                weight.mul_(factor)
            found.append(loss_of(run).item())
        return abs(found[0] - found[1]) / (2 * by)

    mix, down = weights["layers.1.mix.weight"], weights["layers.1.down.weight"]
    heads = [change([mix[:, h * width : (h + 1) * width]]) for h in range(shape.heads)]
    assert pruner._of_heads[1].tolist() == pytest.approx(heads, rel=0.05, abs=2e-4)
    neurons = [change([down[:, n]]) for n in range(5)]
    assert pruner._of_neurons[1, :5].tolist() == pytest.approx(neurons, rel=0.05, abs=2e-4)
    parts = [[weights[f"layers.1.{p}.{e}"] for e in ("weight", "bias")] for p in ("mix", "down")]
    whole = sum(change(part) for part in parts)
    assert pruner._of_layers[1].item() == pytest.approx(whole, rel=0.05, abs=4e-4)


@pytest.mark.parametrize("importance", ["taylor", "magnitude"])
def test_what_does_nothing_goes_first(importance: str) -> None:
    run = pruning_of(
        method="structured", sparsity=0.25, rounds=1, importance=importance, learning_rate=1e-7
    )
    named = run.model.parameters.named()
    idle = {"layers.0.": 2, "layers.1.": 0, "layers.2.": 3}
    stay, neurons = {}, {}
    for name, head in idle.items():
        qkv, mix = named[f"{name}qkv.weight"], named[f"{name}mix.weight"]
        qkv.view(3, 4, 4, 16)[:, head] = 0
        mix.view(16, 4, 4)[:, head] = 0
        stay[name] = qkv.view(3, 4, -1)[:, [h for h in range(4) if h != head]].flatten()
        named[f"{name}up.weight"][4:12] = 0
        named[f"{name}down.weight"][:, 4:12] = 0
        neurons[name] = named[f"{name}up.weight"][[*range(4), *range(12, 32)]].clone()
    go_through(run, run.batches())
    left = run.model.parameters.named()
    for name in idle:
        torch.testing.assert_close(
            left[f"{name}qkv.weight"].flatten(), stay[name], atol=1e-4, rtol=0
        )
        torch.testing.assert_close(left[f"{name}up.weight"], neurons[name], atol=1e-4, rtol=0)


def test_a_layer_that_adds_nothing_goes() -> None:
    run = pruning_of(
        replace(SHAPES["pre-norm, mean"], layers=3), method="structured", sparsity=0,
        dropped_layers=1, learning_rate=1e-7,
    )  # fmt: skip
    named = run.model.parameters.named()
    for part in ("mix", "down"):
        named[f"layers.1.{part}.weight"].zero_()
        named[f"layers.1.{part}.bias"].zero_()
    third = named["layers.2.up.weight"].clone()
    go_through(run, run.batches())
    left = run.model.parameters.named()
    assert isinstance(run.model, Encoder)
    assert (run.model.shape.layers, run.model.shape.heads) == (2, 4)
    torch.testing.assert_close(left["layers.1.up.weight"], third, atol=1e-4, rtol=0)
    assert run.recipe.facts(run)["sparsity"] == pytest.approx(1 / 3, abs=1e-4)


@pytest.mark.parametrize(
    ("removes", "heads", "hidden"), [("heads", 2, 32), ("neurons", 4, 16), ("heads+neurons", 2, 16)]
)
def test_what_goes_is_a_choice(removes: str, heads: int, hidden: int) -> None:
    run = pruning_of(method="structured", removes=removes)
    go_through(run, run.batches())
    said = run.recipe.facts(run)
    assert (said["heads"], said["hidden"]) == (heads, hidden)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "2:4", "sparsity": "0.6"}, "2:4 leaves two of four weights"),
        ({"begins": "0.6"}, "begins must be at most ends"),
        ({"sparsity": "0"}, "with sparsity=0 nothing is removed"),
        ({"dropped_layers": "1"}, "dropped_layers is a setting of method=structured"),
        ({"method": "structured", "scope": "global"}, "scope is a setting of method=magnitude"),
        ({"method": "structured"}, "it takes heads out of encoders and decoders, and elmo-tiny is"),
    ],
)
def test_what_can_not_be_is_refused(given: dict[str, str], said: str) -> None:
    settings = recipes.resolve("prune", "elmo-tiny", given)
    use = recipes.Use("classification", "elmo-tiny", "elmo", False, "cpu")
    with pytest.raises(UsageError, match=f"prune can't be used here: {said}"):
        recipes.check("prune", use, settings)


def test_a_layer_must_stay() -> None:
    run = pruning_of(method="structured", dropped_layers=3)
    with pytest.raises(UsageError, match="dropped_layers=3: the model has 3, and one must stay"):
        go_through(run, run.batches())


def test_a_model_without_layers_of_ours_is_refused() -> None:
    with pytest.raises(UsageError, match="layers of this model are not bench's own"):
        training(object(), texts(), "prune", method="structured")  # type: ignore[arg-type]
