"""The embedded corpus 'verdicts': film verdicts from a grammar, so that a first run needs no data.

A slot with `+` is filled with what has the polarity of the text around it, one with `-` with the
opposite, and claims nest in frames. The text around the slots (negation, contrast, comparison,
irony, hearsay) makes the whole mean the label, so labels are exact whichever words are drawn.
Each scored sentence has a frame or a claim that train has not, and half of its unsigned words
(what is judged, who judges, how much, filler) are new; words that carry polarity are shared. How
hard that is, as measured: `bench/docs/verdicts.md`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import TypeVar

from bench.learn.data import Rows

_T = TypeVar("_T")


def corpus(train: int = 20_000, scored: int = 2_000) -> tuple[Rows, Rows]:
    """Train and scored rows: no two sentences are equal, both classes are equally frequent."""
    return _Writer("train", seed=1).rows(train), _Writer("scored", seed=2).rows(scored)


class _Writer:
    """Writes the sentences of one split."""

    def __init__(self, split: str, seed: int) -> None:
        self._uniform = random.Random(seed).random  # the same numbers in every version of Python
        self._unsigned = {
            kind: [words["train"], words["new"]] if split == "scored" else [words["train"]]
            for kind, words in _UNSIGNED.items()
        }
        self._templates = {
            "frame": _weighted(_FRAMES, split),
            "claim": _weighted(_CLAIMS, "train"),
            "new_claim": _weighted(_CLAIMS, "scored"),
            "plain": [_CLAIMS["plain"][1]["train"]],
            "new_plain": [_CLAIMS["plain"][1]["scored"]],
        }
        self._film = ""  # what one sentence judges: one word for all of it
        self._used: set[str] = set()

    def rows(self, n: int) -> Rows:
        seen: dict[str, str] = {}
        while len(seen) < n:
            label = ("positive", "negative")[len(seen) % 2]
            seen.setdefault(self._sentence(label == "positive"), label)
        return Rows([(text,) for text in seen], list(seen.values()))

    def _sentence(self, positive: bool) -> str:
        self._film = self._choice(self._choice(self._unsigned["film"]))
        self._used.clear()
        where = self._uniform()
        text = "{filler} {+frame}" if where < 0.3 else "{+frame}"
        text += " {filler}" if where > 0.8 else ""
        return _polished(self._filled(text, positive))

    def _filled(self, text: str, positive: bool) -> str:
        def fill(slot: re.Match[str]) -> str:
            sign, kind = slot.groups()
            if kind == "film":
                return self._film
            if kind in ("name", "town"):
                return "".join(self._choice(part) for part in _NAME).capitalize()
            meant = positive == (sign != "-")
            return self._filled(self._unused(kind, meant), meant)

        return _SLOT.sub(fill, text)

    def _unused(self, kind: str, positive: bool) -> str:
        """A filling of this kind that the sentence does not have yet."""
        groups = (
            [_SIGNED[kind][positive]]
            if kind in _SIGNED
            else self._templates.get(kind) or self._unsigned[kind]
        )
        while (chosen := self._choice(self._choice(groups))) in self._used:
            pass
        self._used.add(chosen)
        return chosen

    def _choice(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._uniform() * len(choices))]


_SLOT = re.compile(r"\{([+-]?)(\w+)\}")


def _list(text: str) -> list[str]:
    return [" ".join(word.split()) for word in text.strip().split(",")]


# Names that nobody bears: one of each, in order.
_NAME = [
    _list("b,br,c,ch,cl,d,dr,f,fl,g,gr,h,j,k,l,m,n,p,pl,pr,qu,r,s,sc,sh,sp,st,t,th,tr,v,w,z"),
    _list("a,a,e,e,i,i,o,o,u,ai,ea,ie,oo,ou"),
    _list("b,c,ch,d,f,g,gl,l,ll,lm,m,n,nd,ng,nt,p,r,rd,rn,s,sh,ss,st,t,th,tt,v,x,z"),
    _list("a,e,i,o,a,e,i,o,u,y,ea,ee,ie"),
    _list(",,,,,l,m,n,n,r,r,s,st,t,ck,rd,th"),
]

_Templates = dict[str, tuple[int, dict[str, list[str]]]]


def _weighted(templates: _Templates, split: str) -> list[list[str]]:
    """The groups of a split, each as often as its weight says."""
    return [texts[split] for weight, texts in templates.values() for _ in range(weight)]


def _polished(text: str) -> str:
    """`a` becomes `an` where it must, and sentences begin with a capital."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return re.sub(r"(?:^|(?<=[.!?] ))[a-z]", lambda first: first[0].upper(), text)


