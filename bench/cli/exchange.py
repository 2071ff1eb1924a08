"""Commands that read what other tools have measured, and write what they read."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import (
    RUNS,
    Out,
    PueOption,
    RegionOption,
    Results,
    TaskFolders,
    cards_of,
    console,
    find,
    roots,
)
from bench.errors import UsageError
from bench.units import show_energy


def import_(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="codecarbon, mlperf-power, csv.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The log.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="The folder to make."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="codecarbon: one run of the file only.")
    ] = None,
    result_log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="mlperf-power: the run's own log, for its window."),
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="csv: when a row was read.")
    ] = None,
    time_unit: Annotated[
        str | None, typer.Option(metavar="UNIT", help="csv: s, ms, us, ns, where no date tells.")
    ] = None,
    power: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="csv: watts, such as gpu:0=draw (repeatable)."),
    ] = None,
    unit: Annotated[str | None, typer.Option(metavar="UNIT", help="csv: W, mW or kW.")] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="csv: what tells devices with rows of their own."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="csv: gpu, cpu, dram or node, where NAME does not say it.")
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(help="csv: M1 (software counters) or M2 (node, wall), else an estimate."),
    ] = None,
    gain: Annotated[
        float | None, typer.Option(min=0, help="csv: the meter's relative uncertainty, k = 2.")
    ] = None,
    region: RegionOption = None,
    pue: PueOption = None,
    out: Out = RUNS,
) -> None:
    """Turn another tool's log into a measurement."""
    from bench import importing
    from bench import show as showing
    from bench.power import carbon

    options = {
        "run": run, "result_log": result_log, "time": time, "time_unit": time_unit,
        "power": power or None, "unit": unit, "by": by, "kind": kind, "level": level, "gain": gain,
    }  # fmt: skip
    asked = {name: value for name, value in options.items() if value is not None}
    carbon.asked(region, pue)  # a slip in them is none of the log's
    made = importing.bring(format, files, asked, out, output, region, pue)
    if len(made) == 1:
        ((record, folder),) = made
        scenario = carbon.asked(record.region, record.pue)
        console().print(showing.grid(showing.measurement_lines(record, folder, scenario)))
        return
    for record, folder in made:
        energy = "unknown" if record.energy_j is None else show_energy(record.energy_j)
        print(f"{record.run_id}  {record.started_at[:16]}  {energy} ({record.level})  {folder}")


class ExportFormat(StrEnum):
    model_card = "model-card"
    sci = "sci"
    sci_text = "sci-text"
    codecarbon = "codecarbon"


class Per(StrEnum):
    run = "run"
    predictions = "1000-predictions"


def export(
    run: Annotated[str, typer.Argument(metavar="RUN|DIR", help="A run, or an entry's folder.")],
    format: Annotated[ExportFormat, typer.Option(help="What to write.")],
    region: RegionOption = None,
    pue: PueOption = None,
    per: Annotated[Per, typer.Option(help="sci: what R is.")] = Per.run,
    embodied_kg: Annotated[
        float | None,
        typer.Option(min=0, metavar="KG", help="sci: CO2e of making the hardware, else left out."),
    ] = None,
    lifetime_years: Annotated[
        float | None, typer.Option(min=0.1, metavar="YEARS", help="sci: of that hardware.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Else it is printed.")
    ] = None,
    results: Results = None,
    out: Out = RUNS,
    tasks: TaskFolders = None,
) -> None:
    """Write a run or an entry as others read it."""
    from bench.power import carbon
    from bench.rank import exports
    from bench.record import Record

    runs = exports.gather(_folder(run, results, out))
    scenario = carbon.asked(
        region or _same(r.region for r in runs), pue or _same(r.pue for r in runs)
    )
    made = exports.embodied(embodied_kg, lifetime_years)
    scored = format in (ExportFormat.sci, ExportFormat.sci_text)
    if not scored and (made or per != Per.run):
        raise UsageError("--per and --embodied-kg are of an SCI", "--format sci")
    if format == ExportFormat.model_card:
        cards = cards_of((r for r in runs if isinstance(r, Record)), tasks)
        text = exports.model_card(runs, scenario, next(iter(cards.values()), None))
    elif format == ExportFormat.codecarbon:
        text = exports.codecarbon(runs, scenario)
    elif format == ExportFormat.sci:
        text = exports.sci(runs, scenario, per.value, made)
    else:
        width = 80 if output else shutil.get_terminal_size().columns
        text = exports.sci_text(runs, scenario, per.value, made, width)
    if output is None:
        sys.stdout.write(text)
    else:
        exports.save(text, output)
        print(f"wrote {output}")


def _folder(run: str, results: Path | None, out: Path) -> Path:
    """A run's, or an entry's: by its path, here or where entries and runs lie."""
    from bench import record as records

    for place in (Path(run), *(root / run for root, _ in roots(results, out))):
        if run and place.is_dir() and not records.is_written(place):
            return place
    return find(run, results, out)


def _same(names: Iterable[str | None]) -> str | None:
    """The scenario that all runs were made under."""
    found = set(names)
    return found.pop() if len(found) == 1 else None
