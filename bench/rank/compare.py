"""Two or more runs side by side: the settings that differ, and each run against the first.

A comparison says why it can't be made rather than making it: a metric needs the same scored
examples, energy the same kind of meter over the same parts of the machine.

The site's page of comparisons (`bench.site.rundata`, `comparison.js`) does the same arithmetic in
a browser, with the facts, the sides and the `WORDS` of this module.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UsageError
from bench.rank import notation, score
from bench.rank.board import why_not
from bench.rank.entry import (
    energy_uncertainty_j,
    hardware_class,
    usable_energy_j,
    usable_metric,
)
from bench.rank.render import plain
from bench.record import Metric, Record, unpack_bits
from bench.units import show_duration, show_energy, significant

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SCHEMA = "bench.compare/1"

WORDS: Mapping[str, str] = {
    "no_metric": "a run has no metric",
    "tasks": "the tasks differ",
    "metrics": "one is scored by {first}, the other by {this}",
    "examples": "the scored examples differ: the fingerprints of the scored split are not equal",
    "no_bits": "a record does not say which examples were right",
    "no_energy": "the energy of a run is not known",
    "not_ended": "a run did not reach its end",
    "estimated": "one is measured, the other estimated: they don't compare",
    "coverage": "the meters cover different parts: {first} and {this}",
    "no_uncertainty": "a meter's uncertainty is not known",
    "two_meters": "two meters: both uncertainties count (k = 2)",
    "two_estimates": "estimates of two machines, not measured: both uncertainties count (k = 2)",
    "one_meter": "one meter, as far as the records tell: its gain cancels",
    "one_formula": "estimates by one formula, not measured",
    "no_repeats": "{what}; without repeats the scatter is not known",
    "repeats": "{what}; 95 % from the scatter of repeats ({runs} runs{borrowed})",
    "and": " and ",
    "borrowed": ", of one of the two entries alone",
    "not_compared": "not compared: {why}",
    "no_time": "not compared: a run did not reach its end, or its time is not known",
    "times": "{ratio} times A's",
    "interval": "{text}, {low} to {high}{apart}",
    "not_apart": ", can't be told apart",
    "less_is_better": "{text} (less is better)",
    "one_each": "{text}; one run each can't tell whether they differ",
    "mcnemar": "{text}: {this} examples only {name} got right, {first} only A; "
    "these two models {told}{of} (McNemar's exact test, p {p})",
    "differ": "differ",
    "alike": "can't be told apart",
    "of_answers": " in how many answers are right",
    "no_value": "none ({status})",
    "not_known": "not known",
    "no_phase_energy": "energy not known",
    "same_settings": "Nothing that was asked for differs.",
}
"""What a comparison says; `{name}` is filled in."""


@dataclass(frozen=True)
class Side:
    """What is known of one run by itself. Uncertainties are expanded, k = 2."""

    run_id: str
    model: str
    recipe: str
    seed: int
    status: str
    metric: str | None
    value: float | None
    energy_j: float | None
    uncertainty_j: float | None
    level: str
    coverage: str
    duration_s: float | None  # None: that of a charged run is not known
    phases: dict[str, dict[str, float | None]]  # name -> duration_s, energy_j


@dataclass(frozen=True)
class Score:
    """A run's metric against the first's on the same examples. `p` is McNemar's exact, two-sided,
    of right answers; None where an answer is not right or wrong by itself, and then one run each
    can't tell them apart: what is kept of a run are sums over its examples."""

    difference: float  # of the metric, this run less the first
    better: Literal["higher", "lower"]
    only_first: int | None = None  # examples that only the first got right
    only_this: int | None = None
    p: float | None = None


@dataclass(frozen=True)
class Energy:
    """A run's energy as a multiple of the first's, with a 95 % interval where there is one."""

    ratio: float
    interval: tuple[float, float] | None
    basis: Literal["meters", "repeats", "none"]  # what the interval comes from
    note: str


@dataclass(frozen=True)
class Pair:
    """This run against the first. A text instead of a comparison is why there is none."""

    run_id: str
    score: Score | str
    energy: Energy | str
    duration_ratio: float | None


@dataclass(frozen=True)
class Comparison:
    runs: list[Side]
    settings: dict[str, list[Any]]  # what differs -> its value in each run; None: not there
    pairs: list[Pair]

    def as_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}


