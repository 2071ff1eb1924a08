"""What a user can be told: one line that says what is wrong and one that says what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class BenchError(Exception):
    """Something failed. Printed as `error: message` and `hint: hint`; the exit code is 1."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BenchError):
    """The user asked for something that can't be; the exit code is 2."""

    exit_code = 2


class MissingExtra(BenchError):
    """A part of bench needs packages that are not installed."""

    def __init__(self, what: str, extra: str = "train") -> None:
        super().__init__(
            f"{what} needs packages that are not installed",
            f"pip install 'wattbench[{extra}]'  (in a checkout: pip install '.[{extra}]')",
        )


def near_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names that `name` may have been meant to be, nearest first."""
    from difflib import get_close_matches

    known = list(known)
    by_lower = {k.lower(): k for k in known}
    close = get_close_matches(name.lower(), by_lower, n=most, cutoff=0.5)
    return [by_lower[c] for c in close] or [k for k in known if name.lower() in k.lower()][:most]


def unknown_name(kind: str, name: str, known: Iterable[str], list_command: str) -> UsageError:
    """The error for a name that is not among the known ones, with the near ones as its hint."""
    near = near_names(name, known)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(f"no {kind} is called '{name}'", f"{hint}`{list_command}` lists them")


def first_fault(error: Any) -> str:
    """Where a pydantic ValidationError found the first fault, and what it is."""
    first = error.errors()[0]
    where = ".".join(str(p) for p in first["loc"]) or "the whole"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"
