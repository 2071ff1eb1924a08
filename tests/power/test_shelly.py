"""A Shelly plug, through a server on loopback that stands in for it; no real one has been met."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.power.meter import Meter
from bench.power.probes import shelly
from bench.power.processes import Tree
from tests.power.stand_ins import Answer, Query, Server, take, until


class Plug:
    """What a plug answers; `password` is asked for where there is one."""

    def __init__(self, power_w: float = 120.5) -> None:
        self.power_w = power_w
        self.began_s = time.monotonic()
        self.said: dict[str, Any] | None = None
        self.password = ""
        self.asked: list[str] = []

    def __call__(self, path: str, query: Query, headers: Any) -> Answer:
        self.asked.append(f"{path} {query}")
        if path != "/rpc/Switch.GetStatus" or query.get("id") != "0":
            return 404, {}, {"code": -105, "message": "not found"}
        if self.password and not self._lets_in(headers.get("Authorization", "")):
            challenge = 'Digest qop="auth", realm="shellyplug-1", nonce="6af5", algorithm=SHA-256'
            return 401, {"WWW-Authenticate": challenge}, "null"
        total_wh = 500 + self.power_w * (time.monotonic() - self.began_s) / 3600
        counted = {"total": round(total_wh, 3), "by_minute": [1.0, 2.0, 3.0]}
        status = {"id": 0, "output": True, "apower": self.power_w, "aenergy": counted}
        return 200, {}, status if self.said is None else self.said

    def _lets_in(self, header: str) -> bool:
        given = dict(re.findall(r'(\w+)="?([^",\s]+)"?', header))

        def sha256(text: str) -> str:
            return hashlib.sha256(text.encode()).hexdigest()

        secret = sha256(f"admin:shellyplug-1:{self.password}")
        asked = sha256("GET:/rpc/Switch.GetStatus?id=0")
        once = given.get("cnonce", "")
        return given.get("response") == sha256(f"{secret}:6af5:00000001:{once}:auth:{asked}")


@contextmanager
def probe(plug: Plug, options: str = "every=0.1 ") -> Iterator[shelly.Probe]:
    with Server(plug) as server:
        found = shelly.Probe(Tree(), f"{options}{server.host}")
        yield found
        found.close()


def test_power_and_energy_are_read(tmp_path: Path) -> None:
    with probe(Plug(120.5)) as found:
        assert found.why_not() is None
        first, *_, last = take(found, 4)
        assert first.power_w == 120.5
        assert first.energy_j == pytest.approx(500 * 3600, abs=600)
        assert last.t_ns > first.t_ns
        (domain,) = found.domains()
    assert (domain.name, domain.kind, domain.level) == ("node:shelly", "node", "M2")
    assert "127.0.0.1" not in repr(domain)  # where it is, is nobody's business


def test_a_plug_in_the_wall_meters_the_node(tmp_path: Path) -> None:
    with Server(Plug(1000.0)) as server:
        meter = Meter(tmp_path, probes=[f"shelly:every=0.2 {server.host}"])
        meter.start()
        start_ns = meter.edge()
        time.sleep(1.5)
        stop_ns = meter.edge()
        trace = meter.stop()
    (energy,) = trace.energy(start_ns, stop_ns)
    wanted_j = 1000 * (stop_ns - start_ns) / 1e9
    assert energy.energy_j is not None
    assert energy.uncertainty_j is not None
    assert energy.energy_j == pytest.approx(wanted_j, rel=0.15)  # few readings, a busy machine
    assert abs(wanted_j - energy.energy_j) <= energy.uncertainty_j
    assert energy.level == "M2"


def test_a_plug_that_goes_away_is_missing() -> None:
    plug = Plug()
    with Server(plug) as server:
        found = shelly.Probe(Tree(), f"every=0.05 timeout=0.5 {server.host}")
        assert found.why_not() is None
        take(found, 1)
    failed = until(found, lambda r: r.error is not None)
    found.close()
    assert (failed.power_w, failed.energy_j) == (None, None)
    assert "can't be asked" in (failed.error or "")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"id": 0, "output": True}, "this switch has no power meter"),
        ({"apower": None}, "this switch has no power meter"),
        ({"apower": -4.0}, "-4 W is no power"),
        ({"apower": "12"}, "this switch has no power meter"),
        ({"apower": 12, "aenergy": {"total": -1}}, "-1 Wh is no power"),
    ],
)
def test_an_answer_without_a_power_is_refused(said: dict[str, Any], reason: str) -> None:
    plug = Plug()
    plug.said = said
    with probe(plug) as found:
        refusal = found.why_not()
    assert refusal is not None
    assert refusal.reason.startswith(reason)


def test_a_plug_without_a_counter_has_its_power() -> None:
    plug = Plug()
    plug.said = {"apower": 12.5}
    with probe(plug) as found:
        assert found.why_not() is None
        (reading,) = take(found, 1)
    assert (reading.power_w, reading.energy_j) == (12.5, None)


def test_a_switch_that_is_not_there_is_refused() -> None:
    with probe(Plug(), "id=3 ") as found:
        refusal = found.why_not()
    assert refusal is not None
    assert "has no switch 3 (HTTP 404)" in refusal.reason


@pytest.mark.parametrize("password", ["right", "wrong", ""])
def test_a_password_comes_from_the_environment(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_SHELLY_PASSWORD", password)
    plug = Plug()
    plug.password = "right"
    with probe(plug) as found:
        refusal = found.why_not()
    if password == "right":
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal == ("the plug wants a password", "export BENCH_SHELLY_PASSWORD=…", None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it needs to be told more"),
        ("ftp://plug", "the address is none of HTTP"),
        ("http://plug:port", "the address can't be read"),
        ("127.0.0.1:1", "127.0.0.1:1 can't be asked: Connection refused"),
        ("id=one plug", "id=one can't be used"),
    ],
)
def test_an_address_that_can_not_be_asked_is_refused(text: str, reason: str) -> None:
    refusal = shelly.Probe(Tree(), text).why_not()
    assert refusal is not None
    assert refusal.reason.startswith(reason)


def test_what_is_no_plug_is_refused() -> None:
    def page(path: str, query: Query, headers: Any) -> Answer:
        return 200, {}, "<html>"

    def moved(path: str, query: Query, headers: Any) -> Answer:
        return 302, {"Location": "https://elsewhere/"}, ""

    for reply, reason in ((page, "not with JSON"), (moved, "sends on to another address")):
        with Server(reply) as server:
            refusal = shelly.Probe(Tree(), server.host).why_not()
        assert refusal is not None
        assert reason in refusal.reason
