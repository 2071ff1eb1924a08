"""Carbon intensity over time, from services that are stood in for on loopback, and a run's energy
met by it. Their answers are written after the documentation; the real services were not asked."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError, UsageError
from bench.footprint import live, render
from bench.footprint.live import _web
from bench.footprint.live.electricity_maps import KEY
from bench.footprint.quantity import explained
from bench.power import carbon
from bench.power.energy import Series
from bench.power.probes import Domain
from bench.power.trace import Trace
from bench.record import Measurement
from tests.command import Command
from tests.footprint.intensity_server import HOUR, Grids, Served

GB, DE = carbon.region("GB"), carbon.region("DE")
NOON = datetime(2026, 3, 21, 12, 10, tzinfo=UTC)
DAY = timedelta(days=1)
S = 1_000_000_000


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def grids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Grids]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(KEY, raising=False)
    with Served(monkeypatch) as served:
        yield served


@pytest.fixture
def key(grids: Grids, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "a-key")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_web, "CONNECT_S", 0.2)
    monkeypatch.setattr(_web, "WHOLE_S", 0.3)


def course(region: carbon.Region, start: str, stop: str, source: str = "auto") -> live.Course:
    return live.course(region, at(start), at(stop), source, NOON)


def why(region: carbon.Region = GB, source: str = "national-grid") -> str:
    """Why there is nothing of two hours of yesterday."""
    found = course(region, "2026-03-20 06:00", "2026-03-20 08:00", source)
    assert found.samples == []
    assert found.source is None
    (said,) = found.whys
    return said


# --- what sources answer -------------------------------------------------------------------------


def test_great_britain_by_the_half_hour(grids: Grids) -> None:
    found = course(GB, "2026-03-20 06:10", "2026-03-20 07:40", "national-grid")
    assert [f"{s.start:%H:%M} {s.stop:%H:%M} {s.g_per_kwh:g}" for s in found.samples] == [
        "06:00 06:30 106", "06:30 07:00 106", "07:00 07:30 107", "07:30 08:00 107"
    ]  # fmt: skip
    assert not any(s.estimated for s in found.samples)
    assert (found.source, found.kind, found.unit) == ("national-grid", "combustion", "CO2")
    assert grids.asked == [("/intensity/2026-03-20T00:00Z/2026-03-21T00:00Z", {})]


def test_what_is_not_measured_yet_is_the_forecast_and_called_estimated(grids: Grids) -> None:
    grids.known_until = at("2026-03-21 11:30")
    found = course(GB, "2026-03-21 11:00", "2026-03-21 12:10")
    assert [s.estimated for s in found.samples] == [False, True, True]
    assert found.samples[-1].stop == at("2026-03-21 12:30")


@pytest.mark.usefixtures("key")
def test_a_country_by_the_hour(grids: Grids) -> None:
    grids.known_until = at("2026-03-20 07:00")
    found = course(DE, "2026-03-20 06:10", "2026-03-20 07:40")
    assert [f"{s.start:%H:%M} {s.stop:%H:%M} {s.g_per_kwh:g}" for s in found.samples] == [
        "06:00 07:00 106", "07:00 08:00 107"
    ]  # fmt: skip
    assert [s.estimated for s in found.samples] == [False, True]
    assert (found.source, found.kind, found.unit) == ("electricity-maps", "life-cycle", "CO2e")


@pytest.mark.usefixtures("key")
def test_nothing_but_region_and_times_is_sent(grids: Grids) -> None:
    course(DE, "2026-03-20 06:10", "2026-03-20 07:40")
    ((path, query),) = grids.asked
    assert path == "/v3/carbon-intensity/past-range"
    assert query == {
        "zone": "DE", "start": "2026-03-20T00:00Z", "end": "2026-03-21T00:00Z",
        "emissionFactorType": "lifecycle", "temporalGranularity": "hourly",
    }  # fmt: skip
    (headers,) = grids.headers
    assert {name.lower() for name in headers} == {
        "accept", "accept-encoding", "auth-token", "connection", "host", "user-agent"
    }  # fmt: skip
    assert headers["User-Agent"] == "bench"
    grids.headers.clear()
    course(GB, "2026-03-20 06:10", "2026-03-20 07:40", "national-grid")
    assert "auth-token" not in {name.lower() for name in grids.headers[0]}


@pytest.mark.usefixtures("key")
def test_a_free_key_has_the_last_day(grids: Grids) -> None:
    grids.free = True
    found = course(DE, "2026-03-21 06:00", "2026-03-21 12:10")
    assert [s.start.hour for s in found.samples] == [6, 7, 8, 9, 10, 11]
    assert [path.rpartition("/")[2] for path, _ in grids.asked] == ["past-range", "history"]
    old = course(DE, "2026-03-10 06:00", "2026-03-10 08:00")
    assert old.samples == []
    assert "has nothing from 2026-03-10 06:00 UTC to 2026-03-10 08:00 UTC" in old.whys[0]


# --- why sources are not used --------------------------------------------------------------------


def test_without_a_key_nothing_is_asked(grids: Grids) -> None:
    assert why(DE, "electricity-maps").startswith("Electricity Maps: no key: export ELECTRICITY")
    assert grids.asked == []


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("code", ["US-CA", "us-2018-strubell"])
def test_what_is_no_zone_is_not_asked_about(grids: Grids, code: str) -> None:
    assert "it has no zone" in why(carbon.region(code), "electricity-maps")
    assert grids.asked == []


def test_great_britain_is_all_that_its_grid_knows(grids: Grids) -> None:
    assert why(DE).endswith("it knows Great Britain alone")
    assert grids.asked == []


@pytest.mark.parametrize("wrong", ["a\nkey", "a key", "ключ", "k" * 501])
def test_what_is_no_key_is_not_sent(
    grids: Grids, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv(KEY, wrong)
    assert why(DE, "electricity-maps") == f"Electricity Maps: what {KEY} holds is no key"
    assert grids.asked == []


@pytest.mark.usefixtures("key")
def test_a_refused_key_is_said_and_never_shown(
    grids: Grids, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "secret-of-mine")
    said = why(DE, "electricity-maps")
    assert "refuses the key, or that it asks for this (HTTP 401)" in said
    assert "secret" not in said


@pytest.mark.usefixtures("key")
def test_a_zone_that_is_not_there(grids: Grids) -> None:
    assert "has no zone AQ (HTTP 404)" in why(
        carbon.Region("AQ", "Antarctica", 1.0, 2024, "", "life-cycle"), "electricity-maps"
    )


@pytest.mark.parametrize(
    ("status", "said", "questions"),
    [
        (400, "refuses the question (HTTP 400)", 1),
        (403, "refuses the question (HTTP 403)", 1),
        (429, "was asked too often (HTTP 429)", 1),
        (500, "fails (HTTP 500)", 2),
        (503, "fails (HTTP 503)", 2),
        (302, "sends on to another address (HTTP 302)", 1),
    ],
)
def test_a_failure_is_said_and_asked_about_once_more_if_it_may_pass(
    grids: Grids, status: int, said: str, questions: int
) -> None:
    grids.statuses = [status] * 5
    assert said in why()
    assert len(grids.asked) == questions


def test_a_failure_that_passes_is_no_failure(grids: Grids) -> None:
    grids.statuses = [502]
    assert course(GB, "2026-03-20 06:00", "2026-03-20 08:00").samples
    assert len(grids.asked) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<html>", "answers, but not with JSON"),
        ("", "answers, but not with JSON"),
        ("[" * 100_000, "answers, but not with JSON"),
        ("[]", "answers what makes no sense"),
        ({"data": None}, "answers what makes no sense: data"),
        ({"error": {"code": "400"}}, "answers what makes no sense: data: Field required"),
        ("x" * (1 << 20) + "yz", "answers with more than 1 MiB"),
    ],
)
def test_what_is_no_answer_is_none(grids: Grids, body: Any, said: str) -> None:
    grids.body = body
    assert said in why()


def spoiled(place: list[Any], value: Any) -> Callable[[dict[str, Any]], None]:
    """Puts a value at a place of an answer."""

    def change(answer: dict[str, Any]) -> None:
        for step in place[:-1]:
            answer = answer[step]
        answer[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["intensity", "actual"], -1),
        (["intensity", "actual"], float("nan")),
        (["intensity", "actual"], float("inf")),
        (["intensity", "actual"], 3001),
        (["intensity", "actual"], "100"),
        (["intensity", "actual"], True),
        (["intensity"], None),
        (["from"], "2026-03-20T06:00"),  # of no zone of time
        (["from"], "yesterday"),
        (["from"], None),
        (["to"], "2026-03-20T01:20Z"),  # no half hour
        (["to"], "2026-03-20T09:00Z"),
        (["to"], "2026-03-19T09:00Z"),
    ],
)
def test_nonsense_is_no_answer(grids: Grids, place: list[Any], value: Any) -> None:
    grids.change = spoiled(["data", 3, *place], value)
    assert "National Grid (NESO), Great Britain: answers w" in why()
    assert list((Path(os.environ["XDG_CACHE_HOME"])).rglob("*.json")) == []


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (["zone"], "FR", "answers for another zone than DE"),
        (["data", 3, "zone"], "FR", "answers for another zone than DE"),
        (["data", 3, "carbonIntensity"], -5, "greater than or equal to 0"),
        (["data", 3, "carbonIntensity"], float("nan"), "finite"),
        (["data", 3, "datetime"], "2026-03-20T03:30:00.000Z", "wrong order"),
        (["data", 3, "datetime"], "2026-03-20T01:00:00.000Z", "wrong order"),
        (["data", 3, "datetime"], 5, "makes no sense"),
        (["data", 3, "emissionFactorType"], "direct", "not life-cycle"),
        (["temporalGranularity"], "5_minutes", "not by the hour"),
        (["data"], None, "neither data nor history"),
    ],
)
def test_nonsense_of_electricity_maps_is_no_answer(
    grids: Grids, place: list[Any], value: Any, said: str
) -> None:
    grids.change = spoiled(place, value)
    assert said in why(DE, "electricity-maps")


@pytest.mark.usefixtures("key")
def test_fields_that_a_service_adds_are_no_nonsense(grids: Grids) -> None:
    grids.change = spoiled(["_disclaimer"], "new since yesterday")
    assert course(DE, "2026-03-20 06:00", "2026-03-20 08:00").samples


def test_half_hours_in_the_wrong_order_are_no_answer(grids: Grids) -> None:
    grids.change = lambda answer: answer["data"].reverse()
    assert "wrong order" in why()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_says_nothing_is_left_alone_in_time(grids: Grids) -> None:
    grids.wait_s = 1.0
    before_s = time.monotonic()
    assert "gave no answer" in why()
    assert time.monotonic() - before_s < 0.9


@pytest.mark.usefixtures("impatient")
def test_headers_that_never_end_are_left_alone_in_time(
    grids: Grids, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then keeps any time limit of a socket from running out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("BENCH_NATIONAL_GRID_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        ended = threading.Event()

        def drip() -> None:
            taken, _ = server.accept()
            with taken:
                taken.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not ended.wait(0.05):
                    taken.sendall(b"x")

        threading.Thread(target=drip, daemon=True).start()
        assert "gave no answer within 0.3 s" in why()
        ended.set()


def test_a_server_that_is_not_there(grids: Grids, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_NATIONAL_GRID_URL", "http://127.0.0.1:9")
    assert why().endswith("can't be asked: Connection refused")


def test_a_server_without_encryption(grids: Grids, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = os.environ["BENCH_NATIONAL_GRID_URL"]
    monkeypatch.setenv("BENCH_NATIONAL_GRID_URL", plain.replace("http:", "https:"))
    assert why().endswith("can't be asked: no encrypted connection comes about")
    assert grids.asked == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://grid.example", "BENCH_NATIONAL_GRID_URL is not https"),
        ("ftp://grid.example", "holds no address"),
        ("https://", "holds no address"),
        ("https://[", "holds no address"),
        ("https://a:b", "holds no address"),
        ("https://grid.example/?x=", "holds no address"),
    ],
)
def test_an_address_that_can_not_be(
    grids: Grids, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setenv("BENCH_NATIONAL_GRID_URL", address)
    assert why().endswith(said)


def test_addresses_are_https_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BENCH_NATIONAL_GRID_URL", "BENCH_ELECTRICITY_MAPS_URL"):
        monkeypatch.delenv(name, raising=False)
    addresses = [source.address() for _, source in live._sources("auto", DE)]
    assert addresses == ["https://api.electricitymaps.com", "https://api.carbonintensity.org.uk"]


# --- which source --------------------------------------------------------------------------------


def test_the_sources_are_the_files_of_the_package() -> None:
    assert live.names() == ["electricity-maps", "national-grid"]


@pytest.mark.usefixtures("key")
def test_the_source_that_counts_as_the_region_does_comes_first(grids: Grids) -> None:
    found = course(GB, "2026-03-20 06:00", "2026-03-20 08:00")
    assert (found.source, found.whys) == ("electricity-maps", ())


def test_sources_of_the_other_kind_come_after() -> None:
    by_fuel = carbon.Region("GB", "as if by fuel", 1.0, 2024, "", "combustion")
    order = [name for name, _ in live._sources("auto", by_fuel)]
    assert order == ["national-grid", "electricity-maps"]


def test_the_next_source_is_taken_and_why_the_first_was_not_is_said(grids: Grids) -> None:
    found = course(GB, "2026-03-20 06:00", "2026-03-20 08:00")
    assert found.source == "national-grid"
    assert found.whys[0].startswith("Electricity Maps: no key")


def test_off_asks_nobody(grids: Grids) -> None:
    found = course(GB, "2026-03-20 06:00", "2026-03-20 08:00", "off")
    assert (found.source, found.whys) == (None, ("no source was to be asked",))
    assert grids.asked == []


def test_an_unknown_source_has_near_names(grids: Grids) -> None:
    with pytest.raises(UsageError) as raised:
        course(GB, "2026-03-20 06:00", "2026-03-20 08:00", "nationalgrid")
    assert "did you mean national-grid?" in (raised.value.hint or "")


def test_a_gap_is_a_gap_and_said(grids: Grids) -> None:
    grids.g_per_kwh = lambda t: None if t.hour == 7 else 100.0
    found = course(GB, "2026-03-20 06:00", "2026-03-20 09:00")
    assert found.gaps == [(at("2026-03-20 07:00"), at("2026-03-20 08:00"))]
    assert "has nothing from 2026-03-20 07:00 UTC to 2026-03-20 08:00 UTC" in found.whys[-1]


def test_the_future_is_not_asked_about(grids: Grids) -> None:
    found = course(GB, "2026-03-21 11:00", "2026-03-25 08:00")
    assert found.stop == NOON
    assert grids.asked == [("/intensity/2026-03-21T00:00Z/2026-03-21T12:30Z", {})]


def test_a_time_that_has_not_come_has_no_intensity(grids: Grids) -> None:
    found = course(GB, "2026-03-22 11:00", "2026-03-22 12:00")
    assert (found.samples, found.whys[-1]) == ([], "that time has not come yet")
    assert grids.asked == []


def test_a_source_gives_the_period_that_a_span_begins_in(grids: Grids, key: None) -> None:
    for _, source in live._sources("auto", GB):
        samples = source.between(GB, at("2026-03-20 06:10"), at("2026-03-20 06:20"))
        assert [s.start for s in samples] == [at("2026-03-20 06:00")]


def test_now_is_the_newest_sample_or_why_there_is_none(grids: Grids) -> None:
    newest = live.now(GB, "auto", NOON)
    assert isinstance(newest, live.Sample)
    assert (newest.start, newest.g_per_kwh) == (at("2026-03-21 12:00"), 112.0)
    assert live.now(DE, "national-grid", NOON) == (
        "National Grid (NESO), Great Britain: it knows Great Britain alone"
    )


def test_just_after_midnight_now_is_of_yesterday(grids: Grids) -> None:
    grids.g_per_kwh = lambda t: 50.0 if t < at("2026-03-21") else None
    newest = live.now(GB, "auto", at("2026-03-21 00:10"))
    assert isinstance(newest, live.Sample)
    assert newest.stop == at("2026-03-21 00:00")


def test_one_failure_ends_the_asking_and_what_is_kept_is_still_used(grids: Grids) -> None:
    course(GB, "2026-03-12 00:00", "2026-03-13 00:00")
    grids.asked.clear()
    grids.statuses = [429] * 99
    found = course(GB, "2026-03-10 00:00", "2026-03-20 00:00")
    assert len(grids.asked) == 1
    assert len(found.samples) == 48
    assert {s.start.day for s in found.samples} == {12}
    assert "HTTP 429" in found.whys[-1]


@pytest.mark.parametrize(("status", "questions"), [(500, 2), (429, 1), (404, 3)])
def test_a_source_that_does_not_answer_is_left_alone_for_a_while(
    grids: Grids, monkeypatch: pytest.MonkeyPatch, status: int, questions: int
) -> None:
    """Three runs ask; what is wrong with a question says nothing of the next."""
    grids.statuses = [status] * 9
    for _ in range(3):
        assert f"HTTP {status}" in why()
    assert len(grids.asked) == questions
    grids.statuses = []
    monkeypatch.setattr(live, "_REST_S", 0.0)
    monkeypatch.setattr(live, "_resting", {})
    assert course(GB, "2026-03-20 06:00", "2026-03-20 08:00").samples


# --- what was asked before -----------------------------------------------------------------------


def test_a_second_question_asks_nothing(grids: Grids) -> None:
    first = course(GB, "2026-03-20 06:00", "2026-03-21 02:00")
    assert len(grids.asked) == 2
    again = course(GB, "2026-03-20 09:00", "2026-03-20 10:00")
    assert len(grids.asked) == 2
    assert again.samples == [s for s in first.samples if s.start.hour == 9]


@pytest.mark.parametrize(("minutes", "questions"), [(14, 1), (16, 2), (-1, 2)])
def test_today_is_kept_for_a_quarter_of_an_hour(grids: Grids, minutes: int, questions: int) -> None:
    for moment in (NOON, NOON + timedelta(minutes=minutes)):
        assert live.course(GB, at("2026-03-21 01:00"), at("2026-03-21 02:00"), "auto", moment)
    assert len(grids.asked) == questions


def test_a_day_that_is_over_and_measured_is_kept_for_good(grids: Grids) -> None:
    for moment in (NOON, NOON + 400 * DAY):
        live.course(GB, at("2026-03-20 01:00"), at("2026-03-20 02:00"), "auto", moment)
    assert len(grids.asked) == 1


@pytest.mark.parametrize("lacking", ["measured", "whole"])
def test_a_day_that_is_over_and_lacks_something_is_asked_for_again_for_a_week(
    grids: Grids, lacking: str
) -> None:
    if lacking == "measured":
        grids.known_until = at("2026-03-20 23:00")
    else:
        grids.g_per_kwh = lambda t: None if t.hour == 23 else 1.0
    moments = [at("2026-03-21 00:10"), at("2026-03-21 12:00"), at("2026-03-29 12:00")]
    for moment in [*moments, at("2026-05-01 12:00")]:
        live.course(GB, at("2026-03-20 01:00"), at("2026-03-20 02:00"), "auto", moment)
    assert len(grids.asked) == 3


def test_a_damaged_file_is_none(grids: Grids) -> None:
    first = course(GB, "2026-03-20 06:00", "2026-03-20 08:00")
    (kept,) = Path(os.environ["XDG_CACHE_HOME"]).rglob("2026-03-20.json")
    text = kept.read_text()
    facts = json.loads(text)
    reversed_ = json.dumps(facts | {"samples": facts["samples"][::-1]})
    other = json.dumps(facts | {"version": 99})
    for number, damaged in enumerate(["", "{", text[:100], "[]", reversed_, other, "\0"], 2):
        kept.write_text(damaged)
        assert course(GB, "2026-03-20 06:00", "2026-03-20 08:00").samples == first.samples
        assert len(grids.asked) == number
    assert [p.name for p in kept.parent.iterdir()] == ["2026-03-20.json"]


def test_where_nothing_can_be_kept_it_is_asked_again(
    grids: Grids, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert course(GB, "2026-03-20 06:00", "2026-03-20 08:00").samples
    assert len(grids.asked) == 2


def test_what_another_server_said_is_not_taken_for_this_ones(
    grids: Grids, monkeypatch: pytest.MonkeyPatch
) -> None:
    course(GB, "2026-03-20 06:00", "2026-03-20 08:00")
    monkeypatch.setenv("BENCH_NATIONAL_GRID_URL", os.environ["BENCH_NATIONAL_GRID_URL"] + "/other")
    assert course(GB, "2026-03-20 06:00", "2026-03-20 08:00").samples == []


# --- a run met by intensity ----------------------------------------------------------------------


def recorded(
    folder: Path,
    start: datetime,
    watts: list[float],
    every_s: float = 10.0,
    *,
    clock: bool = True,
    idle: timedelta = timedelta(minutes=5),
    started_at: datetime | None = None,
    base_s: int = 7000,
    set_back_s: int = 0,
    sleep_s: int = 0,
    moved_at: float = 0.5,
) -> Measurement:
    """A run whose window begins at `start`; a reading of a GPU every `every_s`, and a processor of
    50 W. It was started before that, to read idle power. In the middle, the machine sleeps or its
    clock is set back."""
    folder.mkdir(parents=True, exist_ok=True)
    t_s = every_s * np.arange(len(watts))
    t_ns = (base_s * S + t_s * S).astype(np.int64)
    nothing = np.full(len(t_s), np.nan)

    def series(power_w: Any) -> Series:
        return Series(t_ns, np.asarray(power_w, float), nothing, nothing, nothing, nothing)

    domains = [
        Domain("gpu:GPU-0", "gpu", "H100", "M1", 0.1, "GPU-0"),
        Domain("cpu:package-0", "cpu", "EPYC", "M1", 0.1),
    ]
    real_ns = round(start.timestamp()) * S
    moved = round(moved_at * len(t_ns))
    set_s = [0 if i < moved else sleep_s - set_back_s for i in range(len(t_ns))]
    both = [
        (int(t), real_ns + int(t) - base_s * S + s * S, int(t))
        for t, s in zip(t_ns, set_s, strict=True)
    ]
    trace = Trace(
        domains,
        {"gpu:GPU-0": series(watts), "cpu:package-0": series(np.full(len(t_s), 50.0))},
        clocks=both if clock else [],
        facts={"rate_hz": 1 / every_s},
    )
    trace.write_parquet(folder / "trace.parquet")
    edges = (("window_start", t_ns[0]), ("window_stop", t_ns[-1]))
    lines = [json.dumps({"event": e, "t_ns": int(t)}) for e, t in edges]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    return Measurement(
        bench_version="0", run_id="abcdef0123456789", nonce="n",
        started_at=(started_at or start - idle).isoformat(timespec="milliseconds"),
        status="complete", machine={}, software={}, duration_s=float(t_s[-1]), command=["train"],
        domains=trace.energy(int(t_ns[0]), int(t_ns[-1])), phases=[],
    )  # fmt: skip


def matched(
    folder: Path, record: Measurement, region: str = "GB", source: str = "auto", pue: str = "none"
) -> live.Matched:
    return live.matched(folder, record, carbon.asked(region, pue), source, NOON)


def flat(hours: float, watts: float = 950.0, every_s: float = 10.0) -> list[float]:
    return [watts] * (round(hours * 3600 / every_s) + 1)


def test_constant_power_meets_each_half_hour(grids: Grids, tmp_path: Path) -> None:
    """1 kW from 06:15 to 07:15: 0.25, 0.5 and 0.25 kWh at 100, 200 and 300 g."""
    grids.g_per_kwh = lambda t: {"06:00": 100.0, "06:30": 200.0, "07:00": 300.0}.get(
        f"{t:%H:%M}", 0.0
    )
    record = recorded(tmp_path, at("2026-03-20 06:15"), flat(1.0))
    found = matched(tmp_path, record, pue="1.5")
    assert [p.energy_j for p in found.parts] == pytest.approx([900e3, 1800e3, 900e3])
    assert [f"{p.start:%H:%M}" for p in found.parts] == ["06:15", "06:30", "07:00"]
    assert found.mean is not None
    assert found.mean.value == pytest.approx(200)
    assert found.emissions is not None
    assert found.emissions.value == pytest.approx(1.5 * 0.2)
    assert (found.emissions.unit, found.kind) == ("kg CO2", "combustion")
    assert found.share.value == 1
    assert found.yearly.value == pytest.approx(1.5 * GB.g_per_kwh / 1000)
    assert any("they don't compare" in note for note in found.notes)


def test_the_command_says_what_a_run_emitted_by_its_hours(grids: Grids, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from bench import record as records
    from bench.cli import app

    grids.g_per_kwh = lambda t: 200.0
    records.write(
        recorded(tmp_path / "a-run", at("2026-03-20 06:00"), flat(1.0)), tmp_path / "a-run"
    )
    words = ["footprint", "intensity", str(tmp_path / "a-run"), "--region", "GB", "--pue", "1.5"]
    said = CliRunner().invoke(app, [*words, "--explain"], catch_exceptions=False).stdout
    assert "0.3000 kg CO2, combustion" in said
    assert "100 % of the energy met 200" in said
    assert "PUE x energy x intensity" in said
    off = json.loads(CliRunner().invoke(app, [*words, "--live", "off", "--json"]).stdout)
    assert off["share"]["value"] == 0
    assert off["emissions"]["value"] == pytest.approx(1.5 * GB.g_per_kwh / 1000)
    with pytest.raises(UsageError, match="are of a run"):
        CliRunner().invoke(app, ["footprint", "intensity", "--explain"], catch_exceptions=False)


@pytest.mark.usefixtures("key")
def test_energy_counts_when_it_is_used(grids: Grids, tmp_path: Path) -> None:
    """3 kW in a dirty hour and 1 kW in a clean one: not the mean of the two hours."""
    grids.g_per_kwh = lambda t: 600.0 if t.hour == 6 else 200.0
    watts = [2950.0] * 360 + [950.0] * 361
    record = recorded(tmp_path, at("2026-03-20 06:00"), watts)
    found = matched(tmp_path, record, "DE")
    assert found.mean is not None
    assert found.mean.value == pytest.approx((3 * 600 + 1 * 200) / 4, rel=1e-3)
    assert found.emissions is not None
    assert found.emissions.value == pytest.approx(3 * 0.6 + 1 * 0.2, rel=1e-3)
    assert found.kind == "life-cycle"


@pytest.mark.parametrize("seed", range(4))
def test_the_parts_add_up_to_the_record(grids: Grids, tmp_path: Path, seed: int) -> None:
    chance = np.random.default_rng(seed)
    watts = chance.uniform(0, 900, 3000).tolist()
    start = at("2026-03-19 22:00") + timedelta(seconds=float(chance.uniform(0, 3600)))
    record = recorded(tmp_path, start.replace(microsecond=0), watts)
    found = matched(tmp_path, record)
    assert record.window_energy_j is not None
    assert sum(p.energy_j for p in found.parts) == pytest.approx(record.window_energy_j, rel=1e-9)
    assert found.mean is not None
    by_hand = sum(p.energy_j * p.g_per_kwh for p in found.parts) / record.window_energy_j
    assert found.mean.value == pytest.approx(by_hand, rel=1e-9)
    assert all(a.stop == b.start for a, b in zip(found.parts, found.parts[1:], strict=False))


def test_a_run_over_two_days_asks_for_both(grids: Grids, tmp_path: Path) -> None:
    grids.g_per_kwh = lambda t: float(t.day)
    record = recorded(tmp_path, at("2026-03-18 23:00"), flat(3.0))
    found = matched(tmp_path, record)
    assert found.mean is not None
    assert found.mean.value == pytest.approx((18 + 2 * 19) / 3)
    assert [path for path, _ in grids.asked] == [
        "/intensity/2026-03-18T00:00Z/2026-03-19T00:00Z",
        "/intensity/2026-03-19T00:00Z/2026-03-20T00:00Z",
    ]


def test_a_run_on_the_borders_exactly(grids: Grids, tmp_path: Path) -> None:
    """Midnight to half past: one period, and none of its neighbours."""
    grids.g_per_kwh = lambda t: 42.0 if t == at("2026-03-20 00:00") else 999.0
    record = recorded(tmp_path, at("2026-03-20 00:00"), flat(0.5))
    found = matched(tmp_path, record)
    assert [p.g_per_kwh for p in found.parts] == [42.0]
    assert len(grids.asked) == 1


def test_a_window_shorter_than_a_period(grids: Grids, tmp_path: Path) -> None:
    record = recorded(tmp_path, at("2026-03-20 06:29"), flat(0.05, every_s=1.0), 1.0)
    found = matched(tmp_path, record)
    assert [p.energy_j for p in found.parts] == pytest.approx([60e3, 120e3])


def test_summer_time_changes_nothing(
    grids: Grids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks in Britain went from 01:00 to 02:00 at 01:00 UTC on 29 March 2026."""
    monkeypatch.setenv("TZ", "Europe/London")
    time.tzset()
    try:
        grids.g_per_kwh = lambda t: float(100 * t.hour)
        record = recorded(tmp_path, at("2026-03-29 00:00"), flat(3.0))
        scenario = carbon.asked("GB")
        found = live.matched(tmp_path, record, scenario, None, at("2026-03-30 12:00"))
        assert [p.g_per_kwh for p in found.parts] == [0, 0, 100, 100, 200, 200]
        assert [p.energy_j for p in found.parts] == pytest.approx([1800e3] * 6)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_window_is_where_the_clock_says_and_not_where_the_run_was_started(
    grids: Grids, tmp_path: Path
) -> None:
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(0.5), idle=timedelta(minutes=10))
    assert matched(tmp_path, record).parts[0].start == at("2026-03-20 06:00")


