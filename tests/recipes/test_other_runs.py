"""A recipe that learns from another run: what a user names, and what it costs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.record import Record
from tests.command import write_reviews
from tests.test_continuing import TINY, found, place, refused, run

PUPIL = """
from dataclasses import dataclass
from bench.recipes import baseline, setting

@dataclass
class Recipe(baseline.Recipe):
    teacher: str = setting("", "a run that kept its weights", names="run")
    parent: str = setting("", "a model", names="model")

    def prepare(self, training):
        super().prepare(training)
        self.seen = {name: str(folder) for name, folder in training.weights.items()}
        assert all((folder / "model.safetensors").is_file() for folder in training.weights.values())

    def facts(self, training):
        return super().facts(training) | {"seen": self.seen}
"""
FEW = [*TINY, "--set", "max_steps=2"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_reviews(tmp_path / "reviews", train=60, scored=20)
    (tmp_path / "pupil.py").write_text(PUPIL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained") / "runs"


@pytest.fixture
def teacher(folder: Path, bench: Any, trained: Path) -> Record:
    """Trained for the first test that wants it, and copied for the others."""
    if trained.exists():
        shutil.copytree(trained, "runs")
    else:
        run(bench, *FEW, "--save")
        shutil.copytree("runs", trained)
    (only,) = found()
    return only


def test_a_teacher_is_charged_in_full_and_named_by_its_id(bench: Any, teacher: Record) -> None:
    run(bench, *FEW, "--recipe", "./pupil.py", "--set", f"teacher={teacher.run_id[:6]}")
    pupil = found()[-1]
    assert pupil.spec.recipe == "pupil"
    assert pupil.spec.settings["teacher"] == teacher.run_id
    (cost,) = pupil.charged_runs
    assert (cost.role, cost.run_id) == ("teacher", teacher.run_id)
    assert teacher.energy_j is not None
    assert pupil.window_energy_j is not None
    assert pupil.energy_j == pytest.approx(pupil.window_energy_j + teacher.energy_j)
    assert str(place(teacher)) in pupil.model_facts["seen"]["teacher"]
    assert pupil.model_facts["layers"] == 1, "what the model said before is still there"
    assert pupil.upstream == [], "what is charged is not upstream as well"


def test_a_run_that_kept_nothing_can_not_teach(bench: Any, folder: Path) -> None:
    run(bench, *FEW)
    (only,) = found()
    said = refused(bench, *FEW, "--recipe", "./pupil.py", "--set", f"teacher={only.run_id}")
    assert f"run {only.run_id} can't be a teacher: it kept no weights (--save keeps them)" in said
    assert len(found()) == 1, "refused before it began"


def test_weights_that_were_changed_do_not_teach(bench: Any, teacher: Record) -> None:
    with (place(teacher) / "weights" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    said = refused(bench, *FEW, "--recipe", "./pupil.py", "--set", f"teacher={teacher.run_id}")
    assert "is not what it kept" in said


def test_a_teacher_of_another_task_is_refused(bench: Any, teacher: Record) -> None:
    asked = ["--task", "cola", "--data", "embedded", "--model", "transformer-tiny"]
    said = refused(bench, *asked, "--recipe", "./pupil.py", "--set", f"teacher={teacher.run_id}")
    assert "it learned sst2, not cola" in said


def test_weights_of_another_kind_of_track_decide_the_track(
    bench: Any, teacher: Record, folder: Path
) -> None:
    weights = place(teacher) / "weights"
    run(bench, *FEW, "--recipe", "./pupil.py", "--set", f"parent={weights}")
    pupil = found()[-1]
    assert pupil.spec.track == "open", "it used weights that no list has"
    assert pupil.charged_runs == []
    assert [c.run_id for c in pupil.upstream] == [teacher.run_id]


@pytest.mark.parametrize("has_weights", [False, True])
def test_a_pupil_from_scratch_stays_one_beside_trained_weights(
    bench: Any, teacher: Record, has_weights: bool
) -> None:
    """Whose track is that of its teacher; also when it goes on."""
    small = [s for size in ("layers=1", "width=32", "heads=2") for s in ("--set", size)]
    asked = [*FEW, *(["--model", "bert-base", "--scratch", *small] if has_weights else [])]
    parent = f"parent={place(teacher) / 'weights'}"
    budget = ["--budget", "1steps", "--save"]
    run(bench, *asked, "--recipe", "./pupil.py", "--set", parent, *budget)
    first = found()[-1]
    assert (first.spec.track, first.spec.checkpoint_sha256) == ("open", None)
    run(bench, "--continue", first.run_id, "--data", "reviews", "--idle", 0)
    assert found()[-1].continues == first.run_id


def test_a_recipe_file_is_part_of_an_entry_by_what_it_does(bench: Any, folder: Path) -> None:
    """The same file from two places is one entry; changed, it is another."""
    (folder / "elsewhere").mkdir()
    (folder / "pupil.py").rename(folder / "elsewhere" / "pupil.py")
    run(bench, *FEW, "--recipe", "elsewhere/pupil.py")
    (folder / "elsewhere" / "pupil.py").rename(folder / "pupil.py")
    (first,) = found()
    assert planned(first).entry_key() == first.entry_key()
    (folder / "pupil.py").write_text(PUPIL + "\n# changed\n")
    assert planned(first).entry_key() != first.entry_key()


PLANNED = """
import json, sys
from bench import run
plan = run.prepare(run.Request(**json.loads(sys.argv[1])))
spec = plan.spec(run.Seed(1, "harness")).model_dump(mode="json")
print(json.dumps({"spec": spec, "code_sha256": run.code_sha256(run.own_files(plan))}))
"""


def planned(like: Record) -> Record:
    """What a run of ./pupil.py would be in a new process, with all else as in that one."""
    given = {name: str(value) for name, value in like.spec.settings.items() if value is not None}
    asked = {"task": "sst2", "model": like.spec.model, "recipe": "./pupil.py", "settings": given}
    asked |= {"data": "reviews", "device": "cpu"}
    said = subprocess.check_output([sys.executable, "-c", PLANNED, json.dumps(asked)])
    return Record.model_validate({**like.model_dump(mode="json"), **json.loads(said)})
