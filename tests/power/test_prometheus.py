"""A Prometheus server, through one on loopback that stands in for it; no real one has been met."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.power.meter import Meter
from bench.power.probes import prometheus
from bench.power.processes import Tree
from tests.power.stand_ins import Answer, Query, Server, take, until

METRIC = 'node_power_watts{instance="a"}'
SKEW_S = 1000.0  # the server's clock is another one


class Metrics:
    """Answers instant queries: a sample of METRIC is taken every `interval_s`, of 300 W."""

    def __init__(self, interval_s: float = 0.1) -> None:
        self.interval_s = interval_s
        self.last_s = math.inf  # nothing is sampled after this
        self.value = "300"
        self.results = 1
        self.body: dict[str, Any] | str | None = None
        self.status = 200
        self.login = ""
        self.joules_per_s = 0.0

    def now_s(self) -> float:
        return time.monotonic() + SKEW_S

    def sample_s(self, at_s: float) -> float:
        return min(self.last_s, math.floor(at_s / self.interval_s) * self.interval_s)

    def __call__(self, path: str, query: Query, headers: Any) -> Answer:
        if self.login and headers.get("Authorization") != self.login:
            return 401, {}, "who is it?"
        if self.body is not None or path != "/api/v1/query":
            return self.status, {}, self.body or "404 page not found"
        at_s = float(query.get("time", self.now_s()))
        sample_s = self.sample_s(at_s)
        value = str(sample_s * self.joules_per_s) if self.joules_per_s else self.value
        if query["query"] == f"timestamp({METRIC})":
            value = repr(sample_s)
        elif query["query"] != METRIC:
            said = {"status": "error", "errorType": "bad_data", "error": "1:1: parse error"}
            return 400, {}, said
        results = [
            {"metric": {"job": "node", "instance": f"host{i}"}, "value": [at_s, value]}
            for i in range(self.results)
        ]
        return 200, {}, {"status": "success", "data": {"resultType": "vector", "result": results}}


@contextmanager
def probe(
    metrics: Metrics, options: str = "every=0.1 ", query: str = METRIC
) -> Iterator[prometheus.Probe]:
    with Server(metrics) as server:
        found = prometheus.Probe(Tree(), f"{options}http://{server.host}?query={query}")
        yield found
        found.close()


def refused(found: prometheus.Probe) -> tuple[str, str]:
    refusal = found.why_not()
    assert refusal is not None
    return refusal.reason, refusal.fix or ""


def test_each_sample_is_one_reading_at_its_own_time() -> None:
    metrics = Metrics(interval_s=0.2)
    with probe(metrics, "every=0.2 ") as found:
        assert found.why_not() is None
        taken = take(found, 5)
    assert {r.power_w for r in taken} == {300}
    for reading in taken:
        sampled_s = reading.t_ns / 1e9 + SKEW_S
        assert sampled_s == pytest.approx(metrics.sample_s(sampled_s + 0.1), abs=0.05)
    assert len({round(r.t_ns / 2e8) for r in taken}) == 5


def test_a_counter_of_joules(tmp_path: Path) -> None:
    metrics = Metrics(interval_s=0.05)
    metrics.joules_per_s = 250
    with Server(metrics) as server:
        text = f"prometheus:unit=J every=0.2 http://{server.host}?query={METRIC}"
        meter = Meter(tmp_path, probes=[text])
        meter.start()
        time.sleep(0.5)
        start_ns = meter.edge()
        time.sleep(1.5)
        stop_ns = meter.edge()
        trace = meter.stop()
    (energy,) = trace.energy(start_ns, stop_ns)
    assert (energy.method, energy.level) == ("counter", "M2")
    assert energy.energy_j == pytest.approx(250 * (stop_ns - start_ns) / 1e9, rel=0.1)


def test_a_server_that_no_longer_looks_is_missing() -> None:
    metrics = Metrics()
    with probe(metrics) as found:
        assert found.why_not() is None
        take(found, 1)
        metrics.last_s = metrics.now_s()
        failed = until(found, lambda r: r.error is not None)
        assert failed.power_w is None
        assert (failed.error or "").startswith("the newest sample is")
        metrics.last_s = math.inf
        until(found, lambda r: r.power_w == 300)


def test_a_server_that_looks_less_often_than_said_is_refused() -> None:
    metrics = Metrics(interval_s=1e6)
    with probe(metrics) as found:
        reason, fix = refused(found)
    assert "s old" in reason
    assert "every=60" in fix


def test_several_results_are_refused_with_the_labels_that_tell_them_apart() -> None:
    metrics = Metrics()
    metrics.results = 3
    with probe(metrics) as found:
        reason, fix = refused(found)
    assert reason.startswith("the query gives 3 results")
    assert fix == 'name one by its labels: instance="host0", instance="host1", instance="host2"'


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1"])
def test_what_is_no_power_is_refused(value: str) -> None:
    metrics = Metrics()
    metrics.value = value
    with probe(metrics) as found:
        assert "is no power" in refused(found)[0]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, {"status": "success", "data": {"resultType": "vector", "result": []}},
         "the query gives no result"),
        (200, {"status": "success", "data": {"resultType": "matrix", "result": []}},
         "the query gives a matrix"),
        (200, {"status": "success", "data": {"resultType": "vector", "result": [{"value": 3}]}},
         "the server's answer can't be understood"),
        (200, {"status": "success"}, "the server's answer can't be understood"),
        (200, {"hello": 1}, "{host} answers, but not as Prometheus does"),
        (200, "[]", "{host} answers, but not as Prometheus does"),
        (200, "<html>", "{host} answers, but not with JSON"),
        (503, "over loaded", "{host} answers, but not with JSON"),
        (302, "", "{host} sends on to another address"),
    ],
)  # fmt: skip
def test_answers_that_are_none_are_refused(status: int, body: Any, reason: str) -> None:
    metrics = Metrics()
    metrics.status, metrics.body = status, body or " "
    with Server(metrics) as server:
        said, _ = refused(prometheus.Probe(Tree(), f"http://{server.host}?query={METRIC}"))
        assert said.startswith(reason.format(host=server.host))


def test_the_servers_complaint_is_passed_on() -> None:
    with probe(Metrics(), query="sum(((") as found:
        assert refused(found)[0] == "the server refuses the query: 1:1: parse error"


@pytest.mark.parametrize("ending", ["", "/", "/api/v1/query", "/api/v1/query/"])
def test_an_address_from_the_browser_will_do(ending: str) -> None:
    escaped = "node_power_watts%7Binstance%3D%22a%22%7D"
    with Server(Metrics()) as server:
        found = prometheus.Probe(Tree(), f"http://{server.host}{ending}?query={escaped}")
        assert found.why_not() is None
        found.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it needs to be told more"),
        ("http://127.0.0.1:1", "there is no query"),
        ("127.0.0.1:1?query=up", "the address is none of HTTP"),
        ("http://127.0.0.1:1?query=up", "127.0.0.1:1 can't be asked: Connection refused"),
        ("unit=A http://127.0.0.1:1?query=up", "unit=A can't be used"),
    ],
)
def test_what_can_not_be_asked_is_refused(text: str, reason: str) -> None:
    assert refused(prometheus.Probe(Tree(), text))[0].startswith(reason)


# --- logins


def test_a_token_from_the_environment_opens_and_is_never_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics = Metrics()
    metrics.login = "Bearer hunter2"
    with probe(metrics) as found:
        reason, fix = refused(found)
        assert "wants a login" in reason
        assert "BENCH_PROMETHEUS_TOKEN" in fix
    monkeypatch.setenv("BENCH_PROMETHEUS_TOKEN", "hunter2")
    with probe(metrics) as found:
        assert found.why_not() is None
        assert "hunter2" not in repr(found.domains())


def test_a_password_in_the_address_opens_and_is_never_told() -> None:
    metrics = Metrics()
    metrics.login = "Basic " + base64.b64encode(b"me:hunter2").decode()
    with Server(metrics) as server:
        found = prometheus.Probe(Tree(), f"http://me:hunter2@{server.host}?query={METRIC}")
        assert found.why_not() is None
        assert "hunter2" not in repr(found.domains())
        found.close()
        wrong = prometheus.Probe(Tree(), f"http://me:hunter3@{server.host}?query={METRIC}")
        assert "hunter3" not in " ".join(refused(wrong))
