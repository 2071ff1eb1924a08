"""What a sweep may set, what it tries next, and which trials it ends early."""

from __future__ import annotations

import itertools
import math
import random
import sys
from statistics import fmean, median

import pytest

from bench.errors import MissingExtra, UsageError
from bench.study import pruning, samplers
from bench.study.samplers import Tried
from bench.study.space import Choice, Range, parse, size
from bench.study.tuning import expected_best

KINDS = {"learning_rate": "float", "epochs": "float", "batch_size": "int", "schedule": "str"}
SPACE = "learning_rate=1e-5..1e-3:log, epochs=1|2|3, batch_size=16..64:int"


def read(text: str):
    return parse(text, KINDS, "baseline")


def test_a_space_as_typed() -> None:
    assert read(SPACE) == {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "epochs": Choice(("1", "2", "3")),
        "batch_size": Range(16, 64, whole=True),
    }
    assert size(read(SPACE)) is None
    assert size(read("epochs=1|2|3,batch_size=16..64")) == 3 * 49
    assert read("learning_rate=1e-5..1e-3:log:3") == {
        "learning_rate": Choice(("1e-05", "0.0001", "0.001"))
    }
    assert read("batch_size=8..64:4") == {"batch_size": Choice(("8", "27", "45", "64"))}


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("", "names no values", "--space"),
        ("epochs", "--space 'epochs' names no values", "epochs=1|2|3"),
        ("epochs=1|2,", "--space '' names no values", "--space"),
        ("epoch=1|2", "the recipe 'baseline' has no setting 'epoch'", "did you mean epochs"),
        ("epochs=1|2,epochs=3|4", "names epochs twice", ""),
        ("epochs=1", "one value is no choice", "--set epochs=1"),
        ("epochs=1||2", "a choice has different values", ""),
        ("epochs=1|1", "a choice has different values", ""),
        ("schedule=a..b", "it is no number", "schedule=a|b"),
        ("epochs=1..x", "no range", "LOW..HIGH"),
        ("epochs=1..2..3", "no range", "LOW..HIGH"),
        ("epochs=3..1", "its first number is the smaller one", ""),
        ("epochs=1..inf", "its first number is the smaller one", ""),
        ("epochs=0..1:log", "a logarithm needs numbers above 0", ""),
        ("epochs=1..2:lin", "a range is followed by :log, :int, or the number", "epochs=1..2:log"),
        ("epochs=1..2:1", "a range is followed by", ""),
        ("batch_size=1.5..8", "not whole numbers", ""),
        ("epochs=1.5..8:int", "not whole numbers", ""),
    ],
)
def test_a_slip_in_a_space(text: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert said in caught.value.message
    assert hint in (caught.value.hint or "")


def test_ranges_are_drawn_as_they_say() -> None:
    draw = random.Random(1)
    shares = [draw.random() for _ in range(4000)]
    rates = [float(Range(1e-5, 1e-3, log=True).at(s)) for s in shares]
    assert median(rates) == pytest.approx(1e-4, rel=0.1)
    assert 1e-5 <= min(rates) < 1.02e-5
    assert 0.98e-3 < max(rates) <= 1e-3
    flat = [float(Range(0.0, 1.0).at(s)) for s in shares]
    assert fmean(flat) == pytest.approx(0.5, abs=0.02)
    sizes = [int(Range(1, 4, whole=True).at(s)) for s in shares]
    assert [sizes.count(n) / 4000 for n in (1, 2, 3, 4)] == pytest.approx([0.25] * 4, abs=0.03)
    assert {Range(1, 4, log=True, whole=True).at(s) for s in shares} == {"1", "2", "3", "4"}


def past(proposes: samplers.Sampler, count: int) -> list[Tried]:
    """What a sampler tries where the best learning rate is 1e-4."""
    tried: list[Tried] = []
    for number in range(count):
        params = proposes(number, tried)
        assert params is not None
        value = -abs(math.log10(float(params["learning_rate"])) + 4)
        tried.append(Tried(params, "complete", value))
    return tried


@pytest.mark.parametrize("name", ["random", "tpe", "gp"])
def test_a_proposal_depends_on_seed_number_and_past_alone(name: str) -> None:
    space = read(SPACE)
    tried = past(samplers.named(name, space, 1), 12)  # the first ten by chance
    again = samplers.named(name, space, 1)
    for number in (0, 5, 11):
        assert again(number, tried[:number]) == tried[number].params
    assert past(samplers.named(name, space, 2), 3) != tried[:3]


def test_tpe_learns_and_is_told_of_every_state() -> None:
    space = read(SPACE)
    tried = past(samplers.named("tpe", space, 1), 40)
    worths = [t.value or 0.0 for t in tried]
    assert fmean(worths[25:]) > fmean(worths[:10])
    others = [
        Tried(tried[0].params, "pruned", 0.1), Tried(tried[1].params, "failed", None),
        Tried(tried[2].params, "open", None), Tried(tried[3].params, "complete", None),
    ]  # fmt: skip
    assert samplers.named("tpe", space, 1)(44, [*tried, *others])


def test_a_grid_is_every_combination_once() -> None:
    space = read("epochs=1|2|3,batch_size=16..17")
    proposes = samplers.named("grid", space, 3)
    every = [proposes(n, []) for n in range(6)]
    wanted = [{"epochs": e, "batch_size": b} for e in "123" for b in ("16", "17")]
    assert sorted(map(str, every)) == sorted(map(str, wanted))
    assert every != wanted  # in no order that a setting has
    assert proposes(6, []) is None
    with pytest.raises(UsageError, match="a grid has no end over the range of learning_rate"):
        samplers.named("grid", read(SPACE), 0)
    with pytest.raises(UsageError, match="1,000,000 combinations"):
        samplers.named("grid", read("batch_size=1..1000000"), 0)


def test_a_sampler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no sampler is called 'rnadom'") as caught:
        samplers.named("rnadom", read(SPACE), 0)
    assert "random" in (caught.value.hint or "")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra) as missing:
        samplers.named("tpe", read(SPACE), 0)
    assert "wattbench[tune]" in (missing.value.hint or "")


