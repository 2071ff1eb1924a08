"""H: the manifest has every file and nothing else; an id follows from what it names."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench import lineage, submission
from bench.checks import Found, Problem, others, rule, safe
from bench.checks.bundle import MANIFEST, EntryFolder, Folder, RunFolder, Surroundings
from bench.checks.safe import Fault
from bench.checks.structure import is_known
from bench.record import run_id

if TYPE_CHECKING:
    from bench.power.trace import Trace

_FEWEST = 10  # readings, losses, and predictions but the commonest: fewer are alike by chance


@rule(
    "H1", "hashes", "Every file has the SHA-256 that the manifest gives.", scope="folder",
    needs=("files", "manifest"),
)  # fmt: skip
def hashes(folder: Folder, around: Surroundings) -> Found:
    for name, stated in folder.manifest.items():
        if (found := _digest(folder, name)) and found != stated:
            yield Problem(f"has the SHA-256 {found[:12]}…, not {stated[:12]}…", file=name)


def _digest(folder: Folder, name: str) -> str | None:
    """None where there is no such file, or none that is read: other rules say so."""
    if isinstance(folder, EntryFolder) and "/" in name:
        run, _, below = name.partition("/")
        return next((_digest(r, below) for r in folder.runs if r.folder.name == run), None)
    try:
        return folder.digest(name)
    except Fault:
        return None


@rule(
    "H2", "unlisted", "The manifest lists every file.", scope="folder", needs=("files", "manifest")
)  # fmt: skip
def unlisted(folder: Folder, around: Surroundings) -> Found:
    for name in sorted(_files(folder)):
        if name not in folder.manifest:
            yield Problem("is not in the manifest", file=name)


@rule(
    "H3", "missing", "The manifest lists nothing that is not there.", scope="folder",
    needs=("files", "manifest"),
)  # fmt: skip
def missing(folder: Folder, around: Surroundings) -> Found:
    there = set(folder.files)
    closed = {name for name, item in folder.files.items() if item.kind != "folder"}
    for run in folder.runs if isinstance(folder, EntryFolder) else ():
        if run.fault("files"):
            closed.add(run.folder.name)
        else:
            there |= {f"{run.folder.name}/{name}" for name in run.files}
    for name in folder.manifest:
        if name not in there and name.partition("/")[0] not in closed:
            yield Problem(f"lists {safe.shown(name, 100)!r}, which is not there", file=MANIFEST)


def _files(folder: Folder) -> Iterator[str]:
    """Those that the manifest must list. A run's lists no weights: its record has their hash."""
    for name, item in folder.files.items():
        own = isinstance(folder, EntryFolder) or not name.startswith("weights/")
        if item.kind == "file" and is_known(folder, name) and name != MANIFEST and own:
            yield name
    for run in folder.runs if isinstance(folder, EntryFolder) else ():
        if not run.fault("files"):
            several = (n for n, i in run.files.items() if i.kind == "file" and is_known(run, n))
            yield from (f"{run.folder.name}/{name}" for name in several)


@rule(
    "H4", "id", "A run's id follows from what was asked, its start and its nonce, and names its "
    "folder.", needs=("record",),
)  # fmt: skip
def ids(run: RunFolder, around: Surroundings) -> Found:
    record = run.record
    follows = run_id(record.spec, record.started_at, record.nonce)
    if follows != record.run_id:
        yield Problem(f"{follows} follows, {safe.shown(record.run_id, 40)} is stated")
    elif run.submitted and run.folder.name != record.run_id:
        yield Problem(f"the run {record.run_id} lies in {run.folder.name}")


@rule(
    "H5", "own events", "The events are of this run: what it was asked has the hash that they "
    "begin with.", needs=("record", "events"),
)  # fmt: skip
def own_events(run: RunFolder, around: Surroundings) -> Found:
    asked = run.record.spec.sha256()
    told = [e["spec_sha256"] for e in run.events if e["event"] == "run_start"]
    if run.record.status in ("complete", "budget") and not told:
        yield Problem("it has ended well, and nothing in its events says that it began")
    for found in dict.fromkeys(told):
        if found != asked:
            text = f"they began with {safe.shown(found, 12)}, and what was asked is {asked[:12]}"
            yield Problem(text, file="events.jsonl")


@rule(
    "H6", "weights' hash", "Weights that lie beside a run are those that its record says it kept.",
    needs=("files", "record"),
)  # fmt: skip
def weights_hash(run: RunFolder, around: Surroundings) -> Found:
    item = run.files.get(lineage.WEIGHTS)
    if item is None:
        return
    kept = lineage.saved(run.record, "weights")
    if kept is None or kept.file != lineage.WEIGHTS:
        yield Problem("the record says nothing of them", file=lineage.WEIGHTS)
    elif (found := _digest(run, lineage.WEIGHTS)) and found != kept.sha256:
        text = f"have the SHA-256 {found[:12]}…, not {safe.shown(kept.sha256, 12)}…"
        yield Problem(text, file=lineage.WEIGHTS)
    elif item.bytes != kept.bytes:
        numbers = {"bytes": item.bytes, "stated": kept.bytes}
        yield Problem(f"have {item.bytes:,} bytes, not {kept.bytes:,}", numbers)


