"""A plot as a part of a page: shapes and texts alone, which the strictest policy lets through."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from xml.etree import ElementTree

from bench.plot import vega
from bench.plot.picture import Inks

INKS = Inks(
    ink="var(--ink)", soft="var(--soft)", grid="var(--faint)", ground="var(--paper)",
    font="Plex, Liberation Sans, Arial, sans-serif", padding=4,
)  # fmt: skip
"""Colours that the page has by these names."""


def inline(
    spec: Mapping[str, Any],
    described: str,
    kind: str,
    links: Sequence[tuple[str, str]] = (),
    points: str = "points",
) -> str:
    """A plot as an element of a page: no style, no ids, no ground. `links` are of the marks of the
    layer `points`, in order: where to, and what it says. A mark that is described as `dot N` has
    the number for scripts to find it by, and the lines of the layer `fronts` are of that class."""
    root = ElementTree.fromstring(vega.svg(spec))
    box = root.get("viewBox", "0 0 1 1")
    wide, high = box.split()[2:]
    inside = "".join(_kept(child, _Links(points, links)) for child in root)
    role = "group" if links else "img"  # of an image nothing can be followed
    return (
        f'<svg class="vl {kind}" viewBox="{escape(box)}" width="{escape(wide)}" '
        f'height="{escape(high)}" role="{role}" aria-label="{escape(described)}">{inside}</svg>\n'
    )


_DRAWN = {
    "d", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "fill", "stroke", "stroke-width",
    "stroke-dasharray", "text-anchor", "transform", "font-size", "font-weight", "opacity",
    "fill-opacity", "stroke-opacity",
}  # fmt: skip
_IMPLIED = {
    ("stroke-width", "1"), ("opacity", "1"), ("text-anchor", "start"), ("fill-opacity", "1"),
    ("font-weight", "normal"), ("transform", "translate(0,0)"),
}  # fmt: skip
_LONG = re.compile(r"-?\d+\.\d{2,}")
_NOWHERE = {"", "M0,0h0v0h0Z"}
_NUMBERED = re.compile(r"dot (\d+)")
FRONTS = "fronts"


class _Links:
    def __init__(self, layer: str, links: Sequence[tuple[str, str]]) -> None:
        self._layer, self._links = f"{layer}_marks", links

    def around(self, group: ElementTree.Element, marks: list[str]) -> list[str]:
        if self._layer not in group.get("class", "").split() or len(marks) != len(self._links):
            return marks
        return [
            f'<a href="{escape(to)}" tabindex="-1"><title>{escape(text)}</title>{mark}</a>'
            for (to, text), mark in zip(self._links, marks, strict=True)
        ]


def _kept(node: ElementTree.Element, links: _Links) -> str:
    """What is seen of an element: shapes, texts, and groups with something in them."""
    name = node.tag.rpartition("}")[2]
    if name == "g":
        marks = links.around(node, [kept for child in node if (kept := _kept(child, links))])
        inside, looks = "".join(marks), _looks(node)
        if f"{FRONTS}_marks" in node.get("class", "").split():
            looks += f' class="{FRONTS}"'
        return f"<g{looks}>{inside}</g>" if inside and looks else inside
    if name not in ("path", "line", "rect", "text", "tspan") or _unseen(node):
        return ""
    inside = escape(node.text or "", quote=False) + "".join(_kept(c, links) for c in node)
    looks = _looks(node) + _number(node)
    return f"<{name}{looks}>{inside}</{name}>" if inside else f"<{name}{looks}/>"


def _number(mark: ElementTree.Element) -> str:
    """Of the dot that a mark belongs to, where it says so."""
    found = _NUMBERED.fullmatch(mark.get("aria-label", ""))
    return f' data-dot="{found[1]}"' if found else ""


def _unseen(node: ElementTree.Element) -> bool:
    if "background" in node.get("class", "") or "foreground" in node.get("class", ""):
        return True
    if node.get("opacity") == "0" or node.get("display") == "none":
        return True
    if node.tag.endswith("rect") and node.get("fill") == INKS.ground:  # of the whole
        return True
    return node.tag.endswith("path") and node.get("d", "") in _NOWHERE


def _looks(node: ElementTree.Element) -> str:
    return "".join(
        f' {name}="{escape(_rounded(name, value))}"'
        for name, value in node.attrib.items()
        if name in _DRAWN and (name, value) not in _IMPLIED
    )


def _rounded(name: str, value: str) -> str:
    """To tenths of a pixel."""
    if name not in ("d", "transform", "x", "y", "x2", "y2"):
        return value
    return _LONG.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), value)
