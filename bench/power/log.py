"""The log of a sampler: append-only lines, each checked, so that what was written can be read.

A line is the CRC-32 of its text in hex, a space, and one JSON array whose first item is its kind:

    ["head", version, facts]                 once, first
    ["domain", index, domain]                before its readings
    ["r", index, t_ns, power_w, energy_j, utilisation, clock_mhz, temperature_c, error?]
    ["clock", monotonic_ns, realtime_ns, boottime_ns]     once a second
    ["mark", t_ns, id, message, domain, value]
    ["edge", t_ns]                           the window may begin or end here
    ["stop", t_ns]                           last, when the sampler was told to stop
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import zlib
from pathlib import Path
from typing import Any

VERSION = 1
NAME = "trace.log"
_MOST_WAITING = 64 << 20  # bytes kept in memory while the disk takes none


def encode(record: list[Any]) -> bytes:
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> list[Any] | None:
    """The record of a line (with or without its newline); None when it is damaged."""
    crc, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        if len(crc) != 8 or int(crc, 16) != zlib.crc32(text):
            return None
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, list) and record else None


class Writer:
    """Appends records; what the disk does not take waits in memory and `error` says why."""

    def __init__(self, path: Path) -> None:
        self.error: str | None = None
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._fd: int | None = None
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # says that it is being written
        except OSError as error:
            self.error = f"{path.name}: {error.strerror}"

    def add(self, record: list[Any]) -> None:
        line = encode(record)
        with self._lock:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting += line

    def flush(self, sync: bool = False) -> None:
        if self._fd is None:
            return
        with self._lock:
            try:
                while self._waiting:
                    del self._waiting[: os.write(self._fd, self._waiting)]
                if sync:
                    os.fsync(self._fd)
                self.error = None
            except OSError as error:  # a full disk may have room again later
                self.error = f"{NAME}: {error.strerror}"

    def rest(self) -> bytes:
        """What could not be written."""
        with self._lock:
            return bytes(self._waiting)


def being_written(path: Path) -> bool:
    """Whether a sampler still writes this log."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
    return False
