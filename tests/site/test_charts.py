"""The plot of a task in its page: the page's own colours, links to entries, and live on demand."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.rank import board
from bench.rank.entry import Cell
from bench.site import boards, charts, page, paths
from tests.rank.records import SST2, make_entry
from tests.site import making
from tests.site.submitted import EVIL

AT = paths.board("sst2")


def cells(**other: Any) -> list[Cell]:
    """One measured cell of two entries, of which one is on the front, and what else is asked."""
    runs = make_entry(energy_j=40_000.0) + make_entry(accuracy=0.88, recipe="bf16", energy_j=60e3)
    return board.build([*runs, *(make_entry(**other) if other else [])], {"sst2": SST2})


ESTIMATED = {"level": "M0", "hardware": "CPU AMD EPYC, 1 core", "model": "bert-tiny"}


@pytest.fixture(scope="module")
def drawn() -> str:
    return str(charts.front_svg(cells(**ESTIMATED), AT))


def drawings(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(f"<div>{svg}</div>"))


def links(svg: str) -> Iterator[tuple[str, str, ElementTree.Element]]:
    """Of the dots of the wide drawing: where to, what it says, the mark."""
    for link in drawings(svg)[0].iter("a"):
        title, mark = list(link)
        yield link.attrib["href"], title.text or "", mark


def test_a_dot_leads_to_its_entry_and_says_its_numbers(drawn: str) -> None:
    found = list(links(drawn))
    assert len(found) == 3
    by_text = {text.split(":")[0]: (to, text) for to, text, _ in found}
    to, text = by_text["all-minilm-l6, baseline"]
    assert re.fullmatch(r"\.\./runs/\w+\.html", to)  # it was not submitted
    assert "skill 0.836 (0.832 to 0.839)" in text
    assert re.search(r"11\.\d Wh \(", text)
    assert "measured: gpu (M1)" in text
    assert "3 runs, 95 % between them" in text
    assert "≈" in by_text["bert-tiny, baseline"][1]
    assert "estimated: " in by_text["bert-tiny, baseline"][1]


def test_what_was_submitted_leads_to_its_entry() -> None:
    found = making.read().tasks["rte"]
    addresses = {charts.address(e) for cell in found for e in cell.entries}
    assert addresses == {"entries/rte/all-minilm-l6-baseline-5-epochs.html"}


def test_what_was_estimated_is_hollow(drawn: str) -> None:
    hollow = {text.split(":")[0]: mark.get("fill-opacity") for _, text, mark in links(drawn)}
    assert hollow["bert-tiny, baseline"] == "0"
    assert hollow["all-minilm-l6, baseline"] != "0"
    assert "Hollow: energy was estimated" in charts.marks(cells(**ESTIMATED))
    assert "Hollow" not in charts.marks(cells())


def test_colours_are_the_pages(drawn: str) -> None:
    colours = set(re.findall(r'(?:fill|stroke)="([^"]*)"', drawn))
    assert {"var(--c1)", "var(--c2)", "var(--ink)", "var(--paper)"} <= colours
    assert all(c in ("none", "transparent") or c.startswith("var(--") for c in colours), colours


def test_nothing_in_it_breaks_the_policy(drawn: str) -> None:
    for told in (" style=", ' class="mark', "<script", "xlink", "<rect", " id="):
        assert told not in drawn


def test_it_can_be_followed_and_read_aloud(drawn: str) -> None:
    wide, narrow = drawings(drawn)
    for svg in (wide, narrow):
        assert svg.get("role") == "group"  # of an image nothing can be followed
        assert "Skill against energy" in svg.get("aria-label", "")
    assert (wide.get("class"), narrow.get("class")) == ("vl wide-plot", "vl narrow-plot")
    assert float(narrow.get("width", 0)) < 390


def test_hostile_names_stay_text() -> None:
    found = cells(model=f"{EVIL}{'x' * 10_000}", recipe="<b>&amp;")
    svg = str(charts.front_svg(found, AT))
    assert "<script" not in svg
    assert "\u202e" not in svg
    assert len(svg) < 60_000
    (_, text, _) = next(x for x in links(svg) if "alert" in x[1])
    assert text.startswith("</title><script>alert(1)")
    script = charts._specs(paths.front("sst2"), charts.chosen(found))[paths.front("sst2")]
    assert "<" not in script
    assert script.startswith("bench.plot({")
    assert script.count("\n") == 1


def test_one_entry_is_no_plot() -> None:
    found = board.build(make_entry(), {"sst2": SST2})
    assert charts.front_svg(found, AT) == ""
    assert charts.front_svg([], AT) == ""


def test_of_too_many_entries_those_on_a_front_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "MOST", 2)
    found = cells(recipe="freeze", energy_j=90_000.0, accuracy=0.95)
    assert {d.label for d in charts.chosen(found)} == {"baseline", "freeze"}
    assert "1 more entry is in the tables alone" in charts.marks(found)


def test_the_script_of_a_plot_follows_from_its_entries() -> None:
    contents = making.read()
    made = {p.files[0]: p for p in charts.pieces(contents)}
    assert paths.front("sst2") in made
    assert paths.front("rte") not in made or len(charts.chosen(contents.tasks["rte"])) > 1
    dots = charts.chosen(contents.tasks["sst2"])
    assert made[paths.front("sst2")].key == page.digest(dots)
    assert page.digest([replace(dots[0], skill=0.5), *dots[1:]]) != page.digest(dots)


def test_vega_is_one_classic_script() -> None:
    script = charts._vega()[charts.VEGA]
    assert script.startswith("(()=>{")
    assert "window.vegaEmbed=" in script
    assert not re.search(r"^\s*(import|export)\b", script, re.MULTILINE)


def test_a_process_that_was_forked_from_one_that_has_drawn_can_draw(drawn: str) -> None:
    """The builder's are: the engine's threads are not in them, and it would wait for them."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        again = pool.submit(charts.front_svg, cells(**ESTIMATED), AT).result(timeout=60)
    assert len(drawings(str(again))) == 2


