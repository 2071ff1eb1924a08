"""The embedded corpus 'entailment': 'inference' in two classes, what follows and what does not."""

from __future__ import annotations

from bench.learn.corpora import inference
from bench.learn.data import Rows

_DRAWN = ("entailment", "neutral", "entailment", "contradiction")


def corpus(train: int = 10_000, scored: int = 1_000) -> tuple[Rows, Rows]:
    """Train and scored rows: no two pairs are equal, both classes are equally frequent."""
    return _two(inference.rows("train", train, 3, _DRAWN)), _two(
        inference.rows("scored", scored, 4, _DRAWN)
    )


def _two(drawn: Rows) -> Rows:
    follows = [label == "entailment" for label in drawn.labels]
    return Rows(drawn.inputs, ["entailment" if f else "not_entailment" for f in follows])
