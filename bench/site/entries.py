"""The page of an entry: its runs and where they stand, every attempt, what others say of it, what
the checks say, and how to see for oneself."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

from bench.rank import notation, render
from bench.rank.board import why_not
from bench.rank.columns import Column, named
from bench.rank.entry import Run, energy_uncertainty_j, usable_energy_j, usable_metric
from bench.rank.render import plain
from bench.rank.standing import Standing
from bench.record import Record, Tuning
from bench.site import again, badges, changes, downloads, page, paths
from bench.site.again import Verdict
from bench.site.badges import Badge
from bench.site.changes import Event, Sights, Target
from bench.site.checked import Checked, Said
from bench.site.contents import Contents, Piece, Seat
from bench.site.downloads import File
from bench.submission import EntryFile, Upstream
from bench.units import (
    J_PER_KWH,
    EnergyUnit,
    common_unit,
    show_duration,
    show_energy,
    significant,
)

COMPARED = 4
"""Runs that can be compared at once."""

MOST_SAID = 40
"""Errors and warnings of the checks that a page shows."""

MOST_RUNS = 300
"""Runs that a page shows, and attempts."""

MOST_DOUBTS = 10
"""Warnings of a run, and kinds of them."""

FIGURES = ("score", "metric", "energy", "duration", "emissions")

LEVELS = {
    "T0": "Not every number could be derived again from what was submitted.",
    "T1": "Every number was derived again from its traces, events and predictions: "
    "the submission agrees with itself.",
    "T2": "Its weights were let predict again by somebody else, and said the same.",
    "T3": "Somebody else has trained it again and submitted those runs.",
}


@dataclass(frozen=True)
class Other:
    """Another entry that speaks of this one, or that this one speaks of."""

    how: str  # a few words before its title
    title: str
    address: str
    authors: str
    day: str
    reason: str


@dataclass(frozen=True)
class Figure:
    heading: str
    value: str
    spread: str


@dataclass(frozen=True)
class Dot:
    """A value on a line from 0 to 100, and how far it may be off on either side."""

    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    run_id: str
    address: str
    seed: int
    started_at: str
    status: str
    metric: str
    energy: str
    spread: str  # of the energy, k = 2
    duration: str
    estimated: bool
    warnings: tuple[str, ...]  # ids
    not_counted: str  # why not; empty if it counts
    skill: Dot | None
    joules: Dot | None


@dataclass(frozen=True)
class Doubt:
    """A warning of one run or several, in the words of the first."""

    id: str
    message: str
    runs: int
    rankable: bool


@dataclass(frozen=True)
class Mean:
    """Of the runs that count, as the board has it."""

    said: str
    metric: tuple[str, str]
    energy: tuple[str, str]
    duration: str
    scatter: str  # of energy between runs, %
    skill: Dot | None
    joules: Dot | None


@dataclass(frozen=True)
class Group:
    """The runs of one seat, or those that no board shows."""

    where: str
    address: str  # empty: no board shows them
    rank: str
    tier: str
    of: int  # entries of its tier
    estimated: bool
    level: str
    how: str
    metric: str  # heading
    reasons: tuple[str, ...]
    figures: tuple[Figure, ...]
    rows: tuple[Row, ...]
    left_out: int
    mean: Mean | None
    skill_axis: tuple[str, str] | None  # the metric at the ends of the strips
    unit: str  # of all energies
    energy_axis: tuple[str, str] | None
    doubts: tuple[Doubt, ...]
    elsewhere: tuple[Target, ...]  # entries whose runs the board counts with these


@dataclass(frozen=True)
class Attempted:
    """A start of which no run is here."""

    run_id: str
    started_at: str
    seed: int
    status: str


@dataclass(frozen=True)
class Attempts:
    total: int
    by_status: tuple[tuple[str, int], ...]
    not_here: tuple[Attempted, ...]


@dataclass(frozen=True)
class Spent:
    """What others spent before, as declared; the last of several may be their sum."""

    what: str
    source: str
    full: str  # empty: nobody has published it
    uses: str
    share: str


@dataclass(frozen=True)
class Tuned:
    sweep: str
    address: str | None
    tried: str
    energy: str  # empty: not known
    spread: str
    level: str
    duration: str


@dataclass(frozen=True)
class Again:
    """What one run's weights predicted again (T2)."""

    run_id: str
    address: str | None
    metric: str
    submitted: str
    same: str
    rows: int
    weights: str


