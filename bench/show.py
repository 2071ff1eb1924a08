"""What a person reads: plans, summaries of runs, lists of tasks, models, recipes and meters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cards import Card
from bench.power.carbon import Region
from bench.rank import score
from bench.record import DomainEnergy, Metric, Record
from bench.units import g_co2e, show_duration, show_emissions, show_energy, significant

if TYPE_CHECKING:
    from rich.table import Table

    from bench.power.doctor import Status
    from bench.run import Forecast, Plan

_LEVELS = {
    "M0": "estimated, not measured",
    "M1": "software counters",
    "M2": "node or wall meter",
    "M3": "calibrated meter",
}


def record_lines(record: Record, folder: Path, region: Region) -> list[tuple[str, str]]:
    """(label, text) for each line of the summary; a label may be empty: more of the last."""
    said = [("run", _headline(record)), ("data", _data(record))]
    if record.failure:
        said.append((record.status, record.failure))
    said += _accuracy(record.metric) if record.metric else [("accuracy", "none: no predictions")]
    said += _energy(record)
    said += _carbon(record, region)
    said.append(("time", show_duration(record.duration_s)))
    said += _score(record)
    said += _measured(record)
    said += [("warning" if i == 0 else "", w.message) for i, w in enumerate(record.warnings)]
    said.append(("folder", str(folder)))
    return said


def grid(said: list[tuple[str, str]]) -> Table:
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
        table.add_row(Text(label, style="bold"), Text(printable(text), style=style))
    return table


def printable(text: str) -> str:
    """`text` without control characters: what a record says must not steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _headline(record: Record) -> str:
    s = record.spec
    origin = "drawn" if s.seed_origin == "harness" else "given: a replay, not ranked"
    return (
        f"{record.run_id}: {s.task}, {s.model}, {s.recipe}, seed {s.seed} ({origin}), "
        f"{s.device} on {s.hardware}"
    )


def _data(record: Record) -> str:
    d = record.spec.data
    rows = ", ".join(f"{n:,} {split}" for split, n in d.rows.items())
    name = "official" if d.official else f"NOT the official data (board {d.board()})"
    return f"{name}, from {d.source}: {rows}"


def _accuracy(metric: Metric) -> list[tuple[str, str]]:
    low, high = score.wilson_interval(metric)
    counted = f" ({metric.statistics['correct']:.0f} of {metric.n})" if metric.correct else ""
    return [
        (
            metric.name,
            f"{100 * metric.value:.1f} %{counted}, 95 % from the split's size alone: "
            f"{100 * low:.1f} to {100 * high:.1f} %; chance {100 * metric.chance:.1f} %",
        )
    ]


def _energy(record: Record) -> list[tuple[str, str]]:
    if record.energy_j is None:
        return [("energy", "unknown: a charged meter could not be read")]
    parts = {p.name: record.phase_energy_j(p.name) or 0.0 for p in record.phases}
    split = ", ".join(f"{name} {show_energy(j)}" for name, j in parts.items())
    return [("energy", f"{_with_band(record)} ({_LEVELS[record.level]})"), ("", split)]


def _with_band(record: Record) -> str:
    energy_j = record.energy_j or 0.0
    if record.level == "M0":
        low = sum(d.band_j[0] if d.band_j else d.energy_j or 0 for d in record.charged)
        high = sum(d.band_j[1] if d.band_j else d.energy_j or 0 for d in record.charged)
        return f"about {show_energy(energy_j)}, between {show_energy(low)} and {show_energy(high)}"
    return f"{show_energy(energy_j)} ± {show_energy(record.uncertainty_j or 0.0)}"


def _carbon(record: Record, region: Region) -> list[tuple[str, str]]:
    if record.energy_j is None:
        return []
    grams = g_co2e(record.energy_j, region.g_per_kwh)
    assumed = "" if record.region else "; assumed, --region names yours"
    return [
        (
            "carbon",
            f"{show_emissions(grams)} at {significant(region.g_per_kwh)} g/kWh "
            f"({region.name} {region.year}, {region.source}{assumed})",
        )
    ]


def _score(record: Record) -> list[tuple[str, str]]:
    if not record.rankable or record.metric is None or record.energy_j is None:
        return [("score", "none: this run can't be ranked")]
    value = score.score([record.metric.skill], [record.energy_j])
    return [("score", f"{significant(value)} qualified accuracy per kWh (one run)")]


def _measured(record: Record) -> list[tuple[str, str]]:
    measured = [d for d in record.charged if d.method in ("counter", "integral")]
    estimated = [d for d in record.domains if d.method == "modelled"]
    missing = [d for d in record.charged if d.method == "missing"]
    said = [("measured", _domains(measured) or "nothing")]
    if estimated:
        counted = "" if estimated[0].charged else ", not counted"
        said += [
            ("estimated" if i == 0 else "", f"{_domain(d)}{counted}: {d.reason}")
            for i, d in enumerate(estimated)
        ]
    if missing:
        said.append(("missing", "; ".join(f"{d.domain}: {d.reason}" for d in missing)))
    said += [("not covered" if i == 0 else "", t) for i, t in enumerate(record.not_covered)]
    return said


def _domains(domains: list[DomainEnergy]) -> str:
    return "; ".join(_domain(d) for d in domains)


def _domain(d: DomainEnergy) -> str:
    name = f"{d.device} ({d.domain})" if d.kind == "gpu" else d.domain
    sure = "" if d.uncertainty_j is None else f" ± {show_energy(d.uncertainty_j)}"
    if d.method == "modelled":
        return f"{name} {show_energy(d.energy_j or 0.0)}"
    return f"{name} {show_energy(d.energy_j or 0.0)}{sure} by {d.method}"


