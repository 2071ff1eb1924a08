"""Reading files that somebody else has sent: links, sizes, JSON, each before anything believes
them. What is refused raises a `Fault` that names the rule which guards it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bench.checks import Number

MOST_FILES = 1000  # and folders, of a run, or directly in an entry
MOST_BYTES_IN_ALL = 1 << 30  # of these, but for weights
MOST_DEPTH = 40
MOST_DIGITS = 400  # of a number; more is an attack on whoever converts it
MOST_NUMBER, LEAST_NUMBER = 1e100, 1e-100  # but for zero: squares of them are still numbers
MOST_LINE_BYTES, MOST_LINES = 1 << 20, 1_000_000
WEIGHTS = "model.safetensors"
MOST_BYTES = {
    "entry.json": 1 << 18,
    "manifest.json": 1 << 20,
    "record.json": 8 << 20,
    "nodes.json": 1 << 20,
    "node.json": 1 << 20,
    "events.jsonl": 64 << 20,
    "trace.parquet": 100 << 20,
    "predictions.parquet": 100 << 20,
    "log.txt": 4 << 20,
    "tuning.jsonl": 64 << 20,
    WEIGHTS: 8 << 30,
}
"""The names that a file may have, and how large it may be."""


class Fault(Exception):
    """Why a file is not read. `rule` is the id of the rule that it breaks, `file` what it is of,
    where that is known."""

    def __init__(
        self, rule: str, message: str, numbers: Mapping[str, Number] | None = None
    ) -> None:
        super().__init__(message)
        self.rule, self.message, self.numbers = rule, message, numbers or {}
        self.file: str | None = None


def shown(text: str, most: int = 400) -> str:
    """A text of somebody else's for a terminal, a page or a log: in one line, what can't be seen or
    turns the order of letters around as its number."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in short)


# --- what lies in a folder


Kind = Literal["file", "folder", "link", "special"]


@dataclass(frozen=True)
class Item:
    """A name in a folder, as it is, not what it leads to."""

    kind: Kind
    bytes: int
    names: int  # of the same file: more than one is a hard link


def listing(folder: Path, depth: int, most: int = MOST_FILES) -> dict[str, Item]:
    """Path below the folder -> what is there, in order of name, without following a link. What lies
    more than `depth` names deep is left out: the folder that holds it is listed."""
    found: dict[str, Item] = {}
    left, size = [("", 1)], 0
    while left:
        below, level = left.pop()
        for name, item in _names(folder / below):
            path = below + name
            found[path] = item
            if len(found) > most:
                raise Fault("S2", f"holds more than {most:,} files and folders", {"most": most})
            size += 0 if name == WEIGHTS else item.bytes
            if size > MOST_BYTES_IN_ALL:
                text = f"holds {size:,} bytes and more; {MOST_BYTES_IN_ALL:,} are the most"
                raise Fault("S2", text, {"bytes": size, "most": MOST_BYTES_IN_ALL})
            if item.kind == "folder" and level < depth:
                left.append((f"{path}/", level + 1))
    return dict(sorted(found.items()))


def _names(folder: Path) -> Iterator[tuple[str, Item]]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise Fault("S3", _why_closed(error)) from None
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                yield entry.name, _item(entry.stat(follow_symlinks=False))
    finally:
        os.close(descriptor)


def _item(about: os.stat_result) -> Item:
    kind: Kind = "special"
    if stat.S_ISREG(about.st_mode):
        kind = "file"
    elif stat.S_ISDIR(about.st_mode):
        kind = "folder"
    elif stat.S_ISLNK(about.st_mode):
        kind = "link"
    return Item(kind, about.st_size, about.st_nlink)


def _why_closed(error: OSError) -> str:
    return f"can't be opened: {error.strerror or error}"


# --- files


@contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """A regular file of bearable size, and its size; never through a link, never waiting."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Fault("S10", "is not there") from None
    except OSError as error:
        raise Fault("S3", _why_closed(error)) from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise Fault("S3", "is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        most = MOST_BYTES.get(path.name, 0)
        if about.st_size > most:
            text = f"has {about.st_size:,} bytes; {most:,} are the most"
            raise Fault("S2", text, {"bytes": about.st_size, "most": most})
        yield file, about.st_size


def data(path: Path) -> bytes:
    """The bytes of a file."""
    with opened(path) as (file, size):
        return file.read(size)


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    with opened(path) as (file, _):
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- JSON


def json_value(text: bytes) -> Any:
    """One JSON value in UTF-8: no key twice, no half of a character, not too deep, and all numbers
    finite, of a magnitude that can be reckoned with, whole ones of 64 bits."""
    try:
        decoded = text.decode("utf-8")
        value = json.loads(
            decoded, object_pairs_hook=_unique, parse_constant=_constant, parse_int=_whole,
            parse_float=_real,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise Fault("S4", f"is not UTF-8: byte {error.start}") from None
    except json.JSONDecodeError as error:
        text_ = f"is not one JSON value: {error.msg} (line {error.lineno})"
        raise Fault("S4", text_) from None
    except RecursionError:  # json's own bound, before the stack's
        raise Fault("S4", f"is nested more than {MOST_DEPTH} deep") from None
    halves = b"\\u" in text  # nothing else can make one
    if not halves and text.count(b"[") + text.count(b"{") <= MOST_DEPTH:
        return value
    for part, depth in _parts(value):
        if depth > MOST_DEPTH:
            raise Fault("S4", f"is nested more than {MOST_DEPTH} deep")
        if halves and isinstance(part, str) and any("\ud800" <= c <= "\udfff" for c in part):
            raise Fault("S4", f"holds half of a character: {shown(part, 60)!r}")
    return value


def json_lines(text: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each line; nothing may be empty but what follows the last."""
    if text.count(b"\n") > MOST_LINES:
        raise Fault("S6", f"has more than {MOST_LINES:,} lines", {"most": MOST_LINES})
    lines = text.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        if len(line) > MOST_LINE_BYTES:
            numbers = {"bytes": len(line), "most": MOST_LINE_BYTES}
            raise Fault("S6", f"line {number} has {len(line):,} bytes", numbers)
        try:
            yield number, json_value(line)
        except Fault as fault:
            raise Fault(fault.rule, f"line {number} {fault.message}", fault.numbers) from None


def texts(value: Any) -> Iterator[str]:
    """All that is text in a JSON value, keys too."""
    return (part for part, _ in _parts(value) if isinstance(part, str))


def _parts(value: Any) -> Iterator[tuple[Any, int]]:
    """Everything in a JSON value, keys too, and how deep it is."""
    left = [(value, 0)]
    while left:
        one, depth = left.pop()
        yield one, depth
        if isinstance(one, dict):
            left += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list):
            left += [(part, depth + 1) for part in one]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise Fault("S4", f"has the key {shown(twice, 60)!r} twice")
    return found


def _constant(name: str) -> Any:
    raise Fault("S4", f"holds {name}, which is no number")


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(1 << 63) <= (number := int(digits)) < 1 << 63:
        raise Fault("S4", f"holds a whole number of {len(digits):,} digits")
    return number


def _real(digits: str) -> float:
    number = float(digits) if len(digits) <= MOST_DIGITS else 0.0
    if number == 0.0 and not set(digits.lower().split("e")[0]) & set("123456789"):
        return number
    if not LEAST_NUMBER <= abs(number) <= MOST_NUMBER:
        raise Fault("S4", f"holds {digits[:40]}, which nothing measures")
    return number
