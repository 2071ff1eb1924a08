"""What stands does not fail for what comes later: a correction, a retraction."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import submission
from tests.checks import bundles
from tests.checks.bad_protocol import around, earlier, with_entry

LATER = "2026-12-24T12:00:00Z"


def retraction(root: Path, place: str, name: str = "sorry", at: str = LATER) -> Path:
    said = submission.EntryFile(
        edition="1.0", bench_version="0.1.0", submitted_at=at, kind="retraction", task="toy",
        title="Sorry", authors=["Another"], retracts=place, reason="the plug was loose",
    )  # fmt: skip
    folder = root / "toy" / name
    folder.mkdir(parents=True)
    submission.write(said, folder)
    return folder


@pytest.mark.parametrize(
    ("at", "errors"), [(LATER, set()), ("2026-11-26T11:59:59Z", {"R14"})]
)  # fmt: skip
def test_a_verification_stays_when_the_entry_is_retracted(
    tmp_path: Path, at: str, errors: set[str]
) -> None:
    old = bundles.write(tmp_path / "before", earlier(), with_entry(authors=["Another"]))
    place = submission.place(old)
    again = bundles.write(tmp_path, change=with_entry(verifies=place), name="again")
    taken = retraction(tmp_path, place, at=at)
    assert bundles.errors(again, around(old, taken)) == errors


def test_the_first_of_two_retractions_stays(tmp_path: Path) -> None:
    old = bundles.write(tmp_path / "before")
    place = submission.place(old)
    first = retraction(tmp_path, place, "first", "2026-12-01T00:00:00+00:00")
    second = retraction(tmp_path, place, "second")
    assert bundles.errors(first, around(old, second)) == set()
    assert bundles.errors(second, around(old, first)) == {"R14"}
