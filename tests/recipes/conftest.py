"""What a process remembers of recipe files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import recipes


@pytest.fixture(autouse=True)
def no_files_yet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a new process: each test writes its own files of the same names."""
    monkeypatch.setattr(recipes, "_files", {})
    for cached in (recipes._class, recipes._module_class):
        cached.cache_clear()
    yield
    for cached in (recipes._class, recipes._module_class):
        cached.cache_clear()
