"""Where a learning program finds its task and leaves its predictions, for one invocation."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench import metrics
from bench import record as records
from bench.cards import Card
from bench.child import Outcome
from bench.errors import BenchError
from bench.learn import data

if TYPE_CHECKING:
    from bench.learn.data import Resolved

_KEPT_BACK = {"BENCH_DATA", "BENCH_RUNS", "BENCH_TASKS"}
"""Variables that show the way to the labels."""


@contextmanager
def work_folder(card: Card, resolved: Resolved, root: Path) -> Iterator[Path]:
    """A folder that holds `task/`, as a learning program sees it; gone afterwards."""
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    folder = Path(tempfile.mkdtemp(prefix=".work-", dir=root)).absolute()
    try:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            data.write_task_folder(resolved, card, folder / "task")
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(work: Path, out: Path, given: Mapping[str, str]) -> dict[str, str]:
    """`given`, less what leads to the labels, with where the task is and predictions go."""
    kept = {k: v for k, v in given.items() if k not in _KEPT_BACK}
    return {**kept, "BENCH_TASK_DIR": str(work / "task"), "BENCH_OUT": str(out)}


def scored(
    card: Card,
    resolved: Resolved,
    out: Path,
    folder: Path,
    outcome: Outcome,
    objective: str = "",
) -> tuple[records.Metric | None, Outcome]:
    """The metric of the predictions in `out`, which become `predictions.parquet` of the run's
    folder. A run that did not end well has none; one without whole predictions has failed."""
    if outcome.status not in ("complete", "budget"):
        return None, outcome
    try:
        labels = resolved.scored.labels
        predictions = data.read_predictions(out, len(labels), card.kind, card.classes)
        predictions.write(folder / "predictions.parquet")
        facts = card.metrics.get(objective, card.metric)
        texts = resolved.scored.inputs
        return metrics.score(facts, labels, predictions.labels, resolved.parts, texts), outcome
    except (BenchError, OSError) as error:
        return None, Outcome("failed", str(error), outcome.code)


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _sweep(root: Path) -> None:
    """Remove the work folders that nobody holds any more."""
    for path in root.glob(".work-*/lock"):
        with path.open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(path.parent, ignore_errors=True)
