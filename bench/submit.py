"""From runs to an entry's folder: all attempts, checked before anybody sees them, written whole or
not at all. What stands in `results/` is never changed: a correction is a new entry."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from bench import __version__, lineage, redaction, submission
from bench import record as records
from bench.checks import Report, check
from bench.checks.bundle import EntryFolder, Surroundings
from bench.checks.structure import PLACES
from bench.checks.tuning import NAME as JOURNAL
from bench.errors import BenchError, UsageError, first_fault
from bench.record import Record, Tuning
from bench.submission import EntryFile, Reevaluated, Upstream

_STAGING = re.compile(r"\.[a-z0-9][a-z0-9._+-]*\.\d+")
LOCK = ".lock"


@dataclass(frozen=True)
class Asked:
    """What somebody wants to submit, and says of it."""

    title: str
    authors: Sequence[str]
    track: str | None = None
    links: Sequence[str] = ()
    description: str = ""
    name: str | None = None
    supersedes: str | None = None
    verifies: str | None = None
    reason: str = ""
    upstream: Sequence[Upstream] = ()
    weights: bool = False


@dataclass
class Packed:
    """An entry that was made, or would be: `added` are attempts that were not named."""

    folder: Path
    entry: EntryFile
    report: Report
    added: list[Record] = field(default_factory=list)
    bytes: int = 0


_BY_NAME = (
    "nothing that names a place on this machine is published: name a model's folder, or a program, "
    "from where it lies: `--model NAME`, `-- python train.py`"
)


class Refused(BenchError):
    """A submission that would fail; `report` says why."""

    def __init__(self, report: Report) -> None:
        named = [v for v in report.warnings if v.rule == PLACES]
        n = len({v.rule for v in (*report.errors, *named)})
        super().__init__(
            f"nothing was submitted: {n} {'rule' if n == 1 else 'rules'} not met",
            _BY_NAME if named and not report.errors else None,
        )
        self.report = report


def pack(
    named: Sequence[Path],
    asked: Asked,
    results: Path,
    ledger: Iterable[Path],
    around: Callable[[Path], Surroundings],
    *,
    dry: bool = False,
) -> Packed:
    """Make `results`/<task>/<name> of the runs in the folders `named`, with every other attempt at
    the same in `ledger` (folders of runs). `around` gives what a staged folder is held against.

    UsageError where the runs are no entry; Refused where the checks find an error.
    """
    _check_place("supersedes", asked.supersedes)
    _check_place("verifies", asked.verifies)
    mine = _one_entry([(records.read(folder), folder) for folder in named])
    first, source = next(iter(mine.values()))
    if asked.weights and not any(lineage.saved(r, "weights") for r, _ in mine.values()):
        raise UsageError("these runs have kept no weights", "`bench run --save` keeps them")
    known = {record.run_id: (record, folder) for record, folder in _readable(ledger)}
    attempts = {**_drawn_alike(first, known), **mine}
    folder = _new_folder(first, asked.name, results)
    there = around(folder).others  # what was submitted needs no copy
    charged = {i: r for i, r in _charged(attempts, known).items() if i not in there}
    entry = _entry(first, attempts, charged, asked)
    with _staged(folder) as staging:
        several = [*attempts.values(), *charged.values()]
        for record, place in several:
            _copy(record, place, staging / record.run_id, asked.weights)
            if "record.json" in redaction.redact(staging / record.run_id):
                _check_unpinned(record, several)
        if first.tuning:
            (staging / JOURNAL).write_bytes(_journal(first.tuning, source))
        made = _finished(staging, folder, entry, around(staging), dry)
    added = [record for i, (record, _) in attempts.items() if i not in mine]
    return replace(made, added=added)


def retract(
    place: str,
    reason: str,
    authors: Sequence[str],
    results: Path,
    around: Callable[[Path], Surroundings],
    *,
    dry: bool = False,
) -> Packed:
    """A record that an entry is taken back: it stays where it is, and no board shows it. UsageError
    where there is no such entry; Refused where the checks find an error."""
    folder = results / place
    if not (folder / submission.NAME).is_file():
        raise UsageError(f"{results} has no entry {place}", "name it as <task>/<entry>")
    return _about(folder, "retraction", authors, around, dry,
                  retracts=submission.place(folder), reason=reason)  # fmt: skip


def vouch(
    folder: Path,
    found: Sequence[Reevaluated],
    authors: Sequence[str],
    around: Callable[[Path], Surroundings],
    *,
    dry: bool = False,
) -> Packed:
    """A record beside an entry that its weights have said the same again to somebody else (T2)."""
    return _about(folder, "reevaluation", authors, around, dry,
                  reevaluates=submission.place(folder), reevaluated=list(found))  # fmt: skip


def _about(
    folder: Path,
    kind: submission.Kind,
    authors: Sequence[str],
    around: Callable[[Path], Surroundings],
    dry: bool,
    **facts: object,
) -> Packed:
    """What is said of the entry in a folder, in one of its own beside it."""
    about = submission.read(folder)
    entry = _said(kind=kind, edition=about.edition, task=about.task, authors=list(authors),
                  title=f"{kind.capitalize()} of {about.title}"[:200], **facts)  # fmt: skip
    target = _free(folder.parent / f"{kind}-of-{folder.name}"[:77])
    with _staged(target) as staging:
        return _finished(staging, target, entry, around(staging), dry)


def _check_unpinned(record: Record, several: Iterable[tuple[Record, Path]]) -> None:
    """A run that others rest on is named by the hash of its record, as that is."""
    if any(cost.run_id == record.run_id for other, _ in several for cost in other.charged_runs):
        raise UsageError(
            f"run {record.run_id} names folders of this machine in its failure, and others that "
            "rest on it name its record by its hash: neither can be changed",
            "submit runs that rest on another one",
        )


def _finished(
    staging: Path, folder: Path, entry: EntryFile, around: Surroundings, dry: bool
) -> Packed:
    """With what it says of itself, checked, and, unless it is a trial, under its name."""
    submission.write(entry, staging)
    report = check(EntryFolder.of(staging, submission.place(folder)), around)
    if report.errors or any(v.rule == PLACES for v in report.warnings):
        raise Refused(report)
    size = sum(p.stat().st_size for p in staging.rglob("*") if p.is_file())
    if not dry:
        _publish(staging, folder)
    return Packed(folder, entry, report, bytes=size)


def _check_place(option: str, place: str | None) -> None:
    if place is not None and not submission.PLACE.fullmatch(place):
        raise UsageError(f"--{option} {place}: that is no entry", "name it as <task>/<entry>")


def _said(**facts: object) -> EntryFile:
    """UsageError, not a schema's complaint, where what somebody typed can't be taken."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        return EntryFile.model_validate(
            {"bench_version": __version__, "submitted_at": now, **facts}
        )
    except ValidationError as error:
        raise UsageError(first_fault(error)) from None


