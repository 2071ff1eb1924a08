"""A plan as it is typed: amounts, hardware, money, with a hint for what can't be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import cards
from bench.checks import computing
from bench.errors import UsageError, near_names, unknown_name
from bench.footprint import known
from bench.footprint.known import Known
from bench.footprint.planned import BASELINE, FORMATS, Asked
from bench.power import carbon

_MOST_W = 20_000.0  # of one device or one machine


@dataclass(frozen=True)
class Typed:
    """What is asked for, as it is typed."""

    model: str
    tokens: str | None = None
    examples: str | None = None
    epochs: float | None = None
    hours: float | None = None
    task: str | None = None
    hardware: str | None = None
    devices: int | None = None
    trials: int = 0
    recipe: str | None = None
    precision: str | None = None
    parameters: str | None = None
    power_w: float | None = None
    region: str | None = None
    pue: str | None = None
    usd_per_kwh: float | None = None
    usd_per_hour: float | None = None
    task_folders: Sequence[Path] = ()


def asked(typed: Typed, found: Sequence[Known]) -> Asked:
    """UsageError, with a hint, for what can't be."""
    amounts = _amounts(typed)
    parameters = _parameters(typed.model, typed.parameters, found)
    said, device = _hardware_of(typed, found)
    many = typed.devices or said or 1
    if said and typed.devices and said != typed.devices:
        raise UsageError(f"{typed.devices} devices, or {said}?", "--hardware says how many, too")
    if device.startswith("CPU") and many > 1:
        raise UsageError("a processor counts with all its cores", "leave out --devices")
    if not 0 <= typed.trials < 10_000_000:
        raise UsageError(f"there can't be {typed.trials} trials", "--trials 0 plans none")
    return Asked(
        model=typed.model,
        device=device,
        scenario=carbon.asked(typed.region, typed.pue),
        devices=many,
        parameters=parameters,
        task=typed.task,
        recipe=_recipe_of(typed.recipe, typed.precision),
        trials=typed.trials,
        power_w=_power(typed.power_w, device),
        usd_per_kwh=usd(typed.usd_per_kwh, "--usd-per-kwh"),
        usd_per_hour=usd(typed.usd_per_hour, "--usd-per-hour"),
        tokens=amounts.get("tokens"),
        examples=amounts.get("examples"),
        hours=amounts.get("hours"),
    )


def _hardware_of(typed: Typed, found: Sequence[Known]) -> tuple[int, str]:
    """Hours at a power that is given can be on anything."""
    if typed.hardware is None:
        return 0, _usual_device(typed.model, found)
    if typed.hours is not None and typed.power_w is not None:
        many, name = known.split_hardware(typed.hardware.strip())
        return (0 if name == typed.hardware.strip() else many), known.shown(name)
    return _device(typed.hardware, found)


def _amounts(typed: Typed) -> dict[str, float]:
    """The one of tokens, examples and hours that is asked for."""
    card = cards.load(typed.task, typed.task_folders) if typed.task else None
    named = [n for n in ("tokens", "examples", "hours") if getattr(typed, n) is not None]
    if len(named) > 1:
        both = " and ".join(f"--{n}" for n in named)
        raise UsageError(f"{both} say how long a training is twice", "give one of them")
    if typed.hours is not None:
        if typed.epochs is not None:
            raise UsageError("--hours has no epochs", "leave out --epochs")
        if not 0 < typed.hours < 1e7:
            raise UsageError(f"a training does not take {typed.hours:g} hours", "a number above 0")
        return {"hours": typed.hours}
    epochs = 1.0 if typed.epochs is None else typed.epochs
    if not 0 < epochs < 1e6:
        raise UsageError(f"{epochs:g} epochs are no training", "a number above 0")
    if typed.tokens is not None:
        return {"tokens": epochs * count(typed.tokens, "tokens")}
    if typed.examples is not None:
        return {"examples": epochs * count(typed.examples, "examples")}
    if card is None:
        raise UsageError(
            "nothing says how long the training is",
            "--tokens 3B, --examples 67k --epochs 3, --task sst2 --epochs 3, or --hours 12",
        )
    if card.rows is None:
        raise UsageError(f"the card of {card.name} states no number of rows", "give --examples")
    return {"examples": epochs * card.rows.train}


