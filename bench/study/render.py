"""A study's result for people and for papers: a table in the terminal, Markdown, JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.rank import notation, pareto
from bench.rank.columns import named
from bench.rank.pareto import Dot
from bench.rank.render import as_text, escaped, how, plain
from bench.study.table import Group, Result, Row, as_dict

if TYPE_CHECKING:
    from rich.console import RenderableType


def as_json(result: Result) -> str:
    return json.dumps(as_dict(result), indent=1, allow_nan=False) + "\n"


def table(result: Result, width: int = 100) -> RenderableType:
    """For a terminal; a narrow one is shown fewer columns, never half a number."""
    from rich import box
    from rich.console import Group as Lines
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for group in result.groups:
        title, *below = _heading(group)
        parts += [Text(title, style="bold"), *(Text(text, style="dim") for text in below)]
        titles = _titles(group)
        rows = [[plain(text) for text in _texts(row, group)] for row in group.rows]
        kept = _fitting([titles, *rows], width)
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for i in kept:
            drawn.add_column(titles[i], justify="right" if i else "left", no_wrap=i > 0)
        for row, texts in zip(group.rows, rows, strict=True):
            style = "" if row.made == row.planned else "dim"
            drawn.add_row(*(Text(texts[i], style=style) for i in kept))
        parts.append(drawn)
    said = [*_remarks(result), *_legend(result)]
    return Lines(*parts, *(Text(plain(line, 400), style="dim") for line in said))


_GAP, _EDGES = 3, 2
_SPARED = ("tier", "front", "prepares %", "skill", "runs")  # in a narrow terminal, in this order


def _fitting(lines: Sequence[Sequence[str]], width: int) -> list[int]:
    """The columns that fit beside the names."""
    from rich.cells import cell_len

    wide = [max(cell_len(line[i]) for line in lines) for i in range(len(lines[0]))]
    name = max(cell_len(word) for line in lines for word in line[0].split())  # it is wrapped
    kept = list(range(len(wide)))
    for title in _SPARED:
        if name + sum(wide[i] + _GAP for i in kept[1:]) + _EDGES <= width:
            break
        kept.remove(lines[0].index(title))
    return kept


def markdown(result: Result) -> str:
    lines: list[str] = []
    for group in result.groups:
        title, *below = _heading(group)
        lines += [f"## {escaped(title)}", "", *(f"{escaped(text)}\n" for text in below)]
        titles = _titles(group)
        lines.append("| " + " | ".join(titles) + " |")
        lines.append(
            "| " + " | ".join("---" if i == 0 else "---:" for i in range(len(titles))) + " |"
        )
        for row in group.rows:
            lines.append("| " + " | ".join(escaped(text) for text in _texts(row, group)) + " |")
        lines.append("")
    lines += [f"- {escaped(line)}" for line in (*_remarks(result), *_legend(result))]
    return "\n".join(lines) + "\n"


# --- a group -------------------------------------------------------------------------------------


def _heading(group: Group) -> list[str]:
    if group.board is None:
        return ["No result"]
    return [group.board.title, how(group.board), *(f"! {note}" for note in group.board.notes)]


def _titles(group: Group) -> list[str]:
    metric = notation.of(group.board.metric).heading if group.board else "metric"
    unit = group.board.energy_unit.name if group.board else "kWh"
    return [
        "model · recipe", metric, "skill", f"{unit} a run", "saves %", "prepares %", "front",
        "tier", "runs",
    ]  # fmt: skip


def _texts(row: Row, group: Group) -> list[str]:
    """A row as it is read; what is not known is empty."""
    runs = f"{row.made}/{row.planned}"
    if row.attempts != row.made:
        runs += f" of {row.attempts}"
    if row.entry is None or group.board is None:
        return [row.cell, "", "", "", "", "", "", "", runs]

    def of(key: str) -> str:
        assert row.entry is not None
        assert group.board is not None
        return "".join(as_text(named(key), row.entry, group.board, None)).strip()

    skill = of("skill")
    if skill and row.skill_half_width is not None:
        skill += f" ±{row.skill_half_width:.3f}"
    estimated = group.board.place.estimated
    prepares = "" if row.preparation is None else f"{100 * row.preparation:.0f}"
    return [
        row.cell, of("metric"), skill, of("energy"), _savings(row, estimated), prepares,
        "yes" if row.on_front else "", row.entry.tier or "", runs,
    ]  # fmt: skip


def _savings(row: Row, estimated: bool) -> str:
    if row.savings is None:
        return ""
    about = "≈" if estimated else ""
    text = f"{about}{_percent(row.savings.share)}"
    if row.savings.interval is None:
        return text
    low, high = row.savings.interval
    return f"{text} ({_percent(low)} to {_percent(high)})"


def _percent(share: float) -> str:
    digits = 0 if abs(share) >= 0.0995 else 1
    return f"{100 * share:.{digits}f}"


# --- below ---------------------------------------------------------------------------------------


def _remarks(result: Result) -> list[str]:
    said = [f"warning: {text}" for text in result.warnings]
    said += [f"not run: {cell}: {why}" for cell, why in result.skipped.items()]
    for row in result.rows:
        said += [f"{row.cell}: {why}" for why in row.remarks]
    rows = Counter(row.cell for row in result.rows)
    said += [
        f"{cell} has {n} rows: its runs differ in more than the seed (bench's code, the meter, the "
        "machine or the data), and are not one entry"
        for cell, n in rows.items()
        if n > 1
    ]
    return list(dict.fromkeys(said))


def _legend(result: Result) -> Iterable[str]:
    rows: Sequence[Row] = list(result.rows)
    if any(r.entry and r.entry.runs for r in rows):
        yield "± of metric and skill: 95 %, between runs; ± of energy: the meter's, k = 2"
    if any(g.board and g.board.place.estimated for g in result.groups):
        yield "≈ an estimate"
    if any(r.savings for r in rows):
        yield (
            "saves: energy against the baseline of the same model, with its 95 % interval (Welch's "
            "test on the logarithms)"
        )
    if any(r.preparation is not None for r in rows):
        yield "prepares: share of the energy before the training itself, teachers included"
    if any(r.on_front for r in rows):
        yield "front: the Pareto front; none has more skill for less energy"
    if any(r.made != r.planned or r.attempts != r.made for r in rows):
        yield "runs: those that count, of those planned, of all attempts"


# --- the plot ------------------------------------------------------------------------------------


def dots(result: Result) -> list[Dot]:
    """The entries that have a skill and an energy."""
    return [
        pareto.dot(row.entry, group.board.place, row.on_front, row.entry.spec.recipe)
        for group in result.groups
        for row in group.rows
        if group.board and row.entry and row.entry.scored and row.entry.counted
    ]


def captions(result: Result) -> tuple[str, list[str]]:
    """Title of the plot, and what must be known to read it."""
    boards = [g.board for g in result.groups if g.board]
    title = boards[0].card.title if boards[0].card else boards[0].place.task
    shown = list(dict.fromkeys(f"{b.place.hardware}; {how(b)}" for b in boards))
    notes = list(dict.fromkeys(f"! {note}" for b in boards for note in b.notes))
    signs = " ".join(pareto.marks(dots(result)))
    return f"Skill against energy: {title}", [plain(text) for text in (*shown, *notes, signs)]
