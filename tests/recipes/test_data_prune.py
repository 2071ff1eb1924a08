"""data-prune: which rows are kept, what they are chosen by, and what that costs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench import recipes
from bench.errors import UsageError
from bench.events import Events
from bench.learn import data, selection
from bench.learn.assembly import Assembly, Parts, assemble
from bench.learn.batches import Batch, Packed
from bench.learn.evaluate import probabilities
from bench.learn.loop import Training, train
from bench.learn.model import Model
from bench.learn.selection import Forgetting, choose, firsts
from bench.recipes import Use
from tests.learn.plain import Labels
from tests.learn.test_loop import CPU, SHAPES, encoder, one_thread, texts, training
from tests.learn.test_worker import correct, job, run
from tests.learn.test_worker import task as task  # a fixture

__all__ = ["one_thread"]


class Classes(Labels):
    def logits(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        return outputs


def pruned(rows: Packed | None = None, events: Events | None = None, **given: object) -> Training:
    """Prepared, and no step made."""
    options = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "dropout": 0.0}
    options |= {"balanced": "false", **given}
    text = {name: str(value) for name, value in options.items()}
    recipe = recipes.build("data-prune", recipes.resolve("data-prune", "transformer-tiny", text))
    model, rows = encoder(SHAPES["pre-norm, mean"]), texts() if rows is None else rows
    return Training(recipe, Classes(), model, rows, texts(8, seed=9), 1, events or Events())


def kept(made: Training) -> list[int]:
    """The rows of an epoch."""
    epoch = made.recipe.batches(made.train, 0, np.random.default_rng(3))
    return sorted(int(row) for batch in epoch for row in batch)


def test_a_choice_is_by_rank_and_between_equals_by_chance() -> None:
    scores, random = np.array([5.0, 1, 4, 2, 3]), np.random.default_rng(0)
    assert sorted(choose(scores, 2, "hardest", random)) == [0, 2]
    assert sorted(choose(scores, 2, "easiest", random)) == [1, 3]
    assert sorted(choose(scores, 3, "middle", random)) == [2, 3, 4]
    assert sorted(choose(scores, 2, "hardest", random, np.array([1, 3, 4]))) == [3, 4]
    equal = {tuple(sorted(choose(np.zeros(5), 2, "hardest", random))) for _ in range(20)}
    assert len(equal) > 3


def test_an_equal_text_is_one_without_case_marks_and_spaces() -> None:
    inputs = [("A cat.",), ("a  CAT",), ("a cat",), ("the cat",), ("!",), ("?",)]
    assert firsts(inputs, ["x", "x", "y", "x", "x", "x"]).tolist() == [0, 2, 3, 4, 5]
    assert firsts([("a", "b"), ("b", "a"), ("a!", "B")], ["x"] * 3).tolist() == [0, 1]


@pytest.mark.parametrize("by", ["random", "length", "loss", "el2n", "forgetting"])
def test_an_epoch_has_what_is_kept_once(by: str) -> None:
    made = pruned(by=by, kept_share=0.25)
    rows = kept(made)
    assert len(rows) == len(set(rows)) == 12
    assert made.total_steps == 2 * 2
    train(made, made.batches())
    assert made.tokens == 2 * made.train.lengths[rows].sum()
    facts = made.recipe.facts(made)
    assert (facts["rows_kept"], facts["rows_kept_share"]) == (12, 0.25)
    share = made.train.lengths[rows].sum() / made.train.lengths.sum()
    assert facts["tokens_kept_share"] == pytest.approx(share)
    assert (facts["proxy_steps"] > 0) == (by in ("loss", "el2n", "forgetting"))


def test_by_length_the_shortest_are_the_easiest() -> None:
    lengths = texts().lengths
    for which, wanted in (("easiest", np.sort(lengths)[:12]), ("hardest", np.sort(lengths)[-12:])):
        rows = kept(pruned(by="length", which=which, kept_share=0.25))
        assert sorted(lengths[rows]) == sorted(wanted)


@pytest.mark.parametrize("by", ["el2n", "loss"])
def test_scores_are_those_of_a_short_training_that_leaves_no_trace(by: str) -> None:
    made, shape = pruned(by="random"), SHAPES["pre-norm, mean"]
    recipe = dataclasses.replace(made.recipe, by=by, proxy_epochs=2.0)
    found = selection.scores(made, by, recipe._proxy())
    assert found is not None
    for tensor, was in (
        (made.model.parameters.master, encoder(shape).parameters.master),
        (made.model.table.rows, encoder(shape).table.rows),
    ):
        assert torch.equal(tensor, was)
    assert made.model.table.progress == (0, 1.0)

    alone = training(encoder(shape), texts(), epochs=2, evaluations=0)
    train(alone, alone.batches())
    chance, labels = probabilities(alone.model, alone.train), alone.train.labels
    if by == "el2n":
        wanted = np.linalg.norm(chance - np.eye(2)[labels], axis=1)
    else:
        wanted = -np.log(chance[np.arange(48), labels])
    assert found[1] == alone.total_steps == 12
    np.testing.assert_allclose(found[0], wanted, rtol=1e-3, atol=1e-5)


def test_what_is_frozen_afterwards_is_computed_with_as_it_was_before_the_proxy() -> None:
    """In half precision, of which a frozen weight has a copy that is not made anew in each step."""
    options = {"by": "loss", "proxy_epochs": "2", "batch_size": "8", "learning_rate": "0.01"}
    settings = recipes.resolve("data-prune+freeze+bf16", "transformer-tiny", options)
    model = encoder(SHAPES["pre-norm, mean"], torch.bfloat16)
    recipe = recipes.build("data-prune+freeze+bf16", settings)
    made = Training(recipe, Classes(), model, texts(), texts(8, seed=9), 1, Events())
    model.begin_step(made.train.batch(np.arange(8), CPU))
    exact = model.parameters.named()["layers.0.up.weight"]
    assert torch.equal(model.parameters["layers.0.up.weight"].value, exact.bfloat16())


def test_forgetting_counts_from_right_to_wrong_and_what_was_never_right_is_hardest() -> None:
    made = pruned(by="random")
    counted = Forgetting(made)
    labels = made.train.labels
    for right in ("0123", "013", "03", "0123"):
        rows = np.arange(5)
        answers = [labels[i] if str(i) in right else 1 - labels[i] for i in rows]
        logits = F.one_hot(torch.tensor(answers), 2).float()
        counted.loss(made.model, made.train.batch(rows, CPU), logits)
    assert counted.scores()[:5].tolist() == [0, 1, 1, 0, 2]


def test_classes_keep_their_shares() -> None:
    rows = texts(200)
    rows.labels = np.array([0] * 150 + [1] * 50)
    found = np.array(kept(pruned(rows, by="length", kept_share=0.2, balanced="true")))
    assert ((found < 150).sum(), (found >= 150).sum()) == (30, 10)


def test_what_is_no_class_is_not_balanced() -> None:
    rows = texts()
    rows.labels = np.linspace(0, 1, 48, dtype=np.float32)
    made = training(encoder(SHAPES["pre-norm, mean"]), rows, "data-prune", kept_share=0.25)
    assert made.recipe.balanced
    assert len(kept(made)) == 12


def test_a_budget_that_is_spent_meanwhile_leaves_it_to_chance() -> None:
    warned = []

    class Spent(Events):
        def send(self, event: str, **fields: Any) -> None:
            if event == "warning":
                warned.append(fields["id"])

        def stop_asked(self) -> bool:
            return True

    made = pruned(events=Spent(), by="el2n", kept_share=0.25)
    assert len(kept(made)) == 12
    assert warned == ["not-selected"]
    assert torch.equal(
        made.model.parameters.master, encoder(SHAPES["pre-norm, mean"]).parameters.master
    )


def test_a_training_that_goes_on_does_not_choose_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = pruned(by="el2n", kept_share=0.25)
    state = first.recipe.state(first)
    monkeypatch.delattr(selection, "scores")
    source: Any = SimpleNamespace(
        parts=SimpleNamespace(state=SimpleNamespace(remembered=state.get))
    )
    second = training(encoder(SHAPES["pre-norm, mean"]), texts(), "data-prune", by="random")
    second.source = source
    second.recipe.prepare(second)
    second.recipe.resume(second, state)
    assert kept(second) == kept(first)
    told = [made.recipe.facts(made)["proxy_steps"] for made in (first, second)]
    assert told == [1, 1], "of the whole training"


def use(family: Any, kind: str = "encoder") -> Use:
    return Use(family, "any", kind, False, "cpu")


@pytest.mark.parametrize(
    ("asked", "given", "why"),
    [
        (use("language-modelling", "elmo"), {"by": "random"}, "no rows to leave out"),
        (use("language-modelling"), {"by": "length"}, "windows of one length"),
        (use("language-modelling"), {"by": "duplicate"}, "windows of one length"),
        (use("regression"), {"by": "el2n"}, "a task of regression has none"),
        (use("translation"), {"by": "forgetting"}, "a task of translation has none"),
        (use("classification"), {"by": "random", "which": "easiest"}, "by=random ranks nothing"),
        (use("classification"), {"by": "forgetting", "proxy_epochs": "1"}, "2 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: Use, given: dict[str, str], why: str) -> None:
    settings = recipes.resolve("data-prune", "transformer-tiny", given, asked.family)
    with pytest.raises(UsageError, match=f"data-prune can't be used here: .*{why}"):
        recipes.check("data-prune", asked, settings)


FAMILIES: dict[str, dict[str, Any]] = {
    "regression": {"labels": ["1", "2.5", "4"], "kind": "number"},
    "tagging": {"labels": ["O O", "B-x O O", "O B-x I-x O"], "kind": "tags"},
    "translation": {"labels": ["ein Hund", "noch eine Katze", "ja"], "kind": "text"},
    "causal": {"labels": ["3", "4", "5"], "kind": "words"},
    "masked": {"labels": ["3", "4", "5"], "kind": "words"},
}
MODELS = {"causal": "gpt2-tiny", "masked": "bert-tiny"}


def assembled(objective: str, **given: str) -> Assembly:
    facts: dict[str, Any] = {"family": "language-modelling"} if objective in MODELS else {}
    facts = {"family": objective, "metric": "pearson", "classes": ["O", "B-x", "I-x"], **facts}
    rows = data.Rows(
        [("a dog",), ("one more cat",), ("this is not it",)] * 8, FAMILIES[objective]["labels"] * 8
    )
    task = data.TaskFolder(
        "toy", 1, inputs=["text"], choices=[], words={}, kind=FAMILIES[objective]["kind"],
        train=rows, tune=rows, scored=rows.inputs, **facts,
    )  # fmt: skip
    model = MODELS.get(objective, "transformer-tiny")
    text = {"vocabulary_size": "300", "max_length": "8", **given}
    settings = recipes.resolve("baseline", model, text, task.family, False)
    recipe = recipes.build("baseline", settings)
    return assemble(Parts(task, objective, recipe, model, None, 1, CPU))


@pytest.mark.parametrize("objective", FAMILIES)
def test_the_loss_of_each_row_is_that_of_a_batch_of_its_own(objective: str) -> None:
    smooth = {"label_smoothing": "0"} if objective == "translation" else {}
    made = assembled(objective, **smooth)
    judge: Any = made.objective
    rows, model = made.splits["train"], made.model
    chosen = np.arange(min(3, len(rows)))
    model.begin_evaluation()
    with torch.inference_mode():
        batches = [rows.batch(chosen, CPU)]
        each = judge.losses(model, batches[0], model.outputs(batches[0], None))
        mean = judge.loss(model, batches[0], model.outputs(batches[0], None))
    assert each.shape == (len(chosen),)
    if objective == "masked":  # masks are drawn anew for each batch
        asked = np.array([int((batches[0].chosen // 8 == i).sum()) for i in chosen])
        assert float(each @ torch.from_numpy(asked).float()) / asked.sum() == pytest.approx(
            float(mean), rel=1e-4
        )
        return
    weights = torch.ones(len(chosen))
    if objective == "tagging":
        weights = torch.tensor([2.0, 3.0, 4.0])
    if objective == "translation":
        weights = torch.from_numpy(rows.target.lengths[chosen]).float()  # type: ignore[attr-defined]
    assert float((each * weights).sum() / weights.sum()) == pytest.approx(float(mean), rel=1e-4)
    with torch.inference_mode():
        for i in chosen:
            batch = rows.batch(np.array([i]), CPU)
            alone = judge.loss(model, batch, model.outputs(batch, None))
            assert float(alone) == pytest.approx(float(each[i]), rel=1e-4)


def test_what_it_costs_is_a_phase_and_it_learns_from_half(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"by": "el2n", "epochs": "12", "kept_share": "0.5", "proxy_epochs": "2"}
    ran = run(job(tmp_path, "data-prune", **given), task, monkeypatch)
    phases = [e["phase"] for e in ran.events if e["event"] == "phase_start"]
    assert phases[:4] == ["prepare", "select", "prepare", "train"]
    assert correct(ran.predictions()["prediction"]) > 0.9
    told = [e for e in ran.events if e["event"] == "model"][-1]
    assert (told["rows_kept"], told["proxy_steps"]) == (160, 40)
    steps = [e for e in ran.events if e["event"] == "step"]
    assert steps[-1]["total_steps"] == 120, "the proxy's are none of the training's"

    planned = run(job(tmp_path, "data-prune", plan_steps=4, **given), task, monkeypatch)
    parts = {e["phase"]: e["share"] for e in planned.events if e["event"] == "plan_part"}
    assert parts["select steps"] == pytest.approx(4 / 40, rel=0.2)
    assert 0 < parts["select scores"] <= 1
    assert planned.only("plan")["total_steps"] == 120


def test_equal_texts_are_left_out(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (task / "train.jsonl").read_text().splitlines()
    ran = run(job(tmp_path, "data-prune", by="duplicate", kept_share="1"), task, monkeypatch)
    told = [e for e in ran.events if e["event"] == "model"][-1]
    assert told["rows_kept"] == len(set(rows)) < len(rows)
