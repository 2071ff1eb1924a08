"""`bench run --save`, `--continue`, and `--model` with what was kept, as a user runs them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bench import lineage, record, show
from bench.cards import load as load_card
from bench.learn.corpora import gazetteer, verdicts
from bench.power import carbon
from bench.rank import board
from bench.record import Record, RunCost
from tests.command import write_reviews
from tests.conftest import REPOSITORY
from tests.rank.records import make_domain, make_record, make_run
from tests.test_run import bench as in_a_process
from tests.test_run import start

FEW = ["--idle", 0, "--device", "cpu"]
TINY = [
    "--task", "sst2", "--model", "transformer-tiny", "--data", "reviews",
    "--set", "vocabulary_size=300", "--set", "batch_size=16", *FEW,
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_reviews(tmp_path / "reviews", train=200, scored=40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found() -> list[Record]:
    """In the order in which they were started."""
    places = record.folders([Path("runs")])
    return sorted((record.read(f) for f in places), key=lambda r: r.started_at)


def place(run: Record) -> Path:
    return Path("runs") / run.spec.task / run.run_id


def run(bench: Any, *arguments: object) -> str:
    said = bench("run", *arguments)
    assert said.code == 0, said.out + said.err
    return " ".join(said.out.split())


def refused(bench: Any, *arguments: object) -> str:
    said = bench("run", *arguments)
    assert said.code in (1, 2), said.out
    assert "Traceback" not in said.err
    return said.err


def events(run: Record) -> str:
    return (place(run) / "events.jsonl").read_text()


def test_the_page_does_what_it_says(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands in order, on a few rows: masked pretraining in parts, then fine-tuning."""
    monkeypatch.chdir(tmp_path)
    lines, films = gazetteer.corpus, verdicts.corpus
    monkeypatch.setattr(gazetteer, "corpus", lambda: lines(10, 2))
    monkeypatch.setattr(verdicts, "corpus", lambda: films(150, 20))
    page = (REPOSITORY / "bench" / "docs" / "continue.md").read_text(encoding="utf-8")
    small = ["vocabulary_size=300", "max_length=32", "batch_size=4", "epochs=4"]
    told = []
    for command in re.findall(r"(?m)^bench run (.+)$", page):
        typed = shlex.split(command.replace("RUN", found()[-1].run_id if told else ""))
        typed += [] if told else [word for pair in small for word in ("--set", pair)]
        told.append(run(bench, *typed, "--data", "embedded", *FEW))
    first, second, third, tuned = found()
    assert [r.status for r in found()] == ["budget", "budget", "complete", "complete"]
    assert f"goes on run {first.run_id}" in told[1]
    assert f"upstream run {third.run_id}" in told[3]
    kept_files_are_as_recorded(first, 40)
    parts_are_charged(first, second, third)
    parts_are_one_entry_and_shown(bench, first, second, third)
    upstream_is_named_and_not_charged(bench, third, tuned)


def kept_files_are_as_recorded(run: Record, step: int) -> None:
    assert {p.name for p in run.phases} >= {"train", "save", "predict"}
    kept = {s.file: s for s in run.saved}
    assert set(kept) == {lineage.STATES[0], lineage.WEIGHTS}
    for name, file in kept.items():
        data = (place(run) / name).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        assert (digest, len(data), step) == (file.sha256, file.bytes, file.step)
        assert (place(run) / name).stat().st_mode & 0o444 == 0o444
    manifest = json.loads((place(run) / "manifest.json").read_text())
    assert "record.json" in manifest
    assert lineage.STATES[0] not in manifest


def parts_are_charged(first: Record, second: Record, third: Record) -> None:
    assert third.continues == second.run_id
    assert [p.run_id for p in third.parts] == [first.run_id, second.run_id]
    assert [p.step for p in third.parts] == [40, 60]
    for part, of in zip(third.parts, (first, second), strict=True):
        data = (place(of) / "record.json").read_bytes()
        assert part.record_sha256 == hashlib.sha256(data).hexdigest()
        assert (part.energy_j, part.duration_s) == (of.window_energy_j, of.duration_s)
    parts = (first, second, third)
    assert third.energy_j == pytest.approx(sum(r.window_energy_j or 0 for r in parts))
    assert third.total_duration_s == pytest.approx(sum(r.duration_s for r in parts))
    assert (third.spec.seed, third.spec.seed_origin) == (first.spec.seed, "harness")
    assert "training the tokenizer" in events(first)
    assert "training the tokenizer" not in events(second)


def parts_are_one_entry_and_shown(bench: Any, first: Record, second: Record, third: Record) -> None:
    runs, _ = board.load([(Path("runs/wikitext2"), "local")])
    (cell,) = board.build(runs, {"wikitext2": load_card("wikitext2")})
    (entry,) = cell.entries
    assert [r.run_id for r in entry.records] == [third.run_id]
    assert entry.attempts == 1
    assert entry.energies_j == [third.energy_j]
    shown = " ".join(bench("show", third.run_id).out.split())
    assert f"run {first.run_id}: " in shown
    assert "to step 40, --budget 40steps" in shown
    shown = " ".join(bench("show", first.run_id).out.split())
    assert f"continued by run {second.run_id} (budget) by run {third.run_id} (complete)" in shown


