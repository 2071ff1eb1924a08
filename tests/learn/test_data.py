"""What identifies data, how tune is carved, and the folder between the meter and a program."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from bench import cards, record
from bench.errors import BenchError
from bench.learn import data
from bench.learn.data import Rows

CARD = cards.load("sst2")
CLASSES = CARD.labels.classes


def rows(*pairs: tuple[str, str]) -> Rows:
    return Rows([(text,) for text, _ in pairs], [label for _, label in pairs])


def numbered(n: int) -> Rows:
    return rows(*((f"film number {i}", CLASSES[i % 2]) for i in range(n)))


# Identity


def test_a_fingerprint_is_a_hash_over_rows_joined_as_the_rules_say():
    two = rows(("a film", "positive"), ("no film", "negative"))
    expected = hashlib.sha256(b"a film\x1fpositive\x1eno film\x1fnegative").hexdigest()
    assert data.fingerprint(two) == expected
    assert data.labels_digest(two.labels) == hashlib.sha256(b"positive\x1enegative").hexdigest()


def test_pairs_of_texts_are_fields_of_their_own():
    pair = Rows([("a", "b")], ["positive"])
    assert data.fingerprint(pair) == hashlib.sha256(b"a\x1fb\x1fpositive").hexdigest()
    assert data.fingerprint(pair) != data.fingerprint(Rows([("a b",)], ["positive"]))


def test_order_and_labels_count():
    one = rows(("a", "positive"), ("b", "negative"))
    assert data.fingerprint(one) != data.fingerprint(rows(("b", "negative"), ("a", "positive")))
    assert data.fingerprint(one) != data.fingerprint(rows(("a", "negative"), ("b", "negative")))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("  a \t film\r\n", "a film"),
        ("cafe\u0301", "caf\u00e9"),
        ("no\u00a0break\u3000space", "no break space"),
        ("fields\x1fand\x1erows", "fields and rows"),
    ],
)
def test_white_space_and_composition_do_not_count(text, same):
    assert data.canonical(text) == same


@pytest.mark.shared
def test_sst2_is_fingerprinted_quickly(shared_data):
    lines = (shared_data / "glue/SST-2/train.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
    train = rows(*((line.split("\t")[0], "positive") for line in lines))
    start = time.process_time()
    data.fingerprint(train)
    assert time.process_time() - start < 1


# Tune


def test_phrases_of_a_sentence_stay_on_one_side():
    generator = random.Random(0)
    pairs = []
    for i in range(400):
        sentence = " ".join(f"w{generator.randrange(3000)}" for _ in range(12))
        pairs += [(sentence, "positive"), (sentence[:30].rsplit(" ", 1)[0] + " .", "positive")]
        pairs += [(" ".join(sentence.upper().split()[3:9]), "negative"), (f"w{i}", "negative")]
    train = rows(*pairs)
    tune = set(data.carve_tune(train))
    assert 100 < len(tune) <= 200

    def plain(i: int) -> str:
        return " " + " ".join(w for w in train.inputs[i][0].lower().split() if w != ".") + " "

    trained = [plain(i) for i in range(len(train)) if i not in tune]
    assert not [i for i in tune if any(plain(i) in text for text in trained)]


def test_the_choice_does_not_depend_on_the_order():
    train = numbered(2000)
    tuned = {train.inputs[i] for i in data.carve_tune(train)}
    order = list(range(2000))
    random.Random(1).shuffle(order)
    shuffled = train.take(order)
    assert {shuffled.inputs[i] for i in data.carve_tune(shuffled)} == tuned


@pytest.mark.parametrize(
    ("n", "tuned"), [(4, 0), (10, 2), (500, 100), (4000, 200), (40_000, 1000), (90_000, 2000)]
)
def test_tune_is_a_fortieth_within_bounds(n, tuned):
    assert len(data.carve_tune(numbered(n))) == tuned


def test_equal_texts_stay_together():
    train = rows(*((f"film {i % 50}", CLASSES[i % 2]) for i in range(1000)))
    tune = set(data.carve_tune(train))
    assert tune
    assert {i % 50 for i in tune}.isdisjoint(i % 50 for i in range(1000) if i not in tune)


def test_a_group_that_outgrows_its_share_is_still_one_group():
    train = rows(*((f"film {i % 2}", CLASSES[i % 2]) for i in range(100)))
    assert len(data.carve_tune(train)) == 50


def test_what_was_carved_is_remembered_and_a_damaged_memory_is_made_again(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    train = numbered(500)
    first = data.split_tune(train, "print", "class")
    (file,) = (tmp_path / "bench").iterdir()
    carve, calls = data.carve_tune, []
    monkeypatch.setattr(data, "carve_tune", lambda rows: calls.append(1) or carve(rows))
    assert data.split_tune(train, "print", "class") == first
    assert calls == []
    for damage in (b"", b"[1", b'["wrong", [1, 2]]', b"7"):
        file.write_bytes(damage)
        assert data.split_tune(train, "print", "class") == first
        assert data.split_tune(train, "print", "class") == first
    assert len(calls) == 4
    data.split_tune(train, "another print", "class")
    assert len(calls) == 5


def test_a_cache_that_can_not_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    trained, tuned = data.split_tune(numbered(500), "print", "class")
    assert (len(trained), len(tuned)) == (400, 100)


# The folder that a program learns from


@pytest.fixture
def task_folder(tmp_path) -> Path:
    train = rows(("un « bon » film\u2028", "positive"), ('a "bad" one', "negative"))
    resolved = data.Resolved(
        source="local", place="here", train=train, tune=rows(("so-so", "negative")),
        scored=rows(("first", "positive"), ("second", "negative")),
        identity=record.Data(
            source="local", official=False, fingerprints={"train": "0", "scored": "1"},
            labels_sha256="2", rows={"train": 2, "tune": 1, "scored": 2},
        ),
    )  # fmt: skip
    data.write_task_folder(resolved, CARD, tmp_path / "task")
    return tmp_path / "task"


@pytest.mark.parametrize("at_once", [1, 2, 10_000])
def test_a_task_folder_reads_back(task_folder, monkeypatch, at_once):
    monkeypatch.setattr(data, "_AT_ONCE", at_once)
    task = data.read_task_folder(task_folder)
    assert (task.name, task.version, task.family) == ("sst2", 1, "classification")
    assert (task.inputs, task.classes, task.metric) == (["sentence"], CLASSES, "accuracy")
    assert task.train.inputs == [("un « bon » film\u2028",), ('a "bad" one',)]
    assert task.train.labels == ["positive", "negative"]
    assert task.tune == rows(("so-so", "negative"))
    assert task.scored == [("first",), ("second",)]


def test_scored_labels_are_nowhere_in_the_folder(task_folder):
    lines = (task_folder / "scored.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": 0, "sentence": "first"},
        {"id": 1, "sentence": "second"},
    ]
    assert sorted(p.name for p in task_folder.iterdir()) == [
        "scored.jsonl", "task.json", "train.jsonl", "tune.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("task.json", None, "is not a task's folder"),
        ("task.json", "{", "is damaged"),
        ("train.jsonl", '{"sentence": "x", "label": "positive"}\n', "has 1 of 2 rows"),
        ("tune.jsonl", '{"label": "positive"}\n', "is damaged"),
    ],
)
def test_a_damaged_task_folder_is_one_line(task_folder, file, content, complaint):
    path = task_folder / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(BenchError, match=complaint):
        data.read_task_folder(task_folder)


# Predictions

GOOD = [{"id": 1, "prediction": "negative"}, {"id": 0, "prediction": "positive"}]


def write(folder: Path, suffix: str, predictions: list[dict]) -> None:
    path = folder / f"predictions{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(predictions), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in predictions))
    else:
        table = [list(predictions[0])]
        for row in predictions:
            table.append([f'"{v}"' if isinstance(v, list) else str(v) for v in row.values()])
        path.write_text("".join(",".join(cells) + "\r\n" for cells in table))


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        (["good", "bad"], [[0.25, 0.75], [1.0, 0.0]]),
        (["größer 好", ""], None),
        ([1.5, 2], [[0.5], []]),
        ([], None),
    ],
)
def test_what_is_written_is_read(tmp_path: Path, labels: list, scores: list | None) -> None:
    data.Predictions(labels, scores).write(tmp_path / "predictions.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "predictions.parquet")
    table.validate(full=True)
    found = table.to_pydict()
    assert found.pop("id") == list(range(len(labels)))
    assert found.pop("prediction") == labels
    assert found == ({} if scores is None else {"scores": scores})
    if scores:
        assert table["scores"].type == pyarrow.list_(pyarrow.float32())


def test_predictions_are_written_without_pandas(tmp_path: Path) -> None:
    """Which takes half a second to import, in the window."""
    code = (
        "import sys; from pathlib import Path; from bench.learn.data import Predictions\n"
        "Predictions(['a', 'b'], [[0, 1], [1, 0]]).write(Path('x.parquet'))\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_predictions_come_back_in_order_of_id(tmp_path, suffix):
    write(tmp_path, suffix, GOOD)
    assert data.read_predictions(tmp_path, 2, "class", CLASSES).labels == ["positive", "negative"]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_scores_are_optional(tmp_path, suffix):
    write(tmp_path, suffix, [{**row, "scores": [row["id"], 0.5]} for row in GOOD])
    assert data.read_predictions(tmp_path, 2, "class", CLASSES).scores == [[0.0, 0.5], [1.0, 0.5]]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": 0}, "id 0 is predicted twice"),
        ({"id": 2}, "id 2 is not a whole number from 0 to 1"),
        ({"id": -1}, "id -1 is not a whole number"),
        ({"prediction": "negativ"}, "the prediction for id 1 is 'negativ', not a class"),
        ({"scores": [0.5]}, r"the scores for id \d are"),
    ],
)
def test_wrong_predictions_are_one_line(tmp_path, suffix, change, complaint):
    with_scores = [{**row, "scores": [0.5, 0.5]} for row in GOOD] if "scores" in change else GOOD
    write(tmp_path, suffix, [{**with_scores[0], **change}, with_scores[1]])
    with pytest.raises(BenchError, match=complaint) as caught:
        data.read_predictions(tmp_path, 2, "class", CLASSES)
    assert "\n" not in caught.value.message


def test_missing_ids_are_counted(tmp_path):
    write(tmp_path, ".jsonl", GOOD)
    with pytest.raises(BenchError, match="3 of 5 ids are missing, the first is 2"):
        data.read_predictions(tmp_path, 5, "class", CLASSES)


@pytest.mark.parametrize("score", ["NaN", "Infinity", '"x"', "null"])
def test_scores_that_are_no_finite_numbers_are_refused(tmp_path, score):
    (tmp_path / "predictions.jsonl").write_text(
        f'{{"id": 0, "prediction": "positive", "scores": [{score}, 1]}}\n'
    )
    with pytest.raises(BenchError, match="the scores for id 0 are"):
        data.read_predictions(tmp_path, 1, "class", CLASSES)


def test_a_near_class_is_the_hint(tmp_path):
    write(tmp_path, ".jsonl", [{"id": 0, "prediction": "Positive"}])
    with pytest.raises(BenchError) as caught:
        data.read_predictions(tmp_path, 1, "class", CLASSES)
    assert caught.value.hint == "did you mean 'positive'?"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("predictions.jsonl", b"{\n", r"predictions.jsonl:1 is not JSON"),
        ("predictions.jsonl", b"[1]\n", r"predictions.jsonl:1 is not a JSON object"),
        ("predictions.jsonl", b'{"id": 0}\n', "no column 'prediction'; it has id"),
        ("predictions.jsonl", b"\xff\xfe", "not UTF-8"),
        ("predictions.csv", b"id,prediction\nx,positive\n", r"predictions.csv:2: id or scores"),
        ("predictions.csv", b"number,prediction\n0,positive\n", r"predictions.csv:2: id"),
        (
            "predictions.csv",
            b'id,prediction\n0,"' + b"x" * 140_000,
            r"predictions.csv:\d is not CSV",
        ),
        ("predictions.csv", b"id,prediction,scores\n0,positive," + b"[" * 9999, "id or scores"),
        ("predictions.jsonl", b"[" * 9999, "1 is not JSON"),
        (
            "predictions.jsonl",
            b'{"id": 0, "prediction": "positive", "scores": [1, 1%s]}\n' % (b"0" * 400),
            "the scores for id 0",
        ),
        ("predictions.parquet", b"PAR1", "is not Parquet"),
        ("other.txt", b"", "the program left no predictions"),
    ],
)
def test_a_file_that_can_not_be_read_is_one_line(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BenchError, match=complaint):
        data.read_predictions(tmp_path, 1, "class", CLASSES)


def test_two_files_are_one_too_many(tmp_path):
    write(tmp_path, ".jsonl", GOOD)
    write(tmp_path, ".csv", GOOD)
    with pytest.raises(BenchError, match=r"predictions\.jsonl and predictions\.csv"):
        data.read_predictions(tmp_path, 2, "class", CLASSES)
