"""R: the run was made as the rules ask."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Any

from bench import EDITION, recipes, registry, upstream
from bench.checks import Found, Problem, Skipped, rule, safe
from bench.checks import tuning as sweeps
from bench.checks.bundle import EntryFolder, RunFolder, Surroundings
from bench.checks.others import Known, corrections, entries, of_runs, submitted
from bench.errors import UsageError
from bench.rank import board
from bench.rank.entry import written_now
from bench.record import Record
from bench.submission import Attempt, EntryFile
from bench.units import show_energy, significant

EDITIONS = (EDITION,)
"""Whose rules this bench knows."""

SEEDS = 2**31
UNLIKELY = 1e-4
"""What happens by chance less often than this needs a second look."""

UPSTREAM_SHARE = 0.01  # that a declared energy may differ from a published one


# --- one entry -----------------------------------------------------------------------------------


@rule("R1", "edition", "An entry and its runs are of one edition, whose rules bench knows.",
      scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def edition(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    found = sorted({entry.entry.edition, *(run.record.spec.edition for run in runs)})
    if len(found) > 1:
        yield Problem(f"it mixes the editions {', '.join(found)}")
    elif found[0] not in EDITIONS:
        yield Problem(f"edition {found[0]} is none of {', '.join(EDITIONS)}")


@rule("R2", "one-entry", "The runs of an entry differ in the seed alone: one spec, one code.",
      scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def one_entry(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    first, *others = [_asked(run.record) for run in runs]
    names = dict.fromkeys(name for other in others for name in [*first, *other]
                          if first.get(name) != other.get(name))  # fmt: skip
    said = []
    for name in names:
        values = dict.fromkeys(str(asked.get(name))[:24] for asked in (first, *others))
        said.append(f"{name} ({', '.join(values)})")
    if said:
        yield Problem(f"the runs differ in {'; '.join(said[:5])}", {"differences": len(said)})


def _asked(record: Record) -> dict[str, Any]:
    """Of a run, what all runs of an entry share, apart from what R1 and R9 look at."""
    spec = record.spec.model_dump(mode="json")
    settings = {f"setting {name}": value for name, value in spec.pop("settings").items()}
    data = {f"data {name}": value for name, value in spec.pop("data").items() if name != "source"}
    for name in ("seed", "seed_origin", "edition"):
        del spec[name]
    return {
        **spec, **settings, **data, "code": record.code_sha256,
        "limits of earlier parts": [part.limits for part in record.parts],
    }  # fmt: skip


@rule("R3", "seeds", "Seeds were drawn by the harness, each for one run, and logged at its start.",
      scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def seeds(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    records = [run.record for run in runs]
    for r in records:
        if r.spec.seed_origin == "user":
            yield Problem(f"run {r.run_id} replays a given seed, {r.spec.seed}: it never ranks")
        elif not 0 <= r.spec.seed < SEEDS:
            yield Problem(f"run {r.run_id} has the seed {r.spec.seed!s:.20}, which is never drawn")
    parts = {part.run_id for r in records for part in r.parts}
    drawn = [r.spec.seed for r in records if r.run_id not in parts and 0 <= r.spec.seed < SEEDS]
    for seed, count in Counter(drawn).items():
        if count > 1:
            yield Problem(f"{count} runs have the seed {seed}", {"seed": seed, "runs": count})
    yield from _unlogged(runs)
    if drawn:
        yield from _chosen(sorted(set(drawn)))


def _unlogged(runs: Iterable[RunFolder]) -> Iterator[Problem]:
    for run in runs:
        events = [] if run.fault("events") else run.events
        for event in events:
            if event["event"] == "run_start" and event.get("seed") != run.record.spec.seed:
                text = f"run {run.record.run_id} began with the seed {event.get('seed')!s:.20}"
                yield Problem(f"{text}, and its record says {run.record.spec.seed}")


def _chosen(seeds: list[int]) -> Iterator[Problem]:
    """Small seeds, and seeds side by side, are what a person picks."""
    count, gap = len(seeds), min((b - a for a, b in pairwise(seeds)), default=SEEDS)
    small = count * (seeds[0] + 1) / SEEDS
    near = count * (count - 1) * gap / SEEDS if count > 1 else 1.0
    chance = max(0.0, min(small, near))
    if chance < UNLIKELY:
        text = f"seeds such as {', '.join(map(str, seeds[:3]))} are drawn once in"
        numbers = {"chance": chance, "smallest_gap": gap}
        yield Problem(f"{text} {1 / max(chance, 1e-12):,.0f} entries", numbers, warns=True)


@rule("R4", "attempts", "Every start with a drawn seed of this spec and code is in entry.json, and "
      "every run that came to its end is submitted.", scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def attempts(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    said, about = entry.entry.attempts, {a.run_id: a for a in entry.entry.attempts}
    if len(about) < len(said):
        yield Problem("an attempt is listed twice", {"listed": len(said), "attempts": len(about)})
    for run in runs:
        of = run.record
        if of.spec.seed_origin == "harness" and not _is_of(about.get(of.run_id), of):
            listed = of.run_id in about
            text = "listed otherwise than its record has it" if listed else "not among the attempts"
            yield Problem(f"run {of.run_id} is {text}")
    here = {run.folder.name for run in entry.runs}
    for a in about.values():
        if a.run_id not in here and a.status in ("complete", "budget"):
            text = f"run {a.run_id}, seed {a.seed}, came to its end and is not submitted"
            yield Problem(text, {"seed": a.seed, "status": a.status})
    yield from _not_listed(entry, runs[0].record, set(about), around)
    counting = sum(run.counts for run in runs)
    if counting and len(about) > 2 * counting:
        text = f"{len(about)} attempts for {counting} runs that count"
        yield Problem(text, {"attempts": len(about), "counting": counting}, warns=True)


def _is_of(attempt: Attempt | None, record: Record) -> bool:
    said = attempt and (attempt.started_at, attempt.seed, attempt.status)
    return said == (record.started_at, record.spec.seed, record.status)


def _not_listed(
    entry: EntryFolder, record: Record, listed: set[str], around: Surroundings
) -> Iterator[Problem]:
    """Submitted runs that this entry leaves out: of the entry that it supersedes, or of the same
    machine, but for those that a correction of it has added."""
    old, kin = entry.entry.supersedes, corrections(entry, around)
    key, left_out = record.entry_key(), list[Known]()
    for known in submitted(around):
        drawn = known.spec.seed_origin == "harness"
        if known.key == key and drawn and known.run_id not in listed:
            left_out.append(known)
    replaced = [k for k in left_out if k.place == old]
    if replaced:
        text = f"{len(replaced)} runs of {old} are not among the attempts"
        yield Problem(f"{text}: the same spec and code made them", {"runs": len(replaced)})
    beside = [k for k in left_out if k.machine == record.machine and k.place not in kin]
    if beside:
        text = f"{len(beside)} more runs of this spec, code and machine are in {beside[0].place}"
        yield Problem(f"{text} and not among the attempts", {"runs": len(beside)}, warns=True)


@rule("R10", "entry-says", "An entry's task and track are those of its runs.",
      scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def entry_says(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    for run in runs:
        spec = run.record.spec
        for name, said in (("task", entry.entry.task), ("track", entry.entry.track)):
            if getattr(spec, name) != said:
                text = f"entry.json says {name} {said}, run {run.record.run_id} {name}"
                yield Problem(f"{text} {getattr(spec, name)}")


@rule("R13", "board", "The data are the rows that the task's card pins.",
      scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def own_board(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    """D3 refuses data that says it is official and is not."""
    if any({"train", "scored"} - run.record.spec.data.fingerprints.keys() for run in runs):
        yield Skipped("a fingerprint is not there")
        return
    cards = {board.data_board(run.record, card): card
             for run in runs for card in [around.card(run.record)]}  # fmt: skip
    for found, card in cards.items():
        why = "the rows are not those that the card pins"
        if card is None:
            why = "no card of the task in this version is at hand"
        elif card.fingerprints is None:
            why = "the card pins no rows"
        if found != "official" or card is None:
            yield Problem(f"{why}: it stands on a board of its own, {found}", warns=True)


@rule("R15", "alike", "All runs of an entry were measured at one level, of the same kinds of "
      "device.", scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def alike(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    found = Counter(
        f"{r.level} of {r.coverage}" for r in (run.record for run in runs if run.counts)
    )
    if len(found) > 1:
        said = ", ".join(f"{n} at {how}" for how, n in found.most_common())
        yield Problem(f"{said}: they stand on boards of their own", dict(found), warns=True)


@rule("R16", "hardware-name", "Hardware is written as in the entries before: one class has one "
      "name.", scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def hardware_name(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    known = {written_now(k.spec.hardware) for k in submitted(around)}
    for mine in {written_now(run.record.spec.hardware) for run in runs} - known:
        for theirs in sorted(name for name in known if _letters(name) == _letters(mine))[:1]:
            text = f"{mine[:60]!r} is {theirs[:60]!r} in other entries"
            yield Problem(f"{text}: it stands on a board of its own", warns=True)


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


# --- where it began ------------------------------------------------------------------------------


@rule("R5", "checkpoint", "A run starts from what its track allows: nothing, or weights of the "
      "list by their hash.", needs=("record",))  # fmt: skip
def checkpoint(run: RunFolder, around: Surroundings) -> Found:
    record, spec = run.record, run.record.spec
    listed = upstream.allowed().get(spec.checkpoint_sha256 or "")
    named = _named_models(spec.recipe, spec.settings)
    if spec.track == "scratch" and spec.checkpoint_sha256 is not None:
        yield Problem("from scratch, and it starts from weights", {"model": spec.model})
    elif spec.track == "finetune" and spec.checkpoint_sha256 is None and not (
        named or any(c.role == "teacher" for c in record.charged_runs)
    ):  # fmt: skip
        yield Problem("on the track finetune, and it starts from no weights")
    elif spec.track == "finetune" and spec.checkpoint_sha256 is not None and listed != spec.model:
        head = spec.checkpoint_sha256[:12]
        text = f"{head} is no hash of {spec.model} on the list"
        yield Problem(f"{text}: that is the track open", {"listed_as": listed})
    if spec.track == "scratch" and (found := named & upstream.checkpoints().keys()):
        yield Problem(f"from scratch, and {min(found)}, which is pretrained, teaches it")
    if spec.track != "open" and record.upstream:
        made = record.upstream[0].run_id
        yield Problem(f"on the track {spec.track}, and it starts from weights of run {made}")
    for name in sorted({listed or spec.model, *named}):
        known = upstream.checkpoints().get(name)
        if known and spec.track != "scratch" and spec.task in known.contaminated:
            text = f"{name} has seen data of {spec.task} before"
            yield Problem(text, {"model": name}, warns=True)


@cache
def _known(package: str, group: str) -> frozenset[str]:
    """Recipes, or meters, that are installed."""
    return frozenset(registry.names(package, group))


def _fields(recipe: str, kind: Any) -> list[str] | None:
    """The settings of a recipe that name a run, or a model; None where bench does not have it: a
    file of that name is never opened."""
    if not set(recipe.split("+")) <= _known("bench.recipes", "bench.recipes"):
        return None
    try:
        return recipes.found_before(recipe, kind)
    except UsageError:  # parts that don't combine
        return None


def _named_models(recipe: str, settings: Any) -> set[str]:
    fields = _fields(recipe, "model") or []
    return {str(settings[f]) for f in fields if settings.get(f)}


@rule("R8", "teacher", "A teacher was trained in the window, or is charged with all that it took.",
      needs=("record",))  # fmt: skip
def teacher(run: RunFolder, around: Surroundings) -> Found:
    record, spec = run.record, run.record.spec
    by_run, by_model = _fields(spec.recipe, "run"), _fields(spec.recipe, "model")
    if by_run is None or by_model is None:
        text = (
            f"bench has no recipe {spec.recipe[:60]}: nobody knows what it computes, or is taught"
        )
        yield Problem(text, warns=True)
        return
    runs = [str(spec.settings[f]) for f in by_run if spec.settings.get(f)]
    models = [str(spec.settings[f]) for f in by_model if spec.settings.get(f)]
    told = any(str(fact).startswith("teacher_") for fact in record.model_facts)
    if (by_run or told) and not (runs or models):
        yield Problem("it learned of a teacher, and its settings name none")
    charged = {c.run_id: c for c in record.charged_runs if c.role == "teacher"}
    for run_id in runs:
        if run_id not in charged:
            yield Problem(f"its teacher, run {run_id}, is not charged")
        elif (energy_j := charged[run_id].energy_j) is not None and not energy_j > 0:
            yield Problem(f"its teacher, run {run_id}, is charged with {show_energy(energy_j)}")
    began = any(phase.name == "train" for phase in record.phases)
    if models and began and not record.parts and not _taught(record):
        yield Problem(f"its teacher {models[0]} was trained in no phase of the window")


def _taught(record: Record) -> bool:
    """Whether a teacher took time and energy in the window; what was not read may have."""
    spent = [(p.duration_s, record.energy_of(p)) for p in record.phases if p.name == "teacher"]
    return any(s > 0 and (j is None or j > 0) for s, j in spent)


@rule("R9", "tuning", "What chose the settings is charged: all attempts of the sweep, by its "
      "journal.", scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def tuning(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    records = [run.record for run in runs]
    for r in records:
        if r.trial:
            what = "a profile" if r.is_profile else f"a trial of the sweep {r.trial[:60]}"
            text = f"run {r.run_id} is {what}"
            yield Problem(f"{text}: an entry is made of its final runs")
    stated = {r.tuning.model_dump_json() if r.tuning else "" for r in records}
    journal = _journal(entry)
    first = records[0].tuning
    if len(stated) > 1:
        yield Problem("the runs say different things of the sweep that chose their settings")
    elif isinstance(journal, Skipped):
        yield journal
    elif first is None and journal is not None:
        yield Problem("it is there, and the runs say nothing of a sweep", file=sweeps.NAME)
    elif first is None:
        yield from _tuned_elsewhere(records[0], around)
    elif journal is None:
        yield Problem(f"{sweeps.NAME} is not there: nobody can tell what the sweep took")
    else:
        yield from sweeps.problems(journal, first, records[0])


def _journal(entry: EntryFolder) -> bytes | Skipped | None:
    try:
        return safe.data(entry.folder / sweeps.NAME)
    except safe.Fault as fault:
        return None if fault.rule == "S10" else Skipped(f"{sweeps.NAME} can't be read")


def _tuned_elsewhere(record: Record, around: Surroundings) -> Iterator[Problem]:
    """The settings that somebody's sweep has chosen, and no word of it."""
    wanted = _what(record.spec)
    for known in submitted(around):
        if known.tuning and _what(known.spec) == wanted:
            text = f"the sweep {known.tuning.sweep[:60]} chose these settings for {known.place}"
            yield Problem(f"{text}, and these runs say nothing of tuning", warns=True)
            return


