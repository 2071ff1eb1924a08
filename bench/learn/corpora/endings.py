"""The embedded corpus 'endings': what happened, and which of four endings continues it.

The chains of the corpus 'causes': the right ending is the last event of the chain, the others are
the last ones of three other chains. Scored has no row of train, but the same events.
"""

from __future__ import annotations

from bench.learn.corpora.causes import CHAINS, WHO, Teller
from bench.learn.data import Rows

ENDINGS = 4


def corpus(train: int = 4000, scored: int = 1000) -> tuple[Rows, Rows]:
    """Train and scored rows: a context and four endings; the label is the right one's number."""
    learned = _rows(Teller(3), train)
    return learned, _rows(Teller(4), scored, learned)


def _rows(teller: Teller, n: int, known: Rows | None = None) -> Rows:
    """So many different rows, none of them `known`."""
    without = set(known.inputs if known else ())
    seen: dict[tuple[str, ...], str] = {}
    while len(seen) < n:
        chain, who = teller.choice(CHAINS), teller.choice(WHO)
        told = [chain]
        while len(told) < ENDINGS:
            other = teller.another(chain)
            told += [] if other in told else [other]
        right = teller.choice(range(ENDINGS))
        told[0], told[right] = told[right], told[0]
        endings = (teller.told(other, 2, who) for other in told)
        context = f"{teller.told(chain, 1, who)} Then"
        row = (context, *(text[0].lower() + text[1:] for text in endings))
        if row not in without:
            seen[row] = str(right)
    return Rows(list(seen), list(seen.values()))
