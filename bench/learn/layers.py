"""The layers of an encoder over texts laid end to end, each with its own backward pass.

Autograd joins them; the gradients of weights go straight into the flat buffer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from bench.learn.batches import Batch
from bench.learn.parameters import Weight


def _anchor(x: Tensor, weight: Weight) -> Tensor | None:
    """What makes autograd call the backward pass of a weight that learns from an input that does
    not."""
    if x.requires_grad or not weight.learns or not torch.is_grad_enabled():
        return None
    return torch.empty(0, device=x.device, requires_grad=True)


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Weight, bias: Weight, anchor: Tensor | None) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.bias = weight, bias
        return torch.addmm(bias.value, x, weight.value.t())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None]:
        (x,) = ctx.saved_tensors
        ctx.weight.add_product(grad.t(), x)
        ctx.bias.add_column_sums(grad)
        below = grad.mm(ctx.weight.value) if ctx.needs_input_grad[0] else None
        return below, None, None, None


def linear(x: Tensor, weight: Weight, bias: Weight) -> Tensor:
    """x [T, in] to [T, out] by a weight [out, in]."""
    return _Linear.apply(x, weight, bias, _anchor(x, weight))


class _LayerNorm(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Weight, bias: Weight, epsilon: float, anchor: Tensor | None
    ) -> Tensor:
        shape = x.shape[-1:]
        out, mean, rstd = torch.native_layer_norm(x, shape, weight.value, bias.value, epsilon)
        ctx.save_for_backward(x, mean, rstd)
        ctx.weight, ctx.bias = weight, bias
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        x, mean, rstd = ctx.saved_tensors
        weight, bias = ctx.weight, ctx.bias
        wanted = [ctx.needs_input_grad[0], weight.learns, bias.learns]
        below, *grads = torch.ops.aten.native_layer_norm_backward(
            grad, x, x.shape[-1:], mean, rstd, weight.value, bias.value, wanted
        )
        for learned, found in zip((weight, bias), grads, strict=True):
            if learned.learns:
                learned.add(found)
        return below, None, None, None, None


def layer_norm(x: Tensor, weight: Weight, bias: Weight, epsilon: float) -> Tensor:
    return _LayerNorm.apply(x, weight, bias, epsilon, _anchor(x, weight))


def row_sums(grad: Tensor, index: Tensor, rows: int) -> Tensor:
    """Row i is the sum of the rows of `grad` whose `index` is i; the same sum each time."""
    if grad.device.type == "cpu":
        sums = torch.zeros(rows, grad.shape[1])  # in float32: bfloat16 swallows small addends
        return sums.index_add_(0, index, grad.float())
    return torch.ops.aten.embedding_dense_backward(grad, index, rows, -1, False)


class _AddRows(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Weight, index: Tensor | None, anchor: Tensor | None
    ) -> Tensor:
        ctx.weight, ctx.index = weight, index
        return x + (weight.value[0] if index is None else weight.value.index_select(0, index))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        weight, index = ctx.weight, ctx.index
        if not weight.learns:
            return grad, None, None, None
        if index is None:
            sums = torch.zeros_like(weight.value)
            torch.sum(grad, 0, out=sums[0])
        else:
            sums = row_sums(grad, index, len(weight.value))
        weight.add(sums)
        return grad, None, None, None


def add_rows(x: Tensor, weight: Weight, index: Tensor | None) -> Tensor:
    """x [T, n] plus the rows `index` of a small table [m, n]; None: its first row."""
    return _AddRows.apply(x, weight, index, _anchor(x, weight))


class Dropout:
    """Masks for one pass from one draw: on a CPU a random byte an element, so that the rate is
    rounded to a 256th (0.1 becomes 26/256). An element is 0, or 1 / (1 - rate)."""

    def __init__(self, rate: float, seed: int, dtype: torch.dtype, device: torch.device) -> None:
        self.rate = round(rate * 256) / 256 if device.type == "cpu" else rate
        self._dtype, self._device = dtype, device
        self._random = np.random.Generator(np.random.SFC64(seed))
        self._left = torch.empty(0)

    @property
    def random(self) -> np.random.BitGenerator:
        """What masks are drawn with on a CPU."""
        return self._random.bit_generator

    def draw(self, elements: int) -> None:
        """Draw all that a pass will take."""
        if not self.rate:
            return
        if self._device.type == "cpu":
            words = self._random.integers(0, 1 << 64, -(-elements // 8), dtype=np.uint64)
            bits = torch.from_numpy(words.view(np.uint8)[:elements])
            keep = torch.empty(elements, dtype=self._dtype)
            torch.ge(bits, round(self.rate * 256), out=keep)
        else:
            keep = torch.empty(elements, dtype=self._dtype, device=self._device)
            keep.bernoulli_(1 - self.rate)
        self._left = keep.mul_(1 / (1 - self.rate))

    def _take(self, like: Tensor) -> Tensor:
        mask, self._left = self._left[: like.numel()], self._left[like.numel() :]
        return mask.view_as(like)

    def __call__(self, x: Tensor) -> Tensor:
        return x * self._take(x) if self.rate else x

    def add(self, residual: Tensor, x: Tensor) -> Tensor:
        """residual + x with some of x dropped."""
        return _AddMasked.apply(residual, x, self._take(x)) if self.rate else residual + x


class _AddMasked(Function):
    @staticmethod
    def forward(ctx: Any, residual: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return torch.addcmul(residual, x, mask)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (mask,) = ctx.saved_tensors
        return grad, grad * mask, None


def to_grid(x: Tensor, batch: Batch) -> Tensor:
    """Texts end to end, [T, n], as [B * L, n] with zeros after the shorter ones."""
    if batch.places is None:
        return x
    return x.new_zeros(batch.size * batch.longest, x.shape[1]).index_copy(0, batch.places, x)


def from_grid(x: Tensor, batch: Batch) -> Tensor:
    return x if batch.places is None else x.index_select(0, batch.places)


def hidden_places(batch: Batch, device: torch.device) -> Tensor | None:
    """[B, L], True where a text is over; None if all are of one length."""
    if batch.places is None:
        return None
    lengths = torch.from_numpy(batch.lengths).to(device, non_blocking=True)
    return torch.arange(batch.longest, device=device) >= lengths[:, None]


FUSED_FROM = 128
"""Tokens of a causal text from which a CPU takes the fused kernel: as fast, and keeps no [L, L]."""


class _Attention(Function):
    """Batched small products: for short texts on a CPU half the time of the fused kernels."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, size: int, heads: int, bias: Tensor | None
    ) -> Tensor:  # [B * L, 3 * width] -> [B * L, width]
        longest, width = len(qkv) // size, qkv.shape[1] // 3
        per_head = (size, longest, 3, heads, width // heads)
        parts = qkv.view(per_head).permute(2, 0, 3, 1, 4).contiguous()
        q, k, v = parts.view(3, size * heads, longest, -1)
        scale = (width // heads) ** -0.5
        if bias is None:
            bias, beta = qkv.new_empty(1, 1, 1), 0
        else:
            beta = 1
        scores = torch.baddbmm(bias, q, k.transpose(1, 2), beta=beta, alpha=scale)
        weights = torch.softmax(scores, -1)
        ctx.save_for_backward(parts, weights)
        ctx.scale = scale
        mixed = torch.bmm(weights, v).view(size, heads, longest, -1)
        return mixed.transpose(1, 2).reshape(len(qkv), width)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        parts, weights = ctx.saved_tensors
        _, size, heads, longest, depth = parts.shape
        q, k, v = parts.view(3, size * heads, longest, depth)
        grad = grad.view(size, longest, heads, depth).transpose(1, 2).reshape(q.shape)
        out = torch.empty_like(parts).view(3, size * heads, longest, depth)
        torch.bmm(weights.transpose(1, 2), grad, out=out[2])
        grad_weights = torch.bmm(grad, v.transpose(1, 2))
        scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        torch.baddbmm(out[0], scores, k, beta=0, alpha=ctx.scale, out=out[0])
        torch.baddbmm(out[1], scores.transpose(1, 2), q, beta=0, alpha=ctx.scale, out=out[1])
        grids = out.view(parts.shape).permute(1, 3, 0, 2, 4)
        return grids.reshape(size * longest, -1), None, None, None


def attention(
    qkv: Tensor, batch: Batch, heads: int, hidden: Tensor | None, causal: bool = False
) -> Tensor:
    """Every token attends to its text, or if `causal` to itself and what comes before it:
    [T, 3 * width] to [T, width]; `hidden` as above, and not looked at if `causal`: a text's end is
    before its padding."""
    grid = to_grid(qkv, batch)
    if qkv.device.type == "cpu" and not (causal and batch.longest > FUSED_FROM):
        bias = None
        if causal:
            ahead = grid.new_full((batch.longest, batch.longest), float("-inf")).triu_(1)
            bias = ahead[None]
        elif hidden is not None:
            bias = grid.new_zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
            bias = bias.repeat_interleave(heads, 0)[:, None, :]
        mixed = _Attention.apply(grid, batch.size, heads, bias)
    else:
        q, k, v = grid.view(batch.size, batch.longest, 3, heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if hidden is None or causal else ~hidden[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        mixed = mixed.transpose(1, 2).reshape(len(grid), -1)
    return from_grid(mixed, batch)


def attention_of_firsts(
    q: Tensor, kv: Tensor, batch: Batch, heads: int, hidden: Tensor | None
) -> Tensor:
    """The first token of each text attends to its text: [B, width] and [T, 2 * width] to
    [B, width]. All that a last layer needs whose other outputs nobody reads."""
    size, width = q.shape
    grid = to_grid(kv, batch).view(size, batch.longest, 2, heads, width // heads)
    k, v = grid.unbind(2)
    scores = (k * q.view(size, 1, heads, -1)).sum(-1) * (width // heads) ** -0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden[:, :, None], float("-inf"))
    weights = torch.softmax(scores, 1)
    return (weights[..., None] * v).sum(1).reshape(size, width)
