from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checks import bundles
from tests.site import browser, making

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def real_site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The site of `results/`, built once for all processes of a test session; only to be read."""
    base = tmp_path_factory.getbasetemp()
    out = (base if worker_id == "master" else base.parent) / "real-site"
    with out.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = making.built(out)
        assert not built.failed, built.failed
    return out


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with browser.started() as found:
        yield found


@pytest.fixture(scope="session")
def servers() -> Iterator[browser.Servers]:
    made = browser.Servers()
    yield made
    made.close()


@pytest.fixture
def open_page(
    chromium: Browser, real_site: Path, servers: browser.Servers
) -> Iterator[browser.Visitor]:
    """Opens pages in a browser, and fails the test for what goes wrong there; see browser.py."""
    visitor = browser.Visitor(chromium, real_site, servers)
    yield visitor
    visitor.close()
    assert not visitor.complaints, "\n".join(visitor.complaints)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with one good entry of the toy task; only to be read."""
    root = tmp_path_factory.mktemp("good")
    bundles.write(root)
    return root


@pytest.fixture
def results(good: Path, tmp_path: Path) -> Path:
    """The same, for a test to damage."""
    return Path(shutil.copytree(good, tmp_path / "results"))
