"""The embedded corpus 'passages': passages whose last word is told only by the whole of them.

Sentences of one scene, with others in between that fit any, and a last sentence that fits any as
well and breaks off before its last word, which is the scene's. Who reads the last sentence alone
can't tell; scored has no passage of train, but the same scenes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from bench.learn.data import Rows

_T = TypeVar("_T")


def corpus(train: int = 5000, scored: int = 1000) -> tuple[Rows, Rows]:
    """Train and scored rows: a passage without its last word, and that word."""
    learned = _Writer(1).rows(train)
    return learned, _Writer(2).rows(scored, learned)


class _Writer:
    """The same passages in every version of Python."""

    def __init__(self, seed: int) -> None:
        self._uniform = random.Random(seed).random

    def rows(self, n: int, known: Rows | None = None) -> Rows:
        """So many different rows, none of them `known`."""
        without = set(known.inputs if known else ())
        seen: dict[tuple[str, ...], str] = {}
        while len(seen) < n:
            text, word = self._passage()
            if (text,) not in without:
                seen[text,] = word
        return Rows(list(seen), list(seen.values()))

    def _passage(self) -> tuple[str, str]:
        word = self._choice(list(_SCENES))
        who = self._choice(_WHO)
        first = self._choice(_SCENES[word])
        while (second := self._choice(_SCENES[word])) == first:
            pass
        sentences = [first, second]
        sentences.insert(self._choice((0, 1, 2)), self._choice(_ANYWHERE))
        text = " ".join([*sentences, self._choice(_LAST)])
        return text.replace("{who}", who), word

    def _choice(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._uniform() * len(choices))]


_WHO = ["Ada", "Bela", "Clara", "Emil", "Flora", "Hugo", "Ida", "Jonas", "Mina", "Otto"]
_ANYWHERE = [
    "It was a cold morning .", "Nobody spoke for a while .", "{who} was tired .",
    "It was Sunday at last .", "{who} looked at the clock .",
]  # fmt: skip
_LAST = [
    "In the end {who} thought only of the", "Much later {who} still spoke of the",
    "Years later {who} remembered the", "There was nothing that {who} loved like the",
]  # fmt: skip
_SCENES = {
    "sea": ["The waves were high .", "Gulls cried over the sand .", "{who} hoisted the sail .",
            "The fishermen mended nets ."],
    "forest": ["Mushrooms grew under the oaks .", "A deer stood between the trees .",
               "{who} gathered some pine cones .", "The path was covered in leaves ."],
    "kitchen": ["The pan was hot .", "{who} peeled the onions .", "Soup boiled on the stove .",
                "Flour lay on the table ."],
    "school": ["The teacher wrote on the board .", "{who} forgot the homework .",
               "The pupils opened their books .", "The bell rang after the lesson ."],
    "train": ["The conductor checked the tickets .", "{who} stood on the platform .",
              "The rails shone in the rain .", "The wagons were full ."],
    "hospital": ["The nurse brought a bandage .", "{who} had a fever .",
                 "The doctor listened to the heart .", "The patients slept ."],
    "concert": ["The violins were tuned .", "{who} played the drums .",
                "The singer bowed .", "The choir stood on the stage ."],
    "garden": ["The roses were in bloom .", "{who} watered the beans .",
               "Bees sat on the lavender .", "The hedge was cut ."],
    "market": ["The farmers sold cheese .", "{who} weighed the apples .",
               "The stalls had red roofs .", "Everybody bargained about prices ."],
    "castle": ["The king sat on his throne .", "{who} crossed the drawbridge .",
               "Knights guarded the tower .", "The crown was made of gold ."],
}  # fmt: skip
