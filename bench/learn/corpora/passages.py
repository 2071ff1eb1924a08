"""The embedded corpus 'passages': passages whose last word is told only by the whole of them.

Some people have some things; the last sentence asks for the thing of one of them, and its own words
give no hint which it is. Names and things are drawn anew for each passage, so that only who reads
both the last sentence and the right one before it can tell; guessing among a passage's things is
right in one of two or three.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from bench.learn.data import Rows

_T = TypeVar("_T")


def corpus(train: int = 8000, scored: int = 1000) -> tuple[Rows, Rows]:
    """Train and scored rows: a passage without its last word, and that word."""
    return _Writer(1).rows(train), _Writer(2).rows(scored)


class _Writer:
    """The same passages in every version of Python."""

    def __init__(self, seed: int) -> None:
        self._uniform = random.Random(seed).random

    def rows(self, n: int) -> Rows:
        seen: dict[tuple[str, ...], str] = {}
        while len(seen) < n:
            beginning, word = self._passage()
            seen.setdefault((beginning,), word)
        return Rows(list(seen), list(seen.values()))

    def _passage(self) -> tuple[str, str]:
        count = self._choice((2, 2, 3))
        people, things = self._some(_PEOPLE, count), self._some(_THINGS, count)
        sentences = [
            self._choice(_HAVING).format(who=who, thing=thing)
            for who, thing in zip(people, things, strict=True)
        ]
        sentences.insert(int(self._uniform() * (count + 1)), self._choice(_ELSE))
        asked = int(self._uniform() * count)
        sentences.append(self._choice(_LAST).format(who=people[asked]))
        return " ".join(sentences), things[asked]

    def _some(self, choices: Sequence[str], n: int) -> list[str]:
        found: list[str] = []
        while len(found) < n:
            one = self._choice(choices)
            found += [] if one in found else [one]
        return found

    def _choice(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._uniform() * len(choices))]


def _list(text: str) -> list[str]:
    return text.split()


_PEOPLE = _list("""Ada Anton Bela Clara Dora Emil Flora Greta Hugo Ida Jonas Leo Mina Nora Otto
Paula Rosa Simon Tilda Viktor""")
_THINGS = _list("""lamp kettle ladder mirror basket guitar camera carpet bottle candle hammer piano
shovel teapot violin wallet""")
_HAVING = [
    "{who} had a {thing} .",
    "{who} bought a {thing} at the market .",
    "{who} came with an old {thing} .",
    "{who} was given a {thing} .",
]
_ELSE = [
    "It was a cold morning .",
    "The train was late again .",
    "Nobody spoke for a while .",
    "They met in front of the station .",
    "There was rain in the air .",
]
_LAST = [
    "In the evening {who} sold the",
    "On the way home {who} lost the",
    "After a while {who} put down the",
    "At last {who} showed them the",
]
