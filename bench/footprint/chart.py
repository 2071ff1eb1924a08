"""Trainings beside each other on a logarithmic axis, from one fine-tune to a search. How a number
is known shows in the form of its bar, and in a word beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.footprint import equivalents
from bench.footprint.published import Row, Table
from bench.footprint.quantity import Quantity
from bench.plot.picture import COLOURS, INKS, Inks, dressed
from bench.power.carbon import Scenario
from bench.rank.render import plain
from bench.units import J_PER_KWH, common_unit, significant

MEASURED, ESTIMATED, COMPUTED, PRINTED = "measured", "estimated", "computed", "as printed"
KINDS = (MEASURED, ESTIMATED, COMPUTED, PRINTED)

LINES = {
    "led-hour": "a 10 W lamp, one hour",
    "household-day": "a US household, one day",
    "flight": "a flight, New York to San Francisco",
    "human-year": "a human life, one year",
    "car-lifetime": "a car, its lifetime",
}
"""Equivalents that are drawn as lines, with short names."""


@dataclass(frozen=True)
class Bar:
    """A training or more; `own` ones are of those who ask, not published elsewhere."""

    name: str
    about: str  # hardware
    kwh: float
    kind: str
    own: bool = False
    unsure_kwh: float | None = None  # expanded, k = 2


@dataclass(frozen=True)
class Line:
    name: str
    kwh: float
    source: str


@dataclass(frozen=True)
class Look:
    """Pixels of the bars and of what stands beside them. Without room for names they are above."""

    width: int = 430
    names: int = 350  # 0: above the bars
    numbers: int = 205
    inks: Inks = INKS
    accent: str = COLOURS[0]

    @property
    def row(self) -> int:
        return 21 if self.names else 35


PAPER = Look()
_LETTER = 5.5  # pixels


# --- what is drawn -------------------------------------------------------------------------------


def published_bars(tables: Iterable[Table]) -> list[Bar]:
    """Every row whose energy is known: of table 1 none, since the others have the same."""
    every = (_bar(_name(table, row), row) for table in tables for row in table.rows)
    return [bar for bar in every if bar]


def _name(table: Table, row: Row) -> str:
    return f"One paper, {row.name}" if table.key == "4" else row.name


def _bar(name: str, row: Row) -> Bar | None:
    energy, about = energy_of(row), "" if name.startswith("One paper") else row.hardware
    if energy:
        return Bar(name, about, energy.value, COMPUTED)
    printed = row.cells["kwh"].printed if "kwh" in row.cells else None
    return Bar(name, about, printed, PRINTED) if printed else None


def energy_of(row: Row) -> Quantity | None:
    """What was computed; of table 4, what the cost of electricity follows from."""
    if "kwh" in row.cells:
        return row.cells["kwh"].computed
    cost = row.cells["electricity_usd"].computed if "electricity_usd" in row.cells else None
    return next((q for q in cost.inputs if q.unit == "kWh"), None) if cost else None


def lines(scenario: Scenario) -> list[Line]:
    """Equivalents as an energy: those of CO2e by the scenario's grid."""
    by_key = {thing.key: thing for thing in equivalents.things()}
    found = []
    for key, name in LINES.items():
        thing = by_key[key]
        per = 1.0 if thing.of == "energy" else scenario.region.g_per_kwh / 1000
        found.append(Line(name, thing.amount.value / per, thing.source))
    return sorted(found, key=lambda line: line.kwh)


def ordered(bars: Iterable[Bar]) -> list[Bar]:
    """The smallest first; what is nothing has no place on the axis."""
    return sorted((b for b in bars if b.kwh > 0), key=lambda b: (b.kwh, b.name, b.about))


def said(bar: Bar, scenario: Scenario) -> tuple[str, str]:
    """0.529 Wh, 0.203 g: the energy of a bar, and what it emits at the scenario's grid."""
    about = "≈" if bar.kind == ESTIMATED else ""
    kg = bar.kwh * scenario.region.g_per_kwh / 1000
    mass = f"{_few(kg)} kg" if kg >= 1 else f"{significant(1000 * kg)} g"
    unit = common_unit([bar.kwh * J_PER_KWH])
    energy = f"{_few(bar.kwh * J_PER_KWH / unit.in_j)} {unit.name}"
    return f"{about}{energy}", f"{about}{mass}"


