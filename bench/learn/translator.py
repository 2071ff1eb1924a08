"""The Transformer of Vaswani et al. 2017: an encoder and a decoder, normalised after each block.

Embeddings of both languages and the last product share one table. Texts lie end to end, without
padding: a grid of them is made for attention alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from bench.learn.batches import Batch
from bench.learn.cross import by_head, cross_attention, hidden_bias
from bench.learn.layers import (
    Dropout,
    attention,
    hidden_places,
    layer_norm,
    linear,
    row_sums,
    to_grid,
)
from bench.learn.parameters import Parameters, Weight
from bench.learn.shapes import Shapes, dense, norm


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    width: int
    layers: int  # of the encoder, and as many of the decoder
    heads: int
    hidden: int  # width between the two products of a block
    epsilon: float = 1e-5

    def weights(self) -> Shapes:
        """Every weight by name. `memory` makes keys and values of all decoder layers at once."""
        d = self.width
        found: Shapes = {"tokens": (self.vocabulary, d)}
        for i in range(self.layers):
            found |= self._block(f"encoder.{i}.")
        found |= dense("memory", d, 2 * d * self.layers)
        for i in range(self.layers):
            found |= self._block(name := f"decoder.{i}.")
            found |= dense(f"{name}q", d, d) | dense(f"{name}cross", d, d)
            found |= norm(f"{name}cross_norm", d)
        return found

    def _block(self, name: str) -> Shapes:
        d = self.width
        return (
            dense(f"{name}qkv", d, 3 * d)
            | dense(f"{name}mix", d, d)
            | dense(f"{name}up", d, self.hidden)
            | dense(f"{name}down", self.hidden, d)
            | norm(f"{name}mix_norm", d)
            | norm(f"{name}down_norm", d)
        )


@dataclass(frozen=True)
class Memory:
    """What a decoder reads of the texts to translate."""

    keys: list[Tensor]  # of each layer, [B * heads, L, depth]
    values: list[Tensor]
    bias: Tensor | None  # [B * heads, 1, L]; None if all are of one length

    def take(self, rows: Tensor) -> Memory:
        """That of some texts, by their rows of B * heads."""
        bias = None if self.bias is None else self.bias[rows]
        return Memory([k[rows] for k in self.keys], [v[rows] for v in self.values], bias)


class _Embed(Function):
    @staticmethod
    def forward(ctx: Any, added: Tensor, weight: Weight, tokens: Tensor, scale: float) -> Tensor:
        ctx.weight, ctx.scale = weight, scale
        ctx.save_for_backward(tokens)
        return torch.add(added, weight.value.index_select(0, tokens), alpha=scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None, None]:
        (tokens,) = ctx.saved_tensors
        weight, scale = ctx.weight, ctx.scale
        if grad.device.type == "cpu" and grad.dtype == torch.float32 and not weight.fresh:
            weight.grad.index_add_(0, tokens, grad, alpha=scale)
        else:
            weight.add(row_sums(grad, tokens, len(weight.value)).mul_(scale))
        return None, None, None, None


class Translator:
    """The decoder's last states of a batch's targets, [T, width]; the objective multiplies them
    with `parameters["tokens"]`. Weights are float32; activations are in `dtype`."""

    table = None

    def __init__(
        self, shape: Shape, positions: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device
        self.parameters = Parameters(shape.weights(), dtype, device)
        self._sinusoids = sinusoids(positions, shape.width).to(dtype=dtype, device=device)

    @property
    def positions(self) -> int:
        """The most tokens that a text can have."""
        return len(self._sinusoids)

    @property
    def size(self) -> int:
        """The number of trained parameters."""
        return self.parameters.master.numel()

    def facts(self) -> dict[str, Any]:
        shape = self.shape
        return {
            "parameters": self.size,
            "layers": 2 * shape.layers,
            "width": shape.width,
            "vocabulary": shape.vocabulary,
        }

    def initialise(self, seed: int) -> None:
        """Embeddings of variance 1 / width; matrices uniform as by Glorot and Bengio 2010, those
        of several products in one as if each were alone."""
        random = torch.Generator().manual_seed(seed)
        for name, weight in self.parameters.named().items():
            if name.endswith("bias"):
                weight.zero_()
            elif weight.dim() == 1:
                weight.fill_(1.0)
            elif name == "tokens":
                normal = torch.randn(weight.shape, generator=random)
                weight.copy_(normal * self.shape.width**-0.5)
            else:
                together = name.endswith(("qkv.weight", "memory.weight"))
                outputs = self.shape.width if together else weight.shape[0]
                bound = math.sqrt(6 / (weight.shape[1] + outputs))
                uniform = torch.rand(weight.shape, generator=random)
                weight.copy_(uniform.mul_(2 * bound).sub_(bound))

    def begin_step(self, batch: Batch) -> None:
        self.parameters.begin_step()

    def begin_evaluation(self) -> None:
        self.parameters.cast()

    def outputs(self, batch: Batch, dropout: Dropout | None) -> Tensor:
        """[T, width] for the T tokens of the batch's targets."""
        assert batch.target is not None
        dropout = dropout or Dropout(0.0, 0, self.dtype, self.device)
        dropout.draw(self._dropped(batch, batch.target))
        memory = self._remember(batch, dropout)
        x = dropout(self.embed(batch.target.tokens, batch.target.positions))
        for i in range(self.shape.layers):
            x = self._decoder_layer(i, x, batch.target, memory, dropout)
        return x

    def _dropped(self, batch: Batch, target: Batch) -> int:
        """How many elements dropout sees in a pass."""
        layers, d = self.shape.layers, self.shape.width
        return d * ((1 + 2 * layers) * len(batch.tokens) + (1 + 3 * layers) * len(target.tokens))

    def remember(self, batch: Batch) -> Memory:
        """What the decoder reads of these texts, without dropout."""
        return self._remember(batch, Dropout(0.0, 0, self.dtype, self.device))

    def _remember(self, batch: Batch, dropout: Dropout) -> Memory:
        layers, heads = self.shape.layers, self.shape.heads
        hidden = hidden_places(batch, self.device)
        x = dropout(self.embed(batch.tokens, batch.positions))
        for i in range(layers):
            name = f"encoder.{i}."
            mixed = attention(self.linear(x, f"{name}qkv"), batch, heads, hidden)
            x = self._added(x, self.linear(mixed, f"{name}mix"), f"{name}mix_norm", dropout)
            x = self._transformed(x, name, dropout)
        grid = to_grid(self.linear(x, "memory"), batch)
        parts = by_head(grid, batch.size, 2 * layers, heads).unbind()
        bias = hidden_bias(batch, heads, self.dtype, self.device)
        return Memory(list(parts[::2]), list(parts[1::2]), bias)

    def _decoder_layer(
        self, i: int, x: Tensor, target: Batch, memory: Memory, dropout: Dropout
    ) -> Tensor:
        name, heads = f"decoder.{i}.", self.shape.heads
        mixed = attention(self.linear(x, f"{name}qkv"), target, heads, None, causal=True)
        x = self._added(x, self.linear(mixed, f"{name}mix"), f"{name}mix_norm", dropout)
        keys, values = memory.keys[i], memory.values[i]
        q = self.linear(x, f"{name}q")
        mixed = cross_attention(q, keys, values, target, heads, memory.bias)
        x = self._added(x, self.linear(mixed, f"{name}cross"), f"{name}cross_norm", dropout)
        return self._transformed(x, name, dropout)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """[T, width]: the table's rows times the root of the width, plus sinusoids."""
        added = self._sinusoids.index_select(0, positions)
        added.requires_grad_(torch.is_grad_enabled())  # so that autograd asks for the table's
        return _Embed.apply(added, self.parameters["tokens"], tokens, math.sqrt(self.shape.width))

    def _transformed(self, x: Tensor, name: str, dropout: Dropout) -> Tensor:
        inner = F.relu(self.linear(x, f"{name}up"), inplace=True)
        return self._added(x, self.linear(inner, f"{name}down"), f"{name}down_norm", dropout)

    def _added(self, x: Tensor, block: Tensor, norm: str, dropout: Dropout) -> Tensor:
        return self.norm(dropout.add(x, block), norm)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return linear(x, self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return layer_norm(x, weight, bias, self.shape.epsilon)


def sinusoids(positions: int, width: int) -> Tensor:
    """[positions, width]: sines of falling frequency in even columns, cosines in odd ones."""
    steps = torch.arange(positions, dtype=torch.float64)[:, None]
    angles = steps * 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[:, :width].float()
