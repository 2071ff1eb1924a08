"""What a study came to: the board's own numbers, and what follows from them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from bench.record import Phase, RunCost
from bench.run import Request
from bench.study import grid, making
from bench.study.ledger import Attempt
from tests.command import Command
from tests.rank.records import CPU
from tests.study.stand_ins import Executor

ENERGIES_J = {
    "baseline": (40_000.0, 42_000.0, 41_000.0),
    "bf16": (20_000.0, 21_000.0, 20_400.0),
    "prune": (50_000.0, 80_000.0, 41_500.0),
}
ACCURACIES = {"baseline": 0.92, "bf16": 0.915, "prune": 0.90}


def facts(attempt: Attempt) -> dict[str, Any]:
    request = attempt.job.request
    recipe = request.recipe or ""
    energy_j = ENERGIES_J[recipe][attempt.job.number - 1]
    accuracy = ACCURACIES[recipe] + 0.003 * attempt.job.number
    return {"recipe": recipe, "model": request.model, "energy_j": energy_j, "accuracy": accuracy}


def make(script: Any = facts, recipes: tuple[str, ...] = ("baseline", "bf16", "prune")) -> None:
    """A study in `runs`, as the command makes it, with made-up runs."""
    from bench.power import carbon

    models = ("bert-tiny",)
    cells = [grid.Cell(m, r, Request("sst2", m, r)) for m in models for r in recipes]
    wanted = making.asked(Request("sst2"), cells, 3)
    scenario = carbon.asked(None)
    making.make(Path("runs/studies/one"), wanted, cells, {}, Executor(script), scenario)


def rows(bench: Command) -> dict[str, dict[str, Any]]:
    """The study's rows, by recipe."""
    said = bench("study", "show", "one", "--json")
    assert said.code == 0
    groups = json.loads(said.out)["groups"]
    return {row["cell"].partition(" · ")[2]: row for g in groups for row in g["rows"]}


def test_the_numbers_are_those_of_the_board(bench: Command) -> None:
    make()
    said = bench("leaderboard", "--format", "json", "--results", "none")
    entries = [
        e for c in json.loads(said.out)["cells"] for s in c["sections"] for e in s["entries"]
    ]
    by_recipe = {e["values"]["recipe"]: e for e in entries}
    found = rows(bench)
    assert found.keys() == by_recipe.keys() == ENERGIES_J.keys()
    for recipe, row in found.items():
        entry = by_recipe[recipe]
        assert row["entry"] == entry["entry"]
        assert row["values"] == {k: entry["values"][k] for k in row["values"]}
        for key in ("metric", "energy", "score"):
            assert row["uncertainties"][key] == entry["uncertainties"][key]


def test_savings_are_against_the_baseline_of_the_model(bench: Command) -> None:
    make()
    found = rows(bench)
    assert found["baseline"]["savings"] is None
    assert found["bf16"]["savings"] == pytest.approx(1 - 61_400 / 123_000)
    low, high = found["bf16"]["savings_interval"]
    assert low < found["bf16"]["savings"] < high
    low, high = found["prune"]["savings_interval"]
    assert low < 0 < high  # its runs scatter too much to tell
    text = bench("study", "show", "one").out
    assert "50 (4" in text
    assert "-39 (" in text


def test_without_a_baseline_nothing_is_saved(bench: Command) -> None:
    make(recipes=("bf16", "prune"))
    assert [row["savings"] for row in rows(bench).values()] == [None, None]
    assert "baseline" not in bench("study", "show", "one").out


def test_another_meter_is_no_comparison(bench: Command) -> None:
    """A baseline of other hardware, or one that was estimated, says nothing of savings."""
    make(lambda a: facts(a) | ({"level": "M0", "hardware": CPU} if a.job.cell.endswith("baseline")
                               else {}))  # fmt: skip
    said = bench("study", "show", "one", "--json")
    groups = json.loads(said.out)["groups"]
    assert [len(g["rows"]) for g in groups] == [2, 1]
    assert rows(bench)["bf16"]["savings"] is None
    text = bench("study", "show", "one").out
    assert "ESTIMATES, not measured" in text
    assert "≈11.4" in text
    assert "saves:" not in text


def test_where_it_started_from_is_no_other_meter(bench: Command) -> None:
    """A student of a pretrained teacher is on another track than its baseline from scratch."""
    make(
        lambda a: facts(a) | {"track": "scratch" if a.job.cell.endswith("baseline") else "finetune"}
    )
    assert rows(bench)["bf16"]["savings"] == pytest.approx(1 - 61_400 / 123_000)


def test_the_front_is_drawn_from_means(bench: Command) -> None:
    make()
    assert {r: row["on_front"] for r, row in rows(bench).items()} == {
        "baseline": True, "bf16": True, "prune": False,
    }  # fmt: skip


