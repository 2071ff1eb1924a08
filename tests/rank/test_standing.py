"""What was retracted or corrected is on no board, and what others say of an entry is beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.rank import board, columns, standing
from bench.rank.entry import Entry, Run
from bench.submission import EntryFile, Upstream
from tests.rank import records

ROOT = Path("results")


def entry(**facts: Any) -> bytes:
    base = {
        "edition": "1.0", "bench_version": "0", "submitted_at": "now", "task": "sst2",
        "title": "T", "authors": ["A. Turing"],
    }  # fmt: skip
    if "retracts" in facts:
        facts |= {"kind": "retraction", "reason": "why"}
    elif "reevaluates" in facts:
        facts |= {"kind": "reevaluation"}
    else:
        facts = {"track": "scratch", "runs": ["0" * 16], **facts}
    return EntryFile.model_validate({**base, **facts}).model_dump_json(indent=1).encode()


def runs_in(name: str, n: int = 3, **changes: Any) -> list[Run]:
    made = [records.make_run(**changes) for _ in range(n)]
    folder = ROOT / "sst2" / name
    return [Run(run.record, folder / run.record.run_id, "results") for run in made]


def ids(runs: list[Run]) -> list[str]:
    return [run.record.run_id for run in runs]


def shown(runs: list[Run], files: dict[str, bytes]) -> list[Entry]:
    texts = {ROOT / "sst2" / name: text for name, text in files.items()}
    standings = standing.of(texts, runs)
    cells = board.build(runs, {"sst2": records.SST2}, standings=standings)
    return [e for cell in cells for e in cell.entries]


def test_an_entry_says_whose_it_is_and_what_was_spent_before() -> None:
    runs = runs_in("mine")
    declared = [
        Upstream(what="pretraining", energy_kwh=900.0, source="a paper", uses=100),
        Upstream(what="its teacher", energy_kwh=100.0, source="a paper"),
    ]
    text = entry(runs=ids(runs), authors=["A", "B"], upstream=declared)
    (found,) = shown(runs, {"mine": text})
    assert columns.named("authors").value(found, None) == "A; B"
    assert columns.named("submission").value(found, None) == "sst2/mine"
    assert columns.named("upstream").value(found, None) == 1000.0
    assert columns.named("upstream_use").value(found, None) == 109.0


def test_upstream_is_not_known_where_a_part_is_not() -> None:
    runs = runs_in("mine")
    declared = [
        Upstream(what="pretraining", energy_kwh=None, source="none published"),
        Upstream(what="its teacher", energy_kwh=100.0, source="a paper"),
    ]
    (found,) = shown(runs, {"mine": entry(runs=ids(runs), upstream=declared)})
    assert columns.named("upstream").value(found, None) is None


def test_what_is_retracted_is_on_no_board() -> None:
    runs = runs_in("mine")
    files = {"mine": entry(runs=ids(runs)), "sorry": entry(retracts="sst2/mine")}
    assert shown(runs, files) == []


def test_what_is_superseded_is_on_no_board_and_its_runs_stand_in_the_correction() -> None:
    runs = runs_in("old")
    more = runs_in("new", 1)
    new = entry(runs=ids(runs) + ids(more), supersedes="sst2/old")
    (found,) = shown(runs + more, {"old": entry(runs=ids(runs)), "new": new})
    assert {run.folder.parent.name for run in found.runs} == {"new"}
    assert found.counted == 4


def test_a_run_that_a_correction_leaves_out_is_gone() -> None:
    runs = runs_in("old", 4)
    new = entry(runs=ids(runs)[:3], supersedes="sst2/old")
    (found,) = shown(runs, {"old": entry(runs=ids(runs)), "new": new})
    assert found.counted == 3


def test_why_a_run_is_on_no_board() -> None:
    """Two corrections of two: the last one counts. A teacher's copy was never on one."""
    old, gone, teacher = runs_in("old", 4), runs_in("gone", 1), runs_in("old", 1)
    files = {
        "old": entry(runs=ids(old), charged=ids(teacher)),
        "new": entry(runs=ids(old)[:3], supersedes="sst2/old"),
        "newer": entry(runs=ids(old)[:3], supersedes="sst2/new", reason="one more slip"),
        "gone": entry(runs=ids(gone)),
        "sorry": entry(retracts="sst2/gone"),
    }
    texts = {ROOT / "sst2" / name: text for name, text in files.items()}
    standings = standing.of(texts, [*old, *gone])
    why = [standing.fallen(run, standings) for run in (*old, *gone, *teacher)]
    assert why[:3] == [None] * 3
    assert why[3] is not None
    assert "sst2/newer corrects it, and leaves this run out (one more slip)" in why[3]
    assert why[4] == "it is on no board: of sst2/gone, sst2/sorry took it back (why)"
    assert why[5] is None


