"""The command line: arguments become one call each; a side is imported by the command that
needs it, so that `bench --help` answers at once."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from bench import __version__
from bench.cli import (
    board,
    catalogue,
    exchange,
    footprint,
    power,
    runs,
    site,
    study,
    submissions,
    sweep,
    verify,
)
from bench.errors import BenchError

app = typer.Typer(
    name="bench",
    help="Train language models under metered power; rank them by accuracy per kWh.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; every user error is caught here, once."""
    try:
        app(standalone_mode=True)
    except BenchError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `bench leaderboard | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except OSError as error:
        said = [str(part) for part in (error.filename, error.strerror or error) if part]
        print(f"error: {': '.join(said)}", file=sys.stderr)
        sys.exit(1)


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


for command in (
    runs.run, runs.measure, board.leaderboard, board.show, board.compare, catalogue.tasks,
    catalogue.models, catalogue.recipes, catalogue.rules, power.doctor,
    power.reference, submissions.submit, submissions.check,
    verify.verify,
):  # fmt: skip
    app.command(context_settings=runs.SETTINGS.get(command.__name__))(command)
app.command("import")(exchange.import_)
app.command()(exchange.export)
app.add_typer(study.app, name="study")
app.add_typer(sweep.app, name="sweep")
app.add_typer(power.app, name="power")
app.add_typer(site.app, name="site")
app.add_typer(footprint.app, name="footprint")
