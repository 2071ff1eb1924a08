"""What a person reads: plans, summaries of runs, lists of tasks, models, recipes and meters."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import lineage
from bench.cards import Card
from bench.power.carbon import NO_PUE, Scenario
from bench.rank import notation, score
from bench.rank.entry import is_share, usable_energy_j, usable_metric
from bench.rank.render import plain
from bench.recipes.prune import BEFORE
from bench.record import (
    LOG,
    DomainEnergy,
    Measurement,
    Metered,
    Metric,
    Node,
    Record,
    RunCost,
    Saved,
    Tuning,
)
from bench.units import (
    show_duration,
    show_emissions,
    show_energy,
    show_energy_band,
    significant,
)

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from bench.power.calibration import Calibration
    from bench.power.doctor import Reads, Report, Status
    from bench.reference import Reference
    from bench.run import Forecast, Plan

_LEVELS = {
    "M0": "estimated, not measured",
    "M1": "measured by software counters",
    "M2": "measured at the node or wall",
    "M3": "measured by a calibrated meter",
}

LONGEST = 2_000  # characters of one text that people are shown

Lines = list[tuple[str, str]]
"""(label, text) of each line; a line without a label goes on with the last."""


def record_lines(
    record: Record, folder: Path, scenario: Scenario, card: Card | None = None
) -> Lines:
    """One run: the result first, then how it was measured, then what makes it doubtful. The task's
    card, where it is at hand, says whether it is ranked."""
    said = [("run", _headline(record)), ("data", _data(record))]
    if record.failure:
        said.append((record.status, record.failure))
    if (log := folder / LOG).is_file() and log.stat().st_size and record.status == "failed":
        said.append(("log", str(log)))
    none = "none: a profile is not scored" if record.is_profile else "none: no predictions"
    said += _metric(record.metric) if record.metric else [("result", none)]
    said += _energy(record)
    said += _prediction(record)
    said += _carbon(record, scenario)
    said += _time(record)
    said += labelled("parts", [_part(p) for p in record.parts])
    said += labelled("teacher", [_cost(c) for c in record.charged_runs if c.role == "teacher"])
    said += labelled("upstream", [f"{_cost(c)}; not counted" for c in record.upstream])
    said += _tuning(record)
    said += _reference(record)
    said += _score(record, card)
    said += _measured(record)
    said += labelled("node", [_node(record, n) for n in record.nodes])
    said += labelled("kept", [_kept(kept) for kept in record.saved])
    said += labelled("warning", [w.message for w in record.warnings])
    said.append(("folder", str(folder)))
    return said


def _node(record: Record, node: Node) -> str:
    """What one of several machines took."""
    mine = [d for d in record.charged if d.node == node.number]
    parts = [f"{d.kind} {show_energy(d.energy_j)}" for d in mine if d.energy_j is not None]
    return f"{node.number}: {', '.join(parts) or 'nothing was read'}"


def _time(record: Record) -> Lines:
    total_s = record.total_duration_s
    if not record.charged_runs:
        return [("time", show_duration(record.duration_s))]
    whole = "unknown in all" if total_s is None else f"{show_duration(total_s)} in all"
    return [("time", f"{whole}, this run {show_duration(record.duration_s)}")]


def _tuning(record: Record) -> Lines:
    """The sweep that it is a trial of, or that chose its settings: in no sum above."""
    if record.is_profile:
        text = f"no entry of any board; `bench footprint extrapolate {record.run_id}` reads it"
        return [("profile", text)]
    if record.trial is not None:
        return [("trial", f"of the sweep {record.trial}: no entry of any board")]
    t = record.tuning
    if t is None:
        return []
    said = [f"sweep {t.sweep}: {tried(t)}, {spent(t)}; not counted above"]
    if not t.adds_to(record.level, record.coverage):
        said.append(f"it covers {t.coverage}, this training {record.coverage} ({record.level}): "
                    "no sum is made")  # fmt: skip
    elif t.energy_j is not None and record.energy_j:
        times = significant(t.energy_j / record.energy_j)
        said.append(f"{times} times this training; {show_energy(t.energy_j + record.energy_j)} "
                    "with it")  # fmt: skip
    return labelled("tuning", said)


def tried(t: Tuning) -> str:
    """How many settings, and what became of them."""
    said = {"were ended early": t.pruned, "came to nothing": t.failed}
    parts = [f"{t.trials} {'trial' if t.trials == 1 else 'trials'}"]
    parts += [f"{n} {what}" for what, n in said.items() if n]
    return ", ".join(parts)


def spent(t: Tuning) -> str:
    """Energy, level, time."""
    if t.energy_j is None:
        energy = "energy unknown"
    elif t.band_j:
        energy = f"about {show_energy_band(t.energy_j, *t.band_j)}"
    else:
        unsure = "unknown" if t.uncertainty_j is None else show_energy(t.uncertainty_j)
        energy = f"{show_energy(t.energy_j)} ± {unsure}"
    return f"{energy} ({t.level}), {show_duration(t.duration_s)}"


def _part(part: RunCost) -> str:
    """An earlier part of a training."""
    limits = f", --budget {part.limits['budget']}" if part.limits.get("budget") else ""
    return f"{_cost(part)}; to step {part.step}{limits}"


def _cost(cost: RunCost) -> str:
    """What another run took."""
    if cost.energy_j is None:
        return f"run {cost.run_id}: energy unknown"
    unsure = "" if cost.uncertainty_j is None else f" ± {show_energy(cost.uncertainty_j)}"
    time = "" if cost.duration_s is None else f", {show_duration(cost.duration_s)}"
    of = f"{cost.model} on {cost.task}, {cost.hardware}"
    return f"run {cost.run_id}: {show_energy(cost.energy_j)}{unsure} ({cost.level}){time}; {of}"


def _kept(kept: Saved) -> str:
    """A file and what it is for."""
    return f"{kept.file}, {kept.bytes / 1e6:,.1f} MB, after step {kept.step:,}"


def continued_lines(later: Sequence[Record]) -> Lines:
    """The runs that go on with a run, which is no entry of its own where one of them ended well."""
    return labelled("continued", [f"by run {r.run_id} ({r.status})" for r in later])


def measurement_lines(measured: Measurement, folder: Path, scenario: Scenario) -> Lines:
    """A program that was metered."""
    named = shlex.join(measured.command) if measured.command else "a part of a program"
    said = [("measured", f"{measured.run_id}  {named}")]
    if measured.failure:
        said.append((measured.status, measured.failure))
    said += _energy(measured)
    said += _carbon(measured, scenario)
    said.append(("time", show_duration(measured.duration_s)))
    said += _idle(measured)
    said += _measured(measured)
    said += labelled("warning", [w.message for w in measured.warnings])
    said.append(("folder", str(folder)))
    return said


def _idle(measured: Metered) -> Lines:
    """Power before and after, which is in the energy and not taken off."""
    said = [
        f"{significant(power_w)} W {when}"
        for when, idle in (("before", measured.idle_before), ("after", measured.idle_after))
        if (power_w := measured.idle_w(idle)) is not None
    ]
    return [("idle", ", ".join(said))] if said else []


def labelled(label: str, texts: Sequence[str]) -> Lines:
    return [(label if i == 0 else "", text) for i, text in enumerate(texts)]


def grid(said: Lines) -> Table:
    """The lines as two aligned columns that wrap in a narrow terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    styles = {"warning": "yellow", "failed": "red", "interrupted": "red", "estimated": "yellow"}
    style = ""
    for label, text in said:
        style = styles.get(label, "") if label else style
        table.add_row(Text(plain(label), style="bold"), Text(plain(text, LONGEST), style=style))
    return table


