"""A project's ledger added up, as the study did for its case: what all runs took, and how much of
it the training was that is used in the end.

Each run is counted once, by its id, with what its own window took: the earlier parts and teachers
that it is charged for are runs of their own, and are added where their records lie elsewhere.
Measured and estimated energy are never added, and what is not known is counted in runs.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.footprint import formulas
from bench.footprint.jobs import LEVELS, Found, Job, gathered
from bench.footprint.quantity import Quantity, derived, given
from bench.power.carbon import Scenario
from bench.units import J_PER_KWH

GOOD = ("complete", "budget")
ROLES = ("final", "tuning", "other training", "profile", "measurement", "failed")


@dataclass(frozen=True)
class Sum:
    """Of some jobs. Energy is of the machines, without what a building adds."""

    jobs: int
    hours: float
    device_hours: float
    kwh: Mapping[str, float]  # by level
    unknown: int  # jobs whose energy is not known

    @classmethod
    def of(cls, jobs: Iterable[Job]) -> Sum:
        some = list(jobs)
        kwh = {lv: math.fsum(j.kwh for j in some if j.level == lv) for lv in LEVELS}
        return cls(
            jobs=sum(j.count for j in some),
            hours=math.fsum(j.duration_s for j in some) / 3600,
            device_hours=math.fsum(j.device_hours for j in some),
            kwh={lv: v for lv, v in kwh.items() if any(j.level == lv for j in some)},
            unknown=sum(j.count for j in some if j.level == ""),
        )


@dataclass(frozen=True)
class Cost:
    """Of one level."""

    energy: Quantity  # kWh of the machines
    building: Quantity  # kWh with what it adds
    emissions: Quantity  # kg CO2e
    electricity: Quantity  # USD


@dataclass(frozen=True)
class Project:
    """What some folders hold. `roles` is by run id; `rule` says which runs are final."""

    jobs: tuple[Job, ...]
    roles: Mapping[str, str]
    finals: tuple[str, ...]  # ids, without what they rest on
    rule: str
    whole: Sum
    costs: Mapping[str, Cost]  # by level
    cloud: Quantity | None
    assumed: bool  # a region, of a job that names none
    broken: tuple[str, ...]  # a line each
    notes: tuple[str, ...]

    def of_role(self, *roles: str) -> list[Job]:
        return [j for j in self.jobs if self.roles[j.run_id] in roles]

    def groups(self, key: Callable[[Job], str]) -> dict[str, Sum]:
        """By what `key` says of jobs, in the order of their names."""
        found: dict[str, list[Job]] = defaultdict(list)
        for job in self.jobs:
            found[key(job)].append(job)
        return {name: Sum.of(found[name]) for name in sorted(found)}

    @property
    def searches(self) -> int:
        """Sweeps that tried settings."""
        return len({j.sweep for j in self.jobs if j.sweep})

    @property
    def first(self) -> datetime:
        return min(j.started for j in self.jobs)

    @property
    def last(self) -> datetime:
        return max(j.started + timedelta(seconds=j.duration_s) for j in self.jobs)

    @property
    def days(self) -> int:
        """Of the calendar (UTC), from the first job's to the last's."""
        return (self.last.date() - self.first.date()).days + 1

    def share(self, of: str) -> Quantity | None:
        """Of the final trainings in all device-hours, or in all energy of a level; None where they
        have none of it."""
        final, whole = (
            _amount(Sum.of(some), of)
            for some in (self.of_role("final"), self.jobs)
        )  # fmt: skip
        if not final or not whole:
            return None
        unit = "h" if of == "hours" else "kWh"
        source = "sum over records"
        return derived(
            "share of the final training", "", "final / all", lambda f, w: f / w,
            given("final", final, unit, source), given("all", whole, unit, source),
        )  # fmt: skip

    def tuning(self, of: str) -> Quantity | None:
        """All trials over one final training."""
        final, trials = (_amount(Sum.of(self.of_role(r)), of) for r in ("final", "tuning"))
        if not final or not trials:
            return None
        unit = "h" if of == "hours" else "kWh"
        return derived(
            "multiple of one training", "", "trials / final x final trainings",
            lambda t, f, n: t / f * n, given("trials", trials, unit, "sum over records"),
            given("final", final, unit, "sum over records"),
            given("final trainings", len(self.finals), "", self.rule),
        )  # fmt: skip

    def multiple(self, of: str) -> Quantity | None:
        """All of it over one final training."""
        share = self.share(of)
        if share is None:
            return None
        finals = given("final trainings", len(self.finals), "", self.rule)
        return derived(
            "multiple of one training", "", "final trainings / share", lambda n, s: n / s,
            finals, share,
        )  # fmt: skip


def _amount(whole: Sum, of: str) -> float:
    return whole.device_hours if of == "hours" else whole.kwh.get(of, 0.0)


def read(
    folders: Sequence[Path],
    scenario: Scenario,
    finals: Sequence[str] = (),
    usd_per_kwh: float = 0.12,
    usd_per_hour: float | None = None,
) -> Project:
    """UsageError where there is no run."""
    found = gathered(folders, scenario)
    if not found.jobs:
        where = ", ".join(map(str, folders))
        said = f": {found.broken[0]}" if found.broken else ""
        raise UsageError(
            f"no run lies in {where}{said}", "a folder of runs, such as runs or results"
        )
    jobs = tuple(sorted(found.jobs.values(), key=lambda j: (j.started, j.run_id)))
    chosen, rule = _finals(jobs, finals)
    return _project(jobs, chosen, rule, found, usd_per_kwh, usd_per_hour)


# --- which is the training that is used in the end -----------------------------------------------

LAST = "the last training that could be ranked"
LAST_WHOLE = "the last training that was whole"


def _finals(jobs: Sequence[Job], asked: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Ids, and by what rule."""
    if asked:
        return tuple(dict.fromkeys(_named(name, jobs) for name in asked)), "as named"
    whole = [j for j in jobs if j.kind == "training" and j.status in GOOD]
    for rule, some in ((LAST, [j for j in whole if j.rankable]), (LAST_WHOLE, whole)):
        if some:
            return (some[-1].run_id,), rule
    return (), "no training was whole"


