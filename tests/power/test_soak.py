"""A long run of faults on random timetables: nothing lost, and nothing wrong without a warning.

    python -m pytest -s -m soak tests/power/test_soak.py

It takes an hour; BENCH_SOAK_S sets another length in seconds and BENCH_SOAK_SEED the first round.
Round after round a sampler meters six boards and two zones, most boards with a fault that comes and
goes, in windows of random lengths. The truth of each is known. What is asked of each number:

- a domain without a fault has its energy, fit for a rank, and as near as is stated;
- one with a fault has it too, or a warning; where it is off by much, it is unfit for a rank;
- some rounds end with a kill of the sampler: what was metered before is there.

A machine that is busy or shared holds up what writes the tree of zones, and the sampler: what that
explains is 'held up' and no failure. Keep the folder in memory (`--basetemp=/dev/shm/soak`) where
others write to the disk.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.power.meter import Meter
from bench.power.trace import Trace
from tests.power.conftest import MakeGpus
from tests.power.simulated import (
    FOREVER,
    Constant,
    Curve,
    Ramp,
    SimulatedGpu,
    SimulatedRapl,
    Square,
)
from tests.power.test_meter import is_gone

pytestmark = [pytest.mark.soak, pytest.mark.compiler, pytest.mark.timeout(0)]

SOAK_S = float(os.environ.get("BENCH_SOAK_S", "3600"))
SEED = int(os.environ.get("BENCH_SOAK_SEED", "1"))
ROUND_S = 30.0
MARGIN_NS = 1_500_000_000  # a fault shows this far around it
GENERATIONS = ("h100", "a100", "v100", "rtx3090")
LASTING = {"lost", "hang"}  # nothing is asked of what comes after
OF_THE_COUNTER = {"back", "leap", "reload", "frozen"}  # one that lied once is trusted in no window
SHARED = {"slow", "hang"}  # the other boards are read by the same thread

HELD_UP_S = 0.25  # longer than two readings are apart

Window = tuple[int, int]
Fault = tuple[str | float, ...]


@dataclass
class Subject:
    """A domain, its truth and its fault."""

    domain: str
    energy_j: Callable[[int, int], float]
    fault: str = "none"
    from_ns: int = 0
    to_ns: int = 0

    def touches(self, window: Window) -> bool:
        """Whether its fault may show in the window."""
        if self.fault in OF_THE_COUNTER:
            return True
        over = self.fault not in LASTING and window[0] > self.to_ns + MARGIN_NS
        return self.fault != "none" and window[1] > self.from_ns - MARGIN_NS and not over


@dataclass
class Round:
    """A sampler's life."""

    subjects: list[Subject]
    windows: list[Window]
    trace: Trace
    killed_ns: int | None
    held_up_s: float  # what writes the tree of zones, at most


def curve(dice: random.Random, most_w: float) -> Curve:
    low_w, high_w = dice.uniform(0.1, 0.3) * most_w, dice.uniform(0.3, 0.95) * most_w
    period_s = dice.uniform(0.2, 8)
    return dice.choice(
        [Constant(high_w), Square(low_w, high_w, period_s), Ramp(low_w, high_w, period_s)]
    )


def fault(dice: random.Random) -> tuple[str, Fault]:
    """What it is called here, and what the simulated board is told."""
    from_s = dice.uniform(3, ROUND_S * 0.8)
    to_s = from_s + dice.choice([0.3, 1.0, 3.0, 8.0])
    kinds: dict[str, Fault] = {
        "lost": ("code", from_s, to_s, 15),
        "denied": ("code", from_s, to_s, 4),
        "unknown": ("code", from_s, to_s, 999),
        "no power": ("power", from_s, to_s, 3),
        "no counter": ("energy", from_s, to_s, 3),
        "zero": ("zero", from_s, to_s),
        "frozen": ("frozen", from_s, to_s),
        "back": ("back", from_s, FOREVER),
        "leap": ("leap", from_s, FOREVER, dice.choice([2000, 50_000])),
        "reload": ("reload", from_s, to_s),
        "gain": ("gain", from_s, to_s, dice.choice([0.6, 1.5])),
        "slow": ("slow", from_s, to_s, 0.3),
        "hang": ("hang", max(from_s, ROUND_S * 0.6), FOREVER),
    }
    return dice.choice(list(kinds.items()))


