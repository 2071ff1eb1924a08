"""What a journal does not say, since it may be published: where things lie on the machine that
drives it, and what that is called. `LOCAL`, beside the journal, has it, and is never submitted.

A job's id is of the hidden form, so that it is the same wherever it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bench import places

LOCAL = "local.jsonl"
"""Each line: the number and the time of a line of the journal, and what is said otherwise there."""

_TEXTS = ("failure", "told", "reason", "why")
_NAMES = ("model", "models", "cell", "trial")  # as records have them


def hidden(facts: Mapping[str, Any]) -> dict[str, Any]:
    """An event, or a part of one, as the journal has it."""
    return {
        name: _hidden(name, value)
        for name, value in facts.items()
        if not (name == "host" and isinstance(value, str) and not places.is_of_many(value))
    }


def _hidden(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return hidden(value)
    if isinstance(value, list | tuple):
        return [_hidden(name, each) for each in value]
    if not isinstance(value, str) or name in _NAMES:
        return value
    if name == "recipe":
        return "+".join(PurePosixPath(p).stem if p.endswith(".py") else p for p in value.split("+"))
    if name in _TEXTS:
        return places.without(value)
    return places.short(value) if value.startswith(("/", "~")) else places.without_paths(value)


def difference(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of an event what its hidden form says otherwise, less what nobody needs again."""
    shown = hidden(facts)
    return {k: v for k, v in facts.items() if k in shown and shown[k] != v}


def read(folder: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """By number and time of the journal's line; nothing where there is no such file."""
    try:
        lines = (folder / LOCAL).read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    found = {}
    for line in lines:
        try:
            said = json.loads(line)
            found[(int(said["line"]), str(said["at"]))] = dict(said["says"])
        except (ValueError, KeyError, TypeError):
            continue  # torn: the journal has no such line
    return found