def upstream_is_named_and_not_charged(bench: Any, made: Record, tuned: Record) -> None:
    assert tuned.spec.checkpoint_sha256 == made.saved[1].sha256
    (cost,) = tuned.upstream
    assert (cost.run_id, cost.energy_j) == (made.run_id, made.energy_j)
    assert tuned.energy_j == tuned.window_energy_j
    assert "not counted" in " ".join(bench("show", tuned.run_id).out.split())
    shutil.copytree(place(made) / "weights", "mine")
    assert lineage.upstream(Path("mine")) == [cost], "a copy still tells"
    (Path("mine") / lineage.SIGNATURE).unlink()
    (unknown,) = lineage.upstream(Path("mine"))
    assert (unknown.run_id, unknown.energy_j) == (made.run_id, None)


def test_upstream_reaches_back_to_the_first_run(tmp_path: Path) -> None:
    unknown = cost(None, role="upstream", run_id="u" * 16)
    saved = [record.Saved(name="weights", file=lineage.WEIGHTS, sha256="0" * 64, bytes=1, step=2)]
    later = make_record(upstream=[unknown], saved=saved)
    said = dict(show.record_lines(later, Path(), carbon.asked(None)))
    assert said["upstream"] == f"run {'u' * 16}: energy unknown; not counted"
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text(json.dumps({"bench_run": later.run_id}))
    (tmp_path / "record.json").write_text(later.model_dump_json())
    assert [c.run_id for c in lineage.upstream(weights)] == [later.run_id, "u" * 16]


def test_limits_that_are_raised_are_said_to_change_the_schedule(bench: Any, folder: Path) -> None:
    run(bench, *TINY, "--save", "--set", "max_steps=5")
    (first,) = found()
    assert first.status == "complete"
    assert "is complete" in refused(bench, "--continue", first.run_id, "--data", "reviews", *FEW)
    on = ["--continue", first.run_id, "--data", "reviews", *FEW]
    older = {**first.software, "torch": "2.0.0"}
    path = place(first) / "record.json"
    path.write_text(first.model_copy(update={"software": older}).model_dump_json())
    run(bench, *on, "--set", "max_steps=9")
    second = found()[1]
    assert not {w.id for w in first.warnings} & {"parts-software", "schedule"}
    (said,) = [w.message for w in second.warnings if w.id == "parts-software"]
    assert f"torch 2.0.0 then, {second.software['torch']} now" in said
    assert second.spec.settings["max_steps"] == 9
    (said,) = [w.message for w in second.warnings if w.id == "schedule"]
    assert "was planned for 5 steps until step 5, and for 9 since" in said
    out = bench("run", *on, "--set", "max_steps=4").out
    assert "5 steps were made, and 4 are asked for" in " ".join(out.split())


def test_what_is_not_the_same_training_is_refused(bench: Any, folder: Path) -> None:
    run(bench, *TINY, "--save", "--budget", "3steps")
    (kept,) = found()
    on = ["--continue", kept.run_id, "--data", "reviews"]
    assert "is of task sst2, not cola" in refused(bench, *on, "--task", "cola")
    assert "is of model transformer-tiny" in refused(bench, *on, "--model", "transformer-small")
    assert "dropout can't change" in refused(bench, *on, "--set", "dropout=0.3")
    assert "no --seed" in refused(bench, *on, "--seed", 3)
    assert "leave out --continue" in refused(bench, *on, "--plan")
    assert "which task?" in refused(bench)
    assert "add --save" in refused(bench, *TINY, "--save-every", 3)
    write_reviews(folder / "others", train=180, scored=40)
    assert "learned from other data" in refused(
        bench, "--continue", kept.run_id, "--data", "others"
    )
    path = place(kept) / "record.json"
    text = path.read_text()
    path.write_text(text.replace(kept.code_sha256, "0" * 64))
    assert "bench's code was 000000000000, now" in refused(bench, *on)
    path.write_text(kept.model_copy(update={"saved": []}).model_dump_json())
    assert "kept no state" in refused(bench, *on)
    path.write_text(text)
    with (place(kept) / kept.saved[0].file).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\1")
    assert "is not what run" in refused(bench, *on)
    (place(kept) / kept.saved[0].file).unlink()
    assert "can't be read: No such file" in refused(bench, *on)
    assert len(found()) == 1