def _few(value: float) -> str:
    return significant(value, 4 if value >= 1000 else 3)


def caption(scenario: Scenario) -> str:
    """What is to be known of the drawing."""
    region = scenario.region
    return (
        "Energy of trainings on a logarithmic axis: each line to the right is ten times as much. "
        "Ends of bars compare, lengths do not. Solid: measured by a meter, with its uncertainty "
        "(k = 2). Dashed and ≈: estimated from load and rated power, not measured. Shaded: "
        "computed by the study's formula from stated power and hours. Hollow: as its source "
        f"prints it. CO2e of all alike by one grid, {region.name} {region.year}, "
        f"{significant(region.g_per_kwh)} g CO2e/kWh ({region.source}, {region.kind}), not by the "
        f"grid that each was trained on; trainings of one's own with {scenario.pue}, the study's "
        "with the PUE of 1.58 that is in its kWh, others as they state. What is covered differs, "
        "from a card alone to a whole machine: the tables say it."
    )


# --- drawing -------------------------------------------------------------------------------------


def spec(bars: Sequence[Bar], scenario: Scenario, look: Look = PAPER) -> dict[str, Any]:
    """As Vega-Lite has it."""
    from altair.utils import schemapi

    with schemapi.debug_mode(False):
        found: dict[str, Any] = _chart(ordered(bars), scenario, look).to_dict()
    return found


def _chart(bars: Sequence[Bar], scenario: Scenario, look: Look) -> Any:
    import altair as alt

    axes = _Axes(bars, lines(scenario), look)
    rows = [_row(i, bar, scenario, look) for i, bar in enumerate(bars)]
    main = alt.layer(
        _grid(axes), *_equivalents(axes), *_bars(rows, axes), *_unsure(rows, axes),
        *_names(rows, axes), *_numbers(rows, axes),
    )  # fmt: skip
    both = alt.layer(main, _emissions(axes, scenario)).resolve_scale(x="independent")
    return dressed(both.properties(width=look.width, height=axes.height), look.inks)


class _Axes:
    """Energy to the right, a row of pixels for each bar downwards; above them names of lines."""

    def __init__(self, bars: Sequence[Bar], found: Sequence[Line], look: Look) -> None:
        self.look = look
        every = [b.kwh for b in bars] + [line.kwh for line in found]
        low, high = min(every, default=1.0), max(every, default=1.0)
        self.low = 10.0 ** (math.ceil(math.log10(low)) - 1)
        self.high = 10.0 ** (math.floor(math.log10(high)) + 1)
        room = 1000 if look.names else 0  # pixels to the left of the axis
        self.lines = [f for f in found if self.pixel(f.kwh) + room > _LETTER * len(f.name)]
        self.top = 15 * len(self.lines) + 8
        self.height = self.top + look.row * len(bars) + 4

    def x(self, field: str, kg: float = 1.0, **about: Any) -> Any:
        import altair as alt

        scale = alt.Scale(type="log", domain=[self.low * kg, self.high * kg], nice=False)
        axis = alt.Axis(values=self.ticks(kg), format=",~f", grid=False, labelOverlap=False)
        title = about.pop("title", "Energy (kWh)")
        return alt.X(f"{field}:Q", scale=scale, axis=about.get("axis", axis), title=title)

    def decades(self, kg: float = 1.0) -> range:
        """Powers of ten on the axis; in kg its ends are none."""
        return range(math.ceil(math.log10(self.low * kg) - 1e-9),
                     math.floor(math.log10(self.high * kg) + 1e-9) + 1)  # fmt: skip

    def ticks(self, kg: float = 1.0) -> list[float]:
        """One in two or three decades, 1 among them, or their labels would touch."""
        every = 2 if self.look.width >= 400 else 3
        return [10.0**n for n in self.decades(kg) if n % every == 0]

    def pixel(self, kwh: float) -> float:
        return self.look.width * math.log(kwh / self.low) / math.log(self.high / self.low)


