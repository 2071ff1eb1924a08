"""Runs become entries, entries stand in cells, and a cell is ranked tier by tier.

A board is a function of records and cards alone. Filters that choose what is looked at
(`origin`, and everything a cell is made of) come before ranking; filters that only hide rows
(model, recipe, date) come after it, so that no rank changes because a competitor is hidden. The
trials of a sweep are no entries: they are in the energy of the entry that it chose.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench import record as records
from bench.cards import Card
from bench.errors import BenchError, UsageError, near_names
from bench.rank import columns, score
from bench.rank.entry import (
    Cell,
    Entry,
    Origin,
    Place,
    Run,
    Section,
    hardware_class,
    usable_energy_j,
    usable_metric,
)
from bench.rank.standing import Standing, Standings, standing
from bench.record import Record

SECTIONS = (*score.TIERS, "provisional", "below", "unranked")


def load(roots: Iterable[tuple[Path, Origin]]) -> tuple[list[Run], list[str]]:
    """The runs below `roots`, and one line for each folder whose record can't be read.

    A run that lies in several places is taken once, from the submitted ones first.
    """
    found: dict[str, Run] = {}
    broken = []
    for root, origin in sorted(roots, key=lambda pair: pair[1] != "results"):
        for folder in records.folders([root]):
            try:
                run = Run(records.read(folder), folder, origin)
            except BenchError as error:
                broken.append(f"left out: {error.message}")
            except OSError as error:
                broken.append(f"left out: {folder}: {error.strerror or error}")
            else:
                found.setdefault(run.record.run_id, run)
    return list(found.values()), broken


@dataclass(frozen=True)
class Filters:
    """What to look at; None is everything. Hardware, model and recipe are parts of names."""

    task: str | None = None
    track: str | None = None
    hardware: str | None = None
    access: str | None = None
    level: str | None = None
    origin: str | None = None
    model: str | None = None
    recipe: str | None = None
    since: str | None = None  # ISO 8601 days, both included
    until: str | None = None

    def __post_init__(self) -> None:
        _one_of("track", self.track, ("scratch", "finetune", "open"))
        _one_of("access", self.access, ("one-device", "cluster"))
        _one_of("level", self.level, ("M0", "M1", "M2", "M3"))
        _one_of("origin", self.origin, ("results", "local"))
        for name in ("since", "until"):
            _day(name, getattr(self, name))

    def takes_run(self, run: Run) -> bool:
        spec = run.record.spec
        return self.origin in (None, run.origin) and self.takes(
            spec.task, spec.track, spec.hardware
        )

    def takes(self, task: str, track: str, hardware: str) -> bool:
        return (
            self.task in (None, task)
            and self.track in (None, track)
            and _part(self.hardware, hardware)
        )

    def takes_place(self, place: Place) -> bool:
        return self.access in (None, place.access) and self.level in (None, place.level)

    def shows(self, entry: Entry) -> bool:
        day = entry.date
        return (
            self.names(entry.spec.model, entry.spec.recipe)
            and (self.since is None or (day is not None and day >= self.since))
            and (self.until is None or (day is not None and day <= self.until))
        )

    def names(self, model: str, recipe: str) -> bool:
        return _part(self.model, model) and _part(self.recipe, recipe)


def _part(asked: str | None, name: str) -> bool:
    return (asked or "").lower() in name.lower()


def _one_of(name: str, value: str | None, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        near = near_names(value, allowed)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(allowed)}"
        raise UsageError(f"'{value}' is not a {name}", hint)


def _day(name: str, value: str | None) -> None:
    if value is None:
        return
    try:
        day = date.fromisoformat(value).isoformat()
    except ValueError:
        day = ""
    if day != value:
        raise UsageError(f"'{value}' is not a day for {name}", "write it as 2026-01-31")


def build(
    runs: Iterable[Run],
    cards: Mapping[str, Card],
    filters: Filters | None = None,
    by: str | None = None,
    standings: Standings = MappingProxyType({}),
) -> list[Cell]:
    """The ranked cells, measured ones first. `by` is a column to order by for display; `standings`
    are the entries that the runs came with: what is taken back is left out."""
    filters = filters or Filters()
    places: dict[Place, list[Entry]] = defaultdict(list)
    stands = standing(runs, standings)
    whole = _without_parts([run for run in stands if run.record.trial is None])
    for entry in _entries((r for r in whole if filters.takes_run(r)), cards, standings):
        if filters.takes_place(entry.place):
            places[entry.place].append(entry)
    cells = [_cell(p, entries, cards, filters) for p, entries in places.items()]
    cells = sorted((c for c in cells if c.sections), key=lambda c: _order(c.place))
    return columns.sort(cells, by) if by else cells


def _order(place: Place) -> tuple[Any, ...]:
    """Estimates after everything measured; the official data, the newest rules, the better
    meter first."""
    edition = [-int(n) for n in re.findall(r"\d+", place.edition)[:3]]
    unmeasured = place.coverage == "nothing"
    return (
        unmeasured, place.estimated, place.task, -place.version, place.data != "official",
        place.data, edition, place.edition, place.track, place.access == "cluster",
        place.hardware, -int(place.level[1:]), place.coverage, place.metric,
    )  # fmt: skip


# --- runs to entries ---------------------------------------------------------------------------


def _without_parts(runs: list[Run]) -> list[Run]:
    """The runs less those that a run that ended well goes on with: it is charged for them. What is
    submitted stays until what goes on with it is submitted as well."""
    ended = [run for run in runs if run.record.status in ("complete", "budget")]
    parts = {
        (part.run_id, origin)
        for run in ended
        for part in run.record.parts
        for origin in {run.origin, "local"}
    }
    return [run for run in runs if (run.record.run_id, run.origin) not in parts]


def _entries(runs: Iterable[Run], cards: Mapping[str, Card], standings: Standings) -> list[Entry]:
    by_key: dict[tuple[str, Origin], list[Run]] = defaultdict(list)
    for run in sorted(runs, key=_started):
        by_key[run.key, run.origin].append(run)
    return [
        _entry(key, origin, place, group, members, cards).judged(
            submissions=_submissions(members, standings)
        )
        for (key, origin), group in by_key.items()
        for place, members in _by_place(group, cards).items()
    ]


def _submissions(runs: Iterable[Run], standings: Standings) -> tuple[Standing, ...]:
    folders = dict.fromkeys(run.folder.parent for run in runs)
    return tuple(standings[folder] for folder in folders if folder in standings)


def _by_place(group: list[Run], cards: Mapping[str, Card]) -> dict[Place, list[Run]]:
    """The runs of one entry by cell. A run that no meter saw belongs to every cell that the
    entry stands in: it is an attempt there. One without a metric was to be scored as the others."""
    scored = [run.record.metric.name for run in group if run.record.metric]
    card = cards.get(group[0].record.spec.task)
    metric = scored[0] if scored else card.metric.name if card else ""
    places: dict[Place, list[Run]] = defaultdict(list)
    for run in group:
        places[_place(run.record, cards, metric)].append(run)
    unseen = [p for p in places if p.coverage == "nothing"]
    if len(unseen) < len(places):
        for place in unseen:
            homeless = places.pop(place)
            for members in places.values():
                members.extend(homeless)
                members.sort(key=_started)
    return places


def _started(run: Run) -> tuple[str, str]:
    return run.record.started_at, run.record.run_id


def _place(record: Record, cards: Mapping[str, Card], metric: str) -> Place:
    s = record.spec
    return Place(
        s.task, s.task_version, data_board(record, cards.get(s.task)), s.edition, s.track,
        hardware_class(record), record.level, record.coverage,
        record.metric.name if record.metric else metric,
    )  # fmt: skip


def data_board(record: Record, card: Card | None) -> str:
    """'official' only where the fingerprints are the card's, whatever the record says."""
    data = record.spec.data
    if card is None or card.version != record.spec.task_version:
        return data.board()
    pinned = card.fingerprints
    same = pinned and data.fingerprints == {"train": pinned.train, "scored": pinned.scored}
    return "official" if same else data.model_copy(update={"official": False}).board()


