"""Draws skill against energy: entries with their intervals, and the Pareto fronts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.plot import labels
from bench.plot.picture import COLOURS, INKS, Inks, dressed, heading, write
from bench.rank import pareto
from bench.rank.pareto import Dot
from bench.units import J_PER_KWH

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
POINTS = "points"  # the layer that has the dots, in their order
FRONTS = "fronts"  # the one that has a line for each front
_WRAP = 106  # characters of a line above
_OF_A_NAME = 28  # characters
_OF_A_SERIES, _OF_A_TICK, _OF_A_LINE = 165, 45, 50  # pixels in the legend, on axes across and up
_BELOW, _ARROW = 28.0, 11.0  # pixels that are kept for what is below the axis, and from it to ↓


@dataclass(frozen=True)
class Look:
    """How large a plot is, how many names it tries to write, and in what colours."""

    width: int = 620
    height: int = 380
    names: int = 80
    every: bool = True  # name all, not those on a front alone
    inks: Inks = INKS
    colours: Sequence[str] = COLOURS
    numbered: bool = False  # each mark is described by its dot's number, for `inline`


PAPER = Look()


def save(dots: Sequence[Dot], title: str, said: Sequence[str], path: Path) -> None:
    """Write the plot to `path`, in the kind that its name ends in."""
    above = heading(title, said, _WRAP)
    write(lambda zoom: _chart(dots, PAPER, zoom).properties(title=above), path)


def spec(dots: Sequence[Dot], look: Look, zoom: bool = False) -> dict[str, Any]:
    """The plot without a heading, as Vega-Lite has it. A site has dozens, and `save` lets Altair
    validate the same: here it need not, which saves a third of the time."""
    from altair.utils import schemapi

    with schemapi.debug_mode(False):
        found: dict[str, Any] = _chart(dots, look, zoom).to_dict()
    return found


def _chart(dots: Sequence[Dot], look: Look, zoom: bool) -> Any:
    import altair as alt

    axes = _Axes(dots, look, zoom)
    layers = [*_fronts(dots, axes, zoom), *_intervals(dots, axes, zoom), _points(dots, axes, zoom)]
    layers += [*_below(dots, axes), *_names(dots, axes, zoom)]
    if zoom:
        layers[0] = layers[0].add_params(alt.selection_interval(bind="scales"))
    chart = alt.layer(*layers).properties(width=look.width, height=look.height)
    return dressed(chart, look.inks)


class _Axes:
    """Energy on a logarithmic axis, skill on a linear one, both with a little room. What is far
    below the rest has a strip at the lower edge, or, where one can move, its own place."""

    def __init__(self, dots: Sequence[Dot], look: Look, zoom: bool = False) -> None:
        self.look, self.zoom = look, zoom
        below = pareto.far_below(dots)
        shown = [d for d in dots if d not in below]
        self.floor = min(d.skill for d in shown) if below else -math.inf
        self.unit = pareto.unit_of(dots)
        self.per_kwh = J_PER_KWH / self.unit.in_j
        energies = [e for d in dots for e in self.ends(d)]
        middle = list(map(self.of, dots))
        low, high = max(min(energies), min(middle) / 2), min(max(energies), max(middle) * 2)
        self.energy = (low / 1.25, high * 1.6)  # to the right there is a name
        skills = [d.skill for d in shown]
        reach = max(max(skills) - min(skills), 0.05)
        bounds = [s for d in shown for s in d.skill_interval or ()]
        bottom = max(min([*skills, *bounds]), min(skills) - reach)
        top = min(max([*skills, *bounds]), max(skills) + reach)
        self.skill = (bottom - 0.06 * reach, top + 0.06 * reach)
        self.whole = self.skill  # of the axis; with the strip below it:
        if below and not zoom:
            over = self.skill[1] - self.skill[0]
            strip = over * _BELOW / (look.height - _BELOW)
            self.skill = (self.skill[0] - strip, self.skill[1])
        self.series = list(dict.fromkeys(d.series for d in dots))

    def of(self, dot: Dot) -> float:
        """Its energy in the unit of the axis."""
        return dot.energy_kwh * self.per_kwh

    def ends(self, dot: Dot) -> tuple[float, float]:
        """The same of its interval; where it has none, of itself."""
        low, high = dot.energy_interval_kwh or (dot.energy_kwh, dot.energy_kwh)
        return low * self.per_kwh, high * self.per_kwh

    def x(self, field: str = "energy") -> Any:
        import altair as alt

        scale = alt.Scale(type="log", domain=list(self.energy), nice=False)
        axis = alt.Axis(values=_ticks(*self.energy, self.look.width // _OF_A_TICK), format="~g")
        return alt.X(
            f"{field}:Q", scale=scale, axis=axis, title=f"Energy of a training ({self.unit.name})"
        )

    def y(self, field: str = "skill") -> Any:
        import altair as alt

        scale = alt.Scale(domain=list(self.skill), nice=False, zero=False)
        title = "Skill (0 chance, 1 best)"
        if self.whole == self.skill:
            return alt.Y(f"{field}:Q", scale=scale, title=title)
        values = _round(*self.whole, self.look.height // _OF_A_LINE)
        return alt.Y(f"{field}:Q", scale=scale, title=title, axis=alt.Axis(values=values))

    def below(self, dot: Dot) -> bool:
        return dot.skill < self.floor

    def at(self, skill: float) -> float:
        """Where a skill is drawn."""
        if skill >= self.floor or self.zoom:
            return skill
        return self.skill[0] + (self.whole[0] - self.skill[0]) * (1 - _ARROW / _BELOW)

    def pixel(self, dot: Dot) -> tuple[float, float]:
        """Where a dot is, from the upper left."""
        (left, right), (bottom, top) = self.energy, self.skill
        across = math.log(self.of(dot) / left) / math.log(right / left)
        down = (top - self.at(dot.skill)) / (top - bottom)
        return self.look.width * across, self.look.height * down

    def colour(self, dot: Dot) -> str:
        colours = self.look.colours
        return colours[self.series.index(dot.series) % len(colours)]

    def described(self) -> dict[str, Any]:
        import altair as alt

        return {"description": alt.Description("said:N")} if self.look.numbered else {}

    def scale(self, looks: Sequence[str]) -> Any:
        """Of the series."""
        import altair as alt

        look = [looks[i % len(looks)] for i in range(len(self.series))]
        return alt.Scale(domain=self.series, range=look)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """1, 2 and 5 in each decade, or fewer where they would touch."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for digits in ((1, 2, 5), (1, 3), (1,)):
        every = [digit * 10.0**n for n in decades for digit in digits]
        found = [tick for tick in every if low <= tick <= high]
        if len(found) <= most:
            break
    return found


