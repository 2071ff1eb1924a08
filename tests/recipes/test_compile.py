"""torch.compile of a model that runs through transformers, and who is told that it can't be."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import recipes
from bench.errors import UsageError
from bench.events import Events
from bench.learn.loop import Training, train
from bench.learn.models import foreign
from bench.learn.models.foreign import ForeignModel
from tests.learn.plain import Labels, accuracy
from tests.learn.test_loop import CPU, SHAPES, encoder, training
from tests.learn.test_models import our_logits, texts

GIVEN = {"epochs": "40", "batch_size": "8", "learning_rate": "0.02", "evaluations": "0"}


def use(model: str, device: str = "cpu") -> recipes.Use:
    return recipes.Use("classification", model, "encoder", True, device)


class Kept(Events):
    """Events in a list."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def send(self, event: str, **fields: Any) -> None:
        self.told.append({"event": event, **json.loads(json.dumps(fields))})

    def stop_asked(self) -> bool:
        return False


class Answer(NamedTuple):
    logits: Tensor


class Small(nn.Module):
    """What ForeignModel takes from transformers, in small: what is compiled is paid for."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(pad_token_id=0)
        self.tokens, self.up, self.down = nn.Embedding(60, 16), nn.Linear(16, 32), nn.Linear(32, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Answer:
        inner = F.gelu(self.up(self.tokens(input_ids))) * attention_mask[:, :, None]
        return Answer(self.down(inner.sum(1) / attention_mask.sum(1, keepdim=True)))


@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler for torch.compile")
def test_it_learns_compiled_in_a_phase_of_its_own_and_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "of an earlier run"))
    monkeypatch.setenv("BENCH_OUT", str(tmp_path))
    monkeypatch.setattr(foreign, "_module", lambda folder, classes: Small())
    rows, events = texts(64), Kept()
    plain, model = (ForeignModel(tmp_path, 2, 1, torch.float32, CPU) for _ in range(2))
    recipe = recipes.build("compile", recipes.resolve("compile", "some/model", GIVEN))
    run = Training(recipe, Labels(), model, rows, rows, 1, events)
    phases = [e["phase"] for e in events.told if e["event"] == "phase_start"]
    assert phases == ["compile", "prepare"]
    assert any(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).rglob("*.so"))
    assert not (tmp_path / "of an earlier run").exists()

    made = recipe.facts(run)
    assert made["compiled_graphs"] >= 2, "with gradients and without"
    assert made["graph_breaks"] == 0
    torch.testing.assert_close(our_logits(model, rows), our_logits(plain, rows))
    train(run, run.batches())
    assert accuracy(model, rows) > 0.8
    assert recipe.facts(run) == made, "no batch was compiled for anew"


def test_a_model_of_transformers_is_two_graphs_that_compute_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and run as it is: code for it would take a minute and more. Combined with pruning,
    which changes weights of a model that is compiled."""
    from torch._dynamo.utils import counters
    from transformers import RobertaConfig, RobertaForSequenceClassification

    torch._dynamo.reset()
    counters.clear()
    for name in ("TORCHINDUCTOR_CACHE_DIR", "BENCH_OUT"):
        monkeypatch.setenv(name, str(tmp_path))
    compiled = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, **given: compiled(self, backend="eager", **given)
    )
    config = RobertaConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0,
        intermediate_size=32, max_position_embeddings=20, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    runs = []
    for name in ("prune", "compile+prune"):
        model: Any = ForeignModel(tmp_path, 2, 1, torch.float32, CPU)
        runs.append(training(model, texts(), name, max_steps=6, rounds=2, evaluations=1))
        train(runs[-1], runs[-1].batches())
    plain, both = (run.recipe.facts(run) for run in runs)
    assert both == plain | {"compiled_graphs": 2, "graph_breaks": 0}
    assert plain["sparsity"] == 0.5
    weights = [run.model.parameters.master for run in runs]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-6)


def test_models_of_bench_are_refused() -> None:
    for name in ("transformer-tiny", "all-minilm-l6", "gpt2-tiny", "elmo-tiny"):
        with pytest.raises(UsageError, match="layers write gradients into one buffer"):
            recipes.check("compile", use(name), {})
    with pytest.raises(UsageError, match="layers write gradients into one buffer"):
        training(encoder(SHAPES["as BERT"]), texts(8), "compile")  # a folder that bench can run


@pytest.mark.parametrize("other", ["freeze", "layer-drop", "lora", "quantise", "sparse-embedding"])
def test_what_is_for_models_of_bench_alone_is_refused_with_it(other: str) -> None:
    with pytest.raises(UsageError, match="the other is for those that bench computes itself"):
        recipes.named(f"{other}+compile")


def test_what_makes_the_code_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match=r"no C\+\+ compiler \(apt install g\+\+"):
        recipes.check("compile", use("some/model"), {})
    monkeypatch.setattr("bench.recipes.compile.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install triton"):
        recipes.check("compile", use("some/model", "cuda"), {})


def test_it_is_prepared_last_whatever_it_is_combined_with() -> None:
    assert recipes.named("bf16+compile") == "compile+bf16"
