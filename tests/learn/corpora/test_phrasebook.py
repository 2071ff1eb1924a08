"""The embedded corpus of translations: what it promises about itself."""

from __future__ import annotations

import itertools
import re
import time

import pytest

from bench.learn import data
from bench.learn.corpora import phrasebook

TRAIN = "d41b40dfa07d476d7b7f991829a0b12f0f4fa8c26351482a53a7bba03b6f3d3b"
SCORED = "0d9a4f3ef787e49023a04b7461b63319e9e59c43c6ea5d61f22fc6ce25b83f36"


@pytest.fixture(scope="module")
def corpus() -> tuple[data.Rows, data.Rows]:
    return phrasebook.corpus()


def test_its_bytes_are_pinned(corpus) -> None:
    assert [data.fingerprint(rows) for rows in corpus] == [TRAIN, SCORED]
    for rows in corpus:
        assert all(data.canonical(text) == text for (text,) in rows.inputs)
        assert all(data.canonical(text) == text for text in rows.labels)


def test_it_is_written_within_two_seconds() -> None:
    start = time.process_time()
    phrasebook.corpus()
    assert time.process_time() - start < 2


def pairs_of(rows: data.Rows) -> set[tuple[str, str]]:
    words = [re.sub(r"[.,]", "", text.lower()).split() for (text,) in rows.inputs]
    return {pair for text in words for pair in itertools.pairwise(text)}


def test_scored_sentences_have_an_adjective_beside_a_noun_that_train_never_has(corpus) -> None:
    train, scored = corpus
    assert len({*train.inputs, *scored.inputs}) == len(train) + len(scored) == 2_900
    singular = {noun.english for noun in phrasebook._PEOPLE + phrasebook._THINGS}
    known, adjectives = pairs_of(train), {a for a, _ in phrasebook._OF_PEOPLE}
    unseen = [
        any(pair not in known for pair in pairs_of(scored.take([i]))) for i in range(len(scored))
    ]
    assert all(unseen)
    together = {(a, n) for a, n in known if a in adjectives and n in singular}
    assert 0.7 < len(together) / (len(adjectives) * len(phrasebook._PEOPLE)) < 2.2
    assert {word for pair in pairs_of(scored) for word in pair} <= {
        word for pair in known for word in pair
    }, "words are shared: only their pairs are new"


NOT_GERMAN = [
    r"\bdem (\w+e|\w+er|\w+es) [A-Z]",  # a dative's adjective ends in en
    r"\bein \w+en [A-Z]",
    r"\b[Dd]er (Frau|Tante|Katze|Lampe)\b",  # neither subjects nor objects are
    r"\b(das (Mann|Hund|Garten)|(das|ein) (Frau|Katze|Küche))\b",
    r"\b(die|eine) (Mann|Hund|Haus|Kind)\b",
    r", dass .* (sieht|kauft|malt|liebt) \w+",  # the verb is last
    r"\b(will|kann|muss|wollen|können|müssen) .*(?<!n)\.",  # an infinitive is last
    r"\b(hat|haben) .*(?<![nt])\.",  # a participle is last
]


@pytest.mark.parametrize("pattern", NOT_GERMAN)
def test_the_german_agrees(corpus, pattern: str) -> None:
    for rows in corpus:
        wrong = [text for text in rows.labels if re.search(pattern, text)]
        assert not wrong, wrong[:3]


def test_known_sentences() -> None:
    writer = phrasebook._Writer(False, 5)
    verb = next(v for v in phrasebook._VERBS if v.base == "look_for")
    assert writer.reported(verb, False)[1].endswith("dass {who} {what} {where} sucht")
    assert writer.plain(verb, False)[0] == "{who} looks_for {what} {where}"
    assert writer.plain(verb, True) == (
        "{who} look_for {what} {where}",
        "{who} suchen {what} {where}",
    )
    assert phrasebook._polished("an  old man looks for it , or not") == (
        "An old man looks for it, or not."
    )
