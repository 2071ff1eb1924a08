"""From what each machine of a training has metered to one record: energies add up, and whatever
makes the sum doubtful is said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import account
from bench.account import Start, Window
from bench.errors import BenchError
from bench.record import DomainEnergy, Idle, Node, Phase, Warn, on_node, part_folder
from bench.units import NS_PER_S

if TYPE_CHECKING:
    from bench.power.trace import Trace

HELLOS = "nodes.json"
"""In the first machine's folder: what each machine said of itself at the start, by number."""

_APART_S = 1.0
"""Windows open and close at one message to all: so far apart they are not the same window."""
_INVALID = {"unreadable", "lost", "hung", "implausible-power"}
"""Of one machine they widen the uncertainty; a counter that is not trusted never ranks."""


def merged(folder: Path, start: Start, fields: dict[str, Any]) -> dict[str, Any]:
    """`account.metered` of the first machine with what `folder`/node-N holds of the others. One
    that handed nothing over has a domain that is missing: the run then has no energy."""
    assert start.spec is not None
    hellos = _hellos(folder)
    numbers = range(1, start.spec.nodes)
    parts = {n: _read(part_folder(folder, n), start.run_id, fields["phases"]) for n in numbers}
    every = {0: fields} | {n: part for n, part in parts.items() if part}
    lost = [n for n in numbers if n not in every]
    return {
        **fields,
        "domains": [d for n, of in every.items() for d in _renamed(n, of["domains"])]
        + [_missing(n) for n in lost],
        "phases": _phases({n: of["phases"] for n, of in every.items()}),
        "idle_before": _idle({n: of["idle_before"] for n, of in every.items()}),
        "idle_after": _idle({n: of["idle_after"] for n, of in every.items()}),
        "not_covered": [t for n, of in every.items() for t in _said(n, of["not_covered"])],
        "warnings": [w for n, of in every.items() for w in _doubts(n, of["warnings"])]
        + [*_lost(lost), *_checked(every, hellos), *_unsaid({0, *numbers} - set(hellos))],
        "nodes": [
            Node(
                number=n, machine=of["machine"], software=of["software"],
                duration_s=of["duration_s"],
            )
            for n, of in every.items()
        ],
    }  # fmt: skip


