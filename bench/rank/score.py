"""The arithmetic of the rules (`bench rules`): each rule is one small function over plain numbers.

Energies come in joules. scipy is imported where it is used, because it takes half a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import fmean, stdev
from typing import Any, Literal

from bench.cards import Reference
from bench.units import kwh_from_j

FLOOR_KWH = 0.0005
"""Added to every energy: about what a 100 W machine uses in the 20 s of starting and predicting."""

TIERS = {"gold": 0.97, "silver": 0.88, "bronze": 0.60}
"""Share of the reference's skill that a tier asks for, the highest first."""

RANKED_RUNS = 3
"""A ranked entry has at least so many complete runs."""

ALPHA = 0.05
"""Two entries differ when Welch's test says so at this level."""

LEAST_SCATTER = 0.001
"""Standard deviation of log scores below which the tests don't go: energy is not known better."""


Scale = Literal["linear", "log"]
"""What skill is linear in: the metric, or its logarithm (then chance, best and values are > 0)."""


def skill(value: float, chance: float, best: float, scale: Scale = "linear") -> float:
    """0 at chance, 1 at best, not clipped; right for metrics where less is better, too."""
    if scale == "log":
        value, chance, best = map(math.log, (value, chance, best))
    return (value - chance) / (best - chance)


def metric_at(skill: float, chance: float, best: float, scale: Scale = "linear") -> float:
    """The metric's value that has this skill."""
    if scale == "log":
        return chance * (best / chance) ** skill
    return chance + skill * (best - chance)


def score(skills: Sequence[float], energies_j: Sequence[float]) -> float:
    """Skill per kWh of an entry (of accuracy: qualified accuracy), a ratio of means over runs."""
    return fmean(skills) / (kwh_from_j(fmean(energies_j)) + FLOOR_KWH)


def plain_ratio(values: Sequence[float], energies_j: Sequence[float]) -> float:
    """Metric per kWh, without floor or chance level; shown, and never ranked by."""
    return fmean(values) / kwh_from_j(fmean(energies_j))


def thresholds(
    reference: Reference, chance: float, best: float, scale: Scale = "linear"
) -> dict[str, float]:
    """Skill that each tier asks for; empty when the reference is no better than chance."""
    if best == chance:
        return {}
    published = skill(reference.value, chance, best, scale)
    return {t: share * published for t, share in TIERS.items()} if published > 0 else {}


def tier(skills: Sequence[float], thresholds: Mapping[str, float]) -> str | None:
    """The highest tier whose threshold the runs clear; None below all, or with a single run."""
    bound = lower_bound(skills)
    if bound is None:
        return None
    return next((t for t, asked in thresholds.items() if bound >= asked), None)


def lower_bound(values: Sequence[float]) -> float | None:
    """Lower one-sided 95 % t-bound of the mean; None with fewer than two values."""
    if len(values) < 2:
        return None
    return fmean(values) - _t_quantile(len(values) - 1, 0.95) * _standard_error(values)


def half_width(values: Sequence[float]) -> float | None:
    """Half of the two-sided 95 % t-interval of the mean; None with fewer than two values."""
    if len(values) < 2:
        return None
    return _t_quantile(len(values) - 1, 0.975) * _standard_error(values)


def log_scores(skills: Sequence[float], energies_j: Sequence[float]) -> list[float] | None:
    """log(skill / (kWh + floor)) of each run; None when a run is at or below chance."""
    if min(skills) <= 0:
        return None
    return [
        math.log(s / (kwh_from_j(e) + FLOOR_KWH)) for s, e in zip(skills, energies_j, strict=True)
    ]


def scatter(logs: Sequence[float]) -> float | None:
    """Standard deviation of logarithms between runs, never below LEAST_SCATTER; None for one."""
    return max(deviation(logs), LEAST_SCATTER) if len(logs) > 1 else None


def score_interval(
    skills: Sequence[float], energies_j: Sequence[float]
) -> tuple[float, float] | None:
    """95 % interval of the score from the scatter of its runs; None where there is none."""
    logs = log_scores(skills, energies_j)
    spread = scatter(logs) if logs else None
    if logs is None or spread is None:
        return None
    half = _t_quantile(len(logs) - 1, 0.975) * spread / math.sqrt(len(logs))
    middle = score(skills, energies_j)
    return middle * math.exp(-half), middle * math.exp(half)


