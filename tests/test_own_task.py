"""The guide to a task of one's own, followed to the letter by a new user in an empty folder."""

from __future__ import annotations

import csv
import io
import re
import tomllib
from pathlib import Path

import pytest

import bench as package
from bench import cards, metrics

GUIDE = (Path(package.__file__).parent / "docs" / "own-task.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


FIRST, *SECTIONS = blocks("toml")


@pytest.fixture
def headlines(tmp_path: Path) -> Path:
    """The folder of the guide, its three examples told in many ways."""
    header, *examples = csv.reader(io.StringIO(blocks("csv")[0]))
    folder = tmp_path / "headlines"
    folder.mkdir()
    for name, n in (("train.csv", 40), ("test.csv", 10)):
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(
                [f"{text}, {name} {i}", topic] for i in range(n) for text, topic in examples
            )
    return folder


def test_the_first_card_is_the_one_that_the_guide_shows(bench, headlines: Path) -> None:
    assert bench("tasks", "--new", "headlines/train.csv").code == 0
    assert (headlines / "headlines.toml").read_text() == FIRST


def test_it_runs_and_is_on_a_board(bench, headlines: Path) -> None:
    (headlines / "headlines.toml").write_text(FIRST)
    assert (
        "tells        money, sport, weather"
        in bench("tasks", "headlines", "--tasks", "headlines").out
    )
    ran = bench(
        "run", "--task", "headlines", "--tasks", "headlines", "--model", "transformer-tiny",
        "--device", "cpu", "--idle", "0", "--set", "epochs=1",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "headlines: fingerprint not pinned" in ran.out
    assert "bench leaderboard --task headlines --tasks headlines" in ran.out
    assert "ranked entry" not in ran.out
    board = bench("leaderboard", "--task", "headlines", "--tasks", "headlines").out
    assert "headlines (data " in board
    assert "NOT headlines" not in board
    assert "the card names no reference score" in board
    page = bench("tasks", "headlines", "--tasks", "headlines").out
    assert "transformer-tiny · baseline" in page


@pytest.mark.parametrize("section", SECTIONS)
def test_the_sections_of_the_guide_fit_the_card(tmp_path: Path, section: str) -> None:
    path = tmp_path / "headlines.toml"
    path.write_text(f"{FIRST}\n{section}")
    metrics.check(cards.read(path))
    assert tomllib.loads(section).keys() <= {"reference", "hub"}


def test_one_file_alone_is_enough(bench, headlines: Path) -> None:
    (headlines / "headlines.toml").write_text(re.sub(r'scored = "test.csv"', "scored = 0.1", FIRST))
    said = bench("tasks", "headlines", "--tasks", "headlines", "--fingerprint")
    assert "train = 108\nscored = 12\n" in said.out


def test_the_error_that_the_guide_shows_is_the_one_that_is_given(bench, headlines: Path) -> None:
    (headlines / "headlines.toml").write_text(FIRST.replace("classes =", "classses ="))
    said = bench("tasks", "headlines", "--tasks", "headlines").err
    assert said in GUIDE


def test_every_key_of_a_card_is_in_the_guide() -> None:
    for key in cards.Card.model_fields:
        assert f"`{key}`" in GUIDE or f"`[{key}]`" in GUIDE or f"`{key} =" in GUIDE, key


def test_every_family_and_its_metrics_are_in_the_guide() -> None:
    table = GUIDE[GUIDE.index("| family | a label is") :]
    for family in cards._KINDS:
        rows = [line for line in table.splitlines() if line.startswith(f"| `{family}`")]
        cells = " ".join(row.split("|")[3] for row in rows)
        names = set(re.findall(r"`(\w+)`", cells)) - {"scale"}
        assert names
        for name in names:
            assert name in metrics._MODULES, name
