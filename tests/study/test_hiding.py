"""A journal names no place on a machine; what drives it goes on all the same, older ones, too."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import places
from bench import record as records
from bench.errors import UsageError
from bench.record import Record
from bench.study import drive, hiding, job, ledger, older
from bench.submit import _journal
from tests.command import Command, Said, write_reviews
from tests.study.trainer import Trainer

SWEEP = ("sweep", "--task", "sst2", "--model", "transformer-tiny", "--name", "one", "--no-prune",
         "--space", "learning_rate=1e-5..1e-1:log")  # fmt: skip
TELLING = ("telling", "babbage")
FOLDER = Path("runs/sweeps/one")
JOURNAL = FOLDER / ledger.JOURNAL
Run = Callable[..., Said]


@pytest.fixture
def sweep(bench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command on rows in a folder with a telling name, by trials that take no time."""
    monkeypatch.setattr(drive, "POLL_S", 0.0)
    monkeypatch.setattr(places, "_host", lambda: "babbage")
    rows = write_reviews(tmp_path / "telling" / "rows", train=120, scored=40)

    def run(trials: int, *options: object, trainer: Trainer | None = None) -> Said:
        found = trainer or Trainer()
        monkeypatch.setattr("bench.study.executors.named", lambda name, options: found)
        return bench(*SWEEP, "--data", rows, "--trials", trials, *options)

    return run


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """A sweep whose journal an older bench has written."""

    def make(sweep: Run) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(hiding, "hidden", dict)
            patched.setattr(job, "hidden", dict)
            patched.setattr(older, "names_places", lambda journal: [])
            assert sweep(3, "--final", 1).code == 0
        text = JOURNAL.read_text()
        JOURNAL.write_text(text.replace('"told":null}', '"told":null,"host":"babbage"}'))
        (FOLDER / hiding.LOCAL).unlink()

    return make


def shown(bench: Command) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench("sweep", "show", "one", "--json").out)
    return found


def finals() -> list[Path]:
    """In the order in which they were made."""
    book = ledger.read(FOLDER)
    return [a.folder for a in book.ended() if a.job.cell == "final" and a.folder]


def published(run: Path) -> bytes:
    record: Record = records.read(run)
    assert record.tuning
    return _journal(record.tuning, run)


def test_a_journal_names_no_place(sweep: Run, bench: Command) -> None:
    broken = Trainer(fails=lambda params: True)
    said = sweep(2, trainer=broken)
    said = sweep(4, "--final", 1)
    assert said.code == 0, said.err
    text = JOURNAL.read_text()
    assert not [word for word in TELLING if word in text]
    assert '"data":"<path>"' in text
    assert "telling" in (FOLDER / hiding.LOCAL).read_text()
    asked = ledger.read(FOLDER)
    assert "telling" in asked.asked["data"]
    assert all("telling" in (j.request.data or "") for j in asked.jobs.values())
    (final,) = finals()
    assert published(final) in text.encode()


def test_what_a_failure_says_of_a_place_stays_on_the_machine(sweep: Run) -> None:
    assert sweep(1).code == 0
    asked = ledger.read(FOLDER).asked
    with ledger.opened(FOLDER, asked) as book:
        (first,) = book.jobs.values()
        book.end(book.begin(first), "failed", failure="babbage has no '/telling/a b'")
    assert ledger.read(FOLDER).attempts[first.id][-1].failure == "babbage has no '/telling/a b'"
    assert "<host> has no '<path>'" in JOURNAL.read_text()
    assert not [word for word in TELLING if word in JOURNAL.read_text()]


def test_another_folder_of_rows_is_another_sweep(
    sweep: Run, bench: Command, tmp_path: Path
) -> None:
    assert sweep(1).code == 0
    other = write_reviews(tmp_path / "others", train=120, scored=40)
    said = bench(*SWEEP, "--data", other)
    assert said.code == 2
    assert "data was" in said.err


