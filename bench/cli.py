"""The command line: arguments become one call each; a side is imported by the command that
needs it, so that `bench --help` answers at once."""

from __future__ import annotations

import json
import os
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import __version__
from bench.errors import BenchError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from bench.rank.entry import Origin

app = typer.Typer(
    name="bench",
    help="Train language models under metered power; rank them by accuracy per kWh.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RUNS = Path("runs")


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


TaskFolders = Annotated[
    list[Path] | None,
    typer.Option("--tasks", metavar="DIR", help="A folder of your own task cards (repeatable)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Results = Annotated[
    Path | None, typer.Option("--results", metavar="DIR", help="Where submitted entries lie.")
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Where runs go.", envvar="BENCH_RUNS")
]


def main() -> None:
    """Run the command line; every user error is caught here, once."""
    try:
        app(standalone_mode=True)
    except BenchError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except PermissionError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # `bench leaderboard | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    task: Annotated[str, typer.Option(help="The task; `bench tasks` lists them.")],
    model: Annotated[str | None, typer.Option(help="`bench models` lists them.")] = None,
    recipe: Annotated[str | None, typer.Option(help="`bench recipes` lists them.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A recipe's setting (repeatable)."),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="How many, each with a fresh seed.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**31 - 1, help="Replay this seed; a replay is not ranked."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Folder of the data; or hub, embedded.", envvar="BENCH_DATA"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0.")] = "auto",
    region: Annotated[
        str | None, typer.Option(help="Grid region for CO2e.", envvar="BENCH_REGION")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Stop there: 0.05kWh, 15min, 20gCO2e.")] = None,
    out: Out = RUNS,
    plan: Annotated[
        bool, typer.Option("--plan", help="Try a few steps, keep nothing, predict the cost.")
    ] = False,
    replay_trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Replay a recorded trace instead of metering."),
    ] = None,
    tasks: TaskFolders = None,
) -> None:
    """Train on a task under a power meter."""
    if seed is not None and runs > 1:
        raise UsageError("--seed replays one run", "leave out --runs, or --seed for fresh seeds")
    from bench import live, recipes, show
    from bench import run as running
    from bench.learn import models

    console = _console()
    _recover(out)
    request = running.Request(
        task=task, model=model or models.DEFAULT, recipe=recipe or recipes.DEFAULT,
        settings=_settings(set_ or []), data=data, device=device, region=region, budget=budget,
        task_folders=tasks or [], replay=replay_trace,
    )  # fmt: skip
    planned = running.prepare(request)
    console.print(show.grid(show.plan_lines(planned)))
    with running.work_folder(planned, out) as work:
        if plan:
            with live.Line(planned.region.g_per_kwh) as line:
                forecast = running.forecast(planned, work, on_progress=line)
            console.print(show.grid(show.forecast_lines(forecast, planned, runs)))
            return
        for number, drawn in enumerate(running.seeds(runs, seed), 1):
            console.print(f"\nrun {number} of {runs}, seed {drawn.value}")
            with live.Line(planned.region.g_per_kwh) as line:
                record, folder = running.run(planned, work, out, drawn, on_progress=line)
            console.print(show.grid(show.record_lines(record, folder, planned.region)))
            if record.status in ("failed", "interrupted"):
                raise typer.Exit(130 if record.status == "interrupted" else 1)
    console.print(show.grid(show.next_lines(record, runs, seed)))


@app.command()
def leaderboard(
    task: Annotated[str | None, typer.Option(help="One task only.")] = None,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.table,
    by: Annotated[str | None, typer.Option(help="Order rows by this column; ranks stay.")] = None,
    track: Annotated[str | None, typer.Option(help="scratch, finetune or open.")] = None,
    hardware: Annotated[str | None, typer.Option(help="Part of a hardware class.")] = None,
    access: Annotated[str | None, typer.Option(help="one-device or cluster.")] = None,
    level: Annotated[str | None, typer.Option(help="M0 (estimated), M1, M2 or M3.")] = None,
    model: Annotated[str | None, typer.Option(help="One model only.")] = None,
    recipe: Annotated[str | None, typer.Option(help="One recipe only.")] = None,
    origin: Annotated[str | None, typer.Option(help="results or local.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="Not before: 2026-01-31.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Not after.")] = None,
    region: Annotated[
        str | None, typer.Option(help="Grid region for CO2e.", envvar="BENCH_REGION")
    ] = None,
    results: Results = None,
    out: Out = RUNS,
    tasks: TaskFolders = None,
) -> None:
    """Rank entries by qualified accuracy per kWh."""
    from bench.power import carbon
    from bench.rank import board, render

    _recover(out)
    runs, broken = board.load(_roots(results, out))
    _check_task(task, runs, tasks)
    filters = board.Filters(
        task=task, track=track, hardware=hardware, access=access, level=level, model=model,
        recipe=recipe, origin=origin, since=since, until=until,
    )  # fmt: skip
    grid = carbon.region(region) if region else carbon.default()
    for line in broken:
        print(f"warning: {line}", file=sys.stderr)
    cells = board.build(runs, _cards(runs, tasks), filters, by)
    width = shutil.get_terminal_size().columns
    text = render.render(cells, format.value, width=width, colour=_coloured(), grid=grid)
    sys.stdout.write(text)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run's folder, or the head of its id.")],
    as_json: Json = False,
    results: Results = None,
    out: Out = RUNS,
) -> None:
    """Show one run and how it was measured."""
    from bench import record as records
    from bench import show as showing
    from bench.power import carbon

    _recover(out)
    folder = _find(run, results, out)
    record = records.read(folder)
    if as_json:
        print(record.model_dump_json(indent=1))
        return
    region = carbon.region(record.region) if record.region else carbon.default()
    _console().print(showing.grid(showing.record_lines(record, folder, region)))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more runs: folders or ids.")],
    as_json: Json = False,
    results: Results = None,
    out: Out = RUNS,
) -> None:
    """Compare runs: settings, accuracy, energy."""
    from bench import record as records
    from bench.rank import board
    from bench.rank import compare as comparing

    if len(runs) < 2:
        raise UsageError("one run can't be compared", "name two or more: bench compare RUN RUN")
    _recover(out)
    found = [records.read(_find(r, results, out)) for r in runs]
    ledger, _ = board.load(_roots(results, out))
    comparison = comparing.compare(found, [r.record for r in ledger])
    if as_json:
        print(json.dumps(comparison.as_dict(), indent=1))
    else:
        comparing.render(comparison, _console())


@app.command()
def tasks(
    name: Annotated[str | None, typer.Argument(help="One task in full.")] = None,
    tasks: TaskFolders = None,
) -> None:
    """List the tasks, or show one."""
    from bench import cards
    from bench import show as showing

    extra = tasks or []
    if name:
        _console().print(showing.grid(showing.card_lines(cards.load(name, extra))))
    else:
        _console().print(showing.tasks([cards.load(n, extra) for n in cards.names(extra)]))


@app.command()
def models(name: Annotated[str | None, typer.Argument(help="One model in full.")] = None) -> None:
    """List the models, or show one."""
    from bench import show as showing
    from bench.learn import models as catalogue

    if name:
        _console().print(showing.grid(showing.facts_lines(catalogue.describe(name))))
    else:
        _console().print(showing.models([catalogue.describe(n) for n in catalogue.names()]))


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="One recipe in full.")] = None) -> None:
    """List the recipes, or show one with its settings."""
    from bench import recipes as catalogue
    from bench import show as showing

    if name:
        _console().print(showing.grid(showing.facts_lines(catalogue.describe(name))))
    else:
        _console().print(showing.recipes([catalogue.describe(n) for n in catalogue.names()]))