def _named(name: str, jobs: Sequence[Job]) -> str:
    head = re.sub(r"[^0-9a-f]", "", Path(name).name.lower()) or "-"
    found = [j.run_id for j in jobs if j.run_id.startswith(head)]
    if not found:
        raise UsageError(f"no run here is called '{name}'", "--final takes the head of a run's id")
    if len(found) > 1:
        raise UsageError(f"'{name}' may be {len(found)} runs", f"such as {found[0]} or {found[1]}")
    return found[0]


def _roles(jobs: Sequence[Job], finals: Collection[str]) -> dict[str, str]:
    """What a final training rests on is final, too."""
    by_id = {j.run_id: j for j in jobs}
    final = set(finals)
    waiting = list(finals)
    while waiting:
        more = [r for r in by_id[waiting.pop()].charged if r in by_id and r not in final]
        final.update(more)
        waiting += more
    return {j.run_id: "final" if j.run_id in final else _role(j) for j in jobs}


def _role(job: Job) -> str:
    if job.status not in GOOD:
        return "failed"
    kinds = {"trial": "tuning", "measurement": "measurement", "profile": "profile"}
    return kinds.get(job.kind, "other training")


# --- sums ----------------------------------------------------------------------------------------


def _project(
    jobs: tuple[Job, ...], finals: tuple[str, ...], rule: str, found: Found, usd_per_kwh: float,
    usd_per_hour: float | None,
) -> Project:  # fmt: skip
    whole = Sum.of(jobs)
    costs = {
        lv: _cost([j for j in jobs if j.level == lv], lv, usd_per_kwh) for lv in whole.kwh
    }  # fmt: skip
    cloud = None
    if usd_per_hour is not None:
        hours = given("device-hours", whole.device_hours, "h", f"of {whole.jobs} jobs")
        price = given("price", usd_per_hour, "USD/h", "as given, of one device")
        cloud = formulas.cost_usd("cloud", hours, price)
    return Project(
        jobs=jobs,
        roles=_roles(jobs, finals),
        finals=finals,
        rule=rule,
        whole=whole,
        costs=costs,
        cloud=cloud,
        assumed=any(j.scenario.assumed for j in jobs),
        broken=tuple(found.broken),
        notes=tuple(_notes(jobs, found)),
    )


