"""The index answers as reading every record does, whatever happens to it and to the records."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import cards
from bench import record as records
from bench.rank import board, compare, costs, index, render, scan, slim, standing
from bench.rank.board import Filters
from bench.rank.entry import Run
from bench.rank.index import Direct, Source
from bench.record import Record, RunCost
from tests.conftest import REPOSITORY
from tests.rank.records import (
    CPU,
    GPU,
    SST2,
    make_data,
    make_entry,
    make_metric,
    make_record,
)  # fmt: skip
from tests.rank.test_standing import entry

CARDS = {name: cards.load(name) for name in ("sst2", "mrpc")}
FILTERS = [
    Filters(),
    Filters(task="sst2"),
    Filters(task="none"),
    Filters(hardware="h100", track="finetune"),
    Filters(origin="local"),
    Filters(level="M1", access="cluster"),
    Filters(model="mini"),
    Filters(task="sst2", recipe="lora"),
    Filters(model="small", since="2026-03-02"),
]
OLD_CPU, NEW_CPU = "CPU AMD EPYC, 1 cores", "CPU AMD EPYC, 1 core"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and file times that tell at once what changed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(scan, "SETTLED_NS", 0)
    return tmp_path / "cache" / "bench" / "runs.sqlite"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the folders whose records were read into the index since it was last cleared."""
    found: list[str] = []
    rows = slim.rows

    def noted(keys: list[scan.Key]) -> Iterator[slim.Row]:
        found.extend(Path(os.fsdecode(scan.path(key))).name for key in keys)
        return rows(keys)

    monkeypatch.setattr(slim, "rows", noted)
    return found


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read without the index."""

    def never(roots: index.Roots) -> None:
        raise AssertionError("the index was not used")

    monkeypatch.setattr(index, "Direct", never)


def write(folder: Path, record: Record) -> Path:
    place = folder / record.run_id
    place.mkdir(parents=True, exist_ok=True)
    records.write_file(place / "record.json", record.model_dump_json(indent=1))
    return place


def roots(folder: Path) -> index.Roots:
    return [(folder / "runs", "local"), (folder / "results", "results")]


def said(source: Source, known: Direct, filters: Filters) -> dict[str, Any]:
    """All that anybody is told of these runs."""
    runs, every = source.board(filters), known.board(Filters())
    ids = [run.record.run_id for run in every]
    keys = sorted({run.key for run in every})[:3]
    cells = board.build(runs, CARDS, filters)
    return {
        "board": render.as_json(cells),
        "table": render.table(cells, 200),
        "folders": [[str(r.folder) for r in e.runs] for c in cells for e in c.entries],
        "costs": {name: costs.of(card, source.task(name)) for name, card in CARDS.items()},
        "entries": [(r.record.run_id, r.folder, r.origin) for r in source.entries(keys)],
        "later": {i: [r.record.run_id for r in source.later(i)] for i in ids},
        "tasks": source.tasks(),
        "broken": source.broken(),
        "submissions": source.submissions(),
        "submissions of a task": source.submissions("sst2"),
        "stands": stands(source, runs, filters),
    }


def stands(source: Source, runs: list[Run], filters: Filters) -> list[list[str]]:
    """The folders of each entry's runs, where they stand, and who speaks of what they came with."""
    found = standing.of(source.submissions(filters.task, runs), runs)
    return [
        [
            *(str(r.folder) for r in e.runs),
            *(repr((s.folder, s.verified_by)) for s in e.submissions),
        ]
        for cell in board.build(runs, CARDS, filters, standings=found)
        for e in cell.entries
    ]


def agrees(where: index.Roots, filters: Filters = FILTERS[0]) -> dict[str, Any]:
    direct = Direct(sorted(where, key=lambda pair: pair[1] != "results"))
    found = index.ask(where, lambda source: said(source, direct, filters))
    assert found == said(direct, direct, filters)
    return found


def part_of(record: Record, role: str = "part") -> RunCost:
    return RunCost.model_validate({
        "role": role, "run_id": record.run_id, "record_sha256": None, "task": "sst2",
        "model": None, "hardware": None, "level": "M1", "coverage": "gpu", "energy_j": 100.0,
        "uncertainty_j": 10.0, "duration_s": 3.0,
    })  # fmt: skip


