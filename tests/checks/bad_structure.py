"""Bad submissions for S, structure."""

from __future__ import annotations

from pathlib import Path

from tests.checks import bundles
from tests.checks.corpus import bad


@bad("S4", "a record that says a key twice")
def key_twice(root: Path) -> Path:
    folder = bundles.write(root)
    path = next(folder.glob("*/record.json"))
    path.write_text(path.read_text().replace("{", '{"status": "complete",', 1))
    bundles.reseal(folder)
    return folder
