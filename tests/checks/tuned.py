"""An entry whose settings a sweep has chosen, with its journal; no trial is trained."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import submission
from bench.checks import tuning as packed
from bench.record import Record
from bench.run import Request
from bench.study import ledger, samplers, trials, tuning
from bench.study.job import Job
from bench.study.ledger import Ledger
from bench.study.space import Space, parse
from tests.checks import bundles

NAME, SPACE, SEED = "sst2-like", "learning_rate=1e-4..1e-2:log,epochs=1|2|3", 7
ENERGY_J = 36_000.0
ASKED = {
    "task": "toy", "model": "transformer-small", "recipe": "baseline", "set": ["batch_size=64"],
    "space": SPACE, "sampler": "random", "seed": SEED, "prune": "no",
}  # fmt: skip
Event = dict[str, Any]
Lines = Callable[[list[Event]], list[Event]]


def _space() -> Space:
    return parse(SPACE, {"learning_rate": "float", "epochs": "float"}, "baseline")


def _job(number: int, params: dict[str, str]) -> Job:
    settings = {"batch_size": "64", **params}
    request = Request("toy", "transformer-small", "baseline", settings=settings, trial=NAME)
    return Job(f"trial {number}", 1, request, {"params": params, "proposal": number - 1})


def events(count: int = 6) -> list[Event]:
    """Of a journal: trials of which the second failed and was paid for, and the last is the best;
    before the good submission's first run."""
    propose = samplers.named("random", _space(), SEED)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "sweeps" / NAME
        with ledger.opened(folder, ASKED) as book:
            for number in range(1, count + 1):
                job = _job(number, propose(number - 1, []) or {})
                book.plan([job])
                _made(book, job, number)
        lines = (folder / ledger.JOURNAL).read_text().splitlines()
    day = datetime.fromtimestamp(bundles.EPOCH_NS / bundles.NS, UTC)
    return [{**json.loads(line), "at": day.isoformat(timespec="milliseconds")} for line in lines]


def _made(book: Ledger, job: Job, number: int) -> None:
    failed = number == 2
    run = f"toy/{number:016x}"
    attempt = book.begin(job)
    book.end(attempt, "failed" if failed else "complete", failure="diverged" if failed else None,
             run=run)  # fmt: skip
    book.note(
        took=attempt.name, trial=job.cell, metric="accuracy",
        curve=[[79, 158, 0.7], [158, 158, 0.8 + number / 100]], energy_j=ENERGY_J + number,
        uncertainty_j=1_800.0, band_j=None, level="M1", coverage="gpu", duration_s=90.0 + number,
        charged_j={},
    )  # fmt: skip


def journal(lines: Sequence[Event]) -> bytes:
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()


def plans(text: bytes, settings: dict[str, Any] | None = None) -> list[bundles.Plan]:
    """Runs of the settings that the journal's best trial has."""
    book = ledger.of_lines(Path(NAME), text.split(b"\n"))
    found = trials.trials(book)
    best = tuning.best(found)
    assert best is not None
    facts = tuning.tuning(book, found, trials.taken(book), best, text)
    chosen = {name: float(value) for name, value in best.params.items()}
    every = {"batch_size": 64, "max_length": 128, **chosen, **(settings or {})}
    several = bundles.plans()
    for plan in several:
        plan.spec, plan.start = {"settings": every}, {"tuning": facts}
    return several


def entry(
    root: Path,
    change: Lines = lambda lines: lines,
    settings: dict[str, Any] | None = None,
    record: Callable[[Record], Record] = lambda record: record,
) -> Path:
    """The entry with the journal as `change` has made it, and all that follows from that."""
    text = journal(change(events()))
    several = plans(text, settings)
    for plan in several:
        plan.record = record
    folder = bundles.write(root, several)
    (folder / packed.NAME).write_bytes(text)
    submission.write(submission.read(folder), folder)
    return folder
