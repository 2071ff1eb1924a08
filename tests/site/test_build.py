"""Building: what changes is made again and nothing else; whatever happens, the next build mends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from bench.errors import BenchError, MissingExtra, UsageError
from bench.site import assets, build, folder
from bench.site.contents import Contents, Piece
from tests.site import making


def test_a_second_build_changes_nothing(real_site: Path) -> None:
    again = making.built(real_site)
    assert (again.made, again.written, again.removed) == (0, 0, 0)
    assert again.files > 9


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        making.built(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


# --- sites of pieces that a test has made ------------------------------------------------------

Pages = dict[str, str]
Site = Callable[[Pages], build.Built]


def _piece(file: str, text: str) -> Piece:
    return Piece((file,), text, lambda: {file: text})


@pytest.fixture(scope="module")
def contents() -> Contents:
    return making.read(Path(__file__).parent / "no-results")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def building(contents: Contents, out: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Builds a site of these pages alone."""

    def built(pages: Pages) -> build.Built:
        return of(contents, out, monkeypatch, [_piece(*page) for page in pages.items()])

    return built


def of(
    contents: Contents, out: Path, monkeypatch: pytest.MonkeyPatch, pieces: list[Piece]
) -> build.Built:
    monkeypatch.setattr(build, "pieces", lambda contents, failed: iter(pieces))
    return build.build(contents, out)


def pages(out: Path) -> Pages:
    """What a visitor may come to."""
    return {
        path.relative_to(out).as_posix(): path.read_text()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.relative_to(out).as_posix().startswith(folder.OURS)
    }


MANY = {f"runs/{i:03d}.html": f"run {i}" for i in range(40)}


def test_only_what_changed_is_written(building: Site, out: Path) -> None:
    building(MANY)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.html")}
    built = building({**MANY, "runs/007.html": "another"})
    assert (built.files, built.made, built.written, built.removed) == (40, 1, 1, 0)
    changed = [p.name for p, at in before.items() if p.stat().st_mtime_ns != at]
    assert changed == ["007.html"]


def test_pages_that_are_no_more_go_with_their_folders(building: Site, out: Path) -> None:
    building({"index.html": "home", "entries/sst2/a.html": "a", "entries/cola/b.html": "b"})
    built = building({"index.html": "home", "entries/cola/b.html": "b"})
    assert built.removed == 1
    assert pages(out) == {"index.html": "home", "entries/cola/b.html": "b"}
    assert not (out / "entries/sst2").exists()


def test_pages_that_were_deleted_or_edited_come_back(building: Site, out: Path) -> None:
    building(MANY)
    (out / "runs/001.html").unlink()
    (out / "runs/002.html").write_text("RUN 2")  # as long as before
    built = building(MANY)
    assert built.made == built.written == 2
    assert pages(out) == MANY


def test_what_a_user_puts_into_the_folder_stays(building: Site, out: Path) -> None:
    building(MANY)
    (out / "CNAME").write_text("bench.example.org")
    building({"index.html": "home"})
    assert pages(out) == {"index.html": "home", "CNAME": "bench.example.org"}