def _headline(record: Record) -> str:
    s = record.spec
    origin = "" if s.seed_origin == "harness" else " (given: a replay, not ranked)"
    return (
        f"{record.run_id}  {s.model}, {s.recipe}, seed {s.seed}{origin}; "
        f"{s.hardware}{_together(s.processes)}; {record.started_at[:16].replace('T', ' ')} UTC"
    )


def _data(record: Record) -> str:
    d = record.spec.data
    rows = ", ".join(f"{n:,} {split}" for split, n in d.rows.items())
    name = "official" if d.official else f"NOT the official data (board {d.board()})"
    return f"{record.spec.task}, {name}, {d.source}: {rows}"


def _metric(metric: Metric) -> Lines:
    shown = notation.of(metric.name)
    chance = f"chance {shown.text(metric.chance)}"
    if is_share(metric):
        low, high = score.wilson(metric.value, metric.n)
        chance = (
            f"{metric.value * metric.n:.0f} of {metric.n}; {chance}; the split's size alone "
            f"allows {shown.number(low)} to {shown.text(high)}"
        )
    elif metric.best < metric.chance:
        chance += "; less is better"
    said = [f"{notation.named(metric.name, metric.value)} ({chance})"]
    if metric.also:
        also = ", ".join(notation.named(name, value) for name, value in metric.also.items())
        said.append(f"also {also}")
    if metric.signature:
        said.append(f"as {metric.signature}")
    return labelled("result", said)


