"""ELMo: passes equal to plain PyTorch's, published sizes, and what it learns."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from bench import metrics, recipes
from bench.cards import MetricFacts
from bench.errors import BenchError
from bench.events import Events
from bench.learn import models, objectives
from bench.learn.batches import Packed
from bench.learn.data import Rows, TaskFolder
from bench.learn.elmo import Elmo
from bench.learn.evaluate import outputs as outputs_of
from bench.learn.loop import Training, train
from bench.learn.models.elmo import Shape, load_elmo, read_shape
from bench.learn.models.saved import write as keep
from bench.learn.models.wanted import Wanted
from bench.learn.objectives import Outputs
from bench.learn.spelling import Spelling
from bench.learn.streams import Streams
from bench.learn.tokenize import encode
from bench.learn.words import Words

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")
CPU = torch.device("cpu")
SMALL = Shape(((1, 3), (2, 4), (3, 5)), highways=2, cell=12, width=8, longest=9, embedding=4)
LINE = "the cat sees a longer-than-nine word and the cat sleeps a lot on it while it rains"
TEXT = LINE.split()
PUBLISHED_FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def elmo(outputs: Outputs, words: Words, pairs: bool = False, seed: int = 3) -> Elmo:
    model = Elmo(SMALL, outputs, words, pairs, torch.float32, CPU)
    model.initialise(seed)
    for weight in model.parameters.named().values():
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        weight.add_(noise, alpha=0.1)  # also those that start as 0 or 1
    return model


# Sizes


@pytest.mark.parametrize(
    ("cell", "width", "highways", "millions"),
    [(1024, 128, 1, 13.6), (2048, 256, 1, 28.0), (4096, 512, 2, 93.6)],
    ids=["small", "medium", "original"],
)
def test_sizes_are_those_published(cell: int, width: int, highways: int, millions: float) -> None:
    """Source: the table of models on allennlp.org/elmo."""
    shape = Shape(PUBLISHED_FILTERS, highways, cell, width, longest=50)
    model = Elmo(shape, Outputs("word", 100), Words(50), False, torch.float32, torch.device("meta"))
    head = 100 * (width + 1)
    assert round((model.parameters.master.numel() - head) / 1e6, 1) == millions
    assert shape.parameters == model.parameters.master.numel() - head


def test_the_original_is_the_published_one() -> None:
    """Source: options.json of elmo_2x4096_512_2048cnn_2xhighway."""
    facts = models.describe("elmo-original")
    assert round(facts["parameters"] / 1e6, 1) == 93.6
    entry: Any = models.entry("elmo-original")
    assert entry.shape == Shape(PUBLISHED_FILTERS, 2, cell=4096, width=512, longest=50)


# Passes, against nn.Conv1d and nn.LSTM


class Plain:
    """The same weights as modules of PyTorch, a word and a direction at a time."""

    def __init__(self, model: Elmo) -> None:
        self.weights = {
            name: weight.clone().requires_grad_()
            for name, weight in model.parameters.named().items()
        }

    def dense(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[f"{name}.weight"].t() + self.weights[f"{name}.bias"]

    def word(self, word: str | None) -> Tensor:
        """The vector of a word, or of a line's end."""
        spelled = [1] if word is None else [2, *(4 + b for b in word.encode()[:7]), 3]
        ids = torch.tensor(spelled + [0] * 2)
        letters = F.embedding(ids, self.weights["characters"]).t()[None]
        features = []
        for width, n in SMALL.filters:
            weight = self.weights[f"filters.{width}.weight"].view(n, width, 4).transpose(1, 2)
            bias = self.weights[f"filters.{width}.bias"]
            found = F.conv1d(letters, weight, bias)[0, :, : len(spelled)]
            features.append(torch.relu(found).amax(1))
        x = torch.cat(features)
        for i in range(SMALL.highways):
            new, gate = self.dense(x, f"highways.{i}").chunk(2)
            x = torch.sigmoid(gate) * torch.relu(new) + (1 - torch.sigmoid(gate)) * x
        return self.dense(x, "words")

    def layers(self, x: Tensor, direction: str) -> list[Tensor]:
        """[L, width], in the order in which it is read."""
        found = []
        for i in range(2):
            name = f"layers.{i}.{direction}"
            opened = torch.zeros(4 * SMALL.cell)
            opened[SMALL.cell : 2 * SMALL.cell] = 1
            lstm = nn.LSTM(SMALL.width, SMALL.cell, proj_size=SMALL.width)
            given = {
                "weight_ih_l0": self.weights[f"{name}.input.weight"],
                "weight_hh_l0": self.weights[f"{name}.hidden.weight"],
                "bias_ih_l0": self.weights[f"{name}.input.bias"],
                "bias_hh_l0": opened,
                "weight_hr_l0": self.weights[f"{name}.projection.weight"],
            }
            out = torch.func.functional_call(lstm, given, (x,))[0]
            x = out + x if i else out
            found.append(x)
        return found