# Kind: the words of negative and of positive polarity
_SIGNED: dict[str, tuple[list[str], list[str]]] = {
    "adj": (
        _list("""awful, bland, bleak, boring, clumsy, contrived, dismal, drab, dreary, dull, feeble,
        flat, forgettable, grating, hollow, humdrum, laboured, lazy, lifeless, limp, mediocre,
        muddled, plodding, pointless, poor, predictable, shallow, sloppy, stilted, stale,
        tacky, tedious, terrible, timid, tired, tiresome, trite, vapid, weak, wooden"""),
        _list("""absorbing, admirable, assured, beautiful, bold, brilliant, captivating, charming,
        clever, compelling, confident, delightful, elegant, enchanting, engaging, excellent, fresh,
        funny, gorgeous, graceful, gripping, heartfelt, impressive, inventive, lively, lovely,
        luminous, masterly, memorable, moving, playful, poignant, rewarding, sharp, splendid,
        stirring, superb, thoughtful, touching, witty"""),
    ),
    "noun": (
        _list("""a blunder, a bore, a chore, a disappointment, a disaster, a dud, a failure,
        a letdown, a mess, a misfire, a nuisance, a shambles, a slog, a waste of time"""),
        _list("""a delight, a gem, a joy, a knockout, a marvel, a masterpiece, a pleasure,
        a revelation, a success, a treasure, a treat, a triumph, a winner, a wonder"""),
    ),
    "verb": (
        _list("""annoys, bores, disappoints, drags, falls apart, falls flat, fizzles out,
        gets nowhere, goes stale, irritates, stumbles, tries the patience, wastes your time,
        wears thin"""),
        _list("""captivates, charms, comes alive, dazzles, delights, enchants, excels, hits home,
        lingers in the mind, rings true, shines, soars, sparkles, wins you over"""),
    ),
}

_BAD, _GOOD = _SIGNED["adj"]
_SIGNED["long_adj"] = (  # those that compare with "more" and "less"
    [adjective for adjective in _BAD if len(adjective) > 6],
    [adjective for adjective in _GOOD if len(adjective) > 6],
)

# Kind: the words of train, and those that only scored has
_UNSIGNED = {
    "thing": {
        "train": ["the {film}", "this {film}", "the {part}", "its {part}", "it"],
        "new": ["the whole {film}", "this whole {film}", "the whole", "the {part} here"],
    },
    "film": {
        "train": _list("""film, movie, picture, drama, comedy, thriller, western, musical, biopic,
        documentary, mystery, melodrama, farce, debut"""),
        "new": _list("""feature, romance, satire, fable, epic, caper, war story, ghost story"""),
    },
    "part": {
        "train": _list("""acting, camera work, cast, costume design, dialogue, direction, editing,
        ending, final act, first hour, lead, lighting, music, pacing, plot, premise, script,
        villain"""),
        "new": _list("""soundtrack, screenplay, opening, middle section, staging, narration,
        chemistry, set design, humour, heroine"""),
    },
    "rival": {
        "train": _list("""book, novel, play, sequel, original, trailer, remake, earlier version"""),
        "new": _list("""comic strip, radio version, short story, television series, prequel"""),
    },
    "person": {
        "train": _list("""my brother, my sister, my neighbour, my friend, the critic beside me,
        my old teacher, my boss, the man behind me, {name}, {name}, {name}, {name}"""),
        "new": _list("""my cousin, my flatmate, the usher, the woman in front, my barber,
        {name}, {name}, {name}"""),
    },
    "very": {
        "train": _list("really, truly, quite, simply, thoroughly, rather, altogether, just"),
        "new": _list("plainly, downright, decidedly, entirely, positively"),
    },
    "atall": {
        "train": _list("at all, in the least, for a moment, in any way, one bit"),
        "new": _list("for a second, in any sense, by any measure, to my eyes"),
    },
    "filler": {
        "train": [
            "I saw it on a Tuesday.", "It runs for two hours.", "The screening was half full.",
            "{person} bought the tickets.", "I sat in the third row.", "It was shot in {town}.",
            "We went after dinner.", "It is out on disc now.", "There are subtitles.",
            "I watched it with {person}.", "It opens with a long train ride.",
            "A family moves to {town}.", "Two sisters inherit a hotel in {town}.",
            "The story is set in the fifties.", "It rained that evening.",
            "A detective returns to {town}.", "{name} directed it.", "{name} plays the lead.",
            "It was written by {name} and {name}.", "The music is by {name}.",
            "It is about a {job} and a {job}.", "A {job} from {town} meets a {job}.",
            "{name} plays a {job}.", "It is called \"{town}\".", "They served tea afterwards.",
            "A letter arrives from {town}.", "{name}, once a {job}, made it in a single summer.",
            "A bus breaks down near {town}.", "Most of it takes place in a kitchen.",
            "The tickets cost nine euros.", "I read about it in the paper.",
            "It has been ten years since {name} made one.", "We took the last tram home.",
            "My seat was next to the door.", "A storm keeps a {job} in {town}.",
            "Four friends cross a desert.", "It was on late at night.", "{name} plays twins.",
            "A {job} loses a suitcase.", "{name} and {name} share a flat in {town}.",
        ],
        "new": [
            "I caught it on a plane.", "It lasts ninety minutes.", "Half the seats were taken.",
            "{person} drove us there.", "A {job} finds an old map.", "It was filmed in {town}.",
            "The action takes place in one night.", "We had seats near the aisle.",
            "{name} and {name} wrote it.", "Three strangers share a lighthouse near {town}.",
            "We see {name} as a {job}.", "A {job} called {name} leaves {town}.",
        ],
    },
    "job": {
        "train": _list("""baker, banker, boxer, butcher, carpenter, clerk, cook, dancer, doctor,
        driver, farmer, fisherman, gardener, judge, lawyer, miner, nurse, painter, pilot, plumber,
        postman, priest, sailor, singer, soldier, spy, student, tailor, thief, writer"""),
        "new": _list("""beekeeper, chemist, florist, jockey, librarian, magician, midwife,
        shepherd, surgeon, violinist"""),
    },
}  # fmt: skip