# --- what belongs to it --------------------------------------------------------------------------

Several = dict[str, tuple[Record, Path]]


def _readable(folders: Iterable[Path]) -> Iterator[tuple[Record, Path]]:
    """A ledger may hold damaged runs: they are no part of anything."""
    for folder in folders:
        try:
            yield records.read(folder), folder
        except BenchError:
            continue


def _one_entry(runs: Sequence[tuple[Record, Path]]) -> Several:
    """The runs by id; UsageError where they are of several entries, or trials of a sweep."""
    first = runs[0][0]
    for record, folder in runs:
        if record.is_profile:
            raise UsageError(f"{folder} is a profile, and no entry", "submit runs of `bench run`")
        if record.trial:
            raise UsageError(
                f"{folder} is a trial of the sweep {record.trial}, and no entry",
                "submit the runs that `bench sweep` made with what it chose",
            )
        if record.entry_key() != first.entry_key():
            raise UsageError(
                f"{runs[0][1].name} and {folder.name} are no entry together: "
                f"{_difference(first, record)}",
                "runs of an entry differ in the seed alone",
            )
    return {record.run_id: (record, folder) for record, folder in runs}


def _difference(one: Record, other: Record) -> str:
    """The first thing in which two runs that should be alike differ."""
    a, b = one.spec.model_dump(mode="json"), other.spec.model_dump(mode="json")
    for name in a:
        if name not in ("seed", "seed_origin", "settings", "data") and a[name] != b.get(name):
            return f"{name} is {a[name]} and {b.get(name)}"
    for name, value in {**b["settings"], **a["settings"]}.items():
        if b["settings"].get(name) != a["settings"].get(name):
            return f"{name} is {a['settings'].get(name, value)} and {b['settings'].get(name)}"
    if a["data"]["fingerprints"] != b["data"]["fingerprints"]:
        return "they were trained on other data"
    if one.code_sha256 != other.code_sha256:
        return f"code {one.code_sha256[:8]} and {other.code_sha256[:8]}"
    return "they were cut into parts, or tuned, in other ways"


def _drawn_alike(first: Record, known: Several) -> Several:
    """All starts of the same spec and code with a drawn seed."""
    key = first.entry_key()
    return {
        i: (record, folder)
        for i, (record, folder) in known.items()
        if record.spec.seed_origin == "harness" and record.entry_key() == key
    }


def _charged(attempts: Several, known: Several) -> Several:
    """Teachers and earlier parts, and what those were charged for, as far as they are at hand."""
    found: Several = {}
    left = [cost.run_id for record, _ in attempts.values() for cost in record.charged_runs]
    while left:
        run_id = left.pop()
        if run_id in known and run_id not in found:
            found[run_id] = known[run_id]
            left += [cost.run_id for cost in known[run_id][0].charged_runs]
    return found


