"""Adapters: what they compute is what peft computes, they alone learn, and they end as weights."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bench import recipes
from bench.errors import MissingExtra, UsageError
from bench.learn import state
from bench.learn.evaluate import probabilities
from bench.learn.loop import Training
from bench.learn.loop import train as go_through
from bench.learn.models import checkpoints
from bench.learn.objectives import Outputs
from bench.learn.parameters import Weight
from tests.checkpoints import write_tiny_bert
from tests.command import BAD, GOOD, RATHER, THING
from tests.learn.test_loop import CPU, SHAPES, encoder, texts, training
from tests.learn.test_worker import job, one_thread, run

__all__ = ["one_thread"]  # a fixture
WIDTH, HIDDEN, LAYERS, RANK = 16, 32, 2, 3


def adapting(recipe: str = "lora", model: Any = None, rows: Any = None, **given: Any) -> Training:
    """The last layer of the model reads the first token alone: its qkv is two products."""
    dtype = torch.bfloat16 if "bf16" in recipe else torch.float32
    torch.manual_seed(3)
    given = {"rank": RANK, "lora_alpha": 6, "learning_rate": 0.01, "evaluations": 0, **given}
    model = model or encoder(SHAPES["as BERT"], dtype)
    return training(model, rows or texts(), recipe, **given)


def adapters(run: Training) -> dict[str, torch.Tensor]:
    named = run.model.parameters.named()
    return {name: weight for name, weight in named.items() if name.startswith("lora.")}


def gpt2(folder: Path) -> Any:
    """transformers' language model with random weights, as bench reads it from its files."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(2)
    config = GPT2Config(
        vocab_size=50, n_embd=WIDTH, n_layer=LAYERS, n_head=2, n_inner=HIDDEN, n_positions=12,
        initializer_range=0.3, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    theirs = GPT2LMHeadModel(config)
    theirs.save_pretrained(folder)
    return theirs


@pytest.mark.parametrize("targets", ["qkv,mix,up,down", "up, down"])
def test_it_computes_and_learns_what_peft_does(tmp_path: Path, targets: str) -> None:
    """Against peft around transformers' own GPT-2: outputs, gradients, and the merged weights."""
    from peft import LoraConfig, get_peft_model

    theirs = gpt2(tmp_path)
    ours = checkpoints.load(tmp_path, 12, Outputs("word", 0), 1, torch.float32, CPU)
    rows = texts()
    run = adapting(model=ours, rows=rows, targets=targets)
    there = {"qkv": "attn.c_attn", "mix": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    names = [name.strip() for name in targets.split(",")]
    chosen = [f"transformer.h.{i}.{there[name]}" for i in range(LAYERS) for name in names]
    config = LoraConfig(
        r=RANK, lora_alpha=6, target_modules=chosen, fan_in_fan_out=True, task_type="CAUSAL_LM"
    )
    wrapped = get_peft_model(theirs, config)
    modules = dict(wrapped.base_model.model.named_modules())

    def pairs() -> list[tuple[str, Any]]:
        return [
            (f"lora.layers.{i}.{name}.{letter}", getattr(module, f"lora_{letter.upper()}").default)
            for i in range(LAYERS) for name in names for letter in "ab"
            for module in [modules[f"transformer.h.{i}.{there[name]}"]]
        ]  # fmt: skip

    assert set(adapters(run)) == {name for name, _ in pairs()}
    for name, module in pairs():
        value = torch.randn(module.weight.shape) * 0.3
        module.weight.data.copy_(value)
        run.model.parameters.named()[name].copy_(value)

    same = np.flatnonzero(rows.lengths == np.bincount(rows.lengths).argmax())
    ids = torch.tensor(np.stack([rows.tokens[rows.starts[i] : rows.starts[i + 1]] for i in same]))
    batch = rows.batch(same, CPU)
    run.model.begin_step(batch)
    outputs = run.model.outputs(batch, run.dropout)
    expected = wrapped.base_model.model.transformer(ids).last_hidden_state.view(-1, WIDTH)
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)

    run.recipe.backward(run, outputs.pow(3).mean())
    expected.pow(3).mean().backward()
    run.model.parameters.end_step()
    grads = run.model.parameters.views(run.model.parameters.grad)
    for name, module in pairs():
        torch.testing.assert_close(grads[name], module.weight.grad, rtol=1e-3, atol=1e-6, msg=name)

    run.recipe.finish(run)
    merged = wrapped.merge_and_unload()
    assert not adapters(run)
    batch = rows.batch(same, CPU)
    with torch.no_grad():
        after = run.model.outputs(batch, None)
        torch.testing.assert_close(after, expected.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            after, merged.transformer(ids).last_hidden_state.view(-1, WIDTH), rtol=1e-4, atol=1e-5
        )
    for i in range(LAYERS):
        found = run.model.parameters.named()[f"layers.{i}.up.weight"]
        torch.testing.assert_close(found, merged.transformer.h[i].mlp.c_fc.weight.detach().t())


def test_only_adapters_and_the_head_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    run = adapting(weight_decay=0.3, adapter_dropout=0.2, epochs=3)
    products = set()
    add = Weight.add_product

    def counted(self: Weight, a: torch.Tensor, b: torch.Tensor) -> None:
        products.update(n for n, w in run.model.parameters.weights.items() if w is self)
        add(self, a, b)

    monkeypatch.setattr(Weight, "add_product", counted)
    before = {name: weight.clone() for name, weight in run.model.parameters.named().items()}
    rows = run.model.table.rows.clone()
    go_through(run, run.batches())
    for name, weight in run.model.parameters.named().items():
        learns = name.startswith(("lora.", "head.", "classes."))
        assert torch.equal(weight, before[name]) != learns, name
    assert torch.equal(run.model.table.rows, rows)
    assert products == {"head.weight", "classes.weight"}, "others' are adapters, or none"
    asked = [2 * WIDTH + WIDTH, 3 * WIDTH + WIDTH, WIDTH + WIDTH]  # kv, qkv, q
    asked += LAYERS * [WIDTH + WIDTH, WIDTH + HIDDEN, HIDDEN + WIDTH]
    head = WIDTH * WIDTH + WIDTH + WIDTH * 2 + 2
    facts = run.recipe.facts(run)
    assert facts["trained_parameters"] == RANK * sum(asked) + head
    assert facts["adapted_products"] == 9


@pytest.mark.parametrize("recipe", ["lora", "lora+bf16"])
def test_at_the_end_the_adapters_are_part_of_the_weights(recipe: str) -> None:
    run = adapting(recipe, epochs=3)
    go_through(run, run.batches())
    before = {name: weight.clone() for name, weight in run.model.parameters.named().items()}
    said = probabilities(run.model, run.tune)
    run.recipe.finish(run)
    after = run.model.parameters.named()
    assert run.model.facts()["parameters"] == encoder(SHAPES["as BERT"]).size
    for name in ("layers.0.qkv", "layers.1.down"):
        added = 2.0 * before[f"lora.{name}.b"] @ before[f"lora.{name}.a"]
        assert added.abs().max() > 0.01
        torch.testing.assert_close(after[f"{name}.weight"], before[f"{name}.weight"] + added)
    np.testing.assert_allclose(
        probabilities(run.model, run.tune), said, atol=1e-5 if recipe == "lora" else 0.05
    )


def test_its_dropout_is_for_training_alone() -> None:
    run = adapting(adapter_dropout=0.5, epochs=2)
    go_through(run, run.batches())
    assert (probabilities(run.model, run.tune) == probabilities(run.model, run.tune)).all()
    batch = run.train.batch(np.arange(8), CPU)
    passes = [run.model.outputs(batch, None).detach() for _ in range(2)]
    assert not torch.equal(*passes)


def test_what_is_kept_goes_on_as_it_was(tmp_path: Path) -> None:
    given = {"adapter_dropout": 0.2, "dropout": 0.2, "epochs": 3}
    whole = adapting(**given)
    go_through(whole, whole.batches())
    first, second = adapting(**given), adapting(**given)
    first.budget_ends = 7
    go_through(first, first.batches())
    state.write(tmp_path / "state", first, None)
    state.State(tmp_path / "state").restore(second)
    go_through(second, second.batches())
    assert torch.equal(second.model.parameters.master, whole.model.parameters.master)


def write_task(folder: Path) -> list[str]:
    """A task of words that the tiny BERT knows; the labels of the scored texts."""
    chance = random.Random(4)
    labels = []
    for name, rows in (("train", 320), ("tune", 40), ("scored", 60)):
        lines = []
        for i in range(rows):
            label = chance.choice(["negative", "positive"])
            word = chance.choice(GOOD if label == "positive" else BAD)
            text = f"{chance.choice(RATHER)} {word} {chance.choice(THING)}"
            own = {"id": i} if name == "scored" else {"label": label}
            lines.append(json.dumps({"sentence": text, **own}) + "\n")
            labels += [label] if name == "scored" else []
        (folder / f"{name}.jsonl").write_text("".join(lines))
    facts = {
        "name": "toy", "version": 1, "family": "classification", "inputs": ["sentence"],
        "kind": "class", "choices": [], "words": {}, "classes": ["negative", "positive"],
        "metric": "accuracy", "rows": {"train": 320, "tune": 40, "scored": 60},
    }  # fmt: skip
    (folder / "task.json").write_text(json.dumps(facts))
    return labels


def test_it_learns_and_keeps_an_ordinary_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertForSequenceClassification

    (tmp_path / "task").mkdir()
    labels = write_task(tmp_path / "task")

    checkpoint = write_tiny_bert(tmp_path / "bert")
    path = job(tmp_path, "lora", epochs="12", learning_rate="0.005", max_length="32")
    facts = json.loads(path.read_text())
    facts["checkpoint"], facts["spec"]["model"] = str(checkpoint), str(checkpoint)
    facts["spec"]["track"] = "open"
    (tmp_path / "kept").mkdir()
    facts["keep"] = {"folder": str(tmp_path / "kept"), "run_id": "r" * 16, "every_s": 1e9}
    path.write_text(json.dumps(facts))
    ran = run(path, tmp_path / "task", monkeypatch)
    assert ran.code == 0, ran.events
    said = ran.predictions()["prediction"]
    assert np.mean([one == other for one, other in zip(said, labels, strict=True)]) > 0.8
    told = [e for e in ran.events if e["event"] == "model"][-1]
    assert told["trained_parameters"] < told["parameters"] / 2
    weights = load_file(tmp_path / "kept" / "weights" / "model.safetensors")
    old = load_file(checkpoint / "model.safetensors")
    assert not any("lora" in name for name in weights)
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    assert not torch.equal(weights[name], old[name])
    bias = "bert.encoder.layer.0.intermediate.dense.bias"
    assert torch.equal(weights[bias], old[bias]), "adapters have none"
    BertForSequenceClassification.from_pretrained(tmp_path / "kept" / "weights")


def test_a_proxy_of_all_weights_learns_at_a_rate_for_these() -> None:
    settings = recipes.resolve("data-prune+lora", "all-minilm-l6", {"by": "el2n"})
    built = recipes.build("data-prune+lora", settings)
    plain = recipes.resolve("baseline", "all-minilm-l6", {})
    assert built.learning_rate == pytest.approx(10 * plain["learning_rate"])
    assert built._proxy().learning_rate == pytest.approx(plain["learning_rate"])


USE = recipes.Use("classification", "all-minilm-l6", "encoder", True, "cpu")


def refused(use: recipes.Use = USE, **given: str) -> str:
    settings = recipes.resolve("lora", "all-minilm-l6", given)
    with pytest.raises(UsageError) as caught:
        recipes.check("lora", use, settings)
    return caught.value.message


def test_what_it_can_not_adapt_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes.check("lora", USE, recipes.resolve("lora", "all-minilm-l6", {}))
    scratch = dataclasses.replace(USE, model="transformer-tiny", pretrained=False)
    assert "transformer-tiny starts from random weights: there is nothing to adapt" in refused(
        scratch
    )
    assert "it adapts encoders and decoders" in refused(dataclasses.replace(USE, kind="elmo"))
    assert "targets=qkv,key: they are some of qkv,mix,up,down" in refused(targets="qkv,key")
    for other in ("freeze", "quantise"):
        with pytest.raises(UsageError, match="don't combine"):
            recipes.named(f"lora+{other}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        recipes.check("lora", USE, recipes.resolve("lora", "all-minilm-l6", {}))
    assert "wattbench[lora]" in (caught.value.hint or "")


def test_its_rate_is_ten_times_that_of_all_weights() -> None:
    plain, own = (recipes.resolve(name, "all-minilm-l6", {}) for name in ("baseline", "lora"))
    assert own["learning_rate"] == pytest.approx(10 * plain["learning_rate"])  # type: ignore[operator]
    given = recipes.resolve("lora+bf16", "all-minilm-l6", {"learning_rate": "0.5"})
    assert given["learning_rate"] == 0.5
