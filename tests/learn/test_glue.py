"""The GLUE cards: their files as the release and the Hub hold them, and steps on the real ones."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import cards
from bench.learn import sources

# Task -> the head of train.tsv, a row, and what is read of it.
RELEASE = {
    "cola": ("", "gj04\t{y}\t*\tThey sang {i}.", ["0", "1"], ["unacceptable", "acceptable"]),
    "mrpc": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n",
        '{y}\t1\t2\tHe said " no {i} .\tHe did not .', ["0", "1"], ["not_equivalent", "equivalent"],
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n", "0\t1\t2\tWhy {i}?\tHow?\t{y}",
        ["0", "1"], ["not_duplicate", "duplicate"],
    ),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n",
        "0\ta\tb\tc\t0\td\te\tA cat {i}.\tA dog.\t{y}", ["5.000", "3.800"], ["5", "3.8"],
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel\n", "0\tWho {i}?\tShe did.\t{y}",
        ["entailment", "not_entailment"], ["entailment", "not_entailment"],
    ),
    "rte": (
        "index\tsentence1\tsentence2\tlabel\n", "0\tIt rained {i}.\tIt was wet.\t{y}",
        ["entailment", "not_entailment"], ["entailment", "not_entailment"],
    ),
    "wnli": (
        "index\tsentence1\tsentence2\tlabel\n", "0\tHe fell {i}.\tBob fell.\t{y}",
        ["0", "1"], ["not_entailment", "entailment"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", RELEASE)
def test_the_files_of_the_release_are_read(tmp_path: Path, task: str) -> None:
    head, row, values, expected = RELEASE[task]
    card = cards.load(task)
    assert card.local
    folder = tmp_path / card.local.folder
    folder.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        rows = (row.format(y=values[i % 2], i=i) for i in range(10))
        (folder / name).write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    found = sources._local(card, tmp_path)
    assert found.train.labels[:2] == found.scored.labels[:2] == expected
    assert "0" in found.train.inputs[0][0]
    assert len(found.train.inputs[0]) == len(card.inputs)


def test_mnli_has_two_scored_parts_whose_files_have_other_columns(tmp_path: Path) -> None:
    folder = tmp_path / "glue" / "MNLI"
    folder.mkdir(parents=True)
    labels = ["entailment", "neutral", "contradiction"]
    for name, n, more in (("train", 9, ""), ("dev_matched", 6, "label2\t"),
                          ("dev_mismatched", 3, "label2\t")):  # fmt: skip
        rows = [f"0\tA{i}\tB\tneutral\t{more and 'neutral' + chr(9)}{labels[i % 3]}"
                for i in range(n)]  # fmt: skip
        head = f"index\tsentence1\tsentence2\tlabel1\t{more}gold_label"
        (folder / f"{name}.tsv").write_text("\n".join([head, *rows]) + "\n")
    found = sources._local(cards.load("mnli"), tmp_path)
    assert found.parts == {"matched": 6, "mismatched": 3}
    assert found.train.labels == labels * 3
    assert found.scored.inputs[-1] == ("A2", "B")


def test_scores_that_the_hub_keeps_in_float32_are_the_decimals_of_the_release(
    tmp_path: Path,
) -> None:
    columns = {"sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"]}
    scores = pa.array([3.8, 4.25, 5.0], pa.float32())
    for split in ("train", "validation"):
        table = pa.table({**columns, "label": scores})
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    found = sources._local(cards.load("stsb"), tmp_path)
    assert found.train.labels == ["3.8", "4.25", "5"]


@pytest.mark.shared
@pytest.mark.parametrize("task", ["cola", "stsb", "rte", "wnli"])
def test_the_real_files_are_the_official_data(shared_data: Path, task: str) -> None:
    resolved = sources.resolve(cards.load(task), shared_data)
    assert resolved.identity.official
    assert resolved.notes == []


@pytest.mark.shared
def test_one_missing_row_is_said_where_no_fingerprint_is_pinned(shared_data: Path) -> None:
    resolved = sources.resolve(cards.load("mrpc"), shared_data)
    assert not resolved.identity.official
    assert "NOT the official MRPC: train has 3,667 rows instead of 3,668" in resolved.notes[0]