def _what(spec: Any) -> tuple[Any, ...]:
    return spec.task, spec.model, spec.recipe, spec.settings


@rule("R12", "upstream", "Who starts from pretrained weights declares what was spent on them, with "
      "its source.", scope="entry", needs=("entry",))  # fmt: skip
@of_runs
def declared(entry: EntryFolder, runs: list[RunFolder], around: Surroundings) -> Found:
    wanted = dict.fromkeys(h for run in runs for h in pretrained(run.record))
    said = {u.checkpoint_sha256: u for u in entry.entry.upstream}
    for sha256 in wanted:
        if sha256 not in said:
            name = upstream.allowed().get(sha256, "weights")
            text = f"nothing is declared of the energy behind {name}, {sha256[:12]}"
            yield Problem(f"{text} (unknown is an answer, with its source)")
            continue
        mine, known = said[sha256].energy_kwh, upstream.proposed(sha256)
        if mine == 0:
            yield Problem(f"{said[sha256].what}: no weights come of 0 kWh")
        elif known and known.energy_kwh is not None and (
            mine is None or abs(mine / known.energy_kwh - 1) > UPSTREAM_SHARE
        ):  # fmt: skip
            text = "unknown" if mine is None else f"{significant(mine)} kWh"
            text = f"{known.what}: {text} declared, {significant(known.energy_kwh)} kWh published"
            numbers = {"declared_kwh": mine, "published_kwh": known.energy_kwh}
            yield Problem(text, numbers, warns=True)


