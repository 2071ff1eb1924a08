"""From runs to an entry's folder: all attempts, whole or not at all, nothing ever overwritten."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import lineage, submission, submit
from bench import record as records
from bench.errors import UsageError
from bench.power.trace import Trace
from bench.submission import EntryFile
from tests.checks import bundles, tuned


def asked(**changes: Any) -> submit.Asked:
    return submit.Asked(**{"title": "Small", "authors": ["A. Nonymous"], **changes})


def made(root: Path, plans: list[bundles.Plan] | None = None) -> list[Path]:
    """Runs in a ledger, `root`/toy."""
    return [bundles.write_run(plan, root / "toy") for plan in plans or bundles.plans()]


def pack(named: list[Path], results: Path, ledger: Path | None = None, **changes: Any) -> Any:
    dry = changes.pop("dry", False)
    runs = list(records.folders([ledger])) if ledger else named
    around = bundles.around()
    return submit.pack(named, asked(**changes), results, runs, lambda _: around, dry=dry)


def everything(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*")}


def test_runs_become_an_entry_that_passes(tmp_path: Path) -> None:
    runs = made(tmp_path / "runs")
    packed = pack(runs, tmp_path / "results")
    assert packed.folder == tmp_path / "results/toy/transformer-small-baseline"
    entry = submission.read(packed.folder)
    assert set(entry.runs) == {f.name for f in runs} == {a.run_id for a in entry.attempts}
    assert entry.track == "scratch"
    assert not bundles.checked(packed.folder).errors
    digests = json.loads((packed.folder / "manifest.json").read_text())
    there = {n for n in everything(packed.folder) if (packed.folder / n).is_file()}
    assert set(digests) == there - {"manifest.json"}
    assert not list((tmp_path / "results").rglob(".*"))


def test_an_attempt_that_failed_goes_along_unasked(tmp_path: Path) -> None:
    plans = bundles.plans(4)
    plans[3].status = "failed"
    *runs, failed = made(tmp_path / "runs", plans)
    packed = pack(runs, tmp_path / "results", tmp_path / "runs")
    assert [r.run_id for r in packed.added] == [failed.name]
    assert (packed.folder / failed.name / "record.json").is_file()
    assert len(packed.entry.attempts) == 4


def test_a_replay_does_not_go_along(tmp_path: Path) -> None:
    plans = bundles.plans(4)
    plans[3].spec = {"seed_origin": "user"}
    *runs, replay = made(tmp_path / "runs", plans)
    packed = pack(runs, tmp_path / "results", tmp_path / "runs")
    assert not packed.added
    assert replay.name not in packed.entry.runs


def test_what_a_sweep_chose_goes_with_its_journal(tmp_path: Path) -> None:
    text = tuned.journal(tuned.events())
    runs = made(tmp_path / "runs", tuned.plans(text))
    with pytest.raises(UsageError, match="is not there"):
        pack(runs, tmp_path / "results")
    sweep = tmp_path / "runs/sweeps" / tuned.NAME
    sweep.mkdir(parents=True)
    (sweep / "journal.jsonl").write_bytes(text + b'{"event": "planned", "cell": "final"}\n')
    packed = pack(runs, tmp_path / "results")
    assert (packed.folder / "tuning.jsonl").read_bytes() == text
    again = pack(list(packed.folder.glob("*/")), tmp_path / "elsewhere")
    assert (again.folder / "tuning.jsonl").read_bytes() == text


TELLING = "/home/ada/telling/rows.csv"


def test_what_is_published_of_a_run_names_no_place_and_its_own_folder_stays(tmp_path: Path) -> None:
    plans = bundles.plans(4)
    plans[3].status = "failed"
    *runs, failed = made(tmp_path / "runs", plans)
    (failed / "log.txt").write_text(f'  File "/home/ada/mine.py", line 3\nno {TELLING}\n')
    record = json.loads((failed / "record.json").read_text())
    (failed / "record.json").write_text(json.dumps({**record, "failure": f"no file '{TELLING}'"}))
    said = {"event": "outcome", "t_ns": 0, "status": "failed", "failure": f"no '{TELLING}'"}
    lines = (failed / "events.jsonl").read_text().splitlines()
    told = [json.dumps({**said, "t_ns": json.loads(lines[-1])["t_ns"], "code": 1, "by": "meter"})]
    kept = [line for line in lines if json.loads(line)["event"] != "outcome"]
    (failed / "events.jsonl").write_text("\n".join([*kept, *told]) + "\n")
    names = {n: records.file_sha256(failed / n) for n in everything(failed) - {"manifest.json"}}
    (failed / "manifest.json").write_text(json.dumps(names))

    packed = pack(runs, tmp_path / "results", tmp_path / "runs")
    copies = packed.folder / failed.name
    texts = [p.read_text() for p in copies.iterdir() if p.suffix in (".json", ".jsonl", ".txt")]
    assert not [text for text in texts if "telling" in text or "ada" in text.split()]
    assert "…/mine.py" in (copies / "log.txt").read_text()
    assert records.read(copies).failure == "no file '<path>'"
    assert not bundles.checked(packed.folder).errors
    assert TELLING in (failed / "log.txt").read_text()
    assert records.read(failed).failure == f"no file '{TELLING}'"
    for run in runs:  # what names none is published byte by byte
        same = [(packed.folder / run.name / p.name).read_bytes() == p.read_bytes()
                for p in run.iterdir()]  # fmt: skip
        assert all(same)


def test_where_a_meter_is_is_published_nowhere_and_its_readings_are(tmp_path: Path) -> None:
    plans = bundles.plans()
    for plan in plans:
        plan.trace = metered_by("nvml", "command:/home/ada/telling.sh …", "shelly:10.0.0.7")
    runs = made(tmp_path / "runs", plans)
    packed = pack(runs, tmp_path / "results")
    for run in runs:
        folders = (run, packed.folder / run.name)
        own, copy = (Trace.read_parquet(f / "trace.parquet") for f in folders)
        assert own.facts["probes"][1] == "command:/home/ada/telling.sh …"
        assert copy.facts["probes"] == ["nvml", "command:…", "shelly:…"]
        assert {**copy.facts, "probes": 0} == {**own.facts, "probes": 0}
        assert copy.domains == own.domains
        for name, series in own.series.items():
            assert (copy.series[name].t_ns == series.t_ns).all()
            assert np.array_equal(copy.series[name].power_w, series.power_w, equal_nan=True)
    assert not bundles.checked(packed.folder).errors


def metered_by(*probes: str) -> Callable[[Trace], Trace]:
    return lambda trace: replace(trace, facts={**trace.facts, "probes": list(probes)})


def test_a_model_that_is_called_by_its_place_is_refused(tmp_path: Path) -> None:
    plans = bundles.plans()
    for plan in plans:
        plan.spec = {**plan.spec, "model": "/home/ada/telling"}
    with pytest.raises(submit.Refused, match="nothing was submitted: 1 rule") as refused:
        pack(made(tmp_path / "runs", plans), tmp_path / "results")
    assert {v.rule for v in refused.value.report.warnings} >= {"S11"}
    assert "--model NAME" in (refused.value.hint or "")
    assert everything(tmp_path / "results") <= {"toy"}


def test_what_would_fail_is_refused_with_its_rule_and_leaves_nothing(tmp_path: Path) -> None:
    plans = bundles.plans()
    plans[0].record = lambda r: r.model_copy(update={"duration_s": r.duration_s / 2})
    runs = made(tmp_path / "runs", plans)
    with pytest.raises(submit.Refused) as refused:
        pack(runs, tmp_path / "results")
    assert {v.rule for v in refused.value.report.errors} == {"D4"}
    assert everything(tmp_path / "results") == {"toy"}


def test_runs_of_two_entries_are_none_together(tmp_path: Path) -> None:
    plans = bundles.plans()
    plans[1].spec = {"settings": {"epochs": 3.0, "batch_size": 64, "max_length": 128}}
    runs = made(tmp_path / "runs", plans)
    with pytest.raises(UsageError, match=r"epochs is 2\.0 and 3\.0"):
        pack(runs, tmp_path / "results")


def test_a_trial_of_a_sweep_is_no_entry(tmp_path: Path) -> None:
    plans = bundles.plans(1)
    plans[0].start = {"trial": "sweep-1"}
    with pytest.raises(UsageError, match="a trial of the sweep"):
        pack(made(tmp_path / "runs", plans), tmp_path / "results")


def test_nothing_submitted_is_overwritten(tmp_path: Path) -> None:
    runs = made(tmp_path / "runs")
    folder = pack(runs, tmp_path / "results", name="mine").folder
    before = (folder / "entry.json").read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        pack(runs, tmp_path / "results", name="mine", title="Other")
    assert (folder / "entry.json").read_bytes() == before
    assert pack(runs, tmp_path / "results").folder.name == "transformer-small-baseline"
    assert pack(runs, tmp_path / "results").folder.name == "transformer-small-baseline-2"


@pytest.mark.parametrize("name", ["../mine", "Mine", ".mine", "a/b", "x" * 81, ""])
def test_a_name_stays_inside_its_task(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="can't be an entry's name"):
        pack(made(tmp_path / "runs"), tmp_path / "results", name=name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"links": ["http://example.org"]}, "^links: 'http://example.org' is no https address"),
        ({"links": ["javascript:alert(1)"]}, "no https address"),
        ({"title": "x" * 201}, "title"),
        ({"track": "finetune"}, "of the track scratch"),
        ({"supersedes": "../../etc"}, "supersedes"),
    ],
)
def test_what_is_said_of_it_is_checked(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pack(made(tmp_path / "runs"), tmp_path / "results", **changes)


def test_weights_that_no_run_has_kept_are_asked_for_in_vain(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="have kept no weights"):
        pack(made(tmp_path / "runs"), tmp_path / "results", weights=True)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    packed = pack(made(tmp_path / "runs"), tmp_path / "results", dry=True)
    assert not packed.report.errors
    assert everything(tmp_path / "results") == {"toy"}


def test_a_run_without_one_of_its_files_is_not_submitted(tmp_path: Path) -> None:
    runs = made(tmp_path / "runs")
    (runs[0] / "trace.parquet").unlink()
    with pytest.raises(UsageError, match=r"trace\.parquet is not there"):
        pack(runs, tmp_path / "results")


def taught(root: Path) -> tuple[list[Path], Path]:
    """Runs that are charged for a teacher's, and that one."""
    (teacher,) = made(root, bundles.plans(1, first=3))
    record = records.read(teacher)
    plans = bundles.plans()
    for plan in plans:
        settings = {"epochs": 2.0, "batch_size": 64, "max_length": 128, "teacher": teacher.name}
        plan.spec = {"recipe": "distill", "settings": settings}
        plan.start = {"charged_runs": [lineage.teacher(record, teacher)]}
    return made(root, plans), teacher


