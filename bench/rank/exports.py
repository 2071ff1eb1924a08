"""A run, or the runs of an entry, in forms that others read.

- `model_card`: metadata of a Hugging Face model card. Emissions are in grams. Sources:
  huggingface/hub-docs, model-cards-co2.md and modelcard.md.
- `sci`: ISO/IEC 21031:2024, (E x I + M) per R. Source: Green Software Foundation, SCI 1.1.
- `codecarbon`: the columns of CodeCarbon 3.3's `emissions.csv`, in kg and kWh. As there, the
  building's share (PUE) is in the energies.

Each says whether energy was measured or estimated, and where the grid's figure comes from. What is
not known is left out or empty, never zero. Names may be hostile: they are quoted.
"""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple, Protocol

from bench import record as records
from bench import submission
from bench.cards import Card
from bench.errors import BenchError, UsageError
from bench.rank import columns, notation
from bench.rank.entry import usable_energy_j, usable_metric
from bench.rank.render import harmless, plain
from bench.record import Measurement, Metered, Record
from bench.units import J_PER_KWH, kwh_from_j, significant

Run = Record | Measurement
Per = Literal["run", "1000-predictions"]

_HOW = {
    "M0": "estimated, not measured (M0)",
    "M1": "measured by software counters (M1)",
    "M2": "measured at the node or wall (M2)",
    "M3": "measured by a calibrated meter (M3)",
}
_TASK_TYPES = {
    "classification": "text-classification",
    "regression": "text-classification",
    "tagging": "token-classification",
    "completion": "multiple-choice",
    "translation": "translation",
    "language-modelling": "text-generation",
}
_METRIC_IDS = {
    "mcc": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "macro_f1": "f1",
    "span_f1": "seqeval",
    "bleu": "sacrebleu",
}
"""Where the Hub's name of a metric is not the card's."""

_KG_PER_CARD = "150 to 320 kg CO2e per GPU of the class of an A100 in the literature"
_SECONDS_A_YEAR = 365 * 24 * 3600.0
_PREDICTIONS = 1000


class Grid(columns.Grid, Protocol):
    """Mean intensity where the electricity is consumed; no market-based figure."""

    @property
    def code(self) -> str: ...
    @property
    def code3(self) -> str: ...


class Scenario(columns.Scenario, Protocol):
    """Where the electricity comes from, and what the building adds."""

    @property
    def region(self) -> Grid: ...
    @property
    def assumed(self) -> bool: ...
    def building_j(self, energy_j: float) -> float: ...


def gather(folder: Path) -> list[Run]:
    """The run in a folder, or all those of an entry; UsageError when there is none, or when they
    are not of one entry."""
    if records.is_written(folder):
        return [records.read_any(folder)]
    below = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if (folder / submission.NAME).is_file():  # less the teachers and earlier parts beside them
        charged = submission.read(folder).charged
        below = [p for p in below if p.name not in charged]
    runs = [records.read_any(p) for p in below if records.is_written(p)]
    if not runs:
        raise UsageError(f"{folder} holds no run", "give a run, its folder, or an entry's folder")
    keys = {r.entry_key() if isinstance(r, Record) else r.run_id for r in runs}
    if len(keys) > 1:
        raise UsageError(
            f"{folder} holds runs of {len(keys)} entries", "give the folder of one entry, or a run"
        )
    return runs


def save(text: str, path: Path) -> None:
    """Write a new file, whole or not at all; UsageError when there is one of that name."""
    if path.exists():
        raise UsageError(f"{path} is there already", "name another file, or remove it")
    records.write_file(path, text)


def _counted(runs: Sequence[Run]) -> list[Run]:
    """Those whose energy is known; of several, those that came to their end."""
    ended = [r for r in runs if len(runs) == 1 or r.status in ("complete", "budget")]
    known = [r for r in ended if _energy_j(r) is not None]
    if not known:
        raise BenchError("nothing to export: no run's energy is known", "`bench show RUN` says why")
    return known


def _energy_j(run: Run) -> float | None:
    if isinstance(run, Record):
        return usable_energy_j(run)
    return run.energy_j if run.energy_j and 0 < run.energy_j < math.inf else None


def _known_j(run: Run) -> float:
    energy_j = _energy_j(run)
    assert energy_j is not None
    return energy_j


