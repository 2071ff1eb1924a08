"""The command that trains an entry again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
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
    Probes,
    Results,
    TaskFolders,
    alone,
    console,
    recover,
    roots,
)
from bench.errors import BenchError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from bench.run import Plan
    from bench.verification import Claim


UNTOLD = 3


@contextmanager
def _untold() -> Iterator[None]:
    """1 says that an entry disagrees, so what can't be had here ends otherwise."""
    try:
        yield
    except UsageError:
        raise
    except BenchError as error:
        error.exit_code = UNTOLD
        raise


@_untold()
def verify(
    entry: Annotated[str, typer.Argument(help="An entry's folder, or TASK/NAME in results/.")],
    runs: Annotated[
        int, typer.Option(min=1, help="How many runs to compare, those at hand included.")
    ] = 3,
    data: Data = None,
    device: Device = None,
    probe: Probes = None,
    idle: Idle = 3.0,
    plan: Annotated[
        bool, typer.Option("--plan", help="Train nothing; say what it took by the entry.")
    ] = False,
    as_json: Json = False,
    results: Results = None,
    out: Out = RUNS,
    no_wait: NoWait = False,
    tasks: TaskFolders = None,
) -> None:
    """Train an entry's spec again, with fresh seeds, and say whether it agrees (T3).

    Exits with 0 where it agrees, 1 where it disagrees, 3 where that can't be told.
    """
    from bench import show, verification
    from bench.run import Request

    recover(out)
    places = [place for place, _ in roots(results, out)]
    claimed = verification.claim(verification.find(entry, places))
    request = Request(
        task="", data=data, device=device, probes=probe or [], idle_s=idle,
        task_folders=tasks or [],
    )  # fmt: skip
    planned = verification.prepare(claimed, request, out)
    at_hand = sum(verification.counts(r) for r, _ in verification.made(planned, claimed, out))
    left = max(0, runs - at_hand)
    screen = console(stderr=as_json)
    lines = verification.plan_lines(claimed, planned)
    screen.print(show.grid(lines + verification.cost_lines(claimed, planned, at_hand, left)))
    if plan:
        return
    ended = True
    if left:
        with alone(no_wait):
            ended = _train(claimed, planned, out, left, screen)
    found = verification.compare(claimed, verification.made(planned, claimed, out), planned)
    if as_json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        screen.print(show.grid(verification.report_lines(found)))
    if not ended:
        screen.print("interrupted: the runs are kept, and the same command goes on")
        raise typer.Exit(130)
    raise typer.Exit(found.exit_code)


def _train(claimed: Claim, planned: Plan, out: Path, left: int, screen: Console) -> bool:
    """Whether nobody put an end to it."""
    from bench import live, show, verification

    with live.Line(planned.scenario.g_per_metered_kwh) as line:

        def begun(seed: int) -> None:
            line.clear()
            screen.print(f"\na fresh run, seed {seed}")

        trained = verification.train(planned, claimed, out, left, on_start=begun, on_progress=line)
        for record, folder, outcome in trained:
            line.clear()
            scenario, card = planned.scenario, planned.card
            screen.print(show.grid(show.record_lines(record, folder, scenario, card)))
            if record.status == "interrupted" or outcome.end_asked:
                return False
    return True
