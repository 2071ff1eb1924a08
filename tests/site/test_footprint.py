"""The page of the study: its tables, the trainings here, and what they are like."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from bench.footprint import published, trainings
from bench.footprint.sheets import sheet
from bench.footprint.today import today
from bench.rank import board
from bench.site import build, footprint, paths
from bench.site.contents import Contents
from tests.rank.records import CPU, SST2, make_entry
from tests.site import browser, making
from tests.site.browser import Visitor
from tests.site.submitted import EVIL


@pytest.fixture(scope="module")
def real() -> Contents:
    return making.read()


@pytest.fixture(scope="module")
def page(real: Contents) -> str:
    return text_of(real)


def text_of(contents: Contents) -> str:
    (piece,) = footprint.pieces(contents)
    assert piece.files == (paths.FOOTPRINT,)
    found = piece.make()[paths.FOOTPRINT]
    assert isinstance(found, str)
    return found


def of(real: Contents, *entries: Any) -> Contents:
    runs = [run for entry in entries for run in entry]
    return replace(real, cells=tuple(board.build(runs, {"sst2": SST2})), runs=tuple(runs))


def words(text: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())


def test_the_page_has_every_number_of_the_tables(page: str) -> None:
    said = words(page)
    for table in published.tables():
        for line in sheet(table).lines:
            numbers = [
                " ".join(filter(None, (n.computed, n.printed, n.sign, n.word)))
                for n in line.numbers
            ]
            for number in filter(None, numbers):
                assert number in said, f"{line.name}: {number}"
            for text in line.explained:
                assert " ".join(text.split()) in said


def test_a_difference_has_a_sign_a_word_and_its_reason(page: str) -> None:
    said = words(page)
    assert "1,503 1,507 ≠ differs" in said
    assert "79.2 h give 1,507 kWh" in said
    assert "≠ BERT base, V100 x 64" in said


def test_the_best_of_each_task_and_machine_is_there_and_leads_to_its_run(real: Contents) -> None:
    faster = make_entry(energy_j=30_000.0, scatter=0.0)
    other = make_entry(energy_j=50_000.0, scatter=0.0, level="M0", hardware=CPU, recipe="bf16")
    contents = of(real, faster, other)
    text = text_of(contents)
    measured, estimated = re.findall(r"<h3>(?:Measured|Estimated, not measured)</h3>.*?</table>",
                                     text, re.DOTALL)  # fmt: skip
    assert "0.00833" in measured
    assert "≈0.0139" in estimated
    assert "bf16" not in measured
    middle = trainings.best(contents.cells, contents.scenario)[0].run_id
    assert f'href="{paths.run(middle)}"' in measured
    assert 'class="estimated-ground' in text


def test_of_very_many_the_rest_is_on_the_boards_and_none_is_unranked(
    real: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "MOST", 1)
    contents = of(real, make_entry(), make_entry(level="M0", hardware=CPU), make_entry(1))
    assert "1 more are on the boards alone." in text_of(contents)
    below = of(real, make_entry(accuracy=0.55))
    assert "Nothing has been submitted yet." in text_of(below)


def test_a_site_of_nothing_has_the_study_all_the_same(real: Contents) -> None:
    text = text_of(of(real))
    assert "Nothing has been submitted yet." in text
    assert "626,155" in text


def test_the_same_today_is_by_the_grids_of_today(page: str) -> None:
    again = today(published.tables(["3"])[0])
    names = [row[0] for row in again.rows]
    assert names == ["Transformer base", "Transformer big", "ELMo", "BERT base", "NAS"]
    for name, _, study, numbers in again.rows:
        assert f"{name} {study} {' '.join(numbers)}" in words(page)
    assert "makes a difference of 20 times" in words(page)


def test_hostile_names_are_texts(real: Contents) -> None:
    text = text_of(of(real, make_entry(model=EVIL, recipe=EVIL, hardware=EVIL)))
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
    assert not re.search("[\u202e\x00\x1b]", text)
    assert " style=" not in text


def test_the_page_is_made_again_when_a_best_run_changes(real: Contents) -> None:
    entry = make_entry(energy_j=30_000.0)
    keys = [
        next(iter(footprint.pieces(of(real, e)))).key
        for e in (entry, list(entry), make_entry(energy_j=31_000.0))
    ]
    assert keys[0] == keys[1] != keys[2]
    assert "footprint" in build.KINDS


# --- in a browser ------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_read_on_a_phone_and_on_a_desk(open_page: Visitor, dark: bool) -> None:
    for narrow in (True, False):
        shown = open_page(paths.FOOTPRINT, narrow=narrow, dark=dark)
        assert browser.overflow_px(shown) == 0, browser.widest(shown)
        assert shown.locator(".wide-plot").is_visible() is not narrow
        assert shown.locator(".narrow-plot").is_visible() is narrow
    assert browser.axe(shown) == []


def test_a_number_opens_into_its_formula_without_scripts(open_page: Visitor) -> None:
    shown = open_page(paths.FOOTPRINT, js=False)
    details = shown.locator("details").filter(has_text="Transformer big, P100 x 8").first
    step = details.get_by_text("energy = 201.1").first
    assert not step.is_visible()
    details.locator("summary").click()
    assert step.is_visible()
    assert "PUE = 1.58" in details.inner_text()


def test_the_first_page_and_every_masthead_lead_to_it(open_page: Visitor) -> None:
    shown = open_page()
    shown.get_by_role("link", name="From one fine-tune to a search").click()
    assert shown.locator('nav a[aria-current="page"]').inner_text() == "Footprint"
