"""Addresses lead from each page to each other, wherever the site lies."""

from __future__ import annotations

import posixpath
from itertools import product
from urllib.parse import quote

import pytest

from bench.site import paths

PAGES = [
    paths.HOME, paths.RUN_LIST, paths.run("0123"), paths.run("a b"), paths.board("sst2"),
    paths.cell("sst2", "cpu"), paths.cell("cola", "cpu"), paths.entry("sst2/one"),
    paths.file("sst2/one", "0123", "record.json"), paths.file("sst2/two", "entry.json"),
]  # fmt: skip


@pytest.mark.parametrize(("at", "to"), [*product(PAGES, PAGES)])
def test_an_address_is_relative_and_as_short_as_can_be(at: str, to: str) -> None:
    said = quote(posixpath.relpath(to, posixpath.dirname(at) or "."), safe="/.+~-_")
    assert paths.relative(at, to) == said
    assert paths.relative(at, f"{to}#part") == f"{said}#part"


def test_a_folder_has_no_stroke_at_its_end() -> None:
    assert [paths.relative(at, "boards/") for at in ("a.html", "b/a.html")] == [
        "boards", "../boards",
    ]  # fmt: skip


def test_a_part_of_the_same_page_is_itself() -> None:
    assert paths.relative("runs/0123.html", "#checks") == "#checks"
