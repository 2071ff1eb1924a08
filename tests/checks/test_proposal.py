"""A pull request adds entries, and changes nothing that stands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.checks.proposal import Proposal
from bench.checks.setting import Setting
from tests.checks import bundles


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """results/ as it would be, with a new entry, and as it is."""
    present, proposed = tmp_path / "present", tmp_path / "proposed"
    bundles.write(present, name="old")
    shutil.copytree(present, proposed)
    bundles.write(proposed, name="new")
    return proposed, present


def refused(proposed: Path, present: Path) -> list[str]:
    report = Proposal(proposed, present).report(bundles.around())
    assert {v.rule for v in report.verdicts} == {"H9"}
    return [v.message for v in report.errors]


def test_a_new_entry_is_what_is_checked(trees: tuple[Path, Path]) -> None:
    assert refused(*trees) == []
    assert Proposal(*trees).added() == [trees[0] / "toy/new"]


def _change(root: Path) -> None:
    path = root / "toy/old/entry.json"
    path.write_text(path.read_text().replace("small", "Small"))


def _same_size(root: Path) -> None:
    path = root / "toy/old/entry.json"
    path.write_text(path.read_text().replace("A small", "A SMALL"))


def _into_an_old_entry(root: Path) -> None:
    (root / "toy/old/more.json").write_text("{}")


def _stray(root: Path) -> None:
    (root / "README").write_text("hello")


def _link(root: Path) -> None:
    (root / "toy/link").symlink_to("/etc")


def _link_for_a_file(root: Path) -> None:
    path = root / "toy/old/entry.json"
    path.unlink()
    path.symlink_to("/etc/passwd")


def _hidden(root: Path) -> None:
    shutil.copytree(root / "toy/new", root / "toy/.new")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_change, "toy/old/entry.json would be changed"),
        (_same_size, "toy/old/entry.json would be changed"),
        (lambda root: (root / "toy/old/entry.json").unlink(), "toy/old/entry.json would be gone"),
        (lambda root: shutil.rmtree(root / "toy/old"), "would be gone"),
        (_into_an_old_entry, "toy/old/more.json would be new, and is no entry's"),
        (_stray, "README would be new, and is no entry's"),
        (_link, "toy/link would be new, and is no entry's"),
        (_link_for_a_file, "toy/old/entry.json would be changed"),
        (_hidden, "toy/.new/entry.json would be new, and is no entry's"),
    ],
)
def test_anything_else_is_refused(
    trees: tuple[Path, Path], change: Callable[[Path], None], said: str
) -> None:
    change(trees[0])
    assert any(said in message for message in refused(*trees))


def test_entries_that_come_together_are_held_against_each_other(tmp_path: Path) -> None:
    bundles.write_card(tmp_path / "tasks")
    plans = bundles.plans()
    first = bundles.write(tmp_path / "proposed", plans, name="first")
    for plan in plans:
        plan.spec, plan.load_w = {"recipe": "freeze"}, plan.load_w + 1
    second = bundles.write(tmp_path / "proposed", plans, name="second")
    (tmp_path / "results").mkdir()
    setting = Setting(tmp_path / "results", tasks=[tmp_path / "tasks"], beside=[first, second])
    reports = [report for _, _, report in setting.reports([first, second])]
    assert [{v.rule for v in report.errors} for report in reports] == [{"H8"}, {"H8"}]
    alone = Setting(tmp_path / "results", tasks=[tmp_path / "tasks"], beside=[first])
    assert [r.errors for _, _, r in alone.reports([first])] == [[]]