@pytest.mark.parametrize("who", ["the worker", "bench"])
def test_what_is_killed_goes_on_from_what_it_kept(bench: Any, folder: Path, who: str) -> None:
    long = [str(a) for a in TINY] + ["--set", "epochs=2000", "--save", "--save-every", "0.005"]
    process = start("run", *long)
    try:
        (begun,) = wait_for_files("runs/sst2/*/state-1.safetensors")
        victim = worker_of(process.pid) if who == "the worker" else process.pid
        os.kill(victim, signal.SIGKILL)
        process.wait(60)
    finally:
        process.kill()
        process.communicate()
    in_a_process("leaderboard")  # recovers it
    (first,) = found()
    assert first.status == ("failed" if who == "the worker" else "interrupted")
    assert begun.parent.name == first.run_id
    run(bench, "--continue", first.run_id, "--data", "reviews", "--budget", "2steps", *FEW)
    second = found()[1]
    assert second.parts[0].step == first.saved[0].step > 0
    assert len(list(place(first).glob("state-*"))) <= 2
    assert not list(place(first).glob(".*.partial"))


def worker_of(pid: int) -> int:
    import psutil

    found = psutil.Process(pid).children(recursive=True)
    (worker,) = [p for p in found if "bench.learn.worker" in p.cmdline()]
    return worker.pid


def wait_for_files(pattern: str) -> list[Path]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if files := list(Path().glob(pattern)):
            return files
        time.sleep(0.05)
    raise AssertionError(f"no {pattern}")


# The sum over parts


def cost(energy_j: float | None = 1000.0, **facts: Any) -> RunCost:
    known = {
        "role": "part", "run_id": "p" * 16, "record_sha256": None, "task": "sst2", "model": "m",
        "hardware": make_record().spec.hardware, "level": "M1", "coverage": "gpu",
        "energy_j": energy_j, "uncertainty_j": 50.0, "duration_s": 10.0,
    }  # fmt: skip
    return RunCost(**{**known, **facts})


def test_uncertainties_and_durations_of_parts_add_up() -> None:
    whole = make_record(energy_j=2000.0, charged_runs=[cost(), cost(500.0)])
    assert whole.energy_j == 3500.0
    assert whole.uncertainty_j == pytest.approx(200.0 + 100.0)
    assert whole.total_duration_s == 95.0 + 20.0
    assert whole.level == "M1"
    assert whole.coverage == "gpu"
    assert lineage.doubts(whole) == []


def test_a_part_whose_energy_is_missing_makes_the_sum_missing() -> None:
    whole = make_record(charged_runs=[cost(None)])
    assert whole.energy_j is None
    assert whole.uncertainty_j is None
    assert not whole.rankable
    assert board.why_not(whole, None) == f"without energy: run {'p' * 16} could not be read"


def test_parts_at_other_levels_coverages_and_hardware_are_said() -> None:
    estimated = cost(level="M0", coverage="cpu+dram", hardware="CPU old, 2 cores")
    whole = make_record(charged_runs=[estimated])
    assert (whole.level, whole.coverage) == ("M0", "nothing")
    said = {w.id: w for w in lineage.doubts(whole)}
    assert set(said) == {"parts-hardware", "parts-level", "parts-coverage"}
    assert [i for i, w in said.items() if not w.rankable] == ["parts-hardware"]
    assert "measured at M0, this one at M1" in said["parts-level"].message


def test_a_part_of_a_part_counts_its_own_window_alone(tmp_path: Path) -> None:
    middle = make_record(energy_j=700.0, charged_runs=[cost()], spec={"budget": "5steps"})
    (tmp_path / "record.json").write_text(middle.model_dump_json())
    part = lineage.part(middle, tmp_path)
    assert (part.energy_j, part.duration_s, part.role) == (700.0, 95.0, "part")


def test_a_part_stays_an_entry_until_what_goes_on_with_it_ends_well() -> None:
    first = make_run("local", seed=1)
    on = {"seed": 1, "charged_runs": [cost(run_id=first.record.run_id)]}
    failed, whole = make_run("local", status="failed", **on), make_run("local", **on)
    kept = {r.record.run_id for r in board._without_parts([first, failed])}
    assert first.record.run_id in kept
    kept = {r.record.run_id for r in board._without_parts([first, failed, whole])}
    assert kept == {failed.record.run_id, whole.record.run_id}


def test_what_was_submitted_stays_beside_a_local_continuation() -> None:
    first = make_run("results", seed=1)
    later = [cost(run_id=first.record.run_id)]
    local = make_run("local", seed=1, charged_runs=later)
    assert board._without_parts([first, local]) == [first, local]
    submitted = make_run("results", seed=1, charged_runs=later)
    assert board._without_parts([first, submitted]) == [submitted]


def test_an_older_record_is_read_and_keeps_its_entry() -> None:
    old = make_record()
    facts = json.loads(old.model_dump_json())
    for name in ("saved", "charged_runs", "upstream"):
        facts.pop(name)
    again = Record.model_validate(facts)
    assert again.entry_key() == old.entry_key()
    assert again.continues is None


def test_a_band_is_that_of_all() -> None:
    part = cost(1000.0, level="M0", uncertainty_j=400.0, band_j=(600.0, 1400.0))
    whole = make_record(energy_j=500.0, level="M0", charged_runs=[part])
    assert make_domain(500.0, "M0").band_j == (300.0, 700.0)
    assert lineage.band_j(whole) == (900.0, 2100.0)
