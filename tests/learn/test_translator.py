"""The encoder-decoder does what torch.nn.Transformer does, and searches as one text alone would."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.learn import beam, vocabulary
from bench.learn.adamw import AdamW
from bench.learn.batches import Packed, pack
from bench.learn.beam import Search
from bench.learn.layers import Dropout
from bench.learn.pairs import Pairs, by_tokens
from bench.learn.translator import Shape, Translator, sinusoids
from bench.learn.vocabulary import mean_nats

CPU = torch.device("cpu")
SHAPE = Shape(vocabulary=40, width=16, layers=2, heads=4, hidden=24)
END = 0


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def translator(dtype: torch.dtype = torch.float32, shape: Shape = SHAPE) -> Translator:
    model = Translator(shape, 80, dtype, CPU)
    model.initialise(5)
    random = torch.Generator().manual_seed(6)
    for weight in model.parameters.named().values():  # those that start as 0 or 1, too
        weight.add_(torch.randn(weight.shape, generator=random) * 0.2)
    return model


def packed(rows: int, seed: int, one_length: bool = False) -> Packed:
    random = np.random.default_rng(seed)
    lengths = [6] * rows if one_length else random.integers(2, 9, rows).tolist()
    packed = pack([random.integers(1, 40, n).tolist() for n in lengths], None, None)
    packed.tokens[packed.starts[1:] - 1] = END
    return packed


def pairs(rows: int = 8, one_length: bool = False) -> Pairs:
    target = packed(rows, 2, one_length)
    target.marks = target.tokens
    target.tokens = np.roll(target.tokens, 1)
    return Pairs(packed(rows, 1, one_length), target, 1000)


class Plain:
    """torch.nn.Transformer with a copy of the weights, over padded texts."""

    def __init__(self, model: Translator) -> None:
        shape = model.shape
        self.module = nn.Transformer(
            shape.width, shape.heads, shape.layers, shape.layers, shape.hidden,
            dropout=0.0, batch_first=True,
        )  # fmt: skip
        self.module.encoder.norm = self.module.decoder.norm = None  # type: ignore[assignment]
        self.weights = {n: w.clone() for n, w in model.parameters.named().items()}
        self.table = nn.Parameter(self.weights["tokens"].clone())
        self.width = shape.width
        for i in range(shape.layers):
            encoder, decoder = self.module.encoder.layers[i], self.module.decoder.layers[i]
            for layer, name in ((encoder, f"encoder.{i}."), (decoder, f"decoder.{i}.")):
                self._fill(layer.self_attn.in_proj_weight, f"{name}qkv.weight")
                self._fill(layer.self_attn.in_proj_bias, f"{name}qkv.bias")
                self._dense(layer.self_attn.out_proj, f"{name}mix")
                self._dense(layer.linear1, f"{name}up")
                self._dense(layer.linear2, f"{name}down")
                self._dense(layer.norm1, f"{name}mix_norm")
                self._dense(layer.norm2 if layer is encoder else layer.norm3, f"{name}down_norm")
            self._dense(decoder.multihead_attn.out_proj, f"decoder.{i}.cross")
            self._dense(decoder.norm2, f"decoder.{i}.cross_norm")
            for part in ("weight", "bias"):
                ours = self.weights[f"memory.{part}"].split(2 * shape.width)[i]
                whole = torch.cat((self.weights[f"decoder.{i}.q.{part}"], ours))
                getattr(decoder.multihead_attn, f"in_proj_{part}").data.copy_(whole)

    def _fill(self, parameter: Tensor, name: str) -> None:
        parameter.data.copy_(self.weights[name])

    def _dense(self, layer: nn.Module, name: str) -> None:
        self._fill(layer.weight, f"{name}.weight")
        self._fill(layer.bias, f"{name}.bias")

    def logits(self, source: list[Tensor], target: list[Tensor]) -> Tensor:
        """[B, L, vocabulary]"""
        x, hidden = self._embedded(source)
        y, _ = self._embedded(target)
        ahead = torch.ones(y.shape[1], y.shape[1], dtype=torch.bool).triu(1)
        states = self.module(
            x, y, tgt_mask=ahead, src_key_padding_mask=hidden, memory_key_padding_mask=hidden
        )
        return states @ self.table.t()

    def _embedded(self, texts: list[Tensor]) -> tuple[Tensor, Tensor]:
        ids = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-1)
        x = self.table[ids.clamp(min=0)] * math.sqrt(self.width)
        return x + sinusoids(ids.shape[1], self.width), ids < 0


def texts_of(rows: Packed, tokens: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(t.astype(np.int64)) for t in np.split(tokens, rows.starts[1:-1])]


@pytest.mark.parametrize("one_length", [False, True], ids=["mixed lengths", "one length"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradients_are_those_of_torchs_transformer(
    one_length: bool, smoothing: float
) -> None:
    model, rows = translator(), pairs(one_length=one_length)
    plain = Plain(model)
    assert rows.target is not None
    assert rows.target.marks is not None
    batch = rows.batch(np.arange(len(rows)), CPU)
    assert batch.target is not None
    assert batch.target.marks is not None
    model.begin_step(batch)
    outputs = model.outputs(batch, None)
    loss = mean_nats(outputs, model.parameters["tokens"], None, batch.target.marks, smoothing)
    (loss * 3).backward()
    model.parameters.end_step()

    target = texts_of(rows.target, rows.target.tokens)
    logits = plain.logits(texts_of(rows.source, rows.source.tokens), target)
    marks = nn.utils.rnn.pad_sequence(
        texts_of(rows.target, rows.target.marks), batch_first=True, padding_value=-100
    )
    expected = F.cross_entropy(logits.flatten(0, 1), marks.flatten(), label_smoothing=smoothing)
    (expected * 3).backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)

    found = model.parameters.views(model.parameters.grad)
    torch.testing.assert_close(found["tokens"], plain.table.grad, rtol=1e-3, atol=1e-5)
    decoder = plain.module.decoder.layers
    last = SHAPE.layers - 1
    compared = {
        "encoder.0.qkv.weight": plain.module.encoder.layers[0].self_attn.in_proj_weight,
        "encoder.1.down.bias": plain.module.encoder.layers[1].linear2.bias,
        "decoder.0.qkv.weight": decoder[0].self_attn.in_proj_weight,
        "decoder.0.up.weight": decoder[0].linear1.weight,
        f"decoder.{last}.cross.weight": decoder[last].multihead_attn.out_proj.weight,
        f"decoder.{last}.cross_norm.weight": decoder[last].norm2.weight,
    }
    for name, parameter in compared.items():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5, msg=name)
    crossed = [layer.multihead_attn.in_proj_weight.grad for layer in decoder]
    torch.testing.assert_close(
        found["memory.weight"], torch.cat([g[SHAPE.width :] for g in crossed]), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(
        found["decoder.1.q.weight"], crossed[1][: SHAPE.width], rtol=1e-3, atol=1e-5
    )


def test_the_loss_in_pieces_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vocabulary.ELEMENTS, "cpu", 1)
    torch.manual_seed(1)
    model = translator()
    weight = model.parameters["tokens"]
    x = torch.randn(600, 16, requires_grad=True)
    wanted = torch.randint(0, 40, (600,))
    table = weight.value.clone().requires_grad_()
    y = x.detach().clone().requires_grad_()
    expected = F.cross_entropy(y @ table.t(), wanted, label_smoothing=0.2)
    expected.backward()
    model.parameters.begin_step()
    loss = mean_nats(x, weight, None, wanted, 0.2)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(weight.grad, table.grad, rtol=1e-4, atol=1e-6)


def test_a_pass_takes_all_the_dropout_that_was_drawn() -> None:
    model = translator()
    dropout = Dropout(0.5, 1, torch.float32, CPU)
    batch = pairs().batch(np.arange(8), CPU)
    dropped = model.outputs(batch, dropout)
    assert dropout._left.numel() == 0
    assert not torch.allclose(dropped, model.outputs(batch, None))


def test_bfloat16_is_near_float32() -> None:
    batch = pairs().batch(np.arange(8), CPU)
    near, exact = translator(torch.bfloat16), translator()
    near.begin_step(batch)
    found, expected = near.outputs(batch, None).float(), exact.outputs(batch, None)
    assert (found - expected).abs().mean() < 0.05


def searched(model: Translator, text: Tensor, search: Search, most: int) -> list[int]:
    """One text's translation, by the plain rule and without any cache."""
    alive = [((END,), 0.0)]
    best, best_score = (), -math.inf
    for length in range(1, most + 1):
        longer, ended = [], []
        for tokens, score in alive:
            logs = next_logs(model, text, tokens)
            ended.append((tokens[1:], score + logs[END]))
            longer += [((*tokens, t), score + logs[t]) for t in range(40) if t != END]
        alive = sorted(longer, key=lambda found: -found[1])[: search.beam]
        for tokens, score in ended:
            counts = score > alive[-1][1] or length == most
            if counts and score / ((5 + length) / 6) ** search.penalty > best_score:
                best, best_score = tokens, score / ((5 + length) / 6) ** search.penalty
    return list(best)