def _energy(record: Metered) -> Lines:
    if record.energy_j is None:
        missing = [d.domain for d in record.charged if d.energy_j is None]
        others = record.charged_runs if isinstance(record, Record) else []
        lost = [f"of run {c.run_id} nothing is known" for c in others if c.energy_j is None]
        if lost and not missing:
            return [("energy", f"unknown: {', '.join(lost)}")]
        return [("energy", "unknown: a meter that counts could not be read")]
    parts = {p.name: record.phase_energy_j(p.name) for p in record.phases}
    if "other" in parts:
        parts["other"] = parts.pop("other")  # last: it lies between the others
    split = ", ".join(
        f"{name} {'unknown' if j is None else show_energy(j, record.energy_j)}"
        for name, j in parts.items()
    )
    said = [f"{_with_doubt(record)}, {_LEVELS[record.level]}"]
    others = record.charged_runs if isinstance(record, Record) else []
    if others:
        own = show_energy(record.window_energy_j or 0.0, record.energy_j)
        rest = show_energy(sum(c.energy_j or 0.0 for c in others), record.energy_j)
        said.append(f"this run {own}, what it is charged for besides {rest}")
    return labelled("energy", [*said, split] if len(record.phases) > 1 else said)


def _prediction(record: Record) -> Lines:
    """What predicting takes since the model was pruned or quantised, where that was measured
    before it as well: of two such, before the first."""
    before = next((p for p in record.phases if p.name == BEFORE), None)
    before_j = record.energy_of(before) if before else None
    after_j = record.phase_energy_j("predict")
    if not before_j or after_j is None:
        return []
    change = after_j / before_j - 1
    less = f"{100 * abs(change):.0f} % {'less' if change < 0 else 'more'}"
    estimated = " (estimated)" if record.level == "M0" else ""
    ratio = record.model_facts.get("parameters_ratio")
    left = "" if ratio is None else f"; {100 * ratio:.0f} % of the parameters are left"
    return [
        (
            "prediction",
            f"{less} energy than before the model was changed: {show_energy(before_j)} then, "
            f"{show_energy(after_j)} now{estimated}{left}",
        )
    ]


def _with_doubt(record: Metered) -> str:
    energy_j = record.energy_j or 0.0
    if record.level == "M0":
        low, high = lineage.band_j(record) or (energy_j, energy_j)
        return f"about {show_energy_band(energy_j, low, high)}"
    if record.uncertainty_j is None:
        return f"{show_energy(energy_j)} ± unknown"
    return f"{show_energy(energy_j)} ± {show_energy(record.uncertainty_j, energy_j)}"


def _carbon(record: Metered, scenario: Scenario) -> Lines:
    if record.energy_j is None:
        return []
    region, pue = scenario.region, scenario.pue
    assumed = "; assumed, --region names yours" if scenario.assumed else ""
    building = "" if pue.name == NO_PUE else f"; {pue}"
    return [
        (
            "carbon",
            f"{show_emissions(scenario.emissions_g(record.energy_j))} ({region.name} "
            f"{region.year}, {significant(region.g_per_kwh)} g/kWh, {region.source}, "
            f"{region.kind}{building}{assumed})",
        )
    ]


