"""`bench sweep`: settings tried under the meter, and what finding the best of them cost."""

from __future__ import annotations

import sys
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
    Settings,
    SlurmOptions,
    Task,
    TaskFolders,
    alone,
    console,
    find,
    recover,
)
from bench.cli.runs import INTERRUPTED
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.run import Request
    from bench.study.sweep import Ending, Sweep

app = typer.Typer(
    help="Tune a recipe's settings, every trial metered, and say what that cost.",
    invoke_without_command=True,
)

TRIALS = 20

Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw the best so far against kWh: .svg, .png."),
]


@app.callback()
def sweep(
    context: typer.Context,
    task: Task = None,
    model: Annotated[str | None, typer.Option(help="Else the task's default.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Else the baseline.")] = None,
    space: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD=...,...",
            help="What is tried: learning_rate=1e-5..1e-3:log,epochs=1|2|3,batch_size=16..64:int.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help=f"How many; {TRIALS}, or the whole grid.", show_default=False),
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="random, grid; tpe or gp, which learn from the trials so far.")
    ] = "random",
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="End hopeless trials early.")
    ] = True,
    pruner: Annotated[
        str, typer.Option(help="median: of other trials; halving: the better half goes on.")
    ] = "median",
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Of the sampler; runs draw their own.")
    ] = 0,
    final: Annotated[
        int, typer.Option(min=0, metavar="RUNS", help="Then train the best settings so often.")
    ] = 0,
    set_: Settings = None,
    pretrained: PretrainedOption = None,
    data: Data = None,
    device: Device = None,
    nproc: Processes = None,
    region: RegionOption = None,
    pue: PueOption = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Of trials and final runs together: 0.5kWh, 2h, 100gCO2e."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the sweep; else made of what is asked.")
    ] = None,
    executor: Executor = "local",
    slurm: SlurmOptions = None,
    probe: Probes = None,
    idle: Idle = 3.0,
    out: Out = RUNS,
    plot: Plot = None,
    no_wait: NoWait = False,
    tasks: TaskFolders = None,
) -> None:
    """Tune a recipe's settings on the tune split, never on the scored one.

    The same command again goes on where the last one ended, with more --trials further than that;
    `bench sweep show NAME` prints what it found and what it cost, also while it runs.
    """
    if context.invoked_subcommand:
        return
    if not task:
        raise UsageError("which task?", "--task sst2; `bench tasks` lists them")
    if not space:
        from bench.study.space import EXAMPLE

        raise UsageError("which settings are tried?", EXAMPLE)
    from bench.run import Request
    from bench.study import grid, making
    from bench.study import sweep as sweeping
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
    rule = pruner if prune else None
    asked = _sweep(base, model, recipe, pairs, space, sampler, rule, seed, trials, out)
    where = named(executor, slurm or [])
    first = grid.Cell(asked.request.model or "", asked.request.recipe or "", asked.first())
    ((_, planned),), _ = grid.plans([first], where.here)
    if no_wait:
        with alone(no_wait):  # or it is said for whom
            pass
    limit = Limit(parse_budget(budget), planned.scenario) if budget else None
    wanted = sweeping.asked(asked, space, sampler, seed, pairs)
    folder = out / sweeping.FOLDER / making.name(name, wanted)
    print(f"sweep {folder.name}: {asked.trials} trials, scored on tune", file=sys.stderr)
    ending = sweeping.make(folder, wanted, asked, final, where, planned.scenario, limit)
    _print(folder, "table")
    if plot:
        _draw(folder, plot)
    print(_how_it_ended(ending), file=sys.stderr)
    if ending.interrupted:
        raise typer.Exit(INTERRUPTED)
    if not (ending.whole or ending.over_budget):
        raise typer.Exit(1)


def _sweep(
    base: Request,
    model: str | None,
    recipe: str | None,
    pairs: list[str],
    space: str,
    sampler: str,
    rule: str | None,
    seed: int,
    trials: int | None,
    out: Path,
) -> Sweep:
    """What is asked, with nothing in it that depends on where the command was typed."""
    from bench import cards, recipes
    from bench.study import grid, pruning, samplers
    from bench.study.space import parse, size
    from bench.study.sweep import Sweep

    def find_run(run: str) -> Path:
        return find(run, None, out)

    if rule:
        pruning.named(rule)
    card = cards.load(base.task, base.task_folders)
    (cell,) = grid.cells(
        base, card, [model] if model else [], [recipe] if recipe else [], pairs
    )  # fmt: skip
    fields = recipes.describe(cell.request.recipe or recipes.DEFAULT)["settings"]
    kinds = {field["name"]: field["type"] for field in fields}
    dimensions = parse(space, kinds, cell.recipe)
    proposes = samplers.named(sampler, dimensions, seed)
    whole = size(dimensions) if sampler == "grid" else None
    return Sweep(
        request=grid.resolved(cell.request, find_run),
        space=dimensions,
        sampler=proposes,
        prune=rule,
        trials=trials or whole or TRIALS,
        family=card.family,
        find_run=find_run,
    )


def _how_it_ended(ending: Ending) -> str:
    said = f"{ending.tried} of {ending.planned} trials have ended"
    if ending.final_planned:
        said += f", {ending.final_made} of {ending.final_planned} final runs are made"
    said += f", {ending.so_far} in all"
    left = "" if ending.left is None else f", which would take about {ending.left} more"
    if ending.interrupted:
        return f"interrupted by {ending.interrupted}: {said}; the same command goes on{left}"
    if ending.over_budget and not ending.whole:
        return f"the budget allows no more: {said}; a larger --budget goes on{left}"
    if ending.stopped:
        return f"{said}; stopped: {ending.stopped}"
    if not ending.whole:
        return f"{said}; the same command tries the others again"
    if not ending.final_planned:
        return f"{said}; next: the same command with --final 3 trains the best settings"
    return said


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The sweep's name, or its folder.")],
    as_json: Json = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    plot: Plot = None,
    out: Out = RUNS,
) -> None:
    """Print what a sweep found and what it cost, also while it runs."""
    from bench.study import sweep as sweeping

    _check_plot(plot)
    folder = Path(name) if Path(name).is_dir() else out / sweeping.FOLDER / name
    _print(folder, "json" if as_json else "markdown" if as_markdown else "table")
    if plot:
        _draw(folder, plot)


def _print(folder: Path, format: str) -> None:
    from bench.study import ledger, sweep_render, tuning

    found = tuning.result(ledger.read(folder))
    if format == "json":
        print(sweep_render.as_json(found), end="")
    elif format == "markdown":
        print(sweep_render.markdown(found), end="")
    else:
        console().print(sweep_render.table(found))


def _check_plot(plot: Path | None) -> None:
    """Before anything is run: whether a plot can be drawn."""
    if plot:
        from bench.plot import picture

        picture.check(plot)


def _draw(folder: Path, plot: Path) -> None:
    from bench.plot import tuning as picture
    from bench.study import ledger, sweep_render, tuning

    drawn = sweep_render.drawn(tuning.result(ledger.read(folder)))
    if drawn is None:
        print("nothing can be drawn: no trial has a score yet", file=sys.stderr)
        return
    picture.save(drawn, plot)
    print(f"wrote {plot}", file=sys.stderr)