def _duration_s(run: Run) -> float | None:
    """With what it is charged for."""
    return run.total_duration_s if isinstance(run, Record) else run.duration_s


# --- what every format says


def _how(runs: Sequence[Run]) -> str:
    """How the energy was taken, of several the lowest level, and of what."""
    coverages = " or ".join(dict.fromkeys(r.coverage for r in runs))
    unsure_j, energy_j = _uncertainty_j(runs), fmean(_energy_j(r) or 0.0 for r in runs)
    share = f"± {100 * unsure_j / energy_j:.2g} %" if unsure_j and energy_j else "± unknown"
    return f"{_HOW[min(r.level for r in runs)]}, of {coverages}, {share}"


def _uncertainty_j(runs: Sequence[Run]) -> float | None:
    """Expanded (k = 2), of the mean: runs share their meter, so it does not shrink with their
    number. None when that of a run is not known."""
    known = [u for r in runs if (u := r.uncertainty_j) is not None]
    return fmean(known) if len(known) == len(runs) else None


def _grid(scenario: Scenario) -> str:
    grid = scenario.region
    return (
        f"{significant(grid.g_per_kwh)} g CO2e/kWh ({grid.name} {grid.year}, {grid.source}, "
        f"{grid.kind}, location-based); {scenario.pue}"
    )


