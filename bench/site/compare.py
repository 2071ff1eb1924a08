"""The page that compares two to four runs. Its address names them: `compare.html#RUN,RUN`; a script
reads their data (`bench.site.rundata`) and does what `bench compare` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.rank import compare, score
from bench.site import page, paths
from bench.site.contents import Contents, Piece

SCRIPTS = ("statistics.js", "comparison.js", "words.js", "compare.js")


def pieces(contents: Contents) -> Iterator[Piece]:
    yield Piece((paths.COMPARE,), "compare", _page)
    yield Piece((paths.asset("words.js"),), "words", _words)


def _page() -> Mapping[str, str]:
    return {paths.COMPARE: page.render("compare.html", paths.COMPARE, names=SCRIPTS)}


def _words() -> Mapping[str, str]:
    """What a comparison says, as Python says it."""
    said = {"words": dict(compare.WORDS), "alpha": score.ALPHA}
    text = page.as_script("bench.words", said)
    return {paths.asset("words.js"): text}
