"""Commands around the meters."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import (
    RUNS,
    Json,
    NoWait,
    Out,
    Probes,
    Rate,
    Results,
    alone,
    console,
    find,
    recover,
)
from bench.errors import BenchError, UsageError
from bench.units import parse_budget

app = typer.Typer(help="Look at power.", no_args_is_help=True)


def doctor(probe: Probes = None, as_json: Json = False) -> None:
    """Say which meters work here, and what mends others."""
    from bench import show as showing
    from bench.power import doctor as checks
    from bench.power.probes import with_found

    report = checks.examine(with_found(probe or []))
    if as_json:
        print(json.dumps(report.as_dict(), indent=1))
    else:
        console().print(showing.doctor(report))


def reference(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0.")] = "auto",
    probe: Probes = None,
    show: Annotated[bool, typer.Option("--show", help="Print those that are kept.")] = False,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> None:
    """Keep what a fixed small training takes here."""
    from bench import live, reference
    from bench import show as showing
    from bench.power import carbon

    if show:
        found = reference.stored()
        if not found:
            raise BenchError(
                f"no reference is kept in {reference.path()}", "`bench reference` makes one"
            )
    else:
        with alone(no_wait), live.Line(carbon.asked(None).g_per_metered_kwh) as line:

            def say(number: int) -> None:
                line.clear()
                print(f"repetition {number}" if number else "warm-up", file=sys.stderr)

            measured = reference.measure(
                device, probe or [], on_repetition=say, on_progress=line
            )  # fmt: skip
        print(f"kept in {reference.store(measured)}", file=sys.stderr)
        found = [measured]
    if as_json:
        print(json.dumps([showing.reference_facts(r) for r in found], indent=1))
        return
    for kept in found:
        console().print(showing.grid(showing.reference_lines(kept)))
        print()


@app.command()
def calibrate(
    reference: Annotated[
        str, typer.Option(metavar="PROBE", help="The meter to trust: shelly:HOST, ./mine.py.")
    ],
    minutes: Annotated[
        float | None,
        typer.Option(help="All windows together; five of each load, of a minute each at least."),
    ] = None,
    load: Annotated[
        list[str] | None,
        typer.Option(metavar="CMD", help="What to run beside idle (repeatable)."),
    ] = None,
    probe: Probes = None,
    as_json: Json = False,
) -> None:
    """Compare the meters with a reference: level M3."""
    from bench import show as showing
    from bench.power import calibration
    from bench.power.probes import with_found

    loads = [calibration.load_of(command) for command in load or []]
    chosen = [calibration.Load("idle"), *loads] if loads else calibration.default_loads()
    windows = len(chosen) * calibration.WINDOWS
    least = windows * calibration.WINDOW_S / 60
    if minutes is not None and minutes < least:
        raise UsageError(f"{minutes:g} minutes are too short for {windows} windows",
                         f"--minutes {least:g} or more")  # fmt: skip
    window_s = 60 * (minutes or least) / windows

    def say(name: str, done: int, windows: int) -> None:
        print(f"{name}: {done} of {windows} windows of {window_s:.3g} s", file=sys.stderr)

    made = calibration.calibrate(
        reference, with_found(probe or []), chosen, window_s, on_progress=say
    )
    path = made.write()
    if as_json:
        print(json.dumps({**asdict(made), "path": str(path)}, indent=1))
    else:
        console().print(showing.grid(showing.calibration_lines(made, path)))


@app.command()
def watch(
    probe: Probes = None,
    rate: Rate = 10.0,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End by itself: 10s, 5min.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line a second.")] = False,
) -> None:
    """Show watts live, by domain."""
    from bench.power import watch as watching
    from bench.power.probes import with_found

    for_s = _seconds(for_) if for_ else None
    view: watching.View = watching.JsonLines() if as_json else watching.Plain()
    if not as_json and sys.stdout.isatty():
        view = watching.Screen()
    watching.watch(view, with_found(probe or []), rate, for_s)


def _seconds(text: str) -> float:
    duration_s = parse_budget(text).duration_s
    if duration_s is None:
        raise UsageError(f"'{text}' is not a time", "10s, 5min, 2h")
    return duration_s


@app.command()
def plot(
    run: Annotated[str, typer.Argument(help="A run's folder, or the head of its id.")],
    picture: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="A .svg, .png, .pdf or .html to write."
        ),
    ] = None,
    results: Results = None,
    out: Out = RUNS,
) -> None:
    """Draw the power of a run, with its phases."""
    from bench import record as records
    from bench.plot import figure, terminal
    from bench.plot import picture as pictures

    recover(out)
    folder = find(run, results, out)
    record = records.read_any(folder)
    if picture:
        pictures.save(figure.figure(folder, record, pictures.points(picture)), picture)
        print(f"wrote {picture}")
        return
    width, height = shutil.get_terminal_size()
    drawn = figure.figure(folder, record, terminal.points(width))
    screen = console()
    for line in terminal.draw(drawn, width, height):
        screen.print(line)