@dataclass(frozen=True)
class Verdicts:
    level: str
    passed: int
    skipped: int
    loud: tuple[Said, ...]  # errors and warnings
    more: int


@dataclass(frozen=True)
class Offered:
    title: str
    address: str | None  # of its run's page
    files: tuple[tuple[str, str, str], ...]  # name, address, size


@dataclass(frozen=True)
class Page:
    """All that the page of an entry says; it is its key as well."""

    event: Event
    kind: str
    edition: str
    version: str
    track: str
    board: str | None  # the page of its task
    paragraphs: tuple[tuple[str, ...], ...]
    links: tuple[str, ...]
    fates: tuple[Other, ...]  # why it does not stand: loud
    others: tuple[Other, ...]
    groups: tuple[Group, ...]
    compare: str | None
    compared: int
    attempts: Attempts
    upstream: tuple[Spent, ...]
    tuned: Tuned | None
    again: tuple[Again, ...]
    verified: str  # T3, where somebody has made it again
    verdicts_again: tuple[Verdict, ...]  # whether that agrees
    verdicts: Verdicts | None
    badge: Badge | None
    snippets: tuple[tuple[str, str], ...]
    offered: tuple[Offered, ...]


def pieces(contents: Contents) -> Iterator[Piece]:
    seen = changes.sights(contents)
    for about in contents.submitted:
        at, key = paths.entry(about.place), _key(about, contents, seen)
        yield Piece((at,), key, partial(_page, at, about, contents, seen))


def _key(about: Standing, contents: Contents, seen: Sights) -> str:
    e, checked = about.entry, contents.checked.get(about.place)
    seats = contents.seats_of.get(about.place, [])
    said = [f"{v.rule} {v.status} {v.run_id} {v.message}" for v in checked.said] if checked else []
    return page.digest(
        changes.known(about, contents, seen), contents.offered[about.place], contents.url,
        checked and checked.level, said, e.task in contents.tasks,
        [contents.marks.get(r) for r in e.runs],
        [seen[cell.place] for cell, _ in seats],
        [other.title for seat in seats for other in _elsewhere(seat, about)],
        list(again.verdicts(about, contents)),
        [(s.place, s.entry.title, s.entry.authors, s.entry.submitted_at, s.entry.reason)
         for s in _related(about, contents)],
    )  # fmt: skip


def _related(about: Standing, contents: Contents) -> Iterator[Standing]:
    """The entries that it speaks of, and those that speak of it."""
    e, root = about.entry, about.folder.parent.parent
    spoken = [root / p for p in (e.retracts, e.supersedes, e.verifies, e.reevaluates) if p]
    by = [f for f in (about.retracted_by, about.superseded_by) if f]
    for folder in (*spoken, *by, *about.verified_by, *about.reevaluated_by):
        if found := contents.standings.get(folder):
            yield found


def _page(at: str, about: Standing, contents: Contents, seen: Sights) -> Mapping[str, str]:
    shown = shown_of(about, contents, seen)
    return {
        at: page.render("entry.html", at, e=shown, here=at, levels=LEVELS, words=changes.in_words)
    }


