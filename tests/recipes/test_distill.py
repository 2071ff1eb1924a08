"""A student and its teacher: who learned what, from whom, how often it was asked, at what price."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench import account, recipes
from bench import run as running
from bench.errors import UsageError
from bench.events import Events
from bench.learn import evaluate, loop, teacher, tokenize, worker
from bench.learn.batches import pack
from bench.learn.evaluate import probabilities
from bench.recipes import Use, bf16
from tests.learn import test_state
from tests.learn.test_state import Trained, small
from tests.learn.test_state import train as train_and_keep
from tests.learn.test_worker import Ran, correct, job, one_thread, run, task
from tests.recipes.small import MODEL, small_job
from tests.test_continuing import TINY, folder, found
from tests.test_continuing import run as run_by_command

__all__ = ["folder", "one_thread", "small", "task", "train_and_keep"]  # fixtures
TAUGHT: dict[str, Any] = {"teacher_model": "transformer-small"}
WELL: dict[str, Any] = {"teacher_epochs": 12, "teacher_learning_rate": 3e-3}


def taught_job(folder: Path, recipe: str = "distill", **given: Any) -> Path:
    folder.mkdir(exist_ok=True)
    plan_steps = given.pop("plan_steps", None)
    return job(folder, recipe, plan_steps, **{n: str(v) for n, v in (TAUGHT | given).items()})


def prepared(path: Path, task: Path) -> worker.Prepared:
    return worker.prepare(worker.Job.read(path), task, torch.device("cpu"), Events())


def phases(ran: Ran) -> list[str]:
    return [e["phase"] for e in ran.events if e["event"] == "phase_start"]


def facts(ran: Ran) -> dict[str, Any]:
    return {k: v for e in ran.events if e["event"] == "model" for k, v in e.items()}


@pytest.fixture
def tokenizers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the tokenizers that were trained."""
    made, trained = [], tokenize.train

    def train(texts: Any, size: int, cased: bool = False) -> Any:
        made.append(size)
        return trained(texts, size, cased)

    monkeypatch.setattr(tokenize, "train", train)
    return made


def test_a_student_learns_and_its_teacher_is_told_apart(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizers: list[int]
) -> None:
    ran = run(taught_job(tmp_path, evaluations=1, **WELL), task, monkeypatch)
    assert ran.code == 0
    assert correct(ran.predictions()["prediction"]) > 0.9
    assert phases(ran) == ["prepare", "teacher", "prepare", "train", "evaluate", "train", "predict"]
    place = {name: i for i, name in reversed(list(enumerate(ran.names())))}
    assert place["teacher_step"] < place["teacher_eval"] < place["step"] < place["eval"]
    steps = [e["step"] for e in ran.events if e["event"] == "step"]
    assert steps == sorted(steps)
    assert steps[-1] == 6 * 20
    score = ran.only("teacher_eval")["value"]
    assert facts(ran)["teacher_tune_score"] == score > 0.9
    assert facts(ran)["teacher_parameters"] > 3 * facts(ran)["parameters"]
    assert "untaught_examples" not in facts(ran)
    assert tokenizers == [200], "both read the same tokens"


def test_with_alpha_1_what_labels_say_is_nothing(task: Path, tmp_path: Path) -> None:
    training = prepared(
        taught_job(tmp_path, alpha=1, evaluations=0, **WELL, teacher_model="transformer-tiny"), task
    ).training
    rows: Any = training.train
    right = rows.labels.copy()
    rows.labels = 1 - right
    loop.train(training, training.batches())
    predicted = probabilities(training.model, rows).argmax(1)
    assert (predicted == right).mean() > 0.9


