"""A loopback server that answers as Electricity Maps and the Carbon Intensity API say they do.

The shapes are written after their documentation; no answer was recorded from the real services.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.power.stand_ins import Answer, Query, Server

HALF_HOUR, HOUR = timedelta(minutes=30), timedelta(hours=1)


class Grids:
    """Both services. `g_per_kwh` gives the intensity from an instant on; `known_until` is where
    measured values end."""

    def __init__(self) -> None:
        self.g_per_kwh: Callable[[datetime], float | None] = lambda at: 100.0 + at.hour
        self.known_until = datetime(2100, 1, 1, tzinfo=UTC)
        self.zones = {"DE", "GB", "FR"}
        self.key = "a-key"
        self.free = False  # a free key asks for the last 24 hours alone
        self.now = datetime(2026, 3, 21, 12, 10, tzinfo=UTC)
        self.statuses: list[int] = []  # of the next answers, before good ones
        self.body: str | dict[str, Any] | None = None  # instead of a good one
        self.change: Callable[[dict[str, Any]], None] = lambda answer: None
        self.wait_s = 0.0
        self.asked: list[tuple[str, Query]] = []
        self.headers: list[dict[str, str]] = []

    def __call__(self, path: str, query: Query, headers: Any) -> Answer:
        self.asked.append((path, query))
        self.headers.append(dict(headers.items()))
        time.sleep(self.wait_s)
        if self.statuses:
            return self.statuses.pop(0), {"Location": "http://127.0.0.1:9/"}, "no"
        if self.body is not None:
            return 200, {}, self.body
        maps = path.startswith("/v3/")
        status, answer = self._maps(path, query, headers) if maps else self._grid(path)
        self.change(answer)
        return status, {}, answer

    def _grid(self, path: str) -> tuple[int, dict[str, Any]]:
        """GET /intensity/{from}/{to}; also the half hour that ends at `from`, as the real one."""
        _, what, start, stop = path.split("/")
        assert what == "intensity"
        at, found = _time(start) - HALF_HOUR, []
        while at < _time(stop):
            g_per_kwh = self.g_per_kwh(at)
            measured = at + HALF_HOUR <= self.known_until
            if g_per_kwh is not None:
                found.append({
                    "from": f"{at:%Y-%m-%dT%H:%MZ}", "to": f"{at + HALF_HOUR:%Y-%m-%dT%H:%MZ}",
                    "intensity": {
                        "forecast": g_per_kwh + (5 if measured else 0),
                        "actual": g_per_kwh if measured else None, "index": "moderate",
                    },
                })  # fmt: skip
            at += HALF_HOUR
        return 200, {"data": found}

    def _maps(self, path: str, query: Query, headers: Any) -> tuple[int, dict[str, Any]]:
        if headers.get("auth-token") != self.key:
            return 401, {"error": "Invalid auth-token", "message": "The token is invalid."}
        what = path.removeprefix("/v3/carbon-intensity/")
        if what == "past-range" and self.free:
            return 401, {"error": "Request unauthorized for zoneKey and endpoint"}
        if query["zone"] not in self.zones:
            return 404, {"error": "No data for zone"}
        if what == "history":
            stop = self.now.replace(minute=0)
            return 200, self._hours("history", query["zone"], stop - 24 * HOUR, stop)
        assert what == "past-range"
        return 200, self._hours("data", query["zone"], _time(query["start"]), _time(query["end"]))

    def _hours(self, name: str, zone: str, at: datetime, stop: datetime) -> dict[str, Any]:
        found = []
        while at < stop:
            found.append({
                "zone": zone, "carbonIntensity": self.g_per_kwh(at),
                "datetime": f"{at:%Y-%m-%dT%H:%M:%S.000Z}", "updatedAt": "2026-03-21T00:00:00.000Z",
                "emissionFactorType": "lifecycle", "isEstimated": at + HOUR > self.known_until,
                "estimationMethod": None,
            })  # fmt: skip
            at += HOUR
        return {"zone": zone, "temporalGranularity": "hourly", name: found}


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)


class Served:
    """The services on loopback, where bench asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.grids = Grids()
        self._server = Server(self.grids)
        for name in ("BENCH_NATIONAL_GRID_URL", "BENCH_ELECTRICITY_MAPS_URL"):
            monkeypatch.setenv(name, f"http://{self._server.host}")

    def __enter__(self) -> Grids:
        self._server.__enter__()
        return self.grids

    def __exit__(self, *raised: Any) -> None:
        self._server.__exit__(*raised)
