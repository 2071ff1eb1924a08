"""What a person sees while many runs are made: a line a run, and the live line of the one that is
being made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from bench import live
from bench.child import Progress
from bench.errors import BenchError
from bench.rank import notation
from bench.rank.render import plain
from bench.record import LOG
from bench.run import last_words
from bench.study.drive import Watch
from bench.study.job import Job
from bench.study.ledger import MOST_ATTEMPTS, Attempt, Ledger
from bench.study.spending import Spending


class Lines(Watch):
    """Prints on `stream`; keeps the spending."""

    def __init__(self, ledger: Ledger, g_per_kwh: float, stream: TextIO | None = None) -> None:
        self._ledger = ledger
        self._stream = stream or sys.stderr
        self._line = live.Line(g_per_kwh, self._stream)
        self._waits: str | None = None
        self.spending = Spending(ledger)

    def _show(self, progress: Progress, lead: str) -> bool:
        """The live line of an attempt. False while it waits, which is said once."""
        if progress.phase == "waits":
            if progress.text != self._waits:
                self._waits = progress.text
                self._say(progress.text)
            return False
        self._line.lead = lead
        self._line(progress)
        return True

    def _say(self, text: str) -> None:
        self._line.clear()
        print(text, file=self._stream, flush=True)


class Screen(Lines):
    """Of a study."""

    def __init__(
        self, ledger: Ledger, jobs: Sequence[Job], g_per_kwh: float, stream: TextIO | None = None
    ) -> None:
        super().__init__(ledger, g_per_kwh, stream)
        self._jobs = jobs

    def begun(self, attempt: Attempt, found: bool) -> None:
        job = attempt.job
        said = [f"run {self._place(job)} of {len(self._jobs)}: {job.name}"]
        if found:
            said.append("goes on since its driver ended")
        elif tries := self._ledger.tries(job):
            said.append(f"attempt {tries + 1} of {MOST_ATTEMPTS}")
        self._say(" · ".join([*said, *self._ahead()]))

    def _place(self, job: Job) -> int:
        return sum(self._ledger.done(j) for j in self._jobs if j.id != job.id) + 1

    def _ahead(self) -> list[str]:
        """So far, and left."""
        if not self._ledger.ended():
            return []
        left = self.spending.left(j for j in self._jobs if not self._ledger.done(j))
        ahead = [] if left is None else [f"left about {left}"]
        return [f"so far {self.spending.so_far}", *ahead]

    def running(self, attempt: Attempt, progress: Progress) -> str | None:
        self._show(progress, f"{self._place(attempt.job)}/{len(self._jobs)}")
        return None

    def ended(self, attempt: Attempt) -> None:
        taken = self.spending.ended(attempt)
        if attempt.good:
            self._say(f"  {_score(attempt)}{taken}")
            return
        self._say(f"  {attempt.status}: {plain(attempt.told or attempt.failure or '')}")
        if attempt.told:
            return
        self._say(f"  {_last_words(attempt)}")
        if self._ledger.given_up(attempt.job):
            self._say(f"  {MOST_ATTEMPTS} attempts failed: it is given up")


def _last_words(attempt: Attempt) -> str:
    """The end of the log that says most, and where it lies."""
    logs = [attempt.log] if attempt.folder is None else [attempt.folder / LOG, attempt.log]
    for log in logs:
        if said := last_words(log):
            return f"{plain(said)}  ({log})"
    return f"its log: {attempt.log}"


def _score(attempt: Attempt) -> str:
    try:
        record = attempt.record()
    except BenchError:
        return ""
    if record is None or record.metric is None:
        return ""
    return f"{notation.named(record.metric.name, record.metric.value)}, "
