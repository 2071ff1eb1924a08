"""The page of a sweep: what tuning the settings of an entry cost, and what it bought, by the
journal that the entry has beside its runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.rank import notation
from bench.rank.entry import Run
from bench.rank.render import plain
from bench.rank.standing import Standing
from bench.record import Tuning
from bench.site import charts, page, paths
from bench.site.contents import Contents, Piece
from bench.units import show_energy, significant

if TYPE_CHECKING:
    from bench.plot.tuning import Drawn
    from bench.study.trials import Trial
    from bench.study.tuning import Result

LARGEST = 32 << 20
"""Bytes of a journal that is read."""

WIDE, NARROW = (900, 360), (300, 290)
"""Pixels of the inside of the plot, and of one for a phone."""

_TROUBLE = (
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError,
    RecursionError, BenchError, OSError,
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A trial."""

    number: int
    score: str
    state: str
    why: str
    energy: str
    spent: str  # of all until then
    best: str
    chosen: bool
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Shown:
    """A sweep as its page shows it."""

    name: str
    model: str
    task: str
    times: str  # how many times one training; empty: unknown
    training: str  # energy of one
    estimated: bool
    level: str
    spent: str
    spread: str  # what it is and how large
    facts: tuple[tuple[str, str], ...]
    space: tuple[tuple[str, str], ...]
    metric: str
    unit: str  # of all energies
    rows: tuple[Row, ...]
    left_out: int
    expected: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    marks: str


MOST = 500
"""Trials that a page shows."""


def pieces(contents: Contents) -> Iterator[Piece]:
    for place, runs in sorted(contents.by_place.items()):
        tuned = [run for run in runs if run.record.tuning]
        if not tuned:
            continue
        about = contents.standing_of(tuned[0])
        found = _stat(about) if about else None
        if about is None or found is None:
            continue
        at = paths.sweep(place)
        card = contents.cards.get(about.entry.task)
        title = card.title if card else about.entry.task
        key = page.digest(found, about.entry.title, title, [run.record for run in runs])
        yield Piece((at,), key, partial(_page, at, about, title, tuple(tuned)))


def _stat(about: Standing) -> tuple[int, int] | None:
    """Of the journal, if there is one."""
    from bench.checks.tuning import NAME

    journal = about.folder / NAME
    if journal.is_symlink() or not journal.is_file():
        return None
    found = journal.stat()
    return found.st_size, found.st_mtime_ns


def _page(at: str, about: Standing, task: str, runs: Sequence[Run]) -> Mapping[str, str]:
    from markupsafe import Markup

    from bench.checks.tuning import NAME

    shown, plot, trouble = None, Markup(""), ""
    try:
        found = read(about, runs)
        shown = _shown(found)
        plot = _plot(found, at)
    except _TROUBLE as error:
        shown, trouble = None, error.message if isinstance(error, BenchError) else UNREADABLE
    return {
        at: page.render(
            "sweep.html", at, about=about, task=task, s=shown, plot=plot, trouble=trouble,
            journal=paths.file(about.place, NAME), entry=paths.entry(about.place),
            finals=[(run.record.run_id, paths.run(run.record.run_id)) for run in runs],
        )
    }  # fmt: skip


UNREADABLE = "The journal of this sweep can't be read: it is no journal of a sweep."


def read(about: Standing, runs: Sequence[Run]) -> Result:
    """What the journal says, with the runs that came of it. BenchError where it is not the journal
    that they name."""
    from bench.checks.tuning import NAME
    from bench.study import ledger, tuning

    stated = runs[0].record.tuning
    assert stated is not None
    with (about.folder / NAME).open("rb") as file:
        journal = file.read(LARGEST + 1)
    if (len(journal), hashlib.sha256(journal).hexdigest()) != _named(stated):
        raise BenchError("The journal here is not the one that the runs name.")
    book = ledger.of_lines(Path(stated.sweep), journal.split(b"\n"))
    same = [r.record for r in runs if r.record.tuning == stated]
    whole = tuple(r for r in same if r.status in ("complete", "budget"))
    return tuning.result(book, journal, tuning.Final(whole, stated))


def _named(stated: Tuning) -> tuple[int, str]:
    return stated.journal_bytes, stated.journal_sha256


# --- in words ------------------------------------------------------------------------------------


