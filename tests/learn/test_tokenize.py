"""Tokenizers: trained the same each time, and texts cut and framed as BERT's are."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from bench.learn import tokenize

TEXTS = [
    "a gripping , funny film",
    "the film isn't funny at all",
    "unfunny , ungripping and grim",
    "Ünfunny film film films 日本",
] * 3


@pytest.mark.parametrize("max_length", [32, 6])
def test_encoding_by_word_is_encoding_by_text(max_length: int) -> None:
    tokenizer = tokenize.train(TEXTS, 80)
    odd = ["", " two  spaces ", "tab\tinside", "un\x85funny nbsp\u00a0film", "[SEP] ##film"]
    rows = tokenize.encode(tokenizer, [(text,) for text in TEXTS + odd], None, max_length)
    tokenizer.enable_truncation(max_length)
    for i, text in enumerate(TEXTS + odd):
        ids = rows.tokens[rows.starts[i] : rows.starts[i + 1]].tolist()
        assert ids == tokenizer.encode(text).ids
        assert len(ids) <= max_length


def test_pairs_have_two_segments_and_are_cut_together() -> None:
    tokenizer = tokenize.train(TEXTS, 80)
    rows = tokenize.encode(tokenizer, [("film film film film", "film")], [1], 7)
    names = [tokenizer.id_to_token(i) for i in rows.tokens]
    assert names == ["[CLS]", "film", "film", "film", "[SEP]", "film", "[SEP]"]
    assert rows.segments is not None
    assert rows.segments.tolist() == [0, 0, 0, 0, 0, 1, 1]
    np.testing.assert_array_equal(rows.labels, [1])


def test_training_gives_the_same_vocabulary_in_every_process() -> None:
    code = (
        "import json; from bench.learn import tokenize;"
        "from tests.learn.test_tokenize import TEXTS;"
        "print(json.dumps(tokenize.train(TEXTS, 60).get_vocab(), sort_keys=True))"
    )
    digests = set()
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
        assert len(json.loads(out.stdout)) == 60
        digests.add(hashlib.sha256(out.stdout).hexdigest())
    assert len(digests) == 1


def test_marks_in_a_text_are_not_special_unless_they_are_the_models() -> None:
    tokenizer = tokenize.train(TEXTS, 80)
    assert tokenizer.encode("##f", add_special_tokens=False).tokens[0] != "##f"


def test_a_words_mark_is_on_its_first_piece() -> None:
    tokenizer = tokenize.train(["Ada sleeps in Padua"] * 2, 200, cased=True)
    text = "Ada \u200b Xx sleeps"  # of the second word the tokenizer leaves nothing
    packed = tokenize.encode_words(tokenizer, [text, "Ada"], [[1, 2, 3, 4], [5]], 128)
    pieces = [tokenizer.id_to_token(i) for i in packed.tokens]
    assert [p for p, mark in zip(pieces, packed.marks, strict=True) if mark >= 0] == [
        "Ada", "[UNK]", "[UNK]", "sleeps", "Ada"
    ]  # fmt: skip
    assert [m for m in packed.marks if m >= 0] == [1, 2, 3, 4, 5]
    assert [p for p, m in zip(pieces, packed.marks, strict=True) if m < 0] == ["[CLS]", "[SEP]"] * 2


def test_words_beyond_the_longest_text_bear_no_mark() -> None:
    tokenizer = tokenize.train(["a b c d"] * 2, 200)
    packed = tokenize.encode_words(tokenizer, ["a b c d"], [[1, 2, 3, 4]], 4)
    assert packed.marks.tolist() == [-1, 1, 2, -1]
    assert packed.tokens[-1] == tokenizer.token_to_id("[SEP]")


def test_a_cased_tokenizer_keeps_capitals_and_accents() -> None:
    text = "Zoë"
    cased, lowered = (tokenize.train([text] * 3, 200, cased=cased) for cased in (True, False))
    assert cased.encode(text).tokens == ["[CLS]", "Zoë", "[SEP]"]
    assert lowered.encode(text).tokens == ["[CLS]", "zoe", "[SEP]"]