def pretrained(record: Record) -> Iterator[str]:
    """SHA-256 of the published weights that a run made use of."""
    spec = record.spec
    if spec.checkpoint_sha256 and not record.upstream:  # else runs of bench made them
        yield spec.checkpoint_sha256
    if spec.track != "scratch":
        for name in _named_models(spec.recipe, spec.settings):
            known = upstream.checkpoints().get(name)
            if known and known.sha256:
                yield known.sha256


# --- the machine ---------------------------------------------------------------------------------


@rule("R6", "alone", "No other program used the accelerator while a run was measured.",
      needs=("record", "derived"), counting=True)  # fmt: skip
def alone(run: RunFolder, around: Surroundings) -> Found:
    yield from _doubted(run, "contended")


@rule("R7", "whole-device", "A run had whole devices for itself, and says so where their power was "
      "limited.", needs=("record", "trace", "derived"), counting=True)  # fmt: skip
def whole_device(run: RunFolder, around: Surroundings) -> Found:
    yield from _doubted(run, "mig")
    said = "power-limited" in {w.id for w in run.record.warnings}
    charged = {d.domain for d in run.record.charged}
    for domain in run.trace.domains:
        limit_w, usual_w = _watts(domain.facts, "power_limit_w", "default_power_limit_w")
        if domain.name in charged and limit_w < usual_w and not said:
            text = f"{domain.name} was limited to {limit_w:g} of {usual_w:g} W"
            numbers = {"limit_w": limit_w, "default_w": usual_w}
            yield Problem(f"{text}, and the record does not say so", numbers)


