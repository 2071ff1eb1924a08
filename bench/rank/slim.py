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
    record = Record.model_validate_json(text)
    spec = record.spec
    asked = spec.__pydantic_serializer__.to_json(spec, exclude=_SEEDS)
    same = asked + _of_entry(record)
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
        text=_slim(record, asked, text),
    )


_SEEDS = {"seed", "seed_origin"}


def _of_entry(record: Record) -> bytes:
    """What an entry's key is made of beside the spec: where all is equal the key is, and it is soon
    made."""
    rest = [record.charged_runs, record.trial, record.tuning]
    return record.code_sha256.encode() + (to_json(rest) if any(rest) else b"")


def _complaint(folder: Path) -> str | None:
    """None where the record can be read by now."""
    try:
        records.read(folder)
    except BenchError as error:
        return error.message.removeprefix(str(folder))
    return None


_FILLED = to_json(LEFT_OUT)[:-1]
_DUMPED_APART = {*LEFT_OUT, "phases", "spec"}


def _slim(record: Record, asked: bytes, text: bytes) -> bytes:
    """`asked` is its spec less the seeds."""
    if b"NaN" in text or b"Infinity" in text:  # which a model does not write
        return _checked(_slim_of(from_json(text)))
    kept = record.__pydantic_serializer__.to_json(record, exclude=_DUMPED_APART)
    phases = to_json([phase for phase in record.phases if phase.name in PHASES])
    spec = b'%s,"seed":%d,"seed_origin":"%s"}' % (
        asked[:-1], record.spec.seed, record.spec.seed_origin.encode(),
    )  # fmt: skip
    return _checked(b'%s,"phases":%s,"spec":%s,%s' % (_FILLED, phases, spec, kept[1:]))


def _slim_of(facts: dict[str, Any]) -> bytes:
    phases = [phase for phase in facts["phases"] if phase["name"] in PHASES]
    return to_json({**facts, **LEFT_OUT, "phases": phases}, inf_nan_mode="constants")


def _checked(text: bytes) -> bytes:
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
