"""Everything as files: the board and its runs as tables, and what was submitted as it is.

Of an entry's folder only known names are offered, and only regular files: what somebody else has
sent may be a link that leads elsewhere.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from bench.power.carbon import Scenario
from bench.rank import render
from bench.rank.columns import COLUMNS, Column
from bench.rank.entry import Cell, Entry, Run, usable_energy_j, written_now
from bench.rank.standing import Standing
from bench.site import page, paths
from bench.site.contents import Contents, Piece
from bench.units import show_bytes

if TYPE_CHECKING:
    import pyarrow

MOST_BYTES = 8_000_000
"""Of a file that is offered as it was submitted; what is larger is in the repository."""

OF_ENTRY = ("entry.json", "manifest.json", "tuning.jsonl")
OF_RUN = ("record.json", "events.jsonl", "trace.parquet", "predictions.parquet", "manifest.json")

Kind = Literal["text", "integer", "number"]
Value = str | int | float | None


def pieces(contents: Contents) -> Iterator[Piece]:
    yield _tables(contents)
    for each in contents.submitted:
        place = each.place
        if found := contents.offered[place]:
            files = tuple(paths.file(place, *f.inside) for f in found)
            yield Piece(files, page.digest(found), partial(_copies, each.folder, place, found))


# --- files as submitted ------------------------------------------------------------------------


class File(NamedTuple):
    """A file below an entry's folder that is offered, and what tells that it is another."""

    inside: tuple[str, ...]  # its name, below the name of its run if it is of one
    bytes: int
    mtime_ns: int

    @property
    def name(self) -> str:
        return self.inside[-1]

    @property
    def size(self) -> str:
        return show_bytes(self.bytes)


def offered(about: Standing) -> tuple[File, ...]:
    """The files of an entry and of its runs that the site has, each at
    `paths.file(about.place, *file.inside)`."""
    found: list[File] = []
    with suppress(OSError), _opened(about.folder) as entry:
        found += _listed(entry, (), OF_ENTRY)
        for run_id in runs_in(about):
            with suppress(OSError), _inside(entry, run_id) as run:
                found += _listed(run, (run_id,), OF_RUN)
    return tuple(found)


def of_run(contents: Contents, place: str | None, run: Run) -> tuple[File, ...]:
    """The files of a run that came with the entry at `place`; none of one of the user's own."""
    found = contents.offered.get(place, ()) if place else ()
    return tuple(file for file in found if file.inside[0] == run.folder.name)


def named(place: str, files: Iterable[File]) -> list[tuple[str, str, str]]:
    return [(file.name, paths.file(place, *file.inside), file.size) for file in files]


def runs_in(about: Standing) -> list[str]:
    """Every run that its folder may have: those that count, attempts, and what they rest on."""
    e = about.entry
    return list(dict.fromkeys([*e.runs, *(a.run_id for a in e.attempts), *e.charged]))


def _listed(folder: int, inside: tuple[str, ...], names: Iterable[str]) -> Iterator[File]:
    for name in names:
        with suppress(OSError):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_size <= MOST_BYTES:
                yield File((*inside, name), found.st_size, found.st_mtime_ns)


@contextmanager
def _opened(folder: Path, *inside: str) -> Iterator[int]:
    """A folder below an entry's. No name below results/ may be a link; OSError if one is."""
    with ExitStack() as stack:
        way = os.open(folder.parent.parent, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, way)
        for name in (folder.parent.name, folder.name, *inside):
            way = stack.enter_context(_inside(way, name))
        yield way


@contextmanager
def _inside(folder: int, name: str) -> Iterator[int]:
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        yield below
    finally:
        os.close(below)


def _copies(folder: Path, place: str, files: Sequence[File]) -> Mapping[str, bytes]:
    """As they are now; what has gone since, or has grown, or is no file any more, is empty."""
    found = dict.fromkeys(files, b"")
    for inside, several in groupby(files, lambda file: file.inside[:-1]):
        with suppress(OSError), _opened(folder, *inside) as way:
            found |= {file: _content(way, file.name) for file in several}
    return {paths.file(place, *file.inside): data for file, data in found.items()}


def _content(folder: int, name: str) -> bytes:
    with suppress(OSError):
        way = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(way, "rb", buffering=0) as source:
            found = os.fstat(way)
            if stat.S_ISREG(found.st_mode) and found.st_size <= MOST_BYTES:
                return source.read(found.st_size) or b""
    return b""


