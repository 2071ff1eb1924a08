"""`bench run` from data to leaderboard, as a user runs it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bench import account, record, run
from bench.errors import BenchError
from bench.power.energy import Series
from bench.power.trace import COLUMNS, Trace
from bench.recipes import baseline
from tests.command import Command, write_reviews
from tests.power.simulated import (
    Constant,
    SimulatedGpu,
    SimulatedGpus,
    SimulatedRapl,
    Square,
    build_nvml,
)
from tests.test_measure import no_process_of, text_of, wait_for

TINY = [
    "--task", "sst2", "--model", "transformer-tiny", "--data", "reviews",
    "--set", "epochs=4", "--set", "batch_size=16", "--idle", "0",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a small data set in it."""
    write_reviews(tmp_path / "reviews")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "COLUMNS": "100", **environment},
    )  # fmt: skip


def bench(*arguments: str, code: int = 0, **environment: str) -> str:
    """Standard output of a `bench` command that ends with `code`."""
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, out + err
    return out


def runs(folder: Path) -> list[record.Record]:
    return [record.read(f) for f in record.folders([folder / "runs"])]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def estimated(folder: Path, kept: Path) -> record.Record:
    """A run without meters, made for the first test that wants it and copied for the others."""
    if not (place := kept / "estimated").exists():
        bench("run", *TINY, "--out", str(place))
    return copied(place, folder)


@pytest.fixture
def measured(folder: Path, kept: Path, tmp_path: Path) -> record.Record:
    """The same on a processor that is metered."""
    if not (place := kept / "measured").exists():
        with SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(60)}) as rapl:
            bench("run", *TINY, "--out", str(place), **rapl.environment())
    return copied(place, folder)


def copied(place: Path, folder: Path) -> record.Record:
    shutil.copytree(place, folder / "runs", dirs_exist_ok=True)
    (only,) = record.folders([place])
    return record.read(only)


def test_from_data_to_leaderboard_on_two_simulated_gpus(
    folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    gpus = SimulatedGpus(
        tmp_path / "nvml.conf", build_nvml(tmp_path / "lib"),
        [SimulatedGpu(Square(100, 400, 0.7)), SimulatedGpu(Constant(250))],
    )  # fmt: skip
    with SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(60)}) as rapl:
        environment = {**gpus.environment(), **rapl.environment()}
        options = ("--runs", "3", "--region", "Germany", "--idle", "0.3")
        out = bench("run", *TINY, *options, **environment)
        assert out.count("qualified accuracy per kWh") == 3
        assert "Germany" in out
        assert "NOT the official data" in out
        found = runs(folder)
        assert len({r.spec.seed for r in found}) == 3
        for one, place in zip(found, record.folders([folder / "runs"]), strict=True):
            assert one.status == "complete"
            assert one.level == "M1"
            assert one.coverage == "gpu+cpu"
            assert one.idle_before
            assert one.idle_after
            assert one.metric
            assert one.metric.value > 0.9
            events = {e["event"]: e["t_ns"] for e in account.read_events(place / "events.jsonl")}
            window = events["window_start"], events["window_stop"]
            for i, gpu in enumerate(gpus.gpus):
                (domain,) = [d for d in one.domains if d.domain == f"gpu:{gpu.uuid}"]
                truth_j = gpus.energy_j(i, *window)
                assert domain.energy_j == pytest.approx(truth_j, rel=0.01)
                assert domain.charged
        assert {p.name for p in found[0].phases} >= {"prepare", "train", "evaluate", "predict"}

    def shown(*arguments: str) -> str:
        said = here(*arguments)
        assert said.code == 0, said.err
        return said.out

    here: Command = request.getfixturevalue("bench")
    board = json.loads(shown("leaderboard", "--results", "none", "--format", "json"))
    (cell,) = board["cells"]
    assert "M1" in json.dumps(cell)
    assert shown("leaderboard").count("transformer-tiny") >= 1
    text = shown("leaderboard", "--results", "none", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 1
    assert "| " in shown("leaderboard", "--format", "markdown")
    first, second = (r.run_id for r in found[:2])
    assert "McNemar" in shown("compare", first, second)
    assert first in shown("show", first[:8])


def test_an_estimate_never_stands_in_a_measured_table(
    estimated: record.Record, measured: record.Record
) -> None:
    assert (estimated.level, measured.level) == ("M0", "M1")
    assert measured.coverage == "cpu", "memory is estimated beside the measurement, not in its sum"
    cells = json.loads(bench("leaderboard", "--results", "none", "--format", "json"))["cells"]
    assert len(cells) == 2


def test_a_seed_replays_a_run_exactly(folder: Path, estimated: record.Record) -> None:
    bench("run", *TINY, "--seed", str(estimated.spec.seed))
    again = next(r for r in runs(folder) if r.run_id != estimated.run_id)
    assert again.spec.seed_origin == "user"
    predictions = [
        (folder / "runs" / "sst2" / r.run_id / "predictions.parquet").read_bytes()
        for r in (estimated, again)
    ]
    assert predictions[0] == predictions[1]
    assert estimated.entry_key() == again.entry_key()


def test_a_plan_whose_sampler_does_not_start_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = run.Request(task="sst2", model="transformer-tiny", data="reviews", device="cpu")
    planned = run.prepare(request)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BenchError, match="the trial steps failed: the sampler did not start"):
        run.forecast(planned, folder / "work")


