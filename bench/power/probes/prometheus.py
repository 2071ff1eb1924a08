"""A metric of a Prometheus server: `prometheus:http://HOST:9090?query=METRIC`. Level M2.

    prometheus:http://host:9090?query=node_power_watts{instance="a"}
    prometheus:unit=J every=5 https://host/prom?query=node_platform_joules_total{instance="a"}

One instant query, and one for the time of the sample that it gave: the same sample is not counted
twice, its reading bears its own time, and one that is older than three times `every` (15 s unless
given: how often the server looks at the metric) is a missing reading. The query must give one
result. `unit=` is W unless given; J, Wh or kWh make it a cumulative counter. Of an expression that
is more than a metric with labels a server does not tell the age; such a sample counts as new.

A token is taken from BENCH_PROMETHEUS_TOKEN, or user and password from the address; neither is
stored. Options are in `bench.power.probes._slow`. It has not met a real server yet.
"""

from __future__ import annotations

import os
import time
import urllib.parse
from typing import Any

from bench.power.probes import Reading
from bench.power.probes._slow import Options, SlowMeter, Unread, quantity
from bench.power.probes._web import Server, basic, get

_TOKEN = "BENCH_PROMETHEUS_TOKEN"
_API = "/api/v1/query"
_STALE = 3  # times as old as a sample is expected to become
_LOOKS = 3  # questions for every new sample


class Probe(SlowMeter):
    usage = "prometheus:http://HOST:9090?query=METRIC"
    about = "a metric of a Prometheus server"
    defaults = Options("prometheus", every_s=15.0)
    also = ("unit",)

    def open(self, what: str) -> None:
        address, _, query = what.partition("?query=")
        self.query = urllib.parse.unquote(query).strip()
        if not self.query:
            raise Unread("there is no query", f"--probe '{self.usage}'")
        self.server = Server.of(address.removesuffix("/").removesuffix(_API))
        token = os.environ.get(_TOKEN)
        login = self.server.login
        self.authorization = f"Bearer {token}" if token else login and basic(login)
        self._last_s = 0.0

    def pause_s(self) -> float:
        return self.options.every_s / _LOOKS

    def ask(self) -> Reading | None:
        before_ns = time.monotonic_ns()
        now_s, value = self._one(self.query)
        t_ns = (before_ns + time.monotonic_ns()) // 2
        _, sampled_s = self._one(f"timestamp({self.query})", now_s)
        age_s = max(0.0, now_s - sampled_s)
        if age_s > _STALE * self.options.every_s:
            raise Unread(
                f"the newest sample is {age_s:.0f} s old",
                "give the server's own interval: prometheus:every=60 http…",
            )
        if sampled_s == self._last_s:
            return None
        self._last_s = sampled_s
        return self.reading(t_ns - round(age_s * 1e9), **quantity(value, self.options.unit))

    def _one(self, query: str, at_s: float | None = None) -> tuple[float, float]:
        """(the server's time of the query, the one value that it gives)."""
        given = {"query": query} if at_s is None else {"query": query, "time": repr(at_s)}
        answer = get(self.server, _API, given, self.options.timeout_s, self.authorization)
        if answer.status in (401, 403):
            raise Unread(f"{self.server.shown} wants a login", f"export {_TOKEN}=…")
        found = answer.json(self.server)
        if not isinstance(found, dict) or found.get("status") not in ("success", "error"):
            raise Unread(f"{self.server.shown} answers, but not as Prometheus does")
        if found["status"] == "error":
            raise Unread(f"the server refuses the query: {str(found.get('error'))[:100]}")
        return _value(found.get("data"))


def _value(data: Any) -> tuple[float, float]:
    """The time and the value of a scalar, or of a vector of one."""
    try:
        kind, result = data["resultType"], data["result"]
        if kind == "vector" and len(result) != 1:
            raise _not_one(result)
        if kind not in ("vector", "scalar"):
            raise Unread(f"the query gives a {kind}, not a number")
        at_s, value = result[0]["value"] if kind == "vector" else result
        return float(at_s), float(value)
    except (KeyError, TypeError, ValueError, IndexError):
        raise Unread("the server's answer can't be understood") from None


def _not_one(results: list[Any]) -> Unread:
    if not results:
        return Unread("the query gives no result: no such metric, or its last sample is too old")
    differing = {
        f'{key}="{value}"' for r in results for key, value in sorted(r["metric"].items())
        if any(other["metric"].get(key) != value for other in results)
    }  # fmt: skip
    labels = ", ".join(sorted(differing)[:4])
    return Unread(
        f"the query gives {len(results)} results, and which one is meant can't be told",
        f"name one by its labels: {labels}",
    )
