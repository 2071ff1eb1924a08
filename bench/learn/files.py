"""Reads a task's rows from files: TSV (quoting off), CSV, JSON lines, Parquet, Arrow, parallel
files of lines, a token and its tag a line, plain lines.

Whatever is wrong with them is one line with file and row.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.cards import BEGINNING, LAST_WORD, Card, Kind, LocalFiles
from bench.errors import UsageError, near_names
from bench.learn.data import Rows, canonical

PASSAGE = 1000
"""Words that a passage has at most, whose last word is the label."""

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

    Parquet and Arrow are known by their suffix; other files are as the card says. UsageError where
    a file or a row is not as it should be.
    """
    local = card.local or LocalFiles(format="parquet", train="", scored="")
    tables = [_parallel(paths, card)] if _are_parallel(paths, local) else (
        _table(path, local, card) for path in paths
    )  # fmt: skip
    inputs: list[tuple[str, ...]] = []
    labels: list[str] = []
    for table in tables:
        rows = _rows(_passages(table, card.passages) if card.passages else table, card)
        inputs += rows.inputs
        labels += rows.labels
    if card.kind == "class" and len(set(labels)) < 2:
        raise UsageError(
            f"{paths[0]}: every label is '{labels[0]}'",
            f"a split needs rows of at least two of {', '.join(card.classes)}",
        )
    return Rows(inputs, labels)


def open_table(path: Path) -> Table:
    """The columns of a file by its suffix: .tsv, .csv, .jsonl or .parquet, with a header."""
    suffix = path.suffix.lstrip(".")
    if suffix not in ("tsv", "csv", "jsonl", "parquet"):
        raise UsageError(f"{path} is none of .tsv, .csv, .jsonl and .parquet")
    plain = LocalFiles(format="tsv", train=path.name, scored=path.name)
    return _READERS[suffix](path, plain)


def _are_parallel(paths: Sequence[Path], local: LocalFiles) -> bool:
    return local.format == "parallel" and paths[0].suffix not in (".parquet", ".arrow")


def _table(path: Path, local: LocalFiles, card: Card) -> Table:
    suffix = path.suffix.lstrip(".")
    try:
        if suffix in ("parquet", "arrow") or local.format in _READERS:
            table = _READERS[suffix if suffix in _READERS else local.format](path, local)
        else:
            table = _LINE_READERS[local.format](path, card)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from None
    if not table.columns or not len(next(iter(table.columns.values()))):
        raise UsageError(f"{path} has no rows")
    columns = table.columns
    renamed = {ours: columns[theirs] for ours, theirs in local.renamed.items() if theirs in columns}
    return replace(table, columns={**columns, **renamed})


def _passages(table: Table, column: str) -> Table:
    """A row a passage: its beginning and its last word. Empty texts are passed over; longer ones
    than PASSAGE words, such as novels to learn from, are cut into several."""
    beginnings: list[str] = []
    last_words: list[str] = []
    rows: list[int] = []
    for row, text in enumerate(_values(table, column)):
        if not isinstance(text, str):
            raise UsageError(f"{table.where(row)}: {column} is {text!r}, which is not a text")
        for words in _stretches(canonical(text).split()):
            beginnings.append(" ".join(words[:-1]))
            last_words.append(words[-1])
            rows.append(row)
    if not rows:
        raise UsageError(f"{table.path} has no texts")
    lines = None if table.lines is None else [table.lines[row] for row in rows]
    columns: dict[str, Sequence[Any]] = {
        column + BEGINNING: beginnings,
        column + LAST_WORD: last_words,
    }
    return Table(table.path, columns, lines)


def _stretches(words: list[str]) -> list[list[str]]:
    """PASSAGE words each; one word left over goes with those before it."""
    starts = list(range(0, len(words), PASSAGE))
    if len(words) > 1 and len(words) % PASSAGE == 1:
        starts.pop()
    ends = [*starts[1:], len(words)]
    return [words[start:end] for start, end in zip(starts, ends, strict=False)]