def _watts(facts: Any, *names: str) -> list[float]:
    """Facts of a device that are numbers; NaN, which compares with nothing, for one that is not."""
    found = [facts.get(name) if isinstance(facts, dict) else None for name in names]
    return [float(w) if isinstance(w, int | float) and 0 < w < 1e9 else math.nan for w in found]


@rule("R11", "live", "What a run's meters said was read while it ran.",
      needs=("record", "trace", "derived"), counting=True)  # fmt: skip
def live(run: RunFolder, around: Surroundings) -> Found:
    from bench.power import probes

    yield from _doubted(run, "replayed")
    used = run.trace.facts.get("probes")
    known = _known(probes.PACKAGE, probes.GROUP)
    names = [str(name) for name in used] if isinstance(used, list) else []
    for name in names:
        if name.partition(":")[0] not in known:
            text = f"{name[:60]} is no meter of bench: who submits answers for its readings"
            yield Problem(text, warns=True)
        elif name.startswith("replay"):
            yield Problem("a recorded trace was played again, which nothing was measured by")
    measured = [d.domain for d in run.derived.charged if d.level != "M0"]
    if measured and set(names) <= {"estimate"}:
        said = ", ".join(names) or "none"
        yield Problem(f"{measured[0][:60]} is measured, and its meters are: {said}", warns=True)


