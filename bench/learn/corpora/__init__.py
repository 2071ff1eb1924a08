"""Embedded corpora, so that every task runs anywhere: one a file, written by its own code.

A module has `corpus() -> (train, scored)`, the same rows on every machine.
"""

from __future__ import annotations

import importlib
import pkgutil

from bench.errors import BenchError
from bench.learn.data import Rows


def names() -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> tuple[Rows, Rows]:
    """Train and scored rows of the corpus called `name`; BenchError when there is none."""
    if name not in names():
        raise BenchError(f"no embedded corpus is called '{name}'", ", ".join(names()))
    train, scored = importlib.import_module(f"{__name__}.{name}").corpus()
    return train, scored