def compare(records: Sequence[Record], ledger: Iterable[Record] = ()) -> Comparison:
    """The runs side by side. `ledger` holds further runs: repeats of a run's entry among them
    tell how much its energy scatters, which is what matters on one board."""
    if len(records) < 2:
        raise UsageError("one run can't be compared", "name two or more: bench compare RUN RUN")
    first, *others = records
    known = {r.run_id: r for r in (*ledger, *records)}
    return Comparison(
        runs=[side(r) for r in records],
        settings=_differences(records),
        pairs=[
            Pair(
                run_id=other.run_id,
                score=_score(first, other),
                energy=_energy(first, other, known.values()),
                duration_ratio=_duration_ratio(first, other),
            )
            for other in others
        ],
    )


def side(record: Record) -> Side:
    metric = usable_metric(record)
    phases: dict[str, dict[str, float | None]] = {}
    for name in dict.fromkeys(p.name for p in record.phases):  # entered twice, it is one here
        duration_s = sum(p.duration_s for p in record.phases if p.name == name)
        phases[name] = {"duration_s": duration_s, "energy_j": record.phase_energy_j(name)}
    return Side(
        run_id=record.run_id,
        model=record.spec.model,
        recipe=record.spec.recipe,
        seed=record.spec.seed,
        status=record.status,
        metric=metric.name if metric else None,
        value=metric.value if metric else None,
        energy_j=usable_energy_j(record),
        uncertainty_j=energy_uncertainty_j(record),
        level=record.level,
        coverage=record.coverage,
        duration_s=record.total_duration_s,
        phases=phases,
    )


def _duration_ratio(first: Record, other: Record) -> float | None:
    """None where a run did not reach its end: how long it took says nothing then."""
    a, b = first.total_duration_s, other.total_duration_s
    return b / a if ended(first, other) and a and b else None


def ended(*records: Record) -> bool:
    """Whether all of them took what they were meant to take."""
    return all(r.status in ("complete", "budget") for r in records)


# --- settings ----------------------------------------------------------------------------------


def _differences(records: Sequence[Record]) -> dict[str, list[Any]]:
    each = [facts(r) for r in records]
    names = dict.fromkeys(n for f in each for n in f)
    values = {n: [f.get(n) for f in each] for n in names}
    return {n: v for n, v in values.items() if any(x != v[0] for x in v)}


def facts(record: Record) -> dict[str, Any]:
    """Everything that was asked for or found, by a dotted name: scalars only."""
    spec = record.spec.model_dump(mode="json")
    settings, data = spec.pop("settings"), spec.pop("data")
    return {
        **spec,
        "data": record.spec.data.board(),
        "data.source": data["source"],
        **{f"data.{split}": digest[:12] for split, digest in data["fingerprints"].items()},
        **{f"settings.{k}": v for k, v in settings.items()},
        "level": record.level,
        "coverage": record.coverage,
        "bench": record.bench_version,
        "code": record.code_sha256[:12],
        **{f"software.{k}": v for k, v in record.software.items()},
        **{f"machine.{k}": v for k, v in record.machine.items() if isinstance(v, _SCALAR)},
    }


_SCALAR = (str, int, float, bool)


# --- the metric --------------------------------------------------------------------------------


def _score(first: Record, other: Record) -> Score | str:
    a, b = usable_metric(first), usable_metric(other)
    if a is None or b is None:
        return WORDS["no_metric"]
    if first.spec.task != other.spec.task:
        return WORDS["tasks"]
    if a.name != b.name:
        return WORDS["metrics"].format(first=a.name, this=b.name)
    scored = [r.spec.data.fingerprints.get("scored") for r in (first, other)]
    if scored[0] is None or scored[0] != scored[1] or a.n != b.n:
        return WORDS["examples"]
    difference = b.value - a.value
    better = better_values(a)
    if a.correct is None and b.correct is None and a.name != "accuracy":
        return Score(difference, better)
    right = [right_answers(m) for m in (a, b)]
    if right[0] is None or right[1] is None:
        return WORDS["no_bits"]
    bits = [unpack_bits(text, a.n) for text in right if text]
    pairs = list(zip(*bits, strict=True))
    only_first, only_this = pairs.count((True, False)), pairs.count((False, True))
    p = score.mcnemar(only_first, only_this)
    return Score(difference, better, only_first, only_this, p)