def _which(counted: Sequence[Run], runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return f"run {runs[0].run_id}"
    some = "" if len(counted) == len(runs) else f"{len(counted)} of "
    return f"mean of {some}{len(runs)} runs"


def _hardware(run: Run) -> str:
    if isinstance(run, Record):
        return run.spec.hardware
    devices = dict.fromkeys(d.device for d in run.charged)
    return ", ".join(devices) or "not known"


def _named(run: Run) -> str:
    if isinstance(run, Record):
        return f"{run.spec.model} {run.spec.recipe}"
    return " ".join(run.command) or "a part of a program"


def _year(run: Metered) -> int | None:
    """None where a log of others had no dates."""
    year = run.started_at[:4]
    return int(year) if year.isdecimal() and int(year) > 1970 else None


# --- Hugging Face's model card


def model_card(runs: Sequence[Run], scenario: Scenario, card: Card | None = None) -> str:
    """The front matter of a model's README.md. The metric needs the task's card."""
    counted = _counted(runs)
    grams = [scenario.emissions_g(_known_j(r)) for r in counted]
    first = counted[0]
    about: dict[str, Any] = {
        "co2_eq_emissions": {
            "emissions": _rounded(fmean(grams)),
            "source": _source(runs, counted, grams, scenario),
            **_training_type(first),
            "geographical_location": _location(scenario),
            "hardware_used": _hardware(first),
        }
    }
    if isinstance(first, Record) and card is not None:
        about |= _results([r for r in counted if isinstance(r, Record)], card)
    return "---\n" + "\n".join(_yaml(about)) + "\n---\n"


def _source(
    runs: Sequence[Run], counted: Sequence[Run], grams: Sequence[float], scenario: Scenario
) -> str:
    energy_kwh = kwh_from_j(fmean(map(_known_j, counted)))
    spread = ""
    if len(counted) > 1:
        spread = f" ({significant(min(grams))} to {significant(max(grams))} g)"
    return (
        f"bench {counted[0].bench_version}: {_how(counted)}; {_which(counted, runs)}{spread}; "
        f"{significant(energy_kwh)} kWh x {_grid(scenario)}"
    )


def _training_type(run: Run) -> dict[str, str]:
    """Fine-tuning, where it began with trained weights; a program does not tell."""
    if not isinstance(run, Record):
        return {}
    tuned = run.spec.track == "finetune" or run.spec.checkpoint_sha256 is not None
    return {"training_type": "fine-tuning" if tuned else "training from scratch"}


def _location(scenario: Scenario) -> str:
    name = scenario.region.name
    return f"not stated; the grid of {name} is assumed" if scenario.assumed else name


def _results(runs: Sequence[Record], card: Card) -> dict[str, Any]:
    """`model-index`, and what it is about; of other data than the official, the dataset is none of
    the Hub's."""
    scored = [m for r in runs if (m := usable_metric(r))]
    if not scored:
        return {}
    spec = runs[0].spec
    official = spec.data.official and card.hub is not None
    dataset: dict[str, Any] = {"type": card.name, "name": f"NOT {card.title}: {spec.data.source}"}
    if official and card.hub:
        dataset = {
            "type": card.hub.repo, "name": card.title, "config": card.hub.config,
            "split": ", ".join(card.hub.splits[1:]), "revision": card.hub.revision,
        }  # fmt: skip
    metric = {
        "type": _metric_id(scored[0].name),
        "value": round(fmean(m.value for m in scored), 6),
        "name": notation.of(scored[0].name).title
        + (f", mean of {len(scored)} seeds" if len(scored) > 1 else ""),
    }
    task_type = _TASK_TYPES[card.family]
    result = {
        "task": {"type": task_type, "name": card.title},
        "dataset": dataset,
        "metrics": [metric],
    }
    return {
        **({"datasets": [dataset["type"]]} if official else {}),
        "metrics": [metric["type"]],
        "pipeline_tag": task_type,
        "model-index": [{"name": _named(runs[0]), "results": [result]}],
    }


def _metric_id(name: str) -> str:
    return _METRIC_IDS.get(name, name)


def _rounded(value: float) -> float:
    """Three digits: no meter knows more."""
    return float(f"{value:.3g}")


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Lines of block YAML. Texts are double-quoted, numbers have no exponent, so that every
    version of YAML reads them alike."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, Mapping | list):
                yield f"{indent}{key}:"
                yield from _yaml(inner, indent + "  ")
            else:
                yield f"{indent}{key}: {_scalar(inner)}"
    else:
        for item in value:
            if isinstance(item, Mapping):
                head, *rest = _yaml(item, indent + "  ")
                yield f"{indent}- {head.lstrip()}"
                yield from rest
            else:
                yield f"{indent}- {_scalar(item)}"


def _scalar(value: str | float) -> str:
    if isinstance(value, str):
        return json.dumps(plain(value, 500), ensure_ascii=False)
    return format(Decimal(repr(float(value))), "f")


# --- ISO/IEC 21031


@dataclass(frozen=True)
class Embodied:
    """What making the hardware emitted, and for how long it serves."""

    kg: float
    lifetime_years: float

    def grams(self, duration_s: float) -> float:
        """The share of a time in which all of the hardware was reserved."""
        return 1000 * self.kg * duration_s / (self.lifetime_years * _SECONDS_A_YEAR)


def embodied(kg: float | None, lifetime_years: float | None) -> Embodied | None:
    """UsageError when only one of the two is stated, or one is no number."""
    if kg is None and lifetime_years is None:
        return None
    if kg is None or lifetime_years is None:
        raise UsageError(
            "embodied emissions are kilograms over a lifetime",
            "--embodied-kg 1000 --lifetime-years 4",
        )
    if not (math.isfinite(kg) and math.isfinite(lifetime_years)):
        raise UsageError(f"{kg:g} kg over {lifetime_years:g} years is no number", "state both")
    return Embodied(kg, lifetime_years)


class _Unit(NamedTuple):
    """E and the time of one R, of one run."""

    energy_j: float
    duration_s: float | None


def sci(
    runs: Sequence[Run], scenario: Scenario, per: Per = "run", made: Embodied | None = None
) -> str:
    """The score as JSON, with every term, its unit, source and year."""
    try:
        return json.dumps(_sci(runs, scenario, per, made), indent=1, allow_nan=False) + "\n"
    except ValueError:
        raise BenchError("a record has a number that is none", "`bench show RUN --json`") from None


def _sci(
    runs: Sequence[Run], scenario: Scenario, per: Per, made: Embodied | None
) -> dict[str, Any]:
    counted = _counted(runs)
    units = [
        _predicting(r) if per != "run" else _Unit(_known_j(r), _duration_s(r)) for r in counted
    ]
    each = [_terms(unit, scenario, made) for unit in units]
    r = _functional_unit(counted[0], per)
    mean = {name: fmean(t[name] for t in each) for name in each[0]}
    unsure_j = _uncertainty_j(counted)
    unsure = None if unsure_j is None else unsure_j / fmean(map(_known_j, counted))
    return {
        "schema": "bench.sci/1",
        "standard": "ISO/IEC 21031:2024",
        "formula": "SCI = (E x I + M) per R",
        "subject": plain(_named(counted[0])),
        "of": _which(counted, runs),
        "sci": {"value": mean["sci"], "unit": f"gCO2eq per {r}", "embodied_included": bool(made)},
        "R": {"value": 1, "unit": r},
        "E": {
            "value": mean["E"], "unit": "kWh", "year": _year(counted[0]),
            "source": f"bench {counted[0].bench_version}: {_how(counted)}",
            "estimated": min(r.level for r in counted) == "M0",
            "level": min(r.level for r in counted), "coverage": counted[0].coverage,
            "relative_uncertainty": unsure,
            "hardware": plain(_hardware(counted[0])),
            "pue": _pue(scenario),
        },
        "I": {
            "value": scenario.region.g_per_kwh, "unit": "gCO2eq/kWh", "year": scenario.region.year,
            "source": scenario.region.source, "region": scenario.region.name,
            "assumed": scenario.assumed, "kind": scenario.region.kind,
            "basis": "location-based mean of a year; no market-based measures",
        },
        "M": _m(mean["M"], made),
        "boundary": f"{counted[0].coverage} of what it ran on, from the start of the window to its "
        "end; network and storage elsewhere are outside",
        "runs": [
            {"run": run.run_id, "started_at": plain(run.started_at), **terms}
            for run, terms in zip(counted, each, strict=True)
        ],
    }  # fmt: skip


def _terms(unit: _Unit, scenario: Scenario, made: Embodied | None) -> dict[str, float]:
    if made and unit.duration_s is None:
        raise BenchError("how long a run took is not known", "leave out --embodied-kg")
    grams = made.grams(unit.duration_s or 0.0) if made else 0.0
    return {
        "sci": scenario.emissions_g(unit.energy_j) + grams,
        "E": kwh_from_j(scenario.building_j(unit.energy_j)),
        "M": grams,
    }


def _predicting(run: Run) -> _Unit:
    """Of a thousand predictions: the phase, over the examples that were scored."""
    joules = run.phase_energy_j("predict")
    if not isinstance(run, Record) or run.metric is None or not run.metric.n or not joules:
        raise UsageError(
            f"run {run.run_id} has no metered prediction of a scored split", "leave out --per"
        )
    duration_s = sum(p.duration_s for p in run.phases if p.name == "predict")
    share = _PREDICTIONS / run.metric.n
    return _Unit(joules * share, duration_s * share)


def _functional_unit(run: Run, per: Per) -> str:
    if per != "run":
        return f"{_PREDICTIONS:,} predictions"
    return "training run" if isinstance(run, Record) else "execution of the program"


def _pue(scenario: Scenario) -> dict[str, Any]:
    return {"value": scenario.pue.value, "source": str(scenario.pue)}


def _m(grams: float, made: Embodied | None) -> dict[str, Any]:
    if made is None:
        return {
            "value": 0.0, "unit": "gCO2eq", "included": False, "year": None,
            "source": "not included: nobody has stated the embodied emissions of this hardware; "
            f"{_KG_PER_CARD}",
        }  # fmt: skip
    return {
        "value": grams, "unit": "gCO2eq", "included": True, "year": None,
        "source": "as stated by whoever exports",
        "TE": {"value": 1000 * made.kg, "unit": "gCO2eq"},
        "EL": {"value": made.lifetime_years, "unit": "years"},
        "RS": {"value": 1, "unit": "share of the hardware that was reserved"},
    }  # fmt: skip


def sci_text(
    runs: Sequence[Run],
    scenario: Scenario,
    per: Per = "run",
    made: Embodied | None = None,
    width: int = 80,
) -> str:
    """The same for people: a term a paragraph, in lines of at most `width`."""
    found = _sci(runs, scenario, per, made)
    score, e, i, m = found["sci"], found["E"], found["I"], found["M"]
    left_out = "" if made else " (without M)"
    assumed = "; assumed, --region names yours" if i["assumed"] else ""
    terms = {
        "SCI": f"{significant(score['value'])} {score['unit']}{left_out}",
        "of": f"{found['subject']}, {found['of']}",
        "by": f"{found['standard']}, {found['formula']}",
        "E": f"{significant(e['value'])} kWh, {e['year'] or 'year unknown'}; {e['source']}; "
        f"{e['pue']['source']}",
        "I": f"{significant(i['value'])} g/kWh, {i['region']} {i['year']}, {i['source']}, "
        f"{i['kind']}; {i['basis']}{assumed}",
        "M": f"{significant(m['value'])} g, {m['source']}" if made else m["source"],
        "R": f"1 {found['R']['unit']}",
    }
    lines = [
        textwrap.fill(text, max(width, 40), initial_indent=f"{name:<5}", subsequent_indent=5 * " ")
        for name, text in terms.items()
    ]
    return "\n".join(lines) + "\n"


# --- CodeCarbon's emissions.csv


_KINDS = {"cpu": "cpu", "gpu": "gpu", "ram": "dram"}
_COLUMNS = (
    "timestamp", "project_name", "run_id", "experiment_id", "duration", "emissions",
    "emissions_rate", "cpu_power", "gpu_power", "ram_power", "cpu_energy", "gpu_energy",
    "ram_energy", "energy_consumed", "water_consumed", "country_name", "country_iso_code",
    "region", "cloud_provider", "cloud_region", "os", "python_version", "codecarbon_version",
    "cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude", "latitude", "ram_total_size",
    "tracking_mode", "cpu_utilization_percent", "gpu_utilization_percent",
    "ram_utilization_percent", "ram_used_gb", "on_cloud", "pue", "wue",
)  # fmt: skip
"""In the order of CodeCarbon 3.3.2."""


def codecarbon(runs: Sequence[Run], scenario: Scenario) -> str:
    """One row a run. `tracking_mode` says measured or estimated; what bench does not know is
    empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for run in runs:
        row = {k: v for k, v in _row(run, scenario).items() if v is not None}
        writer.writerow({k: harmless(v) for k, v in row.items()})
    return out.getvalue()


def _row(run: Run, scenario: Scenario) -> dict[str, Any]:
    energy_j, duration_s = _energy_j(run), _duration_s(run)
    kg = None if energy_j is None else scenario.emissions_g(energy_j) / 1000
    state = "-" in scenario.region.code
    machine = run.machine
    gpus = [d for d in run.charged if d.kind == "gpu"]
    return {
        "timestamp": _ended_at(run),
        "project_name": _project(run),
        "run_id": run.run_id,
        "experiment_id": run.entry_key() if isinstance(run, Record) else None,
        "duration": duration_s,
        "emissions": kg,
        "emissions_rate": kg / duration_s if kg is not None and duration_s else None,
        **_by_kind(run, scenario),
        "energy_consumed": None if energy_j is None else kwh_from_j(scenario.building_j(energy_j)),
        "country_name": scenario.region.name if not state else "United States",
        "country_iso_code": "USA" if state else scenario.region.code3,
        "region": scenario.region.name.lower() if state else None,
        "os": machine.get("system"),
        "python_version": run.software.get("python"),
        "codecarbon_version": f"none: bench {run.bench_version}",
        "cpu_count": machine.get("cores"),
        "cpu_model": machine.get("cpu"),
        "gpu_count": len(gpus) or None,
        "gpu_model": ", ".join(dict.fromkeys(d.device for d in gpus)) or None,
        "ram_total_size": machine.get("memory_gb"),
        "tracking_mode": f"bench: {_how([run])}",
        "pue": scenario.pue.value,
    }


def _project(run: Run) -> str:
    return f"{run.spec.task}: {_named(run)}" if isinstance(run, Record) else _named(run)


def _by_kind(run: Run, scenario: Scenario) -> dict[str, float | None]:
    """Energy and mean power of the run's own window by kind; empty where a kind is not covered,
    and where others are charged to it, whose kinds are not told."""
    found: dict[str, float | None] = {}
    for name, kind in _KINDS.items():
        joules = [d.energy_j for d in run.charged if d.kind == kind]
        known = [j for j in joules if j is not None]
        whole = len(known) == len(joules) > 0
        if isinstance(run, Record) and run.charged_runs:
            whole = False
        energy_j = scenario.building_j(sum(known)) if whole else None
        found[f"{name}_energy"] = None if energy_j is None else energy_j / J_PER_KWH
        power_w = energy_j / run.duration_s if energy_j is not None and run.duration_s else None
        found[f"{name}_power"] = power_w
    return found


def _ended_at(run: Metered) -> str | None:
    try:
        ended = datetime.fromisoformat(run.started_at) + timedelta(seconds=run.duration_s)
    except (ValueError, OverflowError):
        return None
    return ended.strftime("%Y-%m-%dT%H:%M:%S")
