"""Logs of other tools, read for what they tell. One file each, holding one function `read`; the
file's name, with `-` for each `_`, is the format's.

`read` takes paths and, by keyword alone, the options that its format has, and answers with one
`Imported` for each measurement. What a log does not tell is not made up: a log of totals gives no
readings, and where it can't be told how something was measured, the lower level is taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import registry
from bench.errors import BenchError, UsageError
from bench.power.trace import Trace
from bench.record import Warn, file_sha256

PACKAGE, GROUP = "bench.power.imports", "bench.imports"
MOST_BYTES = 1 << 28  # of a file

GAINS = {"gpu": 0.1, "cpu": 0.1, "dram": 0.2, "node": 0.1}
"""Relative expanded uncertainty (k = 2) of a meter that states none, as for bench's own."""


@dataclass(frozen=True)
class Part:
    """What a log says in sum of a stretch of time; `energy_j` has the domains that it tells."""

    name: str
    start_ns: int
    stop_ns: int
    energy_j: dict[str, float]


@dataclass(frozen=True)
class Imported:
    """One measurement. Times are ns since 1970; the window is from `start_ns` to `stop_ns`."""

    trace: Trace  # of totals: its domains, and not a reading
    start_ns: int
    stop_ns: int
    parts: list[Part] = field(default_factory=list)  # of totals: together they are the window
    name: str = ""  # what tells it from others in the same files
    missing: dict[str, str] = field(default_factory=dict)  # domain -> why the log has no energy
    doubts: list[Warn] = field(default_factory=list)
    settled: frozenset[str] = frozenset()  # warnings of the trace that are none here
    machine: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    region: str | None = None
    pue: str | None = None
    stated: dict[str, Any] = field(default_factory=dict)  # what the log says in sum, as it says it


def names() -> list[str]:
    """The formats, sorted; none of them is imported."""
    return registry.names(PACKAGE, GROUP)


def read(name: str, paths: Sequence[Path], asked: Mapping[str, Any]) -> list[Imported]:
    """What the files hold, by the format of that name; UsageError for an option that it has not,
    and for two files that are one."""
    module = registry.load(PACKAGE, GROUP, name, "format", "bench import --help")
    known = _options(module)
    for option in asked:
        if option not in known:
            takes = ", ".join(map(_flag, known)) or "no options of its own"
            raise UsageError(f"{_flag(option)} is not of {name}", f"it takes {takes}")
    _all_different(paths)
    found: list[Imported] = module.read(paths, **asked)
    return found


def text_of(path: Path) -> str:
    """A file's text; UsageError when it is none, BenchError when it is too long to be a log."""
    _check(path)
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _check(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"{path} is no file", "give the files of the log, not their folder")
    if path.stat().st_size > MOST_BYTES:
        raise BenchError(f"{path} has more than {MOST_BYTES >> 20} MB", "cut it to the run")


def _options(module: ModuleType) -> list[str]:
    """The keywords that its `read` has."""
    parameters = inspect.signature(module.read).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _all_different(paths: Sequence[Path]) -> None:
    """Two names of one file, and two files of the same bytes, would count twice."""
    seen: dict[str, Path] = {}
    for path in paths:
        _check(path)
        digest = file_sha256(path)
        if digest in seen:
            raise UsageError(
                f"{seen[digest]} and {path} hold the same: it would be counted twice",
                "name each file once",
            )
        seen[digest] = path