def _hellos(folder: Path) -> dict[int, dict[str, Any]]:
    try:
        return {int(n): said for n, said in json.loads((folder / HELLOS).read_bytes()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _read(folder: Path, run_id: str, phases: Sequence[Phase]) -> dict[str, Any] | None:
    """`account.metered` of another machine; None where something of it is missing, can't be read,
    or is of another run: what is not known must not make a run cheaper."""
    from bench.power.trace import Trace

    try:
        start = Start.load(json.loads((folder / "node.json").read_bytes()))
        trace = Trace.read_parquet(folder / "trace.parquet")
        events = account.read_events(folder / "events.jsonl")
    except (OSError, ValueError, TypeError, KeyError, BenchError):
        return None
    edges = {"window_start", "window_stop"} & {e["event"] for e in events}
    if start.run_id != run_id or len(edges) < 2:
        return None
    fields = account.metered(start, events, trace)
    counted = {d.domain for d in fields["domains"] if d.charged}
    return fields | {"phases": _as_first(phases, trace, account.window_of(events, trace), counted)}


def _as_first(
    phases: Sequence[Phase], trace: Trace, window: Window, counted: set[str]
) -> list[Phase]:
    """The first machine's phases on another: their windows opened together, and the last phase
    ends with the window, so that all of it is in one of them."""
    starts_ns = [window.start_ns + round(p.start_s * NS_PER_S) for p in phases]
    edges_ns = [min(t, window.stop_ns) for t in [*starts_ns[1:], window.stop_ns]]
    spans = [
        (p.name, min(begin, window.stop_ns), end)
        for p, begin, end in zip(phases, starts_ns, edges_ns, strict=True)
    ]
    return account.phases(spans, trace, window, counted)


# --- names


def _renamed(number: int, domains: Sequence[DomainEnergy]) -> list[DomainEnergy]:
    return [d.model_copy(update={"domain": on_node(number, d.domain)}) for d in domains]


def _said(number: int, texts: Sequence[str]) -> list[str]:
    return [f"node {number}: {text}" for text in texts]


def _doubts(number: int, warnings: Sequence[Warn]) -> list[Warn]:
    """What makes one machine's energy doubtful makes the sum invalid where readings went wrong: the
    others' can't stand in for it."""
    return [
        w.model_copy(
            update={
                "message": f"node {number}: {w.message}",
                "rankable": w.rankable and w.id not in _INVALID,
            }
        )
        for w in warnings
    ]


# --- sums


def _phases(every: Mapping[int, Sequence[Phase]]) -> list[Phase]:
    """The first machine's, with the energy of all."""
    return [
        first.model_copy(
            update={
                "energy_j": {
                    on_node(n, d): j for n, of in every.items() for d, j in of[i].energy_j.items()
                },
                "uncertainty_j": {
                    on_node(n, d): u
                    for n, of in every.items()
                    for d, u in of[i].uncertainty_j.items()
                },
            }
        )
        for i, first in enumerate(every[0])
    ]


def _idle(every: Mapping[int, Idle | None]) -> Idle | None:
    """Of all, where all have it."""
    first = every[0]
    if first is None or not all(every.values()):
        return None
    power_w = {on_node(n, d): w for n, of in every.items() if of for d, w in of.power_w.items()}
    return Idle(duration_s=first.duration_s, power_w=power_w)


# --- doubts


def _missing(number: int) -> DomainEnergy:
    return DomainEnergy(
        domain=f"node{number}", kind="node", device="unknown", method="missing", level="M1",
        charged=True, energy_j=None, uncertainty_j=None, reason=_LOST,
    )  # fmt: skip


_LOST = "the machine did not hand over what it has metered"


def _lost(numbers: Sequence[int]) -> Iterator[Warn]:
    for number in numbers:
        yield Warn(id="node-missing", message=f"node {number}: {_LOST}", rankable=False)


def _unsaid(numbers: set[int]) -> Iterator[Warn]:
    for number in sorted(numbers):
        text = f"node {number}: what it said of itself is lost: it may be the same as another"
        yield Warn(id="node-unknown", message=text, rankable=False)


def _checked(
    every: Mapping[int, Mapping[str, Any]], hellos: Mapping[int, Mapping[str, Any]]
) -> Iterator[Warn]:
    """What is wrong between machines, each of which is right by itself."""
    for one, other, what in _shared(hellos):
        text = f"nodes {one} and {other} have the same {what}: something is counted twice"
        yield Warn(id="same-node", message=text, rankable=False)
    covered = {n: _kinds(of["domains"]) for n, of in every.items()}
    for number, kinds in covered.items():
        if kinds != covered[0]:
            text = f"node {number} is metered by {kinds or 'nothing'}, node 0 by {covered[0]}"
            yield Warn(id="coverage-differs", message=text, rankable=False)
        apart_s = abs(every[number]["duration_s"] - every[0]["duration_s"])
        if apart_s > _APART_S:
            text = f"the windows of nodes 0 and {number} differ by {apart_s:.1f} s"
            yield Warn(id="windows-differ", message=text, rankable=False)


def _kinds(domains: Sequence[DomainEnergy]) -> str:
    """What is covered, and whether it is measured or estimated."""
    found = {
        f"{d.kind} ({'estimated' if d.level == 'M0' else 'measured'})" for d in domains if d.charged
    }
    return ", ".join(sorted(found))


def _shared(hellos: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[int, int, str]]:
    """Pairs of machines that are one, and GPUs that two have: (number, number, what)."""
    seen: dict[str, int] = {}
    for number, hello in hellos.items():
        keys = {hello["boot"]: "boot id"} | {uuid: f"GPU {uuid}" for uuid in hello["gpus"]}
        for key, what in keys.items():
            if key in seen:
                yield seen[key], number, what
            seen.setdefault(key, number)
