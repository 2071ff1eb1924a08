"""Documents: each is there, what they link to is there, and nothing in them does harm."""

from __future__ import annotations

import re

import pytest

from bench.site import guide

AT = "guide/page.html"


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


def test_headings_of_one_name_have_ids_of_their_own() -> None:
    made = guide.from_markdown("# Same `a.b`\n\n## Same `a.b`\n", AT)
    assert re.findall('id="(.*?)"', made) == ["same-ab", "same-ab-1"]