def a_round(number: int, make_gpus: MakeGpus, folder: Path) -> Round:
    dice = random.Random(number)
    boards = [SimulatedGpu.of(dice.choice(GENERATIONS), Constant(0)) for _ in range(6)]
    for board in boards:
        board.curve = curve(dice, board.limit_w)
    faults = [fault(dice) for _ in boards[:4]] + [("none", ("none", 0.0, 0.0))] * 2
    for board, (name, timetable) in zip(boards, faults, strict=True):
        board.tick_s = dice.choice([0.02, 0.05, 0.1])
        board.faults = [] if name == "none" else [timetable]
    zones = {"package-0": curve(dice, 400), "package-0/dram": Constant(12)}
    with SimulatedRapl(folder / "powercap", zones, range_uj=2_000_000_000) as rapl:
        gpus = make_gpus(*boards)

        def at_ns(t: str | float) -> int:
            return int((gpus.boot_s + float(t)) * 1e9)

        subjects = [
            Subject(gpus.domain(i), lambda a, b, i=i: gpus.energy_j(i, a, b), name,
                    at_ns(timetable[1]), at_ns(timetable[2]))
            for i, (name, timetable) in enumerate(faults)
        ] + [
            Subject(f"{kind}:package-0", lambda a, b, zone=zone: rapl.energy_j(zone, a, b))
            for kind, zone in (("cpu", "package-0"), ("dram", "package-0/dram"))
        ]  # fmt: skip
        meter = Meter(folder, probes=["nvml", f"rapl:{rapl.root}"])
        meter.start()
        windows = several_windows(meter, dice)
        killed_ns = kill(meter) if dice.random() < 0.25 else None
        trace = meter.stop()
    return Round(subjects, windows, trace, killed_ns, rapl.longest_pause_s)


def several_windows(meter: Meter, dice: random.Random) -> list[Window]:
    end_s = time.monotonic() + ROUND_S
    windows = []
    while time.monotonic() < end_s:
        start_ns = meter.edge(lead_s=0.25)
        time.sleep(dice.choice([0.5, 1, 2, 5, 10]))
        windows.append((start_ns, meter.edge()))
        time.sleep(0.4)
    return windows


def kill(meter: Meter) -> int:
    assert meter._process is not None
    os.kill(meter._process.pid, signal.SIGKILL)
    return time.monotonic_ns()


def judge(a: Round) -> list[tuple[str, str]]:
    """(verdict, about what) of each domain in each window; a verdict in capitals is a failure."""
    found = []
    gains = {d.name: d.gain for d in a.trace.domains}
    for window in a.windows:
        if a.killed_ns is not None and window[1] > a.killed_ns - 1_000_000_000:
            continue  # the kill may have taken its end
        energies = {e.domain: e for e in a.trace.energy(*window)}
        warnings = a.trace.warnings(*window)
        shared = any(s.fault in SHARED and s.touches(window) for s in a.subjects)
        for subject in a.subjects:
            board = subject.domain.startswith("gpu")
            touched = subject.touches(window) or (shared and board)
            about = [w for w in warnings if subject.domain in w.message]
            ranked = all(w.rankable for w in about)
            energy, truth_j = energies[subject.domain], subject.energy_j(*window)
            span_s = (window[1] - window[0]) / 1e9
            late = not board and a.held_up_s > HELD_UP_S
            late = late or (energy.largest_gap_s or 0.0) > HELD_UP_S
            if energy.energy_j is None:
                verdict = "missing" if touched and not ranked else "LOST"
                off_j = stated_j = math.nan
            else:
                gain_j = gains[subject.domain] * energy.energy_j
                stated_j = math.sqrt(max(0.0, (energy.uncertainty_j or 0.0) ** 2 - gain_j**2))
                off_j = abs(energy.energy_j - truth_j)
                held_up_j = 0 if board else a.held_up_s * truth_j / span_s
                verdict = verdict_of(off_j - held_up_j, stated_j, truth_j, about != [], ranked)
                if verdict == "unranked" and not touched:
                    verdict = "UNRANKED FOR NOTHING"
            if late and verdict.isupper() and not verdict.startswith("WRONG"):
                verdict = "held up"
            after_s = (window[0] - subject.from_ns) / 1e9
            found.append((
                verdict,
                f"{subject.fault}{', shared' * shared}: {truth_j:.1f} J in {span_s:.2f} s, "
                f"{after_s:.2f} s after it began; off {off_j:.2f}, stated {stated_j:.2f} J; "
                f"{[w.message for w in about]}",
            ))  # fmt: skip
    return found


def verdict_of(off_j: float, stated_j: float, truth_j: float, warned: bool, ranked: bool) -> str:
    if not ranked:
        return "unranked"
    if off_j <= stated_j:
        return "covered"
    if off_j > max(3 * stated_j, 0.05 * truth_j):
        return "WRONG"
    if off_j > max(2 * stated_j, 0.02 * truth_j) and not warned:
        return "WRONG WITHOUT A WORD"
    return "near"


def test_nothing_is_lost_and_nothing_wrong(make_gpus: MakeGpus, tmp_path: Path) -> None:
    end_s, number = time.monotonic() + SOAK_S, SEED
    verdicts: Counter[str] = Counter()
    failures = []
    while time.monotonic() < end_s:
        folder = tmp_path / str(number)
        folder.mkdir()
        done = a_round(number, make_gpus, folder)
        assert is_gone(done.trace.facts["pid"])
        for verdict, about in judge(done):
            verdicts[verdict] += 1
            if verdict.isupper():
                failures.append(f"round {number}: {verdict}: {about}")
                print(failures[-1], flush=True)
        print(f"round {number}: {dict(verdicts)}", flush=True)
        number += 1
    assert failures == []
    seen = verdicts["covered"] + verdicts["near"]
    assert verdicts["covered"] >= 0.95 * seen - 3 * math.sqrt(0.05 * 0.95 * seen)
