"""Draws what tuning brought against what it cost: trials, the best so far, the best expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.plot.picture import COLOURS, INKS, Inks, dressed, heading, write

_WRAP = 106  # characters of a line above
WHOLE, EARLY = "complete", "early"  # the layers that have the trials, in their order
_CROSS = "M-1,-1L1,1M-1,1L1,-1"
_BEST, _EXPECTED = "best so far", "best of so many trials, expected"


@dataclass(frozen=True)
class Spent:
    """A score, and the energy that all trials had taken until then."""

    energy: float
    value: float
    state: str


@dataclass(frozen=True)
class Drawn:
    title: str
    said: Sequence[str]
    metric: str
    times: float  # what is stored, as it is printed
    unit: str  # of all energies
    trials: Sequence[Spent]
    best: Sequence[Spent]
    expected: Sequence[Spent]
    training: float | None  # energy of one training
    estimated: bool


@dataclass(frozen=True)
class Look:
    """How large a plot is, and in what colours."""

    width: int = 620
    height: int = 340
    inks: Inks = INKS
    colours: Sequence[str] = COLOURS


PAPER = Look()


def save(drawn: Drawn, path: Path) -> None:
    """Write the plot to `path`, in the kind that its name ends in."""
    above = heading(drawn.title, drawn.said, _WRAP)
    write(lambda zoom: _chart(drawn, PAPER, zoom).properties(title=above), path)


def spec(drawn: Drawn, look: Look) -> dict[str, Any]:
    """The plot without a heading, as Vega-Lite has it."""
    found: dict[str, Any] = _chart(drawn, look, zoom=False).to_dict()
    return found


def _chart(drawn: Drawn, look: Look, zoom: bool) -> Any:
    import altair as alt

    layers = [*_lines(drawn, look), *_training(drawn, look), *_points(drawn, look)]
    if zoom:
        layers[0] = layers[0].add_params(alt.selection_interval(bind="scales"))
    chart = alt.layer(*layers).properties(width=look.width, height=look.height)
    return dressed(chart, look.inks)


def _x(drawn: Drawn, look: Look) -> Any:
    import altair as alt

    about = ", estimated" if drawn.estimated else ""
    axis = alt.Axis(format="~g", tickCount=look.width // 100)
    return alt.X(
        "energy:Q",
        axis=axis,
        scale=alt.Scale(zero=True),
        title=f"Energy of all trials so far ({drawn.unit}{about})",
    )


def _y(drawn: Drawn) -> Any:
    import altair as alt

    return alt.Y("value:Q", scale=alt.Scale(zero=False, nice=True), title=drawn.metric)


def _points(drawn: Drawn, look: Look) -> list[Any]:
    """Each trial: a dot, hollow where energy was estimated; those that were ended early a cross."""
    import altair as alt

    layers = []
    for whole in (True, False):
        rows = [
            {"energy": t.energy, "value": t.value * drawn.times, "state": t.state}
            for t in drawn.trials
            if (t.state == "complete") == whole
        ]
        if rows:
            shown = alt.Chart(alt.InlineData(rows), name=WHOLE if whole else EARLY).mark_point(
                shape="circle" if whole else _CROSS, size=46, strokeWidth=1.5, opacity=1,
                color=look.inks.ink, filled=False,
                fill=look.inks.ground if drawn.estimated else look.inks.ink,
            )  # fmt: skip
            tooltip = [
                alt.Tooltip("state:N", title="trial"), alt.Tooltip("value:Q", format=".4~g"),
                alt.Tooltip("energy:Q", title=drawn.unit, format=".4~g"),
            ]  # fmt: skip
            layers.append(shown.encode(_x(drawn, look), _y(drawn), tooltip=tooltip))
    return layers


def _lines(drawn: Drawn, look: Look) -> list[Any]:
    import altair as alt

    names = [_BEST, _EXPECTED]
    colours = alt.Scale(domain=names, range=list(look.colours[:2]))
    dashes = alt.Scale(domain=names, range=[[1, 0], [6, 3]])
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=0, symbolSize=300)
    layers = []
    drawn_as: tuple[tuple[str, Sequence[Spent], Any], ...] = (
        (_BEST, drawn.best, "step-after"),
        (_EXPECTED, drawn.expected, "linear"),
    )
    for name, points, how in drawn_as:
        rows = [{"energy": p.energy, "value": p.value * drawn.times, "line": name} for p in points]
        shown = alt.Chart(alt.InlineData(rows)).mark_line(interpolate=how, strokeWidth=1.8)
        layers.append(
            shown.encode(
                _x(drawn, look), _y(drawn),
                color=alt.Color("line:N", scale=colours, title=None, legend=legend),
                strokeDash=alt.StrokeDash("line:N", scale=dashes, title=None, legend=legend),
            )
        )  # fmt: skip
    return layers


def _training(drawn: Drawn, look: Look) -> list[Any]:
    """Where one training with the best settings would be."""
    import altair as alt

    if drawn.training is None:
        return []
    data = alt.Chart(alt.InlineData([{"energy": drawn.training, "text": "one training"}]))
    rule = data.mark_rule(color=look.inks.ink, strokeDash=[2, 2]).encode(_x(drawn, look))
    text = data.mark_text(align="left", dx=4, fontSize=10.5, color=look.inks.ink)
    return [rule, text.encode(_x(drawn, look), y=alt.value(look.height - 8), text="text:N")]
