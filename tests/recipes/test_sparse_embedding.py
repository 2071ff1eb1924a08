"""Embeddings of which a step updates those of its batch: the rows, their moments, and who may."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench import recipes
from bench.errors import UsageError
from bench.learn.embedding import SparseTable, Table
from tests.learn.plain import PlainEncoder
from tests.learn.test_loop import CPU, SHAPES, encoder, one_thread, texts, training
from tests.learn.test_worker import job, run, task

__all__ = ["one_thread", "task"]  # fixtures


def test_it_learns(task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(job(tmp_path, "sparse-embedding"), task, monkeypatch)
    assert ran.code == 0
    assert [e["value"] for e in ran.events if e["event"] == "eval"][-1] > 0.9


@pytest.mark.parametrize("clip_norm", [0.0, 0.05], ids=["unclipped", "clipped"])
def test_steps_are_those_of_lazy_adam(clip_norm: float) -> None:
    """A row whose token is in the batch has one step of AdamW with its own moments; others none."""
    rows = texts()
    model = encoder(SHAPES["as BERT"])
    plain = PlainEncoder(model)
    learner = training(
        model, rows, "sparse-embedding", weight_decay=0.3, clip_norm=clip_norm, warmup_share=0
    )
    table = model.table
    assert isinstance(table, SparseTable)
    tokens = plain.weights["tokens"]
    mean, square = torch.zeros_like(tokens), torch.zeros_like(tokens)
    for step, chosen in enumerate(np.split(np.arange(40), 5), 1):
        batch = rows.batch(chosen, CPU)
        seen = torch.unique(batch.tokens)
        assert 0 < len(seen) < len(tokens)

        for weight in plain.weights.values():
            weight.grad = None
        F.cross_entropy(plain.logits(rows, chosen), batch.labels).backward()
        every = [w.grad for w in plain.weights.values() if w.grad is not None]
        length = torch.stack([g.norm() for g in every]).norm()
        clipped = max(1.0, float(length) / clip_norm) if clip_norm else 1.0
        with torch.no_grad():
            grad = tokens.grad[seen] / clipped
            tokens[seen] *= 1 - 0.01 * 0.3
            mean[seen] = 0.9 * mean[seen] + 0.1 * grad
            square[seen] = 0.999 * square[seen] + 0.001 * grad**2
            unbiased = mean[seen] / (1 - 0.9**step), square[seen] / (1 - 0.999**step)
            tokens[seen] -= 0.01 * unbiased[0] / (unbiased[1].sqrt() + 1e-8)

        before = table.rows.clone()
        model.begin_step(batch)
        loss = learner.recipe.loss(learner, batch, model.outputs(batch, learner.dropout))
        learner.recipe.backward(learner, loss)
        learner.recipe.update(learner, 0.01)
        others = torch.ones(len(tokens), dtype=torch.bool)
        others[seen] = False
        assert torch.equal(table.rows[others], before[others]), "to the last bit"
        torch.testing.assert_close(table.rows, tokens.detach(), rtol=1e-3, atol=1e-4)
        for name, weight in model.parameters.named().items():  # the rest is compared elsewhere
            plain.weights[name].data.copy_(weight)
        tokens.data.copy_(table.rows)
    state = learner.optimizer.state()
    torch.testing.assert_close(state["table_mean"], mean, rtol=1e-2, atol=1e-5)


def test_rows_that_were_looked_up_twice_have_the_sum_of_both() -> None:
    """As where a batch goes through the model twice."""
    rows = torch.randn(6, 3)
    dense, sparse = Table(rows.clone()), SparseTable(rows.clone())
    for table in (dense, sparse):
        table.touch(5)
        for tokens in ([4, 1, 4], [1, 5]):
            (table.look_up(torch.tensor(tokens), True).sum(0) ** 2).sum().backward()
    wanted, found = dense.collect(), sparse.collect()
    assert isinstance(sparse.collected, torch.Tensor)
    assert sparse.collected.tolist() == [1, 4, 5]
    torch.testing.assert_close(found, wanted[sparse.collected])
    assert not wanted[[0, 2, 3]].any()


def test_a_step_that_float16_leaves_out_leaves_the_table_as_it_was() -> None:
    model = encoder(SHAPES["as BERT"], torch.float16)
    learner = training(model, texts(), "sparse-embedding+fp16", loss_scale=2.0**30)
    assert isinstance(model.table, SparseTable)
    before = model.table.rows.clone()
    batch = learner.train.batch(np.arange(8), CPU)
    for rate in (0.01, 0.01):
        model.begin_step(batch)
        loss = learner.recipe.loss(learner, batch, model.outputs(batch, learner.dropout))
        learner.recipe.backward(learner, loss)
        learner.recipe.update(learner, rate)
    assert learner.recipe.facts(learner)["skipped_steps"] == 2
    assert torch.equal(model.table.rows, before)


@pytest.mark.parametrize(
    ("model", "kind"), [("gpt2-tiny", "decoder"), ("elmo-tiny", "elmo"), ("bert-tiny", "masked")]
)
def test_a_model_whose_rows_all_have_gradients_is_refused(model: str, kind: str) -> None:
    use = recipes.Use("language-modelling", model, kind, False, "cpu")
    with pytest.raises(UsageError, match="only encoders with a table of their own"):
        recipes.check("sparse-embedding", use, {})
