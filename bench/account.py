"""From what a run's folder holds to what its record says: window, phases, charges, doubts."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import __version__
from bench.power import machine
from bench.power.counting import counted
from bench.record import (
    DomainEnergy,
    Idle,
    Phase,
    Reference,
    RunCost,
    Saved,
    Spec,
    Tuning,
    Warn,
    run_id,
)
from bench.units import NS_PER_S

if TYPE_CHECKING:
    from bench.power.probes import Domain
    from bench.power.trace import Trace


@dataclass(frozen=True)
class Start:
    """What is known before the window opens."""

    run_id: str
    nonce: str
    started_at: str
    machine: dict[str, Any]
    software: dict[str, str]
    visible_gpus: list[str]  # UUIDs that the child can see: they are charged
    region: str | None
    pue: str | None = None
    spec: Spec | None = None  # None: a program is metered, and nothing is scored
    code_sha256: str = ""
    command: list[str] = field(default_factory=list)  # of the program, when there is no spec
    notes: list[Warn] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)  # the run takes the one that fits
    charged_runs: list[RunCost] = field(default_factory=list)
    upstream: list[RunCost] = field(default_factory=list)
    trial: str | None = None
    tuning: Tuning | None = None

    def dump(self) -> dict[str, Any]:
        """As JSON; `load` makes it again."""
        return {
            **asdict(self),
            "spec": self.spec and self.spec.model_dump(mode="json"),
            "notes": [n.model_dump(mode="json") for n in self.notes],
            "references": [r.model_dump(mode="json") for r in self.references],
            "charged_runs": [c.model_dump(mode="json") for c in self.charged_runs],
            "upstream": [c.model_dump(mode="json") for c in self.upstream],
            "tuning": self.tuning and self.tuning.model_dump(mode="json"),
        }

    @classmethod
    def load(cls, facts: dict[str, Any]) -> Start:
        spec = facts["spec"] and Spec.model_validate(facts["spec"])
        notes = [Warn.model_validate(n) for n in facts["notes"]]
        references = [Reference.model_validate(r) for r in facts["references"]]
        runs = {
            name: [RunCost.model_validate(c) for c in facts.get(name, ())]
            for name in ("charged_runs", "upstream")
        }
        tuning = Tuning.model_validate(facts["tuning"]) if facts.get("tuning") else None
        others = {"notes": notes, "references": references, "tuning": tuning, **runs}
        return cls(**{**facts, "spec": spec, **others})


def begin(
    visible_gpus: Sequence[str],
    region: str | None,
    *,
    pue: str | None = None,
    spec: Spec | None = None,
    code_sha256: str = "",
    command: Sequence[str] = (),
    notes: Sequence[Warn] = (),
    references: Sequence[Reference] = (),
    charged_runs: Sequence[RunCost] = (),
    upstream: Sequence[RunCost] = (),
    trial: str | None = None,
    tuning: Tuning | None = None,
) -> Start:
    """What is known of a run that starts now, with a fresh id."""
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    nonce = secrets.token_hex(8)
    return Start(
        run_id=run_id(list(command) if spec is None else spec, started_at, nonce),
        nonce=nonce,
        started_at=started_at,
        machine=machine.facts(),
        software=machine.software(),
        visible_gpus=list(visible_gpus),
        region=region,
        pue=pue,
        spec=spec,
        code_sha256=code_sha256,
        command=list(command),
        notes=[*notes, *machine.limited(visible_gpus)],
        references=list(references),
        charged_runs=list(charged_runs),
        upstream=list(upstream),
        trial=trial,
        tuning=tuning,
    )


@dataclass(frozen=True)
class Window:
    start_ns: int
    stop_ns: int

    @property
    def duration_s(self) -> float:
        return (self.stop_ns - self.start_ns) / NS_PER_S


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a run; a torn last line is left out."""
    events = []
    if path.exists():
        for line in path.read_bytes().decode("utf-8", "replace").split("\n"):
            try:
                events.append(json.loads(line))
            except (json.JSONDecodeError, RecursionError):
                continue
    return events


def charged(start: Start, domains: Iterable[Domain]) -> Callable[[str], bool]:
    """Which domains count: every device that the child could see, and all that is not an
    accelerator or whose meter names no device (it was asked for)."""
    domains = list(domains)
    hidden = {d.name for d in domains if d.kind == "gpu" and d.uuid} - set(expected(start))
    counts = counted(domains, hidden)
    if any(d.kind == "node" for d in domains if d.name in counts):
        return counts.__contains__
    left_out = {d.name for d in domains} - set(counts)
    return lambda name: name not in left_out  # what was expected and is missing counts, too


def expected(start: Start) -> list[str]:
    """The domains that must be there: a missing one is missing, not zero."""
    return [f"gpu:{uuid}" for uuid in start.visible_gpus]


def metered(start: Start, events: list[dict[str, Any]], trace: Trace) -> dict[str, Any]:
    """What every record says of its window: the fields of `record.Metered`, less how it ended."""
    window = window_of(events, trace)
    charges = charged(start, trace.domains)
    domains = trace.energy(window.start_ns, window.stop_ns, charges, expected(start))
    counted = {d.domain for d in domains if d.charged}
    return {
        "bench_version": __version__,
        "run_id": start.run_id,
        "nonce": start.nonce,
        "started_at": start.started_at,
        "machine": start.machine,
        "software": start.software,
        "duration_s": window.duration_s,
        "domains": domains,
        "phases": phases(phase_spans(events, window), trace, window, counted),
        "idle_before": _idle_power(events, trace, "idle_before", counted),
        "idle_after": _idle_power(events, trace, "idle_after", counted),
        "region": start.region,
        "pue": start.pue,
        "not_covered": [] if _has_node(domains) else _not_covered(events),
        "warnings": _warnings(start, events, trace, window),
    }


