"""What the checks say of each entry, kept from one build to the next: an entry is checked once.

It is kept in the site's folder, a line an entry; a line that was torn says nothing. A verdict is of
the day on which it was made: an entry that comes later is held against those before it, which are
not checked again for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import bench
from bench import submission

if TYPE_CHECKING:
    from bench.checks import Report
    from bench.checks.setting import Setting

NAME = ".bench-site-checks.jsonl"
_DEEPEST = 4  # folders of an entry: a run's, and those of other machines in it

Tell = Callable[[int, int], None]
"""Is told how many entries are checked, of how many that had to be."""


@dataclass(frozen=True, slots=True)
class Said:
    """One rule's verdict of an entry or of one of its runs."""

    rule: str
    name: str
    status: str  # pass, skipped, warning, error
    run_id: str | None  # None: of the entry as a whole
    message: str


@dataclass(frozen=True, slots=True)
class Checked:
    """`level` is T0, T1 or T2; `said` has those that passed, too."""

    level: str
    said: tuple[Said, ...]


def kept(folders: Iterable[Path], memory: Path, setting: Setting) -> dict[str, Checked]:
    """By place, what was said before of the entries that are still the same."""
    return {p: one.checked for p, one in _same(_keys(folders, setting), memory, setting).items()}


def checked(
    folders: Iterable[Path], memory: Path, setting: Setting, tell: Tell = lambda done, of: None
) -> dict[str, Checked]:
    """By place, what the rules say of each entry. Only those are checked of which that is not
    known; each is kept as soon as it is, whatever ends the others."""
    keys = _keys(folders, setting)  # of the files as they are before they are looked at
    found = _same(keys, memory, setting)
    new = {place: folder for folder in folders if (place := submission.place(folder)) not in found}
    if new:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with _appending(memory) as file:
            for done, total, report in setting.reports(list(new.values())):
                place = submission.place(report.folder)
                one = _Kept(keys[place], _mark(setting.data), _of(report))
                found[place] = one
                file.write(_line(place, one))
                file.flush()
                tell(done, total)
    _tidy(memory, found)
    return {place: one.checked for place, one in found.items()}


def _of(report: Report) -> Checked:
    from bench.checks.report import level

    return Checked(
        level(report),
        tuple(
            Said(v.rule, v.name, v.status, _run_id(v.where, report.where), v.message)
            for v in report.verdicts
        ),
    )


def _run_id(where: str, entry: str) -> str | None:
    name = where.removeprefix(entry).strip("/")
    return name if submission.RUN_ID.fullmatch(name) else None


# --- what was said before ----------------------------------------------------------------------


class _Kept(NamedTuple):
    key: str  # of the entry's files, its card and the code
    data: str  # whose labels it was checked with; empty: of those that lay at hand
    checked: Checked


def _same(keys: Mapping[str, str], memory: Path, setting: Setting) -> dict[str, _Kept]:
    """Of the entries that are the same. What was said with other labels than those that are asked
    for does not count; where none are, any do."""
    asked = setting.data and _mark(setting.data)
    return {
        place: one
        for place, one in _lines(memory)
        if keys.get(place) == one.key and asked in (None, one.data)
    }


def _lines(memory: Path) -> Iterator[tuple[str, _Kept]]:
    """The last of an entry counts."""
    try:
        text = memory.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            place, key, data, level, said = json.loads(line)
            several = tuple(_said(*one) for one in said)
            yield str(place), _Kept(str(key), str(data), Checked(str(level), several))
        except (ValueError, TypeError):
            continue


def _said(rule: str, name: str, status: str, run_id: str | None, message: str) -> Said:
    """Most of its texts are those of many others: each is there once."""
    same = sys.intern
    return Said(same(rule), same(name), same(status), run_id and same(run_id), same(message))


def _line(place: str, one: _Kept) -> str:
    said = [[s.rule, s.name, s.status, s.run_id, s.message] for s in one.checked.said]
    row = [place, one.key, one.data, one.checked.level, said]
    return json.dumps(row, separators=(",", ":")) + "\n"


def _appending(memory: Path) -> TextIO:
    """After a line that was torn, on one of its own; through no link."""
    fd = os.open(memory, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    file = os.fdopen(fd, "a", encoding="utf-8")
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        file.write("\n")
    return file


def _tidy(memory: Path, found: Mapping[str, _Kept]) -> None:
    """Without lines that are of no use any more; whole or not at all."""
    text = "".join(_line(place, found[place]) for place in sorted(found))
    if not found or (memory.is_file() and memory.stat().st_size == len(text.encode())):
        return
    draft = memory.with_name(f"{memory.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(memory)


def _keys(folders: Iterable[Path], setting: Setting) -> dict[str, str]:
    """By place, what a verdict follows from: that is kept no longer than this stays the same."""
    code = _code()
    cards = {name: repr(card) for name, card in setting.cards.items()}
    return {
        submission.place(folder): _mark(
            code, cards.get(folder.parent.name), *_files(folder, _DEEPEST)
        )
        for folder in folders
    }


def _files(folder: Path | str, deepest: int) -> Iterator[tuple[str, int, int]]:
    """What lies in a folder: name, size and time of writing, of links those of their own."""
    with os.scandir(folder) as found:
        for item in sorted(found, key=lambda i: i.name):
            about = item.stat(follow_symlinks=False)
            yield item.name, about.st_size, about.st_mtime_ns
            if item.is_dir(follow_symlinks=False) and deepest:
                yield from _files(item.path, deepest - 1)


def _code() -> str:
    """Of all that a verdict may come from: bench but for what shows and starts things."""
    package = Path(bench.__file__).parent
    parts = [p for p in sorted(package.iterdir()) if p.name not in _APART]
    files = chain.from_iterable(sorted(p.rglob("*")) if p.is_dir() else [p] for p in parts)
    code = hashlib.sha256()
    for path in files:
        if path.suffix in (".py", ".toml"):
            code.update(path.read_bytes())
    return code.hexdigest()


_APART = {"site", "cli", "docs", "plot", "tasks"}


def _mark(*facts: object) -> str:
    """The same for the same facts; says none of them, of which one is where data lies here."""
    if facts == (None,):
        return ""
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()[:24]
