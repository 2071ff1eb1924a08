"""The first page: what this is, how to take part, and the boards at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from bench.site import page, paths
from bench.site.contents import Contents, Piece


def pieces(contents: Contents) -> Iterator[Piece]:
    tasks = tuple(contents.tasks)
    yield Piece((paths.HOME,), page.digest(tasks), partial(_home, tasks))


def _home(tasks: tuple[str, ...]) -> Mapping[str, str]:
    return {paths.HOME: page.render("home.html", paths.HOME, tasks=tasks)}
