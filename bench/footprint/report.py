"""What trainings took, for people to read elsewhere: published ones, one's own, and what they are
like. One file, HTML that loads nothing or Markdown."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import MissingExtra, UsageError
from bench.footprint import chart, equivalents, formulas, published, render
from bench.footprint.chart import Bar
from bench.footprint.published import Cell, Row, Table
from bench.footprint.quantity import Quantity, derived, explained, given
from bench.power import carbon
from bench.power.carbon import Scenario
from bench.rank import score
from bench.rank.entry import Cell as BoardCell
from bench.rank.entry import Entry, Run, energy_uncertainty_j, usable_energy_j
from bench.rank.render import escaped, plain
from bench.units import J_PER_KWH, show_duration, significant

if TYPE_CHECKING:
    from jinja2 import Environment

    from bench.footprint.project import Project

BARS = 14
"""Trainings of each kind (submitted, one's own) that the drawing shows; the tables have all."""
RANKED = (*score.TIERS, "provisional")
ROWS = 500
"""Of a table of one's own trainings."""
TODAY = ("SE", "FR", "GB", "DE", "US", "PL", "IN")
"""Grids of today that the study's trainings are set beside: from few grams to many."""
TODAY_PUE = "uptime-2025"
KINDS = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown"}
_HOW = {"M1": "software counters", "M2": "a meter of the node", "M3": "a calibrated meter"}


# --- one's own trainings -------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """A training that bench metered, or estimated. Its energy has what the building adds."""

    name: str
    hardware: str
    how: str
    estimated: bool
    energy: Quantity
    emissions: Quantity
    duration_s: float | None
    run_id: str
    of: str = ""  # which of several it is
    charged: tuple[tuple[str, float], ...] = ()  # earlier parts and teachers: id, kWh of these

    @property
    def bar(self) -> Bar:
        kind = chart.ESTIMATED if self.estimated else chart.MEASURED
        kwh, unsure = self.energy.value, self.energy.uncertainty
        return Bar(self.name, self.hardware, kwh, kind, True, unsure)


def training(run: Run, scenario: Scenario, of: str = "") -> Training | None:
    """None where the run has no energy."""
    record, energy_j = run.record, usable_energy_j(run.record)
    if energy_j is None:
        return None
    estimated = record.level == "M0"
    what = plain(record.coverage.replace("+", ", "), 60)
    how = f"estimated: {what}" if estimated else f"measured: {what}, {_HOW[record.level]}"
    unsure = energy_uncertainty_j(record)
    kwh = given(
        "energy of the machine", energy_j / J_PER_KWH, "kWh", f"{how}; run {record.run_id}",
        None if unsure is None else unsure / J_PER_KWH,
    )  # fmt: skip
    energy = derived(
        "energy", "kWh", "PUE x energy of the machine", lambda p, e: p * e,
        formulas.pue_of(scenario.pue), kwh,
    )  # fmt: skip
    spec = record.spec
    return Training(
        name=_name(spec.model, spec.recipe, spec.task), hardware=spec.hardware, how=how,
        estimated=estimated, energy=energy,
        emissions=formulas.emissions_kg(energy, formulas.intensity_of(scenario.region)),
        duration_s=record.total_duration_s, run_id=record.run_id, of=of,
        charged=tuple(
            (c.run_id, scenario.building_j(c.energy_j or 0.0) / J_PER_KWH)
            for c in record.charged_runs
        ),
    )  # fmt: skip


def _name(model: str, recipe: str, task: str) -> str:
    return f"{model} on {task}" + ("" if recipe == "baseline" else f", {recipe}")


def best(cells: Iterable[BoardCell], scenario: Scenario) -> list[Training]:
    """Of each task and machine the first entry of its highest tier: its run of median energy."""
    found = []
    for cell in cells:
        entry = next((s.entries[0] for s in cell.sections if s.name in RANKED), None)
        if entry and (made := middle(entry, scenario)):
            title = cell.card.title if cell.card else cell.place.task
            name = _name(entry.spec.model, entry.spec.recipe, title)
            found.append(replace(made, name=name))
    return _sorted(found)


def middle(entry: Entry, scenario: Scenario) -> Training | None:
    """The run of an entry that has its median energy: of an even number the lower one."""
    runs = _by_energy(entry.runs)
    if not runs:
        return None
    of = "its only run" if len(runs) == 1 else f"median of {len(runs)} runs"
    return training(runs[(len(runs) - 1) // 2], scenario, of)


def own(runs: Iterable[Run], scenario: Scenario) -> list[Training]:
    """Every run that has an energy, ended as it should or not."""
    made = (training(r, scenario, _ended(r)) for r in runs)
    return _sorted(t for t in made if t)


def own_bars(runs: Sequence[Run], scenario: Scenario) -> list[Bar]:
    """Of runs that differ in the seed alone, that of the middle energy; no trials, profiles and
    failures."""
    by_entry: dict[str, list[Run]] = {}
    for run in runs:
        if run.record.status in ("complete", "budget") and run.record.trial is None:
            by_entry.setdefault(run.key, []).append(run)
    middles = [
        training(some[(len(some) - 1) // 2], scenario)
        for each in by_entry.values()
        if (some := _by_energy(each))
    ]
    return _some([t.bar for t in middles if t])


def _ended(run: Run) -> str:
    if run.record.trial:
        return "profile" if run.record.is_profile else "trial of a sweep"
    how = run.record.status
    return {"complete": "", "budget": "stopped at its budget"}.get(how, how)


def _by_energy(runs: Iterable[Run]) -> list[Run]:
    known = [(e, r.record.run_id, r) for r in runs if (e := usable_energy_j(r.record))]
    return [run for *_, run in sorted(known, key=lambda each: each[:2])]


def _sorted(trainings: Iterable[Training]) -> list[Training]:
    return sorted(trainings, key=lambda t: (t.estimated, -t.energy.value, t.name, t.run_id))


def _some(bars: Sequence[Bar]) -> list[Bar]:
    """At most BARS, measured ones before estimated ones."""
    measured = _evenly([b for b in bars if b.kind == chart.MEASURED], BARS)
    estimated = [b for b in bars if b.kind != chart.MEASURED]
    return [*measured, *_evenly(estimated, BARS - len(measured))]


def _evenly(bars: Sequence[Bar], most: int) -> list[Bar]:
    """From the smallest to the largest."""
    every = chart.ordered(bars)
    if len(every) <= most:
        return every
    return [every[round(i * (len(every) - 1) / max(most - 1, 1))] for i in range(most)]


# --- the tables as texts -------------------------------------------------------------------------


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


# --- the same today ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Today:
    """The study's trainings by grids of today: kg CO2e of each in each."""

    scenarios: tuple[Scenario, ...]
    rows: tuple[tuple[str, str, str, tuple[str, ...]], ...]
    """Name, kWh, kg in the study, kg in each scenario."""
    explained: tuple[tuple[str, ...], ...]

    @property
    def spread(self) -> str:
        """How many times as much the dirtiest grid emits as the cleanest."""
        grams = [s.g_per_metered_kwh for s in self.scenarios]
        return significant(max(grams) / min(grams), 2)


def today(table: Table, codes: Sequence[str] = TODAY, pue: str = TODAY_PUE) -> Today:
    scenarios = tuple(carbon.asked(code, pue) for code in codes)
    by_grid = [published.again(table, scenario) for scenario in scenarios]
    rows, why = [], []
    for row in table.rows:
        study, energy = row.cells["lb"].computed, by_grid[0].get(row.name)
        if study is None or energy is None:
            continue
        kg = tuple(_whole(grid[row.name][1].value) for grid in by_grid)
        rows.append(
            (row.name, _whole(energy[0].value), _whole(formulas.in_kg(study).value), kg)
        )  # fmt: skip
        why.append(tuple(explained(energy[1])))
    return Today(scenarios, tuple(rows), tuple(why))


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else significant(value, 2)


# --- a project -----------------------------------------------------------------------------------


def ledger(found: Project) -> list[tuple[str, str]]:
    """A project added up, as labelled lines; the study's own project beside it."""
    from bench.footprint.case import of_study

    study, whole = of_study(), found.whole
    days, hours = f"{study.jobs:,} in {study.days:,}", f"{study.device_hours.value:,.0f}"
    said = [
        ("jobs", f"{whole.jobs:,} in {found.days:,} days; the study {days}"),
        ("device-hours", f"{significant(whole.device_hours)}; the study {hours}"),
    ]
    for level, cost in found.costs.items():
        about = "≈" if level == "estimated" else ""
        said.append((
            level,
            f"{about}{energy_text(cost.building.value)} {unsure_text(cost.building)}, "
            f"{about}{mass_text(cost.emissions.value)}, "
            f"electricity {about}{significant(cost.electricity.value)} USD",
        ))  # fmt: skip
    if whole.unknown:
        said.append(("not known", f"the energy of {whole.unknown:,} jobs"))
    share, multiple = found.share("hours"), found.multiple("hours")
    if share and multiple:
        times = study.multiple.value
        said.append((
            "final training",
            f"{significant(100 * share.value)} % of all device-hours: all of it is "
            f"{significant(multiple.value)} times one training; the study's {times:,.0f} times",
        ))  # fmt: skip
    return said + [("", note) for note in (f"final: {found.rule}", *found.notes)]


# --- a report ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Trainings that may be added: measured ones, or estimated ones."""

    title: str
    estimated: bool
    trainings: tuple[Training, ...]
    listed: frozenset[str] = frozenset()  # ids of all trainings

    @property
    def kwh(self) -> float:
        """Parts and teachers that several are charged for, or that are listed, count once."""
        charged = {i: kwh for t in self.trainings for i, kwh in t.charged}
        alone = (t.energy.value - sum(kwh for _, kwh in t.charged) for t in self.trainings)
        return sum(alone) + sum(kwh for i, kwh in charged.items() if i not in self.listed)

    @property
    def kg(self) -> float:
        first = self.trainings[0]
        return self.kwh * first.emissions.value / first.energy.value

    @property
    def total(self) -> str:
        about = "≈" if self.estimated else ""
        count = len(self.trainings)
        runs = "1 training" if count == 1 else f"{count:,} trainings"
        return f"{runs}: {about}{energy_text(self.kwh)}, {about}{mass_text(self.kg)}"


@dataclass(frozen=True)
class Report:
    scenario: Scenario
    tables: tuple[Table, ...]
    submitted: tuple[Training, ...]
    own: tuple[Training, ...]
    bars: tuple[Bar, ...]
    notes: tuple[str, ...] = ()
    ledger: tuple[tuple[str, str], ...] = ()  # of a project, as labelled lines

    @property
    def sheets(self) -> list[Sheet]:
        return [sheet(table) for table in self.tables]

    @property
    def own_groups(self) -> list[Group]:
        return groups(self.own)

    @property
    def submitted_groups(self) -> list[Group]:
        return groups(self.submitted)


def make(
    scenario: Scenario,
    cells: Iterable[BoardCell],
    runs: Sequence[Run],
    notes: Sequence[str] = (),
    ledger: Sequence[tuple[str, str]] = (),
) -> Report:
    """`cells` are of what was submitted, `runs` those of one's own."""
    tables = tuple(published.tables())
    submitted = best(cells, scenario)
    drawn = [*bars(tables, submitted), *own_bars(runs, scenario)]
    return Report(
        scenario, tables, tuple(submitted), tuple(own(runs, scenario)),
        tuple(chart.ordered(drawn)), tuple(notes), tuple(ledger),
    )  # fmt: skip


def bars(tables: Iterable[Table], trainings: Iterable[Training]) -> list[Bar]:
    """Published trainings, and some of those made here among them."""
    return chart.ordered([*chart.published_bars(tables), *_some([t.bar for t in trainings])])


def groups(trainings: Iterable[Training]) -> list[Group]:
    every = list(trainings)
    ids = frozenset(t.run_id for t in every)
    found = [
        Group(title, estimated, tuple(t for t in every if t.estimated is estimated), ids)
        for title, estimated in (("Measured", False), ("Estimated, not measured", True))
    ]
    return [group for group in found if group.trainings]


def summary(report: Report) -> list[str]:
    """What a reader who reads no further should know."""
    cells = [c for t in report.tables for r in t.rows for c in r.cells.values()]
    compared = [c for c in cells if c.agrees is not None]
    agree = sum(1 for c in compared if c.agrees)
    said = [
        f"Of {len(compared)} published numbers that follow from stated inputs, {agree} agree with "
        f"what was printed; each of the other {len(compared) - agree} is explained below.",
    ]
    if search := largest(report.tables):
        said.append(
            f"The largest training of the study, {search.name} on {search.hardware}, took "
            f"{_text(search.cells['kwh'])} and emitted {_text(search.cells['lb'])} "
            f"({mass_text(formulas.in_kg(_known(search.cells['lb'])).value)})."
        )
    for group in report.own_groups:
        said.append(f"One's own, {group.title.lower()}: {group.total}.")
    if not report.own:
        said.append("There are no runs of one's own here: bench run makes some.")
    return said


def largest(tables: Iterable[Table]) -> Row | None:
    rows = [
        r for t in tables if t.key == "3" for r in t.rows
        if r.cells["kwh"].computed and r.cells["lb"].computed
    ]  # fmt: skip
    return max(rows, key=lambda r: _known(r.cells["kwh"]).value, default=None)


def like(report: Report) -> list[str]:
    """The last lines: what the whole is like."""
    said = []
    for group in report.own_groups:
        if line := equivalents.line(group.kg):
            said.append(f"One's own trainings, {group.title.lower()}: {line}")
    if line := render.last_line(report.tables):
        said.append(line)
    return said


def _known(cell: Cell) -> Quantity:
    assert cell.computed
    return cell.computed


def _text(cell: Cell) -> str:
    found = _known(cell)
    return f"{found.value:,.0f} {found.unit}"


def energy_text(kwh: float) -> str:
    return f"{significant(kwh, 4 if kwh >= 1000 else 3)} kWh"


def mass_text(kg: float) -> str:
    """g below a kg."""
    if kg < 1:
        return f"{significant(1000 * kg)} g CO2e"
    return f"{kg:,.0f} kg CO2e" if kg >= 1000 else f"{significant(kg)} kg CO2e"


def unsure_text(quantity: Quantity) -> str:
    """In per cent of the number; what is not known is said."""
    if quantity.uncertainty is None:
        return "± unknown"
    return f"±{significant(100 * quantity.uncertainty / quantity.value, 2)} %"


def grid_text(scenario: Scenario) -> str:
    region = scenario.region
    assumed = "; assumed, since none was named" if scenario.assumed else ""
    return (
        f"{region.name} {region.year}, {significant(region.g_per_kwh)} g CO2e/kWh ({region.source},"
        f" {region.kind}{assumed}), {scenario.pue}"
    )


def appendix(report: Report) -> list[str]:
    """Every number: its formula down to its sources."""
    said = list(render.explanations(report.tables))
    for each in (*report.submitted, *report.own[:ROWS]):
        name = plain(f"{each.name}, {each.hardware}", 200)
        said += [name, *(f"  {plain_line(line)}" for line in explained(each.emissions)), ""]
    return said


def plain_line(line: str) -> str:
    """With its indent, and nothing that acts."""
    return " " * (len(line) - len(line.lstrip(" "))) + plain(line, 400)


# --- writing -------------------------------------------------------------------------------------


def kind_of(path: Path) -> str:
    """html or markdown, by the name's end; UsageError for another, or where it can't be."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(
            f"'{path.name}' names no kind of report", "a name that ends in .html or .md"
        )
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path} can't be written", "name a file in a folder that exists")
    if kind == "html":
        require()
    return kind


def require() -> None:
    """MissingExtra where HTML or its drawing can't be made."""
    try:
        import altair  # noqa: F401
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError:
        raise MissingExtra("a report in HTML", "plot") from None


def written(report: Report, kind: str, explain: bool = False) -> str:
    return html(report, explain) if kind == "html" else markdown(report, explain)


# --- Markdown ------------------------------------------------------------------------------------

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


def row(each: Training) -> list[str]:
    """A training as texts."""
    about = "≈" if each.estimated else ""
    took = "" if each.duration_s is None else show_duration(each.duration_s)
    return [
        each.name, each.hardware, f"{about}{significant(each.energy.value)}",
        unsure_text(each.energy), f"{about}{mass_text(each.emissions.value)}", took,
        "; ".join(filter(None, (each.how, each.of))), each.run_id[:8],
    ]  # fmt: skip


def _table(heads: Sequence[str], marks: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    return ["| " + " | ".join(each) + " |" for each in (heads, marks, *rows)]


# --- HTML ----------------------------------------------------------------------------------------

WIDE, NARROW = chart.Look(430), chart.Look(338, names=0)


def html(report: Report, explain: bool = False) -> str:
    """A page that loads nothing: its style is known to its policy by a digest."""
    style = (Path(__file__).with_name("report.css")).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        _environment()
        .get_template("report.html")
        .render(
            style=_markup(style), policy=policy, report=report, summary=summary(report),
            plot=_markup("".join(drawings(report.bars, report.scenario))),
            caption=chart.caption(report.scenario), grid=grid_text(report.scenario), row=row,
            like=like(report), appendix=_lines(appendix(report)) if explain else "", most=ROWS,
        )
    )  # fmt: skip


def drawings(bars: Sequence[Bar], scenario: Scenario) -> list[str]:
    """In the colours of the page."""
    from bench.plot import inline

    looks = [replace(look, inks=inline.INKS, accent="var(--c1)") for look in (WIDE, NARROW)]
    return chart.svg(bars, scenario, looks[0], looks[1], inline.inline)


def _markup(text: str) -> Any:
    """Of what this package made: shapes and a style."""
    from markupsafe import Markup

    return Markup(text)


def _lines(texts: Iterable[str]) -> Any:
    """With their indents."""
    from markupsafe import escape

    return escape("\n".join(map(plain_line, texts)))


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("bench.footprint", "."), autoescape=True, undefined=StrictUndefined,
        finalize=_shown, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def _shown(value: Any) -> Any:
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return plain(value, 1000)
    return value
