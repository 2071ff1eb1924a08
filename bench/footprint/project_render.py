"""A project's ledger for people, beside the study's own case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bench.footprint import equivalents, project, timeline
from bench.footprint.case import Case, of_study
from bench.footprint.jobs import LEVELS, Job
from bench.footprint.project import ROLES, Cost, Project, Sum
from bench.footprint.quantity import Quantity, explained
from bench.rank.render import plain
from bench.units import show_duration, significant

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SCHEMA = "bench.project/1"
_ROWS, _BROKEN = 8, 8  # of a table, of lines

BY: dict[str, Callable[[Job], str]] = {
    "task": lambda j: j.task or f"({j.kind})",
    "model": lambda j: j.model or f"({j.kind})",
    "recipe": lambda j: j.recipe or f"({j.kind})",
    "week": lambda j: j.week,
}


def project_parts(found: Project, width: int) -> Iterator[RenderableType]:
    yield _beside(found)
    yield ""
    yield _text(_conditions(found))
    if "estimated" in found.whole.kwh:
        yield _text("ESTIMATED energy was not measured, and is in no sum with what was.")
    for note in found.notes:
        yield _text(note)
    yield ""
    yield _roles(found)
    yield ""
    for name, key in BY.items():
        yield _groups(found, name, key)
        yield ""
    yield from map(_text, timeline.bars(found, width))
    yield ""
    for line in found.broken[:_BROKEN]:
        yield _text(f"! {plain(line, 200)}")
    if len(found.broken) > _BROKEN:
        yield _text(f"! and {len(found.broken) - _BROKEN:,} more like these (--json has them)")
    for level, cost in found.costs.items():
        if said := equivalents.line(cost.emissions):
            yield _text(f"{level}: {said}")


def title(found: Project) -> str:
    first, last = found.first.date().isoformat(), found.last.date().isoformat()
    span = first if first == last else f"{first} to {last}"
    return f"{_count(found.whole.jobs, 'job')}, {span}"


# --- beside the study ----------------------------------------------------------------------------


def _beside(found: Project) -> Table:
    """One line a fact: here, and in the study's case."""
    table = _empty()
    table.add_column(title(found), style="", overflow="fold")
    table.add_column("here", justify="right")
    table.add_column("the study", justify="right")
    for name, here, there in _facts(found, of_study()):
        table.add_row(*map(_text, (name, here, there)))
    return table


def _facts(found: Project, case: Case) -> Iterator[tuple[str, str, str]]:
    shortest, longest, mean_s = project.lengths(found)
    whole = found.whole
    yield "jobs", f"{whole.jobs:,}", f"{case.jobs:,}"
    yield "searches", f"{found.searches:,}", f"{case.searches:,}"
    yield "days", f"{found.days:,}", f"{case.days:,}"
    yield "mean job", show_duration(mean_s), show_duration(case.mean_h * 3600)
    span = f"{show_duration(shortest.duration_s)} to {show_duration(longest.duration_s)}"
    yield "shortest to longest", span, "3 min to 9 days"
    yield "hours", _hours(whole.hours), ""
    yield "device-hours", _hours(whole.device_hours), _hours(case.device_hours.value)
    for number, (level, cost) in enumerate(found.costs.items()):
        yield from _cost_lines(level, cost, None if number else case)
    if whole.unknown:
        yield "energy not known", _count(whole.unknown, "job"), ""
    if found.cloud:
        yield "cloud, USD", significant(found.cloud.value), "103k to 350k"
    yield from _final_lines(found, case)


def _cost_lines(level: str, cost: Cost, case: Case | None) -> Iterator[tuple[str, str, str]]:
    rows = (
        ("kWh", cost.building, case and case.energy),
        ("kg CO2e", cost.emissions, case and case.emissions),
        ("electricity, USD", cost.electricity, case and case.electricity),
    )
    for unit, here, there in rows:
        yield f"{level}, {unit}", _sure(here), significant(there.value) if there else ""


def _sure(q: Quantity) -> str:
    unsure = "" if q.uncertainty is None else f" ± {significant(q.uncertainty, 2)}"
    return significant(q.value) + unsure


def _final_lines(found: Project, case: Case) -> Iterator[tuple[str, str, str]]:
    study = {"hours": case.multiple}
    for of, unit in (("hours", "device-hours"), *((lv, f"{lv} kWh") for lv in LEVELS)):
        share, multiple = found.share(of), found.multiple(of)
        if share is None or multiple is None:
            continue
        there = study.get(of)
        said = f"{significant(100 / there.value, 2)} %" if there else ""
        yield f"final training, of {unit}", f"{significant(100 * share.value)} %", said
        times = f"{significant(there.value)} x" if there else ""
        if tuning := found.tuning(of):
            grid = f"{significant(case.tuning.value)} x" if there else ""
            yield f"trials over one training, {unit}", f"{significant(tuning.value)} x", grid
        yield f"all over one training, {unit}", f"{significant(multiple.value)} x", times


