"""The page of a run: what it came to, its power trace with its phases, what it learned for what
energy, on what, how sure all that is, and how to make it again; and with it what the page that
compares runs reads, since both are drawn from the same files."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from bench import record as records
from bench import show
from bench.cards import Card
from bench.power.carbon import Scenario
from bench.rank import board, notation, render, score
from bench.rank.columns import COLUMNS, Column
from bench.rank.entry import Cell, Entry, Place, Run, is_share, usable_energy_j
from bench.rank.standing import Standing
from bench.record import DomainEnergy, Phase, Record
from bench.site import boards, downloads, page, paths, readings, rundata
from bench.site.checked import Checked, Said
from bench.site.contents import Contents, Piece
from bench.site.downloads import File
from bench.site.drawing import shade_of
from bench.site.readings import Seen
from bench.units import EnergyUnit, common_unit, show_duration, show_energy, significant

Lines = show.Lines

MOST_ROWS = 150  # of any table of the page
MOST_GPUS = 8
MOST_MANIFEST_BYTES = 1 << 20


class Link(NamedTuple):
    text: str
    address: str | None


@dataclass(frozen=True)
class Known:
    """What the site knows of a run beside its folder. Equal facts have an equal `repr`."""

    place: str | None  # task/name of the entry that it came with
    title: str  # of that entry
    retracted: str | None  # why
    superseded_by: str | None  # task/name
    verified_by: tuple[str, ...]
    stands: str | None  # its tier and rank, in words
    board: Link | None
    counts: bool  # whether the board shows it among its entry's runs
    siblings: tuple[str, ...]  # the other runs of the entry
    linked: tuple[str, ...]  # runs that it rests on and that have a page
    local: bool
    files: tuple[File, ...]
    checks: str | None  # a digest of what they say
    checked: Checked | None = field(repr=False, default=None)


def pieces(contents: Contents) -> Iterator[Piece]:
    """A page and data for each run; of one that lies in two folders, for the first."""
    runs = {run.record.run_id: run for run in reversed(contents.runs)}
    about, others = _About(contents, set(runs)), rundata.Others(contents)
    scenario = page.digest(contents.scenario)
    compared = {run.record.run_id for run in rundata.with_data(contents)}
    for run_id, run in sorted(runs.items()):
        known, card = about.run(run), contents.cards.get(run.record.spec.task)
        said = others.of(run) if run_id in compared else None
        facts = known, said, _stats(run.folder), about.card(card), scenario
        files = paths.run(run_id), *([paths.run_data(run_id)] if said else ())
        make = partial(_made, files, run.folder, known, said, card, contents.scenario)
        yield Piece(files, page.digest(*facts), make)


def _stats(folder: Path) -> list[tuple[str, int, int]]:
    """What tells that a file of a run has changed; none is read."""
    found = []
    with suppress(OSError), os.scandir(folder) as there:
        for each in there:
            about = each.stat(follow_symlinks=False)
            found.append((each.name, about.st_size, about.st_mtime_ns))
            if each.name.startswith("node-") and each.is_dir(follow_symlinks=False):
                inside = _stats(folder / each.name)
                found += [(f"{each.name}/{name}", size, at) for name, size, at in inside]
    return sorted(found)


class _About:
    """Looks up what the site knows of runs."""

    def __init__(self, contents: Contents, ids: set[str]) -> None:
        self._contents, self._ids = contents, ids
        self._digests: dict[str, str] = {}
        self._ranked = {id(cell): self._ranks(cell) for cell in contents.cells}

    @staticmethod
    def _ranks(cell: Cell) -> Counter[str | None]:
        """How many entries each tier ranks."""
        return Counter(entry.tier for entry in cell.entries if entry.rank)

    def run(self, run: Run) -> Known:
        standing = self._contents.standing_of(run)
        run_id = run.record.run_id
        seat = self._contents.seats.get(run_id)
        place = standing.place if standing else None
        rests = dict.fromkeys(c.run_id for c in run.record.charged_runs)
        return Known(
            place=place,
            title=standing.entry.title if standing else "",
            retracted=self._why_retracted(standing),
            superseded_by=_place_of(standing.superseded_by if standing else None),
            verified_by=tuple(filter(None, map(_place_of, standing.verified_by)))
            if standing
            else (),
            stands=self._stands(seat.cell, seat.entry) if seat else None,
            board=_board(seat.cell) if seat else None,
            counts=seat is not None,
            siblings=self._siblings(standing, run_id),
            linked=tuple(r for r in rests if r in self._ids),
            local=run.origin == "local",
            files=downloads.of_run(self._contents, place, run),
            checks=self._digest(place),
            checked=self._contents.checked.get(place) if place else None,
        )

    def card(self, card: Card | None) -> str:
        if card is None:
            return ""
        name = f"card {card.name}"
        if name not in self._digests:
            self._digests[name] = page.digest(card)
        return self._digests[name]

    def _digest(self, place: str | None) -> str | None:
        checked = self._contents.checked.get(place) if place else None
        if checked is None or place is None:
            return None
        if place not in self._digests:
            self._digests[place] = page.digest(checked)
        return self._digests[place]

    def _siblings(self, standing: Standing | None, run_id: str) -> tuple[str, ...]:
        if standing is None:
            return ()
        named = [*standing.entry.runs, *(a.run_id for a in standing.entry.attempts)]
        others = (r for r in dict.fromkeys(named) if r != run_id and r in self._ids)
        return tuple(others)[:MOST_ROWS]

    def _why_retracted(self, standing: Standing | None) -> str | None:
        if standing is None or standing.retracted_by is None:
            return None
        speaker = self._contents.standings.get(standing.retracted_by)
        return speaker.entry.reason if speaker else "no reason is known"

    def _stands(self, cell: Cell, entry: Entry) -> str:
        if entry.rank is None:
            section = next((s for s in cell.sections if entry in s.entries), None)
            return render.section_title(section, cell) if section else "not ranked"
        first, last = entry.rank
        rank = str(first) if first == last else f"{first} to {last}"
        tier = (entry.tier or "").capitalize()
        return f"{tier}, rank {rank} of {self._ranked[id(cell)][entry.tier]}"


def _place_of(folder: Path | None) -> str | None:
    return f"{folder.parent.name}/{folder.name}" if folder else None


def _board(cell: Cell) -> Link:
    return Link(cell.title, f"{paths.board(cell.place.task)}#{boards.name_of(cell)}")


# --- the page ----------------------------------------------------------------------------------


def _made(
    files: Sequence[str], folder: Path, known: Known, others: rundata.About | None,
    card: Card | None, scenario: Scenario,
) -> Mapping[str, str]:  # fmt: skip
    record = records.read(folder)
    seen = readings.read(folder, record, _refused(known.checked, record.run_id))
    made = {files[0]: _page(files[0], folder, record, seen, known, card, scenario)}
    if others:
        made[files[1]] = page.as_script("bench.run", rundata.facts_of(record, seen, *others))
    return made


def _page(
    at: str, folder: Path, record: Record, seen: Seen, known: Known,
    card: Card | None, scenario: Scenario,
) -> str:  # fmt: skip
    if card and card.version != record.spec.task_version:
        card = None
    said = _said_of(record, folder, scenario, card)
    entry, cell = _alone(record, folder, card)
    phases = list(_phases(record))
    domains = [_domain(d, record) for d in record.domains[:MOST_ROWS]]
    return page.render(
        "run.html", at,
        record=record, known=known, card=card,
        task_title=card.title if card else record.spec.task,
        why_not=board.why_not(record, card),
        headline=list(_headline(record, said, cell)),
        seen=seen,
        phases=phases, phase_spreads=any(p.spread for p in phases),
        columns=list(_columns(entry, cell, scenario, record.rankable)),
        asked=_asked(record), settings=_settings(record),
        machine=_flat({**record.machine, "gpus": None}), gpus=_gpus(record),
        software=_flat(record.software),
        facts_of_model=_flat(record.model_facts), window=show_duration(record.duration_s),
        domains=domains,
        columns_of_meters=[n for n in _WITNESSES if any(d.also[n] for d in domains)],
        rests=_lines(said, "parts", "teacher", "upstream", "tuning", "trial"),
        beside=_lines(said, "prediction", "reference", "node", "kept"),
        unmetered=said.get("no meter", []), warnings=record.warnings[:MOST_ROWS],
        checks=_checks(known.checked, record.run_id),
        hashes=_hashes(record, folder), commands=list(_commands(record, known)),
        retrain=_retrain(record), files=downloads.named(known.place or "", known.files),
        estimated=record.level == "M0",
    )  # fmt: skip


def _said_of(
    record: Record, folder: Path, scenario: Scenario, card: Card | None
) -> dict[str, list[str]]:
    """What `bench show` says, by its labels."""
    said: dict[str, list[str]] = {}
    label = ""
    for name, text in show.record_lines(record, folder, scenario, card):
        label = name or label
        said.setdefault(label, []).append(text)
    return said


def _lines(said: Mapping[str, list[str]], *labels: str) -> Lines:
    """Those of some labels; a label stands before its first line."""
    return [line for label in labels for line in show.labelled(label, said.get(label, []))]


def _alone(record: Record, folder: Path, card: Card | None) -> tuple[Entry, Cell]:
    """The run as an entry of its own, so that the columns of the board speak of it alone."""
    s = record.spec
    place = Place(
        s.task, s.task_version, board.data_board(record, card), s.edition, s.track, s.hardware,
        record.level, record.coverage, record.metric.name if record.metric else "",
    )  # fmt: skip
    run = Run(record, folder, "results")
    entry = Entry(record.run_id, "results", place, s, (run,), 1, 1, ())
    return entry, Cell(place, card, (), ())


# --- the numbers -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Big:
    """A number of the headline. `spread` is its uncertainty, `how` what it is and how it was
    found."""

    name: str
    number: str
    unit: str
    spread: str
    how: str
    tag: str = ""  # measured, estimated


def _headline(record: Record, said: Mapping[str, list[str]], cell: Cell) -> Iterator[Big]:
    yield _metric(record, said)
    yield _energy(record, said)
    number, _, of = (said.get("score") or ["none: unknown"])[0].partition(" ")
    if number == "none:":
        yield Big("score", "none", "", "", of)
    else:
        sign = "≈" if record.level == "M0" else ""
        yield Big("score", sign + number, "per kWh", "", of.replace(" per kWh", ""))
    if usable_energy_j(record) and (carbon := said.get("carbon")):
        text, _, where = carbon[0].replace(", --region names yours", "").partition(" (")
        number, _, unit = text.partition(" ")
        yield Big("carbon", f"≈{number}", unit, "", f"a scenario: {where.removesuffix(')')}")
    yield _time(record, said)


def _metric(record: Record, said: Mapping[str, list[str]]) -> Big:
    m = record.metric
    if m is None:
        return Big("result", "none", "", "", "no predictions")
    shown = notation.of(m.name)
    spread = ""
    if is_share(m):
        low, high = score.wilson(m.value, m.n)
        spread = f"{shown.number(low)} to {shown.text(high)}, 95 % by the split's size"
    how = said["result"][0].partition(" (")[2].removesuffix(")").partition("; the split's")[0]
    rows = "" if is_share(m) else f"{m.n:,} scored; "
    return Big(shown.title, shown.number(m.value), shown.unit, spread, rows + how)


def _energy(record: Record, said: Mapping[str, list[str]]) -> Big:
    line = said["energy"][0]
    if record.energy_j is None:
        return Big("energy", "unknown", "", "", line.partition(": ")[2])
    if usable_energy_j(record) is None:
        return Big("energy", "none", "", "", "no meter saw any in the window")
    number, _, unit = show_energy(record.energy_j).partition(" ")
    how = f"{record.coverage}, {line.rpartition(', ')[2] if record.level != 'M0' else 'a model'}"
    if record.level == "M0":
        band = line.partition("(")[2].partition(")")[0]
        how = f"{record.coverage}, by formulas from utilisation"
        return Big("energy", f"≈{number}", unit, f"{band}, the model's band", how, "estimated")
    if record.uncertainty_j is None:
        spread = "± unknown"
    else:
        share = significant(100 * record.uncertainty_j / (record.energy_j or 1.0), 2)
        own = show_energy(record.uncertainty_j, record.energy_j)
        spread = f"± {own}, {share} % (k = 2)"
    return Big("energy", number, unit, spread, f"{record.level}, {how}", "measured")


def _time(record: Record, said: Mapping[str, list[str]]) -> Big:
    whole_s = record.total_duration_s
    number = "unknown" if whole_s is None else show_duration(whole_s)
    about = said["time"][0].partition(", this run ")[2]
    how = f"this run {about}, the rest of runs that it rests on" if about else "wall clock"
    return Big("time", number, "", "", how)


_NOT_SHOWN = {
    "rank", "rank_to", "tier", "entry", "entry_key", "origin", "task", "task_version", "data",
    "edition", "track", "hardware", "access", "model", "recipe", "metric_name", "energy_scatter",
    "runs", "attempts", "warnings", "submission", "authors", "reevaluated", "verified", "date",
}  # fmt: skip
"""Columns that speak of an entry or of its place."""

_UNITS = {"duration": "", "split_noise": "%", "emissions": "g CO2e, a scenario"}
"""Where people are shown another unit than files have."""


def _columns(
    entry: Entry, cell: Cell, scenario: Scenario, rankable: bool
) -> Iterator[tuple[str, str, str]]:
    """Title, value and ± of each column that speaks of one run."""
    for column in COLUMNS:
        if column.key in _NOT_SHOWN or (column.key == "score" and not rankable):
            continue
        unit = common_unit(entry.energies_j)
        text, spread = render.as_text(column, entry, cell, scenario, unit)
        if text.strip():
            yield _titled(column, cell, unit), text.strip(), spread.strip()


def _titled(column: Column, cell: Cell, common: EnergyUnit) -> str:
    if column.key == "metric":
        return notation.of(cell.metric).heading
    unit = _UNITS.get(column.key, column.unit or "")
    unit = common.name if column.in_common else unit
    return f"{column.title} ({unit})" if unit else column.title


# --- phases and domains ------------------------------------------------------------------------


class PhaseRow(NamedTuple):
    """All phases of one name."""

    name: str
    shade: str
    times: int
    energy: str
    spread: str
    share: str
    bar: str  # width of a bar, percent
    time: str
    power: str


def _phases(record: Record) -> Iterator[PhaseRow]:
    groups: dict[str, list[Phase]] = {}
    for phase in record.phases:
        groups.setdefault(phase.name, []).append(phase)
    if "other" in groups:
        groups["other"] = groups.pop("other")  # last: it lies between the others
    whole_j = record.window_energy_j
    for name, phases in list(groups.items())[:MOST_ROWS]:
        energy_j, time_s = record.phase_energy_j(name), sum(p.duration_s for p in phases)
        share = energy_j / whole_j if energy_j is not None and whole_j else None
        unsure_j = _unsure_j(record, phases)
        power = significant(energy_j / time_s) if energy_j is not None and time_s else ""
        yield PhaseRow(
            name=name, shade=shade_of(name), times=len(phases),
            energy="unknown" if energy_j is None else show_energy(energy_j, whole_j),
            spread="" if unsure_j is None or energy_j is None
            else f"±{show_energy(unsure_j, whole_j)}",
            share="" if share is None else _share(share),
            bar="0%" if share is None else f"{100 * min(max(share, 0), 1):.1f}%",
            time=show_duration(time_s), power=f"{power} W" if power else "",
        )  # fmt: skip


def _share(share: float) -> str:
    return "< 0.1 %" if 0 < share < 1e-3 else f"{100 * share:.1f} %"


def _unsure_j(record: Record, phases: Sequence[Phase]) -> float | None:
    """Expanded (k = 2), as of a window: what is of one kind and level shares its gain and adds up,
    as do a meter's phases, and different meters are independent."""
    alike: dict[tuple[str, ...], float] = {}
    for d in record.charged:
        key = (d.level,) if d.level in ("M0", "M3") else (d.level, d.kind)
        for phase in phases:
            if (u := phase.uncertainty_j.get(d.domain)) is None:
                return None
            alike[key] = alike.get(key, 0.0) + u
    return sum(u**2 for u in alike.values()) ** 0.5 if alike else None


