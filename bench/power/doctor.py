"""What can be metered here, what can't, why, and the command that changes it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.power.meter import Meter


@dataclass(frozen=True)
class Status:
    """One probe on this machine."""

    name: str
    works: bool
    measures: bool  # False: it only estimates
    what: str  # the domains it reads, with the level of each
    reason: str | None  # why it does not work
    fix: str | None  # the command that mends it

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def report(probes: Sequence[str] | None = None, timeout_s: float = 15.0) -> list[Status]:
    """Try every probe (or those named) in a sampler, and say of each what came of it.

    It takes no longer than `timeout_s`, whatever a driver does.
    """
    with tempfile.TemporaryDirectory(prefix="bench-doctor-") as folder:
        meter = Meter(Path(folder), probes=probes)
        started = meter.start(timeout_s)
        meter.stop()
    found = [Status(r.probe, False, False, "", r.reason, r.fix) for r in started.refusals]
    for probe, domains in started.by_probe.items():
        what = ", ".join(f"{d.device} ({d.name}, {d.level})" for d in domains)
        if domains:
            measures = any(d.level != "M0" for d in domains)
            found.append(Status(probe, True, measures, what, None, None))
        else:
            found.append(Status(probe, True, False, "stands back: a meter covers it", None, None))
    return sorted(found, key=lambda s: (not s.measures, not s.works, s.name))