def _doubted(run: RunFolder, id: str) -> Iterator[Problem]:
    """What keeps a run from a rank, and a record that counts all the same."""
    for warn in run.derived.warnings:
        if warn.id == id and not warn.rankable:
            yield Problem(f"{warn.message}; the record does not say so")


# --- other entries -------------------------------------------------------------------------------


@rule("R14", "names", "An entry that is named is there, is of the same task, and may be named so.",
      scope="entry", needs=("entry",))  # fmt: skip
def names(entry: EntryFolder, around: Surroundings) -> Found:
    about = entry.entry
    for what in ("supersedes", "verifies", "retracts", "reevaluates"):
        place = getattr(about, what)
        if place is None:
            continue
        named = entries(around).get(place)
        if place == entry.where:
            yield Problem(f"it {what} itself")
        elif named is None:
            yield Problem(f"it {what} {place}, and there is no such entry")
        elif named.task != about.task or place.partition("/")[0] != about.task:
            yield Problem(f"it {what} {place}, which is of {named.task}, not {about.task}")
        elif named.kind != "runs":
            yield Problem(f"it {what} {place}, which is a {named.kind}")
        else:
            yield from _may_be_named(entry, what, place, around)


def _may_be_named(
    entry: EntryFolder, what: str, place: str, around: Surroundings
) -> Iterator[Problem]:
    others = {at: e for at, e in entries(around).items() if not _is_later(e, entry.entry)}
    retracted = [at for at, other in others.items() if other.retracts == place]
    if retracted and what != "supersedes":
        yield Problem(f"it {what} {place}, which {retracted[0]} has retracted")
    yield from _by_whom(entry.entry, what, entries(around)[place].authors)
    if what == "supersedes":
        yield from _order(entry, place, others)
    elif what == "verifies":
        yield from _verification(entry, place, around)
    elif what == "reevaluates":
        yield from _reevaluation(entry, place, around)


