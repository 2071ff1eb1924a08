"""The embedded corpus 'causes': what happened, and which of two sentences is its cause or effect.

Ten everyday chains of three events, each told in several wordings. A premise is the middle event;
the right choice comes before it or after it, as the question asks. The wrong one is an event of
another chain, or of the same chain at the wrong end, so that the question must be read. Scored has
no row of train, but the same events: what follows from what has to be learned, as there is no other
way to know it from scratch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from bench.learn.data import Rows

_T = TypeVar("_T")
_QUESTIONS = ("cause", "effect")


def corpus(train: int = 7000, scored: int = 1000) -> tuple[Rows, Rows]:
    """Train and scored rows: premise, question and two choices; the label is the right one's
    number."""
    learned = _pairs(Teller(1), train)
    return learned, _pairs(Teller(2), scored, learned)


def _pairs(teller: Teller, n: int, known: Rows | None = None) -> Rows:
    """So many different rows, none of them `known`."""
    without = set(known.inputs if known else ())
    seen: dict[tuple[str, ...], str] = {}
    while len(seen) < n:
        question, right, chain = len(seen) % 2, teller.choice((0, 1)), teller.choice(CHAINS)
        other = chain if teller.choice(range(10)) < 3 else teller.another(chain)
        wrong = 1 - question if other is chain else teller.choice((0, 1))
        who = teller.choice(WHO)
        choices = [teller.told(chain, 2 * question, who), teller.told(other, 2 * wrong, who)]
        row = (teller.told(chain, 1, who), _QUESTIONS[question], *choices[:: 1 - 2 * right])
        if row not in without:
            seen[row] = str(right)
    return Rows(list(seen), list(seen.values()))


Chain = tuple[list[str], list[str], list[str]]  # wordings of cause, event and effect


class Teller:
    """Tells the chains, the same in every version of Python."""

    def __init__(self, seed: int) -> None:
        self._uniform = random.Random(seed).random

    def told(self, chain: Chain, place: int, who: str) -> str:
        """One wording of an event of the chain, as a sentence."""
        text = self.choice(chain[place]).replace("{who}", who)
        return text[0].upper() + text[1:] + "."

    def another(self, chain: Chain) -> Chain:
        while (other := self.choice(CHAINS)) is chain:
            pass
        return other

    def choice(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._uniform() * len(choices))]


WHO = ["the woman", "the man", "my sister", "our neighbour"]


def _chain(*events: str) -> Chain:
    cause, event, effect = (text.split("/") for text in events)
    return cause, event, effect


CHAINS = [
    _chain("the road was covered in ice/it had frozen overnight",
           "the car slid into a ditch/the car left the road/{who} drove the car into a ditch",
           "a tow truck was called/a tractor pulled it out"),
    _chain("the hands of {who} were wet/{who} was carrying too much",
           "{who} dropped a glass/a glass fell to the floor/a glass slipped from the tray",
           "there were splinters everywhere/{who} fetched a broom"),
    _chain("nobody had watered it for weeks/the summer was hot and dry",
           "the plant withered/the plant lost its leaves/the leaves of the plant turned brown",
           "{who} bought a new pot of basil/{who} threw it on the compost"),
    _chain("the alarm clock had no battery/{who} had stayed up late",
           "{who} overslept/{who} woke up at noon/{who} slept until noon",
           "{who} missed the bus/{who} was late for work"),
    _chain("the soup had been left on the stove/{who} forgot the pan",
           "smoke filled the kitchen/smoke came from the kitchen/smoke rose in the kitchen",
           "the fire brigade came/{who} opened all the windows"),
    _chain("{who} had trained every morning/{who} had bought lighter shoes",
           "{who} won the race/{who} was first in the race/{who} crossed the line first",
           "{who} was given a medal/the crowd cheered"),
    _chain("the fridge was broken/it had been out of the fridge for days",
           "the milk turned sour/the milk smelled bad/the milk went off",
           "{who} drank the coffee black/{who} poured it down the sink"),
    _chain("there was no time for breakfast/{who} had eaten nothing all day",
           "{who} was very hungry/the stomach of {who} growled/{who} felt hungry",
           "{who} ordered a large pizza/{who} ate three sandwiches"),
    _chain("{who} left the gate open/the fence had a hole",
           "the dog ran away/the dog escaped/the dog was gone",
           "{who} put up posters with its photo/{who} searched the park"),
    _chain("{who} lost the keys/the keys were in the office",
           "{who} could not open the door/the door stayed locked/{who} stood at a locked door",
           "{who} called a locksmith/{who} climbed through a window"),
]  # fmt: skip
