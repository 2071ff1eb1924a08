"""What this machine is, without its name or its user's, and which accelerators a child can see."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.errors import BenchError, UsageError
from bench.power.processor import (
    cores,
    cpu_name,
    cpuinfo,
    memory_bytes,
    processors,
    text_of,
)

if TYPE_CHECKING:
    from bench.power.gpus import Gpu
    from bench.record import Warn

_SOFTWARE = ("torch", "transformers", "tokenizers", "datasets", "safetensors", "numpy")


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
        **_gpu_facts(),
    }


def _gpu_facts() -> dict[str, Any]:
    """`gpus`, each with what describes it; where they can't be told, None and why."""
    from bench.power import gpus

    try:
        return {"gpus": [{"uuid": g.uuid, "name": g.name, **g.facts} for g in gpus.listed()]}
    except BenchError as error:
        return {"gpus": None, "gpus_unknown": error.message}


def software() -> dict[str, str]:
    """Versions of Python and of the packages that a training's numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in _SOFTWARE:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def hardware_class(visible: Sequence[str], unread: int = 0) -> str:
    """`1 x NVIDIA H100 80GB HBM3` for GPUs given by UUID, `CPU AMD EPYC, 2 cores` for none;
    `unread` counts those beside them that no meter of bench's can read."""
    from bench.power import gpus

    if not visible and not unread:
        n = cores()
        return f"CPU {cpu_name()}, {n} {'core' if n == 1 else 'cores'}"
    names = Counter(g.name for g in gpus.listed() if g.uuid in visible) if visible else Counter()
    names += Counter({"unknown GPU": unread})
    return " + ".join(f"{n} x {name}" for name, n in sorted(names.items()))


def boot() -> str:
    """What tells this machine, since it was started, from all others: also from one with the same
    name or disk, and not from a container on it. A hash, as it is kept in records."""
    told = text_of("/proc/sys/kernel/random/boot_id") or platform.node()
    return hashlib.sha256(told.encode()).hexdigest()[:16]


# --- the system


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _virtual() -> str | None:
    """The hypervisor's product name, or 'yes' where only the processor tells; None on metal."""
    flags = cpuinfo("flags")
    if not flags or "hypervisor" not in flags[0].split():
        return None
    return text_of("/sys/class/dmi/id/product_name") or "yes"


def _container() -> str | None:
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    return "kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else None


# --- which GPUs a child can see


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """UUIDs of the GPUs that a CUDA program with this environment can see, in its order.

    As CUDA reads `CUDA_VISIBLE_DEVICES`: ordinals, or UUIDs of GPUs or of MIG devices, which may be
    cut short; the first entry that is no device ends the list; an empty one means none. A MIG
    device stands for its board, which is what can be metered. UsageError where it can't be told
    which are meant. `ROCR_VISIBLE_DEVICES` and `HIP_VISIBLE_DEVICES` say nothing about NVIDIA GPUs.
    """
    text = environ.get("CUDA_VISIBLE_DEVICES")
    if text is not None and not text.strip():
        return []  # whatever the driver does
    from bench.power import gpus

    found = gpus.listed()
    if text is None or not found:
        return [g.uuid for g in found]
    named: list[_Named] = []
    for entry in map(str.strip, text.split(",")):
        device = _device(entry, text, found, environ)
        if device is None and entry[:4].upper() in ("GPU-", "MIG-") and _unopened(found):
            raise _unclear(text, f"some GPUs can't be opened, and {entry} may be one of them")
        if device is None:
            break
        if device in named:
            raise _unclear(text, f"{entry} names a device twice")
        if named and device.form != named[0].form:
            raise _unclear(text, "it mixes forms, and CUDA then takes some of them")
        named.append(device)
    return list(dict.fromkeys(d.board for d in named))


def unmetered(environ: Mapping[str, str]) -> list[Warn]:
    """The GPUs that a program with this environment may use and that NVML does not show."""
    from bench.power import gpus
    from bench.record import Warn

    text = environ.get("CUDA_VISIBLE_DEVICES")
    if text is not None and not re.match(r"\s*(\d|GPU-|MIG-)", text):
        return []
    found, unread = gpus.listing()
    if text is not None and found:
        return []  # what it names is among them, or was refused
    return [
        Warn(
            id="gpu-unmetered",
            message=f"not metered: {what}; CUDA_VISIBLE_DEVICES= keeps a program from using it",
            rankable=False,
        )
        for what in unread
    ]


