"""Simulated meters, below the interface of their drivers: NVML as a C library, RAPL as a tree.

library = build_nvml(tmp_path)
boards = [SimulatedGpu.of("h100", Square(100, 400, 0.5)), SimulatedGpu(Recorded("watts.csv"))]
gpus = SimulatedGpus(tmp_path / "nvml.conf", library, boards)
subprocess.run([...], env={**os.environ, **gpus.environment()})
gpus.energy_j(0, start_ns, stop_ns)        # the truth

with SimulatedRapl(tmp_path / "powercap", {"package-0": Constant(60)}) as rapl:
    ... env={**os.environ, **rapl.environment()}
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bench.power.probes.nvml import GAIN

if TYPE_CHECKING:
    from bench.record import DomainEnergy

FOREVER = 1e9


# --- power as a function of time, with its integral


@dataclass(frozen=True)
class Constant:
    watts: float

    def power_w(self, t: float) -> float:
        return self.watts

    def energy_j(self, t: float) -> float:
        return self.watts * t

    def __str__(self) -> str:
        return f"constant {self.watts}"


@dataclass(frozen=True)
class Square:
    """`high` in the first half of each period, `low` in the second."""

    low: float
    high: float
    period_s: float

    def power_w(self, t: float) -> float:
        return self.high if t / self.period_s % 1 < 0.5 else self.low

    def energy_j(self, t: float) -> float:
        whole, part = divmod(t / self.period_s, 1)
        inside = self.high * min(part, 0.5) + self.low * max(0.0, part - 0.5)
        return (whole * (self.low + self.high) / 2 + inside) * self.period_s

    def __str__(self) -> str:
        return f"square {self.low} {self.high} {self.period_s}"


@dataclass(frozen=True)
class Ramp:
    """A saw tooth."""

    first: float
    last: float
    period_s: float

    def power_w(self, t: float) -> float:
        return self.first + (self.last - self.first) * (t / self.period_s % 1)

    def energy_j(self, t: float) -> float:
        whole, part = divmod(t / self.period_s, 1)
        inside = self.first * part + (self.last - self.first) * part**2 / 2
        return (whole * (self.first + self.last) / 2 + inside) * self.period_s

    def __str__(self) -> str:
        return f"ramp {self.first} {self.last} {self.period_s}"


@dataclass(frozen=True)
class Recorded:
    """Lines of `t,watts` in a file: linear in between, again from the start at the end."""

    path: str

    def power_w(self, t: float) -> float:
        return self._at(t)[0]

    def energy_j(self, t: float) -> float:
        return self._at(t)[1]

    def _at(self, t: float) -> tuple[float, float]:
        times, watts, sums = _recorded(self.path)
        whole, part = divmod(t, times[-1])
        k = min(bisect_right(times, part), len(times) - 1) - 1
        share = (part - times[k]) / (times[k + 1] - times[k])
        power_w = watts[k] + (watts[k + 1] - watts[k]) * share
        inside = sums[k] + (watts[k] + power_w) / 2 * (part - times[k])
        return power_w, whole * sums[-1] + inside

    def __str__(self) -> str:
        return f"recorded {self.path}"


@lru_cache
def _recorded(path: str) -> tuple[list[float], list[float], list[float]]:
    """Times from 0, watts, and the joules up to each time."""
    rows = [line.split(",") for line in Path(path).read_text().splitlines()]
    points = [(float(t), float(w)) for t, w in rows if t[:1].isdigit()]
    times = [t - points[0][0] for t, _ in points]
    watts = [w for _, w in points]
    parts = [
        (watts[k] + watts[k + 1]) / 2 * (times[k + 1] - times[k]) for k in range(len(times) - 1)
    ]
    return times, watts, list(accumulate(parts, initial=0.0))


Curve = Constant | Square | Ramp | Recorded


def _curve(kind: str, *rest: str) -> Curve:
    """The curve whose text was split at its spaces."""
    if kind == "recorded":
        return Recorded(" ".join(rest))
    kinds: dict[str, Callable[..., Curve]] = {
        "constant": Constant, "square": Square, "ramp": Ramp,
    }  # fmt: skip
    return kinds[kind](*map(float, rest))


# --- NVML


def build_nvml(folder: Path, without: Sequence[str] = ()) -> Path:
    """Compile the stand-in for libnvidia-ml.so.1 into `folder`; skip, aloud, with no compiler.

    `without` names functions that the library lacks, as that of an old driver does.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        import pytest  # not at the top: the writer of a simulated tree has to be there at once

        pytest.skip("no C compiler: the simulated NVML can't be built")
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml_sim.c")
    command = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    command += [f"-D{name}=absent_{name}" for name in without]
    subprocess.run([*command, "-o", str(library), str(source), "-lm"], check=True)
    return library


