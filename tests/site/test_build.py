"""Building: what changes is made again, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UsageError
from tests.site import making


def test_a_second_build_changes_nothing(real_site: Path) -> None:
    again = making.built(real_site)
    assert (again.made, again.written, again.removed) == (0, 0, 0)
    assert again.files > 9


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        making.built(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
