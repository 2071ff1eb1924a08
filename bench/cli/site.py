"""Commands that make the leaderboard as a site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import (
    PueOption,
    RegionOption,
    Results,
    TaskFolders,
    cards_of,
    roots,
)

app = typer.Typer(help="Make the leaderboard as a site of static pages.", no_args_is_help=True)


@app.command()
def build(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="The site's folder.")
    ] = Path("site"),
    results: Results = None,
    region: RegionOption = None,
    pue: PueOption = None,
    tasks: TaskFolders = None,
) -> None:
    """Write the pages of all that was submitted."""
    from bench.power import carbon
    from bench.site import build as building
    from bench.site import contents

    where = roots(results, Path())[0][0]
    found = contents.read(
        where,
        lambda runs: cards_of((r.record for r in runs), tasks),
        carbon.asked(region, pue),
        lambda folders: {},
    )
    for line in found.broken:
        print(f"warning: {line}", file=sys.stderr)
    built = building.build(found, out)
    print(f"{out}: {built.files:,} files, {built.written:,} changed, {built.removed:,} removed")
    print(f"open {out / 'index.html'}")