def next_logs(model: Translator, text: Tensor, written: tuple[int, ...]) -> list[float]:
    source = pack([text.tolist()], None, None)
    rows = Pairs(source, pack([written], None, None), 1000)
    states = model.outputs(rows.batch(np.array([0]), CPU), None)
    return torch.log_softmax(states[-1] @ model.parameters["tokens"].value.t(), -1).tolist()


def reversals(rows: int, seed: int) -> Pairs:
    """Texts whose translations are the same words backwards."""
    source = packed(rows, seed)
    words = [text[:-1].flip(0).tolist() for text in texts_of(source, source.tokens)]
    target = pack([[END, *text] for text in words], None, None)
    target.marks = pack([[*text, END] for text in words], None, None).tokens
    return Pairs(source, target, 1000)


@pytest.fixture(scope="module")
def learner() -> Translator:
    """A model that has begun to learn to reverse: not sure of anything."""
    model = Translator(SHAPE, 80, torch.float32, CPU)
    model.initialise(1)
    rows, optimizer = reversals(600, 7), AdamW(model.parameters, None, 0.0, 0.98)
    random = np.random.default_rng(1)
    for _ in range(120):
        batch = rows.batch(random.integers(0, 600, 48), CPU)
        model.begin_step(batch)
        assert batch.target is not None
        assert batch.target.marks is not None
        outputs = model.outputs(batch, None)
        mean_nats(outputs, model.parameters["tokens"], None, batch.target.marks).backward()
        optimizer.step(4e-3, 0.0)
    return model


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("penalty", [0.0, 0.6])
def test_beam_search_finds_what_the_plain_rule_finds(
    learner: Translator, beam_size: int, penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beam, "EXTRA", 3)
    model, rows = learner, reversals(8, 9)
    search = Search(beam_size, penalty, END)
    longest = int(rows.source.lengths.max())
    with torch.inference_mode():
        found = beam.translate(model, rows, search)
        texts = texts_of(rows.source, rows.source.tokens)
        expected = [searched(model, text, search, longest + 3) for text in texts]
    assert found == expected
    assert len({len(tokens) for tokens in found}) > 2


