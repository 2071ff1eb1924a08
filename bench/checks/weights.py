"""What a file of weights says of itself, read before any library opens it.

safetensors: eight bytes, little-endian, say how long the header is; the header is one JSON object,
name -> dtype, shape, place; the rest is data. What is refused raises `Fault`, and nothing of the
data is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.checks import safe
from bench.checks.safe import Fault

RULE = "S8"
MOST_HEADER_BYTES, MOST_TENSORS, MOST_DIMENSIONS = 1 << 20, 5000, 8
BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
    "BOOL": 1,
}  # fmt: skip
"""The types that a tensor may have, and what a number of each takes."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", re.ASCII)
ABOUT = "__metadata__"


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header has it; `begin` and `end` in bytes from where the data begins."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def header(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, in the order of their places."""
    with safe.opened(path) as (file, size):
        told = file.read(8)
        length = int.from_bytes(told, "little")
        if len(told) < 8 or not 2 <= length <= size - 8:
            raise Fault(RULE, "is not safetensors: it has no header of the length that it states")
        if length > MOST_HEADER_BYTES:
            text = f"its header has {length:,} bytes; {MOST_HEADER_BYTES:,} are the most"
            raise Fault(RULE, text, {"bytes": length, "most": MOST_HEADER_BYTES})
        told = file.read(length)
    return _laid_out(_parsed(told), size - 8 - length)


def _parsed(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise Fault(RULE, "is not safetensors: its header is no JSON object")
    try:
        value = safe.json_value(text)
    except Fault as fault:
        raise Fault(RULE, f"its header {fault.message}", fault.numbers) from None
    assert isinstance(value, dict)
    about = value.pop(ABOUT, {})
    if not isinstance(about, dict) or not all(isinstance(v, str) for v in about.values()):
        raise Fault(RULE, f"its {ABOUT} holds something other than texts")
    if not 0 < len(value) <= MOST_TENSORS:
        text_ = f"it has {len(value):,} tensors; 1 to {MOST_TENSORS:,} may be"
        raise Fault(RULE, text_, {"tensors": len(value), "most": MOST_TENSORS})
    return value


def _laid_out(told: dict[str, Any], size: int) -> dict[str, Tensor]:
    """Each tensor right behind the one before, from the first byte of the data to its last."""
    found = sorted(_tensors(told), key=lambda pair: (pair[1].begin, pair[1].end))
    at = 0
    for name, tensor in found:
        if tensor.begin != at:
            what = "overlaps" if tensor.begin < at else "leaves a hole after"
            raise Fault(RULE, f"its tensor {name} {what} the one before")
        at = tensor.end
    if at != size:
        numbers = {"stated": at, "found": size}
        raise Fault(RULE, f"its tensors take {at:,} bytes, and it has {size:,}", numbers)
    return dict(found)


def _tensors(told: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, facts in told.items():
        if not NAME.fullmatch(name):
            raise Fault(RULE, f"it names a tensor {name[:60]!r}")
        if not isinstance(facts, dict) or facts.keys() != {"dtype", "shape", "data_offsets"}:
            raise Fault(RULE, f"its tensor {name} is not told by dtype, shape and data_offsets")
        dtype, shape, place = facts["dtype"], facts["shape"], facts["data_offsets"]
        if not isinstance(dtype, str) or dtype not in BYTES:
            raise Fault(RULE, f"its tensor {name} is of type {str(dtype)[:20]!r}")
        if not _are_sizes(shape, 1) or len(shape) > MOST_DIMENSIONS:
            raise Fault(RULE, f"its tensor {name} has no shape that a weight may have")
        if not _are_sizes(place, 0) or len(place) != 2:
            raise Fault(RULE, f"its tensor {name} has no place in the data")
        begin, end = place
        wanted = math.prod(shape) * BYTES[dtype]
        if end - begin != wanted:
            raise Fault(
                RULE, f"its tensor {name} takes {end - begin:,} bytes, and its shape {wanted:,}"
            )
        yield name, Tensor(dtype, tuple(shape), begin, end)


def _are_sizes(value: Any, least: int) -> bool:
    """Whether these are whole numbers that can be sizes."""
    return isinstance(value, list) and all(type(v) is int and least <= v < 1 << 48 for v in value)