def test_without_a_clock_the_start_stands_in_and_that_is_said(grids: Grids, tmp_path: Path) -> None:
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(0.5), clock=False)
    found = matched(tmp_path, record)
    assert found.parts[0].start == at("2026-03-20 05:55")
    assert any("no time of day" in note for note in found.notes)


def test_an_imported_trace_has_its_times_in_utc(grids: Grids, tmp_path: Path) -> None:
    began = datetime.fromtimestamp(7000, UTC)
    record = recorded(tmp_path, began, flat(0.5), clock=False, started_at=began)
    found = live.matched(tmp_path, record, carbon.asked("GB"), "off", NOON)
    assert found.parts[0].start == began
    assert not any("no time of day" in note for note in found.notes)


def test_without_a_trace_the_energy_is_spread_evenly_and_that_is_said(
    grids: Grids, tmp_path: Path
) -> None:
    record = recorded(tmp_path, at("2026-03-20 06:05"), [0.0] * 180 + [1000.0] * 181)
    (tmp_path / "trace.parquet").unlink()
    found = matched(tmp_path, record)  # from 06:00, when it was started, to 07:00
    first, second = (p.energy_j for p in found.parts)
    assert first == pytest.approx(second)
    assert found.notes[0] == "there is no trace: the energy is spread evenly over the run"