def better_values(metric: Metric) -> Literal["higher", "lower"]:
    return "lower" if metric.best < metric.chance else "higher"


def right_answers(metric: Metric) -> str | None:
    """Which examples were right, packed, a bit for each of them and no byte more; None where the
    record does not say it of all."""
    try:
        data = base64.b64decode(metric.correct or "")
    except (binascii.Error, ValueError):
        return None
    needed = (metric.n + 7) // 8
    return base64.b64encode(data[:needed]).decode() if len(data) >= needed else None


# --- energy ------------------------------------------------------------------------------------


def _energy(first: Record, other: Record, known: Iterable[Record]) -> Energy | str:
    a, b = usable_energy_j(first), usable_energy_j(other)
    if a is None or b is None:
        return WORDS["no_energy"]
    if not ended(first, other):
        return WORDS["not_ended"]
    if (first.level == "M0") != (other.level == "M0"):
        return WORDS["estimated"]
    if first.coverage != other.coverage:
        return WORDS["coverage"].format(first=first.coverage, this=other.coverage)
    if meter(first) == meter(other):
        return _on_one_meter(b / a, first, other, list(known))
    shares = [_relative(r) for r in (first, other)]
    if shares[0] is None or shares[1] is None:
        return Energy(b / a, None, "none", WORDS["no_uncertainty"])
    both = math.hypot(shares[0], shares[1])
    interval = (b / a / (1 + both), b / a * (1 + both))
    what = "two_meters" if first.level != "M0" else "two_estimates"
    return Energy(b / a, interval, "meters", WORDS[what])


def meter(record: Record) -> tuple[Any, ...]:
    """Equal for runs that were read by one meter, so that its gain cancels in a ratio. A GPU names
    itself by UUID; processors don't, so equal machines are taken for one."""
    return (*sorted({(d.domain, d.device) for d in record.charged}), hardware_class(record))


def _relative(record: Record) -> float | None:
    energy_j, u = usable_energy_j(record), energy_uncertainty_j(record)
    return None if energy_j is None or u is None else u / energy_j


def _on_one_meter(ratio: float, first: Record, other: Record, known: list[Record]) -> Energy:
    """One board: the gain cancels, and what is left is how much repeats scatter."""
    what = WORDS["one_meter" if first.level != "M0" else "one_formula"]
    entries = {r.entry_key(): r for r in (first, other)}  # two runs of one have one scatter
    found = [s for r in entries.values() if (s := repeats(r, known))]
    if not found:
        return Energy(ratio, None, "none", WORDS["no_repeats"].format(what=what))
    runs = WORDS["and"].join(str(n) for _, n in found)
    borrowed = "" if len(found) == len(entries) else WORDS["borrowed"]
    note = WORDS["repeats"].format(what=what, runs=runs, borrowed=borrowed)
    return Energy(ratio, score.ratio_interval(ratio, *found), "repeats", note)


def repeats(record: Record, known: Iterable[Record]) -> tuple[float, int] | None:
    """(scatter of log energy, runs) of the run's entry under the same meter; None without two."""
    key = record.entry_key()
    return repeats_of(meter(record), known, lambda r: r.entry_key() == key)


def repeats_of(
    read_by: tuple[Any, ...], known: Iterable[Record], mine: Callable[[Record], bool]
) -> tuple[float, int] | None:
    """The same of those that are `mine` and were read by one meter."""
    seeds, logs = set[int](), []
    for r in known:
        if why_not(r, None, seeds) is None and meter(r) == read_by and mine(r):
            seeds.add(r.spec.seed)
            logs.append(math.log(usable_energy_j(r) or math.nan))
    spread = score.scatter(logs)
    return None if spread is None else (spread, len(logs))


# --- for people --------------------------------------------------------------------------------


def render(comparison: Comparison, console: Console) -> None:
    """Print a comparison: the runs, what differs, and each run against the first."""
    names = [chr(ord("A") + i) if i < 26 else f"#{i + 1}" for i in range(len(comparison.runs))]
    _section(console, "Runs", _runs(comparison.runs, names))
    if comparison.settings:
        _section(console, "What differs", _settings(comparison.settings, names))
    else:
        console.print(WORDS["same_settings"] + "\n", markup=False)
    for name, pair in zip(names[1:], comparison.pairs, strict=True):
        metric = comparison.runs[0].metric or "metric"
        _section(console, f"{name} against A", _pair(pair, name, metric))


