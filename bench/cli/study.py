"""`bench study`: every model with every recipe, so many runs of each, and what comes out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    RUNS,
    Data,
    Device,
    Executor,
    Idle,
    Json,
    NoWait,
    Out,
    PretrainedOption,
    Probes,
    Processes,
    PueOption,
    RegionOption,
    SlurmOptions,
    Task,
    TaskFolders,
    alone,
    cards_of,
    console,
    find,
    recover,
)
from bench.cli.runs import INTERRUPTED
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.run import Plan, Request
    from bench.study.grid import Cell
    from bench.study.making import Ending
    from bench.study.table import Result

app = typer.Typer(
    help="Compare models and recipes on a task: a grid of runs, its table and its plot.",
    invoke_without_command=True,
)

Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw skill against energy: .svg, .png, .html."),
]


@app.callback()
def study(
    context: typer.Context,
    task: Task = None,
    models: Annotated[
        list[str] | None, typer.Option(metavar="A,B", help="Else the task's default.")
    ] = None,
    recipes: Annotated[
        list[str] | None, typer.Option(metavar="A,B+C", help="Else the baseline.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Of each cell, with fresh seeds.")] = 3,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="[NAME.]FIELD=VALUE",
            help="A setting of all cells, or of a recipe's or a model's: bf16.epochs=2.",
        ),
    ] = None,
    pretrained: PretrainedOption = None,
    data: Data = None,
    device: Device = None,
    nproc: Processes = None,
    region: RegionOption = None,
    pue: PueOption = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Of all runs; none is started that would exceed it: 2h, 0.1kWh."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the study; else made of what is asked.")
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Add models, recipes or runs to the study --name.")
    ] = False,
    executor: Executor = "local",
    slurm: SlurmOptions = None,
    probe: Probes = None,
    idle: Idle = 3.0,
    out: Out = RUNS,
    plan: Annotated[
        bool, typer.Option("--plan", help="Try a few steps of each cell, predict the cost of all.")
    ] = False,
    plot: Plot = None,
    no_wait: NoWait = False,
    tasks: TaskFolders = None,
) -> None:
    """Compare models and recipes on a task.

    The same command again goes on where the last one ended; `bench study show NAME` prints the
    table again.
    """
    if context.invoked_subcommand:
        return
    if not task:
        raise UsageError("which task?", "--task sst2; `bench tasks` lists them")
    from bench.run import Request
    from bench.study import grid, making
    from bench.study.executors import named
    from bench.study.spending import Limit
    from bench.units import parse_budget

    _check_plot(plot)
    recover(out)
    base = Request(
        task=task, pretrained=pretrained, data=data, device=device, nproc=nproc, region=region,
        pue=pue, task_folders=tasks or [], probes=probe or [], idle_s=idle,
    )  # fmt: skip
    pairs = set_ or []
    cells = _cells(base, models or [], recipes or [], pairs, out)
    wanted = making.asked(grid.resolved(base, Path), cells, runs, pairs)
    where = named(executor, slurm or [])
    possible, refused = grid.plans(cells, where.here)
    scenario = possible[0][1].scenario
    for cell, why in refused.items():
        print(f"not run: {cell}: {why}", file=sys.stderr)
    if plan:
        if not where.here:
            raise UsageError(
                f"--plan tries the steps on this machine, not where --executor {executor} runs",
                "on a machine like those: the same command without --executor",
            )
        with alone(no_wait):
            _forecast(possible, runs, out)
        return
    if no_wait:
        with alone(no_wait):  # or it is said for whom
            pass
    limit = Limit(parse_budget(budget), scenario) if budget else None
    folder = out / making.FOLDER / making.name(name, wanted)
    runs_each = f"{runs} {'run' if runs == 1 else 'runs'}"
    print(f"study {folder.name}: {len(possible)} x {runs_each}", file=sys.stderr)
    planned = [cell for cell, _ in possible]
    ending = making.make(folder, wanted, planned, refused, where, scenario, limit, extend)
    _print(folder, tasks, "table")
    if plot:
        _draw(folder, tasks, plot)
    print(_how_it_ended(ending), file=sys.stderr)
    if ending.interrupted:
        raise typer.Exit(INTERRUPTED)
    if not (ending.whole or ending.over_budget):
        raise typer.Exit(1)


def _cells(
    base: Request, models: list[str], recipes: list[str], pairs: list[str], out: Path
) -> list[Cell]:
    """The grid, with nothing in it that depends on where the command was typed."""
    from bench import cards
    from bench.study import grid

    card = cards.load(base.task, base.task_folders)
    found = grid.cells(base, card, _listed(models), _listed(recipes), pairs)
    return [
        replace(c, request=grid.resolved(c.request, lambda run: find(run, None, out)))
        for c in found
    ]  # fmt: skip


def _listed(texts: list[str]) -> list[str]:
    """Names that commas part, or that are given one by one."""
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]


def _forecast(possible: Sequence[tuple[Cell, Plan]], runs: int, out: Path) -> None:
    """A few steps of each cell, and what all of them would come to."""
    from bench import live, show
    from bench.run import forecast
    from bench.study.spending import Cost, total
    from bench.workfolder import work_folder

    said: list[tuple[str, str]] = []
    costs: list[Cost] = []
    for cell, planned in possible:
        with (
            work_folder(planned.card, planned.resolved, out) as work,
            live.Line(planned.scenario.g_per_metered_kwh) as line,
        ):
            line.lead = cell.name
            found = forecast(planned, work, on_progress=line)
        unknown = found.energy_j is None
        cost = Cost(found.duration_s, found.energy_j or 0.0, found.level == "M0", int(unknown))
        costs += [cost] * runs
        said.append((cell.name, f"{runs} x {cost}" if runs > 1 else str(cost)))
    said.append(("in all", f"{total(costs)}; nothing was kept"))
    console().print(show.grid(said))


def _how_it_ended(ending: Ending) -> str:
    runs = f"{ending.made} of {ending.planned} runs are made, {ending.so_far}"
    left = "" if ending.left is None else f", which would take about {ending.left} more"
    if ending.whole:
        return runs
    if ending.interrupted:
        return f"interrupted by {ending.interrupted}: {runs}; the same command goes on{left}"
    if ending.over_budget:
        return f"the budget allows no further run: {runs}; a larger --budget goes on{left}"
    again = ending.planned - ending.made - ending.given_up
    said = [f"the same command tries {again} again"] if again else []
    said += [f"{ending.given_up} have failed too often, and are given up"] * bool(ending.given_up)
    return f"{runs}; {'; '.join(said)}"


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The study's name, or its folder.")],
    as_json: Json = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    plot: Plot = None,
    out: Out = RUNS,
    tasks: TaskFolders = None,
) -> None:
    """Print a study's table again, from its records."""
    from bench.study import making

    _check_plot(plot)
    recover(out)
    folder = Path(name) if Path(name).is_dir() else out / making.FOLDER / name
    _print(folder, tasks, "json" if as_json else "markdown" if as_markdown else "table")
    if plot:
        _draw(folder, tasks, plot)


def _print(folder: Path, tasks: list[Path] | None, format: str) -> None:
    from bench.study import render

    found = _result(folder, tasks)
    if format == "json":
        print(render.as_json(found), end="")
    elif format == "markdown":
        print(render.markdown(found), end="")
    else:
        screen = console()
        screen.print(render.table(found, screen.width))


def _result(folder: Path, tasks: list[Path] | None) -> Result:
    """What a study's records say."""
    from bench.study import ledger, table

    book = ledger.read(folder)
    folders = tasks or [Path(f) for f in book.asked.get("task_folders", ())]
    found, _ = table.runs(book)
    return table.result(book, cards_of((run.record for _, run in found), folders))


def _check_plot(plot: Path | None) -> None:
    """Before anything is run: whether a plot can be drawn."""
    if plot:
        from bench.plot import picture

        picture.check(plot)


def _draw(folder: Path, tasks: list[Path] | None, plot: Path) -> None:
    from bench.plot import front
    from bench.study import render

    found = _result(folder, tasks)
    dots = render.dots(found)
    if not dots:
        print("no run can be drawn: none has both a score and an energy", file=sys.stderr)
        return
    front.save(dots, *render.captions(found), plot)
    print(f"wrote {plot}", file=sys.stderr)