# Kind: (weight, the templates of train and those that only scored has)

_CLAIMS: _Templates = {
    "plain": (28, {
        "train": [
            "{thing} is {+adj}",
            "{thing} is {very} {+adj}",
            "{thing} is {+adj} and {+adj}",
            "{thing} {+verb}",
            "{thing} is {+noun}",
            "I found {thing} {+adj}",
            "I would call {thing} {+noun}",
            "everything about {thing} is {+adj}",
            "everything in it {+verb}",
            "this is a {+adj} {film}",
            "this is a {film} that {+verb}",
            "every scene is {very} {+adj}",
            "every scene {+verb}",
            "{thing} could not be more {+adj}",
            "there is something {+adj} about {thing}",
            "there is something about {thing} that {+verb}",
            "{thing} always {+verb}",
            "the {part} and the {part} are {+adj}",
        ],
        "scored": [
            "every scene of the {film} is {+adj}",
            "everything about {thing} {+verb}",
            "I would call {thing} {very} {+adj}",
            "there is something in it that is {+adj}",
            "this is a {+adj} and {+adj} {film}",
            "I found the {part} and the {part} {+adj}",
            "{thing} is always {+adj}",
            "with its {+adj} {part}, {thing} {+verb}",
        ],
    }),
    "negation": (4, {
        "train": [
            "{thing} is not {-adj}",
            "{thing} is not {-adj} {atall}",
            "{thing} is never {-adj}",
            "{thing} never {-verb}",
            "nobody could call {thing} {-adj}",
            "nobody could say that {thing} is {-adj}",
            "nobody found {thing} {-adj}",
            "there is nothing {-adj} about {thing}",
            "there is nothing in it that {-verb}",
            "nothing in it is {-adj}",
            "nothing about {thing} {-verb}",
            "{thing} is anything but {-adj}",
            "{thing} is far from {-adj}",
            "I would not call {thing} {-noun}",
            "I did not find {thing} {-adj} {atall}",
            "not one scene is {-adj}",
            "not one scene {-verb}",
            "{thing} is by no means {-noun}",
            "{thing} is neither {-adj} nor {-adj}",
            "neither the {part} nor the {part} is {-adj}",
        ],
        "scored": [
            "nothing about {thing} is {-adj}",
            "nobody could say that {thing} {-verb}",
            "nobody could call {thing} {-noun}",
            "not one scene of the {film} is {-adj}",
            "I never found {thing} {-adj}",
            "{thing} is by no means {-adj}",
            "there is nothing about {thing} that is {-adj} {atall}",
            "I would not say that {thing} is {-adj}",
            "{thing} is anything but {-noun}",
            "neither the {part} nor the {part} {-verb}",
        ],
    }),
    "double negation": (1, {
        "train": [
            "nobody could say that {thing} is not {+adj}",
            "nobody could call {thing} anything but {+adj}",
            "nothing in it is not {+adj}",
            "{thing} is never anything but {+adj}",
            "not one scene is not {+adj}",
            "I would not say that {thing} is not {+adj}",
        ],
        "scored": [
            "nobody could say that {thing} is anything but {+adj}",
            "there is nothing in it that is not {+adj}",
            "nobody found {thing} anything but {+adj}",
        ],
    }),
}  # fmt: skip