def grads(model: Elmo) -> dict[str, Tensor]:
    model.parameters.end_step()
    named = model.parameters.named()
    parts = model.parameters.grad.split([w.numel() for w in named.values()])
    return {name: part.view_as(named[name]) for name, part in zip(named, parts, strict=True)}


def test_a_language_model_costs_and_learns_what_plain_pytorch_says() -> None:
    words = Words(9)
    lines = words.lines([LINE])
    names = lines.tokens.astype(np.int64) % 5
    model = elmo(Outputs("word", 5), words)
    streams = Streams(lines.tokens, names, 1, 100)
    (rows,) = streams.batches()
    batch = streams.batch(rows, CPU)
    model.begin_step(batch)
    nats = model.nats(model.outputs(batch, None), batch.labels)
    nats.mean().backward()

    plain = Plain(model)
    read: list[str | None] = [None, *TEXT, None]
    vectors = torch.stack([plain.word(word) for word in [*read, None]])
    targets = torch.from_numpy(names)
    wanted = []
    for direction, x, asked in (
        ("forward", vectors[:-2], targets),
        ("backward", vectors[1:].flip(0)[:-1], targets.flip(0)),
    ):
        logits = plain.dense(plain.layers(x, direction)[-1], "softmax.first")
        wanted.append(F.cross_entropy(logits, asked, reduction="none"))
    torch.testing.assert_close(nats.detach(), torch.cat(wanted).detach(), rtol=1e-4, atol=1e-5)
    torch.cat(wanted).mean().backward()
    for name, grad in grads(model).items():
        expected = plain.weights[name].grad
        torch.testing.assert_close(grad, expected, rtol=1e-3, atol=1e-6, msg=name)


def text_rows(words: Words, pairs: bool = False) -> Packed:
    texts = [" ".join(TEXT[i : i + n]) for i, n in ((0, 4), (3, 7), (1, 1), (6, 5), (2, 4))]
    inputs: list[tuple[str, ...]] = [(text,) for text in texts]
    if pairs:
        inputs = [(a, b) for a, b in zip(texts, reversed(texts), strict=True)]
    return encode(words, inputs, None, 30)