def limited(visible: Sequence[str]) -> list[Warn]:
    """The GPUs, of those given by UUID, whose power limit is below their default."""
    from bench.power import gpus
    from bench.record import Warn

    found = [g for g in gpus.listed() if g.uuid in visible] if visible else []
    limits = [(g, g.facts["power_limit_w"], g.facts["default_power_limit_w"]) for g in found]
    return [
        Warn(id="power-limited", message=f"power limited to {now:g} of {usual:g} W: {g.name}")
        for g, now, usual in limits
        if now is not None and usual is not None and now < usual
    ]


class _Named(NamedTuple):
    """A device that an entry names."""

    form: str  # ordinal, GPU-, MIG-
    uuid: str
    board: str  # the UUID of its board


def _device(
    entry: str, text: str, found: Sequence[Gpu], environ: Mapping[str, str]
) -> _Named | None:
    """What one entry names; None if it is no device."""
    form = entry[:4].upper()
    if form in ("GPU-", "MIG-"):
        return _by_uuid(
            entry, text, form, _gpu_names(found) if form == "GPU-" else _mig_names(found)
        )
    if re.fullmatch(r"0|[1-9][0-9]*", entry):
        return _by_ordinal(int(entry), text, found, environ)
    if re.match(r"[+-]?[0-9]", entry) and not re.fullmatch(r"-[1-9][0-9]*", entry):
        raise _unclear(text, f"{entry} is no plain number")
    return None


def _by_ordinal(
    ordinal: int, text: str, found: Sequence[Gpu], environ: Mapping[str, str]
) -> _Named | None:
    by_address = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if _unopened(found):
        raise _unclear(text, "some GPUs can't be opened, and it is open whether CUDA counts them")
    if ordinal >= len(found):
        return None
    if len(found) > 1 and any(g.facts.get("mig_mode") for g in found):
        raise _unclear(text, "CUDA numbers GPUs and MIG devices by rules of its own")
    if not by_address and len({g.name for g in found}) > 1:
        raise _unclear(text, "the GPUs differ, and CUDA then numbers them by speed")
    return _Named("ordinal", found[ordinal].uuid, found[ordinal].uuid)


def _unopened(found: Sequence[Gpu]) -> bool:
    return any(g.facts.get("unopened") for g in found)


def _gpu_names(found: Sequence[Gpu]) -> dict[str, tuple[str, str]]:
    """Name -> (UUID of the device, UUID of its board)."""
    return {g.uuid: (g.uuid, g.uuid) for g in found}


def _mig_names(found: Sequence[Gpu]) -> dict[str, tuple[str, str]]:
    """The same for MIG devices, each by its UUID and as drivers before 470 name it."""
    names = {m.uuid: (m.uuid, g.uuid) for g in found for m in g.mig}
    for g in found:
        for m in g.mig:
            old = f"MIG-{g.uuid}/{m.gpu_instance}/{m.compute_instance}"
            names[old] = (m.uuid, g.uuid)
    return names


def _by_uuid(entry: str, text: str, form: str, names: dict[str, tuple[str, str]]) -> _Named | None:
    if entry in names:
        return _Named(form, *names[entry])
    matches = {device for name, device in names.items() if name.startswith(entry)}
    if len(matches) > 1 or (matches and entry == form):
        raise _unclear(text, f"{len(matches)} device(s) have a UUID that begins with {entry}")
    if not matches and any(name.lower().startswith(entry.lower()) for name in names):
        raise _unclear(text, f"{entry} is a UUID only if upper and lower case are the same")
    return _Named(form, *matches.pop()) if matches else None


def _unclear(text: str, why: str) -> UsageError:
    return UsageError(
        f"can't tell which GPUs CUDA_VISIBLE_DEVICES={text} means: {why}",
        "give UUIDs, as `nvidia-smi -L` lists them, or set CUDA_DEVICE_ORDER=PCI_BUS_ID",
    )
