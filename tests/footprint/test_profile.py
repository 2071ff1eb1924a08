"""When power is stable, what a profile says, and how one is made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import record as records
from bench.child import Progress
from bench.errors import UsageError
from bench.footprint import profile, said, stable, workloads
from bench.footprint.stable import Block, judge
from bench.power import carbon
from bench.record import PROFILE
from bench.run import Request
from tests.command import Command, write_reviews
from tests.footprint.made import Training, Watts, constant, noisy, said_by
from tests.power.simulated import Constant, SimulatedRapl

# --- when power is stable ------------------------------------------------------------------------


def stable_after(watts: Watts, most_s: float = 600.0) -> float | None:
    """Seconds of training; looked at every 5 s, as the meter does."""
    whole = Training(watts, train_s=most_s)
    trace, events = whole.trace(), whole.events()
    steps = [e for e in events if e["event"] == "step"]
    blocks = list(_all_blocks(whole, trace, steps))
    for train_s in np.arange(5, most_s + 1, 5.0):
        until_s = steps[0]["t_ns"] / 1e9 - whole.step_s + train_s
        if judge([b for b in blocks if b.stop_s <= until_s], train_s).stable:
            return float(train_s)
    return None


def _all_blocks(whole: Training, trace, steps):
    told = [stable.Told(e["t_ns"] / 1e9, e["step"], e["tokens"]) for e in steps]
    for a, b in stable.edges(told):
        start_ns, stop_ns = round(a.t_s * 1e9), round(b.t_s * 1e9)
        joules = sum(trace.phase_energy_j(start_ns, stop_ns).values())
        yield Block(a.t_s, b.t_s, joules, b.step - a.step)


def test_constant_power_is_stable_as_soon_as_there_are_blocks_enough() -> None:
    assert stable_after(constant(300)) == pytest.approx(84, abs=6)


def test_noise_takes_a_little_longer_and_is_averaged() -> None:
    found = stable_after(noisy(300, 0.15))
    assert found is not None
    assert 80 < found <= 300


def test_power_that_settles_is_stable_some_four_times_later() -> None:
    settles = stable_after(lambda t: 300 - 90 * np.exp(-(t - 10) / 20))
    assert settles is not None
    assert 100 <= settles <= 400


def test_power_that_drifts_is_not_stable() -> None:
    assert stable_after(lambda t: 200 + 0.3 * t) is None


def test_drift_is_told_from_noise_by_the_halves() -> None:
    drifts = [Block(5.0 * i, 5.0 * i + 5, 5 * (200 + 0.15 * i), 10) for i in range(60)]
    verdict = judge(drifts, 300, share=0.01)
    assert not verdict.stable
    assert "it rises" in verdict.why


def test_scatter_alone_keeps_power_from_being_known() -> None:
    scattered = [Block(5.0 * i, 5.0 * i + 5, 5 * (200 + 40 * (-1) ** i), 10) for i in range(40)]
    verdict = judge(scattered, 200)
    assert not verdict.stable
    assert "the mean is known to" in verdict.why
    assert judge(scattered, 200, share=0.2).stable


def test_a_spike_is_not_taken_for_the_level() -> None:
    spiked = lambda t: np.where((t > 70) & (t < 74), 900.0, 300.0)  # noqa: E731
    calm, after = stable_after(constant(300)), stable_after(spiked)
    assert calm is not None
    assert after is None or after > 2 * calm
    held = Training(spiked, train_s=85)
    verdict = judge(list(_all_blocks(held, held.trace(), _steps(held))), 85)
    assert not verdict.stable


def _steps(made: Training):
    return [e for e in made.events() if e["event"] == "step"]


def test_blocks_that_go_together_say_less() -> None:
    """Slow waves of as much scatter as noise has leave the mean less sure."""
    random = np.random.default_rng(3)
    noise = [(200 + 10 * e, 1.0) for e in random.standard_normal(60)]
    waves = [(200 + 14 * np.sin(i / 6), 1.0) for i in range(60)]
    calm, slow = stable.mean(noise), stable.mean(waves)
    assert slow.correlation > 0.8
    assert slow.half_width is None or slow.half_width > 2 * (calm.half_width or 0)


def test_the_half_width_is_that_of_student() -> None:
    from scipy import stats

    watts = [101.0, 99.0, 100.0, 103.0, 97.0, 98.0, 102.0, 100.0]
    random = np.random.default_rng(8)
    random.shuffle(watts)
    found = stable.mean([(w, 1.0) for w in watts])
    low, _ = stats.t.interval(0.95, len(watts) - 1, np.mean(watts), stats.sem(watts))
    if found.correlation == 0:
        assert found.half_width == pytest.approx(np.mean(watts) - low)
    else:
        assert found.half_width > np.mean(watts) - low


def test_ninety_five_of_a_hundred_means_are_within_their_half_width() -> None:
    hits = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        found = stable.mean([(100 + 5 * e, 1.0) for e in random.standard_normal(20)])
        hits += found.half_width is not None and abs(found.value - 100) <= found.half_width
    assert hits >= 0.93 * 300


def test_a_block_holds_whole_steps_however_long_they_are() -> None:
    told = [stable.Told(7.0 * i, i) for i in range(30)]
    blocks = list(stable.edges(told))
    assert {b.step - a.step for a, b in blocks} == {5}, "35 s: the first after the longest block"
    quick = [stable.Told(0.3 * i, 40 * i) for i in range(100)]
    assert all(b.t_s - a.t_s >= stable.BLOCK_S for a, b in stable.edges(quick))


def test_what_is_left_out_grows_with_the_training() -> None:
    assert [stable.left_out_s(s) for s in (10, 30, 60, 600)] == [5, 15, 15, 150]


# --- what a profile says -------------------------------------------------------------------------


def test_known_power_and_pace_come_out(tmp_path: Path) -> None:
    found = profile.of(Training(constant(200), step_s=0.5, tokens=1000).write(tmp_path))
    assert found.verdict.stable
    assert found.power_w.value == pytest.approx(200, rel=1e-3)
    assert found.steps_per_s.value == pytest.approx(2)
    assert found.step_j.value == pytest.approx(100, rel=1e-3)
    assert found.tokens_per_s
    assert found.tokens_per_s.value == pytest.approx(2000)
    assert found.token_j
    assert found.token_j.value == pytest.approx(0.1, rel=1e-3)
    assert found.before.energy_j == pytest.approx(2000, rel=1e-2)
    assert found.predict
    assert found.predict.energy_j == pytest.approx(1000, rel=2e-2)


def test_evaluations_are_in_no_block(tmp_path: Path) -> None:
    """They take 50 W of 200 in the middle of the training."""
    training = Training(lambda t: np.where((t > 110) & (t < 140), 50.0, 200.0), evaluate_s=30)
    found = profile.of(training.write(tmp_path))
    assert found.power_w.value == pytest.approx(200, rel=5e-3)
    assert found.evaluate
    assert found.evaluate.energy_j == pytest.approx(50 * 30, rel=0.05)


def test_uncertainty_is_that_of_the_meter_and_of_the_scatter(tmp_path: Path) -> None:
    training = Training(noisy(200, 0.3))
    found = profile.of(training.write(tmp_path))
    scatter = found.verdict.power_w
    assert scatter
    assert scatter.half_width
    assert found.power_w.uncertainty == pytest.approx(
        np.hypot(scatter.half_width, found.meter_share * found.power_w.value), rel=1e-3
    )


def test_without_tokens_nothing_is_said_of_them(tmp_path: Path) -> None:
    found = profile.of(Training(tokens=None).write(tmp_path))
    assert found.token_j is None
    assert found.tokens_per_s is None
    assert "tokens/s" not in said_by(said.profile_lines(found, carbon.asked("DE")), "speed")
    assert said.profile_facts(found)["energy_a_token"] is None


def test_a_short_training_has_small_blocks_and_is_never_stable(tmp_path: Path) -> None:
    found = profile.of(Training(constant(200), train_s=6.0, step_s=0.1).write(tmp_path))
    assert found.power_w.value == pytest.approx(200, rel=1e-2)
    assert not found.verdict.stable
    assert "too short" in found.verdict.why


def test_an_estimate_says_so(tmp_path: Path) -> None:
    folder = Training(kind="cpu", level="M0").write(tmp_path)
    found = profile.of(folder)
    assert "estimated, not measured" in said_by(
        said.profile_lines(found, carbon.asked("DE")), "power"
    )
    assert found.power_w.uncertainty == pytest.approx(0.4 * 200, rel=0.05)


def test_an_hour_of_it_is_said_where_it_emits(tmp_path: Path) -> None:
    found = profile.of(Training(constant(200)).write(tmp_path))
    scenario = carbon.asked("strubell-2018")
    text = said_by(said.profile_lines(found, scenario), "an hour")
    assert text.startswith("0.200 kWh of the machine, 137 g CO2e")
    assert "PUE 1.58" in text


@pytest.mark.parametrize(
    ("training", "why"),
    [
        (Training(status="failed"), "failed: NotFinite"),
        (Training(train_s=0.5, step_s=0.5), "too few"),
        (Training(watts=constant(0)), "read no energy"),
    ],
)
def test_what_shows_no_training_is_refused(training: Training, why: str, tmp_path: Path) -> None:
    folder = training.write(tmp_path)
    with pytest.raises(UsageError, match=why):
        profile.of(folder)


def test_a_run_without_its_trace_is_refused(tmp_path: Path) -> None:
    folder = Training().write(tmp_path)
    (folder / "trace.parquet").unlink()
    with pytest.raises(UsageError, match="has no trace"):
        profile.of(folder)


# --- a batch as published ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("bert-base", {"batch_size": "256", "max_length": "128"}),
        ("gpt2-small", {"batch_size": "512", "max_length": "1024"}),
        ("transformer-base", {"batch_tokens": "50000"}),
        ("elmo-original", {"batch_size": "128", "max_length": "20"}),
    ],
)
def test_a_published_model_has_its_published_batch(model: str, settings: dict[str, str]) -> None:
    request, shape = profile.shaped(Request(task="", model=model), None, None)
    assert request.settings == settings
    assert "as published" in shape.said


def test_every_workload_names_a_source_and_models_that_there_are() -> None:
    from bench.learn import models

    for each in workloads.workloads():
        assert each.source
        assert set(each.models) <= set(models.names())
        assert not each.row or each.as_run


def test_what_is_given_takes_the_place_of_what_was_published() -> None:
    request = Request(task="", model="bert-base", settings={"learning_rate": "1e-3"})
    request, shape = profile.shaped(request, 16, None)
    assert request.settings["batch_size"] == "16"
    assert request.settings["max_length"] == "128"
    assert "but for what was given" in shape.said
    with pytest.raises(UsageError, match="given twice"):
        profile.shaped(Request(task="", model="bert-base", settings={"batch_size": "8"}), 16, None)
    with pytest.raises(UsageError, match="counted in tokens"):
        profile.shaped(Request(task="multi30k", model="transformer-base"), 16, 32)


def test_a_model_without_published_batch_has_that_of_bench() -> None:
    request, shape = profile.shaped(Request(task="", model="bert-tiny"), None, None)
    assert request.settings == {}
    assert request.task == "wikitext2"
    assert "none was published" in shape.said


def test_half_a_batch_where_memory_ends(tmp_path: Path) -> None:
    record = records.read(Training(status="failed").write(tmp_path))
    assert profile.smaller(record) is None
    full = record.model_copy(update={"failure": "OutOfMemory: CUDA out of memory. Tried ..."})
    assert profile.smaller(full) == {"batch_size": "4"}
    killed = record.model_copy(update={"failure": "the program was killed by SIGKILL"})
    assert profile.smaller(killed) == {"batch_size": "4"}


def test_a_batch_that_memory_can_not_hold_is_halved_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """At least the activations of 12 layers of width 768 in float32: 0.8 MB a token."""
    request, _ = profile.shaped(
        Request(task="", model="bert-base", pretrained=False, device="cpu", data="embedded"),
        None, None,
    )  # fmt: skip
    plan = profile.planned(replace(request, task="sst2", settings={"batch_size": "256"}))
    monkeypatch.setattr(profile, "_free_bytes", lambda: 40e9)
    assert profile.fitting(plan) == {"batch_size": "128"}
    monkeypatch.setattr(profile, "_free_bytes", lambda: 1e9)
    assert profile.fitting(plan) == {"batch_size": "4"}
    monkeypatch.setattr(profile, "_free_bytes", lambda: 1e13)
    assert profile.fitting(plan) is None
    monkeypatch.setattr(profile, "_free_bytes", lambda: 1.0)
    assert profile.fitting(replace(plan, device="cuda")) is None


# --- making one ----------------------------------------------------------------------------------

TINY = (
    "--task", "sst2", "--model", "transformer-tiny", "--data", "reviews",
    "--batch", "16", "--idle", "0",
)  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, so that power is stable within seconds."""
    for name, value in {"BLOCK_S": 0.5, "BLOCK_STEPS": 1, "FIRST_S": 1.0, "SHARE": 0.05}.items():
        monkeypatch.setattr(stable, name, value)
    monkeypatch.setattr(profile, "LOOK_S", 0.5)
    monkeypatch.setattr(profile, "LOOK_COST", 1)
    monkeypatch.setattr(stable.edges, "__defaults__", (0.5, 1))
    monkeypatch.setattr(stable.judge, "__defaults__", (0.05,))