def shown_of(about: Standing, contents: Contents, seen: Sights) -> Page:
    e = about.entry
    mine = [contents.run_by_id[r] for r in e.runs if r in contents.run_by_id]
    groups = _groups(about, mine, contents, seen)
    whole = [r.run_id for g in groups for r in g.rows if r.status in ("complete", "budget")]
    badge = badges.of(about, contents) if e.kind == "runs" else None
    tuning = next((r.record.tuning for r in mine if r.record.tuning), None)
    return Page(
        event=changes.event(about, contents, seen),
        kind=e.kind,
        edition=plain(e.edition),
        version=plain(e.bench_version),
        track=e.track or "",
        board=paths.board(e.task) if e.task in contents.tasks else None,
        paragraphs=tuple(_paragraphs(e.description)),
        links=tuple(e.links),
        fates=tuple(_fates(about, contents)),
        others=tuple(_others(about, contents)),
        groups=groups,
        compare=f"{paths.COMPARE}#{','.join(whole[:COMPARED])}" if len(whole) > 1 else None,
        compared=min(len(whole), COMPARED),
        attempts=_attempts(e, contents),
        upstream=tuple(_upstream(e.upstream)),
        tuned=_tuned(about, tuning) if tuning else None,
        again=tuple(_again(e, contents)),
        verified="T3" if about.verified_by else "",
        verdicts_again=tuple(again.verdicts(about, contents)),
        verdicts=_verdicts(contents.checked.get(about.place)),
        badge=badge,
        snippets=_snippets(about, badge, contents.url) if badge else (),
        offered=tuple(_files(about, contents)),
    )


def _paragraphs(text: str) -> Iterator[tuple[str, ...]]:
    """Lines of a description, each in pieces that are short enough to be shown."""
    for line in text.splitlines():
        if line := plain(line, 4 * page.LONGEST):
            yield tuple(textwrap.wrap(line, page.LONGEST - 100))


# --- what others say ---------------------------------------------------------------------------


def _fates(about: Standing, contents: Contents) -> Iterator[Other]:
    if found := _other("Retracted by", about.retracted_by, contents):
        yield found
    if found := _other("Superseded by", about.superseded_by, contents):
        yield found


def _others(about: Standing, contents: Contents) -> Iterator[Other]:
    e, root = about.entry, about.folder.parent.parent
    spoken = {"Takes back": e.retracts, "Supersedes": e.supersedes,
              "Trains again": e.verifies, "Lets predict again": e.reevaluates}  # fmt: skip
    for how, place in spoken.items():
        if place:
            gone = Other(how, place, "", "", "", "no such entry here")
            yield _other(how, root / place, contents) or gone
    for folder in about.verified_by:
        if found := _other("Trained again by", folder, contents):
            yield found
    for folder in about.reevaluated_by:
        if found := _other("Its weights predicted again for", folder, contents):
            yield found


def _other(how: str, folder: Path | None, contents: Contents) -> Other | None:
    found = contents.standings.get(folder) if folder else None
    if found is None:
        return None
    e = found.entry
    return Other(
        how=how,
        title=plain(e.title),
        address=paths.entry(found.place),
        authors=plain(", ".join(e.authors[:10])),
        day=changes.moment(e.submitted_at).date().isoformat(),
        reason=plain(e.reason, page.LONGEST),
    )


def _again(e: EntryFile, contents: Contents) -> Iterator[Again]:
    for found in e.reevaluated:
        run = contents.run_by_id.get(found.run_id)
        metric = run.record.metric if run else None
        shown = notation.of(metric.name).text if metric else str
        yield Again(
            run_id=found.run_id,
            address=paths.run(found.run_id) if run else None,
            metric=shown(found.metric),
            submitted=shown(metric.value) if metric else "",
            same=f"{100 * found.same_share:.2f} %",
            rows=found.rows,
            weights=found.weights_sha256,
        )


# --- runs --------------------------------------------------------------------------------------


def _groups(
    about: Standing, mine: Sequence[Run], contents: Contents, seen: Sights
) -> tuple[Group, ...]:
    """The entry's runs by where they stand; those that no board has, last."""
    found: list[Group] = []
    placed: set[str] = set()
    for seat in contents.seats_of.get(about.place, []) if about.stands else []:
        members = [r for r in mine if r.record.run_id not in placed and _may_be_in(r, seat)]
        placed |= {r.record.run_id for r in members}
        found.append(_group(about, members, seat, contents, seen))
    if rest := [r for r in mine if r.record.run_id not in placed]:
        found.append(_group(about, rest, None, contents, seen))
    return tuple(found)


def _may_be_in(run: Run, seat: Seat) -> bool:
    """A run that no meter saw is an attempt wherever its entry stands."""
    r, p = run.record, seat.cell.place
    if run.key != seat.entry.key:
        return False
    where = (r.level, r.coverage, r.metric.name if r.metric else p.metric)
    return where == (p.level, p.coverage, p.metric) or r.coverage == "nothing"