def _rows(table: Table, card: Card) -> Rows:
    columns = [_texts(table, name, card) for name in card.columns]
    inputs = list(zip(*columns, strict=True))
    empty = ("",) * len(columns)
    if card.kind != "words" and not card.passages and empty in inputs:
        raise UsageError(f"{table.where(inputs.index(empty))}: the text is empty")
    return Rows(inputs, _LABELS[card.kind](table, inputs, card))


def _values(table: Table, name: str) -> Sequence[Any]:
    """A column; `endings.2` and `translation.de` are parts of the lists or objects in one."""
    if name in table.columns:
        return table.columns[name]
    whole, _, part = name.rpartition(".")
    if whole not in table.columns:
        near = near_names(name, table.columns)
        raise UsageError(
            f"{table.path}: no column '{name}'; it has {', '.join(map(repr, table.columns))}",
            f"is it '{near[0]}'? rename it to '{name}'" if near else None,
        )
    key: Any = int(part) if part.isdecimal() else part
    found = []
    for row, value in enumerate(table.columns[whole]):
        try:
            found.append(value[key])
        except (TypeError, KeyError, IndexError):
            where = table.where(row)
            raise UsageError(f"{where}: {whole} is {value!r}, which has no '{part}'") from None
    return found


def _texts(table: Table, name: str, card: Card) -> list[str]:
    values = _values(table, name)
    if card.kind == "tags":
        values = [" ".join(map(str, v)) if isinstance(v, list | tuple) else v for v in values]
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


# Labels


def _class_labels(table: Table, inputs: list[tuple[str, ...]], card: Card) -> list[str]:
    found, class_of = _label_values(table, card), _class_of(card)
    values = [class_of.get(str(v)) for v in found]
    labels = [v for v in values if v is not None]
    if len(labels) < len(values):
        row = values.index(None)
        raise _unknown_label(table, row, str(found[row]), card)
    return labels


def _label_values(table: Table, card: Card) -> Sequence[Any]:
    assert card.labels is not None
    return _values(table, card.labels.column)


def _class_of(card: Card) -> dict[str, str]:
    """What files may hold -> class."""
    return {c: c for c in card.classes} | (card.labels.values if card.labels else {})


def _unknown_label(table: Table, row: int, label: str, card: Card) -> UsageError:
    known = ", ".join(
        f"'{v}'" if v == c else f"'{v}' ({c})"
        for v, c in _class_of(card).items()
        if v != c or c not in (card.labels.values.values() if card.labels else ())
    )
    return UsageError(
        f"{table.where(row)}: label {label!r} is none of {known}",
        "labels of -1 are hidden: this is a test split without its labels"
        if label == "-1"
        else None,
    )


def _number_labels(table: Table, inputs: list[tuple[str, ...]], card: Card) -> list[str]:
    labels = []
    for row, value in enumerate(_label_values(table, card)):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(f"{table.where(row)}: label {value!r} is not a number")
        labels.append(repr(number).removesuffix(".0"))
    return labels


def _tag_labels(table: Table, inputs: list[tuple[str, ...]], card: Card) -> list[str]:
    class_of = _class_of(card)
    labels = []
    for row, (value, texts) in enumerate(zip(_label_values(table, card), inputs, strict=True)):
        tags = value.split() if isinstance(value, str) else [str(v) for v in value]
        unknown = next((tag for tag in tags if tag not in class_of), None)
        if unknown is not None:
            raise _unknown_label(table, row, unknown, card)
        if len(tags) != len(texts[0].split()):
            raise UsageError(
                f"{table.where(row)}: {len(tags)} tags for {len(texts[0].split())} tokens"
            )
        labels.append(" ".join(class_of[tag] for tag in tags))
    return labels


def _text_labels(table: Table, inputs: list[tuple[str, ...]], card: Card) -> list[str]:
    assert card.labels is not None
    labels = _texts(table, card.labels.column, card)
    if "" in labels:
        raise UsageError(f"{table.where(labels.index(''))}: {card.labels.column} is empty")
    return labels