def _reference(record: Record) -> Lines:
    if record.reference is None or record.energy_j is None:
        return []
    kept = record.reference
    times = significant(record.energy_j / kept.energy_j)
    return [
        (
            "reference",
            f"{times} times the reference job ({show_energy(kept.energy_j)} of "
            f"{kept.measured_at[:10]})",
        )
    ]


def _score(record: Record, card: Card | None) -> Lines:
    if card and card.unranked and card.version == record.spec.task_version:
        return [("score", f"none: the task is not ranked: {card.unranked}")]
    metric, energy_j = usable_metric(record), usable_energy_j(record)
    if not record.rankable or metric is None or energy_j is None:
        return [("score", "none: this run can't be ranked")]
    skill = score.skill(metric.value, metric.chance, metric.best, metric.scale)
    value = score.score([skill], [energy_j])
    of = notation.of(metric.name).title
    what = "qualified accuracy" if metric.name == "accuracy" else f"skill in {of}"
    return [("score", f"{significant(value)} {what} per kWh, this run alone")]


def _measured(record: Metered) -> Lines:
    measured = [d for d in record.charged if d.method in ("counter", "integral")]
    estimated = [d for d in record.domains if d.method == "modelled"]
    missing = [d for d in record.charged if d.method == "missing"]
    whole_j = record.window_energy_j
    said = labelled("measured", [_domain(d, whole_j) for d in measured] or ["nothing"])
    if estimated:
        counted = "" if estimated[0].charged else ", not counted"
        names = ", ".join(f"{d.kind} {show_energy(d.energy_j or 0.0, whole_j)}" for d in estimated)
        formulas = f"formulas and inputs: bench show {record.run_id[:8]} --json"
        said.append(("estimated", f"{names}{counted} ({formulas})"))
    said += labelled("missing", [f"{d.domain}: {d.reason}" for d in missing])
    return said + labelled("no meter", record.not_covered)


def _domain(d: DomainEnergy, whole_j: float | None) -> str:
    name = f"{d.device} {d.domain}" if d.kind == "gpu" else d.domain
    sure = "" if d.uncertainty_j is None else f" ± {show_energy(d.uncertainty_j, whole_j)}"
    checked = "" if d.disagreement is None else f", integral {100 * d.disagreement:.1f} % off"
    return f"{name} {show_energy(d.energy_j or 0.0, whole_j)}{sure} by {d.method}{checked}"


# --- before a run --------------------------------------------------------------------------------


def plan_lines(plan: Plan) -> Lines:
    """What will run, on what data and device."""
    card, data, located = plan.card, plan.resolved, plan.located
    official = "the official data" if data.identity.official else "NOT the official data"
    if card.fingerprints is None and data.source != "embedded":
        official = "fingerprint not pinned"
    prints = ", ".join(f"{s} {digest[:12]}" for s, digest in data.identity.fingerprints.items())
    said = [
        ("task", f"{card.title}: {card.description}" if card.description else card.title),
        ("data", f"{data.place}: {official}"),
        ("", f"fingerprints: {prints}"),
    ]
    said += [("", note) for note in data.notes]
    settings = ", ".join(f"{k}={v}" for k, v in plan.settings.items() if v is not None)
    said += [
        ("model", f"{plan.model} ({plan.track})"),
        ("recipe", f"{plan.recipe}: {settings}"),
        ("device", f"{plan.device} on {plan.hardware}{_together(plan.processes)}"),
    ]
    if at := plan.place:
        said.append(("node", f"{at.number} of {at.nodes}; the first is {at.host}:{at.port}"))
    said += _of_others(plan)
    said += labelled("note", located.notes)
    said += labelled("warning", [note.message for note in plan.notes])
    return said


def _together(processes: int) -> str:
    return f", {processes} processes" if processes > 1 else ""


def _of_others(plan: Plan) -> Lines:
    """The runs that this one goes on with, learns from, or starts from."""
    charged = plan.charged_runs
    teachers = [f"{_cost(c)}; charged to each run" for c in charged if c.role == "teacher"]
    return [
        *labelled("goes on", [_part(c) for c in charged if c.role == "part"]),
        *labelled("teacher", teachers),
        *labelled("upstream", [_cost(c) for c in plan.upstream]),
    ]


