"""bench: trains language models under metered power and ranks them by accuracy per kWh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.metering import Metering

__version__ = "0.1.0"

EDITION = "1.0"
"""Edition of the rules that this code implements; results of equal editions are comparable."""


def meter(folder: Any = None, **options: Any) -> Metering:
    """Meter a block: `with bench.meter() as m: …`; options as of `bench.metering.Metering`."""
    from bench.metering import Metering

    return Metering(folder, **options)
