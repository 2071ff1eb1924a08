"""Names of plug-ins and the files that they are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import registry
from bench.errors import UsageError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with three modules, one of them private."""
    folder = tmp_path / "some_plugins"
    folder.mkdir()
    for name in ("__init__", "plain", "of_two_words", "_private"):
        (folder / f"{name}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return "some_plugins"


def test_a_name_has_hyphens_where_its_file_has_underscores(package: str) -> None:
    assert registry.names(package, "no.such.group") == ["of-two-words", "plain"]
    found = registry.find(package, "no.such.group", "of-two-words", "plug-in", "bench recipes")
    assert found == "some_plugins.of_two_words"


@pytest.mark.parametrize("name", ["of_two_words", "_private", "-private"])
def test_a_plug_in_has_one_name(package: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"no plug-in is called '{name}'"):
        registry.find(package, "no.such.group", name, "plug-in", "bench recipes")


def test_the_near_name_is_told(package: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.find(package, "no.such.group", "of_two_words", "plug-in", "bench recipes")
    assert "of-two-words" in (caught.value.hint or "")
