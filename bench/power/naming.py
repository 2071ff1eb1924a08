"""Short names of domains, for people: `GPU 0` for `gpu:GPU-5eed…`."""

from __future__ import annotations

from collections.abc import Sequence

from bench.power.probes import Domain


def short_names(domains: Sequence[Domain]) -> dict[str, str]:
    """Domain -> GPU 0, CPU package-0, DRAM (estimate); GPUs are numbered in the order of their
    PCI addresses, as `nvidia-smi` does."""
    gpus = [d.name for d in domains if d.kind == "gpu"]
    named = {}
    for d in domains:
        kind, part = d.kind.upper() if d.kind != "node" else "Node", d.name.partition(":")[2]
        if d.level == "M0":
            named[d.name] = f"{kind} (estimate)"
        elif d.kind == "gpu":
            named[d.name] = f"GPU {gpus.index(d.name)}" if len(gpus) > 1 else "GPU"
        else:
            named[d.name] = f"{kind} {part}".strip()
    return named
