"""One page of each kind of the real site in a real browser: nothing breaks, wherever it is opened,
and nobody is left out. Pages are gone through one after the other: a page of its own for each test
costs half a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.site import browser, crawl
from tests.site.browser import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Page

KINDS = {
    "index.html", "compare.html", "tasks.html", "recipes.html", "rules.html", "changes.html",
    "guide.html", "downloads.html", "footprint.html", "boards", "entries", "runs", "sweeps",
    "guide",
}  # fmt: skip
BOARD = "boards/sst2.html"
RUN = "runs/a40ccf80dade8cb8.html"  # measured
OTHER_RUN = "runs/00b485f000ab423b.html"  # estimated
GUIDE = "guide/meters.html"


@pytest.fixture
def sample(real_site: Path) -> list[str]:
    """The address of a page of each kind: the largest, where there is no reason for another."""
    singles = sorted(p.name for p in real_site.glob("*.html") if p.name != "compare.html")
    compared = ",".join(Path(path).stem for path in (RUN, OTHER_RUN))
    largest = [
        max((p.stat().st_size, p.relative_to(real_site).as_posix()) for p in pages)[1]
        for kind in ("entries", "sweeps")
        if (pages := list((real_site / kind).rglob("*.html")))
    ]
    return [*singles, f"compare.html#{compared}", BOARD, RUN, OTHER_RUN, GUIDE, *largest]


def through(
    page: Page, visitor: Visitor, sample: list[str], look: Callable[[], Any], http: bool = False
) -> dict[str, Any]:
    """What `look` answers on each page, where it answers anything."""
    found = {}
    for path in sample:
        page.goto("about:blank")  # another fragment alone would load nothing
        page.goto(visitor.address(path, http=http))
        if answer := look():
            found[path] = answer
    return found


def test_the_sample_has_a_page_of_each_kind(real_site: Path, sample: list[str]) -> None:
    def kind(path: str) -> str:
        return path.partition("#")[0].split("/")[0]

    assert {kind(path) for path in crawl.pages(real_site)} == KINDS
    assert {kind(path) for path in sample} == KINDS


def test_over_http_pages_open_without_a_complaint(open_page: Visitor, sample: list[str]) -> None:
    page = open_page(http=True)
    headless = through(page, open_page, sample, lambda: page.locator("h1").count() != 1, http=True)
    assert not headless


def test_no_page_scrolls_sideways_nor_with_text_of_twice_the_size(
    open_page: Visitor, sample: list[str]
) -> None:
    page = open_page()

    def overflow() -> list[str]:
        usual = [_overflow(page, width) for width in (1320, 390, 320)]
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        return [said for said in (*usual, _overflow(page, 1320)) if said]

    assert not through(page, open_page, sample, overflow)


def _overflow(page: Page, width: int) -> str:
    """What is wider than its window, if anything."""
    page.set_viewport_size({"width": width, "height": browser.HEIGHT})
    over = browser.overflow_px(page)
    return f"at {width} px {over} px too wide: {browser.widest(page)}" if over else ""


def test_axe_finds_nothing_grave(open_page: Visitor, sample: list[str]) -> None:
    page = open_page()
    assert not through(page, open_page, sample, lambda: browser.axe(page))


def test_text_in_the_dark_has_contrast(open_page: Visitor, sample: list[str]) -> None:
    page = open_page(dark=True)
    few = [path for path in sample if not path.startswith(("changes", "recipes", "tasks"))]
    assert not through(page, open_page, few, lambda: browser.axe(page, ["color-contrast"]))


def test_paper_has_what_is_said_and_no_controls(open_page: Visitor, sample: list[str]) -> None:
    page = open_page(printed=True)

    def controls() -> list[str]:
        return page.eval_on_selector_all(
            "nav, button, input, select, .skip, .filters, .screen-only",
            "all => all.filter(e => e.checkVisibility() && !e.closest('th'))"
            ".map(e => e.outerHTML.slice(0, 100))",
        )

    assert not through(page, open_page, sample, controls)


def test_paper_is_light_whatever_the_screen_is(open_page: Visitor) -> None:
    page = open_page("boards/sst2.html", printed=True)
    grounds = []
    for scheme in ("dark", "light"):
        page.emulate_media(media="print", color_scheme=scheme)
        grounds.append(page.eval_on_selector("td", "e => getComputedStyle(e).borderBottomColor"))
    assert grounds[0] == grounds[1]


def test_without_scripts_pages_have_no_dead_controls(open_page: Visitor, sample: list[str]) -> None:
    page = open_page(js=False)

    def dead() -> list[str]:
        found = page.eval_on_selector_all(
            "button, input, select, textarea, [role=button], output",
            "all => all.filter(e => e.checkVisibility() && (e.tagName != 'OUTPUT' || e.innerText))"
            ".map(e => e.outerHTML.slice(0, 100))",
        )
        few = len(page.locator("main").inner_text()) < 80
        return [*found, "says nothing"] if few else found

    assert not through(page, open_page, sample, dead)


# --- with a keyboard ---------------------------------------------------------------------------


@pytest.fixture
def tabbed(open_page: Visitor) -> Callable[[str], list[dict[str, Any]]]:
    """Goes through a page with the tab key: what had the focus, one after the other."""

    def through_all(path: str) -> list[dict[str, Any]]:
        page = open_page(path)
        found: list[dict[str, Any]] = []
        for _ in range(400):
            page.keyboard.press("Tab")
            at = page.evaluate(FOCUSED)
            if not at or (found and at["number"] == found[0]["number"]):
                return found
            found.append(at)
        raise AssertionError("the tab key never comes back")

    return through_all


FOCUSED = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const style = getComputedStyle(e), box = e.getBoundingClientRect();
  return {
    number: Array.from(document.querySelectorAll('*')).indexOf(e),
    tag: e.tagName.toLowerCase(), name: e.getAttribute('aria-label') || e.innerText || e.name || '',
    drawn: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
      || e.type === 'date', // its calendar's button has the focus by itself
    seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth
      && box.width > 0,
  };
}"""


