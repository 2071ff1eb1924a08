"""token-budget: how much is learned from, and with which schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import recipes
from bench.errors import UsageError
from bench.learn.loop import Training, train
from bench.recipes import Use
from tests.learn.test_loop import SHAPES, encoder, one_thread, texts, training
from tests.learn.test_worker import correct, job, run
from tests.learn.test_worker import task as task  # a fixture

__all__ = ["one_thread"]

ALL = int(texts().lengths.sum())


def trained(recipe: str, **given: object) -> Training:
    made = training(encoder(SHAPES["as BERT"]), texts(), recipe, **given)
    train(made, made.batches())
    return made


def test_a_share_is_of_all_epochs() -> None:
    made = trained("token-budget", epochs=4, share=0.25)
    assert made.total_steps == made.step == made.steps_per_epoch
    facts = made.recipe.facts(made)
    assert facts == {"tokens": ALL, "token_budget": ALL, "budget_share": 0.25}


def test_tokens_count_whatever_the_epochs() -> None:
    made = trained("token-budget", epochs=1, tokens=3 * ALL)
    assert made.step == 3 * made.steps_per_epoch
    assert made.recipe.facts(made)["budget_share"] == pytest.approx(3)


def test_the_schedule_ends_where_the_budget_does() -> None:
    made = trained("token-budget", epochs=4, share=0.25, warmup_share=0)
    rates = [made.recipe.rate(step, made.total_steps) for step in range(made.step)]
    assert rates[0] == made.recipe.learning_rate
    assert rates[-1] == pytest.approx(made.recipe.learning_rate / made.step)


def test_a_share_is_of_all_rows_when_some_are_left_out() -> None:
    """Fewer rows in more epochs: tokens are what is equal."""
    made = trained("token-budget+data-prune", epochs=4, share=0.5, by="random", kept_share=0.5)
    assert made.tokens == pytest.approx(2 * ALL, rel=0.05)
    assert made.epoch >= 3


def test_steps_are_gained_where_they_read_less() -> None:
    made = trained("token-budget+length-warmup", epochs=8, share=0.5, growing=1)
    assert made.tokens == pytest.approx(4 * ALL, rel=0.05)
    assert made.step > 1.15 * 4 * made.steps_per_epoch


def test_two_limits_of_tokens_are_one_too_many() -> None:
    settings: Any = recipes.resolve("token-budget", "transformer-tiny", {"max_tokens": "9"})
    use = Use("classification", "transformer-tiny", "encoder", False, "cpu")
    with pytest.raises(UsageError, match="max_tokens is a limit of its own"):
        recipes.check("token-budget", use, settings)


def test_it_learns_in_half_of_the_steps(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(job(tmp_path, "token-budget", epochs="16", share="0.5"), task, monkeypatch)
    assert correct(ran.predictions()["prediction"]) > 0.9
    steps = [e for e in ran.events if e["event"] == "step"]
    assert steps[-1]["step"] == steps[-1]["total_steps"] == 160
    told = [e for e in ran.events if e["event"] == "model"][-1]
    assert told["tokens"] == told["token_budget"]
