"""Which of the planned jobs is made next."""

from __future__ import annotations

from collections.abc import Sequence

from bench.study.job import Job
from bench.study.ledger import Ledger
from bench.study.spending import Limit, Spending


class FirstWanted:
    """Which job is next: the first that is wanted, less those whose run failed by itself since this
    command began. One that was killed is made again at once."""

    def __init__(
        self, book: Ledger, jobs: Sequence[Job], spending: Spending, limit: Limit | None
    ) -> None:
        self._book, self._jobs, self._spending, self._limit = book, jobs, spending, limit
        self._before = {job.id: len(book.attempts.get(job.id, ())) for job in jobs}
        self.over_budget = False

    def __call__(self) -> Job | None:
        job = next((j for j in self._jobs if self._book.wanted(j) and not self._failed(j)), None)
        if job is None or self._limit is None:
            return job
        going = [attempt.job for attempt in self._book.open_attempts()]
        self.over_budget = self._limit.reached(self._spending, job, going)
        return None if self.over_budget else job

    def _failed(self, job: Job) -> bool:
        since = self._book.attempts.get(job.id, [])[self._before[job.id] :]
        return any(attempt.status == "failed" for attempt in since)