@pytest.mark.parametrize("path", [BOARD, RUN, "index.html"])
def test_the_tab_key_goes_through_a_page_in_order_and_shows_where_it_is(
    tabbed: Callable[[str], list[dict[str, Any]]], path: str
) -> None:
    found = tabbed(path)
    assert len(found) > 8
    assert [at["number"] for at in found] == sorted(at["number"] for at in found)
    assert not [at for at in found if not at["drawn"] or not at["seen"]]
    assert not [at for at in found if not at["name"].strip() and at["tag"] != "input"]


def test_the_tab_key_reaches_filters_headings_and_rows_of_a_board(
    tabbed: Callable[[str], list[dict[str, Any]]],
) -> None:
    found = tabbed(BOARD)
    assert {"a", "button", "select", "input"} <= {at["tag"] for at in found}
    names = " ".join(at["name"].lower() for at in found)
    for word in ("skip to", "energy", "compare all-minilm-l6", "boards"):
        assert word in names, word


def test_the_first_tab_leads_to_the_content(open_page: Visitor) -> None:
    page = open_page(BOARD)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.evaluate("e => e === document.activeElement")
    box = skip.bounding_box()
    assert box
    assert box["x"] >= 0
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'main'")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


# --- where there is no browser -----------------------------------------------------------------


@pytest.mark.parametrize("expected", [False, True])
def test_without_a_browser_a_test_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, expected: bool
) -> None:
    monkeypatch.setattr(browser, "EXPECTED", expected)
    monkeypatch.setattr("shutil.which", lambda name: None)
    outcome = pytest.fail.Exception if expected else pytest.skip.Exception
    with pytest.raises(outcome, match="apt install chromium"):
        browser.chromium()


def test_what_goes_wrong_on_a_page_is_a_complaint(open_page: Visitor, tmp_path: Path) -> None:
    (tmp_path / "bad.js").write_text("console.error('no'); alert(1); nothing.at.all")
    (tmp_path / "index.html").write_text(
        "<!doctype html><title>x</title><img src='gone.png'><img src='https://a.invalid/x.png'>"
        "<script src='bad.js'></script><div style='width: 3000px'>x</div>"
    )
    page = open_page(site=tmp_path)
    assert browser.overflow_px(page) > 1000
    said = "\n".join(open_page.complaints)
    for what in ("error: no", "dialog", "threw nothing", "gone.png", "foreign request: https://a."):
        assert what in said, what
    open_page.complaints.clear()
