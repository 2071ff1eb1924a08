"""The page of a task, as a visitor uses it: sorting, filters in the address, rows picked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.site.browser import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

BOARD = "boards/sst2.html"
H200 = "1 x NVIDIA H200"


def rows(page: Page) -> Locator:
    return page.locator("table.board tr[data-run]").filter(visible=True)


def said(page: Page) -> str:
    return page.locator(".filters output").inner_text()


def column(page: Page, key: str) -> list[list[float]]:
    """The numbers of a column as they are shown, table by table."""
    texts = page.eval_on_selector_all(
        "table.board tbody",
        "(all, key) => all.map(b => [...b.querySelectorAll(`tr[data-run] td.${key}`)]"
        ".map(cell => cell.innerText))",
        key,
    )
    return [[_number(text) for text in body] for body in texts]


def _number(text: str) -> float:
    found = re.search(r"[\d.,]+", text)
    return float(found[0].replace(",", "")) if found else -1.0


def order(page: Page) -> list[str | None]:
    return page.eval_on_selector_all("tr[data-run]", "rows => rows.map(r => r.dataset.run)")


def header(page: Page, name: str) -> Locator:
    return page.locator("table.board").first.get_by_role("button", name=name)


def sorting(page: Page) -> list[tuple[str, str]]:
    """The columns that say to be sorted, of all tables, and how."""
    return page.eval_on_selector_all(
        "th[aria-sort]",
        "all => [...new Set(all.map(h => h.innerText.trim() + '|' + h.ariaSort))]"
        ".map(s => s.split('|'))",
    )


# --- what it looks like ------------------------------------------------------------------------


def test_a_mark_stands_on_the_line_of_its_number(open_page: Visitor) -> None:
    page = open_page(BOARD)
    apart = page.eval_on_selector_all(
        "tr[data-run]",
        """all => all.filter(row => row.querySelector("circle")).map(row => {
          const text = document.createRange();
          text.selectNodeContents(row.querySelector("td.score").firstChild);
          const [a, b] = [text, row.querySelector("circle")].map(e => e.getBoundingClientRect());
          return Math.abs(a.y + a.height / 2 - b.y - b.height / 2);
        })""",
    )
    assert len(apart) > 9
    assert max(apart) < 4


def test_on_a_phone_headings_stand_on_one_line_and_boxes_make_no_row_higher(
    open_page: Visitor,
) -> None:
    page = open_page(BOARD, width=390)
    bottoms = page.eval_on_selector_all(
        "thead",
        """all => all.map(head => [...head.querySelectorAll("th.rank, th.entry")].map(
          th => Math.round(th.querySelector("button").getBoundingClientRect().bottom)))""",
    )
    assert all(rank == entry for rank, entry in bottoms)
    over = page.eval_on_selector_all(
        "tr[data-run]",
        """all => all.filter(row => row.querySelector(".pick").getBoundingClientRect().bottom
          > row.getBoundingClientRect().bottom + 1).length""",
    )
    assert over == 0


def test_what_nobody_checked_has_no_column_and_commands_look_like_commands(
    open_page: Visitor,
) -> None:
    page = open_page(BOARD)
    levels = page.locator("td.level").all_inner_texts()
    assert not levels or any(levels)
    assert "bench show RUN" in page.locator(".legend code").all_inner_texts()


def test_less_than_chance_has_a_minus_sign_and_sorts_below_chance(open_page: Visitor) -> None:
    page = open_page("boards/wikitext2.html")
    scores = page.locator("td.score").all_inner_texts()
    assert any(text.startswith("≈−") for text in scores)
    assert not any("-" in text for text in scores)
    body = page.locator("tbody", has=page.locator("td.score", has_text="≈−")).first
    body.evaluate("body => body.querySelectorAll('tr[data-run] ~ tr').forEach(row => row.remove())")
    body.evaluate(
        """body => {
          const row = body.querySelector("tr[data-run]"), copy = row.cloneNode(true);
          copy.querySelector("td.score").textContent = "≈5.00";
          body.append(copy);
        }"""
    )
    header(page, "score").click()
    assert [text[:2] for text in body.locator("td.score").all_inner_texts()] == ["≈5", "≈−"]
    header(page, "score").click()
    assert [text[:2] for text in body.locator("td.score").all_inner_texts()] == ["≈−", "≈5"]


def test_a_command_in_the_legend_has_a_space_on_either_side(open_page: Visitor) -> None:
    page = open_page(BOARD)
    said = page.locator(".legend li", has_text="bench show RUN").inner_text()
    assert "; bench show RUN says" in " ".join(said.split())


@pytest.mark.parametrize("width", [1320, 1240, 768, 390])
def test_no_number_reaches_into_the_next_column(open_page: Visitor, width: int) -> None:
    page = open_page(BOARD, width=width)
    page.eval_on_selector(  # as where a cell has very small energies and large ones
        "td.energy", "cell => cell.firstChild.textContent = '≈0.0000548'"
    )
    over = page.eval_on_selector_all(
        "table.board td.n",
        "all => all.filter(cell => cell.checkVisibility() && cell.scrollWidth > cell.clientWidth)"
        ".map(cell => cell.innerText)",
    )
    assert not over


# --- sorting -----------------------------------------------------------------------------------


def test_a_column_sorts_each_tier_by_itself(open_page: Visitor) -> None:
    page = open_page(BOARD)
    tiers = page.locator("tr.tier th").all_inner_texts()
    header(page, "energy").click()
    assert all(numbers == sorted(numbers) for numbers in column(page, "energy"))
    assert page.locator("tr.tier th").all_inner_texts() == tiers
    assert [how for _, how in sorting(page)] == ["ascending"]


def test_a_second_click_turns_a_column_and_rank_brings_the_first_order_back(
    open_page: Visitor,
) -> None:
    page = open_page(BOARD)
    before = order(page)
    header(page, "energy").click()
    header(page, "energy").click()
    assert all(numbers == sorted(numbers)[::-1] for numbers in column(page, "energy"))
    assert [how for _, how in sorting(page)] == ["descending"]
    assert order(page) != before
    header(page, "rank").click()
    assert (order(page), sorting(page)) == (before, [])


def test_what_is_better_when_it_is_high_comes_first_on_the_first_click(open_page: Visitor) -> None:
    page = open_page(BOARD)
    header(page, "accuracy").click()
    assert all(numbers == sorted(numbers)[::-1] for numbers in column(page, "metric"))


@pytest.mark.parametrize("name", ["duration", "time"])
def test_times_sort_by_their_length_whatever_their_unit(open_page: Visitor, name: str) -> None:
    page = open_page(BOARD)
    if not header(page, name).count():
        pytest.skip("another word heads the column")
    header(page, name).click()
    for body in page.locator("table.board tbody").all():
        seconds = [_seconds(t) for t in body.locator("tr[data-run] td.duration").all_inner_texts()]
        assert seconds == sorted(seconds)


def _seconds(text: str) -> float:
    units = {"d": 86400, "h": 3600, "min": 60, "s": 1}
    return sum(
        float(n.replace(",", "")) * units[u]
        for n, u in re.findall(r"([\d.,]+)\s*(d|h|min|s)\b", text)
    )


def test_a_column_is_sorted_with_the_keyboard_and_keeps_the_focus(open_page: Visitor) -> None:
    page = open_page(BOARD)
    header(page, "energy").focus()
    page.keyboard.press("Enter")
    assert [how for _, how in sorting(page)] == ["ascending"]
    page.keyboard.press("Space")
    assert [how for _, how in sorting(page)] == ["descending"]
    assert "energy" in page.evaluate("document.activeElement.innerText")


# --- filters and their address -----------------------------------------------------------------


def test_hardware_leaves_its_cells_counts_them_and_is_kept_in_the_address(
    open_page: Visitor,
) -> None:
    page = open_page(BOARD)
    every = rows(page).count()
    assert said(page) == f"{every} entries"
    page.get_by_label("hardware").select_option(H200)
    shown = page.locator("section.cell").filter(visible=True)
    assert {s.get_attribute("data-hardware") for s in shown.all()} == {H200}
    assert 0 < rows(page).count() < every
    assert said(page) == f"{rows(page).count()} of {every} entries"
    assert "#hardware=1+x+NVIDIA+H200" in page.url


def test_a_permalink_restores_filters_and_sorting(open_page: Visitor) -> None:
    first = open_page(BOARD)
    first.get_by_label("hardware").select_option(H200)
    first.get_by_label("track").select_option("scratch")
    first.get_by_label("entry", exact=True).fill("bert-base")
    first.locator("table.board").filter(visible=True).first.get_by_role(
        "button", name="energy"
    ).click()
    other = open_page(BOARD + "#" + first.url.partition("#")[2])
    assert other.get_by_label("hardware").input_value() == H200
    assert other.get_by_label("entry", exact=True).input_value() == "bert-base"
    assert (order(other), said(other)) == (order(first), said(first))
    assert sorting(other) == sorting(first)
    assert all("bert-base" in text for text in rows(other).all_inner_texts())


def test_back_and_forward_go_through_what_was_chosen(open_page: Visitor) -> None:
    page = open_page(BOARD)
    page.get_by_label("track").select_option("scratch")
    few = rows(page).count()
    page.get_by_label("track").select_option("finetune")
    other = rows(page).count()
    page.go_back()
    assert (page.get_by_label("track").input_value(), rows(page).count()) == ("scratch", few)
    page.go_back()
    assert page.get_by_label("track").input_value() == ""
    assert rows(page).count() > max(few, other)
    page.go_forward()
    assert rows(page).count() == few


def test_typing_leaves_one_step_to_go_back_and_counts_as_it_goes(open_page: Visitor) -> None:
    page = open_page(BOARD)
    steps = page.evaluate("history.length")
    page.get_by_label("entry", exact=True).press_sequentially("lora")
    assert page.evaluate("history.length") == steps
    assert all("lora" in text for text in rows(page).all_inner_texts())
    assert said(page).startswith(f"{rows(page).count()} of ")


def test_dates_bound_both_ends(open_page: Visitor) -> None:
    page = open_page(BOARD)
    dates = sorted({d[:10] for d in page.eval_on_selector_all(
        "tr[data-run]", "rows => rows.map(r => r.dataset.date)")})  # fmt: skip
    page.get_by_label("from", exact=True).fill(dates[-1])
    shown = page.eval_on_selector_all(
        "tr[data-run]", "rows => rows.filter(r => !r.hidden).map(r => r.dataset.date.slice(0, 10))"
    )
    assert set(shown) == {dates[-1]}
    page.get_by_label("from", exact=True).fill("")
    page.get_by_label("to", exact=True).fill("2020-01-01")
    assert rows(page).count() == 0
    assert said(page).startswith("0 of ")


def test_a_search_that_finds_nothing_leaves_no_empty_tables(open_page: Visitor) -> None:
    page = open_page(BOARD + "#text=no+such+model")
    assert said(page).startswith("0 of ")
    assert page.locator("section.cell").filter(visible=True).count() == 0


def test_all_takes_every_filter_away_but_not_the_sorting(open_page: Visitor) -> None:
    page = open_page(BOARD + "#track=scratch&text=bert&sort=energy")
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("!location.hash.includes('track')")
    page.wait_for_function("/^\\d+ entries$/.test(document.querySelector('output').textContent)")
    assert page.url.endswith("#sort=energy")
    assert page.get_by_label("entry", exact=True).input_value() == ""


def test_values_that_the_page_does_not_know_break_nothing(open_page: Visitor) -> None:
    page = open_page(BOARD + "#hardware=%3Cscript%3E&sort=.constructor&since=x&track=&zzz=1&%")
    assert said(page).startswith("0 of ")
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("/^\\d+ entries$/.test(document.querySelector('output').textContent)")


def test_one_entry_has_nothing_to_filter_and_is_not_hidden_by_an_address(
    open_page: Visitor, real_site: Path
) -> None:
    few = next(
        path.name for path in sorted((real_site / "boards").glob("*.html"))
        if path.read_text(encoding="utf-8").count("<tr data-date") == 1
    )  # fmt: skip
    page = open_page(f"boards/{few}#track=scratch&text=nothing+like+it")
    assert page.locator(".filters").count() == 0
    assert rows(page).count() == 1


def test_the_address_of_a_cell_leads_there_and_filters_nothing(open_page: Visitor) -> None:
    page = open_page(BOARD)
    name = page.locator("section.cell").last.get_attribute("id")
    there = open_page(f"{BOARD}#{name}")
    assert rows(there).count() == rows(page).count()
    assert there.evaluate("scrollY") > 300


def test_over_http_it_works_alike(open_page: Visitor) -> None:
    page = open_page(BOARD + "#track=scratch&sort=-energy", http=True)
    assert said(page).startswith(f"{rows(page).count()} of ")
    assert all(numbers == sorted(numbers)[::-1] for numbers in column(page, "energy"))


# --- what is compared --------------------------------------------------------------------------


def pick(page: Page, *numbers: int) -> None:
    for number in numbers:
        rows(page).nth(number).get_by_role("checkbox").check()


def test_two_rows_lead_to_the_page_that_compares_them(open_page: Visitor) -> None:
    page = open_page(BOARD)
    pick(page, 0)
    assert page.get_by_role("link", name=re.compile(r"Compare \d")).count() == 0
    pick(page, 2)
    ids = [str(rows(page).nth(i).get_attribute("data-run")) for i in (0, 2)]
    page.get_by_role("link", name="Compare 2 runs").click()
    page.wait_for_url("**/compare.html#" + ",".join(ids))


def test_a_fifth_row_can_not_be_picked_until_one_is_given_back(open_page: Visitor) -> None:
    page = open_page(BOARD)
    pick(page, 0, 1, 2, 3)
    assert rows(page).nth(4).get_by_role("checkbox").is_disabled()
    rows(page).nth(1).get_by_role("checkbox").uncheck()
    assert rows(page).nth(4).get_by_role("checkbox").is_enabled()
    assert page.get_by_role("link", name="Compare 3 runs").is_visible()


def test_clear_gives_all_rows_back(open_page: Visitor) -> None:
    page = open_page(BOARD)
    pick(page, 0, 1)
    page.get_by_role("button", name="clear").click()
    assert page.locator(".pick:checked").count() == 0
    assert page.get_by_role("button", name="clear").count() == 0


def test_each_box_says_what_it_picks(open_page: Visitor) -> None:
    page = open_page(BOARD)
    names = [b.get_attribute("aria-label") or "" for b in page.locator(".pick").all()]
    assert all(name.startswith("Compare ") and len(name) > 12 for name in names)


# --- without scripts ---------------------------------------------------------------------------


def test_without_scripts_all_rows_are_there_and_nothing_that_does_nothing(
    open_page: Visitor,
) -> None:
    page = open_page(BOARD, js=False)
    assert rows(page).count() == page.locator("tr[data-run]").count() > 9
    assert page.locator("button, input, select").filter(visible=True).count() == 0
