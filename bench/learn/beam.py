"""Beam search (Vaswani et al. 2017; length penalty of Wu et al. 2016), many texts at once.

Keys and values of every step stay where they were written: a table of ancestors says which of them
each hypothesis may look at, so that nothing is copied when hypotheses are reordered. Texts whose
translation is found leave the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.learn import parallel
from bench.learn.batches import Batch, by_length
from bench.learn.cross import attention_weights, by_head, by_token
from bench.learn.pairs import Pairs
from bench.learn.translator import Memory, Translator

EXTRA = 50
"""How many tokens longer than its text a translation may be."""
MOST_TOKENS = 1024
"""Of a batch of texts: their hypotheses' logits stay in the caches of a CPU."""


@dataclass(frozen=True)
class Search:
    beam: int
    penalty: float  # the power of the length by which a score is divided
    end: int  # the token that ends a translation; one begins with it, too

    def normalised(self, scores: Tensor, length: int) -> Tensor:
        return scores / ((5 + length) / 6) ** self.penalty


def translate(
    model: Translator, rows: Pairs, search: Search, chosen: np.ndarray | None = None
) -> list[list[int]]:
    """The best translation's tokens, without its end, of all rows or of the `chosen` ones."""
    chosen = np.arange(len(rows)) if chosen is None else chosen
    found: list[list[int]] = [[]] * len(chosen)
    passes = []
    model.begin_evaluation()
    with torch.inference_mode():
        for places in parallel.mine(by_length(rows.source.lengths[chosen], MOST_TOKENS)):
            batch = rows.source.batch(chosen[places], model.device)
            passes.append((places, _translated(model, batch, search)))
    for places, several in parallel.gathered(passes):
        for place, tokens in zip(places, several, strict=True):
            found[place] = tokens
    return found


def _translated(model: Translator, batch: Batch, search: Search) -> list[list[int]]:
    most = min(batch.longest + EXTRA, model.positions)
    alive = _Alive(model, model.remember(batch), batch.size, search, most)
    best = torch.full((batch.size,), float("-inf"), device=model.device)
    written = torch.full((batch.size, most), search.end, device=model.device)
    for length in range(1, most + 1):
        ended, tokens = alive.step(length)
        better = ended > best[alive.texts]
        texts = alive.texts[better]
        best[texts] = ended[better]
        written[texts, : length - 1] = tokens[better]
        written[texts, length - 1 :] = search.end
        if not alive.drop(best, length):
            break
    return list(_until_end(written.cpu().numpy(), search.end))


def _until_end(written: np.ndarray, end: int) -> Iterator[list[int]]:
    for row in written:
        ends = np.flatnonzero(row == end)
        yield row[: ends[0] if len(ends) else None].tolist()


