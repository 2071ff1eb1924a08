"""A real browser for tests of the site: Debian's Chromium without a window, driven by Playwright.

A test takes the fixture `open_page` and calls it with the path of a page below the site's folder:

    def test_the_front_is_drawn(open_page):
        page = open_page("boards/sst2.html#track=scratch", narrow=True, dark=True)
        page.get_by_role("button", name="energy").click()
        expect(page.get_by_role("status")).to_contain_text("8 of 10")

It answers Playwright's `Page`. The site is that of `results/`; `site=` names another folder, and
`http=True` takes it from a server of this process instead of from the disk. A page that prints an
error or a warning, throws, opens a dialog, misses a file, or asks for anything but the site's own
files is a complaint: they fail the test at its end. A test that expects some takes them out of
`open_page.complaints`.

Browser and driver live as long as the process does, a context as long as its test. Without
Chromium or Playwright such tests are skipped, aloud; where BENCH_TEST_BROWSER is set they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.site import serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

EXPECTED = bool(os.environ.get("BENCH_TEST_BROWSER"))  # read before tests clear the environment
WIDE, NARROW = 1320, 390
HEIGHT = 844
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


def chromium() -> str:
    """Chromium's path; the test is skipped, or fails where it is expected, if there is none."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        _missing("no Playwright here: pip install playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        _missing("no Chromium here: apt install chromium")
    return found


def _missing(reason: str) -> Any:
    if EXPECTED:
        pytest.fail(f"BENCH_TEST_BROWSER is set, but {reason}", pytrace=False)
    pytest.skip(reason)


@contextmanager
def started() -> Iterator[Browser]:
    """A browser with a profile of its own."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


# --- visiting ----------------------------------------------------------------------------------


@dataclass
class Visitor:
    """Opens pages, and keeps what should not have happened on them."""

    browser: Browser
    site: Path
    servers: Servers
    complaints: list[str] = field(default_factory=list)
    _contexts: dict[tuple[Any, ...], BrowserContext] = field(default_factory=dict)

    def __call__(
        self,
        path: str = "index.html",
        *,
        site: Path | None = None,
        narrow: bool = False,
        width: int | None = None,
        dark: bool = False,
        js: bool = True,
        http: bool = False,
        printed: bool = False,
    ) -> Page:
        """The page at `path`, its fragment and all, when it has loaded."""
        page = self._context(dark, js).new_page()
        width = width or (NARROW if narrow else WIDE)
        page.set_viewport_size({"width": width, "height": HEIGHT})
        if printed:
            page.emulate_media(media="print")
        page.set_default_timeout(30_000)
        page.goto(self.address(path, site=site, http=http))
        return page

    def address(self, path: str, *, site: Path | None = None, http: bool = False) -> str:
        """Of a page, for `page.goto`."""
        folder = site or self.site
        return (self.servers.of(folder) if http else folder.as_uri() + "/") + path

    def close(self) -> None:
        for context in self._contexts.values():
            context.close()

    def _context(self, dark: bool, js: bool) -> BrowserContext:
        """A context keeps what pages store; those of one test share it."""
        if (dark, js) not in self._contexts:
            context = self.browser.new_context(
                color_scheme="dark" if dark else "light", java_script_enabled=js,
                reduced_motion="reduce", accept_downloads=True,
            )  # fmt: skip
            context.on("page", self._watch)
            context.on("request", self._asked)
            self._contexts[dark, js] = context
        return self._contexts[dark, js]

    def _watch(self, page: Page) -> None:
        page.on("console", partial(self._printed, page))
        page.on("pageerror", lambda error: self._complain(page, f"threw {error}"))
        page.on("dialog", lambda dialog: (self._complain(page, "dialog"), dialog.dismiss()))
        page.on("crash", lambda _: self._complain(page, "crashed"))
        page.on("requestfailed", partial(self._missed, page))
        page.on("response", lambda r: r.ok or r.status < 400 or self._complain(
            page, f"got {r.status} for {r.url[:200]}"))  # fmt: skip

    def _printed(self, page: Page, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self._complain(page, f"{message.type}: {message.text[:300]}")

    def _missed(self, page: Page, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the test has gone on to another page
            self._complain(page, f"did not get {request.url[:200]}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(("file://", "http://127.0.0.1:")):
            self.complaints.append(f"foreign request: {request.url[:200]}")

    def _complain(self, page: Page, what: str) -> None:
        self.complaints.append(f"{page.url[-80:]}: {what}")


# --- serving -----------------------------------------------------------------------------------


class Servers:
    """Sites over http as `bench site serve` gives them; each at a port of its own."""

    def __init__(self) -> None:
        self._of: dict[Path, str] = {}
        self._all = ExitStack()

    def of(self, folder: Path) -> str:
        if folder not in self._of:
            server = self._all.enter_context(serve.bound(folder, "127.0.0.1", 0))
            self._of[folder] = self._all.enter_context(serve.answering(server))
        return self._of[folder]

    def close(self) -> None:
        self._all.close()


# --- looking -----------------------------------------------------------------------------------


def overflow_px(page: Page) -> int:
    """By how much the page is wider than its window."""
    found = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return max(0, int(found))


def widest(page: Page) -> list[str]:
    """What reaches furthest to the right and is not in something that scrolls by itself."""
    return page.evaluate(
        "() => [...document.querySelectorAll('main *, header *, footer *')]"
        ".filter(e => !e.closest('.scroll, pre') && e.getBoundingClientRect().right > innerWidth)"
        ".sort((a, b) => b.getBoundingClientRect().right - a.getBoundingClientRect().right)"
        ".slice(0, 3).map(e => e.outerHTML.slice(0, 120))"
    )


@cache
def _axe() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")


GRAVE = {"serious", "critical"}


def axe(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """What axe-core finds gravely wrong with a page: the rule, and where; all rules, or some. Its
    script comes through the debugger, which the page's policy does not hold up."""
    page.evaluate(_axe())
    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = page.evaluate(
        "options => axe.run(document, options).then(found => found.violations)",
        {"resultTypes": ["violations"], "preload": False, **only},
    )
    return [
        f"{v['id']} ({v['impact']}): {node['target'][0]}: {node['failureSummary'][:300]}"
        for v in found if v["impact"] in GRAVE
        for node in v["nodes"][:3]
    ]  # fmt: skip
