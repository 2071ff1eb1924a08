"""S: names, sizes, links; what a file holds can be read, and is nothing but what it should be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from bench import lineage, merging, places, submission
from bench.checks import Found, Problem, rule, safe
from bench.checks import tuning as sweeps
from bench.checks.bundle import MANIFEST, EntryFolder, Folder, RunFolder, Surroundings
from bench.record import LOG

OF_RUN = {
    "record.json", "events.jsonl", "trace.parquet", "predictions.parquet", "log.txt", MANIFEST,
    merging.HELLOS, lineage.WEIGHTS,
}  # fmt: skip
OF_ENTRY = {submission.NAME, MANIFEST, "tuning.jsonl"}
OF_NODE = {"node.json", "events.jsonl", "trace.parquet", "log.txt"}
NODE = re.compile(r"node-([1-9][0-9]{0,3})")
NEEDED = ("record.json", "events.jsonl", "trace.parquet", MANIFEST)
MOST_TEXT, MOST_NAME = 4000, 200
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # Unicode's categories
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|^\s*(?:javascript|vbscript|data|file):", re.IGNORECASE)


def _guarded(id: str, folder: Folder) -> Found:
    """What was refused when the parts were read."""
    for fault in folder.faults(id):
        yield Problem(fault.message, fault.numbers, file=fault.file)


@rule(
    "S1", "names", "A folder holds nothing but the files of a run or an entry, under their names.",
    scope="folder", needs=("files",),
)  # fmt: skip
def names(folder: Folder, around: Surroundings) -> Found:
    for name, item in folder.files.items():
        if not is_known(folder, name) and not _is_left(folder, name):
            what = "folder" if item.kind == "folder" else "file"
            yield Problem(f"{safe.shown(name, 100)!r} is no {what} of a submission")
    if isinstance(folder, EntryFolder):
        own = folder.where.rpartition("/")[2]
        if not submission.ENTRY_NAME.fullmatch(own):
            yield Problem(f"an entry can't be called {own[:100]!r}")


def is_known(folder: Folder, name: str) -> bool:
    """Whether a submission may have a file or folder of this name there."""
    if isinstance(folder, EntryFolder):
        return name in OF_ENTRY or bool(submission.RUN_ID.fullmatch(name))
    below, _, file = name.rpartition("/")
    if (node := NODE.fullmatch(below or name)) and isinstance(folder, RunFolder):
        nodes = 1 if folder.fault("record") else folder.record.spec.nodes
        return int(node[1]) < nodes and (not below or file in OF_NODE)
    return name in OF_RUN or name == lineage.WEIGHTS.partition("/")[0]


def _is_left(folder: Folder, name: str) -> bool:
    """Whether a run that is in no entry yet may have it: what is not submitted with it."""
    return not folder.submitted and (name in lineage.STATES or name.startswith("weights/"))


@rule(
    "S2", "sizes", "No file, and no number of files, is larger than it may be.", scope="folder"
)  # fmt: skip
def sizes(folder: Folder, around: Surroundings) -> Found:
    fault = folder.fault("files")
    if fault:
        if fault.rule == "S2":
            yield Problem(fault.message, fault.numbers)
        return
    for name, item in folder.files.items():
        most = safe.MOST_BYTES.get(name.rpartition("/")[2])
        if item.kind == "file" and most is not None and item.bytes > most:
            text = f"has {item.bytes:,} bytes; {most:,} are the most"
            yield Problem(text, {"bytes": item.bytes, "most": most}, file=name)


@rule(
    "S3", "links", "Files are files, folders are folders, and each has one name.", scope="folder"
)  # fmt: skip
def links(folder: Folder, around: Surroundings) -> Found:
    fault = folder.fault("files")
    if fault:
        if fault.rule == "S3":
            yield Problem(f"the folder {fault.message}")
        return
    for name, item in folder.files.items():
        if is_known(folder, name) and (why := _why_odd(folder, name, item)):
            yield Problem(why, file=name)


def _why_odd(folder: Folder, name: str, item: safe.Item) -> str | None:
    wanted = "file" if name.rpartition("/")[2] in safe.MOST_BYTES else "folder"
    if item.kind != wanted:
        return f"is no {wanted}: it is a {item.kind}".replace("a special", "something special")
    if item.kind == "file" and item.names > 1:
        return f"has {item.names} names (hard links)"
    return None


@rule(
    "S4", "json", "JSON is one value in UTF-8, no key twice, every number finite.", scope="folder"
)  # fmt: skip
def json(folder: Folder, around: Surroundings) -> Found:
    yield from _guarded("S4", folder)


@rule(
    "S5", "schema", "Every field is known, and is of its type.", scope="folder"
)  # fmt: skip
def schema(folder: Folder, around: Surroundings) -> Found:
    yield from _guarded("S5", folder)


@rule("S6", "events", "Each line of events is an event at a time, and says what it must say.")
def events(folder: Folder, around: Surroundings) -> Found:
    yield from _guarded("S6", folder)


@rule(
    "S7", "tables", "A Parquet file has its columns and no others, of bearable size, and readings "
    "that a meter can read.",
)  # fmt: skip
def tables(folder: Folder, around: Surroundings) -> Found:
    yield from _guarded("S7", folder)


@rule(
    "S8", "weights", "Weights are safetensors with a plain header: tensors of known types, one "
    "behind the other.",
)  # fmt: skip
def weights(folder: Folder, around: Surroundings) -> Found:
    yield from _guarded("S8", folder)


@rule(
    "S9", "texts", "Texts hold no sign that can't be seen or that turns reading around; names, "
    "also of hardware, are plain ASCII; links are https.", scope="folder",
)  # fmt: skip
def texts(folder: Folder, around: Surroundings) -> Found:
    part = "entry" if isinstance(folder, EntryFolder) else "record"
    if folder.fault(part):
        return
    said = folder.part(part)
    whole = said.model_dump(mode="json")
    metric = whole.get("metric")
    bits = metric and metric.get("correct")
    for text in dict.fromkeys(safe.texts(whole)):
        if text != bits and (why := _why_odd_text(text)):
            yield Problem(f"{safe.shown(text, 60)!r} {why}")
    for text in dict.fromkeys(_names(folder)):
        if not (text.isascii() and text.isprintable() and 0 < len(text) <= MOST_NAME):
            yield Problem(f"{safe.shown(text, 60)!r} is no name: plain ASCII, at most {MOST_NAME}")
    hardware = folder.record.spec.hardware if isinstance(folder, RunFolder) else ""
    if hardware != " ".join(hardware.split()):
        yield Problem(f"{safe.shown(hardware, 60)!r} has blanks that can't be seen")
    for text in _sources(folder):
        if any(scheme.lower() != "https://" for scheme in _ADDRESS.findall(text)):
            yield Problem(f"{safe.shown(text, 60)!r} leads elsewhere than to https")


def _why_odd_text(text: str) -> str | None:
    if len(text) > MOST_TEXT:
        return f"has {len(text):,} signs; {MOST_TEXT:,} are the most"
    odd = next((c for c in text if unicodedata.category(c) in _UNSEEN and c not in "\n\t"), None)
    return None if odd is None else f"holds U+{ord(odd):04X}, which can't be seen"


def _names(folder: Folder) -> Iterator[str]:
    """What boards, pages and file names are made of: two that look alike must be one."""
    if isinstance(folder, EntryFolder):
        yield folder.entry.task
        return
    assert isinstance(folder, RunFolder)
    record = folder.record
    spec = record.spec
    yield from (
        spec.edition, spec.task, spec.model, spec.recipe, spec.device, spec.hardware,
        *spec.settings,
    )  # fmt: skip
    yield from (domain.domain for domain in record.domains)
    yield from (phase.name for phase in record.phases)
    yield from (warn.id for warn in record.warnings)
    yield from (record.bench_version, record.nonce)


def _sources(folder: Folder) -> Iterator[str]:
    """Texts that a page may make a link of."""
    if isinstance(folder, EntryFolder):
        yield from (upstream.source for upstream in folder.entry.upstream)


@rule(
    "S10", "complete", "A run has its record, events, trace and manifest, and predictions where it "
    "was scored; an entry has entry.json and manifest.json.", scope="folder", needs=("files",),
)  # fmt: skip
def complete(folder: Folder, around: Surroundings) -> Found:
    entry = isinstance(folder, EntryFolder)
    needed = [submission.NAME, MANIFEST] if entry else [*NEEDED]
    if isinstance(folder, RunFolder) and not folder.fault("record") and folder.record.metric:
        needed.append("predictions.parquet")
    for name in needed:
        if name not in folder.files:
            yield Problem("is not there", file=name)


PLACES = "S11"


@rule(
    PLACES, "places", "No text names a place on somebody's machine: a path below a home, a host. "
    "`bench submit` takes them out, or refuses.", scope="folder", needs=("files",),
)  # fmt: skip
def named_places(folder: Folder, around: Surroundings) -> Found:
    for name, found in _places(folder):
        if path := next(found, None):
            yield Problem(f"names {safe.shown(path, 80)!r}", warns=True, file=name)


def _places(folder: Folder) -> Iterator[tuple[str, Iterator[str]]]:
    """Files -> what they name. What can't be read, others guard."""
    if isinstance(folder, EntryFolder):
        if folder.submitted and sweeps.NAME in folder.files:
            yield sweeps.NAME, _of_journal(folder)
        return
    if not folder.fault("record"):
        stated = folder.part("record").model_dump(mode="json")
        bits = (stated.get("metric") or {}).get("correct")
        yield "record.json", _paths(t for t in safe.texts(stated) if t != bits)
    if not folder.fault("events"):
        yield "events.jsonl", _paths(safe.texts(folder.part("events")))
    if not folder.fault("trace"):
        yield "trace.parquet", _paths(safe.texts(folder.part("trace").facts))
    for name in folder.files:
        if name.rpartition("/")[2] == LOG:
            yield name, _paths(_log(folder.folder / name))


def _paths(texts: Iterable[str]) -> Iterator[str]:
    return (path for text in texts for path in places.paths(text))


def _of_journal(entry: Folder) -> Iterator[str]:
    from bench.study import older

    with suppress(safe.Fault, RecursionError):
        yield from older.names_places(safe.data(entry.folder / sweeps.NAME))


def _log(path: Path) -> Iterator[str]:
    with suppress(safe.Fault):
        yield from safe.data(path).decode(errors="replace").splitlines()