class _Alive:
    """The hypotheses of the texts that are not done: n texts, `beam` each."""

    def __init__(
        self, model: Translator, memory: Memory, size: int, search: Search, most: int
    ) -> None:
        self._model, self._memory, self._search, self._most = model, memory, search, most
        shape, beam, device = model.shape, search.beam, model.device
        self.texts = torch.arange(size, device=device)
        self._scores = torch.full((size, beam), float("-inf"), device=device)
        self._scores[:, 0] = 0.0  # at first they are all the same one
        self._tokens = torch.full((size, beam, 1), search.end, device=device)
        self._ancestors = torch.zeros(size, beam, 0, dtype=torch.long, device=device)
        past = (size * shape.heads, most * beam, shape.width // shape.heads)
        self._past = [
            torch.empty(2, *past, dtype=model.dtype, device=device) for _ in range(shape.layers)
        ]

    def step(self, length: int) -> tuple[Tensor, Tensor]:
        """The best score, normalised, of those that end now, [n], and what they had written, [n,
        length - 1]; the others write one more token.

        An end counts if it is among the `beam` best things to write, and at last in any case:
        the best of all translations would often be an empty one (Stahlberg and Byrne 2019).
        """
        search, beam = self._search, self._search.beam
        n = len(self.texts)
        logits = self._logits(length - 1)
        sums = logits.logsumexp(-1).view(n, beam)
        ended, which = (self._scores + logits[:, search.end].view(n, beam) - sums).max(1)
        rows = torch.arange(n, device=which.device)
        written = self._tokens[rows, which, 1:]
        logits[:, search.end] = float("-inf")
        best, ids = logits.topk(beam)
        totals = (self._scores - sums)[..., None] + best.view(n, beam, beam)
        self._scores, which = totals.view(n, -1).topk(beam)
        if length < self._most:
            ended = ended.masked_fill(ended <= self._scores[:, -1], float("-inf"))
        parents = which // beam
        ids = ids.view(n, -1).gather(1, which)
        self._tokens = torch.cat((self._tokens[rows[:, None], parents], ids[..., None]), -1)
        self._ancestors = self._ancestors[rows[:, None], parents]
        return search.normalised(ended, length), written

    def drop(self, best: Tensor, length: int) -> bool:
        """Forget texts whose best translation can't be beaten any more, once they are a quarter of
        all; whether some are left."""
        hope = self._search.normalised(self._scores[:, 0], self._most)  # if nothing more were lost
        left = (best[self.texts] < hope).nonzero()[:, 0]
        if 4 * len(left) <= 3 * len(self.texts):
            heads = self._model.shape.heads
            rows = (left[:, None] * heads + torch.arange(heads, device=left.device)).flatten()
            self.texts, self._scores = self.texts[left], self._scores[left]
            self._tokens, self._ancestors = self._tokens[left], self._ancestors[left]
            self._past = [past[:, rows] for past in self._past]
            self._memory = self._memory.take(rows)
        return len(left) > 0

    def _logits(self, position: int) -> Tensor:
        """[n * beam, vocabulary] in float32, after the tokens written last."""
        model, n, beam = self._model, len(self.texts), self._search.beam
        own = torch.arange(beam, device=model.device).expand(n, beam)[..., None]
        self._ancestors = torch.cat((self._ancestors, own), -1)
        bias = self._hidden(position + 1)
        tokens = self._tokens[..., -1].flatten()
        x = model.embed(tokens, torch.full_like(tokens, position))
        for i in range(model.shape.layers):
            x = self._layer(i, x, position, bias)
        return x.mm(model.parameters["tokens"].value.t()).float()

    def _hidden(self, steps: int) -> Tensor:
        """[n * heads, beam, steps * beam]: minus infinity at what is no ancestor's."""
        beam, heads = self._search.beam, self._model.shape.heads
        slots = torch.arange(beam, device=self._ancestors.device)
        others = self._ancestors[..., None] != slots
        bias = torch.zeros(others.shape, dtype=self._model.dtype, device=others.device)
        bias = bias.masked_fill_(others, float("-inf")).view(-1, beam, steps * beam)
        return bias.repeat_interleave(heads, 0)

    def _layer(self, i: int, x: Tensor, position: int, bias: Tensor) -> Tensor:
        model, n, beam = self._model, len(self.texts), self._search.beam
        name, heads = f"decoder.{i}.", model.shape.heads
        q, k, v = by_head(model.linear(x, f"{name}qkv"), n, 3, heads)
        now, until = slice(position * beam, (position + 1) * beam), (position + 1) * beam
        past = self._past[i]
        past[0, :, now], past[1, :, now] = k, v
        mixed = attention_weights(q, past[0, :, :until], bias).bmm(past[1, :, :until])
        x = model.norm(x + model.linear(by_token(mixed, n), f"{name}mix"), f"{name}mix_norm")
        (q,) = by_head(model.linear(x, f"{name}q"), n, 1, heads)
        memory = self._memory
        mixed = attention_weights(q, memory.keys[i], memory.bias).bmm(memory.values[i])
        x = model.norm(x + model.linear(by_token(mixed, n), f"{name}cross"), f"{name}cross_norm")
        inner = F.relu(model.linear(x, f"{name}up"))
        return model.norm(x + model.linear(inner, f"{name}down"), f"{name}down_norm")
