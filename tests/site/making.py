"""Sites for tests: of what was really submitted, or of results that a test has made."""

from __future__ import annotations

from pathlib import Path

from bench.cli.options import cards_of
from bench.power import carbon
from bench.site import build, contents
from bench.site.contents import Contents

RESULTS = Path(__file__).parents[2] / "results"


def read(results: Path = RESULTS) -> Contents:
    """Everything below `results`, unchecked."""
    return contents.read(
        results, lambda runs: cards_of((r.record for r in runs), None), carbon.asked(None),
        lambda folders: {},
    )  # fmt: skip


def built(out: Path, results: Path = RESULTS) -> build.Built:
    return build.build(read(results), out)
