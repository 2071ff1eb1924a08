"""Commands that run something under the meter."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    RUNS,
    BudgetOption,
    Data,
    Device,
    Idle,
    Master,
    NodeRank,
    Nodes,
    NoWait,
    Out,
    PretrainedOption,
    Probes,
    Processes,
    PueOption,
    Rate,
    RegionOption,
    Runs,
    SeedOption,
    Settings,
    Task,
    TaskFolders,
    alone,
    check_seed,
    console,
    find,
    recover,
    settings,
)
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.nodes import First, Other, Place
    from bench.run import Plan, Request, Seed

SETTINGS = {"measure": {"allow_interspersed_args": False}}
"""Per command, by its name, what click is told."""


def run(
    task: Task = None,
    model: Annotated[str | None, typer.Option(help="`bench models` lists them.")] = None,
    pretrained: PretrainedOption = None,
    recipe: Annotated[str | None, typer.Option(help="`bench recipes` lists them.")] = None,
    set_: Settings = None,
    runs: Runs = 1,
    seed: SeedOption = None,
    data: Data = None,
    device: Device = None,
    nproc: Processes = None,
    nnodes: Nodes = None,
    node_rank: NodeRank = None,
    master: Master = None,
    region: RegionOption = None,
    pue: PueOption = None,
    budget: BudgetOption = None,
    save: Annotated[
        bool, typer.Option("--save", help="Keep the weights, and the state to go on from.")
    ] = False,
    save_every: Annotated[
        float | None,
        typer.Option(min=0, metavar="MIN", help="With --save: how often the state (10)."),
    ] = None,
    continue_: Annotated[
        str | None,
        typer.Option("--continue", metavar="RUN", help="Go on with a run that kept its state."),
    ] = None,
    probe: Probes = None,
    idle: Idle = 3.0,
    out: Out = RUNS,
    plan: Annotated[
        bool, typer.Option("--plan", help="Try a few steps, keep nothing, predict the cost.")
    ] = False,
    replay_trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Replay a recorded trace instead of metering."),
    ] = None,
    no_wait: NoWait = False,
    tasks: TaskFolders = None,
) -> None:
    """Train on a task under a power meter."""
    from bench import nodes, show
    from bench.run import Request

    check_seed(seed, runs)
    place = nodes.place(nnodes, node_rank, master)
    if place and (plan or replay_trace):
        raise UsageError("--plan and --replay-trace are of one machine", "leave out --nnodes")
    recover(out)
    request = Request(
        task=task or "", model=model, pretrained=pretrained, recipe=recipe,
        settings=settings(set_ or []), data=data, device=device, nproc=nproc, place=place,
        region=region, pue=pue, budget=budget, task_folders=tasks or [], replay=replay_trace,
        probes=probe or [], idle_s=idle, save_every_s=_save_every_s(save, save_every),
        find_run=lambda name: find(name, None, out),
    )  # fmt: skip
    if continue_:
        _refuse_what_a_part_has(pretrained, seed, runs, plan)
    planned, seeds = _prepare(request, continue_, runs, seed, out)
    console().print(show.grid(show.plan_lines(planned)))
    with nullcontext() if replay_trace else alone(no_wait):
        if plan:
            _try(planned, runs, out)
        elif place:
            _train_together(planned, place, seeds, out)
        else:
            _train(planned, seeds, out)


def _prepare(
    request: Request, continued: str | None, runs: int, seed: int | None, out: Path
) -> tuple[Plan, list[Seed]]:
    """What will run, and with which seeds."""
    from bench import continuing
    from bench import run as running

    if continued:
        planned, own = continuing.prepare(find(continued, None, out), request)
        return planned, [own]
    if not request.task:
        raise UsageError("which task?", "--task sst2; `bench tasks` lists them")
    return running.prepare(request), running.seeds(runs, seed)


def _try(planned: Plan, runs: int, out: Path) -> None:
    """A few steps, and what as many runs would come to."""
    from bench import live, show
    from bench.run import forecast
    from bench.workfolder import work_folder

    with (
        work_folder(planned.card, planned.resolved, out) as work,
        live.Line(planned.scenario.g_per_metered_kwh) as line,
    ):
        found = forecast(planned, work, on_progress=line)
    console().print(show.grid(show.forecast_lines(found, planned, runs)))


def _train_together(planned: Plan, place: Place, seeds: Sequence[Seed], out: Path) -> None:
    """The same on each of several machines: the first one has the records."""
    from bench import nodes
    from bench import run as running

    said: list[str] = []

    def tell(text: str) -> None:
        if text not in said[-1:]:
            said.append(text)
            console(stderr=True).print(text)

    with nodes.met(place, running.hello(planned, len(seeds)), tell) as others:
        if isinstance(others, nodes.First):
            _train(running.together(planned, others), seeds, out, others)
        else:
            _take_part(planned, others, len(seeds), out)


def _take_part(planned: Plan, first: Other, runs: int, out: Path) -> None:
    from bench import live, show
    from bench import run as running
    from bench.workfolder import work_folder

    screen = console()
    with work_folder(planned.card, planned.resolved, out) as work:
        for number in range(1, runs + 1):
            screen.print(f"\nrun {number} of {runs}: its record is made by the first machine")
            with live.Line(planned.scenario.g_per_metered_kwh) as line:
                record, folder, outcome = running.take_part(
                    planned, work, out, first, on_progress=line
                )
            lines = show.record_lines(record, Path(folder), planned.scenario, planned.card)
            screen.print(show.grid(lines))
            if record.status not in ("complete", "budget") or outcome.end_asked:
                raise typer.Exit(INTERRUPTED if outcome.end_asked else 1)


def _train(planned: Plan, seeds: Sequence[Seed], out: Path, others: First | None = None) -> None:
    """The runs one after another; the first that does not end well is the last."""
    from bench import live, reference, show
    from bench import run as running
    from bench.workfolder import work_folder

    screen = console()
    references = reference.current(planned.hardware, planned.device)
    with work_folder(planned.card, planned.resolved, out) as work:
        for number, seed in enumerate(seeds, 1):
            screen.print(f"\nrun {number} of {len(seeds)}, seed {seed.value}")
            with live.Line(planned.scenario.g_per_metered_kwh) as line:
                record, folder, outcome = running.run(
                    planned, work, out, seed, references=references, on_progress=line,
                    others=others,
                )  # fmt: skip
            lines = show.record_lines(record, folder, planned.scenario, planned.card)
            screen.print(show.grid(lines))
            if record.status == "failed":
                raise typer.Exit(1)
            if record.status == "interrupted" or outcome.end_asked:
                raise typer.Exit(INTERRUPTED)
    screen.print(show.grid(show.next_lines(record, planned.card, len(seeds))))


SAVE_EVERY_MIN = 10.0


def _save_every_s(save: bool, every_min: float | None) -> float | None:
    """None: nothing is kept."""
    if every_min is not None and not save:
        raise UsageError("--save-every says how often, and nothing is kept", "add --save")
    return 60 * (SAVE_EVERY_MIN if every_min is None else every_min) if save else None


def _refuse_what_a_part_has(
    pretrained: bool | None, seed: int | None, runs: int, plan: bool
) -> None:
    """A run that goes on with another has its start and its seed."""
    named = {"--pretrained": pretrained is True, "--scratch": pretrained is False,
             "--seed": seed is not None, "--runs": runs > 1}  # fmt: skip
    for option, given in named.items():
        if given:
            raise UsageError(f"--continue goes on with what the run has: no {option}")
    if plan:
        raise UsageError("--plan tries a training from its start", "leave out --continue")


def measure(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(metavar="-- CMD …", help="The program.")],
    task: Annotated[
        str | None, typer.Option(help="Score its predictions: a run of this task.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="With --task: the model's name.")] = None,
    recipe: Annotated[str | None, typer.Option(help="With --task: the method's name.")] = None,
    track: Annotated[
        str | None, typer.Option(help="With --task: scratch, finetune or open.")
    ] = None,
    set_: Settings = None,
    code: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", help="With --task: the program's own files, a folder (repeatable)."
        ),
    ] = None,
    runs: Runs = 1,
    seed: SeedOption = None,
    data: Data = None,
    region: RegionOption = None,
    pue: PueOption = None,
    budget: BudgetOption = None,
    probe: Probes = None,
    idle: Idle = 3.0,
    rate: Rate = 10.0,
    out: Out = RUNS,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no summary.")] = False,
    no_wait: NoWait = False,
    tasks: TaskFolders = None,
) -> None:
    """Meter any program; with --task, score it too.

    Its input, output, exit code and signals are its own; the summary goes to standard error.
    """
    from bench import program, show

    recover(out)
    asked = program.options(region, pue, budget, idle, rate, probe or [])
    screen = console(stderr=True)
    if task is None:
        _refuse_what_needs_a_task(context)
        with alone(no_wait):
            measurement, folder, outcome = program.meter(command, out, asked)
        if not quiet:
            screen.print(show.grid(show.measurement_lines(measurement, folder, asked.scenario)))
        raise typer.Exit(_exit_code(outcome.code, measurement.status))
    check_seed(seed, runs)
    from bench import run as running
    from bench.workfolder import work_folder

    learner = program.learner(
        task, command, task_folders=tasks or [], data=data, model=model, recipe=recipe,
        track=track, settings=settings(set_ or []), code=code or [],
    )  # fmt: skip
    with alone(no_wait), work_folder(learner.card, learner.resolved, out) as work:
        for drawn in running.seeds(runs, seed):
            record, folder, outcome = program.learn(command, out, work, learner, drawn, asked)
            if not quiet:
                lines = show.record_lines(record, folder, asked.scenario, learner.card)
                screen.print(show.grid(lines))
            if record.status in ("failed", "interrupted"):
                raise typer.Exit(_exit_code(outcome.code, record.status))
            if outcome.end_asked:
                raise typer.Exit(INTERRUPTED)


INTERRUPTED = 128 + signal.SIGINT  # as a shell has it
_OF_A_TASK = ("model", "recipe", "track", "set_", "code", "runs", "seed", "data", "tasks")


def _refuse_what_needs_a_task(context: typer.Context) -> None:
    """What stands in the environment may stay there."""
    for name in _OF_A_TASK:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = name.rstrip("_")
            raise UsageError(f"--{option} says something of a run of a task", "add --task NAME")


def _exit_code(code: int | None, status: str) -> int:
    """The program's own; 128 and the signal's number where a signal ended it, as in a shell."""
    if code is None or (code == 0 and status not in ("complete", "budget")):
        return INTERRUPTED if status == "interrupted" else 1
    return 128 - code if code < 0 else code
