"""Documents: each is there, what they link to is there, and nothing in them does harm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

from bench import checks
from bench.site import guide, paths
from tests.site import making

AT = "guide/page.html"
DOCS = sorted((Path(__file__).parents[2] / "bench/docs").glob("*.md"))
OURS = [paths.GUIDE, *sorted(paths.document(d.stem) for d in DOCS)]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a <img src=x onerror=alert(1)> b",
        "[a](javascript:alert(1))",
        "[a](JavaScript&#58;alert(1))",
        "[a](data:text/html;base64,PHNjcmlwdD4=)",
        "![a](data:image/svg+xml;base64,PHNjcmlwdD4=)",
        "![a](data:image/png;base64,PHNjcmlwdD4=)",
        "![a](https://elsewhere.example/pixel.png)",
        "![a](../../../secret.svg)",
        "[a](//elsewhere.example)",
        "[a](\\\\\\\\elsewhere.example)",
        "[a](http://elsewhere.example)",
        "[a](mailto:me@elsewhere.example)",
        "[a](vbscript:x)",
        "<javascript:alert(1)>",
        "<https://elsewhere.example/onerror=alert(1)//",
        "[a]: javascript:alert(1)\n\n[a]",
        "```<script>\n</code></pre><script>alert(1)</script>\n```",
        "# a <script>alert(1)</script>",
        "| <script>alert(1)</script> |\n| --- |\n| <script>alert(1)</script> |",
    ],
)
def test_hostile_markdown_stays_text(text: str) -> None:
    made = guide.from_markdown(text, AT)
    tags = set(re.findall(r"<([a-z0-9]+)", made))
    assert not tags & {"a", "script", "img", "iframe", "object", "style"}, made
    assert not re.search(r"<[^>]*\son\w+=", made), made


def test_a_link_out_is_https_and_tells_nobody_where_it_was() -> None:
    made = guide.from_markdown('[a](https://arxiv.org/"onclick=x)', AT)
    assert made.count('"') == 4
    assert 'href="https://arxiv.org/%22onclick=x" rel="noopener noreferrer"' in made


def test_signs_that_turn_reading_around_are_gone() -> None:
    assert "\u202e" not in guide.from_markdown("a\u202eb `c\u2066d`\n\n    e\u200ff\n", AT)


def test_links_between_documents_lead_to_pages() -> None:
    made = guide.from_markdown(
        "[a](recipes.md#prune) [b](bench/docs/rules.md) [c](#x) [d](../../CHANGELOG.md) "
        "[e](../../tasks/sst2.toml)", AT,
    )  # fmt: skip
    assert re.findall('href="(.*?)"', made) == [
        "recipes.html#prune", "../rules.html", "#x", "../changes.html", "../tasks.html#sst2",
    ]  # fmt: skip


def test_a_file_that_is_not_on_the_site_is_named() -> None:
    assert "<code>plain.py</code>" in guide.from_markdown("[plain.py](examples/plain.py)", AT)


def test_numbers_stand_right_without_inline_style() -> None:
    made = guide.from_markdown("| a | b |\n| --- | ---: |\n| x | 1 |", AT)
    assert "style" not in made
    assert '<td class="n">1</td>' in made
    assert '<th scope="col">a</th>' in made


def test_a_keyboard_can_scroll_tables_and_code() -> None:
    made = guide.from_markdown("# T\n\n| a |\n| --- |\n\n```\nx\n```\n", AT)
    assert made.count('tabindex="0"') == 2
    assert 'role="region" aria-label="Table: T"' in made


def test_tables_below_one_heading_have_names_of_their_own() -> None:
    table = "| a |\n| --- |\n\ntext\n\n"
    made = guide.from_markdown(f"# T\n\n{table}{table}", AT)
    assert re.findall('aria-label="(.*?)"', made) == ["Table: T", "Table 2: T"]


def test_headings_of_one_name_have_ids_of_their_own() -> None:
    made = guide.from_markdown("# Same `a.b`\n\n## Same `a.b`\n", AT)
    assert re.findall('id="(.*?)"', made) == ["same-ab", "same-ab-1"]


# --- the pages ---------------------------------------------------------------------------------


def main_of(site: Path, at: str) -> str:
    """A page between its head and foot."""
    return (site / at).read_text(encoding="utf-8").partition("<main")[2].partition("</main>")[0]


def links(site: Path, at: str) -> Iterator[tuple[Path, str]]:
    """What a page leads to on the site: the file and the place in it."""
    for said in re.findall(r'(?:href|src)="([^"]*)"', main_of(site, at)):
        href = unescape(said)
        if not href.startswith("https://"):
            path, _, fragment = href.partition("#")
            yield (site / at).parent / unquote(path) if path else site / at, fragment


def is_there(file: Path, fragment: str) -> bool:
    if not file.is_file():
        return False
    return not fragment or f' id="{fragment}"' in file.read_text(encoding="utf-8")


def test_every_document_is_in_the_index(real_site: Path) -> None:
    index = main_of(real_site, paths.GUIDE)
    for document in DOCS:
        assert f'href="{paths.document(document.stem)}"' in index


@pytest.mark.parametrize("at", OURS)
def test_what_a_document_links_to_is_there(real_site: Path, at: str) -> None:
    for file, fragment in links(real_site, at):
        assert is_there(file, fragment), (at, file.name, fragment)


def test_runs_that_documents_name_are_submitted() -> None:
    contents = making.read()
    text = (DOCS[0].parent / "real-data.md").read_text(encoding="utf-8")
    made = guide.from_markdown(text, AT, contents)
    named = re.findall(r'href="../runs/(\w+)\.html"', made)
    assert len(named) == text.count("](../../results/")
    assert set(named) <= {run.record.run_id for run in contents.runs}


def test_a_run_that_is_not_submitted_is_named_without_a_link() -> None:
    text = "[52.7](../../results/rte/made-up/0123456789abcdef)"
    assert guide.from_markdown(text, AT, making.read()) == "<p>52.7</p>\n"


@pytest.mark.parametrize("rule", checks.rules(), ids=lambda rule: rule.id)
def test_a_rule_has_an_address(real_site: Path, rule: checks.Rule) -> None:
    path, _, fragment = guide.rule_address(rule.id).partition("#")
    page = main_of(real_site, path)
    assert is_there(real_site / path, fragment)
    assert f'<tr id="{rule.id}">\n<td>{rule.id}</td>\n<td>{rule.name}</td>' in page


@pytest.mark.parametrize("at", OURS)
def test_a_page_names_each_place_once_and_has_one_title(real_site: Path, at: str) -> None:
    text = (real_site / at).read_text(encoding="utf-8")
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert text.count("<h1>") == 1
    assert "style=" not in text


def test_a_document_that_no_group_names_comes_last() -> None:
    placed = [name for group in guide.GROUPS.values() for name in group]
    assert guide.names()[: len(placed)] == [n for n in placed if n in guide.names()]
    assert set(guide.names()) == {d.stem for d in DOCS}