def test_a_sweep_goes_on_where_only_its_journal_was_kept(sweep: Run, bench: Command) -> None:
    with pytest.raises(RuntimeError):
        sweep(3, trainer=Trainer(dies_at="trial 2"))
    (FOLDER / hiding.LOCAL).unlink()
    assert shown(bench)["trials"][0]["state"] == "complete"
    trainer = Trainer()
    assert sweep(3, trainer=trainer).code == 0
    assert len(trainer.started) == 2
    later = [j.request.data or "" for j in ledger.read(FOLDER).jobs.values()][1:]
    assert all("telling" in data for data in later)
    assert "telling" not in JOURNAL.read_text()


def test_an_older_journal_is_read(sweep: Run, bench: Command, as_before: Any) -> None:
    as_before(sweep)
    assert "telling" in JOURNAL.read_text()
    found = shown(bench)
    assert [t["state"] for t in found["trials"]] == ["complete"] * 3
    assert all(t["energy_j"] for t in found["trials"])
    assert len(found["final"]["runs"]) == 1


def test_an_older_journal_is_gone_on_with_and_names_no_place(
    sweep: Run, bench: Command, as_before: Any
) -> None:
    as_before(sweep)
    before, text = shown(bench), JOURNAL.read_text()
    trainer = Trainer()
    assert sweep(4, trainer=trainer).code == 0
    assert trainer.started == ["trial 4, run 1"]
    assert not [word for word in TELLING if word in JOURNAL.read_text()]
    assert (FOLDER / older.KEPT).read_text() == text
    after = shown(bench)
    for name in ("settings", "score", "energy_j", "state"):
        assert [t[name] for t in after["trials"]][:3] == [t[name] for t in before["trials"]]
    ids = {j.id for j in ledger.read(FOLDER).jobs.values()}
    words = {p.name.partition("-")[0] for p in (FOLDER / "attempts").glob("*.jsonl")}
    assert words == ids


def test_runs_that_an_older_journal_chose_for_are_refused_until_it_has_chosen_again(
    sweep: Run, as_before: Any
) -> None:
    as_before(sweep)
    (old,) = finals()
    with pytest.raises(UsageError, match=r"names .*telling") as refused:
        published(old)
    assert "--final 3" in (refused.value.hint or "")
    trainer = Trainer()
    assert sweep(3, "--final", 1, trainer=trainer).code == 0
    assert trainer.started == ["final, run 1"]  # no trial is made again
    *_, new = finals()
    assert new != old
    journal = published(new)
    assert not [word for word in TELLING if word.encode() in journal]
    with pytest.raises(UsageError, match="as it was when it named paths"):
        published(old)


def test_a_run_that_an_older_bench_began_is_waited_for(sweep: Run, as_before: Any) -> None:
    as_before(sweep)
    words = min((FOLDER / "attempts").glob("*.jsonl"))
    with words.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        text = JOURNAL.read_text()
        assert "goes on" in sweep(4).err
        assert JOURNAL.read_text() == text
    assert sweep(4).code == 0


def test_an_older_journal_without_places_stays_byte_by_byte(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "sweeps" / "one"
    folder.mkdir(parents=True)
    line = (
        b'{"event":"asked","at":"2026-01-01T00:00:00+00:00","schema":1,"asked":{"data":"data"}}\n'
    )
    (folder / ledger.JOURNAL).write_bytes(line + b'{"event":"note","at":"x","host":"vm"}\n{"ev')
    before = (folder / ledger.JOURNAL).read_bytes()
    older.rewrite(folder, ledger.JOURNAL)
    assert (folder / ledger.JOURNAL).read_bytes() == before
    assert not (folder / older.KEPT).exists()


def test_a_line_that_was_cut_off_stays_one(tmp_path: Path) -> None:
    asked = (
        b'{"event":"asked","at":"2026-01-01T00:00:00+00:00","schema":1,"asked":{"data":"/a/b"}}\n'
    )
    (tmp_path / ledger.JOURNAL).write_bytes(asked + b'{"event":"pla\n' + asked)
    older.rewrite(tmp_path, ledger.JOURNAL)
    book = ledger.read(tmp_path)
    assert (book.damaged, book.asked) == ([2], {"data": "/a/b"})
    assert b"/a/b" not in (tmp_path / ledger.JOURNAL).read_bytes()
