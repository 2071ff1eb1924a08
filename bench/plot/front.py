"""Draws skill against energy: entries with their intervals, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.plot.picture import COLOURS, dressed, heading, write

WIDTH, HEIGHT = 620, 380
_WRAP = 106  # characters of a line above
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


@dataclass(frozen=True)
class Dot:
    """An entry: means over its runs, with 95 % intervals where there are repeats."""

    label: str  # recipe
    series: str  # model
    skill: float
    skill_interval: tuple[float, float] | None
    energy_kwh: float
    energy_interval_kwh: tuple[float, float] | None
    meters: str  # what energy is of, and how it was read: dots of equal ones compare
    estimated: bool
    on_front: bool


def save(dots: Sequence[Dot], title: str, said: Sequence[str], path: Path) -> None:
    """Write the plot to `path`, in the kind that its name ends in."""
    write(lambda zoom: _chart(dots, title, said, zoom), path)


def _chart(dots: Sequence[Dot], title: str, said: Sequence[str], zoom: bool) -> Any:
    import altair as alt

    axes = _Axes(dots)
    layers = [*_fronts(dots, axes), *_intervals(dots, axes), _points(dots, axes)]
    layers += _labels(dots, axes)
    if zoom:
        layers[0] = layers[0].add_params(alt.selection_interval(bind="scales"))
    above = heading(title, said, _WRAP)
    return dressed(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=above))


class _Axes:
    """Energy on a logarithmic axis, skill on a linear one, both with a little room."""

    def __init__(self, dots: Sequence[Dot]) -> None:
        energies = [e for d in dots for e in (d.energy_kwh, *(d.energy_interval_kwh or ()))]
        middle = [d.energy_kwh for d in dots]
        low, high = max(min(energies), min(middle) / 2), min(max(energies), max(middle) * 2)
        self.energy = (low / 1.25, high * 1.6)  # to the right there is a label
        skills = [d.skill for d in dots]
        reach = max(max(skills) - min(skills), 0.05)
        bounds = [s for d in dots for s in d.skill_interval or ()]
        bottom = max(min([*skills, *bounds]), min(skills) - reach)
        top = min(max([*skills, *bounds]), max(skills) + reach)
        self.skill = (bottom - 0.06 * reach, top + 0.06 * reach)
        self.series = list(dict.fromkeys(d.series for d in dots))

    def x(self, field: str = "energy") -> Any:
        import altair as alt

        scale = alt.Scale(type="log", domain=list(self.energy), nice=False)
        axis = alt.Axis(values=_ticks(*self.energy), format="~g")
        return alt.X(f"{field}:Q", scale=scale, axis=axis, title="Energy of a training (kWh)")

    def y(self, field: str = "skill") -> Any:
        import altair as alt

        scale = alt.Scale(domain=list(self.skill), nice=False, zero=False)
        return alt.Y(f"{field}:Q", scale=scale, title="Skill (0 chance, 1 best)")

    def pixel(self, dot: Dot) -> tuple[float, float]:
        """Where a dot is, from the upper left."""
        (left, right), (bottom, top) = self.energy, self.skill
        across = math.log(dot.energy_kwh / left) / math.log(right / left)
        return WIDTH * across, HEIGHT * (top - dot.skill) / (top - bottom)

    def colours(self) -> Any:
        return self._scale(COLOURS)

    def colour(self, dot: Dot) -> str:
        return COLOURS[self.series.index(dot.series) % len(COLOURS)]

    def shapes(self) -> Any:
        return self._scale(_SHAPES)

    def _scale(self, looks: Sequence[str]) -> Any:
        import altair as alt

        look = [looks[i % len(looks)] for i in range(len(self.series))]
        return alt.Scale(domain=self.series, range=look)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 in each decade."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [digit * 10.0**n for n in decades for digit in (1, 2, 5)]
    return [tick for tick in every if low <= tick <= high]


def _rows(dots: Sequence[Dot], axes: _Axes) -> list[dict[str, Any]]:
    return [
        {
            "series": d.series, "label": d.label, "skill": d.skill, "energy": d.energy_kwh,
            "how": d.meters + (", estimated" if d.estimated else ""), "filled": not d.estimated,
            "colour": axes.colour(d),
        }
        for d in dots
    ]  # fmt: skip


def _points(dots: Sequence[Dot], axes: _Axes) -> Any:
    """What was estimated is hollow."""
    import altair as alt

    shown = alt.Chart(alt.InlineData(_rows(dots, axes)))
    return shown.mark_point(clip=True, size=75, strokeWidth=1.6).encode(
        axes.x(), axes.y(),
        color=alt.Color("series:N", scale=axes.colours(), title=None),
        shape=alt.Shape("series:N", scale=axes.shapes(), title=None),
        fillOpacity=alt.condition("datum.filled", alt.value(1.0), alt.value(0.0)),
        fill=alt.Fill("colour:N", scale=None),
        tooltip=[
            alt.Tooltip("series:N", title="model"), alt.Tooltip("label:N", title="recipe"),
            alt.Tooltip("skill:Q", format=".4f"),
            alt.Tooltip("energy:Q", title="kWh", format=".4g"),
            alt.Tooltip("how:N", title="energy of"),
        ],
    )  # fmt: skip


def _labels(dots: Sequence[Dot], axes: _Axes) -> list[Any]:
    """Recipes beside their dots, each where it touches least."""
    import altair as alt

    places = [axes.pixel(d) for d in dots]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    labels = []
    for d, place in zip(dots, places, strict=True):
        boxes = [_box(*place, dx, dy, len(d.label)) for dx, dy in _BESIDE]
        best = min(boxes, key=lambda box: sum(_overlap(box, other) for other in taken))
        taken.append(best)
        shown = alt.Chart(alt.InlineData([{"label": d.label}])).mark_text(
            align="left", baseline="middle", fontSize=10.5, color=axes.colour(d)
        )
        left, top = alt.value(best[0]), alt.value(best[1] + 6)
        labels.append(shown.encode(x=left, y=top, text="label:N"))
    return labels


_BESIDE = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -2), (0, 2))
_LETTER = 5.6  # pixels

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels from the upper left."""