_FRAMES: _Templates = {
    "one claim": (66, {
        "train": [
            "{+claim}.",
            "{+claim}.",
            "{+claim}.",
            "in short, {+claim}.",
            "to my mind, {+claim}.",
            "I can only say that {+claim}.",
            "it is true that {+claim}.",
            "what a {+adj} {film}!",
            "{+noun}, from the {part} to the {part}.",
            "{+adj}, {+adj} and {+adj}: that is the {film}.",
            "{person} and I agree that {+claim}.",
        ],
        "scored": [
            "{+new_claim}.",
            "{+new_claim}.",
            "{+new_claim}.",
            "{person} can only agree: {+claim}.",
            "I can be short: {+claim}.",
            "{+adj} and {+adj}, that is the {part}.",
            "to my mind and that of {person}, {+claim}.",
            "what {+noun} this {film} is!",
        ],
    }),
    "two claims": (8, {
        "train": [
            "{+claim}, and {+claim}.",
            "{+claim}; {+claim}, too.",
            "{+claim}, for {+claim}.",
            "{+claim} because {+claim}.",
        ],
        "scored": [
            "{+claim}. {+new_claim}, too.",
            "because {+claim}, {+claim}.",
            "{+claim}, and in short, {+claim}.",
        ],
    }),
    "contrast": (13, {
        "train": [
            "{-claim}, but {+claim}.",
            "although {-claim}, {+claim}.",
            "{+claim}, although {-claim}.",
            "{-claim}; still, {+claim}.",
            "even if {-claim}, {+claim}.",
            "{+claim}, even if {-claim}.",
            "despite its {-adj} {part}, {+claim}.",
            "{+claim}, despite its {-adj} {part}.",
            "it is true that {-claim}, but {+claim}.",
            "{thing} is not {-adj} but {+adj}.",
            "{thing} is {+adj}, not {-adj}.",
            "it begins as {-noun} but ends as {+noun}.",
        ],
        "scored": [
            "{-claim}. still, {+claim}.",
            "even if it is true that {-claim}, {+claim}.",
            "although {-new_claim}, it is true that {+claim}.",
            "{-new_claim}, but {+claim}.",
            "{+claim}, although it begins as {-noun}.",
            "this is {+noun}, not {-noun}.",
            "despite its {-adj} {part} and its {-adj} {part}, {+claim}.",
        ],
    }),
    "hearsay": (7, {
        "train": [
            "{person} says that {-plain}, and I disagree.",
            "{person} says that {+plain}, and I agree.",
            "they say that {-plain}, and they are wrong.",
            "they say that {+plain}, and they are right.",
            "it is wrong to say that {-plain}.",
            "it is right to say that {+plain}.",
            "{person} was wrong to think that {-plain}.",
            "{person} was right to think that {+plain}.",
            "I disagree with {person}: {+plain}.",
            "I disagree with all who say that {-plain}.",
            "I agree with all who say that {+plain}.",
            "I expected {-noun} and got {+noun}.",
            "I had heard that {-plain}; in truth {+plain}.",
        ],
        "scored": [
            "they were wrong to say that {-plain}.",
            "it is right to think that {+plain}.",
            "I disagree with {person}, who says that {-plain}.",
            "{person} expected {-noun} and got {+noun}.",
            "they say that {-plain}; in truth {+plain}.",
        ],
    }),
    "comparison": (3, {
        "train": [
            "next to this {film}, the {rival} looks {-adj}.",
            "next to the {rival}, this {film} looks {+adj}.",
            "the {film} looks {+adj} next to the {rival}.",
            "the {rival} was {-adj}; the {film} is not.",
            "the {rival} was {+adj}, and so is the {film}.",
            "the {film} is more {+long_adj} than the {rival}.",
            "this {film} is more {+long_adj} than the {rival} was.",
            "the {rival} is more {-long_adj} than the {film}.",
            "the {rival} was more {-long_adj} than the {film} is.",
            "this {film} is less {-long_adj} than the {rival}.",
            "the {film} is less {-long_adj} than the {rival} was.",
            "the {rival} is less {+long_adj} than this {film}.",
            "of the two, the {film} is the {+adj} one.",
            "of the two, the {rival} is the {-adj} one.",
        ],
        "scored": [
            "this {film} is more {+long_adj} than the {rival}.",
            "the {rival} is more {-long_adj} than this {film} is.",
            "this {film} is less {-long_adj} than the {rival} was.",
            "the {rival} was less {+long_adj} than the {film}.",
            "the {rival} looks {-adj} next to this {film}.",
        ],
    }),
    "irony": (3, {
        "train": [
            "oh sure, {-plain}, and the moon is made of cheese.",
            "oh sure, {-plain}, and pigs can fly.",
            "if {-plain}, then I am the king of Spain.",
            "if {-plain}, then pigs can fly.",
            "yes, {-plain}, and I am the king of Spain.",
        ],
        "scored": [
            "yes, {-plain}, and pigs can fly.",
            "if {-plain}, then the moon is made of cheese.",
            "oh sure, {-new_plain}, and I am the king of Spain.",
        ],
    }),
}  # fmt: skip
