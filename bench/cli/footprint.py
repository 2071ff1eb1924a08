"""Commands about the life cycle of trainings: published, planned and made."""

from __future__ import annotations

import json
import sys
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
    Results,
    Settings,
    Task,
    TaskFolders,
    console,
    find,
)
from bench.errors import BenchError, UsageError

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
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run, met by the intensity of its own hours."),
    ] = None,
    region: RegionOption = None,
    pue: PueOption = None,
    live: Annotated[
        str,
        typer.Option(
            metavar="SOURCE", help="auto, off, or a source: electricity-maps, national-grid."
        ),
    ] = "auto",
    explain: Annotated[
        bool, typer.Option("--explain", help="With a run: each number down to its sources.")
    ] = False,
    as_json: Json = False,
    results: Results = None,
    out: Out = RUNS,
) -> None:
    """Say what a grid emits: now, over today, and in the mean of a year; or what a run emitted by
    the hours in which it ran.

    Electricity Maps wants a key in ELECTRICITYMAPS_API_KEY. A region and times are sent, nothing
    else. Where no source answers, the yearly mean stands, and the reason is said.
    """
    from datetime import UTC, datetime

    from bench.footprint import live as sources
    from bench.footprint import render
    from bench.power import carbon

    if run is not None:
        _met(run, region, pue, live, results, out, explain, as_json)
        return
    if pue or explain:
        raise UsageError("--pue and --explain are of a run", "bench footprint intensity RUN")
    at, scenario = datetime.now(UTC), carbon.asked(region)
    course = sources.today(scenario.region, live, at)
    if as_json:
        print(json.dumps(render.intensity_facts(course, at), indent=1))
        return
    screen = console()
    for part in render.intensity(course, at, scenario.assumed):
        screen.print(part)


def _met(
    run: str,
    region: str | None,
    pue: str | None,
    live: str,
    results: Path | None,
    out: Path,
    explain: bool,
    as_json: bool,
) -> None:
    """A run by the intensity of its own hours."""
    from bench import record as records
    from bench import show as showing
    from bench.footprint import live as sources
    from bench.footprint import render
    from bench.footprint.quantity import explained
    from bench.power import carbon

    folder = find(run, results, out)
    record = records.read_any(folder)
    scenario = carbon.asked(region or record.region, pue or record.pue)
    found = sources.matched(folder, record, scenario, live)
    if as_json:
        print(found.json())
        return
    screen = console()
    screen.print(showing.grid([("run", record.run_id), *render.matched_lines(found)]))
    numbers = dict.fromkeys([found.emissions, found.yearly])  # where nothing is live, they are one
    for number in numbers if explain else ():
        if number:
            screen.print("\n".join(explained(number)), markup=False)


