"""The log that a sampler leaves and the trace that comes of it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.power import log
from bench.power.probes import Domain, Mark
from bench.power.trace import Trace

DOMAIN = Domain("gpu:GPU-1", "gpu", "Simulated", "M1", 0.1, "GPU-1", None, {"driver": "570"})


def records(seconds: int = 5) -> list[list[Any]]:
    readings = [
        ["r", 0, k * 100_000_000, 400.0, 40.0 * k, None, None, None] for k in range(seconds * 10)
    ]
    return [
        ["head", log.VERSION, {"rate_hz": 10.0}],
        ["clock", 0, 10, 0],
        ["domain", 0, DOMAIN._asdict()],
        *readings,
        ["mark", 2_000_000_000, "contended", "1 other process(es) used the GPU", "gpu:GPU-1", 1.0],
        ["stop", seconds * 1_000_000_000],
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / log.NAME
    path.write_bytes(b"".join(map(log.encode, records())))
    return path


def test_a_log_comes_back_as_a_trace(path: Path) -> None:
    trace = Trace.read_log(path)
    assert trace.domains == [DOMAIN]
    assert len(trace.series["gpu:GPU-1"].t_ns) == 50
    assert trace.facts == {"rate_hz": 10.0, "damaged_lines": 0}
    assert [m.id for m in trace.marks] == ["contended"]
    assert trace.energy(10**9, 4 * 10**9)[0].energy_j == pytest.approx(1200)


def test_parquet_keeps_everything(path: Path, tmp_path: Path) -> None:
    trace = Trace.read_log(path)
    trace.write_parquet(tmp_path / "trace.parquet")
    again = Trace.read_parquet(tmp_path / "trace.parquet")
    assert (again.domains, again.marks) == (trace.domains, trace.marks)
    assert (again.clocks, again.facts) == (trace.clocks, trace.facts)
    assert np.array_equal(again.series["gpu:GPU-1"].energy_j, trace.series["gpu:GPU-1"].energy_j)
    assert again.energy(10**9, 4 * 10**9) == trace.energy(10**9, 4 * 10**9)


def test_parquet_has_the_columns_that_are_promised(path: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    Trace.read_log(path).write_parquet(tmp_path / "trace.parquet")
    table = pq.read_table(tmp_path / "trace.parquet")
    assert table.column_names == [
        "t_ns", "domain", "power_w", "energy_j", "utilisation", "clock_mhz", "temperature_c",
    ]  # fmt: skip
    assert table["utilisation"].null_count == 50


def test_an_empty_trace_can_be_stored(tmp_path: Path) -> None:
    Trace.empty().write_parquet(tmp_path / "trace.parquet")
    assert Trace.read_parquet(tmp_path / "trace.parquet").domains == []


@pytest.mark.parametrize("content", [b"", b"not parquet at all"])
def test_what_is_no_trace_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trace.parquet"
    path.write_bytes(content)
    with pytest.raises(BenchError, match="is not a trace"):
        Trace.read_parquet(path)


@pytest.mark.parametrize(
    "damage",
    [
        {"facts": None}, {"facts": {"rate_hz": 0}}, {"facts": {"rate_hz": "ten"}}, {"version": 9},
        {"domains": [{"name": "a"}]}, {"domains": [{**DOMAIN._asdict(), "facts": 3}]},
        {"domains": [{**DOMAIN._asdict(), "facts": {"period_s": "long"}}]},
        {"domains": [{**DOMAIN._asdict(), "kind": "wall"}]}, {"facts": {"rate_hz": math.inf}},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_trace_is_one_line(path: Path, tmp_path: Path, damage: dict[str, Any]) -> None:
    import pyarrow.parquet as pq

    Trace.read_log(path).write_parquet(tmp_path / "trace.parquet")
    table = pq.read_table(tmp_path / "trace.parquet")
    about = {**json.loads(table.schema.metadata[b"bench"]), **damage}
    pq.write_table(
        table.replace_schema_metadata({"bench": json.dumps(about)}), tmp_path / "trace.parquet"
    )
    with pytest.raises(BenchError, match="is not a trace"):
        Trace.read_parquet(tmp_path / "trace.parquet")
    without = {k: v for k, v in about.items() if k not in damage}
    pq.write_table(
        table.replace_schema_metadata({"bench": json.dumps(without)}), tmp_path / "trace.parquet"
    )
    with pytest.raises(BenchError, match="is not a trace"):
        Trace.read_parquet(tmp_path / "trace.parquet")


def test_a_torn_tail_costs_the_last_line_only(path: Path) -> None:
    whole = path.read_bytes()
    tail = whole.rindex(b"\n", 0, -1)
    for cut in range(tail + 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        trace = Trace.read_log(path)
        assert trace.facts["damaged_lines"] == 0
        assert len(trace.series["gpu:GPU-1"].t_ns) == 50


def test_a_damaged_line_is_left_out_and_told(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[10] = lines[10].replace(b"400", b"900")
    path.write_bytes(b"".join(lines))
    trace = Trace.read_log(path)
    assert len(trace.series["gpu:GPU-1"].t_ns) == 49
    assert "log-damaged" in {w.id for w in trace.warnings(10**9, 4 * 10**9)}


@pytest.mark.parametrize("garbage", [b"\xff\xfe\x00\n", b"\n\n", b"00000000 []\n", b"x" * 5000])
def test_garbage_is_no_reading(path: Path, garbage: bytes) -> None:
    path.write_bytes(path.read_bytes() + garbage)
    assert len(Trace.read_log(path).series["gpu:GPU-1"].t_ns) == 50


def test_a_failed_reading_is_missing_and_marked_once(path: Path) -> None:
    lost = [
        ["r", 0, (60 + k) * 100_000_000, None, None, None, None, None, "GPU is lost"]
        for k in range(20)
    ]
    path.write_bytes(path.read_bytes() + b"".join(map(log.encode, lost)))
    trace = Trace.read_log(path)
    assert np.isnan(trace.series["gpu:GPU-1"].energy_j[-20:]).all()
    assert [m.message for m in trace.marks if m.id == "unreadable"] == ["GPU is lost"]


def test_a_log_that_is_being_written_says_so(tmp_path: Path) -> None:
    writer = log.Writer(tmp_path / log.NAME)
    writer.add(["head", 1, {}])
    writer.flush()
    assert log.being_written(tmp_path / log.NAME)


def test_a_log_is_never_overwritten(path: Path) -> None:
    before = path.read_bytes()
    writer = log.Writer(path)
    assert writer.error
    writer.add(["stop", 0])
    writer.flush()
    assert path.read_bytes() == before
    assert log.decode(writer.rest()) == ["stop", 0]


def test_importing_the_trace_is_light() -> None:
    code = (
        "import sys, bench.power.trace; heavy = {'pydantic', 'pandas', 'pyarrow', 'scipy', 'rich'}"
        "; print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_two_domains_of_one_name_are_not_added_up(path: Path) -> None:
    again = [["domain", 1, DOMAIN._asdict()], ["r", 1, 10**9, 400.0, 40.0, None, None, None]]
    path.write_bytes(path.read_bytes() + b"".join(map(log.encode, again)))
    trace = Trace.read_log(path)
    assert [d.name for d in trace.domains] == ["gpu:GPU-1"]
    assert len(trace.series["gpu:GPU-1"].t_ns) == 50
    ranked = {w.id: w.rankable for w in trace.warnings(10**9, 4 * 10**9)}
    assert ranked["same-name"] is False


def test_marks_know_their_domain(path: Path) -> None:
    other = Mark(2_000_000_000, "contended", "x", "gpu:GPU-2")
    trace = Trace.read_log(path)
    trace.marks = [other]
    assert trace.warnings(10**9, 4 * 10**9) == []