def forecast_lines(forecast: Forecast, plan: Plan, runs: int) -> Lines:
    """What `bench run --plan` predicts, for one run and for all."""
    about = "estimated" if forecast.level == "M0" else "from measured power"
    energy_j = forecast.energy_j

    def costs(times: int) -> str:
        time = show_duration(times * forecast.duration_s)
        if energy_j is None:
            return f"energy unknown (a meter that counts could not be read), {time}"
        grams, grid = plan.scenario.emissions_g(times * energy_j), plan.scenario.region
        return (
            f"{show_energy(times * energy_j)} ({about}), "
            f"{show_emissions(grams)} ({grid.name} {grid.year}), {time}"
        )

    said = [("one run", f"{costs(1)}, {forecast.total_steps:,} steps")]
    if runs > 1:
        said.append((f"{runs} runs", costs(runs)))
    if plan.budget and plan.budget.metered:
        said.append(("budget", _budget_share(forecast, plan)))
    said.append(("tried", f"{forecast.steps} steps; nothing was kept"))
    return said


def _budget_share(forecast: Forecast, plan: Plan) -> str:
    """Where the budget would end a run."""
    budget, energy_j = plan.budget, forecast.energy_j
    assert budget is not None
    if budget.duration_s:
        share = budget.duration_s / forecast.duration_s
    elif not energy_j:
        return f"whether {budget.text} is enough can't be told: the energy is unknown"
    elif budget.energy_j:
        share = budget.energy_j / energy_j
    else:
        share = (budget.emissions_g or 0.0) / plan.scenario.emissions_g(energy_j)
    if share >= 1:
        return f"{budget.text} is enough for one run"
    return f"{budget.text} ends a run after about {100 * share:.0f} % of its cost"


def next_lines(record: Record, card: Card, runs: int) -> Lines:
    """The commands that a user is likely to want after a run."""
    folder = f" --tasks {card.beside}" if card.beside else ""
    said = [f"bench leaderboard --task {record.spec.task}{folder}"]
    drawn = record.spec.seed_origin == "harness"
    if runs < 3 and drawn and card.reference and not card.unranked:
        said[0] += "   (three runs make a ranked entry: --runs 3)"
    if record.level == "M0":
        said.append("bench doctor   (why nothing was measured, and what mends it)")
    return labelled("next", said)


# --- meters ---------------------------------------------------------------------------------------


def reference_lines(kept: Reference) -> Lines:
    """What the reference job took on a machine."""
    from bench import reference

    unsure = (
        "" if kept.uncertainty_j is None else f" ± {show_energy(kept.uncertainty_j, kept.energy_j)}"
    )
    n = len(kept.repetitions)
    scatter = significant(100 * kept.scatter_j / kept.energy_j, 2)
    idle = "" if kept.idle_w is None else f", idle {significant(kept.idle_w)} W"
    job = ", ".join(f"{key}={value}" for key, value in kept.workload.items())
    versions = f"code {kept.code_sha256[:12]}, bench {kept.bench_version}, "
    said = [
        ("reference", f"{kept.hardware}, {kept.device}; {kept.measured_at[:10]}"),
        ("energy", f"{show_energy(kept.energy_j)}{unsure} a repetition, {_LEVELS[kept.level]} "
                   f"({kept.level}, {kept.coverage})"),
        ("scatter", f"{scatter} % (standard deviation of {n} repetitions)"),
        ("power", f"{significant(kept.power_w)} W{idle}"),
        ("time", f"{show_duration(kept.duration_s)} a repetition"),
        ("job", job),
        ("made with", versions + f"torch {kept.software.get('torch', 'unknown')}"),
    ]  # fmt: skip
    said += labelled("warning", kept.warnings)
    if why := reference.why_stale(kept):
        said.append(("warning", f"stale: {why}; `bench reference` makes it anew"))
    return said


def reference_facts(kept: Reference) -> dict[str, Any]:
    """A reference with what is computed from it, for JSON."""
    from bench import reference

    return {
        **kept.model_dump(mode="json"),
        "energy_j": kept.energy_j,
        "scatter_j": kept.scatter_j,
        "uncertainty_j": kept.uncertainty_j,
        "duration_s": kept.duration_s,
        "power_w": kept.power_w,
        "idle_w": kept.idle_w,
        "stale": reference.why_stale(kept),
    }


