"""Trainings that were made here, listed and added: measured and estimated ones apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.footprint import chart, formulas
from bench.footprint.amounts import energy_text, mass_text, unsure_text
from bench.footprint.chart import Bar
from bench.footprint.published import Table
from bench.footprint.quantity import Quantity, derived, given
from bench.power.carbon import Scenario
from bench.rank import score
from bench.rank.entry import Cell, Entry, Run, energy_uncertainty_j, usable_energy_j
from bench.rank.render import plain
from bench.units import J_PER_KWH, show_duration, significant

BARS = 14
"""Trainings of each kind (submitted, one's own) that the drawing shows; the tables have all."""
RANKED = (*score.TIERS, "provisional")
_HOW = {"M1": "software counters", "M2": "a meter of the node", "M3": "a calibrated meter"}


@dataclass(frozen=True)
class Training:
    """A training that bench metered, or estimated. Its energy has what the building adds."""

    name: str
    hardware: str
    how: str
    estimated: bool
    energy: Quantity
    emissions: Quantity
    duration_s: float | None
    run_id: str
    of: str = ""  # which of several it is
    charged: tuple[tuple[str, float], ...] = ()  # earlier parts and teachers: id, kWh of these

    @property
    def bar(self) -> Bar:
        kind = chart.ESTIMATED if self.estimated else chart.MEASURED
        kwh, unsure = self.energy.value, self.energy.uncertainty
        return Bar(self.name, self.hardware, kwh, kind, True, unsure)


def training(run: Run, scenario: Scenario, of: str = "") -> Training | None:
    """None where the run has no energy."""
    record, energy_j = run.record, usable_energy_j(run.record)
    if energy_j is None:
        return None
    estimated = record.level == "M0"
    what = plain(record.coverage.replace("+", ", "), 60)
    how = f"estimated: {what}" if estimated else f"measured: {what}, {_HOW[record.level]}"
    unsure = energy_uncertainty_j(record)
    kwh = given(
        "energy of the machine", energy_j / J_PER_KWH, "kWh", f"{how}; run {record.run_id}",
        None if unsure is None else unsure / J_PER_KWH,
    )  # fmt: skip
    energy = derived(
        "energy", "kWh", "PUE x energy of the machine", lambda p, e: p * e,
        formulas.pue_of(scenario.pue), kwh,
    )  # fmt: skip
    spec = record.spec
    return Training(
        name=_name(spec.model, spec.recipe, spec.task), hardware=spec.hardware, how=how,
        estimated=estimated, energy=energy,
        emissions=formulas.emissions_kg(energy, formulas.intensity_of(scenario.region)),
        duration_s=record.total_duration_s, run_id=record.run_id, of=of,
        charged=tuple(
            (c.run_id, scenario.building_j(c.energy_j or 0.0) / J_PER_KWH)
            for c in record.charged_runs
        ),
    )  # fmt: skip


def _name(model: str, recipe: str, task: str) -> str:
    return f"{model} on {task}" + ("" if recipe == "baseline" else f", {recipe}")


def best(cells: Iterable[Cell], scenario: Scenario) -> list[Training]:
    """Of each task and machine the first entry of its highest tier: its run of median energy."""
    found = []
    for cell in cells:
        entry = next((s.entries[0] for s in cell.sections if s.name in RANKED), None)
        if entry and (made := middle(entry, scenario)):
            title = cell.card.title if cell.card else cell.place.task
            name = _name(entry.spec.model, entry.spec.recipe, title)
            found.append(replace(made, name=name))
    return _sorted(found)


def middle(entry: Entry, scenario: Scenario) -> Training | None:
    """The run of an entry that has its median energy: of an even number the lower one."""
    runs = _by_energy(entry.runs)
    if not runs:
        return None
    of = "its only run" if len(runs) == 1 else f"median of {len(runs)} runs"
    return training(runs[(len(runs) - 1) // 2], scenario, of)


def own(runs: Iterable[Run], scenario: Scenario) -> list[Training]:
    """Every run that has an energy, ended as it should or not."""
    made = (training(r, scenario, _ended(r)) for r in runs)
    return _sorted(t for t in made if t)


def own_bars(runs: Sequence[Run], scenario: Scenario) -> list[Bar]:
    """Of runs that differ in the seed alone, that of the middle energy; no trials, profiles and
    failures."""
    by_entry: dict[str, list[Run]] = {}
    for run in runs:
        if run.record.status in ("complete", "budget") and run.record.trial is None:
            by_entry.setdefault(run.key, []).append(run)
    middles = [
        training(some[(len(some) - 1) // 2], scenario)
        for each in by_entry.values()
        if (some := _by_energy(each))
    ]
    return _some([t.bar for t in middles if t])


def _ended(run: Run) -> str:
    if run.record.trial:
        return "profile" if run.record.is_profile else "trial of a sweep"
    how = run.record.status
    return {"complete": "", "budget": "stopped at its budget"}.get(how, how)


def _by_energy(runs: Iterable[Run]) -> list[Run]:
    known = [(e, r.record.run_id, r) for r in runs if (e := usable_energy_j(r.record))]
    return [run for *_, run in sorted(known, key=lambda each: each[:2])]


def _sorted(trainings: Iterable[Training]) -> list[Training]:
    return sorted(trainings, key=lambda t: (t.estimated, -t.energy.value, t.name, t.run_id))


def row(each: Training) -> list[str]:
    """A training as texts."""
    about = "≈" if each.estimated else ""
    took = "" if each.duration_s is None else show_duration(each.duration_s)
    return [
        each.name, each.hardware, f"{about}{significant(each.energy.value)}",
        unsure_text(each.energy), f"{about}{mass_text(each.emissions.value)}", took,
        "; ".join(filter(None, (each.how, each.of))), each.run_id[:8],
    ]  # fmt: skip


# --- drawn ----------------------------------------------------------------------------------------


def bars(tables: Iterable[Table], trainings: Iterable[Training]) -> list[Bar]:
    """Published trainings, and some of those made here among them."""
    return chart.ordered([*chart.published_bars(tables), *_some([t.bar for t in trainings])])


def _some(bars: Sequence[Bar]) -> list[Bar]:
    """At most BARS, measured ones before estimated ones."""
    measured = _evenly([b for b in bars if b.kind == chart.MEASURED], BARS)
    estimated = [b for b in bars if b.kind != chart.MEASURED]
    return [*measured, *_evenly(estimated, BARS - len(measured))]


def _evenly(bars: Sequence[Bar], most: int) -> list[Bar]:
    """From the smallest to the largest."""
    every = chart.ordered(bars)
    if len(every) <= most:
        return every
    return [every[round(i * (len(every) - 1) / max(most - 1, 1))] for i in range(most)]


# --- added ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Trainings that may be added: measured ones, or estimated ones."""

    title: str
    estimated: bool
    trainings: tuple[Training, ...]
    listed: frozenset[str] = frozenset()  # ids of all trainings

    @property
    def kwh(self) -> float:
        """Parts and teachers that several are charged for, or that are listed, count once."""
        charged = {i: kwh for t in self.trainings for i, kwh in t.charged}
        alone = (t.energy.value - sum(kwh for _, kwh in t.charged) for t in self.trainings)
        return sum(alone) + sum(kwh for i, kwh in charged.items() if i not in self.listed)

    @property
    def kg(self) -> float:
        first = self.trainings[0]
        return self.kwh * first.emissions.value / first.energy.value

    @property
    def total(self) -> str:
        about = "≈" if self.estimated else ""
        count = len(self.trainings)
        runs = "1 training" if count == 1 else f"{count:,} trainings"
        return f"{runs}: {about}{energy_text(self.kwh)}, {about}{mass_text(self.kg)}"


def groups(trainings: Iterable[Training]) -> list[Group]:
    every = list(trainings)
    ids = frozenset(t.run_id for t in every)
    found = [
        Group(title, estimated, tuple(t for t in every if t.estimated is estimated), ids)
        for title, estimated in (("Measured", False), ("Estimated, not measured", True))
    ]
    return [group for group in found if group.trainings]
