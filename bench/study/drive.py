"""Has the jobs of a ledger made: starts attempts, waits for them, writes down how they ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bench import measure
from bench import record as records
from bench.child import Progress
from bench.errors import BenchError
from bench.interrupts import Interrupted, interrupts_raise
from bench.record import Status
from bench.study.attempt import failure_of, progress, words
from bench.study.executors import Executor
from bench.study.job import Job
from bench.study.ledger import GOOD, Attempt, Ledger

POLL_S = 0.5
SAMPLER_S = 10.0  # a sampler ends by itself when its parent is gone
PATIENCE_S = 60.0  # what was asked to end has this long, before it is left to itself


class Watch:
    """Who looks on; each method may do nothing."""

    def begun(self, attempt: Attempt, found: bool) -> None:
        """It was started; or `found`, from a driver that died."""

    def running(self, attempt: Attempt, progress: Progress) -> str | None:
        """Where it is. A text ends it: why it was told to (`Attempt.told`)."""
        return None

    def ended(self, attempt: Attempt) -> None:
        """How it ended is known and written down."""


def drive(
    ledger: Ledger,
    executor: Executor,
    next_job: Callable[[], Job | None],
    watch: Watch | None = None,
) -> str | None:
    """Have the planned jobs made that `next_job` names, as many at once as the executor has slots,
    until it names none while nothing runs. Attempts that a driver left behind come first.

    None at the end; what interrupted it, if something did: what ran was asked to end, and its end
    is in the ledger.
    """
    driven = _Drive(ledger, executor, watch or Watch())
    try:
        with interrupts_raise():
            driven.find()
            while driven.fill(next_job) or driven.going:
                driven.look()
                if driven.going:
                    time.sleep(POLL_S)
    except Interrupted as interrupt:
        driven.end(f"interrupted by {interrupt}")
        return str(interrupt)
    except BaseException:  # a defect, a full disk: what runs would be alone
        driven.end("its driver failed")
        raise
    return None


class _Drive:
    """The attempts that go on."""

    def __init__(self, ledger: Ledger, executor: Executor, watch: Watch) -> None:
        self._ledger, self._executor, self._watch = ledger, executor, watch
        self.going: dict[str, Attempt] = {}
        self._told: dict[str, str] = {}

    def find(self) -> None:
        """Take up the attempts that nobody knows the end of."""
        for attempt in self._ledger.open_attempts():
            if self._executor.lives(attempt):
                self.going[attempt.name] = attempt
                self._watch.begun(attempt, found=True)
            else:
                self._settle(attempt)

    def fill(self, next_job: Callable[[], Job | None]) -> bool:
        """Start what there is room for; whether something was started."""
        started = False
        while len(self.going) < self._executor.slots and (job := next_job()):
            attempt = self._ledger.begin(job)
            self.going[attempt.name] = attempt
            self._watch.begun(attempt, found=False)
            self._executor.start(attempt)
            started = True
        return started

    def look(self) -> None:
        for attempt in list(self.going.values()):
            if not self._executor.lives(attempt):
                self._settle(attempt)
            elif where := progress(attempt):
                why = self._watch.running(attempt, where)
                if why and attempt.name not in self._told:
                    self._tell(attempt, why)

    def end(self, why: str) -> None:
        """Ask everything to end and wait for that, as long as it is worth it."""
        for attempt in self.going.values():
            if attempt.name not in self._told:
                self._tell(attempt, why)
        patient_until_s = time.monotonic() + PATIENCE_S
        self.look()
        while self.going and time.monotonic() < patient_until_s:
            time.sleep(POLL_S)
            self.look()

    def _tell(self, attempt: Attempt, why: str) -> None:
        self._told[attempt.name] = why
        self._executor.stop(attempt)

    def _settle(self, attempt: Attempt) -> None:
        """Write down how it ended."""
        self.going.pop(attempt.name, None)
        status, failure, run = _outcome(attempt)
        told = None if status in GOOD else self._told.pop(attempt.name, None)
        ended = self._ledger.end(attempt, status, failure=failure, run=run, told=told)
        attempt.progress.unlink(missing_ok=True)
        self._watch.ended(ended)


def _outcome(attempt: Attempt) -> tuple[Status, str | None, str | None]:
    """Status, failure and run of an attempt that lives no more, with what its executor knows."""
    status, failure, run = _by_its_files(attempt)
    killed = words(attempt).get("killed")
    if killed is None or status in GOOD:
        return status, failure, run
    return killed["status"] or status, f"{killed['why']}; {failure}", run


def _by_its_files(attempt: Attempt) -> tuple[Status, str | None, str | None]:
    """By its record, else by its words, else by its log."""
    said = words(attempt)
    run: str | None = said.get("run", {}).get("folder")
    told = said.get("ended")
    if run is not None:
        folder = attempt.root / run
        _finish(folder)
        if records.is_written(folder):
            try:
                record = records.read(folder)
            except BenchError as error:
                return "failed", error.message, run
            return record.status, record.failure, run
    if told is not None:
        return told["status"], told["failure"], run
    return "interrupted", failure_of(attempt, "it was killed before its run had begun"), run


def _finish(folder: Path) -> None:
    """Finish a run whose process was killed, as soon as its sampler has ended, too."""
    patient_until_s = time.monotonic() + SAMPLER_S
    while True:
        for _ in measure.recover_run(folder):
            pass
        started = (folder / "start.json").exists()
        if records.is_written(folder) or not started or time.monotonic() > patient_until_s:
            return
        time.sleep(POLL_S)