def test_the_page_has_the_plot_above_its_tables(real_site: Path) -> None:
    text = (real_site / AT).read_text(encoding="utf-8")
    assert text.index("<figure") < text.index("<table")
    assert 'class="explore" hidden' in text
    assert "Bars: 95 % between runs." in text
    assert "(k = 2)" in text
    assert len(text) < 300_000


@pytest.mark.parametrize("narrow", [False, True])
def test_explore_makes_it_live(open_page: Any, narrow: bool) -> None:
    page = open_page(AT, narrow=narrow)
    page.get_by_role("button", name="Explore").click()
    points = page.locator(".live .points_marks path")
    points.first.wait_for()
    assert points.count() == page.locator("svg.wide-plot a").count()
    points.first.hover()
    page.locator("#vg-tooltip-element.visible").wait_for()
    assert re.search(r"k?Wh\t", page.locator("#vg-tooltip-element").inner_text())
    assert not page.locator(".drawn").is_visible()
    page.get_by_role("button", name="Plain").click()
    assert page.locator(".drawn").is_visible()
    assert page.locator(".live").count() == 0


# --- with the filters of the page ----------------------------------------------------------------

PLACED = """svg => [...svg.querySelectorAll("a > [data-dot]")].map(mark => {
  const row = document.querySelector(`tr[data-dot="${mark.dataset.dot}"]`);
  const box = mark.getBoundingClientRect();
  return {
    out: mark.classList.contains("out"), seen: parseFloat(getComputedStyle(mark).opacity) > 0.5,
    row: !row.hidden, group: row.closest("section.cell").dataset.meters,
    said: mark.parentNode.textContent.split(",")[0] === row.querySelector(".entry b").textContent,
    x: box.x + box.width / 2, y: box.y + box.height / 2,
  };
})"""
FRONTS = """svg => [...svg.querySelectorAll(".front-left, .fronts path")]
  .filter(e => getComputedStyle(e).display !== "none" && e.checkVisibility())
  .map(path => { const m = path.getScreenCTM(), l = path.getTotalLength();
    return Array.from({length: l / 2 + 2}, (_, i) => path.getPointAtLength(Math.min(l, 2 * i)))
      .map(p => [p.x * m.a + m.e, p.y * m.d + m.f]); })"""


