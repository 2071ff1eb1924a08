"""Processor packages and memory through RAPL, as Linux's powercap tree shows it. Level M1.

Sums `package-*` and `dram`: core and uncore lie within the package, psys contains it, and
`intel-rapl-mmio` shows the same counters again. `BENCH_POWERCAP_ROOT` names another tree, such as
a host's that is mounted into a container. Sources: the kernel's powercap documents; the gain of
memory counters: Desrochers, Paradis and Weaver, MEMSYS 2016, within 20 %.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.power import machine
from bench.power.probes import Domain, Reading, Refusal, Timed
from bench.power.processes import Tree

ROOT = "/sys/class/powercap"
_GAIN = {"cpu": 0.10, "dram": 0.20}
_MOST_W = 2000.0  # no package draws more: what would need more was no wrap
_LOOKS, _MOVED_UJ = 20, 1000  # how long two counters are compared, and how far they move meanwhile


class _Zone:
    """One counter, unwrapped. A fall that no wrap explains is passed on as what it is."""

    def __init__(self, path: Path, name: str, kind: str, device: str) -> None:
        self.path = path
        self.name = name
        self.kind = kind
        self.device = device
        self.range_uj = int((path / "max_energy_range_uj").read_text())
        self._last_uj = self.raw_uj()
        self._last_s = time.monotonic()
        self._wraps = 0
        self._timed = Timed()

    def raw_uj(self) -> int:
        return int((self.path / "energy_uj").read_text())

    def energy_j(self) -> float:
        now_uj, now_s = self.raw_uj(), time.monotonic()
        wrapped_uj = now_uj + self.range_uj - self._last_uj
        if now_uj < self._last_uj and wrapped_uj <= _MOST_W * 1e6 * max(0.1, now_s - self._last_s):
            self._wraps += 1
        self._last_uj, self._last_s = now_uj, now_s
        return (now_uj + self._wraps * self.range_uj) / 1e6

    def read(self) -> Reading:
        try:
            energy_j, t_ns = self._timed(self.energy_j)
        except (OSError, ValueError) as error:
            return Reading(self.name, time.monotonic_ns(), error=f"{self.path.name}: {error}")
        return Reading(self.name, t_ns, energy_j=energy_j)


class Probe:
    kinds = ("cpu", "dram")

    def __init__(self, tree: Tree, argument: str = "") -> None:
        self._root = Path(argument or os.environ.get("BENCH_POWERCAP_ROOT", ROOT))
        self._zones: list[_Zone] = []

    def why_not(self) -> Refusal | None:
        if not self._root.is_dir():
            return Refusal("no powercap tree: a virtual machine, or a kernel without RAPL",
                           "on metal: sudo modprobe intel_rapl_msr")  # fmt: skip
        try:
            self._zones = _without_mirrors(_zones(self._root))
        except PermissionError:
            return Refusal(f"RAPL's counters under {self._root} are only root's to read", _MEND)
        except (OSError, ValueError) as error:
            return Refusal(f"the powercap tree can't be read: {error}", "sudo dmesg | grep -i rapl")
        if not self._zones:
            return Refusal(f"{self._root} has no processor package",
                           "on metal: sudo modprobe intel_rapl_msr")  # fmt: skip
        return None

    def domains(self) -> list[Domain]:
        return [
            Domain(z.name, z.kind, z.device, "M1", _GAIN[z.kind], facts={"power_limit_w": _MOST_W})
            for z in self._zones
        ]

    def read(self) -> list[Reading]:
        return [zone.read() for zone in self._zones]

    def close(self) -> None:
        return None


_MEND = (
    "sudo chmod -R a+r /sys/class/powercap/intel-rapl:*/energy_uj "
    "/sys/class/powercap/intel-rapl:*/intel-rapl:*/energy_uj   (until the next boot; CVE-2020-8694)"
)


def _zones(root: Path) -> list[_Zone]:
    """Every package, and every memory zone inside one."""
    found = []
    for package in sorted(root.glob("intel-rapl:*")):
        label = _name(package)
        if package.name.count(":") != 1 or not label.startswith("package-"):
            continue  # psys contains packages; sub-zones are listed at the top as well
        found.append(_Zone(package, f"cpu:{label}", "cpu", machine.cpu_name()))
        for part in sorted(package.glob(f"{package.name}:*")):
            if _name(part) == "dram":
                found.append(_Zone(part, f"dram:{label}", "dram", "memory"))
    return found


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except FileNotFoundError:
        return ""


def _without_mirrors(zones: list[_Zone]) -> list[_Zone]:
    """Some multi-die processors show one package's counter several times: keep it once."""
    kept: list[_Zone] = []
    for zone in zones:
        twins = [k for k in kept if k.kind == zone.kind and k.range_uj == zone.range_uj]
        if not any(_is_mirror(zone, k) for k in twins):
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
