"""Encoders of the BERT family, and pre-norm ones from scratch, over texts without padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import UsageError
from bench.learn.batches import Batch
from bench.learn.embedding import Table
from bench.learn.layers import (
    Dropout,
    add_rows,
    attention,
    attention_of_firsts,
    hidden_places,
    layer_norm,
    linear,
    to_grid,
)
from bench.learn.parameters import Parameters
from bench.learn.shapes import Shapes, dense, norm


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int  # width between the two products of a block
    positions: int
    segments: int = 0  # kinds of segment embeddings
    embedding_width: int | None = None  # None: the width
    norm_first: bool = False
    causal: bool = False  # a token sees those before it, not those after it
    gelu: Literal["none", "tanh"] = "none"  # how GELU is approximated between the two products
    pooling: Literal["first", "last", "mean"] = "first"
    head: Literal["tanh", "relu", "gelu", "none"] = "none"  # of a dense layer before the last
    epsilon: float = 1e-12
    head_width: int | None = None  # of one head; None: the heads share the width

    @property
    def attended(self) -> int:
        """The width of all heads of a layer."""
        return self.width if self.head_width is None else self.heads * self.head_width

    def weights(self) -> Shapes:
        """Every weight but the table of tokens and what comes after the last block, by name."""
        d, e, a = self.width, self.embedding_width or self.width, self.attended
        found: Shapes = {"positions": (self.positions, e)}
        if self.segments:
            found["segments"] = (self.segments, e)
        if not self.norm_first:
            found |= norm("embedding_norm", e)
        if e != d:
            found |= dense("projection", e, d)
        for i in range(self.layers):
            for part, inputs, outputs in (
                ("qkv", d, 3 * a), ("mix", a, d), ("up", d, self.hidden), ("down", self.hidden, d)
            ):  # fmt: skip
                found |= dense(f"layers.{i}.{part}", inputs, outputs)
            for part in ("mix_norm", "down_norm"):
                found |= norm(f"layers.{i}.{part}", d)
        if self.norm_first:
            found |= norm("last_norm", d)
        return found


_EMBEDDINGS = ("tokens", "positions", "segments", "embedding_norm", "projection")


class Layers:
    """What encoders and language models share: embeddings and blocks over texts laid end to end.
    Weights are float32; activations are in `dtype`."""

    shape: Shape
    dtype: torch.dtype
    device: torch.device
    parameters: Parameters
    skipped: frozenset[int] = frozenset()  # layers that a training pass leaves out
    first_only: bool = False  # the last layer gives nothing but each text's first token
    extra: Mapping[str, tuple[int, ...]] = {}  # weights beside those that the shape has
    replaced: Mapping[str, Callable[[Tensor], Tensor]] = {}
    """What computes a product in place of its own weights, by name: layers.0.qkv"""
    fixed: int = 0  # parts that don't learn: the embeddings, then layers from the lowest on
    recall: Callable[[Batch, Callable[[], Tensor]], Tensor] | None = None
    """While training, what the fixed parts give for a batch, which the second argument computes."""

    def reshape(self, shape: Shape) -> None:
        """Take this shape from now on, with weights that are still to be filled."""
        raise NotImplementedError

    def _initialise(self, random: torch.Generator, deviation: float) -> None:
        """Normal matrices; products that end a block are smaller in deep models."""
        for name, weight in self.parameters.named().items():
            if name.endswith("bias"):
                weight.zero_()
            elif weight.dim() == 1:
                weight.fill_(1.0)
            else:
                block_end = name.endswith(("mix.weight", "down.weight"))
                scale = (2 * self.shape.layers) ** -0.5 if block_end else 1.0
                normal = torch.randn(weight.shape, generator=random)
                weight.copy_(normal * deviation * scale)

    def fix(self, parts: int) -> None:
        """Let so many of the lowest parts not learn, and be without dropout. Where they were more
        before, those between learn from now on."""
        if not self.fixed:
            self.parameters.freeze()
        self.parameters.learn(lambda name: self._part(name) >= parts)
        self.fixed = parts

    def _part(self, name: str) -> int:
        """The number of a weight's part: 0 of the embeddings, 1 of the lowest layer."""
        first, *rest = name.split(".")
        if first == "layers":
            return int(rest[0]) + 1
        return 0 if first in _EMBEDDINGS else self.shape.layers + 1

    def _look_up(self, batch: Batch) -> Tensor:
        """The tokens' own rows, [T, embedding width]."""
        raise NotImplementedError

    def _through(
        self, batch: Batch, hidden: Tensor | None, dropout: Dropout
    ) -> Tensor:  # [T, width], or of what is read
        """What leaves the last layer."""
        if not self.fixed:
            return self._through_layers(
                self._embed(self._look_up(batch), batch, dropout), batch, hidden, dropout
            )

        def lower() -> Tensor:
            still = Dropout(0.0, 0, self.dtype, self.device)
            x = self._embed(self._look_up(batch), batch, still)
            for i in range(self.fixed - 1):
                x = self._layer(i, x, batch, hidden, still)
            return x

        recall = self.recall if torch.is_grad_enabled() else None
        x = lower() if recall is None else recall(batch, lower)
        return self._through_layers(x, batch, hidden, dropout, self.fixed - 1)

    def _embed(self, x: Tensor, batch: Batch, dropout: Dropout) -> Tensor:
        """From the tokens' own rows, [T, embedding width], to what enters the first block."""
        parameters = self.parameters
        x = add_rows(x, parameters["positions"], batch.positions)
        if self.shape.segments:
            x = add_rows(x, parameters["segments"], batch.segments)
        if not self.shape.norm_first:
            x = self._norm(x, "embedding_norm")
        x = dropout(x)
        return self._linear(x, "projection") if self.shape.embedding_width else x

    def _through_layers(
        self, x: Tensor, batch: Batch, hidden: Tensor | None, dropout: Dropout, first: int = 0
    ) -> Tensor:
        skipped = self.skipped if torch.is_grad_enabled() else ()
        for i in range(first, self.shape.layers):
            x = (
                self._past(i, x, batch)
                if i in skipped
                else self._layer(i, x, batch, hidden, dropout)
            )
        return x

    def _past(self, i: int, x: Tensor, batch: Batch) -> Tensor:
        """What a layer that is left out hands on."""
        return x

    def _layer(
        self, i: int, x: Tensor, batch: Batch, hidden: Tensor | None, dropout: Dropout
    ) -> Tensor:
        shape, name = self.shape, f"layers.{i}."
        inner = self._norm(x, f"{name}mix_norm") if shape.norm_first else x
        x, mixed = self._mix(i, x, inner, batch, hidden)
        x = dropout.add(x, self._linear(mixed, f"{name}mix"))
        if not shape.norm_first:
            x = self._norm(x, f"{name}mix_norm")
        inner = self._norm(x, f"{name}down_norm") if shape.norm_first else x
        inner = F.gelu(self._linear(inner, f"{name}up"), approximate=shape.gelu)
        x = dropout.add(x, self._linear(inner, f"{name}down"))
        return x if shape.norm_first else self._norm(x, f"{name}down_norm")

    def _mix(
        self, i: int, x: Tensor, inner: Tensor, batch: Batch, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The residual that goes on, and what attention adds to it."""
        qkv = self._linear(inner, f"layers.{i}.qkv")
        return x, attention(qkv, batch, self.shape.heads, hidden, self.shape.causal)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        if (replacement := self.replaced.get(name)) is not None:
            return replacement(x)
        return linear(x, self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return layer_norm(x, weight, bias, self.shape.epsilon)


def layered(model: object, recipe: str) -> Layers:
    """The model; UsageError where its layers are not bench's own, which `recipe` asks for."""
    if not isinstance(model, Layers):
        raise UsageError(
            f"{recipe} can't be used here: the layers of this model are not bench's own",
            "bert, gpt2, electra, distilbert, or a transformer-...",
        )
    return model


class Encoder(Layers):
    """Some numbers (`outputs`) a text, or a token."""

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        dtype: torch.dtype,
        device: torch.device,
        per_token: bool = False,
    ) -> None:
        if per_token:
            shape = replace(shape, head="none")
        self.dtype, self.device = dtype, device
        self._outputs = outputs
        self.first_only = shape.pooling == "first" and not per_token
        self._per_token = per_token
        self.reshape(shape)
        width = shape.embedding_width or shape.width
        self.table = Table(torch.empty(shape.vocabulary, width, device=device))
        self.order: np.ndarray | None = None  # token id of each row of the table; None: its own
        self.last_states: Tensor  # what the last outputs were made from: [B, width] or [T, width]

    def reshape(self, shape: Shape) -> None:
        """Take this shape from now on, with weights that are still to be filled."""
        self.shape, self.fixed = shape, 0
        head = dense("head", shape.width, shape.width) if shape.head != "none" else {}
        classes = dense("classes", shape.width, self._outputs)
        shapes = shape.weights() | head | classes | dict(self.extra)
        self.parameters = Parameters(shapes, self.dtype, self.device)
        if self.first_only:
            last, a = f"layers.{shape.layers - 1}.", shape.attended
            self.parameters.split(f"{last}qkv.weight", f"{last}q.weight", f"{last}kv.weight", a)
            self.parameters.split(f"{last}qkv.bias", f"{last}q.bias", f"{last}kv.bias", a)

    @property
    def size(self) -> int:
        """The number of trained parameters."""
        return self.parameters.master.numel() + self.table.rows.numel()

    def facts(self) -> dict[str, Any]:
        """What describes the model in a record."""
        shape = self.shape
        return {
            "parameters": self.size,
            "layers": shape.layers,
            "width": shape.width,
            "vocabulary": shape.vocabulary,
        }

    def initialise(self, seed: int, deviation: float = 0.02) -> None:
        """Normal matrices and tables."""
        random = torch.Generator().manual_seed(seed)
        self.table.rows.copy_(torch.randn(self.table.rows.shape, generator=random) * deviation)
        self._initialise(random, deviation)

    def reorder(self, order: np.ndarray) -> None:
        """Keep the table's rows in this order of token ids."""
        index = torch.from_numpy(order).to(self.device)
        self.table = Table(self.table.rows.index_select(0, index))
        self.order = order

    def token_rows(self) -> Tensor:
        """A copy of the table, a row for each token id."""
        rows = self.table.whole()
        if self.order is None:
            return rows
        found = torch.empty_like(rows)
        found[torch.from_numpy(self.order).to(self.device)] = rows
        return found

    def begin_step(self, batch: Batch) -> None:
        """Before a training step's forward pass."""
        self.table.touch(batch.highest_token)
        self.parameters.begin_step()

    def begin_evaluation(self) -> None:
        """Before passes that read rows which training has not touched."""
        self.table.catch_up()
        self.parameters.cast()

    def outputs(self, batch: Batch, dropout: Dropout | None) -> Tensor:
        """[B, outputs] or [T, outputs] in float32; with dropout while training, without it else."""
        dropout = dropout or Dropout(0.0, 0, self.dtype, self.device)
        dropout.draw(self._dropped(batch))
        x = self._through(batch, hidden_places(batch, self.device), dropout)
        if self.shape.norm_first:
            x = self._norm(x, "last_norm")
        self.last_states = self._pool(x, batch)
        return self._classify(self.last_states, dropout)

    def _dropped(self, batch: Batch) -> int:
        """How many elements dropout sees in a pass."""
        tokens, d = len(batch.tokens), self.shape.width
        last = batch.size if self.first_only else tokens
        layers = self.shape.layers - max(0, self.fixed - 1)
        blocks = 2 * d * ((layers - 1) * tokens + last) if layers else 0
        classified = tokens if self._per_token else batch.size
        embedded = 0 if self.fixed else tokens * (self.shape.embedding_width or d)
        return embedded + blocks + classified * d

    def fix(self, parts: int) -> None:
        super().fix(parts)
        self.table.learns = not parts

    def _look_up(self, batch: Batch) -> Tensor:
        return self.table.look_up(batch.tokens, torch.is_grad_enabled()).to(self.dtype)

    def _past(self, i: int, x: Tensor, batch: Batch) -> Tensor:
        """The last layer, too, only what is read."""
        last = self.first_only and i == self.shape.layers - 1
        return x.index_select(0, batch.starts) if last else x

    def _mix(
        self, i: int, x: Tensor, inner: Tensor, batch: Batch, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """In the last layer only what is read: the first token of each text."""
        if not (self.first_only and i == self.shape.layers - 1):
            return super()._mix(i, x, inner, batch, hidden)
        q = self._linear(inner.index_select(0, batch.starts), f"layers.{i}.q")
        kv = self._linear(inner, f"layers.{i}.kv")
        mixed = attention_of_firsts(q, kv, batch, self.shape.heads, hidden)
        return x.index_select(0, batch.starts), mixed

    def _pool(self, x: Tensor, batch: Batch) -> Tensor:
        if self._per_token or self.first_only:
            return x  # the last layer kept nothing else
        lengths = torch.from_numpy(batch.lengths).to(self.device, non_blocking=True)
        if self.shape.pooling == "last":
            return x.index_select(0, batch.starts + lengths - 1)
        sums = to_grid(x, batch).view(batch.size, batch.longest, -1).sum(1)
        return sums / lengths[:, None].to(x.dtype)

    def _classify(self, x: Tensor, dropout: Dropout) -> Tensor:
        if self.shape.head != "none":
            activations = {"tanh": torch.tanh, "relu": torch.relu, "gelu": F.gelu}
            x = activations[self.shape.head](self._linear(x, "head"))
        return self._linear(dropout(x), "classes").float()
