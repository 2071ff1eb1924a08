"""A softmax over very many words in two steps (Grave et al. 2017): among frequent words and a sign
for each cluster of rarer ones, then within a cluster, of fewer dimensions. It is exact: a model of
its own, whose probabilities sum to 1, not an approximation of the full softmax.

Words must be numbered from the most frequent on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.learn import vocabulary
from bench.learn.parameters import Weight

FREQUENT, GROWTH, SHRINK, LEAST = 2000, 5, 4, 16


def ends(size: int, frequent: int = FREQUENT) -> list[int]:
    """Where the frequent words end, and each cluster: the last is `size`."""
    found = [frequent]
    while found[-1] < size:
        found.append(found[-1] * GROWTH)
    return [*found[:-1], size]


def weights(width: int, clusters: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """By name: of the first step, and of each cluster's words and of what leads down to it."""
    signs = len(clusters) - 1
    found: dict[str, tuple[int, ...]] = {
        "softmax.first.weight": (clusters[0] + signs, width),
        "softmax.first.bias": (clusters[0] + signs,),
    }
    for k in range(signs):
        narrow = min(width, max(LEAST, width // SHRINK ** (k + 1)))
        found[f"softmax.words.{k}"] = (clusters[k + 1] - clusters[k], narrow)
        found[f"down.{k}"] = (narrow, width)
    return found


class Clusters:
    """What words cost, by the weights named above; autograd differentiates by `downs`."""

    def __init__(
        self, clusters: Sequence[int], softmax: dict[str, Weight], downs: Sequence[Tensor]
    ) -> None:
        self._ends, self._softmax, self._downs = list(clusters), softmax, downs

    def nats(self, x: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, [T] in float32: x [T, width], targets [T]."""
        cluster, first = self._first_step(targets)
        found = vocabulary.nats(x, *self._of_first_step(), first)
        for places, low, words, wanted in self._second_step(x, targets, cluster):
            found = found.index_add(0, places, vocabulary.nats(low, words, None, wanted))
        return found

    def mean_nats(self, x: Tensor, targets: Tensor) -> Tensor:
        """The mean of `nats`, for less work in training."""
        cluster, first = self._first_step(targets)
        found = vocabulary.mean_nats(x, *self._of_first_step(), first)
        for places, low, words, wanted in self._second_step(x, targets, cluster):
            share = len(places) / len(x)
            found = found + share * vocabulary.mean_nats(low, words, None, wanted)
        return found

    def _first_step(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The cluster of each target (0: none), and what the first step must tell."""
        bounds = torch.tensor(self._ends[:-1], device=targets.device)
        cluster = torch.bucketize(targets, bounds, right=True)
        return cluster, torch.where(cluster == 0, targets, self._ends[0] - 1 + cluster)

    def _of_first_step(self) -> tuple[Weight, Weight]:
        return self._softmax["softmax.first.weight"], self._softmax["softmax.first.bias"]

    def _second_step(
        self, x: Tensor, targets: Tensor, cluster: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Weight, Tensor]]:
        """Of each cluster that is asked for: the places of its words, and what tells them."""
        for k, down in enumerate(self._downs):
            places = (cluster == k + 1).nonzero()[:, 0]
            if len(places):
                low = F.linear(x.index_select(0, places), down)
                words = self._softmax[f"softmax.words.{k}"]
                yield places, low, words, targets[places] - self._ends[k]