@app.command()
def rules() -> None:
    """Print the benchmark's rules."""
    from importlib.resources import files

    text = files("bench").joinpath("docs/rules.md").read_text(encoding="utf-8")
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.markdown import Markdown

    _console().print(Markdown(text))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say which meters work here, and what mends others."""
    from bench import show as showing
    from bench.power import doctor as checks

    report = checks.report()
    if as_json:
        print(json.dumps([r.as_dict() for r in report], indent=1))
    else:
        _console().print(showing.doctor(report))
    if not as_json and not any(r.works and r.measures for r in report):
        print("no power meter works here: runs are estimates (M0), in tables of their own")


def _recover(out: Path) -> None:
    """Finish runs whose process was killed, before anything else looks at them."""
    if not out.is_dir():
        return
    from bench import measure

    for folder, damage in measure.recover(out):
        if damage:
            print(f"warning: {folder} can't be recovered: {damage}", file=sys.stderr)
        else:
            print(f"recovered run {folder.name}: bench had been killed", file=sys.stderr)


def _roots(results: Path | None, out: Path) -> list[tuple[Path, Origin]]:
    """Where records lie: submitted ones in `results` (here, or the checkout's), the user's own."""
    beside = Path(__file__).parent.parent / "results"
    here = results or (Path("results") if Path("results").is_dir() else beside)
    return [(here, "results"), (out, "local")]


def _find(run: str, results: Path | None, out: Path) -> Path:
    """The folder of a run named by folder or by the head of its id."""
    if Path(run, "record.json").is_file():
        return Path(run)
    roots = [root for root, _ in _roots(results, out)]
    paths = [
        p.parent for root in roots for p in sorted(root.glob(f"**/{_plain(run)}*/record.json"))
    ]
    found = list({p.name: p for p in reversed(paths)}.values())  # of copies, the submitted one
    if not found:
        raise UsageError(f"no run is called '{run}'", "give a run's folder or the head of its id")
    if len(found) > 1:
        raise UsageError(f"'{run}' may be {len(found)} runs", f"such as {found[0]} or {found[1]}")
    return found[0]


def _plain(run: str) -> str:
    return "".join(c for c in run if c.isalnum()) or "-"


def _check_task(task: str | None, runs: list[Any], extra: list[Path] | None) -> None:
    """An unknown task is a slip, not an empty board."""
    from bench import cards
    from bench.errors import unknown_name

    known = {*cards.names(extra or []), *(r.record.spec.task for r in runs)}
    if task is not None and task not in known:
        raise unknown_name("task", task, known, "bench tasks")


def _cards(found: list[Any], extra: list[Path] | None) -> dict[str, Any]:
    """The cards of the tasks that the found runs belong to."""
    from bench import cards

    known = set(cards.names(extra or []))
    return {t: cards.load(t, extra or []) for t in {f.record.spec.task for f in found} & known}


def _settings(pairs: list[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and name):
            raise UsageError(f"--set {pair} names no value", "--set learning_rate=0.001")
        settings[name.strip()] = value.strip()
    return settings


def _coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)
