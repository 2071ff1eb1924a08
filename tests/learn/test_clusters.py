"""The softmax in two steps is that of PyTorch, and a distribution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.learn import clusters
from bench.learn.clusters import Clusters
from bench.learn.parameters import Parameters

WIDTH, ENDS = 32, [4, 9, 30]


@pytest.fixture
def parameters() -> Parameters:
    found = Parameters(clusters.weights(WIDTH, ENDS), torch.float32, torch.device("cpu"))
    found.master.normal_(generator=torch.Generator().manual_seed(1))
    found.begin_step()
    return found


def softmax(parameters: Parameters) -> tuple[Clusters, list[Tensor]]:
    downs = [
        w.value.detach().requires_grad_() for n, w in parameters.weights.items() if "down" in n
    ]
    return Clusters(ENDS, parameters.weights, downs), downs


def reference(parameters: Parameters) -> nn.AdaptiveLogSoftmaxWithLoss:
    """PyTorch's, with the same weights."""
    module = nn.AdaptiveLogSoftmaxWithLoss(WIDTH, ENDS[-1], ENDS[:-1], head_bias=True)
    named = parameters.named()
    module.head.weight.data = named["softmax.first.weight"].clone()
    module.head.bias.data = named["softmax.first.bias"].clone()
    for k, tail in enumerate(module.tail):
        down, words = tail
        down.weight = nn.Parameter(named[f"down.{k}"].clone())
        words.weight = nn.Parameter(named[f"softmax.words.{k}"].clone())
    return module


def states() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    x = torch.randn(60, WIDTH, generator=random) * 0.3
    return x.requires_grad_(), torch.arange(60) % ENDS[-1]


def test_probabilities_sum_to_one(parameters: Parameters) -> None:
    found, _ = softmax(parameters)
    x = states()[0][:1].expand(ENDS[-1], -1)
    chances = torch.exp(-found.nats(x, torch.arange(ENDS[-1])))
    assert chances.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("way", ["nats", "mean_nats"])
def test_costs_and_gradients_are_those_of_pytorch(parameters: Parameters, way: str) -> None:
    found, downs = softmax(parameters)
    (x, targets), (x2, _) = states(), states()
    cost = getattr(found, way)(x, targets)
    module = reference(parameters)
    wanted = -module(x2, targets).output
    torch.testing.assert_close(cost, wanted if way == "nats" else wanted.mean())
    cost.mean().backward()
    wanted.mean().backward()
    torch.testing.assert_close(x.grad, x2.grad)
    for k, (down, words) in enumerate(module.tail):
        torch.testing.assert_close(downs[k].grad, down.weight.grad)
        torch.testing.assert_close(parameters[f"softmax.words.{k}"].grad, words.weight.grad)
    torch.testing.assert_close(parameters["softmax.first.bias"].grad, module.head.bias.grad)
    torch.testing.assert_close(parameters["softmax.first.weight"].grad, module.head.weight.grad)


def test_a_cluster_that_is_not_asked_for_costs_nothing(parameters: Parameters) -> None:
    found, _ = softmax(parameters)
    x, _ = states()
    found.mean_nats(x, torch.zeros(60, dtype=torch.long)).backward()
    parameters.end_step()
    assert not parameters["softmax.words.1"].grad.any()
    assert parameters["softmax.first.weight"].grad.any()


@pytest.mark.parametrize(
    ("size", "ends"),
    [(50, [50]), (2000, [2000]), (2001, [2000, 2001]), (100_000, [2000, 10_000, 50_000, 100_000])],
)
def test_clusters_grow(size: int, ends: list[int]) -> None:
    assert clusters.ends(size) == ends
    last = list(clusters.weights(512, ends).values())[-1]
    assert last[0] >= 8