def world(folder: Path, draw: random.Random, entries: int = 40) -> None:
    """Runs of all kinds, submitted and local, with all that can be wrong with them."""
    made: list[Record] = []
    for number in range(entries):
        facts: dict[str, Any] = {
            "task": draw.choice(["sst2", "mrpc", "unknown"]),
            "hardware": draw.choice([GPU, GPU, CPU, OLD_CPU, NEW_CPU, "4 x NVIDIA H100"]),
            "model": draw.choice(["all-minilm-l6", "small", "Tiny"]),
            "recipe": draw.choice(["baseline", "lora", "lora+bf16"]),
            "track": draw.choice(["finetune", "scratch"]),
            "data": make_data(official=draw.random() < 0.8),
            "settings": {"epochs": number},
            "accuracy": draw.uniform(0.6, 0.95),
            "energy_j": draw.uniform(1e3, 1e5),
            "level": draw.choice(["M1", "M1", "M0"]),
        }
        root = folder / draw.choice(["results", "results", "runs"]) / facts["task"]
        for _ in range(draw.randint(1, 4)):
            changes: dict[str, Any] = {}
            if draw.random() < 0.15:
                changes["status"] = draw.choice(["failed", "interrupted", "budget"])
            if draw.random() < 0.1:
                changes |= {"domains": [], "energy_j": None}
            if draw.random() < 0.1:
                changes["trial"] = "a sweep"
            if made and draw.random() < 0.15:
                changes["charged_runs"] = [part_of(draw.choice(made))]
            if draw.random() < 0.1:
                changes["seed"] = 5
            record = make_record(**facts | changes)
            made.append(record)
            place = write(root / f"entry-{number}", record)
            if draw.random() < 0.1:  # the same run in another place, perhaps not quite the same
                copy = make_record(**facts | changes | {"run_id": record.run_id})
                write(folder / draw.choice(["results", "runs"]) / "copies", copy)
            if draw.random() < 0.05:
                (place / "record.json").write_text('{"schema_version": 1}')
        if draw.random() < 0.5:
            (root / f"entry-{number}" / "entry.json").write_text(f'{{"title": "{number}"}}')
    write(folder / "results" / ".hidden", make_record())
    write(folder / "results" / "sst2-b" / "x", make_record())
    write(folder / "results" / "sst2" / "deep" / "er" / "still", make_record())
    write(folder / "results", make_record())


# --- the same answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_it_answers_as_the_records_do(tmp_path: Path, cache: Path, filters: Filters) -> None:
    draw = random.Random(str(filters))
    world(tmp_path, draw, 25)
    assert len(agrees(roots(tmp_path), filters)["board"]) > 100
    agrees(roots(tmp_path), filters)
    world(tmp_path, draw, 5)
    for folder in draw.sample(sorted(records.folders([tmp_path / "results"])), 8):
        shutil.rmtree(folder)
    for folder in draw.sample(sorted(records.folders([tmp_path / "runs"])), 3):
        write(folder.parent, make_record(run_id=folder.name))
    agrees(roots(tmp_path), filters)


@pytest.mark.usefixtures("indexed")
def test_it_answers_as_the_results_do(cache: Path) -> None:
    where: index.Roots = [(REPOSITORY / "results", "results")]
    known = {name: cards.load(name) for name in cards.names()}
    runs, _ = board.load(where)
    assert len(runs) >= 70
    for filters in (Filters(), Filters(task="sst2", hardware="AMD"), Filters(recipe="prune")):
        found = index.ask(where, lambda source, f=filters: source.board(f))
        cells, direct = (board.build(r, known, filters) for r in (found, runs))
        for format in render.FORMATS:
            assert render.render(cells, format, width=300) == render.render(
                direct, format, width=300
            )
    first, other = (run.record for run in runs[-2:])
    ledger = index.ask(where, lambda source: source.entries({first.entry_key()}))
    assert compare.compare([first, other], [r.record for r in ledger]) == compare.compare(
        [first, other], [r.record for r in runs if r.key == first.entry_key()]
    )


def test_a_root_may_lie_in_another(tmp_path: Path, cache: Path) -> None:
    world(tmp_path, random.Random(3))
    agrees(roots(tmp_path))
    below: index.Roots = [(tmp_path / "results" / "sst2", "results"), (tmp_path, "local")]
    agrees(below)
    agrees([(tmp_path / "results" / "sst2", "results"), (tmp_path / "runs" / "sst2", "local")])
    agrees(roots(tmp_path))


