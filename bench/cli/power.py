"""Commands around the meters."""

from __future__ import annotations

import json

import typer

from bench.cli.options import Json, console

app = typer.Typer(help="Look at power.", no_args_is_help=True)


def doctor(as_json: Json = False) -> None:
    """Say which meters work here, and what mends others."""
    from bench import show as showing
    from bench.power import doctor as checks

    report = checks.report()
    if as_json:
        print(json.dumps([r.as_dict() for r in report], indent=1))
    else:
        console().print(showing.doctor(report))
    if not as_json and not any(r.works and r.measures for r in report):
        print("no power meter works here: runs are estimates (M0), in tables of their own")
