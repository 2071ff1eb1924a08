"""What the page that compares runs reads: a file for each run, which is made with its page, and one
that lists them all.

The page makes the comparison itself (`comparison.js`), as `bench.rank.compare` would: here is what
that takes. What can't be told from a record alone, how much repeats of its entry scatter, is here
as well.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from bench.rank import compare, notation, score
from bench.rank.entry import Run, is_share, usable_metric, written_now
from bench.rank.render import plain
from bench.record import Metric, Record
from bench.site import page, paths
from bench.site.contents import Contents, Piece

if TYPE_CHECKING:
    from bench.site.readings import Course, Seen, Total

LONGEST = 200  # characters of one text
MOST_PHASES = 40  # names of them that a table shows
MOST_SPANS = 160  # of phases that a ruler shows
_EXACT = 2**53  # the largest whole number that a script knows exactly
_EPOCH = date(1970, 1, 1).toordinal()

Repeats = tuple[float, int] | None
About = tuple[str, Repeats, str | None]  # entry, how it scatters, what is said of it


def pieces(contents: Contents) -> Iterator[Piece]:
    """The list of all runs."""
    text = index(contents, with_data(contents))
    yield Piece((paths.RUN_LIST,), page.digest(text), partial(_same, paths.RUN_LIST, text))


def with_data(contents: Contents) -> list[Run]:
    """Runs that have such a file, as the boards have them, the best of each cell first; then those
    that no board shows."""
    by_id = {run.record.run_id: run for run in contents.runs}
    order = [*(i for i in contents.seats if i in by_id), *by_id]
    taken = {"", paths.RUN_LIST.casefold()}
    found = []
    for run_id in dict.fromkeys(order):
        file = paths.run_data(run_id).casefold()
        if file not in taken:  # two files that some file systems take for one
            taken.add(file)
            found.append(by_id[run_id])
    return found


def _same(file: str, text: str) -> Mapping[str, str]:
    return {file: text}


class Others:
    """What other runs and entries say of a run."""

    def __init__(self, contents: Contents) -> None:
        self._scatters, self._said = _scatters(contents.runs), _said(contents)

    def of(self, run: Run) -> About:
        run_id = run.record.run_id
        return run.key, self._scatters[run_id], self._said.get(run_id)


def _scatters(runs: Sequence[Run]) -> dict[str, Repeats]:
    """By run id: how much the energy of its entry scatters under its meter, and over how many."""
    entries: dict[str, list[Record]] = {}
    for run in runs:
        entries.setdefault(run.key, []).append(run.record)
    known: dict[tuple[Any, ...], Repeats] = {}
    found = {}
    for run in runs:
        key, meter = of = (run.key, compare.meter(run.record))
        if of not in known:
            known[of] = compare.repeats_of(meter, entries[key], lambda _: True)
        found[run.record.run_id] = known[of]
    return found


def _said(contents: Contents) -> dict[str, str]:
    """What is said of the entry that a run came with, where it no longer stands."""
    found: dict[str, str] = {}
    for place, runs in contents.by_place.items():
        about = contents.standing_of(runs[0]) if runs else None
        if about and not about.stands:
            how = "taken back" if about.retracted_by else "replaced by a correction"
            found |= {r.record.run_id: f"its entry {place} was {how}" for r in runs}
    return found


# --- the list ----------------------------------------------------------------------------------


class _Names:
    """Texts by their number, each of them written once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, text: str) -> int:
        return self._numbers.setdefault(plain(text, 80), len(self._numbers))

    def all(self) -> list[str]:
        return list(self._numbers)


def index(contents: Contents, shown: Sequence[Run]) -> str:
    """`bench.runs({...})`: of each run id, task, model, recipe, seed, hardware, day since 1970,
    level, the numbers of its entry and of its cell (-1: on no board)."""
    tasks, models, recipes, hardware, levels = (_Names() for _ in range(5))
    entries: dict[str, int] = {}
    cells = {id(cell): number for number, cell in enumerate(contents.cells)}
    rows = []
    for run in shown:
        r = run.record
        seat = contents.seats.get(r.run_id)
        rows.append(
            [
                paths.slug(r.run_id), tasks.of(r.spec.task), models.of(r.spec.model),
                recipes.of(r.spec.recipe), _number(r.spec.seed),
                hardware.of(written_now(r.spec.hardware)), _day(r.started_at), levels.of(r.level),
                entries.setdefault(run.key, len(entries)), cells[id(seat.cell)] if seat else -1,
            ]
        )  # fmt: skip
    return page.as_script(
        "bench.runs",
        {
            "tasks": tasks.all(), "models": models.all(), "recipes": recipes.all(),
            "hardware": hardware.all(), "levels": levels.all(), "rows": rows,
        },
    )  # fmt: skip


def _day(started_at: str) -> int | None:
    try:
        return date.fromisoformat(started_at[:10]).toordinal() - _EPOCH
    except ValueError:
        return None


