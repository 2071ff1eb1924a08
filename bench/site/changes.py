"""What has changed: entries as they were submitted, corrected, taken back and repeated by others,
for people by day and for programs as a feed; and what changed in bench and its rules."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from bench.rank import render
from bench.rank.columns import named
from bench.rank.render import plain
from bench.rank.standing import Standing
from bench.site import boards, page, paths
from bench.site.contents import Contents, Piece, Seat
from bench.site.markdown import from_markdown

MOST = 200
"""Events that the page shows; the others are on pages of their months."""

MOST_OF_A_MONTH = 500
"""On one page."""

MOST_IN_FEED = 50

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Of what does not say when it was submitted."""

_SPACE = uuid.UUID("9d4fdf0c-35b4-5c1f-8a39-0ad4a1f5d6a7")
"""Of the names that a feed's entries have, wherever the site is."""


@dataclass(frozen=True)
class Seen:
    """Where an entry ranks now, in words and numbers."""

    where: str
    address: str
    rank: str  # empty: it has none
    tier: str
    numbers: tuple[tuple[str, str, str], ...]  # heading, value, ±
    estimated: bool


@dataclass(frozen=True)
class Target:
    """The entry that another one speaks of."""

    title: str
    address: str


@dataclass(frozen=True)
class Event:
    when: str  # UTC, ISO 8601 to the second
    what: str  # submitted, corrected, retracted, verified, reevaluated
    place: str
    task: str
    title: str
    address: str
    authors: tuple[str, ...]
    reason: str
    about: Target | None
    fate: str  # retracted, superseded; empty while it stands
    seen: tuple[Seen, ...]

    @property
    def id(self) -> str:
        """The same on every host and for ever: nothing in results/ is overwritten."""
        return uuid.uuid5(_SPACE, f"{self.place} {self.when}").urn

    @property
    def day(self) -> str:
        return self.when[:10]

    @property
    def clock(self) -> str:
        return self.when[11:16]


@dataclass(frozen=True)
class Month:
    name: str
    address: str
    events: tuple[Event, ...]


def pieces(contents: Contents) -> Iterator[Piece]:
    events = newest_first(contents)
    latest, months = events[:MOST], _months(events) if len(events) > MOST else []
    listed = [(m.name, m.address, len(m.events)) for m in months]
    log = changelog()
    key = page.digest(latest, listed, log, len(events))
    yield Piece(
        (paths.CHANGES,), key, partial(_page, latest, listed, log, len(events))
    )  # fmt: skip
    for month in months:
        yield Piece((month.address,), page.digest(month), partial(_month, month))
    fed = events[:MOST_IN_FEED]
    yield Piece((paths.FEED,), page.digest(fed, contents.url), partial(_feed, fed, contents.url))


def changelog() -> str:
    """Of bench: in the package where it is installed, beside it in a checkout."""
    inside = files("bench") / "CHANGELOG.md"
    beside = Path(str(files("bench"))).parent / "CHANGELOG.md"
    for each in (inside, beside):
        if each.is_file():
            return each.read_text(encoding="utf-8")
    return ""


# --- events ------------------------------------------------------------------------------------


def newest_first(contents: Contents) -> list[Event]:
    events = [event(about, contents) for about in contents.submitted]
    return sorted(events, key=lambda e: (e.when, e.place), reverse=True)


def event(about: Standing, contents: Contents) -> Event:
    e = about.entry
    card = contents.cards.get(e.task)
    fate = "retracted" if about.retracted_by else "superseded" if about.superseded_by else ""
    return Event(
        when=moment(e.submitted_at).isoformat(timespec="seconds"),
        what=kind_of(about),
        place=about.place,
        task=plain(card.title if card else e.task),
        title=plain(e.title),
        address=paths.entry(about.place),
        authors=tuple(map(plain, e.authors[:10])) + (("and others",) if e.authors[10:] else ()),
        reason=plain(e.reason, page.LONGEST),
        about=target(about, e.retracts or e.reevaluates or e.verifies or e.supersedes, contents),
        fate=fate,
        seen=seen(about, contents),
    )


def kind_of(about: Standing) -> str:
    e = about.entry
    if e.kind != "runs":
        return "retracted" if e.kind == "retraction" else "reevaluated"
    return "verified" if e.verifies else "corrected" if e.supersedes else "submitted"