def _word_counts(table: Table, inputs: list[tuple[str, ...]], card: Card) -> list[str]:
    """The words of each text, its end being one."""
    return [str(len(text.split()) + 1) for (text,) in inputs]


_LABELS: dict[Kind, Callable[[Table, list[tuple[str, ...]], Card], list[str]]] = {
    "class": _class_labels,
    "number": _number_labels,
    "tags": _tag_labels,
    "text": _text_labels,
    "words": _word_counts,
}


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
        _check_separator(path, names)
    for row, line in zip(cells, lines, strict=True):
        if len(row) != len(names):
            raise UsageError(
                f"{path}:{line}: {len(row)} fields where there should be {len(names)} "
                f"({', '.join(names)})"
            )
    return Table(path, dict(zip(names, zip(*cells, strict=True), strict=False)), lines)


def _check_separator(path: Path, names: list[str]) -> None:
    """UsageError where a header of one name looks like several with another sign between them."""
    found = next((sign for sign in "\t;,|" if len(names) == 1 and sign in names[0]), None)
    if found:
        raise UsageError(
            f"{path}: one column, {names[0]!r}: are its fields separated by {found!r}?",
            "bench reads commas with format csv, and tabs with format tsv",
        )


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
    columns = dict(zip(table.column_names, map(_from_column, table.columns), strict=True))
    return Table(path, columns, None)


def _from_column(column: Any) -> list[Any]:
    """A column's values; those of float32 by the decimal that they were read from: 3.8, and not
    3.799999952316284."""
    if column.type != "float":
        return column.to_pylist()
    return [float(str(value)) for value in column.to_numpy()]


_READERS = {"tsv": _tsv, "csv": _csv, "jsonl": _jsonl, "parquet": _parquet, "arrow": _arrow}


def _lines(path: Path, card: Card) -> Table:
    """One text a line; empty lines are texts, too."""
    lines = _text_lines(path)
    return Table(path, {card.passages or card.inputs[0]: lines}, range(1, len(lines) + 1))


def _conll(path: Path, card: Card) -> Table:
    """Sentences between blank lines; a token comes first on its line, its tag last."""
    assert card.labels is not None
    tokens: list[list[str]] = []
    tags: list[list[str]] = []
    lines: list[int] = []
    in_sentence = False
    for number, line in enumerate(_text(path).replace("\r\n", "\n").split("\n"), 1):
        cells = line.split()
        if not cells or cells[0] == "-DOCSTART-":
            in_sentence = False
            continue
        if len(cells) < 2:
            raise UsageError(f"{path}:{number}: '{line}' has no tag")
        if not in_sentence:
            tokens.append([])
            tags.append([])
            lines.append(number)
            in_sentence = True
        tokens[-1].append(cells[0])
        tags[-1].append(cells[-1])
    return Table(path, {card.inputs[0]: tokens, card.labels.column: tags}, lines)


_LINE_READERS = {"lines": _lines, "conll": _conll}


def _parallel(paths: Sequence[Path], card: Card) -> Table:
    """One file a column, a row a line; a blank last line of all is none."""
    assert card.labels is not None
    names = [*card.columns, card.labels.column]
    try:
        texts = [_text_lines(path) for path in paths]
    except OSError as error:
        raise UsageError(f"{error.filename} can't be read: {error.strerror}") from None
    for path, lines in zip(paths, texts, strict=True):
        while len(lines) > 1 and not lines[-1]:
            lines.pop()
        if len(lines) != len(texts[0]):
            raise UsageError(
                f"{path} has {len(lines):,} lines and {paths[0]} {len(texts[0]):,}",
                "line by line they must be translations of each other",
            )
    columns: dict[str, Sequence[Any]] = dict(zip(names, texts, strict=True))
    return Table(paths[0], columns, range(1, len(texts[0]) + 1))


def _text_lines(path: Path) -> list[str]:
    """The lines of a file, one by one: as a single text, a corpus of running text would take four
    bytes a character for the sake of its rarest one."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            return [line.removesuffix("\n").removesuffix("\r") for line in file] or [""]
    except UnicodeDecodeError:
        _text(path)  # says where
        raise


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
