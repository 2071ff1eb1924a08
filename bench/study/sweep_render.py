"""A sweep for people and for papers: what was found, what it cost, what more would bring."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from bench.plot.tuning import Drawn, Spent
from bench.rank import notation
from bench.rank.render import escaped, plain
from bench.study.sweep import shown
from bench.study.trials import Trial
from bench.study.tuning import Expected, Result, as_dict
from bench.units import (
    EnergyUnit,
    common_unit,
    show_duration,
    show_energy,
    show_energy_band,
    significant,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

Rows = list[list[str]]
_SETTINGS = "settings"


def as_json(found: Result) -> str:
    return json.dumps(as_dict(found), indent=1, allow_nan=False) + "\n"


def table(found: Result) -> RenderableType:
    """For a terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 2))
    head.add_column(no_wrap=True)
    head.add_column(overflow="fold")
    for label, text in lines(found):
        head.add_row(Text(label, style="bold"), Text(plain(text, 400)))
    parts: list[RenderableType] = [head]
    for titles, rows in _tables(found):
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for title in titles:
            alone = title != _SETTINGS
            drawn.add_column(title, justify=_side(title), overflow="fold", no_wrap=alone)
        for row in rows:
            drawn.add_row(*(Text(plain(text)) for text in row))
        parts.append(drawn)
    return Group(*parts, *(Text(plain(text, 400), style="dim") for text in notes(found)))


def _side(title: str) -> Literal["left", "right"]:
    return "left" if title in ("", _SETTINGS) else "right"


def markdown(found: Result) -> str:
    said = [f"- {label}: {escaped(text)}" if label else f"  {escaped(text)}"
            for label, text in lines(found)]  # fmt: skip
    for titles, rows in _tables(found):
        marks = ["---" if _side(title) == "left" else "---:" for title in titles]
        said += ["", "| " + " | ".join(titles) + " |", "| " + " | ".join(marks) + " |"]
        said += ["| " + " | ".join(escaped(text) for text in row) + " |" for row in rows]
    return "\n".join([*said, "", *(f"- {escaped(text)}" for text in notes(found))]) + "\n"


# --- in words ------------------------------------------------------------------------------------


def lines(found: Result) -> list[tuple[str, str]]:
    """(label, text): what was asked, what was found, what it cost."""
    asked = found.asked
    pruned = "no trial is ended early" if asked["prune"] == "no" else f"pruned by {asked['prune']}"
    said = [
        ("sweep", f"{found.name}: {asked.get('model')}, {asked.get('recipe')} on {asked['task']}"),
        ("space", f"{asked['space']}; {asked['sampler']}, seed {asked['seed']}; {pruned}"),
        ("trials", _counted(found)),
    ]
    if found.best and found.best.score is not None and found.metric:
        best = f"{notation.named(found.metric, found.best.score)} on tune"
        said.append(("best", f"{found.best.name}: {best}; {shown(found.best.params)}"))
    said.append(("tuning", _cost(found)))
    said += [("final", text) for text in _final(found)]
    if found.times is not None:
        of = "the final training" if found.final and found.final.runs else "the best trial"
        about = "≈" if found.estimated else ""
        said.append(
            ("price", f"tuning cost {about}{significant(found.times)} times {of} "
                      f"({show_energy(found.training_j or 0.0, found.tuning.energy_j)})")
        )  # fmt: skip
    elif found.training_j is None and found.tuning.energy_j and found.best:
        said.append(("price", "no multiple of a training that was metered otherwise than trials"))
    return said


def _counted(found: Result) -> str:
    states = [t.state for t in found.trials]
    kinds = [kind for kind in ("complete", "pruned", "failed", "open") if kind in states]
    said = [f"{states.count(kind)} {kind}" for kind in kinds]
    return f"{len(states)}: {', '.join(said)}" if said else "none yet"


def _cost(found: Result) -> str:
    t = found.tuning
    time = show_duration(t.duration_s)
    if t.energy_j is None:
        known = show_energy(found.known_j)
        return f"energy unknown: that of some attempts is not known, {known} of others; {time}"
    if t.band_j and found.estimated:
        energy = f"about {show_energy_band(t.energy_j, *t.band_j)}"
    else:
        unsure = "unknown" if t.uncertainty_j is None else show_energy(t.uncertainty_j)
        energy = f"{show_energy(t.energy_j)} ± {unsure}"
    early = sum(e.energy_j or 0.0 for x in found.trials if x.state != "complete" for e in x.taken)
    split = (
        f", of which {show_energy(early, t.energy_j)} in trials that did not end" if early else ""
    )
    return f"{energy} ({t.level} {t.coverage}), {time}{split}"


def _final(found: Result) -> Iterator[str]:
    final = found.final
    if final is None or not final.runs:
        return
    runs = f"{len(final.runs)} {'run' if len(final.runs) == 1 else 'runs'}"
    said = [runs]
    metric = next((r.metric.name for r in final.runs if r.metric), None)
    if metric and final.value is not None:
        said.append(f"{notation.named(metric, final.value)} on the scored split")
    if final.energy_j is not None:
        said.append(f"{show_energy(final.energy_j, final.tuning.energy_j)} each")
        if final.tuning.energy_j is not None and final.metered_as(final.tuning):
            said.append(f"{show_energy(final.energy_j + final.tuning.energy_j)} with tuning")
    yield ", ".join(said)


