"""No number is parted from its unit or its range, however narrow the terminal."""

from __future__ import annotations

import re

import pytest

from bench.footprint.wrapping import wrapped

TEXT = (
    "It takes 3.27 to 8.13 kWh, 384 g CO2e/kWh of a grid, 0.12 USD/kWh and 2.5 to 7 USD an hour; "
    "7.98 mJ a token at 308 W ± 12 W, -76 to -68 %, and 7 B parameters"
)
WHOLE = ("3.27 to 8.13 kWh", "384 g CO2e/kWh", "0.12 USD/kWh", "2.5 to 7 USD", "7.98 mJ", "308 W",
         "± 12 W", "-76 to -68 %", "7 B parameters")  # fmt: skip


@pytest.mark.parametrize("width", range(18, 90, 3))
def test_numbers_stay_with_their_units_and_ranges(width: int) -> None:
    lines = wrapped(TEXT, width).split("\n")
    assert " ".join(lines) == TEXT
    assert max(map(len, lines)) <= width
    for whole in WHOLE:
        assert any(whole in line for line in lines), whole


def test_what_goes_on_of_an_indented_line_is_indented_further() -> None:
    lines = wrapped("runs:\n  one-of-them: 3 runs, 104 mJ an example", 24).split("\n")
    assert lines == ["runs:", "  one-of-them: 3 runs,", "    104 mJ an example"]


def test_a_word_that_is_longer_than_a_line_is_cut() -> None:
    assert re.findall(r"\S+", wrapped("abcdefgh", 3)) == ["abc", "def", "gh"]
