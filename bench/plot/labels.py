"""Puts names beside dots so that none covers another name or a dot; what has no room has none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LETTER, HIGH = 5.5, 12.0  # pixels that a name takes
_GAP, _DOT = 8.0, 5.0  # pixels from a dot to its name, and of a dot

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels from the upper left."""

# Where a name is tried: its left end by the dot, its right end, or above and below it.
_SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))
_FAR = (0.0, 8.0)  # pixels farther off


@dataclass(frozen=True)
class Asked:
    """A name, and the pixel that it belongs to."""

    text: str
    x: float
    y: float
    short: str = ""  # where the text has no room


@dataclass(frozen=True)
class Put:
    """Where the left end of a name is, at half its height, from the pixel that it belongs to."""

    asked: Asked
    text: str
    dx: float
    dy: float


def place(
    asked: Sequence[Asked], dots: Sequence[tuple[float, float]], width: float, height: float
) -> list[Put]:
    """Those that have room, the first first."""
    taken = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in dots]
    found = []
    for each in asked:
        free = (
            (text, box)
            for text in (each.text, each.short) if text
            for box in _boxes(each, text)
            if _inside(box, width, height) and not _covers(box, taken)
        )  # fmt: skip
        text, box = next(free, ("", None))
        if box is not None:
            taken.append(box)
            found.append(Put(each, text, box[0] - each.x, box[1] + HIGH / 2 - each.y))
    return found


def _boxes(asked: Asked, text: str) -> Iterator[Box]:
    wide = LETTER * len(text)
    for far in _FAR:
        for dx, dy in _SIDES:
            left = asked.x - wide / 2 + dx * (wide / 2 + (_GAP if dy == 0 else 2) + far)
            top = asked.y - HIGH / 2 + dy * (HIGH + far)
            yield left, top, left + wide, top + HIGH


def _inside(box: Box, width: float, height: float) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height


def _covers(box: Box, taken: Sequence[Box]) -> bool:
    left, top, right, bottom = box
    return any(left < b and a < right and top < u and t < bottom for a, t, b, u in taken)