def _section(console: Console, title: str, body: RenderableType) -> None:
    console.print(title, style="bold", markup=False, highlight=False)
    console.print(body)
    console.print()


def _grid(rows: Iterable[Sequence[str]], heading: Sequence[str] | None = None) -> RenderableType:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    grid = Table.grid(padding=(0, 2))
    for i in range(len(rows[0])):
        grid.add_column(no_wrap=i == 0, overflow="fold", style="dim" if i == 0 else "")
    if heading:
        grid.add_row(*(Text(h, style="bold") for h in heading))
    for row in rows:
        grid.add_row(*(Text(plain(cell)) for cell in row))
    return Padding(grid, (0, 0, 0, 2), expand=False)


def _runs(sides: list[Side], names: list[str]) -> RenderableType:
    rows = [
        ["run", *(s.run_id for s in sides)],
        ["", *(f"{s.model} · {s.recipe} · seed {s.seed}" for s in sides)],
        ["metric", *(_metric(s) for s in sides)],
        ["energy", *(_joules(s) for s in sides)],
        ["time", *(_time(s) for s in sides)],
    ]
    for phase in dict.fromkeys(p for s in sides for p in s.phases):
        rows.append([f"  {phase}", *(_phase(s.phases.get(phase), s.energy_j) for s in sides)])
    return _grid(rows, ["", *names])


def _metric(side: Side) -> str:
    if side.value is None:
        return WORDS["no_value"].format(status=side.status)
    return notation.named(side.metric or "", side.value)


def _joules(side: Side) -> str:
    if side.energy_j is None:
        return WORDS["not_known"]
    about = "≈" if side.level == "M0" else ""
    sure = (
        "" if side.uncertainty_j is None else f" ±{100 * side.uncertainty_j / side.energy_j:.0f}%"
    )
    return f"{about}{show_energy(side.energy_j)}{sure} ({side.level}, {side.coverage})"


def _time(side: Side) -> str:
    return WORDS["not_known"] if side.duration_s is None else show_duration(side.duration_s)


def _phase(facts: dict[str, float | None] | None, whole_j: float | None) -> str:
    if facts is None:
        return "–"
    energy_j = facts["energy_j"]
    joules = WORDS["no_phase_energy"] if energy_j is None else show_energy(energy_j, whole_j)
    return f"{show_duration(facts['duration_s'] or 0.0)}, {joules}"


def _settings(settings: dict[str, list[Any]], names: list[str]) -> RenderableType:
    rows = [[plain(n, 40), *("–" if v is None else str(v) for v in s)] for n, s in settings.items()]
    return _grid(rows, ["", *names])


def _pair(pair: Pair, name: str, metric: str) -> RenderableType:
    times = WORDS["no_time"]
    if pair.duration_ratio is not None:
        times = WORDS["times"].format(ratio=significant(pair.duration_ratio))
    return _grid(
        [
            [plain(notation.of(metric).title, 20), _score_text(pair.score, name, metric)],
            ["energy", _energy_text(pair.energy)],
            *([["", pair.energy.note]] if isinstance(pair.energy, Energy) else []),
            ["time", times],
        ]
    )


def _score_text(found: Score | str, name: str, metric: str) -> str:
    if isinstance(found, str):
        return WORDS["not_compared"].format(why=found)
    text = notation.of(metric).difference(found.difference)
    if found.better == "lower":
        text = WORDS["less_is_better"].format(text=text)
    if found.p is None:
        return WORDS["one_each"].format(text=text)
    told = WORDS["differ" if found.p < score.ALPHA else "alike"]
    of = "" if metric == "accuracy" else WORDS["of_answers"]
    return WORDS["mcnemar"].format(
        text=text, this=found.only_this, name=name, first=found.only_first, told=told, of=of,
        p=_p(found.p),
    )  # fmt: skip


def _p(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}" if p < 0.1 else f"= {p:.2f}"


def _energy_text(found: Energy | str) -> str:
    if isinstance(found, str):
        return WORDS["not_compared"].format(why=found)
    text = WORDS["times"].format(ratio=significant(found.ratio))
    if found.interval:
        low, high = (significant(v) for v in found.interval)
        apart = "" if found.interval[0] > 1 or found.interval[1] < 1 else WORDS["not_apart"]
        text = WORDS["interval"].format(text=text, low=low, high=high, apart=apart)
    return text
