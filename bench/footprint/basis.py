"""The runs that a plan rests on: those of the same model on the same hardware where there are some,
else those of the same model elsewhere, else those of the model that is nearest in size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.checks import computing
from bench.errors import UsageError
from bench.footprint import known
from bench.footprint.factors import of_device, of_devices, of_meter, of_rows, of_scatter, of_size
from bench.footprint.known import Known
from bench.footprint.planned import BASELINE, Asked, Basis, Factor, shown_count


def nearest(asked: Asked, found: Sequence[Known]) -> Basis:
    """The nearest runs: measured before estimated ones; by operations only where no run of the
    model says anything."""
    if asked.power_w and asked.unit == "second":
        return Basis("given", (), ())
    usable = [
        r for r in found
        if r.accelerated == asked.accelerated and r.units(asked.unit)
    ]  # fmt: skip
    for rungs in ((_same, _recipe, _hardware), (_operations,)):
        for estimated in (False, True):
            pool = [r for r in usable if r.estimated == estimated]
            for rung in rungs:
                if basis := rung(asked, pool):
                    return basis
    kind = "accelerator" if asked.accelerated else "processor"
    raise UsageError(
        f"no run here says what {asked.model} takes on {asked.device}",
        f"train a model on such {kind}s first, or give --hours and --power-w",
    )


def _same(asked: Asked, pool: Sequence[Known]) -> Basis | None:
    runs = [
        r for r in pool
        if r.model == asked.model and known.same_device(r.device, asked.device)
        and r.recipe == asked.recipe
    ]  # fmt: skip
    return _rests("same", asked, runs, pool, ())


def _recipe(asked: Asked, pool: Sequence[Known]) -> Basis | None:
    """The same but for the recipe: in its number format, or as the baseline."""
    here = [
        r for r in pool
        if r.model == asked.model and known.same_device(r.device, asked.device)
    ]  # fmt: skip
    runs, warning = _by_recipe(asked, here)
    return _rests("recipe", asked, runs, pool, (), warning)


def _by_recipe(asked: Asked, runs: Sequence[Known]) -> tuple[list[Known], str]:
    """Runs by the recipe; else by its number format alone; else the baseline's, with what is to be
    said of it."""
    formats = _alike(asked.recipe)
    for recipe in dict.fromkeys((asked.recipe, *formats, BASELINE)):
        if some := [r for r in runs if r.recipe == recipe]:
            how = "the baseline" if recipe == BASELINE else recipe
            said = f"no run of {asked.model} by {asked.recipe} is here: counted as {how}"
            return some, "" if recipe == asked.recipe else said
    return [], ""


def _alike(recipe: str) -> list[str]:
    """Recipes that change nothing but to the same number format: its own first."""
    kind = _format(recipe)
    found = [r for r, f in computing.FORMATS.items() if f == kind]
    return sorted(found, key=lambda r: r not in recipe.split("+"))


def _hardware(asked: Asked, pool: Sequence[Known]) -> Basis | None:
    """The same model elsewhere, scaled by what the devices can do."""
    runs, said = _by_recipe(asked, [r for r in pool if r.model == asked.model])
    device = known.most_common(r.device for r in runs)
    runs = [r for r in runs if r.device == device]
    scale = of_device(device, asked, runs[0].recipe) if runs else None
    if scale is None:
        return None
    warning = f"{asked.model} was not trained on {asked.device} here: scaled from {device}"
    return _rests("hardware", asked, runs, pool, scale, "; ".join(filter(None, (warning, said))))


def _operations(asked: Asked, pool: Sequence[Known]) -> Basis | None:
    """Another model, the nearest in size, by how what it takes grows with size."""
    if not asked.parameters:
        return None
    sized = [r for r in pool if r.parameters]
    formats = _format(asked.recipe)
    sized = [r for r in sized if _format(r.recipe) == formats and _plain(r.recipe)] or [
        r for r in sized if r.recipe == BASELINE
    ]
    here = [r for r in sized if known.same_device(r.device, asked.device)]
    device = asked.device if here else known.most_common((r.device for r in sized), "")
    near = _by_size(here or [r for r in sized if r.device == device], asked.parameters)
    scale = () if here else of_device(device, asked, sized[0].recipe) if sized else None
    if not near or scale is None:
        return None
    runs, others = near[0], near[1] if len(near) > 1 else []
    sizes = tuple(of_size(asked, runs, others, device))
    model = runs[0].model
    warning = (
        f"no run of {asked.model} is here: scaled by size from {model} "
        f"({shown_count(runs[0].parameters or 0)} parameters)"
    )
    if not known.same_device(device, asked.device):
        warning += f", scaled from {device}"
    return _rests("operations", asked, runs, pool, (*sizes, *scale), warning)


def _rests(
    nearness: str, asked: Asked, runs: Sequence[Known], pool: Sequence[Known],
    factors: Sequence[Factor], warning: str = "",
) -> Basis | None:  # fmt: skip
    """With the runs of the task, and of as many devices, where there are some."""
    if not runs:
        return None
    for alike in (lambda r: r.task == asked.task, lambda r: r.devices == asked.devices):
        runs = [r for r in runs if alike(r)] or runs
    every = [*of_meter(runs), *of_scatter(asked, runs), *factors, *of_rows(asked, runs, pool)]
    if asked.unit != "second" and any(r.devices != asked.devices for r in runs):
        every.append(of_devices(asked, runs))
    single = "it rests on a single run, whose scatter is not known" if len(runs) == 1 else ""
    return Basis(nearness, tuple(runs), tuple(every), tuple(filter(None, (warning, single))))


def _format(recipe: str) -> str:
    found = {computing.FORMATS[r] for r in recipe.split("+") if r in computing.FORMATS}
    return min(found, default="fp32")


def _plain(recipe: str) -> bool:
    """Whether it changes the format of numbers alone."""
    return recipe == BASELINE or recipe in computing.FORMATS


def _by_size(runs: Sequence[Known], parameters: float) -> list[list[Known]]:
    """Groups of one model, nearest first."""
    models: dict[str, list[Known]] = {}
    for run in runs:
        models.setdefault(run.model, []).append(run)
    return sorted(models.values(), key=lambda g: abs(math.log((g[0].parameters or 1) / parameters)))