def model_facts(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What the child said of its model: of each fact the last."""
    told = [e for e in events if e["event"] == "model"]
    return {k: v for e in told for k, v in e.items() if k not in ("event", "t_ns", "by")}


def saved(events: list[dict[str, Any]]) -> list[Saved]:
    """What the child said that it has kept: the last state, and weights."""
    told = [e for e in events if e["event"] == "saved" and set(Saved.model_fields) <= set(e)]
    last = {e["name"]: e for e in told if e["name"] in ("state", "weights")}
    return [Saved(**{field: e[field] for field in Saved.model_fields}) for e in last.values()]


def window_of(events: list[dict[str, Any]], trace: Trace) -> Window:
    """From the meter's events; empty when it never opened, to the last reading when it was cut."""
    at = {e["event"]: e["t_ns"] for e in events if e["event"] in ("window_start", "window_stop")}
    start_ns = at.get("window_start", trace.stop_ns)
    return Window(start_ns, max(at.get("window_stop", trace.stop_ns), start_ns))


def phase_spans(events: Iterable[dict[str, Any]], window: Window) -> list[tuple[str, int, int]]:
    """(name, start_ns, stop_ns) of each phase; together they cover the window without overlap."""
    spans: list[tuple[str, int, int]] = []
    name, since = "other", window.start_ns
    for event in events:
        if event["event"] not in ("phase_start", "phase_stop"):
            continue
        at = min(max(int(event["t_ns"]), since), window.stop_ns)
        if at > since:
            spans.append((name, since, at))
        name = str(event["phase"]) if event["event"] == "phase_start" else "other"
        since = at
    if window.stop_ns > since:
        spans.append((name, since, window.stop_ns))
    return spans


def phases(
    spans: Iterable[tuple[str, int, int]], trace: Trace, window: Window, charged: set[str]
) -> list[Phase]:
    """(name, start_ns, stop_ns) of each, with the energy of the charged domains."""
    return [
        Phase(
            name=name,
            start_s=(begin - window.start_ns) / NS_PER_S,
            duration_s=(end - begin) / NS_PER_S,
            energy_j={d: j for d, j in energy_j.items() if d in charged},
            uncertainty_j={d: u for d, u in unsure_j.items() if d in charged},
        )
        for name, begin, end in spans
        for energy_j in [trace.phase_energy_j(begin, end, charged.__contains__)]
        for unsure_j in [trace.phase_uncertainty_j(begin, end, charged.__contains__)]
    ]


def _idle_power(
    events: list[dict[str, Any]], trace: Trace, name: str, charged: set[str]
) -> Idle | None:
    at = {e["event"]: e["t_ns"] for e in events if e["event"].startswith(name)}
    begin, end = at.get(f"{name}_start"), at.get(f"{name}_stop")
    if begin is None or end is None or end <= begin:
        return None
    power_w = trace.mean_power_w(begin, end, charged.__contains__)
    return Idle(duration_s=(end - begin) / NS_PER_S, power_w=power_w)


def _has_node(domains: Iterable[DomainEnergy]) -> bool:
    """Whether one meter covers the whole machine."""
    return any(d.kind == "node" and d.charged and d.energy_j is not None for d in domains)


def _not_covered(events: list[dict[str, Any]]) -> list[str]:
    """What each probe that could not be used would have read, and why it did not."""
    refused: list[dict[str, Any]] = next(
        (e["refused"] for e in events if e["event"] == "meter"), []
    )
    return [r["text"] for r in refused]


def _bad_events(events: list[dict[str, Any]]) -> list[Warn]:
    """What the child sent and nobody understood: a phase may be missing for it."""
    bad = [e for e in events if e["event"] == "bad_event"]
    if not bad:
        return []
    text = f"{len(bad)} event(s) of the program are left out; the first: {bad[0]['why']}"
    return [Warn(id="bad-event", message=f"{text} ({bad[0]['text'][:80]})")]


def _warnings(
    start: Start, events: list[dict[str, Any]], trace: Trace, window: Window
) -> list[Warn]:
    told = [Warn(id=e["id"], message=e["message"]) for e in events if e["event"] == "warning"]
    told += [
        Warn(id="budget", message=e["message"]) for e in events if e["event"] == "budget_spent"
    ]
    told += _bad_events(events)
    used = {u for e in events if e["event"] == "devices" for u in e["uuids"]}
    told += [
        Warn(id="unmetered", message=f"the child used {u}, which is not charged", rankable=False)
        for u in sorted(used - set(start.visible_gpus))
    ]
    charges = charged(start, trace.domains)
    stands_in = any(  # for a GPU that NVML does not show: a node's meter, or one asked for
        charges(d.name) and (d.kind == "node" or (d.kind == "gpu" and not d.uuid))
        for d in trace.domains
    )
    return [
        *(n for n in start.notes if n.id != "gpu-unmetered" or not stands_in),
        *trace.warnings(window.start_ns, window.stop_ns, charges, expected(start)),
        *told,
    ]
