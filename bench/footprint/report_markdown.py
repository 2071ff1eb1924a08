"""A report as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bench.footprint import chart
from bench.footprint.amounts import grid_text
from bench.footprint.report import ROWS, Report, appendix, like, summary
from bench.footprint.sheets import Sheet
from bench.footprint.trainings import Group, row
from bench.rank.render import escaped, plain

_BLOCKS = {chart.MEASURED: "█", chart.ESTIMATED: "░", chart.COMPUTED: "▒", chart.PRINTED: "·"}
_BAR = 24  # characters


def markdown(report: Report, explain: bool = False) -> str:
    """Names of runs can't act: they are escaped, or stand in a block of code without its signs.
    The rest is this package's own."""
    said = ["# What trainings took", ""]
    said += [f"- {line}" for line in summary(report)]
    said += [f"- CO2e of one's own by: {grid_text(report.scenario)}", ""]
    said += ["## From one fine-tune to a search", "", *_drawn(report), ""]
    for each in report.sheets:
        said += _markdown_sheet(each)
    for title, found in (
        ("Trainings of one's own", report.own_groups), ("Submitted here", report.submitted_groups)
    ):  # fmt: skip
        if found:
            said += [f"## {title}", ""]
            for group in found:
                said += [f"### {group.title}", "", *_markdown_trainings(group), ""]
    if report.ledger:
        said += ["## The project", ""]
        said += [
            f"- {escaped(': '.join(filter(None, (label, text))))}" for label, text in report.ledger
        ]
        said += [""]
    if report.notes:
        said += ["## Left out", "", *(f"- {escaped(note)}" for note in report.notes), ""]
    if explain:
        said += ["## Every number by its formula", "", *_fenced(appendix(report)), ""]
    said += ["## What that is like", ""]
    said += [f"- {line}" for line in like(report)]
    return "\n".join(said) + "\n"


def _drawn(report: Report) -> list[str]:
    """The bars in letters, each kind of knowing in another."""
    bars = report.bars
    low, high = (f((b.kwh for b in bars), default=1.0) for f in (min, max))
    decades = max(math.log10(high / low), 1e-9)
    lines = []
    for bar in bars:
        length = 1 + round((_BAR - 1) * math.log10(bar.kwh / low) / decades)
        name = plain(", ".join(filter(None, (bar.name, bar.about))), 54)
        energy, mass = chart.said(bar, report.scenario)
        drawn = (_BLOCKS[bar.kind] * length).ljust(_BAR)
        mine = "*" if bar.own else " "
        lines.append(f"{mine}{name:<54} {drawn} {energy:>14} {mass:>11}  {bar.kind}".rstrip())
    said = chart.caption(report.scenario)
    said = said.replace("Solid:", "█:").replace("Dashed and ≈:", "░ and ≈:")
    said = said.replace("Shaded:", "▒:").replace("Hollow:", "·:")
    return [*_fenced(lines), "", f"{said} A star: trainings made here."]


def _fenced(lines: Iterable[str]) -> list[str]:
    return ["```", *(line.replace("`", "'") for line in lines), "```"]


def _markdown_sheet(found: Sheet) -> list[str]:
    heads = ["", *(["hardware"] if found.has_hardware else []), *found.inputs]
    marks = ["---"] * (len(heads) - len(found.inputs)) + ["---:"] * len(found.inputs)
    for group in found.groups:
        heads += [group, "printed", ""]
        marks += ["---:", "---:", "---"]
    if found.has_sources:
        heads, marks = [*heads, "source"], [*marks, "---"]
    rows = []
    for line in found.lines:
        row = [line.name, *([line.hardware] if found.has_hardware else []), *line.inputs]
        for number in line.numbers:
            row += [number.computed, number.printed, f"{number.sign} {number.word}".strip()]
        rows.append(row + ([line.source] if found.has_sources else []))
    said = [f"## {found.title}", "", *_table(heads, marks, rows), ""]
    for line in (each for each in found.lines if each.differs):
        name = ", ".join(filter(None, (line.name, line.hardware)))
        said.append(f"- {name}: {line.differs}")
    return [*said, *(f"- {note}" for note in found.notes), ""]


def _markdown_trainings(group: Group) -> list[str]:
    heads = ["", "hardware", "kWh", "±, k = 2", "CO2e", "time", "how", "run"]
    marks = ["---", "---", "---:", "---:", "---:", "---:", "---", "---"]
    rows = [map(escaped, row(each)) for each in group.trainings[:ROWS]]
    return [*_table(heads, marks, rows), "", f"- {group.total}", *_more(group)]


def _more(group: Group) -> list[str]:
    left = len(group.trainings) - ROWS
    return [f"- {left:,} smaller ones are in the sum alone"] if left > 0 else []


def _table(heads: Sequence[str], marks: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    return ["| " + " | ".join(each) + " |" for each in (heads, marks, *rows)]