def test_a_trace_that_can_not_be_read_is_none(grids: Grids, tmp_path: Path) -> None:
    record = recorded(tmp_path, at("2026-03-20 06:05"), flat(0.5))
    (tmp_path / "trace.parquet").write_bytes(b"PAR1")
    assert matched(tmp_path, record).notes[0].startswith("there is no trace")


def test_a_gap_in_the_trace_loses_nothing(grids: Grids, tmp_path: Path) -> None:
    """Half past lies in two minutes without a reading."""
    watts = np.full(361, 950.0)
    watts[174:186] = np.nan
    record = recorded(tmp_path, at("2026-03-20 06:00"), watts.tolist())
    found = matched(tmp_path, record)
    assert [p.energy_j for p in found.parts] == pytest.approx([1800e3, 1800e3])


def test_machines_of_one_run_are_met_by_their_own_traces(grids: Grids, tmp_path: Path) -> None:
    """The second machine works in the second half hour alone, and its clock began elsewhere."""
    first = recorded(tmp_path, at("2026-03-20 06:00"), flat(1.0))
    second = recorded(
        tmp_path / "node-1", at("2026-03-20 06:00"), [0.0] * 180 + [1950.0] * 181, base_s=90
    )
    renamed = [d.model_copy(update={"domain": f"node1:{d.domain}"}) for d in second.domains]
    record = first.model_copy(update={"domains": [*first.domains, *renamed]})
    found = matched(tmp_path, record)
    assert [p.energy_j for p in found.parts] == pytest.approx([1890e3, 5400e3], rel=1e-2)
    assert sum(p.energy_j for p in found.parts) == pytest.approx(record.window_energy_j, rel=1e-9)


