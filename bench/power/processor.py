"""Processor and memory of this machine. The sampler's probes import it, so it imports little."""

from __future__ import annotations

import os


def cpu_name() -> str:
    """The processor's model as the kernel names it."""
    name = cpuinfo("model name") or [os.uname().machine]
    return " ".join(name[0].split())


def processors() -> int:
    """Logical processors that this process may use: affinity and the container's quota."""
    at_hand = len(os.sched_getaffinity(0))
    quota, _, period = text_of("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        at_hand = min(at_hand, -(-int(quota) // int(period)))  # a part of one is one
    return max(1, at_hand)


def cores() -> int:
    """Physical cores among them, as far as the kernel tells."""
    packages, cores_of = cpuinfo("physical id"), cpuinfo("core id")
    if not cores_of or len(packages) != len(cores_of):
        return processors()
    return min(processors(), len(set(zip(packages, cores_of, strict=True))))


def package_threads() -> int | None:
    """Logical processors of a package that are switched on; None where that is not told, or told by
    a hypervisor, which shows what it likes."""
    siblings, flags = cpuinfo("siblings"), cpuinfo("flags")
    told = siblings and siblings[0].isdigit() and flags and "hypervisor" not in flags[0].split()
    return int(siblings[0]) if told else None


def memory_bytes() -> int:
    """Memory of the machine, or what the container may use of it."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = text_of("/sys/fs/cgroup/memory.max") or text_of(
        "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    )
    return min(installed, int(limit)) if limit.isdigit() else installed


def cpuinfo(key: str) -> list[str]:
    """What the kernel says under `key`, once for every logical processor."""
    rows = (line.partition(":") for line in text_of("/proc/cpuinfo").splitlines())
    return [value.strip() for name, _, value in rows if name.strip() == key]


def text_of(path: str) -> str:
    """A file of the kernel's; empty where there is none or it can't be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""