# --- tables ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A column of a table: `name` in Parquet and JSON, `heading` in CSV."""

    name: str
    heading: str
    kind: Kind
    unit: str
    meaning: str


Row = Sequence[Value]


@dataclass(frozen=True)
class Made:
    """A file of a table, as the page lists it."""

    at: str
    format: str
    bytes: int

    @property
    def size(self) -> str:
        return show_bytes(self.bytes)


@dataclass(frozen=True)
class Line:
    title: str
    rows: int
    files: tuple[Made, ...]


def _tables(contents: Contents) -> Piece:
    names = ["board", *map(_task_file, contents.tasks)]
    boards = [paths.download(f"{n}.{f}") for n in names for f in ("csv", "json", "parquet")]
    runs = [paths.download(f"runs.{f}") for f in ("csv", "parquet")]
    key = page.digest(
        contents.scenario,
        [c.card and (c.card.name, c.card.title) for c in contents.cells],
        [(c.place, c.notes, [known(e) for e in c.entries]) for c in contents.cells],
        [(s.place, s.entry.title, s.stands) for s in contents.submitted],
        list(contents.marks.values()),
    )
    return Piece((*boards, *runs, paths.DOWNLOADS), key, partial(_made, contents))


def _task_file(task: str) -> str:
    return f"board-{paths.slug(task)}"


def known(e: Entry) -> tuple[object, ...]:
    """What an entry's line follows from, beside its runs and their marks."""
    said = [(s.place, s.entry.authors, [u.model_dump_json() for u in s.entry.upstream],
             s.verified_by, s.reevaluated_by) for s in e.submissions]  # fmt: skip
    runs = [r.run_id for r in e.records]
    return e.key, e.title, e.status, e.tier, e.rank, e.reasons, e.counted, e.attempts, runs, said


def _made(contents: Contents) -> Mapping[str, str | bytes]:
    """Tables and the page that lists them, which says how large they are."""
    files: dict[str, str | bytes] = {}
    lines = []
    rows_of = {id(c): board_rows(c, contents.scenario) for c in contents.cells}
    csv_of = {id(c): as_csv(BOARD, rows_of[id(c)]).partition("\n")[2] for c in contents.cells}
    json_of = {id(c): _json_of(c, contents.scenario) for c in contents.cells}
    titles = {task: cells[0].card.title if cells[0].card else task
              for task, cells in contents.tasks.items()}  # fmt: skip
    parts = [("The whole board", "board", contents.cells)]
    parts += [(titles[t], _task_file(t), tuple(c)) for t, c in contents.tasks.items()]
    header = as_csv(BOARD, ())
    for title, name, cells in parts:
        rows = [row for cell in cells for row in rows_of[id(cell)]]
        made: dict[str, str | bytes] = {
            "csv": header + "".join(csv_of[id(cell)] for cell in cells),
            "json": _json([json_of[id(cell)] for cell in cells], contents.scenario),
            "parquet": parquet(BOARD, rows),
        }
        lines.append(_kept(title, name, len(rows), made, files))
    rows = list(run_rows(contents))
    runs = _kept("All runs", "runs", len(rows), {
        "csv": as_csv(RUNS, rows), "parquet": parquet(RUNS, rows),
    }, files)  # fmt: skip
    files[paths.DOWNLOADS] = page.render(
        "downloads.html", paths.DOWNLOADS, boards=lines, runs=runs, board_fields=BOARD,
        run_fields=RUNS, most=show_bytes(MOST_BYTES), of_entry=OF_ENTRY, of_run=OF_RUN,
        example=next((s for s in contents.submitted if s.entry.runs), None),
    )  # fmt: skip
    return files


def _kept(
    title: str, name: str, rows: int, made: Mapping[str, str | bytes], files: dict[str, str | bytes]
) -> Line:
    found = []
    for format, content in made.items():
        data = content.encode("utf-8", "replace") if isinstance(content, str) else content
        at = paths.download(f"{name}.{format}")
        files[at] = data
        found.append(Made(at, format, len(data)))
    return Line(title, rows, tuple(found))


_END = "\n ]\n}\n"


