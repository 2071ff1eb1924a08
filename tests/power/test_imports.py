"""Logs of other tools: files in the shapes that they have, made here."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError, UsageError
from bench.power import imports
from bench.power.imports import Imported

START_MS = 1_715_257_320_000
W, JOULES = 5000.0, 5000.0 * 300


# --- MLPerf


def line(
    t_ms: float, key: str, value: Any = None, prefix: str = ":::MLLOG", **metadata: Any
) -> str:
    told = {"namespace": "", "time_ms": t_ms, "event_type": "POINT_IN_TIME", "key": key,
            "value": value, "metadata": metadata or ""}  # fmt: skip
    return f"{prefix} {json.dumps(told)}"


def node(
    path: Path,
    *,
    every_s: float = 1.0,
    seconds: int = 300,
    lost: tuple[float, float] = (0, 0),
    stop_s: float | None = 300.0,
    seed: int = 0,
    extra: Iterable[str] = (),
    prefix: str = ":::MLLOG",
) -> Path:
    """A node of 5 kW on average, read from its first second on."""
    draw = random.Random(seed)
    lines = [line(START_MS, "power_measurement_start", "null"), *extra]
    for k in range(math.floor(seconds / every_s) + 1):
        t_s = k * every_s
        if not lost[0] < t_s < lost[1]:
            swing = 500 * (-1) ** k + draw.uniform(-1, 1)
            lines.append(line(START_MS + 1000 * t_s, "power_reading", W + swing))
    if stop_s is not None:
        stop = line(START_MS + 1000 * stop_s, "power_measurement_stop", "null", prefix)
        lines.append(stop)
    path.write_text("\n".join(lines) + "\n")
    return path


def result(
    path: Path, start_s: float = 20.0, stop_s: float = 220.0, status: str = "success"
) -> Path:
    """A result log as launchers leave it: other lines, and the number of the process."""
    lines = [
        "Currently Loaded Modules:",
        " 0: " + line(START_MS, "submission_benchmark", "bert"),
        '1: :::MLLOG {"namespace": "", "time_ms": 17152:::MLLOG {"torn',
        " 0: " + line(START_MS + 1000 * start_s, "run_start"),
        " 0: " + line(START_MS + 1000 * stop_s, "run_stop", status=status),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def mlperf(*paths: Path, **asked: Any) -> Imported:
    (found,) = imports.read("mlperf-power", paths, asked)
    return found


def joules(found: Imported) -> float | None:
    energies = found.trace.energy(found.start_ns, found.stop_ns)
    known = [e.energy_j for e in energies if e.charged]
    return None if None in known else sum(j for j in known if j is not None)


def doubts(found: Imported) -> dict[str, bool]:
    """Of the log and of its trace: id -> whether it leaves the energy usable."""
    traced = found.trace.warnings(found.start_ns, found.stop_ns)
    return {w.id: w.rankable for w in [*found.doubts, *traced] if w.id not in found.settled}


def test_nodes_add_up_at_the_level_of_their_meters(tmp_path: Path) -> None:
    paths = [node(tmp_path / f"node_{k}.txt", seed=k) for k in range(3)]
    found = mlperf(*paths)
    assert joules(found) == pytest.approx(3 * JOULES, rel=1e-3)
    assert {(d.name, d.kind, d.level) for d in found.trace.domains} == {
        ("node:0", "node", "M2"), ("node:1", "node", "M2"), ("node:2", "node", "M2")
    }  # fmt: skip
    assert (found.start_ns, found.stop_ns) == (
        START_MS * 10**6, START_MS * 10**6 + 300 * 10**9
    )  # fmt: skip
    assert doubts(found) == {"nodes": True}


def test_two_seconds_between_readings_are_too_many(tmp_path: Path) -> None:
    assert doubts(mlperf(node(tmp_path / "node_0.txt", every_s=2.0))) == {"too-few-samples": False}


def test_a_gap_is_said(tmp_path: Path) -> None:
    found = mlperf(node(tmp_path / "node_0.txt", lost=(100, 105)))
    assert doubts(found) == {"gap": False}


def test_a_window_of_no_length_is_refused_and_says_what_would_help(tmp_path: Path) -> None:
    path = node(tmp_path / "node_0.txt", stop_s=0.0, prefix="::MLLOG")
    with pytest.raises(BenchError, match=r"node_0\.txt.* is 0 s long") as refused:
        mlperf(path)
    assert "--result-log" in str(refused.value.hint)


def test_the_result_log_has_the_window_and_the_empty_one_is_still_said(tmp_path: Path) -> None:
    path = node(tmp_path / "node_0.txt", stop_s=0.0, prefix="::MLLOG")
    found = mlperf(path, result_log=result(tmp_path / "result_0.txt"))
    assert joules(found) == pytest.approx(W * 200, rel=5e-3)
    assert doubts(found) == {"window-empty": True}


def test_a_window_without_an_end_lasts_to_the_last_reading(tmp_path: Path) -> None:
    found = mlperf(node(tmp_path / "node_0.txt", stop_s=None))
    assert found.stop_ns - found.start_ns == 300 * 10**9
    assert doubts(found) == {"window-open": True}


def test_a_window_that_never_opens_is_said_and_taken_from_the_result_log(tmp_path: Path) -> None:
    path = node(tmp_path / "node_0.txt")
    path.write_text("".join(t for t in path.open() if "power_measurement_start" not in t))
    found = mlperf(path, result_log=result(tmp_path / "result_0.txt"))
    assert joules(found) == pytest.approx(W * 200, rel=5e-3)
    assert doubts(found) == {"window-missing": True}


def test_a_run_beyond_what_was_read_has_no_energy(tmp_path: Path) -> None:
    path = node(tmp_path / "node_0.txt", seconds=100, stop_s=100)
    found = mlperf(path, result_log=result(tmp_path / "result_0.txt"))
    assert joules(found) is None
    assert doubts(found) == {"window-outside": True, "missing": False}


def test_a_node_that_was_read_in_a_part_is_not_made_up(tmp_path: Path) -> None:
    long, short = node(tmp_path / "node_0.txt"), tmp_path / "node_1.txt"
    node(short, seconds=100, stop_s=100, seed=1)
    assert joules(mlperf(long, short)) is None


@pytest.mark.parametrize(("start_s", "stop_s"), [(20, 20), (220, 20)])
def test_a_result_log_without_a_run_is_refused(tmp_path: Path, start_s: int, stop_s: int) -> None:
    log = result(tmp_path / "result_0.txt", start_s, stop_s)
    with pytest.raises(BenchError, match="the stop after the start"):
        mlperf(node(tmp_path / "node_0.txt"), result_log=log)


def test_a_run_that_did_not_succeed_is_said(tmp_path: Path) -> None:
    log = result(tmp_path / "result_0.txt", status="aborted")
    assert doubts(mlperf(node(tmp_path / "node_0.txt"), result_log=log)) == {"run-status": False}


@pytest.mark.parametrize("how", ["bytes", "name", "readings", "later"])
def test_a_node_is_not_counted_twice(tmp_path: Path, how: str) -> None:
    first = node(tmp_path / "node_0.txt")
    other = tmp_path / "node_1.txt"
    if how == "name":
        (tmp_path / "again").mkdir()
        other = node(tmp_path / "again" / "node_0.txt", seed=1)
    elif how == "bytes":
        other.write_bytes(first.read_bytes())
    elif how == "readings":
        other.write_text(first.read_text().replace('"metadata": ""', '"metadata": {"host": "b"}'))
    else:
        other.write_text(
            first.read_text().replace(f": {START_MS // 10**6}", f": {START_MS // 10**6 + 1}")
        )
    with pytest.raises(UsageError, match=r"hold the same|both node_0"):
        mlperf(first, other)


def test_two_nodes_at_a_steady_power_are_two(tmp_path: Path) -> None:
    steady = [line(START_MS + 1000 * k, "power_reading", 700) for k in range(100)]
    edges = (
        line(START_MS, "power_measurement_start"),
        line(START_MS + 99_000, "power_measurement_stop"),
    )
    for k in range(2):
        (tmp_path / f"node_{k}.txt").write_text("\n".join([edges[0], *steady[k:], edges[1]]))
    assert joules(mlperf(*tmp_path.glob("node_*.txt"))) == pytest.approx(2 * 700 * 99, rel=1e-3)


def test_a_switch_is_an_estimate_and_not_added(tmp_path: Path) -> None:
    switch = tmp_path / "sw_0.txt"
    switch.write_text(line(START_MS, "interconnect_power_est", 900, host="sw_0") + "\n")
    found = mlperf(node(tmp_path / "node_0.txt"), switch)
    assert joules(found) == pytest.approx(JOULES, rel=1e-3)
    (said,) = found.doubts
    assert said.id == "interconnect"
    assert "900 W or 0.0750 kWh, and not added" in said.message
    with pytest.raises(UsageError, match="no node"):
        mlperf(switch)


def test_what_the_meter_read_counts_and_the_factor_is_said(tmp_path: Path) -> None:
    factor = line(START_MS, "conversion_eff", 0.94, measurement_type="AC")
    found = mlperf(node(tmp_path / "node_0.txt", extra=[factor]))
    assert joules(found) == pytest.approx(JOULES, rel=1e-3)
    assert found.doubts[0].id == "conversion"
    assert "0.94 times that" in found.doubts[0].message


def test_a_reading_that_is_not_there_is_missing_and_not_zero(tmp_path: Path) -> None:
    nothing = line(START_MS + 150_500, "power_reading", None)
    found = mlperf(node(tmp_path / "node_0.txt", extra=[nothing]))
    assert joules(found) == pytest.approx(JOULES, rel=1e-3)
    assert doubts(found) == {"unreadable": True}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (':::MLLOG {"time_ms": 1, "key": ', "no line of an MLPerf log"),
        (':::MLLOG {"time_ms": [], "key": "power_reading", "value": 1}', "no line of an MLPerf"),
        (':::MLLOG {"time_ms": 1e400, "key": "power_reading", "value": 1}', "no line of an MLPerf"),
        (':::MLLOG {"time_ms": 1e30, "key": "power_reading", "value": 1}', "which is no date"),
        (line(START_MS, "power_reading", "much"), "'much', which is no number"),
        (line(START_MS, "power_reading", True), "True, which is no number"),
        (line(START_MS, "conversion_eff", 0), "a conversion_eff of 0 can't be"),
        (":::MLLOG {" + '"a":{' * 5000 + "}" * 5001, "no line of an MLPerf log"),
    ],
)  # fmt: skip
def test_a_broken_line_is_named(tmp_path: Path, bad: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        mlperf(node(tmp_path / "node_0.txt", extra=[bad]))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node_0.txt").write_bytes(b"\x00\xff\xfe :::MLLOG\n" * 10)
    with pytest.raises(BenchError, match="holds no power_reading"):
        mlperf(tmp_path / "node_0.txt")
    with pytest.raises(UsageError, match="is no file"):
        mlperf(tmp_path)


# --- CodeCarbon

FIELDS = {
    "timestamp": "2026-05-27T11:31:40", "project_name": "codecarbon", "run_id": "9a-1",
    "experiment_id": "5b0fa12a", "duration": "300.5", "emissions": "0.02", "emissions_rate": "6e-5",
    "cpu_power": "42.5", "gpu_power": "302.3", "ram_power": "20", "cpu_energy": "0.0036",
    "gpu_energy": "0.024", "ram_energy": "0.0012", "energy_consumed": "0.0288",
    "water_consumed": "0", "country_name": "Germany", "country_iso_code": "DEU", "region": "",
    "cloud_provider": "", "cloud_region": "", "os": "Linux", "python_version": "3.12.1",
    "codecarbon_version": "3.3.2", "cpu_count": "12", "cpu_model": "Intel(R) Xeon(R)",
    "gpu_count": "1", "gpu_model": "1 x NVIDIA A100-SXM4-40GB", "longitude": "10", "latitude": "50",
    "ram_total_size": "83.5", "tracking_mode": "machine", "cpu_utilization_percent": "8",
    "gpu_utilization_percent": "90", "ram_utilization_percent": "10", "ram_used_gb": "8",
    "on_cloud": "N", "pue": "1.0", "wue": "0.0",
}  # fmt: skip


def emissions(path: Path, *rows: dict[str, str], without: Iterable[str] = ()) -> Path:
    columns = [c for c in FIELDS if c not in without]
    lines = [",".join(columns)]
    lines += [",".join({**FIELDS, **row}[c] for c in columns) for row in rows or [{}]]
    path.write_text("\n".join(lines) + "\n")
    return path


def codecarbon(path: Path, **asked: Any) -> Imported:
    (found,) = imports.read("codecarbon", [path], asked)
    return found


def test_a_run_of_codecarbon_has_totals_and_no_readings(tmp_path: Path) -> None:
    found = codecarbon(emissions(tmp_path / "emissions.csv"))
    assert not found.trace.series
    (whole,) = found.parts
    assert whole.energy_j["gpu:codecarbon"] == pytest.approx(86_400)
    assert (found.stop_ns - found.start_ns) / 1e9 == pytest.approx(300.5)
    assert {w.id: w.rankable for w in found.doubts} == {
        "totals-only": False, "stated-sum-mixed": True
    }  # fmt: skip
    assert (found.region, found.pue) == ("DE", None)


def test_only_what_it_tells_is_measured(tmp_path: Path) -> None:
    """NVML stands behind its GPUs; what stands behind its processors is written nowhere."""
    found = codecarbon(emissions(tmp_path / "a.csv"))
    assert {d.kind: d.level for d in found.trace.domains} == {
        "gpu": "M1",
        "cpu": "M0",
        "dram": "M0",
    }
    apple = {"gpu_model": "Apple M3 Pro", "cpu_model": "Apple M3 Pro"}
    found = codecarbon(emissions(tmp_path / "b.csv", apple))
    assert {d.level for d in found.trace.domains} == {"M0"}
    none = {"gpu_model": "", "gpu_count": "0", "gpu_energy": "0", "energy_consumed": "0.0048"}
    found = codecarbon(emissions(tmp_path / "c.csv", none))
    assert [d.kind for d in found.trace.domains] == ["cpu", "dram"]


def test_a_gpu_of_zero_is_missing(tmp_path: Path) -> None:
    zero = {"gpu_energy": "0", "energy_consumed": "0.0048"}
    found = codecarbon(emissions(tmp_path / "emissions.csv", zero))
    assert list(found.missing) == ["gpu:codecarbon"]
    assert "gpu:codecarbon" not in found.parts[0].energy_j


def test_the_building_is_taken_out_again(tmp_path: Path) -> None:
    found = codecarbon(emissions(tmp_path / "emissions.csv", {"pue": "1.25"}))
    assert found.parts[0].energy_j["gpu:codecarbon"] == pytest.approx(86_400 / 1.25)
    assert found.pue == "1.25"


def test_rows_of_one_run_are_its_parts(tmp_path: Path) -> None:
    first = {"duration": "100", "gpu_energy": "0.01", "cpu_energy": "0.001", "ram_energy": "0.0004"}
    found = codecarbon(emissions(tmp_path / "emissions.csv", first, {}))
    assert [p.name for p in found.parts] == ["part 1", "part 2"]
    assert [p.energy_j["gpu:codecarbon"] for p in found.parts] == pytest.approx([36_000, 50_400])
    with pytest.raises(BenchError, match="row 3: the rows of a run hold all since its start"):
        codecarbon(emissions(tmp_path / "back.csv", {}, first))


def test_runs_of_a_file_are_told_apart_and_chosen_by_id(tmp_path: Path) -> None:
    path = emissions(tmp_path / "emissions.csv", {}, {"run_id": "7c-2", "duration": "10"})
    assert [f.name for f in imports.read("codecarbon", [path], {})] == ["9a-1", "7c-2"]
    assert codecarbon(path, run="7c").name == "7c-2"
    with pytest.raises(UsageError, match="no run's id begins with 'x'"):
        codecarbon(path, run="x")


def test_a_sum_that_is_none_is_said(tmp_path: Path) -> None:
    found = codecarbon(emissions(tmp_path / "emissions.csv", {"energy_consumed": "0.01"}))
    assert {w.id: w.rankable for w in found.doubts}["stated-sum"] is False


@pytest.mark.parametrize(
    ("row", "without", "says"),
    [
        ({}, ["cpu_energy"], "lacks the column cpu_energy"),
        ({"gpu_energy": "-1"}, [], "gpu_energy is '-1', which it can't be"),
        ({"gpu_energy": "nan"}, [], "gpu_energy is 'nan', which it can't be"),
        ({"duration": "0"}, [], "the run took no time"),
        ({"duration": "1e9"}, ["pue"], None),
        ({"duration": "1e12"}, [], "duration is '1e12', which it can't be"),
        ({"timestamp": "yesterday"}, [], "timestamp is 'yesterday', which is no time"),
        ({"timestamp": "0001-01-01T00:00:00"}, [], "nothing was metered in 0001"),
        ({"pue": "0.5"}, [], "0.5 is no PUE"),
        ({"codecarbon_version": "none: bench 0.1.0"}, [], "was written by bench"),
        ({"os": "a,b"}, [], "row 2 has 39 cells, its header 38"),
    ],
)  # fmt: skip
def test_a_broken_row_is_named(
    tmp_path: Path, row: dict[str, str], without: list[str], says: str | None
) -> None:
    path = emissions(tmp_path / "emissions.csv", row, without=without)
    if says is None:
        assert codecarbon(path).parts
        return
    with pytest.raises(BenchError, match=says):
        codecarbon(path)


def test_tasks_and_empty_files_are_no_runs(tmp_path: Path) -> None:
    tasks, empty = tmp_path / "emissions_x.csv", tmp_path / "empty.csv"
    tasks.write_text("task_name,timestamp\na,b\n")
    empty.write_text("")
    with pytest.raises(UsageError, match="about CodeCarbon's tasks"):
        codecarbon(tasks)
    with pytest.raises(BenchError, match="lacks the column"):
        codecarbon(empty)


# --- CSV


def table(path: Path, header: str, row: Callable[[int], str], rows: int = 100) -> Path:
    path.write_text("\n".join([header, *map(row, range(rows))]) + "\n")
    return path


def csv(path: Path, **asked: Any) -> Imported:
    (found,) = imports.read("csv", [path], asked)
    return found


EPOCH = START_MS / 1000


@pytest.mark.parametrize(
    ("column", "time"),
    [
        ("time", lambda k: f"{EPOCH + k}"),
        ("time", lambda k: f"{(EPOCH + k) * 1000:.0f}"),
        ("timestamp", lambda k: f"2024-05-09T12:{22 + k // 60}:{k % 60:02d}Z"),
        ("timestamp", lambda k: f"2024/05/09 12:{22 + k // 60}:{k % 60:02d}.000"),
        ("time_s", lambda k: f"{k}"),
        ("Time [ms]", lambda k: f"{k * 1000}"),
    ],
)
@pytest.mark.parametrize("cut", [",", ";", "\t"])
def test_times_are_seconds_milliseconds_or_dates(
    tmp_path: Path, column: str, time: Callable[[int], str], cut: str
) -> None:
    path = table(tmp_path / "a.csv", f"{column}{cut}watts", lambda k: f"{time(k)}{cut}200")
    found = csv(path, kind="cpu", time=column.lower())
    assert joules(found) == pytest.approx(200 * 99)
    assert ("undated" in doubts(found)) == (found.start_ns < 10**18)


def test_a_number_that_may_be_any_time_is_asked_about(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "t,w", lambda k: f"{k},200")
    with pytest.raises(UsageError, match="are the times of 't' seconds") as asked:
        csv(path, kind="cpu")
    assert "--time-unit" in str(asked.value.hint)
    assert joules(csv(path, kind="cpu", time_unit="s")) == pytest.approx(200 * 99)
    assert joules(csv(path, kind="cpu", time_unit="ms")) == pytest.approx(0.2 * 99)


@pytest.mark.parametrize(
    ("column", "cell", "asked", "watts"),
    [
        ("power", "200", {}, 200), ("power_mw", "200000", {}, 200), ("power [kW]", "0.2", {}, 200),
        ("power", "0.2 kW", {}, 200), ("power", "200000", {"unit": "mW"}, 200),
        ("power.draw [W]", "200.00 W", {}, 200), ("kilowatts", "0.2", {}, 200),
        ("Power (MW)", "0.0002", {}, 200), ("mw", "200000", {}, 200),
    ],
)  # fmt: skip
def test_watts_are_told_by_option_name_or_cell(
    tmp_path: Path, column: str, cell: str, asked: dict[str, str], watts: float
) -> None:
    path = table(tmp_path / "a.csv", f"time_s,{column}", lambda k: f"{k},{cell}")
    found = csv(path, power=[f"cpu={column}"], **asked)
    assert joules(found) == pytest.approx(watts * 99)


def test_a_level_is_what_the_user_states_and_else_an_estimate(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "time_s,watts", lambda k: f"{k},200")
    (domain,) = csv(path, kind="node").trace.domains
    assert (domain.level, domain.name) == ("M0", "node:a")
    assert "nobody has stated" in str(domain.reason)
    (domain,) = csv(path, power=["node:plug=watts"], level="M2", gain=0.01).trace.domains
    assert (domain.level, domain.name, domain.gain) == ("M2", "node:plug", 0.01)


def test_devices_with_rows_of_their_own_are_told_apart(tmp_path: Path) -> None:
    """As `nvidia-smi --query-gpu=timestamp,index,power.draw --format=csv -l 1` prints them."""

    def row(k: int) -> str:
        return f"2026/11/26 12:00:{k // 2:02d}.{k % 2}07, {k % 2}, {100 * (1 + k % 2)}.00 W"

    path = table(tmp_path / "smi.csv", "timestamp, index, power.draw [W]", row, 120)
    with pytest.raises(UsageError, match="tells several devices apart"):
        csv(path)
    found = csv(path, by="index", level="M1")
    assert [d.name for d in found.trace.domains] == ["gpu:0", "gpu:1"]
    assert joules(found) == pytest.approx(300 * 59.1, rel=1e-2)


def test_rows_of_one_time_may_be_of_several_meters(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "time_s,watts", lambda k: f"{k // 2},200")
    with pytest.raises(UsageError, match="50 of 100 rows have the time of the row before"):
        csv(path, kind="gpu")


def test_of_a_few_rows_of_one_time_the_first_counts(tmp_path: Path) -> None:
    path = table(
        tmp_path / "a.csv", "time_s,watts", lambda k: f"{k - (k == 50)},{200 + 9 * (k == 50)}"
    )
    found = csv(path, kind="cpu", level="M1")
    assert joules(found) == pytest.approx(200 * 99, rel=1e-6)
    assert doubts(found) == {"undated": True, "same-time": True}


def test_cells_without_a_reading_are_missing_and_not_zero(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "time_s,watts", lambda k: f"{k},{'[N/A]' if k == 50 else 200}")
    found = csv(path, kind="cpu", level="M1")
    assert joules(found) == pytest.approx(200 * 99)
    assert doubts(found) == {"undated": True, "unreadable": True}


def test_a_sparse_table_is_not_excused(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "time_s,watts", lambda k: f"{10 * k},200")
    found = csv(path, kind="node", level="M2")
    assert doubts(found) == {"undated": True, "gap": False, "too-few-samples": False}


@pytest.mark.parametrize(
    ("text", "asked", "says"),
    [
        ("time_s,watts\n1,5\n0,5\n", {}, "row 3: the time goes back, from '1' to '0'"),
        ("time_s,watts\n1,5\n2,x\n", {}, "row 3: 'x' is no power"),
        ("time_s,watts\n1,5\n2,inf\n", {}, "row 3: 'inf' is no power"),
        ("time_s,watts\n1,5\n2,1e999\n", {}, "row 3: '1e999' is no power"),
        ("time_s,watts\n1,5\nsoon,5\n", {}, "row 3: 'soon' is no time like the first"),
        ("time_s,watts\n1,5\n1e300,5\n", {}, "row 3: '1e300' is no time"),
        ("timestamp,watts\nsoon,5\nlater,5\n", {}, "row 2: 'soon' is no time"),
        ("timestamp,watts\n9999-01-01,5\n9999-01-02,5\n", {}, "row 2: '9999-01-01' is no time"),
        ("time_s,watts\n1,5\n1,5\n", {}, "rows have the time of the row before"),
        ("time_s,watts\n1,5\n", {}, "fewer than two times"),
        ("time_s,watts\n1\n", {}, "row 2 has 1 cells, the header has 2"),
        ("time_s,watts\n", {}, "has no rows below a header"),
        ("", {}, "has no rows below a header"),
        ("a,b\n1,2\n2,3\n", {}, "which column of .* is the time"),
        ("time_s,watts\n1,2\n2,3\n", {"power": ["cpu=wats"]}, "has no column 'wats'"),
        ("time_s,watts\n1,2\n2,3\n", {"kind": None}, "of what is 'watts' the power"),
        ("time_s,watts\n1,2\n2,3\n", {"kind": "tpu"}, "--kind tpu is none"),
        ("time_s,watts\n1,2\n2,3\n", {"level": "M3"}, "--level M3 is none"),
        ("time_s,watts\n1,2\n2,3\n", {"gain": float("nan")}, "--gain nan is no relative"),
        ("time_s,w,w\n1,2,3\n2,3,4\n", {"power": ["cpu=w"]}, "several columns called 'w'"),
        ("time_s,watts\n1,2\n2,3\n", {"power": ["c u=watts"]}, "'c u' is no name of a meter"),
        ("time_s,watts\n1,2\n2,3\n", {"unit": "J"}, "--unit J is none"),
        ("time_s,power\n1,2\n2,3\n", {"unit": "kW"}, None),
        ("time_s,watts\n1,2\n2,3\n", {"unit": "kW"}, "--unit kW, and the column is called"),
        ("time_s,power_mw\n1,2\n2,3\n", {"unit": "kW", "power": ["power_mw"]}, "--unit kW, and"),
        ("time_s,watts\n1,2\n2,3\n", {"power": ["cpu:a=watts", "cpu:a=watts"]}, "have one name"),
        ("time_s,watts\n1,2\n2,3\n", {"result_log": Path("x")}, "--result-log is not of csv"),
    ],
)
def test_a_broken_table_is_refused_with_its_place(
    tmp_path: Path, text: str, asked: dict[str, Any], says: str | None
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    asked = {k: v for k, v in {"kind": "cpu", **asked}.items() if v is not None}
    if says is None:
        assert csv(path, **asked)
        return
    with pytest.raises(BenchError, match=says):
        csv(path, **asked)


def test_formats_are_found_and_unknown_ones_answered() -> None:
    assert imports.names() == ["codecarbon", "csv", "mlperf-power"]
    with pytest.raises(UsageError, match="no format is called 'mlperf'") as refused:
        imports.read("mlperf", [], {})
    assert "mlperf-power" in str(refused.value.hint)
