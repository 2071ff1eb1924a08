"""Which weights, heads, neurons and layers a model can do without; and the model without them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import UsageError
from bench.learn import products, surgery
from bench.learn.encoder import Layers, Shape, layered
from bench.learn.surgery import Kept

if TYPE_CHECKING:
    from bench.learn.loop import Training
    from bench.learn.model import Model

_IN_A_LAYER = re.compile(r"(^|\.)\d+\.")
_TABLES = re.compile(r"^(tokens|positions|segments)$|embedding")


class Pruner(Protocol):
    """What a method of pruning does to a training. Shares are of what is gone in the end."""

    def before_update(self) -> None:
        """The gradients of a step are there."""

    def after_update(self, observes: bool) -> None:
        """`observes`: something will be removed soon, and this step may help to choose it."""

    def remove(self, share: float) -> bool:
        """Let so much be gone from now on. False: not yet, nothing is known to choose by."""

    def facts(self) -> dict[str, Any]:
        """What is gone, as counted."""

    def state(self) -> dict[str, Tensor]:
        """What a training that goes on must know."""

    def resume(self, state: dict[str, Tensor]) -> None:
        """Take that back, before weights and moments are filled."""


# --- single weights ------------------------------------------------------------------------------


class Masks:
    """Matrices of a model's layers, and its tables if asked for, with weights that are zero and
    stay it: they have neither gradient nor moments."""

    def __init__(self, training: Training, tables: bool = False) -> None:
        self._parameters, self._optimizer = training.model.parameters, training.optimizer
        shapes = self._parameters.shapes
        self._names = [n for n, s in shapes.items() if len(s) == 2 and _is_pruned(n, tables)]
        if not self._names:
            raise UsageError("this model has no matrices in numbered layers, which are pruned")
        self._table = training.model.table if tables else None
        grads = next(iter(self._parameters.weights.values())).grad
        self._mask = torch.ones_like(self._parameters.master, dtype=grads.dtype)
        self._rows = None if self._table is None else torch.ones_like(self._table.rows)

    def before_update(self) -> None:
        self._parameters.hold(self._mask)

    def after_update(self, observes: bool) -> None:
        self._zero_rows()

    def remove(self, share: float) -> bool:
        if self._table is not None:
            self._table.catch_up()
        masks = self._chosen(self._parts(), share)
        views = self._parameters.views(self._mask)
        targets = [views[name] for name in self._names]
        for target, mask in zip([*targets, *self._extra(self._rows)], masks, strict=True):
            target.copy_(mask)
        moments = self._optimizer.state()
        for flat in (self._parameters.master, moments["mean"], moments["square"]):
            flat.mul_(self._mask)
        self._zero_rows()
        return True

    def _chosen(self, parts: list[Tensor], share: float) -> list[Tensor]:
        """Of each part, True where a weight stays."""
        raise NotImplementedError

    def _parts(self) -> list[Tensor]:
        weights = self._parameters.named()
        rows = None if self._table is None else self._table.rows
        return [weights[name] for name in self._names] + self._extra(rows)

    @staticmethod
    def _extra(rows: Tensor | None) -> list[Tensor]:
        return [] if rows is None else [rows]

    def _zero_rows(self) -> None:
        """The table's gradients are not in the flat buffer."""
        if self._table is not None and self._rows is not None:
            moments = self._optimizer.state()
            for rows in (self._table.rows, moments["table_mean"], moments["table_square"]):
                rows.mul_(self._rows)

    def facts(self) -> dict[str, Any]:
        parts = self._parts()
        total = sum(part.numel() for part in parts)
        zeros = sum(int((part == 0).sum()) for part in parts)
        return {"prunable_weights": total, "sparsity": round(zeros / total, 4)}

    def state(self) -> dict[str, Tensor]:
        found = {"mask": self._mask.bool()}
        return found if self._rows is None else found | {"rows": self._rows.bool()}

    def resume(self, state: dict[str, Tensor]) -> None:
        self._mask.copy_(state["mask"])
        if self._rows is not None:
            self._rows.copy_(state["rows"])


def _is_pruned(name: str, tables: bool) -> bool:
    if _TABLES.search(name):
        return tables
    return _IN_A_LAYER.search(name) is not None


class Smallest(Masks):
    """The smallest weights go: of each matrix as many, or of all together."""

    def __init__(self, training: Training, sparsity: float, scope: str, tables: bool) -> None:
        super().__init__(training, tables)
        self._sparsity, self._together = sparsity, scope == "global"

    def _chosen(self, parts: list[Tensor], share: float) -> list[Tensor]:
        share *= self._sparsity
        if self._together:
            least = _quantile(torch.cat([part.flatten() for part in parts]), share)
            return [part.abs() > least for part in parts]
        return [part.abs() > _quantile(part.flatten(), share) for part in parts]


