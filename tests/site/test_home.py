"""The first page: sums that are kept apart, and each fact shown once at every width."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from bench.rank.entry import usable_energy_j
from bench.site import home, paths
from bench.site.contents import Contents
from bench.units import show_energy
from tests.site import making
from tests.site.browser import WIDE

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def contents() -> Contents:
    return making.read()


@pytest.fixture(scope="module")
def text(contents: Contents) -> str:
    (piece,) = home.pieces(contents)
    return str(piece.make()[paths.HOME])


def test_measured_and_estimated_energy_are_sums_of_their_own(contents: Contents, text: str) -> None:
    for estimated, mark in ((False, ""), (True, "≈")):
        runs = [r.record for r in contents.runs if (r.record.level == "M0") == estimated]
        joules = [e for r in runs if (e := usable_energy_j(r)) is not None]
        said = f"<b>{mark}{show_energy(sum(joules))}</b>"
        assert said in text
        assert f"in {len(joules)} runs" in text
        unsure = 100 * sum(r.uncertainty_j or 0 for r in runs if r.energy_j) / sum(joules)
        assert f"{said} ±{unsure:.0f} %" in text


def test_measured_cells_stand_before_estimated_ones_and_apart(text: str) -> None:
    measured, estimated = re.findall(r"<table class=\"full glance\">.*?</table>", text, re.S)
    assert "≈" not in measured
    assert estimated.count("≈") > 1
    assert "Estimated, not measured" in estimated


def test_the_power_of_a_measured_run_is_shown(contents: Contents, text: str) -> None:
    hero = home._hero(contents.cells)
    assert hero
    assert not hero.estimated
    assert f'href="{paths.run(hero.run_id)}"' in text
    assert "svg" in text.partition('class="hero"')[2].partition("</figure>")[0]


@pytest.mark.parametrize("width", [WIDE, 800, 390])
def test_a_cell_says_its_place_once(open_page: Callable[..., Page], width: int) -> None:
    page = open_page("index.html", width=width)
    first = page.locator(".glance tbody tr").first
    said = first.inner_text().replace("\n", " ")
    assert said.count("NVIDIA H200") == 1, said


def test_a_number_and_its_unit_stay_in_a_line(open_page: Any) -> None:
    said = open_page().locator("figure .together")
    for width in range(900, 1400, 60):
        said.page.set_viewport_size({"width": width, "height": 800})
        assert len(said.evaluate("e => [...e.getClientRects()]")) == 1
