"""`bench run --nproc`: processes that torchrun starts, under one meter."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet
import pytest

from bench import account, recipes, record, run
from bench.errors import UsageError
from bench.record import Spec
from tests.power.simulated import Constant, SimulatedGpu, SimulatedGpus, Square, build_nvml
from tests.test_measure import no_process_of, text_of, wait_for
from tests.test_run import bench, folder, runs, start

__all__ = ["folder"]  # a fixture

TINY = [
    "run", "--task", "sst2", "--model", "transformer-tiny", "--data", "reviews", "--idle", "0",
    "--set", "epochs=2", "--set", "batch_size=15", "--set", "dropout=0", "--seed", "7",
]  # fmt: skip


@pytest.fixture
def cards(tmp_path: Path) -> SimulatedGpus:
    return SimulatedGpus(
        tmp_path / "nvml.conf", build_nvml(tmp_path / "lib"),
        [SimulatedGpu(Square(100, 400, 0.7)), SimulatedGpu(Constant(250))],
    )  # fmt: skip


def workers(pid: int) -> list[psutil.Process]:
    """The processes that train, the first one first."""
    children = psutil.Process(pid).children(recursive=True)
    found = [p for p in children if p.cmdline()[1:4] == ["-P", "-m", "bench.learn.worker"]]
    return sorted(found, key=lambda p: int(p.environ()["RANK"]))


def predictions(place: Path) -> dict[str, list[Any]]:
    return pyarrow.parquet.read_table(place / "predictions.parquet").to_pydict()


def test_two_processes_predict_as_one_and_each_card_is_charged_once(
    folder: Path, cards: SimulatedGpus
) -> None:
    out = bench(*TINY, "--nproc", "2", **cards.environment())
    assert "2 x NVIDIA H100 80GB HBM3, 2 processes" in out
    bench(*TINY, "--device", "cpu", "--out", "alone")
    (place,), (alone,) = record.folders([folder / "runs"]), record.folders([folder / "alone"])
    both, one = record.read(place), record.read(alone)

    assert (both.status, one.status) == ("complete", "complete")
    assert (both.spec.processes, one.spec.processes) == (2, 1)
    assert both.metric
    assert both.metric.value > 0.9
    scores, expected = (predictions(p)["scores"] for p in (place, alone))
    for a, b in zip(scores, expected, strict=True):
        assert a == pytest.approx(b, abs=1e-3)

    events = account.read_events(place / "events.jsonl")
    at = {e["event"]: e["t_ns"] for e in events}
    window = at["window_start"], at["window_stop"]
    gpus = [d for d in both.charged if d.kind == "gpu"]
    assert [d.domain for d in gpus] == [cards.domain(0), cards.domain(1)]
    for i, gpu in enumerate(gpus):
        assert gpu.energy_j == pytest.approx(cards.energy_j(i, *window), rel=0.01)
    assert [e["event"] for e in events].count("devices") == 2, "each tells what it uses"
    assert [e["event"] for e in events].count("run_stop") == 1
    steps = [e["loss"] for e in events if e["event"] == "step"]
    last = [e for e in account.read_events(alone / "events.jsonl") if e["event"] == "step"][-1]
    assert steps[-1] == pytest.approx(last["loss"], abs=1e-3), "the loss of the whole batch"


def test_one_that_is_killed_ends_all_and_the_run_has_failed(folder: Path) -> None:
    process = start(*TINY, "--nproc", "2", "--set", "epochs=10000")
    events = (folder / "runs").glob
    wait_for(lambda: any('"step"' in text_of(p) for p in events("*/*/events.jsonl")), 120)
    first, second = workers(process.pid)
    second.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out + err
    (one,) = runs(folder)
    assert one.status == "failed"
    assert one.energy_j
    assert not first.is_running()
    assert no_process_of(folder)


# --- what is asked -------------------------------------------------------------------------------


@pytest.fixture
def with_cuda(cards: SimulatedGpus, monkeypatch: pytest.MonkeyPatch) -> SimulatedGpus:
    """As if torch were a CUDA build."""
    from bench.power import gpus

    for name, value in cards.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(run, "_torch_has_cuda", lambda: True)
    found = [gpus.Gpu(uuid=g.uuid, name=g.name, facts={}, mig=()) for g in cards.gpus]
    monkeypatch.setattr(gpus, "listed", lambda: found)
    return cards


def test_each_process_gets_a_gpu_and_no_other_is_charged(with_cuda: SimulatedGpus) -> None:
    first, second = (gpu.uuid for gpu in with_cuda.gpus)
    device, environment, charged, _ = run._device("auto", 2, 2)
    assert device == "cuda"
    assert environment == {"CUDA_VISIBLE_DEVICES": f"{first},{second}"}
    assert charged == [first, second]


@pytest.mark.parametrize(
    ("asked", "processes", "why"),
    [("cuda", 3, r"--nproc 3: 2 GPU\(s\) are visible"), ("cuda:1", 2, "cuda:1 is one GPU")],
)
def test_more_processes_than_gpus_are_refused(
    with_cuda: SimulatedGpus, asked: str, processes: int, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        run._device(asked, processes, processes)


def test_streams_of_several_processes_are_not_kept(folder: Path) -> None:
    request = run.Request("wikitext2", "elmo-tiny", data="embedded", nproc=2, save_every_s=600)
    with pytest.raises(UsageError, match="--nproc and --save don't combine here"):
        run.prepare(request)


def test_what_is_seen_by_one_process_alone_is_not_counted() -> None:
    settings = recipes.resolve("data-prune", "transformer-tiny", {"by": "forgetting"})
    for processes in (1, 2):
        use = recipes.Use("classification", "transformer-tiny", "encoder", False, "cpu", processes)
        if processes == 1:
            recipes.check("data-prune", use, settings)
        else:
            with pytest.raises(UsageError, match="each process sees a row now and then"):
                recipes.check("data-prune", use, settings)


def test_a_run_of_one_process_is_recorded_and_hashed_as_before(folder: Path) -> None:
    request = run.Request("sst2", "transformer-tiny", data="reviews", device="cpu")
    one, two = (
        run.prepare(run.Request(**{**vars(request), "nproc": n})).spec(run.Seed(1, "user"))
        for n in (None, 2)
    )
    assert "processes" not in one.model_dump_json()
    assert Spec.model_validate_json(one.model_dump_json()) == one
    assert Spec.model_validate_json(two.model_dump_json()).processes == 2
    assert one.sha256() != two.sha256()
