"""The plain PyTorch arithmetic that the loop is compared with: padding, masks, autograd, and
`torch.optim.AdamW` over everything."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.learn.batches import Batch, Packed
from bench.learn.encoder import Encoder
from bench.learn.evaluate import probabilities
from bench.learn.model import Model


class PlainEncoder:
    """An encoder with a copy of the weights of `model`."""

    def __init__(self, model: Encoder) -> None:
        self.shape = model.shape
        weights = {"tokens": model.table.rows, **model.parameters.named()}
        self.weights = {n: w.detach().clone().requires_grad_() for n, w in weights.items()}

    def logits(self, rows: Packed, chosen: np.ndarray) -> Tensor:
        texts = [rows.tokens[rows.starts[i] : rows.starts[i + 1]] for i in chosen]
        longest = max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
        mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
        shape, weights = self.shape, self.weights
        x = weights["tokens"][ids] + weights["positions"][:longest]
        if shape.segments:
            x = x + weights["segments"][0]
        if not shape.norm_first:
            x = self._norm(x, "embedding_norm")
        if shape.embedding_width:
            x = self._dense(x, "projection")
        for i in range(shape.layers):
            x = self._layer(x, f"layers.{i}.", mask)
        if shape.norm_first:
            x = self._norm(x, "last_norm")
        if shape.pooling == "first":
            x = x[:, 0]
        else:
            x = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        if shape.head != "none":
            act = {"tanh": torch.tanh, "relu": torch.relu, "gelu": F.gelu}[shape.head]
            x = act(self._dense(x, "head"))
        return self._dense(x, "classes")

    def _layer(self, x: Tensor, name: str, mask: Tensor) -> Tensor:
        first = self.shape.norm_first
        inner = self._norm(x, f"{name}mix_norm") if first else x
        x = x + self._dense(self._attention(self._dense(inner, f"{name}qkv"), mask), f"{name}mix")
        x = x if first else self._norm(x, f"{name}mix_norm")
        inner = self._norm(x, f"{name}down_norm") if first else x
        x = x + self._dense(F.gelu(self._dense(inner, f"{name}up")), f"{name}down")
        return x if first else self._norm(x, f"{name}down_norm")

    def _attention(self, qkv: Tensor, mask: Tensor) -> Tensor:
        size, longest, _ = qkv.shape
        q, k, v = (
            part.view(size, longest, self.shape.heads, -1).transpose(1, 2)
            for part in qkv.chunk(3, -1)
        )
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(size, longest, -1)

    def _dense(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.shape.epsilon)


class Labels:
    """Classification of rows that are encoded already."""

    def loss(self, model: Model, batch: Batch, outputs: Tensor) -> Tensor:
        return F.cross_entropy(outputs, batch.labels)

    def evaluate(self, model: Model, rows: Packed) -> tuple[str, float]:
        return "accuracy", accuracy(model, rows)


def accuracy(model: Model, rows: Packed) -> float:
    return float((probabilities(model, rows).argmax(1) == rows.labels).mean())
