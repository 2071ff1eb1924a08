"""Tables that fit, files that parse, and names that can do no harm in either."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import unicodedata
from typing import Any

import pytest
from rich.cells import cell_len

from bench.errors import UsageError
from bench.rank import render
from bench.rank.board import build
from bench.rank.columns import COLUMNS
from bench.rank.entry import Cell
from bench.record import Warn
from tests.rank.records import CPU, SST2, make_data, make_entry, make_metric, make_run
from tests.rank.test_columns import Scenario
from tests.test_reference import made

WIDTHS = (40, 60, 80, 100, 120, 160, 200)


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    draw = random.Random(4)
    facts: list[dict[str, Any]] = [
        {"accuracy": 0.926, "energy_j": 20_000, "recipe": "bf16"},
        {"accuracy": 0.926, "energy_j": 20_100, "recipe": "bf16", "settings": {"epochs": 4}},
        {"accuracy": 0.924, "energy_j": 41_000, "origin": "local"},
        {"accuracy": 0.905, "energy_j": 9_000, "model": "distilbert-base-uncased"},
        {"accuracy": 0.80, "energy_j": 900, "warnings": [Warn(id="w", message="idle is high")]},
        {"n": 2, "accuracy": 0.91, "energy_j": 9_900, "model": "electra-small"},
        {"accuracy": 0.70, "energy_j": 100, "recipe": "prune"},
        {"level": "M0", "hardware": CPU, "track": "scratch", "accuracy": 0.81},
        {"data": make_data(False), "accuracy": 0.88},
    ]
    runs = [r for f in facts for r in make_entry(f.pop("n", 3), draw=draw, **f)]
    doubt = Warn(id="contended", message="another process used GPU-1", rankable=False)
    runs += [make_run(recipe="lora", replay=True), make_run(recipe="lazy", warnings=[doubt])]
    runs += [make_run(model="electra-small", status="failed", energy_j=None)]
    return build(runs, {"sst2": SST2})


# --- the table ---------------------------------------------------------------------------------


def test_all_that_follows_from_an_estimate_is_marked_as_one() -> None:
    def shown(energy_j: float) -> dict[str, str]:
        facts = {"energy_j": energy_j, "level": "M0", "hardware": CPU, "reference": made()}
        (cell,) = build([make_run(**facts)], {"sst2": SST2})
        (entry,) = cell.entries
        return {c.key: render.as_text(c, entry, cell, Scenario())[0] for c in COLUMNS if c.priority}

    one, other = shown(20_000.0), shown(30_000.0)
    follow = {key for key in one if one[key] != other[key]}
    assert follow >= {"energy", "score", "emissions", "prediction_energy", "reference"}
    assert all(one[key].startswith("≈") for key in follow)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_never_overflows_and_keeps_what_matters(cells: list[Cell], width: int) -> None:
    text = render.render(cells, width=width, scenario=Scenario())
    assert max(cell_len(line) for line in text.splitlines()) <= width
    heading = next(line for line in text.splitlines() if line.startswith("rank"))
    assert "entry" in heading
    assert "score" in heading
    for word in (
        "Gold, accuracy ≥ 91.4 %",
        "Provisional",
        "Below bronze",
        "Not ranked",
        "NOT SST-2",
    ):
        assert word in text
    assert "ESTIMATES, not measured" in " ".join(text.split())


def test_wider_tables_have_the_columns_of_narrower_ones_and_more(cells: list[Cell]) -> None:
    seen: set[str] = set()
    for width in WIDTHS:
        text = render.render(cells, width=width, scenario=Scenario())
        heading = next(line for line in text.splitlines() if line.startswith("rank"))
        columns = set(re.split(r" {2,}", heading))
        assert seen <= columns
        seen = columns
    assert {"energy Wh", "g CO2e", "time", "runs", "skill", "date", "J/1k pred."} <= seen


def test_eighty_columns_hold_the_essentials(cells: list[Cell]) -> None:
    heading = next(x for x in render.render(cells, width=80).splitlines() if x.startswith("rank"))
    assert re.split(r" {2,}", heading) == [
        "rank", "entry", "accuracy %", "energy Wh", "score /kWh", "runs",
    ]  # fmt: skip


def test_a_table_says_how_sure_and_how_measured(cells: list[Cell]) -> None:
    text = render.render(cells, width=200, scenario=Scenario())
    assert "energy of gpu (M1, software counters) · official data, version 1 · edition 1.0" in text
    assert "872 scored: ±1.7 to 3.0 points" in text
    assert re.search(r"1–2 +all-minilm-l6 · bf16 · epochs=3 +92\.\d ±0\.\d +±1\.7 +0\.8\d\d", text)
    assert re.search(r"≈[\d.]+ ±40%", text)
    assert "└ 1 run replayed a given seed (--seed): never ranked" in text
    assert "another process used GPU-1" in text
    assert "CO2e: if run at 400 g/kWh (United States 2024, Ember, life-cycle); never ranks" in text
    assert "2 of 3" in text


@pytest.mark.parametrize("format", ["table", "markdown"])
def test_energies_of_a_cell_have_one_unit_and_no_row_of_zeros(format: str) -> None:
    small = make_entry(energy_j=198.0) + make_entry(recipe="bf16", energy_j=72_000.0)
    large = make_entry(energy_j=198.0, track="scratch", accuracy=0.8)
    large += make_entry(energy_j=720e3, track="scratch", accuracy=0.8, recipe="bf16")
    text = render.render(build([*small, *large], {"sst2": SST2}), format, width=100)
    assert re.findall("energy k?Wh", text) == ["energy Wh", "energy kWh"]
    first, _, second = text.partition("scratch")
    assert re.search(r"\b0\.05[45]\d* ±", first)
    assert re.search(r"\b(19|20)\.\d ±", first)
    assert re.search(r"\b0\.00005\d+ ±", second)
    assert re.search(r"\b0\.(19|20)\d ±", second)


def test_files_have_kwh_whatever_people_are_shown() -> None:
    cells = build(make_entry(energy_j=198.0), {"sst2": SST2})
    assert "energy Wh" in render.render(cells, width=100)
    (row,) = list(csv.DictReader(io.StringIO(render.render(cells, "csv"))))
    assert float(row["energy (kWh)"]) == pytest.approx(198 / 3.6e6, rel=0.1)
    (cell,) = json.loads(render.render(cells, "json"))["cells"]
    value = cell["sections"][0]["entries"][0]["values"]["energy"]
    assert value == pytest.approx(198 / 3.6e6, rel=0.1)


def test_a_local_entry_and_a_warning_are_marked_at_every_width(cells: list[Cell]) -> None:
    for width in (80, 200):
        text = render.render(cells, width=width)
        assert "* all-minilm-l6" in text
        assert "3 of 3 !" in text
        assert "* yours" in text


def test_the_legend_explains_only_what_is_there() -> None:
    text = render.render(build(make_entry(3), {"sst2": SST2}))
    for sign in ("* yours", "≈", "!", "rank 1–3", "CO2e"):
        assert sign not in text


def test_plain_text_without_colour_and_escapes_with_it(cells: list[Cell]) -> None:
    assert "\x1b" not in render.render(cells, width=100)
    assert "\x1b[" in render.render(cells, width=100, colour=True)


def test_no_runs_say_what_makes_one() -> None:
    for format in ("table", "markdown"):
        assert "bench run --task sst2" in render.render([], format)
    assert json.loads(render.render([], "json"))["cells"] == []
    assert len(render.render([], "csv").splitlines()) == 1


def test_an_unknown_format() -> None:
    with pytest.raises(UsageError, match="yaml"):
        render.render([], "yaml")


# --- files -------------------------------------------------------------------------------------


def test_csv_has_every_column_with_its_unit(cells: list[Cell]) -> None:
    rows = list(csv.DictReader(io.StringIO(render.render(cells, "csv", scenario=Scenario()))))
    assert len(rows) == sum(len(list(c.entries)) for c in cells)
    assert {c.heading for c in COLUMNS} | {"energy ± (kWh)", "remarks"} <= set(rows[0])
    first = next(cells[0].entries.__iter__())
    assert float(rows[0]["energy (kWh)"]) == sum(first.energies_j) / 3 / 3.6e6
    assert (rows[0]["rank from"], rows[0]["rank to"], rows[0]["tier"]) == ("1", "2", "gold")
    assert any(r["rank from"] == "" and "replayed" in r["remarks"] for r in rows)


def test_json_has_full_numbers_and_a_stable_shape(cells: list[Cell]) -> None:
    document = json.loads(render.render(cells, "json", scenario=Scenario()))
    assert list(document) == ["schema", "grid", "columns", "cells"]
    assert document["schema"] == "bench.leaderboard/1"
    assert list(document["cells"][0]) == [
        "task", "version", "data", "edition", "track", "hardware", "level", "coverage", "metric",
        "access", "title", "better", "notes", "sections",
    ]  # fmt: skip
    entry = document["cells"][0]["sections"][0]["entries"][0]
    assert list(entry) == [
        "entry", "origin", "title", "status", "tier", "rank", "reasons", "settings", "also",
        "run_ids", "warnings", "values", "uncertainties",
    ]  # fmt: skip
    assert list(entry["values"]) == [c.key for c in COLUMNS]
    assert entry["rank"] == [1, 2]
    first = next(cells[0].entries.__iter__())
    assert entry["values"]["score"] == first.score
    assert entry["run_ids"] == [r.record.run_id for r in first.runs]


def test_json_has_no_number_that_json_does_not_know(cells: list[Cell]) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    json.loads(render.render(cells, "json"), parse_constant=refuse)


def test_markdown_tables_are_whole(cells: list[Cell]) -> None:
    text = render.render(cells, "markdown", scenario=Scenario())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", r)) for r in rows}) == 1
    assert "### Gold, accuracy ≥ 91.4 %" in text
    assert "| all-minilm-l6 · bf16 · epochs=3 |" in text  # no needless code marks
    assert "| all-minilm-l6 · baseline (local) |" in text


# --- hostile names -----------------------------------------------------------------------------

HOSTILE = [
    "\x1b[31mred\x1b]0;title\x07",
    "\x9b31mred",
    "[bold]loud[/bold][link=https://evil.example]x[/link]",
    "=HYPERLINK(1)",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\u200b=1",
    "a|b`c`\\|d",
    "<script>alert(1)</script>",
    "![x](https://evil.example) www.evil.example",
    "# heading\n\n| a | b |\n",
    "line\r\nbreak\u2028and\u2029more\x85",
    "\u202eright to left\u2066isolated\u200f",
    "x" * 10_000,
    "長い名前" * 2_500,
    "e" + "\u0301" * 5_000,
    "",
    "\ue000\U000e0041\ufdd0",
]


def hostile_cells(name: str) -> list[Cell]:
    doubt = [Warn(id=name or "w", message=name, rankable=False)]
    runs = [
        *make_entry(3, model=name, recipe=name, hardware=f"1 x {name}", settings={"a": name}),
        *make_entry(3, model=name, recipe=name, hardware=f"1 x {name}", settings={"a": "b"}),
        make_run(model=name, recipe="r", hardware=f"1 x {name}", warnings=doubt),
        make_run(model=name, recipe="s", hardware=f"1 x {name}", status="failed", failure=name),
    ]
    metric = make_metric().model_copy(update={"name": name})
    stray = [make_run("local", task=name, spec={"edition": name}, metric=metric)]
    return [*build(runs, {"sst2": SST2}), *build(stray, {})]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda n: ascii(n[:12]))
@pytest.mark.parametrize("format", render.FORMATS)
def test_a_hostile_name_stays_harmless(name: str, format: str) -> None:
    text = render.render(hostile_cells(name), format, width=80)
    assert not {unicodedata.category(c) for c in text.replace("\n", "")} & {
        "Cc",
        "Cf",
        "Cs",
        "Zl",
        "Zp",
    }
    if format == "table":
        assert max(cell_len(line) for line in text.splitlines()) <= 80
        assert len(text.splitlines()) < 70
        if name.startswith("[bold]"):
            assert "[bold]loud" in text
    if format == "csv":
        rows = list(csv.reader(io.StringIO(text)))
        assert {len(r) for r in rows} == {len(rows[0])}
        assert len(rows) == 6
        assert not [v for r in rows for v in r if v.lstrip().startswith(("=", "+", "-", "@"))]
        assert max(len(v) for r in rows for v in r) < 6_000
    if format == "json":
        document = json.loads(text)
        assert document["cells"][0]["sections"][0]["entries"][0]["values"]["model"] == name
    if format == "markdown":
        outside = re.sub(r"`[^`\n]*`", "", text)
        assert not re.search(r"<|\[|://|www\.|@", outside)
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_plain_keeps_ordinary_names_as_they_are() -> None:
    for name in ("sentence-transformers/all-MiniLM-L6-v2", "Grüße, 名前", "a_b [c] <d>"):
        assert render.plain(name) == name