# --- before a run --------------------------------------------------------------------------------


def plan_lines(plan: Plan) -> list[tuple[str, str]]:
    """What will run, on what data and device."""
    card, data, located = plan.card, plan.resolved, plan.located
    official = "the official data" if data.identity.official else "NOT the official data"
    prints = ", ".join(f"{s} {digest[:12]}" for s, digest in data.identity.fingerprints.items())
    said = [
        ("task", f"{card.title}: {card.description}"),
        ("data", f"{data.place}: {official}"),
        ("", f"fingerprints: {prints}"),
    ]
    said += [("", note) for note in data.notes]
    said += [
        ("model", f"{plan.model} ({located.track})"),
        ("recipe", plan.recipe + ": " + ", ".join(f"{k}={v}" for k, v in plan.settings.items())),
        ("device", f"{plan.device} on {plan.hardware}"),
    ]
    said += [("warning", note.message) for note in plan.notes]
    return said


def forecast_lines(forecast: Forecast, plan: Plan, runs: int) -> list[tuple[str, str]]:
    """What `bench run --plan` predicts, for one run and for all."""
    about = "estimated" if forecast.level == "M0" else "from measured power"
    grams = g_co2e(forecast.energy_j, plan.region.g_per_kwh)

    def costs(times: int) -> str:
        return (
            f"{show_energy(times * forecast.energy_j)} ({about}), "
            f"{show_emissions(times * grams)} ({plan.region.name} {plan.region.year}), "
            f"{show_duration(times * forecast.duration_s)}"
        )

    said = [("one run", f"{costs(1)}, {forecast.total_steps:,} steps")]
    if runs > 1:
        said.append((f"{runs} runs", costs(runs)))
    tried = f"{forecast.steps} steps at {significant(forecast.power_w)} W; nothing was kept"
    said.append(("tried", tried))
    return said


def next_command(task: str, runs: int, seed: int | None) -> str:
    """The command that most users want after a run."""
    if runs < 3 and seed is None:
        return f"bench leaderboard --task {task}   (three runs make a ranked entry: --runs 3)"
    return f"bench leaderboard --task {task}"


# --- lists ---------------------------------------------------------------------------------------


def card_lines(card: Card) -> list[tuple[str, str]]:
    """One task as a person reads it."""
    pinned = card.fingerprints
    reference = f"{card.reference.model} at {card.reference.value:g} ({card.reference.source})"
    prints = "not pinned"
    if pinned:
        prints = f"train {pinned.train[:16]}, scored {pinned.scored[:16]}"
    published = ", ".join(f"{name} {value:g}" for name, value in card.published.items())
    return [
        ("task", f"{card.name}: {card.title}, version {card.version}"),
        ("", card.description),
        ("inputs", ", ".join(card.inputs)),
        ("classes", ", ".join(card.labels.classes)),
        ("metric", f"{card.metric.name}, chance: {card.metric.chance}, best: {card.metric.best:g}"),
        ("rows", f"{card.rows.train:,} train, {card.rows.scored:,} scored"),
        ("tiers", f"from {reference}"),
        ("published", published or "none"),
        ("hub", f"{card.hub.repo} {card.hub.config} at {card.hub.revision[:12]}"),
        ("local", f"{card.local.folder}/{{{card.local.train},{card.local.scored}}}"),
        ("fingerprint", prints),
        ("licence", card.licence),
        ("citation", card.citation),
        ("run it", f"bench run --task {card.name}"),
    ]  # fmt: skip


def tasks(cards: list[Card]) -> Table:
    rows = [
        (c.name, c.title, c.family, c.metric.name, f"{c.rows.train:,}", f"{c.rows.scored:,}")
        for c in cards
    ]
    return _list(["task", "title", "family", "metric", "train", "scored"], rows)


def models(described: list[dict[str, Any]]) -> Table:
    rows = [
        (d["name"], d["track"], f"{d['parameters'] / 1e6:.1f} M", d["about"]) for d in described
    ]
    return _list(["model", "track", "parameters", "what it is"], rows)


def recipes(described: list[dict[str, Any]]) -> Table:
    rows = [(d["name"], d["summary"], d["charges"]) for d in described]
    return _list(["recipe", "what it does", "charged"], rows)


def facts_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """A described model or recipe, one line a fact; settings have a line each."""
    said: list[tuple[str, str]] = []
    for key, value in facts.items():
        lines = _fact_lines(value)
        said += [(key if i == 0 else "", line) for i, line in enumerate(lines)]
    return said


def _fact_lines(value: Any) -> list[str]:
    match value:
        case None | [] | {}:
            return []
        case [dict(), *_]:  # the settings of a recipe
            return [f"{v['name']} = {_default(v['default'])}  {v['about']}" for v in value]
        case list() | tuple():
            return [", ".join(map(str, value))]
        case dict():
            return [f"{k} = {v}" for k, v in value.items()]
        case bool() | str() | float():
            return [str(value)]
        case int():
            return [f"{value:,}"]
    return [str(value)]


def _default(value: Any) -> str:
    return "the model's own" if value is None else str(value)


def doctor(report: list[Status]) -> Table:
    rows = [
        (r.name, "works" if r.works else "no", r.what if r.works else r.reason or "", r.fix or "")
        for r in report
    ]
    return _list(["meter", "", "what it reads, or why not", "what mends it"], rows)


def _list(titles: list[str], rows: Sequence[tuple[str, ...]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    return table
