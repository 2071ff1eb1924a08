"""The page that compares runs with what it reads, and none of the site's other pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.site import assets, compare, rundata, runs
from bench.site.contents import Contents
from tests.site import browser, making

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def built(out: Path, contents: Contents) -> None:
    for module in (assets, compare, rundata, runs):
        for piece in module.pieces(contents):
            for file, content in piece.make().items():
                path = out / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def build_compare() -> Callable[[Path, Contents], None]:
    return built


@pytest.fixture(scope="session")
def comparing_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("comparing")
    built(out, making.read())
    return out


@pytest.fixture
def open_compare(
    chromium: Browser, comparing_site: Path, servers: browser.Servers
) -> Iterator[browser.Visitor]:
    visitor = browser.Visitor(chromium, comparing_site, servers)
    yield visitor
    visitor.close()
    assert not visitor.complaints, "\n".join(visitor.complaints)
