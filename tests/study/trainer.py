"""A place where trials are trained that takes no time: scores and joules are a function of the
settings, and a trial goes on, evaluation by evaluation, whenever it is looked at."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import record as records
from bench.child import Progress
from bench.study.ledger import Attempt
from tests.rank.records import make_record

STEPS = 40  # of a training
EVALUATIONS = 4  # the last one at its end
FULL_J = 3600.0


def accuracy(params: Mapping[str, str]) -> float:
    """The best learning rate is 1e-3."""
    return 0.9 - 0.1 * abs(math.log10(float(params["learning_rate"])) + 3)


class Trainer:
    """As `bench.study.executors.Executor`."""

    here = True

    def __init__(
        self,
        score: Callable[[Mapping[str, str]], float] = accuracy,
        fails: Callable[[Mapping[str, str]], bool] = lambda params: False,
        dies_at: str | None = None,
        slots: int = 1,
        metric: str = "accuracy",
        **facts: Any,
    ) -> None:
        self.slots = slots
        self.started: list[str] = []
        self.most = 0  # that ran at once
        self._score, self._fails, self._dies_at = score, fails, dies_at
        self._metric, self._facts = metric, facts
        self._done: dict[str, int] = {}  # evaluations
        self._ended: set[str] = set()

    def start(self, attempt: Attempt) -> None:
        if attempt.job.cell == self._dies_at:
            raise RuntimeError("the driver is gone")
        self.started.append(attempt.job.name)
        self._done[attempt.name] = 0
        self.most = max(self.most, len(self._done) - len(self._ended))
        said = [{"event": "began", "pid": 1, "host": "here"},
                {"event": "run", "folder": f"sst2/{_run_id(attempt)}"}]  # fmt: skip
        attempt.words.write_text("".join(json.dumps(line) + "\n" for line in said))
        self._folder(attempt).mkdir(parents=True)
        self._event(attempt, event="step", step=1, total_steps=STEPS)

    def lives(self, attempt: Attempt) -> bool:
        """Each look is one more evaluation, and one after the last is the end."""
        if attempt.name not in self._done or attempt.name in self._ended:
            return False
        params = attempt.job.about["params"]
        done = self._done[attempt.name] = self._done[attempt.name] + 1
        if self._fails(params):
            self._end(attempt, "failed", failure="the loss is nan at step 10")
        elif done > EVALUATIONS:
            self._end(attempt, "complete")
        else:
            step, value = STEPS * done // EVALUATIONS, self._score(params)
            value -= (1 - done / EVALUATIONS) * 0.1  # it learns
            self._event(
                attempt, event="eval", step=step, split="tune", metric=self._metric, value=value
            )
            energy_j = FULL_J * done / EVALUATIONS
            where = Progress("train", step=step, total_steps=STEPS, energy_j=energy_j)
            attempt.progress.write_text(json.dumps(asdict(where)))
            return True
        return False

    def stop(self, attempt: Attempt) -> None:
        if attempt.name in self._done:
            self._end(attempt, "interrupted", failure="interrupted by Ctrl-C")

    def _end(self, attempt: Attempt, status: str, **facts: Any) -> None:
        self._ended.add(attempt.name)
        share = min(self._done[attempt.name], EVALUATIONS) / EVALUATIONS
        request = attempt.job.request
        record = make_record(
            status=status, energy_j=FULL_J * share, duration_s=95.0 * share, accuracy=0.8,
            run_id=_run_id(attempt), settings=attempt.job.about["params"], trial=request.trial,
            tuning=request.tuning or None, **facts, **self._facts,
        )  # fmt: skip
        records.write(record, self._folder(attempt))

    def _folder(self, attempt: Attempt) -> Path:
        return attempt.root / "sst2" / _run_id(attempt)

    def _event(self, attempt: Attempt, **event: Any) -> None:
        with (self._folder(attempt) / "events.jsonl").open("a") as file:
            file.write(json.dumps(event) + "\n")


def _run_id(attempt: Attempt) -> str:
    return f"{attempt.job.id}{attempt.number:04d}"