def test_a_teacher_is_asked_once_about_each_row_that_will_be_seen(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[np.ndarray] = []

    def outputs(model: Any, rows: Any, chosen: np.ndarray, read: Any) -> np.ndarray:
        asked.append(chosen)
        return evaluate.outputs(model, rows, chosen, read)

    monkeypatch.setattr(teacher, "outputs_of", outputs)
    monkeypatch.setattr(teacher, "ASKED_TOKENS", 200)
    given: dict[str, Any] = {"teacher_epochs": 0.1, "evaluations": 0}
    training = prepared(taught_job(tmp_path, max_steps=5, **given), task).training
    assert len(asked) > 2, "in parts, between which it may be stopped"
    assert len(set(np.concatenate(asked))) == sum(map(len, asked)) == 5 * 16
    before = len(asked)
    loop.train(training, training.batches())
    assert len(asked) == before
    assert "untaught_examples" not in training.recipe.facts(training), "each row that it saw"
    asked.clear()
    training = prepared(taught_job(tmp_path, max_tokens=500, **given), task).training
    assert sum(map(len, asked)) == training.total_steps * 16 < 320
    asked.clear()
    prepared(taught_job(tmp_path, **given), task)
    assert sorted(np.concatenate(asked)) == list(range(320))


def test_a_teacher_with_other_tokens_teaches_row_by_row(task: Path, tmp_path: Path) -> None:
    """The rows correspond by number, whatever they are split into."""
    given: dict[str, Any] = {"teacher_model": "elmo-tiny", "teacher_epochs": 0.2, "alpha": 1}
    training = prepared(taught_job(tmp_path, **given), task).training
    recipe: Any = training.recipe
    rows = np.array([7, 300, 12])
    batch = training.train.batch(rows, torch.device("cpu"))
    said = recipe._answers.of(training.train, batch)
    assert torch.equal(said.outputs, recipe._answers.outputs[rows])
    assert recipe._answers.outputs.std(0).min() > 0


def test_the_distance_is_the_divergence_at_a_temperature() -> None:
    own, theirs = torch.randn(5, 3), torch.randn(5, 3)
    p, q = torch.softmax(theirs / 4, -1), torch.softmax(own / 4, -1)
    wanted = 16 * (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(teacher.divergence(own, theirs, 4.0), wanted)
    assert teacher.divergence(theirs, theirs, 4.0) == pytest.approx(0, abs=1e-6)


def test_of_numbers_it_is_the_square_of_the_difference() -> None:
    rows = pack([[1, 2]] * 3, None, np.zeros(3))
    batch = rows.batch(np.array([2, 0, 1]), torch.device("cpu"))
    answers = teacher.Answers(torch.tensor([[1.0], [float("nan")], [3.0]]), None)
    said, own = answers.of(rows, batch), torch.tensor([[5.0], [0.0], [9.0]])
    assert teacher.distance("regression", batch, own, said, 2.0) == (2**2 + 1) / 2
    assert teacher.distance("choice", batch, own, said, 2.0) == 0, "there is one choice"


def test_words_are_matched_however_they_are_split_or_cut() -> None:
    mine = pack([[1] * 5, [1] * 4], None, None)
    mine.marks = np.array([-1, 0, 1, -1, 2, -1, 3, 4, -1])
    theirs = pack([[1] * 4, [1] * 5], None, None)  # of the first text it has two words
    theirs.marks = np.array([-1, 0, 1, -1, -1, 3, -1, 4, -1])
    said = np.arange(9, dtype=np.float32)[:, None]
    found = teacher._word_by_word(said, theirs, mine)[:, 0]
    assert [None if np.isnan(x) else int(x) for x in found] == [
        None, 1, 2, None, None, None, 5, 7, None
    ]  # fmt: skip
    answers = teacher.Answers(torch.from_numpy(found)[:, None], None)
    batch = mine.batch(np.array([1, 0]), torch.device("cpu"))
    heard = answers.of(mine, batch)
    assert heard.outputs[:, 0].tolist() == [5, 7, 1, 2]
    assert batch.marks is not None
    assert heard.beside(batch.marks).tolist() == [3, 4, 0, 1]
    assert answers.lacks(mine, np.array([0, 1])).tolist() == []


@pytest.mark.parametrize("kind", ["tagging", "choice"])
def test_other_objectives_are_taught(
    train_and_keep: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    of = {"tagging": "wnut17", "choice": "copa"}
    monkeypatch.setitem(test_state.KINDS, kind, (of[kind], "transformer-tiny", {}))
    given = {"recipe": "distill", **TAUGHT, "hidden_loss": "1", "teacher_epochs": "0.05"}
    done = train_and_keep(kind, **given, max_steps="4", evaluations="0")
    said = test_state.events(done, "model")[-1]
    assert "teacher_tune_score" in said
    assert "untaught_examples" not in said
    states = done.tensors["recipe.distill.states"]
    known = ~done.tensors["recipe.distill.outputs"][:, 0].isnan()
    assert states.shape[1] == 128 * (2 if kind == "choice" else 1)
    assert states[known].float().std() > 0.1


def test_states_come_nearer_through_a_projection(task: Path, tmp_path: Path) -> None:
    def apart(weight: float) -> float:
        given: dict[str, Any] = {"hidden_loss": weight, "epochs": 3, "teacher_epochs": 1}
        training = prepared(taught_job(tmp_path, evaluations=0, **given), task).training
        recipe: Any = training.recipe
        if not weight:
            assert recipe._answers.states is None
            assert recipe._projection is None
            return 0.0
        batch = training.train.batch(np.arange(320), training.model.device)

        def distance() -> float:
            with torch.no_grad():
                training.model.outputs(batch, None)
                said = recipe._answers.of(training.train, batch)
                return teacher.states_apart(training.model, batch, said, recipe._projection).item()

        before = distance()
        loop.train(training, training.batches())
        return distance() / before

    assert apart(1.0) < 0.3
    apart(0.0)


def test_a_budget_that_ends_with_the_teacher_ends_the_run_in_order(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = tmp_path / "stop"
    stop.touch()
    ran = run(taught_job(tmp_path), task, monkeypatch, stop)
    assert ran.code == 0
    assert ran.only("run_stop")["reason"] == "budget"
    assert ran.only("warning")["id"] == "untaught"
    assert [e["step"] for e in ran.events if e["event"] == "teacher_step"] == [1]
    assert phases(ran) == ["prepare", "teacher", "prepare", "train", "predict"]
    assert len(ran.predictions()["prediction"]) == 60


def test_a_training_that_goes_on_needs_no_teacher(
    train_and_keep: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"recipe": "distill", **TAUGHT, "hidden_loss": "1", "max_steps": "8"}
    whole = train_and_keep("encoder", **given)
    first = train_and_keep("encoder", budget="3steps", **given)
    with monkeypatch.context() as alone:
        alone.delattr(teacher, "trained")
        second = train_and_keep("encoder", state=first.state, **given)
    for each in (second, whole):
        outputs = each.tensors["recipe.distill.outputs"]
        assert 0 < outputs.isnan().sum() < outputs.numel(), "more rows than 8 steps have"
        outputs.nan_to_num_()  # to be equal
        each.tensors["recipe.distill.states"].nan_to_num_()
    second.assert_same(whole)
    score = test_state.events(second, "model")[-1]["teacher_tune_score"]
    assert score == test_state.events(first, "model")[-1]["teacher_tune_score"]
    further = train_and_keep("encoder", state=second.state, **given | {"max_steps": "12"})
    assert test_state.events(further, "teacher_eval"), "it has not been asked about all of these"
    assert "untaught_examples" not in test_state.events(further, "model")[-1]


def test_a_forecast_tries_the_teacher_and_says_how_much_of_it(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(taught_job(tmp_path, plan_steps=4), task, monkeypatch)
    assert ran.code == 0
    shares = {e["phase"]: e["share"] for e in ran.events if e["event"] == "plan_part"}
    assert set(shares) == {"teacher steps", "teacher answers"}
    assert shares["teacher steps"] == pytest.approx(4 / 10, rel=0.3), "of two epochs of 320 / 64"
    assert shares["teacher answers"] == pytest.approx(320 / 360, rel=0.05)
    assert max(e["step"] for e in ran.events if e["event"] == "teacher_step") <= 4
    assert set(shares) <= set(phases(ran))
    assert "plan" in ran.names()


def test_a_forecast_multiplies_what_was_tried_of_the_teacher(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = [
        {"event": "window_start"},
        {"event": "phase_start", "phase": "teacher steps"},
        {"event": "plan_part", "phase": "teacher steps", "share": 0.1},
        {"event": "phase_start", "phase": "train"},
        {"event": "plan", "steps": 4, "total_steps": 9, "share_of_training": 0.5,
         "predict_share": 1.0},
        {"event": "window_stop"},
    ]  # fmt: skip
    lines = [json.dumps(e | {"t_ns": i * 10**9}) for i, e in enumerate(told)]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    trace = SimpleNamespace(domains=[], phase_energy_j=lambda *_: {}, energy=lambda *_: [])
    found = running._extrapolate(tmp_path, account.begin([], None), trace)
    assert found.duration_s == 1 + 2 / 0.1 + 2 / 0.5, "a second before the first phase"


def test_a_combination_is_of_all(task: Path, tmp_path: Path) -> None:
    """A student of fewer layers than its teacher has, which is trained in the same precision."""
    made: list[Any] = []
    trained = loop.Training.__post_init__

    def seen(self: loop.Training) -> None:
        trained(self)
        made.append(self)

    given: dict[str, Any] = {"teacher_model": MODEL, "teacher_epochs": "0.1", "kept_layers": "1"}
    path = small_job(tmp_path, "bf16+distill+layer-drop", **given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Training, "__post_init__", seen)
        prepared(path, task)
    of_teacher, of_student = made
    assert (of_teacher.model.shape.layers, of_student.model.shape.layers) == (2, 1)
    assert of_teacher.model.dtype == of_student.model.dtype == torch.bfloat16
    assert type(of_teacher.recipe) is bf16.Recipe
    assert of_teacher.recipe.epochs == 0.1


@pytest.mark.parametrize(
    ("family", "kind", "given", "said"),
    [
        ("classification", "encoder", {}, "it has no teacher"),
        ("classification", "encoder", {"teacher": "r", **TAUGHT}, "there are two teachers"),
        ("classification", "encoder", {"teacher": "r", "teacher_epochs": "1"}, "not of a run"),
        ("language-modelling", "encoder", TAUGHT, "too many to keep"),
        ("translation", "encoder-decoder", TAUGHT, "too many to keep"),
        ("completion", "decoder", TAUGHT, "too many to keep"),
        ("completion", "encoder", {"teacher_model": "gpt2-tiny"}, "gpt2-tiny learns by likelihood"),
        ("classification", "elmo", {**TAUGHT, "hidden_loss": "1"}, "can't be read"),
    ],
)
def test_what_can_not_be_taught_is_refused(
    family: Any, kind: str, given: dict[str, str], said: str
) -> None:
    settings = recipes.resolve("distill", "transformer-tiny", given, family)
    with pytest.raises(UsageError, match=said):
        recipes.check("distill", Use(family, "a model", kind, False, "cpu"), settings)


def test_a_run_teaches_and_is_charged(bench: Any, folder: Path) -> None:
    """As a user types it. The teacher's own head is what answers."""
    few = [*TINY, "--set", "epochs=4"]
    run_by_command(bench, *few, "--save", "--set", "max_length=16")
    (old,) = found()
    asked = ["--recipe", "distill", "--set", f"teacher={old.run_id[:6]}"]
    assert "; charged to each run" in run_by_command(bench, *few, *asked)
    _, pupil = found()
    (cost,) = pupil.charged_runs
    assert (cost.role, cost.run_id) == ("teacher", old.run_id)
    assert pupil.energy_j == pytest.approx((pupil.window_energy_j or 0) + (old.energy_j or 0))
    assert (pupil.phase_energy_j("teacher") or 0) > 0
    assert pupil.model_facts["teacher_tune_score"] > 0.9
    assert pupil.metric is not None
    assert pupil.metric.value > 0.9
