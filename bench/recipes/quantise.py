"""Predictions with weights, and activations, of 8 bits.

After training as it is, or after a part of the training in which products were rounded as they will
be (quantisation-aware training). The products of layers are quantised; embeddings, norms and the
head are not. The record has the size of the weights, and by default what tune's score and the
energy of predicting would have been without it. `--save` keeps weights in float32.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import MissingExtra
from bench.recipes import Use, baseline, setting
from bench.record import Scalar

if TYPE_CHECKING:
    from torch import Tensor

    from bench.learn.encoder import Layers
    from bench.learn.loop import Training
    from bench.learn.model import Model
    from bench.learn.parameters import Parameters

MODES = ("dynamic", "weight-only", "qat")
_BOTH = "both take the place of the model's products"


@dataclass
class Recipe(baseline.Recipe):
    """`dynamic`: int8 weights and activations. `weight-only`: int8 weights, for products in float.
    `qat`: as dynamic, with training that knows of it."""

    summary: ClassVar[str] = (
        "predicts with int8 weights and activations, prepared in training or not"
    )
    charges: ClassVar[str] = "quantisation, rounding in training, a prediction before it to compare"
    paper: ClassVar[str] = "https://arxiv.org/abs/1712.05877; https://arxiv.org/abs/1910.06188"
    place: ClassVar[int] = 65
    refuses: ClassVar[Mapping[str, str]] = {"lora": _BOTH}

    mode: str = setting("dynamic", "dynamic, weight-only or qat", choices=MODES)
    rounded_from: float = setting(
        0.5, "mode=qat: share of the steps before products are rounded", low=0, high=1
    )
    predict_before: bool = setting(
        True, "score tune and predict once without it as well, to compare energies"
    )

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        if use.kind not in ("encoder", "decoder"):
            return f"it quantises encoders and decoders, and {use.model} is {use.kind}"
        if settings.get("method") == "2:4":
            return f"of int8 and of 2:4, {_BOTH}"
        if settings["mode"] == "qat" and "frozen_layers" in settings:
            return "with mode=qat weights learn to be rounded, and frozen ones don't learn"
        if settings["mode"] == "qat" and "patience" in settings:
            return "with mode=qat, early-stop may go back to weights from before they were rounded"
        by_torch = settings["mode"] == "dynamic" and use.device != "cuda"
        if not by_torch and importlib.util.find_spec("torchao") is None:
            raise MissingExtra("this use of the recipe quantise", "quantise")
        return super().refusal(use, settings)

    def prepare(self, training: Training) -> None:
        from bench.learn import int8
        from bench.recipes.prune import predict_before

        model = _model(training)
        if self.mode != "weight-only":
            int8.check(model.device)
        super().prepare(training)
        self._rounded_of: Parameters | None = None  # whose products are rounded
        self._found: dict[str, Any] = {}
        is_forecast = training.trial_steps is not None  # which has no `finish`
        if is_forecast and self.predict_before and not self._pruned_before():
            predict_before(training, "prepare")

    def batch(self, training: Training, rows: Any) -> Any:
        if self.mode == "qat" and training.step >= self.rounded_from * training.total_steps:
            self._round(_model(training))
        return super().batch(training, rows)

    def _round(self, model: Layers) -> None:
        """Let the products of layers be rounded from now on."""
        from bench.learn import int8, products

        if self._rounded_of is model.parameters:
            return
        names = _products(model)
        root = int8.fake(products.modules(model, names))
        model.replaced = {name: root.get_submodule(name) for name in names}
        self._rounded_of = model.parameters

    def backward(self, training: Training, loss: Tensor) -> None:
        from bench.learn import products

        if self._rounded_of is not None:
            weights = self._rounded_of.weights
            ends = (".weight", ".bias")
            products.clear(
                weights[name + end] for name in _products(_model(training)) for end in ends
            )
        super().backward(training, loss)

    def after_step(self, training: Training) -> bool:
        ends = super().after_step(training)
        if self._rounded_of is not None:  # another recipe may have given it other weights
            self._round(_model(training))
        return ends

    def finish(self, training: Training) -> None:
        from bench.learn.loop import score_tune
        from bench.recipes.prune import predict_before

        super().finish(training)
        model = _model(training)
        model.replaced = {}
        if self.mode == "qat" and self._rounded_of is None:
            message = "the training ended before products were rounded: it is mode=dynamic"
            training.events.send("warning", id="never-rounded", message=message)
        if self.predict_before:
            before = score_tune(training)
            if not self._pruned_before():
                predict_before(training)
        training.events.send("phase_start", phase="quantise")
        self._quantise(model)
        if self.predict_before and before is not None:
            after = score_tune(training)
            assert after is not None
            self._found |= {
                "tune_metric": before[0],
                "tune_before": before[1],
                "tune_after": after[1],
            }

    def ready(self, model: Model) -> None:
        super().ready(model)
        self._quantise(_layered(model))

    def _pruned_before(self) -> bool:
        """Whether pruning, in the same combination, has predicted before it."""
        return getattr(self, "method", "magnitude") == "structured"

    def _quantise(self, model: Layers) -> None:
        import torch

        from bench.learn import int8, products

        names = _products(model)
        table = getattr(model, "table", None)
        whole = model.parameters.master.nbytes + (0 if table is None else table.rows.nbytes)
        float_bytes = sum(4 * model.parameters[f"{name}.weight"].value.numel() for name in names)
        model.parameters.cast()
        root = products.modules(model, names).requires_grad_(False)
        casts = model.device.type == "cpu" and model.dtype != torch.float32
        for name in names if casts else ():
            for kind in ("weight", "bias"):
                exact = model.parameters.exact(f"{name}.{kind}")
                getattr(root.get_submodule(name), kind).data = exact
        weights_only = self.mode == "weight-only"
        root = int8.convert(root, model.device, weights_only)
        made = {name: root.get_submodule(name) for name in names}
        model.replaced = {n: _in_float(m) if casts else m for n, m in made.items()}
        kept_bytes = sum(int8.bytes_of(module) for module in made.values())
        self._found = {
            "quantised_products": len(names),
            "float_weight_bytes": whole,
            "weight_bytes": whole - float_bytes + kept_bytes,
            "quantised_by": int8.library(model.device, weights_only),
        }

    def facts(self, training: Training) -> dict[str, Any]:
        return super().facts(training) | self._found


def _products(model: Layers) -> list[str]:
    from bench.learn import products

    return [name for name in products.names(model) if name.startswith("layers.")]


def _in_float(module: Any) -> Callable[[Tensor], Tensor]:
    """A product of float32 in a model whose activations are not."""
    return lambda x: module(x.float()).to(x.dtype)


def _model(training: Training) -> Layers:
    return _layered(training.model)


def _layered(model: Model) -> Layers:
    from bench.learn.encoder import layered

    return layered(model, "quantise")
