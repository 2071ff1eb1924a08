"""JSON from a meter that speaks HTTP. Nothing secret gets into what is said about it."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.parse
from typing import Any, NamedTuple

from bench.power.probes._slow import Unread

_MOST = 1 << 20  # bytes of an answer


class Server(NamedTuple):
    """Where to ask. `login` is the user's name and password, of which nothing is ever shown."""

    scheme: str
    host: str
    port: int | None
    path: str
    login: str | None

    @classmethod
    def of(cls, url: str) -> Server:
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Unread(f"the address can't be read: {error}") from None
        if parts.scheme not in ("http", "https") or not host:
            raise Unread("the address is none of HTTP", "http://HOST:PORT")
        login = None
        if parts.username is not None:
            login = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
        return cls(parts.scheme, host, port, parts.path.rstrip("/"), login)

    @property
    def shown(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


class Answer(NamedTuple):
    status: int
    challenge: str  # how it wants to be logged in to
    body: bytes

    def json(self, server: Server) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise Unread(f"{server.shown} answers, but not with JSON") from None


def basic(login: str) -> str:
    """The header `Authorization` for `user:password`."""
    return "Basic " + base64.b64encode(login.encode()).decode()


def get(
    server: Server, path: str, query: dict[str, str], timeout_s: float, authorization: str | None
) -> Answer:
    """The answer to one GET, whatever its status; Unread when there is none. Proxies are not used:
    a meter is near."""
    kind = http.client.HTTPSConnection if server.scheme == "https" else http.client.HTTPConnection
    connection = kind(server.host, server.port, timeout=timeout_s)
    headers = {"Accept": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    target = f"{server.path}{path}?{urllib.parse.urlencode(query)}"
    try:
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        body = response.read(_MOST)
    except TimeoutError:
        raise Unread(f"{server.shown} gave no answer within {timeout_s:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        said = error.strerror if isinstance(error, OSError) else None
        raise Unread(f"{server.shown} can't be asked: {said or type(error).__name__}") from None
    finally:
        connection.close()
    if 300 <= response.status < 400:
        raise Unread(f"{server.shown} sends on to another address", "give that one")
    return Answer(response.status, response.getheader("WWW-Authenticate", ""), body)
