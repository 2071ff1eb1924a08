"""Planned runs survive who drives them: killed, cut off in a line, asked something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import cards
from bench.errors import BenchError, UsageError
from bench.power import carbon
from bench.run import Request
from bench.study import grid, ledger, making
from bench.study.drive import drive
from bench.study.job import Job, dumped, loaded
from bench.study.ledger import MOST_ATTEMPTS, Attempt
from bench.study.making import Ending
from bench.study.spending import Cost, Limit, Spending
from bench.units import parse_budget
from tests.study.stand_ins import Executor, Script

BASE = Request("sst2", data="embedded", idle_s=0.0)
CELLS = [
    grid.Cell("transformer-tiny", recipe, Request("sst2", "transformer-tiny", recipe))
    for recipe in ("baseline", "bf16")
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "studies" / "one"


def make(
    folder: Path, script: Script, *, runs: int = 2, budget: str | None = None, **changes: Any
) -> tuple[Ending, Executor]:
    """What `bench study` does with a grid of two cells."""
    wanted = making.asked(BASE, CELLS, runs) | changes
    executor, scenario = Executor(script), carbon.asked(None)
    limit = Limit(parse_budget(budget), scenario) if budget else None
    return making.make(folder, wanted, CELLS, {}, executor, scenario, limit), executor


def good(attempt: Attempt) -> dict[str, Any]:
    return {"recipe": attempt.job.request.recipe, "energy_j": 36_000.0}


def test_one_run_of_every_cell_comes_before_the_second_of_any(folder: Path) -> None:
    ending, executor = make(folder, good, runs=3)
    assert ending.whole
    rounds = [sorted(executor.started[i : i + 2]) for i in (0, 2, 4)]
    assert rounds == [[f"transformer-tiny · {r}, run {n}" for r in ("baseline", "bf16")]
                      for n in (1, 2, 3)]  # fmt: skip
    assert executor.started[0] != executor.started[2].replace("run 2", "run 1")  # they take turns


def test_the_next_run_waits_for_nothing_where_none_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.study.drive.POLL_S", -1.0)  # no time that one can sleep
    assert make(folder, good)[0].whole


def test_a_run_that_is_made_is_not_made_again(folder: Path) -> None:
    make(folder, good)
    ending, executor = make(folder, good)
    assert ending.whole
    assert executor.started == []
    assert len(list((folder.parents[1] / "sst2").iterdir())) == 4


def test_a_killed_run_is_made_again_at_once_and_three_times_at_most(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ending, executor = make(folder, lambda a: good(a) if a.job.number == 1 else None)
    assert (ending.made, ending.given_up) == (2, 2)
    assert executor.started.count("transformer-tiny · bf16, run 2") == MOST_ATTEMPTS
    said = capsys.readouterr().err
    assert "attempt 2 of 3" in said
    assert "3 attempts failed: it is given up" in said
    again, executor = make(folder, good)
    assert executor.started == []  # that is said, and that's it
    assert again.given_up == 2


def test_a_run_that_fails_by_itself_waits_for_the_next_command(folder: Path) -> None:
    def script(attempt: Attempt) -> dict[str, Any]:
        fails = attempt.job.request.recipe == "bf16" and attempt.number == 1
        return good(attempt) | ({"status": "failed"} if fails else {})

    ending, executor = make(folder, script)
    assert ending.made == 2
    assert len(executor.started) == 4  # the others went on, and none was tried twice
    ending, executor = make(folder, script)
    assert ending.whole
    assert sorted(executor.started) == [f"transformer-tiny · bf16, run {n}" for n in (1, 2)]


def test_what_was_told_to_end_is_no_try(folder: Path) -> None:
    (job,) = grid.jobs(CELLS[:1], 1)
    with ledger.opened(folder, {}) as book:
        book.plan([job])
        for _ in range(MOST_ATTEMPTS + 1):
            book.end(book.begin(job), "interrupted", told="interrupted by Ctrl-C")
        assert book.wanted(job)
    assert ledger.read(folder).tries(job) == 0


def test_an_attempt_whose_driver_was_killed_is_not_lost(folder: Path) -> None:
    """The journal says that it was started; its own files say the rest."""
    (job,) = grid.jobs(CELLS[:1], 1)
    with ledger.opened(folder, {}) as book:
        book.plan([job])
        attempt = book.begin(job)
        Executor(good).start(attempt)
    with ledger.opened(folder, {}) as book:
        assert not book.wanted(job)
        drive(book, Executor(good), lambda: None)
        assert book.done(job)
    record = ledger.read(folder).ended()[0].record()
    assert record is not None
    assert record.energy_j == 36_000.0


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_off_did_not_happen(folder: Path, cut: int) -> None:
    make(folder, good, runs=1)
    journal = folder / ledger.JOURNAL
    journal.write_bytes(journal.read_bytes()[:-cut])
    ending, executor = make(folder, good, runs=1)
    assert ending.whole
    assert executor.started == []  # its end is found in its own files
    torn = ledger.read(folder).damaged
    assert len(torn) == (0 if cut == 1 else 1)  # of a whole line only the end was missing
    assert len(ledger.read(folder).ended()) == 2


def test_a_damaged_line_is_said(folder: Path) -> None:
    from bench.study import render, table

    make(folder, good, runs=1)
    with (folder / ledger.JOURNAL).open("a") as file:
        file.write('{"event": "ended", "job"\n{"event": "moved"}\n')
    found = table.result(ledger.read(folder), {})
    assert "cut off, and are left out: 8, 9" in render.markdown(found)


def test_another_grid_under_the_name_says_what_differs(folder: Path) -> None:
    make(folder, good)
    with pytest.raises(UsageError) as error:
        make(folder, good, runs=3, recipes=["baseline", "prune"])
    assert "recipes was baseline, bf16, now baseline, prune; runs was 2, now 3" in str(error.value)
    assert "--name" in str(error.value.hint)


def test_a_study_is_extended_by_more_runs_and_cells(folder: Path) -> None:
    make(folder, good, runs=1)
    more = making.asked(BASE, CELLS[:1], 2)
    executor = Executor(good)
    making.make(folder, more, CELLS[:1], {}, executor, carbon.asked(None), extend=True)
    assert executor.started == ["transformer-tiny · baseline, run 2"]
    assert ledger.read(folder).asked == making.asked(BASE, CELLS, 2)
    with pytest.raises(UsageError, match="device was not given, now cpu"):
        making.make(
            folder, more | {"device": "cpu"}, CELLS[:1], {}, executor, carbon.asked(None),
            extend=True,
        )  # fmt: skip


def test_what_is_added_may_have_settings_of_its_own(folder: Path) -> None:
    def extended(recipe: str, *pairs: str) -> list[str]:
        card = cards.load("sst2")
        cells = grid.cells(BASE, card, ["transformer-tiny"], [recipe], pairs)
        executor = Executor(good)
        wanted = making.asked(BASE, cells, 1, pairs)
        making.make(folder, wanted, cells, {}, executor, carbon.asked(None), extend=True)
        return executor.started

    extended("baseline", "epochs=2")
    with pytest.raises(UsageError, match="one was asked --set epochs=2"):
        extended("prune", "prune.sparsity=0.8")
    started = extended("prune", "epochs=2", "prune.sparsity=0.8")
    assert started == ["transformer-tiny · prune, run 1"]
    assert ledger.read(folder).asked["set"] == ["epochs=2", "prune.sparsity=0.8"]
    with pytest.raises(UsageError, match="transformer-tiny · baseline is in one with other"):
        extended("baseline", "epochs=2", "baseline.dropout=0")
    assert extended("baseline", "epochs=2") == []


def test_two_commands_do_not_drive_one_ledger(folder: Path) -> None:
    with (
        ledger.opened(folder, {}),
        pytest.raises(BenchError, match="another command is at work on one"),
        ledger.opened(folder, {}),
    ):
        pass


def test_a_ledger_of_a_newer_bench_is_not_read(folder: Path) -> None:
    make(folder, good, runs=1)
    journal = folder / ledger.JOURNAL
    journal.write_text(journal.read_text().replace('"schema":1', '"schema":2', 1))
    with pytest.raises(BenchError, match="is of schema 2"):
        ledger.read(folder)


def test_there_is_no_such_ledger(folder: Path) -> None:
    make(folder, good, runs=1)
    with pytest.raises(UsageError) as error:
        ledger.read(folder.with_name("two"))
    assert error.value.hint == "there are one"


# --- budgets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "made"), [("0.025kWh", 2), ("0.035kWh", 3), ("95s", 0 + 1), ("1h", 4)]
)
def test_no_run_is_started_that_is_expected_to_go_beyond_the_budget(
    folder: Path, budget: str, made: int
) -> None:
    """Each takes 0.01 kWh in 95 s; what the first takes nobody can know."""
    ending, executor = make(folder, good, budget=budget)
    assert ending.made == len(executor.started) == made
    assert ending.over_budget == (made < 4)
    if made < 4:
        assert ending.left is not None
        assert ending.left.energy_j == pytest.approx((4 - made) * 36_000)
    larger, _ = make(folder, good, budget="1kWh")
    assert larger.whole


def test_energy_that_is_not_known_can_not_be_kept_in_a_budget(folder: Path) -> None:
    ending, executor = make(folder, lambda a: good(a) | {"energy_j": None}, budget="1kWh")
    assert len(executor.started) == 1
    assert ending.over_budget


def test_no_energy_is_shown_of_what_has_none_that_is_known() -> None:
    unknown = Cost(60.0, unknown=1)
    assert str(unknown) == "1 min 00 s, 1 run of unknown energy"
    assert str(unknown + unknown + Cost(60.0, 3600.0)) == (
        "3 min 00 s, 1.00 Wh and 2 runs of unknown energy"
    )
    assert str(Cost()) == "0 s, 0 J"


def test_a_run_whose_record_is_lost_took_nobody_knows_what(folder: Path) -> None:
    """Nor is it a run of no energy in the mean of its cell."""
    make(folder, good)
    first = ledger.read(folder).ended()[0]
    assert first.folder is not None
    (first.folder / "record.json").unlink()
    spending = Spending(ledger.read(folder))
    assert (spending.so_far.unknown, spending.so_far.energy_j) == (1, 3 * 36_000.0)
    expected = spending.expected(first.job)
    assert expected is not None
    assert expected.energy_j == 36_000.0


def test_a_budget_of_steps_is_of_one_run() -> None:
    with pytest.raises(UsageError, match="500steps is no budget of several runs"):
        Limit(parse_budget("500steps", counted=True), carbon.asked(None))


# --- jobs ----------------------------------------------------------------------------------------


def test_a_job_is_the_same_after_json(tmp_path: Path) -> None:
    request = Request(
        "sst2", "bert-tiny", "bf16", False, {"epochs": "2"}, "embedded", "cpu", region="world",
        pue="1.2", budget="500steps", task_folders=[tmp_path], replay=tmp_path / "trace.parquet",
        probes=["ipmitool"], idle_s=0.0, save_every_s=60.0, tuning={"trials": ["a", "b"]},
    )  # fmt: skip
    job = Job("bert-tiny · bf16", 2, request, {"trial": 3})
    again = Job.load(json.loads(json.dumps(job.dump())))
    assert again.id == job.id
    assert again.request == request
    assert again.about == {"trial": 3}


def test_what_is_not_asked_is_not_written() -> None:
    """So that a later bench, with more to ask, knows old jobs again."""
    assert dumped(Request("sst2", settings={}, task_folders=[], probes=[])) == {"task": "sst2"}
    assert loaded({"task": "sst2"}) == Request("sst2", task_folders=[])


def test_the_screen_shows_what_is_behind_and_ahead(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(folder, good)
    said = capsys.readouterr().err
    assert "run 1 of 4: transformer-tiny · baseline, run 1\n" in said
    assert "run 4 of 4" in said
    assert "so far 4 min 45 s, 30.0 Wh · left about 1 min 35 s, 10.0 Wh" in said
    assert "accuracy 92.0 %, 1 min 35 s, 10.0 Wh" in said


def test_recipes_of_a_gpu_are_left_to_the_machine_that_runs_them() -> None:
    base = Request("sst2", "transformer-tiny", data="embedded", device="cpu")
    cells = [
        grid.Cell("transformer-tiny", recipe, replace(base, recipe=recipe))
        for recipe in ("baseline", "tf32", "power-limit")
    ]
    assert len(grid.plans(cells, here=True)[1]) == 2
    assert grid.plans(cells, here=False)[1] == {}
