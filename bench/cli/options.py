"""Options and small answers that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from bench.cards import Card
    from bench.rank.entry import Origin
    from bench.record import Record

RUNS = Path("runs")


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


Task = Annotated[
    str | None, typer.Option(help="The task; `bench tasks` lists them.", show_default=False)
]
PretrainedOption = Annotated[
    bool | None,
    typer.Option(
        "--pretrained/--scratch",
        help="Of models that have both; else as suits the task.",
        show_default=False,
    ),
]
Device = Annotated[str | None, typer.Option(help="auto (where nothing is said), cpu, cuda:0.")]
Processes = Annotated[
    int | None,
    typer.Option("--nproc", min=1, metavar="N", help="Processes that train together, a GPU each."),
]
Nodes = Annotated[
    int | None,
    typer.Option(
        "--nnodes", min=1, metavar="N", envvar="PET_NNODES",
        help="Machines that train together, each with --nproc processes.", show_default=False,
    ),
]  # fmt: skip
NodeRank = Annotated[
    int | None,
    typer.Option(
        "--node-rank", min=0, metavar="K", envvar=["NODE_RANK", "PET_NODE_RANK"],
        help="Which of them this is, from 0; else as Slurm says.", show_default=False,
    ),
]  # fmt: skip
Master = Annotated[
    str | None,
    typer.Option(
        "--master", metavar="HOST[:PORT]",
        help="The first of them, else MASTER_ADDR and MASTER_PORT (29500).", show_default=False,
    ),
]  # fmt: skip
TaskFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--tasks",
        metavar="DIR",
        help="A folder of your own task cards (repeatable).",
        envvar="BENCH_TASKS",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Results = Annotated[
    Path | None, typer.Option("--results", metavar="DIR", help="Where submitted entries lie.")
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Where runs go.", envvar="BENCH_RUNS")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="A recipe's setting (repeatable)."),
]
Runs = Annotated[int, typer.Option(min=1, help="How many, each with a fresh seed.")]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=2**31 - 1, help="Replay this seed; it is not ranked."),
]
Data = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Folder of the data; or hub, embedded.", envvar="BENCH_DATA"),
]
RegionOption = Annotated[
    str | None,
    typer.Option("--region", help="Grid for CO2e, or strubell-2018.", envvar="BENCH_REGION"),
]
PueOption = Annotated[
    str | None,
    typer.Option(
        "--pue", help="What the building adds: 1.2, uptime-2025; else nothing.", envvar="BENCH_PUE"
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget", help="Stop there: 0.05kWh, 15min, 20gCO2e; a run: 500steps, 2Mtokens."
    ),
]
Probes = Annotated[
    list[str] | None,
    typer.Option(
        "--probe", metavar="NAME", help="A meter beside those found: ipmitool, ./mine.py."
    ),
]
Idle = Annotated[
    float,
    typer.Option("--idle", min=0, metavar="S", help="Seconds of idle power, before and after."),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Fail where another run is metered on this machine.")
]
Executor = Annotated[
    str, typer.Option(metavar="local|slurm", help="Where runs are made: this machine, a cluster.")
]
SlurmOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        metavar="NAME=VALUE,...",
        help="Of the jobs: partition=, account=, qos=, constraint=, reservation=, nodelist=, "
        "time=2h, gpus=1, slots=4.",
    ),
]
Rate = Annotated[
    float, typer.Option("--rate", min=1, max=100, metavar="HZ", help="Readings a second.")
]


def alone(no_wait: bool) -> AbstractContextManager[None]:
    """The machine's turn: no other run is metered meanwhile."""
    from bench import turn

    return turn.taken(not no_wait, tell=lambda text: print(text, file=sys.stderr, flush=True))


def recover(out: Path) -> None:
    """Finish runs whose process was killed, before anything else looks at them."""
    if not out.is_dir():
        return
    from bench import measure

    _tell(measure.recover(out))


def _tell(recovered: Iterable[tuple[Path, str | None]]) -> None:
    for folder, damage in recovered:
        if damage:
            print(f"warning: {folder} can't be recovered: {damage}", file=sys.stderr)
        else:
            print(f"recovered run {folder.name}: bench had been killed", file=sys.stderr)


def roots(results: Path | None, out: Path) -> list[tuple[Path, Origin]]:
    """Where records lie: submitted ones in `results` (here, or the checkout's), the user's own."""
    beside = Path(__file__).parents[2] / "results"
    here = results or (Path("results") if Path("results").is_dir() else beside)
    return [(here, "results"), (out, "local")]


def find(run: str, results: Path | None, out: Path) -> Path:
    """The folder of a run named by folder or by the head of its id. One whose process was killed
    is finished first, wherever it lies."""
    from bench import measure
    from bench import record as records

    if (Path(run) / "start.json").is_file():
        _tell(measure.recover_run(Path(run)))
        if not records.is_written(Path(run)):
            raise UsageError(f"{run} holds no result yet", "ask again when its run has ended")
    if records.is_written(Path(run)):
        return Path(run)
    heads = f"**/{_plain(run)}*"
    paths = [
        folder
        for root, _ in roots(results, out)
        for folder in sorted(root.glob(heads))
        if records.is_written(folder)
    ]
    found = list({p.name: p for p in reversed(paths)}.values())  # of copies, the submitted one
    if not found:
        raise UsageError(f"no run is called '{run}'", "give a run's folder or the head of its id")
    if len(found) > 1:
        raise UsageError(f"'{run}' may be {len(found)} runs", f"such as {found[0]} or {found[1]}")
    return found[0]


def _plain(run: str) -> str:
    return "".join(c for c in run if c.isalnum()) or "-"


def check_task(task: str | None, of_runs: Callable[[], set[str]], extra: list[Path] | None) -> None:
    """An unknown task is a slip, not an empty board."""
    from bench import cards
    from bench.errors import unknown_name

    known = set(cards.names(extra or []))
    if task is None or task in known:
        return
    known |= of_runs()
    if task not in known:
        raise unknown_name("task", task, known, "bench tasks")


def cards_of(records: Iterable[Record], extra: list[Path] | None) -> dict[str, Card]:
    """The cards of the tasks that runs are of, where they are at hand."""
    from bench import cards

    known = set(cards.names(extra or []))
    return {t: cards.load(t, extra or []) for t in {r.spec.task for r in records} & known}


def settings(pairs: list[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and name):
            raise UsageError(f"--set {pair} names no value", "--set learning_rate=0.001")
        settings[name.strip()] = value.strip()
    return settings


def console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def check_seed(seed: int | None, runs: int) -> None:
    if seed is not None and runs > 1:
        raise UsageError("--seed replays one run", "leave out --runs, or --seed for fresh seeds")