@pytest.mark.parametrize(
    ("moved_at", "back_s", "before_j"),
    [(0.5, 120, 1920e3), (0.52, 120, 1800e3), (0.45, 120, 1920e3), (0.99, 2700, 1800e3)],
)
def test_a_clock_that_was_set_back_stands_still_until_it_is_where_it_was(
    grids: Grids, tmp_path: Path, moved_at: float, back_s: int, before_j: float
) -> None:
    """Half past is when the clock said so for the first time."""
    record = recorded(
        tmp_path, at("2026-03-20 06:00"), flat(1.0), set_back_s=back_s, moved_at=moved_at
    )
    found = matched(tmp_path, record)
    assert [f"{p.start:%H:%M}" for p in found.parts] == ["06:00", "06:30"]
    assert [p.energy_j for p in found.parts] == pytest.approx([before_j, 3600e3 - before_j], 1e-2)


def test_an_hour_of_sleep_costs_next_to_nothing(grids: Grids, tmp_path: Path) -> None:
    """The monotonic clock stands still meanwhile: what is used after it met a later hour."""
    grids.g_per_kwh = lambda t: float(t.hour)
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(1.0), sleep_s=3600)
    found = matched(tmp_path, record)
    by_hour = {h: sum(p.energy_j for p in found.parts if p.start.hour == h) for h in (6, 7)}
    assert by_hour[6] == pytest.approx(1800e3, rel=1e-2)
    assert by_hour[7] == pytest.approx(1800e3, rel=1e-2)


