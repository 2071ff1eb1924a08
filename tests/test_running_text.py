"""Language modelling from the command line: which data, which start, which metric."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from bench import cards, record, run
from bench.cards import MetricFacts
from bench.errors import BenchError, UsageError
from bench.learn import data, sources
from bench.learn.corpora import gazetteer, verdicts
from bench.metrics import language, recompute, score
from tests.learn.test_language import small

FEW = [
    "--device", "cpu", "--idle", 0, "--set", "max_steps=5", "--set", "evaluations=1",
    "--set", "vocabulary_size=400", "--set", "max_length=32",
]  # fmt: skip


@pytest.fixture(autouse=True)
def short_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, films = gazetteer.corpus, verdicts.corpus
    monkeypatch.setattr(gazetteer, "corpus", lambda: lines(120, 8))
    monkeypatch.setattr(verdicts, "corpus", lambda: films(150, 20))


def only_run() -> record.Record:
    (found,) = (record.read(f) for f in record.folders([Path("runs")]))
    assert isinstance(found, record.Record)
    return found


def prepared(task: str, model: str, pretrained: bool | None = None, **given: Any) -> run.Plan:
    return run.prepare(
        run.Request(task, model, pretrained=pretrained, data="embedded", device="cpu", **given)
    )


@pytest.mark.parametrize(
    ("model", "metric"),
    [
        ("gpt2-tiny", "perplexity"),
        ("bert-tiny", "pseudo_perplexity"),
        ("transformer-tiny", "pseudo_perplexity"),
    ],
)
def test_a_run_from_scratch_has_a_perplexity_per_word(bench, model: str, metric: str) -> None:
    said = bench("run", "--task", "wikitext2", "--model", model, "--data", "embedded", *FEW)
    assert said.code == 0, said.out + said.err
    assert "NOT WikiText-2 but the embedded corpus" in " ".join(said.out.split())
    done = only_run()
    _, scored = gazetteer.corpus()
    assert done.spec.track == "scratch"
    assert done.metric is not None
    assert (done.metric.name, done.metric.scale) == (metric, "log")
    assert done.metric.statistics["words"] == sum(map(int, scored.labels))
    assert 20 < done.metric.value < 1e9  # hardly trained, from any seed
    assert done.metric.chance == pytest.approx(language.unigram([t for (t,) in scored.inputs]))
    assert recompute(done.metric) == pytest.approx(done.metric.value)
    steps = [json.loads(line) for line in next(Path("runs").rglob("events.jsonl")).open()]
    assert max(e["step"] for e in steps if e["event"] == "step") == 5


def test_a_plan_counts_the_steps_that_a_limit_leaves(bench) -> None:
    asked = ["--task", "wikitext2", "--model", "gpt2-tiny", "--data", "embedded", "--plan", *FEW]
    said = bench("run", *asked)
    assert said.code == 0, said.out + said.err
    assert ", 5 steps" in " ".join(said.out.split())


def test_a_checkpoint_of_gpt2_is_trained_further_as_a_language_model(bench, tmp_path: Path) -> None:
    small("gpt2", tmp_path / "mine")
    few = [*FEW, "--set", "max_length=24"]
    said = bench("run", "--task", "wikitext2", "--model", "mine", "--data", "embedded", *few)
    assert said.code == 0, said.out + said.err
    done = only_run()
    assert done.spec.track == "open"
    assert done.spec.checkpoint_sha256 is not None
    assert done.metric is not None
    assert done.metric.name == "perplexity"


# Where a training starts from


@pytest.mark.parametrize(
    ("task", "model", "asked", "track", "objective"),
    [
        ("wikitext2", "gpt2-small", None, "scratch", "causal"),
        ("wikitext2", "bert-large", None, "scratch", "masked"),
        ("sst2", "bert-base", False, "scratch", "classification"),
        ("sst2", "gpt2-tiny", None, "scratch", "classification"),
        ("sst2", "gpt2-xl", False, "scratch", "classification"),
    ],
)
def test_what_starts_from_scratch(
    task: str, model: str, asked: bool | None, track: str, objective: str
) -> None:
    plan = prepared(task, model, asked)
    assert (plan.located.track, plan.objective) == (track, objective)
    assert plan.spec(run.Seed(1, "user")).checkpoint_sha256 is None


@pytest.mark.parametrize(
    ("task", "model", "asked"),
    [("sst2", "bert-base", None), ("sst2", "gpt2-small", None), ("wikitext2", "gpt2-xl", True)],
)
def test_what_starts_from_pretrained_weights(task: str, model: str, asked: bool | None) -> None:
    with pytest.raises(BenchError, match="is not in the local cache"):  # there is no network
        prepared(task, model, asked)


@pytest.mark.parametrize(
    ("model", "asked", "says"),
    [
        ("gpt2-tiny", True, "bench knows no pretrained weights of gpt2-tiny"),
        ("transformer-tiny", True, "bench knows no pretrained weights of transformer-tiny"),
        ("distilbert", False, "distilbert is pretrained weights and nothing else"),
    ],
)
def test_a_start_that_a_model_does_not_have_is_refused(model: str, asked: bool, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        prepared("sst2", model, asked)


def test_settings_are_those_of_the_start_and_the_family() -> None:
    language_model = prepared("wikitext2", "gpt2-small").settings
    assert (language_model["max_length"], language_model["batch_size"]) == (1024, 8)
    classifier = prepared("sst2", "gpt2-small", False).settings
    assert (classifier["max_length"], classifier["batch_size"]) == (128, 32)
    assert "stride" not in classifier


# Data


def wikitext(folder: Path, *names: str) -> Path:
    (folder / "wikitext-2").mkdir()
    for name in names:
        lines = [f" = {name} {i} = \n \n some words of it {i} \n" for i in range(200)]
        (folder / "wikitext-2" / name).write_text("".join(lines))
    return folder


def test_validation_text_stands_in_for_train_and_says_so(tmp_path: Path) -> None:
    card = cards.load("wikitext2")
    found = sources.resolve(card, wikitext(tmp_path, "wiki.valid.raw", "wiki.test.raw"))
    assert "wiki.valid.raw stands in for wiki.train.raw" in found.place
    assert not found.identity.official
    assert "600 rows instead of 36,718" in found.notes[0]
    assert found.train.inputs[0] == ("= wiki.valid.raw 0 =",)


def test_train_is_taken_where_it_is(tmp_path: Path) -> None:
    card = cards.load("wikitext2")
    there = wikitext(tmp_path, "wiki.train.raw", "wiki.valid.raw", "wiki.test.raw")
    found = sources.resolve(card, there)
    assert found.place == str(there / "wikitext-2")
    assert found.train.inputs[0] == ("= wiki.train.raw 0 =",)
    with pytest.raises(UsageError, match=r"does not hold WikiText-103.*wiki\.train\.raw"):
        sources.resolve(cards.load("wikitext103"), there)


def test_the_gazetteer_is_the_same_everywhere_and_shares_no_place() -> None:
    train, scored = gazetteer.corpus()
    assert data.fingerprint(scored)[:12] == "68bf66e5e0dc"
    places = [{t for (t,) in rows.inputs if t.startswith("=")} for rows in (train, scored)]
    assert len(places[0]) == 120
    assert not places[0] & places[1]
    assert all(data.canonical(text) == text for (text,) in train.inputs)


# Chance


def test_chance_is_what_the_words_own_frequencies_give() -> None:
    assert language.unigram(["a b", "a"]) == pytest.approx(math.exp(
        -(2 * 2 / 5 * math.log(2 / 5) + 1 / 5 * math.log(1 / 5))
    ))  # fmt: skip
    facts = MetricFacts(name="perplexity", chance="unigram", best=1.0, scale="log")
    found = score(facts, ["3", "2"], [3.0, 2.0], texts=[("a b",), ("a",)])
    assert found.chance == pytest.approx(language.unigram(["a b", "a"]))
    assert found.value == pytest.approx(math.e)
    with pytest.raises(ValueError, match="'unigram' is of perplexity"):
        MetricFacts(name="accuracy", chance="unigram")
    with pytest.raises(ValueError, match="a logarithm needs"):
        MetricFacts(name="perplexity", chance="unigram", best=0.0, scale="log")


@pytest.mark.shared
def test_wikitext_2(bench, shared_data: Path) -> None:
    """Every word of the official test text is counted, and metrics are of its lines."""
    asked = ["--task", "wikitext2", "--model", "gpt2-tiny", "--data", shared_data, *FEW]
    least = [s for size in ("layers=1", "width=16", "heads=2") for s in ("--set", size)]
    said = bench("run", *asked, "--set", "stride=32", "--set", "max_steps=20", *least)
    assert said.code == 0, said.out + said.err
    assert "stands in for wiki.train.raw" in " ".join(said.out.split())
    text = (shared_data / "wikitext-2" / "wiki.test.raw").read_text(encoding="utf-8")
    lines = text.removesuffix("\n").split("\n")
    words = sum(len(line.split()) + 1 for line in lines)
    done = only_run()
    assert words == 245_569  # as published
    assert done.metric is not None
    assert done.metric.statistics["words"] == words
    (path,) = Path("runs").rglob("predictions.parquet")
    nats = pyarrow.parquet.read_table(path)["prediction"].to_pylist()
    assert len(nats) == len(lines) == 4358
    assert done.metric.value == pytest.approx(math.exp(math.fsum(nats) / words))
    assert done.metric.value > 1179  # hardly trained
    assert done.metric.chance == pytest.approx(1179.2, abs=0.1)