def _row(number: int, bar: Bar, scenario: Scenario, look: Look) -> dict[str, Any]:
    energy, mass = said(bar, scenario)
    unsure, both = bar.unsure_kwh or 0.0, f"{energy}, {bar.kind}"
    return {
        "row": number, "kwh": bar.kwh, "kind": bar.kind, "own": bar.own,
        "low": max(bar.kwh - unsure, bar.kwh / 10), "high": bar.kwh + unsure,
        "unsure": bar.unsure_kwh is not None, "name": _short(bar, both, look), "energy": energy,
        "mass": mass, "both": both,
    }  # fmt: skip


def _short(bar: Bar, energy: str, look: Look) -> str:
    """The name as far as there is room, which is what the number leaves of it."""
    letter = 6.6 if bar.own else 6.1
    room = int((look.names or look.width - 6.1 * len(energy) - 6) / letter)
    text = ", ".join(filter(None, (bar.name, bar.about)))
    return plain(text if look.names or len(text) <= room else bar.name, room)


def _data(rows: Sequence[dict[str, Any]]) -> Any:
    import altair as alt

    return alt.Chart(alt.InlineData(list(rows)))


def _pixel(axes: _Axes, rows: Sequence[dict[str, Any]], shift: float) -> list[dict[str, Any]]:
    """Rows with the middle of a row, moved by some pixels, as `y`."""
    row = axes.look.row
    return [r | {"y": axes.top + row * (r["row"] + 0.5) + shift} for r in rows]


def _y(field: str = "y") -> Any:
    import altair as alt

    return alt.Y(f"{field}:Q", scale=None, axis=None)


def _grid(axes: _Axes) -> Any:
    import altair as alt

    rows = [{"x": 10.0**n, "y": axes.top, "y2": axes.height} for n in axes.decades()]
    drawn = _data(rows).mark_rule(color=axes.look.inks.grid, strokeWidth=0.8)
    return drawn.encode(axes.x("x"), _y(), y2=alt.Y2("y2"))


def _equivalents(axes: _Axes) -> list[Any]:
    """Dashed lines through all rows, each with its name above to its left. Those farther to the
    right begin higher, so that none crosses a name."""
    import altair as alt

    rows = [
        {"x": line.kwh, "y": 15 * i + 8, "name": line.name}
        for i, line in enumerate(reversed(axes.lines))
    ]
    inks, heads = axes.look.inks, [r | {"y2": axes.top} for r in rows]
    rules = _data([*heads, *_through(rows, axes)])
    words = _data(rows).mark_text(
        align="right", dx=-4, fontSize=10.5, color=inks.ink, baseline="middle"
    )
    return [
        rules.mark_rule(color=inks.soft, strokeDash=[2, 3], strokeWidth=1.2).encode(
            axes.x("x"), _y(), y2=alt.Y2("y2")
        ),
        words.encode(axes.x("x"), _y(), text="name:N"),
    ]


def _through(rows: Sequence[dict[str, Any]], axes: _Axes) -> list[dict[str, Any]]:
    """From the top down; where names are above the bars, through the bars alone."""
    if axes.look.names:
        return [r | {"y": axes.top, "y2": axes.height} for r in rows]
    starts = range(axes.top, axes.height - 4, axes.look.row)
    return [r | {"y": y + 17, "y2": y + axes.look.row - 4} for r in rows for y in starts]


