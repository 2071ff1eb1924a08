"""Commands that list what there is."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bench.cli.options import TaskFolders, console


def tasks(
    name: Annotated[str | None, typer.Argument(help="One task in full.")] = None,
    tasks: TaskFolders = None,
) -> None:
    """List the tasks, or show one."""
    from bench import cards
    from bench import show as showing

    extra = tasks or []
    if name:
        console().print(showing.grid(showing.card_lines(cards.load(name, extra))))
    else:
        console().print(showing.tasks([cards.load(n, extra) for n in cards.names(extra)]))


def models(name: Annotated[str | None, typer.Argument(help="One model in full.")] = None) -> None:
    """List the models, or show one."""
    from bench import show as showing
    from bench.learn import models as catalogue

    if name:
        console().print(showing.grid(showing.facts_lines(catalogue.describe(name))))
    else:
        console().print(showing.models([catalogue.describe(n) for n in catalogue.names()]))


def recipes(name: Annotated[str | None, typer.Argument(help="One recipe in full.")] = None) -> None:
    """List the recipes, or show one with its settings."""
    from bench import recipes as catalogue
    from bench import show as showing

    if name:
        console().print(showing.grid(showing.facts_lines(catalogue.describe(name))))
    else:
        console().print(showing.recipes([catalogue.describe(n) for n in catalogue.names()]))


def rules() -> None:
    """Print the benchmark's rules."""
    from importlib.resources import files

    text = files("bench").joinpath("docs/rules.md").read_text(encoding="utf-8")
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.markdown import Markdown

    console().print(Markdown(text))
