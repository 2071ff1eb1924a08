"""All weights of a model in one flat buffer, so that an update is one pass over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(eq=False)
class Weight:
    """One weight as the passes see it: what is multiplied with, and where its gradient goes.

    The layers write gradients straight into the flat buffer; the first write of a step replaces
    what is there, so that nothing has to be filled with zeros.
    """

    value: Tensor  # in the dtype of the products
    grad: Tensor  # the same shape and dtype
    fresh: bool = True  # nothing was written in this step
    learns: bool = True  # or no gradient is made for it

    def add_product(self, a: Tensor, b: Tensor) -> None:
        """Add a @ b to the gradient."""
        if not self.learns:
            return
        if self.fresh:
            torch.mm(a, b, out=self.grad)
        else:
            self.grad.addmm_(a, b)
        self.fresh = False

    def add(self, grad: Tensor) -> None:
        if not self.learns:
            return
        if self.fresh:
            self.grad.copy_(grad)
        else:
            self.grad.add_(grad)
        self.fresh = False

    def add_column_sums(self, grad: Tensor) -> None:
        """Add the sum over the rows of [n, m] to a gradient [m]."""
        if not self.learns:
            return
        if self.fresh:
            torch.sum(grad, 0, out=self.grad)
        else:
            self.grad.add_(grad.sum(0))
        self.fresh = False


class Parameters:
    """Named weights over flat float32 buffers; those with two dimensions come first and decay.

    With a `dtype` other than float32 the passes use a copy in that dtype, cast once a step.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, device: torch.device
    ) -> None:
        order = sorted(shapes, key=lambda name: len(shapes[name]) < 2)
        sizes = [math.prod(shapes[name]) for name in order]
        self.shapes = {name: shapes[name] for name in order}
        self.decayed = sum(s for s, n in zip(sizes, order, strict=True) if len(shapes[n]) > 1)
        self.master = torch.empty(sum(sizes), device=device)
        self.grad = torch.zeros(sum(sizes), device=device)
        same = dtype == torch.float32
        self._value = self.master if same else torch.empty_like(self.master, dtype=dtype)
        self._value_grad = self.grad if same else torch.zeros_like(self.grad, dtype=dtype)
        values, grads = self.views(self._value), self.views(self._value_grad)
        self.weights = {name: Weight(values[name], grads[name]) for name in order}
        self.learning = [slice(0, self.decayed), slice(self.decayed, len(self.master))]
        """Stretches of the flat buffers that learn, each with decay or without."""
        self._frozen: set[str] = set()
        self._is_cast = False

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """A buffer that is as long as `master`, by name."""
        parts = flat.split([math.prod(s) for s in self.shapes.values()])
        return {n: p.view(s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)}

    def named(self) -> dict[str, Tensor]:
        """The float32 weights by name: views, so that writing to one changes the model."""
        return self.views(self.master)

    def exact(self, name: str) -> Tensor:
        """A weight of the passes in float32: a view of `master`."""
        value = self.weights[name].value
        start = value.storage_offset() - self._value.storage_offset()
        return self.master[start : start + value.numel()].view_as(value)

    def __getitem__(self, name: str) -> Weight:
        return self.weights[name]

    def split(self, name: str, first: str, second: str, at: int) -> None:
        """Use rows up to `at` and the others as two weights that are written apart."""
        whole = self.weights.pop(name)
        self.weights[first] = Weight(whole.value[:at], whole.grad[:at])
        self.weights[second] = Weight(whole.value[at:], whole.grad[at:])

    def freeze(self) -> None:
        """Let no weight learn from now on."""
        self._frozen = set(self.shapes)
        self.learning = []
        for weight in self.weights.values():
            weight.learns = False

    def learn(self, which: Callable[[str], bool]) -> None:
        """Let these weights learn as well, by name."""
        for name, weight in self.weights.items():
            weight.learns = weight.learns or which(name)
        added: list[slice] = []
        start = 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            if name in self._frozen and which(name):
                self._frozen.remove(name)
                if added and added[-1].stop == start != self.decayed:
                    start = added.pop().start
                added.append(slice(start, stop))
            start = stop
        self.learning += added

    @property
    def trained(self) -> int:
        """How many numbers learn."""
        return sum(part.stop - part.start for part in self.learning)

    def begin_step(self) -> None:
        """Before the forward pass: cast the weights if the products want another dtype."""
        for weight in self.weights.values():
            weight.fresh = True
        if not self._is_cast:
            self.cast()
        elif self._value is not self.master:
            for part in self.learning:
                self._value[part].copy_(self.master[part])
        self._is_cast = True

    def cast(self) -> None:
        """Cast all weights, those as well that don't learn."""
        if self._value is not self.master:
            self._value.copy_(self.master)

    def hold(self, moves: Tensor) -> None:
        """After the backward pass: no gradient for matrices where this, as long as `master`, is
        0."""
        self._value_grad[: self.decayed].mul_(moves[: self.decayed])

    def end_step(self) -> None:
        """After the backward pass: the whole gradient of what learns is in `grad`, in float32."""
        for weight in self.weights.values():
            if weight.fresh and weight.learns:
                weight.grad.zero_()
        if self._value is not self.master:
            for part in self.learning:
                self.grad[part].copy_(self._value_grad[part])

    def reduce(self, add: Callable[[Tensor], object]) -> None:
        """After the backward pass: let `add` add to a float32 gradient what other processes have of
        it. It is then as if it had been written here."""
        self.end_step()
        for weight in self.weights.values():
            weight.fresh = False
        for part in self.learning:
            add(self.grad[part])
            if self._value is not self.master:
                self._value_grad[part].copy_(self.grad[part])
