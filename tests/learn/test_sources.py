"""Data from folders: where files are looked for, what makes them official, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import cards
from bench.errors import BenchError, UsageError
from bench.learn import files, sources
from tests.learn.test_hub import TRAIN, official_card, parquet

CARD = cards.load("sst2")
SCORED = TRAIN[:10]


def tsv(rows=TRAIN) -> str:
    return "".join(["sentence\tlabel\n", *(f"{text}\t{label}\n" for text, label in rows)])


def write(folder: Path, train: str | bytes | None = None, scored: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = tsv() if train is None else train
    content = content.encode() if isinstance(content, str) else content
    (folder / "train.tsv").write_bytes(content)
    (folder / "dev.tsv").write_text(tsv(SCORED) if scored is None else scored)
    return folder


def resolve(folder: Path) -> sources.Resolved:
    return sources.resolve(official_card(TRAIN, SCORED), folder)


# Where


@pytest.mark.parametrize("inside", ["", "SST-2", "glue/SST-2"])
def test_a_folder_or_a_root_above_it(tmp_path, inside):
    folder = write(tmp_path / inside)
    resolved = resolve(tmp_path)
    assert (resolved.source, resolved.place) == ("local", str(folder))
    assert resolved.identity.official
    assert resolved.notes == []
    assert resolved.identity.rows == {"train": 32, "tune": 8, "scored": 10}


@pytest.mark.parametrize("inside", ["", "sst2", "glue/SST-2"])
def test_the_hubs_file_names(tmp_path, inside):
    folder = tmp_path / inside
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train-00000-of-00002.parquet").write_bytes(parquet(TRAIN[:25]))
    (folder / "train-00001-of-00002.parquet").write_bytes(parquet(TRAIN[25:]))
    (folder / "validation-00000-of-00001.parquet").write_bytes(parquet(SCORED))
    assert resolve(tmp_path).identity.official


def test_bench_data_is_the_folder_where_none_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(write(tmp_path / "set")))
    assert sources.resolve(CARD).place == str(tmp_path / "set")
    assert sources.resolve(CARD, write(tmp_path / "given")).place == str(tmp_path / "given")
    assert sources.resolve(CARD, "embedded").source == "embedded"


def test_a_folder_without_the_files_is_an_error_that_says_what_was_looked_for(tmp_path):
    (tmp_path / "train.tsv").write_text(tsv())
    with pytest.raises(UsageError) as caught:
        resolve(tmp_path)
    assert "does not hold SST-2" in caught.value.message
    assert f"{tmp_path}/glue/SST-2/train.tsv and dev.tsv" in caught.value.message
    assert f"{tmp_path}/train-*.parquet and validation-*.parquet" in caught.value.message


def test_no_folder(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        resolve(tmp_path / "missing")


def test_the_embedded_corpus_is_loudly_not_sst2():
    resolved = sources.resolve(CARD, "embedded")
    assert not resolved.identity.official
    assert "NOT SST-2 but the embedded corpus 'verdicts'" in resolved.notes[-1]
    assert resolved.identity.board() in resolved.notes[-1]
    assert resolved.identity.rows == {"train": 19500, "tune": 500, "scored": 2000}


def test_a_task_without_an_embedded_corpus():
    card = CARD.model_copy(update={"embedded": None})
    with pytest.raises(BenchError, match="no embedded corpus stands in for SST-2"):
        sources.resolve(card, "embedded")
    with pytest.raises(BenchError, match=r"no data for sst2: .*can't be reached.*no embedded") as c:
        sources.resolve(card)
    assert c.value.hint == "--data DIR, a folder with train.tsv and dev.tsv"


# Official or not


@pytest.mark.parametrize(
    ("train", "scored", "differs"),
    [
        ([*TRAIN[1:], TRAIN[0]], SCORED, "train"),
        (TRAIN[:-1], SCORED, "train"),
        (TRAIN, [(text, 1 - label) for text, label in SCORED], "scored"),
        (TRAIN, [("film zero is dull", 0), *SCORED[1:]], "scored"),
    ],
)
def test_other_rows_are_not_official(tmp_path, train, scored, differs):
    resolved = resolve(write(tmp_path, tsv(train), tsv(scored)))
    assert not resolved.identity.official
    (note,) = resolved.notes
    assert (
        f"NOT the official SST-2: {differs} has {len(train if differs == 'train' else scored)}"
        in note
    )


def test_a_card_without_fingerprints_knows_no_official_data(tmp_path):
    card = CARD.model_copy(update={"fingerprints": None})
    resolved = sources.resolve(card, write(tmp_path))
    assert not resolved.identity.official
    assert "NOT the official SST-2: train has" in resolved.notes[0]
    unknown = card.model_copy(update={"rows": None})
    resolved = sources.resolve(unknown, write(tmp_path))
    assert "NOT known to be SST-2: fingerprint not pinned" in resolved.notes[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\n",
        lambda text: text.replace("film 3 is", "film  3\u00a0is "),
        lambda text: text.replace("\t0\n", "\tnegative\n"),
    ],
    ids=["crlf", "bom", "no last line end", "blank lines at the end", "spaces", "class names"],
)
def test_how_a_file_is_written_does_not_matter(tmp_path, change):
    assert resolve(write(tmp_path, change(tsv()))).identity.official


def test_columns_are_found_by_name(tmp_path):
    swapped = "".join(
        ["idx\tlabel\tsentence\n", *(f"{i}\t{y}\t{x}\n" for i, (x, y) in enumerate(TRAIN))]
    )
    assert resolve(write(tmp_path, swapped)).identity.official


def test_quotes_and_odd_line_ends_are_text_in_tsv(tmp_path):
    rows = [('a "quoted film', 1), ("one\u2028two\x85three\x0bfour", 0), *TRAIN]
    resolved = sources.resolve(CARD, write(tmp_path, tsv(rows)))
    texts = [text for rows in (resolved.train, resolved.tune) for (text,) in rows.inputs]
    assert {'a "quoted film', "one two three four"} <= set(texts)


@pytest.mark.shared
@pytest.mark.parametrize("place", [".", "glue", "glue/SST-2"])
def test_sst2_is_official(shared_data, place):
    resolved = sources.resolve(CARD, shared_data / place)
    assert resolved.identity.official
    assert resolved.notes == []
    assert resolved.identity.rows == {"train": 65667, "tune": 1682, "scored": 872}
    texts = {text.strip(" .") for (text,) in resolved.train.inputs}
    assert not [t for (t,) in resolved.tune.inputs if t.strip(" .") in texts]


# Bad data: one line with file and row


@pytest.mark.parametrize(
    ("train", "complaint"),
    [
        ("", "train.tsv has no rows"),
        ("sentence\tlabel\n", "train.tsv has no rows"),
        ("text\tlabel\na film\t1\n", "train.tsv: no column 'sentence'; it has 'text', 'label'"),
        ("sentence\tlables\na film\t1\n", "train.tsv: no column 'label'; it has"),
        ("sentence\tlabel\na\t1\nb\t2\n", "train.tsv:3: label '2' is none of '0' (negative), '1'"),
        ("sentence\tlabel\na\t1\nb\t-1\n", "train.tsv:3: label '-1' is none of"),
        ("sentence\tlabel\na\t1\nb\t\n", "train.tsv:3: label '' is none of"),
        ("sentence\tlabel\na\t1\nb\n", "train.tsv:3: 1 fields where there should be 2"),
        ("sentence\tlabel\na\tb\t1\n", "train.tsv:2: 3 fields where there should be 2"),
        ("sentence\tlabel\na\t1\n\nb\t0\n", "train.tsv:3: 1 fields where there should be 2"),
        ("sentence\tlabel\na\t1\n \t0\n", "train.tsv:3: the text is empty"),
        ("sentence\tlabel\na\t1\nb\t1\n", "train.tsv: every label is 'positive'"),
        ("sentence\tlabel\na\t1\n" + "b " * 60_000 + "\t0\n", "train.tsv:3: sentence has 119,999"),
        ("sentence\tlabel\na\t1\nb\t0\n", "train has too few rows"),
        (b"sentence\tlabel\na\t1\ncaf\xe9\t0\n", "train.tsv:3: not UTF-8 (byte 0xe9)"),
        ("sentence\tlabel\na\t1\n".encode("utf-16"), "train.tsv:1: not UTF-8 (byte 0xff)"),
    ],
)
def test_bad_tsv(tmp_path, train, complaint):
    with pytest.raises(UsageError) as caught:
        resolve(write(tmp_path, train))
    assert complaint in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("train", "hint"),
    [
        ("text\tlables\na\t1\n", None),
        ("sentence\tlables\na\t1\n", "is it 'lables'? rename it to 'label'"),
        ("sentence\tlabel\na\t-1\n", "labels of -1 are hidden"),
        (b"sentence\tlabel\ncaf\xe9\t0\n", "iconv -f latin1 -t utf-8 train.tsv converts it"),
        ("a".encode("utf-16"), "iconv -f utf-16"),
    ],
)
def test_bad_tsv_comes_with_a_hint(tmp_path, train, hint):
    with pytest.raises(UsageError) as caught:
        resolve(write(tmp_path, train))
    assert caught.value.hint == hint or hint in caught.value.hint


def read(path: Path, content: str) -> list[tuple[tuple[str, ...], str]]:
    path.write_bytes(content.encode())
    rows = files.read_rows([path], CARD)
    return list(zip(rows.inputs, rows.labels, strict=True))


TWO = [(("a, film",), "positive"), (("none",), "negative")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'sentence,label\r\n"a, film",1\r\nnone,0\r\n'),
        ("t.csv", 'label,sentence\n1,"a,\nfilm"\n\n0,none'),
        ("t.jsonl", '{"sentence": "a, film", "label": 1}\n\n{"sentence": "none", "label": "0"}'),
    ],
)
def test_other_formats(tmp_path, name, content):
    assert read(tmp_path / name, content) == TWO


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("t.csv", 'sentence,label\na,1\n"b,0\n', "t.csv:3: unexpected end of data"),
        ("t.csv", 'sentence,label\n"a\nb",1\nc,7\n', "t.csv:4: label '7' is none of"),
        ("t.csv", "sentence,label\na,1,2\n", "t.csv:2: 3 fields"),
        ("t.jsonl", '{"sentence": "a", "label": 1}\n{"sentence"\n', "t.jsonl:2: not JSON"),
        ("t.jsonl", '{"sentence": "a", "label": 1}\n\n[]\n', "t.jsonl:3: not a JSON object"),
        ("t.jsonl", '{"sentence": "a", "label": 1}\n{"label": 1}\n', "t.jsonl:2: its fields are"),
        ("t.jsonl", '{"sentence": 3, "label": 1}\n', "t.jsonl:1: sentence is 3, which is not a"),
        ("t.jsonl", '{"sentence": "\\ud800", "label": 1}\n', "t.jsonl:1: not JSON"),
        ("t.jsonl", "", "t.jsonl has no rows"),
        ("t.parquet", "PAR1", "t.parquet is not Parquet"),
        ("t.arrow", "ARROW", "t.arrow is not Arrow"),
    ],
)
def test_bad_files_of_other_formats(tmp_path, name, content, complaint):
    with pytest.raises(UsageError) as caught:
        read(tmp_path / name, content)
    assert complaint in caught.value.message
    assert "\n" not in caught.value.message


def test_a_row_of_parquet_is_named_by_its_number(tmp_path):
    path = tmp_path / "train.parquet"
    path.write_bytes(parquet([("fine", 1), ("odd", 5)]))
    with pytest.raises(UsageError, match=r"train\.parquet, row 2: label '5' is none of"):
        files.read_rows([path], CARD)


def test_files_without_a_header(tmp_path):
    local = CARD.local.model_copy(update={"header": False, "columns": ["label", "sentence"]})
    card = CARD.model_copy(update={"local": local})
    (tmp_path / "t.tsv").write_text("1\ta, film\n0\tnone\n")
    assert files.read_rows([tmp_path / "t.tsv"], card).inputs == [("a, film",), ("none",)]


# Beside the card


def own(folder: Path, **sections: str) -> cards.Card:
    """A card of the user's own in a folder, with SST-2's columns."""
    text = """
        family = "classification"
        inputs = ["sentence"]
        [labels]
        column = "label"
        classes = ["0", "1"]
        [metric]
        name = "accuracy"
        chance = "majority"
        [local]
        format = "tsv"
        train = "train.tsv"
        scored = "dev.tsv"
    """ + "".join(sections.values())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.toml").write_text(text)
    return cards.load("mine", [folder])


HUB = '[hub]\nrepo = "a/b"\nconfig = "c"\nrevision = "d"\ntrain = "train"\nscored = "test"\n'


def test_a_cards_own_files_lie_beside_it(tmp_path):
    card = own(write(tmp_path / "topics"))
    resolved = sources.resolve(card)
    assert (resolved.source, resolved.place) == ("local", str(tmp_path / "topics"))
    elsewhere = write(tmp_path / "elsewhere", scored=tsv(SCORED[:5]))
    assert sources.resolve(card, elsewhere).identity.rows["scored"] == 5


def test_what_is_asked_for_and_is_not_there_is_not_taken_from_beside_the_card(tmp_path):
    card = own(write(tmp_path / "topics"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="does not hold mine") as error:
        sources.resolve(card, tmp_path / "empty")
    assert "without --data and BENCH_DATA the card's own is looked in" in (error.value.hint or "")


def test_files_that_are_missing_beside_the_card_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"looked for .*topics/train\.tsv and dev\.tsv") as error:
        sources.resolve(own(tmp_path / "topics"))
    assert "--data DIR" in (error.value.hint or "")
    assert "BENCH_DATA" not in (error.value.hint or "")  # it was looked in


def test_a_wrong_row_beside_the_card_is_an_error_and_no_reason_to_go_elsewhere(tmp_path):
    card = own(write(tmp_path / "topics", train="sentence\tlabel\na\t2\n"), hub=HUB)
    with pytest.raises(UsageError, match=r"train\.tsv:2: label '2' is none of '0', '1'"):
        sources.resolve(card)


def test_the_hub_is_asked_where_nothing_lies_beside_the_card(tmp_path):
    with pytest.raises(BenchError, match="no data for mine: the Hub's local cache has no a/b"):
        sources.resolve(own(tmp_path / "topics", hub=HUB))


def share(folder: Path, train: str, share: float = 0.2) -> cards.Card:
    write(folder, train=train)
    card = own(folder)
    assert card.local
    local = card.local.model_copy(update={"scored": share})
    return card.model_copy(update={"local": local})


def test_a_share_of_one_file_is_put_aside_by_its_texts_and_not_by_their_order(tmp_path):
    rows = [(f"phrase number {i}", i % 2) for i in range(50)]
    there = sources.resolve(share(tmp_path / "a", tsv(rows)))
    assert there.identity.rows == {"train": 32, "tune": 8, "scored": 10}
    texts = {t for part in (there.train, there.tune, there.scored) for t in part.inputs}
    assert len(texts) == 50
    again = sources.resolve(share(tmp_path / "b", tsv(rows[::-1])))
    assert set(again.scored.inputs) == set(there.scored.inputs)
    few = sources.resolve(share(tmp_path / "c", tsv(rows), 0.1))
    assert set(few.scored.inputs) < set(there.scored.inputs)


def test_what_is_put_aside_is_in_no_text_that_is_trained_on(tmp_path):
    rows = [(f"{'so ' * (i % 3)}number {i // 3}", i % 2) for i in range(90)]
    found = sources.resolve(share(tmp_path, tsv(rows)))
    trained = [text for (text,) in found.train.inputs]
    assert not [t for (t,) in found.scored.inputs if any(f" {t} " in f" {x} " for x in trained)]


def test_too_few_rows_to_put_aside(tmp_path):
    with pytest.raises(UsageError, match="3 rows are too few to put 20 % aside"):
        sources.resolve(share(tmp_path, tsv([("a", 0), ("b", 1), ("c", 1)])))


@pytest.mark.parametrize(("name", "sign"), [("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", ",")])
def test_another_separator_is_named(tmp_path, name, sign):
    (tmp_path / name).write_text(f"text{sign}label\na b{sign}0\n")
    with pytest.raises(UsageError, match="are its fields separated by"):
        files.open_table(tmp_path / name)
