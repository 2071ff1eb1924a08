"""Q: whether there is enough to say anything, and whether it can be."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median, stdev
from typing import Any

from bench.cards import Card
from bench.checks import Found, Problem, Skipped, rule
from bench.checks.bundle import EntryFolder, RunFolder, Surroundings
from bench.checks.others import of_runs, submitted
from bench.rank import board, notation, score
from bench.rank.entry import usable_energy_j
from bench.record import Record, Reference
from bench.units import show_energy, significant

MOST_SPREAD = 0.10
"""Standard deviation of the runs' energy for the same work, relative to the mean: MLPerf's BERT on
one node of 8 H100, which ends when it is good enough, has 0.086."""

MOST_APART = 0.25  # of a reference job from those of its kind of hardware
LEAST_REPEATED = 3  # as `bench reference` does
LEAST_OTHERS = 2  # reference jobs of other entries that say what is usual
MOST_J, MOST_OF_A_METRIC = 1e15, 1e9  # beyond which there is nothing to compute
LEAST_ROWS = 200  # that nobody gets all right


def _counting(runs: Sequence[RunFolder], around: Surroundings) -> list[Record]:
    """As a board counts them."""
    found: list[Record] = []
    for run in sorted(runs, key=lambda run: run.record.started_at):
        record, seeds = run.record, [r.spec.seed for r in found]
        if _why_not(record, around, seeds) is None:
            found.append(record)
    return found


def _why_not(record: Record, around: Surroundings, seeds: Sequence[int] = ()) -> str | None:
    if why := board.why_not(record, around.card(record), seeds):
        return why
    m, energy_j = record.metric, usable_energy_j(record)
    assert m is not None
    assert energy_j is not None
    numbers = (m.value, m.chance, m.best, 1 / (m.best - m.chance))
    can_be = energy_j < MOST_J and all(abs(number) < MOST_OF_A_METRIC for number in numbers)
    return None if can_be else "it states numbers that can't be"


@rule("Q1", "enough", "An entry has three runs that count; with fewer it is provisional.",
      scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def enough(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    count = len(_counting(runs, around))
    numbers = {"runs": len(runs), "counting": count}
    if count == 0:
        why = _why_not(runs[0].record, around)
        text = f"none of {len(runs)} runs counts, and it is shown without a rank: {why}"
        yield Problem(text, numbers, warns=True)
    elif count < score.RANKED_RUNS:
        text = f"{count} of {len(runs)} runs count: it is provisional, and not ranked"
        yield Problem(text, numbers, warns=True)


@rule("Q2", "tier", "The lower 95 % bound of the runs' skill clears a tier.",
      scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def tier(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    counting = _counting(runs, around)
    asked = _asked(counting, around)
    if isinstance(asked, Skipped):
        yield asked
        return
    bound = score.lower_bound(skills := _skills(counting))
    if bound is None:
        yield Skipped("one run has no bound")
    elif score.tier(skills, asked) is None:
        text = f"a skill of {significant(bound)} at the lower bound is below bronze,"
        numbers = {"skill": fmean(skills), "lower_bound": bound, "bronze": asked["bronze"]}
        yield Problem(f"{text} {significant(asked['bronze'])}: not ranked", numbers, warns=True)


def _asked(counting: Sequence[Record], around: Surroundings) -> dict[str, float] | Skipped:
    """The skill that each tier asks for."""
    first = _first(counting, around)
    if isinstance(first, Skipped):
        return first
    card, metric = first[0], first[1].metric
    if card.unranked or card.reference is None or metric is None:
        return Skipped("the task has no tiers")
    found = score.thresholds(card.reference, metric.chance, metric.best, metric.scale)
    return found or Skipped("the card's reference score is no better than chance on this data")


def _first(counting: Sequence[Record], around: Surroundings) -> tuple[Card, Record] | Skipped:
    """Card and first run of those that are scored by the card's own metric."""
    if not counting:
        return Skipped("no run counts")
    card, metric = around.card(counting[0]), counting[0].metric
    if card is None or metric is None or metric.name != card.metric.name:
        return Skipped("the card has no reference score of this metric")
    return card, counting[0]


def _skills(records: Sequence[Record]) -> list[float]:
    metrics = [r.metric for r in records if r.metric]
    return [score.skill(m.value, m.chance, m.best, m.scale) for m in metrics]


