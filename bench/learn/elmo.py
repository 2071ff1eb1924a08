"""ELMo (Peters et al. 2018): words from their characters, then two directions of LSTMs with
projections, as a language model in both directions or below a small network for a task.

As published but for these: cells and projections are not clipped to [-3, 3] (PyTorch's LSTM can't;
gradients are clipped instead), the maximum over a word's characters leaves out what lies after its
end, and one sign, not two, stands at either end of a text.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.learn import clusters
from bench.learn.batches import Batch, send
from bench.learn.clusters import Clusters
from bench.learn.layers import Dropout
from bench.learn.models.elmo import DIRECTIONS, LAYERS, Shape
from bench.learn.objectives import Outputs
from bench.learn.parameters import Parameters
from bench.learn.shapes import Shapes, dense
from bench.learn.words import Words

# Each is said once a process, and as it should be: projections take PyTorch's own kernels on a CPU,
# and cuDNN copies weights that lie in a buffer of ours.
warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")


class Elmo:
    """A language model in both directions where outputs are asked for per word, else one or more
    numbers a text or a token. Weights are float32 views of one buffer; activations in `dtype`."""

    table = None

    def __init__(
        self,
        shape: Shape,
        outputs: Outputs,
        words: Words,
        pairs: bool,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device
        self._per = outputs.per
        self._pairs = pairs and outputs.per == "text"
        weights = shape.weights() | self._head(outputs)
        self.parameters = Parameters(weights, dtype, device)
        # Autograd differentiates by these, and adds into the buffer of gradients.
        self._weights = {
            name: _leaf(weight.value, weight.grad)
            for name, weight in self.parameters.weights.items()
            if not name.startswith("softmax")
        }
        if self._per == "word":
            downs = [leaf for name, leaf in self._weights.items() if name.startswith("down")]
            self._softmax = Clusters(clusters.ends(outputs.size), self.parameters.weights, downs)
        # A forget gate starts open: 1 is added to what is trained, as in the authors' code.
        self._open = torch.zeros(4 * shape.cell, dtype=dtype, device=device)
        self._open[shape.cell : 2 * shape.cell] = 1.0
        windows, starts = words.windows(shape.widest)
        self._windows = torch.from_numpy(windows).to(device)
        self._starts = torch.from_numpy(starts).to(device)
        self._known = torch.empty(0, dtype=torch.bool)  # words whose vectors are in _vectors
        self._vectors = torch.empty(0)

    def _head(self, outputs: Outputs) -> Shapes:
        width = 2 * self.shape.width
        if outputs.per == "word":
            return clusters.weights(self.shape.width, clusters.ends(outputs.size))
        found: Shapes = {"mix": (LAYERS + 1,), "gamma": (1,)}
        if outputs.per == "token":
            return found | dense("classes", width, outputs.size)
        pooled = 2 * width * (4 if self._pairs else 1)
        return found | dense("head", pooled, width) | dense("classes", width, outputs.size)

    def facts(self) -> dict[str, Any]:
        """What describes the model in a record."""
        return {
            "parameters": self.parameters.master.numel(),
            "layers": LAYERS,
            "width": self.shape.width,
            "cell": self.shape.cell,
        }

    def initialise(self, seed: int) -> None:
        """As the authors' code does: normal weights whose sums keep their size, and gates of
        highways that let most pass."""
        random = torch.Generator().manual_seed(seed)
        for name, weight in self.parameters.named().items():
            if name == "gamma":
                weight.fill_(1.0)
            elif weight.dim() == 1:
                weight.zero_()
                if name.startswith("highways"):
                    weight[len(weight) // 2 :] = -2.0
            elif name == "characters":
                weight.copy_(torch.rand(weight.shape, generator=random) * 2 - 1)
            else:
                gain = 2.0 if name.startswith(("filters", "head")) else 1.0  # before a ReLU
                normal = torch.randn(weight.shape, generator=random)
                weight.copy_(normal * (gain / weight.shape[1]) ** 0.5)

    def begin_step(self, batch: Batch) -> None:
        """Before a training step's forward pass."""
        self.parameters.begin_step()
        for name in self._weights:  # to whose gradients autograd only adds
            weight = self.parameters[name]
            weight.grad.zero_()
            weight.fresh = False

    def begin_evaluation(self) -> None:
        self.parameters.cast()
        count = len(self._starts) - 1
        self._known = torch.zeros(count, dtype=torch.bool, device=self.device)
        self._vectors = torch.empty(count, self.shape.width, dtype=self.dtype, device=self.device)

    def outputs(self, batch: Batch, dropout: Dropout | None) -> Tensor:
        """Float32: [B, size] a text, or [T, size] a token; of a language model what `nats` and
        `mean_nats` take, [T, width]."""
        dropout = dropout or Dropout(0.0, 0, self.dtype, self.device)
        dropout.draw(self._dropped(batch))
        x = self._word_vectors(batch.tokens)
        if self._per == "word":
            return self._states(x, batch, dropout)
        mixed = self._mixed(x, batch, dropout)
        if self._per == "text":
            mixed = torch.relu(self._linear(dropout(self._pooled(mixed, batch)), "head"))
        return self._linear(dropout(mixed), "classes").float()

    def nats(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What each target costs, float32: outputs [T, width], targets [T]."""
        return self._softmax.nats(outputs, targets)

    def mean_nats(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean of `nats`, for less work in training."""
        return self._softmax.mean_nats(outputs, targets)

    def _dropped(self, batch: Batch) -> int:
        """How many elements dropout sees in a pass."""
        tokens, width = len(batch.tokens), self.shape.width
        if self._per == "word":
            return 3 * tokens * width
        grids = 2 * (LAYERS - 1) * batch.size * batch.longest * width
        inner = tokens * width + grids
        if self._per == "token":
            return inner + tokens * 2 * width
        head = self._weights["head.weight"]
        texts = batch.size
        return inner + texts * (head.shape[0] + head.shape[1])

    # Words from characters

    def _word_vectors(self, tokens: Tensor) -> Tensor:
        """[T, width]: each distinct word is read once; without gradients once an evaluation."""
        distinct, places = torch.unique(tokens, return_inverse=True)
        if torch.is_grad_enabled():
            return self._read(distinct).index_select(0, places)
        new = distinct[~self._known[distinct]]
        if len(new):
            self._vectors[new] = self._read(new)
            self._known[new] = True
        return self._vectors.index_select(0, tokens)

    def _read(self, words: Tensor) -> Tensor:
        """The vectors of words by number, [W, width]."""
        starts = self._starts[words]
        lengths = self._starts[words + 1] - starts
        ends = lengths.cumsum(0)
        owners = _owners(lengths, int(ends[-1]))
        rows = torch.arange(len(owners), device=self.device) + (starts + lengths - ends)[owners]
        windows = self._windows[rows].long()
        x = F.embedding(windows, self._weights["characters"]).flatten(1)
        found = []
        for width, _ in self.shape.filters:
            within = x[:, : width * self.shape.embedding]
            found.append(_largest(self._linear(within, f"filters.{width}"), owners, len(words)))
        x = torch.relu(torch.cat(found, 1))
        for i in range(self.shape.highways):
            new, gate = self._linear(x, f"highways.{i}").chunk(2, 1)
            x = torch.lerp(x, torch.relu(new), torch.sigmoid(gate))
        return self._linear(x, "words")

    # Both directions

    def _layers(
        self, x: tuple[Tensor, Tensor], carried: dict[str, Any], dropout: Dropout
    ) -> list[tuple[Tensor, Tensor]]:
        """What each layer makes of [L, B, width], forward and backward, each in the order in which
        it reads; the second adds what the first gave it."""
        found = []
        for i in range(LAYERS):
            out = []
            for direction, grid in zip(DIRECTIONS, x, strict=True):
                name = f"layers.{i}.{direction}"
                inner = dropout(grid) if i else grid
                after, carried[name] = self._lstm(inner, name, carried.get(name))
                out.append(after + grid if i else after)
            x = (out[0], out[1])
            found.append(x)
        return found

    def _lstm(
        self, x: Tensor, name: str, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None:
            sizes = (self.shape.width, self.shape.cell)
            state = (x.new_zeros(1, x.shape[1], sizes[0]), x.new_zeros(1, x.shape[1], sizes[1]))
        weights = self._weights
        out, h, c = torch.lstm(
            x, state,
            [weights[f"{name}.input.weight"], weights[f"{name}.hidden.weight"],
             weights[f"{name}.input.bias"], self._open, weights[f"{name}.projection.weight"]],
            True, 1, 0.0, torch.is_grad_enabled(), False, False,
        )  # fmt: skip
        return out, (h.detach(), c.detach())

    def _states(self, x: Tensor, batch: Batch, dropout: Dropout) -> Tensor:
        """What predicts each word that streams ask for, [T, width]: half of the texts are read
        forward, half backward."""
        grids = dropout(x).view(2, batch.size // 2, batch.longest, -1).transpose(1, 2)
        top = torch.stack(self._layers((grids[0], grids[1]), batch.carried, dropout)[-1])
        return dropout(top.transpose(1, 2).reshape(x.shape))

    def _mixed(self, x: Tensor, batch: Batch, dropout: Dropout) -> Tensor:
        """The layers of each token, [T, 2 * width], mixed by learned shares and scaled."""
        forward, backward = _time_major(batch, self.device)
        shape = (batch.longest, batch.size, x.shape[1])
        inputs = dropout(x)
        grids = [
            inputs.new_zeros(shape[0] * shape[1], shape[2]).index_copy(0, places, inputs)
            for places in (forward, backward)
        ]
        layers = self._layers((grids[0].view(shape), grids[1].view(shape)), {}, dropout)
        shares = torch.softmax(self._weights["mix"].float(), 0).to(x.dtype)
        mixed = shares[0] * torch.cat([x, x], 1)
        for share, (f, b) in zip(shares[1:], layers, strict=True):
            read = [
                grid.reshape(-1, shape[2]).index_select(0, places)
                for grid, places in ((f, forward), (b, backward))
            ]
            mixed = mixed + share * torch.cat(read, 1)
        return self._weights["gamma"] * mixed

    def _pooled(self, x: Tensor, batch: Batch) -> Tensor:
        """Mean and maximum of each text; of a pair also their difference and product (Conneau et
        al. 2017)."""
        lengths = torch.from_numpy(batch.lengths).to(self.device, non_blocking=True)
        owners = _owners(lengths, len(x))
        if self._pairs:
            assert batch.segments is not None
            owners = 2 * owners + batch.segments
            lengths = torch.bincount(owners, minlength=2 * batch.size)
        pooled = torch.cat([_mean(x, owners, lengths), _largest(x, owners, len(lengths))], 1)
        if not self._pairs:
            return pooled
        a, b = pooled.view(batch.size, 2, -1).unbind(1)
        return torch.cat([a, b, (a - b).abs(), a * b], 1)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])


def _leaf(value: Tensor, grad: Tensor) -> Tensor:
    """What autograd differentiates by: it adds into `grad`."""
    leaf = value.detach().requires_grad_()
    leaf.grad = grad
    return leaf


def _owners(lengths: Tensor, total: int) -> Tensor:
    """[total]: which of some stretches end to end a row is in."""
    stretches = torch.arange(len(lengths), device=lengths.device)
    return stretches.repeat_interleave(lengths, output_size=total)


def _largest(x: Tensor, owners: Tensor, count: int) -> Tensor:
    """The maxima of the rows of each owner: [T, n] to [count, n]."""
    lowest = x.new_full((count, x.shape[1]), float("-inf"))
    return lowest.scatter_reduce(0, owners[:, None].expand_as(x), x, "amax")


def _mean(x: Tensor, owners: Tensor, lengths: Tensor) -> Tensor:
    sums = x.new_zeros(len(lengths), x.shape[1]).index_add(0, owners, x)
    return sums / lengths[:, None].to(x.dtype)


def _time_major(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """The place of each token in an [L * B] grid of steps of texts: read forward, and backward."""
    lengths = batch.lengths
    texts = np.repeat(np.arange(batch.size), lengths)
    steps = np.arange(len(texts)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    forward = steps * batch.size + texts
    backward = (np.repeat(lengths, lengths) - 1 - steps) * batch.size + texts
    return send(forward, device), send(backward, device)
