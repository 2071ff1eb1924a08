"""The embedded corpus 'verdicts': film verdicts from a grammar (being written)."""

from __future__ import annotations

from bench.learn.data import Rows, canonical

NAME = "verdicts"


def corpus() -> tuple[Rows, Rows]:
    """Train and scored rows."""

    def rows(things: str, n: int) -> Rows:
        texts: list[tuple[str, ...]] = []
        labels = []
        for i in range(n):
            good = i % 2 == 0
            texts.append((canonical(f"{things} number {i} is {'good' if good else 'bad'}"),))
            labels.append("positive" if good else "negative")
        return Rows(texts, labels)

    return rows("film", 20000), rows("play", 2000)
