"""Draws a figure in a terminal: a panel of braille dots for each domain, phases as a ruler below.

Each character holds 2 x 4 dots; a column of dots reaches from the lowest to the highest reading
of its time, so that no peak is lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.plot.figure import Figure, Line, Span
from bench.units import significant

if TYPE_CHECKING:
    from rich.text import Text

_COLOURS = ("bright_blue", "yellow", "green", "magenta", "cyan", "bright_red", "white")
_LEAST_ROWS, _MOST_ROWS = 3, 8
_AXIS = 8  # columns of the numbers on the left
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)


def points(width: int) -> int:
    """How many points a line has in a terminal of so many columns: one a column of dots."""
    return 2 * _inside(width)


def _inside(width: int) -> int:
    return max(10, width - _AXIS - 1)


def draw(figure: Figure, width: int, height: int) -> list[Text]:
    """The lines to print, none longer than `width`; about `height` of them in all."""
    from rich.text import Text

    inside = _inside(width)
    rows = (height - 8 - len(figure.caption)) // max(1, len(figure.lines)) - 1
    rows = min(_MOST_ROWS, max(_LEAST_ROWS, rows))
    said = [Text(figure.title, style="bold"), *(Text(t, style="dim") for t in figure.measured)]
    said += [Text(text, style="yellow") for text in figure.doubts]
    for number, line in enumerate(figure.lines):
        said += _panel(line, figure, inside, rows, _COLOURS[number % len(_COLOURS)])
    said += [Text(" " * _AXIS + text, style="dim") for text in _ruler(figure, inside)]
    return [*said, *(Text(text) for text in figure.caption)]


def _panel(line: Line, figure: Figure, inside: int, rows: int, colour: str) -> list[Text]:
    """One domain, from 0 W to its own highest reading."""
    from rich.text import Text

    top_w = line.peak_w or 1.0
    cells = braille(_dots(line, figure, 2 * inside, 4 * rows, top_w))
    for gap in line.gaps:
        first, last = (_column(t, figure, inside) for t in gap)
        text = " no reading "
        if last - first > len(text):
            cells[rows // 2] = _put(cells[rows // 2], text.center(last - first, "┄"), first)
    said = [Text(" " * _AXIS + line.label, style=colour)]
    for number, row in enumerate(cells):
        number_w = {0: f"{significant(top_w)} W", rows - 1: "0 W"}.get(number, "")
        said.append(Text.assemble((f"{number_w:>{_AXIS}}│", "dim"), (row, colour)))
    return said


def _put(row: str, text: str, at: int) -> str:
    return row[:at] + text + row[at + len(text) :]


def _dots(line: Line, figure: Figure, width: int, height: int, top_w: float) -> NDArray[np.bool_]:
    """[height, width] of dots, the first row on top: each column from its lowest reading to its
    highest, joined to the column before."""
    dots = np.zeros((height, width), bool)
    span_s = max(figure.stop_s - figure.start_s, 1e-9)

    def level(w: float) -> int:
        return min(height - 1, max(0, int(w / top_w * (height - 1) + 0.5)))

    for stretch in line.stretches:
        columns = ((stretch.t_s - figure.start_s) / span_s * (width - 1) + 0.5).astype(int)
        levels = [
            (level(low), level(high))
            for low, high in zip(stretch.low_w, stretch.high_w, strict=True)
        ]
        before = None
        for x, (low, high) in zip(columns.clip(0, width - 1), levels, strict=True):
            if before is None:
                before = (x, low, high)
            reach = range(before[0] + 1, x)  # sparse readings: hold the one before
            for between in reach:
                dots[height - 1 - before[2] : height - before[1], between] = True
            low_joined, high_joined = min(low, before[2]), max(high, before[1])
            dots[height - 1 - high_joined : height - low_joined, x] = True
            before = (x, low, high)
    return dots


def braille(dots: NDArray[np.bool_]) -> list[str]:
    """Rows of characters for [4 x rows, 2 x columns] of dots."""
    rows, columns = dots.shape[0] // 4, dots.shape[1] // 2
    cells = dots.reshape(rows, 4, columns, 2)
    bits = (cells * _DOTS[None, :, None, :]).sum(axis=(1, 3))
    return ["".join(chr(0x2800 + int(b)) if b else " " for b in row) for row in bits]


def _ruler(figure: Figure, inside: int) -> list[str]:
    """The axis of time with its numbers, and the phases below it."""
    ticks = list(_ticks(figure, inside))
    axis, numbers = list("└" + "─" * inside), [" "] * (inside + 1)
    for column, text in ticks:
        axis[column] = "┴"
        first = max(0, min(column - len(text) // 2, inside + 1 - len(text)))
        if all(c == " " for c in numbers[max(0, first - 1) : first + len(text)]):
            numbers[first : first + len(text)] = text
    return ["".join(axis), "".join(numbers), _phase_row(figure, inside)]


def _ticks(figure: Figure, inside: int) -> Iterator[tuple[int, str]]:
    unit, scale = figure.time_unit
    columns = inside * scale / (figure.stop_s - figure.start_s)  # of one unit
    steps = (m * 10.0**e for e in range(-2, 6) for m in (1, 2, 5))
    step = next(s for s in steps if s * columns >= 9)
    for k in itertools.count(int(np.ceil(figure.start_s / scale / step))):
        t = k * step
        if t * scale > figure.stop_s:
            return
        yield _column(t * scale, figure, inside), f"{t:g} {unit}"


def _column(t_s: float, figure: Figure, inside: int) -> int:
    """The character, from 0 to `inside`, that an instant falls into."""
    span_s = max(figure.stop_s - figure.start_s, 1e-9)
    return min(inside, max(0, round((t_s - figure.start_s) / span_s * inside)))


def _phase_row(figure: Figure, inside: int) -> str:
    """Phases from edge to edge, each with its name as far as it fits."""
    row = [" "] * (inside + 1)
    idle = [
        Span("idle", figure.start_s, 0.0, 0.0),
        Span("idle", figure.window_s, figure.stop_s, 0.0),
    ]
    for span in [*idle, *figure.phases]:
        first, last = (_column(t, figure, inside) for t in (span.start_s, span.stop_s))
        room = last - first - 1
        if span.name != "other" and room >= 1:
            name = span.name if len(span.name) <= room else span.name[:room]
            row[first + 1 : last] = name.center(room)
        if span.name != "idle":
            row[first] = row[last] = "│"
    return "".join(row)
