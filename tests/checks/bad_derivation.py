"""Bad submissions for D, derivation."""

from __future__ import annotations

from pathlib import Path

from tests.checks import bundles
from tests.checks.corpus import bad


@bad("D4", "a duration that is half of the window's")
def half_as_long(root: Path) -> Path:
    plans = bundles.plans()
    plans[0].record = lambda r: r.model_copy(update={"duration_s": r.duration_s / 2})
    return bundles.write(root, plans)
