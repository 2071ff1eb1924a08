"""The toy task of the worker's tests with a model of two layers and four heads."""

from __future__ import annotations

import json
from pathlib import Path

from bench import recipes
from tests.learn.test_worker import SETTINGS, job

MODEL = "transformer-small"


def small_job(
    folder: Path, recipe: str, plan_steps: int | None = None, keep: bool = False, **given: str
) -> Path:
    """A job as `tests.learn.test_worker.job` writes one; what it keeps is in its own folder."""
    path = job(folder, recipe, plan_steps, **given)
    facts = json.loads(path.read_text())
    facts["spec"]["model"] = MODEL
    facts["spec"]["settings"] = recipes.resolve(recipe, MODEL, SETTINGS | given)
    if keep:
        facts["keep"] = {"folder": str(folder), "run_id": "r" * 16, "every_s": 1e9}
    path.write_text(json.dumps(facts))
    return path
