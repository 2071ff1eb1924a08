"""A plan rests on runs that exist, says how near they are, and what would reduce it."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UsageError
from bench.footprint import alternatives, asking, known, plan, plan_render
from bench.footprint.alternatives import Alternative
from bench.footprint.asking import Typed
from bench.footprint.known import Known
from bench.footprint.planned import Plan
from bench.footprint.quantity import explained
from bench.units import significant

RESULTS = Path(__file__).parents[2] / "results"
H100, H200 = "NVIDIA H100 80GB HBM3", "NVIDIA H200"


@pytest.fixture(scope="module")
def runs() -> list[Known]:
    found, broken = known.runs([RESULTS])
    assert not broken
    return found


def planned(runs: list[Known], **typed: Any) -> Plan:
    return plan.plan(asking.asked(Typed(**{"region": "DE", **typed}), runs), runs)


def of(runs: list[Known], entry: str) -> list[Known]:
    return [r for r in runs if r.entry == entry]


# --- the numbers


def test_a_task_of_a_model_that_was_trained_here_takes_what_its_runs_took(
    runs: list[Known],
) -> None:
    made = planned(
        runs, model="bert-base", hardware=H200, task="sst2", recipe="bf16", examples="65667"
    )
    mine = [r for r in runs if (r.model, r.recipe, r.device) == ("bert-base", "bf16", H200)]
    mine = [r for r in mine if r.task == "sst2"]
    assert len(mine) >= 5
    assert {r.run_id for r in made.basis.runs} == {r.run_id for r in mine}
    train_j = 65667 * sum(r.train_j / r.examples for r in mine) / len(mine)
    around_j = sum(r.around_j for r in mine) / len(mine)
    assert made.one.energy.middle.value == pytest.approx((train_j + around_j) / 3.6e6)
    assert made.basis.nearness == "same"
    assert not made.basis.warnings


def test_what_a_run_trained_is_read_from_its_events(runs: list[Known]) -> None:
    (run,) = of(runs, "bert-base-baseline-batch-2048-h200")
    assert run.examples == 65667
    assert run.train_j == pytest.approx(6396, abs=1)
    told = of(runs, "all-minilm-l6-token-budget-h200")
    assert sorted(r.tokens or 0 for r in told) == [216631, 219523, 220742]
    # As other runs of the task tell, but for those that take the short texts first, or few.
    assert 12 < (run.tokens or 0) / run.examples < 12.15


def run_with(tmp_path: Path, step: dict[str, Any], **spec: Any) -> Known | None:
    """A real run whose last step and spec say something else."""
    source = RESULTS / "sst2" / "bert-base-baseline-batch-2048-h200" / "14cfc33668e4b4af"
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    record = json.loads((folder / "record.json").read_bytes())
    record["spec"] |= spec
    (folder / "record.json").write_text(json.dumps(record))
    lines = [{"event": "phase_stop", "phase": "x"}, {"event": "step", **step}, {"event": "end"}]
    (folder / "events.jsonl").write_text(
        "\n".join(json.dumps(e) for e in lines) + '\n{"event": "st'
    )
    return next(iter(known.runs([tmp_path])[0]), None)


def test_a_run_that_goes_on_with_another_trained_the_rest_alone(tmp_path: Path) -> None:
    step = {"step": 100, "first_step": 60, "epoch": 2.0, "tokens": 5000}
    run = run_with(tmp_path, step)
    assert run
    assert run.examples == pytest.approx(0.4 * 2 * 65667)
    assert run.tokens == pytest.approx(2000)


def test_each_process_tells_of_its_own_tokens(tmp_path: Path) -> None:
    run = run_with(
        tmp_path, {"step": 100, "epoch": 1.0, "tokens": 5000}, processes=4,
        hardware="4 x NVIDIA H200",
    )  # fmt: skip
    assert run
    assert run.tokens == 20000
    assert (run.devices, run.device) == (4, H200)
    assert run.power_w == pytest.approx(run.train_j / run.train_s / 4)


@pytest.mark.parametrize(
    "step", [{}, {"step": 0}, {"step": "x", "epoch": 1.0}, {"step": 5, "epoch": -1.0},
             {"step": 5, "epoch": 1.0, "first_step": 5}]
)  # fmt: skip
def test_a_run_that_does_not_say_what_it_trained_is_left_out(
    tmp_path: Path, step: dict[str, Any]
) -> None:
    assert run_with(tmp_path, step) is None


def test_hardware_is_devices_of_a_name() -> None:
    assert known.split_hardware("8 x NVIDIA H200") == (8, H200)
    assert known.split_hardware("2 nodes of 4 x NVIDIA H200") == (8, H200)
    assert known.split_hardware("CPU AMD EPYC, 2 cores") == (1, "CPU AMD EPYC, 2 cores")


def test_emissions_costs_and_hours_follow_from_energy_and_time(runs: list[Known]) -> None:
    made = planned(
        runs, model="bert-base", hardware=H200, tokens="1B", pue="1.2", usd_per_kwh=0.3,
        usd_per_hour=2.0,
    )  # fmt: skip
    kwh, hours = made.one.energy.middle.value, made.one.hours.middle.value
    assert made.one.emissions.middle.value == pytest.approx(kwh * 344.1 / 1000)
    assert made.one.electricity.middle.value == pytest.approx(0.3 * kwh)
    assert made.one.cloud
    assert made.one.cloud.middle.value == pytest.approx(2.0 * hours)
    plain = planned(runs, model="bert-base", hardware=H200, tokens="1B")
    assert kwh == pytest.approx(1.2 * plain.one.energy.middle.value)


def test_trials_are_trainings_and_together_is_their_sum(runs: list[Known]) -> None:
    made = planned(runs, model="bert-base", hardware=H200, tokens="1B", trials=20)
    assert made.trials
    one = made.one.energy.middle.value
    assert made.trials.energy.middle.value == pytest.approx(20 * one)
    assert made.together.energy.middle.value == pytest.approx(21 * one)


def test_a_trial_of_estimated_sweeps_is_in_no_measured_plan(runs: list[Known]) -> None:
    measured = planned(runs, model="bert-base", hardware=H200, tokens="1B", trials=2)
    assert measured.trials
    assert measured.trials.energy.low.value == pytest.approx(2 * measured.one.energy.low.value)
    cpu = planned(
        runs, model="transformer-small", hardware="CPU AMD EPYC, 1 core", task="sst2", trials=2
    )
    assert cpu.trials
    shares = [r.trial_share for r in runs if r.trial_share]
    assert shares
    least = min(1, *shares)  # of a training; a trial counts as one at most
    assert cpu.trials.energy.low.value == pytest.approx(2 * least * cpu.one.energy.low.value)


def test_hours_by_the_clock_are_the_study_s_method(runs: list[Known]) -> None:
    """PUE x hours x power / 1000: Transformer base of table 3, at a given power."""
    made = planned(
        runs, model="transformer-base", hardware="Tesla V100-SXM2", hours=12, devices=8,
        power_w=1415.78 / 8, pue="1.58",
    )  # fmt: skip
    assert made.one.energy.middle.value == pytest.approx(1.58 * 12 * 1415.78 / 1000)
    assert made.one.hours.middle.value == 12


def test_hours_at_a_power_can_be_on_any_device(runs: list[Known]) -> None:
    made = planned(
        runs, model="transformer-big", hardware="8 x Tesla P100", hours=84, power_w=1515.43 / 8,
        pue="1.58", region="strubell-2018",
    )  # fmt: skip
    assert made.one.energy.middle.value == pytest.approx(201, abs=0.5)
    assert made.one.emissions.middle.value / 0.45359237 == pytest.approx(192, abs=0.5)


def test_a_joined_recipe_goes_by_its_number_format(runs: list[Known]) -> None:
    typed = {"model": "bert-base", "hardware": H200, "tokens": "1B"}
    made = planned(runs, **typed, recipe="freeze", precision="bf16")
    assert {r.recipe for r in made.basis.runs} == {"bf16"}
    assert made.basis.warnings == ("no run of bert-base by freeze+bf16 is here: counted as bf16",)
    half = planned(runs, **{**typed, "model": "all-minilm-l6"}, precision="fp16")
    assert {r.recipe for r in half.basis.runs} == {"bf16"}
    other = planned(runs, **typed, recipe="freeze")
    assert {r.recipe for r in other.basis.runs} == {"baseline"}
    assert "counted as the baseline" in other.basis.warnings[0]


def test_hours_without_a_power_take_that_of_the_runs(runs: list[Known]) -> None:
    made = planned(runs, model="bert-base", hardware=H200, hours=12, devices=2)
    mine = [r for r in runs if (r.model, r.recipe, r.device) == ("bert-base", "baseline", H200)]
    watts = sum(r.train_j / r.train_s for r in mine) / len(mine)
    assert made.one.energy.middle.value == pytest.approx(watts * 12 * 2 / 1000)


# --- how near, and how sure


def test_other_hardware_is_scaled_and_said(runs: list[Known]) -> None:
    here = planned(runs, model="bert-base", hardware=H200, tokens="1B")
    there = planned(runs, model="bert-base", hardware="NVIDIA A100-SXM4-80GB", tokens="1B")
    assert "data sheets" in "\n".join(explained(there.one.energy.low))
    ratio = (400 / 700) / (19.5 / 66.9)
    around = sum(r.around_j for r in here.basis.runs) / len(here.basis.runs) / 3.6e6
    assert there.one.energy.middle.value - around == pytest.approx(
        ratio * (here.one.energy.middle.value - around)
    )
    assert "was not trained on NVIDIA A100-SXM4-80GB here" in there.basis.warnings[0]
    assert _width(there) > _width(here)


def test_the_study_s_bert_base_lies_within_both_plans_of_it(runs: list[Known]) -> None:
    """1,507 kWh on 64 V100 in 79.2 h; 1 M steps of 256 x 512 tokens (Devlin et al. 2019)."""
    typed = {
        "model": "bert-base", "hardware": "64 x Tesla V100-SXM2", "region": "strubell-2018",
    }  # fmt: skip
    for amount in ({"tokens": "131B"}, {"hours": 79.2}):
        energy = planned(runs, **typed, **amount).one.energy
        assert energy.low.value < 1507 < energy.high.value


def test_runs_are_scaled_in_their_own_number_format(runs: list[Known]) -> None:
    """TF32 is planned from runs in float32: by what both devices do in float32."""
    typed = {"model": "all-minilm-l6", "hardware": "NVIDIA A100-SXM4-80GB", "tokens": "1B"}
    assert planned(runs, **typed, precision="tf32").one == planned(runs, **typed).one


def _width(made: Plan) -> float:
    energy = made.one.energy
    return math.log(energy.high.value / energy.low.value)


def test_a_model_that_nobody_trained_here_goes_by_its_size_and_says_from_which(
    runs: list[Known],
) -> None:
    made = planned(runs, model="gpt2-medium", hardware=H200, tokens="1B", precision="bf16")
    assert made.basis.nearness == "operations"
    assert "from bert-base" in made.basis.warnings[0]
    sizes = [f for f in made.factors if f.name == "other size" and f.of == "energy"]
    bert, mini = (
        [r for r in runs if (r.model, r.device) == (m, H200) and r.recipe in ("bf16", "fp16")]
        for m in ("bert-base", "all-minilm-l6")
    )
    taken = [sum(r.train_j / (r.tokens or 1) for r in s) / len(s) for s in (bert, mini)]
    power = math.log(taken[0] / taken[1]) / math.log(105404162 / 22566530)
    ratio = 354823168 / 105404162
    assert sizes[0].high == pytest.approx(ratio)
    assert sizes[0].middle == pytest.approx(ratio ** ((1 + power) / 2))


@pytest.mark.parametrize("recipe", ["baseline", "bf16"])
@pytest.mark.parametrize("model", ["bert-base", "all-minilm-l6", "transformer-small"])
def test_a_model_that_is_held_out_lies_within_the_spread(
    runs: list[Known], model: str, recipe: str
) -> None:
    """Planned from the others: what its own runs took is between the least and the most."""
    others = [r for r in runs if r.model != model]
    mine = [r for r in runs if (r.model, r.recipe, r.device) == (model, recipe, H200)]
    made = planned(others, model=model, hardware=H200, task="sst2", recipe=recipe, examples="65667")
    took_j = sum(r.train_j / r.examples * 65667 + r.around_j for r in mine) / len(mine)
    took_s = sum(r.train_s / r.examples * 65667 + r.around_s for r in mine) / len(mine)
    energy, hours = made.one.energy, made.one.hours
    assert energy.low.value < took_j / 3.6e6 < energy.high.value
    assert hours.low.value < took_s / 3600 < hours.high.value
    assert made.basis.nearness == "operations"


def test_no_plan_is_below_the_peak_of_its_device(runs: list[Known]) -> None:
    made = planned(runs, model="gpt2-xl", hardware=H200, tokens="1B", precision="bf16")
    at_peak_j = 6 * 1557611200 * 1e9 / 989.4e12 * 700
    sizes = [f for f in made.factors if f.name == "other size" and f.of == "energy"]
    each = sum(r.train_j / (r.tokens or 1) for r in made.basis.runs) / len(made.basis.runs)
    assert sizes[0].low * each * 1e9 >= 0.999 * at_peak_j


def test_measured_runs_go_before_estimated_ones(runs: list[Known]) -> None:
    made = planned(runs, model="all-minilm-l6", hardware=H200, task="sst2")
    assert {r.level for r in made.basis.runs} == {"M1"}
    assert not made.estimated


def test_a_measured_run_elsewhere_goes_before_an_estimated_one_here(runs: list[Known]) -> None:
    here = "CPU AMD EPYC, 1 core"
    metered = replace(
        next(r for r in runs if r.device == here and r.model == "all-minilm-l6"),
        device="CPU Intel, 8 cores", estimated=False, level="M2", coverage="cpu",
    )  # fmt: skip
    made = planned([*runs, metered], model="all-minilm-l6", hardware=here, task=metered.task)
    assert made.basis.runs == (metered,)
    assert "scaled from CPU Intel" in made.basis.warnings[0]


def test_a_smaller_model_on_rows_of_another_task_is_no_alternative(runs: list[Known]) -> None:
    made = planned(runs, model="all-minilm-l6", hardware="CPU AMD EPYC, 1 core", task="rte")
    smaller = by_kind(runs, made)["model"]
    assert [a.what for a in smaller] == ["electra-small (13.5 M parameters)"]
    assert smaller[0].plan
    assert {r.task for r in smaller[0].plan.basis.runs} == {"rte"}


def test_a_processor_that_was_only_estimated_says_so_loudly(runs: list[Known]) -> None:
    typed = ["--model", "all-minilm-l6", "--task", "rte", "--hardware", "CPU AMD EPYC, 1 core"]
    said = command(*typed)
    assert "from ESTIMATED runs" in said
    assert "*" not in said.partition("What would reduce it")[2].partition("Each alone")[0]


def test_no_number_has_measured_and_estimated_runs_in_it(runs: list[Known]) -> None:
    made = planned(runs, model="bert-base", hardware=H200, tokens="1B", trials=5)
    others = alternatives.alternatives(made, runs)
    for each in others:
        if each.plan:
            assert not each.plan.estimated
        if each.estimated:
            assert each.plan is None
    assert any(a.estimated for a in others)


def test_every_number_is_explained_to_its_sources(runs: list[Known]) -> None:
    made = planned(runs, model="bert-base", hardware=H100, tokens="1B", trials=5, pue="1.2")
    said = "\n".join(explained(made.together.emissions.middle))
    for word in ("Ember", "as asked", "measured, mean of 4 runs", "PUE = 1.2"):
        assert word in said


def test_rows_of_other_tasks_widen_a_plan_in_examples(runs: list[Known]) -> None:
    near = planned(runs, model="all-minilm-l6", hardware="CPU AMD EPYC, 1 core", task="sst2")
    far = planned(
        runs, model="all-minilm-l6", hardware="CPU AMD EPYC, 1 core", task="qnli",
        examples="65667",
    ) if "qnli" in _tasks() else near  # fmt: skip
    assert _width(far) >= _width(near)
    assert not any(f.name == "other rows" for f in near.factors)


def _tasks() -> list[str]:
    from bench import cards

    return list(cards.names([]))


def test_a_single_run_is_said_to_be_one(runs: list[Known]) -> None:
    one = of(runs, "bert-base-baseline-batch-2048-h200")
    made = planned(one, model="bert-base", hardware=H200, task="sst2")
    assert "a single run" in made.basis.warnings[0]
    made = planned(runs, model="bert-base", hardware=H200, task="sst2")
    assert not made.basis.warnings


def test_names_in_records_do_nothing_in_a_terminal(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "sst2" / "bert-base-baseline-batch-2048-h200", tmp_path / "a")
    path = next(tmp_path.glob("a/*/record.json"))
    record = json.loads(path.read_bytes())
    record["spec"]["task"] = record["spec"]["recipe"] = "\x1b[31m[bold]x"
    path.write_text(json.dumps(record))
    (run,), _ = known.runs([tmp_path])
    assert run.task == run.recipe == "[31m[bold]x"


# --- what would reduce it


def by_kind(runs: list[Known], made: Plan) -> dict[str, list[alternatives.Alternative]]:
    found: dict[str, list[alternatives.Alternative]] = {}
    for each in alternatives.alternatives(made, runs):
        found.setdefault(each.kind, []).append(each)
    return found


def test_alternatives_are_planned_in_the_same_way_and_ordered(runs: list[Known]) -> None:
    made = planned(runs, model="bert-base", hardware=H100, tokens="1B", trials=20, pue="1.2")
    every = alternatives.alternatives(made, runs)
    assert [a.share for a in every] == sorted(a.share for a in every)
    kinds = {a.kind for a in every}
    assert kinds == {"region", "building", "trials", "model", "recipe", "device"}
    assert all(a.source for a in every)
    fewer = [a for a in every if a.what == "10 trials in place of 20"]
    assert fewer[0].share == pytest.approx(11 / 21 - 1)
    cleanest = min(by_kind(runs, made)["region"], key=lambda a: a.share)
    assert cleanest.share == pytest.approx(20.8 / 344.1 - 1)
    (building,) = by_kind(runs, made)["building"]
    assert building.share == pytest.approx(1.1 / 1.2 - 1)


def test_a_recipe_saves_what_its_runs_show_against_the_baseline(runs: list[Known]) -> None:
    made = planned(runs, model="bert-base", hardware=H200, tokens="1B")
    (bf16,) = [a for a in by_kind(runs, made)["recipe"] if a.what == "recipe bf16"]
    base, half = (
        of(runs, f"bert-base-{r}-batch-256-h200") for r in ("baseline", "bf16")
    )  # fmt: skip
    ratio = sum(r.work_j for r in half) / sum(r.work_j for r in base)
    assert bf16.interval
    assert bf16.interval[0] < ratio - 1 < bf16.interval[1]
    assert bf16.share == pytest.approx(ratio - 1, abs=0.001)
    assert "measured here: bert-base on sst2" in bf16.source


def test_hours_that_are_given_are_not_shortened_by_a_model_or_a_recipe(runs: list[Known]) -> None:
    made = planned(runs, model="bert-base", hardware=H200, hours=12)
    assert set(by_kind(runs, made)) == {"region"}


def test_a_plan_in_bf16_is_offered_no_second_format(runs: list[Known]) -> None:
    made = planned(runs, model="bert-base", hardware=H200, tokens="1B", precision="bf16")
    assert not [a for a in alternatives.alternatives(made, runs) if "bf16" in a.what]


def test_no_trials_are_saved_where_none_are_planned(runs: list[Known]) -> None:
    made = planned(runs, model="bert-base", hardware=H200, tokens="1B")
    assert "trials" not in by_kind(runs, made)


# --- the command


def command(*words: str) -> str:
    result = CliRunner().invoke(
        app, ["footprint", "plan", "--results", str(RESULTS), "--region", "DE", *words]
    )
    assert result.exit_code == 0, result.output
    return result.output


BERT = ("--model", "bert-base", "--tokens", "3B", "--hardware", H100, "--devices", "8")


def test_the_command_says_what_it_takes_and_what_it_rests_on() -> None:
    said = command(*BERT, "--trials", "20", "--precision", "bf16")
    for words in (
        "20 trials", "together", "Where the spread comes from", "What it rests on",
        "scaled from NVIDIA H200", "What would reduce it", "cloud", "about ",
    ):  # fmt: skip
        assert words in " ".join(said.split())


def test_the_command_answers_in_json() -> None:
    facts = json.loads(command(*BERT, "--json"))
    assert facts["basis"]["nearness"] == "hardware"
    assert facts["one"]["energy"]["middle"]["unit"] == "kWh"
    assert facts["trials"] is None
    assert facts["alternatives"][0]["share"] < 0


def test_the_command_explains_every_number() -> None:
    said = command(*BERT, "--explain")
    assert "one training, emissions, middle" in said
    assert "energy of a token" in said


@pytest.mark.parametrize(
    ("words", "wrong", "hint"),
    [
        (["--model", "bert-bse", "--tokens", "3B"], "no model is called", "bert-base"),
        (["--model", "bert-base"], "nothing says how long", "--tokens 3B"),
        (["--model", "bert-base", "--tokens", "-3B"], "can't be trained on", "above 0"),
        (["--model", "bert-base", "--tokens", "many"], "no number of tokens", "3B"),
        (["--model", "bert-base", "--tokens", "3B", "--hours", "2"], "twice", "one of them"),
        (["--model", "bert-base", "--hours", "-2"], "does not take -2 hours", "above 0"),
        (["--model", "bert-base", "--hours", "nan"], "does not take nan hours", "above 0"),
        (["--model", "bert-base", "--examples", "9", "--epochs", "0"], "0 epochs", "above 0"),
        (["--model", "bert-base", "--hours", "2", "--epochs", "3"], "no epochs", "leave out"),
        ([*BERT, "--trials", "-1"], "-1 trials", "--trials 0"),
        ([*BERT, "--pue", "0.9"], "no PUE", "from 1 up"),
        ([*BERT, "--region", "Germny"], "no grid region", "Germany"),
        ([*BERT, "--precision", "bf61"], "no precision", "bf16"),
        ([*BERT, "--power-w", "7000"], "does not draw 7000 W", "one device"),
        ([*BERT, "--power-w", "-3"], "no device draws -3 W", "in watts"),
        ([*BERT, "--usd-per-kwh", "-1"], "no price", "--usd-per-kwh"),
        (["--model", "bert-base", "--tokens", "3B", "--hardware", "H100"], "nothing is known",
         "NVIDIA H100"),
        ([*BERT[:4], "--hardware", f"4 x {H100}", "--devices", "8"], "8 devices, or 4", "too"),
        ([*BERT, "--task", "sst3"], "no task", "sst2"),
        ([*BERT, "--recipe", "bf61"], "no recipe", "bf16"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_a_hint(words: list[str], wrong: str, hint: str) -> None:
    result = CliRunner().invoke(
        app, ["footprint", "plan", "--results", str(RESULTS), *words], terminal_width=200
    )
    assert isinstance(result.exception, UsageError), result.output
    assert wrong in result.exception.message
    assert hint in (result.exception.hint or "")


def test_without_runs_only_hours_and_a_power_can_be_planned(tmp_path: Path) -> None:
    words = ["footprint", "plan", "--results", str(tmp_path), "--out", str(tmp_path), "--model",
             "bert-base", "--hardware", H200]  # fmt: skip
    result = CliRunner().invoke(app, [*words, "--tokens", "3B"])
    assert isinstance(result.exception, UsageError)
    assert "--power-w" in (result.exception.hint or "")
    result = CliRunner().invoke(app, [*words, "--hours", "12", "--power-w", "500"])
    assert result.exit_code == 0, result.output


def test_a_broken_record_is_a_line_and_the_rest_counts(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "sst2" / "bert-base-baseline-batch-256-h200", tmp_path / "a" / "b")
    (tmp_path / "a" / "c").mkdir()
    (tmp_path / "a" / "c" / "record.json").write_text("{")
    found, broken = known.runs([tmp_path])
    assert len(found) == 3
    assert len(broken) == 1


@pytest.mark.parametrize("width", [140, 80, 60])
def test_a_range_stays_in_one_line_at_any_width(runs: list[Known], width: int) -> None:
    words: dict[str, Any] = {"model": "bert-base", "hardware": H200, "task": "sst2", "trials": 20}
    made = planned(runs, **words)
    lines = shown_at(width, made, alternatives.alternatives(made, runs))
    assert max(map(len, lines)) <= width
    for cost in filter(None, (made.one, made.trials, made.together)):
        for band in cost.bands.values():
            low, middle, high = (significant(q.value) for q in band.ends)
            assert any(f"{low} to {high}" in line for line in lines), (low, high)
            assert any(middle in line for line in lines)
    assert not [line for line in lines if re.search(r"\d to$", line.rstrip())]
    assert not [line for line in lines if re.match(r"\s*(to [\d-]|kg CO2e\)|USD/kWh)", line)]


def shown_at(width: int, made: Plan, others: list[Alternative]) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    for part in plan_render.plan_parts(made, others, [], width):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()
