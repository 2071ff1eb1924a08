"""Bad submissions for Q, statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.checks import bundles
from tests.checks.bad_protocol import all_of, around, earlier
from tests.checks.bundles import Plan
from tests.checks.corpus import Made, bad


@bad("Q1", "failed runs and nothing else", warns=True)
def nothing_counts(root: Path) -> Path:
    def change(plan: Plan) -> None:
        plan.status = "failed"

    return bundles.write(root, all_of(change))


@bad("Q1", "two runs", warns=True)
def two_runs(root: Path) -> Path:
    return bundles.write(root, bundles.plans(2))


@bad("Q2", "a model that is little better than chance", warns=True)
def below_bronze(root: Path) -> Path:
    several = bundles.plans()
    for i, plan in enumerate(several):
        plan.wrong = range(i, i + 150)
    return bundles.write(root, several)


@bad("Q2", "runs that differ so much that their bound is below bronze", warns=True)
def scattered(root: Path) -> Path:
    several = bundles.plans()
    for plan, wrong in zip(several, (20, 60, 110), strict=True):
        plan.wrong = range(wrong)
    return bundles.write(root, several)


@bad("Q3", "a run that took half the power of the others", warns=True)
def half_the_power(root: Path) -> Path:
    several = bundles.plans()
    several[0].load_w /= 2
    return bundles.write(root, several)


@bad("Q3", "more energy for fewer updates", warns=True)
def more_for_less(root: Path) -> Path:
    several = bundles.plans()
    for plan in several:
        plan.spec = {"recipe": "early-stop"}
    several[0].events = lambda events: [
        {**e, "total_steps": 79} if "step" in e else e for e in events if e.get("step", 0) < 80
    ]
    return bundles.write(root, several)


@bad("Q4", "no reference job", warns=True)
def no_reference(root: Path) -> Path:
    def change(plan: Plan) -> None:
        plan.start = {"references": []}

    return bundles.write(root, all_of(change))


@bad("Q4", "the reference job of another machine")
def another_machine(root: Path) -> Path:
    reference = bundles.REFERENCE.model_copy(update={"hardware": "1 x NVIDIA A100-SXM4-80GB"})

    def change(plan: Plan) -> None:
        plan.start = {"references": [reference]}

    return bundles.write(root, all_of(change))


@bad("Q4", "a reference job that took nothing")
def free_reference(root: Path) -> Path:
    free = bundles.REFERENCE.repetitions[0].model_copy(update={"energy_j": 0.0})
    reference = bundles.REFERENCE.model_copy(update={"repetitions": [free]})

    def change(plan: Plan) -> None:
        plan.start = {"references": [reference]}

    return bundles.write(root, all_of(change))


@bad("Q4", "a reference job far below those of its kind", warns=True)
def far_off(root: Path) -> Made:
    before = []
    for i in range(2):
        several = earlier(1)
        several[0].number += i
        several[0].seed += i
        repetitions = [
            r.model_copy(update={"energy_j": 2 * r.energy_j}) for r in bundles.REFERENCE.repetitions
        ]
        about = {"measured_at": f"2026-11-1{i}T08:00:00.000+00:00", "repetitions": repetitions}
        several[0].start["references"] = [bundles.REFERENCE.model_copy(update=about)]
        before.append(bundles.write(root / f"before-{i}", several, name=f"other-{i}"))
    return bundles.write(root), around(*before)


def reference_of(root: Path, **changes: Any) -> Made:
    """Beside an entry with the reference job of everybody."""
    before = bundles.write(root / "before", earlier())
    several = bundles.plans()
    for plan in several:
        plan.start = {"references": [bundles.REFERENCE.model_copy(update=changes)]}
    return bundles.write(root, several, name="mine"), around(before)


@bad("Q4", "a reference job that nobody else has", warns=True)
def own_job(root: Path) -> Made:
    return reference_of(root, workload={**bundles.REFERENCE.workload, "model": "transformer-tiny"})


@bad("Q4", "a reference job that was made once", warns=True)
def once(root: Path) -> Made:
    return reference_of(root, repetitions=bundles.REFERENCE.repetitions[:1])


@bad("Q5", "not one row wrong")
def perfect(root: Path) -> Path:
    several = bundles.plans()
    several[0].wrong = ()
    return bundles.write(root, several)


@bad("Q5", "a small model from scratch above a large one that was pretrained", warns=True)
def above_the_reference(root: Path) -> Path:
    several = bundles.plans()
    for i, plan in enumerate(several):
        plan.wrong = range(5 * i, 5 * i + 12)
    return bundles.write(root, several)


def _other_losses(plan: Plan) -> None:
    plan.events = lambda events: [
        {**e, "loss": e["loss"] * 1.1} if "loss" in e else e for e in events
    ]


@bad("Q6", "the predictions of another run", warns=True)
def same_predictions(root: Path) -> Path:
    several = bundles.plans()
    several[1].wrong = several[0].wrong
    _other_losses(several[1])
    return bundles.write(root, several)