def test_a_profile_ends_when_power_is_stable_and_is_a_record_like_any_other(
    bench: Command, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reviews(tmp_path / "reviews")
    with SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(60)}) as rapl:
        for name, value in rapl.environment().items():
            monkeypatch.setenv(name, value)
        said = bench("footprint", "profile", *TINY, "--minutes", "1", "--json")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert facts["stable"], facts["why"]
    assert facts["power"]["value"] == pytest.approx(60, rel=0.03)
    assert facts["train_s"] < 40
    assert facts["energy_a_token"]["value"] > 0
    assert facts["predict"]["share"] <= 1
    (folder,) = records.folders([tmp_path / "runs"])
    record = records.read(folder)
    assert record.trial == PROFILE
    assert record.is_profile
    assert record.status == "budget"
    assert record.metric is None
    assert not record.rankable
    assert (folder / "manifest.json").is_file()
    assert (folder / "trace.parquet").is_file()
    assert any("power is stable" in w.message for w in record.warnings)
    shown = bench("show", record.run_id)
    assert shown.code == 0
    assert "a profile is not scored" in shown.out
    board = bench("leaderboard", "--task", "sst2", "--results", "none", "--format", "json")
    assert record.run_id not in board.out
    refused = bench("submit", folder, "--title", "x", "--authors", "me")
    assert refused.code == 2
    assert "is a profile, and no entry" in refused.err


