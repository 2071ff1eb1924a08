"""Texts laid end to end, and batches of them."""

from __future__ import annotations

import numpy as np
import torch

from bench.learn.batches import Some, by_length, order_of_first_use, pack, similar_lengths
from bench.learn.pairs import Pairs
from bench.learn.windows import Following, Stream

CPU = torch.device("cpu")
TEXTS = [[5, 6, 7], [8], [9, 10, 11], [12, 13]]


def test_a_batch_holds_its_rows_end_to_end() -> None:
    batch = pack(TEXTS, None, [0, 1, 0, 1]).batch(np.array([3, 0]), CPU)
    assert batch.tokens.tolist() == [12, 13, 5, 6, 7]
    assert batch.positions.tolist() == [0, 1, 0, 1, 2]
    assert batch.starts.tolist() == [0, 2]
    assert batch.labels.tolist() == [1, 0]
    assert batch.highest_token == 13


def test_only_mixed_lengths_need_places_in_a_grid() -> None:
    rows = pack(TEXTS, None, None)
    assert rows.batch(np.array([0, 2]), CPU).places is None
    assert rows.batch(np.array([1, 0]), CPU).places.tolist() == [0, 3, 4, 5]


def test_pairs_keep_their_segments() -> None:
    rows = pack([[1, 2, 3], [4, 5]], [[0, 0, 1], [0, 1]], None)
    assert rows.batch(np.array([1, 0]), CPU).segments.tolist() == [0, 1, 0, 0, 1]


def test_an_epoch_has_each_row_once_in_batches_of_near_lengths() -> None:
    lengths = np.random.default_rng(0).integers(3, 40, 1000)
    batches = list(similar_lengths(lengths, 32, np.random.default_rng(1)))
    assert sorted(np.concatenate(batches)) == list(range(1000))
    assert max(np.ptp(lengths[rows]) for rows in batches) <= 2
    assert [len(rows) for rows in batches].count(32) == 31


def test_the_order_of_batches_follows_the_seed() -> None:
    lengths = np.full(100, 7)
    first, same, other = (
        np.concatenate(list(similar_lengths(lengths, 8, np.random.default_rng(seed))))
        for seed in (1, 1, 2)
    )
    assert (first == same).all()
    assert (first != other).any()


def test_batches_for_prediction_are_sorted_and_bounded() -> None:
    lengths = np.array([9, 2, 5, 2, 30])
    batches = [rows.tolist() for rows in by_length(lengths, 10)]
    assert batches == [[1, 3, 2, 0], [4]] or [i for b in batches for i in b] == [1, 3, 2, 0, 4]


def test_ids_are_ordered_by_first_use_and_the_unused_follow() -> None:
    assert order_of_first_use(np.array([4, 2, 4, 0, 2]), 6).tolist() == [4, 2, 0, 1, 3, 5]


def test_rows_of_several_texts_stay_together() -> None:
    rows = pack(TEXTS, None, [7, 8])
    rows.group = 2
    assert len(rows) == 2
    assert rows.lengths.tolist() == [4, 5]
    batch = rows.batch(np.array([1, 0]), CPU)
    assert batch.tokens.tolist() == [9, 10, 11, 12, 13, 5, 6, 7, 8]
    assert batch.starts.tolist() == [0, 3, 5, 8]
    assert batch.places.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert batch.labels.tolist() == [8, 7]
    assert (batch.size, batch.rows.tolist()) == (4, [1, 0])


def test_marks_go_with_their_tokens() -> None:
    rows = pack(TEXTS, None, None)
    rows.marks = np.array([-1, 0, 1, 2, -1, -1, 3, 4, -1], dtype=np.int16)
    assert rows.batch(np.array([2, 0]), CPU).marks.tolist() == [-1, -1, 3, -1, 0, 1]


def test_batches_among_some_rows_have_each_of_them_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 20, 60)
    texts = pack([[5] * n for n in lengths], None, None)
    stream = Stream(np.arange(600, dtype=np.int32), np.zeros(600, dtype=np.int32), 0)
    chosen = np.array([3, 50, 7, 8, 31, 59, 40])
    for rows in (texts, Pairs(texts, texts, 30), Following(stream, 10)):
        among = list(rows.batches(2, np.random.default_rng(1), chosen))
        assert sorted(np.concatenate(among)) == sorted(chosen)
        some = Some(rows, chosen)
        assert (some.lengths == rows.lengths[chosen]).all()
        own = list(some.batches(2, np.random.default_rng(1)))
        assert [chosen[batch].tolist() for batch in own] == [batch.tolist() for batch in among]
        fewer = np.concatenate(list(some.batches(2, np.random.default_rng(1), np.array([1, 4]))))
        assert sorted(fewer) == [1, 4]


def test_windows_are_cut_within_a_block() -> None:
    stream = Stream(np.arange(40, dtype=np.int32), np.zeros(40, dtype=np.int32), 99)
    windows = Following(stream, 10)
    with windows.cut_to(3):
        batch = windows.batch(np.array([0, 2]), CPU)
    assert batch.tokens.tolist() == [99, 0, 1, 19, 20, 21]
    assert batch.labels.tolist() == [0, 1, 2, 20, 21, 22]
    assert batch.total == 6
    assert windows.batch(np.array([0]), CPU).total == 10
