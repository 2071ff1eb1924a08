"""How published models were trained: the shape of a batch, and the whole training."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import unknown_name
from bench.footprint.published import document
from bench.footprint.quantity import Quantity, given


@dataclass(frozen=True)
class Workload:
    """What was published of one training; None where it was not."""

    key: str
    models: tuple[str, ...]
    task: str
    source: str
    note: str
    batch: int | None = None  # sequences a step
    length: int | None = None  # tokens of each
    tokens_a_step: int | None = None  # where batches are counted so, of both sides
    stages: tuple[tuple[int, int, int], ...] = ()  # steps, sequences a step, tokens of each
    own_steps: int | None = None
    own_tokens: float | None = None
    parameters: float | None = None
    flops: float | None = None
    row: str | None = None  # of the study's table 3
    device: str | None = None

    @property
    def steps(self) -> Quantity | None:
        count = sum(s for s, _, _ in self.stages) or self.own_steps
        return given("steps", count, "", self.source) if count else None

    @property
    def tokens(self) -> Quantity | None:
        """That the whole training learned from."""
        count = sum(s * b * n for s, b, n in self.stages) or self.own_tokens
        if not count and self.own_steps and self.tokens_a_step:
            count = self.own_steps * self.tokens_a_step
        return given("tokens", count, "", self.source) if count else None

    @property
    def as_run(self) -> Mapping[str, Any] | None:
        """The row of the study's table 3: power, hours, devices."""
        rows = [
            row
            for row in document()["table3"]
            if row["model"] == self.row and row["device"] == self.device
        ]
        return rows[0] if rows else None

    def settings(self, family: str) -> dict[str, str]:
        """The shape of a batch as a recipe's settings; of another family of tasks there is none."""
        if family == "translation":
            return {"batch_tokens": str(self.tokens_a_step)} if self.tokens_a_step else {}
        if family != "language-modelling" or not (self.batch and self.length):
            return {}
        return {"batch_size": str(self.batch), "max_length": str(self.length)}


@cache
def workloads() -> tuple[Workload, ...]:
    text = Path(__file__).with_name("workloads.toml").read_text(encoding="utf-8")
    return tuple(_workload(facts) for facts in tomllib.loads(text)["workloads"])


def _workload(facts: dict[str, Any]) -> Workload:
    facts["models"] = tuple(facts["models"])
    facts["stages"] = tuple(tuple(stage) for stage in facts.pop("stages", ()))
    named = {"own_steps": facts.pop("steps", None), "own_tokens": facts.pop("tokens", None)}
    return Workload(**facts, **named)


def of_model(model: str) -> Workload | None:
    """How a model of this size was published; None where it was not, or is not listed."""
    return next((w for w in workloads() if model in w.models), None)


def named(key: str) -> Workload:
    """By its key; UsageError with near names."""
    found = {w.key: w for w in workloads()}
    if key in found:
        return found[key]
    raise unknown_name("published training", key, sorted(found), "bench/docs/extrapolate.md")
