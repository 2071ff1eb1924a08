"""What the scored split is, where its data lies on this machine: without a network."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.cards import Card


@dataclass(frozen=True)
class Scored:
    """In order: labels in canonical form, the texts of each row, and the rows of each part."""

    labels: list[str]
    texts: list[tuple[str, ...]] = field(default_factory=list)
    parts: dict[str, int] = field(default_factory=dict)  # none where the split is one


def scored_of(card: Card, data: str | None = None) -> Scored | None:
    """As a run with `--data` has it (a folder, `hub`, `embedded`); None where it is not at hand.
    The embedded corpus, which takes seconds to make, is taken only where it is asked for."""
    from bench.learn import sources

    found = sources.scored(card, data)
    return Scored(found.scored.labels, found.scored.inputs, found.parts) if found else None
