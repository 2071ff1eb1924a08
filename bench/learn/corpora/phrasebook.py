"""The embedded corpus 'phrasebook': English sentences and their German, from one grammar.

Each is written from one meaning, so translations are exact: German puts its verbs second or last
and bends articles, adjectives and nouns by gender, number and case. Each scored sentence has an
adjective beside a noun that train never has together.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.learn.data import Rows

_T = TypeVar("_T")


def corpus(train: int = 2_400, scored: int = 500) -> tuple[Rows, Rows]:
    """Train and scored rows: no two English sentences are equal."""
    return _rows(train, False, seed=1), _rows(scored, True, seed=2)


def _rows(n: int, held_out: bool, seed: int) -> Rows:
    writer = _Writer(held_out, seed)
    found: dict[str, str] = {}
    while len(found) < n:
        english, german = writer.sentence()
        if writer.has_unseen == held_out:
            found.setdefault(_polished(english), _polished(german))
    return Rows([(english,) for english in found], list(found.values()))


def _polished(words: str) -> str:
    text = " ".join(words.split()).replace(" ,", ",")
    return f"{text[0].upper()}{text[1:]}."


@dataclass(frozen=True)
class _Noun:
    english: str
    english_plural: str
    gender: str  # m, f, n
    german: str
    german_plural: str


@dataclass(frozen=True)
class _Verb:
    base: str
    past: str  # English participle
    german: str  # infinitive
    german_third: str
    german_past: str  # participle


def _table(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


_PEOPLE = [
    _Noun(*row)
    for row in _table("""
man men m Mann Männer
uncle uncles m Onkel Onkel
teacher teachers m Lehrer Lehrer
baker bakers m Bäcker Bäcker
woman women f Frau Frauen
aunt aunts f Tante Tanten
queen queens f Königin Königinnen
neighbour neighbours f Nachbarin Nachbarinnen
child children n Kind Kinder
girl girls n Mädchen Mädchen
""")
]
_THINGS = [
    _Noun(*row)
    for row in _table("""
dog dogs m Hund Hunde
tree trees m Baum Bäume
table tables m Tisch Tische
spoon spoons m Löffel Löffel
letter letters m Brief Briefe
cat cats f Katze Katzen
flower flowers f Blume Blumen
lamp lamps f Lampe Lampen
cup cups f Tasse Tassen
clock clocks f Uhr Uhren
horse horses n Pferd Pferde
house houses n Haus Häuser
book books n Buch Bücher
picture pictures n Bild Bilder
boat boats n Boot Boote
""")
]
_PLACES = [
    _Noun(*row)
    for row in _table("""
garden gardens m Garten Gärten
forest forests m Wald Wälder
kitchen kitchens f Küche Küchen
town towns f Stadt Städte
village villages n Dorf Dörfer
castle castles n Schloss Schlösser
""")
]
_Adjectives = list[list[str]]  # English, and the German stem
_OF_PEOPLE: _Adjectives = _table("""
old alt
young jung
small klein
big groß
quiet ruhig
strange seltsam
famous berühmt
friendly freundlich
""")
_OF_THINGS: _Adjectives = _table("""
old alt
new neu
small klein
big groß
red rot
green grün
strange seltsam
beautiful schön
ugly hässlich
cheap billig
""")
_VERBS = [
    _Verb(*row)
    for row in _table("""
