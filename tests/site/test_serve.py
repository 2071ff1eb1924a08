"""Serving: files of the site and nothing else, with the headers that a page asks for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.errors import UsageError
from bench.site import serve
from bench.site.page import POLICY

FILES = {
    "index.html": "<!doctype html>",
    "assets/style.css": "p {}",
    "runs/abc.html": "run",
    "runs/abc.js": "bench.run({});",
    "runs/näme.html": "umlaut",
    "files/sst2/a/events.jsonl": "{}",
    "files/sst2/a/trace.parquet": "PAR1",
    "badges/a.svg": "<svg/>",
    "feed.xml": "<feed/>",
    ".bench-site.json": "memory",
    ".git/config": "hidden",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    for name, text in FILES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    (tmp_path / "secret.txt").write_text("secret")
    (site / "link.txt").symlink_to(tmp_path / "secret.txt")
    (site / "away").symlink_to(tmp_path)
    os.mkfifo(site / "pipe.txt")
    return site


@pytest.fixture
def port(root: Path) -> Iterator[int]:
    with serve.bound(root, "127.0.0.1", 0) as server, serve.answering(server) as address:
        found = urlsplit(address).port
        assert found
        yield found


def ask(
    port: int, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.mark.parametrize(
    ("path", "file", "kind"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/index.html?sort=energy", "index.html", "text/html; charset=utf-8"),
        ("/assets/style.css", "assets/style.css", "text/css; charset=utf-8"),
        ("/runs/abc.js", "runs/abc.js", "text/javascript; charset=utf-8"),
        ("/runs/n%C3%A4me.html", "runs/näme.html", "text/html; charset=utf-8"),
        ("/files/sst2/a/events.jsonl", "files/sst2/a/events.jsonl", "text/plain; charset=utf-8"),
        (
            "/files/sst2/a/trace.parquet",
            "files/sst2/a/trace.parquet",
            "application/vnd.apache.parquet",
        ),
        ("/badges/a.svg", "badges/a.svg", "image/svg+xml"),
        ("/feed.xml", "feed.xml", "application/atom+xml"),
    ],
)
def test_a_file_comes_as_what_it_is(port: int, path: str, file: str, kind: str) -> None:
    answer, body = ask(port, path)
    assert (answer.status, body) == (200, FILES[file].encode())
    assert answer.headers["Content-Type"] == kind


@pytest.mark.parametrize("path", ["/", "/nothing.html"])
def test_every_answer_has_the_policy(port: int, path: str) -> None:
    answer, _ = ask(port, path)
    assert answer.headers["Content-Security-Policy"].startswith(POLICY)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "/nothing.html", "/runs", "/runs/", "/.bench-site.json", "/.git/config", "/%2egit/config",
        "/../secret.txt", "/%2e%2e/secret.txt", "/runs/../../secret.txt",
        "/runs%2f..%2f..%2fsecret.txt",
        "/..%5csecret.txt", "//etc/passwd", "/%2fetc/passwd", "/link.txt", "/away/secret.txt",
        "/pipe.txt", "/index.html%00.css", "/%ff%fe", "/index.html/", "/runs//abc.html",
        "*", "index.html", "/" + "a" * 5000,
    ],
)  # fmt: skip
def test_nothing_but_files_of_the_site_is_served(port: int, path: str) -> None:
    answer, body = ask(port, path)
    assert (answer.status, body) == (404, b"Not Found\n")


def test_another_host_in_the_address_gets_the_same_site(port: int) -> None:
    assert ask(port, "http://example.org/index.html")[1] == b"<!doctype html>"


def test_what_has_not_changed_is_not_sent_again(port: int, root: Path) -> None:
    first, _ = ask(port, "/runs/abc.html")
    tag = {"If-None-Match": first.headers["ETag"]}
    again, body = ask(port, "/runs/abc.html", headers=tag)
    assert (again.status, body) == (304, b"")
    (root / "runs/abc.html").write_text("another")
    assert ask(port, "/runs/abc.html", headers=tag)[1] == b"another"
    assert first.headers["Cache-Control"] == "no-cache"


def test_a_head_has_no_body(port: int) -> None:
    answer, body = ask(port, "/runs/abc.html", "HEAD")
    assert (answer.status, body, answer.headers["Content-Length"]) == (200, b"", "3")
    answer, body = ask(port, "/nothing.html", "HEAD")
    assert (answer.status, body) == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_there_are_two_methods(port: int, root: Path, method: str) -> None:
    answer, _ = ask(port, "/index.html", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert (root / "index.html").read_text() == FILES["index.html"]


def test_a_connection_serves_several(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    for path in ("/runs/abc.html", "/nothing.html", "/runs/abc.html"):
        connection.request("GET", path)
        body = connection.getresponse().read()
    assert body == b"run"
    connection.close()


def test_a_port_that_is_taken_is_said_with_a_way_out(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(UsageError) as said, serve.bound(root, "127.0.0.1", taken):
            pass
    assert said.value.message == f"port {taken} of 127.0.0.1 is taken"
    assert "--port 0" in str(said.value.hint)


def test_a_host_that_is_none_is_said(root: Path) -> None:
    with pytest.raises(UsageError, match="no address"), serve.bound(root, "no host", 0):
        pass


# --- what has changed --------------------------------------------------------------------------


class Clock:
    """Does something at each look, in place of waiting for the next one."""

    def __init__(self, *acts: object) -> None:
        self.acts = list(acts)
        self.waited: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)
        if not self.acts:
            raise StopIteration
        act = self.acts.pop(0)
        if callable(act):
            act()


def count(places: list[Path], *acts: object) -> int:
    found = 0
    try:
        for _ in serve.changes(places, Clock(*acts)):
            found += 1
    except RuntimeError:  # a generator can't raise StopIteration
        return found
    raise AssertionError


@pytest.mark.parametrize(
    ("change", "times"),
    [
        (lambda r: (r / "sst2/a/entry.json").write_text("other"), 1),
        (lambda r: (r / "sst2/a/entry.json").unlink(), 1),
        (lambda r: (r / "sst2/b").mkdir(), 1),
        (lambda r: os.utime(r / "sst2/a/entry.json", ns=(1, 1)), 1),
        (lambda r: (r / "sst2/.hidden").write_text("a draft"), 0),
        (lambda r: None, 0),
    ],
)
def test_a_change_is_seen_once(tmp_path: Path, change, times: int) -> None:
    (tmp_path / "sst2/a").mkdir(parents=True)
    (tmp_path / "sst2/a/entry.json").write_text("{}")
    act = lambda: change(tmp_path)  # noqa: E731
    assert count([tmp_path], None, act, None, None, None) == times


def test_what_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    def write() -> None:
        (tmp_path / "record.json").open("a").write("more")

    assert count([tmp_path], write, write, write) == 0
    assert count([tmp_path], write, write, write, None, None) == 1


def test_looking_takes_little_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ticks = Clock(None), iter(range(100))
    monkeypatch.setattr(serve.time, "process_time", lambda: float(next(ticks)))  # a second a look
    with pytest.raises(RuntimeError):
        list(serve.changes([tmp_path], clock))
    assert min(clock.waited) >= 50
