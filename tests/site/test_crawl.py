"""Every page of the real site, as bytes: all links lead somewhere, nothing is inline, nothing is
left out that a reader without eyes needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.site import crawl, making

GOOD = f"""<!doctype html>
<html lang="en"><head><meta http-equiv="Content-Security-Policy" content="{crawl.POLICY}">
<title>A page</title></head><body><h1>One</h1><!-- here --></body></html>"""


def written(site: Path, body: str, **more: str) -> Path:
    for name, text in {"index": GOOD.replace("<!-- here -->", body), **more}.items():
        (site / f"{name}.html").write_text(text)
    return site


def test_the_real_site_has_no_fault(real_site: Path) -> None:
    own = [str(making.RESULTS.parent), str(real_site), str(Path.home() / ".")]
    found = crawl.faults(real_site, [path for path in own if len(path) > 6])
    assert not found, f"{len(found)} faults:\n" + "\n".join(found[:40])


def test_a_page_of_a_task_is_small(real_site: Path) -> None:
    sizes = {p.name: p.stat().st_size for p in (real_site / "boards").glob("*.html")}
    assert sizes
    assert not {name: size for name, size in sizes.items() if size > 300_000}


def test_a_page_without_faults_has_none(tmp_path: Path) -> None:
    assert crawl.faults(written(tmp_path, '<p id="x"><a href="#x">here</a></p>')) == []


FAULTS = [
    ("<script>alert(1)</script>", "inline script"),
    ('<p style="color: red">x</p>', "has style="),
    ("<style>p { color: red }</style>", "<style>"),
    ('<p onclick="x()">x</p>', "has onclick="),
    ('<a href="javascript:alert(1)">x</a>', "leads to 'javascript"),
    ('<a href="http://a.org" rel="noopener noreferrer">x</a>', "leads to 'http:"),
    ('<a href="https://a.org">x</a>', "where it comes from"),
    ('<a href="//a.org/x" rel="noopener noreferrer">x</a>', "leads to '//a.org"),
    ('<img src="https://a.org/x.png" alt="">', "<img> loads"),
    ('<a href="/index.html">x</a>', "out of the site"),
    ('<a href="gone.html">x</a>', "gone.html is not there"),
    ('<script src="gone.js"></script>', "gone.js is not there"),
    ('<a href="#gone">x</a>', "no such place"),
    ('<img src="index.html">', "without alt"),
    ('<svg viewBox="0 0 1 1"></svg>', "neither named nor hidden"),
    ("<h3>x</h3>", "an h3 follows an h1"),
    ("<h1>x</h1>", "2 h1"),
    ('<p id="a"></p><p id="a"></p>', "two elements are #a"),
    ("<table><tr><td>1</td></tr></table>", "without a caption"),
    ("<table><caption>c</caption><tr><th>1</th></tr></table>", "without a scope"),
    ("<button>x</button>", "without a type"),
    ("<p>x</b></p>", "</b> ends no open element"),
    ("<div>", "ends no open element"),
    ("<p>a\u202eb</p>", "0x202e"),
    ('<iframe src="index.html"></iframe>', "<iframe>"),
    ("<p>/home/somebody</p>", "says /home/somebody"),
]


@pytest.mark.parametrize(("body", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_a_fault_is_found(tmp_path: Path, body: str, said: str) -> None:
    found = crawl.faults(written(tmp_path, body), ["/home/somebody"])
    assert any(said in fault for fault in found), found


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ("<!doctype html>\n", "no doctype"), (' lang="en"', "no language"),
        ("<title>A page</title>", "no title"), (r"<meta[^>]*>", "another policy"),
        ("<h1>One</h1>", "0 h1"),
    ],
)  # fmt: skip
def test_what_every_page_needs_is_missed(tmp_path: Path, taken: str, said: str) -> None:
    (tmp_path / "index.html").write_text(re.sub(taken, "", GOOD))
    assert any(said in fault for fault in crawl.faults(tmp_path))


def test_a_page_that_none_leads_to_is_missed(tmp_path: Path) -> None:
    assert crawl.faults(written(tmp_path, "", lost=GOOD)) == ["lost.html: no page leads here"]
