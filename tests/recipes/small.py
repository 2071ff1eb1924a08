"""The toy task of the worker's tests with a model of two layers and four heads."""

from __future__ import annotations

import json
from pathlib import Path

from bench import recipes
from tests.learn.test_worker import SETTINGS, job

MODEL = "transformer-small"


def small_job(
    folder: Path, recipe: str, plan_steps: int | None = None, model: str = MODEL, **given: str
) -> Path:
    """A job as `tests.learn.test_worker.job` writes one."""
    path = job(folder, recipe, plan_steps, **given)
    facts = json.loads(path.read_text())
    facts["spec"]["model"] = model
    facts["spec"]["settings"] = recipes.resolve(recipe, model, SETTINGS | given)
    path.write_text(json.dumps(facts))
    return path
