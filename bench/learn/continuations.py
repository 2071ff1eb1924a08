"""Texts of which a language model is asked for some tokens: how a text goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from bench.errors import UsageError
from bench.learn import tokenize
from bench.learn.batches import Batch, Packed, means, pack, send
from bench.learn.model import LanguageModel


@dataclass
class Continuations(Packed):
    """Tokens are asked for where `marks` are not negative, which are those asked for."""

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch:
        assert self.marks is not None
        asked = np.flatnonzero(self.marks[self.places_of(rows)[0]] >= 0)
        return replace(super().batch(rows, device), chosen=send(asked, device))


def encode(
    tokenizer: Tokenizer, contexts: Sequence[str], endings: Sequence[str], max_length: int
) -> Continuations:
    """A text for each context and its ending, of whose tokens those of the ending are asked for
    after all before them. Of a long text the beginning is cut off."""
    check(tokenizer)
    if "" in endings:
        context = contexts[list(endings).index("")]
        raise UsageError(f"nothing follows '{context}': a choice is empty")
    whole = [f"{a} {b}" if a else b for a, b in zip(contexts, endings, strict=True)]
    tokens, lengths = tokenize.encode_lines(tokenizer, whole)
    begins = [n - 1 for n in tokenize.encode_lines(tokenizer, contexts)[1]]
    read, asked = [], []
    for text, begin in zip(np.split(tokens, np.cumsum(lengths)[:-1]), begins, strict=True):
        text = text[:-1]  # the line's end is neither read nor asked for
        marks = np.where(np.arange(len(text)) < begin, -1, text)
        read.append([tokenize.line_end(tokenizer), *text[:-1]][-max_length:])
        asked.append(marks[-max_length:])
    return _continuations(read, asked)


def passages(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Packed:
    """Texts of which every token is asked for (`marks`), the line's end too; longer ones than
    `max_length` are cut into several rows."""
    check(tokenizer)
    tokens, lengths = tokenize.encode_lines(tokenizer, texts)
    ends = np.cumsum(lengths)
    before = np.roll(tokens, 1)
    before[ends - lengths] = tokenize.line_end(tokenizer)
    cuts = [np.arange(end - n, end, max_length) for n, end in zip(lengths, ends, strict=True)]
    starts = np.append(np.concatenate(cuts), len(tokens))
    return Packed(before, None, starts, None, tokens)


def beginnings(tokenizer: Tokenizer, contexts: Sequence[str], max_length: int) -> list[list[int]]:
    """The tokens of each context after a line's end; of a long one the last `max_length`."""
    check(tokenizer)
    tokens, lengths = tokenize.encode_lines(tokenizer, contexts)
    texts = np.split(tokens, np.cumsum(lengths)[:-1])
    return [[tokenize.line_end(tokenizer), *text[:-1].tolist()][-max_length:] for text in texts]


def unfinished(texts: Sequence[Sequence[int]]) -> Continuations:
    """Texts of which the token after the last one is asked for."""
    return _continuations(texts, [[*[-1] * (len(text) - 1), 0] for text in texts])


def _continuations(
    texts: Sequence[Sequence[int]], marks: Sequence[Sequence[int] | np.ndarray]
) -> Continuations:
    packed = pack(texts, None, None)
    return Continuations(
        packed.tokens, None, packed.starts, None, np.concatenate(marks).astype(np.int32)
    )


def check(tokenizer: Tokenizer) -> None:
    if not tokenize.loses_nothing(tokenizer):
        raise UsageError(
            "this checkpoint's tokenizer is not byte-level: what its tokens cost is not what the "
            "text costs",
            "--scratch trains a byte-level one",
        )


def mean_nats(model: LanguageModel, batch: Batch, outputs: Tensor) -> Tensor:
    """-log p of what is asked for of each text, the mean of its tokens: [B] float32."""
    assert batch.marks is not None
    assert batch.chosen is not None
    nats = model.nats(outputs, batch.marks.index_select(0, batch.chosen))
    return means(nats, batch.starts, batch.chosen)
