"""Estimates of processor and memory power where no meter can be read. Level M0.

Processor: `idle + utilisation * (TDP - idle)` of the processes that are metered, children that
have ended included; utilisation is their processor time over that of all processors at hand.
Memory: watts per GB of what is installed. There is no estimate for a GPU.

On a virtual machine or in a container with fewer processors than the package has, the share of
them is charged, idle power included. Where the model is not known, which is usual on virtual
machines, a stated default per processor stands in.
"""

from __future__ import annotations

import os
import time
import tomllib
from typing import Any, NamedTuple

from bench.power import processor
from bench.power.probes import Domain, Reading, Refusal
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
        self._facts = _facts()
        self._model = processor_model(processor.cpu_name(), self._processors, self._facts)
        self._memory_gb = processor.memory_bytes() / 1e9
        self._start_s = self._last_s = time.monotonic()
        self._last_cpu_s = 0.0
        self._power_w = self._model.idle_w

    def why_not(self) -> Refusal | None:
        return None

    def domains(self) -> list[Domain]:
        idle_w, full_w, inputs = self._model
        memory = self._facts["memory"]
        return [
            Domain(
                "cpu:estimate", "cpu", processor.cpu_name(), "M0", 0.4,
                reason=f"idle {idle_w:.3g} W + utilisation x ({full_w:.3g} - {idle_w:.3g}) W over "
                f"{self._processors} processors; {inputs}",
            ),
            Domain(
                "dram:estimate", "dram", f"{self._memory_gb:.3g} GB of memory", "M0", 0.4,
                reason=f"{memory['w_per_gb']} W/GB x {self._memory_gb:.3g} GB "
                f"({memory['source']})",
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
        memory_w = self._facts["memory"]["w_per_gb"] * self._memory_gb
        return [
            Reading("cpu:estimate", t_ns, idle_w + per_cpu_s * spent, cpu_j,
                    min(1.0, spent / self._processors)),
            Reading("dram:estimate", t_ns, memory_w, memory_w * (now_s - self._start_s)),
        ]  # fmt: skip

    def close(self) -> None:
        return None


def _facts() -> dict[str, Any]:
    with open(f"{os.path.dirname(__file__)}/estimate.toml", "rb") as file:
        return tomllib.load(file)


def processor_model(name: str, processors: int, facts: dict[str, Any]) -> Model:
    """The model for `processors` logical processors of the CPU called `name`."""
    known = next((c for c in facts["cpu"] if c["name"].lower() in name.lower()), None)
    share = facts["idle_share"]
    if known is None:
        default = facts["default"]
        full_w = default["w_per_processor"] * processors
        said = f"TDP unknown: {default['w_per_processor']} W per processor ({default['source']})"
    else:
        packages = max(1, round(processors / known["threads"]))
        fraction = min(1.0, processors / (packages * known["threads"]))
        full_w = known["tdp_w"] * packages * fraction
        said = f"TDP {known['tdp_w']} W x {packages} package(s)"
        if fraction < 1:
            said += f", {processors} of {packages * known['threads']} threads are at hand"
    return Model(share["share"] * full_w, full_w, f"{said}; idle {share['share']} of TDP "
                 f"({share['source']})")  # fmt: skip
