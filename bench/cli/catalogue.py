"""Commands that list what there is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import RUNS, Data, Json, Out, Results, TaskFolders, console, roots
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.cards import Card
    from bench.rank import costs, index
    from bench.rank.entry import Run


def tasks(
    name: Annotated[str | None, typer.Argument(help="One task in full.")] = None,
    as_json: Json = False,
    fingerprint: Annotated[
        bool, typer.Option("--fingerprint", help="Print what identifies the data, for its card.")
    ] = False,
    new: Annotated[
        Path | None,
        typer.Option("--new", metavar="FILE", help="Write a first card for a file of examples."),
    ] = None,
    data: Data = None,
    tasks: TaskFolders = None,
    results: Results = None,
    out: Out = RUNS,
) -> None:
    """List the tasks; show one, and what its runs cost."""
    from bench import cards, listing, metrics
    from bench import show as showing

    extra = tasks or []
    if new:
        _draft(new, name)
    elif name is None:
        if fingerprint:
            raise UsageError("--fingerprint is of one task", "bench tasks NAME --fingerprint")
        known = [cards.load(n, extra) for n in cards.names(extra)]
        if as_json:
            print(json.dumps([listing.task_facts(card) for card in known], indent=1))
        else:
            console().print(listing.tasks(known))
    else:
        card = cards.load(name, extra)
        metrics.check(card)
        if fingerprint:
            print(_fingerprint(card, data), end="")
            return
        found = _costs(card, results, out)
        if as_json:
            print(json.dumps(listing.task_facts(card, found), indent=1))
            return
        screen = console()
        screen.print(showing.grid(listing.card_lines(card, [str(folder) for folder in extra])))
        screen.print(listing.cost_table(found))


def _costs(card: Card, results: Path | None, out: Path) -> list[costs.Cost]:
    from bench.rank import costs, index, standing

    def question(source: index.Source) -> tuple[list[Run], list[str]]:
        runs = source.task(card.name)
        said = standing.of(source.submissions(runs=runs), runs)
        return standing.standing(runs, said), source.broken()

    here = [(root / card.name, origin) for root, origin in roots(results, out)]
    found, broken = index.ask(here, question)
    for line in broken:
        print(f"warning: {line}", file=sys.stderr)
    return costs.of(card, found)


def _fingerprint(card: Card, data: str | None) -> str:
    """Of the data where it is found; of the corpus that stands in only when that is asked for."""
    from bench import listing
    from bench.learn import sources

    resolved = sources.resolve(card, data)
    if resolved.source == "embedded" and data != "embedded":
        raise UsageError(
            f"no data of {card.title} is at hand, only the corpus that stands in for it",
            "--data DIR names the folder that holds it",
        )
    print(f"of {resolved.place}", file=sys.stderr)
    return listing.fingerprint_block(resolved.identity)


def _draft(file: Path, name: str | None) -> None:
    from bench.learn import draft

    path = draft.write(file, name)
    print(f"wrote {path}: read it, then")
    print(f"  bench tasks {path.stem} --tasks {path.parent}")
    print(f"  bench run --task {path.stem} --tasks {path.parent}")


def models(name: Annotated[str | None, typer.Argument(help="One model in full.")] = None) -> None:
    """List the models, or show one."""
    from bench import listing
    from bench import show as showing
    from bench.learn import models as catalogue
    from bench.learn import objectives

    if name:
        facts = catalogue.describe(name)
        facts = {**facts, "can do": objectives.families(facts["kind"])}
        console().print(showing.grid(listing.facts_lines(facts)))
    else:
        found = [catalogue.describe(n) for n in catalogue.names()]
        families = {d["kind"]: objectives.families(d["kind"]) for d in found}
        console().print(listing.models(found, families))


def recipes(name: Annotated[str | None, typer.Argument(help="One recipe in full.")] = None) -> None:
    """List the recipes, or show one with its settings."""
    from bench import listing
    from bench import recipes as catalogue
    from bench import show as showing

    if name:
        console().print(showing.grid(listing.facts_lines(catalogue.describe(name))))
    else:
        console().print(listing.recipes([catalogue.describe(n) for n in catalogue.names()]))


def rules() -> None:
    """Print the benchmark's rules."""
    from importlib.resources import files

    text = files("bench").joinpath("docs/rules.md").read_text(encoding="utf-8")
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.markdown import Markdown

    console().print(Markdown(text))
