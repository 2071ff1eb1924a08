"""`bench submit` and `bench check` as they are typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench import record as records
from bench import submission, upstream
from tests.checks import bundles


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a task's card, three runs, and empty results/."""
    bundles.write_card(tmp_path / "tasks")
    (tmp_path / "results").mkdir()
    for plan in bundles.plans():
        bundles.write_run(plan, tmp_path / "runs/toy")
    return tmp_path


SAID = ("--title", "A small one", "--authors", "A. Turing; G. Hopper")


def ids(place: Path) -> list[str]:
    return [f.name for f in records.folders([place / "runs"])]


def options(place: Path) -> list[object]:
    return ["--results", place / "results", "--tasks", place / "tasks"]


def submitted(bench, place: Path, *more: object):
    where = [*options(place), "--out", place / "runs"]
    return bench("submit", *ids(place), *SAID, *where, *more)


def test_an_entry_is_made_and_the_next_steps_are_printed(bench, place: Path) -> None:
    said = submitted(bench, place)
    assert said.code == 0, said.err
    entry = place / "results/toy/transformer-small-baseline"
    assert submission.read(entry).authors == ["A. Turing", "G. Hopper"]
    assert f"git add {entry}" in said.out
    assert "git commit -m 'Add toy/transformer-small-baseline'" in said.out
    assert "(3 runs, " in said.out

    checked = bench("check", place / "results", *options(place))
    assert checked.code in (0, 3), checked.out
    assert "toy/transformer-small-baseline" in checked.out
    assert "T1" in checked.out
    assert "the board: " in checked.out


def test_a_dry_run_makes_nothing(bench, place: Path) -> None:
    said = submitted(bench, place, "--dry-run")
    assert said.code == 0
    assert "would make" in said.out
    assert "git" not in said.out
    assert list(submission.folders(place / "results")) == []


