"""What can be metered here, what can't, why, and the command that changes it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import registry
from bench.errors import BenchError
from bench.power import gpus, machine, probes
from bench.power.meter import Meter, Started
from bench.power.processes import all_seen

if TYPE_CHECKING:
    from bench.power.probes import Domain
    from bench.power.trace import Trace

LOOK_HZ = 100.0  # the fastest that there is: shows what is reached
_SETTLE_S, _LOOK_S = 0.6, 1.0  # past the first burst
_KINDS = ("gpu", "cpu", "dram")


@dataclass(frozen=True)
class Reads:
    """A domain, as it was read while the doctor looked."""

    domain: str
    kind: str
    device: str
    level: str
    gain: float  # relative expanded uncertainty (k = 2) of the meter itself
    rate_hz: float | None = None  # readings that came in a second, when 100 were asked for
    tick_s: float | None = None  # between two steps of its energy counter
    power_w: float | None = None
    calibration: dict[str, Any] | None = None
    not_calibrated: str | None = None  # why the calibration that there is does not count
    not_read: str | None = None  # why there was no reading


@dataclass(frozen=True)
class Status:
    """One probe on this machine."""

    name: str
    works: bool
    measures: bool  # False: it only estimates
    what: str  # the domains it reads, with the level of each
    reason: str | None  # why it does not work
    fix: str | None  # the command that mends it, or that asks for it
    asked: bool = True  # False: it was not tried, since it has to be asked for
    reads: list[Reads] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Report:
    """All that decides what a run is metered with."""

    meters: list[Status]  # those that measure first
    uncovered: dict[str, str]  # kind that nothing measures -> why
    gpus: list[dict[str, str]] | None  # that a child started from here sees: uuid, name
    gpus_unknown: str | None  # why that can't be told
    calibration: str  # which one counts, or that none does
    machine: dict[str, Any]  # cpu, processors, virtual, container, ...
    notes: list[str]  # what the surroundings hide

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def measures(self) -> bool:
        return any(m.works and m.measures for m in self.meters)


def examine(
    asked: Sequence[str] | None = None,
    *,
    timeout_s: float = 15.0,
    look_s: float = _LOOK_S,
    environ: Mapping[str, str] = os.environ,
) -> Report:
    """Try every probe (or those asked for) in a sampler, and say what came of it.

    Starting takes no longer than `timeout_s`, whatever a driver does; what works is then looked at
    for `look_s` as fast as there is.
    """
    with tempfile.TemporaryDirectory(prefix="bench-doctor-") as folder:
        meter = Meter(Path(folder), rate_hz=LOOK_HZ, probes=asked)
        started = meter.start(timeout_s)
        measured = any(d.level != "M0" for d in started.domains)
        if measured and look_s:
            time.sleep(_SETTLE_S)
        start_ns = time.monotonic_ns()
        if measured:
            time.sleep(look_s)
        stop_ns = time.monotonic_ns()
        trace = meter.stop()
    meters = _statuses(started, trace, start_ns, stop_ns)
    if asked is None:
        meters += [_at_hand(name) for name in sorted(probes.NEEDS_ARGUMENT)]
    visible, unknown = _visible(environ)
    facts = machine.facts()
    return Report(
        meters, _uncovered(started), visible, unknown, _calibration(meters), facts,
        _notes(facts, started),
    )  # fmt: skip


def _statuses(started: Started, trace: Trace, start_ns: int, stop_ns: int) -> list[Status]:
    found = [Status(r.probe, False, False, "", r.reason, r.fix) for r in started.refusals]
    for probe, domains in started.by_probe.items():
        what = ", ".join(f"{d.device} ({d.name}, {d.level})" for d in domains)
        what = what or "stands back: a meter covers it"
        measures = any(d.level != "M0" for d in domains)
        reads = [_reads(d, trace, start_ns, stop_ns) for d in domains]
        found.append(Status(probe, True, measures, what, None, None, reads=reads))
    return sorted(found, key=lambda s: (not s.measures, not s.works, s.name))


def _reads(domain: Domain, trace: Trace, start_ns: int, stop_ns: int) -> Reads:
    about = Reads(
        domain.name, domain.kind, domain.device, domain.level, domain.gain,
        calibration=domain.facts.get("calibration"),
        not_calibrated=domain.facts.get("not_calibrated"),
    )  # fmt: skip
    if stop_ns - start_ns < 1e8 or domain.level == "M0":
        return about
    energy = next(e for e in trace.energy(start_ns, stop_ns) if e.domain == domain.name)
    span_s = (stop_ns - start_ns) / 1e9
    t_ns = trace.series[domain.name].t_ns
    count = int(((t_ns >= start_ns) & (t_ns <= stop_ns)).sum())
    return Reads(
        **{
            **asdict(about),
            "rate_hz": round(count / span_s, 1),
            "tick_s": energy.counter_tick_s,
            "power_w": None if energy.energy_j is None else energy.energy_j / span_s,
            "not_read": energy.reason if energy.energy_j is None else None,
        }
    )


def _calibration(meters: list[Status]) -> str:
    """Which calibration counts here."""
    reads = [r for m in meters for r in m.reads if r.level != "M0"]
    for one in (r.calibration for r in reads if r.calibration):
        return (
            f"of {one['date'][:10]}, against {one['reference']}: "
            f"{100 * one['uncertainty']:.2g} % (k = 2)"
        )
    for why in (r.not_calibrated for r in reads if r.not_calibrated):
        return f"{why}; bench power calibrate"
    if not reads:
        return "none: nothing is measured here"
    return "none: the uncertainties are what is known of such meters; bench power calibrate"


def _at_hand(name: str) -> Status:
    """A probe that is not tried unless it is asked for, and how that is typed."""
    found = probes.find(name)
    probe = registry.open_module(found.module).Probe
    text = "not tried unless it is asked for"
    return Status(name, False, True, probe.about, text, f"--probe '{probe.usage}'", asked=False)


def _uncovered(started: Started) -> dict[str, str]:
    """Kind -> why nothing measures it; a node meter covers all."""
    measured = {d.kind for d in started.domains if d.level != "M0"}
    if "node" in measured:
        return {}
    reasons = {k: r.reason for r in reversed(started.refusals) for k in r.kinds}
    no_zone = "no meter here reads it apart"
    here = [k for k in _KINDS if k != "gpu" or _has_gpu(started)]
    return {k: reasons.get(k, no_zone) for k in here if k not in measured}


def _has_gpu(started: Started) -> bool:
    """A machine without a GPU lacks no GPU's meter."""
    if any("gpu" in r.kinds for r in started.refusals):
        return True
    try:
        return any(gpus.listing())
    except BenchError:
        return True


