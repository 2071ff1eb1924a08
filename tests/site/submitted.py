"""Results for tests of the site: a good entry of the toy task, and what others say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import submission
from bench.power import carbon
from bench.site import contents
from bench.site.contents import Contents
from bench.submission import EntryFile
from tests.checks import bundles

GOOD = "toy/transformer-small-baseline"
EVIL = "</title><script>alert(1)</script>\u202e=cmd|' /C calc'!A0\x00\x1b[31m"
"""Of a text whose author wants more than to be read."""


def read(results: Path, **changes: Any) -> Contents:
    """With the card of the toy task, so that it is ranked."""
    found = contents.read(
        results, lambda runs: {"toy": bundles.CARD}, carbon.asked(None), lambda folders: {}
    )
    vars(found).update(changes)
    return found


def say(results: Path, name: str, **facts: Any) -> Path:
    """An entry without runs that speaks of another."""
    base: dict[str, Any] = {
        "edition": "1.0", "bench_version": "0.1.0", "submitted_at": "2026-11-27T09:30:00+00:00",
        "task": "toy", "title": f"About {GOOD}", "authors": ["B. Nonymous"],
    }  # fmt: skip
    folder = results / "toy" / name
    folder.mkdir(parents=True)
    submission.write(EntryFile.model_validate({**base, **facts}), folder)
    return folder


def retract(results: Path, place: str = GOOD, reason: str = "the plug was loose") -> Path:
    return say(results, "retraction", kind="retraction", retracts=place, reason=reason)


def edit(folder: Path, **facts: Any) -> None:
    """Other words in an entry's own file."""
    path = folder / submission.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
