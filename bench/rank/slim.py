"""Records as the index keeps them: what boards, costs and comparisons read, and no more.

A field is whole, or reading it raises AttributeError; only of the phases there are but those that
a column reads. The text is the record's own JSON less what is left out, so that every number is
the record's to the last bit.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from pydantic_core import from_json, to_json

from bench import record as records
from bench.errors import BenchError
from bench.rank import scan
from bench.record import Record

LEFT_OUT: dict[str, Any] = {
    "machine": {}, "software": {}, "idle_after": None, "region": None, "pue": None,
    "not_covered": [], "nodes": [], "model_facts": {}, "saved": [], "upstream": [],
}  # fmt: skip
"""With what fills their places: a record must have some, and makes the others' defaults anew."""

PHASES = ("predict",)

SERIAL = 4000
"""Records that one process reads sooner than others could be started."""

CHUNK = 200


class Damaged(Exception):
    """What the index holds is not what was put into it."""


class Row(NamedTuple):
    """What is remembered of one record.json: `text` and what it is found by, or a complaint."""

    key: scan.Key  # of its folder
    complaint: str | None = None  # what follows the folder's name in what a user is told
    lasting: bool = True  # as long as the file does not change; not what the system has against it
    run_id: str | None = None
    facet: tuple[str, str, str] | None = None  # task, track, hardware
    model: str = ""
    recipe: str = ""
    entry: str | None = None
    trial: bool = False
    parts: tuple[str, ...] = ()  # ids of the runs that it goes on with
    text: bytes = b""


def rows(keys: list[scan.Key]) -> Iterator[Row]:
    """In order, by several processes where it pays. A record that has vanished has none."""
    with paused_gc():
        yield from _rows(keys) if len(keys) <= SERIAL else _by_processes(keys)


def _by_processes(keys: list[scan.Key]) -> Iterator[Row]:
    """Chunks, in turn from each process; what one does not hand over is read here."""
    count = min(len(os.sched_getaffinity(0)), 8)
    chunks = [keys[i : i + CHUNK] for i in range(0, len(keys), CHUNK)]
    with ExitStack() as stack:
        outputs = [stack.enter_context(_worker(chunks[i::count])) for i in range(count)]
        for number, chunk in enumerate(chunks):
            try:
                yield from pickle.load(outputs[number % count])
            except (EOFError, pickle.UnpicklingError):
                yield from _rows(chunk)


@contextmanager
def _worker(chunks: list[list[scan.Key]]) -> Iterator[IO[bytes]]:
    """A process's output, which has the rows of each chunk. It is no fork: an open database, or
    the threads of others, must not be copied."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {__name__} import work; work()"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError), process.stdin:
            pickle.dump(chunks, process.stdin)
        yield process.stdout


def work() -> None:
    """What such a process does."""
    gc.disable()
    for chunk in pickle.load(sys.stdin.buffer):
        pickle.dump(list(_rows(chunk)), sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _rows(keys: Iterable[scan.Key]) -> Iterator[Row]:
    entries: dict[bytes, str] = {}
    for key in keys:
        folder = os.fsdecode(scan.path(key))
        try:
            with open(f"{folder}/record.json", "rb") as file:
                text = file.read()
            yield _row(key, text, entries)
        except ValueError:  # no JSON, or no record
            if (complaint := _complaint(Path(folder))) is not None:
                yield Row(key, complaint)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Row(key, f": {error.strerror or error}", lasting=False)


def _row(key: scan.Key, text: bytes, entries: dict[bytes, str]) -> Row:
    facts = from_json(text)
    record = Record.model_validate(facts)
    spec, same = record.spec, _of_entry(facts)
    if same not in entries:
        entries[same] = record.entry_key()
    return Row(
        key=key,
        run_id=record.run_id,
        facet=(spec.task, spec.track, spec.hardware),
        model=spec.model,
        recipe=spec.recipe,
        entry=entries[same],
        trial=record.trial is not None,
        parts=tuple(part.run_id for part in record.parts),
        text=_slim(facts),
    )


def _of_entry(facts: dict[str, Any]) -> bytes:
    """All that an entry's key is made of: where this is equal the key is, and it is soon made."""
    spec = {**facts["spec"], "seed": None, "seed_origin": None}
    rest = [facts.get(name) for name in ("code_sha256", "charged_runs", "trial", "tuning")]
    return to_json([spec, rest], inf_nan_mode="constants")


def _complaint(folder: Path) -> str | None:
    """None where the record can be read by now."""
    try:
        records.read(folder)
    except BenchError as error:
        return error.message.removeprefix(str(folder))
    return None


def _slim(facts: dict[str, Any]) -> bytes:
    phases = [phase for phase in facts["phases"] if phase["name"] in PHASES]
    text = to_json({**facts, **LEFT_OUT, "phases": phases}, inf_nan_mode="constants")
    return zlib.crc32(text).to_bytes(4, "big") + text


def record(text: bytes) -> Record:
    """From a row's text; Damaged where it has changed."""
    check, text = text[:4], text[4:]
    if zlib.crc32(text).to_bytes(4, "big") != check:
        raise Damaged("a record")
    found = Record.model_validate_json(text)
    for name in LEFT_OUT:
        del found.__dict__[name]
    return found


@contextmanager
def paused_gc() -> Iterator[None]:
    """While many objects are made that stay: looking through them for cycles finds none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
