"""What one planned run is asked, as JSON and back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.run import Request
from bench.study.hiding import hidden


@dataclass(frozen=True)
class Job:
    """One run that is wanted. Equal jobs have equal ids, whenever they are planned."""

    cell: str  # what it is a repeat of: a cell of a grid, a trial of a sweep
    number: int  # which repeat, from 1
    request: Request
    about: dict[str, Any] = field(default_factory=dict)  # what the planner wants to find again
    called: str = field(default="", compare=False)  # by a journal, if one has it

    @cached_property
    def id(self) -> str:
        """12 hex digits of SHA-256 over everything that is asked, as a journal says it."""
        return self.called or _digest(hidden(self.dump()))

    @property
    def ids(self) -> set[str]:
        """What it may be called: by older journals, which named paths, too."""
        return {_digest(hidden(self.dump())), _digest(self.dump())}

    @property
    def name(self) -> str:
        return f"{self.cell}, run {self.number}"

    def dump(self) -> dict[str, Any]:
        """As JSON; `load` makes it again."""
        about = {"about": self.about} if self.about else {}
        return {"cell": self.cell, "number": self.number, "request": dumped(self.request), **about}

    @classmethod
    def load(cls, facts: dict[str, Any]) -> Job:
        return cls(
            str(facts["cell"]), int(facts["number"]), loaded(facts["request"]),
            facts.get("about", {}),
        )  # fmt: skip


def _digest(facts: dict[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_NOT_ASKED = {"find_run"}  # how names are found: the same for all who ask
_PATHS = {"replay"}


def dumped(request: Request) -> dict[str, Any]:
    """What is asked, as JSON: less what is not asked, which a later bench may add to."""
    asked = {f.name: _as_json(getattr(request, f.name)) for f in dataclasses.fields(request)}
    left_out = {f.name for f in dataclasses.fields(request) if _is_default(f, asked[f.name])}
    return {k: v for k, v in asked.items() if k not in left_out | _NOT_ASKED}


def _as_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return [str(each) for each in value] if isinstance(value, list | tuple) else value


def _is_default(f: dataclasses.Field[Any], value: Any) -> bool:
    if f.default_factory is not dataclasses.MISSING:
        return bool(value == f.default_factory())
    return f.default is not dataclasses.MISSING and bool(value == _as_json(f.default))


def loaded(facts: dict[str, Any]) -> Request:
    """The request again. TypeError for what this bench does not know."""
    known = dict(facts)
    known |= {name: Path(known[name]) for name in _PATHS & known.keys()}
    known["task_folders"] = [Path(folder) for folder in known.get("task_folders", ())]
    return Request(**known)
