"""Which records lie below a folder, and whether each is still the one that was read.

The answer is that of `record.folders`, at the cost of a `stat` a folder and a file: what a folder
holds is listed again only when the folder has changed.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

FILES = (b"record.json", b"entry.json")
SETTLED_NS = 2_000_000_000
"""How long ago a file must have changed for its times to tell it from the next change: two
within one tick of the file system's clock look alike, and the coarsest ticks are of 2 s."""

Key = bytes
"""An absolute path with NUL between its parts, which sorts as `Path` does: 'a/b' before 'a-b'."""

Stamp = int
"""Of the times, size and inode of a file: another whenever the file has changed. 0, which is that
of nothing known, as long as the file may yet change without it."""


class Folder(NamedTuple):
    """What a folder holds, as it was when it had this stamp."""

    stamp: Stamp
    files: bytes  # of FILES, NUL between them
    folders: bytes  # that are not hidden, NUL between them


@dataclass
class Scan:
    """`folders` are those that were listed anew."""

    folders: dict[Key, Folder] = field(default_factory=dict)
    gone: set[Key] = field(default_factory=set)  # known folders that are not there any more
    files: dict[bytes, dict[Key, Stamp]] = field(default_factory=lambda: {f: {} for f in FILES})

    def add(self, other: Scan) -> None:
        self.folders |= other.folders
        self.gone |= other.gone
        for name, found in other.files.items():
            self.files[name] |= found


def key(folder: Path) -> Key:
    return os.fsencode(os.path.realpath(folder)).rstrip(b"/").replace(b"/", b"\0")


def inside(folder: Path, root: Path) -> Key:
    """What is added to the root's key."""
    parts = folder.relative_to(root).parts
    return b"".join(b"\0" + os.fsencode(part) for part in parts)


def path(key: Key) -> bytes:
    return key.replace(b"\0", b"/") or b"/"


def below(root: Key) -> tuple[Key, Key]:
    """The first key of a root and what is below it, and the first that is not."""
    return root, root + b"\1"


def scan(root: Key, known: Mapping[Key, Folder]) -> Scan:
    """Of a root, by what is known of the folders below it (and of no others)."""
    found, gone = Scan(), set(known)
    settled_ns = time.time_ns() - SETTLED_NS
    waiting = [root]
    while waiting:
        at = waiting.pop()
        place = at.replace(b"\0", b"/") or b"/"  # `path`, a hundred thousand times
        stamp = _stamp(place, settled_ns, folder=True)
        if stamp is None:
            continue
        gone.discard(at)
        folder = known.get(at)
        if folder is None or not stamp or folder.stamp != stamp:
            folder = found.folders[at] = _listed(place, stamp)
        if folder.files:
            for name in folder.files.split(b"\0"):
                if (stamp := _stamp(place + b"/" + name, settled_ns)) is not None:
                    found.files[name][at] = stamp
        if folder.folders:
            waiting += [at + b"\0" + name for name in folder.folders.split(b"\0")]
    found.gone = gone
    return found


def _stamp(place: bytes, settled_ns: int, folder: bool = False) -> Stamp | None:
    """None where there is no such file. Among the times is that of the last change (ctime), which
    nobody can set."""
    try:
        s = os.lstat(place) if folder else os.stat(place)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    if folder and not stat.S_ISDIR(s.st_mode):
        return None
    if s.st_ctime_ns >= settled_ns or s.st_mtime_ns >= settled_ns:
        return 0
    return hash((s.st_ctime_ns, s.st_mtime_ns, s.st_ino, s.st_size))


def _listed(place: bytes, stamp: Stamp) -> Folder:
    """A folder that nobody may read holds nothing, and is asked again."""
    files, folders = [], []
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name in FILES:
                    files.append(entry.name)
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(b"."):
                    folders.append(entry.name)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return Folder(0, b"", b"")
    return Folder(stamp, b"\0".join(files), b"\0".join(folders))
