"""Language models and their objectives: what transformers computes on the same weights, each token
counted once, and a text that nothing makes cheaper than it is."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers

from bench import recipes
from bench.errors import UsageError
from bench.events import Events
from bench.learn import data, objectives, tokenize, vocabulary, windows
from bench.learn import models as catalogue
from bench.learn.encoder import Encoder
from bench.learn.language import LanguageModel
from bench.learn.loop import Training, train
from bench.learn.models import checkpoints, published
from bench.learn.models.wanted import Wanted
from bench.learn.objectives import Outputs
from bench.learn.parameters import Parameters
from bench.metrics import language

CPU = torch.device("cpu")
LINES = [
    "A cat sat on the mat .",
    "",
    "= Dogs =",
    "The dog’s 3 bones , naïve 日本 …",
    "A cat sat .",
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# Tokens


def byte_level(special: list[str] | None = None, size: int = 300) -> Tokenizer:
    return tokenize.train_bytes(LINES * 3, size, special or [])


@pytest.mark.parametrize("at_once", [1, 7, 1 << 16])
def test_lines_are_encoded_as_the_tokenizer_does_and_lose_nothing(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(tokenize, "_AT_ONCE", at_once)
    tokenizer = byte_level()
    odd = [*LINES, "don't can 't  ".strip(), "x" * 300, "\u200b\x00\x7f ￿ 𝔘", "[CLS] <|endoftext|>"]
    odd = [data.canonical(text) for text in odd]
    tokens, lengths = tokenize.encode_lines(tokenizer, odd)
    parts = np.split(tokens, np.cumsum(lengths)[:-1])
    for text, part in zip(odd, parts, strict=True):
        *ids, end = part.tolist()
        assert end == tokenize.line_end(tokenizer)
        assert ids == tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == text


def test_what_is_special_stands_in_no_text() -> None:
    tokenizer = byte_level(["[CLS]", "[SEP]", "[MASK]"])
    mask = tokenizer.token_to_id("[MASK]")
    tokens, _ = tokenize.encode_lines(tokenizer, ["a [MASK] b [CLS]"])
    assert mask == 2
    assert mask not in tokens.tolist()
    names = tokenizer.encode("A", "cat").tokens
    assert names[0] == "[CLS]"
    assert names.count("[SEP]") == 2


def test_the_same_texts_give_the_same_byte_level_tokenizer() -> None:
    texts = [" ".join(f"w{i % 7}{i % 11}" for i in range(n, n + 9)) for n in range(200)]
    first, second = (tokenize.train_bytes(texts, 320).to_str() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "tokenizer",
    [
        tokenize.train(LINES * 3, 100),
        Tokenizer(models.BPE({"a": 0}, [])),
        tokenize.train(LINES * 3, 100, cased=True),
    ],
    ids=["lower case", "no bytes", "cased, with [UNK]"],
)
def test_a_tokenizer_that_loses_text_is_refused(tokenizer: Tokenizer) -> None:
    task = folder(LINES * 4)
    with pytest.raises(UsageError, match="loses a part of the text"):
        objective("causal", task).encode(tokenizer, 16)


def test_a_tokenizer_that_adds_a_space_is_refused() -> None:
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert not tokenize.loses_nothing(tokenizer)


# Windows


@pytest.mark.parametrize("n", [1, 5, 16, 17, 63, 64, 100])
@pytest.mark.parametrize(("length", "stride"), [(16, 16), (16, 8), (16, 5), (16, 1), (200, 100)])
@pytest.mark.parametrize("both_sides", [False, True])
def test_every_token_is_asked_for_in_one_window(
    n: int, length: int, stride: int, both_sides: bool
) -> None:
    stream = windows.Stream(np.arange(n, dtype=np.int32), np.zeros(n, dtype=np.int32), 0)
    found = windows.Windows(stream, length, stride, both_sides)
    rows = np.arange(len(found))
    places, asked = found.places(rows), found.asked(rows)
    assert sorted(places[asked]) == list(range(n))
    assert set(found.lengths) == {min(n, length)}
    for row in rows:  # with as much context as the stride leaves
        first = np.flatnonzero(asked[row])[0]
        least = (length - stride) // 2 if both_sides else length - stride
        assert first == places[row][first] or first >= min(least, n - stride)


def test_training_asks_for_every_token() -> None:
    stream = windows.Stream(np.arange(50, dtype=np.int32), np.zeros(50, dtype=np.int32), 7)
    found = windows.Following(stream, 16)
    batches = [found.batch(rows, CPU) for rows in found.batches(2, np.random.default_rng(1))]
    asked = torch.cat([batch.labels for batch in batches])
    assert set(asked.tolist()) == set(range(50))
    assert len(asked) == 4 * 16
    assert all(batch.places is None and batch.chosen is None for batch in batches)
    first = next(b for b in batches if 0 in b.labels)
    assert first.tokens[(first.labels == 0).nonzero()[0]].item() == 7, "a line's end comes first"
    for batch in batches:
        assert (batch.tokens == (batch.labels - 1))[batch.labels > 0].all()


def test_masks_are_fifteen_percent_and_eighty_ten_ten() -> None:
    tokens = np.full(40_000, 5, dtype=np.int32)
    stream = windows.Stream(tokens, np.zeros_like(tokens), 0)
    found = windows.Masked(stream, 100, mask=2, vocabulary=1000)
    batch = found.batch(np.arange(len(found)), CPU)
    shown = batch.tokens[batch.chosen]
    assert (batch.labels == 5).all()
    assert len(shown) / len(tokens) == pytest.approx(0.15, abs=0.01)
    assert (shown == 2).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (shown == 5).float().mean().item() == pytest.approx(0.1, abs=0.02)
    others = torch.ones(len(tokens), dtype=torch.bool)
    others[batch.chosen] = False
    assert (batch.tokens[others] == 5).all()
    again = found.batch(np.arange(len(found)), CPU)
    assert not torch.equal(again.tokens, batch.tokens), "each epoch draws anew"


def test_masked_in_turn_hides_one_token_in_eight_and_each_once() -> None:
    stream = windows.Stream(np.arange(3, 103, dtype=np.int32), np.zeros(100, dtype=np.int32), 0)
    found = windows.MaskedInTurn(stream, 32, 16, mask=2, passes=8)
    asked = []
    for row in range(len(found)):
        batch = found.batch(np.array([row]), CPU)
        hidden = (batch.tokens == 2).nonzero()[:, 0]
        assert len(hidden) == 4
        assert (hidden.diff() == 8).all()
        if batch.chosen is not None:
            assert set(batch.chosen.tolist()) <= set(hidden.tolist())
        asked += batch.labels.tolist()
    assert sorted(asked) == list(range(3, 103))


# Models


def small(kind: str, place: Path, **changes: Any) -> Any:
    """A random language model of transformers, saved with a byte-level tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    special = ["[CLS]", "[SEP]", "[MASK]"] if kind == "bert" else []
    tokenizer = byte_level(special)
    sizes: dict[str, Any] = {"vocab_size": tokenizer.get_vocab_size()}
    if kind == "gpt2":
        sizes |= {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24}
    else:
        sizes |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
        sizes |= {"intermediate_size": 48, "max_position_embeddings": 24}
    config = AutoConfig.for_model(kind, **(sizes | changes))
    made = AutoModelForCausalLM if kind == "gpt2" else AutoModelForMaskedLM
    torch.manual_seed(4)
    module = made.from_config(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)  # also those that start as 0 or 1
    module.save_pretrained(place)
    tokenizer.save(str(place / "tokenizer.json"))
    return module