# --- what no sample covers -----------------------------------------------------------------------


@pytest.mark.usefixtures("key")
def test_what_is_not_covered_takes_the_yearly_mean_of_the_same_kind(
    grids: Grids, tmp_path: Path
) -> None:
    grids.g_per_kwh = lambda t: None if t.hour == 7 else 100.0
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(2.0))
    found = matched(tmp_path, record, "DE")
    assert found.share.value == pytest.approx(0.5)
    assert found.emissions is not None
    assert found.emissions.value == pytest.approx(0.1 + DE.g_per_kwh / 1000)
    assert [p.source for p in found.parts] == ["electricity-maps", None]
    assert any("has nothing from 2026-03-20 07:00" in note for note in found.notes)
    said = "\n".join(explained(found.emissions))
    for words in ("share x live intensity + (1 - share) x intensity", "Electricity Maps", "Ember"):
        assert words in said


def test_combustion_and_life_cycle_are_not_added(grids: Grids, tmp_path: Path) -> None:
    grids.g_per_kwh = lambda t: None if t.hour == 7 else 100.0
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(2.0))
    found = matched(tmp_path, record)
    assert (found.emissions, found.kind) == (None, None)
    assert found.mean is not None
    assert found.mean.value == pytest.approx(100)
    assert found.yearly.value == pytest.approx(2 * GB.g_per_kwh / 1000)
    assert any(
        note.startswith("not summed: National Grid (NESO), Great Britain counts combustion")
        for note in found.notes
    )


