"""Plots of a run as SVG that is written here: a chart through Altair takes a second, and there may
be ten thousand runs.

A plot has no fixed size. What is in it stands in percent of it, so that text is as large on a phone
as on a desk; curves are in a box that is stretched to the plot, and their strokes are not.
Each of its texts is made plain and escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from markupsafe import Markup, escape

from bench.rank.render import plain
from bench.units import show_duration, show_energy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.plot.figure import Figure, Line, Span, Stretch

T = TypeVar("T")

BOX_X, BOX_Y = 2000, 1000
"""The box of curves: whole numbers, half a pixel on a wide screen."""

POINTS = 400  # of a line; of all lines together not more than:
ALL_POINTS = 900
MOST_LINES = 10
MOST_PHASES = 120
MOST_FLAGS = 60
FEW = 80  # readings that are shown as points

WIDE_PX, NARROW_PX, LETTER_PX = 1080, 320, 7.0
"""Of a plot on a wide and on a narrow screen, and of a letter in it: what fits."""

_MEASURED = ("", "14 3", "9 3 2 3", "18 3 2 3 2 3", "22 4", "12 2 4 2", "6 2", "16 3 6 3")
_ESTIMATED = ("4 3", "1.5 3", "7 3 1.5 3", "3 2", "1.5 2 1.5 5", "5 5", "2 4", "8 2 2 2")
PHASES = ("prepare", "train", "evaluate", "predict")
"""Phases that have a shade of their own."""


def shade_of(phase: str) -> str:
    return f"p-{phase if phase in PHASES else 'other'}"


# --- small parts -------------------------------------------------------------------------------


def _text(text: str, longest: int = 200) -> str:
    return str(escape(plain(text, longest)))


def _percent(share: float) -> str:
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from `low` to `high`, at most so many."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low] if math.isfinite(low) else []
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1, 2, 5, 10, 20) if span / (s * power) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _tick_text(value: float) -> str:
    return f"{value:,.10g}" if value == round(value) else f"{value:.6g}"


@dataclass(frozen=True)
class _Axis:
    """Values to shares of a plot's width, or of its height from above."""

    low: float
    high: float
    falls: bool = False

    def of(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return 1 - share if self.falls else share

    def box(self, values: NDArray[np.float64], size: int) -> NDArray[np.int64]:
        """As whole numbers of a box."""
        share = (values - self.low) / ((self.high - self.low) or 1.0)
        at = size * (1 - share if self.falls else share)
        return np.rint(np.minimum(np.maximum(at, -size), 2 * size)).astype(np.int64)


def _svg(kind: str, title: str, about: str, parts: Iterable[str]) -> Markup:
    """A picture with a name and a description for those who don't see it."""
    return Markup(
        f'<svg class="drawing {kind}" role="img" aria-labelledby="{kind}-t {kind}-d">'
        f'<title id="{kind}-t">{_text(title)}</title>'
        f'<desc id="{kind}-d">{_text(about, 1000)}</desc>{"".join(parts)}</svg>'
    )


def _curves(parts: Iterable[str]) -> str:
    return (
        f'<svg class="curves" viewBox="0 0 {BOX_X} {BOX_Y}" preserveAspectRatio="none" '
        f'width="100%" height="100%">{"".join(parts)}</svg>'
    )


def _path(x: NDArray[np.int64], y: NDArray[np.int64]) -> str:
    """A curve through points, as differences from one to the next; of one point a dot."""
    points = np.stack([x, y], axis=1)
    steps = (points[1:] - points[:-1]).ravel()
    return f"M{x[0]} {y[0]}" + (f"l{_joined(steps)}" if len(steps) else "h0")


def _joined(numbers: NDArray[np.int64]) -> str:
    """With a space before those that have no minus. A table has the text of each number: `str` of
    all of them took a tenth of the time of a run's page."""
    text = _texts()[numbers + MOST_STEP].tobytes().translate(None, b"\0")
    return text.decode("ascii").removeprefix(" ")


MOST_STEP = 3 * BOX_X
"""From anywhere that a curve is drawn to anywhere else: `_Axis.box` cuts off what lies further."""


@cache
def _texts() -> NDArray[np.bytes_]:
    numbers = range(-MOST_STEP, MOST_STEP + 1)
    return np.array([str(n) if n < 0 else f" {n}" for n in numbers], "S")


def _y_axis(axis: _Axis, unit: str, text: Callable[[float], str] = _tick_text) -> Iterator[str]:
    for value in ticks(axis.low, axis.high, 5):
        y = _percent(axis.of(value))
        yield f'<line class="grid" x2="100%" y1="{y}" y2="{y}"/>'
        yield f'<text class="end" x="0" dx="-7" y="{y}" dy=".34em">{_text(text(value))}</text>'
    yield f'<text class="unit" x="0" dx="-7" y="0" dy="-.9em">{_text(unit)}</text>'


def _x_axis(axis: _Axis, label: str, text: Callable[[float], str] = _tick_text) -> Iterator[str]:
    """Numbers below; a narrow screen has every other."""
    values = ticks(axis.low, axis.high, 9)
    sparse = len(values) > 5
    for number, value in enumerate(values):
        x = _percent(axis.of(value))
        wide = " wide-only" if sparse and number % 2 else ""
        yield f'<line class="tick{wide}" x1="{x}" x2="{x}" y1="100%" y2="100%"/>'
        yield f'<text class="mid{wide}" x="{x}" y="100%" dy="1.35em">{text(value)}</text>'
    yield '<line class="axis" x2="100%" y1="100%" y2="100%"/>'
    yield f'<text class="end label" x="100%" y="100%" dy="2.75em">{_text(label)}</text>'


def _fits(text: str, share: float) -> str | None:
    """The class of a text that has such a share of the width; None where it fits nowhere."""
    need_px = LETTER_PX * len(text) + 6
    if share * NARROW_PX >= need_px:
        return ""
    return " wide-only" if share * WIDE_PX >= need_px else None


# --- the power of a run ------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """A line of the legend: how it is drawn, and what it is."""

    swatch: Markup
    label: str
    estimated: bool
    charged: bool


@dataclass(frozen=True)
class _Pen:
    """Colour and dash of one domain's line. Estimates are dashed, and their bands have edges
    alone."""

    colour: str
    dash: str
    line: Line

    @property
    def stroke(self) -> str:
        dash = f' stroke-dasharray="{self.dash}"' if self.dash else ""
        thin = "" if self.line.charged else ' class="thin"'
        return f'stroke="{self.colour}"{dash}{thin}'


def points(lines: int) -> int:
    """How many of each, so that a page stays small."""
    return max(40, min(POINTS, ALL_POINTS // max(1, min(lines, MOST_LINES))))


def _pens(lines: Sequence[Line]) -> list[_Pen]:
    """Those that count first."""
    lines = sorted(lines, key=lambda line: not line.charged)
    counts = {True: 0, False: 0}
    found = []
    for number, line in enumerate(lines[:MOST_LINES]):
        dashes = _ESTIMATED if line.estimated else _MEASURED
        dash = dashes[counts[line.estimated] % len(dashes)]
        counts[line.estimated] += 1
        found.append(_Pen(f"var(--c{number % 8 + 1})", dash, line))
    return found


def legend(figure: Figure) -> list[Key]:
    """What each line is, those that count first; of too many some."""
    return [
        Key(
            Markup(
                '<svg class="swatch" width="38" height="12" aria-hidden="true">'
                f'<path d="M1 6h36" {pen.stroke}/></svg>'
            ),
            pen.line.label, pen.line.estimated, pen.line.charged,
        )
        for pen in _pens(figure.lines)
    ]  # fmt: skip


def left_out(figure: Figure) -> list[str]:
    """What the picture does not show of all that the trace has."""
    counts = (
        (len(figure.lines) - MOST_LINES, "domains"),
        (len(figure.phases) - MOST_PHASES, "of the shortest phases"),
        (len(figure.flags) - MOST_FLAGS, "marks"),
    )
    return [f"{n:,} more {what} are not drawn." for n, what in counts if n > 0]


def power(figure: Figure) -> Markup:
    """The power of each domain over time above the phases of the run."""
    x, y = _Axis(figure.start_s, figure.stop_s), _Axis(0.0, _top_w(figure), falls=True)
    unit, scale = figure.time_unit
    in_unit = _Axis(x.low / scale, x.high / scale)
    drawn = [
        *_phases(figure, x),
        *_y_axis(y, "W"),
        *_x_axis(in_unit, f"{unit} from the start of the window"),
        *_edges(figure, x),
        _curves(_lines(figure, x, y)),
        *_flags(figure, x),
    ]
    return _svg("power", figure.title, _said(figure), drawn)


def _top_w(figure: Figure) -> float:
    """Room for the names of phases above the highest reading."""
    return 1.18 * max((line.peak_w for line in figure.lines), default=0.0) or 1.0


def _said(figure: Figure) -> str:
    lines = "; ".join(line.label for line in figure.lines[:MOST_LINES])
    names = ", ".join(dict.fromkeys(p.name for p in figure.phases))
    return (
        f"Mean power in the window: {lines}. Phases: {names or 'none'}. "
        f"The window is {show_duration(figure.window_s)} long."
    )


def drawn_phases(figure: Figure) -> list[Span]:
    """In order of time; of too many the longest."""
    longest = sorted(figure.phases, key=lambda p: p.start_s - p.stop_s)[:MOST_PHASES]
    return sorted(longest, key=lambda p: p.start_s)


def _phases(figure: Figure, x: _Axis) -> Iterator[str]:
    names = []
    for span in drawn_phases(figure):
        start, stop = x.of(span.start_s), x.of(span.stop_s)
        energy = "" if span.energy_j is None else f", {show_energy(span.energy_j)}"
        about = f"{plain(span.name, 60)}: {show_duration(span.stop_s - span.start_s)}{energy}"
        yield (
            f'<rect class="{shade_of(span.name)}" x="{_percent(start)}" '
            f'width="{_percent(stop - start)}" height="100%"><title>{_text(about)}</title></rect>'
        )
        name = plain(span.name, 40)
        if (where := _fits(name, stop - start)) is not None:
            middle = _percent((start + stop) / 2)
            names.append(
                f'<text class="mid name{where}" x="{middle}" y="0" dy="1.25em">{_text(name)}</text>'
            )
    yield from names


def _edges(figure: Figure, x: _Axis) -> Iterator[str]:
    """Where the window opens and ends: what lies outside costs nothing."""
    for at_s, beside_s in ((0.0, figure.start_s), (figure.window_s, figure.stop_s)):
        at = x.of(at_s)
        if 0 <= at <= 1.0001:
            share = _percent(min(at, 1.0))
            yield f'<line class="edge" x1="{share}" x2="{share}" y2="100%"/>'
        middle, room = (at + x.of(beside_s)) / 2, abs(at - x.of(beside_s))
        if (where := _fits("idle", room)) is not None and 0 <= middle <= 1:
            share = _percent(middle)
            yield f'<text class="mid idle{where}" x="{share}" y="0" dy="1.25em">idle</text>'


def _lines(figure: Figure, x: _Axis, y: _Axis) -> Iterator[str]:
    pens = _pens(figure.lines)[::-1]  # what counts is above what does not
    for pen in pens:
        if bands := "".join(_band(s, x, y) for s in pen.line.stretches if s.dense):
            kind = "hollow" if pen.line.estimated else "band"
            yield f'<path class="{kind}" fill="{pen.colour}" stroke="{pen.colour}" d="{bands}"/>'
    for pen in pens:
        stretches = pen.line.stretches
        mean = "".join(_mean(s, x, y) for s in stretches)
        yield f'<path {pen.stroke} d="{mean}"/>'
        if sum(len(s.t_s) for s in stretches) <= FEW:
            dots = "".join(_dots(s, x, y) for s in stretches)
            yield f'<path class="dots" stroke="{pen.colour}" d="{dots}"/>'
        if gaps := "".join(_gaps(pen.line, x, y)):
            yield f'<path class="gap" stroke="{pen.colour}" d="{gaps}"/>'


def _mean(s: Stretch, x: _Axis, y: _Axis) -> str:
    return _path(x.box(s.t_s, BOX_X), y.box(s.mean_w, BOX_Y))


def _band(s: Stretch, x: _Axis, y: _Axis) -> str:
    """Between the lowest and the highest reading of each pixel."""
    t = x.box(s.t_s, BOX_X)
    around = np.concatenate([y.box(s.high_w, BOX_Y), y.box(s.low_w, BOX_Y)[::-1]])
    return _path(np.concatenate([t, t[::-1]]), around) + "z"


def _dots(s: Stretch, x: _Axis, y: _Axis) -> str:
    places = zip(x.box(s.t_s, BOX_X).tolist(), y.box(s.mean_w, BOX_Y).tolist(), strict=True)
    return "".join(f"M{a} {b}h0" for a, b in places)


def _gaps(line: Line, x: _Axis, y: _Axis) -> Iterator[str]:
    """From the last reading before to the first after; at the ends straight on."""
    for gap in line.gaps[:40]:
        ends = line.around(gap)
        if not ends:
            continue
        (t0, w0), (t1, w1) = ends[0], ends[-1]
        if len(ends) == 1:
            t0, t1 = gap
        t, w = np.array([t0, t1]), np.array([w0, w1])
        yield _path(x.box(t, BOX_X), y.box(w, BOX_Y))


def _flags(figure: Figure, x: _Axis) -> Iterator[str]:
    for flag in figure.flags[:MOST_FLAGS]:
        at = _percent(x.of(flag.t_s))
        yield f'<text class="mid flag" x="{at}" y="100%" dy="-.5em">▼{flag.number}</text>'


# --- what was learned --------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """A metric, as it is printed, when so much had been spent; `allowed` is what the size of the
    split alone allows."""

    energy: float  # in the unit of the plot
    step: int
    value: float
    allowed: tuple[float, float] | None = None


@dataclass(frozen=True)
class Learning:
    metric: str  # with its unit
    unit: str  # of the energy
    estimated: bool
    scores: tuple[Score, ...]
    final: Score | None  # on the scored split, in the end
    rests: float  # energy of the runs that it rests on
    end: float  # energy of all


def learning(shown: Learning) -> Markup:
    """A metric against the energy that it took; steps above."""
    every = [*shown.scores, *([shown.final] if shown.final else [])]
    marks = [v for s in every for v in (s.value, *(s.allowed or ()))]
    low, high = min(marks), max(marks)
    room = 0.1 * (high - low) or abs(high) / 10 or 1.0
    right = 1.12 if shown.final else 1.03  # its name stands there
    x = _Axis(0.0, right * max(shown.end, *(s.energy for s in every)) or 1.0)
    y = _Axis(low - room, high + room, falls=True)
    about = "estimated, not measured" if shown.estimated else "measured"
    drawn = [
        *_y_axis(y, shown.metric),
        *_x_axis(x, f"{shown.unit} so far ({about})"),
        *_rests(shown, x),
        *_step_marks(shown.scores, x),
        _curves(_course(shown, x, y)),
        *(p for s in shown.scores for p in _whisker(s, x, y, "")),
        *(_dot(s, x, y) for s in shown.scores),
        *(_diamond(shown.final, x, y) if shown.final else ()),
    ]
    title = f"{shown.metric} against energy"
    return _svg("learning", title, _told(shown), drawn)


def _told(shown: Learning) -> str:
    first, last = shown.scores[0], shown.scores[-1]
    said = (
        f"{len(shown.scores)} evaluations while training: {_tick_text(first.value)} after "
        f"{first.energy:.3g} {shown.unit} and {first.step} steps, {_tick_text(last.value)} after "
        f"{last.energy:.3g} {shown.unit} and {last.step} steps."
    )
    return said + (f" On the scored split {shown.final.value:.4g}." if shown.final else "")


def _rests(shown: Learning, x: _Axis) -> Iterator[str]:
    if shown.rests > 0:
        width = _percent(x.of(shown.rests))
        yield f'<rect class="p-other" width="{width}" height="100%"/>'
        if (where := _fits("runs that it rests on", x.of(shown.rests))) is not None:
            yield (
                f'<text class="name{where}" x="4" y="0" dy="1.25em">runs that it rests on</text>'
            )


def _step_marks(scores: Sequence[Score], x: _Axis) -> Iterator[str]:
    """The second reading of the axis: steps, where they don't stand in each other's way."""
    last = {"": -1.0, " wide-only": -1.0}
    for score in scores:
        at, text = x.of(score.energy), f"{score.step:,}"
        need_px = LETTER_PX * len(text) + 10
        where = next(
            (
                kind
                for kind, width in (("", NARROW_PX), (" wide-only", WIDE_PX))
                if (at - max(last.values() if kind else [last[""]])) * width >= need_px
            ),
            None,
        )
        if where is None:
            continue
        last[where] = at
        yield f'<line class="step{where}" x1="{_percent(at)}" x2="{_percent(at)}" y2="100%"/>'
        yield f'<text class="mid{where}" x="{_percent(at)}" y="0" dy="-.7em">{text}</text>'


def _course(shown: Learning, x: _Axis, y: _Axis) -> Iterator[str]:
    at = np.array([s.energy for s in shown.scores])
    values = np.array([s.value for s in shown.scores])
    dash = ' stroke-dasharray="4 3"' if shown.estimated else ""
    yield f'<path stroke="var(--mark)"{dash} d="{_path(x.box(at, BOX_X), y.box(values, BOX_Y))}"/>'


def _whisker(s: Score, x: _Axis, y: _Axis, kind: str) -> Iterator[str]:
    if s.allowed is None:
        return
    at, (low, high) = _percent(x.of(s.energy)), (_percent(y.of(v)) for v in s.allowed)
    yield f'<line class="whisker{kind}" x1="{at}" x2="{at}" y1="{low}" y2="{high}"/>'


def _dot(s: Score, x: _Axis, y: _Axis) -> str:
    about = f"step {s.step:,}: {_tick_text(round(s.value, 4))}"
    return (
        f'<circle class="score" cx="{_percent(x.of(s.energy))}" cy="{_percent(y.of(s.value))}" '
        f'r="4.5"><title>{about}</title></circle>'
    )


def _diamond(s: Score, x: _Axis, y: _Axis) -> Iterator[str]:
    yield from _whisker(s, x, y, " final")
    yield (
        f'<svg class="at" x="{_percent(x.of(s.energy))}" y="{_percent(y.of(s.value))}">'
        '<path class="final" d="M0-6.5 6.5 0 0 6.5-6.5 0z"/></svg>'
        f'<text class="final" x="{_percent(x.of(s.energy))}" dx="11" '
        f'y="{_percent(y.of(s.value))}" dy=".34em">scored</text>'
    )


def evenly(values: Sequence[T], most: int) -> list[T]:
    """So many of them at most, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[i] for i in np.linspace(0, len(values) - 1, most).round().astype(int)]