def _quantile(weights: Tensor, share: float) -> float:
    """The size of the largest among this share of the smallest."""
    count = round(share * len(weights))
    return weights.abs().kthvalue(count).values.item() if count else -1.0


class TwoOfFour(Masks):
    """Of each four neighbours in a row two stay, as sparse tensor cores want it (Mishra et al.
    2021)."""

    def _chosen(self, parts: list[Tensor], share: float) -> list[Tensor]:
        return [_two_of_four(part) for part in parts]


def _two_of_four(weight: Tensor) -> Tensor:
    """[rows, n] of booleans; a row's last numbers that are no four all stay."""
    n = weight.shape[1] // 4 * 4
    fours = weight[:, :n].abs().reshape(-1, 4)
    stay = torch.zeros_like(fours, dtype=torch.bool)
    stay.scatter_(1, fours.topk(2).indices, True)
    mask = torch.ones_like(weight, dtype=torch.bool)
    mask[:, :n] = stay.view(len(weight), n)
    return mask


def why_dense(model: Model) -> str | None:
    """Why products by 2:4 matrices save nothing here, if so."""
    if not isinstance(model, Layers):
        return "its products are not bench's own"
    if model.device.type != "cuda":
        return f"a {model.device.type} has no sparse tensor cores"
    if torch.cuda.get_device_capability(model.device) < (8, 0):
        return f"{torch.cuda.get_device_name(model.device)} has no sparse tensor cores"
    if model.dtype not in (torch.float16, torch.bfloat16):
        return "sparse tensor cores take half precision (prune+bf16)"
    return None


def multiply_sparsely(model: Model) -> int:
    """Let predictions multiply by 2:4 matrices as such, from now on; how many they are."""
    assert isinstance(model, Layers)
    model.begin_evaluation()
    weights = model.parameters.weights
    names = {n for n in products.names(model) if _IN_A_LAYER.search(n)} - model.replaced.keys()
    found = {
        name: _sparse(weights[f"{name}.weight"].value, weights[f"{name}.bias"].value)
        for name in names
        if _fits(weights[f"{name}.weight"].value)
    }
    model.replaced = {**model.replaced, **found}
    return len(found)


def _fits(weight: Tensor) -> bool:
    """Whether the kernels take a matrix of this shape."""
    return weight.shape[0] % 32 == 0 and weight.shape[1] % 64 == 0


