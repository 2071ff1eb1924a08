"""The arithmetic of the rules, against worked examples and against scipy.stats."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from bench.cards import Reference
from bench.rank import score
from tests.rank.records import CHANCE, SST2


def test_sst2_tiers_are_those_of_the_rules() -> None:
    asked = score.thresholds(SST2.reference, CHANCE, 1.0)
    accuracies = {t: round(score.metric_at(s, CHANCE, 1.0), 3) for t, s in asked.items()}
    assert accuracies == {"gold": 0.914, "silver": 0.877, "bronze": 0.760}


def test_skill_is_zero_at_chance_one_at_best_and_not_clipped() -> None:
    assert score.skill(CHANCE, CHANCE, 1.0) == 0
    assert score.skill(1.0, CHANCE, 1.0) == 1
    assert score.skill(0.4, CHANCE, 1.0) < 0


def test_skill_where_less_is_better() -> None:
    assert score.skill(20.0, chance=100.0, best=0.0) == pytest.approx(0.8)
    assert score.metric_at(0.8, 100.0, 0.0) == pytest.approx(20.0)


def test_score_is_a_ratio_of_means_with_the_floor() -> None:
    # 1.8 kJ is 0.0005 kWh, 5.4 kJ is 0.0015 kWh: mean 0.001, with the floor 0.0015
    assert score.score([0.8, 0.4], [1800.0, 5400.0]) == pytest.approx(0.6 / 0.0015)


def test_the_floor_keeps_a_run_without_effort_finite() -> None:
    assert score.score([0.5], [0.0]) == pytest.approx(1000)


def test_the_plain_ratio_crowns_the_majority_class_and_the_score_does_not() -> None:
    assert score.plain_ratio([CHANCE], [1.0]) > score.plain_ratio([0.93], [20_000.0])
    idle = score.skill(CHANCE, CHANCE, 1.0)
    trained = score.skill(0.93, CHANCE, 1.0)
    assert score.score([idle], [1.0]) < score.score([trained], [20_000.0])


def test_a_reference_at_chance_gives_no_tiers() -> None:
    reference = Reference(model="m", value=0.5, source="s")
    assert score.thresholds(reference, 0.5, 1.0) == {}
    assert score.thresholds(reference, 1.0, 1.0) == {}


def test_the_lower_bound_is_the_one_sided_t_bound() -> None:
    values = [0.81, 0.84, 0.80, 0.83]
    low, _ = stats.t.interval(0.90, 3, np.mean(values), stats.sem(values))
    assert score.lower_bound(values) == pytest.approx(low, rel=1e-12)
    assert score.lower_bound([0.8]) is None
    assert score.lower_bound([0.8, 0.8, 0.8]) == pytest.approx(0.8)


def test_half_width_is_the_two_sided_t_interval() -> None:
    values = [0.81, 0.84, 0.80]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert score.half_width(values) == pytest.approx((high - low) / 2, rel=1e-12)
    assert score.half_width([0.8]) is None


def test_a_tier_needs_the_bound_and_not_the_mean() -> None:
    asked = {"gold": 0.80, "bronze": 0.50}
    assert score.tier([0.81, 0.82, 0.83], asked) == "gold"
    assert score.tier([0.70, 0.82, 0.94], asked) == "bronze"  # the same mean, more scatter
    assert score.tier([0.40, 0.41, 0.42], asked) is None
    assert score.tier([0.99], asked) is None


def test_welch_agrees_with_scipy_stats() -> None:
    draw = random.Random(1)
    for _ in range(50):
        a = [draw.gauss(0, 0.05) for _ in range(draw.randint(2, 8))]
        b = [draw.gauss(0.04, 0.02) for _ in range(draw.randint(2, 8))]
        theirs = stats.ttest_ind(a, b, equal_var=False)
        if min(np.std(a, ddof=1), np.std(b, ddof=1)) > score.LEAST_SCATTER:
            expected = (theirs.statistic, theirs.df, theirs.pvalue)
            assert welch(a, b) == pytest.approx(expected, rel=1e-9)


def welch(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """t, degrees of freedom, p."""
    return score.welch(score.moments(first), score.moments(second))


def test_runs_without_scatter_differ_only_beyond_what_energy_is_known_to() -> None:
    same, near, far = [5.0] * 3, [5.001] * 3, [5.1] * 3
    assert score.rank_intervals([same, near]) == [(1, 2), (1, 2)]
    assert score.rank_intervals([far, same]) == [(1, 1), (2, 2)]
    assert welch(same, same)[2] == pytest.approx(1)


def test_a_run_at_or_below_chance_has_no_log_score() -> None:
    assert score.log_scores([0.5, 0.0, 0.5], [1e4] * 3) is None
    assert score.log_scores([0.5, -0.1, 0.5], [1e4] * 3) is None
    assert score.score_interval([0.5, 0.0, 0.5], [1e4] * 3) is None
    logs = score.log_scores([0.5], [1800.0])
    assert logs == pytest.approx([math.log(0.5 / 0.001)])


def test_ranks_are_intervals_where_ties_are_not_transitive() -> None:
    # A beats C; B can't be told apart from either
    a, b, c = [1.00, 1.02, 1.04], [0.93, 0.99, 1.05], [0.94, 0.96, 0.98]
    assert welch(a, c)[2] < 0.05 < min(welch(a, b)[2], welch(b, c)[2])
    assert score.rank_intervals([a, b, c]) == [(1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize("sizes", [[3], [2, 3, 5], [3, 40], [100]])
@pytest.mark.parametrize("scatter", [0.0, 0.002, 0.05, 0.5])
def test_ranks_are_those_of_every_test(sizes: list[int], scatter: float) -> None:
    """Most pairs are told apart, or not, without a test of their own: exactly as by one."""
    draw = np.random.default_rng(11)
    samples = [
        list(draw.normal(draw.normal(0, 0.2), scatter * draw.lognormal(0, 1), draw.choice(sizes)))
        for _ in range(60)
    ]
    expected = []
    for own in samples:
        found = [welch(own, other) for other in samples]
        better = sum(p < score.ALPHA and t < 0 for t, _, p in found)
        worse = sum(p < score.ALPHA and t > 0 for t, _, p in found)
        expected.append((1 + better, 60 - worse))
    assert score.rank_intervals(samples) == expected


def test_ranks_of_none_and_of_one() -> None:
    assert score.rank_intervals([]) == []
    assert score.rank_intervals([[1.0, 1.1, 1.2]]) == [(1, 1)]


@pytest.mark.parametrize("n", [3, 5, 10])
def test_identical_entries_separate_at_about_the_nominal_level(n: int) -> None:
    """The rank intervals themselves, over pairs of entries that are one and the same."""
    draw = np.random.default_rng(7)
    energies = 20_000 * np.exp(draw.normal(0, 0.03, (2000, 2, n)))
    skills = 0.8 + draw.normal(0, 0.005, (2000, 2, n))
    told_apart = 0
    for e, s in zip(energies, skills, strict=True):
        logs = [score.log_scores(list(s[i]), list(e[i])) or [] for i in (0, 1)]
        told_apart += score.rank_intervals(logs) != [(1, 2), (1, 2)]
    assert 0.02 < told_apart / 2000 < 0.065  # Welch is a little careful with three runs


def test_mcnemar_agrees_with_the_exact_binomial_test() -> None:
    for b, c in [(0, 0), (1, 0), (5, 5), (13, 0), (3, 17), (40, 61), (2000, 2210)]:
        expected = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
        assert score.mcnemar(b, c) == pytest.approx(expected, rel=1e-6)
        assert score.mcnemar(b, c) == score.mcnemar(c, b)


@pytest.mark.parametrize("correct", [0, 1, 436, 871, 872])
def test_wilson_agrees_with_scipy_stats(correct: int) -> None:
    expected = stats.binomtest(correct, 872).proportion_ci(method="wilson")
    found = score.wilson(correct / 872, 872)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_score_interval_covers_as_often_as_it_says() -> None:
    draw = np.random.default_rng(3)
    truth = score.score([0.8], [20_000.0])
    energies = 20_000 * np.exp(draw.normal(0, 0.03, (2000, 4)))
    inside = 0
    for e in energies:
        low, high = score.score_interval([0.8] * 4, list(e)) or (0.0, 0.0)
        inside += low <= truth <= high
    assert 0.93 < inside / 2000 < 0.97


def test_the_interval_of_a_ratio_holds_new_runs_as_often_as_it_says() -> None:
    draw = np.random.default_rng(5)
    inside = 0
    for _ in range(2000):
        a, b = draw.normal(0, 0.02, 5), draw.normal(0, 0.04, 5)
        scatters = [(score.scatter(list(x)) or 0.0, 5) for x in (a, b)]
        ratio = math.exp(draw.normal(0, 0.04) - draw.normal(0, 0.02))
        low, high = score.ratio_interval(ratio, scatters[0], scatters[1])
        inside += low <= 1 <= high
    assert 0.93 < inside / 2000 < 0.975


def test_a_ratio_of_means_has_the_interval_of_welchs_test() -> None:
    chance = random.Random(3)
    first = [math.exp(chance.gauss(3.0, 0.05)) for _ in range(4)]
    second = [math.exp(chance.gauss(2.4, 0.12)) for _ in range(3)]
    ratio, interval = score.ratio_of_means(first, second)
    test = stats.ttest_ind(np.log(second), np.log(first), equal_var=False)
    low, high = test.confidence_interval(0.95)
    assert ratio == pytest.approx(np.mean(second) / np.mean(first))
    assert interval is not None
    assert interval[1] / interval[0] == pytest.approx(math.exp(high - low))
    assert math.sqrt(interval[0] * interval[1]) == pytest.approx(ratio)


def test_a_single_run_gives_a_ratio_no_interval() -> None:
    assert score.ratio_of_means([10.0, 12.0], [22.0]) == (2.0, None)


def test_the_front_is_what_none_beats_in_skill_and_energy() -> None:
    points = [(0.9, 10.0), (0.8, 5.0), (0.8, 6.0), (0.7, 7.0), (0.95, 30.0), (0.8, 5.0)]
    assert score.front(points) == [True, True, False, False, True, True]
    assert score.front([]) == []
