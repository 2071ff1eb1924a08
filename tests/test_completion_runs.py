"""Tagging and completion from the command line: real data, embedded, and other people's answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from seqeval.metrics import f1_score

from bench import cards, metrics, record
from bench.learn import data, sources
from bench.record import Record
from tests.command import Command

FEW_STEPS = [
    "--set", "epochs=0.1", "--set", "evaluations=1", "--set", "vocabulary_size=500",
    "--set", "max_length=32", "--idle", "0",
]  # fmt: skip


def the_run() -> tuple[Record, Path]:
    (folder,) = record.folders([Path("runs")])
    return record.read(folder), folder


def predicted(folder: Path, n: int, task: str) -> list[str]:
    card = cards.load(task)
    return data.read_predictions(folder, n, card.kind, card.classes).labels  # type: ignore[return-value]


@pytest.mark.shared
def test_a_few_steps_on_wnut17_scored_as_seqeval_does(bench: Command, shared_data: Path) -> None:
    said = bench("run", "--task", "wnut17", "--data", shared_data, "--model", "transformer-tiny",
                 *FEW_STEPS, "--set", "learning_rate=0.01")  # fmt: skip
    assert said.code == 0, said.err
    one, folder = the_run()
    assert one.spec.data.official
    assert one.metric
    assert one.metric.n == 1287
    resolved = sources.resolve(cards.load("wnut17"), shared_data)
    found = predicted(folder, 1287, "wnut17")
    gold = [label.split() for label in resolved.scored.labels]
    assert [len(tags.split()) for tags in found] == [len(tags) for tags in gold]
    assert one.metric.value == pytest.approx(f1_score(gold, [tags.split() for tags in found]))
    assert metrics.recompute(one.metric) == one.metric.value
    assert set(one.metric.also) == {"span_precision", "span_recall"}
    (cut,) = [w for w in one.warnings if w.id == "words-cut"]
    assert "of 23,394 words to be tagged lie beyond max_length=32" in cut.message


@pytest.mark.shared
def test_a_few_steps_on_copa_which_is_short_of_rows(bench: Command, shared_data: Path) -> None:
    said = bench("run", "--task", "copa", "--data", shared_data, "--model", "transformer-tiny",
                 *FEW_STEPS)  # fmt: skip
    assert said.code == 0, said.err
    one, folder = the_run()
    assert not one.spec.data.official
    assert "train has 368 rows instead of 400" in " ".join(said.out.split())
    assert one.metric
    assert one.metric.correct
    resolved = sources.resolve(cards.load("copa"), shared_data)
    pairs = zip(predicted(folder, 100, "copa"), resolved.scored.labels, strict=True)
    right = [a == b for a, b in pairs]
    assert one.metric.value == sum(right) / 100
    assert record.unpack_bits(one.metric.correct, 100) == right
    assert one.metric.chance == 0.55


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("conll2003", "elmo-tiny"),
        ("swag", "transformer-tiny"),
        ("hellaswag", "gpt2-tiny"),
        ("lambada", None),
    ],
)
def test_each_objective_runs_anywhere(bench: Command, task: str, model: str | None) -> None:
    named = ["--model", model] if model else []
    said = bench("run", "--task", task, "--data", "embedded", *named, *FEW_STEPS)
    assert said.code == 0, said.err
    one, folder = the_run()
    assert one.status == "complete"
    assert one.metric
    assert len(set(predicted(folder, one.metric.n, task))) > 1 or task == "lambada"


def test_an_encoder_can_write_no_last_word(bench: Command) -> None:
    said = bench("run", "--task", "lambada", "--data", "embedded", "--model", "transformer-tiny")
    assert said.code == 2
    assert "can't be trained for completion without choices: that takes decoder" in said.err


@pytest.mark.parametrize(
    ("task", "prediction", "says"),
    [
        ("wnut17", "O", "tags, its text"),
        ("copa", "2", "'2', not a class of the task"),
        ("copa", 1, "1, not a class of the task"),
    ],
)
def test_wrong_answers_of_a_program_are_named(
    bench: Command, task: str, prediction: object, says: str
) -> None:
    n = len(sources.resolve(cards.load(task), "embedded").scored)
    rows = "".join(json.dumps({"id": i, "prediction": prediction}) + "\n" for i in range(n))
    Path("answers").write_text(rows)
    said = bench("measure", "--task", task, "--data", "embedded", "--idle", "0", "--track", "open",
                 "--", "sh", "-c", 'cp answers "$BENCH_OUT/predictions.jsonl"')  # fmt: skip
    assert said.code != 0
    assert says in " ".join((said.out + said.err).split())
