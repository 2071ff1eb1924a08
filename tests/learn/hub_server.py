"""A small HTTP server on loopback that speaks as much of the Hub's API as `datasets` asks for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPO = "nyu-mll/glue"
REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"

Fault = int | str | None


class HubServer:
    """Serves `files` (path in the repository -> bytes) as the data set REPO at REVISION.

    `fault(path)` may say what to do with a request instead: answer a status, "truncate" (send half
    of the file, then close), "silence" (never answer), "drip" (a byte every half second), "html" (a
    page). `asked` lists the paths that were requested.
    """

    def __init__(
        self, files: dict[str, bytes], fault: Callable[[str], Fault] = lambda path: None
    ) -> None:
        self.files = files
        self.fault = fault
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def info(self) -> dict[str, object]:
        return {
            "_id": "0", "id": REPO, "sha": REVISION, "private": False, "disabled": False,
            "gated": False, "downloads": 0, "likes": 0, "tags": [],
            "siblings": [{"rfilename": name} for name in self.files],
        }  # fmt: skip

    def tree(self, folder: str) -> list[dict[str, object]]:
        entries: dict[str, dict[str, object]] = {}
        prefix = f"{folder}/" if folder else ""
        for name, content in self.files.items():
            if name.startswith(prefix):
                head, _, rest = name[len(prefix) :].partition("/")
                kind, size = ("directory", 0) if rest else ("file", len(content))
                oid = hashlib.sha1(name.encode()).hexdigest()
                entries[head] = {"type": kind, "path": prefix + head, "size": size, "oid": oid}
        return list(entries.values())


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.hub.asked.append(path)
        self.hub.tokens.add(self.headers.get("Authorization"))
        fault = self.hub.fault(path)
        if fault == "silence":
            self.hub.closing.wait(60)
            self.close_connection = True
        elif fault == "drip":
            with contextlib.suppress(OSError):  # nobody listens any more
                while not self.hub.closing.wait(0.5):
                    self.wfile.write(b"H")
            self.close_connection = True
        elif fault == "html":
            self._answer(200, b"<html>Welcome to our hotel</html>", {"Content-Type": "text/html"})
        elif isinstance(fault, int):
            self._answer(fault, b'{"error": "as told"}', {"Retry-After": "0"})
        elif file := re.fullmatch(f"/datasets/{REPO}/resolve/{REVISION}/(.+)", path):
            self._file(file[1], truncated=fault == "truncate")
        elif tree := re.fullmatch(f"/api/datasets/{REPO}/tree/{REVISION}/?(.*)", path):
            self._json(self.hub.tree(tree[1]))
        elif path == f"/api/datasets/{REPO}/revision/{REVISION}":
            self._json(self.hub.info())
        else:
            self._answer(404, b'{"error": "not found"}')

    do_HEAD = do_GET

    def _file(self, name: str, truncated: bool) -> None:
        content = self.hub.files.get(name)
        if content is None:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"X-Repo-Commit": REVISION, "ETag": etag}
        sent = len(content) // 2 if truncated else len(content)
        return self._answer(200, content, headers, sent)

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        sent: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
            self.close_connection = sent is not None and sent < len(body)
