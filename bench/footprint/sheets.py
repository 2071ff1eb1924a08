"""The study's tables as texts: what is computed beside what was printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.footprint import render
from bench.footprint.published import Row, Table


@dataclass(frozen=True)
class Compared:
    """What is computed beside what is printed; both empty where the table has no such number."""

    computed: str
    printed: str
    agrees: bool | None

    @property
    def sign(self) -> str:
        return {True: render.AGREES, False: render.DIFFERS, None: ""}[self.agrees]

    @property
    def word(self) -> str:
        return {True: "agrees", False: "differs", None: ""}[self.agrees]


@dataclass(frozen=True)
class Line:
    name: str
    hardware: str
    inputs: tuple[str, ...]
    numbers: tuple[Compared, ...]
    source: str
    differs: str  # what differs, and why
    explained: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """A table of the study as texts."""

    key: str
    title: str
    inputs: tuple[str, ...]  # headings
    groups: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def has_hardware(self) -> bool:
        return self.key != "4" and any(line.hardware for line in self.lines)

    @property
    def has_sources(self) -> bool:
        return any(line.source for line in self.lines)


def sheet(table: Table) -> Sheet:
    groups = sum(render.LAYOUT[table.key], ())
    inputs = render.INPUTS.get(table.key, ())
    return Sheet(
        table.key, table.title, tuple(title for _, title in inputs), tuple(g.title for g in groups),
        tuple(_line(row, groups, [key for key, _ in inputs]) for row in table.rows), table.notes,
    )  # fmt: skip


def _line(row: Row, groups: Sequence[render.Group], inputs: Sequence[str]) -> Line:
    differing = {k: c for k, c in row.cells.items() if c.agrees is False}
    return Line(
        name=row.name, hardware=row.hardware,
        inputs=tuple(render.input_text(row.inputs.get(key)) for key in inputs),
        numbers=tuple(_number(row, group) for group in groups),
        source="; ".join(t for t in (row.source, row.note) if t),
        differs=render.differing(differing) if differing else "",
        explained=tuple(_explained(row.cells)),
    )  # fmt: skip


def _number(row: Row, group: render.Group) -> Compared:
    computed, printed, sign = render.compared(row, group)
    return Compared(computed, printed, sign == render.AGREES if sign else None)


def _explained(cells: Any) -> Iterator[str]:
    for key, cell in cells.items():
        if cell.computed:
            yield from render.cell_explained(key, cell)
