"""What a sweep tries next: by chance, all combinations, or a model of what was tried so far.

A sampler keeps nothing: the same number and the same past give the same proposal, so that a sweep
that is taken up again goes on as it would have.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from bench.errors import MissingExtra, UsageError, unknown_name
from bench.study.space import Choice, Range, Space, size

MOST_COMBINATIONS = 100_000


@dataclass(frozen=True)
class Tried:
    """What a sampler may know of an earlier proposal."""

    params: Mapping[str, str]
    state: Literal["complete", "pruned", "failed", "open"]
    value: float | None  # the last one on tune; higher is better


class Sampler(Protocol):
    def __call__(self, number: int, past: Sequence[Tried]) -> dict[str, str] | None:
        """The proposal of this number (from 0), after those before it; None: there is none."""


def named(name: str, space: Space, seed: int) -> Sampler:
    """UsageError for a name that is none, and a space that it can't sample."""
    makers = {"random": Random, "grid": Grid, "tpe": Modelled, "gp": Modelled}
    if name not in makers:
        raise unknown_name("sampler", name, makers, "bench sweep --help")
    if name == "grid":
        return Grid(space, seed)
    return Random(space, seed) if name == "random" else Modelled(space, seed, name)


class Random:
    """Independent draws, with replacement."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def __call__(self, number: int, past: Sequence[Tried]) -> dict[str, str]:
        draw = random.Random(f"{self._seed}:{number}")
        return {name: dimension.at(draw.random()) for name, dimension in self._space.items()}


class Grid:
    """Every combination once, shuffled: those of a sweep that ends early stand for all."""

    def __init__(self, space: Space, seed: int) -> None:
        count = size(space)
        if count is None:
            endless = next(n for n, d in space.items() if isinstance(d, Range) and not d.whole)
            raise UsageError(
                f"a grid has no end over the range of {endless}",
                f"say how many values: {endless}=LOW..HIGH:5, or which: {endless}=A|B",
            )
        if count > MOST_COMBINATIONS:
            raise UsageError(f"the grid has {count:,} combinations", "fewer values, or random")
        every = [_values(dimension) for dimension in space.values()]
        self._all = [dict(zip(space, each, strict=True)) for each in itertools.product(*every)]
        random.Random(f"{seed}:grid").shuffle(self._all)

    def __call__(self, number: int, past: Sequence[Tried]) -> dict[str, str] | None:
        return self._all[number] if number < len(self._all) else None


def _values(dimension: Choice | Range) -> Sequence[str]:
    if isinstance(dimension, Choice):
        return dimension.values
    return [str(n) for n in range(int(dimension.low), int(dimension.high) + 1)]


class Modelled:
    """Optuna's samplers (Akiba et al. 2019), made anew for each proposal from what was tried: the
    tree-structured Parzen estimator (Bergstra et al. 2011), or a Gaussian process."""

    def __init__(self, space: Space, seed: int, kind: str) -> None:
        try:
            import optuna
        except ImportError:
            raise MissingExtra(f"the sampler {kind}", "tune") from None
        self._seed, self._kind, self._space = seed, kind, space
        d = optuna.distributions
        self._distributions: dict[str, Any] = {
            name: d.CategoricalDistribution(dimension.values)
            if isinstance(dimension, Choice)
            else d.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
            if dimension.whole
            else d.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
            for name, dimension in space.items()
        }

    def __call__(self, number: int, past: Sequence[Tried]) -> dict[str, str]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        kinds: dict[str, Any] = {
            "tpe": optuna.samplers.TPESampler,
            "gp": optuna.samplers.GPSampler,
        }
        drawn = random.Random(f"{self._seed}:{number}").randrange(2**31)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a sampler is new to Optuna
            study = optuna.create_study(direction="maximize", sampler=kinds[self._kind](seed=drawn))
            study.add_trials([self._told(tried) for tried in past])
            proposed = study.ask(self._distributions).params
        return {name: self._text(name, value) for name, value in proposed.items()}

    def _text(self, name: str, value: Any) -> str:
        dimension = self._space[name]
        return dimension.text(value) if isinstance(dimension, Range) else str(value)

    def _told(self, tried: Tried) -> Any:
        """One earlier trial as Optuna has it; one that was ended early by its last value."""
        import optuna

        state = optuna.trial.TrialState
        params = {
            name: int(text) if dimension.whole else float(text)
            for name, dimension in self._space.items()
            if isinstance(dimension, Range)
            for text in [tried.params[name]]
        }
        value = tried.value
        states = {"complete": state.COMPLETE, "pruned": state.PRUNED, "open": state.RUNNING}
        known = value is not None or tried.state == "open"
        return optuna.trial.create_trial(
            state=states.get(tried.state, state.FAIL) if known else state.FAIL,
            value=value if tried.state == "complete" else None,
            intermediate_values={0: value} if tried.state == "pruned" and value is not None else {},
            params={**tried.params, **params},
            distributions=self._distributions,
        )
