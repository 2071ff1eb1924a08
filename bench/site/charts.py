"""Plots in pages: drawn when the site is built, in the page's own colours, and alive on demand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from bench.rank import pareto
from bench.rank.entry import Cell, Entry
from bench.rank.pareto import Dot
from bench.site import page, paths
from bench.site.contents import Contents, Piece
from bench.units import J_PER_KWH, EnergyUnit

if TYPE_CHECKING:
    from markupsafe import Markup

    from bench.plot.picture import Inks

VEGA = paths.asset("vega.js")
FEWEST, MOST = 2, 60
"""Dots of a plot."""

WIDE, NARROW = (1040, 430), (310, 330)
"""Pixels of the inside of a plot, and of one for a phone."""

COLOURS = tuple(f"var(--c{n})" for n in range(1, 9))


def pieces(contents: Contents) -> Iterator[Piece]:
    """What makes plots live: Vega once, and the plot of each task as Vega-Lite has it."""
    yield Piece((VEGA,), page.digest(_version()), _vega)
    for task, cells in contents.tasks.items():
        dots = chosen(cells)
        if len(dots) >= FEWEST:
            at = paths.front(task)
            yield Piece((at,), page.digest(dots), partial(_specs, at, dots))


# --- what is drawn -------------------------------------------------------------------------------


def chosen(cells: Sequence[Cell]) -> list[Dot]:
    """The entries of a plot: where there are too many, those on a front, then the first."""
    found = pareto.dots(cells, address=address)
    order = sorted(range(len(found)), key=lambda i: (not found[i].on_front, i))
    return [found[i] for i in sorted(order[:MOST])]


def address(entry: Entry) -> str:
    """Of the page of an entry; of its first run where it was not submitted."""
    if entry.submissions:
        return paths.entry(entry.submissions[0].place)
    return paths.run(entry.runs[0].record.run_id)


def front_svg(cells: Sequence[Cell], at: str) -> Markup:
    """Skill against energy of all entries of some cells, for the page at `at`: once for wide
    screens and once for narrow ones. Nothing where there is nothing to compare."""
    from markupsafe import Markup

    dots = chosen(cells)
    if len(dots) < FEWEST:
        return Markup("")
    described = "Skill against energy, a dot for each entry; the tables below have the same."
    unit = pareto.unit_of(dots)
    links = [
        (paths.relative(at, dot.address), f"{dot.series}, {dot.label}: {said(dot, unit)}")
        for dot in dots
    ]
    bare = [replace(dot, address="") for dot in dots]  # links are this module's own
    return Markup("").join(
        inline(front_spec(bare, narrow), described, "narrow-plot" if narrow else "wide-plot", links)
        for narrow in (False, True)
    )


def marks(cells: Sequence[Cell]) -> str:
    """What the marks of `front_svg` mean."""
    missing = left_out(cells)
    of = "entry is" if missing == 1 else "entries are"
    more = f" {missing} more {of} in the tables alone." if missing else ""
    return " ".join(pareto.marks(chosen(cells))) + more


def left_out(cells: Sequence[Cell]) -> int:
    """How many entries are not drawn."""
    return max(0, len(pareto.dots(cells)) - MOST)


def said(dot: Dot, unit: EnergyUnit) -> str:
    """The numbers of a dot, each with what it is."""
    energy = f"{unit.number(dot.energy_kwh * J_PER_KWH)} {unit.name}"
    skill = f"skill {dot.skill:.3f}"
    if dot.skill_interval:
        skill += " ({:.3f} to {:.3f})".format(*dot.skill_interval)
    if dot.energy_interval_kwh:
        low, high = (unit.number(e * J_PER_KWH) for e in dot.energy_interval_kwh)
        energy += f" ({low} to {high})"
    about = "≈" if dot.estimated else ""
    how = "estimated" if dot.estimated else "measured"
    runs = "1 run" if dot.runs == 1 else f"{dot.runs} runs, 95 % between them"
    return f"{skill}, {about}{energy}, {how}: {dot.meters}; {runs}"


# --- as a part of a page -------------------------------------------------------------------------


def inks() -> Inks:
    from bench.plot import inline

    return inline.INKS


def front_spec(dots: Sequence[Dot], narrow: bool, zoom: bool = False) -> dict[str, Any]:
    from bench.plot import front

    width, height = NARROW if narrow else WIDE
    look = front.Look(
        width, height, names=24 if narrow else 80, every=not narrow, inks=inks(), colours=COLOURS,
        numbered=True,
    )  # fmt: skip
    return front.spec(dots, look, zoom)


def inline(
    spec: Mapping[str, Any],
    described: str,
    kind: str,
    links: Sequence[tuple[str, str]] = (),
    points: str = "points",
) -> Markup:
    """As `bench.plot.inline` has it."""
    from markupsafe import Markup

    from bench.plot import inline as plots

    return Markup(plots.inline(spec, described, kind, links, points))


# --- live ----------------------------------------------------------------------------------------


def _specs(at: str, dots: Sequence[Dot]) -> Mapping[str, str]:
    """Both sizes of a plot; addresses as the page of the board says them, which is beside it."""
    near = [replace(dot, address=paths.relative(at, dot.address)) for dot in dots]
    sizes = {
        name: front_spec(near, narrow, zoom=True)
        for name, narrow in (("wide", False), ("narrow", True))
    }
    return {at: page.as_script("bench.plot", sizes)}


def _vega() -> Mapping[str, str]:
    """Vega, Vega-Lite and Vega-Embed as one classic script; a page sees one name of it."""
    from bench.plot import vega

    script = vega.bundle("window.vegaEmbed=vegaEmbed;")
    return {VEGA: f"(()=>{{{script}}})();\n"}


def _version() -> str:
    try:
        return version("vl-convert-python")
    except PackageNotFoundError:
        return ""
