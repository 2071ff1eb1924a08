"""Skill against energy: entries as dots with their intervals, and which of them none beats."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.rank import score
from bench.rank.entry import Cell, Entry, Place
from bench.rank.render import plain
from bench.units import J_PER_KWH, EnergyUnit, common_unit, kwh_from_j, significant


@dataclass(frozen=True)
class Dot:
    """An entry: means over its runs, with 95 % intervals where there are repeats."""

    label: str  # what tells it from others of its series
    series: str  # model
    skill: float
    skill_interval: tuple[float, float] | None
    energy_kwh: float
    energy_interval_kwh: tuple[float, float] | None
    meters: str  # what energy is of, and how it was read
    hardware: str
    estimated: bool
    on_front: bool
    meter_share: float | None = None  # expanded uncertainty (k = 2) of the meter, of the energy
    runs: int = 0  # that the means are over
    address: str = ""  # of a page that says more
    group: str = ""  # dots of equal ones share a front
    of: tuple[object, ...] = ()  # the entry and its place; no other dot has the same


Naming = Callable[[Entry], str]


def dots(
    cells: Iterable[Cell], label: Naming | None = None, address: Naming = lambda entry: ""
) -> list[Dot]:
    """The entries that have a skill and an energy. Those that were metered alike share a front,
    whatever they started from."""
    alike: dict[Place, list[tuple[Place, Entry]]] = defaultdict(list)
    for cell in cells:
        for entry in cell.entries:
            if entry.scored and entry.counted:
                alike[metered_as(cell.place)].append((cell.place, entry))
    label = label or _telling([e for group in alike.values() for _, e in group])
    found = []
    for group in alike.values():
        keys = front([entry for _, entry in group])
        found += [dot(e, place, e.key in keys, label(e), address(e)) for place, e in group]
    return found


def dot(entry: Entry, place: Place, on_front: bool, label: str, address: str = "") -> Dot:
    skill, half = fmean(entry.skills), score.half_width(entry.skills)
    energy_j, around = fmean(entry.energies_j), interval_j(entry.energies_j)
    unsure_j = entry.uncertainty_j
    data = "" if place.data == "official" else f", other data ({place.data})"
    return Dot(
        label=plain(label),
        series=plain(entry.spec.model),
        skill=skill,
        skill_interval=None if half is None else (skill - half, skill + half),
        energy_kwh=kwh_from_j(energy_j),
        energy_interval_kwh=around and (kwh_from_j(around[0]), kwh_from_j(around[1])),
        meters=plain(f"{place.coverage} ({place.level}) on {place.hardware}{data}"),
        hardware=plain(place.hardware),
        estimated=place.estimated,
        on_front=on_front,
        meter_share=None if unsure_j is None else unsure_j / energy_j,
        runs=len(entry.runs),
        address=address,
        group="/".join(map(str, metered_as(place))),
        of=identity(entry, place),
    )


def identity(entry: Entry, place: Place) -> tuple[object, ...]:
    """What `Dot.of` has."""
    return entry.key, entry.origin, place


def metered_as(place: Place) -> Place:
    """Entries of equal ones compare in skill and energy, whatever they started from: a track is
    about what may be ranked."""
    return place._replace(track="")


def interval_j(energies_j: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean, from the scatter of the logarithms."""
    half = score.half_width([math.log(e) for e in energies_j])
    if half is None:
        return None
    return fmean(energies_j) * math.exp(-half), fmean(energies_j) * math.exp(half)


def front(entries: Iterable[Entry]) -> set[str]:
    """Keys of those that none of the others beats in skill and energy; of those that count."""
    whole = [e for e in entries if e.scored and e.counted]
    points = [(fmean(e.skills), fmean(e.energies_j)) for e in whole]
    return {e.key for e, on in zip(whole, score.front(points), strict=True) if on}


def unit_of(dots: Iterable[Dot]) -> EnergyUnit:
    """In which a plot has its energies."""
    return common_unit(dot.energy_kwh * J_PER_KWH for dot in dots)


FEW = 5
"""At most one dot of so many is left below an axis."""

EMPTY = 0.1
"""Less skill than this leaves no axis empty."""


def far_below(dots: Sequence[Dot]) -> list[Dot]:
    """The few whose skill is so far below the others' that an axis down to them would be half
    empty: plots have them at their lower edge."""
    order = sorted(dots, key=lambda d: d.skill)
    for few in range(1, len(order) // FEW + 1):
        lowest, rest, highest = order[0].skill, order[few].skill, order[-1].skill
        if rest - lowest >= max(highest - rest, EMPTY):
            return order[:few]
    return []


def marks(dots: Sequence[Dot]) -> list[str]:
    """What the marks of a plot mean, and only those that are in it."""
    said = []
    if far_below(dots):
        said.append("↓: far below the axis, at the skill that is written there.")
    if any(d.skill_interval or d.energy_interval_kwh for d in dots):
        said.append("Bars: 95 % between runs.")
    if _lines(dots):
        said.append("Dashed: the Pareto front, one for each way of metering.")
    if any(d.estimated for d in dots):
        said.append("Hollow: energy was estimated, not measured.")
    unsure = []
    for about, some in (
        ("measured", [d.meter_share for d in dots if not d.estimated]),
        ("estimated", [d.meter_share for d in dots if d.estimated]),
    ):
        known = [share for share in some if share is not None]
        if known:
            low, high = (significant(100 * share, 2) for share in (min(known), max(known)))
            span = low if low == high else f"{low} to {high}"
            unsure.append(f"±{span} % where {about}")
    if unsure:
        said.append(f"Not drawn: the meter's own uncertainty (k = 2), {', '.join(unsure)}.")
    return said


def _lines(dots: Sequence[Dot]) -> bool:
    """Whether a front is more than a dot."""
    ends = Counter(d.group for d in dots if d.on_front)
    return any(count > 1 for count in ends.values())


def _telling(entries: Sequence[Entry]) -> Naming:
    """The recipe; with settings where a model has it more than once."""
    named = Counter((e.spec.model, e.spec.recipe) for e in entries)

    def label(entry: Entry) -> str:
        many = named[entry.spec.model, entry.spec.recipe] > 1
        said = [part for part in entry.title.split(" · ")[1:] if not part.endswith("=None")]
        return " · ".join(said) if many else entry.spec.recipe

    return label