def _by_whom(entry: EntryFile, what: str, theirs: list[str]) -> Iterator[Problem]:
    """Who takes back or corrects is who made it; who confirms is somebody else."""
    mine, made = ({name.casefold().strip() for name in names} for names in (entry.authors, theirs))
    place = getattr(entry, what)
    if what in ("verifies", "reevaluates") and mine & made:
        yield Problem(f"it {what} {place} of the same authors", warns=True)
    elif what in ("supersedes", "retracts") and not mine & made:
        yield Problem(f"it {what} {place}, which is of {', '.join(theirs)[:100]}", warns=True)


def _is_later(other: EntryFile, entry: EntryFile) -> bool:
    """Whether who made the entry could not know of it: what stands does not fail for what comes."""
    then, now = (datetime.fromisoformat(e.submitted_at) for e in (other, entry))
    return then > now


def _order(entry: EntryFolder, place: str, others: dict[str, EntryFile]) -> Iterator[Problem]:
    """Each entry is superseded once, and none by one that it supersedes."""
    rivals = [at for at, other in others.items() if other.supersedes == place]
    if rivals:
        yield Problem(f"{rivals[0]} supersedes {place} already: that is the one to name")
    before: str | None = place
    seen = {entry.where}
    while before in others and before not in seen:
        seen.add(before)
        before = others[before].supersedes
    if before in seen:
        yield Problem(f"it supersedes {place}, which goes back to {before}: a circle")


def _of(place: str, around: Surroundings) -> list[Record]:
    """The runs of an entry that was submitted before."""
    found = EntryFolder.of(around.entries[place], place)
    named = set(entries(around)[place].runs)
    return [run.record for run in found.read_runs if run.folder.name in named]


_PLACE_OF_A_RUN = ("device", "hardware", "processes", "nodes", "code", "data labels_sha256")
"""What may differ between a training and its verification."""


def _verification(entry: EntryFolder, place: str, around: Surroundings) -> Iterator[Problem]:
    theirs = _of(place, around)
    if not theirs:
        yield Problem(f"no run of {place} can be read")
        return
    wanted = _asked(theirs[0])
    for run in entry.read_runs:
        mine = _asked(run.record) if run.folder.name in entry.entry.runs else wanted
        for name in [n for n in wanted | mine if n not in _PLACE_OF_A_RUN]:
            if mine.get(name) != wanted.get(name):
                text = f"it verifies {place} with another {name}"
                yield Problem(f"{text}: {str(mine.get(name))[:40]}, not {wanted.get(name)!s:.40}")
                return


def _reevaluation(entry: EntryFolder, place: str, around: Surroundings) -> Iterator[Problem]:
    records = {r.run_id: r for r in _of(place, around)}
    for one in entry.entry.reevaluated:
        record = records.get(one.run_id)
        weights = {s.sha256 for s in record.saved if s.name == "weights"} if record else set()
        if record is None:
            yield Problem(f"run {one.run_id} is not in {place}")
        elif one.weights_sha256 not in weights:
            text = f"{one.weights_sha256[:12]} is not the hash of the weights that run"
            yield Problem(f"{text} {one.run_id} has kept")
        elif record.metric and one.rows != record.metric.n:
            text = f"run {one.run_id} was scored on {record.metric.n} rows, not {one.rows}"
            yield Problem(text, {"rows": one.rows, "scored": record.metric.n})
