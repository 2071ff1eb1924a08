"""The study's tables in a terminal: what is computed beside what was printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Command


@pytest.fixture(params=[80, 140])
def width(request: pytest.FixtureRequest, bench: Command, monkeypatch: pytest.MonkeyPatch) -> int:
    columns = int(request.param)
    monkeypatch.setenv("COLUMNS", str(columns))
    return columns


def test_every_number_is_there_and_no_line_is_too_long(width: int, bench: Command) -> None:
    said = bench("footprint", "published")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= width
    for number in (
        "626,155", "656,347", "78,468", "942,973–3,201,722", "103,000–350,000", "9,870",
        "433,196", "24.69", "0.451",
    ):  # fmt: skip
        assert number in said.out
    assert "…" not in said.out


def test_a_terminal_that_is_too_narrow_loses_no_names(
    bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert "Transformer big" in bench("footprint", "published", "--table", "3").out


def test_what_agrees_has_a_tick_and_what_does_not_both_numbers_and_why(bench: Command) -> None:
    said = bench("footprint", "published", "--table", "3")
    lines = said.out.splitlines()
    big = next(line for line in lines if line.startswith("Transformer big"))
    assert big.split()[2:] == ["1,515.43", "84", "201", "201", "✓", "192", "192", "✓"]
    base = next(line for line in lines if line.startswith("BERT base"))
    assert base.split()[2:] == ["12,041.51", "79", "1,503", "1,507", "≠", "1,434", "1,438", "≠"]
    text = " ".join(said.out.split())
    assert "≠ BERT base, V100 x 64: kWh -4, lb CO2e -4, USD -10, USD -32: 79.2 h give" in text
    assert "NAS, TPUv2 x 1: USD -14, USD -44" in text


def test_what_the_study_left_blank_stays_blank(bench: Command) -> None:
    out = bench("footprint", "published", "--table", "3").out.splitlines()
    gpt = [line for line in out if line.startswith("GPT-2")]
    assert gpt[0].split() == ["GPT-2", "168"]
    assert gpt[1].split() == ["GPT-2", "168", "12,902–43,008", "12,902–43,008", "✓"]


def test_the_last_line_says_what_the_largest_row_is_like(bench: Command) -> None:
    out = bench("footprint", "published", "--table", "3").out
    last = " ".join(out.partition("in the PDF itself.")[2].split())
    assert last.startswith("NAS: about 5.0 lifetimes of an average car")


def test_tables_and_rows_are_chosen(bench: Command) -> None:
    out = bench("footprint", "published", "--table", "4", "--table", "1").out
    assert "Table 4" in out
    assert "Table 3" not in out
    out = bench("footprint", "published", "bert base").out
    assert "BERT base" in out
    assert "ELMo" not in out
    said = bench("footprint", "published", "Elmoo")
    assert said.code == 2
    assert said.err == "error: no row is called 'Elmoo'\nhint: did you mean ELMo?\n"
    assert bench("footprint", "published", "--table", "2").code == 2


def test_each_number_is_explained_down_to_its_sources(bench: Command) -> None:
    out = bench("footprint", "published", "--table", "3", "--explain", "ELMo").out
    for words in (
        "emissions = 262.174 lb CO2e, by energy x intensity",
        "energy = 274.815 kWh, by PUE x hours x power / 1000",
        "power = 517.66 W (as printed: GPUs, processors and memory)",
        "PUE = 1.58", "intensity = 0.954 lb CO2e/kWh", "cloud cost, lowest",
        "printed 262 lb CO2e ✓",
    ):  # fmt: skip
        assert words in out
    assert "Transformer" not in out


def test_the_same_trainings_elsewhere_today(bench: Command) -> None:
    out = bench("footprint", "published", "--table", "3", "--region", "SE", "--pue", "1.1").out
    again = out.partition("The same trainings in Sweden, PUE 1.1")[2]
    big = next(line for line in again.splitlines() if line.startswith("Transformer big"))
    assert big.split()[2] == f"{1.1 * 84 * 1515.43 / 1000:.0f}"
    assert "life-cycle; the study's factor is of combustion" in " ".join(again.split())
    assert bench("footprint", "published", "--region", "Atlantis").code == 2
    assert bench("footprint", "published", "--pue", "0.9").code == 2


def test_json_has_each_number_with_all_that_it_follows_from(bench: Command) -> None:
    found = json.loads(bench("footprint", "published", "--json", "--region", "DE").out)
    assert [t["table"] for t in found] == ["1", "3", "4", "later"]
    big = found[1]["rows"][1]
    assert big["cells"]["lb"]["printed"] == big["cells"]["lb"]["rounded"] == 192
    assert big["cells"]["lb"]["computed"]["inputs"][0]["formula"] == "PUE x hours x power / 1000"
    assert found[1]["again"]["ELMo"]["energy"]["unit"] == "kWh"


def test_nothing_is_written(bench: Command) -> None:
    bench("footprint", "published")
    assert list(Path().iterdir()) == []