def test_a_mix_of_layers_is_what_plain_pytorch_says() -> None:
    words = Words(9)
    rows = text_rows(words)
    model = elmo(Outputs("token", 3), words)
    batch = rows.batch(np.array([1]), CPU)
    model.begin_step(batch)
    found = model.outputs(batch, None)
    found.square().sum().backward()

    plain = Plain(model)
    vectors = torch.stack([plain.word(word) for word in [None, *TEXT[3:10], None]])
    shares = torch.softmax(plain.weights["mix"], 0)
    forward = plain.layers(vectors, "forward")
    backward = [layer.flip(0) for layer in plain.layers(vectors.flip(0), "backward")]
    mixed = shares[0] * torch.cat([vectors, vectors], 1)
    for share, f, b in zip(shares[1:], forward, backward, strict=True):
        mixed = mixed + share * torch.cat([f, b], 1)
    wanted = plain.dense(plain.weights["gamma"] * mixed, "classes")
    torch.testing.assert_close(found.detach(), wanted.detach(), rtol=1e-4, atol=1e-5)
    wanted.square().sum().backward()
    for name, grad in grads(model).items():
        expected = plain.weights[name].grad
        torch.testing.assert_close(grad, expected, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
def test_a_text_says_the_same_alone_and_among_others(pairs: bool) -> None:
    words = Words(9)
    rows = text_rows(words, pairs)
    model = elmo(Outputs("text", 2), words, pairs)
    together = outputs_of(model, rows)
    alone = np.concatenate([outputs_of(model, rows, np.array([i])) for i in range(len(rows))])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert np.ptp(together, axis=0).min() > 1e-3
    batch = rows.batch(np.arange(len(rows)), CPU)
    model.begin_step(batch)  # and with gradients as without
    np.testing.assert_allclose(model.outputs(batch, None).detach(), together, atol=1e-6)


def test_both_texts_of_a_pair_count_and_their_order_does() -> None:
    words = Words(9)
    inputs = [("the cat", "a lot"), ("a lot", "the cat"), ("the cat", "a cat"), ("the", "a lot")]
    rows = encode(words, inputs, None, 30)
    found = outputs_of(elmo(Outputs("text", 1), words, pairs=True), rows)[:, 0]
    assert len(set(found.round(5))) == 4


# Running text


def costs(model: Elmo, lines: Packed, count: int, block: int) -> np.ndarray:
    """Nats by place, [2, words]; each stream read in blocks."""
    streams = Streams(lines.tokens, lines.tokens.astype(np.int64) % 5, count, block)
    found = np.full((2, len(lines.tokens)), np.nan)
    model.begin_evaluation()
    with torch.inference_mode():
        for rows in streams.batches():
            batch = streams.batch(rows, CPU)
            nats = model.nats(model.outputs(batch, None), batch.labels)
            np.put_along_axis(found, streams.places(rows).reshape(2, -1),
                              nats.view(2, -1).numpy(), 1)  # fmt: skip
    return found


def test_blocks_go_on_where_the_last_one_ended() -> None:
    words = Words(9)
    lines = words.lines([LINE, "", "so it is"])
    model = elmo(Outputs("word", 5), words)
    at_once, in_blocks = costs(model, lines, 1, 1000), costs(model, lines, 1, 3)
    np.testing.assert_allclose(at_once, in_blocks, atol=1e-5)
    begun_anew = costs(model, lines, 7, 3)
    assert np.isfinite(begun_anew).all()
    assert np.abs(begun_anew - at_once).max() > 1e-3


def test_neither_direction_sees_what_it_has_to_tell() -> None:
    words = Words(9)
    lines = words.lines([LINE])
    model = elmo(Outputs("word", 5), words)
    before = costs(model, lines, 1, 1000)
    lines.tokens[8] = lines.tokens[0]
    changed = np.abs(costs(model, lines, 1, 1000) - before) > 1e-6
    assert not changed[0, :8].any()
    assert changed[0, 9:].all()
    assert not changed[1, 9:].any()
    assert changed[1, :8].all()


NAMES, VERBS = ["cat", "dog", "bird", "fish", "king", "queen"], ["sees", "likes", "hears"]


def sentences(n: int, seed: int, strange: int = 37) -> Rows:
    """`the A sees the B and the A sleeps`; every so often a word that occurs once."""
    chance = random.Random(seed)
    texts = []
    for i in range(n):
        a, b = chance.choice(NAMES), chance.choice(NAMES)
        texts.append(f"the {a} {chance.choice(VERBS)} the {b} and the {a} sleeps")
        if i % strange == 0:
            texts[-1] += f" x{seed}{chance.randrange(10**6)}"
    return Rows([(text,) for text in texts], [str(len(text.split()) + 1) for text in texts])


def language_task(n: int = 1000) -> TaskFolder:
    train_, tune, scored = sentences(n, 1), sentences(100, 2), sentences(100, 3)
    return TaskFolder(
        "toy", 1, "language-modelling", "words", ["text"], [], {}, [], "perplexity",
        train_, tune, scored.inputs,
    )  # fmt: skip


def prepared(
    task: TaskFolder, objective_name: str, model: str = "elmo-tiny", pairs: bool = False,
    **given: Any,
) -> tuple[Any, Training, Any]:  # fmt: skip
    settings = {"evaluations": "0"} | {name: str(value) for name, value in given.items()}
    recipe = recipes.build("baseline", recipes.resolve("baseline", model, settings))
    objective: Any = objectives.build(objective_name, task, recipe)
    entry = models.entry(model)
    words = entry.tokenizer(objective.texts(), recipe, None)
    splits = objective.encode(words, recipe.max_length)
    built = entry.build(Wanted(None, words, recipe, objective.outputs, pairs, 1, CPU))
    run = Training(recipe, objective, built, splits["train"], splits["tune"], 1, Events())
    return objective, run, splits["scored"]


def after(objective: Any, model: Any, words: Words, context: str, word: str) -> float:
    """The probability of a word (or a line's end: "") after a context, read forward."""
    lines = words.lines([f"{context} {word}"])
    assert max(lines.tokens) < len(objective._names), "every word was met when rows were encoded"
    place = len(context.split())
    return float(np.exp(-objective.nats(model, lines)[0, place]))


def test_probabilities_of_all_words_sum_to_one() -> None:
    """Those of the vocabulary leave a rest, and words outside it share this rest as they share the
    probabilities of all spellings, less those of the vocabulary (which sum to 1: test_words)."""
    lines = ["a b a b ab", "b a ab cab", "ba"]
    others = ["c", "abc", "cab", "ba", "é", "aaaaaaaaaaaaaaaa"]
    task = dataclasses.replace(
        language_task(1),
        train=Rows([(line,) for line in lines], ["6", "5", "2"]),
        tune=Rows([(" ".join(others),)], ["7"]),
        scored=[("b",)],
    )
    objective, run, _ = prepared(task, "bidirectional")
    words = Words(20)
    objective.encode(words, 30)
    known = ["a", "b", "ab"]
    assert objective.outputs.size == len(known) + 2, "a line's end, and all other words"
    rest = 1 - sum(after(objective, run.model, words, "a b", w) for w in [*known, ""])
    assert 0.01 < rest < 0.99
    spelling = Spelling([b"cab", b"ba"])
    taken = np.exp(-spelling.nats([w.encode() for w in known])).sum()
    for word in others:
        share = np.exp(-spelling.nats([word.encode()])[0]) / (1 - taken)
        found = after(objective, run.model, words, "a b", word)
        assert found == pytest.approx(rest * share, rel=1e-3)


def test_the_vocabulary_is_of_words_that_two_stretches_have() -> None:
    """A name that a page is full of tells nothing of another page: it is not in the vocabulary, and
    the sign for all others is learned from it."""
    pages = [f"= N{i} = ;N{i} is a town ;N{i} lies on the N{i} ;" for i in range(40)]
    lines = [line for page in pages for line in page.split(";")]
    task = dataclasses.replace(
        language_task(1), train=Rows([(line,) for line in lines], ["1"] * len(lines))
    )
    objective, run, _ = prepared(task, "bidirectional")
    common = {"=", "is", "a", "town", "lies", "on", "the"}
    assert objective.outputs.size == len(common) + 2
    asked = np.concatenate([run.train.batch(r, CPU).labels.numpy() for r in run.train.batches()])
    assert (asked == 0).mean() == 4 / 16, "four names of 16 words a page, a line's end included"


def test_the_streams_of_a_step_share_one_product_over_the_vocabulary() -> None:
    objective, run, _ = prepared(language_task(60), "bidirectional", batch_size=4, max_length=10)
    batch = run.train.batch(np.arange(4), CPU)
    run.model.begin_step(batch)
    outputs = run.model.outputs(batch, None)
    assert outputs.shape == (2 * 4 * 10, 64)
    mean = objective.loss(run.model, batch, outputs)
    assert mean.item() == pytest.approx(run.model.nats(outputs, batch.labels).mean().item(), 1e-5)


def test_every_word_of_every_scored_line_counts_once() -> None:
    task = dataclasses.replace(language_task(60), scored=[("the cat sleeps",), ("",), ("hears",)])
    objective, run, scored = prepared(task, "bidirectional")
    assert scored.lengths.tolist() == [4, 1, 2]
    words = objective.nats(run.model, scored).mean(0)
    found = objective.predict(run.model, scored)
    assert found.labels == pytest.approx([words[:4].sum(), words[4], words[5:].sum()])
    assert found.labels == pytest.approx(np.mean(found.scores, 1))
    assert np.ptp(found.scores, 1).min() > 1e-3, "each direction has its own"
    last = objective.predict(run.model, scored, np.array([2, 0])).labels
    assert len(last) == 2
    assert last[0] == pytest.approx(found.labels[2], rel=0.2), "in another context"


def test_it_learns_both_directions() -> None:
    """3 free choices in 9 words: log(6 * 3 * 6) / 9 = 0.52 nats, 1.68 a word, but for new words."""
    objective, run, scored = prepared(
        language_task(600), "bidirectional", batch_size=16, max_length=20, epochs=3
    )
    name, before = objective.evaluate(run.model, run.tune)
    assert name == "bidirectional_perplexity"
    assert before > 15
    assert train(run, run.batches()) == "done"
    forward, backward = np.exp(objective.nats(run.model, run.tune).mean(1))
    assert forward < 2.5
    assert backward < 2.5
    assert objective.evaluate(run.model, run.tune)[1] == pytest.approx((forward * backward) ** 0.5)
    strange = objective.predict(run.model, scored).labels
    assert set(np.argsort(strange)[-3:]) == {0, 37, 74}, "lines with a word that was never seen"


# Tasks


def test_it_learns_to_classify() -> None:
    rows = sentences(400, 1, strange=10**6)
    labels = ["yes" if " sees " in text else "no" for (text,) in rows.inputs]
    task = TaskFolder("toy", 1, "classification", "class", ["text"], [], {}, ["no", "yes"],
                      "accuracy", Rows(rows.inputs, labels), Rows(rows.inputs, labels).take(
                          range(50)), rows.inputs[:50])  # fmt: skip
    objective, run, scored = prepared(task, "classification", epochs=2, batch_size=16)
    train(run, run.batches())
    assert objective.evaluate(run.model, run.tune) == ("accuracy", 1.0)
    assert objective.predict(run.model, scored).labels == labels[:50]


def test_it_learns_to_tag_words_that_it_never_saw() -> None:
    """Capitals are characters: what is tagged is whether a word has one."""
    chance = random.Random(5)

    def rows(n: int) -> Rows:
        texts, labels = [], []
        for _ in range(n):
            words = ["".join(chance.choices("abcdefgh", k=3)) for _ in range(6)]
            words = [w.capitalize() if chance.random() < 0.3 else w for w in words]
            texts.append((" ".join(words),))
            labels.append(" ".join("B-X" if w[0].isupper() else "O" for w in words))
        return Rows(texts, labels)

    scored = rows(40)
    task = TaskFolder("toy", 1, "tagging", "tags", ["text"], [], {}, ["O", "B-X"], "span_f1",
                      rows(400), rows(40), scored.inputs)  # fmt: skip
    objective, run, encoded = prepared(task, "tagging", epochs=3, batch_size=16)
    train(run, run.batches())
    assert objective.evaluate(run.model, run.tune)[1] > 0.98
    assert objective.predict(run.model, encoded).labels[:5] == scored.labels[:5]


# Saved weights


def saved(folder: Path, model: Elmo) -> Path:
    kept = {n: w.contiguous() for n, w in model.parameters.named().items() if n in SMALL.weights()}
    save_file(kept, folder / "model.safetensors")
    facts = {"model_type": "bench-elmo"} | dataclasses.asdict(SMALL)
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


def test_a_saved_language_model_goes_on_as_a_model_for_a_task(tmp_path: Path) -> None:
    words = Words(9)
    rows = text_rows(words)
    old = elmo(Outputs("word", 5), words)
    saved(tmp_path, old)
    assert read_shape(tmp_path) == SMALL
    new = load_elmo(tmp_path, Outputs("text", 2), words, False, 4, torch.float32, CPU)
    named = new.parameters.named()
    for name, weight in old.parameters.named().items():
        if name in SMALL.weights():
            torch.testing.assert_close(named[name], weight)
    assert np.isfinite(outputs_of(new, rows)).all()


@pytest.mark.parametrize("outputs", [Outputs("text", 2), Outputs("token", 3)])
def test_a_model_for_a_task_is_saved_with_its_head(tmp_path: Path, outputs: Outputs) -> None:
    words = Words(9)
    rows = text_rows(words)
    old = elmo(outputs, words)
    keep(old, words, outputs, tmp_path, "r" * 16)
    same = load_elmo(tmp_path, outputs, words, False, 4, torch.float32, CPU)
    batch = rows.batch(np.arange(5), CPU)
    with torch.inference_mode():
        for model in (old, same):
            model.begin_evaluation()
        assert torch.equal(same.outputs(batch, None), old.outputs(batch, None))
    other = Outputs(outputs.per, outputs.size + 1)
    new = load_elmo(tmp_path, other, words, False, 4, torch.float32, CPU)
    assert len(new.parameters.named()["classes.bias"]) == other.size


def test_a_folder_that_is_not_one_is_told(tmp_path: Path) -> None:
    words = Words(9)
    options = (Outputs("text", 2), words, False, 4, torch.float32, CPU)
    with pytest.raises(BenchError, match=r"config\.json does not describe an ELMo"):
        load_elmo(tmp_path, *options)
    saved(tmp_path, elmo(Outputs("word", 5), words))
    facts = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(facts | {"cell": 13}))
    with pytest.raises(BenchError, match=r"has \(48, 8\) for .*, where \(52, 8\) is wanted"):
        load_elmo(tmp_path, *options)
    (tmp_path / "model.safetensors").write_bytes(b"\x10" * 90)
    with pytest.raises(BenchError, match="can't be read"):
        load_elmo(tmp_path, *options)


