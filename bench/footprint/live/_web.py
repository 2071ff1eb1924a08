"""One question over HTTPS that ends, whatever the other side does. A region and times are sent, and
the key where a source wants one; redirects are not followed, for they would take the key along."""

from __future__ import annotations

import http.client
import os
import queue
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from bench.footprint.live._samples import Unanswered

CONNECT_S, WHOLE_S = 3.0, 10.0  # of both tries together
MOST_BYTES = 1 << 20
_TRIES = 2
_NEAR = {"localhost", "127.0.0.1", "::1"}


def base(variable: str, default: str) -> str:
    """Where to ask: as the environment says, else as the source does; Unanswered where it is no
    such address. What leaves the machine is encrypted."""
    address = os.environ.get(variable) or default
    try:
        parts = urllib.parse.urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urllib.parse.urlsplit("")
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise Unanswered(f"can't be asked: {variable} holds no address")
    if parts.scheme == "http" and host not in _NEAR:
        raise Unanswered(f"is not asked: {variable} is not https")
    return address.rstrip("/")


def get(address: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of the answer to one question; a failure that may pass is asked about once more."""
    deadline_s = time.monotonic() + WHOLE_S
    for tries_left in reversed(range(_TRIES)):
        try:
            return _within(address, headers or {}, deadline_s - time.monotonic())
        except Unanswered as error:
            if not (error.transient and tries_left and time.monotonic() < deadline_s):
                raise
    raise AssertionError("unreachable")


def _within(address: str, headers: Mapping[str, str], left_s: float) -> bytes:
    """A thread asks, as looking up a name and reading slow headers can't be given a time."""
    answer: queue.SimpleQueue[bytes | Unanswered] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(_get(address, headers))
        except Unanswered as error:
            answer.put(error)
        except Exception as error:  # whatever it is, somebody waits for it
            answer.put(Unanswered(f"can't be asked: {type(error).__name__}"))

    threading.Thread(target=ask, name="intensity", daemon=True).start()
    try:
        found = answer.get(timeout=max(0.0, left_s))
    except queue.Empty:
        raise Unanswered(f"gave no answer within {WHOLE_S:g} s", transient=True) from None
    if isinstance(found, Unanswered):
        raise found
    return found


def _get(address: str, headers: Mapping[str, str]) -> bytes:
    request = urllib.request.Request(address, headers={
        "Accept": "application/json", "User-Agent": "bench", **headers
    })  # fmt: skip
    try:
        with _opener(address).open(request, timeout=WHOLE_S) as response:
            body: bytes = response.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(error.code) from None
    except (OSError, http.client.HTTPException) as error:
        raise _failure(error) from None
    if len(body) > MOST_BYTES:
        raise Unanswered(f"answers with more than {MOST_BYTES >> 20} MiB")
    return body


def _refusal(status: int) -> Unanswered:
    if 300 <= status < 400:
        return Unanswered(f"sends on to another address (HTTP {status})", status)
    if status == 429:
        return Unanswered("was asked too often (HTTP 429): try later", status)
    if status >= 500:
        return Unanswered(f"fails (HTTP {status})", status, transient=True)
    return Unanswered(f"refuses the question (HTTP {status})", status)


def _failure(error: Exception) -> Unanswered:
    """What went wrong below HTTP, without the address."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return Unanswered("gave no answer in time", transient=True)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Unanswered("can't be trusted: its certificate is refused")
    if isinstance(reason, ssl.SSLError):
        return Unanswered("can't be asked: no encrypted connection comes about", transient=True)
    said = reason.strerror if isinstance(reason, OSError) else None
    return Unanswered(f"can't be asked: {said or type(reason).__name__}", transient=True)


# --- connecting has less time than all of it


class _Http(http.client.HTTPConnection):
    def connect(self) -> None:
        self.timeout = CONNECT_S
        super().connect()
        self.sock.settimeout(WHOLE_S)


class _Https(http.client.HTTPSConnection):
    def connect(self) -> None:
        self.timeout = CONNECT_S
        super().connect()
        self.sock.settimeout(WHOLE_S)


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Http, request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Https, request)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _opener(address: str) -> urllib.request.OpenerDirector:
    near = urllib.parse.urlsplit(address).hostname in _NEAR
    proxies = urllib.request.ProxyHandler({} if near else None)
    return urllib.request.build_opener(proxies, _HttpHandler, _HttpsHandler, _NoRedirect)