def test_a_teacher_goes_along(tmp_path: Path) -> None:
    runs, teacher = taught(tmp_path / "runs")
    packed = pack(runs, tmp_path / "results", tmp_path / "runs")
    assert packed.entry.charged == [teacher.name]
    assert (packed.folder / teacher.name / "record.json").is_file()


def test_a_teacher_that_was_submitted_is_not_copied(tmp_path: Path) -> None:
    runs, teacher = taught(tmp_path / "runs")
    around = bundles.around(others={teacher.name: teacher})
    ledger = list(records.folders([tmp_path / "runs"]))
    packed = submit.pack(runs, asked(), tmp_path / "results", ledger, lambda _: around)
    assert packed.entry.charged == []
    assert not (packed.folder / teacher.name).exists()


def test_a_retraction_is_a_record_too(tmp_path: Path) -> None:
    folder = pack(made(tmp_path / "runs"), tmp_path / "results").folder
    place = submission.place(folder)
    around = bundles.around(entries={place: folder})
    who = ["A. Nonymous"], tmp_path / "results", lambda _: around
    entry = submission.read(submit.retract(place, "the plug was loose", *who).folder)
    assert (entry.kind, entry.retracts, entry.reason) == ("retraction", place, "the plug was loose")
    assert folder.is_dir()
    with pytest.raises(UsageError, match="has no entry toy/other"):
        submit.retract("toy/other", "why", *who)


