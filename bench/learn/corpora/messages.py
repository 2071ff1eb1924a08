"""The embedded corpus 'messages': messages with invented names in them, tagged word by word.

A slot of a sentence is filled with a name of its kind; what stands around it, and what the name
looks like, tell the kind. Names are made of syllables, so that most of those in scored were never
seen; half of the scored sentences have a frame that train has not. Plain words with a capital
(days, titles, the first of a sentence) are no names.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from bench.learn.data import Rows

_T = TypeVar("_T")

KINDS = {kind: kind for kind in
         ("person", "location", "corporation", "product", "creative-work", "group")}  # fmt: skip


def corpus(
    train: int = 5000, scored: int = 1000, kinds: Mapping[str, str] = KINDS
) -> tuple[Rows, Rows]:
    """Train and scored rows, tagged in IOB2 by what `kinds` calls each kind of name."""
    learned = _Writer("train", 1, kinds).rows(train)
    return learned, _Writer("scored", 2, kinds).rows(scored, learned)


class _Writer:
    """Writes the sentences of one split."""

    def __init__(self, split: str, seed: int, kinds: Mapping[str, str]) -> None:
        self._uniform = random.Random(seed).random  # the same numbers in every version of Python
        self._frames = [_FRAMES["train"], _FRAMES[split]]
        self._kinds = kinds

    def rows(self, n: int, known: Rows | None = None) -> Rows:
        """So many different rows, none of them `known`."""
        without = set(known.inputs if known else ())
        seen: dict[str, str] = {}
        while len(seen) < n:
            words, tags = self._sentence()
            if ((text := " ".join(words)),) not in without:
                seen[text] = " ".join(tags)
        return Rows([(text,) for text in seen], list(seen.values()))

    def _sentence(self) -> tuple[list[str], list[str]]:
        words: list[str] = []
        tags: list[str] = []
        for part in self._choice(self._choice(self._frames)).split(" "):
            slot = part[1:-1] if part.startswith("{") else ""
            found = self._name(slot) if slot in _NAMES else [self._plain(part)]
            words += found
            if slot in _NAMES:
                kind = self._kinds[slot]
                tags += [f"B-{kind}", *[f"I-{kind}"] * (len(found) - 1)]
            else:
                tags.append("O")
        for i, word in enumerate(words[1:]):
            if words[i] == "a" and word[0] in "aeiou":
                words[i] = "an"
        if self._uniform() < 0.8 and tags[0] == "O":
            words[0] = words[0][:1].upper() + words[0][1:]
        return words, tags

    def _name(self, kind: str) -> list[str]:
        shape = self._choice(_NAMES[kind])
        return re.sub(r"\{(\w+)\}", lambda slot: self._part(slot[1]), shape).split(" ")

    def _part(self, kind: str) -> str:
        if kind == "new":
            return "".join(self._choice(part) for part in _SYLLABLES).capitalize()
        if kind == "number":
            return str(1 + int(self._uniform() * 9))
        return self._choice(_WORDS[kind]).capitalize()

    def _plain(self, word: str) -> str:
        return self._choice(_WORDS[word[1:-1]]) if word.startswith("{") else word

    def _choice(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._uniform() * len(choices))]


def _list(text: str) -> list[str]:
    return text.split()


# Names that nobody bears: one of each, in order.
_SYLLABLES = [
    _list("b br c ch cl d dr f fl g gr h j k l m n p pl pr r s sc sh st t th tr v w z"),
    _list("a a e e i i o o u ai ea ie oo ou"),
    _list("b c ch d f g gl l ll lm m n nd ng nt p r rd rn s sh ss st t th tt v x z"),
    _list("a e i o a e i o u y ea ee ie"),
    ["", "", "", "", "", "l", "m", "n", "n", "r", "r", "s", "st", "t", "ck", "rd", "th"],
]

# Kind of name -> shapes; a capital is given to what fills them.
_NAMES = {
    "person": ["{new}", "{first}", "{first} {new}", "{first} {new}", "{new} {new}"],
    "location": ["{new}", "{new}", "{new}", "{side} {new}", "{new} {place}", "{new} {place}"],
    "corporation": ["{new}", "{new}", "{new} {firm}", "{new} & {new}", "{new} {firm}"],
    "product": ["{new} {number}", "{new} {number}", "{new} {thing}", "{new}"],
    "creative-work": ["The {mood} {thing}", "{mood} {thing}s", "The {job} of {new}", "{new}"],
    "group": ["The {mood} {job}s", "The {new}s", "{new} {team}", "{new} {team}"],
}

_WORDS = {
    "first": _list("""ada anton bela carla dora emil flora greta hugo ida jonas klara leo mina nora
    otto paula rosa simon tilda ursula viktor wanda yara"""),
    "side": _list("north south east west port mount saint lake new old"),
    "place": _list("bridge harbour valley hill park street square castle island falls"),
    "firm": _list("works foods motors bank airlines media steel stores systems labs"),
    "team": _list("united rovers city wanderers athletic choir orchestra"),
    "mood": _list("quiet broken golden dusty endless gentle hollow crooked silver lonely wild"),
    "thing": _list("kettle lantern mirror garden window ladder river feather engine camera radio"),
    "job": _list("baker dancer driver farmer nurse painter pilot sailor singer tailor writer"),
    "day": _list("Monday Tuesday Wednesday Thursday Friday Saturday Sunday June April"),
    "title": _list("Dr. Mr. Mrs. Uncle Aunt Captain"),
    "when": _list("today yesterday again tonight finally"),
    "very": _list("so really quite very too"),
    "nice": _list("good great awful boring lovely strange noisy cheap"),
    "oh": _list("lol wow ugh hey ok well omg"),
}

_FRAMES = {
    "train": [
        "{person} is my favourite {job} .",
        "i met {person} on {day} .",
        "{oh} , {person} is {very} {nice} .",
        "{title} {person} called me {when} .",
        "happy birthday {person} !",
        "{person} and {person} got married in {location} .",
        "{person} lives in {location} now .",
        "my {job} comes from {location} .",
        "it rains in {location} {when} .",
        "the train to {location} is late {when} .",
        "we drive from {location} to {location} on {day} .",
        "two days in {location} are {very} {nice} .",
        "the streets of {location} are {nice} in {day} .",
        "{corporation} hires a new {job} .",
        "shares of {corporation} fell on {day} .",
        "{person} works for {corporation} .",
        "i sent a complaint to {corporation} {when} .",
        "the boss of {corporation} , {person} , left {when} .",
        "{corporation} bought {corporation} on {day} .",
        "my new {product} is {very} {nice} .",
        "{corporation} presents the {product} on {day} .",
        "the battery of my {product} died {when} .",
        "should i buy a {product} or a {product} ?",
        "i am typing this on a {product} .",
        "i watched {creative-work} {when} .",
        "{creative-work} is a {very} {nice} film .",
        "have you read {creative-work} by {person} ?",
        "the last episode of {creative-work} was {nice} .",
        "{person} plays the {job} in {creative-work} .",
        "{group} play in {location} {when} .",
        "{group} won {number} games in a row .",
        "tickets for {group} are {very} {nice} .",
        "i listen to {group} all {day} .",
        "{person} , the singer of {group} , is ill .",
        "{group} lost to {group} on {day} .",
        "the {job} left the {thing} in the garden .",
        "it is {day} and i am {very} tired .",
        "{oh} , my {thing} is broken {when} .",
        "on {day} the {job} was {nice} .",
        "who wants to come along {when} ?",
        "a {nice} {job} and a {nice} {thing} !",
        "{day} was {nice} , {day} will be {nice} .",
    ],
    "scored": [
        "{oh} , i met {person} and {person} {when} .",
        "{person} , my {job} , called me on {day} .",
        "is {title} {person} in {location} {when} ?",
        "happy {day} from {location} !",
        "the {job} from {location} lives in {location} .",
        "it was {very} {nice} in {location} , {person} .",
        "{person} drives to {location} for {corporation} .",
        "on {day} {corporation} hired {person} .",
        "{corporation} , the boss of my {job} , left {location} .",
        "my {product} from {corporation} died {when} .",
        "is the {product} {nice} or {very} {nice} ?",
        "{person} bought a {product} on {day} .",
        "{oh} , {creative-work} was {very} {nice} .",
        "i read {creative-work} on the train to {location} .",
        "{person} watched {creative-work} {when} .",
        "the film {creative-work} is by {person} .",
        "{group} and {group} play on {day} .",
        "in {location} {group} won {when} .",
        "{person} has tickets for {group} {when} .",
        "the {thing} of the {job} is broken .",
        "{when} the {job} was {very} tired .",
        "{oh} , who left a {thing} in the train ?",
    ],
}  # fmt: skip
_WORDS["number"] = [str(i) for i in range(2, 10)]