def _sparse(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    packed = torch.sparse.to_sparse_semi_structured(weight)
    return lambda x: F.linear(x, packed, bias)


# --- heads, neurons, layers ----------------------------------------------------------------------

_MULTIPLE = 8
"""Of what the width of a feed-forward part stays, where it was one: products want it."""


class Structure:
    """Heads and neurons that matter least go, in each layer as many, and whole layers.

    What matters is what the loss would change by without it, to first order: the gradient of a
    factor of 1 on what a head or a neuron gives (Michel et al. 2019), which is the sum of weight
    times gradient over the weights behind it, and so needs no pass of its own.
    """

    def __init__(
        self, training: Training, heads: float, neurons: float, layers: int, importance: str
    ) -> None:
        """Shares of heads and neurons that go in the end, and how many layers."""
        self._training, self._model = training, layered(training.model, "prune")
        self._whole, self._before = self._model.shape, self._counts()
        self._heads, self._neurons, self._layers = heads, neurons, layers
        if layers >= self._whole.layers:
            raise UsageError(
                f"dropped_layers={layers}: the model has {self._whole.layers}, and one must stay",
                "a smaller --set dropped_layers=...",
            )
        self._by_gradient = importance == "taylor"
        self._forget()

    def _forget(self) -> None:
        shape, device = self._model.shape, self._model.device
        self._seen = torch.zeros((), dtype=torch.long)
        self._of_heads = torch.zeros(shape.layers, shape.heads, device=device)
        self._of_neurons = torch.zeros(shape.layers, shape.hidden, device=device)
        self._of_layers = torch.zeros(shape.layers, device=device)

    def before_update(self) -> None:
        pass

    def after_update(self, observes: bool) -> None:
        if not (observes and self._by_gradient):
            return
        parameters = self._model.parameters
        weights, grads = parameters.named(), parameters.views(parameters.grad)
        mixed, fed = (
            [self._gates(weights, grads, f"layers.{i}.{part}") for i in range(len(self._of_layers))]
            for part in ("mix", "down")
        )
        heads = torch.stack([g.view(self._model.shape.heads, -1).sum(1) for g, _ in mixed])
        neurons = torch.stack([g for g, _ in fed])
        layers = torch.stack([m.abs() + f.abs() for (_, m), (_, f) in zip(mixed, fed, strict=True)])
        if not layers.isfinite().all():  # a step that was left out for its gradients
            return
        self._of_heads += heads.abs()
        self._of_neurons += neurons.abs()
        self._of_layers += layers
        self._seen += 1

    @staticmethod
    def _gates(
        weights: dict[str, Tensor], grads: dict[str, Tensor], name: str
    ) -> tuple[Tensor, Tensor]:
        """The gradients of a factor on each input of a product, and of one on what it adds."""
        products = (weights[f"{name}.weight"] * grads[f"{name}.weight"]).sum(0)
        bias = torch.dot(weights[f"{name}.bias"], grads[f"{name}.bias"])
        return products, products.sum() + bias

    def _weigh(self) -> None:
        """Importance by the size of weights alone."""
        weights = self._model.parameters.named()
        shape = self._model.shape
        for i in range(shape.layers):
            name = f"layers.{i}."
            made = weights[f"{name}qkv.weight"].square().sum(1).view(3, shape.heads, -1)
            mixed = weights[f"{name}mix.weight"].square().sum(0).view(shape.heads, -1)
            self._of_heads[i] = made.sum((0, 2)) + mixed.sum(1)
            made = weights[f"{name}up.weight"].square().sum(1)
            self._of_neurons[i] = made + weights[f"{name}down.weight"].square().sum(0)
            self._of_layers[i] = self._of_heads[i].sum() + self._of_neurons[i].sum()

    def remove(self, share: float) -> bool:
        if not self._by_gradient:
            self._weigh()
        elif not self._seen:
            return False
        shape = self._model.shape
        layers, heads, neurons = sizes_left(
            self._whole, share, self._heads, self._neurons, self._layers
        )
        if (layers, heads, neurons) != (shape.layers, shape.heads, shape.hidden):
            stay = _best(self._of_layers, layers)
            kept = Kept(
                stay,
                [_best(self._of_heads[i], heads) for i in stay],
                [_best(self._of_neurons[i], neurons) for i in stay],
            )
            surgery.cut(self._model, kept, self._training.optimizer)
        self._forget()
        return True

    def _counts(self) -> tuple[int, int]:
        """Numbers in the matrices of layers, and in all of the model."""
        shapes = self._model.parameters.shapes
        blocks = sum(s[0] * s[1] for n, s in shapes.items() if len(s) == 2 and _is_pruned(n, False))
        return blocks, self._training.model.facts()["parameters"]

    def facts(self) -> dict[str, Any]:
        shape = self._model.shape
        (blocks_before, before), (blocks, now) = self._before, self._counts()
        return {
            "heads": shape.heads,
            "hidden": shape.hidden,
            "parameters_before": before,
            "parameters_ratio": round(now / before, 4),
            "prunable_weights": blocks_before,
            "sparsity": round(1 - blocks / blocks_before, 4),
        }

    def state(self) -> dict[str, Tensor]:
        shape = self._model.shape
        left = torch.tensor([shape.layers, shape.heads, shape.hidden])
        return {
            "left": left, "seen": self._seen, "of_heads": self._of_heads,
            "of_neurons": self._of_neurons, "of_layers": self._of_layers,
        }  # fmt: skip

    def resume(self, state: dict[str, Tensor]) -> None:
        layers, heads, hidden = state["left"].tolist()
        stay = range(layers)  # whichever: what they are is filled in
        kept = Kept(stay, [range(heads)] * layers, [range(hidden)] * layers)
        surgery.cut(self._model, kept, self._training.optimizer)
        self._forget()
        for name in ("seen", "of_heads", "of_neurons", "of_layers"):
            getattr(self, f"_{name}").copy_(state[name])


def sizes_left(
    whole: Shape, share: float, heads: float, neurons: float, layers: int
) -> tuple[int, int, int]:
    """Layers, heads and neurons that are left when `share` of what goes in the end is gone."""
    return (
        whole.layers - round(share * layers),
        max(1, round((1 - share * heads) * whole.heads)),
        _rounded((1 - share * neurons) * whole.hidden, whole.hidden),
    )


def shape_left(whole: Shape, layers: int, heads: int, neurons: int) -> Shape:
    """The shape of a model of which so much is left."""
    return Kept(range(layers), [range(heads)] * layers, [range(neurons)] * layers).shape(whole)


def _rounded(neurons: float, whole: int) -> int:
    step = _MULTIPLE if whole % _MULTIPLE == 0 else 1
    return max(step, round(neurons / step) * step)


def _best(importance: Tensor, count: int) -> list[int]:
    """The numbers of so many of the highest, in order."""
    found: list[int] = importance.topk(count).indices.sort().values.tolist()
    return found
