"""A good submission, made by code: three runs of a small task on a simulated GPU, metered at 10 Hz.
Every number in it follows from the trace and the events, by the code that writes real records."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import account, measure, metrics, submission
from bench import record as records
from bench.cards import Card, Labels, LocalFiles, MetricFacts, Pinned, Reference
from bench.checks import Report, check
from bench.checks.bundle import EntryFolder, Surroundings, found
from bench.child import Outcome
from bench.learn import data
from bench.power.probes import Domain, Mark
from bench.power.trace import Series, Trace
from bench.record import Data, Record, Spec
from bench.submission import EntryFile

ROWS = 400
UUID = "GPU-0b57ab70-5b9a-4c55-a9e2-4f0a4f8f3a11"
LABELS = random.Random(5).choices(["negative", "positive"], k=ROWS)
TEXTS = data.Rows([(f"row {i}",) for i in range(ROWS)], LABELS)
CARD = Card(
    name="toy", title="Toy", family="classification", inputs=["sentence"],
    labels=Labels(column="label", classes=["negative", "positive"]),
    metric=MetricFacts(name="accuracy", chance="majority"),
    reference=Reference(model="bert-base-uncased", value=0.93, source="made up"),
    local=LocalFiles(format="tsv", train="train.tsv", scored="dev.tsv"),
    fingerprints=Pinned(
        train="1" * 64, scored=data.fingerprint(TEXTS), labels=data.labels_digest(LABELS)
    ),
)  # fmt: skip
REFERENCE = records.Reference(
    bench_version="0.1.0", measured_at="2026-11-25T08:00:00.000+00:00",
    hardware="1 x NVIDIA H100 80GB HBM3", device="cuda:0", level="M1", coverage="gpu",
    workload={"task": "sst2", "model": "transformer-small", "recipe": "baseline", "seed": 1},
    code_sha256="d" * 64,
    repetitions=[
        records.Repetition(energy_j=3_300.0 + 9 * i, uncertainty_j=170.0, duration_s=12.0)
        for i in range(5)
    ],
    idle=None, machine={"cpu": "AMD EPYC 9B14"}, software={"torch": "2.11.0"}, warnings=[],
)  # fmt: skip
NS = 10**9
BOOT_NS = 5_000 * NS  # monotonic clock when the first run's sampler starts
EPOCH_NS = 1_795_000_000 * NS  # the wall clock at monotonic 0


@dataclass
class Plan:
    """One run before it is written. Change what should be wrong, then `write`."""

    seed: int
    number: int = 0
    idle_s: float = 5.0
    window_s: float = 100.0
    rate_hz: float = 10.0
    load_w: float = 400.0
    idle_w: float = 70.0
    wrong: Sequence[int] = ()  # rows that are predicted wrong
    facts: dict[str, Any] = field(default_factory=dict)  # of the GPU
    spec: dict[str, Any] = field(default_factory=dict)  # changes
    start: dict[str, Any] = field(default_factory=dict)  # changes of account.Start
    marks: list[Mark] = field(default_factory=list)
    status: records.Status = "complete"
    trace: Callable[[Trace], Trace] = lambda trace: trace  # before the record is made
    events: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda events: events
    beside: Callable[[Path, account.Start], None] = lambda folder, start: None
    """What lies in its folder, such as other machines' parts, before the record is made."""
    record: Callable[[Record], Record] = lambda record: record  # after it was made


def plans(n: int = 3, first: int = 0) -> list[Plan]:
    """Runs that differ as runs do: a percent in power, some rows right or wrong. Those from another
    `first` on are others."""
    rng = random.Random(11 + first)
    return [
        Plan(
            seed=rng.randrange(2**31), number=first + i, load_w=400.0 + 3 * i,
            window_s=100.0 + 0.7 * i, wrong=sorted(rng.sample(range(ROWS), 30 + i)),
        )
        for i in range(n)
    ]  # fmt: skip


def spec_of(plan: Plan) -> Spec:
    facts = CARD.fingerprints
    assert facts is not None
    base: dict[str, Any] = {
        "edition": "1.0", "task": "toy", "task_version": 1,
        "data": Data(
            source="local", official=True,
            fingerprints={"train": facts.train, "scored": facts.scored},
            labels_sha256=facts.labels, rows={"train": 5000, "tune": 200, "scored": ROWS},
        ),
        "track": "scratch", "model": "transformer-small", "checkpoint_sha256": None,
        "recipe": "baseline", "settings": {"epochs": 2.0, "batch_size": 64, "max_length": 128},
        "device": "cuda:0", "hardware": "1 x NVIDIA H100 80GB HBM3", "budget": None,
        "seed": plan.seed, "seed_origin": "harness",
    }  # fmt: skip
    return Spec.model_validate({**base, **plan.spec})


