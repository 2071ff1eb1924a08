"""Tokens of running text that are hidden from the model (BERT), and pseudo-perplexity.

Of the scored text every token costs -log p(token | its window with this token and every 8th from
it on both sides masked); the nats of a line are the sum over its tokens, and exp(nats / words) is
its pseudo-perplexity per word: eight passes over the text instead of one a token (Salazar et al.
2020, Masked Language Model Scoring, mask one at a time). It is no probability of the text, as
each token is told what comes after it and the other tokens of its word, so it does not compare
with perplexity.
"""

from __future__ import annotations

from typing import ClassVar

from tokenizers import Tokenizer

from bench.errors import UsageError
from bench.learn.objectives import causal
from bench.learn.windows import Masked, MaskedInTurn, Stream, Windows

PASSES = 8  # about as many tokens are masked as in training


class Objective(causal.Objective):
    metric: ClassVar[str] = "pseudo_perplexity"

    def _train(self, stream: Stream, length: int, tokenizer: Tokenizer) -> Windows:
        return Masked(stream, length, _mask(tokenizer), tokenizer.get_vocab_size())

    def _read(self, stream: Stream, length: int, stride: int, tokenizer: Tokenizer) -> Windows:
        return MaskedInTurn(stream, length, stride, _mask(tokenizer), PASSES)


def _mask(tokenizer: Tokenizer) -> int:
    for name in ("[MASK]", "<mask>"):
        if (found := tokenizer.token_to_id(name)) is not None:
            return int(found)
    raise UsageError(
        "this checkpoint's tokenizer has no mask", "a model of another kind: gpt2-tiny"
    )
