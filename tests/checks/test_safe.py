"""What hostile files do: they are refused, quickly, and nothing else happens."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from bench import submission
from bench.checks import Problem, Rule, outline, safe, tables
from bench.checks import verdicts as verdicts_of
from bench.checks.bundle import EntryFolder, RunFolder, found
from bench.checks.safe import Fault
from bench.errors import UsageError
from tests.checks import bundles
from tests.checks.bad_structure import (
    GOOD_WEIGHTS,
    first_run,
    resealed_entry,
    with_log,
    with_weights,
)


def rule_of(call: Any, *args: Any) -> str:
    with pytest.raises(Fault) as raised:
        call(*args)
    assert raised.value.message
    return raised.value.rule


# --- JSON


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 1_000_000, b'{"a":' * 100_000, b"9" * 1_000_000, b"1" + b"0" * 30, b"1e101",
        b"-1e-101", b"0." + b"0" * 1000 + b"1", b"NaN", b"-Infinity", b'{"a":1,"a":1}',
        b'"\\ud800"',
        b'{"\\udc00":1}', b'"\xed\xa0\x80"', b"\xff", b"\xef\xbb\xbf{}", "{}".encode("utf-16"),
        b"{} {}", b"", b"\x00", b"'a'", b"[1,]",
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_what_is_not_plain_json_is_refused(text: bytes) -> None:
    assert rule_of(safe.json_value, text) == "S4"


def test_plain_json_is_read() -> None:
    text = '{"a": [0.0, -0.0, 1e-17, 9007199254740993, "\\ud83d\\ude00", "é"], "b": null}'.encode()
    assert safe.json_value(text) == {"a": [0.0, 0.0, 1e-17, 9007199254740993, "😀", "é"], "b": None}


def test_a_key_twice_among_many_is_found_at_once() -> None:
    pairs = ",".join(f'"{i}":0' for i in range(200_000))
    start = time.process_time()
    assert rule_of(safe.json_value, f'{{{pairs},"199999":0}}'.encode()) == "S4"
    assert time.process_time() - start < 5


def test_lines_have_a_most() -> None:
    assert rule_of(list, safe.json_lines(b"{}\n" * (safe.MOST_LINES + 1))) == "S6"


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    """Else an event that one reader sees is hidden from another."""
    from bench.account import read_events

    line = '{"event": "note", "t_ns": 1, "text": "a\u2028b\x85c"}\n'
    (tmp_path / "events.jsonl").write_text(line * 2, encoding="utf-8")
    assert len(read_events(tmp_path / "events.jsonl")) == 2
    assert len(list(safe.json_lines((line * 2).encode()))) == 2


# --- files and folders


def test_nothing_is_opened_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "record.json").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "entry.json")
    (tmp_path / "log.txt").mkdir()
    for name in ("record.json", "entry.json", "log.txt"):
        assert rule_of(safe.data, tmp_path / name) == "S3"
    assert rule_of(safe.data, tmp_path / "manifest.json") == "S10"
    assert rule_of(safe.data, tmp_path / "secret") == "S2"  # no name that a file may have


def test_a_listing_follows_nothing(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "pipe").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "a" / "pipe")
    kinds = {name: item.kind for name, item in safe.listing(tmp_path, depth=2).items()}
    assert kinds == {"a": "folder", "a/b": "folder", "a/pipe": "special", "loop": "link"}
    assert rule_of(safe.listing, tmp_path / "loop", 1) == "S3"


def test_a_listing_has_a_most(tmp_path: Path) -> None:
    for number in range(11):
        (tmp_path / str(number)).touch()
    assert rule_of(safe.listing, tmp_path, 1, 10) == "S2"


def test_what_is_shown_is_one_line_of_what_can_be_seen() -> None:
    shown = safe.shown("a\n::error::\x1b[2J\u202e\udcff\u200b" + "x" * 1000)
    assert shown.isprintable()
    assert len(shown) < 500


def test_messages_of_verdicts_can_be_seen(tmp_path: Path) -> None:
    folder = bundles.write(tmp_path, bundles.plans(1))
    for name in ("a\n::error::b", "\x1b[2J", "\u202etxt.exe"):
        (first_run(folder) / name).touch()
    (folder / os.fsdecode(b"\xff")).touch()
    said = bundles.checked(folder).errors
    assert len(said) == 4
    assert all(verdict.message.isprintable() and verdict.message for verdict in said)


def test_no_rule_can_say_what_cannot_be_seen(tmp_path: Path) -> None:
    def look(run: Any, around: Any) -> Any:
        yield Problem("\x1b[2J\n::error::" + "x" * 10**6)

    rule = Rule("S99", "odd", "Odd.", "run", (), False, look)
    run = RunFolder(tmp_path / "\x1b", "\u202ename")
    (said,) = verdicts_of(rule, run, bundles.around())
    assert said.message.isprintable()
    assert said.where.isprintable()
    assert len(said.message) < 2000


# --- finding entries


def test_entries_are_found_wherever_one_begins(tmp_path: Path) -> None:
    folder = bundles.write(tmp_path, bundles.plans(1))
    for start in (tmp_path, tmp_path / "toy", folder):
        (entry,) = found(start)
        assert (entry.where, len(entry.runs)) == ("toy/transformer-small-baseline", 1)
    (alone,) = found(first_run(folder))
    assert not alone.submitted


def test_a_link_in_the_place_of_an_entry_is_refused(tmp_path: Path) -> None:
    folder = bundles.write(tmp_path, bundles.plans(1))
    (folder.parent / "copy").symlink_to(folder)
    (tmp_path / "task").symlink_to(folder.parent)
    reports = {e.where: bundles.check(e, bundles.around()) for e in found(tmp_path)}
    refused = {where for where, r in reports.items() if "S3" in {v.rule for v in r.errors}}
    assert refused == {"toy/copy", f"{tmp_path.name}/task"}
    assert "S3" in bundles.errors(folder.parent / "copy")


def test_a_folder_without_anything_is_an_entry_among_others(tmp_path: Path) -> None:
    folder = bundles.write(tmp_path, bundles.plans(1))
    (folder.parent / "mine").mkdir()
    (folder.parent / "mine" / "payload.bin").touch()
    reports = {e.where: bundles.check(e, bundles.around()) for e in found(tmp_path)}
    assert {v.rule for v in reports["toy/mine"].errors} == {"S1", "S10"}


def test_hidden_folders_are_nobodys(tmp_path: Path) -> None:
    folder = bundles.write(tmp_path, bundles.plans(1))
    folder.rename(folder.with_name(".staged"))
    assert list(submission.folders(tmp_path)) == []
    with pytest.raises(UsageError):
        found(tmp_path)


def test_a_path_in_a_manifest_is_never_opened(tmp_path: Path) -> None:
    folder = with_log(tmp_path)
    run = first_run(folder)
    manifest = run / "manifest.json"
    os.mkfifo(tmp_path / "pipe")
    manifest.write_text(manifest.read_text().replace("log.txt", "../../../pipe"))
    resealed_entry(folder)
    assert bundles.errors(folder) == {"H2", "H3"}


def test_weights_that_are_those_pass(tmp_path: Path) -> None:
    assert bundles.errors(with_weights(tmp_path, GOOD_WEIGHTS)) == set()


# --- Parquet


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "predictions.parquet"
    ids = pyarrow.array(range(1000), pyarrow.int64())
    table = pyarrow.table({"id": ids, "prediction": ["positive", "negative"] * 500})
    pyarrow.parquet.write_table(table, path, compression="zstd")
    return path


def test_what_bench_writes_is_let_through(written: Path, tmp_path: Path) -> None:
    outline.check(written.read_bytes())
    assert len(tables.predictions(written)) == 1000
    for compression in ("none", "snappy", "zstd"):
        for version in ("1.0", "2.0"):
            path = tmp_path / "trace.parquet"
            table = pyarrow.table({"x": list(range(100_000)), "y": [[1.0, 2.0]] * 100_000})
            pyarrow.parquet.write_table(
                table, path, compression=compression, data_page_version=version,
                row_group_size=30_000,
            )  # fmt: skip
            outline.check(path.read_bytes())


def _footer(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[-8:-4], "little")
    return data[: -8 - length], data[-8 - length : -8]


def _with_footer(body: bytes, footer: bytes) -> bytes:
    return body + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _zigzag(number: int) -> bytes:
    return _varint(number << 1)


def test_rows_that_are_not_there_are_refused(written: Path) -> None:
    body, footer = _footer(written.read_bytes())
    lying = footer.replace(_zigzag(1000), _zigzag(10_000_000))
    assert rule_of(outline.check, _with_footer(body, lying)) == "S7"
    assert rule_of(outline.check, _with_footer(body, footer[:-9])) == "S7"
    assert rule_of(outline.check, _with_footer(b"PAR1", footer)) == "S7"


@pytest.fixture
def plain(tmp_path: Path) -> bytes:
    """A column of a thousand numbers, one page, which takes 8,007 bytes; behind the magic stand its
    kind, and then this size."""
    path = tmp_path / "plain.parquet"
    table = pyarrow.table({"x": pyarrow.array(range(1000), pyarrow.int64())})
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False)
    data = path.read_bytes()
    assert data[4:9] == b"\x15\x00\x15" + _zigzag(8007)
    return data


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("MOST_PAGE_BYTES", "a page that unpacks to 8,007"),
        ("MOST_UNPACKED_BYTES", "unpacks to more than 8,000"),
        ("MOST_ROWS", "1,000 rows"),
        ("MOST_VALUES", "1,000 values"),
        ("MOST_CHUNKS", "pieces"),
        ("MOST_PAGES", "pages"),
    ],
)
def test_what_unpacks_to_too_much_is_refused_before_it_is(
    name: str, says: str, plain: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    outline.check(plain)
    monkeypatch.setattr(outline, name, 8000 if "BYTES" in name else 0)
    with pytest.raises(Fault, match=says):
        outline.check(plain)


def test_a_page_of_another_size_than_it_says_ends_in_a_fault(plain: bytes, tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    for size in (0, 100, 8191):
        path.write_bytes(plain[:7] + bytes([2 * size & 127 | 128, 2 * size >> 7]) + plain[9:])
        assert rule_of(tables.read, path, {"x": "int64"}, ["x"]) == "S7"


@pytest.mark.parametrize(
    "footer",
    [
        b"\x19\xfc" + b"\xff\xff\xff\xff\x07",  # a list of two thousand million
        b"\x1c" * 10_000,  # structs in structs
        b"\x19" + b"\x19" * 10_000,  # lists in lists
        b"\x18" + b"\xff" * 9 + b"\x01",  # a text without an end
        b"\x15" + b"\xff" * 100,  # a number without an end
        b"\x1d\x00",  # a type that there is not
        b"", b"\x00", b"\x15\x04",
    ],
)  # fmt: skip
def test_a_footer_that_lies_of_its_length_is_refused(footer: bytes) -> None:
    start = time.process_time()
    assert rule_of(outline.check, _with_footer(b"PAR1", footer)) == "S7"
    assert time.process_time() - start < 1


def test_columns_that_lie_in_the_same_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    table = pyarrow.table({"x": [0.5] * 1000, "y": [0.25] * 1000})
    pyarrow.parquet.write_table(table, path, compression="none", use_dictionary=False)
    body, footer = _footer(path.read_bytes())
    about = pyarrow.parquet.ParquetFile(path).metadata.row_group(0)
    first, second = (_zigzag(about.column(i).data_page_offset) for i in (0, 1))
    assert second in footer
    assert rule_of(outline.check, _with_footer(body, footer.replace(second, first))) == "S7"


@pytest.mark.parametrize("encoding", ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"])
def test_encodings_that_bench_does_not_write_are_refused(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"x": list(range(1000))}), path, use_dictionary=False,
        column_encoding={"x": encoding},
    )  # fmt: skip
    with pytest.raises(Fault, match="not read here"):
        outline.check(path.read_bytes())


def test_texts_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    ids = pyarrow.array([0, 1], pyarrow.int64())
    texts = pyarrow.array([b"\xff\xfe", b"ok"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"id": ids, "prediction": texts}), path)
    assert rule_of(tables.predictions, path) == "S7"


def test_every_cut_and_flip_of_a_table_ends_in_a_fault_or_a_table(written: Path) -> None:
    import random

    good = written.read_bytes()
    rng = random.Random(3)
    start = time.process_time()
    for _ in range(600):
        data = bytearray(good)
        for _ in range(rng.choice([1, 2, 8])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        written.write_bytes(data)
        with suppress(Fault):
            tables.predictions(written)
    assert time.process_time() - start < 20


# --- whoever reads a part gets it, or why not


def test_a_part_is_read_once_and_says_of_which_file_its_fault_is(tmp_path: Path) -> None:
    folder = bundles.write(tmp_path, bundles.plans(1))
    path = first_run(folder)
    (path / "trace.parquet").write_bytes(b"PAR1")
    run = RunFolder(path, path.name)
    fault = run.fault("trace")
    assert fault is not None
    assert (fault.rule, fault.file) == ("S7", "trace.parquet")
    assert run.fault("derived") is not None
    assert run.record is run.record


def test_a_folder_that_is_gone_has_no_parts(tmp_path: Path) -> None:
    entry = EntryFolder.of(tmp_path / "nowhere", "toy/nowhere")
    assert entry.runs == []
    assert {v.rule for v in bundles.check(entry, bundles.around()).errors} == {"S3"}
