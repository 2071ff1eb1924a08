"""A badge for each entry: what it is worth on the board, as a small picture that needs nothing
else. Its colours are its own, so that it can be read on a light page and on a dark one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Literal

from bench.rank import render
from bench.rank.columns import named
from bench.rank.render import plain
from bench.rank.standing import Standing
from bench.site import page, paths
from bench.site.contents import Contents, Piece, Seat

Look = Literal["gold", "silver", "bronze", "plain", "bad"]

HEIGHT, FONT = 20, 11
FAMILY = "Verdana,DejaVu Sans,Geneva,sans-serif"
_PAD = 7
_LONGEST = 90  # signs of its text
_TITLE = 28  # signs of a task's title

_COLOURS: Mapping[Look, tuple[str, str]] = {
    "gold": ("#e3b81c", "#12181f"),
    "silver": ("#c3ccd4", "#12181f"),
    "bronze": ("#c98a52", "#12181f"),
    "plain": ("#eef1f4", "#12181f"),
    "bad": ("#a3242b", "#ffffff"),
}
"""Ground and ink, with a contrast of 4.5 and more."""


@dataclass(frozen=True)
class Badge:
    """`estimated` ones are hatched and have a broken line around them."""

    text: str
    look: Look
    estimated: bool = False


def pieces(contents: Contents) -> Iterator[Piece]:
    for each in contents.submitted:
        if each.entry.kind == "runs":
            found, at = of(each, contents), paths.badge(each.place)
            yield Piece((at,), page.digest(found), partial(_file, at, found))


def of(about: Standing, contents: Contents) -> Badge:
    card = contents.cards.get(about.entry.task)
    task = plain(card.title if card else about.entry.task, _TITLE)
    if about.retracted_by:
        return Badge(f"{task} retracted", "bad")
    if about.superseded_by:
        return Badge(f"{task} superseded", "bad")
    seats = contents.seats_of.get(about.place)
    return _of_seat(task, seats[0]) if seats else Badge(f"{task} · on no board", "plain")


def _of_seat(task: str, seat: Seat) -> Badge:
    cell, entry = seat
    if cell.place.data != "official":
        task = f"{task} (data not pinned)" if cell.unpinned else f"NOT {task}"
    score = render.as_text(named("score"), entry, cell, None)[0].strip()
    text = f"{task} {entry.tier or _WITHOUT[entry.status]}"
    if score and entry.status != "unranked":
        text += f" · {score} /kWh"
    looks: dict[str | None, Look] = {"gold": "gold", "silver": "silver", "bronze": "bronze"}
    estimated = cell.place.estimated
    return Badge(
        text + (" estimated" if estimated else ""), looks.get(entry.tier, "plain"), estimated
    )


_WITHOUT = {
    "ranked": "ranked", "provisional": "provisional", "below": "below bronze",
    "unranked": "not ranked",
}  # fmt: skip


def _file(at: str, badge: Badge) -> Mapping[str, str]:
    return {at: svg(badge)}


def svg(badge: Badge) -> str:
    """The picture, with the text as its title."""
    text = plain(badge.text, _LONGEST)
    left, right = _width("bench"), _width(text)
    name_w, text_w = left + 2 * _PAD, right + 2 * _PAD
    width = name_w + text_w
    ground, ink = _COLOURS[badge.look]
    said = escape(f"bench: {text}")
    dashes = ' stroke-dasharray="3 2"' if badge.estimated else ""
    hatch = (
        f'<path d="{_hatch(name_w, width)}" stroke="#12181f" stroke-opacity=".16"/>'
        if badge.estimated else ""
    )  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}"'
        f' viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{said}"><title>{said}</title>'
        f'<clipPath id="r"><rect width="{width}" height="{HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><path fill="#12181f" d="M0 0h{name_w}v{HEIGHT}H0z"/>'
        f'<path fill="{ground}" d="M{name_w} 0h{text_w}v{HEIGHT}H{name_w}z"/>{hatch}</g>'
        f'<rect x=".5" y=".5" width="{width - 1}" height="{HEIGHT - 1}" rx="3" fill="none"'
        f' stroke="#7a8894"{dashes}/>'
        f'<g font-family="{FAMILY}" font-size="{FONT}">'
        f"{_text('bench', _PAD, left, '#ffffff')}{_text(text, name_w + _PAD, right, ink)}"
        f"</g></svg>\n"
    )


def _text(text: str, x: int, width: int, ink: str) -> str:
    """Whatever font there is, it takes as much room as was planned."""
    return (
        f'<text x="{x}" y="14" fill="{ink}" textLength="{width}"'
        f' lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
    )


def _hatch(start: int, end: int) -> str:
    return "".join(f"M{x} {HEIGHT}l{HEIGHT}-{HEIGHT}" for x in range(start - HEIGHT, end, 6))


_NARROW, _WIDE = set("fijlrtI1.,:;|!'()[] ·-/"), set("mwMWGOQ@%≈—…")


def _width(text: str) -> int:
    """About what it takes in Verdana, in pixels."""
    return round(sum(map(_advance, text)))


def _advance(sign: str) -> float:
    if unicodedata.combining(sign):
        return 0.0
    if unicodedata.east_asian_width(sign) in "WF":
        return float(FONT)
    if sign in _NARROW:
        return 4.5
    return 9.5 if sign in _WIDE else 7.5 if sign.isupper() else 6.8