# --- two writers, and one that is killed ---


def _writer(named: list[Path], results: Path, start: Any, said: Any) -> None:
    start.wait()
    try:
        said.put(pack(named, results, name="mine").folder.name)
    except UsageError as error:
        said.put(error.message)


def test_of_two_writers_of_one_name_one_wins_and_nothing_is_mixed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, said = context.Event(), context.Queue()
    several = [made(tmp_path / f"runs{i}", bundles.plans(1 + i)) for i in range(2)]
    processes = [
        context.Process(target=_writer, args=(runs, tmp_path / "results", start, said))
        for runs in several
    ]
    for process in processes:
        process.start()
    start.set()
    answers = [said.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sum(a == "mine" for a in answers) == 1, answers
    folder = tmp_path / "results/toy/mine"
    assert not bundles.checked(folder).errors
    assert len(submission.read(folder).runs) in (1, 2)


_KILLED = """
import sys, time
from pathlib import Path
from bench import submit
from tests.test_submit import pack
submit.submission.write = lambda entry, folder: (print("staged", flush=True), time.sleep(60))
pack([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]))
"""


def test_a_killed_writer_leaves_no_entry_and_the_next_sweeps_up(tmp_path: Path) -> None:
    runs = made(tmp_path / "runs")
    results = tmp_path / "results"
    command = [sys.executable, "-c", _KILLED, str(results), *map(str, runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "staged\n"
        writer.send_signal(signal.SIGKILL)
        time.sleep(0.1)
    assert list(records.folders([results])) == []
    assert len(list((results / "toy").glob(".*"))) == 1
    packed = pack(runs, results)
    assert [p.name for p in (results / "toy").iterdir()] == [packed.folder.name]


def test_an_entry_says_one_kind_of_thing() -> None:
    base = {
        "edition": "1.0", "bench_version": "0", "submitted_at": "now", "task": "toy",
        "title": "t", "authors": ["a"],
    }  # fmt: skip
    for wrong in (
        {},
        {"kind": "retraction", "reason": "why"},
        {"kind": "retraction", "retracts": "toy/a"},
        {"kind": "retraction", "retracts": "toy/a", "reason": "why", "runs": ["0" * 16]},
        {"kind": "reevaluation", "reevaluates": "toy/a"},
        {"runs": ["0" * 16], "track": "open", "retracts": "toy/a"},
    ):
        with pytest.raises(ValueError, match=r"retraction|reevaluation|runs"):
            EntryFile.model_validate({**base, **wrong})
