"""Synthetic records for tests: made up, never in `results/`."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

from bench import cards
from bench.rank.entry import Origin, Run
from bench.record import (
    Data,
    DomainEnergy,
    Idle,
    Metric,
    Phase,
    Record,
    Spec,
    Warn,
    pack_bits,
    run_id,
)

GPU = "1 x NVIDIA H100 80GB HBM3"
CPU = "CPU AMD EPYC 9B14, 2 cores"
CHANCE = 444 / 872  # majority share of SST-2's dev set
SST2 = cards.load("sst2")

_seeds = itertools.count(1000)


def make_data(official: bool = True, **changes: Any) -> Data:
    pinned = SST2.fingerprints
    train, scored = (pinned.train, pinned.scored) if pinned else ("a" * 64, "b" * 64)
    if not official:
        train, scored = "c" * 64, "d" * 64
    facts: dict[str, Any] = {
        "source": "local" if official else "embedded",
        "official": official,
        "fingerprints": {"train": train, "scored": scored},
        "labels_sha256": "e" * 64,
        "rows": {"train": 60000, "tune": 7349, "scored": 872},
    }
    return Data(**{**facts, **changes})


def make_metric(accuracy: float = 0.9, n: int = 872, bits: list[bool] | None = None) -> Metric:
    if bits is None:
        correct = round(accuracy * n)
        bits = [i < correct for i in range(n)]
    return Metric(
        name="accuracy", value=sum(bits) / len(bits), n=len(bits), chance=CHANCE, best=1.0,
        statistics={"correct": float(sum(bits))}, correct=pack_bits(bits),
    )  # fmt: skip


def make_domain(
    energy_j: float | None, level: str = "M1", kind: str = "gpu", **changes: Any
) -> DomainEnergy:
    method = "missing" if energy_j is None else "modelled" if level == "M0" else "counter"
    modelled = method == "modelled" and energy_j is not None
    facts: dict[str, Any] = {
        "domain": {"gpu": "gpu:GPU-1", "cpu": "cpu:package-0"}.get(kind, f"{kind}:0"),
        "kind": kind,
        "device": "NVIDIA H100 80GB HBM3" if kind == "gpu" else "AMD EPYC 9B14",
        "method": method,
        "level": level,
        "charged": True,
        "energy_j": energy_j,
        "uncertainty_j": None if energy_j is None or modelled else 0.1 * energy_j,
        "band_j": (0.6 * energy_j, 1.4 * energy_j) if modelled and energy_j else None,
    }
    return DomainEnergy(**{**facts, **changes})


def make_record(
    *,
    task: str = "sst2",
    accuracy: float = 0.92,
    energy_j: float | None = 20_000.0,
    seed: int | None = None,
    level: str = "M1",
    hardware: str = GPU,
    model: str = "all-minilm-l6",
    recipe: str = "baseline",
    settings: dict[str, Any] | None = None,
    track: str = "finetune",
    status: str = "complete",
    replay: bool = False,
    data: Data | None = None,
    warnings: list[Warn] | None = None,
    started_at: str | None = None,
    spec: dict[str, Any] | None = None,
    **changes: Any,
) -> Record:
    """A record as a run would leave it; `spec` and further arguments replace single fields."""
    number = next(_seeds)
    failed = status in ("failed", "interrupted")
    on_gpu = not hardware.startswith("CPU")
    domains = [make_domain(energy_j, level, "gpu" if on_gpu else "cpu")]
    name = domains[0].domain
    asked: dict[str, Any] = {
        "edition": "1.0",
        "task": task,
        "task_version": 1,
        "data": data or make_data(),
        "track": track,
        "model": model,
        "checkpoint_sha256": None,
        "recipe": recipe,
        "settings": {"epochs": 3, "learning_rate": 5e-05, **(settings or {})},
        "device": "cuda" if on_gpu else "cpu",
        "hardware": hardware,
        "budget": None,
        "seed": number if seed is None else seed,
        "seed_origin": "user" if replay else "harness",
    }
    frozen = Spec(**{**asked, **(spec or {})})
    started = started_at or f"2026-03-{1 + number // 86400 % 28:02d}T10:00:{number % 60:02d}.000Z"
    facts: dict[str, Any] = {
        "bench_version": "0.1.0",
        "run_id": run_id(frozen, started, str(number)),
        "nonce": str(number),
        "started_at": started,
        "status": status,
        "failure": "MemoryError: out of memory" if status == "failed" else None,
        "spec": frozen,
        "code_sha256": "f" * 64,
        "machine": {"cpu": "AMD EPYC 9B14", "cores": 2},
        "software": {"python": "3.11.9", "torch": "2.13.0"},
        "duration_s": 95.0,
        "domains": domains,
        "phases": [
            Phase(name=p, start_s=s, duration_s=d, energy_j={name: share * (energy_j or 0.0)})
            for p, s, d, share in (
                ("prepare", 0, 10, 0.1), ("train", 10, 80, 0.85), ("predict", 90, 5, 0.05)
            )
        ] if energy_j is not None else [],
        "idle_before": Idle(duration_s=3.0, power_w={name: 71.3}),
        "warnings": warnings or [],
        "metric": None if failed else make_metric(accuracy),
    }  # fmt: skip
    return Record(**{**facts, **changes})


def make_run(origin: Origin = "results", **facts: Any) -> Run:
    record = make_record(**facts)
    return Run(record, Path(origin) / record.spec.task / record.run_id, origin)


def make_entry(
    n: int = 3,
    *,
    accuracy: float = 0.92,
    energy_j: float = 20_000.0,
    scatter: float = 0.01,
    origin: Origin = "results",
    draw: random.Random | None = None,
    **facts: Any,
) -> list[Run]:
    """`n` runs of one spec: accuracy within a point, energy with relative `scatter`."""
    draw = draw or random.Random(n)
    return [
        make_run(
            origin,
            accuracy=accuracy + draw.gauss(0, 0.002),
            energy_j=energy_j * (1 + draw.gauss(0, scatter)),
            **facts,
        )
        for _ in range(n)
    ]
