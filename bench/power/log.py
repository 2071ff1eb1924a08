"""The log of a sampler: append-only lines, each checked, so that what was written can be read.

A line is the CRC-32 of its text in hex, a space, and one JSON array whose first item is its kind:

    ["head", version, facts]                 once, first
    ["domain", index, domain]                before its readings
    ["r", reading, ...]                      what one look at a probe gave
    ["clock", monotonic_ns, realtime_ns, boottime_ns]     once a second
    ["mark", t_ns, id, message, domain, value]

A reading is [index, t_ns, power_w, energy_j, utilisation, clock_mhz, temperature_c, error], or the
first four of these where the others are null. In version 1 an "r" line held one reading, not in a
list of its own. Kinds that are not listed, such as older logs have, are passed over.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import zlib
from typing import Any

VERSION = 2
NAME = "trace.log"
_MOST_WAITING = 64 << 20  # bytes kept in memory while the disk takes none
_LENGTH = 8  # of a whole reading
_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode(record: list[Any]) -> bytes:
    text = _to_json(record).encode()
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


def readings(record: list[Any]) -> list[list[Any]]:
    """The readings of an "r" record of any version, each at its full length."""
    several = record[1:] if isinstance(record[1], list) else [record[1:]]
    return [[*reading, *[None] * (_LENGTH - len(reading))] for reading in several]


class Writer:
    """Appends records; what the disk does not take waits in memory and `error` says why.

    One thread writes. A write that never comes back holds up that thread alone, and keeps no more
    than what it was to write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.error: str | None = None
        self.full = False  # the memory is full too: readings were lost
        self._waiting = bytearray()
        self._fd: int | None = None
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # says that it is being written
        except OSError as error:
            self.error = f"{NAME}: {error.strerror}"

    def add(self, record: list[Any]) -> None:
        if len(self._waiting) > _MOST_WAITING and record[0] == "r":
            self.full = True
        else:
            self._waiting += encode(record)

    def flush(self, sync: bool = False) -> None:
        if self._fd is None:
            return
        data, self._waiting = self._waiting, bytearray()
        try:
            while data:
                del data[: os.write(self._fd, data)]
            if sync:
                os.fsync(self._fd)
            self.error = None
        except OSError as error:  # a full disk may have room again later
            self.error = f"{NAME}: {error.strerror}"
            self._waiting = data + self._waiting

    def rest(self) -> bytes:
        """What could not be written."""
        return bytes(self._waiting)


def being_written(path: str | os.PathLike[str]) -> bool:
    """Whether a sampler still writes this log."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
    return False
