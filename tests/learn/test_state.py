"""A training that is cut in two is, step for step, the training in one piece."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from bench import run as running
from bench.errors import BenchError, UsageError
from bench.events import Events
from bench.learn import assembly, data, keeper, loop, tokenize, worker
from bench.learn.corpora import gazetteer, phrasebook, verdicts
from bench.learn.state import State
from bench.lineage import STATES
from bench.recipes import baseline

SMALL = {"vocabulary_size": "300", "max_length": "32", "batch_size": "8", "dropout": "0.2"}
KINDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "encoder": ("sst2", "transformer-tiny", {}),
    "encoder, fewer examples": (
        "sst2",
        "transformer-tiny",
        {"recipe": "data-prune+early-stop+length-warmup", "by": "el2n", "patience": "99"},
    ),
    "masked": ("wikitext2", "bert-tiny", {}),
    "causal": ("wikitext2", "gpt2-tiny", {}),
    "bidirectional": ("wikitext2", "elmo-tiny", {"max_length": "8"}),
    "encoder-decoder": ("multi30k", "transformer-tiny", {"batch_tokens": "300"}),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(worker.os, "sched_getaffinity", lambda _: {0})
    lines, pairs, films = gazetteer.corpus, phrasebook.corpus, verdicts.corpus
    monkeypatch.setattr(gazetteer, "corpus", lambda: lines(10, 2))
    monkeypatch.setattr(phrasebook, "corpus", lambda: pairs(120, 8))
    monkeypatch.setattr(verdicts, "corpus", lambda: films(150, 20))


class Trained:
    """What a worker leaves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        told = [json.loads(line) for line in (folder / "events").open()]
        self.state = folder / [e["file"] for e in told if e.get("name") == "state"][-1]
        self.predictions = (folder / "predictions.parquet").read_bytes()
        with safe_open(self.state, framework="pt") as file:
            self.facts = json.loads(file.metadata()["training"])
            self.tensors = {name: file.get_tensor(name) for name in list(file.keys())}

    def assert_same(self, other: Trained) -> None:
        assert self.facts == other.facts
        assert set(self.tensors) == set(other.tensors)
        for name, tensor in self.tensors.items():
            assert torch.equal(tensor, other.tensors[name]), name
        assert self.predictions == other.predictions


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Trained]:
    """Trains with the worker in this process, each time in a folder of its own."""
    count = iter(range(99))

    def go(
        kind: str, budget: str | None = None, state: Path | None = None, every_s: float = 1e9,
        **given: str,
    ) -> Trained:  # fmt: skip
        task, model, own = KINDS[kind]
        settings = {**SMALL, "epochs": "2", **own, **given}
        recipe = settings.pop("recipe", "baseline")
        if task == "multi30k":
            settings.pop("batch_size")
        plan = running.prepare(
            running.Request(
                task, model, recipe, data="embedded", device="cpu", settings=settings, budget=budget
            )
        )
        folder = tmp_path / str(next(count))
        data.write_task_folder(plan.resolved, plan.card, folder / "task")
        job = worker.Job(
            spec=plan.spec(running.Seed(5, "user")), objective=plan.objective, checkpoint=None,
            plan_steps=None, keep=worker.Keep(folder, "r" * 16, every_s), state=state, weights={},
        )  # fmt: skip
        with (folder / "events").open("wb") as file:
            worker.run(job, folder / "task", folder, Events(file.fileno()))
        return Trained(folder)

    return go