@dataclass
class SimulatedGpu:
    """A board. Times are seconds after the boot of the simulation.

    A fault is (kind, from, to[, value[, function]]); nvml_sim.c lists the kinds. `of` makes the
    boards of a generation. By default the registers of power are ideal.
    """

    curve: Curve = field(default_factory=lambda: Constant(100.0))
    name: str = "NVIDIA H100 80GB HBM3"
    tick_s: float = 0.1  # of the counter
    refresh_s: float = 0.0  # the registers of power are renewed so often
    fields: bool = True  # fields 185, 186 and 191 exist
    counter: bool = True
    mig: bool | None = False  # None: not supported, as for ecc and persistence
    limit_w: float = 700.0
    uuid: str = ""
    processes: list[tuple[int, float, float]] = field(default_factory=list)
    faults: list[tuple[str | float, ...]] = field(default_factory=list)
    window_s: float = 0.0  # field 186 is the mean over so long before it was renewed
    average_s: float = 0.0  # field 185 and PowerUsage are; 0: the same as field 186
    noise_w: float = 0.0  # standard deviation
    gain: float = 1.0  # of power
    counter_gain: float = 1.0
    tick_phase_s: float = 0.0
    tick_jitter_s: float = 0.0
    refresh_phase_s: float = 0.0
    start_j: float = 0.0  # what the counter read at boot
    arch: int = 9  # NVML's number: 4 Pascal, 5 Volta, 6 Turing, 7 Ampere, 8 Ada, 9 Hopper
    limits_w: tuple[float, float, float] | None = None  # default, least, most
    clocks_mhz: tuple[int, int, int, int] = (1410, 2619, 1980, 2619)  # SM, memory, most of both
    temperature_c: float = 55.0
    reasons: int = 0  # clock event reasons, a mask
    ecc: bool | None = True
    persistence: bool | None = True
    parts: list[tuple[str, int, int, int]] = field(
        default_factory=list
    )  # MIG: UUID, gi, ci, slices
    present: tuple[float, float] | None = None  # enumerated in this time alone, lost outside it
    pci: str = ""
    chip: str = "2330"  # PCI device id, hex
    more: list[str] = field(default_factory=list)  # further lines of the file
    memory_bytes: int = 85_520_809_984
    settable: Path | None = None  # the file of the limits that were set, in mW; None: nobody may

    @classmethod
    def of(cls, generation: str, curve: Curve, **other: Any) -> SimulatedGpu:
        """A board with the registers of its generation: p100, v100, t4, a100, rtx3090, h100,
        h200."""
        return cls(curve, **{**_GENERATIONS[generation], **other})

    def lines(self) -> list[str]:
        """What describes the board in the library's file."""
        default_w, least_w, most_w = self.limits_w or (self.limit_w, self.limit_w / 4, self.limit_w)
        tristates = {"mig": self.mig, "ecc": self.ecc, "persistence": self.persistence}
        lines = [
            f"name {self.name}", f"uuid {self.uuid}", f"{self.curve}", f"arch {self.arch}",
            f"tick {self.tick_s} {self.tick_phase_s} {self.tick_jitter_s}",
            f"refresh {self.refresh_s} {self.refresh_phase_s}", f"window {self.window_s}",
            f"average {self.average_s}", f"noise {self.noise_w}",
            f"gain {self.gain} {self.counter_gain}", f"start {self.start_j}",
            f"fields {int(self.fields)}", f"counter {int(self.counter)}",
            f"limit {self.limit_w} {default_w} {least_w} {most_w}",
            f"clocks {' '.join(map(str, self.clocks_mhz))}", f"temperature {self.temperature_c}",
            f"reasons {self.reasons}", f"memory {self.memory_bytes}", f"chip {self.chip}",
            *self.more,
        ]  # fmt: skip
        lines += [f"{key} {-1 if on is None else int(on)}" for key, on in tristates.items()]
        lines += [f"settable {self.settable}"] if self.settable else []
        lines += [f"pci {self.pci}"] if self.pci else []
        lines += [f"present {self.present[0]} {self.present[1]}"] if self.present else []
        for key, several in (("process", self.processes), ("fault", self.faults),
                             ("part", self.parts)):  # fmt: skip
            lines += [f"{key} {' '.join(map(str, one))}" for one in several]  # type: ignore
        return lines