@rule("Q3", "spread", "Runs of one entry take much the same energy for the same work.",
      scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def spread(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    counted = {r.run_id for r in _counting(runs, around)}
    counting = [run for run in runs if run.record.run_id in counted]
    energies = [usable_energy_j(run.record) or 0.0 for run in counting]
    if len(energies) < 2:
        yield Skipped("fewer than two runs count")
        return
    steps = [_steps(run) for run in counting]
    per, each = "a run", energies
    if all(steps) and len(set(steps)) > 1:
        per, each = "an update", [j / n for j, n in zip(energies, steps, strict=True)]
    share = stdev(each) / fmean(each)
    if share > MOST_SPREAD:
        text = f"the energy of {per} varies by {100 * share:.0f} % between runs"
        numbers = {"relative_deviation": share, "least_j": min(each), "most_j": max(each)}
        said = f"{show_energy(min(energies))} to {show_energy(max(energies))} a run"
        yield Problem(f"{text} (standard deviation): {said}", numbers, warns=True)


def _steps(run: RunFolder) -> int:
    """Updates that a run made, by its events."""
    events = [] if run.fault("events") else run.events
    steps = (e.get("step") for e in events if e["event"] == "step")
    return max((s for s in steps if type(s) is int and s < 1 << 53), default=0)


@rule("Q4", "reference-job", "A measured entry has the reference job of its machine, which takes "
      "what it takes elsewhere.", scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def reference_job(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    counting = _counting(runs, around)
    if all(r.level == "M0" for r in counting):
        yield Skipped("an estimate needs no reference job")
        return
    for r in counting:
        if r.reference and (r.spec.hardware, r.spec.device) != r.reference.key[:2]:
            text = f"run {r.run_id} is of {r.spec.hardware}, its reference job of"
            yield Problem(f"{text} {r.reference.hardware} ({r.reference.device})")
            return
        if r.reference and not all(0 < j < MOST_J for j in _each_j(r.reference)):
            yield Problem(f"the reference job of run {r.run_id} took no energy that can be")
            return
    without = sum(r.reference is None for r in counting)
    if without:
        text = f"{without} of {len(counting)} runs have no reference job: nothing compares them"
        text += " across machines (`bench reference` makes it)"
        yield Problem(text, {"without": without}, warns=True)
    for reference in {
        r.reference.measured_at: r.reference for r in counting if r.reference
    }.values():
        yield from _unusual(reference, around)


def _each_j(reference: Reference) -> list[float]:
    return [repetition.energy_j for repetition in reference.repetitions] or [0.0]


def _unusual(reference: Reference, around: Surroundings) -> Found:
    """Of the same work, on the same kind of hardware, by the same kind of meter."""
    if len(reference.repetitions) < LEAST_REPEATED:
        text = f"its reference job was made {len(reference.repetitions)} times, not"
        yield Problem(f"{text} {LEAST_REPEATED}: nothing shows its scatter", warns=True)
    works = [k.reference.workload for k in submitted(around) if k.reference]
    if works and reference.workload not in works:
        yield Problem("its reference job is another training than that of all others", warns=True)
    others = {
        k.reference.measured_at: k.reference.energy_j
        for k in submitted(around)
        if k.reference
        and k.reference.key == reference.key
        and k.reference.workload == reference.workload
        and k.reference.measured_at != reference.measured_at
        and all(0 < j < MOST_J for j in _each_j(k.reference))
    }
    if len(others) < LEAST_OTHERS:
        return
    usual_j = median(others.values())
    if abs(reference.energy_j / usual_j - 1) > MOST_APART:
        text = f"its reference job took {show_energy(reference.energy_j)}; on {len(others)} other"
        text += f" machines of its kind {show_energy(usual_j)} is the median: look at the meter"
        numbers = {"energy_j": reference.energy_j, "median_j": usual_j, "others": len(others)}
        yield Problem(text, numbers, warns=True)


@rule("Q5", "believable", "A score is one that such a model can have.",
      scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def believable(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    counting = _counting(runs, around)
    first = _first(counting, around)
    if isinstance(first, Skipped):
        yield first
        return
    card, record = first
    metric, reference = record.metric, card.reference
    assert metric is not None
    skills = _skills(counting)
    if metric.n >= LEAST_ROWS and max(skills) >= 1:
        text = f"{notation.named(metric.name, metric.best)} on {metric.n} rows: nothing is wrong"
        yield Problem(f"{text}, not even a label", {"skill": max(skills), "rows": metric.n})
        return
    if reference is None:
        return
    published = score.skill(reference.value, metric.chance, metric.best, metric.scale)
    scratch = record.spec.track == "scratch"
    most = published if scratch else (published + 1) / 2
    mean = fmean(skills)
    if 0 < most < mean:
        said = notation.named(metric.name, fmean(r.metric.value for r in counting if r.metric))
        than = notation.of(metric.name).text(reference.value)
        text = (
            f"{said} is {'from scratch and' if scratch else 'far'} above {reference.model}'s {than}"
        )
        yield Problem(f"{text}: it needs a second look", {"skill": mean, "most": most}, warns=True)


@rule("Q6", "own-predictions", "Runs with different seeds predict differently somewhere.",
      scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def own_predictions(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    """Where their losses are the same as well, one is a copy: H8 says it."""
    known: dict[str, RunFolder] = {}
    for run in runs:
        if run.fault("predictions") or run.fault("events"):
            continue
        said = run.predictions
        if len(said) < LEAST_ROWS or len(set(said)) == 1:  # what learned nothing tells one class
            continue
        other = known.setdefault(repr(said), run)
        if other is not run and _losses(other) != _losses(run):
            text = f"runs {other.record.run_id} and {run.record.run_id} learned differently"
            yield Problem(f"{text}, and predict the same for all of {len(said)} rows", warns=True)


def _losses(run: RunFolder) -> list[Any]:
    return [e.get("loss") for e in run.events if e["event"] == "step"]
