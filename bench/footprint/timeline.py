"""A project's energy over time, stacked by what it was for: a picture, or bars in a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.footprint.jobs import LEVELS, Job
from bench.footprint.project import ROLES, Project
from bench.plot.picture import COLOURS, dressed, heading, write
from bench.units import significant

_WIDTH, _HEIGHT, _WRAP = 640, 220, 104
_MOST_DAYS, _MOST_BARS = 200, 31
_FILLS = dict(zip(ROLES, (COLOURS[0], COLOURS[1], COLOURS[2], COLOURS[3], COLOURS[5], "#999999"),
                  strict=True))  # fmt: skip
_MARKS = dict(zip(ROLES, "█▓▒░·x", strict=True))


@dataclass(frozen=True)
class Slice:
    """Energy of a day, a week or a month."""

    start: date
    role: str
    level: str
    kwh: float


def slices_of(project: Project, step: str = "day") -> list[Slice]:
    """Energy by role and level over days (UTC), weeks from Monday or months; a job's is spread
    evenly over the time that it took."""
    found: dict[tuple[date, str, str], float] = defaultdict(float)
    for job in project.jobs:
        if job.level:  # sweeps elsewhere are where they chose
            for day, share in _shares(job):
                found[bucket(day, step), job.level, project.roles[job.run_id]] += share * job.kwh
    return [Slice(d, role, level, kwh) for (d, level, role), kwh in sorted(found.items())]


def _shares(job: Job) -> Iterator[tuple[date, float]]:
    """Each day that a job ran on, with its share of the time."""
    stop = job.started + timedelta(seconds=job.duration_s)
    at = job.started
    if at.date() == stop.date():
        yield at.date(), 1.0
        return
    while at < stop:
        midnight = datetime.combine(at.date() + timedelta(days=1), datetime.min.time(), UTC)
        until = min(midnight, stop)
        yield at.date(), (until - at).total_seconds() / job.duration_s
        at = until


def bucket(day: date, step: str) -> date:
    if step == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if step == "month" else day


def step_of(days: int, most: int) -> str:
    """The finest that has at most so many bars."""
    if days <= most:
        return "day"
    return "week" if days <= 7 * most else "month"


# --- drawn ----------------------------------------------------------------------------------------


def save(project: Project, path: Path, title: str, said: Sequence[str]) -> None:
    """Write the plot to `path`, in the kind that its name ends in."""
    step = step_of(project.days, _MOST_DAYS)
    slices = slices_of(project, step)

    def draw(zoom: bool) -> Any:
        import altair as alt

        roles = [r for r in ROLES if any(s.role == r for s in slices)]
        starts = [d.isoformat() for d in buckets(project, step)]
        charts = [_chart(some, level, step, roles, starts) for level, some in by_level(slices)]
        return dressed(alt.vconcat(*charts).properties(title=heading(title, said, _WRAP)))

    write(draw, path)


def by_level(slices: Sequence[Slice]) -> Iterator[tuple[str, list[Slice]]]:
    """Measured and estimated apart: they are in no bar together."""
    for level in LEVELS:
        if some := [s for s in slices if s.level == level]:
            yield level, some


def _chart(
    slices: Sequence[Slice], level: str, step: str, roles: Sequence[str], starts: Sequence[str]
) -> Any:
    import altair as alt

    rows = [
        {
            "start": s.start.isoformat(), "role": s.role, "kwh": s.kwh,
            "order": ROLES.index(s.role),
        }
        for s in slices
    ]  # fmt: skip
    colour = alt.Color(
        "role:N", title=None, scale=alt.Scale(domain=roles, range=[_FILLS[r] for r in roles]),
        legend=alt.Legend(orient="bottom", columns=6),
    )  # fmt: skip
    few = len(starts) <= 8
    every = max(1, len(starts) // 24)  # labels that have room
    axis = alt.Axis(labelAngle=0 if few else -90, values=list(starts[::every]))
    days = alt.Scale(domain=list(starts))
    return (
        alt.Chart(alt.InlineData(rows))
        .mark_bar(size=min(60, 0.8 * _WIDTH / len(starts)))
        .encode(
            alt.X("start:O", title=f"{step} (UTC)", axis=axis, scale=days),
            alt.Y("kwh:Q", title=f"kWh a {step}, {level}", stack="zero"),
            color=colour,
            order=alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("start:N", title=step),
                alt.Tooltip("role:N"),
                alt.Tooltip("kwh:Q", format=".3~g"),
            ],
        )
        .properties(width=_WIDTH, height=_HEIGHT)
    )


def buckets(project: Project, step: str) -> list[date]:
    """Every day, week or month from the first job to the last, those without any, too."""
    days = (project.first.date() + timedelta(days=n) for n in range(project.days))
    return list(dict.fromkeys(bucket(day, step) for day in days))


def bars(project: Project, width: int) -> Iterator[str]:
    """Lines of a small chart, measured and estimated apart; the latest where there are many."""
    step = step_of(project.days, _MOST_BARS)
    for level, slices in by_level(slices_of(project, step)):
        every = buckets(project, step)
        starts = every[-_MOST_BARS:]
        left_out = len(every) - len(starts)
        roles = [r for r in ROLES if any(s.role == r for s in slices)]
        more = f", the last {len(starts)} of {len(every)}" if left_out else ""
        yield f"kWh a {step}, {level}{more}: " + ", ".join(f"{_MARKS[r]} {r}" for r in roles)
        totals = [sum(s.kwh for s in slices if s.start == day) for day in starts]
        room = max(10, width - 24)
        for day, total in zip(starts, totals, strict=True):
            parts = {r: sum(s.kwh for s in slices if s.start == day and s.role == r) for r in roles}
            bar = _bar(parts, room / (max(totals) or 1.0))
            yield f"{day.isoformat()} {significant(total):>10}  {bar}"


def _bar(parts: dict[str, float], scale: float) -> str:
    """Each part ends where the sum until then does, so that rounding does not add up."""
    drawn, until = "", 0.0
    for role, kwh in parts.items():
        until += kwh
        drawn += _MARKS[role] * max(0, round(until * scale) - len(drawn))
    return drawn
