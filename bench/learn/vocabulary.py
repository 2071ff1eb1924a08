"""From hidden states to nats over a large vocabulary, some tokens at a time: the [T, V] numbers of
all tokens are never there together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bench.learn.parameters import Weight

ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 26}
"""Numbers at a time: what stays in the caches of a CPU, what keeps a GPU busy."""
LEAST = 128
"""Tokens at a time: fewer would have the weights read again and again."""


def nats(x: Tensor, weight: Weight, bias: Weight | None, targets: Tensor) -> Tensor:
    """-log p of each target, [T] in float32: x [T, n], weight [V, n], bias [V], targets [T].

    A backward pass makes the scores again. For their mean `mean_nats` is cheaper.
    """
    return _Nats.apply(x, weight, bias, targets)


def mean_nats(
    x: Tensor, weight: Weight, bias: Weight | None, targets: Tensor, smoothing: float = 0.0
) -> Tensor:
    """The mean of `nats`, whose gradients are made along with it, from the same scores. With
    `smoothing`, that share of it is the mean over all words instead of the target's."""
    if not torch.is_grad_enabled() and not smoothing:
        return nats(x, weight, bias, targets).mean()
    return _MeanNats.apply(x, weight, bias, targets, smoothing)


def _parts(x: Tensor, weight: Weight) -> Iterator[slice]:
    size = max(LEAST, ELEMENTS[x.device.type] // len(weight.value))
    return (slice(i, i + size) for i in range(0, len(x), size))


def _scores(x: Tensor, weight: Weight, bias: Weight | None) -> Tensor:
    """[T, V], in float32."""
    if bias is None:
        return x.mm(weight.value.t()).float()
    return torch.addmm(bias.value, x, weight.value.t()).float()


class _Nats(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Weight, bias: Weight | None, targets: Tensor) -> Any:
        totals = torch.empty(len(x), dtype=torch.float32, device=x.device)
        found = torch.empty_like(totals)
        for part in _parts(x, weight):
            scores = _scores(x[part], weight, bias)
            torch.logsumexp(scores, 1, out=totals[part])
            found[part] = totals[part] - scores.gather(1, targets[part, None])[:, 0]
        ctx.save_for_backward(x, targets, totals)
        ctx.weight, ctx.bias = weight, bias
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, targets, totals = ctx.saved_tensors
        sums = _Sums(x, ctx.weight, ctx.bias)
        for part in _parts(x, ctx.weight):
            errors = _scores(x[part], ctx.weight, ctx.bias)
            errors.sub_(totals[part, None]).exp_()
            errors.scatter_add_(1, targets[part, None], errors.new_full((len(errors), 1), -1.0))
            sums.take(part, errors.mul_(grad[part, None]))
        return sums.give(None), None, None, None


class _MeanNats(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Weight, bias: Weight | None, targets: Tensor, smoothing: float
    ) -> Any:
        sums = _Sums(x, weight, bias)
        total = torch.zeros((), device=x.device)
        for part in _parts(x, weight):
            scores, wanted = _scores(x[part], weight, bias), targets[part, None]
            highest, right = scores.amax(1), scores.gather(1, wanted)[:, 0]
            errors = torch.softmax(scores, 1)
            # The largest probability never underflows, as that of the target may.
            total += (highest - right - errors.amax(1).log()).sum()
            if smoothing:
                total += smoothing * (right - scores.mean(1)).sum()
                errors.sub_(smoothing / len(weight.value))
            errors.scatter_add_(1, wanted, errors.new_full((len(errors), 1), smoothing - 1.0))
            sums.take(part, errors)
        ctx.sums, ctx.tokens = sums, len(x)
        return total / len(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return ctx.sums.give(grad / ctx.tokens), None, None, None, None


class _Sums:
    """The gradients of the input and the weights, from errors of scores that come in parts."""

    def __init__(self, x: Tensor, weight: Weight, bias: Weight | None) -> None:
        self._x, self._weight, self._bias = x, weight, bias
        self._grad = torch.empty_like(x)
        self._of_weight = (
            torch.zeros_like(weight.value, dtype=torch.float32) if weight.learns else None
        )
        self._of_bias = None if bias is None else torch.zeros_like(bias.value, dtype=torch.float32)

    def take(self, part: slice, errors: Tensor) -> None:
        """`errors` [T', V] of the tokens of `part`, in float32."""
        if self._of_bias is not None:
            self._of_bias += errors.sum(0)
        x, errors = self._x[part], errors.to(self._x.dtype)
        torch.mm(errors, self._weight.value, out=self._grad[part])
        if self._of_weight is None:
            return
        if x.dtype == torch.float32:
            self._of_weight.addmm_(errors.t(), x)
        else:
            self._of_weight += errors.t().mm(x)

    def give(self, scale: Tensor | None) -> Tensor:
        """Add the weights' gradients, times `scale`, to theirs; the input's, times `scale`."""
        found = (self._grad, self._of_weight, self._of_bias)
        sums = [part for part in found if part is not None]
        if scale is not None:
            for part in sums:
                part.mul_(scale)
        if self._of_weight is not None:
            self._weight.add(self._of_weight)
        if self._bias is not None and self._of_bias is not None:
            self._bias.add(self._of_bias)
        return self._grad
