"""The process that makes one run of a ledger: `python -m bench.study.attempt LEDGER JOB NUMBER`.

It says what it does in files of its own, so that it needs nobody to listen: who drives the ledger
may die meanwhile, and whoever drives it next reads what became of it. It holds the file of its
words (flock) from before its start until its end, by a descriptor that it is given.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import reference, turn
from bench import run as running
from bench.child import Progress, with_hint
from bench.errors import BenchError
from bench.record import Record
from bench.study import ledger
from bench.study.ledger import Attempt
from bench.workfolder import work_folder

EVERY_S = 0.5  # how often its progress is written


def main(arguments: list[str]) -> int:
    """The exit code: as of `bench run`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a script's background
    folder, job_id, number = arguments
    book = ledger.read(Path(folder))
    attempt = Attempt(book.jobs[job_id], int(number), book.folder)
    says = _Words(attempt)
    says.event("began", pid=os.getpid(), host=socket.gethostname())
    try:
        record = _make(attempt, says)
    except BenchError as error:
        says.event("ended", status="failed", failure=with_hint(error.message, error.hint))
        return error.exit_code
    except KeyboardInterrupt:  # before its window
        says.event("ended", status="interrupted", failure="interrupted by Ctrl-C")
        return 130
    except Exception as error:  # a defect: its trace is in the log
        says.event("ended", status="failed", failure=f"{type(error).__name__}: {error}")
        raise
    says.event("ended", status=record.status, failure=record.failure)
    return {"failed": 1, "interrupted": 130}.get(record.status, 0)


def _make(attempt: Attempt, says: _Words) -> Record:
    """The run, when it is this machine's turn: nothing is prepared while another is metered."""
    root = attempt.root
    with turn.taken(tell=says.waits):
        plan = running.prepare(attempt.job.request)
        (seed,) = running.seeds(1, None)
        references = reference.current(plan.hardware, plan.device)
        with work_folder(plan.card, plan.resolved, root) as work:
            record, _, _ = running.run(
                plan, work, root, seed, references=references,
                on_folder=lambda folder: says.event("run", folder=str(folder.relative_to(root))),
                on_progress=says.progress,
            )  # fmt: skip
    return record


class _Words:
    """What an attempt says, for whoever looks."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._next_s = 0.0

    def event(self, event: str, **facts: Any) -> None:
        with self._attempt.words.open("ab", buffering=0) as file:
            file.write(json.dumps({"event": event, **facts}).encode() + b"\n")
            os.fsync(file)

    def waits(self, text: str) -> None:
        print(text, flush=True)  # into the log
        self._write(Progress(phase="waits", text=text))

    def progress(self, progress: Progress) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + EVERY_S
            self._write(progress)

    def _write(self, progress: Progress) -> None:
        path = self._attempt.progress
        scratch = path.with_suffix(".partial")
        try:
            scratch.write_text(json.dumps(asdict(progress)), encoding="utf-8")
            scratch.replace(path)
        except OSError:  # a full disk: nobody sees it, and it goes on
            return


def words(attempt: Attempt) -> dict[str, dict[str, Any]]:
    """What an attempt has said so far, by event: began (pid, host), run (folder), ended (status,
    failure); and killed (why; status, if that says it better), which its executor has added."""
    said: dict[str, dict[str, Any]] = {}
    if attempt.words.exists():
        for line in attempt.words.read_bytes().split(b"\n"):
            try:
                event = json.loads(line)
                said[event["event"]] = event
            except (ValueError, KeyError, TypeError):
                continue  # torn: it did not happen
    return said


def progress(attempt: Attempt) -> Progress | None:
    """Where it is, by what it last wrote."""
    try:
        facts = json.loads(attempt.progress.read_bytes())
        for name in ("score", "train_started"):
            facts[name] = facts[name] and tuple(facts[name])
        return Progress(**facts)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def failure_of(attempt: Attempt, fallback: str) -> str:
    """The last line of its log: why it died without a word."""
    said = running.last_words(attempt.log)
    return f"{fallback}: {said[:300]}" if said else fallback


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
