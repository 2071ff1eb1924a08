"""Draws a figure through Altair: SVG, PNG, PDF, or a page of HTML that needs no network."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import MissingExtra, UsageError
from bench.plot import vega
from bench.plot.figure import Figure, Line

WIDTH, HEIGHT = 660, 270  # of the inside, in pixels at 96 to the inch
ZOOMABLE = 8  # times as many points where one can zoom in
_WRAP = 136  # characters of a line of text below
_LETTER, _UPRIGHT = 6.0, 11.0  # pixels that a letter of a phase's name takes, and an upright name

# Okabe and Ito: told apart with any colour vision; the dashes tell them apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_DASHES = ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2], [12, 3], [4, 4], [1, 3], [10, 2, 2, 2, 2, 2])
# Of growing darkness, so that phases differ in grey; a name that is not here is the last.
_SHADES = {
    "prepare": "#EEF1F4", "train": "#DFE5EB", "predict": "#D0DACC", "evaluate": "#C3CDD7",
    "": "#E6E1D5",
}  # fmt: skip
_FONT = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"


def points(path: Path) -> int:
    """How many points a line of this kind of picture has; UsageError for a kind that is none."""
    return WIDTH * (ZOOMABLE if kind_of(path) == "html" else 1)


def kind_of(path: Path) -> str:
    """svg, png, pdf or html; UsageError for a name that ends in none of these."""
    kind = path.suffix.lstrip(".").lower()
    if kind not in _WRITERS:
        raise UsageError(
            f"'{path.name}' names no kind of picture that can be drawn",
            f"a name that ends in {', '.join('.' + k for k in _WRITERS)}",
        )
    return kind


def check(path: Path) -> None:
    """UsageError for a kind that can't be drawn, MissingExtra without Altair and vl-convert."""
    kind_of(path)
    try:
        import altair  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError:
        raise MissingExtra("a picture of a plot", "plot") from None


def save(figure: Figure, path: Path) -> None:
    """Write the figure to `path`, in the kind that its name ends in. MissingExtra without
    Altair and vl-convert."""
    write(lambda zoom: _chart(figure, zoom), path)


def write(draw: Callable[[bool], Any], path: Path) -> None:
    """Write what `draw` makes, told whether one can zoom in it, to `path`. MissingExtra without
    Altair and vl-convert."""
    kind = kind_of(path)
    check(path)
    written = _WRITERS[kind](draw(kind == "html").to_dict())
    path.write_bytes(written.encode() if isinstance(written, str) else written)


_WRITERS: dict[str, Callable[[dict[str, Any]], str | bytes]] = {
    "svg": vega.svg, "png": vega.png, "pdf": vega.pdf, "html": vega.html,
}  # fmt: skip


# --- the chart -----------------------------------------------------------------------------------


class _Axes:
    """Where things are: the unit of time, and the ranges of both axes."""

    def __init__(self, figure: Figure) -> None:
        self.unit, self.scale = figure.time_unit
        self.first, self.last = (self.of(t) for t in (figure.start_s, figure.stop_s))
        self.top_w = figure.top_w

    def of(self, t_s: float) -> float:
        return float(t_s) / self.scale

    def pixels(self, start_s: float, stop_s: float) -> float:
        return WIDTH * self.of(stop_s - start_s) / max(self.last - self.first, 1e-9)

    def x(self, field: str = "t") -> Any:
        import altair as alt

        scale = alt.Scale(domain=[self.first, self.last], nice=False)
        title = f"Time from the start of the window ({self.unit})"
        return alt.X(f"{field}:Q", scale=scale, title=title)

    def y(self, field: str = "w") -> Any:
        import altair as alt

        scale = alt.Scale(domain=[0, self.top_w], nice=False, zero=True)
        return alt.Y(f"{field}:Q", scale=scale, title="Power (W)")


def _chart(figure: Figure, zoom: bool) -> Any:
    import altair as alt

    axes = _Axes(figure)
    layers = _phases(figure, axes)
    for number, line in enumerate(figure.lines):
        layers += _line(line, number, axes)
    layers += _labels(figure.lines, axes) + _flags(figure, axes)
    if zoom:
        layers[0] = layers[0].add_params(alt.selection_interval(bind="scales", encodings=["x"]))
    title = heading(figure.title, [*figure.measured, *figure.doubts], _WRAP)
    main = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title)
    said = [row for text in figure.caption for row in textwrap.wrap(text, _WRAP)]
    chart = alt.vconcat(main, _caption(said), spacing=8) if said else alt.vconcat(main)
    return dressed(chart)