def test_without_any_answer_it_is_the_yearly_mean_and_why(grids: Grids, tmp_path: Path) -> None:
    grids.statuses = [500] * 9
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(2.0))
    found = matched(tmp_path, record, pue="1.2")
    assert found.emissions == found.yearly
    assert found.yearly.value == pytest.approx(1.2 * 2 * GB.g_per_kwh / 1000)
    assert (found.share.value, found.mean, found.kind) == (0, None, "life-cycle")
    assert [note.partition(": ")[0] for note in found.notes] == [
        "Electricity Maps", "National Grid (NESO), Great Britain"
    ]  # fmt: skip
    assert "fails (HTTP 500)" in found.notes[1]


def test_estimated_figures_are_said_to_be(grids: Grids, tmp_path: Path) -> None:
    grids.known_until = at("2026-03-20 06:30")
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(1.0))
    found = matched(tmp_path, record)
    assert any(note.startswith("50 % of what met a live figure") for note in found.notes)


def test_a_run_that_reaches_into_the_future_is_covered_until_now(
    grids: Grids, tmp_path: Path
) -> None:
    record = recorded(tmp_path, NOON - HOUR, flat(3.0))
    found = matched(tmp_path, record)
    assert found.parts[-1].source is None
    assert found.parts[-1].start == at("2026-03-21 12:30")


