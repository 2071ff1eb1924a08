"""Attention of texts to other texts: of what is written to what is translated."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from bench.learn.batches import Batch
from bench.learn.layers import from_grid, hidden_places, to_grid


class _CrossAttention(Function):
    """Batched small products, as in `layers.attention`."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None
    ) -> Tensor:  # [B * heads, L, depth] each
        ctx.scale = q.shape[-1] ** -0.5
        weights = attention_weights(q, k, bias)
        ctx.save_for_backward(q, k, v, weights)
        return weights.bmm(v)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        grad_v = weights.transpose(1, 2).bmm(grad)
        grad_weights = grad.bmm(v.transpose(1, 2))
        scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        scores = scores.mul_(ctx.scale)
        return scores.bmm(k), scores.transpose(1, 2).bmm(q), grad_v, None


def attention_weights(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k' / sqrt(depth) + bias): [N, queries, keys]."""
    beta = 0 if bias is None else 1
    start = q.new_empty(1, 1, 1) if bias is None else bias
    scale = q.shape[-1] ** -0.5
    return torch.softmax(torch.baddbmm(start, q, k.transpose(1, 2), beta=beta, alpha=scale), -1)


def by_head(x: Tensor, size: int, parts: int, heads: int) -> Tensor:
    """[size * L, parts * width] as [parts, size * heads, L, depth]."""
    split = x.view(size, -1, parts, heads, x.shape[1] // (parts * heads)).permute(2, 0, 3, 1, 4)
    return split.reshape(parts, size * heads, -1, split.shape[-1])


def by_token(x: Tensor, size: int) -> Tensor:
    """[size * heads, L, depth] as [size * L, width]."""
    heads, (_, longest, depth) = len(x) // size, x.shape
    apart = x.view(size, heads, longest, depth).transpose(1, 2)
    return apart.reshape(size * longest, heads * depth)


def hidden_bias(
    batch: Batch, heads: int, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """[B * heads, 1, L], minus infinity where a text is over; None if all are of one length."""
    hidden = hidden_places(batch, device)
    if hidden is None:
        return None
    bias = torch.zeros(hidden.shape, dtype=dtype, device=device)
    return bias.masked_fill_(hidden, float("-inf")).repeat_interleave(heads, 0)[:, None, :]


def cross_attention(
    q: Tensor, k: Tensor, v: Tensor, batch: Batch, heads: int, bias: Tensor | None
) -> Tensor:
    """The texts of a batch, q [T, width], attend to others, k and v [B * heads, L, depth] each, of
    which `bias` hides what is padding: [T, width]."""
    (apart,) = by_head(to_grid(q, batch), batch.size, 1, heads).unbind()
    if q.device.type == "cpu":
        mixed = _CrossAttention.apply(apart, k, v, bias)
    else:
        mixed = F.scaled_dot_product_attention(apart, k, v, attn_mask=bias)
    return from_grid(by_token(mixed, batch.size), batch)
