"""Bad submissions, each made from the good one by a function, and the one rule that refuses it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.checks import GROUPS
from bench.checks.bundle import Surroundings
from tests.checks import bundles

Made = Path | tuple[Path, Surroundings]


@dataclass(frozen=True)
class Bad:
    """`make` writes it below a folder; `warns`: the rule only warns of it."""

    rule: str
    what: str
    make: Callable[[Path], Made]
    warns: bool = False

    def written(self, root: Path) -> tuple[Path, Surroundings]:
        made = self.make(root)
        return made if isinstance(made, tuple) else (made, bundles.around())


_ALL: list[Bad] = []


def bad(
    rule: str, what: str, warns: bool = False
) -> Callable[[Callable[[Path], Made]], Callable[[Path], Made]]:
    def register(make: Callable[[Path], Made]) -> Callable[[Path], Made]:
        _ALL.append(Bad(rule, what, make, warns))
        return make

    return register


def everything() -> list[Bad]:
    """All of the corpus: `tests/checks/bad_<group>.py`, one module a group."""
    for group in GROUPS.values():
        importlib.import_module(f"tests.checks.bad_{group}")
    return list(_ALL)
