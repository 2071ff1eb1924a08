"""`bench site` as a user meets it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.site import boards, checked
from bench.site import build as building
from bench.site.contents import Contents
from tests.checks import bundles
from tests.command import Command
from tests.site import making

FEW = ("home", "boards", "entries", "badges")


@pytest.fixture
def results(bench: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An entry of three runs of a task of one's own, in the folder where the user is; of its site
    the kinds of pages that are made in no time."""
    monkeypatch.setattr(building, "KINDS", FEW)
    bundles.write_card(Path("tasks"))
    monkeypatch.setenv("BENCH_TASKS", "tasks")
    bundles.write(Path("results"), name="first")
    return Path("results")


def test_a_site_is_built_checked_and_built_again(bench: Command, results: Path) -> None:
    said = bench("site", "build")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith("site: ")
    assert lines[0].endswith(" changed, 0 removed")
    assert lines[1] == "open   site/index.html"
    assert Path("site/boards/toy.html").is_file()
    assert '"toy/first"' in Path("site", checked.NAME).read_text()
    assert ", 0 changed, 0 removed" in bench("site", "build", "--out", "site").out


def test_checks_are_left_out_or_those_of_before(
    bench: Command, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Contents] = []
    build = building.build

    def spied(contents: Contents, *rest: object) -> building.Built:
        seen.append(contents)
        return build(contents, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(building, "build", spied)
    bench("site", "build", "--no-check")
    assert seen[-1].checked == {}
    bench("site", "build")
    assert list(seen[-1].checked) == ["toy/first"]
    bench("site", "build", "--no-check", "--url", "https://example.org/bench/", "--runs", "results")
    assert list(seen[-1].checked) == ["toy/first"]
    assert seen[-1].url == "https://example.org/bench/"


def test_runs_of_ones_own_are_marked(bench: Command, results: Path) -> None:
    run = bundles.write_run(bundles.plans(1, 3)[0], Path("runs/toy"))
    bench("site", "build", "--no-check")
    assert run.name not in Path("site/boards/toy.html").read_text()
    bench("site", "build", "--no-check", "--runs", "runs")
    page = Path("site/boards/toy.html").read_text()
    assert "yours" in page


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--results", "none"], "there is no folder none", "--results"),
        (["--runs", "none"], "there is no folder none", "--runs"),
        (["--data", "none"], "there is no folder none", "--data"),
        (["--out", "results/site"], "results/site lies in results", "--out"),
        (["--out", "results"], "results lies in results", "--out"),
        (["--out", "mine"], "mine holds something else than a site", "--out"),
        (["--out", "mine/thesis.tex"], "mine/thesis.tex is no folder", "--out"),
        (["--url", "http://example.org"], "no https address", "https://"),
        (["--url", "https://example.org/<script>"], "no https address", "https://"),
        (["--region", "Atlantis"], "Atlantis", ""),
    ],
)
def test_a_slip_is_one_line_and_a_hint(
    bench: Command, results: Path, arguments: list[str], says: str, hint: str
) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("mine")
    said = bench("site", "build", "--no-check", *arguments)
    assert said.code == 2, said.err
    lines = said.err.splitlines()
    assert len(lines) == 2, said.err
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert hint in lines[1]
    assert not Path("site").exists()


def test_without_the_extra_it_says_so_before_it_reads(
    bench: Command, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building.util, "find_spec", lambda name: None)
    for command in (["build"], ["serve"]):
        said = bench("site", *command, "--results", "results")
        assert said.code == 1
        assert "pip install 'wattbench[site]'" in said.err
    assert not Path("site").exists()


def test_a_page_that_could_not_be_made_is_a_warning(
    bench: Command, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(contents: Contents) -> Iterator[building.Piece]:
        for i in range(12):
            yield building.Piece((f"boards/{i:02d}.html",), "key", lambda: {}[0])

    monkeypatch.setattr(boards, "pieces", fails)
    said = bench("site", "build", "--no-check")
    assert said.code == 3
    warnings = said.err.splitlines()
    assert warnings[0] == "warning: boards/00.html: KeyError: 0"
    assert warnings[10] == "warning: and 2 more"
    assert warnings[-1] == "warning: 12 pages could not be made, and say so; all else is there"
    assert Path("site/index.html").is_file()
    assert "could not be made" in Path("site/boards/00.html").read_text()


def test_a_run_that_cannot_be_read_is_told_and_left_out(bench: Command, results: Path) -> None:
    (run, *_) = sorted(p.parent for p in results.glob("toy/first/*/record.json"))
    (run / "record.json").write_text("{")
    said = bench("site", "build", "--no-check")
    assert said.code == 0
    assert said.err.startswith(f"warning: left out: {run}")
    assert Path("site/boards/toy.html").is_file()


# --- in a process of its own -------------------------------------------------------------------


@pytest.fixture
def clean() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(making.RESULTS.parent), "BENCH_TASKS": "tasks"}


def started(*arguments: str, env: dict[str, str], **options) -> subprocess.Popen[str]:
    code = f"from bench.site import build; build.KINDS = {FEW}; from bench.cli import main; main()"
    command = [sys.executable, "-P", "-c", code, "site", *arguments]
    return subprocess.Popen(command, env=env, text=True, **options)


def test_a_terminal_sees_how_far_it_is(results: Path, clean: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    process = started("build", env=clean, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    said = b""
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                said += os.read(ours, 4096)
            except OSError:
                break
    os.close(ours)
    assert b"\rchecked 1 of 1 entries" in said
    assert b"\rmade 1 of " in said
    assert said.endswith(b"\r\x1b[K")


def test_it_is_served_watched_and_ended_with_ctrl_c(results: Path, clean: dict[str, str]) -> None:
    process = started(
        "serve", "--port", "0", "--no-check", env=clean,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = [process.stdout.readline() for _ in range(2)]
        assert said[0].startswith("site: ")
        address = said[1].split()[1]
        with urllib.request.urlopen(f"{address}boards/toy.html", timeout=10) as answer:
            assert b"first" in answer.read()
        bundles.write(Path("new"), bundles.plans(3, 3), name="second")
        shutil.move("new/toy/second", results / "toy/second")
        again = process.stdout.readline()  # of the build that follows
        assert " changed, 0 removed" in again
        assert ", 0 changed" not in again
        with urllib.request.urlopen(f"{address}entries/toy/second.html", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err.strip()) == (0, "")
    finally:
        process.kill()
        process.wait()


def test_a_taken_port_is_said_before_anything_is_built(bench: Command, results: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = bench("site", "serve", "--port", port)
    assert said.code == 2
    assert said.err.splitlines()[0] == f"error: port {port} of 127.0.0.1 is taken"
    assert not Path("site").exists()


def test_help_of_site_answers_at_once() -> None:
    code = "import sys; sys.argv = ['bench', 'site', '--help']; from bench.cli import main; main()"
    watched = (
        f"{code.replace('main()', 'pass')}\nassert not {{'jinja2', 'numpy'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", watched], check=True, timeout=60)
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "build" in said.stdout
    assert "serve" in said.stdout
