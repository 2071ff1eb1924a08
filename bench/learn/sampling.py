"""Predictions of some rows that stand for those of all: they are metered, and their share is told.

First calls are slow, and what is short is hard to meter: a GPU predicts a hundred rows in less than
one tick of its counter. So rows are rehearsed, ever more of them, until a pass takes a while; as
many are then predicted in the phase that counts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from bench.events import REHEARSAL, Events
from bench.learn.loop import synchronise
from bench.learn.parallel import first_says

if TYPE_CHECKING:
    from bench.learn.batches import Rows
    from bench.learn.loop import Training

_FIRST_ROWS = 8
LONG_S = 1.0  # ten ticks of a GPU's counter
_TIMES = 4  # more rows than in the pass before


def predict(training: Training, scored: Rows, events: Events) -> float:
    """Predict some of the scored rows in a phase `predict`; their share of all, by tokens."""
    events.send("phase_start", phase=REHEARSAL)
    count = min(_FIRST_ROWS, len(scored))
    _pass(training, scored, count)  # first calls
    while not first_says(_pass(training, scored, count) >= LONG_S or count == len(scored)):
        count = min(len(scored), _TIMES * count)
    events.send("phase_start", phase="predict")
    _pass(training, scored, count)
    events.send("phase_stop", phase="predict")
    return float(scored.lengths[_spread(scored, count)].sum() / scored.lengths.sum())


def _pass(training: Training, scored: Rows, count: int) -> float:
    """How long it takes to predict so many rows, s."""
    began_s = time.monotonic()
    training.objective.predict(training.model, scored, _spread(scored, count))
    synchronise(training.model.device)
    return time.monotonic() - began_s


def _spread(scored: Rows, count: int) -> np.ndarray:  # [count]
    """Rows from all over the split."""
    return np.linspace(0, len(scored) - 1, count).astype(int)
