from __future__ import annotations

from pathlib import Path

import pytest

from bench import cards
from bench.errors import UsageError


@pytest.mark.parametrize("name", cards.names())
def test_every_card_that_ships_is_valid(name: str) -> None:
    card = cards.load(name)
    assert card.name == name
    assert card.description
    assert card.citation
    assert card.licence != "not stated"


def write(folder: Path, old: str, new: str, name: str = "mine") -> Path:
    text = (cards.folder() / "sst2.toml").read_text().replace('"sst2"', f'"{name}"', 1)
    assert old in text
    (folder / f"{name}.toml").write_text(text.replace(old, new, 1))
    return folder


def test_a_card_of_the_users_own(tmp_path: Path) -> None:
    card = cards.load("mine", [write(tmp_path, "SST-2", "Mine")])
    assert card.title == "Mine"
    assert "mine" in cards.names([tmp_path])


WRONG = [
    # an unknown key: near, of another section, or too deep for its section
    ("licence =", "license =", "mine.toml:8: unknown key 'license'", "did you mean 'licence'?"),
    ('column = "label"', 'colum = "label"', "mine.toml:12: unknown key 'labels.colum'", "'column'"),
    ("revision = ", "revison = ", "mine.toml:38: unknown key 'hub.revison'", "'revision'"),
    ('model = "bert', 'modell = "bert', "mine.toml:21: unknown key 'reference.modell'", "'model'"),
    ('name = "accuracy"', 'naem = "accuracy"', "mine.toml:17: unknown key 'metric.naem'", "'name'"),
    ("[published]", "[metrics.masked]\nchanse = 1.0\n[published]",
     "mine.toml:48: unknown key 'metrics.masked.chanse'", "did you mean 'chance'?"),
    ('format = "tsv"', 'format = "tsv"\nlicence = "free"',
     "mine.toml:32: unknown key 'local.licence'", "'licence' belongs above the first [section]"),
    ('family = "classification"', 'family = "classification"\ncolumn = "label"',
     "mine.toml:6: unknown key 'column'", "'column' belongs to [labels]"),
    ("[labels]", "[lables]", "mine.toml:11: unknown key 'lables'", "did you mean 'labels'?"),
    # a value of the wrong type
    ("version = 1", 'version = "one"', "mine.toml:2: 'version' is 'one', not a whole number", None),
    ("version = 1", "version = 1.5", "mine.toml:2: 'version' is 1.5, not a whole number", None),
    ('inputs = ["sentence"]', 'inputs = "sentence"', "'inputs' is 'sentence', not a list", None),
    ('inputs = ["sentence"]', "inputs = [\n  7,\n]", "mine.toml:6: 'inputs.0' is 7, not a text",
     'write it in quotes: "7"'),
    ('"0" = "negative"', '"0" = 0', "mine.toml:14: 'labels.values.0' is 0, not a text", "quotes"),
    ("value = 0.927", 'value = "0.927"', "'reference.value' is '0.927', not a number", None),
    ('scored = "dev.tsv"', "scored = true",
     "'local.scored' is True, not a text or a table or a number", None),
    ("bert-base-uncased = 92.7", 'bert-base-uncased = "92.7"',
     "mine.toml:48: 'published.bert-base-uncased' is '92.7', not a number", None),
    ("[fingerprints]", "[words.sentence]\na = 1\n[fingerprints]",
     "mine.toml:43: 'words.sentence.a' is 1, not a text", "quotes"),
    ("[rows]\ntrain = 67349\nscored = 872", "rows = 68221", "'reference.rows'", "belongs above"),
    ("[rows]\ntrain = 67349\nscored = 872", '[rows]\ntrain = "all"\nscored = 872',
     "mine.toml:26: 'rows.train' is 'all', not a whole number", None),
    # a value out of a few
    ('family = "classification"', 'family = "clasification"',
     "mine.toml:5: 'family' is 'clasification', not 'classification' or", "'classification'?"),
    ('format = "tsv"', 'format = "tvs"', "mine.toml:31: 'local.format' is 'tvs'", "mean 'tsv'?"),
    ('chance = "majority"', 'chance = "majorty"',
     "mine.toml:18: 'metric.chance' is 'majorty', not a number or 'majority'", "'majority'?"),
    ('chance = "majority"', 'chance = 0.5\nscale = "logarithm"',
     "mine.toml:19: 'metric.scale' is 'logarithm'", "did you mean 'log'?"),
    # what is missing
    ('family = "classification"\n', "", "mine.toml: the card needs 'family'", "one of classif"),
    ('chance = "majority"\n', "", "mine.toml:16: [metric] needs 'chance'", "what guessing reaches"),
    ('format = "tsv"\n', "", "mine.toml:29: [local] needs 'format'", None),
    ('revision = "bcdc', 'config2 = "bcdc', "unknown key 'hub.config2'", "'config'"),
    ('column = "label"\n', "", "mine.toml:11: [labels] needs 'column'", None),
    # what can't be true
    ('inputs = ["sentence"]', 'inputs = ["label"]', "mine.toml:6: 'inputs': 'label' is the", None),
    ('scored = "dev.tsv"', "scored = 0.5", "mine.toml:33: 'local.scored': a share of 0.5", None),
    ('"1" = "positive"', '"1" = "good"', "'labels.values.1': 'good' is none of the classes", None),
    ('["negative", "positive"]', '["a", "a"]', "mine.toml:13: 'labels.classes': a class is", None),
    ("value = 0.927", "value = 92.7", "mine.toml:22: 'reference.value': 92.7 is beyond", None),
    ('chance = "majority"', "chance = 1.0", "mine.toml:16: 'metric.best': 1 is chance, too", None),
    ('chance = "majority"', 'chance = 0.0\nscale = "log"', "mine.toml:19: 'metric.scale'", None),
    ('name = "accuracy"', 'name = "mcc"', "mine.toml:18: 'metric.chance': 'majority' is", None),
    ('["negative", "positive"]', '["negative"]', "classes", None),
    ('train = "train.tsv"', "train = []", "mine.toml:32: 'local.train': it names no file", None),
    ("[labels]", "[labels", "not TOML", None),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "says", "hint"), WRONG)
