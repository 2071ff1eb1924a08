"""What a board and `bench show` say of runs whose settings a sweep chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.power import carbon
from bench.rank.board import build
from bench.rank.columns import named
from bench.rank.entry import Entry, Run
from bench.record import Record, Tuning
from bench.show import record_lines
from tests.rank.records import SST2, make_entry, make_record


def tuned(**facts: Any) -> Tuning:
    known: dict[str, Any] = {
        "sweep": "one", "journal_sha256": "a" * 64, "journal_bytes": 9000, "trials": 20,
        "attempts": 21, "pruned": 5, "failed": 1, "level": "M1", "coverage": "gpu",
        "energy_j": 360_000.0, "uncertainty_j": 18_000.0, "duration_s": 2000.0,
    }  # fmt: skip
    return Tuning(**{**known, **facts})


def entries(*runs: Run) -> list[Entry]:
    return [e for cell in build(runs, {"sst2": SST2}) for e in cell.entries]


def value(key: str, entry: Entry) -> Any:
    return named(key).value(entry, None)


def test_energy_with_tuning_is_all_trials_and_one_training() -> None:
    (entry,) = entries(*make_entry(energy_j=36_000.0, scatter=0.0, tuning=tuned()))
    assert value("energy", entry) == pytest.approx(0.01)
    assert value("tuned_energy", entry) == pytest.approx(0.11)
    assert value("trials", entry) == 20
    spread = named("tuned_energy").spread
    assert spread
    assert spread(entry) == pytest.approx(0.001 + 0.005)
    assert entry.counted == 3
    assert entry.status == "ranked"


def test_what_nobody_says_is_not_known() -> None:
    (bare,) = entries(*make_entry())
    assert (value("tuned_energy", bare), value("trials", bare)) == (None, None)
    (lost,) = entries(*make_entry(tuning=tuned(energy_j=None, uncertainty_j=None)))
    assert (value("tuned_energy", lost), value("trials", lost)) == (None, 20)
    (mixed,) = entries(*make_entry(tuning=tuned(level="M0")))
    assert value("tuned_energy", mixed) is None  # an estimate and a measurement
    (wider,) = entries(*make_entry(tuning=tuned(coverage="gpu+cpu")))
    assert value("tuned_energy", wider) is None  # of other devices


def test_runs_that_other_sweeps_chose_are_other_entries() -> None:
    runs = [
        *make_entry(), *make_entry(tuning=tuned()),
        *make_entry(tuning=tuned(sweep="two", journal_sha256="b" * 64)),
    ]  # fmt: skip
    found = entries(*runs)
    assert {e.counted for e in found} == {3}
    assert sorted(e.title.rpartition(" · ")[2] for e in found) == [
        "tuned by=None", "tuned by=one", "tuned by=two",
    ]  # fmt: skip


def test_trials_are_no_entries() -> None:
    tried = [r for n in range(3) for r in make_entry(1, trial="one", settings={"epochs": n + 1})]
    assert entries(*tried) == []
    (entry,) = entries(*tried, *make_entry(settings={"epochs": 2}))
    assert (entry.counted, entry.attempts) == (3, 3)  # the trial of the same settings is none


def test_a_run_is_shown_with_its_tuning_where_the_energies_are_alike(tmp_path: Path) -> None:
    def said(tuning: Tuning) -> str:
        lines = record_lines(make_record(tuning=tuning), tmp_path, carbon.asked(None))
        return "; ".join(text for _, text in lines)

    assert "times this training" in said(tuned())
    other = said(tuned(coverage="cpu"))
    assert "it covers cpu, this training gpu (M1): no sum is made" in other
    assert "times this training" not in other
    assert "times this training" not in said(tuned(level="M0"))


def test_a_record_is_written_and_read_with_it() -> None:
    record = make_record(tuning=tuned(band_j=(1.0, 2.0)), trial="one")
    assert Record.model_validate_json(record.model_dump_json()) == record
