"""A plan for people: what it takes, where the spread comes from, what it rests on, what would
reduce it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bench.footprint import equivalents, prices
from bench.footprint.alternatives import NEARNESS, Alternative
from bench.footprint.known import Known
from bench.footprint.planned import Asked, Band, Cost, Factor, Plan, shown_count
from bench.footprint.quantity import explained
from bench.footprint.wrapping import Wrapped
from bench.rank.render import plain
from bench.units import significant

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType
    from rich.table import Table

SCHEMA = "bench.plan/1"
WIDE = 120  # columns of a terminal, from which sources stand in a column
NARROW = 80  # below which what an alternative costs is left to --json
_FEW = 6


def plan_parts(
    made: Plan, others: Sequence[Alternative], broken: Sequence[str], width: int
) -> Iterator[RenderableType]:
    yield _bold(title(made.asked))
    if made.estimated:
        yield _bold("from ESTIMATED runs: nothing here was measured near it", "red")
    for warning in made.basis.warnings:
        yield _text(f"! {warning}")
    yield ""
    yield _costs(made, width)
    yield ""
    yield _text("Middle, and the least and the most that it may well be. " + _conditions(made))
    yield ""
    if any(f.spreads for f in made.factors):
        yield _bold("Where the spread comes from")
        yield _factors(made.factors)
        yield ""
    yield _bold("What it rests on")
    yield _runs(made)
    yield ""
    yield from _reduced(made, others, width)
    for line in broken[:_FEW]:
        yield _text(f"! {plain(line, 200)}")
    if len(broken) > _FEW:
        yield _text(f"! and {len(broken) - _FEW:,} more like these (--json has them)")
    if said := equivalents.line(made.together.emissions.middle):
        yield _text(f"{'all of it' if made.trials else 'it'}: {said}")


def title(asked: Asked) -> str:
    amount = (
        f"{asked.hours:g} h" if asked.unit == "second"
        else f"{shown_count(asked.amount)} {asked.unit}s"
    )  # fmt: skip
    task = f" of {asked.task}" if asked.task else ""
    many = f"{asked.devices} x " if asked.accelerated else ""
    trials = f", and {asked.trials} trial{'' if asked.trials == 1 else 's'}" if asked.trials else ""
    return (
        f"{plain(asked.model)}, {amount}{task}, by {asked.recipe} on "
        f"{many}{plain(asked.device)}{trials}"
    )


def _conditions(made: Plan) -> str:
    asked, region = made.asked, made.asked.scenario.region
    assumed = ", which is assumed" if asked.scenario.assumed else ""
    price = asked.usd_per_kwh
    usd = (
        f"{prices.STUDY_USD_PER_KWH:g} USD/kWh as the study has it" if price is None
        else f"{price:g} USD/kWh"
    )  # fmt: skip
    cloud = _cloud(asked, made)
    covers = made.basis.coverage
    return (
        f"{region.name}{assumed}: {significant(region.g_per_kwh)} g CO2e/kWh ({region.source} "
        f"{region.year}, {region.kind}); {asked.scenario.pue}; {usd}{cloud}."
        + (f" Energy is of {covers} alone, as the runs were metered." if covers else "")
    )


def _cloud(asked: Asked, made: Plan) -> str:
    if made.one.cloud is None:
        return "; no cloud price is known (--usd-per-hour)"
    if asked.usd_per_hour is not None:
        return f"; {asked.usd_per_hour:g} USD a device-hour"
    row = prices.cloud_price(asked.device)
    assert row
    low, high = row["usd_per_hour"]
    return f"; a device-hour {low:g} to {high:g} USD ({row['source']})"


_UNITS = {
    "energy": ("", "kWh"), "emissions": ("", "kg CO2e"), "electricity": ("energy", "USD"),
    "hours": ("", "hours"), "cloud": ("cloud", "USD"),
}  # fmt: skip
"""Of each band: what for, where the unit does not say it, and the unit."""


def _costs(made: Plan, width: int) -> RenderableType:
    trials = made.asked.trials
    costs: list[tuple[str, Cost | None]] = [
        ("one training", made.one),
        (f"{trials} trial{'' if trials == 1 else 's'}", made.trials),
        ("together", made.together if made.trials else None),
    ]
    known = [(name, cost) for name, cost in costs if cost]
    for table in (_beside(known), _below(known)):
        if _width(table) <= width:
            return table
    lines = [
        [name, *(f"  {' '.join(said[:2])} {said[2] and f'({said[2]})'}" for said in _said(c))]
        for name, c in known
    ]
    return _text("\n".join(line for some in lines for line in some))


def _beside(costs: Sequence[tuple[str, Cost]]) -> Table:
    """A column for each unit, with the range below the number."""
    table = _empty()
    table.add_column("", no_wrap=True)
    keys = list(costs[0][1].bands)
    for key in keys:
        table.add_column("\n".join(filter(None, _UNITS[key])), justify="right", no_wrap=True)
    for name, cost in costs:
        table.add_row(name, *(_band(cost.bands[k]) for k in keys))
    return table


def _below(costs: Sequence[tuple[str, Cost]]) -> Table:
    """A row for each unit: number, unit and range beside each other."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    sides: tuple[JustifyMethod, ...] = ("left", "right", "left", "left")
    for side in sides:
        table.add_column(justify=side, no_wrap=True)
    for name, cost in costs:
        for number, (middle, unit, reach) in enumerate(_said(cost)):
            table.add_row("" if number else name, middle, unit, _text(reach, "dim"))
    return table


