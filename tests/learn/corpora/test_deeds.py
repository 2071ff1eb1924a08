"""The embedded corpora of GLUE: their bytes, and that each label is what the words say."""

from __future__ import annotations

import re
import time
from collections import Counter
from functools import cache

import pytest

from bench import cards
from bench.learn import corpora, data
from bench.learn.corpora import _deeds, acceptability

PINNED = {
    "acceptability": (
        "a6fe8da15c341fe5917293505b447d7c2b24166cc453c27c96240f35fdaf0541",
        "de27e43b59337209fa6d1b66659f9203226598d26939f777682ce44442703243",
    ),
    "answers": (
        "3cceaab52984d3305f525fe4d437b5c2233ee7bf9e8dddc9813e747b732420de",
        "3e792d89c7c3100832f2dab83ab44fbeb6a4611a8f561f22fc819777cd3faf0b",
    ),
    "duplicates": (
        "8894bc1d3a24313fd658f7574351d0fac69fb0351b570a5386a48d7ece438e80",
        "4ff5768aea788064dc2d6d2da48fe179a503a97bd1687c6c14d630ce2b7470c4",
    ),
    "entailment": (
        "5f98d72de2d8e8b9155c26086379b0f84fefd3e5be03d057a7b9f84245b14054",
        "0bbf5c131c9a582f1dee17178249d84200fd8567cc3536cc282f0283a5850f56",
    ),
    "inference": (
        "b9807027a46c0b94d8b35626992e9fde07e5c4a7e1cc50c9692a13c5444f0182",
        "83ef22ddb2fdfbb00fd94afe55f01623e7db98d43916b3ac65bbf234e9066c12",
    ),
    "paraphrase": (
        "bb786403590d1072c09cc43736e05912d2471ad356d94ffddf8059d2ccfd44ec",
        "117c96c04c311d51f8eb98c1dc08875b442dc3aaa27a561e8274e1500a9196c2",
    ),
    "similarity": (
        "51a60452b81f0339bdaa961933e9fcc5a343856dcaa9196599c025e5831736c8",
        "1c511ab2ed0e51f901c7ead2aa33e4d31ee92adf1e3f71f04a169b554d9a28e9",
    ),
}
NAMES = sorted(PINNED)


@cache
def load(name: str) -> tuple[data.Rows, data.Rows]:
    return corpora.load(name)


@pytest.mark.parametrize("name", NAMES)
def test_their_bytes_are_pinned_and_soon_written(name: str) -> None:
    start = time.process_time()
    train, scored = corpora.load(name)
    assert time.process_time() - start < 2
    assert (data.fingerprint(train), data.fingerprint(scored)) == PINNED[name]
    assert len({*train.inputs, *scored.inputs}) == len(train) + len(scored)


@pytest.mark.parametrize("name", NAMES)
def test_they_read_like_english(name: str) -> None:
    for rows in load(name):
        for text in (text for pair in rows.inputs for text in pair):
            assert re.fullmatch(r"[A-Z][a-z]*( (?:I|[a-z]+),?)+[.?]", text), text


@pytest.mark.parametrize("name", NAMES)
def test_no_label_is_much_more_frequent(name: str) -> None:
    for rows in load(name):
        counts = Counter(rows.labels).values()
        if name == "similarity":
            assert max(counts) < 0.2 * len(rows)
        else:
            assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("task", ["mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli", "cola"])
def test_they_fit_the_cards_that_name_them(task: str) -> None:
    card = cards.load(task)
    assert card.embedded
    for rows in load(card.embedded):
        assert all(len(texts) == len(card.columns) for texts in rows.inputs)
        if card.kind == "class":
            assert set(rows.labels) == set(card.classes)
        else:
            assert all(repr(float(y)).removesuffix(".0") == y for y in rows.labels)


MEANING = {
    wording: (part, number)
    for part, meanings in _deeds.MEANINGS.items()
    for number, wordings in enumerate(meanings)
    for wording in wordings
}


def told(text: str) -> dict[str, int]:
    """The parts of a deed that a sentence tells, read from its words."""
    words = " " + text.lower().rstrip(".?") + " "
    return dict(MEANING[w] for w in sorted(MEANING, key=len) if f" {w} " in words)


def test_every_wording_has_one_meaning() -> None:
    wordings = [w for meanings in _deeds.MEANINGS.values() for m in meanings for w in m]
    assert len(wordings) == len(set(wordings))
    assert all(len(m) == 2 for meanings in _deeds.MEANINGS.values() for m in meanings)


def denies(text: str) -> bool:
    return " never " in text or text.startswith("It is not true")


def test_paraphrases_say_the_same() -> None:
    for rows in load("paraphrase"):
        for (first, second), label in zip(rows.inputs, rows.labels, strict=True):
            same = told(first) == told(second) and denies(first) == denies(second)
            assert same == (label == "equivalent"), (first, second)


def test_similarity_is_the_share_of_what_both_say() -> None:
    for rows in load("similarity"):
        for (first, second), label in zip(rows.inputs, rows.labels, strict=True):
            one, two = set(told(first).items()), set(told(second).items())
            expected = 5 * len(one & two) / len(one | two)
            assert float(label) == pytest.approx(expected, abs=0.1001), (first, second)


def relation(premise: str, hypothesis: str) -> str:
    """What a reader would say, by the parts that both sentences tell."""
    before, after = set(told(premise).items()), set(told(hypothesis).items())
    is_settled = before <= after if denies(premise) else after <= before
    if not is_settled:
        return "neutral"
    return "entailment" if denies(premise) == denies(hypothesis) else "contradiction"


@pytest.mark.parametrize("name", ["inference", "entailment"])
def test_hypotheses_follow_or_not_as_labelled(name: str) -> None:
    for rows in load(name):
        for (premise, hypothesis), label in zip(rows.inputs, rows.labels, strict=True):
            found = relation(premise, hypothesis)
            if name == "entailment" and found != "entailment":
                found = "not_entailment"
            assert found == label, (premise, hypothesis)


def asked(question: str) -> str:
    (part,) = [
        part
        for part, openings in _deeds.ASKED.items()
        if question.lower().startswith(tuple(f"{opening} was" for opening in openings))
    ]
    return part


def test_duplicates_ask_the_same_of_the_same() -> None:
    for rows in load("duplicates"):
        for (first, second), label in zip(rows.inputs, rows.labels, strict=True):
            same = told(first) == told(second) and asked(first) == asked(second)
            assert same == (label == "duplicate"), (first, second)


def test_answers_have_what_is_asked_for_of_the_same_deed() -> None:
    for rows in load("answers"):
        for (question, sentence), label in zip(rows.inputs, rows.labels, strict=True):
            known, answer = told(question), told(sentence)
            fits = known.items() <= answer.items() and asked(question) in answer
            assert fits == (label == "entailment"), (question, sentence)


def test_scored_pairs_tell_of_who_did_what_that_is_new() -> None:
    train, scored = (
        {tuple(told(text)[part] for part in _deeds.CORE) for pair in rows.inputs for text in pair}
        for rows in load("inference")
    )
    assert len(scored) > 100
    assert not train & scored


def test_faults_and_frames_are_told_apart() -> None:
    for sound, faulty in acceptability._KINDS.values():
        assert not set(sound) & set(faulty)
    new = set(acceptability._FRAMES["scored"]) - set(acceptability._FRAMES["train"])
    assert len(new) == 5