def test_the_meters_uncertainty_is_carried(grids: Grids, tmp_path: Path) -> None:
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(1.0))
    found = matched(tmp_path, record)
    assert found.emissions is not None
    assert found.emissions.uncertainty is not None
    assert record.window_uncertainty_j is not None
    assert record.window_energy_j is not None
    relative = record.window_uncertainty_j / record.window_energy_j
    assert found.emissions.uncertainty / found.emissions.value == pytest.approx(relative)


def test_what_a_run_rests_on_is_not_in_its_window_and_that_is_said(
    grids: Grids, tmp_path: Path
) -> None:
    class Taught(Measurement):
        @property
        def energy_j(self) -> float | None:
            return 2 * (self.window_energy_j or 0.0)

    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(1.0))
    assert not any("rests on" in note for note in matched(tmp_path, record).notes)
    taught = Taught.model_validate(record.model_dump())
    found = matched(tmp_path, taught)
    assert found.energy.value == pytest.approx(1.0)
    assert any("what it rests on (parts, teachers) is not in it" in note for note in found.notes)


def test_unknown_energy_is_not_matched(grids: Grids, tmp_path: Path) -> None:
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(1.0))
    broken = [record.domains[0].model_copy(update={"energy_j": None}), record.domains[1]]
    with pytest.raises(BenchError, match="is not known"):
        matched(tmp_path, record.model_copy(update={"domains": broken}))
    assert grids.asked == []