def _bars(rows: Sequence[dict[str, Any]], axes: _Axes) -> list[Any]:
    """A layer for each way of knowing."""
    import altair as alt

    inks, accent = axes.look.inks, axes.look.accent
    looks: dict[str, dict[str, Any]] = {
        MEASURED: {"fill": accent, "stroke": accent},
        ESTIMATED: {"fillOpacity": 0, "fill": accent, "stroke": accent, "strokeDash": [4, 2]},
        COMPUTED: {"fill": inks.soft, "fillOpacity": 0.4, "stroke": inks.soft},
        PRINTED: {"fillOpacity": 0, "fill": inks.soft, "stroke": inks.soft},
    }
    below = 0.0 if axes.look.names else 7.0
    found = []
    for kind, look in looks.items():
        some = [
            r | {"left": axes.low, "y2": r["y"] + 9}
            for r in _pixel(axes, rows, below - 4.5) if r["kind"] == kind
        ]  # fmt: skip
        if some:
            found.append(
                _data(some).mark_rect(strokeWidth=1.2, **look).encode(
                    axes.x("left"), _y(), x2=alt.X2("kwh"), y2=alt.Y2("y2")
                )
            )  # fmt: skip
    return found


def _unsure(rows: Sequence[dict[str, Any]], axes: _Axes) -> Iterator[Any]:
    import altair as alt

    below = 0.0 if axes.look.names else 7.0
    if some := [r for r in _pixel(axes, rows, below) if r["unsure"]]:
        yield (
            _data(some)
            .mark_rule(color=axes.look.inks.ink, strokeWidth=1.4)
            .encode(axes.x("low"), _y(), x2=alt.X2("high"))
        )


def _names(rows: Sequence[dict[str, Any]], axes: _Axes) -> Iterator[Any]:
    beside = bool(axes.look.names)
    for own in (True, False):
        yield from _texts(
            axes, [r for r in rows if r["own"] is own], "name", -8 if beside else 0,
            align="right" if beside else "left", above=not beside, bold=own,
        )  # fmt: skip


def _numbers(rows: Sequence[dict[str, Any]], axes: _Axes) -> Iterator[Any]:
    """Columns to the right of the bars; without room, at the end of the name's line."""
    width, numbers = axes.look.width, axes.look.numbers
    if not axes.look.names:
        yield from _texts(axes, rows, "both", width, align="right", above=True)
        return
    yield from _texts(axes, rows, "energy", width + 92, align="right")
    yield from _texts(axes, rows, "mass", width + 160, align="right")
    yield from _texts(axes, rows, "kind", width + numbers - 36, align="left")


def _texts(
    axes: _Axes, rows: Sequence[dict[str, Any]], field: str, x: float, *, align: str,
    above: bool = False, bold: bool = False,
) -> Iterator[Any]:  # fmt: skip
    import altair as alt

    inks = axes.look.inks
    if rows:
        yield _data(_pixel(axes, rows, -7.0 if above else 0.0)).mark_text(
            align=align, baseline="middle", fontSize=11,
            fontWeight="bold" if bold else "normal", color=inks.ink,
        ).encode(_y(), x=alt.value(x), text=f"{field}:N")  # fmt: skip


def _emissions(axes: _Axes, scenario: Scenario) -> Any:
    """The second axis: what the energy emits."""
    import altair as alt

    region = scenario.region
    kg = region.g_per_kwh / 1000
    axis = alt.Axis(values=axes.ticks(kg), format=",~f", orient="bottom", offset=42, grid=False,
                    labelOverlap=False)  # fmt: skip
    where = f"{region.name} {region.year}, {significant(region.g_per_kwh)} g/kWh"
    title = f"Emissions (kg CO2e), {plain(where, 60)}"
    row = {"x": axes.low * kg, "y": axes.height}
    return _data([row]).mark_point(opacity=0).encode(axes.x("x", kg, axis=axis, title=title), _y())


def svg(
    bars: Sequence[Bar], scenario: Scenario, wide: Look, narrow: Look,
    inline: Callable[[dict[str, Any], str, str], str],
) -> list[str]:  # fmt: skip
    """Both drawings as parts of a page: for wide screens, and for narrow ones."""
    described = (
        f"Energy of {len(bars)} trainings on a logarithmic axis, with lines for what some of it "
        "is like; a table has the same numbers."
    )
    return [
        inline(spec(bars, scenario, look), described, kind)
        for look, kind in ((wide, "wide-plot"), (narrow, "narrow-plot"))
    ]
