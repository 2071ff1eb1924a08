"""Ends after a share of the tokens of a full training, with the schedule planned for that.

A training of a quarter of the tokens whose rate has fallen to zero at its end is not a quarter of a
training: it is the whole of a short one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.recipes import Use, baseline, setting
from bench.record import Scalar

if TYPE_CHECKING:
    from bench.learn.loop import Training


@dataclass
class Recipe(baseline.Recipe):
    """It sets `epochs`, which other recipes may read when they prepare."""

    summary: ClassVar[str] = "a fixed number of tokens, or a share of a full training's"
    paper: ClassVar[str] = "https://arxiv.org/abs/2203.15556"
    place: ClassVar[int] = 20

    share: float = setting(0.25, "of the tokens that all epochs have, of all rows", above=0)
    tokens: int = setting(0, "in place of a share of them, however many epochs; 0: a share", low=0)

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        if settings["max_tokens"]:
            return "max_tokens is a limit of its own; leave it out"
        return super().refusal(use, settings)

    def prepare(self, training: Training) -> None:
        full = self.epochs * int(_all_rows(training).lengths.sum())
        self._budget = self.tokens or self.share * full
        self._share = self._budget / full
        self.epochs = self._budget / (training.tokens_per_epoch * self.share_read(training))
        super().prepare(training)

    def facts(self, training: Training) -> dict[str, Any]:
        return super().facts(training) | {
            "tokens": training.tokens,
            "token_budget": round(self._budget),
            "budget_share": self._share,
        }


def _all_rows(training: Training) -> Any:
    """Those of the task, whatever a recipe chose of them."""
    return training.source.splits["train"] if training.source else training.train
