"""Lower power limits of GPUs while something runs, put back however that ends.

They are changed by who asks for it (NVML wants an administrator), after a small process was started
that puts them back when its input closes, which is what happens to the input of who is killed. If
that process is lost, who asked puts them back. If both are, the next that runs here does: what the
limits were is in a file as long as they are others, and both hold a lock on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError, UsageError
from bench.power import gpus, nvml
from bench.power.keeper import beside
from bench.power.nvml import Library, NvmlError

_START_S = 15.0  # for the process in between, which has to open the GPUs
_READY = b"ready\n"
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # what was set before a boot is no more


def check(uuid: str) -> None:
    """UsageError where this user may not change a GPU's limit.

    There is no question for that: the limit is set to what it is.
    """
    try:
        with _opened() as library:
            _set(library, uuid, _now_mw(library, uuid))
    except NvmlError as error:
        if error.code != nvml.NO_PERMISSION:
            raise UsageError(f"{uuid} takes no power limit: {error}", "bench doctor") from None
        raise UsageError(
            f"only an administrator may change the power limit of {uuid} ({error})",
            'sudo -E env "PATH=$PATH" bench run ...   (in a container: docker run --cap-add '
            "SYS_ADMIN, as root)",
        ) from None


@contextmanager
def held(limits_w: Mapping[str, float]) -> Iterator[None]:
    """Hold GPUs, by UUID, to these limits in watts; as they were afterwards."""
    if not limits_w:
        yield
        return
    with _opened() as library:
        try:
            before = {uuid: _now_mw(library, uuid) for uuid in limits_w}
        except NvmlError as error:
            raise BenchError(f"no power limit is changed: {error}") from None
        with _noted(before) as (note, lock), _guarded(note, lock):
            try:
                _set_all(library, limits_w)
                yield
            finally:
                _put_back(library, before)
                note.unlink(missing_ok=True)


def put_back_left() -> list[str]:
    """Put back what nobody could who was killed here: the GPUs, by UUID."""
    found: list[str] = []
    for note in sorted(_folder().glob(f"power-limit-{_boot()}-*.json")):
        with contextlib.suppress(OSError), note.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else they are held still
            text = file.read()
            before = json.loads(text) if text else {}  # killed before it was written: nothing set
            with _opened() as library:
                _put_back(library, before)
            note.unlink()
            found += before
    return found


@contextmanager
def _opened() -> Iterator[Library]:
    try:
        library = Library()
    except OSError:
        raise BenchError(
            f"the NVIDIA driver's library ({nvml.LIBRARY}) can't be loaded", nvml.mending(12)
        ) from None
    try:
        yield library
    finally:
        with contextlib.suppress(NvmlError):
            library.close()


def _handle(library: Library, uuid: str) -> nvml.Handle:
    return library.handle("nvmlDeviceGetHandleByUUID", uuid.encode())


def _now_mw(library: Library, uuid: str) -> int:
    return library.number("nvmlDeviceGetPowerManagementLimit", _handle(library, uuid))


def _set(library: Library, uuid: str, milliwatts: int) -> None:
    library("nvmlDeviceSetPowerManagementLimit", _handle(library, uuid), milliwatts)


def _set_all(library: Library, limits_w: Mapping[str, float]) -> None:
    for uuid, watts in limits_w.items():
        try:
            _set(library, uuid, round(watts * 1e3))
        except NvmlError as error:
            raise BenchError(
                f"a power limit of {watts:g} W can't be set on {uuid}: {error}"
            ) from None
    gpus.look_again()


def _put_back(library: Library, before: Mapping[str, int]) -> None:
    """Each, though one may fail; BenchError then."""
    failed = []
    for uuid, milliwatts in before.items():
        try:
            if _now_mw(library, uuid) != milliwatts:
                _set(library, uuid, milliwatts)
        except NvmlError as error:
            failed.append(f"sudo nvidia-smi -i {uuid} -pl {milliwatts / 1e3:g}   ({error})")
    gpus.look_again()
    if failed:
        raise BenchError("a GPU's power limit could not be put back", "; ".join(failed))


# --- what they were, for who comes later


def _folder() -> Path:
    named = os.environ.get("XDG_STATE_HOME")
    return Path(named or "~/.local/state").expanduser() / "wattbench"


def _boot() -> str:
    """This boot of this machine, whose name is in a note's: others share the folder."""
    return _BOOT.read_text(encoding="ascii").strip()


@contextmanager
def _noted(before: Mapping[str, int]) -> Iterator[tuple[Path, int]]:
    """A file of it, and the descriptor that it is locked with."""
    note = _folder() / f"power-limit-{_boot()}-{os.getpid()}.json"
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        file = note.open("w", encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"no power limit is changed: what it was can't be kept in {note.parent} "
            f"({error.strerror})"
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(before, file)
        file.flush()
        os.fsync(file.fileno())
        yield note, file.fileno()


# --- the process in between


@contextmanager
def _guarded(note: Path, lock: int) -> Iterator[None]:
    """With a process that puts the limits back when this one is gone."""
    with beside("limit", str(note), pass_fds=[lock]) as said:
        answered = select.select([said], [], [], _START_S)[0]
        if not answered or said.readline() != _READY:
            raise BenchError("no power limit is changed: what puts it back could not be started")
        yield


def main() -> None:
    """Started by `_guarded`, with the file that tells what the limits were."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    note = Path(sys.argv[1])
    before = json.loads(note.read_bytes())
    with _opened() as library:  # meanwhile the driver is in use, or it may forget limits
        for uuid in before:
            _handle(library, uuid)
        os.write(1, _READY)
        while os.read(0, 1):
            pass
        if note.exists():  # else they are back
            _put_back(library, before)
            note.unlink(missing_ok=True)
