"""length-warmup: what a step reads, and how much of all that is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import recipes
from bench.errors import UsageError
from bench.learn.batches import Batch
from bench.learn.loop import Training, representative, train
from bench.learn.windows import Following, Masked, Stream, Windows
from bench.recipes import Use
from tests.learn.test_loop import CPU, SHAPES, encoder, one_thread, texts, training
from tests.learn.test_worker import correct, job, run
from tests.learn.test_worker import task as task  # a fixture

__all__ = ["one_thread"]


def watched(made: Training) -> list[Batch]:
    """The batches of a training."""
    found: list[Batch] = []
    loss = made.recipe.loss

    def seen(training: Training, batch: Batch, outputs: Any) -> Any:
        found.append(batch)
        return loss(training, batch, outputs)

    made.recipe.loss = seen
    train(made, made.batches())
    return found


def test_rows_are_whole_and_the_shortest_come_first() -> None:
    rows = texts(400)
    given = {"epochs": 2, "growing": 0.5, "first_share": 0.1}
    made = training(encoder(SHAPES["as BERT"]), rows, "length-warmup", **given)
    batches = watched(made)
    for batch in batches:
        assert batch.lengths.tolist() == rows.lengths[batch.rows].tolist()
    half = len(batches) // 2
    longest = [int(batch.lengths.max()) for batch in batches]
    assert max(longest[:5]) <= np.quantile(rows.lengths, 0.2)
    assert np.mean(longest[:half]) < np.mean(longest[half:]) - 2
    assert sorted(np.concatenate([b.rows for b in batches[half:]])) == list(range(400))


def test_the_number_of_steps_is_the_same_and_tokens_are_saved() -> None:
    plain, short = (
        training(encoder(SHAPES["as BERT"]), texts(200), name, epochs=4)
        for name in ("baseline", "length-warmup")
    )
    for made in (plain, short):
        train(made, made.batches())
    assert short.step == plain.step
    facts = short.recipe.facts(short)
    assert facts["tokens"] == short.tokens < 0.92 * plain.tokens
    assert facts["tokens_share"] == pytest.approx(short.tokens / plain.tokens)
    assert short.recipe.share_read(short) == pytest.approx(facts["tokens_share"], rel=0.03)


def test_equal_lengths_are_not_in_the_order_of_the_rows() -> None:
    """Where a file is sorted by class, a batch would have one."""
    rows = texts(400)
    rows.starts = np.arange(401) * (len(rows.tokens) // 400)
    made = training(encoder(SHAPES["as BERT"]), rows, "length-warmup", growing=1)
    assert all(np.ptp(batch.rows) > 100 for batch in watched(made))


@pytest.mark.parametrize("masked", [False, True])
def test_windows_grow_to_the_whole(masked: bool) -> None:
    stream = Stream(np.arange(6400, dtype=np.int32) % 50, np.zeros(6400, dtype=np.int32), 0)
    rows: Windows = Masked(stream, 64, 1, 50) if masked else Following(stream, 64)
    settings = recipes.resolve("length-warmup", "gpt2-tiny", {"growing": "0.5"})
    recipe = recipes.build("length-warmup", settings)
    made: Any = SimpleNamespace(train=rows, seed=1, step=0, total_steps=100, model=None)
    made.model = SimpleNamespace(device=CPU)
    recipe.prepare(made)
    lengths = []
    for made.step in range(100):
        batch = recipe.batch(made, np.array([5, 9]))
        assert batch.labels is not None
        assert len(batch.labels) == (len(batch.chosen) if masked else 2 * batch.longest)
        lengths.append(batch.longest)
    assert lengths[0] == 8
    assert sorted(set(lengths)) == [8, 16, 24, 32, 40, 48, 56, 64]
    assert lengths == sorted(lengths)
    assert set(lengths[50:]) == {64}
    assert rows.length == 64
    assert recipe.share_read(made) == pytest.approx(np.mean(lengths) / 64, rel=0.01)


@pytest.mark.parametrize(
    ("family", "kind", "why"),
    [
        ("translation", "encoder-decoder", "nothing is saved"),
        ("language-modelling", "elmo", "costs the same in any block"),
    ],
)
def test_it_is_refused_where_it_saves_nothing(family: Any, kind: str, why: str) -> None:
    settings: Any = recipes.resolve("length-warmup", "transformer-tiny", {}, family)
    with pytest.raises(UsageError, match=f"length-warmup can't be used here: .*{why}"):
        recipes.check("length-warmup", Use(family, "any", kind, False, "cpu"), settings)


def test_it_learns_and_is_forecast(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(job(tmp_path, "length-warmup", epochs="8"), task, monkeypatch)
    assert correct(ran.predictions()["prediction"]) > 0.9
    told = [e for e in ran.events if e["event"] == "model"][-1]
    assert 0.6 < told["tokens_share"] < 0.95
    planned = run(job(tmp_path, "length-warmup", plan_steps=4, epochs="8"), task, monkeypatch)
    assert planned.only("plan")["total_steps"] == 160


def test_a_trials_batches_dont_get_longer_while_it_reads_more_of_them() -> None:
    """Both together would make a forecast too dear."""
    rows = texts(400)
    made = training(encoder(SHAPES["as BERT"]), rows, "length-warmup", epochs=2)
    chosen, _ = representative(made, 20)
    sizes = [int(rows.lengths[batch].sum()) for batch in chosen]
    assert sizes != sorted(sizes)
    assert len(set(sizes)) > 5