@dataclass(frozen=True)
class Inks:
    """Colours of what is no line."""

    ink: str = "#333"
    soft: str = "#999"
    grid: str = "#CCC"
    ground: str = "white"
    font: str = _FONT
    padding: int = 12


INKS = Inks()


def dressed(chart: Any, inks: Inks = INKS) -> Any:
    """With bench's own fonts, lines and white paper."""
    return (
        chart.properties(padding=inks.padding, background=inks.ground)
        .configure(font=inks.font)
        .configure_view(stroke=None)
        .configure_axis(
            domainColor=inks.ink, tickColor=inks.ink, labelColor=inks.ink, titleColor=inks.ink,
            labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor=inks.grid,
            gridOpacity=0.8,
        )
        .configure_axisX(grid=False, titlePadding=6)
        .configure_legend(labelColor=inks.ink, labelFontSize=11, symbolOpacity=1)
        .configure_concat(spacing=6)
    )  # fmt: skip


def heading(title: str, said: Iterable[str], letters: int) -> Any:
    """A title above, with what is said below it in lines of at most so many letters."""
    import altair as alt

    return alt.TitleParams(
        title, subtitle=[row for text in said for row in textwrap.wrap(text, letters)],
        anchor="start", frame="group", fontSize=14, fontWeight="bold", color="#111",
        subtitleFontSize=11, subtitleColor="#444", subtitlePadding=5, offset=10,
    )  # fmt: skip


def _phases(figure: Figure, axes: _Axes) -> list[Any]:
    """Shades from edge to edge, names where they fit, and the window's two edges."""
    import altair as alt

    rows = [
        {
            "a": axes.of(p.start_s), "b": axes.of(p.stop_s), "middle": axes.of(p.middle_s),
            "phase": p.name,
            "energy": "unknown" if p.energy_j is None else f"{p.energy_j:.4g} J",
            "shade": _SHADES.get(p.name, _SHADES[""]),
            **_name(p.name, axes.pixels(p.start_s, p.stop_s)),
        }
        for p in figure.phases
        if p.name != "other"
    ]  # fmt: skip
    data = alt.Chart(alt.InlineData(rows))
    shades = data.mark_rect(clip=True, opacity=0.8, stroke="#FFF", strokeWidth=0.7).encode(
        axes.x("a"), alt.X2("b"), color=alt.Color("shade:N", scale=None),
        tooltip=[alt.Tooltip("phase:N"), alt.Tooltip("energy:N")],
    )  # fmt: skip
    words: dict[str, Any] = {"clip": True, "fontSize": 10.5, "fontStyle": "italic"}
    names = data.mark_text(baseline="top", color="#333", **words).encode(
        axes.x("middle"), y=alt.value(5), text="text:N"
    )
    upright = data.mark_text(
        angle=270, align="right", baseline="middle", color="#333", **words
    ).encode(axes.x("middle"), y=alt.value(5), text="upright:N")
    idle = [
        {"t": axes.of(t), "text": "idle"}
        for t, room in (
            (figure.start_s / 2, -figure.start_s),
            ((figure.window_s + figure.stop_s) / 2, figure.stop_s - figure.window_s),
        )
        if axes.pixels(0, room) > _LETTER * 4
    ]
    idles = (
        alt.Chart(alt.InlineData(idle))
        .mark_text(baseline="top", color="#777", **words)
        .encode(axes.x(), y=alt.value(5), text="text:N")
    )
    edges = alt.Chart(alt.InlineData([{"t": 0.0}, {"t": axes.of(figure.window_s)}]))
    rules = edges.mark_rule(clip=True, color="#555", strokeWidth=0.8).encode(axes.x())
    return [shades, names, upright, idles, rules]


def _name(name: str, room: float) -> dict[str, str]:
    """A phase's name where it fits, upright where only that does; `room` in pixels."""
    if room < _UPRIGHT:
        return {"text": "", "upright": ""}
    flat = _LETTER * len(name) < room
    return {"text": name if flat else "", "upright": "" if flat else name}


def _line(line: Line, number: int, axes: _Axes) -> list[Any]:
    """The mean as a line, a band where a pixel holds many readings, and dots across gaps."""
    import altair as alt

    colour, dash = _look(number)
    rows = [
        {"t": axes.of(t), "w": round(float(w), 2), "low": round(float(low), 2),
         "high": round(float(high), 2), "stretch": i}
        for i, s in enumerate(line.stretches)
        for t, w, low, high in zip(s.t_s, s.mean_w, s.low_w, s.high_w, strict=True)
    ]  # fmt: skip
    data = alt.Chart(alt.InlineData(rows))
    band = data.mark_area(clip=True, color=colour, opacity=0.25, line=False).encode(
        axes.x(), axes.y("low"), alt.Y2("high"), detail="stretch:N"
    )
    weight = 1.3 if line.charged else 0.8
    drawn = data.mark_line(
        clip=True, color=colour, strokeDash=dash, strokeWidth=weight, strokeJoin="round",
        opacity=1.0 if line.charged else 0.7,
    ).encode(
        axes.x(), axes.y(), detail="stretch:N",
        tooltip=[
            alt.Tooltip("t:Q", title=f"time ({axes.unit})", format=".4~g"),
            alt.Tooltip("w:Q", title=f"{line.name} (W)", format=".4~g"),
        ],
    )  # fmt: skip
    return [*([band] if line.dense else []), drawn, *_gap_marks(line, colour, axes)]


