"""Bad submissions for H, integrity."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet

from bench import record as records
from bench import submission
from bench.checks.bundle import Surroundings
from tests.checks import bundles
from tests.checks.bad_structure import (
    GOOD_WEIGHTS,
    changed,
    edited,
    first_run,
    with_log,
    with_weights,
    written,
)
from tests.checks.corpus import bad

# --- H1 to H3: the manifest


@bad("H1", "a log that was changed afterwards")
def changed_log(root: Path) -> Path:
    folder = with_log(root)
    (first_run(folder) / "log.txt").write_text("all went well\n")
    return folder


@bad("H1", "an entry that was retitled afterwards")
def retitled(root: Path) -> Path:
    folder = written(root)
    edited(folder / submission.NAME, lambda entry: entry.update(title="The best one"))
    return folder


@bad("H2", "a log that no manifest has")
def unlisted_log(root: Path) -> Path:
    return changed(root, lambda run: (run / "log.txt").write_text("") and None)


@bad("H3", "a log that is gone")
def lost_log(root: Path) -> Path:
    folder = with_log(root)
    (first_run(folder) / "log.txt").unlink()
    return folder


@bad("H3", "a manifest that leads elsewhere")
def elsewhere(root: Path) -> Path:
    folder = written(root)
    path = folder / submission.MANIFEST
    ways = dict.fromkeys(["../../../etc/passwd", "/etc/passwd", "a\x00b", "\u202e"], "0" * 64)
    edited(path, lambda names: names.update(ways))
    return folder


# --- H4 id


@bad("H4", "a run that says it was another one")
def other_id(root: Path) -> Path:
    folder = written(root)
    run = first_run(folder)
    edited(run / "record.json", lambda record: record.update(nonce="f" * 16))
    bundles.reseal(folder)
    return folder


@bad("H4", "a run in the folder of another one")
def other_folder(root: Path) -> Path:
    plans = bundles.plans(2)
    plans[0].status = "failed"
    folder = bundles.write(root, plans)
    records_of = {path.parent: records.read(path.parent) for path in folder.glob("*/record.json")}
    failed = next(run for run, record in records_of.items() if record.status == "failed")
    failed.rename(folder / ("0" * 16))
    entry = submission.read(folder)
    here = sorted(path.parent.name for path in folder.glob("*/record.json"))
    submission.write(entry.model_copy(update={"runs": here}), folder)
    return folder


# --- H5 events


@bad("H5", "events of a run that was asked something else")
def other_events(root: Path) -> Path:
    plans = bundles.plans(1)

    def swap(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**e, "spec_sha256": "e" * 64} if "spec_sha256" in e else e for e in events]

    plans[0].events = swap
    return bundles.write(root, plans)


# --- H6 weights


@bad("H6", "weights of another training")
def other_weights(root: Path) -> Path:
    folder = with_weights(root, GOOD_WEIGHTS)
    path = first_run(folder) / "weights" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\x00\x40")
    submission.write(submission.read(folder), folder)
    return folder


@bad("H6", "weights that the run did not keep")
def unsaid_weights(root: Path) -> Path:
    folder = written(root)
    path = first_run(folder) / "weights" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(GOOD_WEIGHTS)
    submission.write(submission.read(folder), folder)
    return folder


# --- H7 runs


@bad("H7", "a run that lies there and is not named")
def unnamed(root: Path) -> Path:
    folder = bundles.write(root, bundles.plans(2))
    entry = submission.read(folder)
    submission.write(entry.model_copy(update={"runs": entry.runs[1:]}), folder)
    return folder


@bad("H7", "a run that is named and does not lie there")
def gone(root: Path) -> Path:
    folder = bundles.write(root, bundles.plans(2))
    first = first_run(folder)
    shutil.rmtree(first)
    entry = submission.read(folder)
    left = [attempt for attempt in entry.attempts if attempt.run_id != first.name]
    submission.write(entry.model_copy(update={"attempts": left}), folder)
    return folder


@bad("H7", "an entry in the folder of another task")
def other_task(root: Path) -> Path:
    folder = written(root)
    (root / "sst2").mkdir()
    return folder.rename(root / "sst2" / folder.name)


# --- H8 copies


@bad("H8", "one nonce for two runs")
def one_nonce(root: Path) -> Path:
    plans = bundles.plans(2)
    for plan in plans[:2]:
        plan.start = {"nonce": "a" * 16, "run_id": _id_of(plan, "a" * 16)}
    return bundles.write(root, plans)


def _id_of(plan: bundles.Plan, nonce: str) -> str:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp((bundles.EPOCH_NS + bundles.times(plan)[0]) / bundles.NS, UTC)
    started_at = moment.isoformat(timespec="milliseconds")
    return records.run_id(bundles.spec_of(plan), started_at, nonce)


@bad("H8", "one course of power for two runs, at another hour")
def one_trace(root: Path) -> Path:
    plans = bundles.plans()
    seed, model = plans[0].seed, plans[0]
    plans[1].window_s, plans[1].load_w = model.window_s, model.load_w
    made = bundles.trace_of

    def as_first(trace: Any) -> Any:
        own = plans[1].seed
        plans[1].seed = seed
        try:
            return made(plans[1])
        finally:
            plans[1].seed = own

    plans[1].trace = as_first
    return bundles.write(root, plans)


@bad("H8", "one learning for two seeds")
def one_learning(root: Path) -> Path:
    plans = bundles.plans()
    plans[1].wrong = plans[0].wrong
    losses = [e["loss"] for e in bundles.events_of(plans[0]) if "loss" in e]

    def as_first(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        left = iter(losses)
        return [{**e, "loss": next(left)} if "loss" in e else e for e in events]

    plans[1].events = as_first
    return bundles.write(root, plans)


@bad("H8", "a trace that was submitted before, by somebody else")
def before(root: Path) -> tuple[Path, Surroundings]:
    plans = bundles.plans()
    theirs = bundles.write(root / "results", plans, name="theirs")
    for plan in plans:
        plan.spec = {"recipe": "freeze"}
    mine = bundles.write(root / "results", plans, name="mine")
    others = {path.parent.name: path.parent for path in theirs.glob("*/record.json")}
    around = bundles.around(others=others, entries={"toy/theirs": theirs})
    return mine, around


@bad("H8", "predictions that were submitted before, by somebody else")
def others_predictions(root: Path) -> tuple[Path, Surroundings]:
    plans = bundles.plans(6)
    theirs = bundles.write(root / "results", plans[3:], name="theirs")
    plans[0].wrong = plans[3].wrong
    mine = bundles.write(root / "results", plans[:3], name="mine")
    others = {path.parent.name: path.parent for path in theirs.glob("*/record.json")}
    return mine, bundles.around(others=others, entries={"toy/theirs": theirs})


def _beside(mine: Path, theirs: Path) -> tuple[Path, Surroundings]:
    others = {path.parent.name: path.parent for path in theirs.glob("*/record.json")}
    return mine, bundles.around(others=others, entries={"toy/theirs": theirs})


@bad("H8", "a run of somebody else's with less power and other answers")
def scaled_down(root: Path) -> tuple[Path, Surroundings]:
    plans = bundles.plans()
    theirs = bundles.write(root / "results", plans, name="theirs")
    for plan in plans:
        plan.spec, plan.load_w, plan.wrong = {"recipe": "freeze"}, 0.9 * plan.load_w, plan.wrong[1:]
    return _beside(bundles.write(root / "results", plans, name="mine"), theirs)


@bad("H8", "answers of somebody else's, in a file of other bytes")
def answered_before(root: Path) -> tuple[Path, Surroundings]:
    plans = bundles.plans(6)
    theirs = bundles.write(root / "results", plans[3:], name="theirs")
    plans[0].wrong = plans[3].wrong
    mine = bundles.write(root / "results", plans[:3], name="mine")
    for path in mine.glob("*/predictions.parquet"):
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(path), path, compression="snappy")
    bundles.reseal(mine)
    return _beside(mine, theirs)