@app.command()
def profile(
    model: Annotated[str, typer.Option(help="`bench models` lists them.")],
    minutes: Annotated[float, typer.Option(help="Of training, at most.")] = 10.0,
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
    pretrained: PretrainedOption = None,
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
    from bench.power import carbon
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
    try:
        found = profiles.of(folder)
    except UsageError as error:
        if not ended:
            raise
        print(f"interrupted: {error.message}; its record is in {folder}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print(json.dumps(said.profile_facts(found), indent=1))
    else:
        from bench import show

        lines = said.profile_lines(found, carbon.asked(region, pue))
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
        if fits := profiles.fitting(plan):
            screen.print(
                f"memory holds no such batch by an estimate: {profiles.shown_settings(fits)}"
            )
            request = replace(request, settings={**request.settings, **fits})
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


@app.command()
def extrapolate(
    run: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROFILE|RUN", help="A folder, or the head of its id."),
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="What is not said: as bert-base was trained, …"),
    ] = None,
    hours: Annotated[float | None, typer.Option(help="Of the full training.")] = None,
    devices: Annotated[int | None, typer.Option(help="On so many; else as the profile.")] = None,
    steps: Annotated[
        str | None, typer.Option(metavar="N", help="Of the profile's batch: 1M.")
    ] = None,
    tokens: Annotated[str | None, typer.Option(metavar="N", help="To learn from: 137G.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Of the profile's data.")] = None,
    flops: Annotated[str | None, typer.Option(metavar="N", help="Else 6 x N x tokens.")] = None,
    parameters: Annotated[
        str | None, typer.Option(metavar="N", help="Of the model: 110M; else the profile's.")
    ] = None,
    efficiency: Annotated[
        float | None, typer.Option(help="Share of the peak; else as the profile reached it.")
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(help="Other than the profile's, by FLOPs alone: 'NVIDIA L4'.")
    ] = None,
    region: RegionOption = None,
    pue: PueOption = None,
    usd_per_kwh: Annotated[float | None, typer.Option(help="Price of electricity.")] = None,
    validate: Annotated[
        bool,
        typer.Option("--validate", help="Of whole runs: what their beginning would have said."),
    ] = False,
    results: Results = None,
    out: Out = RUNS,
    explain: Annotated[
        bool, typer.Option("--explain", help="The formula of each number, down to its sources.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Extrapolate a profile to a full training: by hours, by steps or tokens, by FLOPs.

    The three stand side by side: how far apart they are is the error bar.
    """
    from bench.cli.options import find
    from bench.footprint import extrapolate as making
    from bench.footprint import profile as profiles
    from bench.footprint import said, workloads
    from bench.power import carbon

    if validate:
        _validate([Path(r) for r in run or []], as_json)
        return
    if not run or len(run) > 1:
        raise UsageError("which profile?", "one run's id or folder; --validate takes several")
    found = profiles.of(find(run[0], results, out))
    counted = {"steps": steps, "tokens": tokens, "flops": flops, "parameters": parameters}
    numbers = {name: making.count(f"--{name}", text) for name, text in counted.items()}
    workload = workloads.named(as_) if as_ else None
    asked = making.Asked(
        hours=hours, devices=devices, epochs=epochs, efficiency=efficiency,
        hardware=making.other_hardware(hardware, found) if hardware else None,
        workload=workload, **numbers,
    )  # fmt: skip
    of_run = found.record
    scenario = carbon.asked(region or of_run.region, pue or of_run.pue)
    whole = making.extrapolate(found, asked, scenario, usd_per_kwh)
    if as_json:
        print(json.dumps(said.extrapolation_facts(whole), indent=1))
    elif explain:
        print("\n".join(said.explanations(whole)).rstrip())
    else:
        screen = console()
        for part in said.extrapolation(whole):
            screen.print(part)


def _validate(roots: list[Path], as_json: bool) -> None:
    """What the beginnings of whole runs would have said of the whole."""
    from bench.footprint import said, validation

    if not roots:
        raise UsageError("which runs?", "--validate results, or folders of runs")
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"there is no folder {root}", "--validate results")
    found = list(validation.cases(roots))
    if not found:
        raise UsageError(f"no whole run lies below {', '.join(map(str, roots))}")
    if as_json:
        print(json.dumps(validation.facts(found), indent=1))
        return
    screen = console()
    for part in said.validated(found, screen.width):
        screen.print(part)


_Explain = Annotated[
    bool, typer.Option("--explain", help="The formula of each number, down to its sources.")
]


@app.command()
def plan(
    model: Annotated[str, typer.Option(help="`bench models` lists them; any, with --parameters.")],
    tokens: Annotated[
        str | None, typer.Option(metavar="N", help="To learn from: 3B, 500M.", show_default=False)
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(metavar="N", help="Of an epoch: 67k; else the task's.", show_default=False),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="With --examples or --task.", show_default="1")
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(help="By the clock, as the study counts.", show_default=False),
    ] = None,
    task: Task = None,
    hardware: Annotated[
        str | None,
        typer.Option(help="'NVIDIA H200', '8 x NVIDIA H200'; else that of the runs of the model."),
    ] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="How many.", show_default="1")] = None,
    trials: Annotated[int, typer.Option(help="Trainings to choose the settings by.")] = 0,
    recipe: Annotated[str | None, typer.Option(help="`bench recipes` lists them.")] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="fp32|tf32|bf16|fp16", help="Adds the recipe of it.")
    ] = None,
    parameters: Annotated[
        str | None, typer.Option(metavar="N", help="Of a model that bench has not: 350M.")
    ] = None,
    power_w: Annotated[
        float | None, typer.Option(help="Of one device; else as in the runs.", show_default=False)
    ] = None,
    region: RegionOption = None,
    pue: PueOption = None,
    usd_per_kwh: Annotated[
        float | None, typer.Option(help="Of electricity.", show_default="0.12, as the study")
    ] = None,
    usd_per_hour: Annotated[
        float | None, typer.Option(help="Of one device in a cloud.", show_default=False)
    ] = None,
    results: Results = None,
    out: Out = RUNS,
    tasks: TaskFolders = None,
    explain: _Explain = False,
    as_json: Json = False,
) -> None:
    """Say what a training would take, from runs that exist: kWh, CO2e, money, hours; and what would
    reduce it.

    Runs of the same model on the same hardware come first; else those of the model elsewhere,
    scaled; else those of other models, by their size. Each step away widens the spread. Measured
    and estimated runs are never in one number.
    """
    from bench.cli.options import roots
    from bench.footprint import alternatives, asking, plan_render
    from bench.footprint import known as runs
    from bench.footprint import plan as planning

    found, broken = runs.runs(folder for folder, _ in roots(results, out))
    asked = asking.asked(
        asking.Typed(
            model=model, tokens=tokens, examples=examples, epochs=epochs, hours=hours, task=task,
            hardware=hardware, devices=devices, trials=trials, recipe=recipe, precision=precision,
            parameters=parameters, power_w=power_w, region=region, pue=pue,
            usd_per_kwh=usd_per_kwh, usd_per_hour=usd_per_hour, task_folders=tasks or [],
        ),
        found,
    )  # fmt: skip
    made = planning.plan(asked, found)
    others = alternatives.alternatives(made, found)
    if as_json:
        print(json.dumps(plan_render.plan_facts(made, others, broken), indent=1))
    elif explain:
        print("\n".join(plan_render.plan_explained(made, others)))
    else:
        screen = console()
        for part in plan_render.plan_parts(made, others, broken, screen.width):
            screen.print(part)


@app.command()
def report(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Ends in .html or .md.")
    ],
    runs: Annotated[
        Path, typer.Option("--runs", metavar="DIR", help="One's own.", envvar="BENCH_RUNS")
    ] = RUNS,
    results: Results = None,
    project: Annotated[
        list[Path] | None,
        typer.Option("--project", metavar="DIR", help="With a ledger added up (repeatable)."),
    ] = None,
    region: RegionOption = None,
    pue: PueOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="With the formula of each number, as an appendix.")
    ] = False,
    tasks: TaskFolders = None,
) -> None:
    """Write what trainings took: published ones and one's own, as one page of HTML or Markdown.

    The page loads nothing and has no scripts. What was measured and what was estimated stand apart.
    """
    from bench.cli.options import cards_of, recover, roots
    from bench.footprint import project as projects
    from bench.footprint import report as reports
    from bench.footprint import writing
    from bench.power import carbon
    from bench.rank import board, index, standing
    from bench.record import write_file

    kind = writing.kind_of(output)
    scenario = carbon.asked(region, pue)
    ledger = reports.ledger(projects.read(project, scenario)) if project else []
    recover(runs)
    found, broken, submissions = index.ask(
        roots(results, runs),
        lambda source: (source.board(board.Filters()), source.broken(), source.submissions()),
    )
    standings = standing.of(submissions, found)
    cards = cards_of((r.record for r in found), tasks)
    submitted = [r for r in found if r.origin == "results"]
    made = reports.make(
        scenario, board.build(submitted, cards, standings=standings),
        [r for r in found if r.origin == "local"], broken, ledger,
    )  # fmt: skip
    write_file(output, writing.written(made, kind, explain))
    print(f"wrote {output}", file=sys.stderr)


@app.command()
def project(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Runs, results, or the folder of a study or sweep."),
    ],
    final: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN", help="The training that is used (repeatable); else the last ranked one."
        ),
    ] = None,
    region: RegionOption = None,
    pue: PueOption = None,
    usd_per_kwh: Annotated[float, typer.Option(help="Of electricity; 0.12 as the study.")] = 0.12,
    usd_per_hour: Annotated[
        float | None, typer.Option(help="Of one device in a cloud.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The timeline: svg, png, pdf, html."),
    ] = None,
    explain: _Explain = False,
    as_json: Json = False,
) -> None:
    """Add up all runs of a project: kWh, CO2e, money, and how many times one training that is.

    Trials, failed and interrupted runs, profiles and measurements count, each once. Measured and
    estimated energy stay apart. A run's own region and PUE come before those given here.
    """
    from bench.footprint import project as ledger
    from bench.footprint import project_render, timeline
    from bench.footprint.asking import usd
    from bench.plot import picture
    from bench.power import carbon

    usd(usd_per_kwh, "--usd-per-kwh")
    usd(usd_per_hour, "--usd-per-hour")
    if output:
        picture.check(output)
    scenario = carbon.asked(region, pue)
    found = ledger.read(folders, scenario, final or [], usd_per_kwh, usd_per_hour)
    if output:
        title = f"Energy over time: {project_render.title(found)}"
        timeline.save(found, output, title, project_render.said(found))
    if as_json:
        print(json.dumps(project_render.project_facts(found), indent=1))
    elif explain:
        print("\n".join(project_render.project_explained(found)))
    else:
        screen = console()
        for part in project_render.project_parts(found, screen.width):
            screen.print(part)
