"""A step updates the embeddings of the tokens in its batch, and those of no others.

Dense AdamW goes over every row that training has seen, since momentum and decay move all of them.
Here, as in LazyAdam and `torch.optim.SparseAdam`, a row's moments and decay stand still while its
token does not occur; the steps that correct their bias count on. Nothing else changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError
from bench.recipes import Use, baseline
from bench.record import Scalar

if TYPE_CHECKING:
    from bench.learn.loop import Training

_TIED = "only encoders with a table of their own have rows without a gradient"


@dataclass
class Recipe(baseline.Recipe):
    """The table of the model that is trained is exchanged when all else is prepared."""

    summary: ClassVar[str] = "only the embeddings of a batch's tokens are updated in a step"
    paper: ClassVar[str] = "https://arxiv.org/abs/1412.6980"
    place: ClassVar[int] = 9

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        return None if use.kind == "encoder" else f"{use.model} is of kind {use.kind}: {_TIED}"

    def prepare(self, training: Training) -> None:
        from bench.learn.embedding import SparseTable

        super().prepare(training)
        model: Any = training.model
        if model.table is None:
            raise UsageError(f"sparse-embedding can't be used here: {_TIED}")
        model.table = SparseTable(model.table.rows)
