"""The study's tables come out of their inputs, and what does not is explained."""

from __future__ import annotations

import pytest

from bench.footprint import published
from bench.footprint.published import Table
from bench.footprint.quantity import explained
from bench.power import carbon


def table(key: str) -> Table:
    (found,) = published.tables([key])
    return found


@pytest.mark.parametrize(
    ("number", "kwh", "lb", "usd"),
    [
        (0, 27, 26, (41, 140)),
        (1, 201, 192, (289, 981)),
        (2, 275, 262, (433, 1472)),
        (4, None, None, (2074, 6912)),
        (5, 656347, 626155, (942973, 3201722)),
        (7, None, None, (12902, 43008)),
    ],
)
def test_table_3_is_reproduced_from_power_and_hours(
    number: int, kwh: int | None, lb: int | None, usd: tuple[int, int]
) -> None:
    cells = table("3").rows[number].cells
    found = [cells[key].rounded for key in ("kwh", "lb", "usd_low", "usd_high")]
    assert found == [kwh, lb, *usd]
    assert [cells[key].printed for key in ("kwh", "lb", "usd_low", "usd_high")] == [kwh, lb, *usd]


def test_bert_base_differs_by_its_rounded_hours_and_says_so() -> None:
    row = table("3").rows[3]
    assert [row.cells[k].rounded for k in ("kwh", "lb")] == [1503, 1434]
    assert [row.cells[k].printed for k in ("kwh", "lb")] == [1507, 1438]
    assert "79.2 h give 1,507 kWh" in row.cells["kwh"].why
    assert "79.2 h give 1,438 lb" in row.cells["lb"].why


def test_every_difference_of_the_study_is_explained() -> None:
    found = [(row.name, key) for t in published.tables() for row, key, cell in t.differences]
    assert {name for name, _ in found} == {"BERT base", "NAS", "GPT-3 175B, final training"}
    assert all(c.why for t in published.tables() for _, _, c in t.differences)


def test_rows_that_the_study_left_blank_stay_blank() -> None:
    blank = [r for r in table("3").rows if r.cells["kwh"].printed is None]
    assert [r.hardware for r in blank] == ["TPUv2 x 16", "TPUv2 x 1", "TPUv3 x 32"]
    assert all(r.cells[k].computed is None for r in blank for k in ("kwh", "lb"))


def test_table_4_is_reproduced_from_gpu_hours() -> None:
    rows = table("4").rows
    assert [r.cells["electricity_usd"].rounded for r in rows] == [5, 118, 9870]
    assert [r.cells["usd_low"].rounded for r in rows] == [52, 1238, 103000]
    assert [r.cells["usd_high"].rounded for r in rows] == [175, 4205, 350000]


def test_table_1_follows_from_the_other_two() -> None:
    cells = {row.name: row.cells["lb"] for row in table("1").rows}
    computed = {name: cell.rounded for name, cell in cells.items() if cell.computed}
    assert list(computed.values()) == [39, 78468, 192, 626155]
    assert all(cell.agrees for cell in cells.values() if cell.computed)
    assert [c.printed for c in cells.values() if not c.computed] == [1984, 11023, 36156, 126000]


def test_another_power_gives_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed from inputs, not looked up."""
    row = {**published.document()["table3"][0], "power_w": 2 * 1415.78}
    monkeypatch.setitem(published.document(), "table3", [row])
    cell = table("3").rows[0].cells["kwh"]
    assert (cell.rounded, cell.agrees) == (54, False)


def test_a_number_says_its_formula_down_to_its_sources() -> None:
    lb = table("3").rows[1].cells["lb"].computed
    assert lb
    said = "\n".join(explained(lb))
    for words in ("energy x intensity", "PUE x hours x power / 1000", "1,515.43 W", "0.954 lb"):
        assert words in said


def test_the_same_training_elsewhere_today() -> None:
    found = published.again(table("3"), carbon.asked("SE", "1.1"))
    energy, emissions = found["Transformer big"]
    assert energy.value == pytest.approx(1.1 * 84 * 1515.43 / 1000)
    assert emissions.value == pytest.approx(energy.value * carbon.region("SE").g_per_kwh / 1000)
    assert emissions.unit == "kg CO2e"


def test_the_power_of_many_devices_is_that_of_all() -> None:
    found = published.again(table("later"), carbon.asked(None, "1.1"))
    assert found["GPT-3 175B, final training"][0].value == pytest.approx(1.289e6, rel=1e-3)
