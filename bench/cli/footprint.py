"""Commands about the life cycle of trainings: published, planned and made."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    RUNS,
    Data,
    Device,
    Idle,
    Json,
    NoWait,
    Out,
    PretrainedOption,
    Probes,
    PueOption,
    RegionOption,
    Settings,
    Task,
    TaskFolders,
    console,
)
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.run import Request

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


@app.command()
def profile(
    model: Annotated[str, typer.Option(help="`bench models` lists them.")],
    minutes: Annotated[
        float, typer.Option(help="At most so long, from start to end of training.")
    ] = 10.0,
    task: Task = None,
    recipe: Annotated[str | None, typer.Option(help="`bench recipes` lists them.")] = None,
    set_: Settings = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Examples a step (translation: tokens); else as published."),
    ] = None,
    length: Annotated[
        int | None, typer.Option(min=4, help="Tokens of each at most; else as published.")
    ] = None,
    pretrained: PretrainedOption = False,
    data: Data = None,
    device: Device = None,
    region: RegionOption = None,
    pue: PueOption = None,
    probe: Probes = None,
    idle: Idle = 3.0,
    out: Out = RUNS,
    replay_trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Replay a recorded trace instead of metering."),
    ] = None,
    no_wait: NoWait = False,
    tasks: TaskFolders = None,
    as_json: Json = False,
) -> None:
    """Train under the meter until power is stable: what a step, a token and an hour take.

    Stable: blocks of 5 s or 10 steps, the first quarter of the training (15 s at least) left out;
    12 blocks or more whose mean is known to 1 %, and whose halves differ by no more. The run is a
    record like any other; it is not scored, and no entry of a board.
    """
    from contextlib import nullcontext

    from bench.cli.options import alone, find, recover, settings
    from bench.cli.runs import INTERRUPTED
    from bench.footprint import profile as profiles
    from bench.footprint import said
    from bench.run import Request

    profiles.check_minutes(minutes)
    recover(out)
    request = Request(
        task=task or "", model=model, pretrained=pretrained, recipe=recipe,
        settings=settings(set_ or []), data=data, device=device, region=region, pue=pue,
        task_folders=tasks or [], replay=replay_trace, probes=probe or [], idle_s=idle,
        find_run=lambda name: find(name, None, out),
    )  # fmt: skip
    with nullcontext() if replay_trace else alone(no_wait):
        folder, ended = _profiled(request, batch, length, out, minutes)
    found = profiles.of(folder)
    if as_json:
        print(json.dumps(said.profile_facts(found), indent=1))
    else:
        from bench import show

        lines = said.profile_lines(found)
        lines += show.labelled("warning", [w.message for w in found.record.warnings])
        console().print(show.grid([*lines, ("folder", str(folder))]))
    if ended:
        raise typer.Exit(INTERRUPTED)


def _profiled(
    request: Request, batch: int | None, length: int | None, out: Path, minutes: float
) -> tuple[Path, bool]:
    """The folder of a profile, whose batch is halved until it fits into memory; and whether
    somebody asked for an end."""
    from dataclasses import replace

    from bench import live
    from bench import run as running
    from bench.footprint import profile as profiles

    screen = console(stderr=True)
    request, shape = profiles.shaped(request, batch, length)
    screen.print(f"batch: {profiles.shown(shape)}")
    seed = running.seeds(1, None)[0].value
    while True:
        plan = profiles.planned(request)
        with live.Line(plan.scenario.g_per_metered_kwh) as line:
            record, folder, ended = profiles.make(plan, out, seed, minutes, line)
        half = profiles.smaller(record)
        if half is None or ended:
            break
        screen.print(f"it does not fit into memory; half of it: {profiles.shown_settings(half)}")
        request = replace(request, settings={**request.settings, **half})
    if record.status == "failed":
        raise BenchError(f"the training failed: {record.failure}", f"its log is in {folder}")
    return folder, ended