def test_what_comes_before_training_is_preparation_teachers_too(bench: Command) -> None:
    teacher = RunCost(
        role="teacher", run_id="t", record_sha256=None, task="sst2", model="bert-base",
        hardware="1 x NVIDIA H100 80GB HBM3", level="M1", coverage="gpu", energy_j=60_000.0,
        uncertainty_j=1.0, duration_s=10.0,
    )  # fmt: skip
    phases = [
        Phase(name=name, start_s=0, duration_s=1, energy_j={"gpu:GPU-1": joules})
        for name, joules in (("prepare", 2_000.0), ("select", 1_000.0), ("train", 15_000.0),
                             ("predict-before", 1_000.0), ("other", 1_000.0))
    ]  # fmt: skip
    changes = {"energy_j": 20_000.0, "phases": phases, "charged_runs": [teacher]}
    make(lambda a: facts(a) | (changes if a.job.cell.endswith("bf16") else {}))
    found = rows(bench)
    assert found["baseline"]["preparation"] == pytest.approx(0.1)
    assert found["bf16"]["preparation"] == pytest.approx(63_000 / 80_000)


def test_preparation_that_a_meter_has_not_seen_is_not_nothing(bench: Command) -> None:
    phases = [
        Phase(name=name, start_s=0, duration_s=1, energy_j=energy_j)
        for name, energy_j in (("prepare", {}), ("train", {"gpu:GPU-1": 15_000.0}))
    ]
    make(lambda a: facts(a) | {"energy_j": 20_000.0, "phases": phases})
    assert rows(bench)["bf16"]["preparation"] is None


def test_the_skill_and_the_energy_have_intervals_between_runs(bench: Command) -> None:
    make()
    row = rows(bench)["prune"]
    low, high = row["energy_interval_j"]
    assert math.sqrt(low * high) == pytest.approx(57_166.67, rel=1e-6)
    assert low < 41_500 < 80_000 < high
    assert row["uncertainties"]["skill"] == pytest.approx(
        row["uncertainties"]["metric"] / (1 - 444 / 872)
    )


def test_a_cell_that_fails_is_in_the_table_with_its_reason(bench: Command) -> None:
    def script(attempt: Attempt) -> Any:
        recipe = attempt.job.request.recipe
        return "prune can't be used here" if recipe == "prune" else facts(attempt)

    make(script)
    row = rows(bench)["prune"]
    assert (row["planned"], row["attempts"], row["entry"]) == (3, 3, None)
    text = bench("study", "show", "one", "--markdown").out
    assert "prune: 3 attempts failed: prune can't be used here" in text
    assert "0/3 of 3" in text


def test_a_failed_run_is_an_attempt(bench: Command) -> None:
    def script(attempt: Attempt) -> Any:
        fails = attempt.job.cell.endswith("bf16") and attempt.job.number == 2
        return facts(attempt) | ({"status": "failed"} if fails else {})

    make(script)
    assert rows(bench)["bf16"]["values"]["runs"] == 2
    assert rows(bench)["bf16"]["attempts"] == 3
    text = bench("study", "show", "one").out
    assert "2/3 of 3" in text
    assert "1 run failed: MemoryError: out of memory" in text


def test_a_study_during_which_bench_has_changed_says_so(bench: Command) -> None:
    make(lambda a: facts(a) | ({"code_sha256": "0" * 64} if a.job.number == 3 else {}))
    said = bench("study", "show", "one").out
    assert "bert-tiny · bf16 has 2 rows: its runs differ in more than the seed" in " ".join(
        said.split()
    )


def test_a_run_whose_end_nobody_has_seen_is_said(bench: Command) -> None:
    make()
    journal = Path("runs/studies/one/journal.jsonl")
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    said = bench("study", "show", "one").out
    assert "run 3 is under way, or its command was killed" in said


def test_a_run_that_was_removed_is_said(bench: Command) -> None:
    make()
    run = next(Path("runs/sst2").iterdir())
    (run / "record.json").unlink()
    said = bench("study", "show", "one")
    assert f"the run sst2/{run.name} is not there any more" in said.out


def test_a_narrow_terminal_has_fewer_columns(
    bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    monkeypatch.setenv("COLUMNS", "150")
    wide = bench("study", "show", "one").out
    monkeypatch.setenv("COLUMNS", "70")
    narrow = bench("study", "show", "one").out
    assert "prepares %" in wide
    assert "prepares %" not in narrow
    assert max(map(len, narrow.splitlines())) <= 70
    for text in ("Wh a run", "saves %", "bert-tiny"):
        assert text in narrow


@pytest.mark.parametrize("kind", ["svg", "html"])
def test_the_plot_shows_every_entry(bench: Command, kind: str) -> None:
    pytest.importorskip("vl_convert")
    make()
    said = bench("study", "show", "one", "--plot", f"one.{kind}")
    assert said.code == 0
    text = Path(f"one.{kind}").read_text(encoding="utf-8")
    for shown in ("baseline", "bf16", "prune", "bert-tiny", "Energy of a training (Wh)", "Skill"):
        assert shown in text
    if kind == "svg":
        assert text.count('aria-roledescription="point"') == 3
        assert text.count('aria-roledescription="rule mark"') == 6  # two intervals each


def test_a_kind_of_picture_that_is_none_is_said_before_anything(bench: Command) -> None:
    said = bench("study", "--task", "sst2", "--plot", "one.gif")
    assert said.code == 2
    assert "names no kind of picture" in said.err
    assert not Path("runs").exists()


def test_where_no_run_has_a_result_nothing_is_drawn(bench: Command) -> None:
    make(lambda a: "no")
    said = bench("study", "show", "one", "--plot", "one.svg")
    assert "no run can be drawn" in said.err
    assert not Path("one.svg").exists()
