"""Carbon intensity of a grid over time, from sources of others: one module each, holding one class
`Source`; the file's name is the source's.

`covers` says why it can't be asked about a region, or None; `between` asks for the samples that
meet a span, and raises `Unanswered` with the reason where there are none. A source sends a region
and times. What was asked before is not asked again, and where nothing is known the yearly mean of
`bench.power.carbon` stands, which is always said, with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol, cast

from bench import registry
from bench.errors import unknown_name
from bench.footprint.live._cache import DAY, Cache, span
from bench.footprint.live._matching import Matched, Part, matched
from bench.footprint.live._samples import Sample, Unanswered, gaps, shown
from bench.power.carbon import Kind, Region

__all__ = [
    "Course",
    "Matched",
    "Part",
    "Sample",
    "Source",
    "course",
    "matched",
    "names",
    "now",
    "today",
]

PACKAGE, GROUP = "bench.footprint.live", "bench.intensity"
AUTO, OFF = "auto", "off"
_RECENT = timedelta(hours=6)  # older than this is not now
_PATIENCE_S = 60.0  # for all that one course asks
_REST_S = 60.0  # for which a source that does not answer is left alone


class Source(Protocol):
    title: str
    kind: Kind
    unit: str  # CO2e, or CO2 alone

    def address(self) -> str: ...

    def covers(self, region: Region) -> str | None: ...

    def between(self, region: Region, start: datetime, stop: datetime) -> list[Sample]: ...


@dataclass(frozen=True)
class Course:
    """Intensity over a span, from one source. `whys` are why others, or some days, are missing."""

    region: Region
    start: datetime
    stop: datetime
    source: str | None  # its name; None: no source knew anything
    title: str
    kind: Kind | None
    unit: str
    samples: list[Sample]
    whys: tuple[str, ...]

    @property
    def gaps(self) -> list[tuple[datetime, datetime]]:
        return gaps(self.samples, self.start, self.stop)


def names() -> list[str]:
    """The sources that there are."""
    return registry.names(PACKAGE, GROUP)


def course(
    region: Region,
    start: datetime,
    stop: datetime,
    source: str | None = AUTO,
    at: datetime | None = None,
) -> Course:
    """Intensity of a region's grid over a span (UTC), up to now: of the source named, or of the
    first that knows something (auto; those of the region's kind come first), or of none (off).
    UsageError when there is no such source. `at` takes the place of now."""
    at = at or datetime.now(UTC)
    stop = max(start, min(stop, at))
    whys: list[str] = []
    for name, found in _sources(source or AUTO, region) if start < at else ():
        why = found.covers(region)
        samples, reasons = ([], [why]) if why else _samples(name, found, region, start, stop, at)
        whys += [f"{found.title}: {reason}" for reason in reasons]
        if samples:
            kind, unit = found.kind, found.unit
            return Course(region, start, stop, name, found.title, kind, unit, samples, tuple(whys))
    if (source or AUTO) == OFF:
        whys = ["no source was to be asked"]
    elif start >= at:
        whys = ["that time has not come yet"]
    return Course(region, start, stop, None, "", None, "CO2e", [], tuple(whys))


def now(region: Region, source: str | None = AUTO, at: datetime | None = None) -> Sample | str:
    """The newest sample of the last hours; or why there is none."""
    at = at or datetime.now(UTC)
    found = course(region, at - _RECENT, at, source, at)
    return found.samples[-1] if found.samples else "; ".join(found.whys)


def today(region: Region, source: str | None = AUTO, at: datetime | None = None) -> Course:
    """From midnight (UTC) to now, and the last hours before it where the day is young."""
    at = (at or datetime.now(UTC)).astimezone(UTC)
    return course(region, min(span(at.date())[0], at - _RECENT), at, source, at)


# --- asking --------------------------------------------------------------------------------------


def _sources(asked: str, region: Region) -> list[tuple[str, Source]]:
    """Those to try, in order."""
    known = names()
    if asked == OFF:
        return []
    if asked != AUTO and asked not in known:
        raise unknown_name("source", asked, [AUTO, *known, OFF], "bench footprint intensity --help")
    wanted = known if asked == AUTO else [asked]
    found = [(name, _load(name)) for name in wanted]
    return sorted(found, key=lambda pair: pair[1].kind != region.kind)


def _load(name: str) -> Source:
    module = registry.load(PACKAGE, GROUP, name, "source", "bench footprint intensity --help")
    return cast(Source, module.Source())


def _samples(
    name: str, source: Source, region: Region, start: datetime, stop: datetime, at: datetime
) -> tuple[list[Sample], list[str]]:
    """What a source knows of a span, and why it does not know the rest."""
    try:
        address = source.address()
    except Unanswered as error:
        return [], [error.why]
    cache = Cache(name, address, region.code)
    found: list[Sample] = []
    failed = ""
    until_s = time.monotonic() + _PATIENCE_S
    for day in _days(start, stop):
        samples = cache.read(day, at)
        if samples is None and not failed:
            samples, failed = _asked(source, region, day, at)
            if samples is not None:
                cache.write(day, samples, at)
            if time.monotonic() > until_s:
                failed = failed or f"was asked for {_PATIENCE_S:g} s, which is enough"
        found += [s for s in samples or [] if s.start < stop and s.stop > start]
    reasons = [failed] if failed else []
    missing = gaps(found, start, stop)
    if missing and not failed:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        first, last = missing[0]
        reasons.append(f"has nothing from {shown(first)} to {shown(last)}{more}")
    return found, reasons


def _asked(
    source: Source, region: Region, day: date, at: datetime
) -> tuple[list[Sample] | None, str]:
    """The samples of a day, or why there are none. Many runs may ask: a source that has not
    answered one of them is not waited for again at once."""
    address = source.address()
    until_s, why = _resting.get(address, (0.0, ""))
    if time.monotonic() < until_s:
        return None, why
    start, stop = span(day)
    try:
        return source.between(region, start, min(stop, at)), ""
    except Unanswered as error:
        if error.transient or error.status == _TOO_OFTEN:
            _resting[address] = time.monotonic() + _REST_S, error.why
        return None, error.why


_resting: dict[str, tuple[float, str]] = {}  # address -> until when, and why
_TOO_OFTEN = 429


def _days(start: datetime, stop: datetime) -> Iterator[date]:
    """Those that a span meets, UTC."""
    day = start.astimezone(UTC).date()
    while span(day)[0] < stop:
        yield day
        day += DAY