def test_other_code_makes_all_again_and_writes_what_differs(
    building: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    building(MANY)
    monkeypatch.setattr(build, "_code", lambda: "other code")
    built = building(MANY)
    assert (built.made, built.written) == (40, 0)


def test_a_damaged_memory_costs_time_and_nothing_else(building: Site, out: Path) -> None:
    building(MANY)
    (out / folder.MEMORY).write_text('{"files": {"runs/001.html": [')
    assert building(MANY).made == 40
    assert building(MANY).made == 0


# --- nothing outside ---------------------------------------------------------------------------


def test_a_link_in_the_site_leads_no_build_out_of_it(
    building: Site, out: Path, tmp_path: Path
) -> None:
    building(MANY)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(out / "runs", elsewhere)
    (out / "runs").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a link"):
        building({**MANY, "runs/007.html": "another"})
    building({"index.html": "home"})  # all of runs/ is no more
    assert len(list(elsewhere.iterdir())) == 40


def test_a_page_that_is_a_link_is_replaced_and_not_written_through(
    building: Site, out: Path, tmp_path: Path
) -> None:
    building(MANY)
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    (out / "runs/001.html").unlink()
    (out / "runs/001.html").symlink_to(mine)
    building({**MANY, "runs/001.html": "another"})
    assert mine.read_text() == "mine"
    assert not (out / "runs/001.html").is_symlink()


@pytest.mark.parametrize("file", ["../mine", "/{}/mine", "a/../../mine", ".git/config", ""])
def test_a_memory_that_somebody_else_wrote_removes_nothing_outside(
    building: Site, out: Path, tmp_path: Path, file: str
) -> None:
    building(MANY)
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (out / ".git").mkdir()
    (out / ".git/config").write_text("mine")
    memory = json.loads((out / folder.MEMORY).read_text())
    memory["files"][file.format(tmp_path)] = ["", 0, 0]
    (out / folder.MEMORY).write_text(json.dumps(memory))
    building(MANY)
    assert mine.read_text() == (out / ".git/config").read_text() == "mine"


@pytest.mark.parametrize("name", [folder.LOCK, folder.DRAFTS])
def test_what_the_build_needs_is_no_link_out(
    building: Site, out: Path, tmp_path: Path, name: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    out.mkdir()
    (out / name).symlink_to(elsewhere)
    if name == folder.LOCK:
        with pytest.raises(OSError, match="symbolic"):
            building(MANY)
    else:
        building(MANY)
    assert [p.name for p in elsewhere.iterdir()] == ["mine"]


# --- what can't be made ------------------------------------------------------------------------


def _raises(error: Exception) -> Mapping[str, str]:
    raise error


def _bad(*files: str, error: Exception | None = None) -> Piece:
    return Piece(files, f"bad {error}", partial(_raises, error or ValueError("no <phase> here")))


@pytest.mark.parametrize("others", [0, 40])  # in this process, in several
def test_one_bad_run_takes_nothing_else_down(
    contents: Contents, out: Path, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    good = [_piece(f"runs/{i}.html", f"run {i}") for i in range(others)]
    built = of(contents, out, monkeypatch, [*good, _bad("runs/bad.html", "runs/bad.js")])
    assert built.failed == ("runs/bad.html: ValueError: no <phase> here",)
    assert built.files == others + 1
    said = (out / "runs/bad.html").read_text()
    assert "could not be made" in said
    assert "no &lt;phase&gt; here" in said
    assert not (out / "runs/bad.js").exists()


def test_what_could_not_be_made_is_tried_again(
    contents: Contents, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of(contents, out, monkeypatch, [_bad("a.html", "a.js")])
    mended = Piece(("a.html", "a.js"), "bad None", lambda: {"a.html": "now", "a.js": "now"})
    assert of(contents, out, monkeypatch, [mended]).failed == ()
    assert pages(out) == {"a.html": "now", "a.js": "now"}
    of(contents, out, monkeypatch, [_bad("a.html", "a.js", error=BenchError("a tear"))])
    assert "a.js" not in pages(out)  # of a run that can't be read now


def test_no_page_names_a_folder_of_this_machine(
    contents: Contents, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = contents.results.absolute() / "sst2/mine/trace.parquet"
    built = of(contents, out, monkeypatch, [_bad("a.html", error=BenchError(f"{place} is torn"))])
    assert built.failed == ("a.html: sst2/mine/trace.parquet is torn",)
    assert str(place.parents[3]) not in (out / "a.html").read_text()


def test_a_kind_of_page_that_fails_as_a_whole_removes_no_pages(
    contents: Contents, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of(contents, out, monkeypatch, [_piece("boards/sst2.html", "sst2")])
    monkeypatch.undo()

    def fails(contents: Contents) -> Iterator[Piece]:
        raise ValueError("no boards")

    monkeypatch.setattr(build, "KINDS", ("assets",))
    monkeypatch.setattr(assets, "pieces", fails)
    built = build.build(contents, out)
    assert built.failed[0] == "pages of assets: ValueError: no boards"
    assert "boards/sst2.html" in pages(out)


def test_two_things_that_want_one_page_are_told_apart(
    contents: Contents, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [_piece("a.html", "first"), _piece("a.html", "second"), _piece("a.html/b", "below")]
    built = of(contents, out, monkeypatch, several)
    assert pages(out) == {"a.html": "first"}
    assert [line.partition(":")[0] for line in built.failed] == ["a.html", "a.html/b"]


def test_a_full_disk_ends_the_build_with_a_line(
    building: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    building(MANY)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        building({"index.html": "home"})


@pytest.mark.parametrize("package", ["jinja2", "altair", "markdown_it"])
def test_without_the_extra_nothing_is_begun(
    building: Site, out: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    found = build.util.find_spec
    monkeypatch.setattr(
        build.util, "find_spec", lambda name: found(name) if name != package else None
    )
    with pytest.raises(MissingExtra) as said:
        building(MANY)
    assert "[site]" in str(said.value.hint)
    assert not out.exists()


# --- ends that nobody planned ------------------------------------------------------------------

_BUILDS = """
import sys, time
from pathlib import Path
from bench.site import build
from bench.site.contents import Piece
from tests.site import making

out = Path(sys.argv[1])

def slow(file):
    while file > "runs/100" and out.with_name("hold").exists():
        time.sleep(0.02)
    return {file: file}

files = [f"runs/{i:03d}.html" for i in range(200)]
pieces = [Piece((f,), f, lambda f=f: slow(f)) for f in files]
build.pieces = lambda contents, failed: iter(pieces)
build._code = lambda: "the same"
tell = lambda done, of: print(done, flush=True)
waits = lambda: print("waits", flush=True)
built = build.build(making.read(Path("no-results")), out, tell, waits)
print("made", built.made, built.files)
"""
ALL = [f"runs/{i:03d}.html" for i in range(200)]


@pytest.fixture
def held(out: Path) -> Path:
    """While this is there, no build ends."""
    held = out.with_name("hold")
    held.touch()
    return held


def _started(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _BUILDS, str(out)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2], start_new_session=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for said in process.stdout:
        if said.strip() == line:
            return
    raise AssertionError(line)


def _ends(out: Path) -> list[str]:
    """What a build says at its end."""
    out.with_name("hold").unlink(missing_ok=True)
    process = _started(out)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return said.splitlines()[-1].split()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_the_next_build_goes_on_where_one_was_ended(
    out: Path, held: Path, sign: signal.Signals
) -> None:
    process = _started(out)
    _until(process, "40")
    if sign == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, sign)  # as a terminal does
    process.wait(timeout=20)
    assert process.returncode != 0
    _, made, files = _ends(out)
    assert sorted(pages(out)) == ALL
    assert files == "200"
    if sign == signal.SIGINT:
        assert int(made) <= 160
    assert not (out / folder.DRAFTS).exists()


def test_no_process_outlives_a_build_that_was_killed(out: Path, held: Path) -> None:
    process = _started(out)
    _until(process, "16")
    process.kill()
    process.wait()
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("it has left processes")


def test_a_second_build_waits_for_the_first(out: Path, held: Path) -> None:
    first = _started(out)
    _until(first, "16")
    second = _started(out)
    _until(second, "waits")
    held.unlink()
    reader = threading.Thread(target=first.communicate)
    reader.start()
    said, _ = second.communicate(timeout=60)
    reader.join()
    assert said.splitlines()[-1] == "made 0 200"
    assert sorted(pages(out)) == ALL
