"""Heads, neurons and whole layers are taken out of a model: what is left is a smaller one, with the
weights and moments that it had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.learn.adamw import AdamW
from bench.learn.encoder import Layers, Shape
from bench.learn.parameters import Parameters


@dataclass(frozen=True)
class Kept:
    """What stays: layers, and of each of them as many heads and neurons of the feed-forward part
    as of the others, by their numbers."""

    layers: Sequence[int]
    heads: Sequence[Sequence[int]]  # a layer that stays
    neurons: Sequence[Sequence[int]]

    def shape(self, shape: Shape) -> Shape:
        """What a model of this shape becomes."""
        heads, hidden = len(self.heads[0]), len(self.neurons[0])
        width = shape.attended // shape.heads
        own = None if heads * width == shape.width else width
        return replace(shape, layers=len(self.layers), heads=heads, hidden=hidden, head_width=own)


def only_layers(shape: Shape, layers: Iterable[int]) -> Kept:
    """These layers, each as it is."""
    of = list(layers)
    heads, neurons = range(shape.heads), range(shape.hidden)
    return Kept(of, [heads] * len(of), [neurons] * len(of))


def cut(model: Layers, kept: Kept, optimizer: AdamW | None = None) -> None:
    """Leave what is kept. The model has other `parameters` afterwards, and so has its optimizer,
    which goes on with its moments of them."""
    model.replaced = {}  # what computes with the weights of before
    shape, old = model.shape, model.parameters
    model.reshape(kept.shape(shape))
    origins = dict(_origins(model.parameters, shape, kept))

    def carry(was: Tensor, now: Tensor) -> None:
        before = old.views(was)
        for name, view in model.parameters.views(now).items():
            source, dim, index = origins[name]
            found = before[source]
            view.copy_(found if index is None else found.index_select(dim, index.to(found.device)))

    carry(old.master, model.parameters.master)
    if optimizer is not None:
        optimizer.move(model.parameters, carry)


def _origins(
    new: Parameters, shape: Shape, kept: Kept
) -> Iterator[tuple[str, tuple[str, int, Tensor | None]]]:
    """Of each weight: what it is called in the model of before, and along which dimension which of
    its numbers are taken (None: all)."""
    chosen = [_chosen(shape, *of) for of in zip(kept.heads, kept.neurons, strict=True)]
    for name in new.shapes:
        if name.startswith("layers."):
            _, i, part = name.split(".", 2)
            dim, index = chosen[int(i)].get(part, (0, None))
            yield name, (f"layers.{kept.layers[int(i)]}.{part}", dim, index)
        else:
            yield name, (name, 0, None)


def _chosen(
    shape: Shape, heads: Sequence[int], neurons: Sequence[int]
) -> dict[str, tuple[int, Tensor | None]]:
    """Of a layer's weights that lose some: along which dimension which numbers stay."""
    attended, found = _places(shape, heads, 3), torch.tensor(neurons)
    return {
        "qkv.weight": (0, attended), "qkv.bias": (0, attended),
        "mix.weight": (1, _places(shape, heads, 1)),
        "up.weight": (0, found), "up.bias": (0, found), "down.weight": (1, found),
    }  # fmt: skip


def _places(shape: Shape, heads: Sequence[int], parts: int) -> Tensor:
    """Where these heads are among all, in each of so many parts: queries, keys and values."""
    numbers = torch.arange(parts * shape.attended).view(parts, shape.heads, -1)
    return numbers[:, torch.tensor(heads)].flatten()