# --- what more trials would bring ----------------------------------------------------------------


@pytest.mark.parametrize("values", [(0.3,), (0.1, 0.5), (0.5, 0.1, 0.5, 0.9, 0.2, 0.7, 0.7)])
def test_the_expected_best_is_the_mean_over_all_subsets(values: tuple[float, ...]) -> None:
    for count in range(1, len(values) + 1):
        subsets = [max(chosen) for chosen in itertools.combinations(values, count)]
        assert expected_best(values, count) == pytest.approx(fmean(subsets), abs=1e-12)


def test_the_expected_best_is_unbiased() -> None:
    """Of evenly drawn numbers the largest of k is k / (k + 1); drawing with replacement from 8
    would say less."""
    draw, n, count = random.Random(4), 8, 5
    samples = [[draw.random() for _ in range(n)] for _ in range(4000)]
    found = fmean(expected_best(sample, count) for sample in samples)
    assert found == pytest.approx(5 / 6, abs=0.004)
    biased = fmean(
        sum(((i + 1) / n) ** count * v - (i / n) ** count * v for i, v in enumerate(sorted(s)))
        for s in samples
    )
    assert biased < 5 / 6 - 0.02


def test_the_expected_best_of_many() -> None:
    values = [i / 2000 for i in range(2000)]
    assert expected_best(values, 1) == pytest.approx(fmean(values))
    assert expected_best(values, 2000) == values[-1]
    assert 0.98 < expected_best(values, 200) < 1


# --- which trials are hopeless -------------------------------------------------------------------


def curve(*values: float) -> list[tuple[float, float]]:
    return [((i + 1) / 4, value) for i, value in enumerate(values)]


def test_the_median_rule() -> None:
    hopeless = pruning.named("median")
    others = [curve(v, v, v, v) for v in (0.5, 0.6, 0.7, 0.8)]
    assert hopeless(curve(0.6), others)
    assert not hopeless(curve(0.66), others)
    assert not hopeless(curve(0.1), others[:3])  # too few to say
    assert not hopeless(curve(0.7, 0.1), others)  # the best so far counts
    late = [curve(0.1, 0.2, 0.9, 0.95) for _ in range(4)]
    assert not hopeless(curve(0.15), late)  # they had less after the same share
    stopped = [curve(0.9) for _ in range(9)]
    assert not hopeless(curve(0.1, 0.2), stopped)  # they never came as far


def test_trials_with_other_batches_are_scored_a_step_earlier_or_later() -> None:
    """A third of 514 steps is not a third of 257."""
    own, others = [(171 / 514, 0.1)], [[(86 / 257, 0.5), (1.0, 0.6)]] * 4
    assert pruning.named("median")(own, others)
    assert not pruning.named("median")([(0.1, 0.1)], others)  # none was scored so early
    assert pruning.named("halving")([(256 / 513, 0.1)], [[(0.5, 0.2)]])


def test_the_halving_rule() -> None:
    hopeless = pruning.named("halving")
    assert not hopeless(curve(0.1), [])
    assert hopeless(curve(0.1), [curve(0.2)])
    others = [curve(0.2, 0.9), curve(0.3, 0.8), curve(0.4, 0.4)]
    assert not hopeless(curve(0.3), others)
    assert hopeless(curve(0.25), others)
    assert not hopeless(curve(0.9, 0.85), others)  # at a half: by the values there
    assert hopeless(curve(0.9, 0.5), others)
    assert not hopeless(curve(0.9, 0.9, 0.1), others)  # no rung between a half and the end
    with pytest.raises(UsageError, match="no pruner is called 'medain'"):
        pruning.named("medain")