def _number(value: int) -> int | str:
    return value if abs(value) < _EXACT else plain(str(value), 40)


# --- one run -----------------------------------------------------------------------------------


def facts_of(
    record: Record, seen: Seen, entry: str, repeats: Repeats = None, said: str | None = None
) -> dict[str, Any]:
    """What a comparison needs of a run; numbers that are none are null."""
    scored = record.spec.data.fingerprints.get("scored")
    return {
        "id": paths.slug(record.run_id),
        "task": plain(record.spec.task, LONGEST),
        "date": plain(record.started_at[:10], 20),
        "hardware": plain(written_now(record.spec.hardware), LONGEST),
        "side": _side(record),
        "score": _score(record),
        "scored": None if scored is None else _token(scored),
        "ended": compare.ended(record),
        "meter": _token(repr(compare.meter(record))),
        "entry": entry,
        "repeats": repeats,
        "facts": {_name(k): _odd(v) for k, v in compare.facts(record).items()},
        "doubts": [plain(w.message, LONGEST) for w in record.warnings if not w.rankable][:3],
        "said": said and plain(said, LONGEST),
        "window_s": _finite(record.duration_s),
        "power": _power(seen.total),
        "spans": spans(record),
        "learning": _learning(seen.course),
    }


@lru_cache(4096)
def _name(fact: str) -> str:
    """Most runs have the same."""
    return plain(fact, 80)


def _side(record: Record) -> dict[str, Any]:
    found = vars(compare.side(record)).copy()
    phases = list(found.pop("phases").items())[:MOST_PHASES]
    known = {name: plain(v, LONGEST) if isinstance(v, str) else v for name, v in found.items()}
    known["seed"] = _number(record.spec.seed)
    parts = {plain(name, 40): {k: _finite(v) for k, v in of.items()} for name, of in phases}
    return {**{k: _finite(v) for k, v in known.items()}, "phases": parts}


def _score(record: Record) -> dict[str, Any] | None:
    """`correct` is null where no answer is right or wrong by itself, '' where it should be and the
    record does not say it."""
    metric = usable_metric(record)
    if metric is None:
        return None
    return {
        "n": metric.n,
        "better": compare.better_values(metric),
        "interval": _interval(metric),
        "correct": None if metric.correct is None else compare.right_answers(metric) or "",
        "notation": as_list(notation.of(metric.name)),
    }


def _interval(metric: Metric) -> tuple[float, float] | None:
    """Of a share of right answers, from the number of examples alone."""
    known = is_share(metric) and 0 <= metric.value <= 1
    return score.wilson(metric.value, metric.n) if known else None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _odd(value: Any) -> Any:
    """A setting as it is; where a script could not know it from another, its text and a digest."""
    if isinstance(value, str):
        text = plain(value, LONGEST)
        return value if text == value else [text, _token(value)]
    odd = isinstance(value, float) and not math.isfinite(value)
    if odd or (isinstance(value, int) and abs(value) >= _EXACT):
        return [plain(str(value), LONGEST), _token(str(value))]
    return value


def _token(text: str) -> str:
    """Equal for equal texts, and short."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


# --- what it did over time ---------------------------------------------------------------------


def _power(total: Total | str) -> dict[str, Any] | str:
    if isinstance(total, str):
        return total
    return {"step_s": total.step_s, "power_w": _shorts(total.power_w.tolist(), 4)}


def _learning(course: Course | str) -> dict[str, Any] | str:
    if isinstance(course, str):
        return course
    pairs = zip(course.energy_j, course.values, strict=True)
    return {
        "metric": plain(course.metric, 60),
        "notation": as_list(notation.of(course.metric)),
        "points": [[_short(j, 6), _short(value, 6)] for j, value in pairs],
    }


def spans(record: Record) -> list[list[Any]]:
    """Phases as a ruler shows them: name, start and end in seconds. Of very many the longest."""
    each = [p for p in record.phases if math.isfinite(p.start_s + p.duration_s)]
    if len(each) > MOST_SPANS:
        least_s = sorted((p.duration_s for p in each), reverse=True)[MOST_SPANS]
        each = [p for p in each if p.duration_s > least_s]
    return [
        [plain(p.name, 40), _short(p.start_s, 6), _short(p.start_s + p.duration_s, 6)] for p in each
    ]


def as_list(shown: notation.Notation) -> list[Any]:
    """How a metric is written, for `comparison.js`."""
    return [plain(shown.title, 60), shown.unit, shown.times, shown.decimals]


def _short(value: float, digits: int) -> float:
    return _whole(float(f"{value:.{digits}g}"))


def _whole(value: float) -> float:
    """A whole number without its point, which would be two letters more."""
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def _shorts(values: Sequence[float], digits: int) -> list[float | None]:
    """Of many by one format, in half the time; null where there is none."""
    each = (f"%.{digits}g " * len(values) % tuple(values)).split()
    return [_whole(short) if math.isfinite(short) else None for short in map(float, each)]