def _entry(first: Record, attempts: Several, charged: Several, asked: Asked) -> EntryFile:
    spec = first.spec
    if asked.track and asked.track != spec.track:
        raise UsageError(f"these runs are of the track {spec.track}, not {asked.track}")
    every = sorted((r for r, _ in attempts.values()), key=lambda r: (r.started_at, r.run_id))
    drawn = [r for r in every if r.spec.seed_origin == "harness"]
    return _said(
        edition=spec.edition, task=spec.task, title=asked.title,
        authors=list(asked.authors), track=spec.track, description=asked.description,
        links=list(asked.links), runs=[r.run_id for r in every],
        charged=sorted(set(charged) - set(attempts)),
        attempts=[submission.attempt(r) for r in drawn], upstream=list(asked.upstream),
        supersedes=asked.supersedes, verifies=asked.verifies, reason=asked.reason,
    )  # fmt: skip


def _new_folder(first: Record, name: str | None, results: Path) -> Path:
    """Where the entry will be; UsageError where it can't be there."""
    name = _free_name(first, results) if name is None else name
    if not submission.ENTRY_NAME.fullmatch(name):
        raise UsageError(f"'{name}' can't be an entry's name", "lower case, digits, and . _ + -")
    folder = results / first.spec.task / name
    if folder.exists():
        raise UsageError(
            f"{folder} is there already, and nothing submitted is ever changed",
            "give another --name; a correction names the old one with --supersedes",
        )
    return folder


def _free_name(record: Record, results: Path) -> str:
    """Model and recipe, with a number where an entry is called so already."""
    plain = re.sub(r"[^a-z0-9._+-]+", "-", f"{record.spec.model}-{record.spec.recipe}".lower())
    return _free(results / record.spec.task / plain.strip(".-_+")[:70]).name


def _free(folder: Path) -> Path:
    number = 1
    free = folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


# --- written whole or not at all -----------------------------------------------------------------


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the one to be, which no board sees; gone afterwards. Those that a
    killed writer has left are swept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    staging = folder.with_name(f".{folder.name}.{os.getpid()}")
    staging.mkdir()
    try:
        with (staging / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (staging / "entry").mkdir()
            yield staging / "entry"
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for path in parent.glob(f".*/{LOCK}"):
        if not _STAGING.fullmatch(path.parent.name):
            continue
        with path.open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # somebody is at it
                continue
            shutil.rmtree(path.parent, ignore_errors=True)


def _publish(staging: Path, folder: Path) -> None:
    """Show the folder under its name, all at once; of two writers of one name the second fails."""
    for path in staging.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    try:
        staging.rename(folder)
    except OSError:
        raise UsageError(f"{folder} was made by somebody else meanwhile", "try again") from None


def _copy(record: Record, source: Path, target: Path, weights: bool) -> None:
    """What the manifest of a run has, and the manifest; the weights if they are wanted."""
    names = [*_manifest(source), "manifest.json"]
    kept = lineage.saved(record, "weights")
    if weights and kept:
        names.append(lineage.WEIGHTS)
    for name in names:
        path = source / name
        if not path.is_file():
            raise UsageError(f"{path} is not there", "a run is submitted with all of its files")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)


def _journal(tuning: Tuning, run: Path) -> bytes:
    """Of the sweep that chose the settings of a run, as it was then: beside the run in an entry, or
    where the sweep was made."""
    from bench.study import ledger, older, sweep

    made = run.parent.parent / sweep.FOLDER / tuning.sweep / ledger.JOURNAL
    again = "the same `bench sweep` command, with --final 3, trains what it chose again, with a "
    hint = f"{again}journal that names neither; no trial is made again"
    for path in (run.parent / JOURNAL, made):
        if not path.is_file():
            continue
        journal = path.read_bytes()
        if path == made and not tuning.is_of(journal) and (made.parent / older.KEPT).is_file():
            text = f"the runs name the journal of {tuning.sweep} as it was when it named paths"
            raise UsageError(f"{text} and hosts of this machine", hint)
        journal = journal[: tuning.journal_bytes]
        if path == made and (named := older.names_places(journal)):
            raise UsageError(f"the journal of {tuning.sweep} names {named[0]}", hint)
        return journal
    raise UsageError(
        f"{made} is not there", "what a sweep chose is submitted with what the sweep took"
    )


def _manifest(folder: Path) -> list[str]:
    try:
        found = json.loads((folder / "manifest.json").read_bytes())
        names = [str(name) for name in found]
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{folder} has no manifest that can be read: {error}") from None
    if wrong := [n for n in names if Path(n).is_absolute() or ".." in Path(n).parts]:
        raise UsageError(f"{folder}: the manifest names {wrong[0]}")
    return names