def calibration_lines(made: Calibration, path: Path) -> Lines:
    """What the meters said beside the reference, load by load, and what follows from it."""
    said = [("reference", f"{made.reference['device']} ({made.reference['probe']})")]
    said += labelled("calibrated", [f"{n}: {d['device']}" for n, d in made.domains.items()])
    for i, load in enumerate(dict.fromkeys(p.load for p in made.points)):
        points = [p for p in made.points if p.load == load]
        meter_w, reference_w = (
            sum(getattr(p, f) for p in points) / len(points) for f in ("meter_w", "reference_w")
        )
        left = 100 * ((made.gain * meter_w + made.offset_w) / reference_w - 1)
        said.append(
            (
                "" if i else "windows",
                f"{load}: {significant(meter_w)} W by the meters, {significant(reference_w)} W by "
                f"the reference, {left:+.2f} % off the line",
            )
        )
    return [
        *said,
        ("line", f"reference = {made.gain:.4f} x meters {made.offset_w:+.2f} W"),
        ("uncertainty", f"{100 * made.uncertainty:.2g} % (k = 2): level M3 from now on"),
        ("kept in", str(path)),
    ]


def doctor(report: Report) -> Group:
    """The meters that were tried, and below what decides how a run is metered here."""
    from rich.console import Group

    rows: list[tuple[str, ...]] = []
    for m in (m for m in report.meters if m.asked):
        first, *others = [_read(r) for r in m.reads] or [m.reason or m.what]
        rows.append((m.name, _state(m), first, m.fix or ""))
        rows += [("", "", text, "") for text in others]
    tried = table(["meter", "", "what it reads, or why not", "what mends it"], rows)
    at_hand = [f"{m.what}: {m.fix}" for m in report.meters if not m.asked]
    said = labelled("on request", at_hand)
    said += labelled("not covered", [f"{kind}: {why}" for kind, why in report.uncovered.items()])
    if report.gpus or report.gpus_unknown:
        seen = [f"{g['name']} {g['uuid']}" for g in report.gpus or []]
        said += labelled("GPUs charged", [*seen, *filter(None, [report.gpus_unknown])])
    said.append(("calibration", report.calibration))
    said.append(("machine", _machine(report.machine)))
    said += labelled("note", report.notes)
    if not report.measures:
        text = "no power meter works here: runs are estimates (M0), in tables of their own"
        said.append(("warning", text))
    return Group(tried, grid(said))


def _state(meter: Status) -> str:
    return "measures" if meter.measures else "estimates" if meter.works else "no"


def _read(r: Reads) -> str:
    """One domain as it was read while the doctor looked."""
    said = [f"{r.device} ({r.domain}, {r.level}, ± {100 * r.gain:.2g} %)"]
    if r.power_w is not None:
        said.append(f"{significant(r.power_w)} W")
    if r.tick_s is not None:
        said.append(f"moves every {significant(1000 * r.tick_s, 2)} ms")
    if r.rate_hz is not None:
        said.append(f"{r.rate_hz:.0f} readings a second")
    return ", ".join(said) + (f"; not read: {r.not_read}" if r.not_read else "")


def _machine(facts: dict[str, Any]) -> str:
    where = [f"{key}: {facts[key]}" for key in ("virtual", "container") if facts.get(key)]
    n = facts.get("processors")
    processors = f"{n} {'processor' if n == 1 else 'processors'}"
    said = [facts.get("cpu"), processors, facts.get("system")]
    return ", ".join(str(text) for text in [*said, *where] if text)


def table(titles: list[str], rows: Sequence[tuple[str, ...]]) -> Table:
    """Rows below titles, the first column on one line; a row of one text heads those below it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, title in enumerate(titles):
        table.add_column(title, overflow="fold", no_wrap=i == 0)
    below = ""  # what indents the rows below a heading
    for first, *others in rows:
        heads = not others and len(titles) > 1
        below = "  " if heads else below
        shown = ("" if heads else below) + plain(str(first), LONGEST)
        cells = (Text(plain(str(cell), LONGEST)) for cell in others)
        table.add_row(Text(shown, style="bold" if heads else ""), *cells)
    return table
