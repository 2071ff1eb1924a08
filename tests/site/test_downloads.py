"""Downloads: tables that say the board's numbers with their units, and what was submitted, of which
nothing leads elsewhere."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from bench.rank import render
from bench.rank.columns import COLUMNS
from bench.site import downloads, paths
from tests.site import making, submitted
from tests.site.submitted import GOOD


def made(results: Path) -> dict[str, bytes]:
    pieces = downloads.pieces(submitted.read(results))
    return {
        at: c if isinstance(c, bytes) else c.encode() for p in pieces for at, c in p.make().items()
    }


def run_of(results: Path) -> Path:
    return min(path.parent for path in (results / GOOD).glob("*/record.json"))


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def table_of(data: bytes) -> Any:
    return pyarrow.parquet.read_table(io.BytesIO(data))


# --- tables ---


@pytest.fixture(scope="module")
def real(real_site: Path) -> Path:
    return real_site


def test_the_board_is_what_the_terminal_prints(real: Path) -> None:
    found = making.read()
    text = (real / paths.download("board.csv")).read_text()
    assert text == render.as_csv(found.cells, found.scenario)
    text = (real / paths.download("board.json")).read_text()
    assert text == render.as_json(found.cells, found.scenario)
    text = (real / paths.download("board-sst2.csv")).read_text()
    assert text == render.as_csv(found.tasks["sst2"], found.scenario)


def test_parquet_has_the_same_rows_as_numbers_with_units(real: Path) -> None:
    rows = rows_of((real / paths.download("board.csv")).read_bytes())
    table = table_of((real / paths.download("board.parquet")).read_bytes())
    assert table.num_rows == len(rows)
    assert table.num_columns == len(rows[0])
    schema = table.schema
    assert schema.field("energy").metadata[b"unit"] == b"kWh"
    assert schema.field("energy_uncertainty").metadata[b"meaning"].endswith(b"k = 2")
    for i, field in enumerate(downloads.BOARD):
        for row, value in zip(rows, table.column(i).to_pylist(), strict=True):
            said = row[field.heading]
            assert (said == "") == (value in (None, ""))
            if isinstance(value, int | float):
                assert float(said) == value


def test_every_column_has_a_type_and_a_meaning() -> None:
    keys = [c.key for c in COLUMNS]
    assert set(keys) >= downloads.INTEGERS | downloads.NUMBERS
    assert [f.heading for f in downloads.BOARD] == next(csv.reader([render.as_csv(())]))
    assert all(f.meaning for f in (*downloads.BOARD, *downloads.RUNS))
    found = making.read()
    rows = [r for c in found.cells for r in downloads.board_rows(c, found.scenario)]
    for i, field in enumerate(downloads.BOARD):
        kinds = {type(row[i]) for row in rows} - {type(None)}
        assert kinds <= {"text": {str}, "integer": {int}, "number": {int, float}}[field.kind]


def test_every_run_is_a_row(results: Path) -> None:
    submitted.retract(results)
    files = made(results)
    rows = rows_of(files[paths.download("runs.csv")])
    table = table_of(files[paths.download("runs.parquet")])
    assert {row["run_id"] for row in rows} == {p.parent.name for p in results.rglob("record.json")}
    assert {(r["entry"], r["stands"], r["on_board"]) for r in rows} == {(GOOD, "no", "no")}
    record = json.loads((run_of(results) / "record.json").read_text())
    (row,) = [r for r in table.to_pylist() if r["run_id"] == record["run_id"]]
    assert row["seed"] == record["spec"]["seed"]
    assert row["metric"] == record["metric"]["value"]
    assert row["energy_j"] == pytest.approx(sum(d["energy_j"] for d in record["domains"]))
    assert table.schema.field("energy_j").metadata[b"unit"] == b"J"


def test_a_formula_is_harmless_in_every_table(results: Path) -> None:
    path = run_of(results) / "record.json"
    record = json.loads(path.read_text())
    record["spec"]["model"] = "=1+cmd|' /C calc'!A0\u202e"
    path.write_text(json.dumps(record))
    files = made(results)
    model = {"'=1+cmd|' /C calc'!A0", "transformer-small"}
    assert {r["model"] for r in rows_of(files[paths.download("runs.csv")])} == model
    table = table_of(files[paths.download("runs.parquet")])
    assert all("\u202e" not in m for m in table.column("model").to_pylist())


def test_a_seed_beyond_all_integers_is_left_out(results: Path) -> None:
    path = run_of(results) / "record.json"
    record = json.loads(path.read_text())
    record["spec"]["seed"] = 10**30
    path.write_text(json.dumps(record))
    assert None in table_of(made(results)[paths.download("runs.parquet")])["seed"].to_pylist()


def test_the_page_says_rows_and_sizes(results: Path) -> None:
    files = made(results)
    html = files[paths.DOWNLOADS].decode()
    size = downloads.Made("", "", len(files[paths.download("board.parquet")])).size
    assert f"{size}</a>" in html
    assert '<td class="n">3</td>' in html


def test_the_same_results_give_the_same_bytes_and_keys(results: Path) -> None:
    first, second = ([p.key for p in downloads.pieces(submitted.read(results))] for _ in "ab")
    assert first == second
    assert made(results) == made(results)


def test_another_number_gives_another_key(results: Path) -> None:
    before = next(downloads.pieces(submitted.read(results))).key
    path = run_of(results) / "record.json"
    record = json.loads(path.read_text())
    record["metric"]["value"] += 0.001
    path.write_text(json.dumps(record))
    assert next(downloads.pieces(submitted.read(results))).key != before


# --- files as submitted ---


def test_files_are_copied_byte_for_byte(results: Path) -> None:
    files = made(results)
    run = run_of(results)
    for name in downloads.OF_RUN:
        assert files[paths.file(GOOD, run.name, name)] == (run / name).read_bytes()
    entry = (results / GOOD / "entry.json").read_bytes()
    assert files[paths.file(GOOD, "entry.json")] == entry


def copied(results: Path) -> set[str]:
    return {at for p in downloads.pieces(submitted.read(results)) for at in p.files}


def test_only_known_names_are_copied(results: Path) -> None:
    run = run_of(results)
    for name in ("model.safetensors", "log.txt", "index.html", ".env"):
        (run / name).write_text("x")
    (results / GOOD / "tuning.jsonl").write_text("{}\n")
    names = {at.rpartition("/")[2] for at in copied(results) if at.startswith("files/")}
    assert names == {*downloads.OF_ENTRY, *downloads.OF_RUN}


def test_a_link_is_not_followed_wherever_it_is(results: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in downloads.OF_RUN:
        (secret / name).write_text("mine")
    run = run_of(results)
    found = submitted.read(results)
    (run / "trace.parquet").unlink()
    (run / "trace.parquet").symlink_to("/etc/passwd")
    other = next(p for p in sorted((results / GOOD).iterdir()) if p.is_dir() and p != run)
    shutil.rmtree(other)
    other.symlink_to(secret)
    files = {at: c for p in downloads.pieces(found) for at, c in p.make().items()}
    assert paths.file(GOOD, run.name, "trace.parquet") not in files
    assert not any(other.name in at for at in files)
    assert b"mine" not in files.values()
    shutil.move(results / "toy", tmp_path / "toy")
    (results / "toy").symlink_to(tmp_path / "toy")
    del vars(found)["offered"]
    assert not any(at.startswith("files/") for p in downloads.pieces(found) for at in p.files)


def test_what_became_a_link_after_it_was_listed_is_empty(results: Path) -> None:
    (piece,) = [p for p in downloads.pieces(submitted.read(results)) if "files/" in p.files[0]]
    trace = run_of(results) / "trace.parquet"
    trace.unlink()
    trace.symlink_to("/etc/passwd")
    assert piece.make()[paths.file(GOOD, trace.parent.name, "trace.parquet")] == b""


def test_a_pipe_stops_nothing(results: Path) -> None:
    trace = run_of(results) / "trace.parquet"
    found = submitted.read(results)
    (piece,) = [p for p in downloads.pieces(found) if "files/" in p.files[0]]
    trace.unlink()
    os.mkfifo(trace)
    assert piece.make()[paths.file(GOOD, trace.parent.name, "trace.parquet")] == b""
    assert not any("trace.parquet" in at and trace.parent.name in at for at in copied(results))


def test_what_is_too_large_is_left_in_the_repository(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MOST_BYTES", 2000)
    assert not any(at.endswith("events.jsonl") for at in copied(results))
    assert paths.file(GOOD, "entry.json") in copied(results)
