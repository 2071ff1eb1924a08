"""What the loop asks of a model."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from bench.learn.batches import Batch
from bench.learn.embedding import Table
from bench.learn.layers import Dropout
from bench.learn.parameters import Parameters


class Model(Protocol):
    dtype: torch.dtype  # of activations and products
    device: torch.device
    parameters: Parameters

    @property
    def table(self) -> Table | None:
        """The embeddings, where the model's own are kept apart from `parameters`."""

    def facts(self) -> dict[str, Any]:
        """What describes the model in a record: `parameters`, and more."""

    def begin_step(self, batch: Batch) -> None:
        """Called before a training step's forward pass."""

    def begin_evaluation(self) -> None:
        """Called before passes without gradients."""

    def outputs(self, batch: Batch, dropout: Dropout | None) -> Tensor:
        """What the objective asked for, float32: [B, size], or [T, size] a token."""


class LanguageModel(Model, Protocol):
    """A model of running text, asked for with `Outputs` per word."""

    def nats(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, [M] float32, from the outputs for them [M, ...]."""

    def mean_nats(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean of `nats`, for less work in training."""

    def likeliest(self, outputs: Tensor) -> Tensor:
        """The token of the highest probability for each of outputs [M, ...]: [M]."""