def _conditions(found: Project) -> str:
    names = sorted({f"{j.scenario.region.name}, PUE {j.scenario.pue.value:g}" for j in found.jobs})
    where = "; ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    assumed = ", assumed where a run names none" if found.assumed else ""
    finals = ", ".join(f[:8] for f in found.finals) or "none"
    price = _price(found)
    return (
        f"Final: {finals} ({found.rule}; --final names others). Grid and building: {where}"
        f"{assumed}. kWh are with what the building adds; {price}. The study's case is its table 4,"
        f" by its formula."
    )


def _price(found: Project) -> str:
    for cost in found.costs.values():
        price = cost.electricity.inputs[1]
        return f"{price.value:g} USD/kWh, {price.source}"
    return "no energy is known"


# --- tables --------------------------------------------------------------------------------------


def _roles(found: Project) -> Table:
    """By what jobs were for, and how they ended."""
    groups = found.groups(lambda j: f"{ROLES.index(found.roles[j.run_id])} {_status(found, j)}")
    return _sums("what for", {name[2:]: s for name, s in groups.items()}, found)


def _status(found: Project, job: Job) -> str:
    role = found.roles[job.run_id]
    if role == "failed":
        return f"{job.status} {job.kind}"
    return role if job.status == "complete" else f"{role} ({job.status})"


def _groups(found: Project, name: str, key: Callable[[Job], str]) -> Table:
    """Those that took most first, weeks in their order; the rest in one line."""
    groups = found.groups(key)
    names = list(groups)
    if name != "week":
        names.sort(key=lambda n: (-sum(groups[n].kwh.values()), n))
    kept = names[-_ROWS:] if name == "week" else names[:_ROWS]
    shown = {plain(n): groups[n] for n in kept}
    rest = set(names) - set(kept)
    if rest:
        shown[f"{len(rest)} more"] = Sum.of(j for j in found.jobs if key(j) in rest)
    return _sums(name, shown, found)


def _sums(name: str, groups: dict[str, Sum], found: Project) -> Table:
    table = _empty()
    table.add_column(name, overflow="fold", min_width=16)
    levels = list(found.whole.kwh)
    for heading in ("jobs", "device-h", *(f"kWh {lv}" for lv in levels), "of time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group, s in groups.items():
        share = s.device_hours / found.whole.device_hours if found.whole.device_hours else 0.0
        kwh = [significant(s.kwh[lv]) if lv in s.kwh else "" for lv in levels]
        table.add_row(
            *map(_text, (group, f"{s.jobs:,}", _hours(s.device_hours), *kwh, f"{share:.1%}"))
        )
    return table


def _hours(hours: float) -> str:
    return significant(hours) if hours < 1e3 else f"{hours:,.0f}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# --- on demand -----------------------------------------------------------------------------------


def project_explained(found: Project) -> Iterator[str]:
    """Each number: its formula down to its sources."""
    yield title(found)
    case = of_study()
    every: list[tuple[str, Quantity]] = []
    for level, cost in found.costs.items():
        every += [
            (f"{level} energy", cost.building), (f"{level} emissions", cost.emissions),
            (f"{level} electricity", cost.electricity),
        ]  # fmt: skip
    every += [("cloud", found.cloud)] if found.cloud else []
    for of in ("hours", *LEVELS):
        if q := found.multiple(of):
            every.append((f"all over one training, {of}", q))
    every += [
        ("the study's case, emissions", case.emissions),
        ("the same, multiple", case.multiple),
    ]
    for name, quantity in every:
        yield ""
        yield name
        yield from (f"  {line}" for line in explained(quantity))


def project_facts(found: Project) -> dict[str, Any]:
    """For JSON."""
    case = of_study()
    return {
        "schema": SCHEMA,
        "title": title(found),
        **project.facts(found),
        "roles": _as_facts(found.groups(lambda j: found.roles[j.run_id])),
        "statuses": _as_facts(found.groups(lambda j: f"{j.kind}/{j.status}")),
        **{f"by_{name}": _as_facts(found.groups(key)) for name, key in BY.items()},
        "timeline": [
            {"day": s.start.isoformat(), "role": s.role, "level": s.level, "kwh": s.kwh}
            for s in timeline.slices_of(found)
        ],
        "study": {
            "source": case.source, "jobs": case.jobs, "searches": case.searches,
            "days": case.days, "device_hours": case.device_hours.value,
            "energy": case.energy.as_dict(), "emissions": case.emissions.as_dict(),
            "electricity": case.electricity.as_dict(), "multiple": case.multiple.as_dict(),
        },
        "notes": list(found.notes),
        "broken": list(found.broken),
        "like": {lv: equivalents.line(c.emissions) for lv, c in found.costs.items()},
    }  # fmt: skip


def _as_facts(groups: dict[str, Sum]) -> dict[str, Any]:
    return {name: project.sum_facts(s) for name, s in groups.items()}


def said(found: Project) -> Sequence[str]:
    """What stands below the title of the picture."""
    energy = [
        f"{significant(c.energy.value)} kWh {lv}, {significant(c.emissions.value)} kg CO2e"
        for lv, c in found.costs.items()
    ]
    return [*energy, f"final: {', '.join(f[:8] for f in found.finals) or 'none'} ({found.rule})"]


def _empty() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def _text(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text)
