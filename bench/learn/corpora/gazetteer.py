"""The embedded corpus 'gazetteer': pages on places that don't exist, as running text.

A page is a heading, an empty line, two or three paragraphs, an empty line. Its names are made up
for it and come back on it, as do its river, its trade and its year: what a page has said tells
much of what it says next, so context pays beyond the sentence. Pages that are scored have names
of their own; all else is from the same grammar. What is reached: `bench/docs/language.md`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from bench.learn.data import Rows

_T = TypeVar("_T")
_SLOT = re.compile(r"\{(\w+)\}")


def corpus(train: int = 600, scored: int = 80) -> tuple[Rows, Rows]:
    """Pages to learn from and to be scored on, a line a row."""
    taken: set[str] = set()
    return _rows(_Writer(1, taken), train), _rows(_Writer(2, taken), scored)


def _rows(writer: _Writer, pages: int) -> Rows:
    lines = [line for _ in range(pages) for line in writer.page()]
    return Rows([(line,) for line in lines], [str(len(line.split()) + 1) for line in lines])


class _Writer:
    """Writes pages; no two have the same place."""

    def __init__(self, seed: int, taken: set[str]) -> None:
        self._uniform = random.Random(seed).random  # the same numbers in every version of Python
        self._taken = taken

    def page(self) -> list[str]:
        """The lines of one page."""
        facts = self._facts()

        def fill(text: str) -> str:
            return _SLOT.sub(lambda slot: facts.get(slot[1]) or self._word(slot[1]), text)

        first = [fill(_OPENING), fill(self._choice(_PEOPLE))]
        paragraphs = [first, self._some(_HISTORY, fill)]
        if self._uniform() < 0.6:
            paragraphs.append(self._some(_NATURE, fill))
        return [f"= {facts['place']} =", "", *(_joined(p) for p in paragraphs), ""]

    def _facts(self) -> dict[str, str]:
        """What holds on the whole page."""
        while (place := self._name()) in self._taken:
            pass
        self._taken.add(place)
        year = 1200 + int(self._uniform() * 700)
        return {
            "place": place,
            "river": self._name(),
            "founder": self._name(),
            "other": self._name(),
            "year": str(year),
            "later": str(year + 10 * (1 + int(self._uniform() * 8))),
            "number": str(10 * (3 + int(self._uniform() * 90))),
            "kind": self._word("kinds"),
            "trade": self._word("trades"),
            "goods": self._word("wares"),
            "hall": self._word("halls"),
        }

    def _some(self, sentences: Sequence[str], fill: Callable[[str], str]) -> list[str]:
        """Three to five of the sentences, in their order."""
        left = 3 + int(self._uniform() * 3)
        chosen = []
        for i, sentence in enumerate(sentences):
            if self._uniform() * (len(sentences) - i) < left:
                chosen.append(fill(sentence))
                left -= 1
        return chosen

    def _name(self) -> str:
        return "".join(self._choice(part) for part in _NAME).capitalize()

    def _word(self, kind: str) -> str:
        return self._choice(_WORDS[kind])

    def _choice(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._uniform() * len(choices))]


def _joined(sentences: list[str]) -> str:
    """A paragraph: `a` becomes `an` where it must, and marks stand apart, as in WikiText."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", " ".join(sentences))
    return re.sub(r"(?<=\w)([.,])", r" \1", text)


_OPENING = "{place} is a {size} {kind} in the {side} of {land}, on the river {river}."
_PEOPLE = [
    "It has {number} people, and most of them live by {trade}.",
    "Of its {number} people more than half live by {trade}.",
    "Its {number} people have always lived by {trade}, and some by {trades}.",
]
_HISTORY = [
    "The {kind} was founded in {year} by {founder}, a {person} from {other}.",
    "{founder} had left {other} because of the {trouble} there.",
    "In {year} the {hall} was built, and in {later} it was {ruined} by a {trouble}.",
    "The {hall} of {place} still stands beside the river {river}.",
    "Until {later} the {kind} paid {goods} to the {ruler} of {other}.",
    "After the {trouble} of {later} many people went from {place} to {other}.",
    "They came back when the {ruler} of {land} gave them {goods} and {wares}.",
    "A {person} called {founder} is said to have {deed} the {ruler} with nothing but {goods}.",
    "Since then {place} has been known for its {goods}.",
]
_NATURE = [
    "The river {river} rises in the hills {side} of {place} and is {size} and {feel}.",
    "In {season} the {plants} along the {river} are full of {animals}.",
    "When the {animals} leave, the people of {place} say that {season} will be {feel}.",
    "Where the {plants} end, the road to {other} begins.",
    "It is {feel} in {season}, when the {river} is {size}.",
    "Nobody hunts the {animals}, for {founder} had forbidden it in {year}.",
    "Visitors come in {season} to see the {animals} and the {hall}.",
]


def _list(text: str) -> list[str]:
    return [" ".join(word.split()) for word in text.strip().split(",")]


_NAME = [
    _list("b,br,d,dr,f,g,gr,h,k,kr,l,m,n,p,r,s,st,t,tr,v"),
    _list("a,e,i,o,u,ai,ea,oo"),
    _list("l,m,n,r,s,rd,rk,lm,nd,st"),
    _list("a,e,i,o,en,el,ar,os,um,ith"),
]
_WORDS = {
    "kinds": _list("village,town,hamlet,port,parish,market town,settlement,fishing village"),
    "size": _list("small,large,quiet,old,narrow,wide,little,deep,long,remote"),
    "side": _list("north,south,east,west,centre"),
    "land": _list("Arvia,Bresland,Corvenia,Dalmark,Estria,Fennmark,Galdoria,Hesperia"),
    "trades": _list(
        """fishing,weaving,mining,farming,brewing,hunting,pottery,trade,
        printing,shipbuilding,beekeeping,glass making,salt making"""
    ),
    "wares": _list(
        """salt,wool,honey,silver,iron,glass,beer,cheese,paper,oil,wine,
        copper,timber,grain,cloth,leather,furs,horses"""
    ),
    "halls": _list(
        """church,castle,bridge,mill,town hall,lighthouse,abbey,school,
        library,harbour,market hall,tower,theatre"""
    ),
    "person": _list(
        """monk,merchant,sailor,soldier,priest,weaver,miner,farmer,
        printer,doctor,hunter,baker,widow,smith"""
    ),
    "ruler": _list("king,queen,duke,bishop,prince,count,abbot,emperor"),
    "trouble": _list("flood,fire,storm,plague,war,famine,drought,landslide,siege,frost"),
    "ruined": _list("burnt,destroyed,damaged,flattened,emptied,ruined"),
    "deed": _list("beaten,paid,fed,cured,bribed,fooled,saved,married"),
    "season": _list("spring,summer,autumn,winter"),
    "plants": _list("reeds,willows,meadows,oaks,pines,orchards,heaths,birches,ferns"),
    "animals": _list("herons,otters,swans,deer,foxes,cranes,geese,owls,bats,hares,storks"),
    "feel": _list("cold,warm,wet,dry,mild,windy,foggy,calm,green,grey"),
}
