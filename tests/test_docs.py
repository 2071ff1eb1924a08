"""What the documents say exists."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from bench.cli import app
from tests.conftest import REPOSITORY
from tests.test_layers import TABLE

PAGES = [
    page
    for top in sorted(REPOSITORY.iterdir())
    if not top.name.startswith(".venv")  # its thousands of folders are not even looked into
    for page in ([top] if top.suffix == ".md" else top.rglob("*.md"))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_fill_in_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"@@\w+@@|TODO|being measured", text)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target


def test_the_tree_names_every_part() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text.partition("bench/\n")[2].partition("tasks/ ")[0]
    named = re.findall(r"(?m)(\w+)(?:\.py|/)(?= |$)", tree)
    parts = set(TABLE) - {"__init__", "__main__"} | {"docs"}
    assert sorted(named) == sorted(parts)


COMMAND = re.compile(
    r"`(?:scripts/)?bench ([^`\n]+)`|^(?:\$ )?(?:scripts/)?bench (.+)$", re.MULTILINE
)


def commands(page: Path) -> list[list[str]]:
    """The words of every command with options in a page, in the text or in a block."""
    text = re.sub(r"\s*\\\n\s*", " ", page.read_text(encoding="utf-8"))
    lines = [(inline or block).partition("  ")[0] for inline, block in COMMAND.findall(text)]
    return [shlex.split(line, comments=True) for line in lines if " --" in line]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    for words in commands(page):
        command, rest = typer.main.get_command(app), [*words]
        while hasattr(command, "commands") and not (
            command.invoke_without_command and rest[0].startswith("-")
        ):
            command = command.commands[rest.pop(0)]
        rest = rest[: rest.index("--")] if "--" in rest else rest
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        asked = {word for word in rest if word.startswith("--")}
        assert asked <= options, " ".join(words)


def test_the_readme_shows_commands() -> None:
    shown = {words[0] for words in commands(REPOSITORY / "README.md")}
    assert shown >= {"run", "study", "sweep", "measure", "leaderboard", "tasks", "power"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_imports_of_bench_is_there(page: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for node in (node for block in blocks for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "bench":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                try:
                    importlib.import_module(name)
                except ModuleNotFoundError:
                    assert hasattr(importlib.import_module(str(node.module)), alias.name), name
