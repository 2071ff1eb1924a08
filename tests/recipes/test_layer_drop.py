"""Layers that are gone from the start, and those that a step leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import recipes
from bench.errors import UsageError
from bench.learn.encoder import Layers
from bench.learn.evaluate import probabilities
from bench.learn.loop import Training
from bench.learn.loop import train as go_through
from bench.run import Request, prepare
from tests.learn import test_state
from tests.learn.test_loop import CPU, SHAPES, encoder, texts, training
from tests.learn.test_state import Trained, small
from tests.learn.test_state import train as train_and_keep
from tests.learn.test_worker import correct, one_thread, run, task
from tests.recipes.small import small_job

__all__ = ["one_thread", "small", "task", "train_and_keep"]  # fixtures
TWELVE = replace(SHAPES["as BERT"], layers=12)


def dropping(**given: object) -> Training:
    return training(encoder(TWELVE), texts(), "layer-drop", **given)


def test_what_is_left_learns_and_is_all_that_there_is(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(small_job(tmp_path, "layer-drop"), task, monkeypatch)
    assert correct(ran.predictions()["prediction"]) > 0.9
    first, last = (e for e in ran.events if e["event"] == "model")
    assert first["layers"] == last["layers"] == 1
    blocks = 12 * 128**2 + 13 * 128
    assert first["parameters"] < 2 * blocks, "the model has two of them"
    assert last["layers_kept"] == "0"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"keep": "last", "kept_layers": 3}, [9, 10, 11]),
        ({"keep": "every-other"}, [0, 2, 4, 7, 9, 11]),
        ({"keep": "every-other", "kept_layers": 1}, [0]),
        ({"kept_layers": 12, "drop_rate": 0.5}, list(range(12))),
    ],
)
def test_the_layers_that_stay_are_as_they_were(given: dict[str, Any], left: list[int]) -> None:
    whole = encoder(TWELVE).parameters.named()
    run = dropping(**given)
    found = run.model.parameters.named()
    assert sum(name.endswith("up.weight") for name in found) == len(left)
    for i, was in enumerate(left):
        for part in ("qkv.weight", "down.bias", "mix_norm.weight"):
            assert torch.equal(found[f"layers.{i}.{part}"], whole[f"layers.{was}.{part}"])
    assert run.recipe.facts(run)["layers_kept"] == " ".join(map(str, left))


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the layers that were computed."""
    layer, found = Layers._layer, []

    def counted(self: Layers, i: int, *arguments: Any) -> torch.Tensor:
        found.append(i)
        return layer(self, i, *arguments)

    monkeypatch.setattr(Layers, "_layer", counted)
    return found


def test_a_step_computes_nothing_of_what_it_leaves_out(passed: list[int]) -> None:
    run = dropping(kept_layers=12, drop_rate=0.5, evaluations=0)
    go_through(run, run.batches())
    steps = run.total_steps
    assert 0.35 * 12 * steps < len(passed) < 0.65 * 12 * steps
    assert run.recipe.facts(run)["left_out_share"] == pytest.approx(
        1 - len(passed) / (12 * steps), abs=1e-4
    )


def test_a_layer_that_is_left_out_has_no_gradient_and_yet_predicts(passed: list[int]) -> None:
    run = dropping(kept_layers=12, drop_rate=0.5)
    model: Any = run.model
    for gone in ({3, 11}, set(range(12))):  # also the last, which reads the first token alone
        model.skipped = frozenset(gone)
        passed.clear()
        batch = run.train.batch(np.arange(8), CPU)
        model.begin_step(batch)
        run.recipe.loss(run, batch, model.outputs(batch, None)).backward()
        assert set(passed) == set(range(12)) - gone
        still = {name.split(".")[1] for name, w in model.parameters.weights.items() if w.fresh}
        assert still >= {str(i) for i in gone}
        passed.clear()
        probabilities(model, run.tune)
        assert set(passed) == set(range(12))


def test_one_that_goes_on_leaves_out_the_same(
    train_and_keep: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(test_state.KINDS, "small", ("sst2", "transformer-small", {}))
    given = {"recipe": "layer-drop", "kept_layers": "2", "drop_rate": "0.5", "max_steps": "10"}
    whole = train_and_keep("small", **given)
    first = train_and_keep("small", budget="4steps", **given)
    train_and_keep("small", state=first.state, **given).assert_same(whole)


def test_a_language_model_loses_layers_as_well(train_and_keep: Callable[..., Trained]) -> None:
    given = {"recipe": "layer-drop+bf16", "max_steps": "3", "evaluations": "0"}
    told = test_state.events(train_and_keep("masked", **given), "model")[-1]
    assert (told["layers"], told["layers_kept"]) == (1, "0")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kept_layers": 13}, "kept_layers=13: the model has 12, and none would be dropped"),
        ({"kept_layers": 12}, "kept_layers=12: the model has 12, and none would be dropped"),
    ],
)
def test_what_drops_nothing_is_refused(given: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        dropping(**given)


def test_a_model_that_is_known_to_be_too_small_is_refused_before_the_run(tmp_path: Path) -> None:
    request = Request("sst2", model="transformer-tiny", recipe="layer-drop")
    with pytest.raises(UsageError, match="kept_layers=1: the model has 1, and none would be"):
        prepare(request)
    prepare(replace(request, settings={"layers": "3"}))


def test_other_kinds_of_models_are_refused() -> None:
    settings = recipes.resolve("layer-drop", "elmo-tiny", {})
    use = recipes.Use("classification", "elmo-tiny", "elmo", False, "cpu")
    with pytest.raises(UsageError, match="encoders and decoders, and elmo-tiny is elmo"):
        recipes.check("layer-drop", use, settings)

    with pytest.raises(UsageError, match="layers of this model are not bench's own"):
        training(object(), texts(), "layer-drop")  # type: ignore[arg-type]
