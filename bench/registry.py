"""Finds plug-ins: the modules of a package, and entry points of other distributions.

A plug-in is one module and its name is the file's, with `-` for each `_`. Third parties add theirs
through the entry point groups `bench.recipes` and `bench.probes` (name = "module"), or as a file,
by its path; and task cards through `bench.tasks` (name = "package that holds them"). The sampler
imports this module, and only imports what others found for it: heavy imports are inside.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from bench.errors import UsageError, unknown_name


def names(package: str, group: str) -> list[str]:
    """The names of all plug-ins, sorted, none of them imported."""
    found = _own(package) | _offered(group).keys()
    return sorted(n for n in found if not n.startswith("_"))


def find(package: str, group: str, name: str, kind: str, list_command: str) -> str:
    """The module of the plug-in called `name`; UsageError with near names if there is none.

    A name that ends in `.py` is a file of the user's own, and is found at its full path. The
    package's own names come first.
    """
    if name.endswith(".py"):
        if not os.path.isfile(name):
            raise UsageError(f"there is no {kind} file {name}", "give the path of a Python file")
        return os.path.abspath(name)
    if name in _own(package):
        return f"{package}.{name.replace('-', '_')}"
    module = _offered(group).get(name)
    if module is None:
        raise unknown_name(kind, name, names(package, group), list_command)
    return module


def open_module(found: str) -> ModuleType:
    """Import what `find` found; UsageError when somebody else's module can't be imported."""
    if is_own(found):
        return importlib.import_module(found)
    try:
        return _open_file(found) if found.endswith(".py") else importlib.import_module(found)
    except Exception as error:  # whatever it may raise
        raise UsageError(f"{found} can't be imported: {type(error).__name__}: {error}") from error


def is_own(found: str) -> bool:
    """Whether it is bench's own module."""
    return found.startswith("bench.")


def load(package: str, group: str, name: str, kind: str, list_command: str) -> ModuleType:
    """The module of the plug-in called `name`, imported."""
    return open_module(find(package, group, name, kind, list_command))


def folders(group: str) -> list[str]:
    """The folders of the packages that other distributions name in a group."""
    return [place for name, package in _offered(group).items() for place in _places(name, package)]


def _places(name: str, package: str) -> list[str]:
    from importlib.util import find_spec

    try:
        found = find_spec(package)
    except ImportError:
        found = None
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            f"the entry point '{name}' names {package}, which is no package that is installed",
            "update or remove the distribution that has it",
        )
    return list(found.submodule_search_locations)


def _own(package: str) -> set[str]:
    import pkgutil

    path = importlib.import_module(package).__path__
    modules = (m.name for m in pkgutil.iter_modules(path))
    return {name.replace("_", "-") for name in modules if not name.startswith("_")}


def _offered(group: str) -> dict[str, str]:
    """Name -> module of what other distributions offer."""
    if not _mentioned(group):
        return {}
    from importlib.metadata import entry_points

    return {e.name: e.value for e in entry_points(group=group)}


def _mentioned(group: str) -> bool:
    """Whether any distribution may offer something: 2 ms, where a proper look takes 60."""
    folders = [f for f in sys.path if os.path.isdir(f) and os.access(f, os.R_OK)]
    for folder in folders:
        for name in os.listdir(folder):
            path = os.path.join(folder, name, "entry_points.txt")
            if name.endswith((".dist-info", ".egg-info")) and os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    if group in file.read():
                        return True
    return False


def _open_file(path: str) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    name = f"bench_file_{os.path.basename(path).removesuffix('.py')}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
