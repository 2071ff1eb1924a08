"""What has changed: entries as they were submitted, corrected, taken back and repeated by others,
for people by day and for programs as a feed; and what changed in bench and its rules."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from bench.rank import render
from bench.rank.columns import named
from bench.rank.entry import Place
from bench.rank.render import plain
from bench.rank.standing import Standing
from bench.site import boards, downloads, page, paths
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
class Sight:
    """What is the same of all entries of a cell."""

    where: str
    how: str
    address: str
    tiers: Mapping[str, int]  # how many entries each has


Sights = Mapping[Place, Sight]


def sights(contents: Contents) -> Sights:
    return {
        cell.place: Sight(
            where=cell.title.removeprefix("ESTIMATES, not measured · "),
            how=render.how(cell),
            address=f"{paths.board(cell.place.task)}#{boards.name_of(cell)}",
            tiers={s.name: len(s.entries) for s in cell.sections},
        )
        for cell in contents.cells
    }


@dataclass(frozen=True)
class Month:
    name: str
    address: str
    events: Sequence[Standing]


def pieces(contents: Contents) -> Iterator[Piece]:
    every = newest_first(contents)
    latest, months = every[:MOST], _months(every) if len(every) > MOST else []
    seen = sights(contents)

    def key(several: Sequence[Standing], *facts: object) -> str:
        return page.digest([known(s, contents, seen) for s in several], *facts)

    listed = [(m.name, m.address, len(m.events)) for m in months]
    facts = listed, changelog(), len(every)
    yield Piece(
        (paths.CHANGES,), key(latest, facts), partial(_page, contents, seen, latest, *facts)
    )
    for m in months:
        yield Piece((m.address,), key(m.events), partial(_month, contents, seen, m))
    fed = every[:MOST_IN_FEED]
    yield Piece((paths.FEED,), key(fed, contents.url), partial(_feed, contents, seen, fed))


def known(about: Standing, contents: Contents, seen: Sights) -> tuple[object, ...]:
    """What an event follows from."""
    e = about.entry
    card = contents.cards.get(e.task)
    other = target(about, e.retracts or e.reevaluates or e.verifies or e.supersedes, contents)
    seats = contents.seats_of.get(about.place, []) if about.stands else []
    return (
        about.place, e.model_dump_json(), about.retracted_by, about.superseded_by, other,
        card and card.title, contents.scenario,
        [(seen[cell.place].where, seen[cell.place].address, downloads.known(entry),
          [contents.marks[r.run_id] for r in entry.records]) for cell, entry in seats],
    )  # fmt: skip


def changelog() -> str:
    """Of bench: in the package where it is installed, beside it in a checkout."""
    inside = files("bench") / "CHANGELOG.md"
    beside = Path(str(files("bench"))).parent / "CHANGELOG.md"
    for each in (inside, beside):
        if each.is_file():
            return each.read_text(encoding="utf-8")
    return ""


# --- events ------------------------------------------------------------------------------------


def newest_first(contents: Contents) -> list[Standing]:
    def order(about: Standing) -> tuple[datetime, str]:
        return moment(about.entry.submitted_at), about.place

    return sorted(contents.submitted, key=order, reverse=True)


def event(about: Standing, contents: Contents, seen: Sights) -> Event:
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
        seen=_seen(about, contents, seen),
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


def _seen(about: Standing, contents: Contents, seen: Sights) -> tuple[Seen, ...]:
    """Where it stands; nowhere, if it does not stand."""
    seats = contents.seats_of.get(about.place, []) if about.stands else []
    return tuple(_seat_seen(seat, contents, seen[seat.cell.place]) for seat in seats)


def _seat_seen(seat: Seat, contents: Contents, sight: Sight) -> Seen:
    cell, entry = seat
    numbers = []
    for key in ("score", "metric", "energy"):
        value, spread = render.as_text(named(key), entry, cell, contents.scenario)
        if value.strip():
            name, number = with_unit(render.heading_of(named(key), cell), page.number(value))
            numbers.append((name, number, spread.strip()))
    return Seen(
        where=sight.where,
        address=sight.address,
        rank=rank_of(entry.rank),
        tier=entry.tier or entry.status,
        numbers=tuple(numbers),
        estimated=cell.place.estimated,
    )


_UNITS = {"%", "/kWh", "kWh", "Wh"}


def with_unit(heading: str, number: str) -> tuple[str, str]:
    """A heading of a column and a number below it, as they are said in a line."""
    name, _, unit = heading.rpartition(" ")
    return (name, f"{number} {unit}") if unit in _UNITS else (heading, number)


def rank_of(rank: tuple[int, int] | None) -> str:
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
    contents: Contents,
    seen: Sights,
    latest: Sequence[Standing],
    months: Sequence[tuple[str, str, int]],
    log: str,
    total: int,
) -> Mapping[str, str]:
    at = paths.CHANGES
    return {
        at: page.render(
            "changes.html", at, days=_days(latest, contents, seen), months=months, total=total,
            log=from_markdown(_without_title(log), at) if log else "", shown=len(latest),
            words=in_words, month=None,
        )
    }  # fmt: skip


def _month(contents: Contents, seen: Sights, month: Month) -> Mapping[str, str]:
    at = month.address
    return {
        at: page.render(
            "changes.html", at, days=_days(month.events, contents, seen), months=(), log="",
            total=len(month.events), shown=len(month.events), words=in_words, month=month.name,
        )
    }  # fmt: skip


def _without_title(log: str) -> str:
    """The page has one, and its heading is the section's."""
    lines = log.splitlines()
    kept = lines[1:] if lines and lines[0].startswith("# ") else lines
    return "\n".join(f"#{line}" if line.startswith("## ") else line for line in kept)


def _days(several: Sequence[Standing], contents: Contents, seen: Sights) -> _Days:
    events = [event(about, contents, seen) for about in several]
    return [(day, list(each)) for day, each in groupby(events, key=lambda e: e.day)]


def _months(every: Sequence[Standing]) -> list[Month]:
    """Newest first. Large ones in parts that are counted from the oldest event, so that full ones
    stay as they are."""
    found = []
    for name, each in groupby(every, key=lambda s: moment(s.entry.submitted_at).isoformat()[:7]):
        oldest_first = list(each)[::-1]
        parts = [oldest_first[i : i + MOST_OF_A_MONTH]
                 for i in range(0, len(oldest_first), MOST_OF_A_MONTH)]  # fmt: skip
        for number in range(len(parts), 0, -1):
            full = name if number == 1 else f"{name}-{number}"
            found.append(Month(full, paths.month(full), parts[number - 1][::-1]))
    return found


def _feed(contents: Contents, seen: Sights, newest: Sequence[Standing]) -> Mapping[str, str]:
    """Its links are relative as long as nobody says where the site will be."""
    base = f"{contents.url.rstrip('/')}/" if contents.url else ""
    events = [event(about, contents, seen) for about in newest]
    text = page.render(
        "feed.xml", paths.FEED, events=events, base=base, id=uuid.uuid5(_SPACE, base or "feed").urn,
        updated=events[0].when if events else LONG_AGO.isoformat(timespec="seconds"),
    )  # fmt: skip
    return {paths.FEED: text}