@pytest.mark.parametrize("asked", ["hardware=1+x+NVIDIA+H200", "text=baseline", "level=M0"])
@pytest.mark.parametrize("narrow", [False, True])
def test_what_is_filtered_out_fades_and_fronts_are_over_what_is_left(
    open_page: Any, asked: str, narrow: bool
) -> None:
    page = open_page(f"{AT}#{asked}", narrow=narrow)
    svg = page.locator("svg.narrow-plot" if narrow else "svg.wide-plot")
    dots = svg.evaluate(PLACED)
    assert all(d["out"] != d["row"] and d["seen"] == d["row"] and d["said"] for d in dots)
    left = [d for d in dots if d["row"]]
    assert 0 < len(left) < len(dots)
    numbers = {str(i) for i, d in enumerate(dots) if d["row"]}
    named = svg.locator("text[data-dot]").filter(visible=True).all()
    assert named
    assert {e.get_attribute("data-dot") for e in named} <= numbers
    lines = svg.evaluate(FRONTS)
    for group in {d["group"] for d in left}:
        some = [d for d in left if d["group"] == group]
        best = [d for d in some if not any(
            o["x"] <= d["x"] and o["y"] <= d["y"] and o is not d for o in some)]  # fmt: skip
        if len(best) > 1:
            assert any(all(_passes(line, d) for d in best) for line in lines)
    assert "Filtered: " in page.locator(".chart .left").inner_text()
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelector('.chart .left').hidden")
    assert svg.locator(".out").count() == 0
    assert svg.locator(".front-left").count() == 0


def _passes(line: list[list[float]], dot: dict[str, Any]) -> bool:
    return any(abs(x - dot["x"]) < 3 and abs(y - dot["y"]) < 3 for x, y in line)


def test_without_scripts_the_plot_is_whole(open_page: Any) -> None:
    page = open_page(f"{AT}#text=baseline", js=False)
    assert page.locator("svg .out").count() == 0
    assert page.locator("svg.wide-plot .fronts").first.is_visible()
    assert not page.locator(".chart .left").is_visible()


def test_the_live_plot_has_what_is_left_as_well(open_page: Any) -> None:
    page = open_page(f"{AT}#text=baseline")
    page.get_by_role("button", name="Explore").click()
    points = page.locator(".live .points_marks path")
    points.first.wait_for()
    all_rows, left = page.locator("tr[data-dot]"), page.locator("tr[data-dot]:not([hidden])")
    assert 0 < points.count() == left.count() < all_rows.count()
    page.get_by_role("button", name="Show all").click()
    page.wait_for_timeout(400)  # it waits for a word to end
    points.nth(all_rows.count() - 1).wait_for()
    assert points.count() == all_rows.count()


def test_a_plot_of_some_entries_alone_has_no_front_over_a_part_of_them(
    open_page: Any, tmp_path: Path, real_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (real_site / AT).read_text(encoding="utf-8")
    assert text.count('data-whole="true"') == 1
    contents = making.read()
    monkeypatch.setattr(charts, "MOST", 12)
    (piece,) = [p for p in boards.pieces(contents) if p.files == (AT,)]
    folder = tmp_path / "site"
    (folder / "boards").mkdir(parents=True)
    (folder / "assets").symlink_to(real_site / "assets")
    (folder / AT).write_text(str(piece.make()[AT]), encoding="utf-8")
    page = open_page(f"{AT}#text=baseline", site=folder)
    assert "fronts are left out" in page.locator(".chart .left").inner_text()
    assert page.locator("svg .front-left").count() == 0
    assert not page.locator("svg.wide-plot .fronts").first.is_visible()


def test_every_dot_has_a_row_however_few_rows_a_page_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "MOST", 10)
    monkeypatch.setattr(boards, "FEWEST", 1)
    contents = making.read()
    (piece,) = [p for p in boards.pieces(contents) if p.files == (AT,)]
    text = str(piece.make()[AT])
    in_rows = re.findall(r'<tr [^>]*data-dot="(\d+)"', text)
    dots = charts.chosen(contents.tasks["sst2"])
    assert sorted(map(int, in_rows)) == list(range(len(dots)))