def rank_intervals(samples: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """For each entry's log scores (two or more) the ranks that it may hold.

    From 1 + the number of entries that are significantly better, to n - the number that are
    significantly worse. "Can't be told apart" is not transitive, so the intervals may overlap.
    """
    import numpy as np

    if len(samples) < 2:
        return [(1, 1)] * len(samples)
    mean, variance, df = (np.array(c) for c in zip(*map(moments, samples), strict=True))
    # Welch's degrees of freedom lie between the smallest of one entry and the largest of two:
    # only where t is between what these two ask for does it take the test itself to decide.
    least, enough = (_t_quantile(n, 1 - ALPHA / 2) for n in (2 * df.max(), df.min()))
    ranks = []
    for own in zip(mean, variance, df, strict=True):
        t = (own[0] - mean) / np.sqrt(own[1] + variance)
        differs = np.abs(t) > enough * (1 + 1e-9)
        open_ = ~differs & (np.abs(t) > least * (1 - 1e-9))
        differs[open_] = welch(own, (mean[open_], variance[open_], df[open_]))[2] < ALPHA
        worse = int((differs & (t > 0)).sum())
        ranks.append((1 + int(differs.sum()) - worse, len(samples) - worse))
    return ranks


def moments(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, variance of the mean, degrees of freedom, of two values or more."""
    spread = scatter(values)
    assert spread is not None
    return fmean(values), spread**2 / len(values), len(values) - 1


def welch(first: Any, second: Any) -> tuple[Any, Any, Any]:
    """Welch's test: t, degrees of freedom, two-sided p, of moments that are numbers or arrays."""
    from scipy.special import stdtr

    (mean_a, var_a, df_a), (mean_b, var_b, df_b) = first, second
    t = (mean_a - mean_b) / (var_a + var_b) ** 0.5
    df = (var_a + var_b) ** 2 / (var_a**2 / df_a + var_b**2 / df_b)
    return t, df, 2 * stdtr(df, -abs(t))


def ratio_interval(ratio: float, *scatters: tuple[float, int]) -> tuple[float, float]:
    """95 % interval of the ratio of two single runs, from (scatter, runs) of each one's entry; or
    of one that speaks for both, which does not make it better known."""
    variances = [spread**2 for spread, _ in scatters]
    unsure = sum(v**2 / (n - 1) for v, (_, n) in zip(variances, scatters, strict=True))
    df = sum(variances) ** 2 / unsure
    half = _t_quantile(df, 0.975) * math.sqrt(2 * fmean(variances))
    return ratio * math.exp(-half), ratio * math.exp(half)


def ratio_of_means(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, tuple[float, float] | None]:
    """The mean of `second` over that of `first`, both above 0, with a 95 % interval by Welch's test
    on the logarithms; None in its place where one of them is a single run."""
    ratio = fmean(second) / fmean(first)
    if min(len(first), len(second)) < 2:
        return ratio, None
    each = [moments([math.log(v) for v in values]) for values in (first, second)]
    _, df, _ = welch(*each)
    half = _t_quantile(df, 0.975) * math.sqrt(sum(variance for _, variance, _ in each))
    return ratio, (ratio * math.exp(-half), ratio * math.exp(half))


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which of (skill, energy) are on the Pareto front: none has more skill for less energy, or as
    much of one for a better other."""
    return [
        not any(s >= skill and e <= energy and (s, e) != (skill, energy) for s, e in points)
        for skill, energy in points
    ]


def mcnemar(first_only: int, second_only: int) -> float:
    """McNemar's exact p for the examples that only one of two models got right."""
    from scipy.special import bdtr

    discordant = first_only + second_only
    if discordant == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(first_only, second_only), discordant, 0.5)))


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of right answers, from the split's size alone."""
    z2 = 1.959963984540054**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 / n * (share * (1 - share) + z2 / (4 * n))) / (1 + z2 / n)
    return middle - half, middle + half


def _standard_error(values: Sequence[float]) -> float:
    return deviation(values) / math.sqrt(len(values))


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of two or more: exact, which takes its time, and so once for all columns
    and plots."""
    return _deviation(tuple(values))


_deviation = lru_cache(1 << 16)(stdev)


@lru_cache(1 << 10)
def _t_quantile(df: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, level))
