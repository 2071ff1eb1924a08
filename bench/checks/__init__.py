"""CHECK: derive every number of a submission again, and say where it does not follow.

A rule is a function that looks at one part of a submission and yields what it finds: a `Problem`,
or `Skipped` where it can't look. Each has an id that stays (`D4`), and belongs to a group:
S structure, H integrity, D derivation, P physics, R protocol, Q statistics.
What can't be read safely is reported by the rule that guards it, and every rule that needs it is
skipped: a verdict never rests on half a file. Nothing here imports torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from bench.checks import safe

if TYPE_CHECKING:
    from pathlib import Path

    from bench.checks.bundle import EntryFolder, Surroundings
    from bench.record import Record

MOST_SHOWN = 1000  # signs of a message, which may hold what somebody else has written
GROUPS = {
    "S": "structure",
    "H": "integrity",
    "D": "derivation",
    "P": "physics",
    "R": "protocol",
    "Q": "statistics",
}
"""Letter of an id -> the group, whose rules are in the module of that name, or in these."""
_FURTHER = ("meters", "trained", "proposal")

Scope = Literal["run", "entry", "folder", "tree"]
"""`folder`: each run and the entry; `tree`: results/, when it grows."""
Status = Literal["pass", "skipped", "warning", "error"]
Number = str | int | float | bool | None


@dataclass(frozen=True)
class Problem:
    """What a rule found: an error, or, with `warns`, a reason to look."""

    message: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    warns: bool = False
    file: str | None = None  # below the folder of the run or entry


@dataclass(frozen=True)
class Skipped:
    """Why a rule could not look."""

    message: str


@dataclass(frozen=True)
class Verdict:
    """What one rule says of one run or entry."""

    rule: str  # D4
    name: str  # duration
    status: Status
    where: str  # the run or entry, below what was asked about
    message: str = ""
    numbers: Mapping[str, Number] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "rule": self.rule, "name": self.name, "status": self.status, "where": self.where,
            "message": self.message, "numbers": dict(self.numbers),
        }  # fmt: skip


Found = Iterator[Problem | Skipped]
Look = Callable[[Any, "Surroundings"], Found]


@dataclass(frozen=True)
class Rule:
    """`needs` are the parts (`bundle.PARTS`) that must have been read; `counting`: only runs that
    say they may be ranked are looked at, since others can win nothing."""

    id: str
    name: str
    text: str  # what holds, in a sentence
    scope: Scope
    needs: tuple[str, ...]
    counting: bool
    look: Look


_RULES: dict[str, Rule] = {}


def rule(
    id: str,
    name: str,
    text: str,
    scope: Scope = "run",
    needs: Iterable[str] = (),
    counting: bool = False,
) -> Callable[[Look], Look]:
    """Register a function as a rule."""

    def register(look: Look) -> Look:
        assert id not in _RULES, id
        assert id[0] in GROUPS, id
        _RULES[id] = Rule(id, name, text, scope, tuple(needs), counting, look)
        return look

    return register


def rules() -> list[Rule]:
    """All rules, by group and number."""
    for module in (*GROUPS.values(), *_FURTHER):
        importlib.import_module(f"{__name__}.{module}")
    groups = list(GROUPS)
    return sorted(_RULES.values(), key=lambda r: (groups.index(r.id[0]), int(r.id[1:])))


@dataclass(frozen=True)
class Report:
    """Everything that was said of one entry, or of one run that is in none."""

    where: str
    folder: Path
    verdicts: tuple[Verdict, ...]
    derived: tuple[Record, ...] = ()  # the runs' records as they follow from their files

    @property
    def errors(self) -> list[Verdict]:
        return [v for v in self.verdicts if v.status == "error"]

    @property
    def warnings(self) -> list[Verdict]:
        return [v for v in self.verdicts if v.status == "warning"]

    @property
    def skipped(self) -> list[Verdict]:
        return [v for v in self.verdicts if v.status == "skipped"]


def check(entry: EntryFolder, around: Surroundings) -> Report:
    """What every rule says of an entry and of each of its runs."""
    said: list[Verdict] = []
    for each in rules():
        if each.scope in ("run", "folder"):
            for run in entry.runs:
                said += verdicts(each, run, around)
        if each.scope in ("entry", "folder") and entry.submitted:
            said += verdicts(each, entry, around)
    derived = tuple(run.derived for run in entry.runs if not run.fault("derived"))
    return Report(entry.where, entry.folder, tuple(said), derived)


def verdicts(rule: Rule, subject: Any, around: Surroundings) -> Iterator[Verdict]:
    """What one rule says of a run, an entry or a tree."""
    said = partial(Verdict, rule.id, rule.name, where=subject.where)
    unread = [name for name in rule.needs if subject.fault(name)]
    if unread:
        yield said(status="skipped", message=f"{unread[0]} can't be read")
        return
    if rule.counting and not subject.counts:
        yield said(status="skipped", message="the run says that it does not count")
        return
    found = list(rule.look(subject, around))
    for one in found:
        if isinstance(one, Skipped):
            yield said(status="skipped", message=safe.shown(one.message, MOST_SHOWN))
        else:
            text = f"{one.file}: {one.message}" if one.file else one.message
            status: Status = "warning" if one.warns else "error"
            yield said(status=status, message=safe.shown(text, MOST_SHOWN), numbers=one.numbers)
    if not found:
        yield said(status="pass")