class DomainRow(NamedTuple):
    name: str
    device: str
    kind: str
    level: str
    estimated: bool
    charged: bool
    method: str
    energy: str
    spread: str
    also: dict[str, str]  # what two witnesses of it say
    coverage: str
    samples: str
    gap: str
    reason: str


_WITNESSES = ("counter", "integral", "apart", "tick")


def _domain(d: DomainEnergy, record: Record) -> DomainRow:
    whole_j = record.window_energy_j

    def energy(value_j: float | None) -> str:
        return "" if value_j is None else show_energy(value_j, whole_j)

    estimated = d.method == "modelled"
    spread = "" if d.uncertainty_j is None else f"±{energy(d.uncertainty_j)}"
    if d.band_j is not None and whole_j is not None:
        spread = f"{energy(d.band_j[0])} to {energy(d.band_j[1])}"
    return DomainRow(
        name=d.domain, device=d.device, kind=d.kind, level=d.level, estimated=estimated,
        charged=d.charged, method=d.method,
        energy="not read" if d.energy_j is None else f"{'≈' * estimated}{energy(d.energy_j)}",
        spread=spread,
        also={
            "counter": energy(d.counter_j),
            "integral": energy(d.integral_j),
            "apart": "" if d.disagreement is None else f"{100 * d.disagreement:.2f} %",
            "tick": "" if d.counter_tick_s is None else _ms(d.counter_tick_s),
        },
        coverage=f"{100 * d.coverage:.1f} %", samples=f"{d.samples:,}",
        gap="" if d.largest_gap_s is None else _ms(d.largest_gap_s),
        reason=d.reason or "",
    )  # fmt: skip