def test_a_retracted_correction_corrects_nothing() -> None:
    runs = runs_in("old")
    files = {
        "old": entry(runs=ids(runs)),
        "new": entry(runs=ids(runs), supersedes="sst2/old"),
        "sorry": entry(retracts="sst2/new"),
    }
    (found,) = shown(runs, files)
    assert {run.folder.parent.name for run in found.runs} == {"old"}


def test_two_that_supersede_each_other_end() -> None:
    runs = runs_in("a")
    files = {
        "a": entry(runs=ids(runs), supersedes="sst2/b"),
        "b": entry(runs=ids(runs), supersedes="sst2/a"),
    }
    assert shown(runs, files) == []


def test_who_trained_it_again_is_named() -> None:
    runs = runs_in("mine")
    files = {"mine": entry(runs=ids(runs)), "theirs": entry(verifies="sst2/mine")}
    (found,) = shown(runs, files)
    assert columns.named("verified").value(found, None) == "sst2/theirs"


def test_who_let_its_weights_predict_again_is_named() -> None:
    runs = runs_in("mine")
    again = {"run_id": "0" * 16, "weights_sha256": "0" * 64, "metric": 0.9, "same_share": 1.0,
             "rows": 872}  # fmt: skip
    theirs = entry(reevaluates="sst2/mine", reevaluated=[again])
    (found,) = shown(runs, {"mine": entry(runs=ids(runs)), "theirs": theirs})
    assert columns.named("reevaluated").value(found, None) == "sst2/theirs"


def test_a_copy_of_a_teacher_is_no_entry() -> None:
    runs, teacher = runs_in("mine"), runs_in("mine", 1, recipe="other")
    text = entry(runs=ids(runs), charged=ids(teacher))
    found = shown(runs + teacher, {"mine": text})
    assert [e.spec.recipe for e in found] == [runs[0].record.spec.recipe]


def test_a_teacher_that_was_submitted_itself_stands_though_a_copy_of_it_comes_first() -> None:
    """Of a run in several folders the first is shown."""
    runs, teacher = runs_in("a-student"), runs_in("a-student", 1, recipe="other")
    files = {
        "a-student": entry(runs=ids(runs), charged=ids(teacher)),
        "b-teacher": entry(runs=ids(teacher)),
    }
    found = {e.spec.recipe: e for e in shown(runs + teacher, files)}
    (run,) = found["other"].runs
    assert run.folder == ROOT / "sst2/b-teacher" / run.record.run_id
    assert columns.named("submission").value(found["other"], None) == "sst2/b-teacher"
    files["sorry"] = entry(retracts="sst2/b-teacher")
    assert [e.spec.recipe for e in shown(runs + teacher, files)] == [runs[0].record.spec.recipe]


def test_a_retracted_correction_that_comes_first_corrects_nothing() -> None:
    runs = runs_in("a-new")
    files = {
        "a-new": entry(runs=ids(runs), supersedes="sst2/old"),
        "old": entry(runs=ids(runs)),
        "sorry": entry(retracts="sst2/a-new"),
    }
    (found,) = shown(runs, files)
    assert {run.folder.parent.name for run in found.runs} == {"old"}


@pytest.mark.parametrize("text", [b"", b"{}", b'{"retracts": "sst2/mine"}', b"\xff"])
def test_what_can_not_be_read_says_nothing(text: bytes) -> None:
    runs = runs_in("mine")
    (found,) = shown(runs, {"mine": entry(runs=ids(runs)), "odd": text})
    assert found.counted == 3


def test_an_entry_of_another_root_is_not_meant() -> None:
    runs = runs_in("mine")
    other = {Path("runs/sst2/sorry"): entry(retracts="sst2/mine")}
    texts = {ROOT / "sst2/mine": entry(runs=ids(runs)), **other}
    assert standing.of(texts, runs)[ROOT / "sst2/mine"].stands