def _json_of(cell: Cell, scenario: Scenario) -> str:
    """A cell as it stands in `render.as_json`."""
    return render.as_json([cell], scenario)[len(_json_start(scenario)) : -len(_END)]


def _json(cells: Sequence[str], scenario: Scenario) -> str:
    """What `render.as_json` says of them; each was made once, though it is in two files."""
    return (
        _json_start(scenario) + ",\n".join(cells) + _END if cells else render.as_json((), scenario)
    )


def _json_start(scenario: Scenario) -> str:
    return render.as_json((), scenario).removesuffix("]\n}\n") + "\n"


def board_rows(cell: Cell, scenario: Scenario) -> list[Row]:
    """As `render.as_csv` has them."""
    return [_board_row(cell, entry, scenario) for entry in cell.entries]


def _board_row(cell: Cell, entry: Entry, scenario: Scenario) -> Row:
    row: list[Value] = []
    for column in COLUMNS:
        row.append(column.value(entry, scenario))
        if column.spread:
            row.append(column.spread(entry))
    return [*row, "; ".join((*cell.notes, *entry.reasons))]


def run_rows(contents: Contents) -> Iterator[Row]:
    """One line a run, those of entries that do not stand as well: in the order of their ids."""
    places = {s.folder: s for s in contents.submitted}
    for run in sorted(contents.runs, key=lambda run: run.record.run_id):
        yield _run_row(run, places.get(run.folder.parent), run.record.run_id in contents.seats)


def _run_row(run: Run, about: Standing | None, shown: bool) -> Row:
    r, m = run.record, run.record.metric
    stands = "" if about is None else "yes" if about.stands else "no"
    return [
        r.run_id, about.place if about else None, stands or None, "yes" if shown else "no",
        r.spec.task, r.spec.track, r.spec.model, r.spec.recipe, r.spec.seed, r.status,
        m.name if m else None, m.value if m else None, usable_energy_j(r), r.uncertainty_j,
        r.level, r.coverage, written_now(r.spec.hardware), r.total_duration_s, r.started_at,
        len(r.warnings), run.key,
    ]  # fmt: skip


