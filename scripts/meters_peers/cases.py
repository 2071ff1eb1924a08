"""The cases: simulated cards and RAPL trees whose truth is known, and what is done with them."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.power.simulated import (  # noqa: E402
    Constant,
    Curve,
    Ramp,
    SimulatedGpu,
    SimulatedGpus,
    SimulatedRapl,
    Square,
)

PEERS = ("zeus", "codecarbon", "carbontracker")
TOOLS = ("bench", *PEERS)
FOREVER = 1e9
# No multiple of 0.1 or 1 s, at which tools look; one case has a square that is in step with them.
SQUARE, RAMP, FLAT = Square(100.0, 400.0, 1.37), Ramp(100.0, 400.0, 7.3), Constant(300.0)
IN_STEP = Square(100.0, 400.0, 1.3)
LENGTHS_S = {0.25: 16, 0.5: 14, 1.0: 10, 2.0: 6, 5.0: 4}  # windows of each length
COVERED_WINDOWS, COVERED_CARDS = 7, 16  # 112 trials of each length
QUICK = (
    "accuracy/square, counter", "accuracy/square, no counter", "accuracy/RAPL package",
    "short/0.5 s", "coverage/1 s", "faults/counter reset", "faults/GPU lost",
    "faults/RAPL wraps half-way", "cost/10 Hz, 8 GPUs", "start/start", "kill/counter",
)  # fmt: skip


# --- simulated hardware


@dataclass(frozen=True)
class Place:
    """What all cases share."""

    library: Path  # the stand-in for NVML
    commands: Path  # a folder with an `nvidia-smi`, which CodeCarbon calls to look for cards


@dataclass
class World:
    """Simulated hardware: how a process gets to see it, and its true energy, J."""

    environment: dict[str, str]
    energy_j: Callable[[int, int], float]
    powercap: str | None = None
    truths: list[Callable[[int, int], float]] = field(default_factory=list)  # of each card


@dataclass(frozen=True)
class Cards:
    """Boards with a counter that ticks at 100 ms and the registers of an H100, or of a P100, which
    has no counter; field 186 is there, which Zeus needs. Faults are timed from the opening of the
    window and befall the first board, whose power then falls from 400 to 100 W in the middle of the
    window: who fills a gap with what was there before is wrong."""

    curves: tuple[Curve, ...] = (FLAT,)
    counter: bool = True
    faults: tuple[tuple[Any, ...], ...] = ()
    visible: str | None = None  # CUDA_VISIBLE_DEVICES; `uuid` stands for the first card's
    charged: tuple[int, ...] | None = None
    nvidia_smi: bool = True

    @contextmanager
    def build(self, place: Place, folder: Path, opens_s: float, closes_s: float) -> Iterator[World]:
        boards = [
            SimulatedGpu.of("h100", curve)
            if self.counter
            else SimulatedGpu.of("p100", curve, fields=True, limit_w=700.0)
            for curve in self.curves
        ]
        if self.faults:
            boards[0].curve = Square(100.0, 400.0, opens_s + closes_s)
            boards[0].faults = [(k, a + opens_s, b + opens_s, *v) for k, a, b, *v in self.faults]
        for i, board in enumerate(boards):
            board.tick_phase_s, board.refresh_phase_s = 0.037 * i % 0.1, 0.021 * i % 0.1
        cards = SimulatedGpus(folder / "nvml.conf", place.library, boards)
        environment = cards.environment()
        if self.visible:
            environment["CUDA_VISIBLE_DEVICES"] = self.visible.replace("uuid", boards[0].uuid)
        if self.nvidia_smi:
            environment["PATH"] = f"{place.commands}:{os.environ['PATH']}"
        charged = range(len(boards)) if self.charged is None else self.charged

        def truth(i: int) -> Callable[[int, int], float]:
            return lambda a, b: cards.energy_j(i, a, b)

        truths = [truth(i) for i in range(len(boards))]
        yield World(environment, lambda a, b: sum(truths[i](a, b) for i in charged), None, truths)


@dataclass(frozen=True)
class Zones:
    """A powercap tree. The counters wrap `wraps_s` before the window closes, if they do."""

    zones: tuple[tuple[str, Curve], ...]
    counted: tuple[str, ...]
    mirrors: tuple[tuple[str, str], ...] = ()
    wraps_s: float | None = None
    vanishes: str | None = None  # half-way

    @contextmanager
    def build(self, place: Place, folder: Path, opens_s: float, closes_s: float) -> Iterator[World]:
        range_uj, start_uj = 262_143_328_850, 1_000_000
        zones = dict(self.zones)
        if self.wraps_s is not None:
            until_wrap_j = zones["package-0"].energy_j(closes_s - self.wraps_s)
            start_uj = range_uj - int(until_wrap_j * 1e6)
        tree = SimulatedRapl(
            folder / "powercap", zones, range_uj, start_uj, mirrors=dict(self.mirrors)
        )
        _as_sysfs(tree.root)
        with tree:
            if self.vanishes:
                half_s = tree.boot_s + (opens_s + closes_s) / 2 - time.monotonic()
                timer = threading.Timer(half_s, shutil.rmtree, [tree.paths[self.vanishes], True])
                timer.start()
            yield World(
                tree.environment(),
                lambda a, b: sum(tree.energy_j(zone, a, b) for zone in self.counted),
                str(tree.root),
            )
            if self.vanishes:
                timer.cancel()


def _as_sysfs(root: Path) -> None:
    """What peers look for beside the zones: the control type, and every zone at the top as well."""
    kind = root / "intel-rapl"
    kind.mkdir(exist_ok=True)
    (kind / "subsystem").symlink_to(root)
    for zone in root.glob("intel-rapl:?"):
        (kind / zone.name).symlink_to(zone)
        for part in zone.glob("intel-rapl:?:?"):
            if not (root / part.name).exists():
                (root / part.name).symlink_to(part)


# --- the cases


@dataclass(frozen=True)
class Case:
    group: str
    name: str
    world: Cards | Zones = Cards()
    length_s: float = 6.0
    beside: str = ""  # of a fault: the case without it; what a tool says there is no answer to it
    count: int = 1
    tools: tuple[str, ...] = TOOLS
    rate_hz: float | None = None
    kinds: tuple[str, ...] = ("gpu",)
    warns: tuple[str, ...] = ()  # of a fault: the ids by which bench speaks of it


# By which warnings bench speaks of a fault: others, such as `slow` on a busy machine, are chance.
WARNS: dict[str, tuple[str, ...]] = {
    "counter reset": ("counter",),
    "driver reloaded": ("counter", "gap", "unreadable"),
    "counter frozen": ("counter",),
    "counter leaps by 5 kJ": ("counter",),
    "GPU lost": ("lost",),
    "GPU lost, no counter": ("lost",),
    "permission lost": ("unreadable",),
    "power reads 0 for 2 s, no counter": ("gap", "unreadable"),
    "power reads 0 for 2 s": ("disagreement", "gap", "unreadable"),
    "each call takes 0.5 s for 2 s": ("slow",),
    "a call hangs": ("hung",),
    "a package vanishes half-way": ("unreadable",),
}


def cases(quick: bool) -> list[Case]:
    over_10_s, long_s = (6.0, 6.0) if quick else (10.5, 8.0)
    cpu = ("cpu", "dram")
    curves: dict[str, Curve] = {"constant": FLAT, "square": SQUARE, "ramp": RAMP}
    package = Square(60.0, 150.0, 1.37)
    memory = Square(10.0, 25.0, 1.7)
    both = (("package-0", package), ("package-0/dram", memory))
    two = (*both, ("package-1", Constant(80.0)), ("package-1/dram", Constant(12.0)))
    steep = (("package-0", Constant(200.0)),)
    psys = (("package-0", package), ("psys", Constant(260.0)))
    mirrored = (("package-0", package), ("package-1", package))
    found = [
        Case("accuracy", f"{name}, counter", Cards((curve,)), over_10_s)
        for name, curve in curves.items()
    ]
    found += [
        Case("accuracy", "two GPUs, counter", Cards((SQUARE, FLAT)), over_10_s),
        *(
            Case("accuracy", f"{name}, no counter", Cards((curve,), counter=False), long_s)
            for name, curve in curves.items()
        ),
        Case("accuracy", "square in step with 10 Hz, no counter", Cards((IN_STEP,), counter=False),
             long_s),
        Case("accuracy", "RAPL package", Zones(both[:1], ("package-0",)), long_s, kinds=("cpu",)),
        Case("accuracy", "RAPL package and memory", Zones(both, tuple(dict(both))), long_s,
             kinds=cpu),
    ]  # fmt: skip
    share = 3 if quick else 1
    found += [
        Case("short", f"{length_s:g} s", Cards((SQUARE,)), length_s, count=max(2, count // share))
        for length_s, count in LENGTHS_S.items()
    ]
    windows = max(2, COVERED_WINDOWS // share)
    cards = tuple(
        curve
        for period_s in (0.21, 0.34, 0.55, 0.89, 1.3, 2.1, 4.1, 6.7)
        for curve in (Square(100.0, 400.0, period_s), Ramp(80.0, 390.0, 1.7 * period_s))
    )
    found += [
        Case("coverage", f"{length_s:g} s{'' if counter else ', no counter'}",
             Cards(cards[:COVERED_CARDS], counter), length_s, tools=("bench",), count=windows)
        for counter, lengths in ((True, tuple(LENGTHS_S)), (False, (1.0, 5.0)))
        for length_s in lengths
    ]  # fmt: skip
    flat, bare = "constant, counter", "constant, no counter"
    plain, plain2 = "RAPL package", "RAPL package and memory"
    faults: list[tuple[str, str, Cards | Zones, tuple[str, ...]]] = [
        ("counter reset", flat, Cards(faults=(("back", 3.0, FOREVER),)), ("gpu",)),
        ("driver reloaded", flat, Cards(faults=(("reload", 3.0, 3.4),)), ("gpu",)),
        ("counter frozen", flat, Cards(faults=(("frozen", 3.0, FOREVER),)), ("gpu",)),
        ("counter leaps by 5 kJ", flat, Cards(faults=(("leap", 3.0, FOREVER, 5000),)), ("gpu",)),
        ("GPU lost", flat, Cards(faults=(("code", 3.0, FOREVER, 15),)), ("gpu",)),
        ("GPU lost, no counter", bare,
         Cards(counter=False, faults=(("code", 3.0, FOREVER, 15),)), ("gpu",)),
        ("permission lost", flat, Cards(faults=(("code", 3.0, FOREVER, 4),)), ("gpu",)),
        ("power reads 0 for 2 s, no counter", bare,
         Cards(counter=False, faults=(("zero", 2.0, 4.0),)), ("gpu",)),
        ("power reads 0 for 2 s", flat, Cards(faults=(("zero", 2.0, 4.0),)), ("gpu",)),
        ("each call takes 0.5 s for 2 s", flat, Cards(faults=(("slow", 2.0, 4.0, 0.5),)), ("gpu",)),
        ("a call hangs", flat, Cards(faults=(("hang", 3.0, FOREVER),)), ("gpu",)),
        ("CUDA_VISIBLE_DEVICES=GPU-<uuid>", flat, Cards(visible="uuid"), ("gpu",)),
        ("no nvidia-smi", flat, Cards(nvidia_smi=False), ("gpu",)),
        ("two GPUs, one hidden", flat,
         Cards((FLAT, Constant(100.0)), visible="1", charged=(1,)), ("gpu",)),
        ("RAPL wraps half-way", plain, Zones(steep, ("package-0",), wraps_s=3.0), ("cpu",)),
        ("RAPL wraps 40 ms before the end", plain, Zones(steep, ("package-0",), wraps_s=0.04),
         ("cpu",)),
        ("psys beside the package", plain, Zones(psys, ("package-0",)), ("cpu",)),
        ("memory zones in two packages", plain2, Zones(two, tuple(dict(two))), cpu),
        ("one package's counter shown twice", plain,
         Zones(mirrored, ("package-0",), mirrors=(("package-1", "package-0"),)), ("cpu",)),
        ("a package vanishes half-way", plain,
         Zones((both[0], two[2]), ("package-0", "package-1"), vanishes="package-1"), ("cpu",)),
    ]  # fmt: skip
    found += [
        Case("faults", name, world, beside=beside, kinds=kinds, warns=WARNS.get(name, ()))
        for name, beside, world, kinds in faults
    ]
    polling = ("bench", "zeus-polling", "codecarbon", "carbontracker")
    eight = (FLAT,) * 8
    found += [
        Case("cost", f"{rate or 'default rate'}, {'8 GPUs' if len(c) > 1 else '1 GPU'}", Cards(c),
             4.0, tools=polling if rate else TOOLS,
             rate_hz=float(rate.split()[0]) if rate else None)
        for rate in ("", "10 Hz", "100 Hz")
        for c in ((FLAT,), eight)
    ]  # fmt: skip
    found.append(Case("start", "start", Cards(), 0.3, count=2 if quick else 3))
    found += [
        Case("kill", "counter", Cards(), 6.0),
        Case("kill", "no counter", Cards(counter=False), 6.0),
    ]
    return found