def load(place: Path, max_length: int = 16) -> Any:
    return checkpoints.load(place, max_length, Outputs("word", 0), 1, torch.float32, CPU)


def folder(train: list[str], scored: list[str] | None = None) -> data.TaskFolder:
    def rows(texts: list[str]) -> data.Rows:
        return data.Rows([(t,) for t in texts], [str(len(t.split()) + 1) for t in texts])

    return data.TaskFolder(
        "toy", 1, "language-modelling", "words", ["text"], [], {}, [], "perplexity",
        rows(train), rows(train[:5]), [(text,) for text in scored or LINES],
    )  # fmt: skip


def recipe(model: str = "gpt2-tiny", **given: Any) -> Any:
    text = {name: str(value) for name, value in given.items()}
    family = "language-modelling"
    return recipes.build("baseline", recipes.resolve("baseline", model, text, family, False))


def objective(name: str, task: data.TaskFolder, **given: Any) -> Any:
    return objectives.build(name, task, recipe(**given))


@pytest.mark.parametrize("stride", [16, 8, 3])
def test_the_nats_of_lines_are_those_of_transformers_gpt2(tmp_path: Path, stride: int) -> None:
    module = small("gpt2", tmp_path)
    asked = objective("causal", folder(LINES), stride=stride)
    tokenizer = tokenize.load(tmp_path)
    scored = asked.encode(tokenizer, 16)["scored"]
    found = asked.predict(load(tmp_path), scored).labels

    ids = [t for line in LINES for t in (*tokenizer.encode(line).ids, tokenize.line_end(tokenizer))]
    row_of = [i for i, line in enumerate(LINES) for _ in (*tokenizer.encode(line).ids, 0)]
    wanted = [0.0] * len(LINES)
    stream = torch.tensor([tokenize.line_end(tokenizer), *ids])
    for at, token in enumerate(ids):
        begin = 0 if at < 16 else min(-(-(at - 15) // stride) * stride, len(ids) - 16)
        with torch.inference_mode():
            logits = module(stream[None, begin : at + 1]).logits[0, -1]
        wanted[row_of[at]] -= torch.log_softmax(logits, -1)[token].item()
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert language.perplexity([str(len(t.split()) + 1) for t in LINES], found).value > 1


@pytest.mark.parametrize("mixed", [False, True], ids=["one length", "mixed lengths"])
@pytest.mark.parametrize("fused_from", [1, 100], ids=["fused", "small products"])
def test_gpt2s_loss_and_gradients_are_those_of_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: bool, fused_from: int
) -> None:
    from bench.learn import layers
    from bench.learn.batches import pack

    monkeypatch.setattr(layers, "FUSED_FROM", fused_from)
    monkeypatch.setattr(vocabulary, "ELEMENTS", {"cpu": 1})
    monkeypatch.setattr(vocabulary, "LEAST", 5)
    module = small("gpt2", tmp_path)
    model = load(tmp_path)
    random = np.random.default_rng(0)
    lengths = random.integers(3, 17, 6) if mixed else np.full(6, 16)
    texts = [random.integers(0, 256, n).tolist() for n in lengths]
    targets = torch.from_numpy(random.integers(0, 256, lengths.sum()))
    batch = pack(texts, None, None).batch(np.arange(6), CPU)
    model.begin_step(batch)
    loss = model.mean_nats(model.outputs(batch, None), targets)
    loss.backward()
    model.parameters.end_step()

    logits = torch.cat([module(torch.tensor([text])).logits[0] for text in texts])
    wanted = F.cross_entropy(logits, targets)
    wanted.backward()
    torch.testing.assert_close(loss, wanted)
    theirs = {n.removeprefix("transformer."): p.grad for n, p in module.named_parameters()}
    flat = model.parameters.grad.split([w.numel() for w in model.parameters.named().values()])
    for (name, weight), grad in zip(model.parameters.named().items(), flat, strict=True):
        (their_name,) = checkpoints.their_names(name, "gpt2")
        expected = theirs[their_name]
        expected = expected if name in ("tokens", "positions") else expected.t()
        expected = expected[: len(weight)]
        torch.testing.assert_close(
            grad.view_as(weight), expected, rtol=1e-3, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_masked_nats_are_those_of_transformers_bert(tmp_path: Path) -> None:
    module = small("bert", tmp_path)
    model = load(tmp_path)
    tokenizer = tokenize.load(tmp_path)
    asked = objective("masked", folder(LINES))
    scored = asked.encode(tokenizer, 16)["scored"]
    found = asked.predict(model, scored).labels
    stream, mask = scored.stream, tokenizer.token_to_id("[MASK]")

    n, wanted = len(stream.tokens), np.zeros(len(LINES))
    for at, token in enumerate(stream.tokens):
        begin = min(max(0, (at - 4) // 8 * 8), n - 16)
        read = torch.from_numpy(stream.tokens[begin : begin + 16]).long()
        read[(torch.arange(begin, begin + 16) - at) % 8 == 0] = mask
        with torch.inference_mode():
            logits = module(read[None]).logits[0, at - begin]
        wanted[stream.rows[at]] -= torch.log_softmax(logits, -1)[token].item()
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_masked_gradients_are_those_of_transformers_bert(tmp_path: Path) -> None:
    module = small("bert", tmp_path)
    model = load(tmp_path)
    asked = objective("masked", folder(LINES * 4), max_length=16)
    rows = asked.encode(tokenize.load(tmp_path), 16)["train"]
    batch = rows.batch(np.arange(4), CPU)
    assert batch.chosen is not None
    model.begin_step(batch)
    loss = model.mean_nats(model.outputs(batch, None), batch.labels)
    loss.backward()
    model.parameters.end_step()
    scores = module(batch.tokens.view(4, 16)).logits.flatten(0, 1)
    wanted = F.cross_entropy(scores[batch.chosen], batch.labels)
    wanted.backward()
    torch.testing.assert_close(loss, wanted)
    theirs = {n.removeprefix("bert."): p.grad for n, p in module.named_parameters()}
    flat = model.parameters.grad.split([w.numel() for w in model.parameters.named().values()])
    for (name, weight), grad in zip(model.parameters.named().items(), flat, strict=True):
        parts = [theirs[n] for n in checkpoints.their_names(name, "bert language model")]
        torch.testing.assert_close(
            grad.view_as(weight), torch.cat(parts)[: len(weight)], rtol=1e-3, atol=1e-6,
            msg=lambda m, n=name: f"{n}: {m}",
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["nats", "mean_nats"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_nats_in_pieces_are_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, kind: str, with_bias: bool
) -> None:
    monkeypatch.setattr(vocabulary, "ELEMENTS", {"cpu": 1})
    monkeypatch.setattr(vocabulary, "LEAST", 7)
    held = Parameters({"w": (90, 16), "b": (90,)}, torch.float32, CPU)
    held.master.normal_(generator=torch.Generator().manual_seed(1))
    x = torch.randn(50, 16, requires_grad=True, generator=torch.Generator().manual_seed(2))
    targets = torch.arange(50)
    held.begin_step()
    bias = held["b"] if with_bias else None
    (3 * getattr(vocabulary, kind)(x, held["w"], bias, targets).mean()).backward()
    held.end_step()

    leaves = [t.detach().clone().requires_grad_() for t in (x, held["w"].value, held["b"].value)]
    scores = leaves[0] @ leaves[1].t() + (leaves[2] if with_bias else 0)
    (3 * F.cross_entropy(scores, targets)).backward()
    torch.testing.assert_close(x.grad, leaves[0].grad)
    torch.testing.assert_close(held["w"].grad, leaves[1].grad)
    if with_bias:
        torch.testing.assert_close(held["b"].grad, leaves[2].grad)


def test_a_token_that_is_all_but_impossible_has_its_price() -> None:
    held = Parameters({"w": (3, 1)}, torch.float32, CPU)
    held["w"].value.copy_(torch.tensor([[300.0], [0.0], [0.0]]))
    x, target = torch.ones(1, 1, requires_grad=True), torch.tensor([2])
    held.begin_step()
    assert vocabulary.mean_nats(x, held["w"], None, target).item() == pytest.approx(300)
    assert vocabulary.nats(x, held["w"], None, target).item() == pytest.approx(300)


# Millions: openai/gpt-2's README (the paper's 117 to 1542 leave out what was counted later);
# google-research/bert's README for large (340, of which 335.1 without the heads) and Turc et al.
# 2019, table 1, for the others, with pooler and masked head.
FIGURES = {
    "gpt2-small": 124, "gpt2-medium": 355, "gpt2-large": 774, "gpt2-xl": 1558,
    "bert-tiny": 4.4, "bert-small": 29.1, "bert-base": 110.1,
}  # fmt: skip


@pytest.mark.parametrize("name", published.SCRATCH)
def test_published_sizes_have_the_published_parameters(name: str) -> None:
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

    size = published.SCRATCH[name]
    words, positions = (d[size.architecture] for d in (published.VOCABULARY, published.POSITIONS))
    shape = size.shape(words, positions)
    meta = torch.device("meta")
    ours = LanguageModel(shape, torch.float32, meta).facts()["parameters"]
    assert ours == size.parameters
    with meta:
        if size.architecture == "gpt2":
            sizes = {"n_embd": size.width, "n_layer": size.layers, "n_head": size.heads}
            module = GPT2LMHeadModel(GPT2Config(**sizes))
        else:
            sizes = {"hidden_size": size.width, "num_hidden_layers": size.layers}
            sizes |= {"num_attention_heads": size.heads, "intermediate_size": 4 * size.width}
            module = BertForMaskedLM(BertConfig(**sizes))
    assert ours == sum(p.numel() for p in module.parameters())
    if name in FIGURES:
        pooler = size.width * (size.width + 1) if size.architecture == "bert" else 0
        digits = 0 if size.architecture == "gpt2" else 1
        assert round((ours + pooler) / 1e6, digits) == FIGURES[name]


def test_bert_large_is_that_of_the_paper() -> None:
    size = published.SCRATCH["bert-large"]
    encoder = Encoder(size.shape(30_522, 512), 2, torch.float32, torch.device("meta"))
    assert encoder.size - 2 * 1025 == 335_141_888  # "340M"
    base = published.SCRATCH["bert-base"].shape(30_522, 512)
    assert Encoder(base, 2, torch.float32, torch.device("meta")).size - 2 * 769 == 109_482_240


def test_the_output_layer_is_the_table_itself() -> None:
    shape = dataclasses.replace(published.SCRATCH["gpt2-tiny"].shape(300, 16), layers=1)
    model = LanguageModel(shape, torch.float32, CPU)
    assert [n for n, s in model.parameters.shapes.items() if 300 in s] == ["tokens"]


def test_a_causal_encoder_reads_a_text_as_gpt2_and_answers_at_its_end(tmp_path: Path) -> None:
    from bench.learn.batches import pack

    module = small("gpt2", tmp_path)
    language_model = load(tmp_path)
    model = Encoder(language_model.shape, 2, torch.float32, CPU)
    model.initialise(1)
    theirs = language_model.parameters.named()
    model.table.rows.copy_(theirs["tokens"])
    for name, weight in model.parameters.named().items():
        if name in theirs:
            weight.copy_(theirs[name])
    texts = [[5, 9, 200], [7, 7, 8, 90, 4, 61], [3] * 5]
    model.begin_evaluation()
    with torch.inference_mode():
        found = model.outputs(pack(texts, None, None).batch(np.arange(3), CPU), None)
        last = [module.transformer(torch.tensor([t])).last_hidden_state[0, -1] for t in texts]
        named = model.parameters.named()
        wanted = F.linear(torch.stack(last), named["classes.weight"], named["classes.bias"])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_model_that_has_both_says_so() -> None:
    assert "--scratch" in catalogue.describe("gpt2-small")["source"]
    assert catalogue.describe("gpt2-small", pretrained=False)["track"] == "scratch"
    assert "--scratch" not in catalogue.describe("gpt2-tiny")["source"]


# Training


def text(lines: int, seed: int) -> list[str]:
    """Lines that repeat their first words: what comes next is told by what came."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(lines):
        names = [f"n{random.integers(30)}" for _ in range(3)]
        made.append(" ".join(names * 3) + " .")
    return made


@pytest.mark.parametrize(
    ("name", "model", "precision", "epochs", "reached"),
    [
        ("causal", "gpt2-tiny", "baseline", 10, 25),
        ("masked", "bert-tiny", "baseline", 10, 60),
        ("masked", "transformer-tiny", "baseline", 10, 150),
        ("causal", "gpt2-tiny", "bf16", 2, 350),
    ],
)
def test_from_scratch_it_learns(
    name: str, model: str, precision: str, epochs: int, reached: float
) -> None:
    task = folder(text(120, 1), text(20, 2))
    given = {"vocabulary_size": 320, "max_length": 32, "batch_size": 16, "epochs": epochs}
    given |= {"learning_rate": 0.005, "evaluations": 0, "dropout": 0.05}
    made = recipe(model, **given)
    made = recipes.build(precision, dataclasses.asdict(made))
    asked = objectives.build(name, task, made)
    entry = catalogue.entry(model, pretrained=False)
    tokenizer = entry.tokenizer(asked.texts(), made, None, asked.keeps)
    splits = asked.encode(tokenizer, made.max_length)
    built = entry.build(Wanted(None, tokenizer, made, asked.outputs, False, 1, CPU))
    run = Training(made, asked, built, splits["train"], splits["tune"], 1, Events())
    words = [str(len(line.split()) + 1) for line in text(20, 2)]

    def scored() -> float:
        return language.perplexity(words, asked.predict(built, splits["scored"]).labels).value

    before = scored()
    train(run, run.batches())
    after = scored()
    assert before > 200
    assert after < reached
    metric, value = asked.evaluate(built, splits["tune"])
    assert metric == asked.metric
    assert 1 < value < reached


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({}, 8),
        ({"max_steps": 3}, 3),
        ({"max_steps": 100}, 8),
        ({"max_tokens": 1024}, 2),
        ({"max_tokens": 1500, "max_steps": 5}, 2),
        ({"max_tokens": 1}, 1),
    ],
)
def test_training_ends_at_a_limit_of_steps_or_tokens(given: dict[str, int], steps: int) -> None:
    made = recipe(batch_size=16, epochs=2, max_length=32, evaluations=0, **given)
    stream = windows.Stream(np.zeros(2048, dtype=np.int32), np.zeros(2048, dtype=np.int32), 0)
    shape = published.SCRATCH["gpt2-tiny"].shape(10, 32)
    model = LanguageModel(dataclasses.replace(shape, width=8, hidden=8), torch.float32, CPU)
    model.initialise(1)
    rows = windows.Following(stream, 32)
    run = Training(made, objective("causal", folder(LINES)), model, rows, rows, 1, Events())
    assert run.total_steps == steps
    assert train(run, run.batches()) == "done"
    assert run.step == steps


def test_a_window_that_the_model_cannot_take_is_refused(tmp_path: Path) -> None:
    made = recipe(max_length=1025)
    entry = catalogue.entry("gpt2-tiny")
    with pytest.raises(UsageError, match="max_length=1025 is more than the 1024 tokens"):
        entry.build(Wanted(None, byte_level(), made, Outputs("word", 0), False, 1, CPU))
    small("gpt2", tmp_path)
    with pytest.raises(UsageError, match="more than the 24 tokens"):
        load(tmp_path, max_length=25)


# Metrics


def test_perplexity_is_per_word_and_comes_from_its_statistics() -> None:
    found = language.perplexity(["3", "1"], [6.0, 2.0])
    assert found.value == pytest.approx(math.exp(2))
    assert found.statistics == {"nats": 8.0, "words": 4.0}
    assert language.perplexity_of(json.loads(json.dumps(found.statistics)), 2) == found.value
    assert math.isfinite(language.perplexity(["1"], [1e9]).value)
    assert language.pseudo_perplexity(["1"], [1.0]).value == pytest.approx(math.e)
