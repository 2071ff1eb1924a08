"""Reads a task's rows from files: TSV (quoting off), CSV, JSON lines, Parquet, Arrow.

Whatever is wrong with them is one line with file and row.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cards import Card, LocalFiles
from bench.errors import UsageError, near_names
from bench.learn.data import Rows, canonical

LONGEST_TEXT = 100_000
"""Characters that one text may have; longer ones come from a file that is read wrongly."""


@dataclass(frozen=True)
class Table:
    """The columns of one file; `lines` has each row's line number, None where a file has none."""

    path: Path
    columns: dict[str, Sequence[Any]]
    lines: Sequence[int] | None

    def where(self, row: int) -> str:
        if self.lines is None:
            return f"{self.path}, row {row + 1}"
        return f"{self.path}:{self.lines[row]}"


def read_rows(paths: Sequence[Path], card: Card) -> Rows:
    """The rows of one split from its files in order, by the card's columns and label values.

    The file's suffix names its format; UsageError where a file or a row is not as it should be.
    """
    inputs: list[tuple[str, ...]] = []
    labels: list[str] = []
    for path in paths:
        rows = _rows(_table(path, card.local), card)
        inputs += rows.inputs
        labels += rows.labels
    if len(set(labels)) < 2:
        raise UsageError(
            f"{paths[0]}: every label is '{labels[0]}'",
            f"a split needs rows of at least two of {', '.join(card.labels.classes)}",
        )
    return Rows(inputs, labels)


def _table(path: Path, local: LocalFiles) -> Table:
    try:
        table = _READERS[path.suffix.lstrip(".")](path, local)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from None
    if not table.columns or not len(next(iter(table.columns.values()))):
        raise UsageError(f"{path} has no rows")
    return table


def _rows(table: Table, card: Card) -> Rows:
    for name in (*card.inputs, card.labels.column):
        if name not in table.columns:
            near = near_names(name, table.columns)
            raise UsageError(
                f"{table.path}: no column '{name}'; it has {', '.join(map(repr, table.columns))}",
                f"is it '{near[0]}'? rename it to '{name}'" if near else None,
            )
    class_of = {**{c: c for c in card.labels.classes}, **card.labels.values}
    values = [class_of.get(str(v)) for v in table.columns[card.labels.column]]
    labels = [v for v in values if v is not None]
    if len(labels) < len(values):
        raise _unknown_label(table, values.index(None), card)
    columns = [_texts(table, name) for name in card.inputs]
    inputs = list(zip(*columns, strict=True))
    empty = ("",) * len(columns)
    if empty in inputs:
        raise UsageError(f"{table.where(inputs.index(empty))}: the text is empty")
    return Rows(inputs, labels)


def _unknown_label(table: Table, row: int, card: Card) -> UsageError:
    label = table.columns[card.labels.column][row]
    known = ", ".join(f"'{v}' ({c})" for v, c in card.labels.values.items())
    hidden = str(label) == "-1"
    return UsageError(
        f"{table.where(row)}: label {str(label)!r} is none of {known}",
        "labels of -1 are hidden: this is a test split without its labels" if hidden else None,
    )


def _texts(table: Table, name: str) -> list[str]:
    values = table.columns[name]
    try:
        texts = list(map(canonical, values))
    except TypeError:
        row = next(i for i, v in enumerate(values) if not isinstance(v, str))
        raise UsageError(
            f"{table.where(row)}: {name} is {values[row]!r}, which is not a text"
        ) from None
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    if len(texts[longest]) > LONGEST_TEXT:
        raise UsageError(
            f"{table.where(longest)}: {name} has {len(texts[longest]):,} characters, "
            f"more than {LONGEST_TEXT:,}",
            "is a quote or a line end missing?",
        )
    return texts


# Formats


def _tsv(path: Path, local: LocalFiles) -> Table:
    lines = _text(path).replace("\r\n", "\n").rstrip("\n").split("\n")
    cells = [line.split("\t") for line in lines]
    return _from_cells(path, local, cells, range(1, len(cells) + 1))


def _csv(path: Path, local: LocalFiles) -> Table:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    cells, lines, line = [], [], 1
    try:
        for row in reader:
            if row:
                cells.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{path}:{line}: {error}") from None
    return _from_cells(path, local, cells, lines)


def _from_cells(
    path: Path, local: LocalFiles, cells: list[list[str]], lines: Sequence[int]
) -> Table:
    names = local.columns or []
    if local.header and cells:
        names, cells, lines = cells[0], cells[1:], lines[1:]
    for row, line in zip(cells, lines, strict=True):
        if len(row) != len(names):
            raise UsageError(
                f"{path}:{line}: {len(row)} fields where there should be {len(names)} "
                f"({', '.join(names)})"
            )
    return Table(path, dict(zip(names, zip(*cells, strict=True), strict=False)), lines)


def _jsonl(path: Path, local: LocalFiles) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "\\u" in line:
                json.dumps(row, ensure_ascii=False).encode()  # fails on half a surrogate pair
        except ValueError as error:
            raise UsageError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise UsageError(f"{path}:{number}: not a JSON object")
        if rows and row.keys() != rows[0].keys():
            raise UsageError(
                f"{path}:{number}: its fields are {', '.join(row)}, the first row's "
                f"{', '.join(rows[0])}"
            )
        rows.append(row)
        lines.append(number)
    names = rows[0] if rows else {}
    return Table(path, {name: [row[name] for row in rows] for name in names}, lines)


def _parquet(path: Path, local: LocalFiles) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path} is not Parquet, or not all of it: {_line(error)}") from None
    return _from_arrow(path, table)


def _arrow(path: Path, local: LocalFiles) -> Table:
    import pyarrow
    import pyarrow.ipc

    try:
        with path.open("rb") as file:
            table = pyarrow.ipc.open_stream(file).read_all()
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path} is not Arrow, or not all of it: {_line(error)}") from None
    return _from_arrow(path, table)


def _from_arrow(path: Path, table: Any) -> Table:
    return Table(path, {name: table.column(name).to_pylist() for name in table.column_names}, None)


_READERS = {"tsv": _tsv, "csv": _csv, "jsonl": _jsonl, "parquet": _parquet, "arrow": _arrow}


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        raise UsageError(
            f"{path}:{line}: not UTF-8 (byte 0x{content[error.start]:02x})",
            f"iconv -f {'utf-16' if wide else 'latin1'} -t utf-8 {path.name} converts it",
        ) from None


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
