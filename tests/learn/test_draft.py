"""A first card from files of a user's own: it loads, and its data can be trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import cards, metrics
from bench.errors import UsageError
from bench.learn import draft, sources

TOPICS = ["money", "sport", "weather"]


def headlines(folder: Path, train: str = "train.csv", scored: str | None = "test.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, n in ((train, 60), (scored, 12)):
        rows = [
            f'{i},"{TOPICS[i % 3]}, news {i}",2024-01-0{i % 9},{TOPICS[i % 3]}' for i in range(n)
        ]
        if name:
            (folder / name).write_text("\n".join(["id,headline,day,topic", *rows]) + "\n")
    return folder / train


def test_classes_from_a_csv(tmp_path: Path) -> None:
    path = draft.write(headlines(tmp_path / "headlines"))
    assert path == tmp_path / "headlines" / "headlines.toml"
    card = cards.load("headlines", [path.parent])
    metrics.check(card)
    assert (card.family, card.inputs, card.classes) == ("classification", ["headline"], TOPICS)
    resolved = sources.resolve(card)
    assert sum(resolved.identity.rows.values()) == 72


def test_numbers_from_parquet_in_shards(tmp_path: Path) -> None:
    for name in ("train-00000.parquet", "validation-00000.parquet"):
        table = pa.table({"review": [f"quite good {i}" for i in range(60)],
                          "helpfulness": [i / 7 for i in range(60)]})  # fmt: skip
        pq.write_table(table, tmp_path / name)
    path = draft.write(tmp_path / "train-00000.parquet", "helpful")
    card = cards.load("helpful", [tmp_path])
    assert (path.name, card.family, card.metric.name) == ("helpful.toml", "regression", "pearson")
    assert len(sources.resolve(card).scored) == 60


def test_numbered_classes_and_pairs_from_json_lines(tmp_path: Path) -> None:
    rows = [{"one": f"a text {i}", "two": f"b text {i}", "label": i % 2} for i in range(40)]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    card = cards.read(draft.write(tmp_path / "train.jsonl", "pairs"))
    assert (card.inputs, card.classes) == (["one", "two"], ["0", "1"])


def test_one_file_puts_a_share_aside(tmp_path: Path) -> None:
    card = cards.read(draft.write(headlines(tmp_path, "headlines.csv", None)))
    assert (card.name, card.local and card.local.scored) == ("headlines", 0.1)
    assert sources.resolve(card).identity.rows == {"train": 44, "tune": 10, "scored": 6}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    train = headlines(tmp_path)
    draft.write(train, "mine")
    with pytest.raises(UsageError, match=r"mine\.toml is there already"):
        draft.write(train, "mine")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train.txt", "text\tlabel\n", r"none of \.tsv, \.csv, \.jsonl and \.parquet"),
        ("train.tsv", "a\tb\nx\ty\nz\tw\n", "no column looks like labels; it has 'a', 'b'"),
        ("train.tsv", "a\tlabel\nx\ty\nz\tw\n", "no column of texts; it has 'a', 'label'"),
        ("train.tsv", "a\tlabel\n" + "".join(f"b {i}\tc{i}\n" for i in range(9)), "neither"),
    ],
)
def test_what_can_not_be_told_is_said(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=says):
        draft.write(tmp_path / name)
    with pytest.raises(UsageError, match="there is no file"):
        draft.write(tmp_path / "other.csv")


def test_the_command_says_what_to_do_next(bench, tmp_path: Path) -> None:
    said = bench("tasks", "--new", headlines(tmp_path / "news"))
    assert said.code == 0
    assert f"bench run --task news --tasks {tmp_path / 'news'}" in said.out
    assert "news (not ranked, yours)" in bench("tasks", "--tasks", tmp_path / "news").out
