"""A page reads a trace in a quarter of the time, and finds what everybody else does."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from bench.errors import BenchError
from bench.power.trace import COLUMNS, Trace
from bench.site import drawing, readings, rundata

NAMES = ("gpu:GPU-1", "cpu:package-0")
ABOUT = {
    "version": 1,
    "domains": [
        {"name": name, "kind": name[:3], "device": "x", "level": "M1", "gain": 0.05}
        for name in NAMES
    ],
    "marks": [[5, "lost", "gone for a while", NAMES[0]]],
    "clocks": [[0, 10, 20], [5, 15, 25]],
    "facts": {"rate_hz": 10.0},
}


def table(about: object = ABOUT, **columns: pa.Array) -> pa.Table:
    """Five readings of two domains, some of which could not be read."""
    whose = [NAMES[n % 2] for n in range(5)]
    found = {
        "t_ns": pa.array(range(5)),
        "domain": pa.array(whose).dictionary_encode(),
        "power_w": pa.array([1.0, None, 3.0, 4.0, 5.0]),
        "energy_j": pa.array([None] * 5, pa.float64()),
    }
    return pa.table(found | columns).replace_schema_metadata({"bench": json.dumps(about)})


def whole(of: pa.Table) -> pa.Table:
    for name in (n for n in COLUMNS if n not in of.column_names):
        of = of.append_column(name, pa.nulls(len(of), pa.float64()))
    return of


@pytest.mark.parametrize(
    "found",
    [
        table(),
        pa.concat_tables([table(), table().slice(1, 2), table().slice(0, 0)]),
        table().slice(0, 0),
        table(domain=pa.array([*NAMES, "", "nobody", NAMES[0]])),
        table(domain=pa.array([*NAMES, "", "nobody", NAMES[0]]).dictionary_encode()),
        table(
            domain=pa.DictionaryArray.from_arrays(
                pa.array([0, 1, 2, 1, 0]), pa.array([NAMES[0], NAMES[1], NAMES[0]])
            )
        ),
        table(power_w=pa.array([1, 2, 3, 4, 5])),
    ],
)
def test_the_quick_way_finds_what_the_long_one_does(found: pa.Table) -> None:
    quick, long = readings._trace_of(found), Trace.of_table(whole(found), "trace.parquet")
    assert (quick.domains, quick.marks, quick.clocks, quick.facts) == (
        long.domains, long.marks, long.clocks, long.facts,
    )  # fmt: skip
    assert list(quick.series) == list(long.series)
    for name, series in long.series.items():
        for column in ("t_ns", *COLUMNS):
            np.testing.assert_array_equal(
                getattr(quick.series[name], column), getattr(series, column)
            )


@pytest.mark.parametrize(
    "broken",
    [
        lambda: table({**ABOUT, "version": 7}),
        lambda: table({**ABOUT, "clocks": [1]}),
        lambda: table({**ABOUT, "facts": {"rate_hz": -1}}),
        lambda: table({**ABOUT, "domains": [{**ABOUT["domains"][0], "facts": {"period_s": "x"}}]}),  # type: ignore[index]
        lambda: table([]),
        lambda: table().replace_schema_metadata(None),
        lambda: table().drop_columns(["domain"]),
        lambda: table(domain=pa.array([*NAMES, None, *NAMES])),
        lambda: table(power_w=pa.array(["much"] * 5)),
    ],
)
def test_what_is_no_trace_is_none_either_way_and_for_one_reason(
    broken: Callable[[], pa.Table],
) -> None:
    with pytest.raises((BenchError, LookupError)) as quick:
        readings._trace_of(broken())
    with pytest.raises(quick.type) as long:
        Trace.of_table(whole(broken()), "trace.parquet")
    assert str(quick.value) == str(long.value)


def test_a_trace_keeps_what_it_says_of_itself_from_others() -> None:
    other = {**ABOUT, "facts": {"rate_hz": 2.0}}
    rates = [readings._trace_of(table(about)).facts["rate_hz"] for about in (ABOUT, other, ABOUT)]
    assert rates == [10.0, 2.0, 10.0]


def test_a_curve_is_written_in_as_few_letters_as_can_be() -> None:
    x, y = np.array([0, 3, 3, -2000, 4000]), np.array([7, -1, 9, 9, 0])
    assert drawing._path(x, y) == "M0 7l3-8 0 10-2003 0 6000-9"
    assert drawing._path(x[:1], y[:1]) == "M0 7h0"


def test_many_numbers_are_as_short_as_each_alone() -> None:
    rng = np.random.default_rng(1)
    values = [0.0, -0.0, 12345.6, 1e15, 1e22, -3e-9, *(rng.lognormal(5, 9, 300) - 1e3).tolist()]
    assert repr(rundata._shorts(values, 4)) == repr([rundata._short(v, 4) for v in values])
    assert rundata._shorts([float("nan"), 2.0, float("inf")], 4) == [None, 2, None]
    assert rundata._shorts([], 4) == []
