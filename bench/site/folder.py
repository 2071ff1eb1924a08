"""The site's folder: what was made of what, files that are written whole, one build at a time.

Nothing outside is touched: a link in the place of one of the site's folders is refused, and what
the memory says that cannot be a file of a site is forgotten.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bench.errors import UsageError

OURS = ".bench-site"
"""What the site's folder has beside pages begins so."""

MEMORY, LOCK, DRAFTS = f"{OURS}.json", f"{OURS}.lock", f"{OURS}-drafts"


class Made(NamedTuple):
    """A file as it was written: the key of its piece, and what its disk said of it."""

    key: str
    size: int
    mtime_ns: int


def check(out: Path) -> None:
    """UsageError where a site can't be: that is a folder of something else."""
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is no folder", "--out DIR names the site's")
    if (out / MEMORY).is_file():
        return
    if any(not path.name.startswith(OURS) for path in out.iterdir()):
        raise UsageError(f"{out} holds something else than a site", "--out names a new folder")


@contextmanager
def opened(out: Path, code: str, wait: Callable[[], None] = lambda: None) -> Iterator[Folder]:
    """For one build alone; `wait` is told where another one is at work."""
    check(out)
    out.mkdir(parents=True, exist_ok=True)
    lock = os.open(out / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    with closing(os.fdopen(lock, "w")):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Folder(out, code)
        try:
            yield folder
        finally:
            folder.close()


class Folder:
    """What is in it is known from the last build, however that has ended."""

    def __init__(self, out: Path, code: str) -> None:
        self._out, self._code = out, code
        self._known = _read(out / MEMORY, code)
        self._root = f"{out}/"  # to join texts is faster than paths, of which there are many
        self._plain = {""}  # folders in it that are no links
        self._drafts = out / DRAFTS
        _drop(self._drafts)
        self._drafts.mkdir()

    def close(self) -> None:
        self.save()
        _drop(self._drafts)

    def knows(self, file: str, key: str) -> bool:
        """Whether it was made of that, and lies there as it was written."""
        made = self._known.get(file)
        if made is None or made.key != key:
            return False
        try:
            found = os.lstat(self._root + file)
        except OSError:
            return False
        same = (found.st_size, found.st_mtime_ns) == (made.size, made.mtime_ns)
        return same and stat.S_ISREG(found.st_mode)

    def expect(self, files: Iterable[str]) -> None:
        """These will be written: should the build be killed, they are known to be the site's."""
        for file in files:
            self._known[file] = Made("", 0, 0)
        self.save()

    def keep(self, file: str, made: Made) -> None:
        self._known[file] = made

    def write(self, file: str, content: str | bytes) -> tuple[bool, int, int]:
        """Whole or not at all. Whether the file was another, or none; size and mtime_ns."""
        data = content.encode("utf-8", "replace") if isinstance(content, str) else content
        path = self._root + file
        self._enter(file.rpartition("/")[0])
        if not (same := _holds(path, data)):
            draft = self._drafts / str(os.getpid())
            draft.write_bytes(data)
            os.replace(draft, path)
        found = os.lstat(path)
        return not same, found.st_size, found.st_mtime_ns

    def remove_all_but(self, wanted: set[str]) -> int:
        """What earlier builds have made, and folders that are empty then."""
        gone = [file for file in self._known if file not in wanted]
        for file in gone:
            path = self._out / file
            if self._is_inside(path.parent):
                path.unlink(missing_ok=True)
                self._prune(path.parent)
            del self._known[file]
        return len(gone)

    def save(self) -> None:
        known = {"code": self._code, "files": self._known}
        text = json.dumps(known, separators=(",", ":"), sort_keys=True)  # indenting is slow
        self.write(MEMORY, text + "\n")

    def _enter(self, folder: str) -> None:
        """Make it, and see that it is in the site's folder."""
        if folder in self._plain:
            return
        self._enter(folder.rpartition("/")[0])
        path = self._out / folder
        path.mkdir(exist_ok=True)
        if path.is_symlink():
            raise UsageError(f"{path} is a link, and a site has none", "remove it")
        self._plain.add(folder)

    def _is_inside(self, folder: Path) -> bool:
        """Whether it is there, and no link leads out of the site's folder."""
        if folder == self._out:
            return True
        return self._is_inside(folder.parent) and folder.is_dir() and not folder.is_symlink()

    def _prune(self, folder: Path) -> None:
        while folder != self._out and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def _read(path: Path, code: str) -> dict[str, Made]:
    """Of a site that other code has made, only which files it has."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        known = {file: Made(*made) for file, made in said["files"].items() if _is_a_page(file)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    if said.get("code") != code:
        return {file: Made("", 0, 0) for file in known}
    return known


def _is_a_page(file: str) -> bool:
    """Whether a memory that somebody else may have written names a file of a site."""
    parts = PurePosixPath(file).parts
    return bool(parts) and not any(part.startswith(("/", ".")) for part in parts)


def _holds(path: str, data: bytes) -> bool:
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size != len(data):
            return False
        return Path(path).read_bytes() == data
    except OSError:
        return False


def _drop(folder: Path) -> None:
    """What a build that was killed has left."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
