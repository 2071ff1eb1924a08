"""Each family's rows from files, in canonical form, with one line for what is wrong."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.cards import Card
from bench.errors import BenchError, UsageError
from bench.learn import data, files, sources


def card(family: str, **given: Any) -> Card:
    facts: dict[str, Any] = {
        "name": "mine",
        "version": 1,
        "title": "Mine",
        "description": "",
        "family": family,
        "inputs": ["text"],
        "metric": {"name": "accuracy", "chance": 0.5},
        "licence": "none",
        "citation": "none",
        **given,
    }
    return Card.model_validate(facts)


def local(format_: str, **given: Any) -> dict[str, Any]:
    return {"format": format_, "train": "train.txt", "scored": "scored.txt", **given}


def file(folder: Path, text: str, name: str = "train.txt") -> list[Path]:
    (folder / name).write_text(text, encoding="utf-8")
    return [folder / name]


def test_numbers_are_shortest_decimals(tmp_path: Path) -> None:
    asked = card("regression", labels={"column": "y"}, local=local("tsv"))
    rows = files.read_rows(file(tmp_path, "text\ty\na\t5.000\nb\t0.50\nc\t3\n"), asked)
    assert rows.labels == ["5", "0.5", "3"]
    with pytest.raises(UsageError, match=r"train\.txt:3: label 'x' is not a number"):
        files.read_rows(file(tmp_path, "text\ty\na\t5\nb\tx\n"), asked)


TAGS = {"labels": {"column": "tag", "classes": ["O", "B-x", "I-x"]}}


def test_tags_of_tokens_one_a_line(tmp_path: Path) -> None:
    asked = card("tagging", **TAGS, local=local("conll"))
    text = "-DOCSTART- O\n\nAda x B-x\nsleeps x O\n\n\nShe x O\n"
    rows = files.read_rows(file(tmp_path, text), asked)
    assert rows == data.Rows([("Ada sleeps",), ("She",)], ["B-x O", "O"])
    with pytest.raises(UsageError, match=r":2: label 'B-y' is none of"):
        files.read_rows(file(tmp_path, "\nAda B-y\n"), asked)
    with pytest.raises(UsageError, match=r":1: 'Ada' has no tag"):
        files.read_rows(file(tmp_path, "Ada\n"), asked)


def test_tags_as_lists_of_numbers(tmp_path: Path) -> None:
    asked = card("tagging", labels=TAGS["labels"] | {"values": {"0": "O", "1": "B-x"}},
                 local=local("parquet"))  # fmt: skip
    table = pa.table({"text": [["Ada", "sleeps"], ["So"]], "tag": [[1, 0], [0]]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = files.read_rows([tmp_path / "a.parquet"], asked)
    assert rows == data.Rows([("Ada sleeps",), ("So",)], ["B-x O", "O"])
    table = pa.table({"text": [["Ada", "sleeps"]], "tag": [[1]]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="row 1: 1 tags for 2 tokens"):
        files.read_rows([tmp_path / "a.parquet"], asked)


def test_parallel_files_are_aligned(tmp_path: Path) -> None:
    lines = local("parallel", train="train.{column}", scored="test.{column}")
    asked = card("translation", inputs=["en"], labels={"column": "de"}, local=lines)
    for split in ("train", "test"):
        file(tmp_path, "a cat\nno\n\n", f"{split}.en")
        file(tmp_path, "eine Katze\nnein\n", f"{split}.de")
    found = sources._local(asked, tmp_path)
    assert found.train == data.Rows([("a cat",), ("no",)], ["eine Katze", "nein"])
    file(tmp_path, "eine Katze\n", "train.de")
    with pytest.raises(UsageError, match=r"train\.de has 1 lines and .*train\.en 2"):
        sources._local(asked, tmp_path)


def test_translations_inside_objects(tmp_path: Path) -> None:
    asked = card("translation", inputs=["translation.en"], labels={"column": "translation.de"},
                 local=local("parquet"))  # fmt: skip
    table = pa.table({"translation": [{"en": "no", "de": "nein"}, {"en": "yes", "de": "ja"}]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = files.read_rows([tmp_path / "a.parquet"], asked)
    assert rows == data.Rows([("no",), ("yes",)], ["nein", "ja"])


def test_choices_by_column_and_in_a_list(tmp_path: Path) -> None:
    by_column = card("completion", inputs=["text"], choices=["a", "b"],
                     labels={"column": "y"}, local=local("jsonl"))  # fmt: skip
    text = '{"text": "x", "a": "1", "b": "2", "y": 0}\n{"text": "y", "a": "1", "b": "2", "y": 1}\n'
    rows = files.read_rows(file(tmp_path, text), by_column)
    assert rows == data.Rows([("x", "1", "2"), ("y", "1", "2")], ["0", "1"])

    listed = card("completion", inputs=["text"], choices="ends",
                  labels={"column": "y", "classes": ["0", "1"]}, local=local("jsonl"))  # fmt: skip
    text = '{"text": "x", "ends": ["1", "2"], "y": "0"}\n{"text": "y", "ends": ["3"], "y": "1"}\n'
    with pytest.raises(UsageError, match=r":2: ends is \['3'\], which has no '1'"):
        files.read_rows(file(tmp_path, text), listed)


def test_lines_of_running_text_keep_their_empty_ones_and_count_words(tmp_path: Path) -> None:
    asked = card("language-modelling", local=local("lines"))
    rows = files.read_rows(file(tmp_path, " = A = \n\none two\n"), asked)
    assert rows == data.Rows([("= A =",), ("",), ("one two",)], ["4", "1", "3"])


def test_lines_end_as_any_platform_ends_them_and_what_is_not_utf8_is_named(tmp_path: Path) -> None:
    asked, path = card("language-modelling", local=local("lines")), tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\r\n\xe2\x80\xa8two\x0b")
    assert files.read_rows([path], asked).inputs == [("one",), ("",), ("two",)]
    path.write_bytes(b"one\ncaf\xe9\n")
    with pytest.raises(UsageError, match=r"train\.txt:2: not UTF-8 \(byte 0xe9\)"):
        files.read_rows([path], asked)


def test_running_text_takes_little_more_memory_than_it_has_bytes(tmp_path: Path) -> None:
    text = f"{'word ' * 200}\n" * 2000 + "a rare character: \U0001d11e\n"
    asked, paths = card("language-modelling", local=local("lines")), file(tmp_path, text)
    tracemalloc.start()
    rows = files.read_rows(paths, asked)
    data.fingerprint(rows)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) == 2001
    assert most < 3 * len(text)


def test_running_text_is_tuned_on_in_stretches() -> None:
    train = data.Rows([(f"line {i}",) for i in range(1030)], ["3"] * 1030)
    tuned = data.carve_stretches(train)
    assert len(tuned) == 50
    assert tuned == list(range(tuned[0], tuned[0] + 50))
    assert tuned[0] % 50 == 0


def test_a_scored_split_in_parts(tmp_path: Path) -> None:
    asked = card(
        "classification",
        labels={"column": "y", "classes": ["0", "1"]},
        local=local("tsv", scored={"matched": "m.txt", "mismatched": "mm.txt"}),
    )
    rows = "\n".join(f"text number {i} of many\t{i % 2}" for i in range(20))
    for name, n in (("train.txt", 99), ("m.txt", 9), ("mm.txt", 99)):
        file(tmp_path, "text\ty\n" + "\n".join(rows.split("\n")[:n]) + "\n", name)
    resolved = sources.resolve(asked, tmp_path)
    assert resolved.parts == {"matched": 9, "mismatched": 20}
    assert resolved.scored.labels == resolved.scored.labels[:9] + ["0", "1"] * 10


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "needs [labels]"),
        ({"labels": {"column": "y", "classes": ["a"]}}, "two labels.classes or more"),
        ({"labels": {"column": "y", "classes": ["a", "b"]}}, "names no data"),
    ],
)
def test_a_card_must_be_whole(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=r".*" + says.replace("[", r"\[")):
        card("classification", **changes)


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("number", "x", "'x', not a finite number"),
        ("number", "inf", "not a finite number"),
        ("words", -1.5, "not a finite number of at least 0"),
        ("text", 3, "3, which is not a text"),
        ("tags", "O B-z", "'B-z', not a class"),
    ],
)
def test_predictions_of_each_kind(tmp_path: Path, kind: Any, value: Any, says: str) -> None:
    data.Predictions([value], None).write(tmp_path / "predictions.parquet")
    with pytest.raises(BenchError, match=says):
        data.read_predictions(tmp_path, 1, kind, ["O", "B-x"])


def test_good_predictions_of_each_kind(tmp_path: Path) -> None:
    for kind, value in (("number", 1.5), ("words", 0.0), ("text", "a b"), ("tags", "O B-x")):
        data.Predictions([value], None).write(tmp_path / "predictions.parquet")
        assert data.read_predictions(tmp_path, 1, kind, ["O", "B-x"]).labels == [value]


def passages(**given: Any) -> Card:
    return card(
        "completion",
        inputs=["text.beginning"],
        labels={"column": "text.last_word"},
        **{"local": local("lines"), **given},
    )


def test_passages_are_parted_before_their_last_word(tmp_path: Path) -> None:
    rows = files.read_rows(file(tmp_path, "so he left her\n\nshe\n"), passages())
    assert rows == data.Rows([("so he left",), ("",)], ["her", "she"])
    with pytest.raises(UsageError, match="has no texts"):
        files.read_rows(file(tmp_path, "\n\n"), passages())


def test_novels_are_cut_into_passages_and_lose_no_word(tmp_path: Path) -> None:
    for n, lengths in ((999, [999]), (1001, [1001]), (1002, [1000, 2]), (2000, [1000, 1000])):
        pq.write_table(
            pa.table({"text": [" ".join(f"w{i}" for i in range(n))]}), tmp_path / "a.parquet"
        )
        rows = files.read_rows([tmp_path / "a.parquet"], passages(local=local("parquet")))
        texts = [
            f"{text} {word}".split() for (text,), word in zip(*vars(rows).values(), strict=True)
        ]
        assert [len(words) for words in texts] == lengths
        assert [w for words in texts for w in words] == [f"w{i}" for i in range(n)]


def test_passages_are_tuned_on_in_stretches(tmp_path: Path) -> None:
    lines = "".join(f"passage number {i} of many\n" for i in range(1030))
    for name in ("train.txt", "scored.txt"):
        file(tmp_path, lines, name)
    tune = sources.resolve(passages(), tmp_path).tune
    first = int(tune.inputs[0][0].split()[2])
    assert first % 50 == 0
    assert [int(text.split()[2]) for (text,) in tune.inputs] == list(range(first, first + 50))
