"""Low-rank adapters (Hu et al. 2021), through peft.

A product by a frozen weight gets another one beside it, by two small matrices that learn; with them
learns the new head. Of the frozen weights no gradient is made, no moment is kept. At the end the
adapters are added to the weights: a prediction costs what it did before, and `--save` keeps an
ordinary checkpoint.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.cards import Family
from bench.errors import MissingExtra
from bench.recipes import Use, baseline, setting
from bench.record import Scalar

if TYPE_CHECKING:
    from torch import Tensor

    from bench.learn.encoder import Layers
    from bench.learn.loop import Training
    from bench.learn.parameters import Weight

PRODUCTS = ("qkv", "mix", "up", "down")
_HEAD = ("head.", "classes.")
_ADAPTER = "default"  # peft's name of the only one
RATE = 10
"""Adapters want a rate that is so much higher than that of all weights (Schulman et al. 2025)."""


@dataclass
class Recipe(baseline.Recipe):
    """The adapters are in the model's flat buffers, where AdamW finds them as any other weight."""

    summary: ClassVar[str] = "low-rank adapters of a pretrained model learn, then become part of it"
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.09685"
    place: ClassVar[int] = 60
    refuses: ClassVar[Mapping[str, str]] = {
        "quantise": "both take the place of the model's products",
        "sparse-embedding": "embeddings that don't learn have no update that could be cheaper",
    }

    learning_rate: float = setting(
        None, f"the highest rate; unless set, {RATE} times the model's own", above=0
    )
    rank: int = setting(8, "width between the two matrices of an adapter", low=1)
    lora_alpha: int = setting(16, "an adapter counts lora_alpha / rank times", low=1)
    targets: str = setting(
        ",".join(PRODUCTS), f"products of each layer that get one, of {', '.join(PRODUCTS)}"
    )
    adapter_dropout: float = setting(0.0, "rate of dropout before the adapters", low=0, high=0.9)

    @classmethod
    def preset(
        cls, model: str, family: Family | None = None, pretrained: bool = True
    ) -> dict[str, Any]:
        found = super().preset(model, family, pretrained)
        if found.get("learning_rate"):
            found = found | {"learning_rate": RATE * found["learning_rate"]}
        return found

    @classmethod
    def refusal(cls, use: Use, settings: Mapping[str, Scalar]) -> str | None:
        if use.kind not in ("encoder", "decoder"):
            return f"it adapts encoders and decoders, and {use.model} is {use.kind}"
        if not use.pretrained:
            return f"{use.model} starts from random weights: there is nothing to adapt"
        wrong = set(_named(str(settings["targets"]))) - set(PRODUCTS)
        if wrong or not settings["targets"]:
            return f"targets={settings['targets']}: they are some of {','.join(PRODUCTS)}"
        if importlib.util.find_spec("peft") is None:
            raise MissingExtra("the recipe lora", "lora")
        return super().refusal(use, settings)

    def plain(self, changes: Mapping[str, Any]) -> baseline.Recipe:
        """All weights learn there, which want the lower rate."""
        return super().plain({"learning_rate": self.learning_rate / RATE, **changes})

    def prepare(self, training: Training) -> None:
        from bench.learn.encoder import layered

        model = layered(training.model, "lora")
        self._wrapped = self._wrap(model, training.seed)
        _extend(model, {n: tuple(p.shape) for n, p in self._adapters()})
        model.parameters.freeze()
        model.parameters.learn(lambda name: name.startswith(("lora.", *_HEAD)))
        table = getattr(model, "table", None)
        if table is not None:
            table.learns = False
        self._weights = self._tie(model)
        model.replaced = {n: _switched(module) for n, module in self._wrapped.items()}
        super().prepare(training)
        self._trained = model.parameters.trained

    def _wrap(self, model: Layers, seed: int) -> dict[str, Any]:
        """peft's module of each product, by the product's name."""
        import torch
        from peft import LoraConfig, inject_adapter_in_model

        from bench.learn import products

        parts = _named(self.targets)
        parts += ["q", "kv"] if "qkv" in parts else []  # a last layer has them apart
        chosen = [
            n for n in products.names(model) if n.startswith("layers.") and n.split(".")[2] in parts
        ]
        config = LoraConfig(
            r=self.rank, lora_alpha=self.lora_alpha, target_modules=chosen,
            lora_dropout=self.adapter_dropout, bias="none",
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            root = inject_adapter_in_model(config, products.modules(model, chosen))
        return {name: root.get_submodule(name) for name in chosen}

    def _adapters(self) -> Iterator[tuple[str, Any]]:
        """Each matrix by its name among the model's weights."""
        for name, module in self._wrapped.items():
            yield f"lora.{name}.a", module.lora_A[_ADAPTER].weight
            yield f"lora.{name}.b", module.lora_B[_ADAPTER].weight

    def _tie(self, model: Layers) -> list[Weight]:
        """Let peft's modules compute with the weights of the model, which take what peft has put
        into the adapters; these."""
        found = []
        for name, parameter in self._adapters():
            weight = model.parameters[name]
            model.parameters.exact(name).copy_(parameter.detach())
            parameter.data = weight.value
            parameter.grad = weight.grad
            found.append(weight)
        for name, module in self._wrapped.items():
            for kind in ("weight", "bias"):
                base = getattr(module.base_layer, kind)
                base.data, base.grad = model.parameters[f"{name}.{kind}"].value, None
        return found

    def backward(self, training: Training, loss: Tensor) -> None:
        from bench.learn import products

        products.clear(self._weights)
        super().backward(training, loss)

    def finish(self, training: Training) -> None:
        """Add the adapters to the weights, in float32, and leave them out from now on."""
        from bench.learn.encoder import layered

        super().finish(training)
        model = layered(training.model, "lora")
        exact = model.parameters.exact
        for name, parameter in self._adapters():
            parameter.data = exact(name)
        for name, module in self._wrapped.items():
            module.base_layer.weight.data = exact(f"{name}.weight")
            module.merge()
        model.replaced = {}
        _extend(model, {})

    def facts(self, training: Training) -> dict[str, Any]:
        found = {"trained_parameters": self._trained, "adapted_products": len(self._wrapped)}
        return super().facts(training) | found


def _named(targets: str) -> list[str]:
    return [target.strip() for target in targets.split(",")]


def _switched(module: Any) -> Callable[[Tensor], Tensor]:
    """An adapted product, with the adapter's dropout while training alone."""
    import torch

    dropout = module.lora_dropout[_ADAPTER]

    def product(x: Tensor) -> Tensor:
        dropout.training = torch.is_grad_enabled()
        out: Tensor = module(x)
        return out

    return product


def _extend(model: Layers, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Have these weights beside those of the model's shape, and no others."""
    old = model.parameters.named()
    model.extra = dict(shapes)
    model.reshape(model.shape)
    for name, weight in model.parameters.named().items():
        if name in old:
            weight.copy_(old[name])
