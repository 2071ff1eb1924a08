"""D: every number that a record states follows from the files beside it."""

from __future__ import annotations

from bench.checks import Found, Problem, rule
from bench.checks.bundle import RunFolder, Surroundings
from bench.units import significant


@rule(
    "D4", "duration", "A run lasted as long as its window.",
    needs=("record", "events", "trace", "derived"),
)  # fmt: skip
def duration(run: RunFolder, around: Surroundings) -> Found:
    stated, derived = run.record.duration_s, run.derived.duration_s
    if abs(stated - derived) > 1e-6:
        text = f"{significant(stated)} s stated, {significant(derived)} s between its events"
        yield Problem(text, {"stated_s": stated, "derived_s": derived})
