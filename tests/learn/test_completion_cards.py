"""The cards of tagging and completion: their files as the Hub and the releases hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import cards
from bench.learn import sources

HELLASWAG = {
    "ind": [1, 2], "activity_label": ["x", "y"], "ctx_a": ["A man sits.", "b"], "ctx_b": ["he", ""],
    "ctx": ["A man sits. he", "b"], "endings": [["gets up.", "flies.", "is on.", "sings."]] * 2,
    "label": ["0", "3"],
}  # fmt: skip


def test_hellaswag_in_the_cache_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    card = cards.load("hellaswag")
    assert card.hub
    folder = tmp_path / "datasets--Rowan--hellaswag" / "snapshots" / card.hub.revision / "data"
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        pq.write_table(pa.table(HELLASWAG), folder / f"{split}-00000-of-00001.parquet")
    found = sources._hub_cache(card)
    assert found.train.inputs[0] == ("A man sits. he", "gets up.", "flies.", "is on.", "sings.")
    assert found.scored.labels == ["0", "3"]


@pytest.mark.parametrize(
    ("task", "columns", "texts", "labels"),
    [
        (
            "wnut17",
            {"tokens": [["in", "Bad", "Ems"], ["hi"]], "ner_tags": [[0, 7, 8], [0]]},
            ("in Bad Ems",), ["O B-location I-location", "O"],
        ),
        (
            "conll2003",
            {"tokens": [["Ada", "left"], ["U.N."]], "pos_tags": [[1, 2], [3]],
             "ner_tags": [[1, 0], [3]]},
            ("Ada left",), ["B-PER O", "B-ORG"],
        ),
        (
            "copa",
            {"premise": ["It fell.", "a"], "choice1": ["b", "c"], "choice2": ["d", "e"],
             "question": ["cause", "effect"], "idx": [0, 1], "label": [1, 0]},
            ("It fell.", "cause", "b", "d"), ["1", "0"],
        ),
        (
            "swag",
            {"startphrase": ["She sits. He", "a"],
             **{f"ending{i}": [f"{i}.", "x"] for i in range(4)},
             "gold-source": ["gold", "gen"], "label": [2, 0]},
            ("She sits. He", "0.", "1.", "2.", "3."), ["2", "0"],
        ),
    ],
)  # fmt: skip
def test_the_columns_of_the_hub(
    tmp_path: Path, task: str, columns: dict[str, Any], texts: tuple[str, ...], labels: list[str]
) -> None:
    card = cards.load(task)
    assert card.hub
    for split in card.hub.splits:
        pq.write_table(pa.table(columns), tmp_path / f"{split}-00000-of-00001.parquet")
    found = sources._local(card, tmp_path)
    assert found.train.inputs[0] == found.scored.inputs[0] == texts
    assert found.train.labels == labels


def test_the_release_of_lambada(tmp_path: Path) -> None:
    folder = tmp_path / "lambada"
    (folder / "train-novels" / "Romance").mkdir(parents=True)
    (folder / "train-novels" / "Romance" / "a.txt").write_text("she left\nhe stayed at home\n")
    (folder / "train-novels" / "Humor").mkdir()
    (folder / "train-novels" / "Humor" / "b.txt").write_text("ha ha\n")
    (folder / "lambada_test_plain_text.txt").write_text("he asked her name\nno one knew\n")
    found = sources._local(cards.load("lambada"), tmp_path)
    assert found.train.inputs == [("ha",), ("she",), ("he stayed at",)]
    assert found.scored.inputs == [("he asked her",), ("no one",)]
    assert found.scored.labels == ["name", "knew"]


def test_the_release_of_conll2003_has_other_columns_between(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP B-PER\n"
    for name in ("eng.train", "eng.testb"):
        (tmp_path / name).write_text(text)
    found = sources._local(cards.load("conll2003"), tmp_path)
    assert found.train.inputs == [("EU rejects",), ("Peter",)]
    assert found.scored.labels == ["B-ORG O", "B-PER"]
