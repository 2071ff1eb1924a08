"""The NVIDIA GPUs of this machine: which there are, their MIG devices, and what describes them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from bench.errors import BenchError
from bench.power import nvml
from bench.power.nvml import Handle, Library, NvmlError
from bench.power.patience import each, within

_PATIENCE_S = 10.0  # to open the GPUs: one that nothing keeps loaded takes a second or two
_MOST_PATIENCE_S = 20.0  # with the driver itself
_KEPT_S = 60.0  # a command asks several times, and a GPU that hangs costs seconds each time
_NO_GPUS = (9, 12)  # codes of a driver that is not loaded: no program gets at a GPU then either
_NODES = {"NVIDIA": "nvidiactl", "AMD": "kfd"}  # in /dev, where a program may use a GPU
_ARCHITECTURES = {2: "Kepler", 3: "Maxwell", 4: "Pascal", 5: "Volta", 6: "Turing", 7: "Ampere",
                  8: "Ada", 9: "Hopper", 10: "Blackwell", 13: "Rubin"}  # fmt: skip
_VIRTUAL = ("no", "passthrough", "vgpu", "host of vgpus", "host of vsgas")

Made = TypeVar("Made")


class Mig(NamedTuple):
    """A part of a board that is a device of its own for CUDA."""

    uuid: str
    gpu_instance: int | None = None
    compute_instance: int | None = None
    slices: int | None = None  # of the board's


class Gpu(NamedTuple):
    """A GPU by UUID, with the MIG devices on it and what describes it.

    What it can't give is None, and `facts["not_given"]` says why. `facts["unopened"]` names the
    other GPUs of the node that could not be opened, with the reason.
    """

    uuid: str
    name: str
    mig: list[Mig]
    facts: dict[str, Any]


class Listing(NamedTuple):
    """The GPUs of this machine."""

    gpus: list[Gpu]  # that NVML shows, in the order of their PCI addresses
    unread: list[str]  # the others that a program may use, each with why it can't be read


def listed() -> list[Gpu]:
    """The GPUs that NVML shows, in the order of their PCI addresses; none without a driver.

    BenchError when the driver does not answer at all: what a child could see can't be told then.
    """
    return listing().gpus


def listing() -> Listing:
    """All GPUs, as they were at most a minute ago; BenchError as above."""
    global _kept
    if _kept is None or time.monotonic() - _kept[0] > _KEPT_S:
        _kept = time.monotonic(), _outcome()
    if isinstance(_kept[1], BenchError):
        raise _kept[1]
    return _kept[1]


_kept: tuple[float, Listing | BenchError] | None = None


def look_again() -> None:
    """Ask the driver at the next question: a setting was changed."""
    global _kept
    _kept = None


def _outcome() -> Listing | BenchError:
    try:
        return within(_MOST_PATIENCE_S, _listing)
    except TimeoutError:
        return BenchError(
            f"the NVIDIA driver has not answered for {_MOST_PATIENCE_S:g} s",
            "if `nvidia-smi` hangs as well, only a reboot helps",
        )


def _listing() -> Listing:
    others = usable()
    unread = ["a GPU of AMD, which bench can't read"] * others.count("AMD")
    try:
        library = Library()
        found, unopened = opened(library, lambda handle: identify(library, handle))
    except OSError:
        text = f"a GPU of NVIDIA, whose driver's library ({nvml.LIBRARY}) can't be loaded"
        return Listing([], unread + [text] * others.count("NVIDIA"))
    except NvmlError as error:
        text = f"the GPUs of NVIDIA, whose driver gives an error ({error})"
        return Listing([], unread + [text] * (error.code not in _NO_GPUS))
    for gpu in found:
        gpu.facts["unopened"] = unopened
    if not unopened:  # a call that hangs would keep this one, too
        library.close()
    return Listing(sorted(found, key=lambda g: g.facts["pci"] or ""), unread + unopened)


def opened(library: Library, make: Callable[[Handle], Made]) -> tuple[list[Made], list[str]]:
    """What `make` makes of each GPU that can be opened, and why the others can't be.

    NvmlError when there are GPUs and none can be opened.
    """

    def open_one(index: int) -> Made | NvmlError:
        try:
            return make(library.handle("nvmlDeviceGetHandleByIndex_v2", index))
        except NvmlError as error:
            return error

    indices = range(library.number("nvmlDeviceGetCount_v2"))
    answers = each(_PATIENCE_S, open_one, indices)
    made = [a for a in answers if a is not None and not isinstance(a, NvmlError)]
    refused = [a for a in answers if isinstance(a, NvmlError)]
    if refused and not made:
        raise refused[0]
    why = {i: a for i, a in zip(indices, answers, strict=True) if isinstance(a, NvmlError | None)}
    late = f"has not answered for {_PATIENCE_S:g} s"
    return made, [f"GPU {i}: {late if error is None else error}" for i, error in why.items()]


# --- what describes one


def identify(library: Library, handle: Handle) -> Gpu:
    """Ask a GPU who it is; NvmlError when it does not even give its UUID."""
    facts: dict[str, Any] = {}
    not_given: dict[str, str] = {}
    for key, ask in _FACTS.items():
        try:
            facts[key] = ask(library, handle)
        except NvmlError as error:
            facts[key], not_given[key] = None, str(error)
    mig = _mig_devices(library, handle) if facts["mig_mode"] else []
    facts["mig"] = bool(facts["mig_mode"]) and not _is_whole(library, handle, mig)
    facts["not_given"] = not_given
    uuid = library.text("nvmlDeviceGetUUID", handle)
    return Gpu(uuid, library.text("nvmlDeviceGetName", handle), mig, facts)


def _watts(name: str) -> Callable[[Library, Handle], float]:
    return lambda library, handle: library.number(name, handle) / 1e3


def _number(name: str, *more: int) -> Callable[[Library, Handle], int]:
    return lambda library, handle: library.number(name, handle, *more)


def _flag(name: str) -> Callable[[Library, Handle], bool]:
    return lambda library, handle: bool(library.number(name, handle))


def _pci(library: Library, handle: Handle) -> Any:
    return library.structure(library.layouts.nvmlPciInfo_t, "nvmlDeviceGetPciInfo_v3", handle)


def _limits_w(library: Library, handle: Handle) -> tuple[float, ...]:
    limits = library.pair("nvmlDeviceGetPowerManagementLimitConstraints", handle)
    return tuple(milliwatts / 1e3 for milliwatts in limits)


def _memory_gb(library: Library, handle: Handle) -> float:
    memory = library.structure(library.layouts.c_nvmlMemory_t, "nvmlDeviceGetMemoryInfo", handle)
    return round(memory.total / 1e9, 1)


def _architecture(library: Library, handle: Handle) -> str:
    number = library.number("nvmlDeviceGetArchitecture", handle)
    return _ARCHITECTURES.get(number, f"number {number}")


def _virtual(library: Library, handle: Handle) -> str:
    number = library.number("nvmlDeviceGetVirtualizationMode", handle)
    return _VIRTUAL[number] if number < len(_VIRTUAL) else f"number {number}"


_FACTS: dict[str, Callable[[Library, Handle], Any]] = {
    "driver": lambda library, _: library.text("nvmlSystemGetDriverVersion"),
    "nvml": lambda library, _: library.text("nvmlSystemGetNVMLVersion"),
    "pci": lambda library, handle: _pci(library, handle).busId,
    "pci_device": lambda library, handle: f"{_pci(library, handle).pciDeviceId >> 16:04x}",
    "architecture": _architecture,
    "memory_gb": _memory_gb,
    "power_limit_w": _watts("nvmlDeviceGetEnforcedPowerLimit"),
    "default_power_limit_w": _watts("nvmlDeviceGetPowerManagementDefaultLimit"),
    "least_power_limit_w": lambda library, handle: _limits_w(library, handle)[0],
    "most_power_limit_w": lambda library, handle: _limits_w(library, handle)[1],
    "most_clock_mhz": _number("nvmlDeviceGetMaxClockInfo", nvml.SM),
    "application_clock_mhz": _number("nvmlDeviceGetApplicationsClock", nvml.SM),
    "ecc": lambda library, handle: bool(library.pair("nvmlDeviceGetEccMode", handle)[0]),
    "persistence": _flag("nvmlDeviceGetPersistenceMode"),
    "display": _flag("nvmlDeviceGetDisplayActive"),
    "virtual": _virtual,
    "mig_mode": lambda library, handle: bool(library.pair("nvmlDeviceGetMigMode", handle)[0]),
}


def _mig_devices(library: Library, handle: Handle) -> list[Mig]:
    found = []
    for index in range(_given(library.number, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        part = _given(library.handle, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        if part is None:
            continue
        layout = library.layouts.c_nvmlDeviceAttributes
        about = _given(library.structure, layout, "nvmlDeviceGetAttributes_v2", part)
        found.append(Mig(
            library.text("nvmlDeviceGetUUID", part),
            _given(library.number, "nvmlDeviceGetGpuInstanceId", part),
            _given(library.number, "nvmlDeviceGetComputeInstanceId", part),
            about and about.computeInstanceSliceCount,
        ))  # fmt: skip
    return found


def _is_whole(library: Library, handle: Handle, mig: list[Mig]) -> bool:
    """Whether one MIG device has all of the board, which then nobody else can use."""
    slices = _given(library.number, "nvmlDeviceGetMaxMigDeviceCount", handle)
    return len(mig) == 1 and slices is not None and mig[0].slices == slices


def _given(ask: Callable[..., Any], *arguments: Any) -> Any:
    """What `ask` gives; None where this device, driver or library has no such thing."""
    try:
        return ask(*arguments)
    except NvmlError:
        return None


# --- without a driver


def makers(root: str = "/sys/bus/pci/devices") -> list[str]:
    """Makers of the GPUs on the PCI bus; display adapters of other makers don't compute."""
    found = []
    for device in os.listdir(root) if os.path.isdir(root) else ():
        maker, kind = (_read(f"{root}/{device}/{name}") for name in ("vendor", "class"))
        if maker == "0x10de" and kind.startswith("0x03"):
            found.append("NVIDIA")
        elif maker == "0x1002" and kind[:6] in ("0x0302", "0x0380", "0x1200"):
            found.append("AMD")
    return found


def usable(root: str = "/sys/bus/pci/devices", nodes: str = "/dev") -> list[str]:
    """The makers of those that a program can get at: a container may show a GPU on the bus that
    nobody in it can open."""
    return [maker for maker in makers(root) if os.path.exists(f"{nodes}/{_NODES[maker]}")]


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
