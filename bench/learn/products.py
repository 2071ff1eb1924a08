"""A model's products as modules of PyTorch, which other libraries wrap and convert."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from bench.learn.encoder import Layers
from bench.learn.parameters import Parameters, Weight


def names(model: Layers) -> list[str]:
    """Of all products, as the passes ask for them: layers.0.qkv, classes."""
    weights = model.parameters.weights
    found = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    return [name for name in found if weights[f"{name}.weight"].value.dim() == 2]


def modules(model: Layers, chosen: Iterable[str]) -> nn.Module:
    """A tree with an `nn.Linear` at each of these names, whose weights and gradients are those of
    the model. Autograd adds to gradients: see `clear`."""
    root = nn.Module()
    for name in chosen:
        *path, last = name.split(".")
        parent = root
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, _linear(model.parameters, name))
    return root


def _linear(parameters: Parameters, name: str) -> nn.Linear:
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    outputs, inputs = weight.value.shape
    module = nn.Linear(inputs, outputs, device="meta")
    module.weight = own(weight)
    module.bias = own(bias)
    return module


def own(weight: Weight) -> nn.Parameter:
    """A parameter that is a weight of the model."""
    parameter = nn.Parameter(weight.value, requires_grad=weight.learns)
    if weight.learns:
        parameter.grad = weight.grad
    return parameter


def clear(weights: Iterable[Weight]) -> None:
    """Before the backward pass: gradients of zero, which autograd adds to."""
    for weight in weights:
        weight.grad.zero_()
        weight.fresh = False