def notes(found: Result) -> Iterator[str]:
    for proposal, why in found.skipped.items():
        yield f"not tried: {proposal}: {why}"
    if found.damaged:
        cut = ", ".join(map(str, found.damaged))
        yield f"warning: lines of the journal that were cut off, and are left out: {cut}"
    for t in found.trials:
        if t.why:
            yield f"{t.name}: {t.why}"
    yield "scores are of the tune split: the scored one is looked at for no choice"
    if found.expected:
        yield (
            "expected: the mean best of so many trials, over all choices of them (the unbiased "
            "estimate of Tang et al. 2020); each bears its share of trials without a score"
        )
        if found.asked["sampler"] not in ("random", "grid"):
            yield (
                f"the trials of {found.asked['sampler']} depend on each other: expected is of "
                "these trials in any order, not of other sweeps"
            )


# --- in tables -----------------------------------------------------------------------------------


def _tables(found: Result) -> list[tuple[list[str], Rows]]:
    if not found.trials or found.metric is None:
        return []
    shown = notation.of(found.metric)
    unit = unit_of(found)
    titles = ["trial", shown.title, "", unit.name, "in all", "best", _SETTINGS]
    tables = [(titles, _trial_rows(found))]
    if found.expected:
        tables.append((["trials", unit.name, "times a training", f"expected best {shown.title}"],
                       expected_rows(found)))  # fmt: skip
    return tables


def _trial_rows(found: Result) -> Rows:
    """In the order in which they ended, then what has not."""
    assert found.metric is not None
    number = notation.of(found.metric).number
    after = {step.trial: step for step in found.steps}
    order = list(after)
    ended = [t for t in found.trials if t.name in after]
    rows, unit = [], unit_of(found)
    for t in sorted(ended, key=lambda t: order.index(t.name)):
        step = after[t.name]
        score, best = ("" if v is None else number(v) for v in (t.score, step.best))
        state = "" if t.state == "complete" else t.state
        spent = (in_unit(unit, _energy(t)), in_unit(unit, step.energy_j))
        rows.append([str(t.number), score, state, *spent, best, shown(t.params)])
    open_ = [t for t in found.trials if t.name not in after]
    return rows + [[str(t.number), "", t.state, "", "", "", shown(t.params)] for t in open_]


def _energy(t: Trial) -> float | None:
    known = [each.energy_j for each in t.taken]
    return None if None in known else sum(j or 0.0 for j in known)


def unit_of(found: Result) -> EnergyUnit:
    """Of all its tables and its plot."""
    spent = [step.energy_j for step in found.steps if step.energy_j is not None]
    return common_unit([*spent, *(each.energy_j for each in found.expected)])


def in_unit(unit: EnergyUnit, energy_j: float | None) -> str:
    return "" if energy_j is None else unit.number(energy_j)


def expected_rows(found: Result) -> Rows:
    assert found.metric is not None
    number, unit = notation.of(found.metric).number, unit_of(found)
    rows = []
    for each in _some(found.expected):
        times = each.energy_j / found.training_j if found.training_j else None
        rows.append(
            [str(each.trials), unit.number(each.energy_j),
             "" if times is None else significant(times), number(each.value)]
        )  # fmt: skip
    return rows


def _some(expected: Sequence[Expected]) -> list[Expected]:
    """1, 2, 3, 5, 10, 20, 30, 50, ... and the last."""
    wanted = {digit * 10**n for n in range(6) for digit in (1, 2, 3, 5)}
    return [e for e in expected if e.trials in wanted or e is expected[-1]]


# --- the plot ------------------------------------------------------------------------------------


def signs(found: Result) -> Iterator[str]:
    """What the marks of the plot mean, and only those that are in it."""
    if any(t.state == "pruned" for t in found.trials):
        yield "Crosses: ended early."
    if found.estimated:
        yield "Hollow: energy was estimated, not measured."


def drawn(found: Result) -> Drawn | None:
    """None where no trial has a score."""
    if found.metric is None or not found.expected:
        return None
    shown = notation.of(found.metric)
    spent = {step.trial: step.energy_j for step in found.steps}
    unit = unit_of(found)
    return Drawn(
        title=f"Tuning {found.asked.get('model')} on {found.asked['task']}: {found.name}",
        said=[
            *(f"{label}: {plain(text, 400)}" for label, text in lines(found)[2:]),
            *signs(found),
        ],
        metric=f"{shown.heading} on tune",
        times=shown.times,
        unit=unit.name,
        trials=[
            Spent(spent[t.name] / unit.in_j, t.score, t.state)
            for t in found.trials
            if t.score is not None and t.name in spent
        ],
        best=[
            Spent(s.energy_j / unit.in_j, s.best, "") for s in found.steps if s.best is not None
        ],
        expected=[Spent(e.energy_j / unit.in_j, e.value, "") for e in found.expected],
        training=found.training_j / unit.in_j if found.training_j else None,
        estimated=found.estimated,
    )  # fmt: skip