def _entry(
    key: str,
    origin: Origin,
    place: Place,
    group: list[Run],
    members: list[Run],
    cards: Mapping[str, Card],
) -> Entry:
    counted: list[Run] = []
    reasons: Counter[str] = Counter()
    seeds: set[int] = set()
    for run in members:
        reason = why_not(run.record, cards.get(place.task), seeds)
        if reason:
            reasons[reason] += 1
        else:
            counted.append(run)
            seeds.add(run.record.spec.seed)
    shown = counted or [r for r in members if usable_metric(r.record)]
    return Entry(
        key=key,
        origin=origin,
        place=place,
        spec=members[0].record.spec,
        runs=tuple(shown),
        counted=len(counted),
        attempts=sum(r.record.spec.seed_origin == "harness" for r in group),
        reasons=tuple(f"{n} {'run' if n == 1 else 'runs'} {why}" for why, n in reasons.items()),
    )


def why_not(record: Record, card: Card | None, seeds: Iterable[int] = ()) -> str | None:
    """Why a run does not count towards its entry's rank, or None. `seeds` are those counted."""
    if record.status in ("failed", "interrupted"):
        return f"{record.status}: {record.failure}" if record.failure else record.status
    if record.spec.seed_origin == "user":
        return "replayed a given seed (--seed): never ranked"
    metric = usable_metric(record)
    if metric is None:
        return "without a usable metric"
    asked = [m.name for m in (card.metric, *card.metrics.values())] if card else []
    if asked and metric.name not in asked:
        return f"scored by {metric.name}, where the task asks for {' or '.join(asked)}"
    if usable_energy_j(record) is None:
        missing = [d.domain for d in record.charged if d.energy_j is None]
        missing += [f"run {c.run_id}" for c in record.charged_runs if c.energy_j is None]
        what = f"{', '.join(missing)} could not be read" if missing else "no meter was read"
        return f"without energy: {what}"
    doubts = [w for w in record.warnings if not w.rankable]
    if doubts:
        return f"not rankable: {doubts[0].message}"
    if record.spec.seed in seeds:
        return "repeated the seed of an earlier one"
    return None