def test_a_plan_keeps_nothing_and_predicts(folder: Path) -> None:
    out = bench("run", *TINY, "--plan", "--runs", "3")
    assert "one run" in out
    assert "3 runs" in out
    assert "None" not in out, "what is left to the model is not listed"
    assert "Wh" in out or " J" in out
    assert "CO2e" in out
    assert not list(record.folders([folder / "runs"]))
    assert not list((folder / "runs").iterdir())


def test_a_budget_ends_a_run_with_its_predictions(folder: Path) -> None:
    bench("run", *TINY, "--set", "epochs=10000", "--budget", "6s")
    (one,) = runs(folder)
    assert one.status == "budget"
    assert one.metric
    assert one.duration_s < 60


def test_the_scored_labels_never_reach_the_worker(folder: Path) -> None:
    arguments = [a for a in TINY if a not in ("--data", "reviews")]
    process = start("run", *arguments, "--set", "epochs=10000", BENCH_DATA=str(folder / "reviews"))
    wait_for(lambda: list((folder / "runs").glob(".work-*/task/scored.jsonl")))
    (work,) = (folder / "runs").glob(".work-*")
    scored = [json.loads(line) for line in (work / "task" / "scored.jsonl").open()]
    labelled = [json.loads(line) for line in (work / "task" / "train.jsonl").open()]
    wait_for(lambda: workers(process.pid), 60)
    environments = [p.environ() for p in workers(process.pid)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not any(str(folder / "reviews") in value for e in environments for value in e.values())
    assert "label" in labelled[0]
    assert all(set(row) == {"id", "sentence"} for row in scored)


def workers(pid: int) -> list[psutil.Process]:
    children = psutil.Process(pid).children()
    return [p for p in children if "bench.learn.worker" in p.cmdline()]


def test_an_interrupt_keeps_what_was_measured(folder: Path) -> None:
    process = start("run", *TINY, "--set", "epochs=10000", "--runs", "2")
    wait_for(
        lambda: any('"step"' in text_of(p) for p in (folder / "runs").glob("*/*/events.jsonl")), 60
    )
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    (one,) = runs(folder)
    assert one.status == "interrupted"
    assert one.energy_j
    assert not list((folder / "runs").glob(".work-*"))
    assert "interrupted" in out


def test_a_killed_bench_is_recovered_by_the_next_command(folder: Path) -> None:
    process = start("run", *TINY, "--set", "epochs=10000")
    wait_for(
        lambda: any('"step"' in text_of(p) for p in (folder / "runs").glob("*/*/events.jsonl")), 60
    )
    time.sleep(1)
    process.kill()
    process.communicate()
    wait_for(lambda: no_process_of(folder))
    board = start("leaderboard")
    _, err = board.communicate(timeout=60)
    assert "recovered run" in err
    (one,) = runs(folder)
    assert one.status == "interrupted"
    assert one.energy_j


def test_a_failing_worker_says_why(folder: Path) -> None:
    out = bench("run", *TINY, "--set", "learning_rate=1e30", "--set", "clip_norm=0", code=1)
    (one,) = runs(folder)
    assert one.status == "failed"
    assert one.failure
    assert "loss" in one.failure
    assert one.failure[:20] in out


def test_a_replayed_trace_gives_its_energy(folder: Path, measured: record.Record) -> None:
    trace = longer(folder / "runs" / "sst2" / measured.run_id / "trace.parquet")
    bench("run", *TINY, "--set", "epochs=0.5", "--replay-trace", str(trace))
    replayed = next(r for r in runs(folder) if r.run_id != measured.run_id)
    assert not replayed.rankable
    (package,) = [d for d in replayed.domains if d.domain == "cpu:package-0"]
    assert package.energy_j == pytest.approx(60 * replayed.duration_s, rel=0.05)


def longer(path: Path) -> Path:
    """The same trace as if its readings had gone on for some minutes, in a file of its own."""
    trace = Trace.read_parquet(path)
    for name, series in trace.series.items():
        span_ns, joules = np.ptp(series.t_ns), np.ptp(series.energy_j)
        turns = np.repeat(np.arange(300e9 // span_ns), len(series.t_ns))
        several = {c: np.tile(getattr(series, c), len(turns) // len(series.t_ns)) for c in COLUMNS}
        several["energy_j"] += turns * joules
        t_ns = np.resize(series.t_ns, len(turns)) + (turns * span_ns).astype(np.int64)
        trace.series[name] = Series(t_ns, **several)
    trace.write_parquet(longer := path.with_name("longer.parquet"))
    return longer


def test_a_recipe_of_the_users_own_is_a_file_and_part_of_the_code_hash(folder: Path) -> None:
    mine = folder / "mine.py"
    text = Path(baseline.__file__).read_text()
    mine.write_text(text.replace("setting(1.0, ", "setting(0.5, "))
    bench("run", *TINY, "--recipe", "./mine.py")
    (one,) = runs(folder)
    assert one.spec.settings["clip_norm"] == 0.5
    assert one.code_sha256 == run.code_sha256([mine])
    assert one.code_sha256 != run.code_sha256()

    mine.write_text("import nothing_of_that_name")
    process = start("run", *TINY, "--recipe", "./mine.py")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "can't be imported" in err
    assert "Traceback" not in err


@pytest.mark.shared
def test_the_official_data_is_recognised_and_learned(folder: Path, shared_data: Path) -> None:
    out = bench(
        "run", "--task", "sst2", "--model", "transformer-tiny", "--data", str(shared_data),
        "--set", "epochs=0.1", "--idle", "0",
    )  # fmt: skip
    (one,) = runs(folder)
    assert one.spec.data.official
    assert "the official data" in out
    assert one.metric
    assert one.metric.n == 872
    assert one.metric.value > 0.6


def test_scratch_holds_for_a_teacher_that_has_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """With it nothing is downloaded; without, its weights are sought before anything is metered."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked: dict[str, Any] = {
        "task": "sst2", "model": "transformer-tiny", "recipe": "distill", "data": "embedded",
        "device": "cpu", "settings": {"teacher_model": "bert-base"},
    }  # fmt: skip
    planned = run.prepare(run.Request(**asked, pretrained=False))
    assert (planned.weights, planned.track) == ({}, "scratch")
    with pytest.raises(BenchError, match="bert-base-uncased is not in the local cache") as missing:
        run.prepare(run.Request(**asked))
    assert "--scratch" in str(missing.value.hint)
