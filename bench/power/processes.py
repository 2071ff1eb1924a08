"""The process tree that is being metered: which processes, and their processor time."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_SCAN_S = 0.25  # how often new descendants are looked for
_FIRST = "pid:[4026531836]"  # the kernel's number for the namespace that all others are in
_CONTAINERS = ("/.dockerenv", "/run/.containerenv")


def all_seen() -> bool:
    """Whether every process of this machine is seen from here: not so from a namespace within
    another, as a container has one unless it is started with `--pid=host`."""
    try:
        return os.readlink("/proc/self/ns/pid") == _FIRST
    except OSError:  # it can't be told
        return not any(map(os.path.exists, _CONTAINERS))


class Tree:
    """A process and all its descendants; empty until `follow` names the root. Threads share it."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._lock = threading.RLock()
        self._members: dict[int, int] = {}  # pid -> start time, which tells a reused pid
        self._known: set[int] = set()
        self._seen: set[str] = set()  # all processes of the last scan: none of them joins later
        self._scanned_s = 0.0
        self._lost_ticks = 0  # of members that are gone and whose parent did not inherit the time
        self._last_ticks = self._before_ticks = 0

    def follow(self, pid: int) -> None:
        stat = self._stat(pid)
        with self._lock:
            self._members = {} if stat is None else {pid: stat[1]}
            self._known = set(self._members)
            self._seen = set()
            self._scan()
            self._lost_ticks = 0
            self._last_ticks = self._before_ticks = self._ticks()

    def __contains__(self, pid: int) -> bool:
        """Whether a process is or was one of the tree: a driver may name it when it has ended."""
        with self._lock:
            if pid not in self._known:
                self._scan()
            return pid in self._known

    def exists(self, pid: int) -> bool:
        return self._stat(pid) is not None

    def parent(self, pid: int) -> int | None:
        stat = self._stat(pid)
        return None if stat is None else stat[0]

    @property
    def followed(self) -> bool:
        return bool(self._members)

    def cpu_time_s(self) -> float:
        """Processor time of the tree since `follow`, children that ended included; never falls.

        A child that ended and was waited for is in its parent's `cutime`. When the sum falls all
        the same (nobody waited, or the root is gone), what is missing was spent and stays counted.
        """
        with self._lock:
            if time.monotonic() - self._scanned_s > _SCAN_S:
                self._scan()
            ticks = self._ticks()
            if ticks < self._last_ticks:  # waited for after its parent was looked at: look again
                ticks = self._ticks()
            self._lost_ticks += max(0, self._last_ticks - ticks)
            self._last_ticks = ticks
            return (ticks + self._lost_ticks - self._before_ticks) * _TICK_S

    def _ticks(self) -> int:
        return sum(self._member_ticks(pid) for pid in list(self._members))

    def _member_ticks(self, pid: int) -> int:
        stat = self._stat(pid)
        if stat is None or stat[1] != self._members[pid]:
            del self._members[pid]
            return 0
        return stat[2]

    def _scan(self) -> None:
        """Add the descendants: a process that is new and whose parent is a member."""
        self._scanned_s = time.monotonic()
        if not self._members:
            return
        children: dict[int, list[tuple[int, int]]] = {}
        there = {name for name in os.listdir(self._proc) if name.isdigit()}
        new, self._seen = there - self._seen, there
        for name in new:
            if stat := self._stat(int(name)):
                children.setdefault(stat[0], []).append((int(name), stat[1]))
        queue = list(self._members)
        while queue:
            for pid, start in children.get(queue.pop(), ()):
                if pid not in self._members:
                    self._members[pid] = start
                    self._known.add(pid)
                    queue.append(pid)

    def _stat(self, pid: int) -> tuple[int, int, int] | None:
        """(parent, start time, ticks of processor time with those of waited-for children)."""
        try:
            with open(f"{self._proc}/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b") ")[2].split()  # the name may hold anything
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        return int(fields[1]), int(fields[19]), sum(map(int, fields[11:15]))


def end_session() -> None:
    """Kill what else runs in this process's session: what its probes started and did not end."""
    own = os.getpid()
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if pid != own and os.getsid(pid) == own:
                os.kill(pid, signal.SIGKILL)
