"""Short texts first: in the first part of the training a step reads less.

Running text is read in windows of a length that grows to the whole (Li et al. 2022). Of other tasks
the rows come from a growing share of all, the shortest first (Platanios et al. 2019): a batch whose
rows are at some place in the order of length gives way to rows at a share of that place, each of
them whole. The number of steps stays what it is, so that what is saved is tokens, of long texts;
where tokens are the budget, it is steps that are gained.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.recipes import Use, baseline, setting
from bench.record import Scalar

if TYPE_CHECKING:
    import numpy as np

    from bench.learn.batches import Batch
    from bench.learn.loop import Training

MULTIPLE = 8  # of which the length of a window is: what a GPU's products are made for


@dataclass
class Recipe(baseline.Recipe):
    """It reads other rows, or less of them, than its batches have."""

    summary: ClassVar[str] = "short texts or windows first, longer ones later"
    paper: ClassVar[str] = "https://arxiv.org/abs/2108.06084; https://arxiv.org/abs/1903.09848"
    place: ClassVar[int] = 15

    growing: float = setting(0.5, "share of the steps in which lengths grow", low=0, high=1)
    first_share: float = setting(
        0.125, "of a window's length, or of the rows by length, at the first step", above=0, high=1
    )

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        if use.family == "translation":
            return "a step has batch_tokens tokens, however long its texts are: nothing is saved"
        if use.family == "language-modelling" and use.kind == "elmo":
            return "it reads on where the last block ended, and a token costs the same in any block"
        return super().refusal(use, settings)

    def prepare(self, training: Training) -> None:
        import numpy as np

        from bench.learn.batches import ByLength

        rows, random = training.train, np.random.default_rng(training.seed)
        epoch = np.concatenate(list(self.batches(rows, 0, random)))
        self._by_length = ByLength(rows, epoch, random)
        super().prepare(training)

    def batch(self, training: Training, rows: np.ndarray) -> Batch:
        from bench.learn.windows import Windows

        share = self._reached(training.step / training.total_steps)
        if share == 1.0:
            return super().batch(training, rows)
        if not isinstance(training.train, Windows):
            return super().batch(training, self._by_length.at_share(rows, share))
        with training.train.cut_to(_length(training.train.length, share)):
            return super().batch(training, rows)

    def _reached(self, done: float) -> float:
        """The share of lengths at this share of the steps."""
        if done >= self.growing:
            return 1.0
        return self.first_share + (1 - self.first_share) * done / self.growing

    def share_read(self, training: Training) -> float:
        """The mean over steps, as fine as it matters."""
        from bench.learn.windows import Windows

        rows = training.train
        shares = [self._reached((i + 0.5) / 1000) for i in range(1000)]
        if isinstance(rows, Windows):
            read = [_length(rows.length, share) / rows.length for share in shares]
        else:
            read = [self._by_length.tokens_below(share) for share in shares]
        return super().share_read(training) * statistics.fmean(read)

    def facts(self, training: Training) -> dict[str, Any]:
        whole = training.step * training.tokens_per_epoch / training.steps_per_epoch
        return super().facts(training) | {
            "tokens": training.tokens,
            "tokens_share": training.tokens / whole,
        }


def _length(whole: int, share: float) -> int:
    """Of a window, in full multiples."""
    return min(whole, max(MULTIPLE, round(share * whole / MULTIPLE) * MULTIPLE))
