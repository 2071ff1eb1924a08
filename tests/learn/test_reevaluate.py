"""Kept weights predict as the training did that kept them, whatever was made of the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.checks import weights
from bench.learn import reevaluate
from bench.learn.data import Predictions, read_task_folder
from bench.learn.reevaluate import Job, Misfit
from tests.learn.test_worker import run as run_worker
from tests.learn.test_worker import task as task  # a fixture
from tests.recipes.small import small_job


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def again(folder: Path) -> Job:
    """What a parent would ask for, of the run that `small_job` has described."""
    spec = json.loads((folder / "job.json").read_text())["spec"]
    path = folder / "weights" / "model.safetensors"
    shapes = {name: tensor.shape for name, tensor in weights.header(path).items()}
    return Job(
        spec["model"], None, "classification", spec["recipe"], spec["settings"], "cpu", path,
        shapes, None,
    )  # fmt: skip


def train(folder: Path, task: Path, monkeypatch: Any, recipe: str, **given: str) -> dict[str, Any]:
    ran = run_worker(small_job(folder, recipe, keep=True, **given), task, monkeypatch)
    assert ran.code == 0
    return ran.predictions()


@pytest.mark.parametrize(
    ("recipe", "given"),
    [
        ("baseline", {}),
        ("bf16", {"max_steps": "12"}),
        ("sparse-embedding", {}),
        ("layer-drop", {"kept_layers": "1"}),
        ("prune", {"sparsity": "0.7"}),
        ("prune", {"method": "2:4"}),
        ("prune", {"method": "structured", "sparsity": "0.5"}),
        ("prune", {"method": "structured", "dropped_layers": "1", "sparsity": "0"}),
        ("prune", {"method": "structured", "max_steps": "8", "begins": "0.5", "ends": "1"}),
        ("quantise", {}),
        ("layer-drop+prune+quantise", {"method": "structured"}),
    ],
)
def test_weights_predict_as_they_did(
    task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: str,
    given: dict[str, str],
) -> None:
    then = train(tmp_path, task, monkeypatch, recipe, **{"max_steps": "60", **given})
    now: Predictions = reevaluate.predict(again(tmp_path), task)
    assert now.labels == then["prediction"]
    assert now.scores is not None
    near = 2e-2 if recipe != "baseline" else 1e-5
    for a, b in zip(now.scores, then["scores"], strict=True):
        assert a == pytest.approx(b, abs=near)


def test_a_training_may_have_ended_between_two_removals(
    task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"method": "structured", "begins": "0.1", "ends": "0.9", "rounds": "4"}
    path = small_job(tmp_path, "prune", keep=True, **given)
    facts = json.loads(path.read_text())
    facts["spec"]["budget"] = "60steps"
    path.write_text(json.dumps(facts))
    ran = run_worker(path, task, monkeypatch)
    assert any("removals" in e.get("message", "") for e in ran.events)
    assert reevaluate.predict(again(tmp_path), task).labels == ran.predictions()["prediction"]


def test_weights_of_another_shape_or_name_are_refused(
    task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train(tmp_path, task, monkeypatch, "baseline", epochs="1")
    path = tmp_path / "weights" / "model.safetensors"
    whole = load_file(path)
    name = "layers.1.up.weight"
    changed = {
        "has layers.1.up.weight, and the weights have not": {
            n: t for n, t in whole.items() if n != name
        },
        "have one.more, and the model has not": whole | {"one.more": torch.ones(1)},
        "have .* for layers.1.up.weight, where the model has": whole
        | {name: whole[name].t().contiguous()},
    }
    for said, tensors in changed.items():
        save_file(tensors, path)
        with pytest.raises(Misfit, match=said):
            reevaluate.predict(again(tmp_path), task)


def test_a_file_of_weights_is_not_taken_for_what_its_header_was(
    task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is exchanged after the parent has looked at it."""
    train(tmp_path, task, monkeypatch, "baseline", epochs="1")
    asked, path = again(tmp_path), tmp_path / "weights" / "model.safetensors"
    tensors = load_file(path)
    save_file({n: t[:1].contiguous() for n, t in tensors.items()}, path)
    with pytest.raises(Exception, match="where the model has"):
        reevaluate.predict(asked, task)
    path.write_bytes(b"no tensors")
    with pytest.raises(Misfit, match="can't be loaded"):
        reevaluate.predict(asked, task)


def test_the_task_has_no_labels_of_what_is_scored(task: Path) -> None:
    assert all(len(row) == 1 for row in read_task_folder(task).scored)
