"""A place where attempts run at once, and leave what a test says they leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bench import record as records
from bench.study.ledger import Attempt
from tests.rank.records import make_record

Script = Callable[[Attempt], dict[str, Any] | str | None]
"""The record's facts of an attempt's run; a text: it fails before its run, and says so; None: it is
killed before its run and says nothing."""


class Executor:
    """As `bench.study.executors.Executor`; `lives` is false as soon as an attempt is started."""

    slots = 1
    here = True

    def __init__(self, script: Script) -> None:
        self._script = script
        self.started: list[str] = []  # names of jobs

    def start(self, attempt: Attempt) -> None:
        self.started.append(attempt.job.name)
        found = self._script(attempt)
        if found is None:
            return
        said: list[dict[str, Any]] = [{"event": "began", "pid": 1, "host": "here"}]
        if isinstance(found, str):
            said.append({"event": "ended", "status": "failed", "failure": found})
        else:
            record = make_record(**found)
            folder = attempt.root / "sst2" / record.run_id
            folder.mkdir(parents=True)
            records.write(record, folder)
            said.append({"event": "run", "folder": f"sst2/{record.run_id}"})
        attempt.words.write_text("".join(json.dumps(line) + "\n" for line in said))

    def lives(self, attempt: Attempt) -> bool:
        return False

    def stop(self, attempt: Attempt) -> None:
        raise AssertionError("nothing runs")
