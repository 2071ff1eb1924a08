"""What the checks say is kept: an entry is checked once, as long as nothing that it rests on is
another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench import submission
from bench.checks import Report
from bench.checks.setting import Setting
from bench.site import checked
from bench.site.checked import Checked
from tests.checks import bundles


class Counting(Setting):
    """Knows which entries were looked at."""

    asked: list[str]

    def reports(self, folders: Sequence[Path]) -> Iterator[tuple[int, int, Report]]:
        self.asked = [submission.place(folder) for folder in folders]
        return super().reports(folders)


class World:
    def __init__(self, folder: Path) -> None:
        self.results, self.tasks = folder / "results", folder / "tasks"
        self.memory = folder / "site" / checked.NAME
        bundles.write_card(self.tasks)

    def add(self, name: str, first: int) -> Path:
        return bundles.write(self.results, bundles.plans(3, first), name=name)

    def check(self, data: str | None = None) -> tuple[dict[str, Checked], list[str]]:
        """What is said, and what was checked for it."""
        setting = Counting(self.results, data, [self.tasks])
        setting.asked = []
        folders = sorted(submission.folders(self.results))
        return checked.checked(folders, self.memory, setting), setting.asked

    def kept(self) -> dict[str, Checked]:
        folders = sorted(submission.folders(self.results))
        return checked.kept(folders, self.memory, Setting(self.results, None, [self.tasks]))


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.add("one", 0)
    made.add("two", 3)
    return made


def test_an_entry_is_checked_once(world: World) -> None:
    first, asked = world.check()
    assert asked == ["toy/one", "toy/two"]
    again, asked = world.check()
    assert asked == []
    assert again == first == world.kept()


def test_it_says_what_bench_check_says(world: World) -> None:
    from bench.checks import report

    found, _ = world.check()
    (one, _) = [r for _, _, r in Setting(world.results, None, [world.tasks]).reports(
        sorted(submission.folders(world.results)))]  # fmt: skip
    said = found["toy/one"]
    assert said.level == report.level(one)
    assert [(s.rule, s.name, s.status, s.message) for s in said.said] == [
        (v.rule, v.name, v.status, v.message) for v in one.verdicts
    ]
    runs = {s.run_id for s in said.said}
    assert runs == {None, *(p.parent.name for p in world.results.glob("toy/one/*/record.json"))}


def test_a_new_entry_alone_is_checked(world: World) -> None:
    before, _ = world.check()
    world.add("three", 6)
    found, asked = world.check()
    assert asked == ["toy/three"]
    assert {place: found[place] for place in before} == before


@pytest.mark.parametrize("file", ["entry.json", "{run}/trace.parquet"])
def test_an_entry_that_changed_is_checked_again(world: World, file: str) -> None:
    world.check()
    (run, *_) = [p.parent.name for p in world.results.glob("toy/one/*/record.json")]
    path = world.results / "toy/one" / file.format(run=run)
    os.utime(path, ns=(1, 1))
    assert list(world.kept()) == ["toy/two"]
    assert world.check()[1] == ["toy/one"]


def test_other_code_and_other_cards_check_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.check()
    card = world.tasks / "toy.toml"
    card.write_text(card.read_text().replace("value = 0.93", "value = 0.9"))
    assert world.check()[1] == ["toy/one", "toy/two"]
    monkeypatch.setattr(checked, "_code", lambda: "other")
    assert world.check()[1] == ["toy/one", "toy/two"]


def test_labels_that_are_asked_for_check_again_and_are_kept(world: World, tmp_path: Path) -> None:
    world.check()
    labels = tmp_path / "labels"
    labels.mkdir()
    assert world.check(str(labels))[1] == ["toy/one", "toy/two"]
    assert world.check(str(labels))[1] == []
    assert world.check()[1] == []  # what was said with labels is good enough without
    assert str(labels) not in world.memory.read_text()


def test_what_is_no_more_is_forgotten(world: World) -> None:
    import shutil

    world.check()
    shutil.rmtree(world.results / "toy/one")
    assert list(world.check()[0]) == ["toy/two"]
    assert '["toy/one"' not in world.memory.read_text()


def test_checks_that_were_ended_are_kept_as_far_as_they_came(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(done: int, of: int) -> None:
        raise KeyboardInterrupt

    setting = Setting(world.results, None, [world.tasks])
    with pytest.raises(KeyboardInterrupt):
        checked.checked(sorted(submission.folders(world.results)), world.memory, setting, stops)
    with world.memory.open("a") as file:
        file.write('["toy/two","torn')  # by a kill in the middle of a line
    assert list(world.kept()) == ["toy/one"]
    assert world.check()[1] == ["toy/two"]
    assert world.check()[1] == []


@pytest.mark.parametrize(
    "line",
    ["null", "[]", '["toy/one","k","","T1",[["D2"]]]', '["toy/one",1,2,3,4]', "\0",
     '["toy/one","k","","T1",[[{},1,2,3,4]]]'],
)  # fmt: skip
def test_a_line_that_is_none_says_nothing(world: World, line: str) -> None:
    world.check()
    world.memory.write_text(f"{line}\n{world.memory.read_text()}")
    assert world.check()[1] == []


def test_the_memory_is_written_through_no_link(world: World, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    world.memory.parent.mkdir()
    world.memory.symlink_to(mine)
    with pytest.raises(OSError, match="symbolic"):
        world.check()
    assert mine.read_text() == "mine"
