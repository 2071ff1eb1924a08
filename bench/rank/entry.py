"""What a board is made of: runs, the entries they form, and the cells that entries stand in."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bench.cards import Card
from bench.rank import notation, score
from bench.record import Metric, Record, Spec, Tuning
from bench.units import EnergyUnit, common_unit

if TYPE_CHECKING:
    from bench.rank.standing import Standing

Origin = Literal["results", "local"]
Status = Literal["ranked", "provisional", "below", "unranked"]


@dataclass(frozen=True)
class Run:
    """A record, where it lies, and whether it was submitted (`results`) or is the user's own."""

    record: Record
    folder: Path
    origin: Origin
    entry: str | None = None  # the key of its entry, where that is known already

    @property
    def key(self) -> str:
        return self.entry or self.record.entry_key()


class Place(NamedTuple):
    """What two entries must share to be ranked against each other."""

    task: str
    version: int
    data: str  # 'official', or the head of the fingerprints
    edition: str
    track: str
    hardware: str
    level: str
    coverage: str
    metric: str = ""  # what its runs are scored by

    @property
    def estimated(self) -> bool:
        return self.level == "M0" and self.coverage != "nothing"

    @property
    def access(self) -> Literal["one-device", "cluster"]:
        """A CPU or one accelerator is what most people have; more is a cluster."""
        many = re.match(r"(\d+) (x|nodes?)\b", self.hardware)
        return "cluster" if many and int(many[1]) > 1 else "one-device"


@dataclass(frozen=True)
class Entry:
    """Runs of one spec and one code. Numbers are means over `runs`: those that count, or, where
    none does, those that have a metric. None stands for what is not known."""

    key: str
    origin: Origin
    place: Place
    spec: Spec  # of any of its runs: they differ in the seed alone
    runs: tuple[Run, ...]
    counted: int  # runs that count towards a rank; 0 when `runs` are only shown
    attempts: int  # runs that were started with a drawn seed, failed ones too
    reasons: tuple[str, ...]  # why runs, or the entry, do not count
    title: str = ""
    submissions: tuple[Standing, ...] = ()  # that its runs came with
    status: Status = "unranked"
    tier: str | None = None
    rank: tuple[int, int] | None = None

    def judged(self, **facts: Any) -> Entry:
        """With another title, status, tier, rank or reasons; what follows from its runs stays, and
        is not computed again."""
        entry = replace(self, **facts)
        vars(entry).update({k: v for k, v in vars(self).items() if k not in vars(entry)})
        return entry

    @cached_property
    def records(self) -> list[Record]:
        return [r.record for r in self.runs]

    @cached_property
    def metrics(self) -> list[Metric]:
        return [m for r in self.records if (m := usable_metric(r))]

    @cached_property
    def values(self) -> list[float]:
        return [m.value for m in self.metrics]

    @cached_property
    def skills(self) -> list[float]:
        return [score.skill(m.value, m.chance, m.best, m.scale) for m in self.metrics]

    @cached_property
    def energies_j(self) -> list[float]:
        return [e for r in self.records if (e := usable_energy_j(r))]

    @cached_property
    def also(self) -> dict[str, float]:
        """Means of the metrics that never rank, over the runs that have them."""
        found: dict[str, list[float]] = {}
        for m in self.metrics:
            for name, value in m.also.items():
                found.setdefault(name, []).append(value)
        return {name: fmean(values) for name, values in found.items()}

    @property
    def scored(self) -> bool:
        """Whether every run shown has both a metric and an energy."""
        return bool(self.runs) and len(self.metrics) == len(self.energies_j) == len(self.runs)

    @cached_property
    def score(self) -> float | None:
        return score.score(self.skills, self.energies_j) if self.scored else None

    @cached_property
    def score_interval(self) -> tuple[float, float] | None:
        return score.score_interval(self.skills, self.energies_j) if self.scored else None

    @cached_property
    def uncertainty_j(self) -> float | None:
        """Expanded uncertainty (k = 2) of the mean energy; None when that of a run is not known.
        The meter's gain is common to the runs, so it does not shrink with their number."""
        each = [energy_uncertainty_j(r) for r in self.records if usable_energy_j(r)]
        known = [u for u in each if u is not None]
        return fmean(known) if known and len(known) == len(each) else None

    def mean(self, of: Callable[[Record], float | None]) -> float | None:
        """Mean over the runs that have the value; None when none has."""
        found = [v for r in self.records if (v := of(r)) is not None]
        return fmean(found) if found else None

    @property
    def tuning(self) -> Tuning | None:
        """What chose the settings: the same for all runs of an entry."""
        return self.records[0].tuning if self.runs else None

    @cached_property
    def upstream_kwh(self) -> tuple[float, float] | None:
        """What others spent before, as submitters declare it: in full, and a use's share; None
        where nothing is declared, or one of it is not known."""
        declared = [u for s in self.submissions[:1] for u in s.entry.upstream]
        known = [
            (u.energy_kwh, u.energy_kwh / u.uses) for u in declared if u.energy_kwh is not None
        ]
        if not known or len(known) < len(declared):
            return None
        return sum(full for full, _ in known), sum(share for _, share in known)

    @property
    def warnings(self) -> set[str]:
        return {w.id for r in self.records for w in r.warnings}

    @cached_property
    def date(self) -> str | None:
        """Day of the last run shown, ISO 8601."""
        return max((r.started_at[:10] for r in self.records), default=None)


