"""The next word and the word before, each from all that was read up to it (Peters et al. 2018).

The vocabulary is the words that occur in two stretches of train or more, the most frequent first,
and a sign for all others; every word that is not in it costs that sign and its spelling. So the
sign is learned from each stretch's words as if it were a text that was not trained on (words come
back soon after they were new: that one occurs twice does not tell that another text has it), and
spelling is fitted to the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.learn.batches import Batch, Packed
from bench.learn.data import Predictions, TaskFolder
from bench.learn.model import LanguageModel
from bench.learn.objectives import Outputs
from bench.learn.spelling import Spelling
from bench.learn.streams import Streams
from bench.learn.words import END, Words

OTHERS = 0  # in the vocabulary: all words outside it
STRETCHES, STRETCH_LINES = 20, 50  # at least so many stretches, of at most so many lines
SCORED_STREAMS = 64  # at most, in scoring; each begins without context
SCORED_WORDS = 1000  # a stream, at least


class Objective:
    outputs: Outputs  # known when train is encoded

    def __init__(self, task: TaskFolder, recipe: Any) -> None:
        self._task, self._recipe = task, recipe

    def texts(self) -> Sequence[str]:
        return [text for (text,) in self._task.train.inputs]

    def encode(self, tokenizer: Words, max_length: int) -> dict[str, Any]:
        """Train as streams that are read in blocks of `max_length` words; tune and scored as lines,
        which become streams when they are scored."""
        task = self._task
        train, tune, scored = (
            tokenizer.lines([text for (text,) in inputs])
            for inputs in (task.train.inputs, task.tune.inputs, task.scored)
        )
        self._name_words(tokenizer, train)
        streams = self._streams(train, self._recipe.batch_size)
        return {"train": streams, "tune": tune, "scored": scored}

    def _name_words(self, words: Words, train: Packed) -> None:
        """What each word is called in the vocabulary, and what its spelling costs beside that."""
        counts = np.bincount(train.tokens, minlength=len(words))
        spread = _stretches_with(train, len(words)) > 1
        named = np.argsort(-counts, kind="stable")
        named = named[spread[named] & (named != END)][: self._recipe.vocabulary_size - 2]
        self._names = np.full(len(words), OTHERS)
        self._names[END] = 1  # this and all others are frequent
        self._names[named] = 2 + np.arange(len(named))
        self.outputs = Outputs("word", 2 + len(named))

        others = np.flatnonzero(self._names == OTHERS)
        met = others[counts[others] > 0]
        spelling = Spelling(words.bytes_of(met if len(met) else named))
        self._spelled = np.zeros(len(words))
        spelled, vocabulary = words.bytes_of(others), words.bytes_of(named)
        self._spelled[others] = spelling.nats_outside(spelled, vocabulary)

    def _streams(self, lines: Packed, count: int) -> Streams:
        names = self._names[lines.tokens]
        return Streams(lines.tokens, names, count, self._recipe.max_length)

    def loss(self, model: LanguageModel, batch: Batch, outputs: Tensor) -> Tensor:
        assert batch.labels is not None
        return model.mean_nats(outputs, batch.labels)

    def evaluate(self, model: LanguageModel, rows: Packed) -> tuple[str, float]:
        """The geometric mean of both directions' perplexities per word; a line's end is a word."""
        nats = self.nats(model, rows).mean()
        return "bidirectional_perplexity", float(np.exp(nats))

    def predict(
        self, model: LanguageModel, rows: Packed, chosen: np.ndarray | None = None
    ) -> Predictions:
        """The nats of each line, the mean of both directions, and as scores those of each. Chosen
        lines are read as a text of their own."""
        if chosen is not None:
            index, lengths, firsts = rows.places_of(chosen)
            starts = np.append(firsts, lengths.sum())
            rows = Packed(rows.tokens[index], None, starts, None)
        of_lines = np.add.reduceat(self.nats(model, rows), rows.starts[:-1], axis=1)
        return Predictions(of_lines.mean(0).tolist(), of_lines.T.tolist())

    def nats(self, model: LanguageModel, lines: Packed) -> np.ndarray:
        """What each word costs forward and backward, its spelling included: [2, words]."""
        most = len(lines.tokens) // SCORED_WORDS
        streams = self._streams(lines, max(1, min(most, SCORED_STREAMS)))
        found, places = [], []
        model.begin_evaluation()
        with torch.inference_mode():
            for rows in streams.batches():
                batch = streams.batch(rows, model.device)
                assert batch.labels is not None
                found.append(model.nats(model.outputs(batch, None), batch.labels))
                places.append(streams.places(rows).reshape(2, -1))
        nats = np.empty((2, len(lines.tokens)))
        index = np.concatenate(places, 1)
        values = [part.view(2, -1) for part in found]
        np.put_along_axis(nats, index, torch.cat(values, 1).cpu().double().numpy(), 1)
        return nats + self._spelled[lines.tokens]


def _stretches_with(lines: Packed, words: int) -> np.ndarray:
    """In how many stretches of a text each word occurs: [words]."""
    length = min(STRETCH_LINES, max(1, len(lines) // STRETCHES))
    stretches = np.repeat(np.arange(len(lines)) // length, lines.lengths)
    pairs = np.unique(stretches * words + lines.tokens)
    return np.bincount(pairs % words, minlength=words)
