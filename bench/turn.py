"""One metered run at a time on a machine: what runs beside it would be in its energy.

The turn is a lock (`flock`) on a file that every user of the machine may open and none can write.
It ends with the process that holds it, however that dies. Who holds it, the kernel says.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from bench.power.processes import Tree

VARIABLE = "BENCH_LOCK"
"""Names the file, where /run/lock and /tmp are not the same to all users; empty: no turns."""

_HOLDER = "BENCH_TURN"  # in the environment of what the holder starts: its process
_NAME = "bench-metering.lock"


@contextmanager
def taken(wait: bool = True, tell: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the machine's turn. Where another run has it: `tell` for whom, and wait, or BenchError.

    What is started by a run that has it is a part of that run, and waits for nothing. A file that
    can't be trusted is told, and no turn is held.
    """
    if (path := _path()) is None:
        yield
        return
    try:
        file, inside = _locked(path, wait, tell)
    except OSError as error:
        tell(f"warning: no turn can be taken at {path} ({error.strerror}): another run may be "
             f"metered at the same time; {VARIABLE} names another file")  # fmt: skip
        yield
        return
    try:
        before = os.environ.get(_HOLDER)
        if not inside:
            os.environ[_HOLDER] = str(os.getpid())
        try:
            yield
        finally:
            _restore(before)
    finally:
        os.close(file)


def _restore(before: str | None) -> None:
    if before is None:
        os.environ.pop(_HOLDER, None)
    else:
        os.environ[_HOLDER] = before


def _path() -> Path | None:
    """The same for all users of a machine."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    shared = next((p for p in ("/run/lock", "/tmp") if _is_everybodys(p)), "/tmp")
    return Path(shared) / _NAME


def _is_everybodys(folder: str) -> bool:
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return False
    return mode & 0o1777 == 0o1777


def _open(path: Path) -> int:
    """The file, made where there is none. OSError for a link, and for what is no plain file: it
    may be a trap of another user."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        file = os.open(path, flags)
    except FileNotFoundError:
        try:
            file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o444)
            os.fchmod(file, 0o444)  # whatever the umask
        except FileExistsError:  # another was quicker
            file = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(0, "it is no plain file")
    return file


def _locked(path: Path, wait: bool, tell: Callable[[str], None]) -> tuple[int, bool]:
    """The file, and whether the turn is that of a process that this one descends from."""
    while True:
        file = _open(path)
        try:
            inside = not _lock(file, wait, tell)
            if inside or _is_at(path, file):
                return file, inside
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # it was removed meanwhile: others would lock a new one


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(file))
    except FileNotFoundError:
        return False


def _lock(file: int, wait: bool, tell: Callable[[str], None]) -> bool:
    """Take the turn; False where a process that this one descends from has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(file)
        if {holder, _announced()} & set(_ancestors()):
            return False
        if not wait:
            raise BenchError(
                f"{_name(holder)} is metered on this machine",
                "leave out --no-wait, and this one begins when that has ended",
            ) from None
        tell(f"waiting until {_name(holder)}, which is metered on this machine, has ended")
        fcntl.flock(file, fcntl.LOCK_EX)
    return True


def _holder(file: int) -> int | None:
    """The process that holds the lock, as far as the kernel tells."""
    status = os.fstat(file)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    wanted = f"{device}:{status.st_ino}"
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for words in map(str.split, lines):
        if words[1] == "FLOCK" and words[5] == wanted:
            return int(words[4])
    return None


def _announced() -> int | None:
    """The holder by the environment that it gave: where /proc/locks does not name it."""
    text = os.environ.get(_HOLDER, "")
    return int(text) if text.isdecimal() else None


def _ancestors() -> Iterator[int]:
    """The processes that this one descends from, and itself."""
    tree, pid = Tree(), os.getpid()
    while pid:
        yield pid
        pid = tree.parent(pid) or 0


def _name(pid: int | None) -> str:
    """A process for people: its number, its user, what it was asked."""
    if not pid:
        return "another run"
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return f"process {pid}"
    asked = shlex.join(w for w in words[1:] if w)  # without the interpreter
    shown = "".join(c if c.isprintable() else "?" for c in asked)[:100]
    return f"process {pid} of {_user(uid)} ({shown})"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