# --- entries to a ranked cell ------------------------------------------------------------------


def _cell(place: Place, entries: list[Entry], cards: Mapping[str, Card], filters: Filters) -> Cell:
    card = cards.get(place.task)
    if card and card.version != place.version:
        card = None
    scale = _scale(entries)
    why = _why_unranked(place, card, scale)
    asked: dict[str, float] = {}
    if card and card.reference and not why:
        asked = score.thresholds(card.reference, *scale)
    judged = _ranked([_judged(e, asked, why) for e in _titled(entries)])
    sections = []
    for name in SECTIONS:
        rows = [e for e in judged if name in (e.tier, e.status) and filters.shows(e)]
        if rows:
            value = score.metric_at(asked[name], *scale) if name in asked else None
            sections.append(Section(name, value, tuple(sorted(rows, key=_best_first))))
    return Cell(place, card, tuple(_notes(place, entries, card)), tuple(sections))


def _scale(entries: list[Entry]) -> tuple[float, float, score.Scale]:
    """Chance, best and scale of the cell's metric: one data set has one of each."""
    scales = Counter((m.chance, m.best, m.scale) for e in entries for m in e.metrics)
    return scales.most_common(1)[0][0] if scales else (0.0, 1.0, "linear")


def _why_unranked(
    place: Place, card: Card | None, scale: tuple[float, float, score.Scale]
) -> str | None:
    """Why nothing in a cell is ranked, or None."""
    if card is None:
        return f"no task card of {place.task} version {place.version} is at hand"
    if card.unranked:
        return f"the task is not ranked: {card.unranked}"
    if card.reference is None:
        return "the card names no reference score, so there are no tiers to rank in"
    if place.metric != card.metric.name:
        return (
            f"the card's reference score is of {card.metric.name}, so there are no tiers for "
            f"{place.metric}"
        )
    if not score.thresholds(card.reference, *scale):
        return "the card's reference score is no better than chance on this data"
    return None