def predictions_of(plan: Plan) -> list[str]:
    other = {"negative": "positive", "positive": "negative"}
    wrong = set(plan.wrong)
    return [other[label] if i in wrong else label for i, label in enumerate(LABELS)]


def times(plan: Plan) -> tuple[int, int, int, int]:
    """Monotonic ns: sampler's start, the window's two ends, sampler's end."""
    begin = BOOT_NS + plan.number * 1_000 * NS
    opened = begin + int((plan.idle_s + 0.5) * NS)
    own_ns = (plan.seed + 7919 * plan.number) % 10_000  # no two runs take equally long
    closed = opened + int(plan.window_s * NS) + own_ns
    return begin, opened, closed, closed + int((plan.idle_s + 0.5) * NS)


def events_of(plan: Plan) -> list[dict[str, Any]]:
    begin, opened, closed, end = times(plan)
    at = lambda share: opened + int(share * (closed - opened))  # noqa: E731
    steps = 158
    rng = random.Random(plan.seed)
    train = [
        {"event": "step", "t_ns": at(0.1 + 0.8 * i / steps), "step": i, "total_steps": steps,
         "epoch": 2 * i / steps, "first_step": 0,
         "loss": 0.7 - 0.5 * i / steps + rng.gauss(0, 0.01),
         "learning_rate": 1e-3}
        for i in [*range(1, steps, 3), steps]
    ]  # fmt: skip
    model = {"name": "transformer-small", "parameters": 2461442, "layers": 2, "width": 128}
    return [
        {"event": "meter", "t_ns": begin, "by": "meter", "refused": []},
        {"event": "idle_before_start", "t_ns": begin + NS // 4, "by": "meter"},
        {"event": "idle_before_stop", "t_ns": opened - NS // 4, "by": "meter"},
        {"event": "window_start", "t_ns": opened, "by": "meter"},
        {"event": "run_start", "t_ns": at(0.01), "seed": plan.seed,
         "spec_sha256": spec_of(plan).sha256()},
        {"event": "phase_start", "t_ns": at(0.01), "phase": "prepare"},
        {"event": "devices", "t_ns": at(0.05), "uuids": [UUID]},
        {"event": "model", "t_ns": at(0.08), **model},
        {"event": "phase_start", "t_ns": at(0.1), "phase": "train"},
        *train,
        {"event": "phase_start", "t_ns": at(0.91), "phase": "predict"},
        {"event": "run_stop", "t_ns": at(0.99), "reason": "done"},
        {"event": "window_stop", "t_ns": closed, "by": "meter"},
        {"event": "idle_after_start", "t_ns": closed + NS // 4, "by": "meter"},
        {"event": "idle_after_stop", "t_ns": end - NS // 4, "by": "meter"},
        {"event": "outcome", "t_ns": end, "by": "meter", "status": plan.status, "failure": None,
         "code": 0},
    ]  # fmt: skip


def trace_of(plan: Plan) -> Trace:
    """Power with some noise; a counter in millijoules that counts what was drawn."""
    begin, opened, closed, end = times(plan)
    rng = np.random.default_rng(plan.seed)
    t_ns = np.arange(begin, end, int(NS / plan.rate_hz), dtype=np.int64)
    busy = (t_ns >= opened) & (t_ns < closed)
    power_w = np.where(busy, plan.load_w, plan.idle_w) + rng.normal(0, 2.0, len(t_ns))
    step_j = (power_w[1:] + power_w[:-1]) / 2 * np.diff(t_ns) / NS
    energy_j = np.round(1e6 + np.concatenate([[0.0], np.cumsum(step_j)]), 3)
    facts = {
        "architecture": "Hopper", "driver": "580.159.04", "power_limit_w": 700.0,
        "default_power_limit_w": 700.0, "most_power_limit_w": 700.0, "mig": False,
        "energy_source": "field 191", "power_source": "field 186", "power_average_s": 0.0,
        **plan.facts,
    }  # fmt: skip
    device = "NVIDIA H100 80GB HBM3"
    domain = Domain(f"gpu:{UUID}", "gpu", device, "M1", 0.1, UUID, None, facts)
    series = Series(
        t_ns, np.round(power_w, 3), energy_j, np.where(busy, 0.95, 0.0),
        np.full(len(t_ns), 1980.0), np.full(len(t_ns), 45.0),
    )  # fmt: skip
    clocks = [(int(t), EPOCH_NS + int(t), int(t)) for t in range(begin, end, NS)]
    about = {"damaged_lines": 0, "rate_hz": plan.rate_hz, "probes": ["nvml"]}
    return Trace([domain], {domain.name: series}, list(plan.marks), clocks, about)


def write_run(plan: Plan, root: Path) -> Path:
    """The run's folder below `root`."""
    from datetime import UTC, datetime

    spec, trace = spec_of(plan), plan.trace(trace_of(plan))
    begin = times(plan)[0]
    moment = datetime.fromtimestamp((EPOCH_NS + begin) / NS, UTC)
    started_at = moment.isoformat(timespec="milliseconds")
    nonce = f"{plan.number:016x}"
    start = account.Start(**{
        "run_id": records.run_id(spec, started_at, nonce), "nonce": nonce,
        "started_at": started_at,
        "machine": {"cpu": "AMD EPYC 9B14", "cores": 16, "processors": 16, "memory_gb": 128.0,
                    "gpus": [{"name": "NVIDIA H100 80GB HBM3", "uuid": UUID}]},
        "software": {"python": "3.12.3", "torch": "2.11.0"},
        "visible_gpus": [UUID], "region": None, "spec": spec, "code_sha256": "c" * 64,
        "references": [REFERENCE],
        **plan.start,
    })  # fmt: skip
    folder = root / start.run_id
    folder.mkdir(parents=True)
    lines = [json.dumps(event) for event in plan.events(events_of(plan))]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    metric = None
    if plan.status == "complete":
        said = predictions_of(plan)
        data.Predictions(said, None).write(folder / "predictions.parquet")
        metric = metrics.score(CARD.metric, LABELS, said)
    outcome = Outcome(plan.status, None if plan.status == "complete" else "it was stopped")
    plan.beside(folder, start)
    record = measure.concluded(folder, start, trace, metric, outcome)
    assert isinstance(record, Record)
    measure.keep(folder, trace, plan.record(record))
    return folder


def write(
    root: Path,
    several: Sequence[Plan] | None = None,
    change: Callable[[EntryFile], EntryFile] = lambda entry: entry,
    name: str = "transformer-small-baseline",
) -> Path:
    """The entry's folder, `root`/toy/`name`: the runs, `entry.json` and the manifest."""
    folder = root / "toy" / name
    made = [records.read(write_run(plan, folder)) for plan in several or plans()]
    entry = EntryFile(
        edition="1.0", bench_version="0.1.0", submitted_at="2026-11-26T12:00:00+00:00", task="toy",
        title="A small Transformer from scratch", authors=["A. Nonymous"], track="scratch",
        runs=sorted(r.run_id for r in made),
        attempts=[submission.attempt(r) for r in made],
    )  # fmt: skip
    submission.write(change(entry), folder)
    return folder


def reseal(folder: Path) -> None:
    """Make the manifests of an entry and its runs right again, after a file was changed."""
    for run in sorted(p.parent for p in folder.glob("*/record.json")):
        names = json.loads((run / "manifest.json").read_text())
        digests = {n: records.file_sha256(run / n) for n in names if (run / n).is_file()}
        (run / "manifest.json").write_text(json.dumps(digests, indent=1) + "\n")
    submission.write(submission.read(folder), folder)


def around(**changes: Any) -> Surroundings:
    return Surroundings(**{"cards": {"toy": CARD}, **changes})


def checked(folder: Path, surroundings: Surroundings | None = None) -> Report:
    """The report on an entry's folder."""
    (entry,) = found(folder)
    return check(entry, surroundings or around())


def errors(folder: Path, surroundings: Surroundings | None = None) -> set[str]:
    """The ids of the rules that refuse an entry."""
    return {v.rule for v in checked(folder, surroundings).errors}


def entry_of(folder: Path) -> EntryFolder:
    (entry,) = found(folder)
    return entry


def write_card(folder: Path) -> None:
    """The card of the toy task, as `--tasks` finds it."""
    pinned = CARD.fingerprints
    assert pinned is not None
    lines = [f'{name} = "{value}"' for name, value in pinned.model_dump().items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.toml").write_text(TOML + "\n".join(lines) + "\n")


TOML = """
title = "Toy"
family = "classification"
inputs = ["sentence"]
[labels]
column = "label"
classes = ["negative", "positive"]
[metric]
name = "accuracy"
chance = "majority"
[reference]
model = "bert-base-uncased"
value = 0.93
source = "made up"
[local]
format = "tsv"
train = "train.tsv"
scored = "dev.tsv"
[fingerprints]
"""
