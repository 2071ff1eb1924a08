from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.site import making


@pytest.fixture(scope="session")
def real_site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The site of `results/`, built once for all processes of a test session; only to be read."""
    base = tmp_path_factory.getbasetemp()
    out = (base if worker_id == "master" else base.parent) / "real-site"
    with out.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        making.built(out)
    return out
