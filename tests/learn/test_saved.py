"""Weights that a run has kept: bench starts from all, transformers from what it knows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

from bench.errors import BenchError, UsageError
from bench.learn import models as catalogue
from bench.learn import tokenize, translator
from bench.learn.batches import Packed, pack
from bench.learn.elmo import Elmo
from bench.learn.encoder import Encoder, Shape
from bench.learn.language import LanguageModel
from bench.learn.models import download, elmo, saved
from bench.learn.models.wanted import Wanted
from bench.learn.objectives import Outputs
from bench.learn.pairs import encode as encode_pairs
from bench.learn.words import Words

CPU = torch.device("cpu")
TWO = Outputs("text", 2)
RUN = "r" * 16
BERT = Shape(60, 16, 2, 2, 32, 12, segments=2, head="tanh")
GPT2 = Shape(
    60, 16, 2, 2, 32, 12, norm_first=True, causal=True, gelu="tanh", pooling="last", epsilon=1e-5
)
FAMILY = {
    "bert": BERT,
    "electra": Shape(60, 16, 2, 2, 32, 12, segments=2, embedding_width=8, head="gelu"),
    "distilbert": Shape(60, 16, 2, 2, 32, 12, head="relu"),
}
OURS = Shape(60, 16, 2, 4, 32, 12, norm_first=True, pooling="mean", epsilon=1e-5)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    lines = ["A cat sat .", "The dog sat on the mat ."] * 4
    return tokenize.train_bytes(lines, 300, ["[CLS]", "[SEP]", "[MASK]"])


def rows() -> Packed:
    """Four texts of seven tokens."""
    return pack(np.random.default_rng(1).integers(3, 60, (4, 7)).tolist(), None, None)


def ids() -> torch.Tensor:
    return torch.from_numpy(rows().tokens.astype(np.int64)).view(4, 7)


def encoder(shape: Shape, outputs: Outputs = TWO) -> Encoder:
    """With its table in an order of its own, of which most rows have not had their decay."""
    model = Encoder(shape, outputs.size, torch.float32, CPU, outputs.per == "token")
    model.initialise(3, deviation=0.3)
    model.parameters.named()["classes.bias"].copy_(torch.arange(outputs.size))
    model.table.touched = 5
    model.table.decay_others(0.5)
    return model


def logits(model: Any, renumber: np.ndarray | None = None) -> torch.Tensor:
    texts = rows()
    if renumber is not None:
        texts.renumber(renumber)
    model.begin_evaluation()
    with torch.inference_mode():
        return model.outputs(texts.batch(np.arange(4), CPU), None)


def kept(model: Any, tokenizer: Any, outputs: Outputs, folder: Path) -> Path:
    folder.mkdir()
    saved.write(model, tokenizer, outputs, folder, RUN)
    return folder


def load(kind: str, folder: Path) -> Any:
    model = getattr(transformers, kind).from_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize("per", ["text", "token"])
def test_transformers_computes_the_same(
    kind: str, per: Any, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    outputs = Outputs(per, 3)
    model = encoder(FAMILY[kind], outputs)
    model.reorder(order := np.random.default_rng(2).permutation(60))
    model.table.touched, model.table._behind = 5, 0.5
    folder = kept(model, tokenizer, outputs, tmp_path / "weights")
    head = "SequenceClassification" if per == "text" else "TokenClassification"
    with torch.inference_mode():
        theirs = load(f"AutoModelFor{head}", folder)(ids()).logits
    ours = logits(model, np.argsort(order))
    torch.testing.assert_close(ours, theirs.reshape(ours.shape), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "kind"), [(BERT, "AutoModelForMaskedLM"), (GPT2, "AutoModelForCausalLM")]
)
def test_transformers_computes_the_same_as_a_language_model(
    shape: Shape, kind: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = LanguageModel(shape, torch.float32, CPU)
    model.initialise(3, deviation=0.3)
    if not shape.causal:
        model.parameters.named()["scores.bias"].copy_(torch.arange(60) / 10)
    folder = kept(model, tokenizer, Outputs("word", 0), tmp_path / "weights")
    theirs = load(kind, folder)(ids()).logits.view(-1, 60).log_softmax(1)
    targets = ids().flatten().roll(3)
    ours = model.nats(logits(model), targets)
    torch.testing.assert_close(
        ours, -theirs.gather(1, targets[:, None])[:, 0], rtol=1e-4, atol=1e-4
    )
    again = read(folder, Outputs("word", 0))
    assert torch.equal(again.parameters.master, model.parameters.master)


def test_a_decoder_that_tells_classes_apart_is_gpt2(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = encoder(GPT2)
    folder = kept(model, tokenizer, TWO, tmp_path / "weights")
    theirs = load("GPT2ForSequenceClassification", folder)
    theirs.config.pad_token_id = 0
    bias = torch.tensor([0.0, 1.0])  # which GPT-2's own head has not
    torch.testing.assert_close(logits(model), theirs(ids()).logits + bias, rtol=1e-4, atol=1e-4)


def test_transformers_reads_the_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = kept(encoder(BERT), tokenizer, TWO, tmp_path / "weights")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    text = "The naïve cat 😀 ."
    assert theirs(text)["input_ids"] == tokenizer.encode(text).ids
    assert theirs.mask_token_id == 2


def read(folder: Path, outputs: Outputs, pairs: bool = False, seed: int = 8, **given: Any) -> Any:
    """As `--model FOLDER` does."""
    recipe = SimpleNamespace(precision="float32", **{"max_length": 12, **given})
    entry = catalogue.entry(str(folder))
    made = entry.tokenizer([], recipe, folder)
    return entry.build(Wanted(folder, made, recipe, outputs, pairs, seed, CPU))


@pytest.mark.parametrize("shape", [OURS, BERT], ids=["ours", "bert"])
def test_another_task_starts_from_them_with_a_new_head(
    shape: Shape, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = encoder(shape)
    folder = kept(model, tokenizer, TWO, tmp_path / "weights")
    assert catalogue.describe(str(folder))["settings"] == {
        "epochs": 2.0, "batch_size": 32, "learning_rate": 3e-4, "max_length": 12
    }  # fmt: skip
    same = read(folder, TWO)
    torch.testing.assert_close(logits(same), logits(model))
    for outputs in (Outputs("text", 3), Outputs("token", 5), Outputs("text", 1)):
        other, fresh = read(folder, outputs, pairs=True), read(folder, outputs, True, seed=9)
        assert torch.equal(other.token_rows(), model.table.whole())
        named, was = other.parameters.named(), model.parameters.named()
        for name in was.keys() & named.keys():
            if not name.startswith("classes"):
                assert torch.equal(named[name], was[name]), name
        assert not torch.equal(named["classes.weight"], fresh.parameters.named()["classes.weight"])
    with pytest.raises(UsageError, match="max_length=13 is more than the 12 tokens"):
        read(folder, TWO, max_length=13)


def test_an_encoder_decoder_starts_from_them(tmp_path: Path) -> None:
    made = tokenize.train_bytes(["A cat sat ."] * 4, 300)
    model = translator.Translator(
        translator.Shape(made.get_vocab_size(), 16, 1, 2, 32), 20, torch.float32, CPU
    )
    model.initialise(1)
    folder = kept(model, made, Outputs("word", 0), tmp_path / "weights")
    assert download.kind_of(folder) == "encoder-decoder"
    again = read(folder, Outputs("word", 0))
    assert torch.equal(again.parameters.master, model.parameters.master)
    pairs = encode_pairs(made, [("A cat",)], ["sat ."], 12, 99)
    batch = pairs.batch(np.arange(1), CPU)
    assert torch.equal(again.outputs(batch, None), model.outputs(batch, None))


def test_elmo_starts_from_them_on_a_task(tmp_path: Path) -> None:
    shape = elmo.Shape(((1, 4), (2, 8)), highways=1, cell=8, width=6, longest=10)
    words = Words(shape.longest)
    words.lines(["a cat sat"])
    model = Elmo(shape, Outputs("word", 4), words, False, torch.float32, CPU)
    model.initialise(1)
    folder = kept(model, words, Outputs("word", 4), tmp_path / "weights")
    assert not (folder / "tokenizer.json").exists()
    assert download.kind_of(folder) == "elmo"
    assert download.foreign_checkpoint(str(folder)).sha256
    again = read(folder, Outputs("token", 3))
    for name in shape.weights():
        assert torch.equal(again.parameters.named()[name], model.parameters.named()[name])


def test_a_folder_of_others_is_told_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 64}))
    assert saved.settings(tmp_path) == {}


def test_weights_of_another_shape_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = kept(encoder(OURS), tokenizer, TWO, tmp_path / "weights")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden": 40}))
    with pytest.raises(
        BenchError, match=r"has \(32, 16\) for layers.0.up.weight, where \(40, 16\)"
    ):
        read(folder, TWO)
    config.pop("layers")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BenchError, match="does not say its 'layers'"):
        read(folder, TWO)
    assert dataclasses.asdict(OURS).items() - {("layers", 2)} <= config.items()
