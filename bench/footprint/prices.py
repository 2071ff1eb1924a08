"""What electricity and device-hours cost."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

STUDY_USD_PER_KWH = 0.12


@cache
def _prices() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("prices.toml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = tomllib.loads(text)["price"]
    return found


def cloud_price(device: str) -> Mapping[str, Any] | None:
    """The row of a device, by the beginning of its name."""
    for row in _prices():
        rest = device[len(row["name"]) :]
        if device.startswith(row["name"]) and not rest[:1].isalnum():
            return row
    return None