def _gap_marks(line: Line, colour: str, axes: _Axes) -> list[Any]:
    """Across each gap a row of dots from the last reading to the next, and how long it is."""
    import altair as alt

    bridges: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for number, gap in enumerate(line.gaps):
        ends = line.around(gap)
        bridges += [{"t": axes.of(t), "w": w, "gap": number} for t, w in ends]
        said.append(
            {
                "t": axes.of(gap[0]),
                "w": ends[0][1] if ends else 0.0,
                "text": f"no reading {gap[1] - gap[0]:.1f} s",
            }
        )
    if not said:
        return []
    dots = (
        alt.Chart(alt.InlineData(bridges))
        .mark_line(
            clip=True,
            color=colour,
            strokeDash=[1, 3],
            strokeWidth=1.2,
            point=alt.OverlayMarkDef(shape="cross", size=28, color=colour, filled=True, opacity=1),
        )
        .encode(axes.x(), axes.y(), detail="gap:N")
    )
    words = (
        alt.Chart(alt.InlineData(said))
        .mark_text(clip=True, align="left", dx=4, dy=-8, fontSize=10, color=colour)
        .encode(axes.x(), axes.y(), text="text:N")
    )
    return [dots, words]


def _labels(lines: list[Line], axes: _Axes) -> list[Any]:
    """Each line's name at its right end with a piece of the line, moved apart where they touch."""
    import altair as alt

    apart_w = axes.top_w * 13 / HEIGHT
    order = sorted(range(len(lines)), key=lambda i: lines[i].last_w)
    heights: dict[int, float] = {}
    floor_w = 0.0
    for i in order:
        heights[i] = max(lines[i].last_w, floor_w)
        floor_w = heights[i] + apart_w
    over_w = max(0.0, floor_w - apart_w - axes.top_w)
    drawn = []
    for i, line in enumerate(lines):
        colour, dash = _look(i)
        data = alt.Chart(alt.InlineData([{"w": heights[i] - over_w, "text": line.label}]))
        drawn += [
            data.mark_rule(color=colour, strokeDash=dash, strokeWidth=1.5).encode(
                axes.y(), x=alt.value(WIDTH + 6), x2=alt.value(WIDTH + 28)
            ),
            data.mark_text(align="left", baseline="middle", fontSize=11, color=colour).encode(
                axes.y(), x=alt.value(WIDTH + 33), text="text:N"
            ),
        ]
    return drawn


def _look(number: int) -> tuple[str, list[int]]:
    """Colour and dashes of a line."""
    return COLOURS[number % len(COLOURS)], _DASHES[number % len(_DASHES)]


def _flags(figure: Figure, axes: _Axes) -> list[Any]:
    """Numbered marks on the upper edge; those that would touch share their place."""
    import altair as alt

    places: list[tuple[float, list[int]]] = []
    for flag in sorted(figure.flags, key=lambda f: f.t_s):
        if places and axes.pixels(places[-1][0], flag.t_s) < 16:
            places[-1][1].append(flag.number)
        else:
            places.append((flag.t_s, [flag.number]))
    rows = [
        {"t": axes.of(t), "text": "▼" + ",".join(map(str, dict.fromkeys(numbers)))}
        for t, numbers in places
    ]
    if not rows:
        return []
    flags = alt.Chart(alt.InlineData(rows)).mark_text(
        clip=True, align="left", dx=-4, fontSize=10, color="#111"
    )
    return [flags.encode(axes.x(), y=alt.value(26), text="text:N")]


def _caption(said: list[str]) -> Any:
    import altair as alt

    rows = [{"row": i, "text": text} for i, text in enumerate(said)]
    return (
        alt.Chart(alt.InlineData(rows))
        .mark_text(align="left", baseline="middle", fontSize=11, color="#333")
        .encode(x=alt.value(0), y=alt.Y("row:O", axis=None), text="text:N")
        .properties(width=WIDTH, height=15 * len(said))
    )
