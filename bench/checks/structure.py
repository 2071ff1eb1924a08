"""S: names, sizes, links; what a file holds can be read, and is nothing but what it should be."""

from __future__ import annotations

from bench.checks import Found, Problem, rule
from bench.checks.bundle import Folder, Surroundings


def _guarded(id: str, folder: Folder) -> Found:
    """What was refused when the parts were read."""
    for name, fault in folder.faults(id):
        yield Problem(fault.message, fault.numbers, file=name)


@rule("S4", "json", "A JSON file is one value in UTF-8, no key twice, all numbers finite.")
def json(folder: Folder, around: Surroundings) -> Found:
    yield from _guarded("S4", folder)
