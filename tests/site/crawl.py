"""Reads all pages of a site as bytes, without a browser, and says what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote, urlsplit

from bench.site.page import POLICY

VOID = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"
}  # fmt: skip
ALIEN = {"iframe", "object", "embed", "base", "applet", "frame", "style", "foreignobject", "math"}
STATE = re.compile("[^=]*=.*")
"""A fragment that a script reads: filters of a board. All of the page that compares are read."""
COMPARE = "compare.html"
ADDRESSES = ("href", "src", "action", "formaction", "data", "poster", "xlink:href", "srcset")
UNSEEN = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\0-\x08\x0b\x0c\x0e-\x1f]")
"""Signs that turn or hide text."""


@dataclass
class Page:
    """What a page has, and its faults."""

    path: str
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # of anchors
    assets: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page
        self.open: list[str] = []
        self.tags: list[str] = []
        self.headings: list[int] = []
        self.title = self.language = ""
        self.policy: str | None = None
        self.captioned: list[bool] = []  # of the tables that are open
        self.region = False  # the next table is named by what holds it

    def fault(self, text: str) -> None:
        self.page.faults.append(f"{self.page.path}:{self.getpos()[0]}: {text}")

    def handle_decl(self, decl: str) -> None:
        self.tags.append(decl.lower())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attributes}
        if len(has) < len(attributes):
            self.fault(f"<{tag}> says an attribute twice")
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._safe(tag, has)
        self._addresses(tag, has)
        self._sense(tag, has)
        if "id" in has:
            self.page.ids.append(has["id"])

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.fault(f"</{tag}> ends no open element")
            return
        self.open.pop()
        if tag == "table" and not self.captioned.pop():
            self.fault("a table without a caption")
        if tag in {"div", "table"}:
            self.region = False

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "title" and "svg" not in self.open:
            self.title += data
        if self.open and self.open[-1] == "script" and data.strip():
            self.fault("an inline script")

    def _safe(self, tag: str, has: dict[str, str]) -> None:
        if tag in ALIEN:
            self.fault(f"<{tag}>")
        if tag == "script" and not has.get("src"):
            self.fault("an inline script")
        if tag == "meta" and has.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = has.get("content")
        elif tag in {"script", "link", "img"} and self.policy is None:
            self.fault(f"<{tag}> before the policy")
        elif tag == "meta" and "http-equiv" in has:
            self.fault(f"a header {has['http-equiv']}")
        for name in has:
            if name == "style" or name.startswith("on") or name == "srcdoc":
                self.fault(f"<{tag}> has {name}=")

    def _addresses(self, tag: str, has: dict[str, str]) -> None:
        for name in ADDRESSES:
            if name not in has or (tag == "object" and name == "data"):
                continue
            parts = urlsplit(has[name])
            if parts.scheme or parts.netloc:
                self._out(tag, has, has[name])
            elif parts.path.startswith("/"):
                self.fault(f"{has[name]} leads out of the site")
            else:
                (self.page.links if tag == "a" else self.page.assets).append(has[name])

    def _out(self, tag: str, has: dict[str, str], address: str) -> None:
        if not re.match(r"https://[!-~]+$", address):
            self.fault(f"leads to {address[:80]!r}")
        if tag != "a":
            self.fault(f"<{tag}> loads {address[:80]!r}")
        elif not {"noopener", "noreferrer"} <= set(has.get("rel", "").split()):
            self.fault(f"tells {address[:80]!r} where it comes from")

    def _sense(self, tag: str, has: dict[str, str]) -> None:
        if tag == "html":
            self.language = has.get("lang", "")
        elif tag == "img" and "alt" not in has:
            self.fault("an image without alt")
        elif tag == "svg" and self.open.count("svg") == 1 and not _is_named(has):
            if has.get("aria-hidden") != "true":
                self.fault("an svg that is neither named nor hidden")
        elif tag == "table":
            self.captioned.append(self.region)
        elif tag == "th" and has.get("scope") not in {"col", "row", "colgroup", "rowgroup"}:
            self.fault("a th without a scope")
        elif tag == "button" and "type" not in has:
            self.fault("a button without a type")
        elif tag == "caption" and self.captioned:
            self.captioned[-1] = True
        if "region" in has.get("role", ""):
            self.region = _is_named(has)  # of a Markdown table, which can't have a caption
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def end(self) -> None:
        self.close()
        said = self.page.faults
        at = self.page.path
        said += [f"{at}: <{tag}> has no end" for tag in self.open]
        said += [] if self.tags[:1] == ["doctype html"] else [f"{at}: no doctype"]
        said += [] if self.title.strip() else [f"{at}: no title"]
        said += [] if self.language == "en" else [f"{at}: no language"]
        said += [] if self.policy == POLICY else [f"{at}: another policy"]
        if self.headings.count(1) != 1:
            said.append(f"{at}: {self.headings.count(1)} h1")
        for above, below in zip([0, *self.headings], self.headings, strict=False):
            if below > above + 1:
                said.append(f"{at}: an h{below} follows an h{above}")
        twice = {i for i in self.page.ids if self.page.ids.count(i) > 1}
        said += [f"{at}: two elements are #{i}" for i in sorted(twice)]


def _is_named(has: dict[str, str]) -> bool:
    """Whether a screen reader has a name for an image, a group of marks or a region."""
    named = has.get("aria-label") or has.get("aria-labelledby")
    return bool(named) and has.get("role") in {"img", "group", "region"}


def read(path: str, text: str) -> Page:
    page = Page(path)
    reader = _Reader(page)
    reader.feed(text)
    reader.end()
    if found := UNSEEN.search(text):
        page.faults.append(f"{path}: a sign that can't be seen, {ord(found[0]):#x}")
    return page


def pages(site: Path) -> dict[str, Page]:
    """All of a site."""
    return {
        (at := file.relative_to(site).as_posix()): read(at, file.read_text(encoding="utf-8"))
        for file in sorted(site.rglob("*.html"))
    }


def faults(site: Path, never: Iterable[str] = ()) -> list[str]:
    """All that is wrong. `never` are texts that no file of it may have."""
    found = pages(site)
    files = {f.relative_to(site).as_posix() for f in site.rglob("*") if f.is_file()}
    every = [fault for page in found.values() for fault in page.faults]
    every += [fault for page in found.values() for fault in _dead(page, found, files)]
    every += [f"{at}: no page leads here" for at in sorted(set(found) - reached(found))]
    forbidden = [text.encode() for text in never]
    for at in sorted(files):
        if at.endswith((".html", ".js", ".css", ".svg", ".xml", ".json", ".csv")):
            data = (site / at).read_bytes()
            every += [f"{at}: says {text.decode()}" for text in forbidden if text in data]
    return every


def _dead(page: Page, found: dict[str, Page], files: set[str]) -> Iterator[str]:
    """Links that lead to nothing."""
    for link in dict.fromkeys([*page.links, *page.assets]):
        to, fragment = target(page.path, link)
        if to not in files:
            yield f"{page.path}: {link} is not there"
        elif fragment and not _leads(found.get(to), fragment):
            yield f"{page.path}: {link} has no such place"


def _leads(to: Page | None, fragment: str) -> bool:
    """Whether a page has that place, or a script of it reads the fragment."""
    if to is None or to.path == COMPARE:
        return True
    return fragment in to.ids or bool(STATE.fullmatch(fragment))


def target(at: str, link: str) -> tuple[str, str]:
    """The file that a link on a page leads to, and the fragment."""
    parts = urlsplit(link)
    path = normpath(join(dirname(at), unquote(parts.path))) if parts.path else at
    return path, unquote(parts.fragment)


def reached(found: dict[str, Page], start: str = "index.html") -> set[str]:
    """The pages that links lead to, one after the other."""
    known, todo = {start}, [start]
    while todo:
        at = todo.pop()
        for link in found[at].links if at in found else ():
            to, _ = target(at, link)
            if to in found and to not in known:
                known.add(to)
                todo.append(to)
    return known
