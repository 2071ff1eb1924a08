"""A Shelly plug or switch with a meter (second generation and newer): `shelly:HOST`. Level M2.

    shelly:192.168.1.20
    shelly:id=1 name=psu2 192.168.1.21      the second switch of a device; two supplies of a node

Asks `/rpc/Switch.GetStatus`: power (`apower`, W) and the cumulative energy (`aenergy.total`, Wh).
Where the plug asks for a password, it is taken from BENCH_SHELLY_PASSWORD and sent as a digest
(RFC 7616, SHA-256). Options are in `bench.power.probes._slow`. It has not met a real plug yet.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from typing import Any

from bench.power.probes import Reading
from bench.power.probes._slow import Options, SlowMeter, Unread, quantity
from bench.power.probes._web import Answer, Server, get

_PATH = "/rpc/Switch.GetStatus"
_PASSWORD = "BENCH_SHELLY_PASSWORD"


class Probe(SlowMeter):
    usage = "shelly:HOST"
    about = "a Shelly plug"
    defaults = Options("shelly", gain=0.05)
    also = ("id",)

    def open(self, what: str) -> None:
        self.server = Server.of(what if "://" in what else f"http://{what}")

    def ask(self) -> Reading:
        before_ns = time.monotonic_ns()
        answer = self._get(None)
        if answer.status == 401:
            before_ns = time.monotonic_ns()
            answer = self._get(self._digest(answer.challenge))
        t_ns = (before_ns + time.monotonic_ns()) // 2
        if answer.status == 401:
            raise Unread("the plug wants a password", f"export {_PASSWORD}=…")
        if answer.status != 200:
            raise Unread(
                f"{self.server.shown} has no switch {self.options.id} (HTTP {answer.status})",
                "another one: shelly:id=1 HOST; plugs of the first generation can't be read",
            )
        return self.reading(t_ns, **quantities_of(answer.json(self.server)))

    def facts(self) -> dict[str, Any]:
        return {"counter_period_s": 60.0}  # how long its counter may stand

    def _get(self, authorization: str | None) -> Answer:
        query = {"id": str(self.options.id)}
        return get(self.server, _PATH, query, self.options.timeout_s, authorization)

    def _digest(self, challenge: str) -> str | None:
        password = os.environ.get(_PASSWORD)
        if not password:
            return None
        uri = f"{self.server.path}{_PATH}?id={self.options.id}"
        return digest(challenge, "admin", password, uri)


def quantities_of(status: Any) -> dict[str, float]:
    """`power_w`, and `energy_j` where it counts, of what a switch says of itself."""
    power_w = status.get("apower") if isinstance(status, dict) else None
    if not isinstance(power_w, int | float):
        raise Unread("this switch has no power meter")
    found = quantity(power_w, "W")
    counted = status.get("aenergy")
    total_wh = counted.get("total") if isinstance(counted, dict) else None
    if isinstance(total_wh, int | float):
        found |= quantity(total_wh, "Wh")
    return found


def digest(challenge: str, user: str, password: str, uri: str) -> str:
    """The header `Authorization` that answers a digest challenge to a GET of `uri`."""
    given = dict(re.findall(r'(\w+)="?([^",\s]+)"?', challenge))
    realm, nonce, once = given.get("realm", ""), given.get("nonce", ""), secrets.token_hex(8)

    def sha256(*parts: str) -> str:
        return hashlib.sha256(":".join(parts).encode()).hexdigest()

    secret, asked = sha256(user, realm, password), sha256("GET", uri)
    response = sha256(secret, nonce, "00000001", once, "auth", asked)
    return (
        f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
        f'algorithm=SHA-256, qop=auth, nc=00000001, cnonce="{once}", response="{response}"'
    )
