"""What a person reads of a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import cards, show
from bench import record as records
from bench.power import carbon
from bench.record import Idle, Metric, Phase, Record
from bench.run import Forecast
from bench.units import parse_budget
from tests.command import Command
from tests.rank.records import make_domain, make_metric, make_record


def line(record: Record, label: str, region: str | None = None) -> str:
    """The line with this label, in the scenario of a region as it is typed."""
    return dict(show.record_lines(record, Path("nowhere"), carbon.asked(region)))[label]


def test_a_region_is_assumed_only_where_none_was_asked_for() -> None:
    assert "assumed, --region names yours" in line(make_record(), "carbon")
    assert "assumed" not in line(make_record(), "carbon", "DE")
    assert "assumed" not in line(make_record(), "carbon", "strubell-2018")
    assert "assumed" not in line(make_record(region="DE"), "carbon", "DE")


@pytest.mark.parametrize(("unsure_j", "says"), [(2_000.0, "± 0.556 Wh"), (None, "± unknown")])
def test_an_uncertainty_that_is_not_known_is_not_zero(unsure_j: float | None, says: str) -> None:
    record = make_record(domains=[make_domain(20_000.0, uncertainty_j=unsure_j)])
    assert f"5.56 Wh {says}, measured by software counters" in line(record, "energy")


def test_parts_are_in_the_unit_of_their_sum() -> None:
    said = show.record_lines(make_record(energy_j=400.0), Path("nowhere"), carbon.asked(None))
    assert "0.111 Wh ± 0.0111 Wh, measured by software counters" in dict(said)["energy"]
    assert ("", "prepare 0.0111 Wh, train 0.0944 Wh, predict 0.00556 Wh") in said
    assert (
        "NVIDIA H100 80GB HBM3 gpu:GPU-1 0.111 Wh ± 0.0111 Wh by counter"
        in (dict(said)["measured"])
    )


@pytest.mark.parametrize(
    ("before_j", "level", "says"),
    [
        (
            800.0,
            "M1",
            "25 % less energy than before the model was changed: 0.222 Wh then, 0.167 Wh now; 52 %",
        ),
        (
            500.0,
            "M0",
            "20 % more energy than before the model was changed: 0.139 Wh then, 0.167 Wh now (est",
        ),
    ],
)
def test_what_a_changed_model_takes_to_predict_is_said(
    before_j: float, level: str, says: str
) -> None:
    told = [("predict-before", before_j), ("train", 9e3), ("predict-before", 9.0), ("predict", 6e2)]
    phases = [
        Phase(name=name, start_s=0.0, duration_s=1.0, energy_j={"gpu:GPU-1": joules})
        for name, joules in told
    ]
    facts = {"parameters": 1, "parameters_ratio": 0.52}
    record = make_record(phases=phases, level=level, model_facts=facts)
    assert says in line(record, "prediction")


def test_a_phase_in_which_a_meter_was_not_read_has_no_energy() -> None:
    domains = [make_domain(1_000.0), make_domain(500.0, kind="cpu")]
    gpu = domains[0].domain
    phases = [
        Phase(name="predict-before", start_s=0.0, duration_s=1.0, energy_j={gpu: 800.0}),
        Phase(name="predict", start_s=1.0, duration_s=1.0,
              energy_j={gpu: 200.0, domains[1].domain: 250.0}),
    ]  # fmt: skip
    record = make_record(domains=domains, phases=phases)
    assert record.phase_energy_j("predict-before") is None
    assert record.phase_energy_j("predict") == 450.0
    said = show.record_lines(record, Path("nowhere"), carbon.asked(None))
    assert "prediction" not in dict(said)
    assert ("", "predict-before unknown, predict 0.125 Wh") in said
    assert "prediction" not in dict(
        show.record_lines(make_record(), Path("nowhere"), carbon.asked(None))
    )


def test_idle_power_of_a_part_of_the_machine_is_not_shown() -> None:
    domains = [make_domain(1_000.0), make_domain(500.0, kind="cpu")]
    both = {domains[0].domain: 70.0, domains[1].domain: 30.0, "gpu:another": 9.0}
    record = make_record(
        domains=domains,
        idle_before=Idle(duration_s=3.0, power_w=both),
        idle_after=Idle(duration_s=3.0, power_w={domains[0].domain: 71.0}),
    )
    assert show._idle(record) == [("idle", "100 W before")]
    assert show._idle(make_record(idle_before=None)) == []


@pytest.mark.parametrize(
    ("budget", "energy_j", "says"),
    [
        ("1h", None, "1h is enough for one run"),
        ("5min", None, "5min ends a run after about 50 % of its cost"),
        ("1Wh", None, "whether 1Wh is enough can't be told: the energy is unknown"),
        ("1gCO2e", None, "whether 1gCO2e is enough can't be told: the energy is unknown"),
        ("1Wh", 7200.0, "1Wh ends a run after about 50 % of its cost"),
        ("1kgCO2e", 7200.0, "1kgCO2e is enough for one run"),
    ],
)
def test_where_a_budget_would_end_a_run(budget: str, energy_j: float | None, says: str) -> None:
    forecast = Forecast(20, 100, duration_s=600.0, energy_j=energy_j, level="M1")
    planned: Any = SimpleNamespace(budget=parse_budget(budget), scenario=carbon.asked("DE"))
    assert dict(show.forecast_lines(forecast, planned, 1))["budget"] == says


def result(metric: Metric) -> list[str]:
    """The lines of the result, and the score."""
    said = show.record_lines(make_record(metric=metric), Path("nowhere"), carbon.asked(None))
    begin = [label for label, _ in said].index("result")
    lines = [text for label, text in said[begin:] if label in ("result", "")]
    return [*lines[: 1 + bool(metric.also) + bool(metric.signature)], dict(said)["score"]]


def test_accuracy_has_what_the_splits_size_allows() -> None:
    first, score = result(make_metric(0.9))
    assert first.startswith("accuracy 90.0 % (785 of 872; chance 50.9 %; the split's size alone ")
    assert first.endswith("allows 87.9 to 91.8 %)")
    assert score.endswith(" qualified accuracy per kWh, this run alone")


def test_another_metric_is_written_as_its_field_writes_it_with_what_goes_with_it() -> None:
    bleu = Metric(
        name="bleu", value=0.2731, n=2000, chance=0.0, best=1.0, statistics={},
        also={"chrf": 0.5504}, signature="nrefs:1|tok:13a|version:2.4",
    )  # fmt: skip
    assert result(bleu)[:-1] == [
        "BLEU 27.3 (chance 0.0)", "also chrF 55.0", "as nrefs:1|tok:13a|version:2.4",
    ]  # fmt: skip
    assert result(bleu)[-1].endswith(" skill in BLEU per kWh, this run alone")


def test_where_less_is_better_it_says_so_and_skill_is_linear_in_the_logarithm() -> None:
    prose = Metric(
        name="perplexity", value=100.0, n=60, chance=10_000.0, best=1.0, scale="log", statistics={}
    )
    first, score = result(prose)
    assert first == "perplexity 100.0 (chance 10,000; less is better)"
    assert score.startswith(f"{0.5 / (20_000 / 3.6e6 + 0.0005):.1f} skill in perplexity per kWh")


def test_a_metric_that_says_nothing_has_no_score() -> None:
    broken = Metric(
        name="perplexity", value=0.0, n=60, chance=10_000.0, best=1.0, scale="log", statistics={}
    )
    assert result(broken)[-1] == "none: this run can't be ranked"


def test_a_run_of_a_task_that_is_not_ranked_has_no_score(bench: Command) -> None:
    wnli, sst2 = make_record(task="wnli"), make_record()
    for one in (wnli, sst2):
        folder = Path("runs", one.spec.task, one.run_id)
        folder.mkdir(parents=True)
        records.write(one, folder)
    said = " ".join(bench("show", wnli.run_id).out.split())
    assert "score none: the task is not ranked: 65 of its 71" in said
    assert "per kWh" not in said
    assert "per kWh" in bench("show", sst2.run_id).out


def test_what_another_version_of_a_card_says_of_ranks_is_not_said() -> None:
    newer = cards.load("wnli").model_copy(update={"version": 2})
    said = dict(show.record_lines(make_record(task="wnli"), Path(), carbon.asked(None), newer))
    assert "per kWh" in said["score"]
