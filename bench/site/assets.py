"""Style, scripts and the icon: files of this package, as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable

from bench.site import paths
from bench.site.contents import Contents, Piece

_FOLDER = files("bench.site") / "assets"


def pieces(contents: Contents) -> Iterator[Piece]:
    style = paths.asset("style.css")
    yield Piece((style,), "style", partial(_style, style))
    for folder in (_FOLDER, _FOLDER / "fonts"):
        for each in sorted(folder.iterdir(), key=lambda e: e.name):
            if each.is_file():
                file = paths.asset(each.name)
                yield Piece((file,), "asset", partial(_copied, file, each))


def _style(file: str) -> Mapping[str, str]:
    """The sheets one after the other, in order of name."""
    sheets = sorted((_FOLDER / "css").iterdir(), key=lambda e: e.name)
    return {file: "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)}


def _copied(file: str, source: Traversable) -> Mapping[str, bytes]:
    return {file: source.read_bytes()}
