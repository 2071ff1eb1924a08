"""Skill against kWh: what `bench leaderboard --plot` draws, and where names are put."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.plot import front, labels
from bench.rank import board, pareto
from bench.rank.pareto import Dot
from tests.command import Command
from tests.conftest import REPOSITORY
from tests.rank.records import SST2, make_entry

RESULTS = REPOSITORY / "results"


def dots(*runs: Any) -> list[Dot]:
    return pareto.dots(board.build([r for some in runs for r in some], {"sst2": SST2}))


def rows(spec: dict[str, Any], layer: int) -> list[dict[str, Any]]:
    """What a layer draws."""
    found: list[dict[str, Any]] = spec["datasets"][spec["layer"][layer]["data"]["name"]]
    return found


# --- what is drawn


def test_a_dot_has_both_intervals_and_what_the_meter_says() -> None:
    (dot,) = dots(make_entry(energy_j=36_000.0))
    assert dot.energy_kwh == pytest.approx(0.01, rel=0.05)
    assert dot.skill_interval is not None
    assert dot.skill_interval[0] < dot.skill < dot.skill_interval[1]
    assert dot.energy_interval_kwh is not None
    assert dot.meter_share == pytest.approx(0.1, rel=0.2)
    assert "(k = 2), ±10 % where measured" in " ".join(pareto.marks([dot]))
    (once,) = dots(make_entry(1))
    assert (once.skill_interval, once.energy_interval_kwh) == (None, None)


def test_measured_and_estimated_share_no_front() -> None:
    better = make_entry(accuracy=0.95, energy_j=9_000.0, level="M0")
    found = dots(make_entry(energy_j=20_000.0), better)
    assert [d.on_front for d in found] == [True, True]
    assert len({d.group for d in found}) == 2
    drawn = rows(front.spec(found, front.PAPER), 0)
    assert len({row["group"] for row in drawn}) == 2


def test_tracks_share_a_front_where_they_were_metered_alike() -> None:
    found = dots(make_entry(), make_entry(track="scratch", accuracy=0.8, energy_j=30_000.0))
    assert [d.on_front for d in found] == [True, False]


def test_settings_tell_dots_of_one_recipe_apart() -> None:
    found = dots(make_entry(settings={"epochs": 1.0}), make_entry(settings={"epochs": 2.0}))
    assert {d.label for d in found} == {"baseline · epochs=1.0", "baseline · epochs=2.0"}


def test_models_differ_in_colour_and_shape() -> None:
    found = dots(*(make_entry(model=f"m{n}", energy_j=20e3 + n) for n in range(9)))
    drawn = front.spec(found, front.PAPER)
    (points,) = [layer for layer in drawn["layer"] if layer.get("name") == front.POINTS]
    looks = zip(
        points["encoding"]["color"]["scale"]["range"],
        points["encoding"]["shape"]["scale"]["range"],
        strict=True,
    )
    assert len(set(looks)) == 9


def test_a_front_of_one_dot_is_no_line_and_is_not_explained() -> None:
    (one,) = dots(make_entry(1))
    assert not any("Dashed" in text for text in pareto.marks([one]))
    two = [one, replace(one, skill=one.skill + 0.1, energy_kwh=2 * one.energy_kwh, on_front=True)]
    assert any("Dashed" in text for text in pareto.marks(two))


# --- names


def some(count: int) -> list[Dot]:
    draw = random.Random(1)
    (dot,) = dots(make_entry(1))
    return [
        replace(
            dot, label=f"recipe-{n}", skill=draw.random(), energy_kwh=10 ** draw.uniform(-4, -2)
        )
        for n in range(count)
    ]


def boxes(names: Sequence[dict[str, Any]], of: Sequence[Dot]) -> list[labels.Box]:
    axes = front._Axes(of, front.PAPER)
    found = []
    for row in names:
        x, y = axes.pixel(
            replace(of[0], skill=row["skill"], energy_kwh=row["energy"] / axes.per_kwh)
        )
        left, middle = x + row["dx"], y + row["dy"]
        wide = labels.LETTER * len(row["text"])
        found.append((left, middle - labels.HIGH / 2, left + wide, middle + labels.HIGH / 2))
    return found


@pytest.mark.parametrize("count", [10, 200])
def test_names_touch_neither_each_other_nor_the_edge(count: int) -> None:
    found = some(count)
    started = time.process_time()
    drawn = front.spec(found, front.PAPER)
    assert time.process_time() - started < 3
    assert len(drawn["layer"]) <= 7, "a layer of its own for each name took seconds"
    names = rows(drawn, -1)
    assert len(names) >= min(count, 20) * 0.8
    put = boxes(names, found)
    for n, a in enumerate(put):
        assert a[0] >= -0.1
        assert a[2] <= front.PAPER.width + 0.1
        for b in put[:n]:
            apart = a[2] <= b[0] + 0.2 or b[2] <= a[0] + 0.2
            assert apart or a[3] <= b[1] + 0.2 or b[3] <= a[1] + 0.2


def test_the_first_that_asks_gets_the_room() -> None:
    asked = [labels.Asked("first", 30, 20), labels.Asked("second" * 9, 30, 20)]
    put = labels.place(asked, [(30, 20)], 100, 40)
    assert [p.asked.text for p in put] == ["first"]


def test_a_long_name_loses_whole_settings_and_fronts_that_no_name_tells_apart_have_none() -> None:
    settings = {"epochs": 1.0, "batch_size": 2048, "evaluations": 0}
    found = dots(make_entry(settings=settings), make_entry(settings={"epochs": 2.0}))
    alike = [replace(d, on_front=True, group=str(n)) for n, d in enumerate(found)]
    texts = {row["text"] for row in rows(front.spec(alike, front.PAPER), -1)}
    assert texts == {"baseline · epochs=1.0", "baseline · epochs=2.0"}


# --- from the terminal


@pytest.mark.parametrize(
    ("kind", "head"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("html", b"<!DOC")]
)
def test_the_board_is_printed_and_drawn(bench: Command, kind: str, head: bytes) -> None:
    pytest.importorskip("vl_convert")
    said = bench(
        "leaderboard", "--task", "rte", "--results", RESULTS, "--plot", f"front.{kind}"
    )  # fmt: skip
    assert said.code == 0
    assert "all-minilm-l6" in said.out
    assert f"wrote front.{kind}" in said.err
    data = Path(f"front.{kind}").read_bytes()
    assert data.lstrip()[:5].upper().startswith(head.upper())
    if kind == "html":  # nothing is loaded
        assert b"<script src=" not in data
        assert b"cdn." not in data


def test_what_the_filters_leave_is_drawn(bench: Command) -> None:
    pytest.importorskip("vl_convert")
    asked = ("--task", "sst2", "--hardware", "H200", "--model", "bert-base")
    assert bench("leaderboard", *asked, "--results", RESULTS, "--plot", "some.svg").code == 0
    text = Path("some.svg").read_text(encoding="utf-8")
    assert "bert-base" in text
    assert "all-minilm-l6" not in text
    assert "Hollow" not in text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((), ("a plot is of one task, and these are", "hint: --task NAME")),
        (("--task", "sst2", "--model", "nobody"), ("no entry can be drawn", "hint: bench")),
    ],
)
def test_what_can_not_be_drawn_is_said_in_a_line(
    bench: Command, asked: tuple[str, ...], said: tuple[str, str]
) -> None:
    pytest.importorskip("vl_convert")
    found = bench("leaderboard", *asked, "--results", RESULTS, "--plot", "x.svg")
    assert found.code == 2
    assert all(text in found.err for text in said)
    assert not Path("x.svg").exists()


def test_a_kind_of_picture_that_is_none_is_said_before_anything(bench: Command) -> None:
    found = bench("leaderboard", "--results", RESULTS, "--plot", "x.gif")
    assert found.code == 2
    assert "names no kind of picture" in found.err
    assert found.out == ""


# --- what is far from the rest


def spread(*skills: float) -> list[Dot]:
    (dot,) = dots(make_entry(1))
    return [
        replace(dot, label=f"recipe-{n}", skill=skill, energy_kwh=1e-3 * (n + 1), of=(n,))
        for n, skill in enumerate(skills)
    ]


FAR = (0.0, 0.75, 0.71, 0.8, 0.72, 0.74, 0.79, 0.77, 0.78, 0.7, 0.1)


def test_the_few_that_are_far_below_do_not_empty_the_plot() -> None:
    found = spread(*FAR)
    assert [d.skill for d in pareto.far_below(found)] == [0.0, 0.1]
    axes = front._Axes(found, front.PAPER)
    height = {d.skill: axes.pixel(d)[1] for d in found}
    near = [y for skill, y in height.items() if skill > 0.5]
    assert max(near) - min(near) > 0.75 * front.PAPER.height
    assert max(near) < height[0.0] == height[0.1] < front.PAPER.height
    drawn = front.spec(found, front.PAPER)
    texts = {row["text"] for row in rows(drawn, -1)}
    assert {"recipe-0: 0.000", "recipe-10: 0.100"} <= texts
    assert [row["text"] for row in rows(drawn, -3)] == ["↓", "↓"]
    (points,) = [layer for layer in drawn["layer"] if layer.get("name") == front.POINTS]
    ticks = points["encoding"]["y"]["axis"]["values"]
    assert min(ticks) >= 0.68, "the strip below is no part of the axis"
    said = {row["skill"]: row["at"] for row in drawn["datasets"][points["data"]["name"]]}
    assert said[0.1] == said[0.0] < 0.7 == said[0.7]
    assert "↓: far below the axis" in " ".join(pareto.marks(found))


@pytest.mark.parametrize(
    "skills",
    [(0.0, 0.7, 0.8), (0.4, 0.5, 0.6, 0.7, 0.8, 0.9), (0.0, *5 * (0.05,)), (*4 * (0.0,), 0.8, 0.9)],
)
def test_what_is_many_or_near_stays_on_the_axis(skills: tuple[float, ...]) -> None:
    found = spread(*skills)
    assert pareto.far_below(found) == []
    assert not any("↓" in text for text in pareto.marks(found))
    texts = {row["text"] for row in rows(front.spec(found, front.PAPER), -1)}
    assert not any(":" in text for text in texts)


def test_where_one_can_move_what_is_below_has_its_own_place_and_an_arrow_until_it_is_seen() -> None:
    found = spread(*FAR)
    drawn = front.spec(found, front.PAPER, zoom=True)
    (points,) = [layer for layer in drawn["layer"] if layer.get("name") == front.POINTS]
    assert all(row["at"] == row["skill"] for row in drawn["datasets"][points["data"]["name"]])
    arrows = rows(drawn, -3)
    assert [row["text"] for row in arrows] == ["↓ recipe-0: 0.000", "↓ recipe-10: 0.100"]
    assert "domain('y')" in drawn["layer"][-3]["mark"]["opacity"]["expr"]


def test_a_skill_below_the_axis_is_written_even_where_its_name_has_no_room() -> None:
    narrow = front.Look(width=120, height=200)
    found = [replace(d, label=f"a-long-name-{n}", energy_kwh=1e-3 + 1e-4 * n)
             for n, d in enumerate(spread(*FAR))]  # fmt: skip
    texts = {row["text"] for row in rows(front.spec(found, narrow), -1)}
    assert any(text.endswith("0.000") for text in texts)
    assert any(text.endswith("0.100") for text in texts)


def test_the_axis_is_in_kwh_where_one_takes_a_tenth_of_it() -> None:
    few = spread(0.7, 0.8)
    for found, unit, first in ((few, "Wh", 1.0), ([few[0], replace(few[1], energy_kwh=0.1)],
                                                  "kWh", 0.001)):  # fmt: skip
        drawn = front.spec(found, front.PAPER)
        (points,) = [layer for layer in drawn["layer"] if layer.get("name") == front.POINTS]
        assert points["encoding"]["x"]["title"] == f"Energy of a training ({unit})"
        shown = drawn["datasets"][points["data"]["name"]]
        assert shown[0]["energy"] == pytest.approx(first)
        assert points["encoding"]["tooltip"][3]["title"] == unit
