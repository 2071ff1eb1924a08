"""Days of intensity that were asked for before, below the user's cache: one file a source, zone and
day (UTC). A day that is over is kept for good once all of it was measured; others for a while."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from bench import record
from bench.footprint.live._samples import Grams, Sample, Shape, gaps, ordered, plain
from bench.footprint.live._samples import Unanswered as _Wrong

VERSION = 1
WHILE = timedelta(minutes=15)  # what may still change is asked for again
SETTLED = timedelta(days=7)  # after which a source no longer mends a day
DAY = timedelta(days=1)


class _Kept(Shape):
    version: int
    asked_at: AwareDatetime
    samples: list[tuple[AwareDatetime, AwareDatetime, Grams, bool]]


class Cache:
    """Of one source's zone. What can't be read is none, and what can't be written is not kept."""

    def __init__(self, source: str, address: str, zone: str) -> None:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        server = hashlib.sha256(address.encode()).hexdigest()[:8]
        self._folder = Path(caches) / "bench" / "intensity" / f"{source}-{server}" / zone

    def read(self, day: date, at: datetime) -> list[Sample] | None:
        """The samples of a day, if they are still good at `at`."""
        try:
            kept = _Kept.model_validate_json(self._path(day).read_bytes())
            samples = ordered([Sample(*s) for s in kept.samples], *span(day))
        except (OSError, ValidationError, _Wrong):
            return None
        if kept.version != VERSION or kept.asked_at > at:
            return None
        final = _is_final(samples, day, kept.asked_at)
        return samples if final or at - kept.asked_at < WHILE else None

    def write(self, day: date, samples: list[Sample], at: datetime) -> None:
        facts = {"version": VERSION, "asked_at": at.isoformat(), "samples": [*map(plain, samples)]}
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            record.write_file(self._path(day), json.dumps(facts))

    def _path(self, day: date) -> Path:
        return self._folder / f"{day.isoformat()}.json"


def span(day: date) -> tuple[datetime, datetime]:
    """From midnight to midnight, UTC."""
    start = datetime.combine(day, time(), UTC)
    return start, start + DAY


def _is_final(samples: list[Sample], day: date, asked_at: datetime) -> bool:
    start, stop = span(day)
    whole = not gaps(samples, start, stop) and not any(s.estimated for s in samples)
    return asked_at >= (stop if whole else stop + SETTLED)