def _group(
    about: Standing, members: Sequence[Run], seat: Seat | None, contents: Contents, seen: Sights
) -> Group:
    members = sorted(members, key=lambda r: (r.record.started_at, r.record.run_id))
    counted = {r.record.run_id for r in seat.entry.runs} if seat and seat.entry.counted else set()
    records = [r.record for r in members]
    skills, joules = _skills(records), _joules(records)
    unit = (
        seat.cell.energy_unit if seat else common_unit(filter(None, map(usable_energy_j, records)))
    )
    card = contents.cards.get(about.entry.task)
    seeds: set[int] = set()
    rows = []
    for record in records[:MOST_RUNS]:
        why = "" if record.run_id in counted else why_not(record, card, seeds) or ""
        seeds |= set() if why else {record.spec.seed}
        rows.append(_row(record, why, skills, joules, unit))
    sight = seen[seat.cell.place] if seat else None
    tier = (seat.entry.tier or seat.entry.status) if seat else ""
    metric = next((m for r in records if (m := usable_metric(r))), None)
    p = seat.cell.place if seat else None
    return Group(
        where=sight.where if sight else "On no board",
        address=sight.address if sight else "",
        rank=changes.rank_of(seat.entry.rank) if seat else "",
        tier=tier,
        of=sight.tiers.get(tier, 0) if sight else 0,
        estimated=p.estimated if p else any(_is_estimated(r) for r in records),
        level=p.level if p else min((r.level for r in records), default="M0"),
        how=sight.how if sight else "",
        metric=notation.of(metric.name).heading if metric else "metric",
        reasons=seat.entry.reasons if seat else (),
        figures=_figures(seat, contents) if seat else (),
        rows=tuple(rows),
        left_out=max(0, len(records) - MOST_RUNS),
        mean=_mean(seat, about, skills, joules) if seat and seat.entry.runs else None,
        skill_axis=_metric_axis(records, skills),
        unit=unit.name,
        energy_axis=joules.ends(lambda j: unit.number(j, 2)),
        doubts=tuple(_doubts(records)),
        elsewhere=tuple(_elsewhere(seat, about)) if seat else (),
    )


def _doubts(records: Sequence[Record]) -> Iterator[Doubt]:
    """Those that keep a run from a rank first."""
    found: dict[tuple[bool, str], list[str]] = {}
    for record in records:
        said = {(w.rankable, w.id): w.message for w in reversed(record.warnings)}
        for key, message in said.items():
            found.setdefault(key, []).append(message)
    for (rankable, name), messages in sorted(found.items())[:MOST_DOUBTS]:
        yield Doubt(plain(name, 40), plain(messages[0], 300), len(messages), rankable)


def _elsewhere(seat: Seat, about: Standing) -> Iterator[Target]:
    for other in seat.entry.submissions:
        if other.place != about.place:
            yield Target(plain(other.entry.title), paths.entry(other.place))


def _figures(seat: Seat, contents: Contents) -> tuple[Figure, ...]:
    cell, entry = seat
    found = []
    for column in map(named, FIGURES):
        value, spread = _texts(column, seat, contents)
        if value:
            heading = render.heading_of(column, cell)
            found.append(Figure(heading, value, spread))
    found.append(Figure("runs that count", f"{entry.counted} of {entry.attempts}", ""))
    return tuple(found)


def _texts(column: Column, seat: Seat, contents: Contents | None) -> tuple[str, str]:
    scenario = contents.scenario if contents else None
    value, spread = render.as_text(column, seat.entry, seat.cell, scenario)
    return page.number(value), spread.strip()


