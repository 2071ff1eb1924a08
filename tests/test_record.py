"""A record says the same for ever, and says what is wrong with one that is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import record
from bench.errors import BenchError, UsageError
from tests.rank.records import make_record


def test_the_seed_and_where_the_data_came_from_do_not_split_an_entry() -> None:
    one = make_record(seed=1)
    spec = one.spec
    data = spec.data.model_copy(update={"source": "hub-cache"})
    other = spec.model_copy(update={"seed": 2, "seed_origin": "user", "data": data})
    assert one.model_copy(update={"spec": other}).entry_key() == one.entry_key()
    settings = {**spec.settings, "epochs": 99.0}
    changed = spec.model_copy(update={"settings": settings})
    assert one.model_copy(update={"spec": changed}).entry_key() != one.entry_key()
    assert one.model_copy(update={"code_sha256": "0"}).entry_key() != one.entry_key()


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    one = make_record()
    (tmp_path / "start.json").write_text("{}")
    record.write(one, tmp_path)
    assert record.read(tmp_path) == one
    assert set(json.loads((tmp_path / "manifest.json").read_text())) == {"record.json"}


def test_a_missing_domain_makes_the_energy_unknown_not_smaller() -> None:
    one = make_record()
    lost = one.domains[0].model_copy(update={"energy_j": None, "method": "missing"})
    both = one.model_copy(update={"domains": [*one.domains, lost]})
    assert both.energy_j is None
    assert both.uncertainty_j is None
    assert not both.rankable


@pytest.mark.parametrize(
    ("level", "together"),
    [("M1", 5.0), ("M3", 7.0), ("M0", 7.0)],
    ids=["different meters", "one reference", "one model"],
)
def test_uncertainties_that_have_one_cause_add_up(level: str, together: float) -> None:
    one = make_record().domains[0]
    parts = [
        one.model_copy(update={"kind": kind, "level": level, "uncertainty_j": joules})
        for kind, joules in (("gpu", 3.0), ("cpu", 4.0))
    ]
    both = make_record().model_copy(update={"domains": parts})
    assert both.uncertainty_j == pytest.approx(together)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"surprise": 1}, "surprise"),
        ({"status": "splendid"}, "status"),
        ({"duration_s": "long"}, "duration_s"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, change: dict, says: str) -> None:
    facts = json.loads(make_record().model_dump_json()) | change
    (tmp_path / "record.json").write_text(json.dumps(facts))
    with pytest.raises(BenchError, match=says):
        record.read(tmp_path)


def test_no_record_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        record.read(tmp_path)


def test_a_hidden_folder_holds_no_run_yet(tmp_path: Path) -> None:
    for name in ("entry/run", ".entry.17/run", "entry/.run"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "record.json").touch()
    assert list(record.folders([tmp_path])) == [tmp_path / "entry/run"]
