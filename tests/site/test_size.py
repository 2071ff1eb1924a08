"""What pages show of very much, and what they are made anew for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.rank.entry import Cell, Entry
from bench.site import boards, home, paths
from bench.site.contents import Contents
from tests.site import making


@pytest.fixture(scope="module")
def contents() -> Contents:
    return making.read()


def keys(contents: Contents) -> dict[str, str]:
    return {piece.files[0]: piece.key for piece in boards.pieces(contents)}


def changed(contents: Contents, **facts: Any) -> Contents:
    """As if the first entry of the first cell were another."""
    first, *others = contents.cells
    section = first.sections[0]
    entry: Entry = replace(section.entries[0], **facts)
    sections = (replace(section, entries=(entry, *section.entries[1:])), *first.sections[1:])
    cell: Cell = replace(first, sections=sections)
    return replace(contents, cells=(cell, *others))


@pytest.mark.parametrize(
    "facts",
    [
        {"rank": (7, 8)},
        {"origin": "local"},
        {"title": "model · recipe · a=1"},
        {"runs": ()},
        {"submissions": ()},
    ],
)
def test_a_task_page_is_made_anew_for_what_an_entry_says(
    contents: Contents, facts: dict[str, Any]
) -> None:
    before, after = keys(contents), keys(changed(contents, **facts))
    task = contents.cells[0].place.task
    assert {file for file in before if before[file] != after[file]} == {paths.board(task)}


def test_a_task_page_is_made_anew_for_what_its_cell_says(contents: Contents) -> None:
    first, *others = contents.cells
    noted = replace(contents, cells=(replace(first, notes=("beware",)), *others))
    assert (
        keys(noted)[paths.board(first.place.task)] != keys(contents)[paths.board(first.place.task)]
    )


def test_a_key_has_no_record_in_it(contents: Contents) -> None:
    shown = boards._shown(contents.cells[0], contents)
    assert contents.cells[0].entries
    assert "Record(" not in repr(boards._said(shown))


def test_the_first_page_shows_some_cells_and_leads_to_all(
    contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "MOST", 1)
    (piece,) = home.pieces(contents)
    page = str(piece.make()[paths.HOME])
    assert page.count('<th scope="row">') == 2  # measured and estimated
    assert f'more: <a href="{paths.TASKS}">all boards</a>' in page