_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}


def count(text: str, what: str) -> float:
    """3B, 67k, 1.5e9, 12,000: a number above 0; UsageError else."""
    match = re.fullmatch(
        r"\s*([-+]?[0-9][0-9,]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z]?)\s*", text
    )
    suffix = _SUFFIXES.get(match[2].lower()) if match else None
    if not match or suffix is None:
        raise UsageError(f"'{text}' is no number of {what}", "such as 3B, 67k, 1.5e9")
    value = float(match[1].replace(",", "")) * suffix
    if not 0 < value < 1e18:
        raise UsageError(f"{text} {what} can't be trained on", "a number above 0")
    return value


def usd(value: float | None, name: str) -> float | None:
    if value is not None and not 0 <= value < 1e6:
        raise UsageError(f"{value:g} is no price", f"{name} is in USD, from 0 up")
    return value


def _power(value: float | None, device: str) -> float | None:
    """UsageError for what no such device draws."""
    if value is None:
        return None
    row = known.peak(device, BASELINE)
    most = row.power_w if row and row.power_w else None
    if not 0 < value <= _MOST_W:
        raise UsageError(f"no device draws {value:g} W", "--power-w is of one device, in watts")
    if most and value > computing.BOOST * most:
        raise UsageError(
            f"{device} does not draw {value:g} W: its limit is {most:g} W",
            "--power-w is of one device; what the building adds is --pue",
        )
    return value


def _device(text: str, found: Sequence[Known]) -> tuple[int, str]:
    """Devices (0: not said) and the name of one as runs and tables have it; UsageError with near
    names."""
    many, name = known.split_hardware(text.strip())
    said = many if name != text.strip() else 0
    every = list(known.devices(found))
    for each in every:
        if known.same_device(each, name):
            return said, each
    if known.peak(name, BASELINE):
        return said, name
    near = near_names(name, every)
    such = [r.device for r in found if not r.estimated] or computing.accelerators()
    hint = f"did you mean {' or '.join(near)}?" if near else f"such as '{such[0]}'"
    raise UsageError(f"nothing is known of the hardware '{name}'", hint)


def _usual_device(model: str, found: Sequence[Known]) -> str:
    """Where none is named: that of most measured runs of the model, else of most runs."""
    for some in (
        [r for r in found if r.model == model and not r.estimated],
        [r for r in found if r.model == model],
        [r for r in found if not r.estimated],
        list(found),
    ):
        if some:
            return known.most_common(r.device for r in some)
    raise UsageError("no hardware is named, and no run is here", "give --hardware")


def _parameters(model: str, given_text: str | None, found: Sequence[Known]) -> float | None:
    """As given, as listed, or as runs of it say; UsageError for a model that nobody knows."""
    from bench.learn import models

    if given_text is not None:
        return count(given_text, "parameters")
    if model in models.names():
        return float(models.describe(model)["parameters"])
    said = [r.parameters for r in found if r.model == model and r.parameters]
    if said:
        return said[0]
    if any(r.model == model for r in found):
        return None
    error = unknown_name("model", model, models.names(), "bench models")
    raise UsageError(error.message, f"{error.hint}; or give its size: --parameters 350M")


def _recipe_of(recipe: str | None, precision: str | None) -> str:
    """A recipe with a number format."""
    if precision is not None and precision not in FORMATS:
        near = near_names(precision, FORMATS) or list(FORMATS)
        raise UsageError(f"'{precision}' is no precision", f"one of {', '.join(near)}")
    from bench import recipes

    parts = [p for p in recipes.named(recipe or BASELINE).split("+") if p != BASELINE]
    extra = FORMATS[precision or "fp32"]
    parts += [extra] if extra and extra not in parts else []
    return "+".join(parts) or BASELINE