def _box(x: float, y: float, dx: int, dy: int, letters: int) -> Box:
    """Of a label beside its dot."""
    wide = _LETTER * letters
    left = x - wide / 2 + dx * (wide / 2 + 9)
    top = y - 6 + 12 * dy
    return left, top, left + wide, top + 12


def _overlap(a: Box, b: Box) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    outside = max(0.0, -a[0], a[2] - WIDTH, -a[1], a[3] - HEIGHT)
    return max(0.0, wide) * max(0.0, high) + 50 * outside


def _intervals(dots: Sequence[Dot], axes: _Axes) -> list[Any]:
    import altair as alt

    rules = []
    both = (
        [(d, *d.energy_interval_kwh, d.skill, d.skill) for d in dots if d.energy_interval_kwh],
        [(d, d.energy_kwh, d.energy_kwh, *d.skill_interval) for d in dots if d.skill_interval],
    )
    for each in both:
        rows = [
            {"colour": axes.colour(d), "a": a, "b": b, "low": low, "high": high}
            for d, a, b, low, high in each
        ]
        if rows:
            shown = alt.Chart(alt.InlineData(rows)).mark_rule(clip=True, opacity=0.55)
            rules.append(
                shown.encode(
                    axes.x("a"),
                    axes.y("low"),
                    x2="b:Q",
                    y2="high:Q",
                    color=alt.Color("colour:N", scale=None),
                )
            )
    return rules


def _fronts(dots: Sequence[Dot], axes: _Axes) -> list[Any]:
    """One for each way of metering: a staircase over what none of the others beats."""
    import altair as alt

    rows = [
        {"energy": d.energy_kwh, "skill": d.skill, "meters": d.meters}
        for d in sorted(dots, key=lambda d: d.energy_kwh)
        if d.on_front
    ]
    shown = alt.Chart(alt.InlineData(rows))
    drawn = shown.mark_line(
        clip=True, interpolate="step-after", color="#999", strokeDash=[5, 3], strokeWidth=1.2
    )
    return [drawn.encode(axes.x(), axes.y(), detail="meters:N")]
