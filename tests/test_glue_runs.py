"""GLUE from the command line: pairs, numbers and few rows, real and embedded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import measure, metrics, record
from bench.record import Record
from tests.command import Command

EXAMPLES = Path(measure.__file__).parent / "docs" / "examples"
FEW_STEPS = [
    "--model", "transformer-tiny", "--set", "epochs=0.2", "--set", "evaluations=1",
    "--set", "vocabulary_size=1000", "--idle", "0",
]  # fmt: skip


def the_run() -> Record:
    (folder,) = record.folders([Path("runs")])
    return record.read(folder)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("task", "official", "metric", "also", "n"),
    [
        ("cola", True, "mcc", {"accuracy"}, 1043),
        ("mrpc", False, "accuracy", {"f1"}, 408),
        ("stsb", True, "pearson", {"spearman"}, 1500),
        ("rte", True, "accuracy", set(), 277),
        ("wnli", True, "accuracy", set(), 71),
    ],
)
def test_a_few_steps_on_real_data(
    bench: Command, shared_data: Path, task: str, official: bool, metric: str, also: set, n: int
) -> None:
    said = bench("run", "--task", task, "--data", shared_data, *FEW_STEPS)
    assert said.code == 0, said.err
    one = the_run()
    assert one.status == "complete"
    assert one.spec.data.official == official
    assert one.metric
    assert (one.metric.name, one.metric.n, set(one.metric.also)) == (metric, n, also)
    assert metrics.recompute(one.metric) == one.metric.value
    assert metric in bench("show", one.run_id[:8]).out.lower()
    if task == "wnli":
        assert "56.3" in bench("tasks", "wnli").out


def test_a_regression_is_planned_run_and_shown(bench: Command) -> None:
    arguments = ["run", "--task", "stsb", "--data", "embedded", *FEW_STEPS]
    said = bench(*arguments, "--plan")
    assert said.code == 0, said.err
    assert "one run" in said.out
    said = bench(*arguments)
    assert said.code == 0, said.err
    assert "NOT STS-B but the embedded corpus 'similarity'" in " ".join(said.out.split())
    assert "also spearman" in said.out.lower()


@pytest.mark.skipif(shutil.which("awk") is None, reason="no awk")
def test_a_program_in_awk_predicts_numbers(bench: Command) -> None:
    said = bench(
        "measure", "--task", "stsb", "--data", "embedded", "--idle", "0", "--track", "scratch",
        "--", "awk", "-f", EXAMPLES / "overlap.awk",
    )  # fmt: skip
    assert said.code == 0, said.err
    one = the_run()
    assert one.metric
    assert one.metric.value == pytest.approx(0.603, abs=0.001)
