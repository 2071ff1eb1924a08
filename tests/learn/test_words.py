"""Words by number, what their spelling costs, and running text as streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.learn.spelling import EDGE, Spelling
from bench.learn.streams import Streams
from bench.learn.tokenize import encode, encode_words
from bench.learn.words import END, FIRST_BYTE, LINE_ENDS, NOTHING, WORD_BEGINS, WORD_ENDS, Words

CPU = torch.device("cpu")


def test_texts_and_pairs_are_numbers_between_ends() -> None:
    words = Words(20)
    rows = encode(words, [("a b a",), ("",), ("c b d e",)], [1, 0, 1], 5)
    assert rows.tokens.tolist() == [END, 1, 2, 1, END, END, END, END, 3, 2, 4, END]
    assert rows.starts.tolist() == [0, 5, 7, 12]
    assert len(words) == 6, "e was met, though it was cut off"
    pairs = encode(words, [("a b", "c")], None, 9)
    assert pairs.tokens.tolist() == [END, 1, 2, END, 3, END]
    assert pairs.segments is not None
    assert pairs.segments.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("lengths", "room", "kept"),
    [((2, 2), 9, (2, 2)), ((9, 2), 6, (4, 2)), ((2, 9), 6, (2, 4)), ((9, 9), 7, (4, 3))],
)
def test_the_longer_text_of_a_pair_is_cut(
    lengths: tuple[int, int], room: int, kept: tuple[int, int]
) -> None:
    pair = tuple(" ".join(["w"] * n) for n in lengths)
    (row,) = [encode(Words(9), [pair], None, room + 3)]
    assert row.segments is not None
    assert np.bincount(row.segments).tolist() == [kept[0] + 2, kept[1] + 1]


def test_words_to_be_tagged_are_themselves_and_bear_their_marks() -> None:
    rows = encode_words(Words(20), ["a b", "b c a"], [[0, 1], [2, 0, 1]], 4)
    assert rows.tokens.tolist() == [END, 1, 2, END, END, 2, 3, END]
    assert rows.marks is not None
    assert rows.marks.tolist() == [-1, 0, 1, -1, -1, 2, 0, -1]


def test_windows_are_the_characters_ahead_within_a_word() -> None:
    words = Words(5)
    words.numbers("é abcdef")
    windows, starts = words.windows(3)
    assert starts.tolist() == [0, 1, 5, 10]
    first, second = (FIRST_BYTE + byte for byte in "é".encode())
    assert windows[:5].tolist() == [
        [LINE_ENDS, NOTHING, NOTHING],
        [WORD_BEGINS, first, second],
        [first, second, WORD_ENDS],
        [second, WORD_ENDS, NOTHING],
        [WORD_ENDS, NOTHING, NOTHING],
    ]
    assert windows[5:, 0].tolist() == [WORD_BEGINS, *(FIRST_BYTE + b for b in b"abc"), WORD_ENDS]


SEEN = [b"the", b"then", b"cat", b"hat", b"thin"]


def before(words: list[bytes]) -> np.ndarray:
    """The symbols after which a word may end, the last first."""
    return np.array([[*reversed(word), EDGE, *[257] * 5][:5] for word in words])


def test_probabilities_of_all_spellings_sum_to_one() -> None:
    """Words of one byte, and those of two and all that begin with them."""
    spelling = Spelling(SEEN)
    for word in (b"", b"t", b"th", b"zq", b"thinthin"):
        chances = spelling._chances(np.arange(257), np.repeat(before([word]), 257, 0))
        assert chances.sum() == pytest.approx(1, abs=1e-12)
    one = [bytes([a]) for a in range(256)]
    two = [bytes([a, b]) for a in range(256) for b in range(256)]
    ends = spelling._chances(np.full(len(two), EDGE), before(two))
    short, longer = np.exp(-spelling.nats(one)).sum(), (np.exp(-spelling.nats(two)) / ends).sum()
    assert short + longer == pytest.approx(1, abs=1e-9)
    assert 0.001 < short < 0.5


def test_what_looks_like_words_costs_less_and_nothing_is_impossible() -> None:
    that, other, unseen = Spelling(SEEN).nats([b"that", b"qxzj", "ж".encode()])
    assert that < other / 2
    assert np.isfinite(unseen)


def test_words_outside_a_vocabulary_have_what_it_leaves() -> None:
    spelling = Spelling(SEEN)
    known = SEEN[:3]
    left = 1 - np.exp(-spelling.nats(known)).sum()
    others = [bytes([a]) for a in range(256)] + [b"hat"]
    found = np.exp(-spelling.nats_outside(others, known))
    np.testing.assert_allclose(found, np.exp(-spelling.nats(others)) / left)


def streams(words: int = 103, count: int = 4, block: int = 10) -> Streams:
    tokens = np.arange(1, words + 1)
    return Streams(tokens, tokens * 2, count, block)


def test_each_word_is_asked_for_in_both_directions_after_its_neighbour() -> None:
    rows = streams()
    seen: list[list[int]] = [[], []]
    for chosen in rows.batches():
        batch = rows.batch(chosen, CPU)
        assert batch.labels is not None
        read, wanted = batch.tokens.view(2, -1), batch.labels.view(2, -1) // 2
        for direction, step in ((0, -1), (1, 1)):
            before = [0 if n in (0, 104) else n for n in (wanted[direction] + step).tolist()]
            assert read[direction].tolist() == before
            seen[direction] += wanted[direction].tolist()
    assert set(seen[0]) == set(seen[1]) == set(range(1, 104))
    assert len(seen[0]) == 4 * 26, "one word is read twice: 103 is not 4 times 26"


def test_streams_go_on_from_block_to_block() -> None:
    rows = streams()
    batches = [rows.batch(chosen, CPU) for chosen in rows.batches()]
    assert rows.lengths.reshape(-1, 4)[:, 0].tolist() == [10, 10, 6]
    assert len({id(batch.carried) for batch in batches}) == 1
    second = [b.labels.view(2, 4, -1)[0, 1] for b in batches if b.labels is not None]
    assert torch.cat(second).tolist() == [2 * n for n in range(26, 52)]
    assert rows.batch(np.arange(4), CPU).carried is not batches[0].carried, "an epoch begins anew"


def test_a_short_text_is_one_stream_a_word_at_most() -> None:
    rows = Streams(np.array([5, END]), np.array([1, 0]), 32, 10)
    assert len(rows) == 2
    assert [chosen.tolist() for chosen in rows.batches()] == [[0, 1]]