def _ms(time_s: float) -> str:
    return f"{significant(1000 * time_s)} ms"


# --- what was asked, on what -------------------------------------------------------------------

Facts = list[tuple[str, str]]


def _asked(record: Record) -> Facts:
    s, d = record.spec, record.spec.data
    rows = ", ".join(f"{n:,} {split}" for split, n in d.rows.items())
    origin = "drawn by bench" if s.seed_origin == "harness" else "given: a replay, not ranked"
    start = "random weights" if s.checkpoint_sha256 is None else "weights of others"
    together = [f"{s.processes} processes"] if s.processes > 1 else []
    together += [f"{s.nodes} machines"] if s.nodes > 1 else []
    said = [
        ("task", f"{s.task}, version {s.task_version}, edition {s.edition} of the rules"),
        ("data", f"{'official' if d.official else 'NOT the official data'}, {d.source}: {rows}"),
        ("model", f"{s.model}, from {start}"),
        ("track", s.track),
        ("recipe", s.recipe),
        ("seed", f"{s.seed}, {origin}"),
        ("device", ", ".join([f"{s.device} on {s.hardware}", *together])),
        ("budget", s.budget or "none"),
    ]
    return said


def _settings(record: Record) -> Facts:
    """Every setting of the recipe; what is none is not set."""
    each = record.spec.settings.items()
    return [(name, _flatly(value) or "none") for name, value in each if value is not None][
        :MOST_ROWS
    ]