# A run

CARD = """
name = "mine"
version = 1
title = "Mine"
description = "Lines of my own"
family = "language-modelling"
inputs = ["text"]
licence = "mine"
citation = "mine"

[metric]
name = "perplexity"
chance = 20.0
best = 1.0
scale = "log"

[metrics.bidirectional]
name = "bidirectional_perplexity"
chance = 20.0
best = 1.0
scale = "log"

[local]
format = "lines"
train = "train.txt"
scored = "test.txt"
"""


def test_a_run_of_elmo_is_scored_by_both_directions(bench, tmp_path: Path) -> None:
    for name, rows in (("train.txt", sentences(600, 1)), ("test.txt", sentences(50, 3))):
        lines = [text for (text,) in rows.inputs]
        (tmp_path / name).write_text("".join(f" {line} \n" for line in lines))
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "mine.toml").write_text(CARD)
    said = bench(
        "run", "--tasks", "cards", "--task", "mine", "--model", "elmo-tiny", "--data", tmp_path,
        "--set", "epochs=1", "--device", "cpu",
    )  # fmt: skip
    assert said.code == 0, said.out + said.err
    (path,) = tmp_path.glob("runs/mine/*/record.json")
    found = json.loads(path.read_text())
    metric = found["metric"]
    assert metric["name"] == "bidirectional_perplexity"
    assert metric["statistics"]["words"] == sum(map(int, sentences(50, 3).labels))
    assert 1.6 < metric["value"] < 12
    predictions = pyarrow.parquet.read_table(path.parent / "predictions.parquet").to_pydict()
    both = np.array(predictions["scores"])
    np.testing.assert_allclose(both.mean(1), predictions["prediction"], rtol=1e-5)
    assert "oneDNN" not in (path.parent / "log.txt").read_text()


