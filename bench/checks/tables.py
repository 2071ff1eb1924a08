"""Tables in Parquet that somebody else has sent."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.checks import outline, safe
from bench.checks.safe import Fault

if TYPE_CHECKING:
    import pyarrow

RULE = "S7"
TEXT = "string"
TRACE = {
    "t_ns": "int64", "domain": TEXT, "power_w": "double", "energy_j": "double",
    "utilisation": "double", "clock_mhz": "double", "temperature_c": "double",
}  # fmt: skip
PREDICTIONS = {
    "id": "int64", "prediction": "string|double",
    "scores": "list<element: float>|list<element: double>",
}  # fmt: skip
MOST_TEXT_BYTES = 1 << 29  # of a column, once its dictionary is spelled out
MOST_PREDICTIONS = 5_000_000
MOST_READING, MOST_COMPARED = 1e15, 2_000_000_000  # of a meter; readings times domains
_CODED = "dictionary<values=string, indices=int32, ordered=0>"
_ABOUT = {b"bench", b"ARROW:schema"}


def read(path: Path, columns: Mapping[str, str], wanted: Collection[str]) -> pyarrow.Table:
    """The `wanted` of the columns, all of which must be of these Arrow types (`a|b`: one of them),
    with what `bench` says in the metadata. Texts are spelled out."""
    import pyarrow
    import pyarrow.parquet

    data = safe.data(path)
    outline.check(data)
    try:
        _check_columns(pyarrow.parquet.ParquetFile(io.BytesIO(data)).schema_arrow, columns, wanted)
        texts = [name for name in wanted if TEXT in columns[name]]
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data), read_dictionary=texts)
        table = file.read(columns=list(wanted), use_threads=False)
        table.validate(full=True)
        return _spelled_out(table)
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, MemoryError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise Fault(RULE, f"is not Parquet: {first[:200]}") from None


def _check_columns(
    schema: pyarrow.Schema, columns: Mapping[str, str], wanted: Collection[str]
) -> None:
    names = list(schema.names)
    if odd := [n for n in names if n not in columns or names.count(n) > 1]:
        raise Fault(RULE, f"has a column that it should not have: {odd[0][:60]!r}")
    if lacking := [n for n in wanted if n not in names]:
        raise Fault(RULE, f"lacks the column {lacking[0]}")
    for field in schema:
        kind = str(field.type).replace(_CODED, TEXT)
        if kind not in columns[field.name].split("|"):
            kinds = columns[field.name].replace("|", " or ")
            raise Fault(RULE, f"its column {field.name} is of {kind[:60]}, not {kinds}")
    if odd := sorted(set(schema.metadata or {}) - _ABOUT):
        raise Fault(RULE, f"says more than it should: {odd[0][:60]!r}")


def _spelled_out(table: pyarrow.Table) -> pyarrow.Table:
    """With texts in place of numbers in a dictionary, if that can be borne."""
    import pyarrow
    import pyarrow.compute as pc

    for at, name in enumerate(table.column_names):
        column = table[name]
        if not pyarrow.types.is_dictionary(column.type):
            continue
        size = sum(
            pc.sum(pc.take(pc.binary_length(chunk.dictionary), chunk.indices)).as_py() or 0
            for chunk in column.chunks
        )
        if size > MOST_TEXT_BYTES:
            raise Fault(RULE, f"its column {name} is {size:,} bytes of text", {"bytes": size})
        table = table.set_column(at, name, column.cast(pyarrow.string()))
    return table


def trace(path: Path) -> pyarrow.Table:
    """A trace's readings: each has a time and a domain, and numbers that a meter can read."""
    import pyarrow.compute as pc

    table = read(path, TRACE, list(TRACE))
    for name in ("t_ns", "domain"):
        if table[name].null_count:
            raise Fault(RULE, f"has readings without {name}")
    if table.num_rows and pc.min(table["t_ns"]).as_py() < 0:
        raise Fault(RULE, "has readings before the machine was started")
    if table.num_rows and pc.max(table["t_ns"]).as_py() >= 1 << 62:
        raise Fault(RULE, "has readings centuries after the machine was started")
    for name in list(TRACE)[2:]:
        _check_numbers(table, name, MOST_READING)
    return table


def check_domains(table: pyarrow.Table, known: set[str]) -> None:
    """Every reading is of a domain that the trace describes."""
    import pyarrow.compute as pc

    read = pc.unique(table["domain"]).to_pylist()
    if odd := sorted(set(read) - known):
        raise Fault(RULE, f"has readings of {odd[0][:60]!r}, which it does not describe")
    if len(known) * table.num_rows > MOST_COMPARED:
        raise Fault(RULE, f"has {table.num_rows:,} readings of {len(known):,} domains")


def predictions(path: Path) -> list[str] | list[float]:
    """What was predicted, in the order of the scored rows."""
    import numpy as np

    table = read(path, PREDICTIONS, ["id", "prediction"])
    if table.num_rows > MOST_PREDICTIONS:
        raise Fault(RULE, f"has {table.num_rows:,} rows", {"most": MOST_PREDICTIONS})
    ids, said = table["id"], table["prediction"]
    if ids.null_count or not np.array_equal(ids.to_numpy(), np.arange(table.num_rows)):
        raise Fault(RULE, "the ids are not 0, 1, 2, ... in order")
    found: list[str] | list[float] = said.to_pylist()
    if said.null_count:
        raise Fault(RULE, f"row {found.index(None)} has no prediction")  # type: ignore[arg-type]
    if said.type == "double":
        _check_numbers(table, "prediction", safe.MOST_NUMBER)
    return found


def _check_numbers(table: pyarrow.Table, name: str, most: float) -> None:
    import pyarrow.compute as pc

    far = pc.greater(pc.abs(table[name]), most)
    if pc.any(pc.or_(far, pc.invert(pc.is_finite(table[name])))).as_py():
        raise Fault(RULE, f"its column {name} holds what nothing measures")
