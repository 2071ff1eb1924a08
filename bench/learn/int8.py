"""Products of 8-bit integers in place of a model's own.

Each row of a weight has a scale. Activations are rounded as they come: on a GPU by torchao, each
token with a scale of its own; on a CPU by PyTorch's kernels for it, a batch with one scale and, as
these may overflow without VNNI, to 7 bits. torchao multiplies integers there as well, but without
VNNI in a loop: see https://github.com/pytorch/ao/issues/4365.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import UsageError

_KERNELS = ("x86", "onednn", "fbgemm")


def check(device: torch.device) -> None:
    """UsageError where int8 products of a CPU are PyTorch's, and it has none for this one."""
    if device.type == "cpu" and torch.backends.quantized.engine not in _KERNELS:
        raise UsageError(
            "PyTorch has no products of int8 for this processor", "--set mode=weight-only"
        )


def library(device: torch.device, weights_only: bool) -> str:
    """What converts a product."""
    return "torch.ao" if device.type == "cpu" and not weights_only else "torchao"


def fake(root: nn.Module) -> nn.Module:
    """Let products round weights and activations to what int8 can say, and yet learn in float
    (Jacob et al. 2018)."""
    with _quiet():
        from torchao.quantization import qat, quantize_

        config = qat.QATConfig(
            activation_config=qat.IntxFakeQuantizeConfig(
                torch.int8, "per_token", is_symmetric=False
            ),
            weight_config=qat.IntxFakeQuantizeConfig(torch.int8, "per_channel", is_symmetric=True),
            step="prepare",
        )
        quantize_(root, config)
    return root


def convert(root: nn.Module, device: torch.device, weights_only: bool) -> nn.Module:
    """The products of a tree of `nn.Linear` in int8, or float ones of weights that are int8."""
    with _quiet():
        if library(device, weights_only) == "torchao":
            from torchao import quantization as torchao

            dynamic: Any = torchao.Int8DynamicActivationInt8WeightConfig(
                act_mapping_type=torchao.MappingType.ASYMMETRIC, set_inductor_config=False
            )
            weights: Any = torchao.Int8WeightOnlyConfig(set_inductor_config=False)
            torchao.quantize_(root, weights if weights_only else dynamic)
            return root
        from torch.ao import quantization  # deprecated, but torchao has no such kernels yet

        kinds = {nn.Linear: quantization.per_channel_dynamic_qconfig}
        made: nn.Module = quantization.quantize_dynamic(root, kinds, inplace=True)
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what these libraries say of kernels for other machines, and of their own plans."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def bytes_of(module: Any) -> int:
    """What a product's weight takes, with its scales."""
    weight = module.weight
    if callable(weight):  # torch.ao's
        packed = weight()
        scales = (packed.q_per_channel_scales(), packed.q_per_channel_zero_points())
        return int(packed.numel() + sum(part.nbytes for part in scales))
    inner, _ = weight.__tensor_flatten__()
    parts: list[Tensor] = [getattr(weight, name) for name in inner]
    return sum(int(part.nbytes) for part in parts)
