"""CHOOSE: one recipe a file; a dataclass whose fields are its settings.

A recipe overrides the hooks of `baseline.Recipe` that differ. `a+b` combines two: a class that
inherits from both, so that hooks that call `super()` add up, the one with the lower `place` around
the other. Nothing here imports torch.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

from bench import registry
from bench.cards import Family
from bench.errors import UsageError, near_names
from bench.record import Scalar

DEFAULT = "baseline"


@dataclass(frozen=True)
class Use:
    """What a recipe is asked to train."""

    family: Family
    model: str
    kind: str  # of model: encoder, decoder, ...
    pretrained: bool
    device: str  # cpu, cuda; "" where nobody knows yet
    processes: int = 1  # that train together
    layers: int | None = None  # of the model; None: only its weights tell


def setting(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] = (),
    families: Sequence[Family] = (),
    names: Literal["run", "model"] | None = None,
) -> Any:
    """A field of a recipe. `low` and `high` are allowed values, `above` is not; of texts, those in
    `choices` are. It is one of `families` of tasks, or of all.

    A default of None stands for the model's own (its `settings` in `bench models`). A text that
    `names` a run with saved weights, or a model, is found before the run: the folder of its weights
    is `Training.weights[field]` ("" names none), and what it cost is in the record.
    """
    limits = {"low": low, "high": high, "above": above, "choices": choices}
    return dataclasses.field(
        default=default, metadata={"about": about, "families": families, "names": names, **limits}
    )


def names() -> list[str]:
    """The names of all recipes; `a+b` combines two of them."""
    return registry.names("bench.recipes", "bench.recipes")


_files: dict[str, str] = {}  # of the user's own recipes, by name


def named(asked: str) -> str:
    """The name of what is asked for: parts in the order of their hooks, a file by its stem, so that
    a record doesn't depend on where it lies. UsageError for parts that don't combine."""
    parts = [_part(part) for part in asked.split("+")]
    for part in parts:
        if parts.count(part) > 1:
            raise UsageError(
                f"'{asked}' names a recipe twice", "each part of a+b is another recipe"
            )
    if DEFAULT in parts and len(parts) > 1:
        raise UsageError(
            f"{DEFAULT} is in every recipe",
            f"--recipe {'+'.join(p for p in parts if p != DEFAULT)}",
        )
    for part, other in itertools.permutations(parts, 2):
        if (reason := _module_class(part).refuses.get(other)) is not None:
            raise UsageError(f"{part} and {other} don't combine: {reason}", "bench recipes NAME")
    return "+".join(sorted(parts, key=lambda part: (_module_class(part).place, part)))


def _part(asked: str) -> str:
    """A recipe's name; that of a file is known from now on."""
    if not asked.endswith(".py"):
        return asked
    path = registry.find("bench.recipes", "bench.recipes", asked, "recipe", "bench recipes")
    name = Path(path).stem
    if name in names() or _files.get(name, path) != path:
        raise UsageError(f"there is a recipe {name} already", f"rename {asked}")
    _files[name] = path
    return name


def own_files(name: str) -> dict[str, str]:
    """The files of the parts that are the user's own, by the part's name."""
    return {part: _files[part] for part in name.split("+") if part in _files}


def know(files: Mapping[str, str]) -> None:
    """Take these files as the recipes of these names, as `own_files` told another process."""
    _files.update(files)


def describe(name: str) -> dict[str, Any]:
    """What `bench recipes` shows: summary, charges, paper, and each setting with its default."""
    name = named(name)
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
        "combines": _combines(name),
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
    name = named(name)
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


def check(name: str, use: Use, settings: Mapping[str, Scalar]) -> None:
    """UsageError with the reason, where a part of the recipe can't be used for that."""
    for part in named(name).split("+"):
        reason = _module_class(part).refusal(use, settings)
        if reason is not None:
            raise UsageError(f"{part} can't be used here: {reason}", f"bench recipes {part}")


def found_before(name: str, kind: Literal["run", "model"]) -> list[str]:
    """The settings that name a run, or a model."""
    fields = dataclasses.fields(_class(named(name)))
    return [f.name for f in fields if f.metadata["names"] == kind]


