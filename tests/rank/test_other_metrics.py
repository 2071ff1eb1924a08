"""Metrics that are not accuracy: on a logarithm, in a cell of their own, without tiers, without
right and wrong answers; ranked, compared and written as they are."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from bench import cards, metrics
from bench.cards import Card
from bench.rank import columns, compare, notation, render, score
from bench.rank.board import build
from bench.rank.entry import Cell, Entry, Run
from bench.record import Metric
from tests.rank.records import SST2, make_metric, make_record, make_run

PROSE = Card.model_validate(
    {
        "name": "prose",
        "title": "Prose",
        "family": "language-modelling",
        "inputs": ["text"],
        "metric": {"name": "perplexity", "chance": 10_000.0, "best": 1.0, "scale": "log"},
        "metrics": {
            "masked": {
                "name": "pseudo_perplexity", "chance": 10_000.0, "best": 1.0, "scale": "log",
            }
        },
        "reference": {"model": "gpt2", "value": 20.0, "source": "made up"},
        "embedded": "prose",
    }
)  # fmt: skip


def perplexity(value: float, name: str = "perplexity", **changes: Any) -> Metric:
    facts = {
        "name": name, "value": value, "n": 4_358, "chance": 10_000.0, "best": 1.0, "scale": "log",
        "statistics": {"nats": 1.0, "words": 1.0}, **changes,
    }  # fmt: skip
    return Metric.model_validate(facts)


def trained(value: float, model: str, n: int = 3, **changes: Any) -> list[Run]:
    """`n` runs of a language model."""
    draw = random.Random(model)
    return [
        make_run(
            task="prose", model=model, track="scratch", energy_j=20_000 * draw.uniform(0.99, 1.01),
            metric=perplexity(value * draw.uniform(0.995, 1.005), **changes),
        )
        for _ in range(n)
    ]  # fmt: skip


def board(runs: list[Run], card: Card = PROSE) -> list[Cell]:
    return build(runs, {"prose": card})


def only(runs: list[Run], card: Card = PROSE) -> Entry:
    ((entry,),) = [list(cell.entries) for cell in board(runs, card)]
    return entry


# --- skill on a logarithm ----------------------------------------------------------------------


def test_on_a_logarithm_equal_factors_are_equal_skill() -> None:
    at = [score.skill(v, 10_000.0, 1.0, "log") for v in (10_000.0, 1_000.0, 100.0, 10.0, 1.0)]
    assert at == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert score.skill(20_000.0, 10_000.0, 1.0, "log") < 0


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize(("chance", "best"), [(10_000.0, 1.0), (0.1, 0.9)])
def test_a_metrics_value_and_its_skill_are_each_others(
    scale: score.Scale, chance: float, best: float
) -> None:
    for share in (-0.2, 0.0, 0.3, 1.0):
        value = score.metric_at(share, chance, best, scale)
        assert score.skill(value, chance, best, scale) == pytest.approx(share)


def test_tiers_are_shares_of_the_references_skill_in_nats() -> None:
    (cell,) = board([*trained(22.0, "gold"), *trained(40.0, "silver"), *trained(500.0, "below")])
    skill = math.log(10_000 / 20)
    asked = {s.name: s.threshold for s in cell.sections}
    assert asked["gold"] == pytest.approx(10_000 * math.exp(-0.97 * skill))
    assert asked["silver"] == pytest.approx(10_000 * math.exp(-0.88 * skill))
    assert {e.title.split()[0]: e.tier for e in cell.entries} == {
        "gold": "gold", "silver": "silver", "below": None,
    }  # fmt: skip


def test_the_lower_perplexity_ranks_higher_and_sorts_first() -> None:
    (cell,) = board([*trained(21.0, "worse"), *trained(18.0, "better")])
    assert cell.better == "lower"
    assert {e.spec.model: e.rank for e in cell.entries} == {"better": (1, 1), "worse": (2, 2)}
    (by_value,) = columns.sort([cell], "metric")
    assert [e.spec.model for e in by_value.entries] == ["better", "worse"]


@pytest.mark.parametrize("facts", [{"value": 0.0}, {"chance": 0.0}, {"best": -1.0}])
def test_what_has_no_logarithm_has_no_skill_and_says_so(facts: dict[str, float]) -> None:
    run = make_run(task="prose", metric=perplexity(20.0).model_copy(update=facts))
    entry = only([run])
    assert (entry.skills, entry.score) == ([], None)
    assert "without a usable metric" in entry.reasons[0]


# --- cells -------------------------------------------------------------------------------------


def test_another_metric_has_a_cell_of_its_own_that_is_shown_and_not_ranked() -> None:
    runs = [*trained(25.0, "gpt"), *trained(8.0, "bert", name="pseudo_perplexity")]
    own, other = board(runs)
    assert (own.place.metric, other.place.metric) == ("perplexity", "pseudo_perplexity")
    assert next(iter(own.entries)).rank == (1, 1)
    (entry,) = other.entries
    assert (entry.status, entry.rank, entry.counted) == ("unranked", None, 3)
    assert "no tiers for pseudo_perplexity" in entry.reasons[-1]
    assert other.title.startswith("Prose by pseudo-perplexity (data ")
    assert "fingerprint not pinned" in other.title


def test_a_failed_run_stands_where_its_entry_is_scored() -> None:
    scored = trained(8.0, "bert", name="pseudo_perplexity")
    failed = make_run(task="prose", model="bert", track="scratch", status="failed")
    (cell,) = board([*scored, failed])
    assert cell.place.metric == "pseudo_perplexity"
    assert [(e.counted, e.attempts) for e in cell.entries] == [(3, 4)]
    (alone,) = board([failed])
    assert alone.place.metric == "perplexity"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reference": None}, "the card names no reference score"),
        ({"unranked": "its labels mislead"}, "the task is not ranked: its labels mislead"),
    ],
)
def test_without_tiers_results_are_shown_with_the_reason(
    changes: dict[str, Any], says: str
) -> None:
    card = PROSE.model_copy(update=changes)
    runs = [*trained(21.0, "a"), *trained(18.0, "b")]
    (cell,) = board(runs, card)
    assert [s.name for s in cell.sections] == ["unranked"]
    assert [(e.status, e.score is not None) for e in cell.entries] == [("unranked", True)] * 2
    for format in ("table", "markdown"):
        assert render.render([cell], format, width=160).count(says) == 1  # for all of them
    assert render.render([cell], "csv").count(says) == 2


# --- how it is written -------------------------------------------------------------------------


def test_every_metric_has_a_notation() -> None:
    assert [m for m in metrics._MODULES if not notation.is_known(m)] == []


@pytest.mark.parametrize(
    ("metric", "value", "says"),
    [
        ("accuracy", 0.8912, "accuracy 89.1 %"),
        ("accuracy, mismatched", 0.8912, "accuracy, mismatched 89.1 %"),
        ("f1", 0.8, "F1 80.0 %"),
        ("mcc", -0.05, "MCC -5.0 %"),
        ("pearson", 0.891, "Pearson 89.1 %"),
        ("bleu", 0.2734, "BLEU 27.3"),
        ("perplexity", 24.317, "perplexity 24.32"),
        ("perplexity", 12_345.6, "perplexity 12,350"),
        ("of_somebody", 0.123456, "of_somebody 0.1235"),
    ],
)
def test_values_are_written_as_their_field_writes_them(
    metric: str, value: float, says: str
) -> None:
    assert notation.named(metric, value) == says


def test_differences_have_a_sign_and_points() -> None:
    assert notation.of("mcc").difference(0.0314) == "+3.14 points"
    assert notation.of("bleu").difference(-0.005) == "-0.50"
    assert notation.of("perplexity").difference(-1.25) == "-1.250"


def test_a_table_of_perplexity_has_no_percent_and_says_that_less_is_better() -> None:
    text = render.render(board(trained(22.0, "gpt")), width=160)
    assert "Gold, perplexity ≤ 24.1" in text
    assert "score: skill per kWh" in text
    assert "qualified accuracy" not in text
    assert "less is better: perplexity" in text
    assert "points" not in text
    assert "plain /kWh" not in text  # more of what should be less
    heading = next(line for line in text.splitlines() if line.startswith("rank"))
    assert "perplexity  " in heading


def test_other_metrics_and_the_signature_are_shown() -> None:
    signed = make_metric().model_copy(
        update={"also": {"f1": 0.9, "accuracy, mismatched": 0.8}, "signature": "v:2.4|tok:13a"}
    )
    cells = build([make_run(metric=signed) for _ in range(3)], {"sst2": SST2})
    assert "F1 90.0 %, accuracy, mismatched 80.0 %" in render.render(cells, width=200)
    (row,) = csv.DictReader(io.StringIO(render.render(cells, "csv")))
    assert row["other metrics"] == "f1=0.9; accuracy, mismatched=0.8"
    assert row["signature of the metric"] == "v:2.4|tok:13a"
    document = json.loads(render.render(cells, "json"))
    entry = document["cells"][0]["sections"][0]["entries"][0]
    assert entry["also"] == {"f1": pytest.approx(0.9), "accuracy, mismatched": pytest.approx(0.8)}
    assert entry["values"]["signature"] == "v:2.4|tok:13a"
    assert document["cells"][0]["better"] == "higher"


def test_only_shares_of_right_answers_have_noise_of_the_split() -> None:
    mcc = make_metric().model_copy(update={"name": "mcc"})  # has bits, and is not their share
    card = SST2.model_copy(update={"metric": SST2.metric.model_copy(update={"name": "mcc"})})
    noise = columns.named("split_noise")
    for metric, found in ((make_metric(), True), (mcc, False)):
        cells = build([make_run(metric=metric)], {"sst2": card})
        (entry,) = cells[0].entries
        assert (noise.value(entry, None) is not None) == found
        assert ("points" in render.render(cells, width=160)) == found


@pytest.mark.parametrize("width", [60, 160])
def test_it_fits(width: int) -> None:
    runs = [*trained(22.0, "gpt"), *trained(8.0, "bert", name="pseudo_perplexity")]
    text = render.render(board(runs), width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "pseudo-perplexity" in text


# --- compared ----------------------------------------------------------------------------------


def said(first: Metric, other: Metric, **facts: Any) -> str:
    out = io.StringIO()
    records = [make_record(metric=m, task="prose", **facts) for m in (first, other)]
    compare.render(compare.compare(records), Console(file=out, width=200, color_system=None))
    return out.getvalue()


def test_sums_over_examples_cannot_tell_two_runs_apart() -> None:
    text = said(perplexity(20.0), perplexity(18.5))
    assert "-1.500 (less is better); one run each can't tell whether they differ" in text
    assert "perplexity 20.00" in text
    assert "McNemar" not in text


def test_right_answers_are_compared_where_there_are_some_and_called_that() -> None:
    bits = [[i % 10 != 0 for i in range(872)], [i % 5 != 0 for i in range(872)]]
    first, other = (
        make_metric(bits=b).model_copy(update={"name": "mcc", "value": v})
        for b, v in zip(bits, (0.6, 0.4), strict=True)
    )
    assert "-20.00 points: 0 examples only B got right" in said(first, other)
    assert "differ in how many answers are right (McNemar's exact test" in said(first, other)


def test_two_metrics_do_not_compare() -> None:
    text = said(perplexity(20.0), perplexity(8.0, "pseudo_perplexity"))
    assert "one is scored by perplexity, the other by pseudo_perplexity" in text


def test_the_cards_that_ship_agree_with_the_notation() -> None:
    for card in map(cards.load, cards.names()):
        for facts in (card.metric, *card.metrics.values()):
            assert notation.is_known(facts.name), card.name
