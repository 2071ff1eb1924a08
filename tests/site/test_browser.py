"""The pages of the real site in a real browser: nothing breaks, wherever they are opened."""

from __future__ import annotations

import pytest

from tests.site import browser
from tests.site.browser import Visitor

KINDS = ["index.html", "boards/sst2.html"]


@pytest.mark.parametrize("http", [False, True], ids=["disk", "http"])
@pytest.mark.parametrize("path", KINDS)
def test_a_page_opens_without_a_complaint(open_page: Visitor, path: str, http: bool) -> None:
    page = open_page(path, http=http)
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize("path", KINDS)
def test_axe_finds_nothing_grave(open_page: Visitor, path: str) -> None:
    assert browser.axe(open_page(path)) == []
