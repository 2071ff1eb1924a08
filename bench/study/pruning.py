"""Which trials are hopeless: judged by how the others stood after the same share of training.

A curve is (share of the training, value on tune) at each evaluation; higher values are better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

from bench.errors import unknown_name

Curve = Sequence[tuple[float, float]]
Rule = Callable[[Curve, Sequence[Curve]], str | None]
"""Why the trial of the first curve should end, given the curves of all others, if so."""

FEWEST = 4
"""Others that must have come as far, before the median says anything."""

HALVING = 2
_SAME = 0.005  # shares this close are one: steps are whole, and other batches make others


def below_median(own: Curve, others: Sequence[Curve]) -> str | None:
    """The best value so far is below the median of the others' (Golovin et al. 2017, "Google
    Vizier", 3.2.2)."""
    share = own[-1][0]
    came = [curve for curve in others if curve and curve[-1][0] >= share - _SAME]
    rivals = [best for curve in came if (best := _best(curve, share)) is not None]
    if len(rivals) < FEWEST or max(value for _, value in own) >= median(rivals):
        return None
    return f"below the median of {len(rivals)} other trials"


def not_in_best_half(own: Curve, others: Sequence[Curve]) -> str | None:
    """At a half, a quarter, ... of the training, only the better half of those that came there goes
    on (asynchronous successive halving, Li et al. 2020, with the training's share as resource)."""
    rung = _rung(own[-1][0])
    if len(own) > 1 and _rung(own[-2][0]) == rung:
        return None
    came = [value for curve in others for value in _firsts(curve, rung)]
    better = sum(value > own[-1][1] for value in came)
    if better < math.ceil((len(came) + 1) / HALVING):
        return None
    return f"not in the better half of {len(came) + 1} trials"


RULES: dict[str, Rule] = {"median": below_median, "halving": not_in_best_half}


def named(name: str) -> Rule:
    if name not in RULES:
        raise unknown_name("pruner", name, RULES, "bench sweep --help")
    return RULES[name]


def _best(curve: Curve, share: float) -> float | None:
    """Up to this share; None where it was first scored later."""
    return max((value for at, value in curve if at <= share + _SAME), default=None)


def _rung(share: float) -> float:
    """The last of 1, 1/2, 1/4, ... that has been reached."""
    return float(HALVING ** math.floor(math.log(share + _SAME, HALVING)))


def _firsts(curve: Curve, rung: float) -> Sequence[float]:
    """The value with which it came to a rung, if it did."""
    return [value for at, value in curve if _rung(at) == rung][:1]
