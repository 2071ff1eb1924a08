"""What running text costs a model, a word: exp(nats / words), a line's end being a word.

Words and not tokens, so that models with different tokenizers compare.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from bench.metrics import Scored


def perplexity(labels: Sequence[str], predictions: Sequence[float]) -> Scored:
    """`labels` are the words of each line, `predictions` its nats: -log of its probability."""
    statistics = {"nats": math.fsum(predictions), "words": float(sum(map(int, labels)))}
    return Scored(perplexity_of(statistics, len(labels)), statistics)


def perplexity_of(statistics: Mapping[str, float], n: int) -> float:
    """At most what a float can hold: a model that has diverged has a result, too."""
    return math.exp(min(statistics["nats"] / statistics["words"], 700.0))


def pseudo_perplexity(labels: Sequence[str], predictions: Sequence[float]) -> Scored:
    """The same of pseudo-log-likelihoods, where each token is told what is around it (Salazar et
    al. 2020). It does not compare with perplexity."""
    return perplexity(labels, predictions)


def pseudo_perplexity_of(statistics: Mapping[str, float], n: int) -> float:
    return perplexity_of(statistics, n)


def bidirectional_perplexity(labels: Sequence[str], predictions: Sequence[float]) -> Scored:
    """Of a model that reads from either end: a line's nats are the mean of both directions, each of
    which is a probability of the text (Peters et al. 2018)."""
    return perplexity(labels, predictions)


def bidirectional_perplexity_of(statistics: Mapping[str, float], n: int) -> float:
    return perplexity_of(statistics, n)


def unigram(lines: Sequence[str]) -> float:
    """The perplexity of a model that knows how often each word occurs in these very lines, and
    nothing else: exp of their words' entropy, a line's end being a word."""
    counts = Counter(word for line in lines for word in line.split())
    total = counts.total() + len(lines)
    entropy = -math.fsum(n / total * math.log(n / total) for n in [*counts.values(), len(lines)])
    return math.exp(entropy)
