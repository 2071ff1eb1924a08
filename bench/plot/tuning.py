"""Draws what tuning brought against what it cost: trials, the best so far, the best expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.plot.picture import COLOURS, dressed, heading, write

WIDTH, HEIGHT = 620, 340
_WRAP = 106  # characters of a line above
_BEST, _EXPECTED = "best so far", "best of so many trials, expected"


@dataclass(frozen=True)
class Spent:
    """A score, and the energy that all trials had taken until then."""

    energy_kwh: float
    value: float
    state: str


@dataclass(frozen=True)
class Drawn:
    title: str
    said: Sequence[str]
    metric: str
    times: float  # what is stored, as it is printed
    trials: Sequence[Spent]
    best: Sequence[Spent]
    expected: Sequence[Spent]
    training_kwh: float | None  # of one training
    estimated: bool


def save(drawn: Drawn, path: Path) -> None:
    """Write the plot to `path`, in the kind that its name ends in."""
    write(lambda zoom: _chart(drawn, zoom), path)


def _chart(drawn: Drawn, zoom: bool) -> Any:
    import altair as alt

    layers = [_points(drawn), *_lines(drawn), *_training(drawn)]
    if zoom:
        layers[0] = layers[0].add_params(alt.selection_interval(bind="scales"))
    above = heading(drawn.title, drawn.said, _WRAP)
    return dressed(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=above))


def _x(drawn: Drawn) -> Any:
    import altair as alt

    about = ", estimated" if drawn.estimated else ""
    axis = alt.Axis(format="~g", tickCount=8)
    return alt.X("energy:Q", axis=axis, title=f"Energy of all trials so far (kWh{about})")


def _y(drawn: Drawn) -> Any:
    import altair as alt

    return alt.Y("value:Q", scale=alt.Scale(zero=False, nice=True), title=drawn.metric)


def _points(drawn: Drawn) -> Any:
    """Each trial; those that were ended early are hollow."""
    import altair as alt

    rows = [
        {"energy": t.energy_kwh, "value": t.value * drawn.times, "state": t.state,
         "filled": t.state == "complete"}
        for t in drawn.trials
    ]  # fmt: skip
    shown = alt.Chart(alt.InlineData(rows)).mark_point(size=36, color="#777", strokeWidth=1.2)
    return shown.encode(
        _x(drawn), _y(drawn), fill=alt.value("#777"),
        fillOpacity=alt.condition("datum.filled", alt.value(0.8), alt.value(0.0)),
        tooltip=[alt.Tooltip("state:N", title="trial"), alt.Tooltip("value:Q", format=".4~g"),
                 alt.Tooltip("energy:Q", title="kWh", format=".4~g")],
    )  # fmt: skip


def _lines(drawn: Drawn) -> list[Any]:
    import altair as alt

    names = [_BEST, _EXPECTED]
    colours = alt.Scale(domain=names, range=list(COLOURS[:2]))
    dashes = alt.Scale(domain=names, range=[[1, 0], [6, 3]])
    layers = []
    drawn_as: tuple[tuple[str, Sequence[Spent], Any], ...] = (
        (_BEST, drawn.best, "step-after"),
        (_EXPECTED, drawn.expected, "linear"),
    )
    for name, points, how in drawn_as:
        rows = [
            {"energy": p.energy_kwh, "value": p.value * drawn.times, "line": name} for p in points
        ]
        shown = alt.Chart(alt.InlineData(rows)).mark_line(interpolate=how, strokeWidth=1.8)
        layers.append(
            shown.encode(
                _x(drawn), _y(drawn),
                color=alt.Color("line:N", scale=colours, title=None),
                strokeDash=alt.StrokeDash("line:N", scale=dashes, title=None),
            )
        )  # fmt: skip
    return layers


def _training(drawn: Drawn) -> list[Any]:
    """Where one training with the best settings would be."""
    import altair as alt

    if drawn.training_kwh is None:
        return []
    data = alt.Chart(alt.InlineData([{"energy": drawn.training_kwh, "text": "one training"}]))
    rule = data.mark_rule(color="#333", strokeDash=[2, 2]).encode(_x(drawn))
    text = data.mark_text(align="left", dx=4, fontSize=10.5, color="#333")
    return [rule, text.encode(_x(drawn), y=alt.value(HEIGHT - 8), text="text:N")]
