"""Tasks, recipes and models: each is on its page, with what it cost or brought."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from bench import cards, recipes
from bench.errors import MissingExtra
from bench.learn import models
from bench.rank import costs
from bench.site import catalogue, paths
from bench.site.contents import Contents
from tests.site import making
from tests.site.test_guide import is_there, links


@pytest.fixture(scope="module")
def contents() -> Contents:
    return making.read()


def made(contents: Contents) -> dict[str, str]:
    pages = [piece.make() for piece in catalogue.pieces(contents)]
    return {at: str(text) for page in pages for at, text in page.items()}


@pytest.fixture(scope="module")
def pages(contents: Contents) -> dict[str, str]:
    return made(contents)


def section(page: str, name: str) -> str:
    """What a page says of one task or recipe."""
    return page.partition(f'<section class="item" id="{name}">')[2].partition("</section>")[0]


@pytest.mark.parametrize("name", cards.names())
def test_a_task_is_on_its_page(pages: dict[str, str], name: str) -> None:
    page, card = pages[paths.TASKS], cards.load(name)
    assert f'<a href="#{name}">{card.title}</a>' in page
    said = unescape(section(page, name))
    assert card.licence in said
    assert card.description in said
    assert card.unranked is None or card.unranked in said
    assert "tiers" in said


def test_a_tier_has_its_threshold(pages: dict[str, str]) -> None:
    said = unescape(section(pages[paths.TASKS], "cola"))
    assert "gold ≥ 54.6 %, silver ≥ 49.5 %, bronze ≥ 33.8 %" in said


def test_a_task_that_nobody_ran_says_how_to_begin(tmp_path: Path) -> None:
    page = made(making.read(tmp_path))[paths.TASKS]
    assert "bench run --task sst2 --runs 3" in section(page, "sst2")
    assert paths.board("sst2") not in page


def test_measured_and_estimated_costs_are_never_in_one_table(pages: dict[str, str]) -> None:
    page = section(pages[paths.TASKS], "sst2")
    tables = list(re.finditer(r'<div class="scroll cost( guess)?".*?</table>', page, re.DOTALL))
    assert {bool(found[1]) for found in tables} == {True, False}
    for found in tables:
        energies = re.findall(r'<td class="n energy">(.*?)</td>', found[0])
        assert energies
        assert {text.startswith("≈") for text in energies} == {bool(found[1])}
        assert ("estimated</span>" in found[0]) == bool(found[1])


def test_of_many_machines_those_of_most_runs_are_shown_measured_ones_first(
    contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [run for run in contents.runs if run.record.spec.task == "sst2"]
    every = list(catalogue._cost_tables(costs.of(contents.cards["sst2"], runs)))
    assert len(every) > 2
    for most in (1, 2):
        monkeypatch.setattr(catalogue, "MACHINES", most)
        shown = catalogue._most_used(every)
        assert len(shown) == most
        left = [t for t in every if t not in shown]
        assert min((not t.estimated, t.runs) for t in shown) >= max(
            (not t.estimated, t.runs) for t in left
        )
        page = section(made(contents)[paths.TASKS], "sst2")
        assert page.count("<table") == most
        assert f"{len(left)} more kind" in page


def test_what_was_taken_back_costs_nothing(contents: Contents) -> None:
    (folder,) = [f for f, s in contents.standings.items() if s.place.startswith("wnut17/")]
    gone = replace(contents.standings[folder], retracted_by=Path("elsewhere"))
    less = replace(contents, standings={**contents.standings, folder: gone})
    assert re.search("energy k?Wh", section(made(contents)[paths.TASKS], "wnut17"))
    assert not re.search("energy k?Wh", section(made(less)[paths.TASKS], "wnut17"))


def test_where_a_card_of_ones_own_lies_is_not_told(contents: Contents, tmp_path: Path) -> None:
    text = (cards.folder() / "rte.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    text = text.replace('name = "rte"', 'name = "mine"')
    path.write_text(re.sub("(?m)^title = .*$", 'title = "Mine <b>"', text), encoding="utf-8")
    own = cards.read(path)
    assert own.beside is not None
    page = made(replace(contents, cards={**contents.cards, "mine": own}))[paths.TASKS]
    assert "Mine &lt;b&gt;" in section(page, "mine")
    assert str(tmp_path) not in page


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_is_on_its_page_with_its_settings(pages: dict[str, str], name: str) -> None:
    page, facts = pages[paths.RECIPES], recipes.describe(name)
    assert f'<a href="#{name}">{name}</a>' in page
    said = unescape(section(page, name))
    assert facts["summary"] in said
    assert facts["charges"] in said
    common = section(page, recipes.DEFAULT)
    for setting in facts["settings"]:
        assert f"<code>{setting['name']}</code>" in said + common


def test_a_recipe_shows_what_it_brought(pages: dict[str, str]) -> None:
    said = section(pages[paths.RECIPES], "bf16")
    assert 'class="tag measured"' in said
    assert 'href="boards/sst2.html#' in said
    assert 'href="entries/sst2/' in said


def test_both_parts_of_a_combination_brought_it(contents: Contents) -> None:
    found = catalogue._entries_of_recipes(contents)
    for name in ("token-budget", "freeze"):
        assert "token-budget+freeze" in {entry.spec.recipe for _, entry in found[name]}


@pytest.mark.parametrize("name", models.names())
def test_a_model_is_in_the_table(pages: dict[str, str], name: str) -> None:
    page, facts = pages[paths.RECIPES], models.describe(name)
    row = page.partition(f'<tr id="model-{name}">')[2].partition("</tr>")[0]
    assert f"<td>{facts['track']}</td>" in row
    assert f"{facts['parameters'] / 1e6:,.1f}" in row


def test_a_recipe_that_cannot_be_described_says_so(
    contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = recipes.describe

    def failing(name: str) -> dict[str, Any]:
        if name == "lora":
            raise MissingExtra("<lora>", "lora")
        return describe(name)

    monkeypatch.setattr(recipes, "describe", failing)
    page = made(contents)[paths.RECIPES]
    assert "&lt;lora&gt; needs packages that are not installed" in section(page, "lora")
    assert "summary" not in section(page, "lora")
    assert "<dt>charged</dt>" in section(page, "freeze")


def test_a_recipe_of_somebody_else_links_by_https_alone(
    contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = recipes.describe
    hostile = {"paper": "javascript:alert(1); http://x.example; https://y.example/a'b",
               "summary": "<img src=x onerror=alert(1)>"}  # fmt: skip
    monkeypatch.setattr(recipes, "describe", lambda name: describe(name) | hostile)
    said = section(made(contents)[paths.RECIPES], "freeze")
    assert set(re.findall('href="(http.*?|java.*?)"', said)) == {"https://y.example/a&#39;b"}
    assert "<img" not in said


def test_torch_is_not_needed(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from tests.site import making\n"
        "from bench.site import catalogue\n"
        f"pages = [p.make() for p in catalogue.pieces(making.read(Path({str(tmp_path)!r})))]\n"
        "assert not any('be described here' in text for p in pages for text in p.values())\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=making.RESULTS.parent)


@pytest.mark.parametrize("at", [paths.TASKS, paths.RECIPES])
def test_what_a_catalogue_links_to_is_there(real_site: Path, at: str) -> None:
    for file, fragment in links(real_site, at):
        assert is_there(file, fragment), (at, file.name, fragment)


@pytest.mark.parametrize("at", [paths.TASKS, paths.RECIPES])
def test_a_catalogue_names_each_place_once(pages: dict[str, str], at: str) -> None:
    text = pages[at]
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert "style=" not in text