def _flat(facts: Mapping[str, Any]) -> Facts:
    """Names and texts; what has parts has them after each other."""
    return [(name, _flatly(value)) for name, value in facts.items() if value not in (None, [], {})][
        :MOST_ROWS
    ]


def _gpus(record: Record) -> list[tuple[str, Facts]]:
    """Each accelerator of the machine, by name."""
    found = record.machine.get("gpus")
    each = [g for g in found if isinstance(g, dict)] if isinstance(found, list) else []
    return [(str(g.get("name", "GPU")), _flat({**g, "name": None})) for g in each[:MOST_GPUS]]


def _flatly(value: Any, depth: int = 3) -> str:
    if isinstance(value, Mapping) and depth:
        return ", ".join(f"{k} {_flatly(v, depth - 1)}" for k, v in list(value.items())[:40])
    if isinstance(value, list) and depth:
        return "; ".join(_flatly(v, depth - 1) for v in value[:40])
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


# --- how it can be told that this is so --------------------------------------------------------


@dataclass(frozen=True)
class Checks:
    """What the rules say of a run, and of its entry as a whole."""

    level: str
    bad: Sequence[Said]  # errors, then warnings
    passed: Sequence[tuple[str, str]]  # ids and names
    skipped: Sequence[tuple[str, str]]