def test_what_was_matched_as_json(grids: Grids, tmp_path: Path) -> None:
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(1.0))
    found = json.loads(matched(tmp_path, record).json())
    assert found["source"] == "national-grid"
    assert (found["kind"], found["yearly_kind"]) == ("combustion", "life-cycle")
    assert [p["start"][11:16] for p in found["parts"]] == ["06:00", "06:30"]
    assert found["emissions"]["inputs"][2]["formula"].startswith("sum of energy x intensity")


def test_what_was_matched_in_lines(grids: Grids, tmp_path: Path) -> None:
    record = recorded(tmp_path, at("2026-03-20 06:00"), flat(1.0))
    said = dict(render.matched_lines(matched(tmp_path, record)))
    assert said["emissions"] == "0.1060 kg CO2, combustion"
    assert said["live"] == "100 % of the energy met 106.0 g CO2/kWh on average"
    assert said["yearly"].startswith("0.2109 kg CO2e by the mean of a year (United Kingdom 2024")
    assert said["notes"].startswith("Electricity Maps: no key")


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def today(grids: Grids) -> Grids:
    """Intensity that follows the hour; the command looks at the real clock."""
    grids.g_per_kwh = lambda t: 100.0 + t.hour
    return grids


def test_the_command_says_now_today_and_the_year(today: Grids, bench: Command) -> None:
    said = bench("footprint", "intensity", "--region", "GB")
    assert said.code == 0
    text = " ".join(said.out.split())
    hour = datetime.now(UTC).hour
    assert any(f"now {100 + h} g CO2/kWh" in text for h in (hour, hour - 1))
    assert "today ▇" in text or "today █" in text
    assert "low 100 at 00:00" in text
    assert "yearly 211 g CO2e/kWh: Ember 2024, life-cycle" in text
    assert "combustion and life-cycle figures don't compare" in text
    assert "notes Electricity Maps: no key" in text


def test_the_command_falls_back_to_the_yearly_mean_and_says_why(
    today: Grids, bench: Command
) -> None:
    today.statuses = [500] * 9
    said = bench("footprint", "intensity", "--region", "GB", "--live", "national-grid")
    assert said.code == 0
    text = " ".join(said.out.split())
    assert "now not known: the yearly mean stands in" in text
    assert "notes National Grid (NESO), Great Britain: fails (HTTP 500)" in text


def test_the_command_off_and_json(today: Grids, bench: Command) -> None:
    found = json.loads(bench("footprint", "intensity", "--live", "off", "--json").out)
    assert (found["now"], found["today"], found["region"]) == (None, [], "US")
    assert today.asked == []
    found = json.loads(bench("footprint", "intensity", "--region", "GB", "--json").out)
    assert found["source"] == "national-grid"
    assert found["unit"] == "g CO2/kWh"
    assert found["now"]["g_per_kwh"] == found["today"][-1]["g_per_kwh"]


def test_the_command_refuses_what_it_does_not_know(today: Grids, bench: Command) -> None:
    assert bench("footprint", "intensity", "--region", "Atlantis").code == 2
    said = bench("footprint", "intensity", "--live", "electricitymaps")
    assert said.code == 2
    assert "did you mean electricity-maps?" in said.err
