"""The embedded corpus: what it promises about itself, and how hard it is for a bag of words."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import pytest

from bench.learn import data
from bench.learn.corpora import verdicts

TRAIN = "b24b3705f4974ceeb2fefb7c93965cfc74b916e656480960ee8ab951b96cd913"
DOCUMENT = Path(verdicts.__file__).parents[2] / "docs" / "verdicts.md"
SCORED = "dc09c9739fcc252b5fdc9c964afc7e89c1e17254c5561236338fc803e1f59344"


@pytest.fixture(scope="module")
def corpus() -> tuple[data.Rows, data.Rows]:
    return verdicts.corpus()


def test_its_bytes_are_pinned(corpus):
    train, scored = corpus
    assert (data.fingerprint(train), data.fingerprint(scored)) == (TRAIN, SCORED)


def test_it_is_written_within_two_seconds():
    start = time.process_time()
    verdicts.corpus()
    assert time.process_time() - start < 2


def test_all_sentences_differ_and_both_classes_are_equally_frequent(corpus):
    train, scored = corpus
    assert len(train) == 20_000
    assert len(scored) == 2_000
    assert len({*train.inputs, *scored.inputs}) == 22_000
    assert Counter(train.labels) == {"positive": 10_000, "negative": 10_000}
    assert Counter(scored.labels) == {"positive": 1_000, "negative": 1_000}


def test_it_reads_like_english(corpus):
    for rows in corpus:
        for (text,) in rows.inputs:
            assert re.fullmatch(r"[A-Z][A-Za-z ,.;:!\"]+[.!]", text), text
            assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]| [,.;:!]|[.!] [a-z]", text), text
            assert data.canonical(text) == text


def words(rows: data.Rows) -> set[str]:
    return {word for (text,) in rows.inputs for word in re.findall(r"[a-z]+", text.lower())}


def test_scored_has_templates_and_words_that_train_has_not(corpus):
    train, scored = corpus
    for table in (verdicts._FRAMES, verdicts._CLAIMS):
        for _, texts in table.values():
            assert not set(texts["train"]) & set(texts["scored"])
    known = words(train)
    assert {"caper", "soundtrack", "librarian", "prequel", "usher"} <= words(scored) - known
    with_a_new_word = sum(
        not set(re.findall("[a-z]+", t.lower())) <= known for (t,) in scored.inputs
    )
    assert with_a_new_word > 0.7 * len(scored)
    polar = {w for pair in verdicts._SIGNED.values() for side in pair for w in side}
    assert set(" ".join(polar).split()) <= known


@pytest.mark.parametrize(
    ("template", "label", "sentence"),
    [
        ("{+claim}.", "positive", "praise"),
        ("{-claim}.", "positive", "blame"),
        ("they say that {-claim}, and they are wrong.", "negative", "praise"),
    ],
)
def test_signs_nest(template, label, sentence):
    """A claim is filled with words of its own polarity, whatever it stands in."""
    writer = verdicts._Writer("train", seed=3)
    writer._templates["claim"] = [["it is {+adj}", "it is not {-adj}"]]
    bad, good = verdicts._SIGNED["adj"]
    for _ in range(50):
        writer._used.clear()
        text = writer._filled(template, label == "positive")
        adjective = re.search(r"it is (not )?(\w+)", text)
        assert adjective is not None
        praised = (adjective[2] in good) != bool(adjective[1])
        assert praised == (sentence == "praise")
        assert adjective[2] in (good if praised != bool(adjective[1]) else bad)


def test_a_bag_of_words_stays_between_70_and_85_percent(corpus):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train, scored = corpus
    vectoriser = TfidfVectorizer()
    features = vectoriser.fit_transform(text for (text,) in train.inputs)
    model = LogisticRegression(max_iter=1000).fit(features, train.labels)
    accuracy = model.score(vectoriser.transform(t for (t,) in scored.inputs), scored.labels)
    assert 0.70 < accuracy < 0.85
    stated = re.search(r"logistic regression \| ([\d.]+) %", DOCUMENT.read_text(encoding="utf-8"))
    assert stated is not None
    assert abs(100 * accuracy - float(stated[1])) < 0.5


def test_the_sentences_that_its_document_shows_are_in_it(corpus):
    text = DOCUMENT.read_text(encoding="utf-8")
    shown = re.findall(r"^(positive|negative)  (.+)$", text, flags=re.MULTILINE)
    assert len(shown) == 5
    scored = {
        text: label for (text,), label in zip(corpus[1].inputs, corpus[1].labels, strict=True)
    }
    assert {text: scored.get(text) for _, text in shown} == {text: label for label, text in shown}