def _row(record: Record, why: str, skills: _Axis, joules: _Axis, unit: EnergyUnit) -> Row:
    m, energy_j = usable_metric(record), usable_energy_j(record)
    u, duration_s = energy_uncertainty_j(record), record.total_duration_s
    estimated = _is_estimated(record)
    energy = "" if energy_j is None else unit.number(energy_j)
    return Row(
        run_id=record.run_id,
        address=paths.run(record.run_id),
        seed=record.spec.seed,
        started_at=changes.moment(record.started_at).strftime("%Y-%m-%d %H:%M"),
        status=record.status,
        metric=notation.of(m.name).number(m.value) if m else "",
        energy=f"≈{energy}" if energy and estimated else energy,
        spread=f"±{_percent(u / energy_j)}" if u is not None and energy_j else "",
        duration=show_duration(duration_s) if duration_s is not None else "",
        estimated=estimated,
        warnings=tuple(dict.fromkeys(plain(w.id, 40) for w in record.warnings[:MOST_DOUBTS])),
        not_counted=plain(why.removeprefix(f"{record.status}: "), 300),
        skill=skills.dot(_skill(record)),
        joules=joules.dot(energy_j, u or 0.0),
    )


def _is_estimated(record: Record) -> bool:
    return record.level == "M0" and record.coverage != "nothing"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.0995 else f"{significant(100 * share, 1)}%"


def _mean(seat: Seat, about: Standing, skills: _Axis, joules: _Axis) -> Mean:
    entry = seat.entry
    mine = set(about.entry.runs)
    also = sum(r.record.run_id not in mine for r in entry.runs)
    n = len(entry.runs)
    said = f"mean of {n}" if n > 1 else "one run"
    said += " that count" if n > 1 else " that counts"
    if not entry.counted:
        said = f"of {n} shown, none counts"
    scatter, spread = named("energy_scatter").value(entry, None), named("skill").value(entry, None)
    half = _half_skill(seat)
    return Mean(
        said=f"{said}, {also} of them submitted elsewhere" if also else said,
        metric=_texts(named("metric"), seat, None),
        energy=_texts(named("energy"), seat, None),
        duration=_texts(named("duration"), seat, None)[0],
        scatter=f"{significant(scatter, 2)} %" if isinstance(scatter, float) else "",
        skill=skills.dot(spread if isinstance(spread, float) else None, half),
        joules=joules.dot(
            fmean(entry.energies_j) if entry.energies_j else None, entry.uncertainty_j or 0.0
        ),
    )  # fmt: skip


def _half_skill(seat: Seat) -> float:
    from bench.rank.score import half_width

    return half_width(seat.entry.skills) or 0.0


# --- the strips --------------------------------------------------------------------------------


class _Axis:
    """Values of runs, each maybe with its ±, on one line from 0 to 100."""

    def __init__(self, values: Iterable[tuple[float, float]]) -> None:
        found = [(v, u) for v, u in values if math.isfinite(v) and math.isfinite(u)]
        self.low = min((v - u for v, u in found), default=0.0)
        self.high = max((v + u for v, u in found), default=0.0)
        self.any = bool(found)

    def dot(self, value: float | None, u: float = 0.0) -> Dot | None:
        if value is None or not self.any or not (math.isfinite(value) and math.isfinite(u)):
            return None
        return Dot(*(self._at(v) for v in (value, value - u, value + u)))

    def _at(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 else 0.5
        return round(min(max(100 * share, -3.0), 103.0), 1)

    def ends(self, shown: Callable[[float], str]) -> tuple[str, str] | None:
        if not self.any or self.low == self.high:
            return None
        return shown(self.low), shown(self.high)


def _skill(record: Record) -> float | None:
    from bench.rank.score import skill

    m = usable_metric(record)
    return skill(m.value, m.chance, m.best, m.scale) if m else None


def _skills(records: Sequence[Record]) -> _Axis:
    return _Axis((s, 0.0) for r in records if (s := _skill(r)) is not None)


def _joules(records: Sequence[Record]) -> _Axis:
    return _Axis(
        (j, energy_uncertainty_j(r) or 0.0) for r in records if (j := usable_energy_j(r))
    )  # fmt: skip


def _metric_axis(records: Sequence[Record], skills: _Axis) -> tuple[str, str] | None:
    """The ends in skill: 0 is chance, 1 the best there is."""
    return skills.ends(lambda s: f"{s:.3f}")


# --- attempts, upstream, checks ----------------------------------------------------------------


def _attempts(e: EntryFile, contents: Contents) -> Attempts:
    here = {r for r in e.runs if r in contents.run_by_id}
    missing = [a for a in e.attempts if a.run_id not in here]
    counts = Counter(a.status for a in e.attempts)
    return Attempts(
        total=len(e.attempts),
        by_status=tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))),
        not_here=tuple(
            Attempted(a.run_id, plain(a.started_at, 40), a.seed, a.status)
            for a in missing[:MOST_RUNS]
        ),
    )