def _round(low: float, high: float, most: int) -> list[float]:
    """Round numbers of an axis, at most so many."""
    steps = (digit * 10.0**n for n in range(-4, 4) for digit in (1, 2, 5))
    step = next(s for s in steps if (high - low) / s <= most)
    return [round(n * step, 6) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _rows(dots: Sequence[Dot], axes: _Axes) -> list[dict[str, Any]]:
    return [
        {
            "series": d.series, "label": d.label, "skill": d.skill, "energy": axes.of(d),
            "at": axes.at(d.skill),
            "how": d.meters + (", estimated" if d.estimated else ""), "filled": not d.estimated,
            "colour": axes.colour(d), "runs": d.runs, "address": d.address, "group": d.group,
            **_numbered(i),
        }
        for i, d in enumerate(dots)
    ]  # fmt: skip


def _numbered(number: int) -> dict[str, Any]:
    return {"dot": number, "said": f"dot {number}"}


def _points(dots: Sequence[Dot], axes: _Axes, clip: bool) -> Any:
    """What was estimated is hollow."""
    import altair as alt

    legend = alt.Legend(orient="bottom", columns=max(1, axes.look.width // _OF_A_SERIES))
    shown = alt.Chart(alt.InlineData(_rows(dots, axes)), name=POINTS)
    addressed = {"href": alt.Href("address:N")} if any(d.address for d in dots) else {}
    return shown.mark_point(clip=clip, filled=True, size=75, strokeWidth=1.6, opacity=1).encode(
        axes.x(), axes.y("at"),
        color=alt.Color("series:N", scale=axes.scale(axes.look.colours), title=None, legend=legend),
        shape=alt.Shape("series:N", scale=axes.scale(SHAPES), title=None, legend=legend),
        fillOpacity=alt.condition("datum.filled", alt.value(1.0), alt.value(0.0)),
        stroke=alt.Stroke("colour:N", scale=None),
        tooltip=[
            alt.Tooltip("series:N", title="model"), alt.Tooltip("label:N", title="recipe"),
            alt.Tooltip("skill:Q", format=".4f"),
            alt.Tooltip("energy:Q", title=axes.unit.name, format=".4g"),
            alt.Tooltip("how:N", title="energy of"), alt.Tooltip("runs:Q"),
        ],
        **addressed, **axes.described(),
    )  # fmt: skip


def _below(dots: Sequence[Dot], axes: _Axes) -> Iterator[Any]:
    """Arrows under what is below the axis; where one can move, with its name, and as long as it is
    out of sight."""
    import altair as alt

    low = sorted((d for d in dots if axes.below(d)), key=lambda d: d.energy_kwh)
    rows = [
        {"energy": axes.of(d), "skill": d.skill, "at": axes.at(d.skill), "dy": dy,
         "text": f"↓ {_low_name(d)}" if axes.zoom else "↓", **_numbered(dots.index(d))}
        for d, dy in zip(low, _rising(low, axes), strict=True)
    ]  # fmt: skip
    if not rows:
        return
    looks: dict[str, Any] = {"align": "center", "dy": _ARROW + 0.5}
    height = axes.y("at")
    if axes.zoom:
        seen = alt.ExprRef("datum.skill < domain('y')[0] ? 1 : 0")
        looks = {"align": "left", "dx": -4, "dy": alt.ExprRef("datum.dy"), "opacity": seen}
        height = alt.Y(value=axes.look.height - 8)
    text = alt.Chart(alt.InlineData(rows)).mark_text(
        baseline="middle", fontSize=11, color=axes.look.inks.ink, clip=axes.zoom, **looks
    )
    yield text.encode(axes.x(), height, text="text:N", **axes.described())


def _rising(low: Sequence[Dot], axes: _Axes) -> Iterator[float]:
    """Each name on the first line from below in which it has room, in pixels."""
    ends: list[float] = []
    for dot in low:
        left = axes.pixel(dot)[0]
        line = next((n for n, end in enumerate(ends) if end <= left), len(ends))
        ends[line : line + 1] = [left + labels.LETTER * (len(_low_name(dot)) + 4)]
        yield -labels.HIGH * line


def _low_name(dot: Dot) -> str:
    return f"{_short(dot.label)}: {dot.skill:.3f}"


def _names(dots: Sequence[Dot], axes: _Axes, clip: bool) -> Iterator[Any]:
    """Of fronts, and of dots: those on a front first. What has no room has none."""
    import altair as alt

    look = axes.look
    rows = [*_front_names(dots, axes), *_dot_names(dots, axes)][: look.names]
    asked = [
        labels.Asked(row["text"], *axes.pixel(row["dot"]), row.get("short", "")) for row in rows
    ]
    put = labels.place(asked, [axes.pixel(d) for d in dots], look.width, look.height)
    row_of = dict(zip(map(id, asked), rows, strict=True))
    data = [
        {"energy": axes.of(row["dot"]), "skill": axes.at(row["dot"].skill), "text": each.text,
         "weight": row["weight"], "dx": round(each.dx, 1), "dy": round(each.dy, 1),
         **_numbered(dots.index(row["dot"]))}
        for each in put
        for row in [row_of[id(each.asked)]]
    ]  # fmt: skip
    drawn = alt.Chart(alt.InlineData(data))
    for around in (True, False) if data else ():  # so that a line below is no strike
        below: dict[str, Any] = {"stroke": look.inks.ground, "strokeWidth": 3.0} if around else {}
        text = drawn.mark_text(
            align="left", baseline="middle", fontSize=10.5, clip=clip, **below,
            color=look.inks.ground if around else look.inks.ink,
            dx=alt.ExprRef("datum.dx"), dy=alt.ExprRef("datum.dy"),
            fontWeight=alt.ExprRef("datum.weight"),
        )  # fmt: skip
        yield text.encode(axes.x(), axes.y(), text="text:N", **axes.described())


def _dot_names(dots: Sequence[Dot], axes: _Axes) -> list[dict[str, Any]]:
    below = [d for d in dots if axes.below(d)]
    some = [d for d in dots if (d.on_front or axes.look.every) and not axes.below(d)]
    low = [
        {"text": _low_name(d), "short": f"{d.skill:.3f}", "dot": d, "weight": "normal"}
        for d in below if not axes.zoom
    ]  # fmt: skip
    return low + [
        {"text": _short(d.label), "dot": d, "weight": "normal"}
        for d in sorted(some, key=lambda d: (not d.on_front, d.energy_kwh))
    ]


def _short(text: str) -> str:
    """Whole settings where they fit: half a word tells nothing from anything."""
    whole = text
    while len(whole) > _OF_A_NAME and " · " in whole:
        whole = whole.rpartition(" · ")[0]
    return whole if len(whole) <= _OF_A_NAME else f"{whole[: _OF_A_NAME - 1]}…"


def _front_names(dots: Sequence[Dot], axes: _Axes) -> list[dict[str, Any]]:
    """Of each way of metering at the far end of its front, where there are several."""
    ends = {d.group: d for d in sorted(dots, key=lambda d: d.energy_kwh) if d.on_front}
    if len(ends) < 2:
        return []
    machines = Counter(d.hardware for d in ends.values())
    names = [d.hardware if machines[d.hardware] == 1 else d.meters for d in ends.values()]
    return [
        {"text": _short(name), "dot": d, "weight": "bold"}
        for name, d in zip(names, ends.values(), strict=True)
        if names.count(name) == 1  # they differ in the metric alone, which no name says
    ]


def _intervals(dots: Sequence[Dot], axes: _Axes, clip: bool) -> list[Any]:
    """Cut at the axes' ends where nobody can zoom."""
    import altair as alt

    rules = []
    (left, right), (bottom, top) = axes.energy, axes.skill
    both = (
        [(i, d, *axes.ends(d), axes.at(d.skill), axes.at(d.skill))
         for i, d in enumerate(dots) if d.energy_interval_kwh],
        [(i, d, axes.of(d), axes.of(d), *d.skill_interval)
         for i, d in enumerate(dots) if d.skill_interval and not axes.below(d)],
    )  # fmt: skip
    for each in both:
        rows = [
            {"colour": axes.colour(d), "a": max(a, left), "b": min(b, right),
             "low": max(low, bottom), "high": min(high, top), **_numbered(i)}
            for i, d, a, b, low, high in each
        ]  # fmt: skip
        if rows:
            shown = alt.Chart(alt.InlineData(rows)).mark_rule(clip=clip, opacity=0.55)
            rules.append(
                shown.encode(
                    axes.x("a"),
                    axes.y("low"),
                    x2="b:Q",
                    y2="high:Q",
                    color=alt.Color("colour:N", scale=None),
                    **axes.described(),
                )
            )
    return rules


def _fronts(dots: Sequence[Dot], axes: _Axes, clip: bool) -> list[Any]:
    """One for each way of metering: a staircase over what none of the others beats."""
    import altair as alt

    rows = [
        {"energy": axes.of(d), "skill": axes.at(d.skill), "group": d.group}
        for d in sorted(dots, key=lambda d: d.energy_kwh)
        if d.on_front
    ]
    shown = alt.Chart(alt.InlineData(rows), name=FRONTS)
    drawn = shown.mark_line(
        clip=clip, interpolate="step-after", color=axes.look.inks.soft, strokeDash=[5, 3],
        strokeWidth=1.2,
    )  # fmt: skip
    return [drawn.encode(axes.x(), axes.y(), detail="group:N")]
