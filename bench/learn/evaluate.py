"""Predictions: without gradients, in batches by length, of which each process makes some."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bench import metrics
from bench.learn import parallel
from bench.learn.batches import Batch, Packed, by_length
from bench.learn.data import TaskFolder
from bench.learn.model import Model

MOST_TOKENS = 2048  # a batch's activations stay in the caches of a CPU


def on_tune(task: TaskFolder, predicted: Sequence[str] | Sequence[float]) -> tuple[str, float]:
    """The task's metric, and its value for what is predicted of the tune split."""
    found = metrics.compute(task.metric, task.tune.labels, predicted, task.positive)
    return task.metric, found.value


def outputs(
    model: Model,
    rows: Packed,
    chosen: np.ndarray | None = None,
    read: Callable[[Batch, Tensor], Tensor] = lambda batch, out: out,
) -> np.ndarray:  # [rows, size], or [rows, texts * size] where a row has several; float32
    """What the model returns for each text of all rows, or of the `chosen` ones in their order;
    or what `read` makes of that, one value or more a text."""
    order, found = zip(*_passes(model, rows, chosen, read), strict=True)
    places = np.concatenate(order)
    returned = torch.cat(found).cpu().numpy().reshape(len(places), -1)
    values = np.empty_like(returned)
    values[places] = returned
    return values


def token_classes(model: Model, rows: Packed, chosen: np.ndarray | None = None) -> list[np.ndarray]:
    """The number of each token's highest output, a text an array, in the order of the rows."""
    return per_token(model, rows, chosen, lambda batch, out: out.argmax(1))


def per_token(
    model: Model,
    rows: Packed,
    chosen: np.ndarray | None = None,
    read: Callable[[Batch, Tensor], Tensor] = lambda batch, out: out,
) -> list[np.ndarray]:
    """What the model returns for each token, or `read` makes of that, a text an array, in the order
    of the rows."""
    chosen = np.arange(len(rows)) if chosen is None else chosen
    order, found = zip(*_passes(model, rows, chosen, read), strict=True)
    places = np.concatenate(order)
    ends = np.cumsum(rows.lengths[chosen[places]])
    parts = np.split(torch.cat(found).cpu().numpy(), ends[:-1])
    return [parts[i] for i in np.argsort(places)]


def _passes(
    model: Model,
    rows: Packed,
    chosen: np.ndarray | None,
    read: Callable[[Batch, Tensor], Tensor],
) -> list[tuple[np.ndarray, Tensor]]:
    """Of each batch: places among the chosen rows, and what is read from the outputs for them."""
    chosen = np.arange(len(rows)) if chosen is None else chosen
    found = []
    model.begin_evaluation()
    with torch.inference_mode():
        for places in parallel.mine(by_length(rows.lengths[chosen], MOST_TOKENS)):
            batch = rows.batch(chosen[places], model.device)
            found.append((places, read(batch, model.outputs(batch, None))))
    return parallel.gathered(found)


def probabilities(
    model: Model, rows: Packed, chosen: np.ndarray | None = None
) -> np.ndarray:  # [rows, classes], float32
    """The class probabilities of all rows, or of the `chosen` ones in their order."""
    return torch.softmax(torch.from_numpy(outputs(model, rows, chosen)), -1).numpy()