# How boards of a generation read: refresh and window of the instant register after Yang, Adamek
# and Armour, arXiv 2312.02741; the 1 s average after NVML's header. Limits and memory as published.
# The H200 as it was met, with driver 580.159: it takes its time to say what its counter reads.
_OLD = {"fields": False, "mig": None, "refresh_s": 0.02, "window_s": 0.01}
_GENERATIONS: dict[str, dict[str, Any]] = {
    "p100": {
        **_OLD, "name": "Tesla P100-PCIE-16GB", "arch": 4, "chip": "15f8", "limit_w": 250.0,
        "counter": False,
    },
    "v100": {**_OLD, "name": "Tesla V100-SXM2-16GB", "arch": 5, "chip": "1db1", "limit_w": 300.0},
    "t4": {
        "name": "Tesla T4", "arch": 6, "chip": "1eb8", "limit_w": 70.0, "fields": False,
        "mig": None, "refresh_s": 0.1, "window_s": 0.1,
    },
    "a100": {
        "name": "NVIDIA A100-SXM4-80GB", "arch": 7, "chip": "20b2", "limit_w": 400.0,
        "refresh_s": 0.1, "window_s": 0.025,
    },
    "rtx3090": {
        "name": "NVIDIA GeForce RTX 3090", "arch": 7, "chip": "2204", "limit_w": 350.0,
        "mig": None, "ecc": None, "refresh_s": 0.1, "window_s": 0.1, "average_s": 1.0,
    },
    "h100": {"refresh_s": 0.1, "window_s": 0.025, "average_s": 1.0},
    "h200": {
        "name": "NVIDIA H200", "chip": "2335", "memory_bytes": 150_754_820_096,
        "refresh_s": 0.1, "window_s": 0.025, "average_s": 1.0,
        "more": ["latency 0.0025 0.015"],
    },
}  # fmt: skip


@dataclass
class SimulatedGpus:
    """Boards behind the stand-in library; `boot_s` is CLOCK_MONOTONIC at their origin."""

    config: Path
    library: Path
    gpus: Sequence[SimulatedGpu]
    boot_s: float = field(default_factory=time.monotonic)
    init_code: int = 0
    seed: int = 1  # of noise and jitter
    driver: str = "570.86.15"

    def __post_init__(self) -> None:
        for i, gpu in enumerate(self.gpus):
            gpu.uuid = gpu.uuid or f"GPU-{i + 1:08x}-5eed-4000-8000-{i + 1:012x}"
        self.write()

    def write(self) -> None:
        lines = [
            f"count {len(self.gpus)}", f"boot {self.boot_s!r}", f"init {self.init_code}",
            f"seed {self.seed}", f"driver {self.driver}",
        ]  # fmt: skip
        lines += [f"{i} {line}" for i, gpu in enumerate(self.gpus) for line in gpu.lines()]
        self.config.write_text("\n".join(lines) + "\n")

    def environment(self) -> dict[str, str]:
        """What a process needs to see these boards."""
        path = [str(self.library.parent), os.environ.get("LD_LIBRARY_PATH", "")]
        return {"NVML_SIM": str(self.config), "LD_LIBRARY_PATH": ":".join(filter(None, path))}

    def now_s(self) -> float:
        """Seconds since the boot of the simulation: what faults are timed in."""
        return time.monotonic() - self.boot_s

    def energy_j(self, index: int, start_ns: int, stop_ns: int) -> float:
        """The truth: joules of a board between two instants of CLOCK_MONOTONIC."""
        return _between(self.gpus[index].curve, start_ns, stop_ns, self.boot_s)

    def domain(self, index: int) -> str:
        return f"gpu:{self.gpus[index].uuid}"


def agrees(energy: DomainEnergy, truth_j: float, rel: float) -> bool:
    """Whether an NVML energy is right, within `rel` or what it says that its edges leave open: on a
    busy machine few readings lie thick, and the counter's tick may stay unknown."""
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    edges_j = math.sqrt(max(0.0, energy.uncertainty_j**2 - (GAIN * energy.energy_j) ** 2))
    return abs(energy.energy_j - truth_j) <= max(rel * truth_j, edges_j)


def _between(curve: Curve, start_ns: int, stop_ns: int, boot_s: float) -> float:
    return curve.energy_j(stop_ns / 1e9 - boot_s) - curve.energy_j(start_ns / 1e9 - boot_s)


