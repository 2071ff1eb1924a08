"""Which of several domains make up a total."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bench.power.probes import Domain


def counted(domains: Iterable[Domain], hidden: Collection[str] = ()) -> list[str]:
    """Their names, of all but the `hidden`: a node's meter alone where there is one, as it reads
    what its parts do; estimates only where nothing is measured."""
    seen = [d for d in domains if d.name not in hidden]
    measured = [d for d in seen if d.level != "M0"] or seen
    return [d.name for d in [d for d in measured if d.kind == "node"] or measured]
