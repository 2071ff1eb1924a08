"""Finds plug-ins: the modules of a package, and entry points of other distributions.

A plug-in is one module and its name is the file's. Third parties add theirs through the entry
point groups `bench.recipes` and `bench.probes` (name = "module"), or, for a recipe, a file path.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from bench.errors import UsageError, unknown_name


def names(package: str, group: str) -> list[str]:
    """The names of all plug-ins, sorted, none of them imported."""
    found = _own(package) | _offered(group).keys()
    return sorted(n for n in found if not n.startswith("_"))


def load(package: str, group: str, name: str, kind: str, list_command: str) -> ModuleType:
    """The module of the plug-in called `name`; UsageError with near names if there is none.

    A name that ends in `.py` is a file of the user's own. The package's own names come first.
    """
    if name.endswith(".py"):
        return _load_file(Path(name), kind)
    if name in _own(package):
        return importlib.import_module(f"{package}.{name}")
    module = _offered(group).get(name)
    if module is None:
        raise unknown_name(kind, name, names(package, group), list_command)
    return importlib.import_module(module)


def _own(package: str) -> set[str]:
    path = importlib.import_module(package).__path__
    return {m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")}


def _offered(group: str) -> dict[str, str]:
    """Name -> module of what other distributions offer."""
    from importlib.metadata import entry_points  # looks at every distribution: 50 ms

    return {e.name: e.value for e in entry_points(group=group)}


def _load_file(path: Path, kind: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no {kind} file {path}", "give the path of a Python file")
    name = f"bench_file_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file may raise
        del sys.modules[name]
        raise UsageError(f"{path} can't be imported: {type(error).__name__}: {error}") from error
    return module
