"""Floors of computing stay below what every honest run does, whatever its recipe leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.checks import computing, trained
from bench.checks.bundle import RunFolder
from bench.checks.computing import Steps
from tests.checks import bundles

H100 = "NVIDIA H100 80GB HBM3"


def made(root: Path, recipe: str, spec: dict[str, Any] | None = None, **facts: Any) -> RunFolder:
    plan = bundles.plans(1)[0]
    plan.spec = {"recipe": recipe, **(spec or {})}
    plan.events = lambda events: [
        {**e, **facts} if e["event"] == "model" else e for e in events
    ]  # fmt: skip
    return bundles.entry_of(bundles.write(root, [plan])).runs[0]


def floor(run: RunFolder) -> float | None:
    steps, recipes = Steps.of(run), computing.recipes_of(run.record.spec.recipe)
    assert steps
    assert recipes
    return computing.floor_flops(run, steps, recipes)


@pytest.mark.parametrize(
    ("recipe", "facts", "share"),
    [
        ("baseline", {}, 1.0),
        ("bf16", {}, 1.0),
        ("lora", {}, 0.5),
        ("freeze", {"frozen_layers": 1}, 0.25),
        ("freeze", {"frozen_layers": 2}, 0.0),
        ("freeze", {}, 0.0),
        ("prune", {}, 1 / 16),
        ("data-prune", {"rows_kept_share": 0.25}, 0.25),
        ("layer-drop", {"layers": 1}, 0.5),
    ],
)
def test_what_a_recipe_leaves_out_is_not_asked_for(
    tmp_path: Path, recipe: str, facts: dict[str, Any], share: float
) -> None:
    """Of two layers of width 128, two epochs of 5,000 rows, forward and backward."""
    whole = 4 * (2 * 4 * 128**2) * 10_000
    assert floor(made(tmp_path, recipe, **facts)) == pytest.approx(share * whole)


def test_a_model_without_a_shape_has_no_floor(tmp_path: Path) -> None:
    assert floor(made(tmp_path, "baseline", width="wide")) is None


def test_a_part_counts_its_own_steps(tmp_path: Path) -> None:
    plan = bundles.plans(1)[0]
    plan.events = lambda events: [
        {**e, "first_step": 79} if e["event"] == "step" else e for e in events
    ]  # fmt: skip
    run = bundles.entry_of(bundles.write(tmp_path, [plan])).runs[0]
    assert floor(run) == pytest.approx(4 * (2 * 4 * 128**2) * 5_000)


def test_a_recipe_of_somebodys_own_may_do_anything() -> None:
    assert computing.recipes_of("bf16+mine.py") is None
    assert computing.recipes_of("token-budget+freeze") == {"token-budget", "freeze"}


def test_every_recipe_of_bench_is_known() -> None:
    from bench import recipes

    assert computing.recipes_of("+".join(recipes.names())) is not None


def test_peaks_are_those_of_the_format_and_of_the_longest_name() -> None:
    formats = [{"baseline"}, {"tf32"}, {"bf16"}, {"quantise"}]
    found = [computing.peak(H100, recipes) for recipes in formats]
    flops = [peak.flops for peak in found if peak]
    assert flops == sorted(set(flops))
    assert len(flops) == 4
    sparse = computing.peak(H100, {"prune", "bf16"})
    assert sparse
    assert sparse.flops == 2 * flops[2], "two of four weights are zero"
    assert computing.accelerator("NVIDIA L40S") != computing.accelerator("NVIDIA L4")
    assert computing.accelerator("NVIDIA A100-SXM4-80GB")
    assert computing.peak("Abacus", {"baseline"}) is None
    assert computing.processor(16, {"baseline"}).flops == 16 * computing.processor(
        1, {"baseline"}
    ).flops  # fmt: skip


def test_the_table_says_what_is_known_of_each(tmp_path: Path) -> None:
    for row in computing._table()["accelerator"]:
        assert row["flops"]["fp32"] <= row["flops"]["tf32"] <= row["flops"]["half"]
        assert row["flops"]["half"] <= row["flops"]["int8"]
        assert row["source"]
        assert row.get("idle_w", 0) < row["power_w"] / 4


def test_a_processor_has_the_cores_that_its_class_names(tmp_path: Path) -> None:
    (plan,) = bundles.plans(1)
    plan.spec = {"device": "cpu", "hardware": "CPU AMD EPYC, 2 cores"}
    plan.start = {"machine": {"cores": 65_000}}
    run = RunFolder(bundles.write_run(plan, tmp_path), "run")
    floor = trained.floor(run)
    assert not isinstance(floor, str)
    assert floor[1] == computing.processor(2, {"baseline"})