# --- RAPL


@dataclass
class SimulatedRapl:
    """A powercap tree that a process keeps writing, as the hardware would.

    `zones` names each zone by its path of names, such as `package-0`, `package-0/dram`,
    `package-0/core`, `psys`, `mmio/package-0`.
    """

    root: Path
    zones: dict[str, Curve]
    range_uj: int = 262_143_328_850
    start_uj: int = 1_000_000
    tick_s: float = 0.004
    boot_s: float = field(default_factory=time.monotonic)
    mirrors: dict[str, str] = field(default_factory=dict)  # zone -> whose counter it shows
    longest_pause_s: float = 0.0  # of the writer, known when it has ended
    _writer: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        tops = 0
        parents: dict[str, Path] = {}
        children: dict[str, int] = {}
        self.paths: dict[str, Path] = {}
        for zone in self.zones:
            *above, name = zone.split("/")
            if above and above[0] != "mmio":
                place = parents[above[0]]
                number = children.get(above[0], 0)
                children[above[0]] = number + 1
                path = place / f"{place.name}:{number}"
            else:
                path = (
                    self.root / f"intel-rapl{'-mmio' if above else ''}:{tops if not above else 0}"
                )
                tops += not above
                parents[zone] = path
            path.mkdir(parents=True)
            (path / "name").write_text(name + "\n")
            (path / "max_energy_range_uj").write_text(f"{self.range_uj}\n")
            self.paths[zone] = path
        for zone, original in self.mirrors.items():
            (self.paths.pop(zone) / "energy_uj").symlink_to(self.paths[original] / "energy_uj")
        self._write_once()

    def counter_uj(self, zone: str, t: float) -> int:
        return (self.start_uj + int(self.zones[zone].energy_j(t) * 1e6)) % self.range_uj

    def _write_once(self) -> None:
        t = time.monotonic() - self.boot_s
        for zone, path in self.paths.items():
            try:  # a reader sees the old value or the new one, as in sysfs
                (path / ".new").write_text(f"{self.counter_uj(zone, t)}\n")
                (path / ".new").rename(path / "energy_uj")
            except FileNotFoundError:
                continue  # a test removed the zone

    def __enter__(self) -> SimulatedRapl:
        facts = {
            "root": str(self.root), "range_uj": self.range_uj, "start_uj": self.start_uj,
            "tick_s": self.tick_s, "boot_s": self.boot_s,
            "zones": {z: str(c).split() for z, c in self.zones.items()},
            "paths": {z: str(p) for z, p in self.paths.items()},
        }  # fmt: skip
        command = [sys.executable, __file__, json.dumps(facts)]
        before = {p: (p / "energy_uj").read_text() for p in self.paths.values()}
        self._writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while any((p / "energy_uj").read_text() == old for p, old in before.items()):
            assert self._writer.poll() is None
            time.sleep(0.005)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._writer is not None
        said, _ = self._writer.communicate()  # the writer ends with its standard input
        self.longest_pause_s = float(said or "inf")

    def environment(self) -> dict[str, str]:
        return {"BENCH_POWERCAP_ROOT": str(self.root)}

    def energy_j(self, zone: str, start_ns: int, stop_ns: int) -> float:
        """The truth: joules of a zone between two instants of CLOCK_MONOTONIC."""
        return _between(self.zones[zone], start_ns, stop_ns, self.boot_s)


def _keep_writing(facts: dict[str, object]) -> None:
    """The writer process: renews every counter each tick until its standard input closes, and
    says for how long it was held up at most."""
    tree = SimulatedRapl.__new__(SimulatedRapl)
    tree.__dict__.update(facts)
    tree.zones = {z: _curve(*words) for z, words in facts["zones"].items()}  # type: ignore
    tree.paths = {z: Path(p) for z, p in facts["paths"].items()}  # type: ignore
    parent = os.getppid()
    os.set_blocking(0, False)
    written_s, longest_s = time.monotonic(), 0.0
    while os.getppid() == parent:
        try:
            if os.read(0, 1) == b"":
                print(longest_s)
                return
        except BlockingIOError:
            pass
        tree._write_once()
        now = time.monotonic()
        written_s, longest_s = now, max(longest_s, now - written_s)
        time.sleep(max(0.0005, math.ceil(now / tree.tick_s) * tree.tick_s - now))


if __name__ == "__main__":
    _keep_writing(json.loads(sys.argv[1]))
