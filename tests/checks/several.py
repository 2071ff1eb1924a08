"""A good submission of runs on two machines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from bench.account import Start
from bench.power.trace import Trace
from tests.checks import bundles
from tests.checks.bundles import UUID, Plan

SECOND = "GPU-22222222-5eed-4000-8000-000000000002"
HARDWARE = "2 nodes of 1 x NVIDIA H100 80GB HBM3"
REFERENCE = bundles.REFERENCE.model_copy(update={"hardware": HARDWARE})


Hand = Callable[[Trace, Trace], Trace]
"""What a machine hands over, of its own trace and the first machine's."""


def second(trace: Trace) -> Trace:
    """The trace as another machine's: of another board."""
    domain = trace.domains[0]._replace(name=f"gpu:{SECOND}", uuid=SECOND)
    return dataclasses.replace(
        trace, domains=[domain], series={domain.name: trace.series[f"gpu:{UUID}"]}
    )


def plans(hand: Hand = lambda own, first: second(own)) -> list[Plan]:
    return [
        dataclasses.replace(
            plan, spec={"processes": 2, "nodes": 2, "hardware": HARDWARE},
            start={"references": [REFERENCE]}, beside=_handed_over(plan, hand),
        )
        for plan in bundles.plans()
    ]  # fmt: skip


def _handed_over(plan: Plan, hand: Hand) -> Callable[[Path, Start], None]:
    def write(folder: Path, start: Start) -> None:
        below = folder / "node-1"
        below.mkdir()
        other = dataclasses.replace(plan, seed=plan.seed + 1, load_w=plan.load_w - 20.0)
        found = hand(bundles.trace_of(other), bundles.trace_of(plan))
        found.write_parquet(below / "trace.parquet")
        ids = {"run_start", "devices", "model", "step", "run_stop", "phase_start"}
        lines = [json.dumps(e) for e in bundles.events_of(other) if e["event"] not in ids]
        (below / "events.jsonl").write_text("\n".join(lines) + "\n")
        own = dataclasses.replace(start, visible_gpus=[SECOND], references=[])
        (below / "node.json").write_text(json.dumps(own.dump(), indent=1) + "\n")
        hellos = {
            str(number): {
                "spec": {}, "code": start.code_sha256, "software": start.software, "gpus": [uuid],
                "hardware": "1 x NVIDIA H100 80GB HBM3", "boot": f"{number}" * 16,
            }
            for number, uuid in enumerate((UUID, SECOND))
        }  # fmt: skip
        (folder / "nodes.json").write_text(json.dumps(hellos, indent=1) + "\n")

    return write
