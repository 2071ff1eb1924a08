"""What the checks say of each entry, kept from one build to the next: an entry is checked once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """One rule's verdict of an entry or of one of its runs."""

    rule: str
    name: str
    status: str  # pass, skipped, warning, error
    run_id: str | None  # None: of the entry as a whole
    message: str


@dataclass(frozen=True)
class Checked:
    """`level` is T0, T1 or T2; `said` has those that passed, too."""

    level: str
    said: tuple[Said, ...]
