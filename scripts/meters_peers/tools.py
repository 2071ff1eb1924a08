"""One meter at work in a process of its own: `python meters_tools.py JOB`, a file of JSON.

Each tool is used as its documents say, by the calls a user makes. What it says goes to this
process's output; what it measured, with the instants around each call, into the job's `out`.
Metered are one or more windows: a window opens at a given instant or after a pause, and closes at
a given instant or after a length. CLOCK_MONOTONIC throughout.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Energies = dict[str, "list[float | None]"]  # gpu, cpu, dram -> joules of each device, or their sum
J_PER_KWH = 3.6e6


class Tool:
    """`load` is what comes before the first call, `open` and `close` stand around the work."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.folder = Path(job["folder"])
        self.kinds: list[str] = job["kinds"]  # what there is to meter: gpu, cpu, dram
        self.rate_hz: float | None = job["rate_hz"]  # None: the tool's own
        self.count = len(job["windows"])
        self.is_killed: bool = (
            job["group"] == "kill"
        )  # where a tool can keep what it has, it is asked to
        self.powercap: str | None = job["powercap"]  # stands for /sys/class/powercap

    def load(self) -> None: ...
    def set_up(self) -> None: ...
    def open(self) -> None: ...
    def close(self) -> None: ...

    def energies(self) -> list[Energies]:
        """Of every window, once all are closed."""
        raise NotImplementedError

    def end(self) -> None: ...


class Bench(Tool):
    def load(self) -> None:
        import bench
        import bench.metering

        self._meter = bench.meter
        self._results: list[Any] = []

    def open(self) -> None:
        rate = {} if self.rate_hz is None else {"rate_hz": self.rate_hz}
        kept = self.folder / "kept" if self.is_killed else None
        self._block = self._meter(kept, **rate)
        self._block.__enter__()

    def close(self) -> None:
        self._block.__exit__(None, None, None)
        self._results.append(self._block.result)
        for warn in self._block.result.warnings:
            print(f"warning {warn.id}: {warn.message}", file=sys.stderr)
        for kind in self._block.result.not_covered:
            print("not covered:", kind, file=sys.stderr)

    def energies(self) -> list[Energies]:
        return [
            {k: [d.energy_j for d in r.charged if d.kind == k and d.level != "M0"] for k in KINDS}
            for r in self._results
        ]


class Zeus(Tool):
    """`approx_instant_energy`, as its documents advise for short windows; nothing to synchronise
    with, as there is no torch."""

    def load(self) -> None:
        import zeus.device.cpu.rapl as rapl
        from zeus.monitor import ZeusMonitor

        if self.powercap:
            rapl.RAPL_DIR = f"{self.powercap}/intel-rapl"
        self._class = ZeusMonitor
        self._results: list[Any] = []

    def set_up(self) -> None:
        log = self.folder / "zeus.csv"
        self._monitor = self._class(approx_instant_energy=True, log_file=log)

    def open(self) -> None:
        self._monitor.begin_window(f"window {len(self._results)}", sync_execution=False)

    def close(self) -> None:
        name = f"window {len(self._results)}"
        self._results.append(self._monitor.end_window(name, sync_execution=False))

    def energies(self) -> list[Energies]:
        return [
            {
                "gpu": list(r.gpu_energy.values()),
                "cpu": list((r.cpu_energy or {}).values()),
                "dram": list((r.dram_energy or {}).values()),
            }
            for r in self._results
        ]


class ZeusPolling(Tool):
    """Zeus's PowerMonitor, which samples at a rate; the one register that energy is taken from, as
    each takes a process."""

    def load(self) -> None:
        from zeus.monitor import PowerMonitor

        self._class = PowerMonitor

    def set_up(self) -> None:
        period_s = 1 / (self.rate_hz or 10.0)
        self._monitor = self._class(update_period=period_s, power_domains=["device_instant"])

    def open(self) -> None:
        self._from = time.time()

    def close(self) -> None:
        self._joules = self._monitor.get_energy(self._from, time.time())

    def energies(self) -> list[Energies]:
        return [{"gpu": list((self._joules or {}).values())}]

    def end(self) -> None:
        self._monitor.stop()


class CodeCarbon(Tool):
    """The offline tracker; tasks where there are several windows. Memory counts where it has a
    counter, which its documents offer as `rapl_include_dram`."""

    def load(self) -> None:
        import codecarbon
        from codecarbon.core import cpu
        from codecarbon.external import hardware

        if self.powercap:
            place, available = f"{self.powercap}/intel-rapl/subsystem", cpu.is_rapl_available
            cpu.is_rapl_available = lambda *_: available(place)
            hardware.CPU.__init__.__defaults__ = (
                place,
                *hardware.CPU.__init__.__defaults__[1:],
            )
        self._class = codecarbon.OfflineEmissionsTracker
        self._results: list[Any] = []

    def set_up(self) -> None:
        rate = {} if self.rate_hz is None else {"measure_power_secs": 1 / self.rate_hz}
        self._tracker = self._class(
            country_iso_code="USA", output_dir=str(self.folder),
            rapl_include_dram="dram" in self.kinds, **rate,
        )  # fmt: skip

    def open(self) -> None:
        if self.count > 1:
            self._tracker.start_task(f"window {len(self._results)}")
        else:
            self._tracker.start()

    def close(self) -> None:
        if self.count > 1:
            self._results.append(self._tracker.stop_task())
        else:
            self._tracker.stop()
            self._results.append(self._tracker.final_emissions_data)

    def energies(self) -> list[Energies]:
        return [
            {"gpu": [r.gpu_energy * J_PER_KWH], "cpu": [r.cpu_energy * J_PER_KWH], "dram": [0.0]}
            for r in self._results
        ]

    def end(self) -> None:
        if self.count > 1:
            self._tracker.stop()


