"""early-stop: when it ends, which weights it leaves, and what it says of that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from bench import recipes
from bench.errors import UsageError
from bench.learn.batches import Packed
from bench.learn.loop import Training, train
from bench.learn.model import Model
from tests.learn.plain import Labels
from tests.learn.test_loop import SHAPES, encoder, one_thread, texts, training
from tests.learn.test_worker import correct, job, run
from tests.learn.test_worker import task as task  # a fixture

__all__ = ["one_thread"]


class Scripted(Labels):
    """Tune scores what is written here; the weights of each time are kept."""

    def __init__(self, values: Sequence[float], metric: str = "accuracy") -> None:
        self._values, self._metric = iter(values), metric
        self.weights: list[torch.Tensor] = []

    def evaluate(self, model: Model, rows: Packed) -> tuple[str, float]:
        model.begin_evaluation()
        self.weights.append(weights(model))
        return self._metric, next(self._values)


def weights(model: Model) -> torch.Tensor:
    assert model.table is not None
    return torch.cat([model.parameters.master, model.table.rows.view(-1)])


def stopped(values: Sequence[float], metric: str = "accuracy", **given: object) -> Training:
    """A training of 12 steps whose tune is scored after each of the first 11."""
    given = {"evaluations": 11, "patience": 3, **given}
    made = training(encoder(SHAPES["as BERT"]), texts(), "early-stop", **given)
    made.objective = Scripted(values, metric)
    train(made, made.batches())
    made.recipe.finish(made)
    return made


def test_it_ends_without_a_gain_and_leaves_the_best_weights() -> None:
    made = stopped([0.5, 0.8, 0.6, 0.8, 0.7])
    assert made.step == 5
    assert made.total_steps == 12
    assert torch.equal(weights(made.model), made.objective.weights[1])
    assert made.recipe.facts(made) == {"best_step": 2, "last_step": 5, "steps_saved": 7}


def test_less_is_better_where_the_metric_says_so() -> None:
    made = stopped([9.0, 5.0, 6.0, 7.0, 8.0], "perplexity")
    assert torch.equal(weights(made.model), made.objective.weights[1])


def test_a_small_gain_is_none_and_its_weights_are_kept_all_the_same() -> None:
    made = stopped([0.5, 0.52, 0.54, 0.56, 0.58, 0.6, 0.61], least_gain=0.05)
    assert made.step == 7, "0.56 is a gain over 0.5, and then there is none"
    made = stopped([0.5, 0.52, 0.54, 0.55, 0.4], least_gain=0.05)
    assert made.step == 4
    assert torch.equal(weights(made.model), made.objective.weights[3])


def test_what_never_stops_improving_is_scored_at_its_end() -> None:
    made = stopped([i / 100 for i in range(12)])
    assert made.step == 12
    assert len(made.objective.weights) == 12
    assert torch.equal(weights(made.model), made.objective.weights[11])
    assert made.recipe.facts(made)["steps_saved"] == 0


def test_a_score_that_is_not_a_number_is_no_gain() -> None:
    made = stopped([float("nan")] * 3)
    assert made.step == 3
    assert torch.equal(weights(made.model), made.objective.weights[2]), "as it was left"


def test_what_it_remembers_goes_on() -> None:
    """Kept after the third evaluation, it ends as it would have."""
    made = stopped([0.5, 0.8, 0.6, 0.8, 0.7])
    first = training(
        encoder(SHAPES["as BERT"]), texts(), "early-stop", evaluations=11, patience=3, max_steps=12
    )
    first.objective = Scripted([0.5, 0.8, 0.6])
    first.budget_ends = 4  # before the fourth
    train(first, first.batches())
    second = training(encoder(SHAPES["as BERT"]), texts(), "early-stop", patience=3)
    state = {name: tensor.clone() for name, tensor in first.recipe.state(first).items()}
    second.step = first.step
    second.recipe.resume(second, state)
    assert not second.recipe.evaluated(second, 0.8)
    second.step += 1
    assert second.recipe.evaluated(second, 0.7)
    second.recipe.finish(second)
    assert torch.equal(weights(second.model), made.objective.weights[1])


def test_a_score_that_was_still_due_when_it_was_kept_ends_it() -> None:
    given = {"evaluations": 11, "patience": 3, "max_steps": 12}
    first = training(encoder(SHAPES["as BERT"]), texts(), "early-stop", **given)
    first.objective = Scripted([0.5, 0.8, 0.6, 0.8])
    first.budget_ends = 5
    train(first, first.batches())
    second = training(encoder(SHAPES["as BERT"]), texts(), "early-stop", **given)
    second.step = first.step
    second.recipe.resume(second, first.recipe.state(first))
    second.objective = Scripted([0.7])
    assert train(second, second.batches()) == "done"
    assert second.step == 5
    assert second.recipe.facts(second)["steps_saved"] == 7


def test_the_rate_is_planned_for_no_end_unless_that_is_asked_for() -> None:
    plain = recipes.resolve("early-stop", "transformer-tiny", {})
    assert plain["schedule"] == "inverse-sqrt"
    asked = recipes.resolve("early-stop", "transformer-tiny", {"schedule": "linear"})
    assert asked["schedule"] == "linear"


def test_without_tune_there_is_nothing_to_watch() -> None:
    made = training(encoder(SHAPES["as BERT"]), texts(), "early-stop")
    made.tune = texts(0)
    with pytest.raises(UsageError, match="watches tune, and there is none"):
        made.recipe.prepare(made)


def test_it_does_not_prune() -> None:
    with pytest.raises(UsageError, match="early-stop and prune don't combine"):
        recipes.named("prune+early-stop")


def test_it_learns_and_saves_steps(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = job(tmp_path, "early-stop+token-budget", epochs="60", share="0.5", evaluations="30")
    ran = run(asked, task, monkeypatch)
    assert correct(ran.predictions()["prediction"]) > 0.9
    told = [e for e in ran.events if e["event"] == "model"][-1]
    assert told["steps_saved"] > 0
    assert told["last_step"] + told["steps_saved"] == 600
    scored = [e for e in ran.events if e["event"] == "eval"]
    best = max(e["value"] for e in scored)
    assert told["best_step"] == next(e["step"] for e in scored if e["value"] == best)
    assert told["last_step"] == scored[-1]["step"]
