"""How much a training must have computed at least, and how fast and at what cost that can be done.

A floor has to be true of every honest run, so it counts less than was done: the products of the
attention blocks' four square matrices, of one token a row. What recipes may leave out is left out.
Attention itself, feed-forward layers, embeddings, heads, evaluation and teachers come on top.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.checks.bundle import RunFolder

BOOST = 1.1  # boards clock a little higher than their data sheet says
THRIFT = 3.0  # and do so much more with a joule where they clock low

FORMATS = {"bf16": "half", "fp16": "half", "tf32": "tf32", "quantise": "int8"}
"""Recipe -> the format that products may be in; float32 otherwise."""
HALF_BACKWARD = {"lora", "freeze", "quantise"}
"""Recipes that need no gradient of some weights."""
_OWN = {
    "baseline", "compile", "data-prune", "distill", "early-stop", "layer-drop", "length-warmup",
    "power-limit", "prune", "sparse-embedding", "token-budget", *FORMATS, *HALF_BACKWARD,
}  # fmt: skip
LIMITED = {"early-stop", "token-budget"}
"""Recipes by which a training ends before its epochs do."""


@dataclass(frozen=True)
class Peak:
    """Of one device: operations a second in the run's format, its watts, and its watts at rest."""

    flops: float
    power_w: float | None
    idle_w: float | None


def recipes_of(recipe: str) -> set[str] | None:
    """The recipes that are joined in one; None where one of them is not bench's own."""
    found = set(recipe.split("+"))
    return found if found <= _OWN else None


_NODES = re.compile(r"(\d{1,6}) nodes of (.*)", re.DOTALL)
_SEVERAL = re.compile(r"(\d{1,6}) x (.+)", re.DOTALL)


def named(hardware: str) -> Counter[str]:
    """Name -> number, of `2 nodes of 8 x NVIDIA H100`, `1 x A + 1 x B`, `1 x A; CPU C, 2 cores`."""
    times, found = 1, Counter[str]()
    if several := _NODES.fullmatch(hardware):
        times, hardware = int(several[1]), several[2]
        if ";" in hardware:
            times = 1
    for part in re.split(r"; | \+ ", hardware):
        if (one := _SEVERAL.fullmatch(part)) and one[2] != "unknown GPU":
            found[one[2]] += times * int(one[1])
    return found


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("hardware.toml").read_text(encoding="utf-8"))


def names() -> list[str]:
    """Of all accelerators that something is known of."""
    return [row["name"] for row in _table()["accelerator"]]


def accelerator(device: str) -> Mapping[str, Any] | None:
    """The row of a device by NVML's name: that with the longest beginning of it."""
    rows = [r for r in _table()["accelerator"] if device.startswith(r["name"])]
    return max(rows, key=lambda r: len(r["name"]), default=None)


def accelerators() -> list[str]:
    """Names of the rows, in the table's order."""
    return [r["name"] for r in _table()["accelerator"]]


def peak(device: str, recipes: set[str]) -> Peak | None:
    """Of an accelerator; None where nothing is known of it. Two of four weights may be zero."""
    row = accelerator(device)
    if row is None:
        return None
    return Peak(_flops(row, recipes), row["power_w"], row.get("idle_w"))


def processor(cores: int, recipes: set[str]) -> Peak:
    """Of all cores of any processor."""
    return Peak(cores * _flops(_table()["processor"], recipes), None, None)


def _flops(row: Mapping[str, Any], recipes: set[str]) -> float:
    formats = {FORMATS[r] for r in recipes & set(FORMATS)} or {"fp32"}
    fastest: float = max(row["flops"][f] for f in formats)
    return fastest * (2 if "prune" in recipes else 1)


@dataclass(frozen=True)
class Steps:
    """What a run's last `step` event says."""

    last: int
    total: int
    first: int  # made by earlier parts
    epoch: float

    @classmethod
    def of(cls, run: RunFolder) -> Steps | None:
        """None where there is none, or it is not whole."""
        told = [e for e in run.events if e["event"] == "step"]
        if not told:
            return None
        last = told[-1]
        step, total, first = (last.get(n) or 0 for n in ("step", "total_steps", "first_step"))
        epoch = last.get("epoch")
        if not all(type(n) is int and n >= 0 for n in (step, total, first)) or not step:
            return None
        if not isinstance(epoch, int | float) or not 0 < epoch < 1e9:
            return None
        return cls(step, total, first, float(epoch))

    @property
    def per_epoch(self) -> float:
        return self.last / self.epoch

    @property
    def epochs_here(self) -> float:
        return max(0, self.last - self.first) / self.per_epoch


def rows_read(run: RunFolder, steps: Steps) -> float:
    """Rows that a run has learned from, again in each epoch."""
    kept = run.derived.model_facts.get("rows_kept_share", 1.0)
    share = kept if isinstance(kept, int | float) and 0 <= kept <= 1 else 1.0
    return steps.epochs_here * run.record.spec.data.rows.get("train", 0) * share


def floor_flops(run: RunFolder, steps: Steps, recipes: set[str]) -> float | None:
    """The least that the training can have computed; None where the model does not say its shape.

    `2 N T` forward and as much for the gradients of the weights, where all of them learn: N is
    4 x width^2 of each layer that learns, T one token of each row that was read.
    """
    facts = run.derived.model_facts
    layers, width = facts.get("layers"), facts.get("width")
    if type(layers) is not int or type(width) is not int or min(layers, width) < 0:
        return None
    if "freeze" in recipes:
        frozen = facts.get("frozen_layers", layers)
        layers = max(0, layers - frozen) if type(frozen) is int and frozen >= 0 else 0
    weights = 4.0 * layers * width**2
    if "prune" in recipes:
        weights /= 16
    passes = 2 if recipes & HALF_BACKWARD else 4
    return passes * weights * rows_read(run, steps)


def as_asked(run: RunFolder, steps: Steps, recipes: set[str]) -> bool:
    """Whether the number of steps is that of the epochs in the settings, or of what ends a training
    before."""
    settings = run.record.spec.settings
    epochs, most = settings.get("epochs"), settings.get("max_steps")
    if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not 0 < epochs < 1e9:
        return False
    planned = max(1, round(epochs * steps.per_epoch))
    if isinstance(most, int) and most > 0:
        planned = min(planned, most)
    if settings.get("max_tokens") or recipes & LIMITED:
        return steps.total <= planned + 1
    return abs(steps.total - planned) <= 1
