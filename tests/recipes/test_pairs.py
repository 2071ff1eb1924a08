"""Every two recipes that combine: each does what it says, also after a break."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import recipes
from bench.errors import UsageError
from bench.events import Events
from bench.learn import assembly, state
from bench.learn.assembly import Assembly, Parts
from bench.learn.data import read_task_folder
from bench.learn.embedding import SparseTable
from bench.learn.loop import Training, train
from bench.recipes import Use
from tests.learn.test_loop import CPU
from tests.learn.test_worker import one_thread, task
from tests.recipes.small import MODEL

__all__ = ["one_thread", "task"]  # fixtures

NOT_HERE = {"baseline", "bf16", "compile", "power-limit", "tf32"}
"""What is in all, has no hooks (as fp16 has), is for other models, and for GPUs."""
SETTINGS = {
    "vocabulary_size": "200", "max_length": "32", "width": "16", "layers": "3", "heads": "4",
    "batch_size": "8", "max_steps": "6", "evaluations": "2",
}  # fmt: skip
OWN: dict[str, dict[str, str]] = {
    "data-prune": {"by": "el2n", "kept_share": "0.5", "proxy_epochs": "0.1"},
    "distill": {"teacher_model": "transformer-tiny", "teacher_epochs": "0.05"},
    "early-stop": {"patience": "99", "evaluations": "3"},
    "freeze": {"frozen_layers": "1"},
    "layer-drop": {"kept_layers": "2", "drop_rate": "0.3"},
    "lora": {"rank": "2"},
    "prune": {"method": "structured", "rounds": "2", "begins": "0.3"},
    "quantise": {"mode": "qat", "rounded_from": "0.3"},
    "token-budget": {"tokens": "400", "max_steps": "0"},
}


@dataclass
class Done:
    """A training that has ended."""

    run: Training
    facts: dict[str, Any]
    first: dict[str, Tensor]  # the weights that it began with

    def moved(self, name: str) -> bool:
        return not torch.equal(self.run.model.parameters.named()[name], self.first[name])


def rows_of_an_epoch(done: Done) -> int:
    batches = done.run.recipe.batches(done.run.train, 0, np.random.default_rng(0))
    return len(np.unique(np.concatenate(list(batches))))


def only_the_first_is_frozen(done: Done) -> bool:
    return [done.moved(f"layers.{i}.up.weight") for i in range(2)] == [False, True]


def all_products_are_quantised(done: Done) -> bool:
    model: Any = done.run.model
    of_layers = 4 * model.shape.layers + 1  # queries of the last layer are apart
    return len(model.replaced) == done.facts["quantised_products"] == of_layers


HOLDS: dict[str, Callable[[Done], bool]] = {
    "data-prune": lambda done: rows_of_an_epoch(done) == done.facts["rows_kept"] == 160,
    "distill": lambda done: 0 < done.facts["teacher_tune_score"] <= 1,
    "early-stop": lambda done: 0 < done.facts["best_step"] <= done.run.step,
    "fp16": lambda done: done.run.model.dtype == torch.float16 and done.facts["loss_scale"] > 1,
    "freeze": only_the_first_is_frozen,
    "layer-drop": lambda done: (
        done.facts["layers_kept"] == "0 1" and done.facts["left_out_share"] > 0
    ),
    "length-warmup": lambda done: done.facts["tokens_share"] < 1,
    "lora": lambda done: done.moved("layers.0.up.weight") and not done.moved("layers.0.up.bias"),
    "prune": lambda done: (done.facts["heads"], done.facts["sparsity"]) == (2, 0.5),
    "quantise": all_products_are_quantised,
    "sparse-embedding": lambda done: isinstance(done.run.model.table, SparseTable),
    "token-budget": lambda done: 300 < done.facts["tokens"] < 500,
}


def pairs() -> Iterator[str]:
    """All that are not refused by their names."""
    for both in itertools.combinations([n for n in recipes.names() if n not in NOT_HERE], 2):
        with contextlib.suppress(UsageError):
            yield recipes.named("+".join(both))


def built(name: str) -> Any:
    parts = name.split("+")
    given = SETTINGS | {n: v for part in parts for n, v in OWN.get(part, {}).items()}
    if not {"early-stop", "freeze"}.isdisjoint(parts):
        given.pop("rounded_from", None)
        given |= {"mode": "dynamic"} if "quantise" in parts else {}
    settings = recipes.resolve(name, MODEL, given)
    recipes.check(name, Use("classification", MODEL, "encoder", True, "cpu", layers=3), settings)
    return recipes.build(name, settings)


@pytest.fixture(scope="module")
def texts(task: Path) -> Assembly:
    """Tokenised once."""
    recipe = built("baseline")
    parts = Parts(read_task_folder(task), "classification", recipe, MODEL, None, 1, CPU)
    return assembly.assemble(parts)


@pytest.mark.parametrize("name", list(pairs()))
def test_both_hold_in_one_part_and_in_two(texts: Assembly, tmp_path: Path, name: str) -> None:
    def prepared() -> Training:
        made = assembly.beside(texts, replace(texts.parts, recipe=built(name)))
        splits = made.splits
        return Training(
            made.parts.recipe, made.objective, made.model, splits["train"], splits["tune"], 1,
            Events(), source=made,
        )  # fmt: skip

    def ended(run: Training, batches: Iterator[np.ndarray]) -> dict[str, Any]:
        assert train(run, batches) == "done"
        run.recipe.finish(run)
        facts = run.recipe.facts(run) | run.model.facts()
        return {n: value for n, value in facts.items() if not n.startswith("recalled")}  # anew

    whole = prepared()
    first = {n: w.clone() for n, w in whole.model.parameters.named().items()}
    batches = whole.batches()
    whole.budget_ends = 3
    assert train(whole, batches) == "budget"
    state.write(tmp_path / "state", whole, None)
    whole.budget_ends = float("inf")
    facts = ended(whole, batches)
    for part in name.split("+"):
        assert HOLDS[part](Done(whole, facts, first)), f"{part}: {facts}"

    second = prepared()
    state.State(tmp_path / "state").restore(second)
    assert ended(second, second.batches()) == facts
    assert torch.equal(second.model.parameters.master, whole.model.parameters.master)