def test_what_would_fail_is_refused_with_its_reason(bench, place: Path) -> None:
    plan = bundles.plans(4)[3]
    plan.record = lambda r: r.model_copy(update={"duration_s": r.duration_s / 2})
    bundles.write_run(plan, place / "runs/toy")
    said = submitted(bench, place)
    assert said.code == 1
    assert "error   D4   duration" in said.out
    assert "nothing was submitted: 1 rule not met" in said.err
    assert list(submission.folders(place / "results")) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["submit"], "nobody has written it"),
        (["submit", "--authors", "A"], "no run is named"),
        (["submit", "0000", "--authors", "A"], "the entry has no title"),
        (["submit", "0000", *SAID], "no run is called '0000'"),
        (["submit", "--retract", "toy/x", "--authors", "A", "--reason", "r"], "has no entry toy/x"),
        (["submit", "0000", *SAID, "--retract", "toy/x"], "a retraction takes no runs"),
        (["submit", "--retract", "toy/x", "--authors", "A"], "a retraction has a reason"),
        (["check"], "nothing is named that could be checked"),
        (["check", "nowhere"], "there is no folder "),
        (["check", "results", "--data", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_a_slip_is_one_line_and_code_2(bench, place: Path, arguments: list[str], says: str) -> None:
    said = bench(*arguments, "--results", place / "results")
    assert said.code == 2
    assert says in said.err
    assert "hint: " in said.err
    assert "Traceback" not in said.err


def test_a_retraction_is_made_by_a_command(bench, place: Path) -> None:
    submitted(bench, place)
    name = "toy/transformer-small-baseline"
    nobody = ["--out", place / "none"]
    assert "transformer-small" in bench("tasks", "toy", *options(place), *nobody).out
    said = bench("submit", "--retract", name, *SAID, "--reason", "no", *options(place))
    assert said.code == 0, said.err
    entry = submission.read(place / "results/toy/retraction-of-transformer-small-baseline")
    assert entry.retracts == name
    assert "no run matches" in bench("leaderboard", *options(place), *nobody).out
    assert "transformer-small" not in bench("tasks", "toy", *options(place), *nobody).out


@pytest.mark.parametrize("named", ["by its id", "by its folder", "by its whole path"])
def test_a_run_of_what_was_taken_back_says_so(
    bench, place: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """Shown or compared, from wherever it is named; before, it says nothing of the kind."""
    submitted(bench, place)
    shutil.rmtree(place / "runs")
    monkeypatch.chdir(place)
    entry = Path("results/toy/transformer-small-baseline")
    first, second, _ = records.folders([entry])
    ways = {"by its id": [first.name, second.name], "by its folder": [first, second]}
    runs = ways.get(named, [first.absolute(), second.absolute()])
    assert "fallen" not in bench("show", runs[0]).out
    assert bench("compare", *runs).err == ""
    why = ["--retract", "toy/transformer-small-baseline", "--reason", "the plug was loose"]
    assert bench("submit", *why, "--authors", "A. Turing", "--tasks", "tasks").code == 0
    shown = " ".join(bench("show", runs[0]).out.split())
    assert "fallen it is on no board: of toy/transformer-small-baseline" in shown
    assert "took it back (the plug was loose)" in shown
    compared = bench("compare", *runs)
    assert compared.code == 0
    assert compared.err.count("took it back (the plug was loose)") == 2


@pytest.mark.parametrize("name", ["a", "z"])
def test_what_is_corrected_stays_clean_beside_its_corrections(
    bench, place: Path, name: str
) -> None:
    """Whichever comes first by its name."""
    folder = submitted(bench, place, "--name", "m") and place / "results/toy/m"
    for plan in bundles.plans(first=3):
        bundles.write_run(plan, place / "runs/toy")
    runs = [f.name for f in sorted(folder.iterdir()) if f.is_dir()]
    where = [*SAID, *options(place), "--out", place / "runs"]
    first = bench("submit", *runs, *where, "--name", f"{name}1", "--supersedes", "toy/m")
    assert first.code == 0, first.err + first.out
    second = bench("submit", *runs, *where, "--name", f"{name}2", "--supersedes", f"toy/{name}1")
    assert second.code == 0, second.err + second.out
    said = bench("check", place / "results", *options(place))
    assert "error" not in said.out, said.out
    assert "among the attempts" not in said.out, said.out

    sold = bench("submit", *runs, *where, "--name", "sold")
    assert sold.code == 1
    assert "H8" in sold.out
    shutil.copytree(folder, place / f"results/toy/{name}3")
    said = bench("check", place / f"results/toy/{name}3", *options(place))
    assert f"of {runs[0]}, submitted in toy/" in said.out, "its other copies are found"


def test_a_retraction_is_checked_and_can_be_tried(bench, place: Path) -> None:
    submitted(bench, place)
    name = "toy/transformer-small-baseline"
    retract = ["submit", "--retract", f"{name}/", *SAID, "--reason", "no", *options(place)]
    said = bench(*retract, "--dry-run")
    assert said.code == 0, said.err
    assert "would make" in said.out
    assert len(list(submission.folders(place / "results"))) == 1

    assert bench(*retract).code == 0
    said = bench(*retract)
    assert said.code == 1
    assert f"it retracts {name}, which toy/retraction-of-" in said.out
    assert len(list(submission.folders(place / "results"))) == 2


def test_what_a_teacher_and_the_start_have_cost_others_is_declared(bench, place: Path) -> None:
    bert, minilm = (
        next(sha256 for sha256, name in upstream.allowed().items() if name == wanted)
        for wanted in ("bert-base", "all-minilm-l6")
    )
    settings = {"epochs": 2.0, "batch_size": 64, "max_length": 128, "teacher_model": "bert-base"}
    plans = bundles.plans(first=3)
    for plan in plans:
        plan.spec = {
            "recipe": "distill", "settings": settings, "track": "finetune",
            "model": "all-minilm-l6", "checkpoint_sha256": minilm,
        }  # fmt: skip
        plan.events = with_a_teacher
    runs = [bundles.write_run(plan, place / "runs/taught") for plan in plans]

    said = bench("submit", *runs, *SAID, *options(place), "--name", "one")
    assert said.code == 0, said.out + said.err
    declared = submission.read(place / "results/toy/one").upstream
    assert [(u.checkpoint_sha256, u.energy_kwh) for u in declared] == [
        (minilm, None),
        (bert, 953.8),
    ]

    more = ["--upstream-kwh", "12", "--upstream-source", "a paper", "--uses", "100"]
    said = bench("submit", *runs, *SAID, *options(place), "--supersedes", "toy/one", *more)
    assert said.code == 0, said.out + said.err
    declared = submission.read(place / "results/toy/all-minilm-l6-distill").upstream
    assert [(u.energy_kwh, u.uses) for u in declared] == [(12.0, 100), (953.8, 100)]

    for slip in (more[:2], ["--upstream-source", "a paper"], [*more[:2], more[2], "x" * 501]):
        said = bench("submit", *runs, *SAID, *options(place), *slip)
        assert said.code == 2
        assert "hint: " in said.err


def with_a_teacher(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    begun = next(e for e in events if e.get("phase") == "train")
    before = {**begun, "phase": "teacher", "t_ns": begun["t_ns"] - 10**9}
    return sorted([*events, before], key=lambda e: e["t_ns"])


def bad(place: Path) -> Path:
    """An entry with an error, its name a workflow command."""
    plans = bundles.plans()
    plans[0].record = lambda r: r.model_copy(update={"duration_s": r.duration_s / 2})
    return bundles.write(place / "results", plans)


def test_an_error_is_exit_1_and_in_every_format(bench, place: Path) -> None:
    folder = bad(place)
    text = bench("check", folder, *options(place))
    assert text.code == 1
    assert "1 error" in text.out

    told = bench("check", folder, "--format", "json", *options(place))
    assert told.code == 1
    found = json.loads(told.out)
    (verdict,) = [v for v in found["entries"][0]["verdicts"] if v["status"] == "error"]
    assert (verdict["rule"], verdict["name"]) == ("D4", "duration")
    assert verdict["numbers"]["stated_s"] == pytest.approx(50.0, rel=1e-4)

    github = bench("check", folder, "--format", "github", *options(place))
    assert github.code == 1
    (line,) = [line for line in github.out.splitlines() if line.startswith("::error")]
    assert line.startswith("::error file=results/toy/transformer-small-baseline/")
    assert (place / line.partition("file=")[2].partition(",")[0]).name == "record.json"
    assert (place / line.partition("file=")[2].partition(",")[0]).is_file()
    assert "title=D4 duration::" in line
    (notice,) = [line for line in github.out.splitlines() if line.startswith("::notice")]
    assert "toy/transformer-small-baseline" in notice
    assert notice.endswith("T0")


def test_the_workflow_says_how_each_entry_did(bench, place: Path) -> None:
    for name, first in (("one", 3), ("two", 6)):
        bundles.write(place / "proposed", bundles.plans(first=first), name=name)
    said = bench(
        "check", place / "proposed", "--added-to", place / "results", "--tasks", place / "tasks",
        "--format", "github",
    )  # fmt: skip
    notices = [n for n in said.out.splitlines() if n.startswith("::notice")]
    assert [n.rpartition("::")[2].split("  ")[0] for n in notices] == [
        "results", "toy/one", "toy/two"
    ]  # fmt: skip
    assert notices[0].endswith("1 rule holds")
    assert notices[1].endswith("T1")


def test_a_text_of_a_submission_is_no_command_of_the_workflow(bench, place: Path) -> None:
    folder = bundles.write(place / "results")
    run = next(folder.glob("*/record.json"))
    run.write_text(run.read_text()[:-5] + ',"x\\n::set-env name=a::b%0A":1}')
    said = bench("check", folder, "--format", "github", *options(place))
    assert said.code == 1
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in
               said.out.splitlines())  # fmt: skip


def test_a_forged_metric_is_a_difference_of_the_board(bench, place: Path) -> None:
    plans = bundles.plans()

    def forge(record: records.Record) -> records.Record:
        assert record.metric
        higher = record.metric.model_copy(update={"value": record.metric.value + 0.02})
        return record.model_copy(update={"metric": higher})

    plans[0].record = forge
    said = bench("check", bundles.write(place / "results", plans), *options(place))
    assert said.code == 1
    assert "the largest difference is " in said.out


def test_one_run_is_checked_without_an_entry(bench, place: Path) -> None:
    folder = next(records.folders([place / "runs"]))
    said = bench("check", folder, *options(place))
    assert said.code in (0, 3), said.out
    assert folder.name in said.out


def test_what_a_pull_request_adds_is_checked_and_nothing_else(bench, place: Path) -> None:
    bad(place)
    shutil.copytree(place / "results", place / "proposed")
    bundles.write(place / "proposed", bundles.plans(first=3), name="new")
    added = [place / "proposed", "--added-to", place / "results", "--tasks", place / "tasks"]
    said = bench("check", *added)
    assert said.code in (0, 3), said.out
    assert "toy/new" in said.out
    assert "\ntoy/transformer-small-baseline" not in said.out
    (place / "proposed/toy/transformer-small-baseline/entry.json").write_text("{}")
    said = bench("check", *added)
    assert said.code == 1
    assert "H9" in said.out


def test_the_rules_can_be_listed(bench) -> None:
    said = bench("check", "--rules")
    assert said.code == 0
    assert "D4   duration: A run lasted as long as its window." in said.out