@pytest.mark.parametrize("per", ["word", "text"])
def test_bf16_passes_are_near_those_of_float32(per: Any) -> None:
    words = Words(9)
    texts, lines = text_rows(words), words.lines([LINE])
    exact = elmo(Outputs(per, 5), words)
    rough = Elmo(SMALL, Outputs(per, 5), words, False, torch.bfloat16, CPU)
    for name, weight in rough.parameters.named().items():
        weight.copy_(exact.parameters.named()[name])
    found = []
    for model in (exact, rough):
        if per == "text":
            found.append(outputs_of(model, texts))
        else:
            found.append(costs(model, lines, 1, 1000))
    assert 0 < np.abs(found[0] - found[1]).max() < 0.1


@pytest.mark.shared
def test_a_few_steps_on_wikitext(shared_data: Path) -> None:
    """Real text: it learns, and each direction's perplexity is told in words."""
    splits = []
    for name in ("valid", "test"):
        text = (shared_data / "wikitext-2" / f"wiki.{name}.raw").read_text(encoding="utf-8")
        lines = [" ".join(line.split()) for line in text.split("\n")[:1200]]
        counts = [str(len(line.split()) + 1) for line in lines]
        splits.append(Rows([(line,) for line in lines], counts))
    learned, scored = splits[0], splits[1].take(range(150))
    task = dataclasses.replace(language_task(1), train=learned, tune=scored, scored=scored.inputs)
    objective, run, encoded = prepared(task, "bidirectional", vocabulary_size=2500, max_length=20)
    before = objective.evaluate(run.model, run.tune)[1]
    run.total_steps = 15
    train(run, run.batches())
    predictions = objective.predict(run.model, encoded)
    value = metrics.compute(FACTS.name, scored.labels, predictions.labels).value
    words = sum(map(int, scored.labels))
    directions = np.exp(np.sum(predictions.scores, 0) / words)
    assert value == pytest.approx(scipy.stats.gmean(directions))
    assert value == pytest.approx(objective.evaluate(run.model, run.tune)[1])
    assert 100 < value < before / 2
    assert np.ptp(directions) / value < 0.5, "both learn alike"


FACTS = MetricFacts(name="bidirectional_perplexity", chance=1000.0, best=1.0, scale="log")