def target(about: Standing, place: str | None, contents: Contents) -> Target | None:
    """What an entry speaks of; None where there is no such entry."""
    other = contents.standings.get(contents.results / place) if place else None
    return Target(plain(other.entry.title), paths.entry(other.place)) if other else None


def moment(text: str) -> datetime:
    """UTC; of what is no time, long ago."""
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return LONG_AGO


def seen(about: Standing, contents: Contents) -> tuple[Seen, ...]:
    """Where it stands; nowhere, if it does not stand."""
    seats = contents.seats_of.get(about.place, []) if about.stands else []
    return tuple(seat_seen(seat, contents) for seat in seats)


def seat_seen(seat: Seat, contents: Contents) -> Seen:
    cell, entry = seat
    p = cell.place
    numbers = []
    for key in ("score", "metric", "energy"):
        value, spread = render.as_text(named(key), entry, cell, contents.scenario)
        if value.strip():
            heading = render.heading_of(named(key), cell.metric)
            numbers.append((heading, value.strip(), spread.strip()))
    return Seen(
        where=cell.title.removeprefix("ESTIMATES, not measured · "),
        address=f"{paths.board(p.task)}#{boards.name_of(cell)}",
        rank=_rank(entry.rank),
        tier=entry.tier or entry.status,
        numbers=tuple(numbers),
        estimated=p.estimated,
    )


def _rank(rank: tuple[int, int] | None) -> str:
    if rank is None:
        return ""
    return f"{rank[0]}" if rank[0] == rank[1] else f"{rank[0]}–{rank[1]}"


def in_words(day: str) -> str:
    """26 November 2026."""
    year, month, number = day.split("-")
    return f"{int(number)} {_MONTHS[int(month) - 1]} {year}"


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


# --- pages -------------------------------------------------------------------------------------

_Days = list[tuple[str, list[Event]]]


def _page(
    events: Sequence[Event], months: Sequence[tuple[str, str, int]], log: str, total: int
) -> Mapping[str, str]:
    at = paths.CHANGES
    return {
        at: page.render(
            "changes.html", at, days=_days(events), months=months, total=total, month=None,
            log=from_markdown(_without_title(log), at) if log else "", shown=len(events),
            words=in_words,
        )
    }  # fmt: skip


def _month(month: Month) -> Mapping[str, str]:
    at = month.address
    return {
        at: page.render(
            "changes.html", at, days=_days(month.events), months=(), total=len(month.events),
            month=month.name, log="", words=in_words, shown=len(month.events),
        )
    }  # fmt: skip


def _without_title(log: str) -> str:
    """The page has one, and its heading is the section's."""
    lines = log.splitlines()
    kept = lines[1:] if lines and lines[0].startswith("# ") else lines
    return "\n".join(f"#{line}" if line.startswith("## ") else line for line in kept)


def _days(events: Iterable[Event]) -> _Days:
    return [(day, list(each)) for day, each in groupby(events, key=lambda e: e.day)]


def _months(events: Sequence[Event]) -> list[Month]:
    """Newest first. Large ones in parts that are counted from the oldest event, so that full ones
    stay as they are."""
    found = []
    for name, each in groupby(events, key=lambda e: e.when[:7]):
        oldest_first = list(each)[::-1]
        parts = [oldest_first[i : i + MOST_OF_A_MONTH]
                 for i in range(0, len(oldest_first), MOST_OF_A_MONTH)]  # fmt: skip
        for number in range(len(parts), 0, -1):
            full = name if number == 1 else f"{name}-{number}"
            found.append(Month(full, paths.month(full), tuple(parts[number - 1][::-1])))
    return found


def _feed(events: Sequence[Event], url: str | None) -> Mapping[str, str]:
    """Its links are relative as long as nobody says where the site will be."""
    base = f"{url.rstrip('/')}/" if url else ""
    updated = events[0].when if events else LONG_AGO.isoformat(timespec="seconds")
    text = page.render(
        "feed.xml", paths.FEED, events=events, base=base, updated=updated,
        id=uuid.uuid5(_SPACE, base or "feed").urn,
    )  # fmt: skip
    return {paths.FEED: text}