def test_minutes_are_those_of_training() -> None:
    watch = profile.Watch(1)
    progress = Progress(phase="prepare", elapsed_s=100, total_steps=5)
    assert watch.spent(progress) is None
    progress.train_started, progress.phase = (100.0, 0.0), "evaluate"
    progress.elapsed_s = 159
    assert watch.spent(progress) is None
    progress.elapsed_s = 160
    assert watch.spent(progress) == "1 min 00 s of training are over"
    assert progress.total_steps is None, "no forecast of a training that ends before"


def test_a_folder_that_can_not_be_read_yet_says_nothing(tmp_path: Path) -> None:
    assert profile.so_far(tmp_path) is None
    (tmp_path / "start.json").write_text("{")
    assert profile.so_far(tmp_path) is None


def test_a_time_that_is_up_ends_one_that_is_not_stable(bench: Command, tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews")
    said = bench("footprint", "profile", *TINY, "--minutes", "0.15")
    assert said.code == 0, said.err
    assert "no, not in" in said.out
    assert "estimated, not measured" in said.out
    assert "9.00 s of training are over" in said.out


def test_ctrl_c_leaves_what_it_has(tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews")
    command = [sys.executable, "-m", "bench", "footprint", "profile", *TINY, "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ},
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        events = list(tmp_path.glob("runs/sst2/*/events.jsonl"))
        if events and events[0].read_text().count('"event": "step"') >= 8:
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    facts = json.loads(out)
    assert facts["status"] == "interrupted"
    assert facts["power"]["value"] > 0


def test_ctrl_c_before_it_trains_says_where_the_record_is(
    bench: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Training(train_s=0.5, step_s=0.5, status="interrupted").write(tmp_path / "runs")
    record = records.read(folder)
    monkeypatch.setattr(profile, "make", lambda *_: (record, folder, True))
    said = bench("footprint", "profile", "--model", "bert-tiny", "--data", "embedded")
    assert said.code == 130
    assert f"its record is in {folder}" in said.err


@pytest.mark.parametrize("minutes", ["0", "-3", "inf", "nan"])
def test_no_time_is_refused(bench: Command, minutes: str) -> None:
    said = bench("footprint", "profile", "--model", "bert-tiny", "--minutes", minutes)
    assert said.code == 2
    assert "no time to train" in said.err