class CarbonTracker(Tool):
    """A window is an epoch. Its result is multiplied by a PUE, which is taken out again."""

    def load(self) -> None:
        import carbontracker.components.cpu.intel as intel
        from carbontracker import constants
        from carbontracker.tracker import CarbonTracker

        if self.powercap:
            intel.RAPL_DIR = f"{self.powercap}/"
        self._class, self._pue = CarbonTracker, constants.PUE_2023

    def set_up(self) -> None:
        rate = {} if self.rate_hz is None else {"update_interval": 1 / self.rate_hz}
        kind = "gpu" if "gpu" in self.kinds else "cpu"
        self._tracker = self._class(
            epochs=self.count, epochs_before_pred=0, components=kind,
            log_dir=str(self.folder / "logs"), **rate,
        )  # fmt: skip
        self._thread = self._tracker.tracker
        self._kind = kind

    def open(self) -> None:
        self._tracker.epoch_start()

    def close(self) -> None:
        self._tracker.epoch_end()

    def energies(self) -> list[Energies]:
        joules = self._thread.total_energy_per_epoch() / self._pue * J_PER_KWH
        return [{self._kind: [float(j)]} for j in joules]


class Nothing(Tool):
    """No meter: what the process itself costs."""

    def energies(self) -> list[Energies]:
        return [{} for _ in range(self.count)]


KINDS = ("gpu", "cpu", "dram")
TOOLS: dict[str, Callable[[dict[str, Any]], Tool]] = {
    "bench": Bench, "zeus": Zeus, "codecarbon": CodeCarbon, "carbontracker": CarbonTracker,
    "zeus-polling": ZeusPolling, "nothing": Nothing,
}  # fmt: skip


# --- the work that is metered: waiting


def windows(tool: Tool, job: dict[str, Any], out: dict[str, Any]) -> None:
    began_ns = time.monotonic_ns()
    out["memory_before"] = tree_bytes()
    tool.load()
    loaded_ns = time.monotonic_ns()
    tool.set_up()
    out |= {"load_ns": [began_ns, loaded_ns], "set_up_ns": time.monotonic_ns(), "windows": []}
    for window in job["windows"]:
        sleep_until(window.get("open_at") or time.monotonic() + window["pause_s"])
        instants = [time.monotonic_ns()]
        tool.open()
        instants.append(time.monotonic_ns())
        tell(job, out)  # a job that is killed has said when its window opened
        until = window.get("close_at") or instants[1] / 1e9 + window["length_s"]
        if job["group"] == "cost":
            out["cpu_s"], out["cpu_over_s"] = cpu_share(until)
            out["memory_after"] = tree_bytes()
        sleep_until(until)
        instants.append(time.monotonic_ns())
        tool.close()
        instants.append(time.monotonic_ns())
        out["windows"].append(instants)
    out["energies"] = tool.energies()
    tell(job, out)
    tool.end()


def coverage(job: dict[str, Any], out: dict[str, Any]) -> None:
    """Windows of bench's trace with their uncertainty, the gain of the meter left out: what is
    left is what the edges and gaps leave unsure."""
    from bench.power.meter import Meter

    meter = Meter(Path(job["folder"]))
    meter.start()
    edges = []
    for window in job["windows"]:
        time.sleep(window["pause_s"])
        start_ns = meter.edge(lead_s=0.25)
        time.sleep(window["length_s"])
        edges.append((start_ns, meter.edge()))
    trace = meter.stop()
    trace.domains = [d._replace(gain=0.0) for d in trace.domains if d.kind == "gpu"]
    out["windows"] = edges
    out["unsure"] = [
        {e.domain: [e.energy_j, e.uncertainty_j] for e in trace.energy(*edge)} for edge in edges
    ]
    tell(job, out)


def sleep_until(instant_s: float) -> None:
    time.sleep(max(0.0, instant_s - time.monotonic()))


def tell(job: dict[str, Any], out: dict[str, Any]) -> None:
    scratch = Path(job["out"] + ".new")
    scratch.write_text(json.dumps(out))
    scratch.rename(job["out"])


# --- what it costs


def tree() -> list[int]:
    """This process and what it has started, as far as it lives."""
    found = [os.getpid()]
    for pid in found:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def tree_bytes() -> int:
    """Proportional set size: memory that several share counts in parts."""
    kilobytes = 0
    for pid in tree():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes * 1024


def cpu_share(until_s: float) -> tuple[float, float]:
    """CPU-seconds of all threads of the tree over how many seconds, once it has settled."""
    time.sleep(1.0)
    start_s, before = time.monotonic(), tree_cpu_s()
    sleep_until(until_s)
    return tree_cpu_s() - before, time.monotonic() - start_s


def tree_cpu_s() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total_s = ended.ru_utime + ended.ru_stime
    for pid in tree():
        with contextlib.suppress(OSError):
            total_s += time.clock_gettime(
                (~pid << 3) | 2
            )  # the CPU clock of a process, CPUCLOCK_SCHED
    return total_s


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    out: dict[str, Any] = {}
    try:
        if job["group"] == "coverage":
            coverage(job, out)
        else:
            windows(TOOLS[job["tool"]](job), job, out)
    except Exception as error:  # whatever a tool raises is a result
        traceback.print_exc()
        out["raised"] = f"{type(error).__name__}: {error}".splitlines()[0]
        tell(job, out)


if __name__ == "__main__":
    main()