def _said(cost: Cost) -> Iterator[tuple[str, str, str]]:
    """Number, unit and range of each band."""
    for key, band in cost.bands.items():
        what, unit = _UNITS[key]
        low, middle, high = (significant(q.value) for q in band.ends)
        yield middle, f"{unit} {what}".strip(), "" if low == high else f"{low} to {high}"


def _width(table: Table) -> int:
    """That it takes without a break."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(width=1000)
    return Measurement.get(console, console.options, table).maximum


def _band(band: Band) -> RenderableType:
    from rich.text import Text

    low, middle, high = (significant(q.value) for q in band.ends)
    if low == high:
        return Text(middle)
    return Text.assemble(middle, "\n", (f"{low} to {high}", "dim"))


def _factors(factors: Iterable[Factor]) -> Table:
    table = _empty()
    table.add_column("", overflow="fold", min_width=14)
    table.add_column("times", no_wrap=True)
    table.add_column("of", no_wrap=True)
    table.add_column("why", overflow="fold")
    for f in factors:
        if f.spreads or f.middle != 1:
            low, middle, high = (significant(v) for v in (f.low, f.middle, f.high))
            times = middle if not f.spreads else f"{low} to {high}"
            table.add_row(*map(_text, (f.name, times, f.of, f.source)))
    return table


def _runs(made: Plan) -> RenderableType:
    runs = made.basis.runs
    if not runs:
        return _text("power and hours as given; no run")
    first = runs[0]
    kind = "ESTIMATED" if made.estimated else "measured"
    count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    said = [
        f"{NEARNESS[made.basis.nearness]}: {count}, {kind} ({first.level}, {first.coverage})",
        f"{plain(first.model)} on {plain(first.device)}, by "
        f"{', '.join(sorted({r.recipe for r in runs}))}, on "
        f"{', '.join(sorted({r.task for r in runs}))}",
        *(_each(entry, some) for entry, some in list(_by_entry(runs).items())[:_FEW]),
    ]
    if len(_by_entry(runs)) > _FEW:
        said.append(f"and {len(_by_entry(runs)) - _FEW} other entries")
    return _text("\n".join(said))


def _by_entry(runs: Iterable[Known]) -> dict[str, list[Known]]:
    found: dict[str, list[Known]] = {}
    for run in runs:
        found.setdefault(run.entry, []).append(run)
    return found


def _each(entry: str, runs: Sequence[Known]) -> str:
    """bert-base-bf16-batch-256-h200: 3 runs, 28.8 mJ an example, 2.22 mJ a token, 308 W"""
    joules = sum(r.train_j for r in runs)
    said = [f"{_small(joules / sum(r.examples for r in runs))} an example"]
    if all(r.tokens for r in runs):
        said.append(f"{_small(joules / sum(r.tokens or 0 for r in runs))} a token")
    watts = joules / sum(r.train_s * r.devices for r in runs)
    count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    return f"  {plain(entry)}: {count}, {', '.join(said)}, {significant(watts)} W"


def _small(joules: float) -> str:
    for unit, size in (("J", 1.0), ("mJ", 1e-3)):
        if joules >= size:
            return f"{significant(joules / size)} {unit}"
    return f"{significant(joules / 1e-6)} µJ"


# --- what would reduce it ------------------------------------------------------------------------


def _reduced(made: Plan, others: Sequence[Alternative], width: int) -> Iterator[RenderableType]:
    less = [a for a in others if a.share < 0]
    if less:
        yield _bold("What would reduce it" + (", all of it" if made.trials else ""))
        yield _table(less, made, width)
        yield _text("Each alone; they don't add up. * estimated, where the plan is measured.")
    else:
        yield _text("Nothing that is known here would reduce it.")
    more = [a for a in others if a.share >= 0]
    if more:
        said = ", ".join(f"{a.what} {_percent(a.share)}" for a in more)
        yield _text(f"Would not reduce it: {said}.")
    yield ""


def _table(rows: Sequence[Alternative], made: Plan, width: int) -> Table:
    table, wide = _empty(), width >= WIDE
    table.add_column("", overflow="fold", min_width=22)
    cloud, money = wide and made.one.cloud is not None, width >= NARROW
    names = ["kWh", "kg CO2e", *(["USD"] if money else []), *(["cloud USD"] if cloud else [])]
    for name in (*names, "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("source", overflow="fold")
    for a in rows:
        cost = a.plan.together if a.plan else None
        source = "; ".join(t for t in (a.source, a.note) if t)
        bands: list[Band | None] = [None] * 4
        if cost:
            bands = [cost.energy, cost.emissions, cost.electricity, cost.cloud]
        bands = bands[: len(names)]
        numbers = [significant(b.middle.value) if b else "" for b in bands]
        mark = "*" if a.estimated and not made.estimated else ""
        cells = [*numbers, mark + _difference(a)]
        table.add_row(_what(a.what, "" if wide else source), *map(_text, cells),
                      *([_text(source)] if wide else []))  # fmt: skip
    return table


def _what(what: str, source: str) -> RenderableType:
    from rich.console import Group

    return Group(_text(what), *([_text(source, "dim")] if source else []))


def _difference(a: Alternative) -> str:
    """-71.9 % (-75.6 to -67.7)"""
    if not a.interval:
        return _percent(a.share)
    low, high = (f"{100 * v:+.0f}" for v in a.interval)
    return f"{_percent(a.share)}\n{low} to {high}"


def _percent(share: float) -> str:
    return f"{100 * share:+.0f} %"


# --- on demand -----------------------------------------------------------------------------------


def plan_explained(made: Plan, others: Sequence[Alternative]) -> Iterator[str]:
    """Each number: its formula down to its sources."""
    yield title(made.asked)
    costs = [("one training", made.one), *([("trials", made.trials), ("together", made.together)]
             if made.trials else [])]  # fmt: skip
    for name, cost in costs:
        assert cost
        for key, band in cost.bands.items():
            for which, quantity in zip(("least", "middle", "most"), band.ends, strict=True):
                yield ""
                yield f"{name}, {key}, {which}"
                yield from (f"  {line}" for line in explained(quantity))
    for a in others:
        yield ""
        yield f"{a.what}: {_percent(a.share)} ({a.source})"
        if a.plan:
            yield from (f"  {line}" for line in explained(a.plan.together.emissions.middle))


def plan_facts(
    made: Plan, others: Sequence[Alternative], broken: Sequence[str]
) -> dict[str, Any]:  # fmt: skip
    """For JSON."""
    asked, basis = made.asked, made.basis
    return {
        "schema": SCHEMA,
        "title": title(asked),
        "asked": {
            "model": asked.model, "parameters": asked.parameters, "device": asked.device,
            "devices": asked.devices, "unit": asked.unit, "amount": asked.amount,
            "task": asked.task, "recipe": asked.recipe, "trials": asked.trials,
            "region": asked.scenario.region.code, "region_assumed": asked.scenario.assumed,
            "pue": asked.scenario.pue.value,
        },
        "estimated": made.estimated,
        "warnings": [*basis.warnings, *broken],
        "one": _cost_facts(made.one),
        "trials": _cost_facts(made.trials),
        "together": _cost_facts(made.together),
        "spread": [_factor_facts(f) for f in made.factors],
        "basis": {
            "nearness": basis.nearness, "coverage": basis.coverage,
            "runs": [
                {
                    "run_id": r.run_id, "entry": r.entry, "model": r.model, "recipe": r.recipe,
                    "task": r.task, "device": r.device, "level": r.level, "train_j": r.train_j,
                    "train_s": r.train_s, "examples": r.examples, "tokens": r.tokens,
                }
                for r in basis.runs
            ],
        },
        "alternatives": [
            {
                "kind": a.kind, "what": a.what, "share": a.share,
                "interval": a.interval and list(a.interval), "source": a.source, "note": a.note,
                "estimated": a.estimated,
                "together": _cost_facts(a.plan.together if a.plan else None),
            }
            for a in others
        ],
        "like": equivalents.line(made.together.emissions.middle),
    }  # fmt: skip


def _cost_facts(cost: Cost | None) -> dict[str, Any] | None:
    return {key: band.as_dict() for key, band in cost.bands.items()} if cost else None


def _factor_facts(f: Factor) -> dict[str, Any]:
    return {
        "name": f.name, "low": f.low, "middle": f.middle, "high": f.high, "of": f.of,
        "source": f.source, "assumed": f.assumed,
    }  # fmt: skip


# --- the terminal --------------------------------------------------------------------------------


def _empty() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))


def _text(text: str, style: str = "") -> RenderableType:
    return Wrapped(text, style)


def _bold(text: str, colour: str = "") -> RenderableType:
    return Wrapped(text, f"bold {colour}".strip())