def _judged(entry: Entry, asked: Mapping[str, float], why: str | None) -> Entry:
    """The entry with its status, tier and, if it isn't ranked, the reason; `why` is the cell's."""

    def unranked(why: str) -> Entry:
        return entry.judged(status="unranked", reasons=(*entry.reasons, why))

    if not entry.counted:
        return entry.judged(status="unranked")
    if why:
        return unranked(why)
    if entry.counted < score.RANKED_RUNS:
        return entry.judged(status="provisional")
    tier = score.tier(entry.skills, asked)
    if tier is None:
        return entry.judged(status="below")
    if min(entry.skills) <= 0:
        return unranked("a run at or below chance has no score that could be compared")
    return entry.judged(status="ranked", tier=tier)


def _ranked(entries: list[Entry]) -> list[Entry]:
    """The entries, each ranked one with its interval of ranks inside its tier."""
    done = [e for e in entries if e.tier is None]
    for tier in score.TIERS:
        rivals = [e for e in entries if e.tier == tier]
        logs = [score.log_scores(e.skills, e.energies_j) or [] for e in rivals]
        for entry, rank in zip(rivals, score.rank_intervals(logs), strict=True):
            done.append(entry.judged(rank=rank))
    return done


def _best_first(entry: Entry) -> tuple[Any, ...]:
    value = entry.score
    return (entry.rank or (), value is None, -(value or 0.0), entry.title, entry.key)


def _titled(entries: list[Entry]) -> list[Entry]:
    """The entries with titles: model, recipe, and whatever tells apart those that share both."""
    alike: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for e in entries:
        alike[e.spec.model, e.spec.recipe].append(e)
    titled = []
    for (model, recipe), group in alike.items():
        facts = {e.key: _distinguishing(e) for e in group}
        names = [
            n for n in dict.fromkeys(n for f in facts.values() for n in f)
            if len({str(f.get(n)) for f in facts.values()}) > 1
        ]  # fmt: skip
        said = {k: [f"{n}={f.get(n)}" for n in names] for k, f in facts.items()}
        same = len({tuple(parts) for parts in said.values()}) < len(said)
        for e in group:
            parts = [*said[e.key], f"entry {e.key[:4]}"] if same else said[e.key]
            titled.append(e.judged(title=" · ".join([model, recipe, *parts])))
    return titled


def _distinguishing(entry: Entry) -> dict[str, Any]:
    s = entry.spec
    checkpoint = s.checkpoint_sha256 and s.checkpoint_sha256[:6]
    parts = 1 + max(len(r.parts) for r in entry.records) if entry.runs else 1
    tuning = entry.tuning
    return {
        **s.settings, "budget": s.budget, "device": s.device, "processes": s.processes,
        "nodes": s.nodes, "checkpoint": checkpoint, "parts": parts,
        "tuned by": tuning and tuning.sweep,
    }  # fmt: skip


def _notes(place: Place, entries: list[Entry], card: Card | None) -> list[str]:
    notes = []
    if place.data != "official":
        embedded = {e.spec.data.source for e in entries} == {"embedded"}
        what = "the embedded corpus" if embedded else "rows that are not the official ones"
        if card and not card.fingerprints and not embedded:
            what = "rows of which the card pins no fingerprint"
        notes.append(f"trained and scored on {what}: compare with nothing but this table")
    if place.estimated:
        notes.append(
            "energy was estimated from load and rated power, not measured; it may be off by 40 %: "
            "compare with nothing but this table"
        )
    return notes
