"""CHOOSE: one recipe a file; a dataclass whose fields are its settings.

A recipe overrides the hooks of `baseline.Recipe` that differ. `a+b` combines two: a class that
inherits from both, so that hooks that call `super()` add up. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, get_type_hints

from bench import registry
from bench.cards import Family
from bench.errors import UsageError, near_names
from bench.record import Scalar

DEFAULT = "baseline"


def setting(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] = (),
    families: Sequence[Family] = (),
) -> Any:
    """A field of a recipe. `low` and `high` are allowed values, `above` is not; of texts, those in
    `choices` are. It is one of `families` of tasks, or of all.

    A default of None stands for the model's own (its `settings` in `bench models`).
    """
    limits = {"low": low, "high": high, "above": above, "choices": choices}
    return dataclasses.field(
        default=default, metadata={"about": about, "families": families, **limits}
    )


def names() -> list[str]:
    """The names of all recipes; `a+b` combines two of them."""
    return registry.names("bench.recipes", "bench.recipes")


def describe(name: str) -> dict[str, Any]:
    """What `bench recipes` shows: summary, charges, paper, and each setting with its default."""
    recipe = _class(name)
    settings = [
        {
            "name": field.name,
            "type": _type(recipe, field.name).__name__,
            "default": field.default,
            "about": _about(field),
        }
        for field in dataclasses.fields(recipe)
    ]
    return {
        "name": name,
        "summary": recipe.summary,
        "charges": recipe.charges,
        "paper": recipe.paper,
        "settings": settings,
    }


def _about(field: dataclasses.Field[Any]) -> str:
    families = field.metadata["families"]
    about: str = field.metadata["about"]
    return f"{about} ({', '.join(families)})" if families else about


def resolve(
    name: str,
    model: str,
    given: Mapping[str, str],
    family: Family | None = None,
    pretrained: bool = True,
) -> dict[str, Scalar]:
    """Every setting of the recipe for this model and family of tasks: as `given` in text, else the
    model's, which may differ from scratch, else the default. UsageError for an unknown field, one
    of another family, a wrong type, a value out of range."""
    recipe = _class(name)
    every = {f.name: f for f in dataclasses.fields(recipe)}
    fields = {n: f for n, f in every.items() if _is_of(f, family)}
    for key in given:
        if key in every and key not in fields:
            families = " and ".join(every[key].metadata["families"])
            raise UsageError(f"{key} is a setting of {families}, and this task is {family}")
        if key not in fields:
            near = near_names(key, fields)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(fields)}"
            raise UsageError(f"the recipe '{name}' has no setting '{key}'", hint)
    preset = recipe.preset(model, family, pretrained)
    settings = {n: preset.get(n, f.default) for n, f in fields.items()}
    for key, text in given.items():
        settings[key] = _parse(key, text, _type(recipe, key))
    for key, value in settings.items():
        _check_range(key, value, fields[key].metadata)
    return settings


def _is_of(field: dataclasses.Field[Any], family: Family | None) -> bool:
    families = field.metadata["families"]
    return family is None or not families or family in families


def file(part: str) -> str:
    """The file of one recipe: its code is part of a run's identity."""
    module = registry.load("bench.recipes", "bench.recipes", part, "recipe", "bench recipes")
    return str(module.__file__)


def build(name: str, settings: Mapping[str, Scalar]) -> Any:
    """The recipe with these settings, as `resolve` returned them."""
    return _class(name)(**settings)


@cache
def _class(name: str) -> Any:
    parts = [_module_class(part) for part in name.split("+")]
    if len(parts) == 1:
        return parts[0]
    if len(set(parts)) < len(parts):
        raise UsageError(f"'{name}' names a recipe twice", "each part of a+b is another recipe")
    combined = type(name, tuple(parts), {"__doc__": f"{name}: both."})
    facts = {
        "summary": " + ".join(p.summary for p in parts),
        "charges": "; ".join(dict.fromkeys(p.charges for p in parts)),
        "paper": "; ".join(dict.fromkeys(p.paper for p in parts if p.paper)),
    }
    for key, value in facts.items():
        setattr(combined, key, value)
    return dataclasses.dataclass(combined)


def _module_class(name: str) -> Any:
    module = registry.load("bench.recipes", "bench.recipes", name, "recipe", "bench recipes")
    recipe = getattr(module, "Recipe", None)
    if recipe is None or not dataclasses.is_dataclass(recipe):
        raise UsageError(f"the recipe file {name} has no dataclass called Recipe")
    return recipe


def _type(recipe: Any, key: str) -> type:
    hint = get_type_hints(recipe)[key]
    return next((t for t in getattr(hint, "__args__", ()) if t is not type(None)), hint)


def _parse(key: str, text: str, kind: type) -> Scalar:
    try:
        if kind is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
                text.lower()
            ]
        return kind(text)
    except (KeyError, ValueError):
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise UsageError(f"{key}={text}: not {wanted}") from None


def _check_range(key: str, value: Scalar, limits: Mapping[str, Any]) -> None:
    if limits["choices"] and value not in limits["choices"]:
        raise UsageError(f"{key}={value}: it is {' or '.join(limits['choices'])}")
    if not isinstance(value, int | float):
        return
    low, high, above = limits["low"], limits["high"], limits["above"]
    if low is not None and not value >= low:
        raise UsageError(f"{key}={value}: must be at least {low}")
    if above is not None and not value > above:
        raise UsageError(f"{key}={value}: must be above {above}")
    if high is not None and not value <= high:
        raise UsageError(f"{key}={value}: must be at most {high}")