def test_a_field_is_whole_or_cannot_be_read(tmp_path: Path, cache: Path) -> None:
    whole = make_record()
    write(tmp_path / "results", whole)
    (run,) = index.ask(roots(tmp_path), lambda source: source.board(Filters()))
    for name in Record.model_fields:
        if name in slim.LEFT_OUT:
            with pytest.raises(AttributeError, match=name):
                getattr(run.record, name)
        elif name != "phases":
            assert getattr(run.record, name) == getattr(whole, name), name
    assert run.record.phases == [p for p in whole.phases if p.name == "predict"]
    assert run.key == run.record.entry_key() == whole.entry_key()


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict | list):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(child, (*at, name))


def changed(value: Any, at: tuple[Any, ...], to: Any) -> Any:
    copy = json.loads(json.dumps(value))
    if not at:
        return to
    *way, last = at
    inside = copy
    for name in way:
        inside = inside[name]
    inside[last] = to
    return copy


ODD = [None, True, 0, 1.0, 1.5, "1", "", "é\ud83d\ude00", [], {}, [1, 2], {"a": 1}, 10**30]
ODD_TEXTS = ["NaN", "-Infinity", "1e999", '"\\ud800"', "-0.0", "1E5", '{"a": 1, "a": 2}']


def test_what_is_no_record_is_none_here_either(tmp_path: Path, cache: Path) -> None:
    """Each value of a record replaced by what does not belong there."""
    whole = json.loads(make_record(charged_runs=[part_of(make_record())]).model_dump_json())
    draw = random.Random(1)
    for number, at in enumerate(leaves(whole)):
        folder = tmp_path / "results" / f"{number:04d}"
        folder.mkdir(parents=True)
        text = json.dumps(changed(whole, at, draw.choice(ODD)))
        if number % 3 == 0:
            odd = draw.choice(ODD_TEXTS)
            text = json.dumps(changed(whole, at, "HERE")).replace('"HERE"', odd)
        (folder / "record.json").write_text(text)
    found = agrees(roots(tmp_path))
    assert 30 < len(found["broken"]) < number


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "\xff", '{"run_id": "a", "run_id": "b"}', "[" * 5000, "1"]
)
def test_what_is_no_json_is_broken(tmp_path: Path, cache: Path, text: str) -> None:
    folder = tmp_path / "results" / "run"
    folder.mkdir(parents=True)
    (folder / "record.json").write_bytes(text.encode("latin1"))
    for _ in range(2):
        (line,) = agrees(roots(tmp_path))["broken"]
        assert line.startswith(f"left out: {folder / 'record.json'} is not a record")


def test_a_repeated_key_counts_as_it_does_without(tmp_path: Path, cache: Path) -> None:
    folder = write(tmp_path / "results", make_record(accuracy=0.9))
    text = (folder / "record.json").read_text()
    for name, value in (("duration_s", "1.0"), ("run_id", '"other"'), ("phases", "[]")):
        for twice in (f'{{"{name}": {value}, {text[1:]}', f'{text[:-1]}, "{name}": {value}}}'):
            (folder / "record.json").write_text(twice)
            assert not agrees(roots(tmp_path))["broken"]


