"""Readings of power as a trace has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.power.energy import LEAST_HZ, Series

LATEST_NS = 9_000_000_000_000_000_000
"""Times are ns since 1970 in 64 bits: they end in 2255."""
_MOST_HZ = 1000.0


def series(t_ns: Sequence[int], power_w: Sequence[float]) -> Series:
    """In order of time; NaN is what could not be read."""
    nothing = np.full(len(t_ns), np.nan)
    times = np.array(t_ns, np.int64)
    return Series(times, np.array(power_w, np.float64), nothing, nothing, nothing, nothing)


def rate_hz(t_ns: NDArray[np.int64]) -> float:
    """Readings a second, as they mostly came. No less than the rules ask for: a log that is
    sparser is not excused by being so throughout."""
    apart_s = np.diff(np.unique(t_ns)) / 1e9
    usual = 1 / float(np.median(apart_s)) if len(apart_s) else LEAST_HZ
    return min(max(usual, LEAST_HZ), _MOST_HZ)
