"""Journals of older versions, which name paths and hosts, written again as they are now.

What they were is kept beside them (`KEPT`): runs that they chose settings for name it by its hash.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import places
from bench.errors import BenchError
from bench.study import hiding
from bench.study.job import Job

KEPT = "journal-older.jsonl"
TORN = b"{"  # in the place of a line that was cut off
Event = dict[str, Any]


def names_places(journal: bytes) -> list[str]:
    """The paths and hosts in the lines of a journal, but for a model's folder, which is its name in
    every record."""
    found: list[str] = []
    for event in _events(journal.split(b"\n")):
        shown = hiding.hidden(event or {})
        found += [str(event["host"])] if event and shown.keys() != event.keys() else []
        found += _said_otherwise(event, shown)
    return list(dict.fromkeys(found))


def _said_otherwise(value: Any, shown: Any) -> Iterator[str]:
    if isinstance(value, str) and value != shown:
        yield from places.paths(value) or [value]
    elif isinstance(value, dict) and isinstance(shown, dict):
        for name in value.keys() & shown.keys():
            yield from _said_otherwise(value[name], shown[name])
    elif isinstance(value, list) and isinstance(shown, list):
        for one, other in zip(value, shown, strict=True):
            yield from _said_otherwise(one, other)


def rewrite(folder: Path, journal: str) -> None:
    """Nothing where it needs none. Jobs get the ids that they have now; `local.jsonl` gets what is
    no more in the journal. BenchError while a run goes on that would be called otherwise."""
    path = folder / journal
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    if not names_places(data):
        return
    local = hiding.read(folder)
    said = [
        event and event | local.get((number, str(event.get("at"))), {})
        for number, event in enumerate(_events(data.split(b"\n")), 1)
    ]
    ids = _ids(event for event in said if event)
    _check_ended(folder, ids)
    renamed = [event and _renamed(event, ids) for event in said]
    _keep(path)
    for old, new in ids.items():
        for file in (folder / "attempts").glob(f"{old}-*"):
            file.rename(file.with_name(new + file.name.removeprefix(old)))
    _replace(folder / hiding.LOCAL, [
        _line({"line": number, "at": event["at"], "says": says})
        for number, event in enumerate(renamed, 1)
        if event and (says := hiding.difference(event))
    ])  # fmt: skip
    _replace(path, [_line(hiding.hidden(event)) if event else TORN for event in renamed])


def _events(lines: Sequence[bytes]) -> Iterator[Event | None]:
    """None for a line that is none."""
    for line in lines[:-1] if not lines[-1].strip() else lines:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        yield event if isinstance(event, dict) else None


def _ids(events: Iterator[Event]) -> dict[str, str]:
    """What jobs were called -> what they are called now, where that is another."""
    found = {}
    for event in events:
        if event.get("event") == "planned" and (new := Job.load(event).id) != event["job"]:
            found[event["job"]] = new
    return found


def _renamed(event: Event, ids: Mapping[str, str]) -> Event:
    event = dict(event)
    if event.get("job") in ids:
        event["job"] = ids[event["job"]]
    for name in ("took", "pruned"):  # an attempt's name: job-number
        job, dash, number = str(event.get(name, "")).rpartition("-")
        if job in ids:
            event[name] = f"{ids[job]}{dash}{number}"
    return event


def _check_ended(folder: Path, ids: Mapping[str, str]) -> None:
    for job in ids:
        for words in (folder / "attempts").glob(f"{job}-*.jsonl"):
            if _goes_on(words):
                raise BenchError(
                    f"a run that an older bench began for {folder.name} goes on",
                    "the same command, once it has ended",
                )


def _goes_on(words: Path) -> bool:
    with words.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        waits = words.with_suffix(".slurm").exists()
        return waits and not any(b'"ended"' in line or b'"killed"' in line for line in file)


def _keep(path: Path) -> None:
    kept, number = path.with_name(KEPT), 1
    while kept.exists() and kept.read_bytes() != path.read_bytes():
        number += 1
        kept = path.with_name(KEPT.replace(".", f"-{number}."))
    if not kept.exists():
        os.link(path, kept)


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def _replace(path: Path, lines: Sequence[bytes]) -> None:
    """Whole or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        file.writelines(line + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