def test_a_record_that_the_system_withholds_is_asked_for_again(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "results" / "run"
    (folder / "record.json").mkdir(parents=True)
    for _ in range(2):
        (line,) = agrees(roots(tmp_path))["broken"]
        assert line == f"left out: {folder}: Is a directory"
    (folder / "record.json").rmdir()
    write(folder.parent, make_record(run_id=folder.name))
    assert not agrees(roots(tmp_path))["broken"]


def test_links_are_followed_as_they_are_without(tmp_path: Path, cache: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", make_record())
    folder = write(tmp_path / "results" / "sst2", make_record())
    (tmp_path / "results" / "linked").symlink_to(elsewhere, target_is_directory=True)
    (tmp_path / "results" / "dead").mkdir()
    (tmp_path / "results" / "dead" / "record.json").symlink_to(tmp_path / "nothing")
    (folder / "record.json").rename(tmp_path / "record")
    (folder / "record.json").symlink_to(tmp_path / "record")
    agrees(roots(tmp_path))
    (tmp_path / "by another name").symlink_to(tmp_path / "results", target_is_directory=True)
    where: index.Roots = [(tmp_path / "by another name", "results")]
    (run,) = index.ask(where, lambda source: source.board(Filters()))
    assert run.folder == tmp_path / "by another name" / "sst2" / folder.name


# --- only what has changed is read ---------------------------------------------------------------


@pytest.mark.usefixtures("indexed")
def test_only_what_has_changed_is_read(tmp_path: Path, cache: Path, read: list[str]) -> None:
    def ask() -> list[str]:
        read.clear()
        index.ask(roots(tmp_path), lambda source: None)
        return sorted(read)

    entry = tmp_path / "results" / "sst2" / "entry"
    first, second = (write(entry, make_record()) for _ in range(2))
    assert ask() == sorted([first.name, second.name])
    assert ask() == []
    third = write(tmp_path / "runs" / "sst2", make_record())
    assert ask() == [third.name]
    write(entry, make_record(run_id=first.name))
    assert ask() == [first.name]
    shutil.rmtree(second)
    (third / "log.txt").write_text("more")
    assert ask() == []
    entry.rename(entry.with_name("renamed"))
    assert ask() == [first.name]


def test_a_change_in_place_is_seen_whatever_its_size_and_time(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / "results", make_record(energy_j=20_000.0)) / "record.json"
    before = path.stat()
    agrees(roots(tmp_path))
    with path.open("r+") as file:
        file.write(path.read_text().replace("20000.0", "30000.0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert "30000" in path.read_text()
    agrees(roots(tmp_path))


class CoarseClock:
    """The `os` of a file system whose times are whole multiples of two seconds."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def stat(self, path: bytes) -> Any:
        return self._coarse(os.stat(path))

    def lstat(self, path: bytes) -> Any:
        return self._coarse(os.lstat(path))

    @staticmethod
    def _coarse(s: os.stat_result) -> Any:
        tick = 2_000_000_000
        return type("Stat", (), {
            "st_mode": s.st_mode, "st_ino": s.st_ino, "st_size": s.st_size,
            "st_ctime_ns": s.st_ctime_ns // tick * tick,
            "st_mtime_ns": s.st_mtime_ns // tick * tick,
        })  # fmt: skip


def test_a_change_within_one_tick_is_seen(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(scan, "os", CoarseClock())
    folder = write(tmp_path / "results", make_record(energy_j=20_000.0))
    for energy in range(20_000, 30_000, 1000):
        text = (folder / "record.json").read_text()
        (folder / "record.json").write_text(text.replace(f"{energy}.0", f"{energy + 1000}.0"))
        agrees(roots(tmp_path))
        write(tmp_path / "results", make_record())  # the folder's own time as well
        agrees(roots(tmp_path))


def test_a_run_that_goes_on_with_no_other_any_more(tmp_path: Path, cache: Path) -> None:
    first = make_record()
    write(tmp_path / "results", first)
    folder = write(tmp_path / "results", make_record(charged_runs=[part_of(first)]))
    assert agrees(roots(tmp_path))["later"][first.run_id] == [folder.name]
    write(tmp_path / "results", make_record(run_id=folder.name))
    assert agrees(roots(tmp_path))["later"][first.run_id] == []


@pytest.mark.usefixtures("indexed")
def test_what_has_long_been_there_is_not_read_again(
    tmp_path: Path, cache: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SETTLED_NS", 100_000_000)
    write(tmp_path / "results", make_record())
    for expected in (1, 1):
        read.clear()
        index.ask(roots(tmp_path), lambda source: None)
        assert len(read) == expected
    time.sleep(0.12)
    for expected in (1, 0):
        read.clear()
        index.ask(roots(tmp_path), lambda source: None)
        assert len(read) == expected


# --- what happens to the index -------------------------------------------------------------------


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(100_000))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40_000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    """A digit of an energy."""
    whole = path.read_bytes()
    assert b'"energy_j":20000.0' in whole
    path.write_bytes(whole.replace(b'"energy_j":20000.0', b'"energy_j":30000.0'))


def of_other_code(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
        connection.execute("DROP TABLE parts")
        connection.execute("CREATE TABLE parts (what TEXT)")


@pytest.mark.parametrize("damage", [garbage, truncated, empty, flipped, of_other_code])
def test_a_damaged_index_is_made_anew(
    tmp_path: Path, cache: Path, damage: Callable[[Path], None], read: list[str]
) -> None:
    write(tmp_path / "results", make_record(energy_j=20_000.0))
    for _ in range(30):
        write(tmp_path / "results", make_record())
    agrees(roots(tmp_path))
    damage(cache)
    read.clear()
    agrees(roots(tmp_path))
    assert len(read) == 31
    read.clear()
    agrees(roots(tmp_path))
    assert read == []


@pytest.mark.usefixtures("cache")
def test_without_a_place_for_it_the_records_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world(tmp_path, random.Random(4), 5)
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    agrees(roots(tmp_path))


def test_an_index_that_cannot_be_written_is_read_or_done_without(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world(tmp_path, random.Random(5), 5)
    agrees(roots(tmp_path))
    connect = sqlite3.connect
    monkeypatch.setattr(
        index.sqlite3, "connect",
        lambda path, **options: connect(f"file:{path}?mode=ro", uri=True, **options),
    )  # fmt: skip
    agrees(roots(tmp_path))
    world(tmp_path, random.Random(6), 5)
    agrees(roots(tmp_path))


def test_nobody_waits_for_long(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "WAIT_S", 0.05)
    world(tmp_path, random.Random(7), 5)
    agrees(roots(tmp_path))
    other = sqlite3.connect(cache, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    agrees(roots(tmp_path))
    other.close()
    agrees(roots(tmp_path))


def test_a_root_that_is_gone_is_forgotten(tmp_path: Path, cache: Path) -> None:
    world(tmp_path / "a", random.Random(8), 5)
    world(tmp_path / "b", random.Random(9), 5)
    agrees(roots(tmp_path / "a"))
    agrees(roots(tmp_path / "b"))
    shutil.rmtree(tmp_path / "a")
    write(tmp_path / "b" / "runs", make_record())
    agrees(roots(tmp_path / "b"))
    with sqlite3.connect(cache) as connection:
        for table in ("roots", "folders", "runs", "parts", "submissions"):
            for (path,) in connection.execute(f"SELECT path FROM {table}"):
                assert path.startswith(scan.key(tmp_path / "b")), table


def test_an_error_of_the_question_is_its_own(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "results", make_record())

    def question(source: Source) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        index.ask(roots(tmp_path), question)
    agrees(roots(tmp_path))


# --- several processes ---------------------------------------------------------------------------


@pytest.mark.parametrize("python", [sys.executable, "/bin/false"])
def test_several_processes_read(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """And where they can't, this one does."""
    world(tmp_path, random.Random(10), 10)
    monkeypatch.setattr(slim, "SERIAL", 5)
    monkeypatch.setattr(slim, "CHUNK", 3)
    monkeypatch.setattr(sys, "executable", python)
    in_this: list[scan.Key] = []
    rows = slim._rows
    monkeypatch.setattr(slim, "_rows", lambda keys: rows(in_this.extend(keys) or keys))
    found = agrees([(tmp_path / "results", "results")])
    assert len(json.loads(found["board"])["cells"]) > 2
    assert bool(in_this) == (python == "/bin/false")


ASKING = """
import sys
from pathlib import Path
from bench.rank import index, scan
from bench.rank.board import Filters
scan.SETTLED_NS = 0
index.Direct = None
roots = [(Path(sys.argv[1]) / "runs", "local"), (Path(sys.argv[1]) / "results", "results")]
known = set()
while not (Path(sys.argv[1]) / "enough").exists():
    found = {r.record.run_id for r in index.ask(roots, lambda source: source.board(Filters()))}
    assert found >= known, known - found
    known = found
    print(len(known), flush=True)
"""


def test_processes_that_ask_at_once_lose_nothing(tmp_path: Path, cache: Path) -> None:
    """Two ask again and again while runs are added: what was there once is there from then on."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    asking = [
        subprocess.Popen([sys.executable, "-c", ASKING, tmp_path], env=environment, stdout=-1)
        for _ in range(2)
    ]
    try:
        for process in asking:
            assert process.stdout is not None
            process.stdout.readline()
        for number in range(100):
            write(tmp_path / ["results", "runs"][number % 2] / "sst2", make_record())
            time.sleep(0.01)
        (tmp_path / "enough").touch()
        for process in asking:
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0
            assert int(out.split()[-1]) <= 100
    finally:
        for process in asking:
            process.kill()
            process.wait()
    assert len(json.loads(agrees(roots(tmp_path))["board"])["cells"]) == 1


BUILDING = """
import sys
from pathlib import Path
from bench.rank import index, scan, slim
scan.SETTLED_NS, index.BATCH, rows = 0, 25, slim.rows

def told(keys):
    for number, row in enumerate(rows(keys)):
        print(number, flush=True)
        yield row

slim.rows = told
index.ask([(Path(sys.argv[1]) / "results", "results")], lambda source: None)
"""


@pytest.mark.parametrize("after", [3, 25, 60, 99])
def test_a_killed_process_leaves_an_index_that_can_be_used(
    tmp_path: Path, cache: Path, after: int, read: list[str]
) -> None:
    for _ in range(100):
        write(tmp_path / "results", make_record())
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", BUILDING, tmp_path], env=environment, stdout=-1, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == after:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    agrees([(tmp_path / "results", "results")])
    assert len(read) <= 100 - after // 25 * 25  # what had been stored is not read again
    with sqlite3.connect(cache) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# --- the commands --------------------------------------------------------------------------------


@pytest.mark.usefixtures("cache")
def test_commands_say_the_same_with_and_without(
    tmp_path: Path, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_record(accuracy=0.9)
    for record in (first, make_record(accuracy=0.91), make_record(charged_runs=[part_of(first)])):
        write(tmp_path / "results" / "sst2" / "entry", record)
    other = make_record(task="rare", metric=make_metric(0.7))
    write(tmp_path / "runs" / "rare", other)
    (write(tmp_path / "results", make_record()) / "record.json").write_text("{}")
    commands = [
        ("leaderboard",),
        ("leaderboard", "--task", "rare", "--format", "csv"),
        ("leaderboard", "--task", "sst3"),
        ("leaderboard", "--hardware", "h100", "--model", "mini"),
        ("tasks", "sst2"),
        ("show", first.run_id),
        ("compare", first.run_id, other.run_id),
    ]
    with_it = [bench(*command) for command in commands]
    monkeypatch.setattr(index, "_ask", _refuse)
    without = [bench(*command) for command in commands]
    assert with_it == without
    assert [said.code for said in with_it] == [0, 0, 2, 0, 0, 0, 0]
    assert "continued" in with_it[5].out


def _refuse(*arguments: object) -> None:
    raise sqlite3.OperationalError("unable to open database file")


assert SST2.name in CARDS


@pytest.mark.parametrize("task", [None, "sst2"])
def test_entries_that_speak_of_others_are_found_whoever_asks(
    tmp_path: Path, task: str | None
) -> None:
    """A retraction, a correction of a correction, a verification, and a copy of a teacher that
    comes before the teacher's own entry."""
    root = tmp_path / "results"

    def submit(name: str, runs: list[Record], **facts: Any) -> list[Record]:
        folder = root / "sst2" / name
        for record in runs:
            (folder / record.run_id).mkdir(parents=True)
            (folder / record.run_id / "record.json").write_text(record.model_dump_json())
        folder.mkdir(parents=True, exist_ok=True)
        text = entry(runs=[r.run_id for r in runs if r.run_id not in facts.get("charged", [])],
                     **facts)  # fmt: skip
        (folder / "entry.json").write_bytes(text)
        return runs

    def made(n: int = 3, **facts: Any) -> list[Record]:
        return [run.record for run in make_entry(n, **facts)]

    old = submit("old", made(model="a"))
    submit("new", old, supersedes="sst2/old")
    submit("newest", [*old, *made(1, model="a")], supersedes="sst2/new")
    submit("gone", made(model="b"))
    submit("sorry", [], retracts="sst2/gone")
    submit("seen", made(model="c"))
    submit("again", made(model="c"), verifies="sst2/seen")
    teacher = made(1, model="d")
    submit("a-student", [*made(model="e"), *teacher], charged=[teacher[0].run_id])
    submit("teacher", teacher)
    for model, name in (("a", "newest"), ("c", "seen"), ("d", "teacher"), ("b", "")):
        found = agrees([(root, "results")], Filters(task=task, model=model))["stands"]
        names = {Path(text).parent.name for said in found for text in said}
        assert names >= ({name} - {""})
        assert "gone" not in names
