"""Reading files that somebody else has sent: sizes, links, JSON, Parquet, each before anything
believes them. What is refused raises a `Fault` that names the rule which guards it."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

    from bench.checks import Number

MOST_DEPTH = 40
MOST_DIGITS = 400  # of a number; more is an attack on whoever converts it
MOST_BYTES = {
    "entry.json": 1 << 18,
    "manifest.json": 1 << 20,
    "record.json": 8 << 20,
    "nodes.json": 1 << 20,
    "node.json": 1 << 20,
    "events.jsonl": 64 << 20,
    "trace.parquet": 256 << 20,
    "predictions.parquet": 256 << 20,
    "log.txt": 4 << 20,
    "tuning.jsonl": 64 << 20,
    "model.safetensors": 8 << 30,
}
"""The names that a file may have, and how large it may be."""

MOST_ROWS, MOST_UNPACKED_BYTES = 50_000_000, 4 << 30  # of a Parquet file


class Fault(Exception):
    """Why a file is not read. `rule` is the id of the rule that it breaks."""

    def __init__(
        self, rule: str, message: str, numbers: Mapping[str, Number] | None = None
    ) -> None:
        super().__init__(message)
        self.rule, self.message, self.numbers = rule, message, numbers or {}


def data(path: Path) -> bytes:
    """The bytes of a regular file of bearable size; never through a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Fault("S10", "is not there") from None
    except OSError as error:
        raise Fault("S3", f"can't be opened: {error.strerror or error}") from None
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise Fault("S3", "is no regular file")
        most = MOST_BYTES.get(path.name, 0)
        if about.st_size > most:
            text = f"has {about.st_size:,} bytes; {most:,} are the most"
            raise Fault("S2", text, {"bytes": about.st_size, "most": most})
        return file.read(most + 1)


def json_value(text: bytes) -> Any:
    """One JSON value in UTF-8: no key twice, no NaN or Infinity, not too deep, no endless
    number."""
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
    if _depth(value) > MOST_DEPTH:
        raise Fault("S4", f"is nested more than {MOST_DEPTH} deep")
    return value


def _depth(value: Any) -> int:
    deepest, left = 0, [(value, 0)]
    while left:
        one, depth = left.pop()
        deepest = max(deepest, depth)
        parts = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        left += [(part, depth + 1) for part in parts]
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Fault("S4", f"has the key {twice[:60]!r} twice")
    return found


def _constant(name: str) -> Any:
    raise Fault("S4", f"holds {name}, which is no number")


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise Fault("S4", f"holds a number of {len(digits):,} digits")
    return int(digits)


def _real(digits: str) -> float:
    number = float(digits) if len(digits) <= MOST_DIGITS else math.inf
    if not math.isfinite(number):
        raise Fault("S4", f"holds {digits[:40]}, which is no finite number")
    return number


def parquet(path: Path, columns: Mapping[str, str]) -> pyarrow.Table:
    """A table of the columns named, each of that Arrow type; sizes are checked in its footer before
    anything is unpacked."""
    import io

    import pyarrow
    import pyarrow.parquet

    text = data(path)
    try:
        file = pyarrow.parquet.ParquetFile(
            io.BytesIO(text), thrift_string_size_limit=64 << 20, thrift_container_size_limit=1 << 20
        )
        about = file.metadata
        unpacked = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        if about.num_rows > MOST_ROWS or unpacked > MOST_UNPACKED_BYTES:
            numbers = {"rows": about.num_rows, "bytes": unpacked}
            raise Fault("S7", f"unpacks to {unpacked:,} bytes, {about.num_rows:,} rows", numbers)
        found = {f.name: str(f.type) for f in file.schema_arrow}
        if len(found) != len(file.schema_arrow) or not set(found) <= set(columns):
            odd = sorted(set(found) - set(columns)) or ["one twice"]
            raise Fault("S7", f"has a column that it should not have: {odd[0][:60]!r}")
        for name, kind in found.items():
            if kind not in columns[name].split("|"):
                raise Fault("S7", f"its column {name} is of {kind[:60]}, not {columns[name]}")
        return file.read(use_threads=False)
    except Fault:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, MemoryError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise Fault("S7", f"is not Parquet: {first[:200]}") from None
