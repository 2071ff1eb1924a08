"""What people read of profiles and extrapolations: labelled lines, and facts for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.footprint import stable
from bench.footprint.quantity import Quantity, explained
from bench.units import show_duration, show_emissions, show_energy, significant

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from bench.footprint.extrapolate import Extrapolation, Way
    from bench.footprint.profile import Part, Profile
    from bench.footprint.validation import Case, Summary
    from bench.power.carbon import Scenario

Lines = list[tuple[str, str]]
"""(label, text) of each line; a line without a label goes on with the last."""


def number(quantity: Quantity, digits: int = 3) -> str:
    """214 W ± 3 W."""
    unit = f" {quantity.unit}" if quantity.unit else ""
    if quantity.uncertainty is None:
        return f"{significant(quantity.value, digits)}{unit} ± unknown"
    unsure = significant(quantity.uncertainty, 2)
    return f"{significant(quantity.value, digits)}{unit} ± {unsure}{unit}"


def profile_lines(profile: Profile, scenario: Scenario) -> Lines:
    """A profile: power first, then what it is good for, then how sure that is."""
    record = profile.record
    spec = record.spec
    known = "estimated, not measured" if profile.estimated else "measured"
    said = [
        ("profile", f"{record.run_id}  {spec.model} on {spec.task}, {spec.recipe}; "
                    f"{spec.hardware}"),
        ("batch", _batch(profile)),
        ("power", f"{number(profile.power_w)}, {known} ({record.level}), while it trained"),
        *_domains(profile),
        ("", f"not covered: {'; '.join(record.not_covered)}") if record.not_covered else ("", ""),
        ("stable", _stable(profile)),
        ("speed", _speed(profile)),
        ("energy", f"{number(profile.step_j)} a step"),
    ]  # fmt: skip
    if profile.token_j:
        said.append(("", f"{_small(profile.token_j)} a token"))
    said += _around(profile)
    said.append(("an hour", _hour(profile, scenario)))
    said += [("uncertainty", _unsure(profile))]
    return [(label, text) for label, text in said if text]


def _batch(profile: Profile) -> str:
    settings = profile.record.spec.settings
    tokens = profile.tokens_a_step
    each = f", {significant(tokens)} tokens learned from a step" if tokens else ""
    if settings.get("batch_tokens"):
        return f"{settings['batch_tokens']:,} tokens of both sides{each}"
    return f"{settings.get('batch_size')} x {settings.get('max_length')} tokens at most{each}"


def _domains(profile: Profile) -> Lines:
    if len(profile.by_domain) < 2:
        return []
    kinds = {d.domain: f"{d.kind} ({d.device}, {d.level})" for d in profile.domains}
    said = []
    for domain, mean in profile.by_domain.items():
        half = "" if mean.half_width is None else f" ± {significant(mean.half_width, 2)} W"
        said.append(("", f"{significant(mean.value)} W{half} {kinds.get(domain, domain)}"))
    return said


def _stable(profile: Profile) -> str:
    verdict = profile.verdict
    after = show_duration(profile.train_s)
    out = f"the first {show_duration(verdict.left_out_s)} left out"
    if verdict.stable:
        return f"yes, after {after} of training: {verdict.why}; {out}"
    return f"no, not in {after} of training: {verdict.why}; {out}"


def _speed(profile: Profile) -> str:
    tokens = profile.tokens_per_s
    return f"{_rate(profile.steps_per_s)} steps/s" + (
        f", {_rate(tokens)} tokens/s" if tokens else ""
    )


def _rate(quantity: Quantity) -> str:
    unsure = quantity.uncertainty
    return significant(quantity.value) + ("" if unsure is None else f" ± {significant(unsure, 2)}")


def _small(quantity: Quantity) -> str:
    """Joules, or thousandths of one."""
    if quantity.value >= 0.1:
        return number(quantity)
    unsure = quantity.uncertainty
    milli = Quantity("", 1e3 * quantity.value, "mJ", uncertainty=None if unsure is None
                     else 1e3 * unsure)  # fmt: skip
    return number(milli)


def _around(profile: Profile) -> Lines:
    said = [f"{_part(profile.before)} before it trained"]
    for name, part in (("scoring of tune", profile.evaluate), ("prediction", profile.predict)):
        if part is None:
            continue
        whole = part.energy_j / part.times / (part.share or 1.0)
        told = ", from a sample" if part.share and part.share < 1 else ""
        said.append(f"{show_energy(whole)} a {name}{told}")
    return [("besides" if i == 0 else "", text) for i, text in enumerate(said)]


def _hour(profile: Profile, scenario: Scenario) -> str:
    energy_j = profile.power_w.value * 3600
    emitted = show_emissions(scenario.emissions_g(energy_j))
    return f"{show_energy(energy_j)} of the machine, {emitted} ({_where(scenario)})"


def _part(part: Part) -> str:
    return f"{show_energy(part.energy_j)} in {show_duration(part.duration_s)}"


def _unsure(profile: Profile) -> str:
    power_w = profile.verdict.power_w
    scatter = "unknown" if power_w is None else f"{100 * power_w.share:.2g} %"
    what = "the model of the estimate" if profile.estimated else "the meters"
    return f"{what} {100 * profile.meter_share:.2g} %, scatter of {len(profile.settled)} blocks " \
           f"{scatter}; both are in the numbers (95 %)"  # fmt: skip


def profile_facts(profile: Profile) -> dict[str, Any]:
    """For JSON."""
    verdict, record = profile.verdict, profile.record
    quantities = {
        "power": profile.power_w, "steps_per_s": profile.steps_per_s,
        "tokens_per_s": profile.tokens_per_s, "energy_a_step": profile.step_j,
        "energy_a_token": profile.token_j,
    }  # fmt: skip
    return {
        "run_id": record.run_id, "folder": str(profile.folder), "status": record.status,
        "model": record.spec.model, "task": record.spec.task, "recipe": record.spec.recipe,
        "settings": record.spec.settings, "hardware": record.spec.hardware,
        "level": record.level, "coverage": record.coverage, "estimated": profile.estimated,
        "stable": verdict.stable, "why": verdict.why, "rule": stable.RULE,
        "left_out_s": verdict.left_out_s, "train_s": profile.train_s,
        "blocks": len(profile.settled), "block_s": profile.block_s,
        "correlation": verdict.power_w.correlation if verdict.power_w else None,
        "drift_w": verdict.drift_w, "meter_share": profile.meter_share,
        "tokens_a_step": profile.tokens_a_step,
        **{name: q.as_dict() if q else None for name, q in quantities.items()},
        "power_by_domain": {d: {"w": m.value, "half_width_w": m.half_width}
                            for d, m in profile.by_domain.items()},
        "before": _facts(profile.before), "evaluate": _facts(profile.evaluate),
        "predict": _facts(profile.predict), "not_covered": record.not_covered,
        "warnings": [w.model_dump() for w in record.warnings],
    }  # fmt: skip


def _facts(part: Part | None) -> dict[str, Any] | None:
    if part is None:
        return None
    return {"energy_j": part.energy_j, "duration_s": part.duration_s, "times": part.times,
            "share": part.share}  # fmt: skip


# --- extrapolations ------------------------------------------------------------------------------


def extrapolation(found: Extrapolation) -> Iterator[RenderableType]:
    """Ways side by side, their spread, and what each assumes."""
    profile, spec = found.profile, found.profile.record.spec
    what = "profile" if profile.record.is_profile else "run"
    level = ", estimated" if profile.estimated else ""
    yield _text(f"a full training of {spec.model}, from {what} {profile.record.run_id} on "
                f"{spec.hardware}{level}; {_where(found.scenario)}")  # fmt: skip
    yield _text("")
    yield _ways(found)
    yield _text("")
    lines = [("spread", _spread(found))]
    lines += [(way.name, way.assumes) for way in found.ways]
    lines += list(found.missing)
    if found.published:
        lines.append(("published", found.published.assumes))
    yield _lines(lines + [("note", note) for note in found.notes])


def _where(scenario: Scenario) -> str:
    region = scenario.region
    assumed = " (assumed)" if scenario.assumed else ""
    return f"{region.name} {region.year}{assumed}, {significant(region.g_per_kwh)} g CO2e/kWh, " \
           f"{scenario.pue}"  # fmt: skip


def _ways(found: Extrapolation) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    ways = [*found.ways, *([found.published] if found.published else [])]
    costs = any(w.cost or w.cloud for w in ways)
    kwh, kg = _units(ways)
    for title in (kwh.name, f"{kg.name} CO2e", "time", *(["USD"] if costs else [])):
        table.add_column(title, justify="right", no_wrap=title != "USD")
    for way in ways:
        name = way.name.partition(",")[0] if way.key == "published" else way.name
        cells = [_sure(way.energy, kwh.times), significant(kg.times * way.emissions.value),
                 _hours(way.time) if way.time else ""]  # fmt: skip
        table.add_row(name, *cells, *([_cost(way)] if costs else []))
    return table


class _Unit(NamedTuple):
    name: str
    times: float  # of kWh, or kg


def _units(ways: Sequence[Way]) -> tuple[_Unit, _Unit]:
    """Of energy and of emissions, by the highest way."""
    kwh = max(way.energy.value for way in ways)
    kg = max(way.emissions.value for way in ways)
    return (
        _Unit("kWh", 1.0) if kwh >= 0.1 else _Unit("Wh", 1e3),
        _Unit("kg", 1.0) if kg >= 0.1 else _Unit("g", 1e3),
    )


def _sure(quantity: Quantity, times: float) -> str:
    unsure = quantity.uncertainty
    more = "" if unsure is None else f" ± {significant(times * unsure, 2)}"
    return significant(times * quantity.value) + more


def _hours(time: Quantity) -> str:
    """In days from two days up."""
    hours = time.value
    if hours < 48:
        return show_duration(3600 * hours)
    days = hours / 24
    return f"{significant(days)} days" if days < 730 else f"{significant(days / 365.25)} years"


def _cost(way: Way) -> str:
    said = [f"{significant(way.cost.value)} electricity"] if way.cost else []
    if way.cloud:
        low, high = way.cloud
        said.append(f"{significant(low.value)} to {significant(high.value)} cloud")
    return ", ".join(said)


def _spread(found: Extrapolation) -> str:
    ways = found.ordered
    if found.spread is None:
        return "unknown: there is one way alone, which says nothing of its own error"
    unit, _ = _units(ways)
    ends = " to ".join(significant(unit.times * w.energy.value) for w in (ways[0], ways[-1]))
    said = f"lowest {ways[0].name}, highest {ways[-1].name}"
    if len(ways) == 3:
        said += f", between them {ways[1].name}"
    return f"{ends} {unit.name}, {significant(found.spread)} times ({said}): the error bar"


def _text(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text)


def _lines(said: Lines) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in said:
        grid.add_row(Text(label, style="bold"), text)
    return grid


def extrapolation_facts(found: Extrapolation) -> dict[str, Any]:
    """For JSON."""
    ordered = found.ordered
    return {
        "run_id": found.profile.record.run_id, "model": found.profile.record.spec.model,
        "hardware": found.profile.record.spec.hardware, "estimated": found.profile.estimated,
        "stable": found.profile.verdict.stable,
        "region": found.scenario.region.code, "pue": found.scenario.pue.value,
        "ways": [_way_facts(way) for way in found.ways],
        "lowest": ordered[0].key, "highest": ordered[-1].key, "spread": found.spread,
        "missing": [{"way": way, "why": why} for way, why in found.missing],
        "published": _way_facts(found.published) if found.published else None,
        "notes": list(found.notes),
    }  # fmt: skip


def _way_facts(way: Way) -> dict[str, Any]:
    return {
        "key": way.key, "name": way.name, "assumes": way.assumes,
        "energy": way.energy.as_dict(), "emissions": way.emissions.as_dict(),
        "time": way.time.as_dict() if way.time else None,
        "electricity": way.cost.as_dict() if way.cost else None,
        "cloud": [c.as_dict() for c in way.cloud] if way.cloud else None,
    }  # fmt: skip


def explanations(found: Extrapolation) -> Iterator[str]:
    """Each way down to its sources."""
    for way in [*found.ways, *([found.published] if found.published else [])]:
        yield way.name
        numbers = [way.emissions, way.time, way.cost, *(way.cloud or ())]
        for quantity in numbers:
            if quantity is not None:
                yield from (f"  {line}" for line in explained(quantity))
        yield ""


# --- how far off they are ------------------------------------------------------------------------


def validated(found: Sequence[Case], width: int) -> Iterator[RenderableType]:
    """Of all kinds at the first tenth; then of all runs at every share."""
    from bench.footprint import validation

    runs = {(c.run_id, c.measured) for c in found}
    measured = sum(m for _, m in runs)
    counted = f"{measured} measured and {len(runs) - measured} estimated"
    wide = width >= _WIDE
    rest = "bias, worst" if wide else "bias"
    yield _text(
        f"{len(runs)} whole runs, {counted}. Errors in % of what the whole took: mean absolute "
        f"({rest})."
    )
    summaries = validation.summaries(found)
    ways = [w for w in validation.NAMES if w != "train" or wide]
    yield _text("\nfrom the first tenth of the training phase")
    yield _errors([s for s in summaries if s.share == validation.MAIN], ways, True, wide)
    yield _text("\nfrom other shares of it")
    yield _errors([s for s in summaries if s.kind.endswith("all")], ways, False, wide)


_WIDE = 110


def _errors(chosen: Sequence[Summary], ways: Sequence[str], by_kind: bool, wide: bool) -> Table:
    from rich import box
    from rich.table import Table

    from bench.footprint import validation

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("runs", min_width=16, overflow="fold")
    if not by_kind:
        table.add_column("known", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for way in ways:
        table.add_column(validation.NAMES[way], justify="right", no_wrap=True)
    rows: dict[tuple[str, float], dict[str, Summary]] = {}
    for each in chosen:
        rows.setdefault((each.kind, each.share), {})[each.way] = each
    for (kind, share), found in rows.items():
        one = found[ways[0]]
        count = f"{one.runs - one.unknown}" + (f"/{one.runs}" if one.unknown else "")
        known = [] if by_kind else [f"{100 * share:g} %"]
        table.add_row(kind, *known, count, *(_error(found[way], wide) for way in ways))
    return table


def _error(summary: Summary, wide: bool) -> str:
    """mean (bias, worst)."""
    from bench.footprint.validation import percent

    if summary.mean is None:
        return "-"
    rest = percent(summary.bias, True)
    if wide:
        rest += f", {percent(summary.worst, True)}"
    return f"{percent(summary.mean)} ({rest})"
