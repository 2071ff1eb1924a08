"""Plots that are written as SVG: what is in them, and what is not."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from bench.plot.figure import Figure, Flag, Line, Span, Stretch
from bench.site import drawing
from bench.site.drawing import Learning, Score


def stretch(start_s: float, stop_s: float, watts: float, readings: int = 200) -> Stretch:
    t_s = np.linspace(start_s, stop_s, readings)
    power_w = np.full(readings, watts)
    return Stretch(t_s, power_w, power_w, power_w)


def dense(start_s: float, stop_s: float, points: int) -> Stretch:
    """Like the noise of a GPU: as many digits as there may be."""
    t_s = np.linspace(start_s, stop_s, points)
    noise = np.random.default_rng(1).uniform(50, 650, (3, points))
    low, mean, high = np.sort(noise, axis=0)
    return Stretch(t_s, mean, low, high)


def line(name: str = "GPU 0", *stretches: Stretch, **about: object) -> Line:
    facts = {"charged": True, "gaps": [], "estimated": False} | about
    return Line(name, f"{name}, 100 W", stretches=list(stretches) or [stretch(0, 10, 100)], **facts)  # type: ignore[arg-type]


def figure(
    *lines: Line, phases: list[Span] | None = None, flags: list[Flag] | None = None
) -> Figure:
    return Figure(
        title="Power", measured=[], doubts=[], caption=[], lines=list(lines) or [line()],
        phases=phases or [Span("train", 0, 10, 1000)], flags=flags or [],
        start_s=-2, stop_s=12, window_s=10,
    )  # fmt: skip


def parsed(svg: str) -> ET.Element:
    """As an XML parser reads it: it is well-formed."""
    return ET.fromstring(svg)


def paths(svg: str) -> list[str]:
    return re.findall(r"<path [^>]*>", svg)


# --- power -------------------------------------------------------------------------------------


def test_a_plot_has_a_name_and_says_what_it_shows() -> None:
    root = parsed(drawing.power(figure()))
    assert root.attrib["role"] == "img"
    ids = root.attrib["aria-labelledby"].split()
    found = {e.attrib["id"]: e.text or "" for e in root if "id" in e.attrib}
    assert set(ids) == set(found)
    assert "GPU 0, 100 W" in found[ids[1]]
    assert "train" in found[ids[1]]


def test_each_phase_is_a_ground_with_its_name_where_there_is_room() -> None:
    phases = [
        Span("prepare", 0, 4, 100),
        Span("train", 4, 9.99, None),
        Span("predict", 9.99, 10, 1),
    ]
    root = parsed(drawing.power(figure(phases=phases)))
    grounds = list(root.iter("rect"))
    assert [e.attrib["class"] for e in grounds] == ["p-prepare", "p-train", "p-predict"]
    assert [e.findtext("title") for e in grounds] == [
        "prepare: 4.00 s, 100 J", "train: 5.99 s", "predict: 0.0100 s, 1.00 J",
    ]  # fmt: skip
    named = [e.text for e in root.iter("text") if "name" in e.attrib["class"]]
    assert named == ["prepare", "train"]


def test_a_phase_of_another_name_has_the_ground_of_others() -> None:
    assert drawing.shade_of("train") == "p-train"
    assert drawing.shade_of('x" onload="') == "p-other"


def test_names_are_text_and_nothing_else() -> None:
    script = "<script>alert(1)</script>\u202e"
    shown = figure(line(script), phases=[Span(script, 0, 10, None)])
    svg = drawing.power(shown)
    assert "<script" not in svg
    assert "\u202e" not in svg
    assert "<script" not in "".join(key.swatch for key in drawing.legend(shown))
    parsed(svg)


def test_an_estimate_is_dashed_and_a_first_measured_line_is_not() -> None:
    shown = figure(line("CPU", estimated=True), line("GPU"))
    cpu, gpu = (key.swatch for key in drawing.legend(shown))
    assert "stroke-dasharray" in cpu
    assert "stroke-dasharray" not in gpu


def test_lines_differ_in_colour_and_dash() -> None:
    keys = drawing.legend(figure(*(line(f"GPU {n}") for n in range(8))))
    assert len({re.search(r'stroke="[^"]*"', key.swatch)[0] for key in keys}) == 8  # type: ignore[index]
    assert len({(re.search(r'dasharray="[^"]*"', k.swatch) or [""])[0] for k in keys}) == 8


def test_what_counts_comes_first() -> None:
    keys = drawing.legend(figure(line("aside", charged=False), line("GPU")))
    assert [key.charged for key in keys] == [True, False]


def test_a_gap_is_dotted_and_no_line_is_drawn_through_it() -> None:
    parts = [stretch(0, 3, 100), stretch(7, 10, 200)]
    svg = drawing.power(figure(line("GPU", *parts, gaps=[(3.0, 7.0)])))
    dotted = [p for p in paths(svg) if 'class="gap"' in p]
    assert len(dotted) == 1
    (drawn,) = [p for p in paths(svg) if "class" not in p]
    assert drawn.count("M") == 2
    numbers = [int(n) for n in re.findall(r"-?\d+", re.search(r' d="([^"]*)"', dotted[0])[1])]  # type: ignore[index]
    span = drawing.BOX_X / 14
    assert numbers[0] == pytest.approx(5 * span, abs=1)
    assert numbers[2] == pytest.approx(4 * span, abs=1)


def test_a_line_goes_through_its_readings() -> None:
    ends = Stretch(*(np.array(v) for v in ([0.0, 5.0, 10.0], [10.0, 60.0, 20.0], [0] * 3, [0] * 3)))
    made = replace_bounds(ends)
    svg = drawing.power(figure(line("GPU", made)))
    (drawn,) = [p for p in paths(svg) if "class" not in p]
    start, rest = re.search(r'd="M(.*)l(.*?)"', drawn).groups()  # type: ignore[union-attr]
    x, y = map(int, start.split())
    steps = [int(n) for n in re.findall(r"-?\d+", rest)]
    heights = [y, y + steps[1], y + steps[1] + steps[3]]
    top_w = 1.18 * 60
    assert [drawing.BOX_Y - h for h in heights] == pytest.approx(
        [drawing.BOX_Y * w / top_w for w in (10, 60, 20)], abs=1
    )
    assert x == pytest.approx(drawing.BOX_X * 2 / 14, abs=1)


def replace_bounds(s: Stretch) -> Stretch:
    return Stretch(s.t_s, s.mean_w, s.mean_w, s.mean_w)


def test_dense_readings_have_their_lowest_and_highest() -> None:
    svg = drawing.power(figure(line("GPU", dense(0, 10, 300))))
    assert [p for p in paths(svg) if 'class="band"' in p]
    estimated = drawing.power(figure(line("CPU", dense(0, 10, 300), estimated=True)))
    assert [p for p in paths(estimated) if 'class="hollow"' in p]


def test_few_readings_are_points() -> None:
    svg = drawing.power(figure(line("meter", stretch(0, 10, 5, readings=7))))
    (dots,) = [p for p in paths(svg) if 'class="dots"' in p]
    assert dots.count("M") == 7


@pytest.mark.parametrize("domains", [1, 2, 4, 10, 200])
def test_a_plot_stays_small_however_much_was_read(domains: int) -> None:
    points = drawing.points(domains)
    lines = [line(f"GPU {n}", dense(-2, 12, points)) for n in range(domains)]
    phases = [Span(f"phase {n}", n / 100, (n + 1) / 100, 1.0) for n in range(1000)]
    flags = [Flag(n, n / 100) for n in range(1000)]
    shown = figure(*lines, phases=phases[:20])
    assert len(drawing.power(shown).encode()) < 25_000
    crowded = figure(*lines, phases=phases, flags=flags)
    assert len(drawing.power(crowded).encode()) < 60_000
    left = " ".join(drawing.left_out(crowded))
    assert "880 more of the shortest phases" in left
    assert ("190 more domains" in left) == (domains == 200)


def test_the_edges_of_the_window_and_the_idle_time_around_it_are_shown() -> None:
    root = parsed(drawing.power(figure()))
    edges = [e.attrib["x1"] for e in root.iter("line") if e.attrib["class"] == "edge"]
    assert edges == ["14.29%", "85.71%"]
    assert [e.text for e in root.iter("text") if "idle" in e.attrib["class"]] == ["idle", "idle"]


def test_nothing_was_read_but_zeros() -> None:
    parsed(drawing.power(figure(line("GPU", stretch(0, 10, 0.0)))))


# --- learning ----------------------------------------------------------------------------------


def learned(*scores: Score, **about: object) -> Learning:
    facts = {
        "metric": "accuracy %", "unit": "kWh", "estimated": False, "scores": scores,
        "final": None, "rests": 0.0, "end": 2.0,
    } | about  # fmt: skip
    return Learning(**facts)  # type: ignore[arg-type]


def test_each_score_has_a_point_and_its_steps_above() -> None:
    scores = [Score(0.5, 100, 80.0, (78.0, 82.0)), Score(1.5, 1200, 90.0, (88.0, 92.0))]
    root = parsed(drawing.learning(learned(*scores)))
    at = [(e.attrib["cx"], e.attrib["cy"]) for e in root.iter("circle")]
    assert at[0][0] == f"{100 * 0.5 / 2.06:.2f}%"
    assert float(at[0][1][:-1]) > float(at[1][1][:-1])
    said = [e.text for e in root.iter("text")]
    assert "100" in said
    assert "1,200" in said
    assert len([e for e in root.iter("line") if e.attrib["class"] == "whisker"]) == 2


def test_steps_do_not_stand_in_each_others_way() -> None:
    scores = [Score(1 + n / 1000, n, 80.0 + n) for n in range(40)]
    root = parsed(drawing.learning(learned(*scores)))
    assert len([e for e in root.iter("text") if e.text == "0"]) >= 1
    assert len([e for e in root.iter("line") if e.attrib["class"].startswith("step")]) < 3


def test_one_score_that_never_changes_can_be_drawn() -> None:
    parsed(drawing.learning(learned(Score(0.0, 0, 0.0), end=0.0)))


def test_an_estimated_energy_says_so() -> None:
    assert "estimated, not measured" in drawing.learning(learned(Score(1, 1, 1), estimated=True))


# --- small parts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (86.1, 91.9, 5, [88, 90]),
        (0, 0.0007, 5, [0, 0.0002, 0.0004, 0.0006]),
        (5, 5, 5, [5]),
        (0, float("nan"), 5, [0]),
        (0, float("inf"), 5, [0]),
    ],
)
def test_ticks_are_round(low: float, high: float, most: int, expected: list[float]) -> None:
    found = drawing.ticks(low, high, most)
    assert found == pytest.approx(expected)


def test_evenly_chosen_ones_have_the_first_and_the_last() -> None:
    assert drawing.evenly([1, 2, 3], 5) == [1, 2, 3]
    chosen = drawing.evenly(list(range(1000)), 40)
    assert (len(chosen), chosen[0], chosen[-1]) == (40, 0, 999)
