"""Carbon intensity over time, and what an answer must be to be believed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import first_fault

MOST_G_PER_KWH = 3000.0  # a power plant on lignite emits a third of it; no grid emits as much

Grams = Annotated[float, Field(ge=0, le=MOST_G_PER_KWH, allow_inf_nan=False)]


class Sample(NamedTuple):
    """Intensity of a grid from `start` to `stop` (UTC)."""

    start: datetime
    stop: datetime
    g_per_kwh: float
    estimated: bool  # by a model or a forecast, as the source says


class Unanswered(Exception):
    """Why a source has no answer: one line, with nothing secret in it."""

    def __init__(self, why: str, status: int | None = None, transient: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.status = status  # of HTTP
        self.transient = transient  # asking at once again may help


class Shape(BaseModel):
    """Of an answer. What is named is checked; what a source adds is not read."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


Shaped = TypeVar("Shaped", bound=Shape)


def shaped(shape: type[Shaped], body: bytes) -> Shaped:
    """The answer in a body of JSON; Unanswered where it is another thing."""
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise Unanswered("answers, but not with JSON") from None
        raise Unanswered(f"answers what makes no sense: {first_fault(error)[:200]}") from None


def ordered(samples: Iterable[Sample], start: datetime, stop: datetime) -> list[Sample]:
    """Those that lie in a span; Unanswered where they are not one after the other."""
    found: list[Sample] = []
    for sample in samples:
        if sample.stop <= sample.start or (found and sample.start < found[-1].stop):
            raise Unanswered(f"answers with times in the wrong order at {shown(sample.start)}")
        found.append(sample._replace(start=utc(sample.start), stop=utc(sample.stop)))
    return [s for s in found if s.start < stop and s.stop > start]


def gaps(
    samples: Sequence[Sample], start: datetime, stop: datetime
) -> list[tuple[datetime, datetime]]:
    """The stretches of a span that no sample covers."""
    found, at = [], start
    for sample in samples:
        if sample.start > at:
            found.append((at, min(sample.start, stop)))
        at = max(at, sample.stop)
        if at >= stop:
            return found
    return [*found, (at, stop)] if at < stop else found


def utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


def floor(at: datetime, step: timedelta) -> datetime:
    """The last multiple of `step` since midnight that is not after `at`."""
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + step * ((at - midnight) // step)


def ceiling(at: datetime, step: timedelta) -> datetime:
    """The first multiple of `step` since midnight that is not before `at`."""
    below = floor(at, step)
    return below if below == at else below + step


def shown(at: datetime) -> str:
    return f"{utc(at):%Y-%m-%d %H:%M} UTC"


def stamp(at: datetime) -> str:
    """As sources want it."""
    return f"{utc(at):%Y-%m-%dT%H:%MZ}"


def plain(sample: Sample) -> list[Any]:
    """For JSON."""
    return [sample.start.isoformat(), sample.stop.isoformat(), sample.g_per_kwh, sample.estimated]
