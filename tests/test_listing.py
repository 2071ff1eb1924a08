"""Tasks and models as a person reads them, and what runs cost."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from bench import cards, listing, show
from bench import record as records
from bench.learn import models, objectives, sources
from bench.rank import costs
from tests.rank.records import CPU, SST2, make_data, make_run

WIDTHS = (60, 160)


def printed(*parts: Any, width: int = 160) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, highlight=False)
    for part in parts:
        console.print(part)
    return out.getvalue()


def page(card: cards.Card, *runs: Any, width: int = 160) -> str:
    found = costs.of(card, runs)
    text = printed(show.grid(listing.card_lines(card)), listing.cost_table(found), width=width)
    return "\n".join(line.rstrip() for line in text.splitlines())


# --- tasks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_has_every_task_below_its_family_and_fits(width: int) -> None:
    known = [cards.load(n) for n in cards.names()]
    lines = printed(listing.tasks(known), width=width).splitlines()
    assert max(map(cell_len, lines)) <= width
    first = [line.split()[0] for line in lines if line.strip()]
    for card in known:
        assert first.index(card.family) < first.index(card.name)
    assert first.index("sst2") < first.index("regression")


def test_a_task_that_is_not_ranked_is_marked() -> None:
    mine = SST2.model_copy(update={"reference": None})
    assert "SST-2 (not ranked)" in printed(listing.tasks([mine]))
    assert "not ranked" not in printed(listing.tasks([SST2]))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", cards.names())
def test_every_page_fits(name: str, width: int) -> None:
    text = page(cards.load(name), width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert f"bench run --task {name}" in text


def test_a_page_says_what_a_person_wants_to_know() -> None:
    text = page(SST2)
    for line in (
        "task         sst2: SST-2, version 1",
        "tells        negative, positive",
        "metric       accuracy, more is better; chance: the largest class's share, best: 100.0 %",
        "tiers        from bert-base-uncased at 92.7 % (",
        "gold 97 %, silver 88 %, bronze 60 % of its skill over chance",
        "rows         67,349 to train on, 872 scored",
        "the Hub: nyu-mll/glue, sst2, at bcdcba79d07b",
    ):
        assert line in text
    assert "No results of it yet" in text


def test_tiers_are_values_where_chance_is_known() -> None:
    assert "gold ≥ 54.6 %, silver ≥ 49.5 %, bronze ≥ 33.8 %" in page(cards.load("cola"))
    assert "none, shown and not ranked: 65 of its 71 dev sentences" in page(cards.load("wnli"))


# --- what runs cost ----------------------------------------------------------------------------


def test_costs_are_medians_by_machine_and_model_measured_and_estimated_apart() -> None:
    runs = [
        *(make_run(energy_j=j, duration_s=d) for j, d in ((18e3, 50), (20e3, 90), (40e3, 70))),
        make_run(energy_j=9e3, model="distilbert"),
        make_run(energy_j=1e3, hardware=CPU, level="M0"),
        make_run(energy_j=5.0, data=make_data(False)),
        make_run(status="failed", energy_j=1.0),
        make_run(status="budget", energy_j=1.0),  # ended early
        make_run(energy_j=None),
        make_run(task="rte", energy_j=1.0),
        make_run(energy_j=1.0, spec={"task_version": 2}),
    ]
    found = costs.of(SST2, runs)
    assert [(c.model, c.data, c.estimated, c.runs) for c in found] == [
        ("distilbert", "official", False, 1),
        ("all-minilm-l6", "official", False, 3),
        ("all-minilm-l6", "embedded", False, 1),
        ("all-minilm-l6", "official", True, 1),
    ]
    three = found[1]
    assert (three.energy_j, three.lowest_j, three.highest_j) == (20e3, 18e3, 40e3)
    assert three.duration_s == 70
    text = page(SST2, *runs)
    assert "measured · 1 x NVIDIA H100 80GB HBM3 · gpu (M1) · the official data" in text
    assert "ESTIMATED, not measured · CPU AMD EPYC 9B14, 2 cores · cpu (M0)" in text
    assert (
        "all-minilm-l6 · baseline  5.56 Wh (5.00 to 11.1 Wh), 1 min 10 s, accuracy 92.0 %, "
        "3 runs" in text
    )
    assert "≈0.278 Wh" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_costs_fit_and_hostile_names_do_no_harm(width: int) -> None:
    runs = [make_run(model="\x1b[31m" + "x" * 300), make_run(hardware="[bold]" + "長" * 200)]
    text = page(SST2, *runs, width=width)
    assert "\x1b" not in text
    assert max(map(cell_len, text.splitlines())) <= width


# --- the command -------------------------------------------------------------------------------


def test_json_has_the_card_and_the_costs(bench, tmp_path: Path) -> None:
    run = make_run()
    folder = tmp_path / "runs" / "sst2" / run.record.run_id
    folder.mkdir(parents=True)
    records.write(run.record, folder)
    facts = json.loads(bench("tasks", "sst2", "--json", "--results", tmp_path / "none").out)
    assert (facts["name"], facts["kind"], facts["columns"]) == ("sst2", "class", ["sentence"])
    assert [c["energy_j"] for c in facts["costs"]] == [20_000.0]
    listed = json.loads(bench("tasks", "--json").out)
    assert {"sst2", "cola"} <= {task["name"] for task in listed}


OWN = """family = "classification"
inputs = ["text"]
[labels]
column = "label"
classes = ["a", "b"]
[metric]
name = "accuracy"
chance = "majority"
[local]
format = "csv"
train = "train.csv"
scored = "test.csv"
"""


def test_the_fingerprint_that_is_printed_makes_the_data_official(bench, tmp_path: Path) -> None:
    for name, n in (("train", 40), ("test", 10)):
        rows = "".join(f"text number {name} {i},{'ab'[i % 2]}\n" for i in range(n))
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{rows}")
    card = tmp_path / "mine.toml"
    card.write_text(OWN)
    said = bench("tasks", "mine", "--tasks", tmp_path, "--fingerprint")
    assert (said.code, said.err) == (0, f"of {tmp_path}\n")
    card.write_text(OWN + "\n" + said.out)
    pinned = cards.load("mine", [tmp_path])
    assert pinned.rows == cards.Rows(train=40, scored=10)
    assert sources.resolve(pinned).identity.official


def test_the_corpus_that_stands_in_is_not_fingerprinted_for_the_card(bench) -> None:
    said = bench("tasks", "sst2", "--fingerprint")
    assert said.code == 2
    assert "only the corpus that stands in" in said.err
    assert bench("tasks", "--fingerprint").code == 2


def test_a_card_with_an_unknown_metric_is_refused_when_it_is_shown(bench, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        OWN.replace("accuracy", "acuracy").replace('"majority"', "0.5")
    )
    said = bench("tasks", "mine", "--tasks", tmp_path)
    assert said.err == ("error: no metric is called 'acuracy'\nhint: did you mean 'accuracy'?\n")


def test_cards_are_found_by_the_environment(bench, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "mine.toml").write_text(OWN)
    monkeypatch.setenv("BENCH_TASKS", str(tmp_path))
    assert "mine (not ranked, yours)" in bench("tasks").out


# --- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_models_stand_by_kind_with_the_families_that_each_can_do(bench, width: int) -> None:
    found = [models.describe(n) for n in models.names()]
    families = {d["kind"]: objectives.families(d["kind"]) for d in found}
    lines = printed(listing.models(found, families), width=width).splitlines()
    assert max(map(cell_len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "encoder for classification, regression" in text
    first = [line.split()[0] for line in lines if line.strip()]
    assert first.index("encoder") < first.index("transformer-small")
    assert "can do" in bench("models", "transformer-small").out
