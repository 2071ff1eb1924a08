"""Serves a site from its folder to a browser, and sees when what it is made of has changed.

For looking at a site while results come in. It reads and never writes: two methods, files of the
folder alone, and the policy that a page states of itself as headers as well.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from bench.errors import BenchError, UsageError
from bench.site.page import POLICY

HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".xml": "application/atom+xml",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".jsonl": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
_IDLE_S = 30.0  # after which a connection that asks for nothing is closed
_LOOK_S = 1.0
_LOOK_SHARE = 0.02  # of the time, at most, goes into looking


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    root: Path


@contextmanager
def bound(root: Path, host: str, port: int) -> Iterator[_Server]:
    """A server that has its port and answers nobody yet. UsageError where it can't have it."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = type("_Server", (_Server,), {"address_family": family})(address[:2], _Handler)
    except socket.gaierror:
        raise UsageError(f"{host} is no address of this machine", "--host 127.0.0.1") from None
    except OSError as error:
        why = {errno.EADDRINUSE: "is taken", errno.EACCES: "is for root alone"}
        if error.errno not in why:
            raise BenchError(f"{host}: {error.strerror}", "--host 127.0.0.1") from None
        said = f"port {port} of {host} {why[error.errno]}"
        raise UsageError(said, "--port 0 takes one that is free") from None
    made.root = root
    with made:
        yield made


@contextmanager
def answering(server: _Server) -> Iterator[str]:
    """While it does; its address."""
    thread = Thread(target=server.serve_forever, args=(0.2,), daemon=True)
    thread.start()
    host, port = str(server.server_address[0]), server.server_address[1]
    try:
        yield f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
    finally:
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "bench", ""
    timeout = _IDLE_S
    server: _Server

    def do_GET(self) -> None:
        found = _opened(self.server.root, self.path)
        if found is None:
            self._say(HTTPStatus.NOT_FOUND)
            return
        name, file = found
        with file:
            about = os.fstat(file.fileno())
            tag = f'"{about.st_mtime_ns:x}-{about.st_size:x}"'
            if self.headers.get("If-None-Match") == tag:
                self._head(HTTPStatus.NOT_MODIFIED, {"ETag": tag})
                return
            kind = TYPES.get(Path(name).suffix, "application/octet-stream")
            length = {"Content-Type": kind, "Content-Length": str(about.st_size), "ETag": tag}
            self._head(HTTPStatus.OK, length)
            if self.command != "HEAD":
                shutil.copyfileobj(file, self.wfile)

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self.close_connection = True  # what it sends along is not read
        self._say(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD", "Connection": "close"})

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _say(self, status: HTTPStatus, more: dict[str, str] | None = None) -> None:
        text = f"{status.phrase}\n".encode()
        kind = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(text))}
        self._head(status, kind | (more or {}))
        if self.command != "HEAD":
            self.wfile.write(text)

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (HEADERS | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the browser has gone on
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: what is asked for holds what a visitor likes."""


def _opened(root: Path, asked: str) -> tuple[str, BinaryIO] | None:
    """The name of a file of the site, and the file, if an address means one: no folder, nothing
    hidden, nothing above the site, through no link."""
    try:
        path = unquote(urlsplit(asked).path, errors="strict")
    except ValueError:
        return None
    first, *names = path.split("/")
    if first or not names:
        return None
    names[-1] = names[-1] or "index.html"
    if any(not name or name[0] == "." or not name.isprintable() or "\\" in name for name in names):
        return None
    for name in names[:-1]:
        root = root / name
        if root.is_symlink():
            return None
    try:
        fd = os.open(root / names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return names[-1], os.fdopen(fd, "rb")


# --- what has changed --------------------------------------------------------------------------


def changes(
    places: Iterable[Path], sleep: Callable[[float], object] = time.sleep
) -> Iterator[None]:
    """Each time that something below these places has changed and then lay still for a look. Looks
    every second, or less often where that would take much of the time."""
    places = list(places)
    known = last = _stamp(places)
    while True:
        started_s = time.process_time()
        now = _stamp(places)
        took_s = time.process_time() - started_s
        if now == last != known:
            known = now
            yield
        last = now
        sleep(max(_LOOK_S, took_s / _LOOK_SHARE))


def _stamp(places: Iterable[Path]) -> str:
    """Of all files below: names, sizes and times of writing."""
    found = hashlib.sha256()
    folders = [str(place) for place in places]
    while folders:
        try:
            with os.scandir(folders.pop()) as inside:
                items = sorted(inside, key=lambda item: item.name)
        except OSError:
            continue
        for item in items:
            if item.name[0] == ".":
                continue
            if item.is_dir(follow_symlinks=False):
                folders.append(item.path)
                found.update(os.fsencode(item.path))
                continue
            try:
                about = item.stat()
            except OSError:
                continue
            found.update(os.fsencode(item.path))
            found.update(f"{about.st_size} {about.st_mtime_ns}".encode())
    return found.hexdigest()
