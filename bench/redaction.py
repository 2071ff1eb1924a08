"""The copy of a run that is published, without what names the machine that made it.

Its log may hold any path, as a traceback does, its record and events what a failure said, its trace
where meters are. What was measured stays as it is, and so does the run's own folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import places
from bench import record as records

_SAID = {"failure", "message", "hint", "text", "reason", "fix", "refused"}  # of events
_STATED = {"failure", "warnings", "not_covered"}  # of a record: what follows from those
_KEPT = {"id", "kinds", "kind", "probe"}


def redact(run: Path) -> list[str]:
    """Rewrite the copy's texts where they name the machine, and its manifest; the names of the
    files that are others now."""
    folders = (run, *sorted(run.glob("node-*")))
    changed = [
        path for folder in folders for path, rewrite in _texts(folder)
        if path.is_file() and _rewritten(path, rewrite)
    ]  # fmt: skip
    traces = [folder / "trace.parquet" for folder in folders]
    changed += [path for path in traces if path.is_file() and _trace_rewritten(path)]
    names = [path.relative_to(run).as_posix() for path in changed]
    if names:
        manifest = run / "manifest.json"
        digests = json.loads(manifest.read_bytes())
        digests |= {name: records.file_sha256(run / name) for name in names if name in digests}
        records.write_file(manifest, json.dumps(digests, indent=1) + "\n")
    return names


def _texts(folder: Path) -> Iterator[tuple[Path, Callable[[str], str]]]:
    yield folder / records.LOG, places.without
    yield folder / "events.jsonl", _events
    yield folder / "record.json", _record


def _rewritten(path: Path, rewrite: Callable[[str], str]) -> bool:
    before = path.read_text(encoding="utf-8", errors="surrogateescape")
    after = rewrite(before)
    if after != before:
        path.write_text(after, encoding="utf-8", errors="surrogateescape")
    return after != before


def _events(text: str) -> str:
    return "".join(map(_event, text.splitlines(keepends=True)))


def _event(line: str) -> str:
    try:
        event = json.loads(line)
    except ValueError:  # cut off: the checks say so
        return places.without(line)
    said = _without(event, _SAID)
    return line if said == event else json.dumps(said) + "\n"


def _record(text: str) -> str:
    record = json.loads(text)
    said = _without(record, _STATED)
    return text if said == record else json.dumps(said, indent=1, ensure_ascii=False) + "\n"


def _without(facts: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {k: _texts_without(v) if k in names else v for k, v in facts.items()}


def _texts_without(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v if k in _KEPT else _texts_without(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_texts_without(each) for each in value]
    return places.without(value) if isinstance(value, str) else value


# --- the trace -----------------------------------------------------------------------------------


def _trace_rewritten(path: Path) -> bool:
    """Its meters by their names alone: an address or a program is somewhere. What is no trace, the
    checks refuse."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        about = json.loads(pq.read_schema(path).metadata[b"bench"])
        probes = about["facts"]["probes"]
        named = [text.partition(":")[0] + ":…" if ":" in text else text for text in probes]
    except (pyarrow.ArrowInvalid, ValueError, LookupError, TypeError, AttributeError):
        return False
    if named != probes:
        about["facts"]["probes"] = named
        table = pq.read_table(path).replace_schema_metadata({"bench": json.dumps(about)})
        pq.write_table(table, path, compression="zstd")
    return bool(named != probes)