def _checks(checked: Checked | None, run_id: str) -> Checks | None:
    if checked is None:
        return None
    said = [s for s in checked.said if s.run_id in (None, run_id)]
    bad = {s.rule for s in said if s.status in ("error", "warning")}
    loud = [s for status in ("error", "warning") for s in said if s.status == status]

    def rules(status: str, but: set[str]) -> list[tuple[str, str]]:
        names = {s.rule: s.name for s in said if s.status == status and s.rule not in but}
        return sorted(names.items(), key=lambda pair: _in_order(pair[0]))

    passed = rules("pass", bad)
    skipped = rules("skipped", bad | {rule for rule, _ in passed})
    return Checks(checked.level, loud[:MOST_ROWS], passed, skipped)


def _refused(checked: Checked | None, run_id: str) -> str:
    """Why a file of a run is not to be read: its outline may be an attack."""
    said = checked.said if checked else ()
    bad = (s for s in said if s.status == "error" and s.run_id == run_id)
    return next((f"{s.rule}: {s.message}" for s in bad if s.rule.startswith("S")), "")


def _in_order(rule: str) -> tuple[str, int]:
    digits = rule.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return rule.removesuffix(digits), int(digits) if digits.isdecimal() else 0


def _hashes(record: Record, folder: Path) -> Facts:
    prints = [(f"data, {split}", d) for split, d in record.spec.data.fingerprints.items()]
    checkpoint = record.spec.checkpoint_sha256
    said = [
        ("run id", record.run_id),
        ("nonce", record.nonce),
        ("spec", record.spec.sha256()),
        ("code", record.code_sha256),
        *prints,
        ("labels", record.spec.data.labels_sha256),
        *([("checkpoint", checkpoint)] if checkpoint else []),
        *((s.file, s.sha256) for s in record.saved),
        *_manifest(folder),
    ]
    return said[:MOST_ROWS]


