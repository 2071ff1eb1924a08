"""A training that is cut in two is, step for step, the training in one piece."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from bench import run as running
from bench.events import Events
from bench.learn import data, worker
from bench.learn.corpora import gazetteer, phrasebook, verdicts
from bench.lineage import STATE

SMALL = {"vocabulary_size": "300", "max_length": "32", "batch_size": "8", "dropout": "0.2"}
KINDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "encoder": ("sst2", "transformer-tiny", {}),
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
        self.state = folder / STATE
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
            plan_steps=None, keep=worker.Keep(folder, "r" * 16, every_s), state=state,
        )  # fmt: skip
        with (folder / "events").open("wb") as file:
            worker.run(job, folder / "task", folder, Events(file.fileno()))
        return Trained(folder)

    return go


@pytest.mark.parametrize("kind", KINDS)
def test_in_two_parts_or_in_one_it_is_the_same(train: Callable[..., Trained], kind: str) -> None:
    whole = train(kind)
    total = whole.facts["total_steps"]
    per_epoch = total // 2
    first = train(kind, budget=f"{per_epoch + per_epoch // 2}steps")
    assert 0 < first.facts["place"] < per_epoch, "in the middle of an epoch"
    assert first.facts["step"] < total
    second = train(kind, state=first.state)
    assert second.facts["step"] == total
    second.assert_same(whole)