def _visible(environ: Mapping[str, str]) -> tuple[list[dict[str, str]] | None, str | None]:
    """The GPUs that a child sees, or None and why that can't be told."""
    try:
        names = {g.uuid: g.name for g in gpus.listed()}
        return [{"uuid": u, "name": names[u]} for u in machine.visible_gpus(environ)], None
    except BenchError as error:
        return None, error.message


def _notes(facts: dict[str, Any], started: Started) -> list[str]:
    """What a virtual machine or a container hides from meters."""
    kinds = {d.kind for d in started.domains if d.level != "M0"}
    virtual, container = facts.get("virtual"), facts.get("container")
    found = []
    if virtual and "cpu" not in kinds:
        named = "" if virtual == "yes" else f" ({virtual})"
        found.append(
            f"a virtual machine{named}: its processor's counters are the host's; a meter of the "
            "host or the wall can stand in: --probe command:… or prometheus:…"
        )
    if container and "gpu" in kinds and not all_seen():
        found.append(
            f"a container ({container}): other processes on a GPU may be hidden from it; "
            "docker run --pid=host … shows them"
        )
    if container and "cpu" not in kinds and not virtual:
        found.append(
            f"a container ({container}): RAPL is masked in it; docker run "
            "-v /sys/devices/virtual/powercap:/powercap:ro -e BENCH_POWERCAP_ROOT=/powercap …"
        )
    return found