def test_a_wrong_card_names_line_and_near_key(
    tmp_path: Path, old: str, new: str, says: str, hint: str | None
) -> None:
    with pytest.raises(UsageError) as error:
        cards.load("mine", [write(tmp_path, old, new)])
    assert says in error.value.message
    assert "\n" not in error.value.message
    assert hint is None or hint in (error.value.hint or "")


LEAST = """
family = "classification"
inputs = ["text"]
[labels]
column = "topic"
classes = ["a", "b"]
[metric]
name = "accuracy"
chance = "majority"
[local]
format = "csv"
train = "train.csv"
scored = "test.csv"
"""


def test_what_a_card_needs_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(LEAST)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    card = cards.load("mine", [tmp_path])
    assert (card.name, card.title, card.version, card.licence) == ("mine", "mine", 1, "not stated")
    assert card.beside == tmp_path
    assert cards.load("sst2", [tmp_path]).beside is None
    assert "pyproject" not in cards.names([tmp_path])


def test_no_card_takes_anothers_name(tmp_path: Path) -> None:
    (tmp_path / "sst2.toml").write_text(LEAST)
    with pytest.raises(UsageError, match="two cards are called 'sst2'"):
        cards.load("sst2", [tmp_path])


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution whose package holds cards; the folder that it lies in."""
    facts = tmp_path / "topics-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: topics\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[bench.tasks]\ntopics = topics.cards\n")
    (tmp_path / "topics" / "cards").mkdir(parents=True)
    (tmp_path / "topics" / "cards" / "headlines.toml").write_text(LEAST)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_package_offers_cards(offered: Path) -> None:
    assert "headlines" in cards.names()
    assert cards.load("headlines").beside == offered / "topics" / "cards"


def test_a_package_that_is_not_there_is_one_line(offered: Path) -> None:
    (offered / "topics-1.0.dist-info" / "entry_points.txt").write_text(
        "[bench.tasks]\ntopics = topics_that_left\n"
    )
    with pytest.raises(UsageError, match="'topics' names topics_that_left, which is no package"):
        cards.names()


def test_a_cards_name_is_its_files(tmp_path: Path) -> None:
    path = write(tmp_path, "SST-2", "Mine") / "mine.toml"
    path.rename(tmp_path / "other.toml")
    with pytest.raises(UsageError, match=r"other\.toml:1: name is 'mine'"):
        cards.load("other", [tmp_path])


def test_an_unknown_task_offers_the_near_ones() -> None:
    with pytest.raises(UsageError) as error:
        cards.load("sst-2")
    assert "did you mean sst2" in (error.value.hint or "")