@rule(
    "H7", "runs", "An entry names the runs that lie in it, each once, and lies under its task.",
    scope="entry", needs=("files", "entry"),
)  # fmt: skip
def runs(entry: EntryFolder, around: Surroundings) -> Found:
    about = entry.entry
    named = [*about.runs, *about.charged]
    here = {run.folder.name for run in entry.runs}
    for run in sorted(here - set(named)):
        yield Problem(f"the run {run} lies here and is not named")
    for run in sorted(set(named) - here):
        yield Problem(f"the run {run} is named and does not lie here")
    for run in sorted({run for run in named if named.count(run) > 1}):
        yield Problem(f"the run {run} is named twice")
    if entry.where.split("/")[0] != about.task:
        yield Problem(f"an entry of {about.task} lies under {entry.where}")


@rule(
    "H8", "copied", "No run has the nonce, the readings, the events, the predictions, the "
    "learning or the times of another one.", scope="entry",
)  # fmt: skip
def copied(entry: EntryFolder, around: Surroundings) -> Found:
    seen: dict[tuple[str, str], RunFolder] = {}
    for run in entry.runs:
        for what, mark in _contents(run):
            other = seen.setdefault((what, mark), run)
            if other is not run and not (what == "learning" and _same_seed(run, other)):
                yield Problem(f"runs {other.folder.name} and {run.folder.name} have one {what}")
    if not entry.fault("entry"):
        yield from _sold_twice(entry, around)


def _contents(run: RunFolder) -> Iterator[tuple[str, str]]:
    """What two runs can't have in common."""
    if not run.fault("record"):
        yield "nonce", run.record.nonce
    if "trace" in _telling(run):
        yield "course of power", _hash(_readings(run.trace))
    if "events" in _telling(run):
        yield "journal of events", run.digest("events.jsonl")
    if "predictions" in _telling(run) and not run.fault("events"):
        losses = [e.get("loss") for e in run.events if e["event"] == "step"]
        if len(set(losses)) >= _FEWEST:
            yield "learning", _hash([repr(losses).encode(), repr(run.predictions).encode()])


def _same_seed(run: RunFolder, other: RunFolder) -> bool:
    """Then they learn the same: that seeds differ is a rule of its own."""
    several = (run, other)
    return len({r.record.spec.seed for r in several if not r.fault("record")}) == 1


def _readings(trace: Trace) -> Iterator[bytes]:
    """Wherever on the clock they lie."""
    for name, series in sorted(trace.series.items()):
        yield name.encode()
        yield (series.t_ns[1:] - series.t_ns[:-1]).tobytes()
        yield series.power_w.tobytes()
        yield (series.energy_j[1:] - series.energy_j[:-1]).tobytes()


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _telling(run: RunFolder) -> set[str]:
    """What of a run can't be as that of another one by chance: not the readings of a meter that
    never started, nor the predictions of who learned nothing."""
    found = set()
    if not run.fault("trace"):
        found |= {"trace" for s in run.trace.series.values() if len(s.t_ns) >= _FEWEST}
    if not run.fault("events") and run.events:
        found.add("events")
    if not run.fault("predictions"):
        counts = Counter(run.predictions).most_common(1)
        if counts and len(run.predictions) - counts[0][1] >= _FEWEST:
            found.add("predictions")
    return found


def _sold_twice(entry: EntryFolder, around: Surroundings) -> Found:
    """Runs, or what they are made of, that are in another entry. A correction may take over what it
    corrects, and who charges a teacher has a copy of it."""
    before, kin = _submitted(around), others.corrections(entry, around)
    for run in others.own_runs(entry):
        for what in sorted(_telling(run)):
            name = f"{what}.{'jsonl' if what == 'events' else 'parquet'}"
            folder = before.get((name, run.digest(name)))
            if folder and submission.place(folder.parent) not in kin:
                text = f"run {run.folder.name} has the {what} of {folder.name}"
                yield Problem(f"{text}, submitted in {submission.place(folder.parent)}")
                break
        else:
            yield from _written_anew(run, kin, around)


def _written_anew(run: RunFolder, kin: set[str], around: Surroundings) -> Found:
    """A copy whose files have other bytes. Who learned nothing answers as others do."""
    if run.fault("record"):
        return
    told = "predictions" in _telling(run)
    own = {mark for mark in others.marks(run.record) if told or mark[0] != "answers"}
    charged = _charged(around)
    for known in others.submitted(around):
        alike = sorted(own & known.marks)
        if alike and known.place not in kin and (known.place, known.run_id) not in charged:
            text = f"run {run.folder.name} has the {alike[0][0]} of {known.run_id}"
            yield Problem(f"{text}, submitted in {known.place}")
            return


def _submitted(around: Surroundings) -> dict[tuple[str, str], Path]:
    """(file, SHA-256) -> the run that has it, as manifests say: they were checked when they came.
    Copies of teachers, and of earlier parts, are left out."""
    memory = around.memory.setdefault("manifests", {})
    charged = _charged(around)
    found: dict[tuple[str, str], Path] = {}
    for folder in around.others.values():
        if folder not in memory:
            memory[folder] = list(_manifest(RunFolder(folder, folder.name)).items())
        if (submission.place(folder.parent), folder.name) not in charged:
            found |= dict.fromkeys(memory[folder], folder)
    return found


def _charged(around: Surroundings) -> set[tuple[str, str]]:
    """Place and run of each copy."""
    return {(place, run) for place, e in others.entries(around).items() for run in e.charged}


def _manifest(run: RunFolder) -> dict[str, str]:
    return {} if run.fault("manifest") else run.manifest
