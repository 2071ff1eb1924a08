"""Predictions: without gradients, in batches by length."""

from __future__ import annotations

import numpy as np
import torch

from bench.learn.batches import Packed, by_length
from bench.learn.model import Model

MOST_TOKENS = 2048  # a batch's activations stay in the caches of a CPU


def outputs(
    model: Model, rows: Packed, chosen: np.ndarray | None = None
) -> np.ndarray:  # [rows, size], float32
    """What the model returns for each text of all rows, or of the `chosen` ones in their order."""
    chosen = np.arange(len(rows)) if chosen is None else chosen
    found = []
    order = []
    model.begin_evaluation()
    with torch.inference_mode():
        for places in by_length(rows.lengths[chosen], MOST_TOKENS):
            batch = rows.batch(chosen[places], model.device)
            found.append(model.outputs(batch, None))
            order.append(places)
    values = np.empty((len(chosen), found[0].shape[1]), dtype=np.float32)
    values[np.concatenate(order)] = torch.cat(found).cpu().numpy()
    return values


def probabilities(
    model: Model, rows: Packed, chosen: np.ndarray | None = None
) -> np.ndarray:  # [rows, classes], float32
    """The class probabilities of all rows, or of the `chosen` ones in their order."""
    return torch.softmax(torch.from_numpy(outputs(model, rows, chosen)), -1).numpy()
