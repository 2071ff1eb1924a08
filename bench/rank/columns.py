"""Every column of the board, in order: one entry each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal, Protocol

from bench import submission
from bench.errors import unknown_name
from bench.rank import notation, score
from bench.rank.entry import Cell, Entry, Section, is_share
from bench.record import Record
from bench.units import kwh_from_j, show_duration, significant

Value = str | int | float | None


class Grid(Protocol):
    """A grid's mean intensity over a year."""

    @property
    def name(self) -> str: ...
    @property
    def year(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def kind(self) -> str: ...  # life-cycle or combustion: the two don't compare
    @property
    def g_per_kwh(self) -> float: ...


class Building(Protocol):
    """What a building adds to its machines."""

    @property
    def value(self) -> float: ...


class Scenario(Protocol):
    """Where the electricity may come from: it never ranks."""

    @property
    def region(self) -> Grid: ...
    @property
    def pue(self) -> Building: ...
    def emissions_g(self, energy_j: float) -> float: ...


@dataclass(frozen=True)
class Column:
    """`value` is what files hold (None: not known), `show` what people read.

    `priority` says which columns a narrow table keeps (1 stays longest; None: not in the table,
    because the heading of the cell or another column says it).
    """

    key: str
    title: str
    unit: str | None
    better: Literal["higher", "lower"] | None
    value: Callable[[Entry, Scenario | None], Value]
    show: Callable[[Value], str] = lambda v: "" if v is None else str(v)
    spread: Callable[[Entry], float | None] | None = None  # ± in the unit of the value
    relative: bool = False  # whether people read ± in percent of the value
    priority: int | None = None
    short: str | None = None  # heading in the table
    shown: Callable[[Entry], str] | None = None  # where the table says more than the value
    in_common: bool = False  # whether people read kWh in the unit of the cell

    @property
    def heading(self) -> str:
        """Title with unit, as files have it."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def _number(value: Value) -> str:
    return significant(value) if isinstance(value, int | float) else str(value or "")


def _percent(value: Value) -> str:
    return f"{100 * value:.1f}" if isinstance(value, int | float) else ""


def _fixed(value: Value) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else ""


def _duration(value: Value) -> str:
    return show_duration(value) if isinstance(value, int | float) else ""


def _energy_kwh(entry: Entry) -> float | None:
    return kwh_from_j(fmean(entry.energies_j)) if entry.energies_j else None


def _energy_spread_kwh(entry: Entry) -> float | None:
    u = entry.uncertainty_j
    return None if u is None else kwh_from_j(u)


def _with_tuning_kwh(entry: Entry) -> float | None:
    """One training and all that chose its settings; None where no sweep did, and where the two
    energies are not alike."""
    t = entry.tuning
    if t is None or t.energy_j is None or not entry.energies_j:
        return None
    if not t.adds_to(entry.place.level, entry.place.coverage):
        return None
    return kwh_from_j(fmean(entry.energies_j) + t.energy_j)


def _with_tuning_spread_kwh(entry: Entry) -> float | None:
    """The meters' gain is common to trials and runs: their uncertainties add up."""
    t, own = entry.tuning, entry.uncertainty_j
    if t is None or t.uncertainty_j is None or own is None:
        return None
    return kwh_from_j(own + t.uncertainty_j)


def _energy_scatter(entry: Entry) -> float | None:
    """Standard deviation of the runs' energies, percent of their mean."""
    e = entry.energies_j
    return 100 * score.deviation(e) / fmean(e) if len(e) > 1 and fmean(e) > 0 else None


def _split_noise(entry: Entry) -> float | None:
    if not all(map(is_share, entry.metrics)) or not entry.metrics:
        return None
    low, high = score.wilson(fmean(entry.values), entry.metrics[0].n)
    return (high - low) / 2


def _also(entry: Entry) -> str | None:
    """Means as they are stored: 'f1=0.8812; chrf=51.3'."""
    return "; ".join(f"{name}={value:.6g}" for name, value in entry.also.items()) or None


def _plain(entry: Entry) -> float | None:
    """None where less of the metric is better: per kWh it says nothing."""
    falls = any(m.best < m.chance for m in entry.metrics)
    return score.plain_ratio(entry.values, entry.energies_j) if entry.scored and not falls else None


def _score_spread(entry: Entry) -> float | None:
    interval = entry.score_interval
    return (interval[1] - interval[0]) / 2 if interval else None


def _emissions_g(entry: Entry, scenario: Scenario | None) -> float | None:
    if scenario is None or not entry.energies_j:
        return None
    return scenario.emissions_g(fmean(entry.energies_j))


def _over_reference(record: Record) -> float | None:
    """What compares across machines: the run's energy over that of the reference job there."""
    if record.reference is None or record.energy_j is None:
        return None
    return record.energy_j / record.reference.energy_j


def _prediction_j(record: Record) -> float | None:
    """J per 1,000 predictions; a phase without energy was not metered."""
    energy_j = record.phase_energy_j("predict")
    n = record.metric.n if record.metric else 0
    return 1000 * energy_j / n if energy_j and n else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


COLUMNS: tuple[Column, ...] = (
    Column("rank", "rank from", None, "lower", lambda e, g: e.rank[0] if e.rank else None,
           priority=1, short="rank",
           shown=lambda e: _rank(e.rank)),
    Column("rank_to", "rank to", None, "lower", lambda e, g: e.rank[1] if e.rank else None),
    Column("tier", "tier", None, None, lambda e, g: e.tier or e.status),
    Column("entry", "entry", None, None, lambda e, g: e.title, priority=1),
    Column("entry_key", "entry key", None, None, lambda e, g: e.key),
    Column("origin", "origin", None, None, lambda e, g: e.origin),
    Column("task", "task", None, None, lambda e, g: e.place.task),
    Column("task_version", "task version", None, None, lambda e, g: e.place.version),
    Column("data", "data", None, None, lambda e, g: e.place.data),
    Column("edition", "edition", None, None, lambda e, g: e.place.edition),
    Column("track", "track", None, None, lambda e, g: e.place.track),
    Column("hardware", "hardware", None, None, lambda e, g: e.place.hardware),
    Column("access", "access", None, None, lambda e, g: e.place.access),
    Column("level", "meter level", None, None, lambda e, g: e.place.level),
    Column("coverage", "coverage", None, None, lambda e, g: e.place.coverage),
    Column("model", "model", None, None, lambda e, g: e.spec.model),
    Column("recipe", "recipe", None, None, lambda e, g: e.spec.recipe),
    Column("metric_name", "metric name", None, None,
           lambda e, g: e.metrics[0].name if e.metrics else None),
    Column("metric", "metric", None, "higher", lambda e, g: _mean(e.values),
           _number, spread=lambda e: score.half_width(e.values), priority=3),
    Column("also", "other metrics", None, None, lambda e, g: _also(e), priority=9, short="also",
           shown=lambda e: ", ".join(notation.named(n, v) for n, v in e.also.items())),
    Column("signature", "signature of the metric", None, None,
           lambda e, g: next((m.signature for m in e.metrics if m.signature), None)),
    Column("split_noise", "noise of the scored split ±", "fraction", None,
           lambda e, g: _split_noise(e), lambda v: f"±{_percent(v)}" if v else "",
           priority=13, short="split"),
    Column("skill", "skill", "0 chance, 1 best", "higher", lambda e, g: _mean(e.skills),
           _fixed, priority=8),
    Column("energy", "energy", "kWh", "lower", lambda e, g: _energy_kwh(e),
           _number, spread=_energy_spread_kwh, relative=True, priority=4, short="energy kWh",
           in_common=True),
    Column("energy_scatter", "scatter of energy", "%", "lower", lambda e, g: _energy_scatter(e),
           _number, priority=14, short="scatter %"),
    Column("tuned_energy", "energy with tuning", "kWh", "lower", lambda e, g: _with_tuning_kwh(e),
           _number, spread=_with_tuning_spread_kwh, relative=True, priority=9,
           short="with tuning kWh", in_common=True),
    Column("trials", "trials that tuned it", None, "lower",
           lambda e, g: e.tuning.trials if e.tuning else None),
    Column("score", "score: skill per kWh", "1/kWh", "higher", lambda e, g: e.score,
           _number, spread=_score_spread, relative=True, priority=2, short="score /kWh"),
    Column("plain_ratio", "metric per kWh, never ranks", "1/kWh", None, lambda e, g: _plain(e),
           _number, priority=12, short="plain /kWh"),
    Column("emissions", "emissions", "g CO2e", "lower", _emissions_g,
           _number, priority=7, short="g CO2e"),
    Column("duration", "duration", "s", "lower", lambda e, g: e.mean(lambda r: r.total_duration_s),
           _duration, priority=6, short="time"),
    Column("prediction_energy", "energy of 1,000 predictions", "J", "lower",
           lambda e, g: e.mean(_prediction_j), _number, priority=10, short="J/1k pred."),
    Column("idle_power", "idle power", "W", None,
           lambda e, g: e.mean(lambda r: r.idle_w(r.idle_before)),
           _number, priority=11, short="idle W"),
    Column("reference", "energy over the reference job's", None, None,
           lambda e, g: e.mean(_over_reference), _number, priority=9, short="x ref."),
    Column("runs", "runs", None, "higher", lambda e, g: e.counted,
           priority=5),
    Column("attempts", "attempts", None, None, lambda e, g: e.attempts),
    Column("warnings", "warnings", None, "lower", lambda e, g: len(e.warnings),
           lambda v: str(v or ""), priority=9, short="warn"),
    Column("upstream", "upstream energy, declared, never ranks", "kWh", "lower",
           lambda e, g: e.upstream_kwh[0] if e.upstream_kwh else None, _number),
    Column("upstream_use", "upstream energy, a use's share", "kWh", "lower",
           lambda e, g: e.upstream_kwh[1] if e.upstream_kwh else None, _number),
    Column("submission", "submission", None, None,
           lambda e, g: "; ".join(s.place for s in e.submissions) or None),
    Column("authors", "authors", None, None, lambda e, g: _authors(e)),
    Column("reevaluated", "weights evaluated again by (T2)", None, None,
           lambda e, g: _places(f for s in e.submissions for f in s.reevaluated_by)),
    Column("verified", "trained again by (T3)", None, None,
           lambda e, g: _places(f for s in e.submissions for f in s.verified_by)),
    Column("date", "date", None, None, lambda e, g: e.date, priority=10),
)  # fmt: skip


def _places(folders: Iterable[Path]) -> str | None:
    return "; ".join(map(submission.place, folders)) or None


def _authors(entry: Entry) -> str | None:
    names = dict.fromkeys(name for s in entry.submissions for name in s.entry.authors)
    return "; ".join(names) or None


def _rank(rank: tuple[int, int] | None) -> str:
    if rank is None:
        return ""
    return str(rank[0]) if rank[0] == rank[1] else f"{rank[0]}–{rank[1]}"


def named(key: str) -> Column:
    """The column called `key`; UsageError with near names when there is none."""
    for column in COLUMNS:
        if column.key == key:
            return column
    raise unknown_name("column", key, [c.key for c in COLUMNS], "bench leaderboard --format csv")


def sort(cells: Iterable[Cell], by: str) -> list[Cell]:
    """The cells with each section in the order of a column, the better first; ranks stay."""
    column = named("energy" if by == "emissions" else by)  # on every grid the same order
    return [
        replace(c, sections=tuple(replace(s, entries=_sorted(s, column, c)) for s in c.sections))
        for c in cells
    ]


def _sorted(section: Section, column: Column, cell: Cell) -> tuple[Entry, ...]:
    """Numbers without a better side from the largest, texts by the alphabet, unknowns last."""
    valued = [(column.value(e, None), e) for e in section.entries]
    known = [(v, e) for v, e in valued if v is not None]
    numbers = all(isinstance(v, int | float) for v, _ in known)
    better = cell.better if column.key == "metric" else column.better
    falling = better == "higher" or (better is None and numbers)
    known.sort(key=lambda pair: pair[0], reverse=falling)
    return (*(e for _, e in known), *(e for v, e in valued if v is None))
