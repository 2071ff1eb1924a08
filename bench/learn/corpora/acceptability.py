"""The embedded corpus 'acceptability': English sentences, half of them with one fault of grammar.

A fault is of one kind: agreement, verb forms, what a verb may take, word order, determiners,
questions, reflexives. Each kind has sound and faulty templates of the same words, so that hardly a
word tells; most scored clauses stand in frames that train has not, made of those that it has.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import TypeVar

from bench.learn.data import Rows

_T = TypeVar("_T")


def corpus(train: int = 16_000, scored: int = 1_000) -> tuple[Rows, Rows]:
    """Train and scored rows: no two sentences are equal, both classes are equally frequent."""
    seen: dict[str, str] = {}
    _write(seen, train, _FRAMES["train"], seed=1)
    _write(seen, train + scored, _FRAMES["scored"], seed=2)
    rows = Rows([(text,) for text in seen], list(seen.values()))
    return rows.take(range(train)), rows.take(range(train, train + scored))


def _write(seen: dict[str, str], n: int, frames: Sequence[str], seed: int) -> None:
    """Add sentences that are not there until there are `n`."""
    uniform = random.Random(seed).random  # the same numbers in every version of Python

    def choice(choices: Sequence[_T]) -> _T:
        return choices[int(uniform() * len(choices))]

    while len(seen) < n:
        sound = len(seen) % 2 == 0
        kind = choice(list(_KINDS.values()))
        clause = choice(kind[0 if sound else 1])
        asks = clause.endswith("?")
        text = clause if asks else choice(frames).replace("{clause}", clause) + "."
        drawn: set[str] = set()

        def fill(slot: re.Match[str], drawn: set[str] = drawn) -> str:
            words = [w for w in _WORDS[slot[1]] if w not in drawn]
            drawn.add(word := choice(words))
            return word

        filled = re.sub(r"\{(\w+)\}", fill, text)
        seen.setdefault(filled[0].upper() + filled[1:], "acceptable" if sound else "unacceptable")


def _columns(names: str, table: str) -> dict[str, list[str]]:
    """Word lists by name, from lines that have one word of each."""
    rows = [line.split() for line in table.strip().splitlines()]
    return {name: [row[i] for row in rows] for i, name in enumerate(names.split())}


_WORDS = (
    _columns("man men", """boy boys\nking kings\nuncle uncles\nmonk monks\nwaiter waiters""")
    | _columns("woman women", """girl girls\nqueen queens\naunt aunts\nnun nuns\nlady ladies""")
    | _columns("thing things", """lamp lamps\nbook books\ncoin coins\nshirt shirts\ncake cakes
        apple apples\nletter letters\nrope ropes\nplate plates\nstone stones""")
    | _columns("see sees saw seen", """see sees saw seen\ntake takes took taken
        draw draws drew drawn\nbreak breaks broke broken\nchoose chooses chose chosen
        steal steals stole stolen\nhide hides hid hidden\nforget forgets forgot forgotten
        shake shakes shook shaken\nthrow throws threw thrown""")
    | _columns("sleep sleeps slept", """sleep sleeps slept\nlaugh laughs laughed
        arrive arrives arrived\nfall falls fell\nyawn yawns yawned\nwait waits waited""")
    | {"old": ["old", "green", "heavy", "strange", "quiet", "small"]}
)  # fmt: skip
_WORDS["person"] = _WORDS["man"] + _WORDS["woman"]
_WORDS["people"] = _WORDS["men"] + _WORDS["women"]

_FRAMES = {
    "train": [
        "{clause}", "{clause}", "{clause}",
        "they say that {clause}",
        "I think that {clause}",
        "{clause}, and the {person} {slept}",
        "the {person} {slept} because {clause}",
    ],
    "scored": [
        "{clause}", "{clause}",
        "I think that they say that {clause}",
        "they say that {clause}, and the {person} {slept}",
        "{clause}, and I think that the {person} {slept}",
        "they say that the {person} {slept} because {clause}",
        "the {person} {slept}, and {clause}",
    ],
}  # fmt: skip

# Kind: the sound clauses, and the faulty ones
_KINDS: dict[str, tuple[list[str], list[str]]] = {
    "agreement": (
        [
            "the {person} {sees} the {thing}", "the {people} {see} the {thing}",
            "the {person} near the {people} {sees} the {thing}",
            "the {people} near the {person} {see} the {thing}",
            "the {person} always {sleeps}", "the {people} always {sleep}",
        ],
        [
            "the {person} {see} the {thing}", "the {people} {sees} the {thing}",
            "the {person} near the {people} {see} the {thing}",
            "the {people} near the {person} {sees} the {thing}",
            "the {person} always {sleep}", "the {people} always {sleeps}",
        ],
    ),
    "verb forms": (
        [
            "the {person} has {seen} the {thing}", "the {people} have {seen} the {things}",
            "the {person} will {see} the {thing}", "the {people} can {see} the {things}",
            "the {thing} was {seen} by the {person}", "did the {person} {see} the {thing}?",
        ],
        [
            "the {person} has {see} the {thing}", "the {people} have {saw} the {things}",
            "the {person} will {saw} the {thing}", "the {people} can {seen} the {things}",
            "the {thing} was {see} by the {person}", "did the {person} {saw} the {thing}?",
        ],
    ),
    "what a verb takes": (
        [
            "the {person} {slept} near the {thing}", "the {thing} was {seen} by the {person}",
            "the {person} put the {thing} on the {thing}", "the {person} {saw} the {thing}",
        ],
        [
            "the {person} {slept} the {thing}", "the {thing} was {slept} by the {person}",
            "the {person} put the {thing}", "the {person} {slept} the {old} {thing}",
        ],
    ),
    "word order": (
        [
            "the {old} {person} {saw} the {thing}", "the {person} {saw} the {old} {thing}",
            "the {person} {saw} the {thing}", "the {person} often {saw} the {thing}",
        ],
        [
            "the {person} {old} {saw} the {thing}", "the {person} {saw} the {thing} {old}",
            "the {person} the {thing} {saw}", "the {person} {saw} often the {thing}",
        ],
    ),
    "determiners": (
        [
            "every {person} {slept}", "these {people} {slept}", "this {person} {slept}",
            "two {people} {slept}", "the {person} {saw} these {things}",
            "the {person} {saw} this {thing}",
        ],
        [
            "every {people} {slept}", "these {person} {slept}", "this {people} {slept}",
            "two {person} {slept}", "the {person} {saw} these {thing}",
            "the {person} {saw} this {things}",
        ],
    ),
    "questions": (
        [
            "what did the {person} {see}?", "which {thing} did the {people} {see}?",
            "who {saw} the {thing}?", "the {person} asked what the {people} {saw}",
        ],
        [
            "what did the {person} {see} the {thing}?", "which {thing} the {people} {saw}?",
            "who did {saw} the {thing}?", "the {person} asked what did the {people} {see}",
        ],
    ),
    "reflexives": (
        [
            "the {man} {saw} himself", "the {woman} {saw} herself", "the {people} {saw} themselves",
            "the {woman} near the {man} {saw} herself", "the {man} near the {woman} {saw} himself",
        ],
        [
            "the {man} {saw} herself", "the {woman} {saw} himself", "the {people} {saw} himself",
            "the {woman} near the {man} {saw} himself", "the {man} near the {woman} {saw} herself",
        ],
    ),
}  # fmt: skip