def _manifest(folder: Path) -> Facts:
    """The SHA-256 of each file, as the run's own manifest says them."""
    with suppress(OSError, ValueError, RecursionError):
        if (folder / "manifest.json").stat().st_size < MOST_MANIFEST_BYTES:
            found = json.loads((folder / "manifest.json").read_bytes())
            if isinstance(found, dict):
                return [(name, str(digest)) for name, digest in found.items()]
    return []


class Command(NamedTuple):
    text: str
    about: str


def _commands(record: Record, known: Known) -> Iterator[Command]:
    """What derives the numbers again."""
    if known.place is None:
        yield Command(f"bench show {shlex.quote(record.run_id)}", "prints this run")
        return
    entry = shlex.quote(f"results/{known.place}")
    run = shlex.quote(f"results/{known.place}/{record.run_id}")
    yield Command(f"bench check {entry}", "derives every number of its entry from its files")
    yield Command(f"bench show {run}", "prints this run; --json: all of it")
    yield Command(f"bench power plot {run}", "draws its trace")
    place = shlex.quote(known.place)
    yield Command(f"bench verify {place}", "trains it again under your meter, and compares (T3)")


class Again(NamedTuple):
    """How to train the same with a fresh seed, or why that can't be."""

    command: str
    why_not: str


def _retrain(record: Record) -> Again:
    """As `bench verify` asks for it."""
    from bench import verification

    if whys := list(verification.refusals(record, *_at_hand())):
        return Again("", "; ".join(whys))
    s = record.spec
    words = ["bench", "run", "--task", s.task, "--model", s.model, "--recipe", s.recipe]
    words.append("--scratch" if s.checkpoint_sha256 is None else "--pretrained")
    for name, value in s.settings.items():
        words += ["--set", f"{name}={value}"] if value is not None else []
    words += ["--device", s.device]
    words += ["--nproc", str(s.processes)] if s.processes > 1 else []
    words += ["--budget", s.budget] if s.budget else []
    return Again(shlex.join(words), "")


@cache
def _at_hand() -> tuple[set[str], set[str]]:
    from bench import verification

    return verification.at_hand()