@pytest.mark.parametrize("kind", KINDS)
def test_in_two_parts_or_in_one_it_is_the_same(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = train(kind)
    total = whole.facts["total_steps"]
    per_epoch = total // 2
    first = train(kind, budget=f"{per_epoch + per_epoch // 2}steps")
    assert 0 < first.facts["place"] < per_epoch, "in the middle of an epoch"
    assert first.facts["step"] < total
    for made_once in ("train", "train_bytes"):
        monkeypatch.delattr(tokenize, made_once)
    monkeypatch.delattr(assembly, "_first_use")
    second = train(kind, state=first.state)
    assert second.facts["step"] == total
    assert 0 < first.facts["tokens"] < second.facts["tokens"]
    second.assert_same(whole)


def events(trained: Trained, name: str) -> list[dict[str, Any]]:
    lines = (trained.folder / "events").read_text().splitlines()
    return [e for e in map(json.loads, lines) if e["event"] == name]


def test_what_was_kept_before_an_evaluation_is_evaluated_again(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Kept between all steps, a training is the same; and from each it goes on as it did."""
    copies = []
    look = keeper.Keeper.look

    def copied(self: keeper.Keeper, training: loop.Training) -> None:
        look(self, training)
        copies.append(tmp_path / f"after-{training.step}")
        shutil.copy(self._folder / STATES[(training.step - 1) % 2], copies[-1])

    whole = train("encoder", max_steps="8")
    monkeypatch.setattr(keeper.Keeper, "look", copied)
    kept = train("encoder", max_steps="8", every_s=0.0)
    kept.assert_same(whole)
    assert [path.name for path in copies] == [f"after-{step}" for step in range(1, 8)]
    monkeypatch.setattr(keeper.Keeper, "look", look)
    evaluated = [e["step"] for e in events(whole, "eval")]
    assert evaluated == [2, 4, 6]
    again = train("encoder", max_steps="8", state=copies[3])
    again.assert_same(whole)
    assert [e["step"] for e in events(again, "eval")] == [4, 6]
    assert all(e["first_step"] == 4 for e in events(again, "step"))
    phases = [e["phase"] for e in events(kept, "phase_start")]
    assert phases[:5] == ["prepare", "train", "save", "train", "save"]
    assert phases[-4:] == ["save", "train", "save", "predict"]


def test_a_budget_of_tokens_is_one_of_steps(train: Callable[..., Trained]) -> None:
    tokens = train("encoder", budget="1ktokens")
    per_step = 1000 / tokens.facts["step"]
    assert 8 * 4 < per_step < 8 * 32  # texts a batch, tokens a text
    assert [e["id"] for e in events(tokens, "warning")] == ["budget"]


def test_a_full_disk_is_a_warning_and_leaves_nothing_half_written(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of more than 50 kB are refused after steps 2 and 3, and at the end for the weights."""
    look, keep_weights = keeper.Keeper.look, keeper.Keeper.keep_weights
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(call: Callable[..., None], *arguments: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        try:
            call(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def looked(self: keeper.Keeper, training: loop.Training) -> None:
        if training.step in (2, 3):
            full(look, self, training)
            assert not list(self._folder.glob(".*.partial"))
        else:
            look(self, training)

    monkeypatch.setattr(keeper.Keeper, "look", looked)
    monkeypatch.setattr(keeper.Keeper, "keep_weights", lambda *given: full(keep_weights, *given))
    kept = train("encoder", max_steps="5", every_s=0.0)
    of_state, of_weights = (
        [(e["step"], e["file"]) for e in events(kept, "saved") if e["name"] == name]
        for name in ("state", "weights")
    )
    assert of_state == [(1, STATES[0]), (4, STATES[1]), (5, STATES[0])]
    assert of_weights == []
    said = [e["message"] for e in events(kept, "warning")]
    whats = [text.partition(" could not be kept: ")[0] for text in said]
    assert whats == ["the state", "the weights"]
    assert "File too large" in said[0]
    assert not (kept.folder / "weights").exists()


def test_a_recipe_keeps_what_it_remembers(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr(
        baseline.Recipe, "state", lambda self, training: {"best": torch.tensor(training.step)}
    )
    monkeypatch.setattr(baseline.Recipe, "resume", lambda self, training, kept: given.append(kept))
    first = train("encoder", budget="3steps")
    assert given == []
    train("encoder", budget="1steps", state=first.state)
    assert given == [{"best": torch.tensor(3)}]


def test_a_state_of_another_model_is_refused(train: Callable[..., Trained]) -> None:
    first = train("encoder", budget="2steps")
    with pytest.raises(BenchError, match=r"has \(.*\) for parameters, where \(.*\) is wanted"):
        train("encoder", state=first.state, max_length="16")
    with pytest.raises(UsageError, match="2 steps were made, and 2 are asked for"):
        train("encoder", state=first.state, max_steps="2")
    first.state.write_bytes(first.state.read_bytes()[:200])
    with pytest.raises(BenchError, match="can't be read"):
        State(first.state)