def file(part: str) -> str:
    """The file of one recipe: its code is part of a run's identity."""
    return str(_module(part).__file__)


def build(name: str, settings: Mapping[str, Scalar]) -> Any:
    """The recipe with these settings, as `resolve` returned them."""
    return _class(named(name))(**settings)


@cache
def _class(name: str) -> Any:
    """The class of a name that `named` gave."""
    parts = [_module_class(part) for part in name.split("+")]
    if len(parts) == 1:
        return parts[0]
    _check_apart(name)
    facts = {
        "__doc__": f"{name}: both.",
        "__module__": __name__,
        "summary": " + ".join(p.summary for p in parts),
        "charges": "; ".join(dict.fromkeys(p.charges for p in parts)),
        "paper": "; ".join(dict.fromkeys(p.paper for p in parts if p.paper)),
    }
    own = [(f.name, f.type, _copy(f)) for part in reversed(parts) for f in _own_fields(part)]
    fields = {field[0]: field for field in own}  # of equal names the outermost part's
    return dataclasses.make_dataclass(name, fields.values(), bases=tuple(parts), namespace=facts)


def _check_apart(name: str) -> None:
    """UsageError where one part of a combination would read what another one means by the same
    name: they are one object."""
    for part, other in itertools.combinations(name.split("+"), 2):
        own, others = _added(part), _added(other)
        clash = [n for n in own.keys() & others.keys() if own[n] != others[n]]
        if clash := sorted([*clash, *_attributes(part) & _attributes(other)]):
            raise UsageError(
                f"{part} and {other} don't combine: each has its own {clash[0]}",
                "another name, where the file is yours",
            )


def _added(part: str) -> dict[str, tuple[Any, Any]]:
    """The settings that the baseline has not: what makes two of one name one setting."""
    general = dir(_module_class(DEFAULT))
    fields = _own_fields(_module_class(part))
    return {f.name: (f.type, f.default) for f in fields if f.name not in general}


def _attributes(part: str) -> set[str]:
    """What a recipe has beside hooks and settings: methods, and what it writes to `self`."""
    recipe = _module_class(part)
    tree = ast.parse(Path(file(part)).read_text(encoding="utf-8"))
    written = {
        node.attr
        for body in tree.body
        if isinstance(body, ast.ClassDef) and body.name == "Recipe"
        for node in ast.walk(body)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    own = {n for n in vars(recipe).keys() | written if not n.startswith("__")}
    return own - set(dir(_module_class(DEFAULT))) - {f.name for f in dataclasses.fields(recipe)}


def _own_fields(part: Any) -> Iterator[dataclasses.Field[Any]]:
    """What a recipe adds to those that it inherits from, or says anew."""
    own = inspect.get_annotations(part)
    return (f for f in dataclasses.fields(part) if f.name in own)


def _copy(field: dataclasses.Field[Any]) -> Any:
    return dataclasses.field(default=field.default, metadata=field.metadata)


def _combines(name: str) -> str:
    """With what a recipe does not combine, in a line."""
    refused = dict(_module_class(name).refuses) if "+" not in name else {}
    for other in names():
        reason = _module_class(other).refuses.get(name)
        if reason is not None:
            refused.setdefault(other, reason)
    if not refused:
        return "with all others"
    return "not with " + "; ".join(f"{other}: {why}" for other, why in sorted(refused.items()))


def _module(name: str) -> Any:
    asked = _files.get(name, name)
    return registry.load("bench.recipes", "bench.recipes", asked, "recipe", "bench recipes")


@cache
def _module_class(name: str) -> Any:
    recipe = getattr(_module(name), "Recipe", None)
    if recipe is None or not dataclasses.is_dataclass(recipe):
        raise UsageError(f"the recipe file {name} has no dataclass called Recipe")
    return recipe


def _type(recipe: Any, key: str) -> type:
    hint = _hints(recipe)[key]
    return next((t for t in getattr(hint, "__args__", ()) if t is not type(None)), hint)


@cache
def _hints(recipe: Any) -> dict[str, Any]:
    """Of all settings: to read them anew for each takes two seconds for all recipes."""
    return get_type_hints(recipe)


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
    if not math.isfinite(value):
        raise UsageError(f"{key}={value}: must be finite")