def _shown(found: Result) -> Shown:
    from bench.study import sweep_render

    t = found.tuning
    said = dict.fromkeys(("spent", "spread"), "")
    if t.energy_j is not None:
        said["spent"] = show_energy(t.energy_j)
        said["spread"] = _spread(t)
    about = "≈" if found.estimated else ""
    rows = tuple(_rows(found))
    return Shown(
        name=plain(found.name, 80),
        model=plain(str(found.asked.get("model")), 60),
        task=plain(str(found.asked["task"]), 60),
        times="" if found.times is None else f"{about}{significant(found.times)}",
        training=show_energy(found.training_j, t.energy_j) if found.training_j else "",
        estimated=found.estimated,
        level=t.level,
        facts=tuple((k, plain(v, 400)) for k, v in sweep_render.lines(found)
                    if k in ("trials", "best", "tuning", "final")),
        space=tuple(_space(found.asked)),
        metric=notation.of(found.metric).heading if found.metric else "score",
        unit=sweep_render.unit_of(found).name,
        rows=rows[:MOST],
        left_out=max(0, len(rows) - MOST),
        expected=tuple(map(tuple, sweep_render.expected_rows(found) if found.metric else ())),
        notes=tuple(plain(n, 400) for n in sweep_render.notes(found) if not n.startswith("trial ")),
        marks=" ".join(sweep_render.signs(found)),
        **said,
    )  # fmt: skip


def _spread(t: Tuning) -> str:
    if t.band_j:
        low, high = (show_energy(j, t.energy_j) for j in t.band_j)
        return f"{low} to {high}, what the estimate may be off by"
    if t.uncertainty_j is not None:
        return f"±{show_energy(t.uncertainty_j, t.energy_j)}, k = 2 of the meter"
    return "of unknown uncertainty"


_SIGNS = {"|": " or ", "..": " to ", ":log": ", by its logarithm", ":int": ", whole numbers"}


def _space(asked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each setting and what it could be; then how it was searched."""
    for part in str(asked["space"]).split(","):
        name, _, values = part.partition("=")
        for sign, said in _SIGNS.items():
            values = values.replace(sign, said)
        yield plain(name, 60), plain(values, 200)
    yield (
        "the same for all",
        plain(" ".join(map(str, asked.get("set") or ())) or "nothing set", 200),
    )
    yield "chosen by", plain(f"{asked['sampler']}, seed {asked['seed']}", 60)
    prune = asked["prune"]
    yield "ended early", "no trial" if prune == "no" else plain(f"by the rule {prune}", 60)


def _rows(found: Result) -> Iterator[Row]:
    """In the order in which they ended, then what has not."""
    from bench.study.sweep_render import in_unit, unit_of

    after, unit = {step.trial: step for step in found.steps}, unit_of(found)
    order = {name: n for n, name in enumerate(after)}
    number = notation.of(found.metric).number if found.metric else significant
    for t in sorted(found.trials, key=lambda t: (order.get(t.name, len(order)), t.number)):
        step = after.get(t.name)
        yield Row(
            number=t.number,
            score="" if t.score is None else number(t.score),
            state="ended early" if t.state == "pruned" else t.state,
            why=plain(t.why or "", 200),
            energy=in_unit(unit, _energy_j(t)),
            spent=in_unit(unit, step.energy_j if step else None),
            best="" if step is None or step.best is None else number(step.best),
            chosen=bool(found.best and found.best.number == t.number),
            settings=tuple((plain(k, 60), plain(v, 60)) for k, v in t.params.items()),
        )


def _energy_j(trial: Trial) -> float | None:
    known = [each.energy_j for each in trial.taken]
    return None if None in known or not known else sum(j or 0.0 for j in known)


# --- the plot ------------------------------------------------------------------------------------


def _plot(found: Result, at: str) -> Any:
    """The best so far against what was spent, for wide screens and for narrow ones."""
    from markupsafe import Markup

    from bench.study import sweep_render

    drawn = sweep_render.drawn(found)
    if drawn is None:
        return Markup("")
    described = "The best score on tune so far, and the score of each trial, against the energy of "
    described += "all trials until then; the table below has the same."
    return Markup("").join(
        charts.inline(_spec(drawn, narrow), described, "narrow-plot" if narrow else "wide-plot")
        for narrow in (False, True)
    )


def _spec(drawn: Drawn, narrow: bool) -> dict[str, Any]:
    from bench.plot import tuning

    width, height = NARROW if narrow else WIDE
    return tuning.spec(drawn, tuning.Look(width, height, charts.inks(), charts.COLOURS))