def as_csv(fields: Sequence[Field], rows: Iterable[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([field.heading for field in fields])
    writer.writerows([render.harmless(value) for value in row] for row in rows)
    return out.getvalue()


def parquet(fields: Sequence[Field], rows: Sequence[Row]) -> bytes:
    """Numbers as such; unit and meaning of each column are in its field's metadata."""
    import pyarrow
    import pyarrow.parquet

    columns = [
        pyarrow.array(_typed(field.kind, (row[i] for row in rows)), _arrow(field.kind))
        for i, field in enumerate(fields)
    ]
    schema = pyarrow.schema([
        pyarrow.field(f.name, _arrow(f.kind), metadata={"unit": f.unit, "meaning": f.meaning})
        for f in fields
    ])  # fmt: skip
    out = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.Table.from_arrays(columns, schema=schema), out, compression="zstd"
    )
    return out.getvalue()


def _arrow(kind: Kind) -> pyarrow.DataType:
    import pyarrow

    return {
        "text": pyarrow.string(), "integer": pyarrow.int64(), "number": pyarrow.float64(),
    }[kind]  # fmt: skip


_MOST_INTEGER = 2**63


def _typed(kind: Kind, values: Iterable[Value]) -> list[Value]:
    if kind == "text":
        return [None if v is None else render.plain(str(v), page.LONGEST) for v in values]
    if kind == "number":
        return [None if v is None else float(v) for v in values]
    return [v if isinstance(v, int) and abs(v) < _MOST_INTEGER else None for v in values]


# --- what the columns are ----------------------------------------------------------------------

INTEGERS = {"rank", "rank_to", "task_version", "trials", "runs", "attempts", "warnings"}
NUMBERS = {
    "metric", "split_noise", "skill", "energy", "energy_scatter", "tuned_energy", "score",
    "plain_ratio", "emissions", "duration", "prediction_energy", "idle_power", "reference",
    "upstream", "upstream_use",
}  # fmt: skip
"""Columns of the board; the others are texts."""

_MEANINGS = {
    "rank": "best rank that it may hold in its tier, by Welch's test at 5 %; empty: not ranked",
    "rank_to": "worst rank that it may hold",
    "tier": "gold, silver, bronze, or why it has none: provisional, below, unranked",
    "entry_key": "equal for runs of one spec and one code",
    "origin": "results: submitted; local: a run of whoever built this site",
    "data": "official, or the head of the fingerprints of other rows",
    "edition": "of the rules; results of equal editions compare",
    "track": "scratch, finetune or open",
    "access": "one-device, or cluster where it took more",
    "level": "M0 estimated, M1 software counters, M2 node or wall meter, M3 calibrated meter",
    "coverage": "kinds of hardware that were metered throughout",
    "metric": "mean over the runs that count, as stored: shares are from 0 to 1",
    "also": "means of metrics that never rank",
    "split_noise": "half of Wilson's 95 % interval, from the number of scored rows alone",
    "energy": "mean of the whole run's energy, gross, of the domains in coverage",
    "energy_scatter": "standard deviation between runs over their mean",
    "tuned_energy": "one training and all that chose its settings",
    "score": "mean skill / (mean kWh + 0.0005): what ranks",
    "plain_ratio": "metric / kWh, without floor or chance level",
    "emissions": "energy x the grid and building that this board assumes; never ranks",
    "duration": "of all that is charged to a run, one after the other",
    "idle_power": "before the run, of the domains that count",
    "reference": "energy over that of the reference job on the same machine",
    "runs": "those that count",
    "attempts": "started with a drawn seed, failed ones too",
    "warnings": "kinds of warnings of its runs",
    "upstream": "spent by others before, in full, as declared",
    "upstream_use": "the same, spread over the trainings that it is used for",
    "submission": "task/name of the entries that its runs came with",
    "date": "day of its last run, UTC",
}
_SPREADS = {
    "metric": "half of the 95 % interval between runs",
    "score": "half of the 95 % interval between runs",
    "energy": "expanded uncertainty of the meters, k = 2",
    "tuned_energy": "expanded uncertainty of the meters, k = 2",
}


def _fields_of(column: Column) -> Iterator[Field]:
    kind: Kind = "integer" if column.key in INTEGERS else "text"
    kind = "number" if column.key in NUMBERS else kind
    unit = column.unit or ""
    yield Field(column.key, column.heading, kind, unit, _MEANINGS.get(column.key, column.title))
    if column.spread:
        heading = f"{column.title} ± ({unit})" if unit else f"{column.title} ±"
        yield Field(f"{column.key}_uncertainty", heading, "number", unit, _SPREADS[column.key])


BOARD: tuple[Field, ...] = (
    *(field for column in COLUMNS for field in _fields_of(column)),
    Field("remarks", "remarks", "text", "", "what a reader must know, and why runs do not count"),
)


def _field(name: str, kind: Kind, meaning: str, unit: str = "") -> Field:
    return Field(name, name, kind, unit, meaning)


RUNS: tuple[Field, ...] = (
    _field("run_id", "text", "16 hex digits: its folder, its page, `bench show`"),
    _field("entry", "text", "task/name that it was submitted with; empty: not submitted"),
    _field("stands", "text", "yes; no where the entry was retracted or superseded"),
    _field("on_board", "text", "whether the board's numbers are of it, among others"),
    _field("task", "text", "what it was trained for"),
    _field("track", "text", "scratch, finetune or open"),
    _field("model", "text", "by bench's name"),
    _field("recipe", "text", "how it was trained"),
    _field("seed", "integer", "drawn by bench, if it is an attempt"),
    _field("status", "text", "complete, budget, failed or interrupted"),
    _field("metric_name", "text", "what it is scored by"),
    _field("metric", "number", "as stored: shares are from 0 to 1"),
    _field("energy_j", "number", "of all that is charged to it, gross; empty: not known", "J"),
    _field("uncertainty_j", "number", "of that energy, expanded, k = 2", "J"),
    _field("level", "text", "M0 estimated, M1 software counters, M2 wall meter, M3 calibrated"),
    _field("coverage", "text", "kinds of hardware that were metered throughout"),
    _field("hardware", "text", "what it ran on"),
    _field("duration_s", "number", "of all that is charged to it, one after the other", "s"),
    _field("started_at", "text", "UTC, ISO 8601"),
    _field("warnings", "integer", "reasons to doubt it, how many"),
    _field("entry_key", "text", "equal for runs of one spec and one code"),
)
