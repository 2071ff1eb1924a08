"""The embedded corpora of tagging and completion: their bytes, and that they fit their cards."""

from __future__ import annotations

import time

import pytest

from bench import cards
from bench.learn import corpora, data
from bench.metrics.spans import spans

PINNED = {
    "causes": (
        "9e013eefed42264cbae72cac2cb93a9c3ea2362a04e351d479977f0671076052",
        "afd2be31001472072baa5db3e581c3cbd998d400e938927f78ebd00a5f30b1ac",
    ),
    "endings": (
        "96529d8954e96126dfe9a950e1b1a3208846f1dc33b1c9f063743b5a41654e4c",
        "d4fd8969552fa309bb0426229439512cef677b8b759b545f54b195e8fb30f075",
    ),
    "messages": (
        "01dfe99e37024382b28f83bc5bb356d66d9a891f5f68e6ed37a6d957b3e488f9",
        "6e35fbc7d060867f31ef0739833aef0475977f8f91b982896af027e9956e8271",
    ),
    "news": (
        "4b3d5b8fdb22a76c38c504da86130035d29d2a97e7a545df4e5a792a3888e636",
        "deabc4d563bd378627a29d02df9885fa9f9674215de81c469ec2e08a146eb133",
    ),
    "passages": (
        "9e1761f1539a958f19fee2777050dbdf4a9ec3433d5b7e109cb3838741906f7e",
        "c49d305969a26c7ec2cdbca67c1f01da9f6d510482842d9bd672b4493775854f",
    ),
}
CARDS = {"copa": "causes", "swag": "endings", "hellaswag": "endings", "lambada": "passages",
         "wnut17": "messages", "conll2003": "news"}  # fmt: skip


@pytest.mark.parametrize("name", PINNED)
def test_their_bytes_are_pinned_and_soon_written(name: str) -> None:
    start = time.process_time()
    train, scored = corpora.load(name)
    assert time.process_time() - start < 2
    assert (data.fingerprint(train), data.fingerprint(scored)) == PINNED[name]
    assert len({*train.inputs, *scored.inputs}) == len(train) + len(scored)


@pytest.mark.parametrize("task", CARDS)
def test_they_fit_the_cards_that_name_them(task: str) -> None:
    card = cards.load(task)
    assert card.embedded == CARDS[task]
    for rows in corpora.load(card.embedded):
        assert all(len(texts) == len(card.columns) for texts in rows.inputs)
        labels = {tag for label in rows.labels for tag in label.split()}
        if card.kind == "class":
            assert labels == set(card.classes)
            counts = [rows.labels.count(name) for name in labels]
            assert max(counts) < 1.3 * min(counts)
        elif card.kind == "tags":
            assert labels == set(card.classes)
            for (text,), tags in zip(rows.inputs, rows.labels, strict=True):
                assert len(text.split()) == len(tags.split())
        for texts in rows.inputs:
            assert all(data.canonical(text) == text for text in texts)


def test_tagged_names_begin_with_capitals() -> None:
    _, scored = corpora.load("messages")
    for (text,), tags in zip(scored.inputs, scored.labels, strict=True):
        words = text.split()
        for _, first, last in spans(tags.split()):
            assert not words[first][0].islower()
            assert not words[last][0].islower()


def test_the_last_sentence_of_a_passage_fits_every_last_word() -> None:
    for rows in corpora.load("passages"):
        words: dict[str, set[str]] = {}
        for (text,), word in zip(rows.inputs, rows.labels, strict=True):
            assert word not in text.split()
            words.setdefault(text.rpartition(" . ")[2], set()).add(word)
        assert min(map(len, words.values())) > len(set(rows.labels)) / 2  # names make them many
