"""A thousand submissions that a seeded fuzzer has damaged: the checks end, say something of each
that is wrong in its bytes, and write nowhere."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bench import checks
from bench.checks.bundle import found
from bench.errors import BenchError
from tests.checks import bundles

CASES, PARTS = 1000, 10
LONGEST_S = 20
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = {
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod",
    "os.truncate", "shutil.rmtree", "shutil.move", "subprocess.Popen", "os.system", "os.exec",
    "os.posix_spawn", "socket.connect", "socket.bind", "ctypes.dlopen", "pickle.find_class",
}  # fmt: skip
ODD: list[Any] = [
    None, True, -1, 0, 1e308, -1e308, 1 << 70, "", "x" * 10_000, "\u202e", "\x00", [], {}, [[]],
    {"a": {"b": []}}, "GPU-", "../..", "=1+1", 0.1, "nan",
]  # fmt: skip
RAW = [b"NaN", b"1e999", b"[" * 5000, b"\xff\xfe", b'"\\ud800"', b"9" * 5000, b"{}{}", b""]

_watched: list[str] | None = None


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    if event == "open":
        path, mode, flags = args
        if (isinstance(flags, int) and flags & WRITING) or (mode and set(mode) & set("wax+")):
            _watched.append(f"open {path!r} {mode} {flags}")
    elif event == "exec" and "toy/entry" in args[0].co_filename:
        _watched.append(f"exec {args[0].co_filename}")
    elif event in FORBIDDEN:
        _watched.append(f"{event} {args!r}"[:200])


sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[list[str]]:
    """What is done meanwhile that reading would not do."""
    global _watched
    done: list[str] = []
    _watched = done
    try:
        yield done
    finally:
        _watched = None


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- ways of damage ---


def _file(folder: Path, rng: random.Random, suffixes: tuple[str, ...] = ()) -> Path:
    files = sorted(
        p for p in folder.rglob("*")
        if p.is_file() and not p.is_symlink() and 0 < p.stat().st_size < 1 << 24
    )  # fmt: skip
    wanted = [p for p in files if not suffixes or p.suffix in suffixes]
    return rng.choice(wanted or files)


def flip_bytes(folder: Path, rng: random.Random) -> None:
    path = _file(folder, rng)
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 4, 64])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)


def cut(folder: Path, rng: random.Random) -> None:
    path = _file(folder, rng)
    data = path.read_bytes()
    begin, end = sorted(rng.sample(range(len(data) + 1), 2))
    path.write_bytes(rng.choice([data[:begin], data[begin:], data[:begin] + data[end:]]))


def repeat(folder: Path, rng: random.Random) -> None:
    path = _file(folder, rng)
    path.write_bytes(path.read_bytes() * rng.choice([2, 3]))


def footer(folder: Path, rng: random.Random) -> None:
    """Where Parquet says how long its parts are."""
    path = _file(folder, rng, (".parquet",))
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 8])):
        data[-rng.randrange(1, min(900, len(data)))] = rng.randrange(256)
    path.write_bytes(data)


def _walk(value: Any, rng: random.Random) -> tuple[Any, Any]:
    """A container inside a JSON value, and a key of it."""
    while True:
        if not isinstance(value, dict | list) or not value:
            return None, None
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        if not isinstance(value[key], dict | list) or not value[key] or rng.random() < 0.3:
            return value, key
        value = value[key]


def _change(value: Any, rng: random.Random) -> None:
    inside, key = _walk(value, rng)
    if inside is None:
        return
    match rng.randrange(4):
        case 0:
            inside[key] = rng.choice(ODD)
        case 1:
            del inside[key]
        case 2 if isinstance(inside, dict):
            inside[rng.choice(["extra", "", "run_id", "\u202e"])] = rng.choice(ODD)
        case _:
            if isinstance(inside[key], int | float):
                inside[key] = inside[key] * rng.choice([0, -1, 0.5, 2, 1e9, 1e300])
            else:
                inside[key] = rng.choice(ODD)


def json_value(folder: Path, rng: random.Random) -> None:
    path = _file(folder, rng, (".json",))
    value = json.loads(path.read_bytes())
    for _ in range(rng.choice([1, 1, 3])):
        _change(value, rng)
    path.write_text(json.dumps(value))


def event(folder: Path, rng: random.Random) -> None:
    path = _file(folder, rng, (".jsonl",))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for _ in range(rng.choice([1, 2, 5])):
        number = rng.randrange(len(lines))
        match rng.randrange(4):
            case 0:
                lines.insert(rng.randrange(len(lines)), lines[number])
            case 1:
                lines.pop(number)
            case _:
                _change(lines[number], rng)
        if not lines:
            break
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def raw(folder: Path, rng: random.Random) -> None:
    path = _file(folder, rng, (".json", ".jsonl"))
    data = path.read_bytes()
    at = rng.randrange(len(data) + 1)
    path.write_bytes(data[:at] + rng.choice(RAW) + data[at:])


def swap(folder: Path, rng: random.Random) -> None:
    one, other = _file(folder, rng), _file(folder, rng)
    one_data, other_data = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_data)
    other.write_bytes(one_data)


def kind(folder: Path, rng: random.Random) -> None:
    """Something else in the place of a file."""
    path = _file(folder, rng)
    path.unlink()
    match rng.randrange(5):
        case 0:
            path.symlink_to(rng.choice(["/etc/passwd", "/dev/zero", str(path), "..", "nowhere"]))
        case 1:
            os.mkfifo(path)
        case 2:
            path.mkdir()
        case 3:
            with path.open("wb") as file:
                file.truncate(1 << 34)  # sparse
        case _:
            pass


def stray(folder: Path, rng: random.Random) -> None:
    below = rng.choice([folder, *sorted(p for p in folder.iterdir() if p.is_dir())])
    name = rng.choice([".git", "x.py", "a" * 200, "record.json.bak", "\u202egnp", "conftest.py"])
    path = below / name
    path.write_text("print('never')") if rng.random() < 0.7 else path.mkdir()


DAMAGE: list[Callable[[Path, random.Random], None]] = [
    flip_bytes, cut, repeat, footer, json_value, json_value, json_value, event, event, raw, swap,
    kind, stray,
]  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short run, so that a thousand are quickly read. It is checked once, so that nothing is
    imported for the first time while the watch is on."""
    plan = bundles.plans(1)[0]
    plan.window_s, plan.idle_s = 12.0, 1.0
    folder = bundles.write(tmp_path_factory.mktemp("good"), [plan])
    bundles.checked(folder)
    return folder


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in folder.rglob("*"):
        about = path.lstat()
        found[str(path)] = (about.st_mode, about.st_size, about.st_mtime_ns)
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_no_damage_makes_it_crash_hang_or_write(good: Path, part: int, tmp_path: Path) -> None:
    for case in range(part, CASES, PARTS):
        rng = random.Random(case)
        folder = tmp_path / "toy" / "entry"
        shutil.copytree(good, folder)
        damage = [rng.choice(DAMAGE) for _ in range(rng.choice([1, 1, 2]))]
        for one in damage:
            with suppress(ValueError):  # what an earlier one has damaged too much to change
                one(folder, rng)
        if rng.random() < 0.5:
            _reseal(folder)
        before = state(tmp_path)
        with watched() as done, at_most(LONGEST_S):
            try:
                said = _said(folder)
            except Exception as error:
                error.add_note(f"case {case}: {[d.__name__ for d in damage]}")
                raise
        assert all(said), case
        assert not done, (case, done)
        assert state(tmp_path) == before, case
        shutil.rmtree(folder)


def _said(folder: Path) -> list[str]:
    """The messages of all rules that do not hold, or of the refusal to look."""
    try:
        reports = [checks.check(entry, bundles.around()) for entry in found(folder)]
    except BenchError as error:
        return [error.message]
    return [v.message for r in reports for v in r.verdicts if v.status != "pass"]


def _reseal(folder: Path) -> None:
    """So that the damage is not told by its hash alone; not where hashing it would have no end."""
    others = [p.lstat() for p in folder.rglob("*") if not p.is_dir()]
    if any(not stat.S_ISREG(a.st_mode) or a.st_size > 1 << 24 for a in others):
        return
    try:
        bundles.reseal(folder)
    except (BenchError, OSError, ValueError, AttributeError, TypeError):
        return


def test_the_watch_sees_what_it_is_there_for(tmp_path: Path) -> None:
    with watched() as done:
        (tmp_path / "x").write_text("x")
        (tmp_path / "x").rename(tmp_path / "y")
    assert [d.split()[0] for d in done] == ["open", "os.rename"]
    with pytest.raises(TimeoutError), at_most(1):
        signal.pause()
