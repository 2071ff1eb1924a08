"""What the embedded corpora of pairs are about: who did what, and where, when, how and with whom.

Every meaning has two wordings, and a deed may be told or denied.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from bench.learn.data import Rows

_T = TypeVar("_T")

Deed = dict[str, int]  # part -> the number of its meaning

CORE = ("who", "did", "what")  # the parts that every deed has
MORE = ("where", "when", "how", "with")


def rows(n: int, draw: Callable[[int], tuple[str, str, str]]) -> Rows:
    """So many different pairs; `draw` is given the number of one and returns it with its label."""
    seen: dict[tuple[str, str], str] = {}
    while len(seen) < n:
        first, second, label = draw(len(seen))
        seen.setdefault((first, second), label)
    return Rows(list(seen), list(seen.values()))


class Writer:
    """Draws deeds and words them, the same in every version of Python. Who, did and what of a
    deed of scored are together in no deed of train."""

    def __init__(self, split: str, seed: int) -> None:
        self._uniform = random.Random(seed).random
        self._new = split == "scored"

    def choice(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._uniform() * len(choices))]

    def chance(self, share: float) -> bool:
        return self._uniform() < share

    def some(self, parts: Iterable[str], n: int) -> list[str]:
        """`n` of the parts, in any order."""
        left = list(parts)
        return [left.pop(int(self._uniform() * len(left))) for _ in range(n)]

    def deed(self, more: int) -> Deed:
        """A deed with so many parts beside its core."""
        parts = (*CORE, *self.some(MORE, more))
        return self._drawn_until(lambda: {part: self._meaning(part) for part in parts})

    def changed(self, deed: Deed, parts: Sequence[str]) -> Deed:
        """The deed with another meaning of each of these parts."""
        return self._drawn_until(lambda: deed | {part: self._other(part, deed) for part in parts})

    def _drawn_until(self, draw: Callable[[], Deed]) -> Deed:
        """Drawn until it is a deed of this split: a third of all cores are those of scored."""
        while True:
            deed = draw()
            if (sum(deed[part] for part in CORE) % 3 == 0) == self._new:
                return deed

    def _other(self, part: str, deed: Deed) -> int:
        step = 1 + int(self._uniform() * (len(MEANINGS[part]) - 1))
        return (deed[part] + step) % len(MEANINGS[part])

    def with_more(self, deed: Deed) -> Deed:
        """The deed with a part that it has not."""
        part = self.choice([part for part in MORE if part not in deed])
        return deed | {part: self._meaning(part)}

    def _meaning(self, part: str) -> int:
        return int(self._uniform() * len(MEANINGS[part]))

    def sentence(self, deed: Deed, denied: bool = False) -> str:
        """The deed in some of its wordings."""
        text = self._filled(deed, DENIED if denied else TOLD)
        return text[0].upper() + text[1:] + "."

    def question(self, deed: Deed, asked: str) -> str:
        """A question for one part of a deed."""
        said = {part: meaning for part, meaning in deed.items() if part != asked}
        text = f"{self.choice(ASKED[asked])} {self._filled(said, INVERTED)}"
        return text[0].upper() + text[1:] + "?"

    def _filled(self, deed: Deed, orders: Sequence[str]) -> str:
        words = {part: self.choice(MEANINGS[part][meaning]) for part, meaning in deed.items()}
        more = [part for part in MORE if part in deed]
        more = [words[part] for part in self.some(more, len(more))]
        core = self.choice(orders).format_map({part: words[part] for part in CORE})
        return " ".join([core, *more])


TOLD = ["the {who} {did} the {what}", "the {what} was {did} by the {who}"]
DENIED = [
    "the {who} never {did} the {what}",
    "the {what} was never {did} by the {who}",
    "it is not true that the {who} {did} the {what}",
]
INVERTED = ["was the {what} {did} by the {who}"]
ASKED = {
    "where": ["where", "in which place"],
    "when": ["when", "at what time"],
    "how": ["how", "in what way"],
    "with": ["with whom", "in whose company"],
}


def _wordings(text: str) -> list[list[str]]:
    return [[" ".join(w.split()) for w in both.split("/")] for both in text.split(",")]


MEANINGS = {
    "who": _wordings("""doctor/physician, lawyer/attorney, boy/lad, thief/burglar, sailor/seaman,
        singer/vocalist, teacher/schoolmaster, policeman/constable"""),
    "did": _wordings("""bought/purchased, sold/auctioned, repaired/mended, found/discovered,
        lost/mislaid, cleaned/washed, painted/coloured, damaged/wrecked"""),
    "what": _wordings("""car/automobile, bike/bicycle, sofa/couch, coat/overcoat, boat/vessel,
        picture/portrait, lamp/lantern, bag/sack"""),
    "where": _wordings("""in the shop/in the store, in the woods/in the forest, at home/indoors,
        by the sea/at the seaside, in the cellar/in the basement, in the city/in town"""),
    "when": _wordings("""at noon/at midday, at dawn/at sunrise, at dusk/at nightfall,
        in the autumn/in the fall, last week/a week ago, yesterday/the other day"""),
    "how": _wordings("""in a hurry/in haste, at leisure/slowly, in secret/on the quiet,
        for fun/as a joke, by mistake/by accident, with care/carefully"""),
    "with": _wordings("""with a friend/with a mate, with a dog/with a hound,
        with a child/with a kid, with some relatives/with the family"""),
}
