"""Language models over texts laid end to end: GPT-2 where a token sees those before it, BERT with
the head of its masked training where it sees all."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from bench.learn import vocabulary
from bench.learn.batches import Batch
from bench.learn.encoder import Layers, Shape
from bench.learn.layers import Dropout, hidden_places, row_sums
from bench.learn.parameters import Parameters, Weight
from bench.learn.shapes import Shapes, dense, norm


class LanguageModel(Layers):
    """What tokens cost, in nats. The table of tokens is the last product's matrix as well."""

    table = None

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.reshape(shape)

    def reshape(self, shape: Shape) -> None:
        """Take this shape from now on, with weights that are still to be filled."""
        self.shape, self.fixed = shape, 0
        self.parameters = Parameters(weights(shape) | dict(self.extra), self.dtype, self.device)

    def facts(self) -> dict[str, Any]:
        """What describes the model in a record."""
        shape = self.shape
        return {
            "parameters": self.parameters.master.numel(),
            "layers": shape.layers,
            "width": shape.width,
            "vocabulary": shape.vocabulary,
        }

    def initialise(self, seed: int, deviation: float = 0.02) -> None:
        """Normal matrices and tables."""
        self._initialise(torch.Generator().manual_seed(seed), deviation)

    def begin_step(self, batch: Batch) -> None:
        """Before a training step's forward pass."""
        self.parameters.begin_step()

    def begin_evaluation(self) -> None:
        """Before passes without gradients."""
        self.parameters.cast()

    def outputs(self, batch: Batch, dropout: Dropout | None) -> Tensor:
        """What `nats` and `mean_nats` take: [T, width], or of `batch.chosen` alone."""
        dropout = dropout or Dropout(0.0, 0, self.dtype, self.device)
        dropout.draw(self._dropped(batch))
        x = self._through(batch, hidden_places(batch, self.device), dropout)
        if batch.chosen is not None:
            x = x.index_select(0, batch.chosen)
        if self.shape.norm_first:
            x = self._norm(x, "last_norm")
        if not self.shape.causal:
            x = self._norm(F.gelu(self._linear(x, "head")), "head_norm")
        return x

    def _dropped(self, batch: Batch) -> int:
        """How many elements dropout sees in a pass."""
        fixed = 2 * self.fixed - 1 if self.fixed else 0  # the embeddings once, a layer twice
        return (1 + 2 * self.shape.layers - fixed) * len(batch.tokens) * self.shape.width

    def _look_up(self, batch: Batch) -> Tensor:
        tokens = self.parameters["tokens"]
        if not tokens.learns:
            return tokens.value.index_select(0, batch.tokens)
        found: Tensor = _LookUp.apply(_differentiable(self.device), tokens, batch.tokens)
        return found

    def nats(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What each target costs, float32: outputs [T, width], targets [T]."""
        return vocabulary.nats(outputs, self.parameters["tokens"], self._bias, targets)

    def mean_nats(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean of `nats`, for less work in training."""
        return vocabulary.mean_nats(outputs, self.parameters["tokens"], self._bias, targets)

    def likeliest(self, outputs: Tensor) -> Tensor:
        """The token of the highest probability for each of outputs [M, width]: [M]."""
        tokens = self.parameters["tokens"].value
        bias = 0.0 if self._bias is None else self._bias.value
        return (outputs.mm(tokens.t()) + bias).argmax(1)

    @property
    def _bias(self) -> Weight | None:
        return None if self.shape.causal else self.parameters["scores.bias"]


def weights(shape: Shape) -> Shapes:
    """Every weight of a language model by name."""
    d = shape.width
    found: Shapes = {"tokens": (shape.vocabulary, d)}
    found |= shape.weights()
    if not shape.causal:
        found |= dense("head", d, d) | norm("head_norm", d)
        found["scores.bias"] = (shape.vocabulary,)
    return found


def _differentiable(device: torch.device) -> Tensor:
    """What makes autograd call the backward pass of a look-up, whose input has no gradient."""
    return torch.empty(0, device=device, requires_grad=True)


class _LookUp(Function):
    @staticmethod
    def forward(ctx: Any, nothing: Tensor, weight: Weight, tokens: Tensor) -> Tensor:
        ctx.weight, ctx.tokens = weight, tokens
        return weight.value.index_select(0, tokens)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:
        weight: Weight = ctx.weight
        if grad.device.type == "cpu" and grad.dtype == torch.float32 and not weight.fresh:
            weight.grad.index_add_(0, ctx.tokens, grad)
        else:
            weight.add(row_sums(grad, ctx.tokens, len(weight.value)))
        return None, None, None
