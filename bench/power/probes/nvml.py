"""NVIDIA GPUs through NVML: energy counter and instant power, by UUID. Level M1.

Both come from one `nvmlDeviceGetFieldValues` where the driver has the fields (191 energy, mJ since
the driver was loaded; 186 power now, mW; scope 0: the board). Older ones fall back to field 83 or
`nvmlDeviceGetTotalEnergyConsumption`, and to `nvmlDeviceGetPowerUsage`, which is an average over a
second on Ampere and newer except GA100. What a device can do is found by asking it. Sources: the
header of NVML; Yang, Adamek and Armour, arXiv 2312.02741.

A reading that fails is a reading with an error. Codes 15 and 16 (lost, reset required) are final.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from bench.power.probes import Domain, Mark, Reading, Refusal, Timed
from bench.power.processes import Tree

LIBRARY = "libnvidia-ml.so.1"
GAIN = 0.10  # twelve boards against an external meter: -8.0 to +12.9 %, mean 4.4 %
_ENERGY, _OLD_ENERGY, _POWER_NOW = 191, 83, 186
_VALUE = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
_ASK_NS = 200_000_000  # one of five questions that matter less than energy and power
_FINAL = (15, 16)
_TRIES = 3  # a device may say "not supported" once when it is asked for the first time
_THERMAL = 0x20 | 0x40 | 0x08  # software thermal, hardware thermal, hardware slowdown


class Gpu(NamedTuple):
    """A GPU by UUID, with the MIG devices on it and what describes it."""

    uuid: str
    name: str
    mig: list[str]
    facts: dict[str, Any]


Answer = tuple[float | None, int]  # a value, or NVML's code for why there is none


class _Fields:
    """Several fields in one call; the memory for the answer is made once."""

    def __init__(self, nvml: Any, handle: Any, numbers: Sequence[int]) -> None:
        self._handle = handle
        self._values = (nvml.c_nvmlFieldValue_t * len(numbers))()
        for value, number in zip(self._values, numbers, strict=True):
            value.fieldId = number  # scope 0: the board
        self._ask = ctypes.CDLL(LIBRARY).nvmlDeviceGetFieldValues

    def __call__(self) -> list[Answer]:
        code = self._ask(self._handle, len(self._values), self._values)
        return [
            (None, code or v.nvmlReturn)
            if code or v.nvmlReturn
            else (getattr(v.value, _VALUE[v.valueType]), 0)
            for v in self._values
        ]


class _Call:
    """A function of pynvml that gives one number."""

    def __init__(self, nvml: Any, handle: Any, name: str) -> None:
        self._error, self._ask = nvml.NVMLError, partial(getattr(nvml, name), handle)

    def __call__(self) -> list[Answer]:
        try:
            return [(self._ask(), 0)]
        except self._error as error:
            return [(None, error.value)]


class _Device:
    """One GPU: its handle and where its energy and power come from."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self.nvml, self.handle = nvml, handle
        self.gpu = _identity(nvml, handle)
        self.name = f"gpu:{self.gpu.uuid}"
        self.lost: str | None = None
        self._timed = Timed()
        self._ask_ns = 0
        self._told = False
        self._seen: list[float | None] = [None, None, None]  # utilisation, clock, temperature
        self._questions = cycle(
            (self._ask_processes, self._ask_utilisation, self._ask_clock, self._ask_temperature,
             self._ask_throttling)
        )  # fmt: skip
        self._find_sources()

    def _find_sources(self) -> None:
        """Ask the device what it can do, newest way first."""
        nvml, handle = self.nvml, self.handle
        self.energy_source, energy = _first_that_works(
            ("field 191", _Fields(nvml, handle, [_ENERGY])),
            ("field 83", _Fields(nvml, handle, [_OLD_ENERGY])),
            ("TotalEnergyConsumption", _Call(nvml, handle, "nvmlDeviceGetTotalEnergyConsumption")),
        )
        self.power_source, power = _first_that_works(
            ("field 186", _Fields(nvml, handle, [_POWER_NOW])),
            ("PowerUsage", _Call(nvml, handle, "nvmlDeviceGetPowerUsage")),
        )
        self._sources = [energy, power]
        if self.energy_source == "field 191" and self.power_source == "field 186":
            self._sources = [_Fields(nvml, handle, [_ENERGY, _POWER_NOW])]

    def domain(self) -> Domain:
        facts = {
            **self.gpu.facts,
            "mig": bool(self.gpu.facts.get("mig")),
            "energy_source": self.energy_source,
            "power_source": self.power_source,
            "power_average_s": 1.0 if self.power_source == "PowerUsage" else 0.0,
        }
        return Domain(self.name, "gpu", self.gpu.name, "M1", GAIN, self.gpu.uuid, None, facts)

    def read(self, tree: Tree) -> Iterable[Reading | Mark]:
        if self.lost:
            yield Reading(self.name, time.monotonic_ns(), error=self.lost)
            return
        (energy_mj, power_mw, error), t_ns = self._timed(self._energy_and_power)
        if self.lost:
            yield Mark(t_ns, "lost", self.lost, self.name)
        if energy_mj is None and power_mw is None:
            yield Reading(self.name, t_ns, error=error or "neither energy nor power was given")
            return
        power_w = None if power_mw is None else power_mw / 1e3
        energy_j = None if energy_mj is None else energy_mj / 1e3
        use, clock, heat = self._seen
        yield Reading(self.name, t_ns, power_w, energy_j, use, clock, heat)
        self._seen = [None, None, None]
        if t_ns >= self._ask_ns:
            self._ask_ns = t_ns + _ASK_NS
            yield from next(self._questions)(tree)

    def _energy_and_power(self) -> tuple[float | None, float | None, str | None]:
        """(mJ, mW, what went wrong); no power at all is a failed reading, not a power."""
        (energy_mj, first), (power_mw, second) = [a for ask in self._sources for a in ask()]
        code = first or second
        return energy_mj, power_mw or None, self._complaint(code) if code else None

    # --- what changes slowly is asked one by one, and goes with the next reading

    def _ask_utilisation(self, tree: Tree) -> Iterable[Mark]:
        rates = self._optional("nvmlDeviceGetUtilizationRates")
        self._seen[0] = None if rates is None else rates.gpu / 100
        return ()

    def _ask_clock(self, tree: Tree) -> Iterable[Mark]:
        self._seen[1] = self._optional("nvmlDeviceGetClockInfo", 1)  # of the multiprocessors
        return ()

    def _ask_temperature(self, tree: Tree) -> Iterable[Mark]:
        self._seen[2] = self._optional("nvmlDeviceGetTemperature", 0)
        return ()

    def _ask_throttling(self, tree: Tree) -> Iterable[Mark]:
        reasons = self._optional("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons and reasons & _THERMAL:
            text = "the GPU slowed down because of heat"
            yield Mark(time.monotonic_ns(), "throttled", text, self.name)

    def _ask_processes(self, tree: Tree) -> Iterable[Mark]:
        known = (os.getpid(), os.getppid())
        pids = [p.pid for p in self._optional("nvmlDeviceGetComputeRunningProcesses_v3") or []]
        others = [p for p in pids if p not in known and p not in tree]
        foreign = [p for p in others if tree.exists(p)]
        t_ns = time.monotonic_ns()
        if foreign:
            text = f"{len(foreign)} other process(es) used the GPU"
            yield Mark(t_ns, "contended", text, self.name, float(len(foreign)))
        hidden = len(others) > len(foreign) or (tree.followed and not pids and _in_container())
        if hidden and not self._told:
            self._told = True
            text = "processes on this GPU may be hidden by a container: others can't be ruled out"
            yield Mark(t_ns, "processes-hidden", text, self.name)

    def _optional(self, name: str, *arguments: Any) -> Any:
        return _optional(self.nvml, partial(getattr(self.nvml, name), self.handle, *arguments))

    def _complaint(self, code: int) -> str:
        text = f"NVML {code}: {self.nvml.NVMLError(code)}"
        if code in _FINAL:
            self.lost = text
        return text


def _first_that_works(
    *sources: tuple[str, Callable[[], list[Answer]]],
) -> tuple[str | None, Callable[[], list[Answer]]]:
    """The first source that gives a number, and its name; else one that says why there is none."""
    for name, ask in sources:
        if any(ask()[0][0] is not None for _ in range(_TRIES)):
            return name, ask
    return None, sources[-1][1]


class Probe:
    kinds = ("gpu",)

    def __init__(self, tree: Tree, argument: str = "") -> None:
        self._tree = tree
        self._devices: list[_Device] = []
        self._nvml: Any = None

    def why_not(self) -> Refusal | None:
        try:
            ctypes.CDLL(LIBRARY)
        except OSError:
            return _no_library()
        import pynvml as nvml

        try:
            nvml.nvmlInit()
            self._nvml = nvml
            self._devices = [_Device(nvml, h) for h in _handles(nvml)]
        except nvml.NVMLError as error:
            return _refusal(error)
        if not self._devices:
            return Refusal("the driver shows no GPU", "in a container: docker run --gpus all …")
        return None

    def domains(self) -> list[Domain]:
        return [d.domain() for d in self._devices]

    def read(self) -> Iterable[Reading | Mark]:
        for device in self._devices:
            yield from device.read(self._tree)

    def close(self) -> None:
        _optional(self._nvml, self._nvml.nvmlShutdown)


def gpus() -> list[Gpu]:
    """The GPUs that NVML shows, in the order of their PCI addresses; none without a driver."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return []
    import pynvml as nvml

    try:
        nvml.nvmlInit()
        found = [_identity(nvml, h) for h in _handles(nvml)]
        nvml.nvmlShutdown()
    except nvml.NVMLError:  # `bench doctor` says what is wrong
        return []
    return found


def _handles(nvml: Any) -> list[Any]:
    """The GPUs that this user may use: others of the node answer with an error."""
    found, refused = [], None
    for i in range(nvml.nvmlDeviceGetCount()):
        try:
            found.append(nvml.nvmlDeviceGetHandleByIndex(i))
        except nvml.NVMLError as error:
            refused = error
    if refused is not None and not found:
        raise refused
    return found


def _identity(nvml: Any, handle: Any) -> Gpu:
    def ask(name: str, *arguments: Any) -> Any:
        return _optional(nvml, lambda: getattr(nvml, name)(handle, *arguments))

    def watts(milliwatts: float | None) -> float | None:
        return None if milliwatts is None else milliwatts / 1e3

    mode = ask("nvmlDeviceGetMigMode")
    limits = ask("nvmlDeviceGetPowerManagementLimitConstraints") or (None, None)
    memory = ask("nvmlDeviceGetMemoryInfo")
    ecc = ask("nvmlDeviceGetEccMode")
    facts = {
        "driver": _optional(nvml, nvml.nvmlSystemGetDriverVersion),
        "memory_gb": memory and round(memory.total / 1e9, 1),
        "power_limit_w": watts(ask("nvmlDeviceGetEnforcedPowerLimit")),
        "default_power_limit_w": watts(ask("nvmlDeviceGetPowerManagementDefaultLimit")),
        "least_power_limit_w": watts(limits[0]),
        "most_power_limit_w": watts(limits[1]),
        "most_clock_mhz": ask("nvmlDeviceGetMaxClockInfo", 1),
        "ecc": None if ecc is None else bool(ecc[0]),
        "persistence": ask("nvmlDeviceGetPersistenceMode"),
        "mig": None if mode is None else bool(mode[0]),
    }
    mig = _mig_devices(nvml, handle) if facts["mig"] else []
    return Gpu(nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle), mig, facts)


def _mig_devices(nvml: Any, handle: Any) -> list[str]:
    count = _optional(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle)) or 0
    found = []
    for i in range(count):
        part = _optional(nvml, partial(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, i))
        if part is not None:
            found.append(nvml.nvmlDeviceGetUUID(part))
    return found


def _optional(nvml: Any, ask: Callable[[], Any]) -> Any:
    """What `ask` gives; None where this device, driver or library has no such thing."""
    try:
        return ask()
    except nvml.NVMLError:
        return None


def _no_library() -> Refusal:
    present = _accelerators()
    if "NVIDIA" in present:
        return Refusal(
            f"an NVIDIA GPU is here, but not its driver's library ({LIBRARY})",
            "install the NVIDIA driver; in a container: docker run --gpus all …",
        )
    if present:
        return Refusal(f"a GPU of {present[0]} is here, which bench can't read", None)
    return Refusal("no NVIDIA GPU here", None, ())


_MENDING = {
    4: "sudo chmod a+rw /dev/nvidia*   (or add yourself to the group that owns them)",
    9: "sudo modprobe nvidia && nvidia-smi",
    18: "sudo reboot   (the driver was updated and the kernel still runs the old one)",
}


def _refusal(error: Any) -> Refusal:
    return Refusal(f"NVML {error.value}: {error}", _MENDING.get(error.value, "nvidia-smi -q"))


def _accelerators(root: Path = Path("/sys/bus/pci/devices")) -> list[str]:
    """Makers of the GPUs on the PCI bus; display adapters of other makers don't compute."""
    found = []
    for device in root.glob("*"):
        try:
            maker = (device / "vendor").read_text().strip()
            kind = (device / "class").read_text().strip()[:6]
        except OSError:
            continue
        if maker == "0x10de" and kind.startswith("0x03"):
            found.append("NVIDIA")
        elif maker == "0x1002" and kind in ("0x0302", "0x0380", "0x1200"):
            found.append("AMD")
    return found


def _in_container() -> bool:
    """Whether other namespaces may hide processes on the GPU."""
    try:
        own = os.readlink("/proc/self/ns/pid") != "pid:[4026531836]"  # the first one's number
    except OSError:
        own = False
    return own or Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
