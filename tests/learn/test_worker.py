"""The worker as its parent sees it: a job and a task's folder in, events and predictions out."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from bench import recipes
from bench.events import identity
from bench.learn import loop, worker

CLASSES = ["negative", "positive"]
WORDS = {
    "negative": ["awful", "dull", "stale", "weak", "clumsy"],
    "positive": ["bright", "lovely", "sharp", "warm", "witty"],
}
FILLERS = ["the", "a", "film", "plot", "cast", "of", "and", "in", "with", "some", "scene"]
SETTINGS = {"epochs": "6", "batch_size": "16", "vocabulary_size": "200", "max_length": "32"}


def texts(n: int, seed: int) -> list[tuple[str, str]]:
    chance = random.Random(seed)
    found = []
    for _ in range(n):
        label = chance.choice(CLASSES)
        words = [*chance.choices(FILLERS, k=chance.randint(1, 8)), chance.choice(WORDS[label])]
        chance.shuffle(words)
        found.append((" ".join(words), label))
    return found


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    splits = {"train": texts(320, 1), "tune": texts(40, 2), "scored": texts(60, 3)}
    for name, rows in splits.items():
        lines = [{"sentence": text, "label": label} for text, label in rows]
        if name == "scored":
            lines = [{"id": i, "sentence": text} for i, (text, _) in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    facts = {"name": "toy", "version": 1, "family": "classification", "inputs": ["sentence"]}
    facts |= {"kind": "class", "choices": [], "words": {}}
    facts |= {"classes": CLASSES, "metric": "accuracy"}
    facts |= {"rows": {name: len(rows) for name, rows in splits.items()}}
    (folder / "task.json").write_text(json.dumps(facts))
    return folder


def job(
    folder: Path, recipe: str = "baseline", plan_steps: int | None = None, **given: str
) -> Path:
    model = "transformer-tiny"
    data = {"source": "local", "official": False, "labels_sha256": "", "rows": {}}
    spec = {
        "edition": "1.0",
        "task": "toy",
        "task_version": 1,
        "data": data | {"fingerprints": {}},
        "track": "scratch",
        "model": model,
        "checkpoint_sha256": None,
        "recipe": recipe,
        "settings": recipes.resolve(recipe, model, SETTINGS | given),
        "device": "cpu",
        "hardware": "CPU, tests",
        "budget": None,
        "seed": 5,
        "seed_origin": "user",
    }
    path = folder / "job.json"
    facts = {"spec": spec, "objective": "classification", "checkpoint": None}
    path.write_text(json.dumps({**facts, "plan_steps": plan_steps}))
    return path


class Ran:
    def __init__(self, code: int, events: list[dict[str, Any]], out: Path) -> None:
        self.code, self.events, self.out = code, events, out

    def names(self) -> list[str]:
        return [e["event"] for e in self.events]

    def only(self, event: str) -> dict[str, Any]:
        (found,) = (e for e in self.events if e["event"] == event)
        return found

    def predictions(self) -> dict[str, list[Any]]:
        return pyarrow.parquet.read_table(self.out / "predictions.parquet").to_pydict()


def run(path: Path, task: Path, monkeypatch: pytest.MonkeyPatch, stop: Path | None = None) -> Ran:
    """The worker in this process, its events through a file."""
    with (path.parent / "events.jsonl").open("wb+") as file:
        monkeypatch.setenv("BENCH_TASK_DIR", str(task))
        monkeypatch.setenv("BENCH_OUT", str(path.parent))
        monkeypatch.setenv("BENCH_EVENTS_FD", str(file.fileno()))
        monkeypatch.setenv("BENCH_EVENTS_ID", identity(file.fileno()))
        monkeypatch.setenv("BENCH_STOP", str(stop or path.parent / "stop"))
        code = worker.main([str(path)])
        file.seek(0)
        return Ran(code, [json.loads(line) for line in file], path.parent)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


def correct(predictions: list[str]) -> float:
    gold = [label for _, label in texts(60, 3)]
    return sum(a == b for a, b in zip(predictions, gold, strict=True)) / len(gold)


def test_a_process_trains_and_predicts(task: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    environment = os.environ | {
        "BENCH_TASK_DIR": str(task),
        "BENCH_OUT": str(tmp_path),
        "BENCH_EVENTS_FD": str(write),
        "BENCH_EVENTS_ID": identity(write),
    }
    command = [sys.executable, "-m", "bench.learn.worker", str(job(tmp_path))]
    child = subprocess.Popen(command, env=environment, pass_fds=[write])
    os.close(write)
    with os.fdopen(read) as pipe:
        events = [json.loads(line) for line in pipe]
    ran = Ran(child.wait(), events, tmp_path)
    assert ran.code == 0
    predictions = ran.predictions()
    assert predictions["id"] == list(range(60))
    assert set(predictions["prediction"]) == set(CLASSES)
    assert all(abs(sum(scores) - 1) < 1e-5 for scores in predictions["scores"])
    assert correct(predictions["prediction"]) > 0.9


def test_the_events_tell_the_run(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(job(tmp_path, evaluations="1", epochs="2"), task, monkeypatch)
    phases = [e["phase"] for e in ran.events if e["event"] == "phase_start"]
    assert phases == ["prepare", "train", "evaluate", "train", "predict"]
    assert ran.names()[0] == "run_start"
    assert ran.only("run_start")["seed"] == 5
    assert ran.only("devices")["uuids"] == []
    assert ran.only("model")["parameters"] > 1000
    assert ran.only("eval")["split"] == "tune"
    assert ran.events[-1]["event"] == "run_stop"
    assert ran.events[-1]["reason"] == "done"
    last = [e for e in ran.events if e["event"] == "step"][-1]
    assert last["step"] == last["total_steps"] == 40
    stamps = [e["t_ns"] for e in ran.events]
    assert stamps == sorted(stamps)


def test_the_same_seed_predicts_the_same(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(job(tmp_path, epochs="1"), task, monkeypatch).predictions()
    assert run(job(tmp_path, epochs="1"), task, monkeypatch).predictions() == first


def test_it_stops_when_asked_and_predicts_with_what_it_has(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = tmp_path / "stop-now"
    stop.touch()
    ran = run(job(tmp_path, epochs="50"), task, monkeypatch, stop)
    assert ran.code == 0
    assert ran.only("run_stop")["reason"] == "budget"
    assert len(ran.predictions()["id"]) == 60
    assert max(e["step"] for e in ran.events if e["event"] == "step") == 1


def test_a_plan_times_a_few_steps_and_writes_nothing(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(job(tmp_path, plan_steps=4, epochs="5", evaluations="3"), task, monkeypatch)
    plan = ran.only("plan")
    assert plan["total_steps"] == 100
    assert plan["steps"] == 4
    assert plan["train_seconds"] > 0
    assert plan["share_of_training"] == pytest.approx(0.04, rel=0.1)
    assert plan["predict_share"] == pytest.approx(60 / (60 + 3 * 40), rel=0.1)
    assert "eval" not in ran.names()
    assert not (tmp_path / "predictions.parquet").exists()


def test_a_plan_times_no_step_that_is_slow_because_it_is_among_the_first(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, step = [0], loop.step

    def slow_at_first(*arguments: Any) -> Any:
        made[0] += 1
        time.sleep(0.1 if made[0] <= 5 else 0.0)
        return step(*arguments)

    monkeypatch.setattr(loop, "step", slow_at_first)
    ran = run(job(tmp_path, plan_steps=4, epochs="5"), task, monkeypatch)
    assert made[0] > 5 + 4
    at = {e["phase"]: e["t_ns"] for e in ran.events if e["event"] == "phase_start"}
    assert list(at)[:3] == ["prepare", "rehearse", "train"]
    assert ran.only("plan")["train_seconds"] < 0.1


def test_a_loss_that_explodes_is_a_failure(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = job(tmp_path, learning_rate="1e38", warmup_share="0", clip_norm="0")
    ran = run(path, task, monkeypatch)
    assert ran.code == 1
    assert ran.only("failure")["kind"] == "NotFinite"
    assert "learning_rate" in capsys.readouterr().err
    assert not (tmp_path / "predictions.parquet").exists()


def test_running_out_of_memory_is_a_failure(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from bench.learn import loop

    monkeypatch.setattr(loop, "train", lambda *_: torch.empty(1 << 50))
    ran = run(job(tmp_path), task, monkeypatch)
    assert ran.code == 1
    assert ran.only("failure")["kind"] == "OutOfMemory"


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_a_half_precision_warns_where_the_processor_emulates_it(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    for able in (False, True):
        monkeypatch.setattr(worker, "has_products", lambda precision, able=able: able)
        ran = run(job(tmp_path, half, epochs="0.2"), task, monkeypatch)
        warned = [e["id"] for e in ran.events if e["event"] == "warning"]
        assert warned == ([] if able else [f"slow-{half}"])


def test_a_gpu_attends_by_kernels_that_take_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN's plan for each new length takes longer than the step."""
    import torch

    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    kept = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.backends.cuda.enable_cudnn_sdp(True)  # torch's own default
    try:
        worker.start("cuda", 1)
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled()
        assert torch.backends.cuda.mem_efficient_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)
        torch.set_float32_matmul_precision(kept[0])
        torch.backends.cudnn.allow_tf32 = kept[1]


def test_a_gpu_that_is_not_there_is_named(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = job(tmp_path)
    path.write_text(path.read_text().replace('"device": "cpu"', '"device": "cuda:0"'))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    ran = run(path, task, monkeypatch)
    assert ran.code == 1
    assert "cuda:0" in ran.only("failure")["message"]


def test_it_ends_at_once_with_all_that_it_has_said() -> None:
    code = (
        "import atexit; from bench.learn import worker; atexit.register(print, 'taken to pieces');"
        "print('said'); worker.end(3)"
    )
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stdout) == (3, "said\n")
