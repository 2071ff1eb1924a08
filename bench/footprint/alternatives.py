"""What would reduce a plan: each alternative planned in the same way, with its source.

A recipe's saving is the ratio of its runs to the baseline's, of the same model, task, hardware and
schedule. Where those runs were estimated, or on another kind of device than the plan's, the ratio
is said and no total is made of it: measured and estimated are in no number together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median_low

from bench.checks import computing
from bench.errors import UsageError
from bench.footprint import known, plan
from bench.footprint.known import Known
from bench.footprint.planned import BASELINE, Asked, Factor, Plan, shown_count
from bench.power import carbon
from bench.power.carbon import Scenario
from bench.rank import score
from bench.units import significant

_MODELS, _DEVICES = 3, 2  # of each, at most
_SCHEDULE = ("epochs", "max_steps", "batch_size", "max_length")
"""Settings in which a recipe and the baseline that it is held against agree."""


@dataclass(frozen=True)
class Alternative:
    """`share`: of the emissions of the whole plan, less 1: -0.4 is 40 % less."""

    kind: str  # region, building, trials, model, recipe, device
    what: str
    plan: Plan | None  # None: no total is made of it
    share: float
    interval: tuple[float, float] | None  # 95 %
    source: str
    note: str = ""
    estimated: bool = False


@dataclass(frozen=True)
class Saving:
    """Of a recipe, in energy, less preparation, over the baseline of the same model."""

    recipe: str
    model: str
    task: str
    device: str
    accelerated: bool
    estimated: bool
    ratio: float
    interval: tuple[float, float] | None
    time_ratio: float  # of the training phases
    runs: tuple[int, int]  # baseline, recipe
    metric: float | None  # of the recipe, less the baseline's

    @property
    def source(self) -> str:
        base, made = self.runs
        kind = "estimated" if self.estimated else "measured"
        return (
            f"{kind} here: {self.model} on {self.task}, {self.device}; {made} against {base} runs"
        )


def alternatives(made: Plan, found: Sequence[Known]) -> list[Alternative]:
    """Ordered by effect; those that save nothing are at the end."""
    every = [
        *_regions(made, found), *_buildings(made, found), *_trials(made, found),
        *_models(made, found), *_recipes(made, found), *_devices(made, found),
    ]  # fmt: skip
    return sorted(every, key=lambda a: a.share)


def _again(made: Plan, found: Sequence[Known], changed: Asked) -> Plan | None:
    """None where it would rest on another kind of number."""
    try:
        other = plan.plan(changed, found)
    except UsageError:
        return None
    return other if other.estimated == made.estimated else None


def _less(made: Plan, other: Plan) -> float:
    before = made.together.emissions.middle.value
    return other.together.emissions.middle.value / before - 1 if before else 0.0


def _one(
    made: Plan, found: Sequence[Known], changed: Asked, kind: str, what: str, source: str,
    note: str = "",
) -> Iterator[Alternative]:  # fmt: skip
    if other := _again(made, found, changed):
        yield Alternative(kind, what, other, _less(made, other), None, source, note, made.estimated)


# --- where ---------------------------------------------------------------------------------------


def _regions(made: Plan, found: Sequence[Known]) -> Iterator[Alternative]:
    """The cleanest and the median, of figures of the same kind."""
    now = made.asked.scenario
    alike = sorted(
        (r for r in carbon.regions() if r.kind == now.region.kind), key=lambda r: r.g_per_kwh
    )
    if not alike:
        return
    middle = median_low([r.g_per_kwh for r in alike])
    typical = next(r for r in alike if r.g_per_kwh == middle)
    for name, region in (("the cleanest", alike[0]), ("the median", typical)):
        if region.code == now.region.code:
            continue
        changed = replace(
            made.asked, scenario=Scenario(region.name, region, now.pue, False)
        )  # fmt: skip
        source = f"{region.source} {region.year}, {region.kind}; {name} of {len(alike)} grids"
        what = f"in {region.name} ({significant(region.g_per_kwh)} g/kWh)"
        yield from _one(made, found, changed, "region", what, source)


def _buildings(made: Plan, found: Sequence[Known]) -> Iterator[Alternative]:
    now, low = made.asked.scenario, carbon.pue("cloud-low")
    if now.pue.value > low.value:
        changed = replace(
            made.asked, scenario=Scenario(now.name, now.region, low, now.assumed)
        )  # fmt: skip
        yield from _one(
            made, found, changed, "building", f"in a building of PUE {low.value:g}", low.source
        )


# --- how much ------------------------------------------------------------------------------------


def _trials(made: Plan, found: Sequence[Known]) -> Iterator[Alternative]:
    trials = made.asked.trials
    for fewer in dict.fromkeys((trials // 2, 0)):
        if fewer < trials:
            what = f"{fewer or 'no'} trial{'' if fewer == 1 else 's'} in place of {trials}"
            changed = replace(made.asked, trials=fewer)
            yield from _one(
                made, found, changed, "trials", what, "the same arithmetic",
                "what they would have found is lost",
            )  # fmt: skip


def _models(made: Plan, found: Sequence[Known]) -> Iterator[Alternative]:
    """The next smaller ones of the list, of the same kind."""
    from bench.learn import models

    asked = made.asked
    if asked.unit == "second":  # it would not take as long
        return
    listed = {n: models.describe(n) for n in models.names()}
    kind = listed[asked.model]["kind"] if asked.model in listed else None
    size = asked.parameters or 0.0
    smaller = sorted(
        (
            n
            for n, f in listed.items()
            if f["parameters"] < 0.9 * size and kind in (None, f["kind"])
        ),
        key=lambda n: -listed[n]["parameters"],
    )
    shown = 0
    for name in smaller:
        parameters = float(listed[name]["parameters"])
        changed = replace(asked, model=name, parameters=parameters)
        for each in _one(made, found, changed, "model", "", ""):
            assert each.plan
            if each.plan.basis.nearness == "given" or _rows(each.plan) > _rows(made):
                continue  # power that somebody states is of one model; rows differ by the task
            nearness = NEARNESS[each.plan.basis.nearness]
            what = f"{name} ({shown_count(parameters)} parameters)"
            shown += 1
            yield replace(each, what=what, source=nearness, note="its score is another")
        if shown == _MODELS:
            return


def _rows(made: Plan) -> int:
    """Whether the runs had rows of another length."""
    return sum(f.name == "other rows" for f in made.factors)


NEARNESS = {
    "same": "runs of it on this hardware",
    "recipe": "baseline runs of it on this hardware",
    "hardware": "runs of it, scaled to this hardware",
    "operations": "by its size, from runs of other models",
    "given": "power and hours as given",
}


# --- how -----------------------------------------------------------------------------------------


def _recipes(made: Plan, found: Sequence[Known]) -> Iterator[Alternative]:
    """One row a recipe: of the same model before others, of the same device before others."""
    asked = made.asked
    if asked.unit == "second" or asked.power_w:  # it would take as long, or as many watts
        return
    every: dict[str, list[Saving]] = defaultdict(list)
    for saving in savings(found):
        limited = bool(set(saving.recipe.split("+")) & computing.LIMITED)
        if limited or saving.accelerated == asked.accelerated:
            every[saving.recipe].append(saving)
    mine = set(asked.recipe.split("+")) - {BASELINE}
    for recipe, some in every.items():
        if mine & set(recipe.split("+")) or _format_twice(mine, recipe):
            continue
        yield _recipe(made, found, min(some, key=lambda s: _distance(asked, s, made.estimated)))


def _format_twice(mine: set[str], recipe: str) -> bool:
    formats = set(computing.FORMATS)
    return bool(mine & formats and set(recipe.split("+")) & formats)


def _distance(asked: Asked, s: Saving, estimated: bool) -> tuple[bool, bool, bool, bool, int]:
    return (
        s.estimated != estimated, s.model != asked.model, not known.same_device(
            s.device, asked.device), s.task != asked.task, -min(s.runs),
    )  # fmt: skip


def _recipe(made: Plan, found: Sequence[Known], saving: Saving) -> Alternative:
    notes = []
    if saving.model != made.asked.model:
        notes.append("another model")
    if saving.metric is not None:
        notes.append(f"metric {saving.metric:+.3f}")
    interval = saving.interval and (saving.interval[0] - 1, saving.interval[1] - 1)
    mixes = saving.estimated != made.estimated
    low, high = saving.interval or (saving.ratio, saving.ratio)
    name, of_time = f"recipe {saving.recipe}", saving.time_ratio
    factors = (
        Factor(name, low, saving.ratio, high, saving.source, "energy"),
        Factor(name, of_time, of_time, of_time, saving.source, "time"),
    )
    changed = replace(made.asked, extra=(*made.asked.extra, *factors))
    other = None if mixes else _again(made, found, changed)
    share = _less(made, other) if other else saving.ratio - 1
    if mixes:
        notes.append("estimated: no total is made of it")
    return Alternative(
        "recipe", f"recipe {saving.recipe}", other, share, interval, saving.source,
        ", ".join(notes), saving.estimated,
    )  # fmt: skip


def savings(found: Sequence[Known]) -> list[Saving]:
    """Of every recipe that was trained beside the baseline."""
    groups: dict[tuple[object, ...], dict[str, list[Known]]] = {}
    for run in found:
        schedule = tuple(str(run.settings.get(name)) for name in _SCHEDULE)
        key = (run.task, run.model, run.device, run.devices, run.level, run.coverage, schedule)
        groups.setdefault(key, {}).setdefault(run.recipe, []).append(run)
    return [
        _saving(group[BASELINE], runs)
        for group in groups.values() if BASELINE in group
        for recipe, runs in group.items() if recipe != BASELINE
    ]  # fmt: skip


def _saving(bases: Sequence[Known], runs: Sequence[Known]) -> Saving:
    """Against baselines of the same code, where there are some."""
    bases = [b for b in bases if b.code == runs[0].code] or bases
    ratio, interval = score.ratio_of_means(
        [b.work_j for b in bases], [r.work_j for r in runs]
    )  # fmt: skip
    time_ratio = fmean(r.train_s for r in runs) / fmean(b.train_s for b in bases)
    first = runs[0]
    metrics = [[m for r in some if (m := r.metric) is not None] for some in (bases, runs)]
    return Saving(
        first.recipe, first.model, first.task, first.device, first.accelerated, first.estimated,
        ratio, interval, time_ratio, (len(bases), len(runs)),
        fmean(metrics[1]) - fmean(metrics[0]) if all(metrics) else None,
    )  # fmt: skip


# --- on what -------------------------------------------------------------------------------------


def _devices(made: Plan, found: Sequence[Known]) -> Iterator[Alternative]:
    """The accelerators that would take least, by runs or by their data sheets."""
    asked = made.asked
    if not asked.accelerated or asked.unit == "second" or asked.power_w:
        return
    every = []
    for name in known.devices(found):
        if name.startswith("CPU") or known.same_device(name, asked.device):
            continue
        for each in _one(made, found, replace(asked, device=name), "device", "", ""):
            assert each.plan
            hours = each.plan.together.hours.middle.value / made.together.hours.middle.value
            source = NEARNESS[each.plan.basis.nearness]
            if any(f.name == "power and peak of the device" for f in each.plan.factors):
                source += ", by power and peak of data sheets"
            time = f"{significant(hours, 2)} times the hours"
            many = f"{asked.devices} x " if asked.devices > 1 else ""
            every.append(replace(each, what=f"on {many}{name}", source=source, note=time))
    yield from sorted((a for a in every if a.share < -0.01), key=lambda a: a.share)[:_DEVICES]
