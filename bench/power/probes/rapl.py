"""Processor packages and memory through RAPL, as Linux's powercap tree shows it. Level M1.

Sums `package-*` and `dram`: core and uncore lie within the package, psys contains it, and
`intel-rapl-mmio` shows the same counters again. AMD's processors have package and core only.
`BENCH_POWERCAP_ROOT` names another tree, such as a host's that is mounted into a container.
Sources: the kernel's powercap documents; the gain of memory counters: Desrochers, Paradis and
Weaver, MEMSYS 2016, within 20 %.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

from bench.power import processor
from bench.power.probes import Domain, Reading, Refusal, Timed
from bench.power.processes import Tree

ROOT = "/sys/class/powercap"
_DEVICES = "/sys/devices/virtual/powercap"  # where the links of ROOT lead
_GAIN = {"cpu": 0.10, "dram": 0.20}
_MOST_W = 2000.0  # no package draws more: what would need more was no wrap
_SHORT_S = 0.1  # readings this close may be off by as much
_LEAST_RANGE_UJ = 65_532_610_987  # 2^32 units of 15.3 uJ: no known counter wraps sooner
_LOOKS, _MOVED_UJ = 20, 1000  # how long two counters are compared, and how far they move meanwhile
_ZONE = re.compile(r"intel-rapl:(\d+)(:\d+)?")  # intel-rapl-mmio mirrors it
_LOAD = "on metal: sudo modprobe intel_rapl_msr"


class Probe:
    kinds = ("cpu", "dram")

    def __init__(self, tree: Tree, argument: str = "") -> None:
        self._asked = argument or os.environ.get("BENCH_POWERCAP_ROOT", "")
        self._zones: list[_Zone] = []

    def why_not(self) -> Refusal | None:
        root = self._asked or ROOT
        if not os.path.isdir(root):
            return self._no_tree()
        closed: list[_Place] = []
        try:
            for place in _places(_with_zones(root)):
                try:
                    self._zones.append(_Zone(place))
                except PermissionError:
                    closed.append(place)
            self._zones = _without_mirrors(self._zones)
        except (OSError, ValueError) as error:
            return Refusal(f"the powercap tree can't be read: {error}", "sudo dmesg | grep -i rapl")
        except _Dangling as error:
            return Refusal(str(error), _MOUNT)
        if closed:
            return _only_roots(closed, len(closed) + len(self._zones))
        return None if self._zones else Refusal(f"{root} has no processor package", _LOAD)

    def _no_tree(self) -> Refusal:
        if self._asked:
            return Refusal(
                f"there is no folder {self._asked}",
                "export BENCH_POWERCAP_ROOT=FOLDER   (one that holds intel-rapl:0)",
            )
        return Refusal("no powercap tree: a virtual machine, or a kernel without RAPL", _LOAD)

    def domains(self) -> list[Domain]:
        return [zone.domain() for zone in self._zones]

    def read(self) -> list[Reading]:
        return [zone.read() for zone in self._zones]

    def close(self) -> None:
        for zone in self._zones:
            zone.close()


class _Place(NamedTuple):
    """Where a counter is and what it counts."""

    path: str
    name: str  # of the domain
    kind: str
    device: str

    @property
    def zone(self) -> str:
        return os.path.basename(self.path)


class _File:
    """A number in a file that is read again and again, kept open: opening it takes three times as
    long as reading. An open file outlives its removal and what replaces it, so one that shows
    nothing new is opened anew."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None
        self._last = b""

    def read(self) -> int:
        """OSError when the file is gone or closed to this user, ValueError when it holds anything
        but a whole line with a number: a writer may be at it, so it is looked at twice."""
        text = self._kept()
        if text == self._last or not _is_number(text):
            text = self._anew()
        if not _is_number(text):
            raise ValueError(f"it holds {text[:40]!r}, not a number")
        self._last = text
        return int(text)

    def _kept(self) -> bytes:
        if self._fd is None:
            return self._anew()
        try:
            return os.pread(self._fd, 64, 0)
        except OSError:  # its device was removed; another may be in its place
            return self._anew()

    def _anew(self) -> bytes:
        self.close()
        self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._fd, 64, 0)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _is_number(text: bytes) -> bool:
    return text.endswith(b"\n") and text[:-1].isdigit()


