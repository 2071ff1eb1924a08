"""Finds plug-ins: the modules of a package, and entry points of other distributions.

A plug-in is one module and its name is the file's. Third parties add theirs through the entry
point groups `bench.recipes` and `bench.probes` (name = "module"), or, for a recipe, a file path.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType

from bench.errors import UsageError, unknown_name


def names(package: str, group: str) -> list[str]:
    """The names of all plug-ins, sorted, none of them imported."""
    found = {m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__)}
    found |= {e.name for e in importlib.metadata.entry_points(group=group)}
    return sorted(n for n in found if not n.startswith("_"))


def load(package: str, group: str, name: str, kind: str, list_command: str) -> ModuleType:
    """The module of the plug-in called `name`; UsageError with near names if there is none.

    A name that ends in `.py` is a file of the user's own.
    """
    if name.endswith(".py"):
        return _load_file(Path(name), kind)
    for entry in importlib.metadata.entry_points(group=group):
        if entry.name == name:
            return importlib.import_module(entry.value)
    if name not in names(package, group):
        raise unknown_name(kind, name, names(package, group), list_command)
    return importlib.import_module(f"{package}.{name}")


def _load_file(path: Path, kind: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no {kind} file {path}", "give the path of a Python file")
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module
