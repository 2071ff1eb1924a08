"""Commands about the life cycle of trainings: published, planned and made."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from bench.cli.options import Json, PueOption, RegionOption, console

app = typer.Typer(
    help="What trainings cost in energy, CO2e and money, by the method of the study.",
    no_args_is_help=True,
)


@app.command()
def equivalents(
    amount: Annotated[str, typer.Argument(help="CO2e or energy: 652kg, 1.4t, 0.5kWh.")],
    region: RegionOption = None,
    pue: PueOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="The formula of each number, down to its sources.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what an amount of CO2e or of energy is like: flights, lifetimes of cars.

    An energy is like CO2e in a region only: the US is assumed where none is named.
    """
    from bench.footprint import equivalents, render
    from bench.power import carbon

    asked = equivalents.parse(amount)
    scenario = carbon.asked(region, pue) if asked.unit == "kWh" else None
    emissions = equivalents.emitted(asked, scenario) if scenario else asked
    found = equivalents.of_energy(asked) if scenario else []
    found += equivalents.of(emissions)
    if as_json:
        about = {"amount": asked.as_dict(), "emissions": emissions.as_dict()}
        print(json.dumps(about | {"equivalents": [e.as_dict() for e in found]}, indent=1))
        return
    screen = console()
    for part in render.equivalents(asked, emissions, scenario, found):
        screen.print(part)
    if explain:
        print("\n".join(render.counts_explained(found)))


class _Table(StrEnum):
    one = "1"
    three = "3"
    four = "4"
    later = "later"


@app.command()
def published(
    row: Annotated[
        str | None, typer.Argument(help="Only rows with this in their name.", show_default=False)
    ] = None,
    table: Annotated[
        list[_Table] | None,
        typer.Option("--table", help="A table of the study, or later accounts (repeatable)."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="The formula of each number, down to its sources.")
    ] = False,
    region: Annotated[
        str | None, typer.Option(help="Also as if table 3 were trained there.", show_default=False)
    ] = None,
    pue: Annotated[
        str | None, typer.Option(help="The same in such a building.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute the study's tables 1, 3 and 4 and later accounts, beside what was printed."""
    from bench.footprint import published, render
    from bench.power import carbon

    keys = [key.value for key in dict.fromkeys(table or _Table)]
    found = render.chosen(published.tables(keys), row)
    scenario = carbon.asked(region, pue) if region or pue else None
    if as_json:
        print(json.dumps(render.facts(found, scenario), indent=1))
    elif explain:
        print("\n".join(render.explanations(found)).rstrip())
    else:
        screen = console()
        screen.width = max(screen.width, render.LEAST)
        for part in render.tables(found, screen.width, scenario):
            screen.print(part)


@app.command()
def intensity(
    region: RegionOption = None,
    live: Annotated[
        str,
        typer.Option(
            metavar="SOURCE", help="auto, off, or a source: electricity-maps, national-grid."
        ),
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Say what a grid emits: now, over today, and in the mean of a year.

    Electricity Maps wants a key in ELECTRICITYMAPS_API_KEY. A region and times are sent, nothing
    else. Where no source answers, the yearly mean stands, and the reason is said.
    """
    from datetime import UTC, datetime

    from bench.footprint import live as sources
    from bench.footprint import render
    from bench.power import carbon

    at, scenario = datetime.now(UTC), carbon.asked(region)
    course = sources.today(scenario.region, live, at)
    if as_json:
        print(json.dumps(render.intensity_facts(course, at), indent=1))
        return
    screen = console()
    for part in render.intensity(course, at, scenario.assumed):
        screen.print(part)
