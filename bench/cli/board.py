"""Commands that rank, show and compare what was run."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    RUNS,
    Format,
    Json,
    Out,
    PueOption,
    RegionOption,
    Results,
    TaskFolders,
    cards_of,
    check_task,
    console,
    find,
    recover,
    roots,
)
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.rank import index
    from bench.rank.entry import Cell, Run
    from bench.record import Record


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
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw skill against energy too: .svg .png .pdf .html"),
    ] = None,
    region: RegionOption = None,
    pue: PueOption = None,
    results: Results = None,
    out: Out = RUNS,
    tasks: TaskFolders = None,
) -> None:
    """Rank entries by skill per kWh (qualified accuracy)."""
    from bench.power import carbon
    from bench.rank import board, index, render, standing

    if plot:
        from bench.plot import picture

        picture.check(plot)  # before anything is read
    recover(out)
    filters = board.Filters(
        task=task, track=track, hardware=hardware, access=access, level=level, model=model,
        recipe=recipe, origin=origin, since=since, until=until,
    )  # fmt: skip

    def question(source: index.Source) -> tuple[list[Run], list[str], standing.Standings]:
        check_task(task, source.tasks, tasks)
        found = source.board(filters)
        return found, source.broken(), standing.of(source.submissions(task, found), found)

    runs, broken, standings = index.ask(roots(results, out), question)
    scenario = carbon.asked(region, pue)
    for line in broken:
        print(f"warning: {line}", file=sys.stderr)
    cards = cards_of((r.record for r in runs), tasks)
    cells = board.build(runs, cards, filters, by, standings)
    width = shutil.get_terminal_size().columns
    text = render.render(cells, format.value, width=width, colour=coloured(), scenario=scenario)
    sys.stdout.write(text)
    if plot:
        _draw(cells, plot)


def _draw(cells: Sequence[Cell], plot: Path) -> None:
    """Of one task, since skill of another is another skill. UsageError where there are more."""
    from bench.plot import front
    from bench.rank import pareto
    from bench.rank.render import how, plain

    tasks = list(dict.fromkeys(cell.place.task for cell in cells))
    if len(tasks) > 1:
        some = ", ".join(tasks[:4]) + (", ..." if len(tasks) > 4 else "")
        raise UsageError(f"a plot is of one task, and these are {some}", "--task NAME")
    dots = pareto.dots(cells)
    if not dots:
        raise UsageError(
            "no entry can be drawn: none has both a score and an energy",
            "bench leaderboard --task NAME shows what there is",
        )
    title = cells[0].card.title if cells[0].card else tasks[0]
    notes = dict.fromkeys(f"! {note}" for cell in cells for note in cell.notes)
    shown = dict.fromkeys(plain(f"{cell.place.hardware}; {how(cell)}", 200) for cell in cells)
    said = [*shown, *notes, " ".join(pareto.marks(dots))]
    front.save(dots, f"Skill against energy: {plain(title)}", said, plot)
    print(f"wrote {plot}", file=sys.stderr)


def show(
    run: Annotated[str, typer.Argument(help="A run's folder, or the head of its id.")],
    as_json: Json = False,
    region: RegionOption = None,
    pue: PueOption = None,
    results: Results = None,
    out: Out = RUNS,
    tasks: TaskFolders = None,
) -> None:
    """Show one run and how it was measured."""
    from bench import record as records
    from bench import show as showing
    from bench.power import carbon
    from bench.rank import index, standing

    recover(out)
    folder = find(run, results, out)
    record = records.read_any(folder)
    if as_json:
        print(record.model_dump_json(indent=1))
        return
    scenario = carbon.asked(region or record.region, pue or record.pue)
    lines: showing.Lines
    if isinstance(record, records.Measurement):
        lines = showing.measurement_lines(record, folder, scenario)
    else:
        this = _submitted(record, folder, results, out)

        def question(source: index.Source) -> tuple[list[Run], str | None]:
            said = standing.of(source.submissions(runs=[this]), [this])
            return source.later(record.run_id), standing.fallen(this, said)

        found, fallen = index.ask(roots(results, out), question)
        later = [run.record for run in found]
        card = cards_of([record], tasks).get(record.spec.task)
        lines = showing.record_lines(record, folder, scenario, card)
        lines += [("fallen", fallen)] if fallen else []
        lines += showing.continued_lines(sorted(later, key=lambda r: r.started_at))
    console().print(showing.grid(lines))


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more runs: folders or ids.")],
    as_json: Json = False,
    results: Results = None,
    out: Out = RUNS,
) -> None:
    """Compare runs: settings, accuracy, energy."""
    from bench import record as records
    from bench.rank import compare as comparing
    from bench.rank import index, standing

    if len(runs) < 2:
        raise UsageError("one run can't be compared", "name two or more: bench compare RUN RUN")
    recover(out)
    folders = [find(r, results, out) for r in runs]
    sides = [_submitted(records.read(folder), folder, results, out) for folder in folders]

    def question(source: index.Source) -> tuple[list[Run], standing.Standings]:
        ledger = source.entries({side.key for side in sides})
        about = [*sides, *ledger]
        return ledger, standing.of(source.submissions(runs=about), about)

    ledger, said = index.ask(roots(results, out), question)
    for side in sides:
        if fallen := standing.fallen(side, said):
            print(f"warning: {side.record.run_id}: {fallen}", file=sys.stderr)
    kept = [run.record for run in standing.standing(ledger, said)]
    comparison = comparing.compare([side.record for side in sides], kept)
    if as_json:
        print(json.dumps(comparison.as_dict(), indent=1))
    else:
        comparing.render(comparison, console())


def _submitted(record: Record, folder: Path, results: Path | None, out: Path) -> Run:
    """A run as it lies below one of the roots, however its folder was named."""
    from bench.rank.entry import Run

    whole = folder.resolve()
    for root, _ in roots(results, out):
        if whole.is_relative_to(root.resolve()):
            folder = root / whole.relative_to(root.resolve())
    return Run(record, folder, "results")


def coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
