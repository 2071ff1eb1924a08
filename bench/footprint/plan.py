"""What a training that somebody plans would take: energy, emissions, money and time.

It rests on runs that exist: those of the same model on the same hardware where there are some, else
those of the same model elsewhere, else those of the model that is nearest in size. Every
step away from them adds a factor to the spread, and each factor says where it comes from. Measured
and estimated runs are never in one number.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.checks import computing
from bench.errors import UsageError
from bench.footprint import formulas, known
from bench.footprint.known import Known
from bench.footprint.quantity import Quantity, derived, given
from bench.power.carbon import Scenario
from bench.units import significant

FORMATS = {"fp32": "", "tf32": "tf32", "bf16": "bf16", "fp16": "fp16"}
"""Number format -> the recipe that trains in it."""
BASELINE = "baseline"
STUDY_USD_PER_KWH = 0.12

# What is assumed where no run says anything.
_ELSEWHERE = math.sqrt(0.580 / 0.279)
_ELSEWHERE_SOURCE = (
    "four GPU models took 0.279 to 0.580 kWh for the same work: Zeus NSDI 2023 traces, BERT base"
)
_OTHER_PROCESSOR = 2.0
_TOGETHER = 1.4  # what devices that wait for each other may add at most
_ROWS = {"token": (0.5, 1.2), "example": (1 / 3, 3.0)}


@dataclass(frozen=True)
class Asked:
    """The training that is planned. One of `tokens`, `examples`, `hours` is set."""

    model: str
    device: str
    scenario: Scenario
    devices: int = 1
    parameters: float | None = None
    tokens: float | None = None
    examples: float | None = None  # of all epochs
    hours: float | None = None  # by the clock, of one training
    task: str | None = None
    recipe: str = BASELINE
    trials: int = 0
    power_w: float | None = None  # of one device
    usd_per_kwh: float | None = None
    usd_per_hour: float | None = None  # of one device
    extra: tuple[Factor, ...] = ()  # what an alternative changes

    @property
    def unit(self) -> str:
        return "token" if self.tokens else "example" if self.examples else "second"

    @property
    def amount(self) -> float:
        """Of units; device-seconds where hours are given."""
        return self.tokens or self.examples or (self.hours or 0.0) * 3600 * self.devices

    @property
    def accelerated(self) -> bool:
        return not self.device.startswith("CPU")


@dataclass(frozen=True)
class Factor:
    """What a number may be times: least, middle, most. `of`: energy, time or both."""

    name: str
    low: float
    middle: float
    high: float
    source: str
    of: str = "both"
    assumed: bool = False

    @property
    def spreads(self) -> bool:
        return self.low < 0.995 * self.middle or self.high > 1.005 * self.middle


@dataclass(frozen=True)
class Basis:
    """The runs that a plan rests on, and how near they are."""

    nearness: str  # same, recipe, hardware, operations, given
    runs: tuple[Known, ...]
    factors: tuple[Factor, ...]
    warnings: tuple[str, ...] = ()

    @property
    def estimated(self) -> bool:
        return any(run.estimated for run in self.runs)

    @property
    def coverage(self) -> str:
        return ", ".join(sorted({run.coverage for run in self.runs}))


@dataclass(frozen=True)
class Band:
    """A number between the least and the most that it may well be."""

    low: Quantity
    middle: Quantity
    high: Quantity

    def map(self, rule: Callable[[Quantity], Quantity]) -> Band:
        return Band(rule(self.low), rule(self.middle), rule(self.high))

    def with_(self, other: Band, rule: Callable[[Quantity, Quantity], Quantity]) -> Band:
        pairs = zip(self.ends, other.ends, strict=True)
        return Band(*(rule(a, b) for a, b in pairs))

    @property
    def ends(self) -> tuple[Quantity, Quantity, Quantity]:
        return self.low, self.middle, self.high

    def as_dict(self) -> dict[str, Any]:
        return {n: q.as_dict() for n, q in zip(("low", "middle", "high"), self.ends, strict=True)}


@dataclass(frozen=True)
class Cost:
    """Of one training, of trials, or of both. Energy is with what the building adds."""

    energy: Band  # kWh
    emissions: Band  # kg CO2e
    electricity: Band  # USD
    hours: Band  # by the clock
    cloud: Band | None  # USD

    @property
    def bands(self) -> dict[str, Band]:
        found = {
            "energy": self.energy, "emissions": self.emissions, "electricity": self.electricity,
            "hours": self.hours,
        }  # fmt: skip
        return found | ({"cloud": self.cloud} if self.cloud else {})


@dataclass(frozen=True)
class Plan:
    asked: Asked
    basis: Basis
    one: Cost
    trials: Cost | None  # None: none are planned
    together: Cost
    factors: tuple[Factor, ...] = field(default=())

    @property
    def estimated(self) -> bool:
        return self.basis.estimated


def plan(asked: Asked, found: Sequence[Known]) -> Plan:
    """UsageError where nothing here says anything of such a training."""
    basis = _basis(asked, found)
    factors = (*basis.factors, *asked.extra)
    share = _trial_share(found, basis.estimated)
    one = _one(asked, basis, factors)
    if not asked.trials:
        return Plan(asked, basis, one, None, one, factors)
    trials = _times(one, asked.trials, share)
    return Plan(asked, basis, one, trials, _sum(one, trials), (*factors, share))


# --- what it rests on ----------------------------------------------------------------------------


def _basis(asked: Asked, found: Sequence[Known]) -> Basis:
    """The nearest runs: measured before estimated ones; by operations only where no run of the
    model says anything."""
    if asked.power_w and asked.unit == "second":
        return Basis("given", (), ())
    usable = [
        r for r in found
        if r.accelerated == asked.accelerated and r.units(asked.unit)
    ]  # fmt: skip
    for rungs in ((_same, _recipe, _hardware), (_operations,)):
        for estimated in (False, True):
            pool = [r for r in usable if r.estimated == estimated]
            for rung in rungs:
                if basis := rung(asked, pool):
                    return basis
    kind = "accelerator" if asked.accelerated else "processor"
    raise UsageError(
        f"no run here says what {asked.model} takes on {asked.device}",
        f"train a model on such {kind}s first, or give --hours and --power-w",
    )


def _same(asked: Asked, pool: Sequence[Known]) -> Basis | None:
    runs = [
        r for r in pool
        if r.model == asked.model and known.same_device(r.device, asked.device)
        and r.recipe == asked.recipe
    ]  # fmt: skip
    return _rests("same", asked, runs, pool, ())


def _recipe(asked: Asked, pool: Sequence[Known]) -> Basis | None:
    """The same but for the recipe: in its number format, or as the baseline."""
    here = [
        r for r in pool
        if r.model == asked.model and known.same_device(r.device, asked.device)
    ]  # fmt: skip
    runs, warning = _by_recipe(asked, here)
    return _rests("recipe", asked, runs, pool, (), warning)


def _by_recipe(asked: Asked, runs: Sequence[Known]) -> tuple[list[Known], str]:
    """Runs by the recipe; else by its number format alone; else the baseline's, with what is to be
    said of it."""
    formats = _alike(asked.recipe)
    for recipe in dict.fromkeys((asked.recipe, *formats, BASELINE)):
        if some := [r for r in runs if r.recipe == recipe]:
            how = "the baseline" if recipe == BASELINE else recipe
            said = f"no run of {asked.model} by {asked.recipe} is here: counted as {how}"
            return some, "" if recipe == asked.recipe else said
    return [], ""


def _alike(recipe: str) -> list[str]:
    """Recipes that change nothing but to the same number format: its own first."""
    kind = _format(recipe)
    found = [r for r, f in computing.FORMATS.items() if f == kind]
    return sorted(found, key=lambda r: r not in recipe.split("+"))


def _hardware(asked: Asked, pool: Sequence[Known]) -> Basis | None:
    """The same model elsewhere, scaled by what the devices can do."""
    runs, said = _by_recipe(asked, [r for r in pool if r.model == asked.model])
    device = most_common(r.device for r in runs)
    runs = [r for r in runs if r.device == device]
    scale = _scale(device, asked, runs[0].recipe) if runs else None
    if scale is None:
        return None
    warning = f"{asked.model} was not trained on {asked.device} here: scaled from {device}"
    return _rests("hardware", asked, runs, pool, scale, "; ".join(filter(None, (warning, said))))


def _operations(asked: Asked, pool: Sequence[Known]) -> Basis | None:
    """Another model, the nearest in size, by how what it takes grows with size."""
    if not asked.parameters:
        return None
    sized = [r for r in pool if r.parameters]
    formats = _format(asked.recipe)
    sized = [r for r in sized if _format(r.recipe) == formats and _plain(r.recipe)] or [
        r for r in sized if r.recipe == BASELINE
    ]
    here = [r for r in sized if known.same_device(r.device, asked.device)]
    device = asked.device if here else most_common((r.device for r in sized), "")
    near = _by_size(here or [r for r in sized if r.device == device], asked.parameters)
    scale = () if here else _scale(device, asked, sized[0].recipe) if sized else None
    if not near or scale is None:
        return None
    runs, others = near[0], near[1] if len(near) > 1 else []
    sizes = tuple(_sizes(asked, runs, others, device))
    model = runs[0].model
    warning = (
        f"no run of {asked.model} is here: scaled by size from {model} "
        f"({shown_count(runs[0].parameters or 0)} parameters)"
    )
    if not known.same_device(device, asked.device):
        warning += f", scaled from {device}"
    return _rests("operations", asked, runs, pool, (*sizes, *scale), warning)


def _rests(
    nearness: str, asked: Asked, runs: Sequence[Known], pool: Sequence[Known],
    factors: Sequence[Factor], warning: str = "",
) -> Basis | None:  # fmt: skip
    """With the runs of the task, and of as many devices, where there are some."""
    if not runs:
        return None
    for alike in (lambda r: r.task == asked.task, lambda r: r.devices == asked.devices):
        runs = [r for r in runs if alike(r)] or runs
    every = [*_meter(runs), *_scatter(asked, runs), *factors, *_rows(asked, runs, pool)]
    if asked.unit != "second" and any(r.devices != asked.devices for r in runs):
        every.append(_together(asked, runs))
    single = "it rests on a single run, whose scatter is not known" if len(runs) == 1 else ""
    return Basis(nearness, tuple(runs), tuple(every), tuple(filter(None, (warning, single))))


def _format(recipe: str) -> str:
    found = {computing.FORMATS[r] for r in recipe.split("+") if r in computing.FORMATS}
    return min(found, default="fp32")


def _plain(recipe: str) -> bool:
    """Whether it changes the format of numbers alone."""
    return recipe == BASELINE or recipe in computing.FORMATS


def _by_size(runs: Sequence[Known], parameters: float) -> list[list[Known]]:
    """Groups of one model, nearest first."""
    models: dict[str, list[Known]] = {}
    for run in runs:
        models.setdefault(run.model, []).append(run)
    return sorted(models.values(), key=lambda g: abs(math.log((g[0].parameters or 1) / parameters)))


def most_common(names: Iterable[str], default: str = "") -> str:
    listed = list(names)
    return max(dict.fromkeys(listed), key=listed.count, default=default)


# --- factors -------------------------------------------------------------------------------------


def _meter(runs: Sequence[Known]) -> Iterator[Factor]:
    each = [r.unsure for r in runs if r.unsure is not None]
    if each:
        u = min(fmean(each), 0.9)
        kind = "model of the estimate" if runs[0].estimated else "meter"
        yield Factor(kind, 1 - u, 1, 1 + u, "as the records state it, k = 2", "energy")


def _scatter(asked: Asked, runs: Sequence[Known]) -> Iterator[Factor]:
    """Of what a unit takes in energy, and in time."""
    batches = sorted({str(r.settings.get("batch_size")) for r in runs}, key=lambda b: (len(b), b))
    sizes = f", batches of {' and '.join(batches)}" if len(batches) > 1 else ""
    tasks = {r.task for r in runs}
    of = f", {len(tasks)} tasks" if len(tasks) > 1 else ""
    many = "a single run: its scatter is not known" if len(runs) == 1 else f"{len(runs)} runs"
    joules = [_per_unit(r, asked.unit) for r in runs]
    yield _extremes("runs", joules, f"{many}{sizes}{of}", "energy")
    if asked.unit != "second":
        seconds = [_s_per_unit(r, asked.unit) for r in runs]
        yield _extremes("runs", seconds, f"{many}{sizes}{of}", "time")


def _extremes(name: str, values: Sequence[float], source: str, of: str) -> Factor:
    middle = fmean(values)
    return Factor(name, min(values) / middle, 1, max(values) / middle, source, of)


def _scale(device: str, asked: Asked, recipe: str) -> tuple[Factor, ...] | None:
    """From one device to another, in the number format of the runs; None where their data sheets
    are not at hand."""
    if known.same_device(device, asked.device):
        return ()
    if not asked.accelerated:
        source = f"assumed: a factor of {_OTHER_PROCESSOR:g} either way between processors"
        wide = _OTHER_PROCESSOR
        return (Factor("other processor", 1 / wide, 1, wide, source, assumed=True),)
    there, here = known.peak(device, recipe), known.peak(asked.device, recipe)
    if not (there and here and there.power_w and here.power_w):
        return None
    power, speed = here.power_w / there.power_w, here.flops / there.flops
    sheets = f"data sheets: {_sheet(asked.device, here)}; {_sheet(device, there)}"
    middle = power if asked.unit == "second" else power / speed
    scaled = [
        Factor("power and peak of the device", middle, middle, middle, sheets, "energy"),
        Factor("other device", 1 / _ELSEWHERE, 1, _ELSEWHERE, _ELSEWHERE_SOURCE),
    ]
    if asked.unit != "second":
        scaled.insert(
            1, Factor("peak of the device", 1 / speed, 1 / speed, 1 / speed, sheets, "time")
        )
    return tuple(scaled)


def _sheet(device: str, peak: computing.Peak) -> str:
    return f"{device} {significant(peak.flops / 1e12)} TFLOP/s at {peak.power_w:g} W"


def _sizes(
    asked: Asked, runs: Sequence[Known], others: Sequence[Known], device: str
) -> Iterator[Factor]:
    """What another size makes of energy and time: a power of the ratio of parameters.

    Work grows as 6 N, what it takes by less: small models leave a device idle. The power that the
    two nearest models show is the middle downwards, from nothing less to in proportion; upwards it
    is the least, in proportion the most, and the middle lies between. No device does better than
    its peak."""
    names = " and ".join(dict.fromkeys(r.model for r in (*runs, *others)))
    if asked.unit == "second":
        watts = [r.power_w for r in (*runs, *others)]
        middle = fmean(r.power_w for r in runs)
        source = f"power of the models that are nearest in size: {names}"
        yield Factor("other size", min(watts) / middle, 1, max(watts) / middle, source, "energy")
        return
    ratio = (asked.parameters or 1.0) / (runs[0].parameters or 1.0)
    every: tuple[tuple[str, Callable[[Known, str], float]], ...] = (
        ("energy", _per_unit), ("time", _s_per_unit)
    )  # fmt: skip
    for of, each in every:
        power = _power_law(asked.unit, runs, others, each)
        shown = _SHOWN_POWER if power is None else power
        low, middle, high = sorted(
            ratio**e for e in ((shown, (1 + shown) / 2, 1) if ratio > 1 else (1, shown, 0))
        )
        least = _least(asked, device, of) / fmean(each(r, asked.unit) for r in runs)
        low, middle = max(low, least), max(middle, least)
        said = "assumed, as there is one model" if power is None else f"as between {names}"
        size = f"{significant(ratio)} times the parameters, to the power of"
        ends = f"{shown:.2f} ({said}) to 1, as operations grow"
        source = f"{size} {ends if ratio > 1 else f'0 to 1, in the middle {shown:.2f} ({said})'}"
        yield Factor("other size", low, middle, max(high, middle), source, of)


_SHOWN_POWER = 0.5


def _power_law(
    unit: str, runs: Sequence[Known], others: Sequence[Known],
    each: Callable[[Known, str], float],
) -> float | None:  # fmt: skip
    """By which what a unit takes grows with parameters, between two models: 0 to 1."""
    if not others:
        return None
    sizes = [math.log(some[0].parameters or 1.0) for some in (runs, others)]
    taken = [math.log(fmean(each(r, unit) for r in some)) for some in (runs, others)]
    if sizes[0] == sizes[1]:
        return None
    return min(1.0, max(0.0, (taken[1] - taken[0]) / (sizes[1] - sizes[0])))


def _least(asked: Asked, device: str, of: str) -> float:
    """J or s that 6 N operations of a token take at the peak of the device of the runs; 0 where
    nothing is known of it, or of how many tokens an example has."""
    peak = known.peak(device, asked.recipe)
    if peak is None or not peak.power_w or asked.unit != "token":
        return 0.0
    seconds = 6 * (asked.parameters or 0.0) / peak.flops
    return seconds * (peak.power_w if of == "energy" else 1.0)


def _together(asked: Asked, runs: Sequence[Known]) -> Factor:
    have = most_common(str(r.devices) for r in runs)
    source = f"assumed: up to {_TOGETHER:g} times, as devices wait; the runs had {have}"
    return Factor("devices together", 1, math.sqrt(_TOGETHER), _TOGETHER, source, assumed=True)


def _rows(asked: Asked, runs: Sequence[Known], pool: Sequence[Known]) -> Iterator[Factor]:
    """Rows of another task have another length."""
    if asked.unit == "second" or (asked.task and {r.task for r in runs} == {asked.task}):
        return
    low, high = _ROWS[asked.unit]
    tasks = " and ".join(sorted({r.task for r in runs}))
    said = f"the runs had rows of {tasks}"
    seen = _between_tasks(asked.unit, runs, pool)
    if seen and asked.unit == "example":
        (low, high), how = seen, "a row of other tasks takes so much here"
        yield Factor("other rows", min(low, 1), 1, max(high, 1), f"{said}; {how}")
        return
    length = fmean((r.tokens or 0) / r.examples for r in runs)
    said += f" ({significant(length, 2)} tokens)" if length else ""
    why = "assumed: longer rows waste less, attention costs more"
    yield Factor("other rows", low, 1, high, f"{said}; {why}", assumed=True)


def _between_tasks(
    unit: str, runs: Sequence[Known], pool: Sequence[Known]
) -> tuple[float, float] | None:
    """Least and most that a unit of another task takes, of one model on one machine."""
    tasks = {r.task for r in runs}
    groups: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for run in pool:
        group = groups.setdefault((run.model, run.device, run.recipe), {})
        group.setdefault(run.task, []).append(_per_unit(run, unit))
    ratios = [
        fmean(values) / fmean(v for t in tasks & set(group) for v in group[t])
        for group in groups.values() if tasks & set(group) and set(group) - tasks
        for values in group.values()
    ]  # fmt: skip
    return (min(ratios), max(ratios)) if ratios else None


def _trial_share(found: Sequence[Known], estimated: bool) -> Factor:
    """As sweeps here had it, whose energy is of the same kind."""
    each = [r.trial_share for r in found if r.trial_share and r.estimated == estimated]
    if not each:
        return Factor("a trial, of a training", 1, 1, 1, "counted as a whole training")
    least = min(1.0, *each)
    source = (
        f"counted as a whole training; in the sweeps here a trial took {least:.0%} at least: "
        "some were ended early"
    )
    return Factor("a trial, of a training", least, 1, 1, source)


def _per_unit(run: Known, unit: str) -> float:
    """J."""
    return run.train_j / (run.units(unit) or 1.0)


def _s_per_unit(run: Known, unit: str) -> float:
    """Of one device."""
    return run.train_s * run.devices / (run.units(unit) or 1.0)


# --- arithmetic ----------------------------------------------------------------------------------


def _one(asked: Asked, basis: Basis, factors: Sequence[Factor]) -> Cost:
    runs, unit = basis.runs, asked.unit
    ids = ", ".join(r.run_id[:8] for r in runs[:4]) + (", …" if len(runs) > 4 else "")
    kind = "estimated" if basis.estimated else "measured"
    source = f"{kind}, mean of {len(runs)} run{'' if len(runs) == 1 else 's'}: {ids}"
    time_s = _time(asked, basis, factors, source)
    if asked.power_w:
        power = given("power", asked.power_w, "W", "as given, of one device")
        train = time_s.map(lambda t: formulas.work(power, t))
    else:
        amount = _amount(asked)
        each = given(f"energy of a {unit}", fmean(_per_unit(r, unit) for r in runs), "J", source)
        train = _spread(factors, "energy").map(
            lambda f: formulas.training_j(each, amount, f)
        )  # fmt: skip
    around_j, around_s = _around(asked, runs)
    pue, usd = formulas.pue_of(asked.scenario.pue), _price(asked)
    energy = train.with_(around_j, lambda t, a: formulas.whole_kwh(t, a, pue))
    hours = time_s.with_(around_s, lambda t, a: formulas.wall_hours(t, a, _devices(asked)))
    return _cost(asked, energy, hours, usd)


def _cost(asked: Asked, energy: Band, hours: Band, usd: Quantity) -> Cost:
    grid = formulas.intensity_of(asked.scenario.region)
    return Cost(
        energy=energy,
        emissions=energy.map(lambda e: formulas.emissions_kg(e, grid)),
        electricity=energy.map(lambda e: formulas.cost_usd("electricity", e, usd)),
        hours=hours,
        cloud=_cloud(asked, hours),
    )


def _amount(asked: Asked) -> Quantity:
    if asked.unit != "second":
        return given(f"{asked.unit}s", asked.amount, "", "as asked")
    hours = given("hours", asked.hours or 0.0, "h", "as asked")
    return derived(
        "device-seconds", "s", "hours x devices x 3600", lambda h, n: h * n * 3600,
        hours, _devices(asked),
    )  # fmt: skip


def _devices(asked: Asked) -> Quantity:
    return given("devices", asked.devices, "", "as asked")


def _time(asked: Asked, basis: Basis, factors: Sequence[Factor], source: str) -> Band:
    """Device-seconds of the training phase."""
    amount = _amount(asked)
    if asked.unit == "second":
        return Band(amount, amount, amount)
    each_s = fmean(_s_per_unit(r, asked.unit) for r in basis.runs)
    each = given(f"device-time of a {asked.unit}", each_s, "s", source)
    return _spread(factors, "time").map(
        lambda f: formulas.training_s(each, amount, f)
    )  # fmt: skip


def _spread(factors: Sequence[Factor], of: str) -> Band:
    """All factors: middles multiplied, and what they spread taken as independent, in quadrature of
    logarithms."""
    some = [f for f in factors if f.of in (of, "both")]
    middle = math.prod(f.middle for f in some)
    low = math.exp(-math.hypot(*(math.log(f.middle / f.low) for f in some)))
    high = math.exp(math.hypot(*(math.log(f.high / f.middle) for f in some)))
    names = ", ".join(f.name for f in some) or "none"
    each = tuple(given(f.name, f.middle, "", f.source) for f in some if f.middle != 1)
    product = derived(
        "factor", "", "what is other than in the runs, multiplied", lambda *v: math.prod(v), *each
    )
    if not each:
        product = given("factor", middle, "", "as in the runs")
    ends = [
        derived("factor", "", "factor x spread", lambda a, b: a * b, product, given(
            "spread", value, "", f"{names}: logarithms added in quadrature"))
        for value in (low, high)
    ]  # fmt: skip
    return Band(ends[0], product, ends[1])


def _around(asked: Asked, runs: Sequence[Known]) -> tuple[Band, Band]:
    """Preparation and evaluation of a training: as in the runs; in hours they are included."""
    if asked.unit == "second" or not runs:
        zero_j, zero_s = given("around it", 0, "J", "included"), given("around it", 0, "s", "so")
        return Band(zero_j, zero_j, zero_j), Band(zero_s, zero_s, zero_s)
    kind = "estimated" if runs[0].estimated else "measured"
    many = f"of {len(runs)} run{'' if len(runs) == 1 else 's'}, {kind}"

    def band(each: Sequence[float], unit: str) -> Band:
        ends = (("least", min(each)), ("mean", fmean(each)), ("most", max(each)))
        name = "preparation and evaluation"
        return Band(*(given(name, v, unit, f"{which} {many}") for which, v in ends))

    return band([r.around_j for r in runs], "J"), band([r.around_s for r in runs], "s")


def _price(asked: Asked) -> Quantity:
    if asked.usd_per_kwh is not None:
        return given("price", asked.usd_per_kwh, "USD/kWh", "as given")
    return given("price", STUDY_USD_PER_KWH, "USD/kWh", "as the study: the US of 2018")


def _cloud(asked: Asked, hours: Band) -> Band | None:
    """Device-hours at what a cloud asks, lowest to highest."""
    if asked.usd_per_hour is not None:
        price = given("price", asked.usd_per_hour, "USD/h", "as given, of one device")
        prices = Band(price, price, price)
    elif row := cloud_price(asked.device):
        low, high = row["usd_per_hour"]
        said = f"{row['name']}: {row['source']}"
        ends = [given("price", v, "USD/h", said) for v in (low, high)]
        middle = derived(
            "price", "USD/h", "mean of the lowest and the highest", lambda a, b: (a + b) / 2, *ends
        )
        prices = Band(ends[0], middle, ends[1])
    else:
        return None
    return hours.with_(
        prices,
        lambda h, p: formulas.cost_usd(
            "cloud", formulas.device_hours(_devices(asked), h), p
        ),
    )  # fmt: skip


@cache
def _prices() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("prices.toml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = tomllib.loads(text)["price"]
    return found


def cloud_price(device: str) -> Mapping[str, Any] | None:
    """The row of a device, by the beginning of its name."""
    for row in _prices():
        rest = device[len(row["name"]) :]
        if device.startswith(row["name"]) and not rest[:1].isalnum():
            return row
    return None


def _times(one: Cost, trials: int, share: Factor) -> Cost:
    """So many trials, each a share of a training."""
    count = given("trials", trials, "", "as asked")
    shares = Band(
        *(given("a trial", v, "", share.source) for v in (share.low, share.middle, share.high))
    )

    def of(band: Band) -> Band:
        return band.with_(shares, lambda q, s: formulas.many(count, s, q))

    return Cost(
        of(one.energy), of(one.emissions), of(one.electricity), of(one.hours),
        of(one.cloud) if one.cloud else None,
    )  # fmt: skip


def _sum(one: Cost, trials: Cost) -> Cost:
    def of(a: Band, b: Band) -> Band:
        return a.with_(b, formulas.added)

    return Cost(
        of(one.energy, trials.energy), of(one.emissions, trials.emissions),
        of(one.electricity, trials.electricity), of(one.hours, trials.hours),
        of(one.cloud, trials.cloud) if one.cloud and trials.cloud else None,
    )  # fmt: skip


def shown_count(value: float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{significant(value / size)} {unit}"
    return f"{value:g}"