class _Zone:
    """One counter, unwrapped. A fall that no wrap explains is passed on as what it is."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        self.range_uj = _range_uj(place.path)
        self._file = _File(f"{place.path}/energy_uj")
        self._last_uj, self._last_s = self._file.read(), _now_s()
        self._wrapped_uj = 0
        self._lost: str | None = None
        self._timed = Timed()

    def domain(self) -> Domain:
        facts = {
            "power_limit_w": _MOST_W,
            "range_j": self.range_uj and self.range_uj / 1e6,
            "limits_w": _limits_w(self.place.path),
        }
        _, name, kind, device = self.place
        return Domain(name, kind, device, "M1", _GAIN[kind], facts=facts)

    def raw_uj(self) -> int:
        return self._file.read()

    def read(self) -> Reading:
        name = self.place.name
        try:
            energy_j, t_ns = self._timed(self._energy_j)
        except (OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            return Reading(name, time.monotonic_ns(), error=f"{self.place.zone}: {text}")
        if self._lost:
            return Reading(name, t_ns, error=self._lost)
        return Reading(name, t_ns, energy_j=energy_j, took_s=self._timed.took_s)

    def _energy_j(self) -> float:
        now_uj, now_s = self.raw_uj(), _now_s()
        moved_uj, since_s = now_uj - self._last_uj, now_s - self._last_s
        self._last_uj, self._last_s = now_uj, now_s
        self._wrapped_uj += self._wrap_uj(moved_uj, since_s)
        return (now_uj + self._wrapped_uj) / 1e6

    def _wrap_uj(self, moved_uj: int, since_s: float) -> int:
        """The range, where the counter went through its end once since the last reading; else 0.

        After so long that it may have done so once more, its energy is lost for good: nobody can
        tell how often it did.
        """
        range_uj = self.range_uj or _LEAST_RANGE_UJ
        least_uj = moved_uj if moved_uj >= 0 else moved_uj + range_uj
        most_uj = _MOST_W * 1e6 * max(_SHORT_S, since_s)
        if least_uj + range_uj <= most_uj:
            self._lost = (
                f"{self.place.zone} was not read for {since_s:.3g} s, and may have wrapped "
                "any number of times meanwhile"
            )
        wrapped = moved_uj < 0 and self.range_uj and 0 <= least_uj <= most_uj
        return range_uj if wrapped else 0

    def close(self) -> None:
        self._file.close()


def _now_s() -> float:
    """A clock that goes on in a suspended machine, as a counter may."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _range_uj(zone: str) -> int | None:
    """At what a counter starts again from zero; None where that is not told."""
    try:
        return _File(f"{zone}/max_energy_range_uj").read() or None
    except (FileNotFoundError, ValueError):
        return None


def _limits_w(zone: str) -> dict[str, float]:
    """The power limits that are set, by name: long_term, short_term."""
    found = {}
    for number in range(3):
        name = processor.text_of(f"{zone}/constraint_{number}_name")
        limit_uw = processor.text_of(f"{zone}/constraint_{number}_power_limit_uw")
        if name and limit_uw.isdigit():
            found[name] = int(limit_uw) / 1e6
    return found


# --- finding the counters


class _Dangling(Exception):
    """A link of the tree leads nowhere: what it stands for would go uncounted."""


def _with_zones(root: str) -> str:
    """The folder of the zones: given what holds that of the control types, the one below."""
    below = f"{root}/intel-rapl"
    inside = any(_ZONE.fullmatch(name) for name in os.listdir(root))
    return below if not inside and os.path.isdir(below) else root


def _places(root: str) -> Iterator[_Place]:
    """Every package, and every memory zone inside one."""
    taken: set[str] = set()
    name_of_cpu = processor.cpu_name()
    for zone in _listed(root, part_of=None):
        package = f"{root}/{zone}"
        label = _label(package)
        if not label.startswith("package-"):
            continue  # psys contains packages
        if label in taken:  # old kernels give the dies of a package one name
            label = f"{label}@{zone}"
        taken.add(label)
        yield _Place(package, f"cpu:{label}", "cpu", name_of_cpu)
        parts = {n: f"{where}/{n}" for where in (package, root) for n in _listed(where, zone)}
        for part in parts.values():
            if _label(part) == "dram":
                yield _Place(part, f"dram:{label}", "dram", "memory")


def _listed(folder: str, part_of: str | None) -> list[str]:
    """The names of the zones in a folder, in order: those at the top, or the parts of one."""
    numbers = {}
    for name in os.listdir(folder):
        match = _ZONE.fullmatch(name)
        if match and (name.rpartition(":")[0] if match[2] else None) == part_of:
            numbers[name] = int(name.rpartition(":")[2])
    return sorted(numbers, key=numbers.__getitem__)


def _label(zone: str) -> str:
    """What a zone calls itself; one that does not may be a package, and can't be left out."""
    if not os.path.exists(zone):
        raise _Dangling(f"{zone} leads nowhere: RAPL is masked here, or half of it is mounted")
    with open(f"{zone}/name", encoding="utf-8") as file:
        return file.read().strip()


def _without_mirrors(zones: list[_Zone]) -> list[_Zone]:
    """Some multi-die processors show one package's counter several times: keep it once."""
    kept: list[_Zone] = []
    for zone in zones:
        alike = [k for k in kept if (k.place.kind, k.range_uj) == (zone.place.kind, zone.range_uj)]
        if any(_is_mirror(zone, k) for k in alike):
            zone.close()
        else:
            kept.append(zone)
    return kept


def _is_mirror(zone: _Zone, other: _Zone) -> bool:
    """Whether one always reads between two looks at the other, while that moves."""
    began_uj = other.raw_uj()
    for _ in range(_LOOKS):
        before_uj, between_uj, after_uj = other.raw_uj(), zone.raw_uj(), other.raw_uj()
        if not before_uj <= between_uj <= after_uj:
            return False
        if after_uj > began_uj + _MOVED_UJ:
            return True
        time.sleep(0.01)
    return True  # equal to the last digit, and idle


# --- what mends it

_MOUNT = (
    f"docker run -v {_DEVICES}:/powercap:ro -e BENCH_POWERCAP_ROOT=/powercap …   "
    "(as root of the container, or with the files opened on the host)"
)


def _only_roots(closed: list[_Place], of: int) -> Refusal:
    names = ", ".join(p.name for p in closed)
    folders = dict.fromkeys(os.path.dirname(p.path) for p in closed)
    files = " ".join(f"{folder}/intel-rapl:*/energy_uj" for folder in folders)
    return Refusal(
        f"{len(closed)} of {of} RAPL counters are only root's to read ({names})",
        f"sudo chmod a+r {files}   (until the next boot; CVE-2020-8694)",
    )
