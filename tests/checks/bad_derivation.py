"""Bad submissions for D, derivation."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from bench import lineage
from bench import record as records
from bench.cards import Rows
from bench.checks.bundle import Surroundings
from bench.checks.labels import Scored
from bench.learn import data
from bench.power.probes import Domain
from bench.power.trace import Trace
from bench.record import Phase, Record, Warn
from tests.checks import bundles, several
from tests.checks.corpus import bad


def with_first(root: Path, **changes: Any) -> Path:
    """The good one, with something else in the plan of its first run."""
    plans = bundles.plans()
    plans[0] = dataclasses.replace(plans[0], **changes)
    return bundles.write(root, plans)


def stating(**changes: Any) -> Callable[[Record], Record]:
    return lambda record: record.model_copy(update=changes)


def claiming(**changes: Any) -> Callable[[Record], Record]:
    """A record whose metric says something else."""

    def change(record: Record) -> Record:
        assert record.metric
        metric = record.metric.model_copy(update=changes)
        return record.model_copy(update={"metric": metric})

    return change


def silent(*ids: str) -> Callable[[Record], Record]:
    """A record without its doubts."""
    return lambda r: r.model_copy(update={"warnings": [w for w in r.warnings if w.id not in ids]})


def of_domain(**changes: Any) -> Callable[[Record], Record]:
    def change(record: Record) -> Record:
        first, *others = record.domains
        domains = [first.model_copy(update=changes), *others]
        return record.model_copy(update={"domains": domains})

    return change


def of_phase(number: int, **changes: Any) -> Callable[[Record], Record]:
    def change(record: Record) -> Record:
        phases = list(record.phases)
        phases[number] = phases[number].model_copy(update=changes)
        return record.model_copy(update={"phases": phases})

    return change


def scaled(share: float) -> Callable[[Trace], Trace]:
    """A trace whose power, and not its counter, is a share of what it was."""

    def change(trace: Trace) -> Trace:
        series = {n: dataclasses.replace(s, power_w=s.power_w * share)
                  for n, s in trace.series.items()}  # fmt: skip
        return dataclasses.replace(trace, series=series)

    return change


# --- D1


@bad("D1", "weights of a size that is no number")
def no_number(root: Path) -> Path:
    folder = bundles.write(root)
    path = min(folder.glob("*/events.jsonl"))
    last = json.loads(path.read_text().splitlines()[-1])
    kept = {"name": "weights", "file": "weights/model.safetensors", "sha256": "0" * 64}
    event = {"event": "saved", "t_ns": last["t_ns"], **kept, "bytes": "many", "step": 158}
    path.write_text(path.read_text() + json.dumps(event) + "\n")
    bundles.reseal(folder)
    return folder


# --- D2, D3, D12


@bad("D2", "predictions of another run")
def others_predictions(root: Path) -> Path:
    folder = bundles.write(root)
    first, second, _ = sorted(p.parent for p in folder.glob("*/record.json"))
    shutil.copy(second / "predictions.parquet", first / "predictions.parquet")
    bundles.reseal(folder)
    return folder


@bad("D2", "rows that are said to be right and are not, where the labels are at hand")
def wrong_rows(root: Path) -> tuple[Path, Surroundings]:
    def change(record: Record) -> Record:
        assert record.metric
        bits = [True] * 390 + [False] * 10
        metric = record.metric.model_copy(
            update={"correct": records.pack_bits(bits), "value": 390 / 400,
                    "statistics": {"correct": 390.0}}
        )  # fmt: skip
        return record.model_copy(update={"metric": metric})

    return with_first(root, record=change), bundles.around(
        scored=lambda card: Scored(bundles.LABELS)
    )


@bad("D2", "a prediction that is no class")
def no_class(root: Path) -> Path:
    folder = bundles.write(root)
    run = min(p.parent for p in folder.glob("*/record.json"))
    said = pyarrow.parquet.read_table(run / "predictions.parquet")["prediction"].to_pylist()
    data.Predictions([*said[:-1], "splendid"], None).write(run / "predictions.parquet")
    bundles.reseal(folder)
    return folder


@bad("D2", "a chance that is no class's share")
def less_chance(root: Path) -> Path:
    return with_first(root, record=claiming(chance=0.75))


@bad("D3", "a value that is not that of its statistics")
def other_value(root: Path) -> Path:
    return with_first(root, record=claiming(value=0.99))


@bad("D3", "a best value that is not the card's")
def less_to_reach(root: Path) -> Path:
    return with_first(root, record=claiming(best=0.95))


@bad("D3", "a metric of the rows that were right")
def some_rows(root: Path) -> Path:
    return with_first(
        root, record=claiming(n=100, value=1.0, statistics={"correct": 100.0},
                              correct=records.pack_bits([True] * 100)),
    )  # fmt: skip


@bad("D3", "bits that say more than what is right")
def more_bits(root: Path) -> Path:
    return with_first(root, record=claiming(correct=records.pack_bits([True] * 400)))


@bad("D3", "data that calls itself official")
def not_official(root: Path) -> Path:
    plans = bundles.plans()
    other = bundles.spec_of(plans[0]).data.model_copy(
        update={"fingerprints": {"train": "5" * 64, "scored": "6" * 64}}
    )
    for plan in plans:
        plan.spec = {"data": other}
    return bundles.write(root, plans)


@bad("D3", "a metric that the task does not have")
def other_metric(root: Path) -> Path:
    return with_first(root, record=claiming(name="mcc"))


@bad("D3", "statistics that are not all there")
def no_statistics(root: Path) -> Path:
    return with_first(root, record=claiming(statistics={"right": 380.0}))


@bad("D3", "official data of other rows")
def fewer_rows(root: Path) -> tuple[Path, Surroundings]:
    card = bundles.CARD.model_copy(update={"rows": Rows(train=9_000, scored=400)})
    return bundles.write(root), bundles.around(cards={"toy": card})


@bad("D3", "official data, and nearly nothing of it to learn from")
def all_to_tune(root: Path) -> tuple[Path, Surroundings]:
    card = bundles.CARD.model_copy(update={"rows": Rows(train=5200, scored=400)})
    plans = bundles.plans()
    for plan in plans:
        rows = {"train": 1, "tune": 5199, "scored": 400}
        plan.spec = {"data": bundles.spec_of(plan).data.model_copy(update={"rows": rows})}
    return bundles.write(root, plans), bundles.around(cards={"toy": card})


@bad("D3", "a prediction for each of the rows that were right")
def fewer_predictions(root: Path) -> Path:
    folder = bundles.write(root)
    path = min(folder.glob("*/predictions.parquet"))
    said = pyarrow.parquet.read_table(path)["prediction"].to_pylist()
    data.Predictions(said[:370], None).write(path)
    bundles.reseal(folder)
    return folder


@bad("D12", "a row that is right in one run and, said otherwise, in another")
def right_both_ways(root: Path) -> tuple[Path, Surroundings]:
    def swapped(record: Record) -> Record:
        assert record.metric
        assert record.metric.correct
        bits = records.unpack_bits(record.metric.correct, record.metric.n)
        wrong, right = bits.index(False), bits.index(True)
        bits[wrong], bits[right] = True, False
        metric = record.metric.model_copy(update={"correct": records.pack_bits(bits)})
        return record.model_copy(update={"metric": metric})

    assert bundles.CARD.labels
    labels = bundles.CARD.labels.model_copy(update={"classes": ["negative", "neutral", "positive"]})
    card = bundles.CARD.model_copy(update={"labels": labels})
    return with_first(root, record=swapped), bundles.around(cards={"toy": card})


# --- D4 to D8


@bad("D4", "a duration that is half of the window's")
def half_as_long(root: Path) -> Path:
    plans = bundles.plans()
    plans[0].record = lambda r: r.model_copy(update={"duration_s": r.duration_s / 2})
    return bundles.write(root, plans)


@bad("D5", "a phase of another name")
def renamed(root: Path) -> Path:
    return with_first(root, record=of_phase(2, name="download"))


@bad("D5", "a training that is longer than it was")
def longer_training(root: Path) -> Path:
    return with_first(root, record=of_phase(2, duration_s=90.0))


@bad("D5", "less energy in training, and as much more elsewhere")
def moved_energy(root: Path) -> Path:
    def change(record: Record) -> Record:
        by_name = {p.name: p for p in record.phases}
        (domain,) = by_name["train"].energy_j
        moved = {"train": -5_000.0, "predict": 5_000.0}

        def with_more(phase: Phase) -> Phase:
            energy_j = {domain: phase.energy_j[domain] + moved.get(phase.name, 0.0)}
            return phase.model_copy(update={"energy_j": energy_j})

        return record.model_copy(update={"phases": [with_more(p) for p in record.phases]})

    return with_first(root, record=change)


@bad("D5", "a phase that is surer than it can be")
def too_sure(root: Path) -> Path:
    return with_first(root, record=of_phase(2, uncertainty_j={f"gpu:{bundles.UUID}": 1.0}))


@bad("D6", "half of the energy")
def half_the_energy(root: Path) -> Path:
    return with_first(
        root, record=lambda r: of_domain(energy_j=(r.domains[0].energy_j or 0.0) / 2)(r)
    )


@bad("D6", "a domain that is left out")
def left_out(root: Path) -> Path:
    plans = bundles.plans()

    def with_memory(trace: Trace) -> Trace:
        gpu = trace.domains[0]
        memory = gpu._replace(name="dram:package-0", kind="dram", device="memory", uuid=None,
                              facts={})  # fmt: skip
        seen = trace.series[gpu.name]
        other = dataclasses.replace(seen, power_w=seen.power_w / 9 + 1, energy_j=seen.energy_j / 9,
                                    utilisation=seen.utilisation * 0)  # fmt: skip
        return dataclasses.replace(
            trace, domains=[gpu, memory], series={**trace.series, memory.name: other}
        )

    plans[0].trace = with_memory
    plans[0].record = lambda r: r.model_copy(update={"domains": r.domains[:1]})
    return bundles.write(root, plans)


@bad("D6", "a meter that says it is calibrated")
def better_level(root: Path) -> Path:
    return with_first(root, record=of_domain(level="M3"))


@bad("D6", "an uncertainty that is a tenth")
def surer(root: Path) -> Path:
    return with_first(root, record=of_domain(uncertainty_j=400.0))


@bad("D6", "a band, as if it were estimated")
def band(root: Path) -> Path:
    return with_first(root, record=of_domain(band_j=(1_000.0, 50_000.0)))


@bad("D7", "a counter that counts twice what power says")
def twice(root: Path) -> Path:
    return with_first(root, trace=scaled(0.5), record=silent("disagreement"))


@bad("D7", "a counter that nothing can be held against", warns=True)
def counter_alone(root: Path) -> Path:
    return with_first(root, trace=scaled(float("nan")))


@bad("D7", "a meter of the node, below which no board was read", warns=True)
def blind_node(root: Path) -> Path:
    plans, reference = bundles.plans(), bundles.REFERENCE
    outside = reference.model_copy(update={"level": "M2", "coverage": "node"})

    def by_node(trace: Trace) -> Trace:
        (board,), (series,) = trace.domains, trace.series.values()
        node = Domain("node:ipmi", "node", "a board controller", "M2", 0.1)
        nothing = np.full(len(series.t_ns), np.nan)
        unread = dataclasses.replace(series, power_w=nothing, energy_j=nothing)
        trace.facts["probes"] = ["nvml", "ipmitool"]
        return dataclasses.replace(
            trace, domains=[board, node], series={board.name: unread, node.name: series}
        )

    for plan in plans:
        plan.trace, plan.start = by_node, {"references": [outside]}
    return bundles.write(root, plans)


@bad("D8", "an idle power that is not what was read")
def more_idle(root: Path) -> Path:
    def change(record: Record) -> Record:
        assert record.idle_before
        power_w = {d: 2 * w for d, w in record.idle_before.power_w.items()}
        idle = record.idle_before.model_copy(update={"power_w": power_w})
        return record.model_copy(update={"idle_before": idle})

    return with_first(root, record=change)


@bad("D8", "a minute of idle power that was five seconds")
def longer_idle(root: Path) -> Path:
    def change(record: Record) -> Record:
        assert record.idle_before
        idle = record.idle_before.model_copy(update={"duration_s": 60.0})
        return record.model_copy(update={"idle_before": idle})

    return with_first(root, record=change)


@bad("D8", "an idle power that nobody read")
def no_idle(root: Path) -> Path:
    def unread(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [e for e in events if not e["event"].startswith("idle_after")]

    return with_first(
        root, events=unread,
        record=lambda r: r.model_copy(update={"idle_after": r.idle_before}),
    )  # fmt: skip


# --- D9 to D11


@bad("D9", "a doubt that is left out of the record")
def unsaid(root: Path) -> Path:
    def warned(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        doubt = {**events[-3], "event": "warning", "id": "slow-bf16", "message": "emulated"}
        return [*events[:-3], doubt, *events[-3:]]

    return with_first(root, events=warned, record=silent("slow-bf16"))


@bad("D9", "a suspend that is said to be no reason not to rank")
def softened(root: Path) -> Path:
    def asleep(trace: Trace) -> Trace:
        late = len(trace.clocks) // 2
        clocks = [(t, real + (i > late) * 10**10, boot + (i > late) * 10**10)
                  for i, (t, real, boot) in enumerate(trace.clocks)]  # fmt: skip
        return dataclasses.replace(trace, clocks=clocks)

    def soft(record: Record) -> Record:
        warnings = [Warn(id=w.id, message=w.message) for w in record.warnings]
        return record.model_copy(update={"warnings": warnings})

    return with_first(root, trace=asleep, record=soft)


@bad("D10", "a model that is smaller than it said")
def smaller(root: Path) -> Path:
    return with_first(
        root,
        record=lambda r: r.model_copy(
            update={"model_facts": {**r.model_facts, "parameters": 100_000}}
        ),
    )


@bad("D10", "a run that failed and says that it is complete")
def failed(root: Path) -> Path:
    def ended(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        last = {**events[-1], "status": "failed", "failure": "out of memory", "code": 1}
        return [*events[:-1], last]

    return with_first(root, events=ended)


@bad("D10", "another machine than the one that handed over")
def other_machine(root: Path) -> Path:
    plans = several.plans()

    def renamed(record: Record) -> Record:
        first, second = record.nodes
        second = second.model_copy(update={"machine": {"cpu": "a small one"}})
        return record.model_copy(update={"nodes": [first, second]})

    plans[0].record = renamed
    return bundles.write(root, plans)


@bad("D10", "a machine whose GPU is not charged")
def hidden_gpu(root: Path) -> Path:
    return with_hello(root, gpus=[several.SECOND, "GPU-33333333-5eed-4000-8000-000000000003"])


@bad("D10", "a machine that ran other code")
def other_code(root: Path) -> Path:
    return with_hello(root, code="d" * 64)


def with_hello(root: Path, **changes: Any) -> Path:
    """Runs on two machines, of which the second said something else at the start."""
    folder = bundles.write(root, several.plans())
    path = min(folder.glob("*/nodes.json"))
    hellos = json.loads(path.read_text())
    hellos["1"] |= changes
    path.write_text(json.dumps(hellos))
    bundles.reseal(folder)
    return folder


def taught(
    root: Path, change: Callable[[Any], Any], **of_teacher: Any
) -> tuple[Path, Surroundings]:
    """Runs with a teacher that was submitted before, and what they say of it."""
    teachers = [dataclasses.replace(plan, **of_teacher) for plan in bundles.plans(4)[3:]]
    before = bundles.write(root / "before", teachers, name="teacher")
    place = next(p.parent for p in before.glob("*/record.json"))
    cost = change(lineage.teacher(records.read(place), place))
    plans = bundles.plans()
    for i, plan in enumerate(plans):  # made later, of other seeds
        plan.number += 10
        plan.seed += 1
        plan.wrong = [7 * k + i for k in range(30)]
        plan.start = {"charged_runs": [cost]}
    folder = bundles.write(root / "after", plans)
    return folder, bundles.around(others={place.name: place})


@bad("D11", "a teacher that cost more than is said")
def cheap_teacher(root: Path) -> tuple[Path, Surroundings]:
    return taught(root, lambda cost: cost.model_copy(update={"energy_j": cost.energy_j / 10}))


@bad("D11", "a teacher that nobody has", warns=True)
def unknown_teacher(root: Path) -> tuple[Path, Surroundings]:
    folder, _ = taught(root, lambda cost: cost)
    return folder, bundles.around()


@bad("D11", "a teacher whose readings nobody may believe", warns=True)
def doubtful_teacher(root: Path) -> tuple[Path, Surroundings]:
    def jumping(trace: Trace) -> Trace:
        clocks = [(t, real, boot + (i > 50) * 10**10) for i, (t, real, boot) in
                  enumerate(trace.clocks)]  # fmt: skip
        return dataclasses.replace(trace, clocks=clocks)

    own = {"settings": {"epochs": 2.0, "batch_size": 64, "max_length": 64}}
    return taught(root, lambda cost: cost, trace=jumping, spec=own)