def _cost(jobs: Sequence[Job], level: str, usd_per_kwh: float) -> Cost:
    """By grids and buildings, each with its own factors."""
    groups: dict[tuple[str, float], list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.scenario.region.code, job.scenario.pue.value].append(job)
    energies, buildings, emissions = [], [], []
    for some in groups.values():
        scenario = some[0].scenario
        unsure = [j.unsure_j for j in some]
        energy = given(
            "energy", math.fsum(j.kwh for j in some), "kWh",
            f"{level}, {_jobs(some)} in {scenario.region.name}, sum over their records",
            # one meter's gain is in all of them, so that uncertainties add up
            None if None in unsure else math.fsum(u or 0 for u in unsure) / J_PER_KWH,
        )  # fmt: skip
        pue = formulas.pue_of(scenario.pue)
        building = derived("energy", "kWh", "PUE x energy", lambda p, e: p * e, pue, energy)
        energies.append(energy)
        buildings.append(building)
        emissions.append(
            formulas.emissions_kg(building, formulas.intensity_of(scenario.region))
        )  # fmt: skip
    price = given("price", usd_per_kwh, "USD/kWh", "as given" if usd_per_kwh != 0.12 else
                  "as the study: the US of 2018")  # fmt: skip
    building = _total("energy", "kWh", buildings)
    return Cost(
        energy=_total("energy", "kWh", energies),
        building=building,
        emissions=_total("emissions", "kg CO2e", emissions),
        electricity=formulas.cost_usd("electricity", building, price),
    )


def _jobs(some: Sequence[Job]) -> str:
    many = sum(j.count for j in some)
    return f"{many:,} job{'' if many == 1 else 's'}"


def _total(name: str, unit: str, parts: Sequence[Quantity]) -> Quantity:
    if len(parts) == 1:
        return parts[0]
    return derived(name, unit, "sum over grids", lambda *v: math.fsum(v), *parts)


def _notes(jobs: Sequence[Job], found: Found) -> Iterator[str]:
    elsewhere = sum(j.kind == "charged" for j in jobs)
    swept = sum(j.count for j in jobs if _stands_for_others(j) and j.kind == "trial")
    said = {
        "of sweeps that chose settings here, whose records lie elsewhere: added": swept,
        "that others are charged for, whose records lie elsewhere: added": elsewhere,
        "that lie here more than once: counted once": found.copies,
        "that have not ended, or were killed: not counted": found.unfinished,
        "of a journal that left no run: not counted": found.lost,
        "whose energy is not known": sum(j.level == "" for j in jobs),
    }
    for what, many in said.items():
        if many:
            yield f"{many:,} {'job' if many == 1 else 'jobs'} {what}"
    covered = sorted({j.coverage for j in jobs if j.level == "measured"})
    if covered:
        yield f"measured energy is of {', '.join(covered)}, as each run was metered"


def _stands_for_others(job: Job) -> bool:
    return job.run_id.find(" ") >= 0 or job.kind == "charged"


def lengths(project: Project) -> tuple[Job, Job, float]:
    """The shortest job, the longest, and the mean, s; of those that have a record here."""
    own = [j for j in project.jobs if not _stands_for_others(j)] or list(project.jobs)
    ordered = sorted(own, key=lambda j: j.duration_s)
    return ordered[0], ordered[-1], math.fsum(j.duration_s for j in own) / len(own)


def searched(project: Project) -> list[Job]:
    """Trials of sweeps, whatever became of them."""
    return [j for j in project.jobs if j.kind == "trial"]


# --- for JSON -------------------------------------------------------------------------------------


def facts(project: Project) -> dict[str, Any]:
    """What the sums say, for JSON."""
    shortest, longest, mean_s = lengths(project)
    return {
        "jobs": project.whole.jobs,
        "searches": project.searches,
        "trials": sum(j.count for j in searched(project)),
        "first": project.first.isoformat(),
        "last": project.last.isoformat(),
        "days": project.days,
        "longest": {"run_id": longest.run_id, "duration_s": longest.duration_s},
        "shortest": {"run_id": shortest.run_id, "duration_s": shortest.duration_s},
        "mean_s": mean_s,
        "whole": sum_facts(project.whole),
        "costs": {
            level: {
                "energy": c.energy.as_dict(), "with_building": c.building.as_dict(),
                "emissions": c.emissions.as_dict(), "electricity": c.electricity.as_dict(),
            }
            for level, c in project.costs.items()
        },
        "cloud": project.cloud.as_dict() if project.cloud else None,
        "finals": list(project.finals),
        "rule": project.rule,
        "share": {of: q.as_dict() for of in ("hours", *LEVELS) if (q := project.share(of))},
        "multiple": {of: q.as_dict() for of in ("hours", *LEVELS) if (q := project.multiple(of))},
        "tuning": {of: q.as_dict() for of in ("hours", *LEVELS) if (q := project.tuning(of))},
    }  # fmt: skip


def sum_facts(whole: Sum) -> dict[str, Any]:
    return {
        "jobs": whole.jobs, "hours": whole.hours, "device_hours": whole.device_hours,
        "kwh": dict(whole.kwh), "unknown": whole.unknown,
    }  # fmt: skip
