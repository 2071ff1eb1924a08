"""From known power and pace to a full training whose energy is known, three ways; and how far off
the beginnings of runs are."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.errors import UsageError
from bench.footprint import extrapolate, profile, said, validation, workloads
from bench.footprint.extrapolate import Asked, Extrapolation, count
from bench.footprint.quantity import explained
from bench.power import carbon
from bench.record import PROFILE
from tests.command import Command
from tests.conftest import REPOSITORY
from tests.footprint import made
from tests.footprint.made import Training, constant

STUDY = carbon.asked("strubell-2018")
BARE = carbon.asked("DE")
STEADY = Training(constant(200), step_s=0.5, tokens=1000, evaluate_s=4.0)  # 100 J a step


def whole(tmp_path: Path, training: Training = STEADY, /, **asked: object) -> Extrapolation:
    found = profile.of(training.write(tmp_path))
    return extrapolate.extrapolate(found, Asked(**asked), BARE)  # type: ignore[arg-type]


def kwh(found: Extrapolation, key: str) -> float:
    return next(w.energy.value for w in found.ways if w.key == key)


def hours(found: Extrapolation, key: str) -> float:
    time = next(w.time for w in found.ways if w.key == key)
    assert time
    return time.value


# --- known answers -------------------------------------------------------------------------------


def test_by_hours_it_is_power_times_hours_times_pue(tmp_path: Path) -> None:
    found = profile.of(STEADY.write(tmp_path))
    full = extrapolate.extrapolate(found, Asked(hours=84, devices=8), STUDY)
    assert kwh(full, "hours") == pytest.approx(1.58 * 84 * 8 * 200 / 1000, rel=2e-3)
    (way,) = [w for w in full.ways if w.key == "hours"]
    grid = STUDY.region.g_per_kwh
    assert way.emissions.value == pytest.approx(way.energy.value * grid / 1000)
    assert way.time
    assert way.time.value == 84


def test_by_steps_it_is_joules_a_step_with_what_is_around(tmp_path: Path) -> None:
    found = whole(tmp_path, steps=1e6)
    around_j = 10 * 200 + 3 * 4 * 200 + 5 * 200  # preparation, 3 evaluations, prediction
    assert kwh(found, "work") == pytest.approx((1e6 * 100 + around_j) / 3.6e6, rel=2e-3)
    assert hours(found, "work") == pytest.approx((0.5e6 + 10 + 12 + 5) / 3600, rel=2e-3)


def test_by_tokens_and_by_epochs_it_is_the_same_work(tmp_path: Path) -> None:
    by_steps = kwh(whole(tmp_path / "a", steps=2000), "work")
    assert kwh(whole(tmp_path / "b", tokens=2e6), "work") == pytest.approx(by_steps, rel=1e-3)
    assert kwh(whole(tmp_path / "c", epochs=20), "work") == pytest.approx(by_steps, rel=1e-3)


def test_by_flops_it_is_their_number_over_what_is_reached(tmp_path: Path) -> None:
    """6 x 1M parameters x 2000 tokens/s of 66.9 TFLOP/s are reached."""
    found = whole(tmp_path, flops=1e18)
    seconds = 1e18 / (6 * 1e6 * 2000)
    assert kwh(found, "flops") == pytest.approx(seconds * 200 / 3.6e6, rel=2e-3)
    given = whole(tmp_path / "given", flops=1e18, efficiency=0.5)
    assert kwh(given, "flops") == pytest.approx(1e18 / (0.5 * 66.9e12) * 200 / 3.6e6, rel=2e-3)


def test_by_flops_and_by_tokens_agree_but_for_what_is_around(tmp_path: Path) -> None:
    found = whole(tmp_path, tokens=1e12)
    assert kwh(found, "flops") == pytest.approx(kwh(found, "work"), rel=1e-3)


def test_twice_the_devices_halve_the_time_and_not_the_energy(tmp_path: Path) -> None:
    one, two = (whole(tmp_path / str(n), steps=1e6, devices=n) for n in (1, 2))
    assert kwh(two, "work") == pytest.approx(kwh(one, "work"))
    assert hours(two, "work") == pytest.approx(hours(one, "work") / 2, rel=1e-3)
    assert "more devices" in two.ways[0].assumes


def test_a_run_that_is_whole_is_extrapolated_to_itself(tmp_path: Path) -> None:
    folder = STEADY.write(tmp_path)
    found = profile.of(folder)
    full = extrapolate.extrapolate(found, Asked(), BARE)
    evaluations_j = 2 * 4 * 200  # the settings say 3, and one was made
    assert kwh(full, "work") * 3.6e6 - evaluations_j == pytest.approx(
        found.record.window_energy_j or 0, rel=1e-2
    )


def test_a_part_that_is_a_sample_stands_for_the_whole(tmp_path: Path) -> None:
    found = profile.of(replace(STEADY, trial=PROFILE, evaluate_s=0).write(tmp_path))
    assert found.predict
    sampled = replace(found, predict=replace(found.predict, share=0.1))
    more = extrapolate.extrapolate(sampled, Asked(steps=1000), BARE)
    less = extrapolate.extrapolate(found, Asked(steps=1000), BARE)
    assert (kwh(more, "work") - kwh(less, "work")) * 3.6e6 == pytest.approx(9 * 1000, rel=0.03)


def test_uncertainty_is_carried_through(tmp_path: Path) -> None:
    found = profile.of(Training(kind="cpu", level="M0").write(tmp_path))
    full = extrapolate.extrapolate(found, Asked(hours=10, steps=1000), BARE)
    for way in full.ways:
        assert way.energy.uncertainty == pytest.approx(0.4 * way.energy.value, rel=0.1)
    assert any("estimated, not measured" in note for note in full.notes)


# --- side by side --------------------------------------------------------------------------------


def test_their_spread_is_that_of_the_highest_and_the_lowest(tmp_path: Path) -> None:
    found = whole(tmp_path, hours=100, steps=1e6, flops=1e18)
    energies = [way.energy.value for way in found.ways]
    assert len(energies) == 3
    assert found.spread == pytest.approx(max(energies) / min(energies))
    assert [way.energy.value for way in found.ordered] == sorted(energies)


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    found = whole(tmp_path, replace(STEADY, tokens=None), steps=1000)
    assert [way.key for way in found.ways] == ["work"]
    assert found.spread is None
    why = dict(found.missing)
    assert "--hours" in why["by hours"]
    assert "tokens" in why["by FLOPs"]


def test_a_published_training_fills_in_what_is_not_given(tmp_path: Path) -> None:
    work = workloads.named("bert-base")
    found = whole(tmp_path, replace(STEADY, trial=PROFILE), workload=work)
    tokens = 900_000 * 256 * 128 + 100_000 * 256 * 512
    assert kwh(found, "work") == pytest.approx(tokens * 0.1 / 3.6e6, rel=2e-3)
    assert kwh(found, "flops") == pytest.approx(110 * tokens * 0.1 / 3.6e6, rel=2e-3)
    assert found.published
    assert found.published.energy.value == pytest.approx(79 * 12041.51 / 1000)
    assert found.published not in found.ways
    assert any("bert-tiny was profiled, and is not what bert-base is" in n for n in found.notes)
    assert any("three times as many" in note for note in found.notes)


def test_what_was_not_published_is_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="how many steps gpt2 took was not published"):
        whole(tmp_path, replace(STEADY, trial=PROFILE), workload=workloads.named("gpt2"))


def test_published_flops_are_taken_as_they_are(tmp_path: Path) -> None:
    work = workloads.named("transformer-big")
    found = whole(tmp_path, replace(STEADY, trial=PROFILE), workload=work)
    assert kwh(found, "flops") == pytest.approx(2.3e19 / (6e6 * 2000) * 200 / 3.6e6, rel=2e-3)


def test_other_hardware_is_by_flops_with_a_warning(tmp_path: Path) -> None:
    found = profile.of(STEADY.write(tmp_path))
    assert extrapolate.other_hardware("NVIDIA H200", found) is None
    name = extrapolate.other_hardware("NVIDIA L4", found)
    full = extrapolate.extrapolate(
        found, Asked(flops=1e18, hours=10, hardware=name, efficiency=0.4), BARE
    )
    assert kwh(full, "flops") == pytest.approx(1e18 / (0.4 * 30.3e12) * 72 / 3.6e6, rel=1e-3)
    assert [way.key for way in full.ways] == ["flops"], "hours and steps are those of its own"
    assert any("is not what the profile ran on" in note for note in full.notes)
    with pytest.raises(UsageError, match="nothing is known of the hardware"):
        extrapolate.other_hardware("NVIDIA H300", found)


def test_every_number_has_its_formula(tmp_path: Path) -> None:
    found = whole(tmp_path, hours=84, steps=1e6)
    for way in found.ways:
        lines = explained(way.emissions)
        assert any("PUE x" in line for line in lines)
        assert any(found.profile.record.run_id in line for line in lines)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"hours": -3}, "--hours -3 is no training"),
        ({"hours": math.inf}, "--hours inf"),
        ({"hours": math.nan}, "--hours nan"),
        ({"devices": 0}, "--devices 0"),
        ({"steps": -1}, "--steps -1"),
        ({"epochs": 0}, "--epochs 0"),
        ({"efficiency": 1.5}, "efficiency of 1.5"),
        ({"efficiency": 0.0}, "efficiency of 0"),
        ({"steps": 5, "tokens": 7}, "--steps and --tokens say the same"),
    ],
)
def test_what_can_not_be_is_refused(asked: dict[str, float], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        whole(tmp_path, **asked)


def test_a_profile_alone_does_not_say_how_long_the_whole_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the full training is not known: by hours: --hours"):
        whole(tmp_path, replace(STEADY, trial=PROFILE))


@pytest.mark.parametrize("text", ["0", "-1M", "many", "1X", "", "1e999"])
def test_no_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no number above 0"):
        count("--steps", text)


def test_numbers_as_people_type_them() -> None:
    typed = ["1M", "137G", "137B", "3.1e20", "1,000", "2.5k", "1T"]
    assert [count("--steps", t) for t in typed] == [1e6, 137e9, 137e9, 3.1e20, 1000, 2500, 1e12]
    assert count("--steps", None) is None


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--hours", "-3"], "is no training"),
        (["--hours", "3", "--pue", "0.5"], "0.5 is no PUE"),
        (["--hours", "3", "--region", "Atlantis"], "no grid region"),
        (["--as", "bert"], "no published training is called 'bert'"),
        (["--steps", "many"], "no number above 0"),
        (["--hours", "3", "--usd-per-kwh", "-1"], "is no price"),
        (["--hours", "3", "--hardware", "TPU"], "nothing is known of the hardware"),
    ],
)
def test_bad_options_are_one_clear_line(
    bench: Command, tmp_path: Path, options: list[str], why: str
) -> None:
    folder = STEADY.write(tmp_path / "runs")
    answer = bench("footprint", "extrapolate", folder, *options)
    assert answer.code == 2
    assert why in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("training", "why"),
    [
        (replace(STEADY, status="failed"), "failed: NotFinite"),
        (replace(STEADY, train_s=0.5, evaluate_s=0), "too few"),
        (replace(STEADY, watts=constant(0)), "read no energy"),
    ],
)
def test_runs_that_say_nothing_are_refused(
    bench: Command, tmp_path: Path, training: Training, why: str
) -> None:
    answer = bench("footprint", "extrapolate", training.write(tmp_path / "runs"), "--hours", "3")
    assert answer.code == 2
    assert why in answer.err


# --- the command ---------------------------------------------------------------------------------


def test_the_command_shows_the_ways_side_by_side(bench: Command, tmp_path: Path) -> None:
    folder = STEADY.write(tmp_path / "runs")
    options = ("--hours", "84", "--steps", "1M", "--region", "strubell-2018")
    shown = bench("footprint", "extrapolate", folder.name[:8], *options, "--usd-per-kwh", "0.12")
    assert shown.code == 0, shown.err
    for text in ("by hours", "by steps", "by FLOPs", "spread", "the error bar", "electricity"):
        assert text in shown.out
    facts = json.loads(bench("footprint", "extrapolate", folder, *options, "--json").out)
    assert [way["key"] for way in facts["ways"]] == ["hours", "work", "flops"]
    assert facts["ways"][0]["energy"]["value"] == pytest.approx(1.58 * 84 * 0.2, rel=2e-3)
    explained_ = bench("footprint", "extrapolate", folder, *options, "--explain").out
    assert "energy = 26.5" in explained_
    assert "by PUE x hours x power / 1000" in explained_


# --- how far off ---------------------------------------------------------------------------------


def test_the_beginning_of_a_steady_run_says_what_the_whole_takes(tmp_path: Path) -> None:
    """What has not been seen yet is missing: a prediction of 1000 J of 43,800 J, an evaluation."""
    folder = Training(constant(200), evaluate_s=4.0).write(tmp_path)
    (case,) = validation.of_run(folder, [0.1])
    assert case.errors["train"] == pytest.approx(0, abs=3e-3)
    assert case.errors["hours"] == pytest.approx(0, abs=3e-3)
    assert case.errors["work"] == pytest.approx(-9 / 219, abs=3e-3)
    assert case.errors["flops"] == pytest.approx(-19 / 219, abs=3e-3)
    assert case.errors["time"] == pytest.approx(-9 / 219, abs=3e-3)


def test_a_cut_knows_nothing_of_what_comes_later(tmp_path: Path) -> None:
    """Power doubles after half of the training: its beginning says nothing of that."""
    late = Training(lambda t: np.where(t > 110, 400.0, 200.0), predict_s=0.0)
    until_ns = made.ZERO_NS + 50 * made.S
    assert until_ns - 0.2e9 < validation.cut(late.trace(), until_ns).stop_ns <= until_ns
    told = validation.until(late.events(), until_ns)
    assert {e["t_ns"] <= until_ns for e in told} == {True}
    assert told[-1] == {"event": "window_stop", "t_ns": until_ns, "by": "meter"}
    (case,) = validation.of_run(late.write(tmp_path), [0.2])
    assert case.errors["train"] == pytest.approx(200 / 300 - 1, abs=5e-3)


def test_a_run_that_ended_early_took_less_than_its_plan(tmp_path: Path) -> None:
    early = Training(constant(200), recipe="early-stop", steps=800)
    (case,) = validation.of_run(early.write(tmp_path), [0.1])
    assert case.errors["train"] == pytest.approx(1.0, abs=0.01)
    assert "early-stop" in case.kind


def test_too_little_is_unknown_and_counted(tmp_path: Path) -> None:
    (case,) = validation.of_run(Training(train_s=20, step_s=1.0).write(tmp_path), [0.02])
    assert set(case.errors.values()) == {None}
    rows = validation.summaries([case])
    assert {(s.runs, s.unknown, s.mean) for s in rows} == {(1, 1, None)}


def test_measured_and_estimated_are_apart(tmp_path: Path) -> None:
    Training().write(tmp_path)
    Training(kind="cpu", level="M0").write(tmp_path)
    Training(status="failed").write(tmp_path)
    found = list(validation.cases([tmp_path]))
    assert len(found) == 2 * len(validation.SHARES)
    kinds = {s.kind for s in validation.summaries(found)}
    assert any("GPU, measured" in k for k in kinds)
    assert any("CPU, estimated" in k for k in kinds)


def test_errors_come_to_their_mean_bias_and_worst() -> None:
    errors = [
        validation.Case(str(i), "e", "GPU, measured, x", True, 0.1, 1, 10,
                        dict.fromkeys(validation.NAMES, error))
        for i, error in enumerate((0.1, -0.3, 0.05))
    ]  # fmt: skip
    (found,) = [s for s in validation.summaries(errors) if s.way == "work"]
    assert found.mean == pytest.approx(0.15)
    assert found.bias == pytest.approx(-0.05)
    assert (found.worst, found.worst_run) == (-0.3, "1")


def test_the_command_validates_folders_of_runs(bench: Command, tmp_path: Path) -> None:
    Training().write(tmp_path / "some")
    shown = bench("footprint", "extrapolate", "--validate", "some")
    assert shown.code == 0, shown.err
    assert "1 whole runs, 1 measured" in shown.out
    assert "from the first tenth" in shown.out
    facts = json.loads(bench("footprint", "extrapolate", "--validate", "some", "--json").out)
    assert {c["share"] for c in facts["cases"]} == set(validation.SHARES)
    (tmp_path / "none").mkdir()
    for folder, why in (("nowhere", "there is no folder"), ("none", "no whole run lies below")):
        answer = bench("footprint", "extrapolate", "--validate", folder)
        assert answer.code == 2
        assert why in answer.err


def test_the_table_of_measured_runs_is_what_their_records_say() -> None:
    """Each of those that the document names, from the first tenth of its training."""
    text = (REPOSITORY / "bench" / "docs" / "extrapolate.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+-h200) \| `(\w+)` \| [\d.]+ \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) >= 5
    for entry, run, said_there in rows:
        (folder,) = (REPOSITORY / "results").glob(f"*/{entry}/{run}*")
        (case,) = validation.of_run(folder, [validation.MAIN])
        errors = [case.errors[way] for way in ("work", "hours", "flops", "time", "train")]
        found = [100 * e for e in errors if e is not None]
        assert found == pytest.approx([float(v) for v in said_there.split(" | ")], abs=0.6), run
        assert case.measured


def test_little_energy_is_in_watt_hours(bench: Command, tmp_path: Path) -> None:
    folder = STEADY.write(tmp_path / "runs")
    shown = bench("footprint", "extrapolate", folder, "--steps", "180").out
    assert re.search(r"^ +Wh +g CO2e +time", shown, re.MULTILINE)
    assert re.search(r"^by steps +6\.5\d ", shown, re.MULTILINE)


def test_what_is_said_fits_a_narrow_terminal(tmp_path: Path) -> None:
    from io import StringIO

    from rich.console import Console

    screen = Console(file=StringIO(), width=80)
    for part in said.extrapolation(whole(tmp_path, hours=100, steps=1e6)):
        screen.print(part)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