def _upstream(declared: Sequence[Upstream]) -> Iterator[Spent]:
    for u in declared:
        full, uses = u.energy_kwh, f"{u.uses:,}"
        yield Spent(
            plain(u.what), plain(u.source, 500), _kwh(full), uses,
            "" if full is None else _kwh(full / u.uses),
        )  # fmt: skip
    known = [(u.energy_kwh, u.energy_kwh / u.uses) for u in declared if u.energy_kwh is not None]
    if len(known) == len(declared) > 1:
        full, share = (sum(each) for each in zip(*known, strict=True))
        yield Spent("together", "", _kwh(full), "", _kwh(share))


def _kwh(energy_kwh: float | None) -> str:
    return "" if energy_kwh is None else show_energy(energy_kwh * J_PER_KWH)


def _tuned(about: Standing, t: Tuning) -> Tuned:
    from bench.checks.tuning import NAME

    journal = about.folder / NAME
    there = journal.is_file() and not journal.is_symlink()
    energy = "" if t.energy_j is None else show_energy(t.energy_j)
    spread = "" if t.uncertainty_j is None else f"±{show_energy(t.uncertainty_j, t.energy_j)}"
    return Tuned(
        sweep=plain(t.sweep, 80),
        address=paths.sweep(about.place) if there else None,
        tried=f"{t.trials} settings tried in {t.attempts} attempts, {t.pruned} ended early, "
        f"{t.failed} failed",
        energy=f"≈{energy}" if energy and t.level == "M0" else energy,
        spread=spread,
        level=t.level,
        duration=show_duration(t.duration_s),
    )


def _verdicts(found: Checked | None) -> Verdicts | None:
    if found is None:
        return None
    by = {s: {v.rule for v in found.said if v.status == s}
          for s in ("pass", "skipped", "warning", "error")}  # fmt: skip
    broken = by["error"] | by["warning"]
    held = by["pass"] - broken
    loud = sorted((v for v in found.said if v.status in ("error", "warning")),
                  key=lambda v: (v.status, v.rule))  # fmt: skip
    return Verdicts(
        level=found.level,
        passed=len(held),
        skipped=len(by["skipped"] - held - broken),
        loud=tuple(loud[:MOST_SAID]),
        more=max(0, len(loud) - MOST_SAID),
    )


# --- badge and files ---------------------------------------------------------------------------


def _snippets(about: Standing, badge: Badge, url: str | None) -> tuple[tuple[str, str], ...]:
    """Nothing in them is the submitter's but the place, which has no sign of any syntax, and the
    badge's text, of which letters and numbers are kept."""
    base = f"{url.rstrip('/')}/" if url else "https://SITE/"
    picture, to = base + paths.badge(about.place), base + paths.entry(about.place)
    said = "bench: " + "".join(c for c in badge.text if c.isalnum() or c in " ·≈.,-/")
    return (
        ("Markdown", f"[![{said}]({picture})]({to})"),
        ("HTML", f'<a href="{to}"><img src="{picture}" alt="{said}" height="20"></a>'),
    )


def _files(about: Standing, contents: Contents) -> Iterator[Offered]:
    """By what they are of: the entry itself, then each run that it has a folder of."""
    of: dict[str, list[File]] = {}
    for file in contents.offered[about.place]:
        of.setdefault("" if len(file.inside) == 1 else file.inside[0], []).append(file)
    for run_id, files in list(of.items())[:MOST_RUNS]:
        to = paths.run(run_id) if run_id in contents.run_by_id else None
        yield Offered(run_id or "the entry", to, tuple(downloads.named(about.place, files)))
