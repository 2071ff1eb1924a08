"""What this machine is, without its name or its user's, and which accelerators a child can see."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.power.probes.nvml import Gpu

_SOFTWARE = (
    "torch", "transformers", "tokenizers", "datasets", "safetensors", "numpy", "nvidia-ml-py",
)  # fmt: skip


def facts() -> dict[str, Any]:
    """Processor, memory, system and GPUs; nothing that names the host or its user."""
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "processors": processors(),
        "memory_gb": round(memory_bytes() / 1e9, 1),
        "system": _system(),
        "kernel": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "virtual": _virtual(),
        "container": _container(),
        "gpus": [{"uuid": g.uuid, "name": g.name, **g.facts} for g in gpus()],
    }


def software() -> dict[str, str]:
    """Versions of Python and of the packages that a training's numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in _SOFTWARE:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def hardware_class(visible: Sequence[str]) -> str:
    """`1 x NVIDIA H100 80GB HBM3` for GPUs given by UUID, `CPU AMD EPYC, 2 cores` for none."""
    if not visible:
        return f"CPU {cpu_name()}, {cores()} cores"
    names = Counter(g.name for g in gpus() if g.uuid in visible)
    return " + ".join(f"{n} x {name}" for name, n in sorted(names.items()))


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that can be seen here, in the order of their PCI addresses."""
    from bench.power.probes import nvml

    return nvml.gpus()


# --- processors and memory


def cpu_name() -> str:
    """The processor's model as the kernel names it."""
    name = _cpuinfo("model name") or [platform.processor() or platform.machine()]
    return " ".join(name[0].split())


def processors() -> int:
    """Logical processors that this process may use: affinity and the container's quota."""
    at_hand = len(os.sched_getaffinity(0))
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        at_hand = min(at_hand, math.ceil(int(quota) / int(period)))
    return max(1, at_hand)


def cores() -> int:
    """Physical cores among them, as far as the kernel tells."""
    packages, cores_of = _cpuinfo("physical id"), _cpuinfo("core id")
    if not cores_of or len(packages) != len(cores_of):
        return processors()
    return min(processors(), len(set(zip(packages, cores_of, strict=True))))


def memory_bytes() -> int:
    """Memory of the machine, or what the container may use of it."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("/sys/fs/cgroup/memory.max") or _read(
        "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    )
    return min(installed, int(limit)) if limit.isdigit() else installed


def _cpuinfo(key: str) -> list[str]:
    rows = (line.partition(":") for line in _read("/proc/cpuinfo").splitlines())
    return [value.strip() for name, _, value in rows if name.strip() == key]


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _virtual() -> str | None:
    """The hypervisor's product name, or 'yes' where only the processor tells; None on metal."""
    flags = _cpuinfo("flags")
    if not flags or "hypervisor" not in flags[0].split():
        return None
    return _read("/sys/class/dmi/id/product_name") or "yes"


def _container() -> str | None:
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    return "kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


# --- which GPUs a child can see


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """UUIDs of the GPUs that a CUDA program with this environment can see, in its order.

    As CUDA reads `CUDA_VISIBLE_DEVICES`: ordinals, or UUIDs that may be cut short; the first entry
    that is no device ends the list; an empty one means none. UsageError where it can't be told.
    """
    found = gpus()
    text = environ.get("CUDA_VISIBLE_DEVICES")
    if text is None or not found:
        return [g.uuid for g in found]
    visible: list[str] = []
    for entry in text.split(","):
        uuid = _device(entry.strip(), found, environ)
        if uuid is None:
            break
        if uuid in visible and not entry.strip().startswith("MIG-"):
            raise _unclear(text, f"{entry.strip()} names a GPU twice")
        visible.append(uuid)
    return list(dict.fromkeys(visible))


def _device(entry: str, found: list[Gpu], environ: Mapping[str, str]) -> str | None:
    """The UUID of the board that one entry names; None if it names none."""
    if entry.startswith("MIG-"):
        return next((g.uuid for g in found if entry in g.mig or g.uuid in entry), None)
    if entry.startswith("GPU-"):
        matches = [g.uuid for g in found if g.uuid.startswith(entry)]
        if len(matches) > 1:
            raise _unclear(entry, f"{len(matches)} GPUs have a UUID that begins so")
        return matches[0] if matches else None
    if not entry.isdigit() or int(entry) >= len(found):
        return None
    by_address = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if not by_address and len({g.name for g in found}) > 1:
        raise _unclear(entry, "the GPUs differ, and CUDA then numbers them by speed")
    return found[int(entry)].uuid


def _unclear(text: str, why: str) -> UsageError:
    return UsageError(
        f"can't tell which GPUs CUDA_VISIBLE_DEVICES={text} means: {why}",
        "give UUIDs, as `nvidia-smi -L` lists them, or set CUDA_DEVICE_ORDER=PCI_BUS_ID",
    )
