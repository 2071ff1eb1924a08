"""Stand-ins for meters outside the machine: programs on the PATH and servers on loopback."""

from __future__ import annotations

import json
import stat
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.power.probes import ProbeLike, Reading

Answer = tuple[int, dict[str, str], str | dict[str, Any]]
"""Status, headers, and a body, which is JSON unless it is a text."""

Query = dict[str, str]


def program(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Server:
    """Answers every GET on loopback with what `reply(path, query, headers)` gives."""

    def __init__(self, reply: Callable[[str, Query, Any], Answer]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(parts.query))
                status, headers, body = reply(parts.path, query, self.headers)
                data = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *arguments: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def take(probe: ProbeLike, count: int, within_s: float = 10.0) -> list[Reading]:
    """The next readings of a probe that answers when it likes."""
    taken: list[Reading] = []
    deadline = time.monotonic() + within_s
    while len(taken) < count:
        taken += [r for r in probe.read() if isinstance(r, Reading)]
        assert time.monotonic() < deadline, taken
        time.sleep(0.01)
    return taken


def until(probe: ProbeLike, found: Callable[[Reading], bool], within_s: float = 10.0) -> Reading:
    """The first reading of which `found` is true."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        for reading in probe.read():
            if isinstance(reading, Reading) and found(reading):
                return reading
        time.sleep(0.01)
    raise AssertionError(f"no such reading within {within_s} s")