@dataclass(frozen=True)
class Section:
    """One table of a cell: a tier, or entries without a rank."""

    name: str  # gold, silver, bronze, provisional, below, unranked
    threshold: float | None  # the metric's value that a tier asks for
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Cell:
    """Entries that may be ranked against each other, in their sections."""

    place: Place
    card: Card | None
    notes: tuple[str, ...]  # what a reader must know before the numbers, loud
    sections: tuple[Section, ...]

    @property
    def entries(self) -> Iterable[Entry]:
        return (e for s in self.sections for e in s.entries)

    @property
    def metric(self) -> str:
        return self.place.metric

    @cached_property
    def energy_unit(self) -> EnergyUnit:
        """In which people are shown its energies; files have kWh."""
        return common_unit(fmean(e.energies_j) for e in self.entries if e.energies_j)

    @property
    def unpinned(self) -> bool:
        """Whether nobody knows what rows are the task's, and these are not made up."""
        sources = {e.spec.data.source for e in self.entries}
        return bool(self.card and not self.card.fingerprints and "embedded" not in sources)

    @property
    def better(self) -> Literal["higher", "lower"]:
        """Which values of the metric."""
        found = next((m for e in self.entries for m in e.metrics), None)
        return "lower" if found and found.best < found.chance else "higher"

    @property
    def title(self) -> str:
        p = self.place
        task = self.card.title if self.card else p.task
        if self.card and p.metric not in ("", self.card.metric.name):
            task = f"{task} by {notation.of(p.metric).title}"
        name = task if p.data == "official" else f"NOT {task} (other data, {p.data})"
        if p.data != "official" and self.unpinned:
            name = f"{task} (data {p.data}, fingerprint not pinned)"
        head = f"{name} · {p.track} · {p.hardware}"
        return f"ESTIMATES, not measured · {head}" if p.estimated else head


def hardware_class(record: Record) -> str:
    return written_now(record.spec.hardware)


def written_now(hardware: str) -> str:
    """The first records say '1 cores' of what is one."""
    return re.sub(r"\b1 cores\b", "1 core", hardware)


def usable_metric(record: Record) -> Metric | None:
    """The run's metric, if numbers can be computed from it."""
    m = record.metric
    if m is None or m.n < 1 or not all(map(math.isfinite, (m.value, m.chance, m.best))):
        return None
    if m.scale == "log" and min(m.value, m.chance, m.best) <= 0:
        return None
    return m if m.best != m.chance else None


def is_share(metric: Metric) -> bool:
    """Whether the metric is the share of right answers: then the split's size alone tells how
    far another sample of examples might move it."""
    return metric.name == "accuracy" and metric.correct is not None


def usable_energy_j(record: Record) -> float | None:
    """The run's energy; a meter that saw none, or no number, has measured nothing."""
    energy_j = record.energy_j
    return energy_j if energy_j is not None and 0 < energy_j < math.inf else None


def energy_uncertainty_j(record: Record) -> float | None:
    """Expanded uncertainty of a run's energy, J; None when a domain states none."""
    return None if usable_energy_j(record) is None else record.uncertainty_j