def test_a_text_is_translated_as_if_it_were_alone(
    learner: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows, search = learner, reversals(30, 8), Search(4, 0.6, END)
    together = beam.translate(model, rows, search)
    chosen = np.array([7, 3, 29])
    assert beam.translate(model, rows, search, chosen) == [together[i] for i in chosen]
    monkeypatch.setattr(beam, "MOST_TOKENS", 1)
    assert beam.translate(model, rows, search) == together


def test_an_end_that_is_hardly_likely_is_not_taken() -> None:
    """Every token is as likely as any other: the best translation of all is the empty one."""
    model, rows = translator(), pairs(2)
    model.parameters.named()["tokens"].zero_()
    model.parameters.named()["tokens"][END] -= 1e-3
    (found, _) = beam.translate(model, rows, Search(2, 1.0, END))
    assert len(found) > 10


def test_a_translation_has_a_longest_length() -> None:
    model, rows = translator(), pairs(2)
    model.parameters.named()["tokens"][END].zero_()
    model.parameters.named()["tokens"][1:] += 0.5  # nothing wants to end
    (found, other) = beam.translate(model, rows, Search(2, 2.0, END))
    assert max(len(found), len(other)) < rows.source.lengths.max() + beam.EXTRA


def test_batches_have_a_budget_of_tokens_and_hold_each_row_once() -> None:
    random = np.random.default_rng(3)
    first = random.integers(1, 30, 500)
    lengths = first + random.integers(1, 30, 500)
    lengths[17] = 400  # more than a whole batch may have
    epochs = [list(by_tokens(first, lengths, 300, np.random.default_rng(s))) for s in (1, 2)]
    for batches in epochs:
        assert sorted(itertools.chain.from_iterable(batches)) == list(range(500))
        sizes = [lengths[rows].sum() for rows in batches]
        assert sorted(sizes)[-1] == 400
        assert sorted(sizes)[-2] <= 300
        assert np.mean(sizes) > 270
        assert np.mean([np.ptp(lengths[rows]) for rows in batches]) < 2
    assert len(epochs[0]) == len(epochs[1])
    assert [b.tolist() for b in epochs[0]] != [b.tolist() for b in epochs[1]]


def test_bfloat16_learns_and_translates() -> None:
    model, rows = translator(torch.bfloat16), pairs()
    optimizer, batch = AdamW(model.parameters, None, 0.0, 0.98), rows.batch(np.arange(8), CPU)
    assert batch.target is not None
    assert batch.target.marks is not None
    losses = []
    for _ in range(12):
        model.begin_step(batch)
        loss = mean_nats(
            model.outputs(batch, None), model.parameters["tokens"], None, batch.target.marks, 0.1
        )
        loss.backward()
        optimizer.step(0.01, 1.0)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert len(beam.translate(model, rows, Search(2, 0.6, END))) == 8
