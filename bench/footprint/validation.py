"""How far off extrapolations are: what the beginning of whole runs would have said of the whole.

Trace and events of a run are cut where a share of its training phase was over. What is left is read
as any profile is, and extrapolated to the steps that were planned; the whole is what its record
says. By hours the true duration is taken as known, so that its error is that of the power alone.
Of FLOPs, older records tell no tokens: they are taken to go with the steps, so that its error is
that of counting the training alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import account
from bench import record as records
from bench.errors import BenchError, UsageError
from bench.footprint import extrapolate, profile
from bench.footprint.profile import Profile
from bench.power import carbon
from bench.power.energy import Series
from bench.record import Record
from bench.units import J_PER_KWH, NS_PER_S

if TYPE_CHECKING:
    from bench.power.trace import Trace

SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)
MAIN = 0.1  # of the training phase
WAYS = ("work", "hours", "flops")
NAMES = {
    "work": "by steps", "hours": "by hours", "flops": "by FLOPs", "time": "time",
    "train": "training alone",
}  # fmt: skip
"""`time`: the duration, by steps. `train`: the energy of the training phase, by steps."""
_TAUGHT = {"distill", "prune", "quantise", "early-stop"}
"""Recipes whose runs hold more than steps alike, or end before they were planned to."""


@dataclass(frozen=True)
class Case:
    """One run at one share: errors as shares of what the whole took, by way (`NAMES`). None where
    too little was known to extrapolate."""

    run_id: str
    entry: str
    kind: str
    measured: bool
    share: float
    known_s: float  # of training
    train_s: float  # of the whole
    errors: dict[str, float | None]


def cases(roots: Iterable[Path], shares: Sequence[float] = SHARES) -> Iterator[Case]:
    """Every run below these folders that ended well, at every share."""
    for folder in records.folders(roots):
        try:
            yield from of_run(folder, shares)
        except BenchError:
            continue


def of_run(folder: Path, shares: Sequence[float] = SHARES) -> Iterator[Case]:
    """One run that is whole; nothing of others."""
    from bench.power.trace import Trace

    record = records.read(folder)
    whole_j, path = record.window_energy_j, folder / "trace.parquet"
    if record.status != "complete" or not whole_j or record.parts or not path.is_file():
        return
    trace = Trace.read_parquet(path)
    events = account.read_events(folder / "events.jsonl")
    window = account.window_of(events, trace)
    spans = [(a, b) for n, a, b in account.phase_spans(events, window) if n == "train"]
    if not spans:
        return
    train_s = sum(b - a for a, b in spans) / NS_PER_S
    for share in shares:
        until_ns = _reached(spans, share)
        yield Case(
            run_id=record.run_id, entry=f"{folder.parent.parent.name}/{folder.parent.name}",
            kind=kind(record, train_s), measured=record.level != "M0", share=share,
            known_s=share * train_s, train_s=train_s,
            errors=_errors(record, folder, trace, events, until_ns),
        )  # fmt: skip


def kind(record: Record, train_s: float) -> str:
    """What a run is alike to: how it was metered, how long it trained, and by what."""
    how = "CPU, estimated" if record.level == "M0" else "GPU, measured"
    parts = set(record.spec.recipe.split("+"))
    if special := parts & _TAUGHT:
        return f"{how}, {'+'.join(sorted(special))}"
    lengths = [(60, "under 1 min"), (600, "1 to 10 min"), (math.inf, "over 10 min")]
    return f"{how}, {next(name for most_s, name in lengths if train_s < most_s)}"


def _reached(spans: Sequence[tuple[int, int]], share: float) -> int:
    """When so much of the training phase was over."""
    left_ns = share * sum(b - a for a, b in spans)
    for start_ns, stop_ns in spans:
        if left_ns <= stop_ns - start_ns:
            return round(start_ns + left_ns)
        left_ns -= stop_ns - start_ns
    return spans[-1][1]


def _errors(
    record: Record,
    folder: Path,
    trace: Trace,
    events: Sequence[dict[str, Any]],
    until_ns: int,
) -> dict[str, float | None]:
    try:
        known = profile.read(record, folder, cut(trace, until_ns), until(events, until_ns))
        found = predicted(known, record)
    except UsageError:
        return dict.fromkeys(NAMES)
    whole_j, train_j = record.window_energy_j, record.phase_energy_j("train")
    assert whole_j
    whole = dict.fromkeys(WAYS, whole_j) | {"time": record.duration_s, "train": train_j or 0.0}
    return {way: found[way] / whole[way] - 1 if whole[way] else None for way in NAMES}


def predicted(known: Profile, record: Record) -> dict[str, float]:
    """Joules by each way, and seconds: from a profile, of the whole that had been planned."""
    bare = carbon.asked(None)
    steps, hours = float(known.total_steps), record.duration_s / 3600
    found = extrapolate.extrapolate(known, extrapolate.Asked(steps=steps, hours=hours), bare)
    by_key = {way.key: way for way in found.ways}
    time = by_key["work"].time
    assert time
    return {
        "work": by_key["work"].energy.value * J_PER_KWH,
        "hours": by_key["hours"].energy.value * J_PER_KWH,
        "flops": steps * known.power_w.value / known.steps_per_s.value,
        "time": time.value * 3600,
        "train": steps * known.step_j.value,
    }


def cut(trace: Trace, until_ns: int) -> Trace:
    """What had been read until then."""
    series = {}
    for name, each in trace.series.items():
        n = int((each.t_ns <= until_ns).sum())
        series[name] = Series(each.t_ns[:n], each.power_w[:n], each.energy_j[:n],
                              each.utilisation[:n], each.clock_mhz[:n],
                              each.temperature_c[:n])  # fmt: skip
    return replace(
        trace, series=series, marks=[m for m in trace.marks if m.t_ns <= until_ns],
        clocks=[c for c in trace.clocks if c[0] <= until_ns],
    )  # fmt: skip


def until(events: Sequence[dict[str, Any]], until_ns: int) -> list[dict[str, Any]]:
    """What had been told until then, and an end of the window there."""
    told = [e for e in events if e["t_ns"] <= until_ns and e["event"] != "window_stop"]
    return [*told, {"event": "window_stop", "t_ns": until_ns, "by": "meter"}]


# --- what they come to ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """Of one kind at one share and by one way. `bias`: the mean of the errors with their sign."""

    kind: str
    share: float
    way: str
    runs: int
    unknown: int  # runs of which too little was known
    mean: float | None  # absolute
    bias: float | None
    worst: float | None  # with its sign
    worst_run: str | None


def summaries(found: Sequence[Case]) -> list[Summary]:
    """By kind, share and way: measured ones first, and all of them together before their kinds."""
    groups: dict[tuple[bool, str], list[Case]] = {}
    for case in found:
        everything = "GPU, measured, all" if case.measured else "CPU, estimated, all"
        for name in (everything, case.kind):
            groups.setdefault((not case.measured, name), []).append(case)
    groups = {  # where all are of one kind, once is enough
        key: cases_of
        for key, cases_of in groups.items()
        if key[1].endswith("all") or len(cases_of) < sum(c.measured != key[0] for c in found)
    }
    made = []
    for (_, name), cases_of in sorted(groups.items(), key=lambda g: (g[0][0], "all" not in g[0][1],
                                                                      g[0][1])):  # fmt: skip
        for share in sorted({c.share for c in cases_of}):
            chosen = [c for c in cases_of if c.share == share]
            made += [_summary(name, share, way, chosen) for way in NAMES]
    return made


def _summary(kind: str, share: float, way: str, chosen: Sequence[Case]) -> Summary:
    known = [(e, c.run_id) for c in chosen if (e := c.errors[way]) is not None]
    if not known:
        return Summary(kind, share, way, len(chosen), len(chosen), None, None, None, None)
    worst, run_id = max(known, key=lambda k: abs(k[0]))
    errors = [e for e, _ in known]
    return Summary(
        kind, share, way, len(chosen), len(chosen) - len(known),
        statistics.fmean(map(abs, errors)), statistics.fmean(errors), worst, run_id,
    )  # fmt: skip


def facts(found: Sequence[Case]) -> dict[str, Any]:
    """For JSON."""
    return {
        "cases": [vars(case) for case in found],
        "summaries": [vars(s) for s in summaries(found)],
    }


def percent(share: float | None, sign: bool = False) -> str:
    """+3.2, in hundredths."""
    if share is None or not math.isfinite(share):
        return "-"
    value = 100 * share
    places = 0 if abs(value) >= 9.95 else 1
    return f"{value:+.{places}f}" if sign else f"{abs(value):.{places}f}"
