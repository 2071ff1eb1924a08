"""Predictions: without gradients, in batches by length."""

from __future__ import annotations

import numpy as np
import torch

from bench.learn.batches import Packed, by_length
from bench.learn.model import Model

MOST_TOKENS = 2048  # a batch's activations stay in the caches of a CPU


def probabilities(
    model: Model, rows: Packed, chosen: np.ndarray | None = None
) -> np.ndarray:  # [rows, classes], float32
    """The class probabilities of all rows, or of the `chosen` ones in their order."""
    chosen = np.arange(len(rows)) if chosen is None else chosen
    found = []
    order = []
    model.begin_evaluation()
    with torch.inference_mode():
        for places in by_length(rows.lengths[chosen], MOST_TOKENS):
            batch = rows.batch(chosen[places], model.device)
            found.append(torch.softmax(model.logits(batch, None), -1))
            order.append(places)
    scores = np.empty((len(chosen), found[0].shape[1]), dtype=np.float32)
    scores[np.concatenate(order)] = torch.cat(found).cpu().numpy()
    return scores


def accuracy(model: Model, rows: Packed) -> float:
    assert rows.labels is not None
    return float((probabilities(model, rows).argmax(1) == rows.labels).mean())
