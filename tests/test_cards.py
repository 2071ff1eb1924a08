from __future__ import annotations

from pathlib import Path

import pytest

from bench import cards
from bench.errors import UsageError


@pytest.mark.parametrize("name", cards.names())
def test_every_card_that_ships_is_valid(name: str) -> None:
    assert cards.load(name).name == name


def write(folder: Path, old: str, new: str, name: str = "mine") -> Path:
    text = (cards.folder() / "sst2.toml").read_text().replace('"sst2"', f'"{name}"', 1)
    assert old in text
    (folder / f"{name}.toml").write_text(text.replace(old, new, 1))
    return folder


def test_a_card_of_the_users_own(tmp_path: Path) -> None:
    card = cards.load("mine", [write(tmp_path, "SST-2", "Mine")])
    assert card.title == "Mine"
    assert "mine" in cards.names([tmp_path])


@pytest.mark.parametrize(
    ("old", "new", "says", "hint"),
    [
        ("licence =", "license =", "mine.toml:8: unknown key 'license'", "licence"),
        ('column = "label"', 'colum = "label"', "unknown key 'labels.colum'", "column"),
        ("version = 1", 'version = "one"', "mine.toml:2: 'version'", None),
        ("[labels]", "[labels", "not TOML", None),
    ],
)
def test_a_wrong_card_names_line_and_near_key(
    tmp_path: Path, old: str, new: str, says: str, hint: str | None
) -> None:
    with pytest.raises(UsageError) as error:
        cards.load("mine", [write(tmp_path, old, new)])
    assert says in error.value.message
    assert hint is None or hint in (error.value.hint or "")


def test_a_cards_name_is_its_files(tmp_path: Path) -> None:
    path = write(tmp_path, "SST-2", "Mine") / "mine.toml"
    path.rename(tmp_path / "other.toml")
    with pytest.raises(UsageError, match="name is 'mine'"):
        cards.load("other", [tmp_path])


def test_an_unknown_task_offers_the_near_ones() -> None:
    with pytest.raises(UsageError) as error:
        cards.load("sst-2")
    assert "did you mean sst2" in (error.value.hint or "")
