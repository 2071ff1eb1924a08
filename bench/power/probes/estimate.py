"""Estimates of processor and memory power where no meter can be read. Level M0.

Processor: `idle + utilisation * (TDP - idle)` of the processes that are metered, children that
have ended included; utilisation is their processor time over that of all processors at hand.
Memory: watts per GB of what is installed. There is no estimate for a GPU.

On a virtual machine or in a container with fewer processors than the package has, the share of
them is charged, idle power included. Where the model is not known, which is usual on virtual
machines, a stated default per processor stands in.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from bench.power import processor
from bench.power.probes import Domain, Reading, Refusal
from bench.power.probes._rated import CPUS, IDLE_SHARE, W_PER_GB, W_PER_PROCESSOR
from bench.power.processes import Tree

_LEAST_S = 0.04  # the kernel counts processor time in ticks of 10 ms


class Model(NamedTuple):
    """What the processors at hand draw, W, and how that was come by."""

    idle_w: float
    full_w: float
    inputs: str


class Probe:
    kinds = ("cpu", "dram")

    def __init__(self, tree: Tree, argument: str = "") -> None:
        self._tree = tree
        self._processors = processor.processors()
        self._model = processor_model(
            processor.cpu_name(), self._processors, processor.package_threads()
        )
        self._memory_gb = processor.memory_bytes() / 1e9
        self._start_s = self._last_s = time.monotonic()
        self._last_cpu_s = 0.0
        self._power_w = self._model.idle_w

    def why_not(self) -> Refusal | None:
        return None

    def domains(self) -> list[Domain]:
        idle_w, full_w, inputs = self._model
        return [
            Domain(
                "cpu:estimate", "cpu", processor.cpu_name(), "M0", 0.4,
                reason=f"idle {idle_w:.3g} W + utilisation x ({full_w:.3g} - {idle_w:.3g}) W over "
                f"{self._processors} processors; {inputs}",
            ),
            Domain(
                "dram:estimate", "dram", f"{self._memory_gb:.3g} GB of memory", "M0", 0.4,
                reason=f"{W_PER_GB.value} W/GB x {self._memory_gb:.3g} GB "
                f"({W_PER_GB.source})",
            ),
        ]  # fmt: skip

    def read(self) -> list[Reading]:
        now_s = time.monotonic()
        if now_s - self._last_s < _LEAST_S:
            return []
        t_ns = time.monotonic_ns()
        cpu_s = self._tree.cpu_time_s()
        idle_w, full_w, _ = self._model
        per_cpu_s = (full_w - idle_w) / self._processors
        spent = max(0.0, cpu_s - self._last_cpu_s) / (now_s - self._last_s)
        self._last_s, self._last_cpu_s = now_s, cpu_s
        cpu_j = idle_w * (now_s - self._start_s) + per_cpu_s * cpu_s
        memory_w = W_PER_GB.value * self._memory_gb
        return [
            Reading("cpu:estimate", t_ns, idle_w + per_cpu_s * spent, cpu_j,
                    min(1.0, spent / self._processors)),
            Reading("dram:estimate", t_ns, memory_w, memory_w * (now_s - self._start_s)),
        ]  # fmt: skip

    def close(self) -> None:
        return None


def _is_named(name: str, part: str) -> bool:
    """Whether a processor is this one, or one of equal power: 6248R is not 6248, 7543P (for one
    socket) is 7543, and 13900KF (without graphics) is 13900K."""
    same = "p" if part.startswith("EPYC") else "f" if part.endswith("K") else ""
    _, found, rest = name.lower().partition(part.lower())
    return bool(found) and not rest.removeprefix(same)[:1].isalnum()


def processor_model(name: str, processors: int, switched_on: int | None = None) -> Model:
    """The model for `processors` logical processors of the CPU called `name`, of each of whose
    packages `switched_on` are. Without SMT a package is half as many, and draws no less."""
    known = next((rated for part, rated in CPUS.items() if _is_named(name, part)), None)
    if known is None:
        full_w = W_PER_PROCESSOR.value * processors
        said = f"TDP unknown: {W_PER_PROCESSOR.value} W per processor ({W_PER_PROCESSOR.source})"
    else:
        tdp_w, threads = known
        threads = min(threads, switched_on or threads)
        packages = math.ceil(processors / threads)
        full_w = tdp_w * processors / threads
        said = f"TDP {tdp_w} W x {packages} package(s)"
        if processors < packages * threads:
            said += f", {processors} of {packages * threads} threads are at hand"
    return Model(IDLE_SHARE.value * full_w, full_w, f"{said}; idle {IDLE_SHARE.value} of TDP "
                 f"({IDLE_SHARE.source})")  # fmt: skip