see seen sehen sieht gesehen
buy bought kaufen kauft gekauft
paint painted malen malt gemalt
find found finden findet gefunden
love loved lieben liebt geliebt
draw drawn zeichnen zeichnet gezeichnet
sell sold verkaufen verkauft verkauft
take taken nehmen nimmt genommen
look_for looked_for suchen sucht gesucht
forget forgotten vergessen vergisst vergessen
""")
]
_MODALS = [("wants to", "want to", "will", "wollen"), ("can", "can", "kann", "können"),
           ("must", "must", "muss", "müssen")]  # fmt: skip
_WHEN = [("today", "heute"), ("tomorrow", "morgen"), ("often", "oft"), ("now", "jetzt"),
         ("on Sunday", "am Sonntag"), ("perhaps", "vielleicht")]  # fmt: skip
_SAYS = [("he says", "er sagt"), ("she knows", "sie weiß"), ("we hope", "wir hoffen"),
         ("they believe", "sie glauben")]  # fmt: skip

# By case: article and adjective ending of each gender, then of the plural.
_DEFINITE = {
    "nominative": {"m": ("der", "e"), "f": ("die", "e"), "n": ("das", "e"), "p": ("die", "en")},
    "accusative": {"m": ("den", "en"), "f": ("die", "e"), "n": ("das", "e"), "p": ("die", "en")},
    "dative": {"m": ("dem", "en"), "f": ("der", "en"), "n": ("dem", "en")},
}
_INDEFINITE = {
    "nominative": {"m": ("ein", "er"), "f": ("eine", "e"), "n": ("ein", "es"), "p": ("", "e")},
    "accusative": {"m": ("einen", "en"), "f": ("eine", "e"), "n": ("ein", "es"), "p": ("", "e")},
    "dative": {"m": ("einem", "en"), "f": ("einer", "en"), "n": ("einem", "en")},
}


class _Writer:
    """Writes the sentences of one split."""

    def __init__(self, held_out: bool, seed: int) -> None:
        self._uniform = random.Random(seed).random  # the same numbers in every version of Python
        self._held_out = held_out
        self.has_unseen = False  # whether the last sentence has a pair that train never has

    def sentence(self) -> tuple[str, str]:
        self.has_unseen = False
        plural = self._uniform() < 0.35
        who = self._phrase(_PEOPLE, _OF_PEOPLE, "nominative", plural)
        what = self._phrase(_THINGS, _OF_THINGS, "accusative", self._uniform() < 0.3)
        where = ("", "")
        if self._uniform() < 0.3:
            english, german = self._phrase(_PLACES, _OF_THINGS, "dative", False)
            where = (f"in {english}", f"in {german}")
        verb, frame = self._choice(_VERBS), self._choice(_FRAMES)
        english, german = frame(self, verb, plural)
        parts = {"who": who, "what": what, "where": where}
        first, second = ({name: pair[i] for name, pair in parts.items()} for i in (0, 1))
        return english.format(**first).replace("_", " "), german.format(**second)

    def _phrase(
        self, nouns: Sequence[_Noun], adjectives: _Adjectives, case: str, plural: bool
    ) -> tuple[str, str]:
        """A noun with its article and perhaps an adjective, in English and German."""
        noun, definite = self._choice(nouns), self._uniform() < 0.5
        article, ending = (_DEFINITE if definite else _INDEFINITE)[case][
            "p" if plural else noun.gender
        ]
        english = german = ""
        if self._uniform() < 0.6:
            english, stem = self._choice(adjectives)
            self.has_unseen |= _is_held_out(english, noun.english)
            german = f"{stem}{ending}"
        english = f"{english} {noun.english_plural if plural else noun.english}".strip()
        german = f"{article} {german} {noun.german_plural if plural else noun.german}"
        if definite:
            return f"the {english}", german
        return english if plural else f"{'an' if english[0] in 'aeiou' else 'a'} {english}", german

    def _choice(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._uniform() * len(choices))]

    def plain(self, verb: _Verb, plural: bool) -> tuple[str, str]:
        return (
            f"{{who}} {_present(verb, plural)} {{what}} {{where}}",
            f"{{who}} {_german_present(verb, plural)} {{what}} {{where}}",
        )

    def fronted(self, verb: _Verb, plural: bool) -> tuple[str, str]:
        when, german_when = self._choice(_WHEN)
        return (
            f"{when} {{who}} {_present(verb, plural)} {{what}} {{where}}",
            f"{german_when} {_german_present(verb, plural)} {{who}} {{what}} {{where}}",
        )

    def negated(self, verb: _Verb, plural: bool) -> tuple[str, str]:
        return (
            f"{{who}} {'do' if plural else 'does'} not {verb.base} {{what}} {{where}}",
            f"{{who}} {_german_present(verb, plural)} {{what}} {{where}} nicht",
        )

    def modal(self, verb: _Verb, plural: bool) -> tuple[str, str]:
        singular, several, german, german_several = self._choice(_MODALS)
        return (
            f"{{who}} {several if plural else singular} {verb.base} {{what}} {{where}}",
            f"{{who}} {german_several if plural else german} {{what}} {{where}} {verb.german}",
        )

    def perfect(self, verb: _Verb, plural: bool) -> tuple[str, str]:
        return (
            f"{{who}} {'have' if plural else 'has'} {verb.past} {{what}} {{where}}",
            f"{{who}} {'haben' if plural else 'hat'} {{what}} {{where}} {verb.german_past}",
        )

    def reported(self, verb: _Verb, plural: bool) -> tuple[str, str]:
        says, german_says = self._choice(_SAYS)
        return (
            f"{says} that {{who}} {_present(verb, plural)} {{what}} {{where}}",
            f"{german_says} , dass {{who}} {{what}} {{where}} {_german_present(verb, plural)}",
        )


_FRAMES = [_Writer.plain, _Writer.fronted, _Writer.negated, _Writer.modal, _Writer.perfect,
           _Writer.reported]  # fmt: skip


def _is_held_out(adjective: str, noun: str) -> bool:
    """Whether train never has this adjective with this noun: one pair in seven."""
    return (sum(map(ord, adjective)) + 3 * sum(map(ord, noun))) % 7 == 0


def _present(verb: _Verb, plural: bool) -> str:
    head, _, rest = verb.base.partition("_")
    return verb.base if plural else f"{head}s_{rest}".rstrip("_")


def _german_present(verb: _Verb, plural: bool) -> str:
    return verb.german if plural else verb.german_third
