"""The page of checks has every rule as the code has it."""

from __future__ import annotations

import re

from bench import checks
from tests.conftest import REPOSITORY


def test_the_page_has_every_rule() -> None:
    page = (REPOSITORY / "bench/docs/checks.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| ([SHDPRQ]\d+) \| (.+?) \| (.+) \|$", page)
    assert rows == [(r.id, r.name, r.text) for r in checks.rules()]
