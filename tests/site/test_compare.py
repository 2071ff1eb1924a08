"""The page that compares runs, in a browser: what it shows or says instead, how it is used."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import record as records
from bench.power.energy import Series
from bench.power.probes import Domain
from bench.power.trace import Trace
from bench.record import Phase, Record, pack_bits
from bench.site import paths, readings, rundata, runs
from bench.site.contents import Contents
from tests.rank.records import make_domain, make_metric, make_record, make_run
from tests.site import browser, making

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.site.browser import Visitor

Build = Callable[[Path, Contents], None]

pytest_plugins = ("tests.site.comparing",)

HOSTILE = "<script>alert(1)</script>\u202e=1+1" + "x" * 10_000


@pytest.fixture(scope="module")
def contents() -> Contents:
    return making.read()


@pytest.fixture(scope="module")
def ids(contents: Contents) -> dict[str, list[str]]:
    """Of runs that were submitted: of one cell that is measured, estimated, and of another task."""
    found: dict[str, list[str]] = {"measured": [], "estimated": [], "other": []}
    for run in contents.runs:
        r = run.record
        if r.status != "complete":
            continue
        level = "estimated" if r.level == "M0" else "measured"
        found[level if r.spec.task == "sst2" else "other"].append(r.run_id)
    return found


def compared(open_compare: Visitor, *ids: str, **how: Any) -> Page:
    return ready(open_compare("compare.html#" + ",".join(ids), **how))


def ready(page: Page) -> Page:
    page.wait_for_selector("body[data-ready]", state="attached")
    return page


def told(page: Page) -> str:
    return page.locator(".told").inner_text()


def address(page: Page) -> list[str]:
    return page.url.partition("#")[2].split(",")


def letters(page: Page) -> int:
    return page.locator(".chosen li").count()


# --- what it shows -----------------------------------------------------------------------------


@pytest.mark.parametrize("many", [2, 4])
def test_runs_stand_side_by_side_from_a_disk(
    open_compare: Visitor, ids: dict[str, list[str]], many: int
) -> None:
    mine = ids["measured"][:many]
    page = compared(open_compare, *mine)
    heads = page.locator(".beside").first.locator("thead th")
    assert heads.count() == many
    assert page.locator(".versus").count() == many - 1
    assert page.locator(".run-plot").first.locator("path.course").count() == many
    assert told(page) == ""
    assert page.locator("code.command", has_text=" ".join(mine)).count() == 1


def test_the_page_is_the_same_over_http(open_compare: Visitor, ids: dict[str, list[str]]) -> None:
    mine = ids["measured"][:2]
    texts = [
        compared(open_compare, *mine, http=http).locator("main").inner_text()
        for http in (False, True)
    ]
    assert texts[0] == texts[1]
    assert "McNemar" in texts[0] or "can't tell" in texts[0]


def test_measured_and_estimated_runs_are_drawn_apart_and_not_compared(
    open_compare: Visitor, ids: dict[str, list[str]]
) -> None:
    page = compared(open_compare, ids["measured"][0], ids["estimated"][0])
    assert "their energies don't compare, and are drawn apart" in told(page)
    assert "one is measured, the other estimated: they don't compare" in page.inner_text("main")
    figures = page.locator("figure", has=page.locator("svg[aria-label^='Power']"))
    assert [f.locator("path.course[d*=L]").count() for f in figures.all()] == [1, 1]
    assert page.locator("figure.estimated").count() == 2  # power and learning
    assert page.locator(".beside .tag.estimated").count() == 1
    assert page.locator(".beside td", has_text="≈").count() == 1


def test_energies_side_by_side_have_one_unit(
    open_compare: Visitor, ids: dict[str, list[str]]
) -> None:
    page = compared(open_compare, ids["measured"][0], ids["estimated"][0])
    cells = page.locator(".beside").first.locator("tr", has_text="±").last.locator("td")
    units = {
        re.sub(r"[≈\d.,]+ (\w+) .*", r"\1", " ".join(t.split())) for t in cells.all_inner_texts()
    }
    assert len(units) == 1
    assert units <= {"J", "Wh", "kWh"}


def test_a_trace_says_in_words_what_it_shows(
    open_compare: Visitor, ids: dict[str, list[str]], contents: Contents
) -> None:
    page = compared(open_compare, *ids["measured"][:2])
    label = page.locator("svg[role=img]").first.get_attribute("aria-label") or ""
    assert re.search(r"A: [\d.]+ W on average, [\d.]+ W at most, over .*B: ", label)
    reader = page.locator(".read-at")
    reader.locator("input").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert re.search(r"A [\d.]+ W, B [\d.]+ W", reader.locator("output").inner_text())
    page.get_by_label("stretch every run").check()
    assert "% of each run" in page.locator(".run-plot").first.inner_html()


def test_of_different_tasks_only_what_can_be_is_compared(
    open_compare: Visitor, ids: dict[str, list[str]]
) -> None:
    page = compared(open_compare, ids["estimated"][0], ids["other"][0])
    assert "different tasks" in told(page)
    assert "not compared: the tasks differ" in page.inner_text("main")


# --- what it says instead ------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["0123456789abcdef", "../../secret", "<b>x", "x" * 500, "%zz"])
def test_a_run_that_nobody_knows_is_one_sentence(
    open_compare: Visitor, ids: dict[str, list[str]], bad: str
) -> None:
    page = compared(open_compare, ids["measured"][0], bad)
    assert f"There is no run {bad[:40]} on this site." in told(page)
    assert letters(page) == 1


def test_a_run_is_compared_once_and_four_at_most(
    open_compare: Visitor, ids: dict[str, list[str]]
) -> None:
    mine = ids["measured"][:6]
    page = compared(open_compare, mine[0], *mine)
    assert f"Run {mine[0]} is named twice: it is shown once." in told(page)
    assert "Four runs are compared at most: 2 of these 6 are left out." in told(page)
    assert letters(page) == 4
    assert not page.get_by_role("combobox").is_visible()


def test_a_file_that_is_missing_is_said(
    open_compare: Visitor,
    contents: Contents,
    tmp_path: Path,
    ids: dict[str, list[str]],
    build_compare: Build,
) -> None:
    build_compare(tmp_path, contents)
    one, other = ids["measured"][:2]
    (tmp_path / paths.run_data(other)).unlink()
    page = compared(open_compare, one, other, site=tmp_path)
    assert f"The data of run {other} is missing: runs/{other}.js can't be read." in told(page)
    assert letters(page) == 1
    open_compare.complaints.clear()
    (tmp_path / paths.RUN_LIST).unlink()
    page = compared(open_compare, one, "nobody", site=tmp_path)
    assert "The data of run nobody is missing" in told(page)
    assert letters(page) == 1
    open_compare.complaints.clear()


def test_without_scripts_the_page_says_what_it_needs(open_compare: Visitor) -> None:
    page = open_compare("compare.html", js=False)
    assert "needs JavaScript" in page.inner_text("main")
    assert page.locator("code.command").inner_text() == "bench compare RUN RUN"
    assert not page.locator(".picking").is_visible()


def test_the_link_past_the_menu_keeps_the_runs(
    open_compare: Visitor, ids: dict[str, list[str]]
) -> None:
    mine = ids["measured"][:2]
    page = compared(open_compare, *mine)
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(50)
    assert address(page) == mine
    assert letters(page) == 2


# --- how it is used ------------------------------------------------------------------------------


def test_a_second_run_is_picked_with_keys_its_repeats_first(
    open_compare: Visitor, contents: Contents
) -> None:
    first = next(
        r for r in contents.runs
        if r.record.level != "M0" and sum(q.key == r.key for q in contents.runs) > 1
    )  # fmt: skip
    page = compared(open_compare, first.record.run_id)
    assert "One run can't be compared" in told(page)
    page.get_by_role("combobox").focus()
    page.keyboard.press("ArrowDown")
    assert page.get_by_role("combobox").get_attribute("aria-activedescendant") == "pick-0"
    page.keyboard.press("Enter")
    page.wait_for_selector(".versus")
    second = address(page)[1]
    assert second in {r.record.run_id for r in contents.runs if r.key == first.key}
    assert page.get_by_role("combobox").evaluate("e => e === document.activeElement")


def test_words_find_runs_and_escape_closes(
    open_compare: Visitor, ids: dict[str, list[str]], contents: Contents
) -> None:
    page = compared(open_compare)
    box = page.get_by_role("combobox")
    box.press_sequentially("h200 bert bf16")
    options = page.get_by_role("option")
    assert options.count() > 0
    for text in options.all_inner_texts():
        assert all(word in text.lower() for word in ("h200", "bert", "bf16"))
    page.keyboard.press("Escape")
    assert not options.first.is_visible()
    box.fill(",".join(ids["measured"][:3]))
    page.keyboard.press("Enter")
    page.wait_for_selector(".versus")
    assert address(page) == ids["measured"][:3]
    box.fill("no such words")
    assert "no run has all of these words" in page.get_by_role("listbox").inner_text()


def test_another_run_becomes_a_and_one_is_removed_and_back_goes_back(
    open_compare: Visitor, ids: dict[str, list[str]]
) -> None:
    a, b, c = ids["measured"][:3]
    page = compared(open_compare, a, b, c)
    page.get_by_role("button", name=re.compile("^Make C")).press("Enter")
    page.wait_for_function(f"location.hash === '#{c},{a},{b}'")
    page.get_by_role("button", name=re.compile("^Remove B")).press("Enter")
    page.wait_for_function("document.querySelectorAll('.versus').length === 1")
    assert address(page) == [c, b]
    page.go_back()
    page.wait_for_function("document.querySelectorAll('.versus').length === 2")
    assert address(page) == [c, a, b]


def test_without_runs_there_are_examples(open_compare: Visitor) -> None:
    page = compared(open_compare)
    page.locator(".examples a").first.click()
    page.wait_for_selector(".versus")
    assert len(address(page)) == 2


@pytest.mark.parametrize(("narrow", "dark"), [(False, False), (True, True)])
def test_it_fits_and_is_accessible(
    open_compare: Visitor, ids: dict[str, list[str]], narrow: bool, dark: bool
) -> None:
    mine = [*ids["measured"][:2], ids["estimated"][0]]
    page = compared(open_compare, *mine, narrow=narrow, dark=dark)
    assert browser.overflow_px(page) == 0
    page.get_by_role("combobox").focus()
    page.get_by_role("combobox").press("ArrowDown")
    assert browser.axe(page) == []


# --- the data ------------------------------------------------------------------------------------


def test_hostile_records_stay_harmless(
    open_compare: Visitor, tmp_path: Path, build_compare: Build
) -> None:
    odd: dict[str, Any] = {
        "model": HOSTILE,
        "recipe": HOSTILE,
        "settings": {HOSTILE: HOSTILE, "x": math.inf},
    }
    mine = [make_record(**odd), make_record(run_id="../../../etc", duration_s=math.nan)]
    mine += [make_record(run_id="index"), make_record(spec={"nodes": 10**9})]
    put(tmp_path / "results", mine)
    site = tmp_path / "site"
    contents = making.read(tmp_path / "results")
    every = [*rundata.pieces(contents), *runs.pieces(contents)]
    files = [file for piece in every for file in piece.files if file.endswith(".js")]
    assert len(files) == len({*files}) == 4  # a run can't take the place of the list
    build_compare(site, contents)
    names = [paths.slug(r.run_id) for r in mine]
    page = compared(open_compare, names[0], names[1], names[3], site=site)
    assert letters(page) == 3
    assert "\u202e" not in page.content()
    assert page.locator("main script").count() == 0
    assert browser.overflow_px(page) == 0
    assert {p.parent for p in site.rglob("*.js")} == {site / "assets", site / "runs"}


def put(results: Path, several: list[Record]) -> None:
    for number, record in enumerate(several):
        folder = results / "sst2" / "entry" / f"run-{number}"
        folder.mkdir(parents=True)
        text = json.dumps(record.model_dump(mode="python"))
        (folder / "record.json").write_text(text)


def test_the_list_of_ten_thousand_runs_is_below_a_megabyte(contents: Contents) -> None:
    many = replace(
        contents, cells=(),
        runs=tuple(make_run(model=f"m{i % 50}", recipe=f"recipe-{i % 70}") for i in range(2000)),
    )  # fmt: skip
    text = rundata.index(many, many.runs)
    assert len(text) * 5 < 1_000_000


def test_a_runs_data_is_small_and_its_trace_adds_up_to_its_energy(contents: Contents) -> None:
    for run in contents.runs[::6]:
        record = records.read(run.folder)
        facts = rundata.facts_of(record, readings.read(run.folder, record), run.key)
        assert len(json.dumps(facts, separators=(",", ":"), allow_nan=False)) < 10_000
        power = facts["power"]
        if isinstance(power, str):
            assert not (run.folder / "trace.parquet").exists()
            continue
        watts = power["power_w"]
        assert len(watts) <= readings.MOST_STEPS
        total_j = sum(w for w in watts if w is not None) * power["step_s"]
        assert total_j == pytest.approx(record.window_energy_j, rel=0.1)
        points = facts["learning"]["points"]
        assert points == sorted(points, key=lambda p: p[0])
        assert points[-1][0] <= (record.energy_j or 0)


# --- courses -----------------------------------------------------------------------------------

GPU, NODE = "gpu:GPU-1", "cpu:package-0"
SECOND = 1_000_000_000


def traced(folder: Path, evals: Sequence[dict[str, Any]] = (), **series: list[Any]) -> Record:
    """A run of 20 s whose window began at 100 s, with readings (s, W, J) of the GPU and others."""
    folder.mkdir(exist_ok=True)
    names = {"gpu": GPU, "cpu": NODE}
    domains = [Domain(names[k], k, k, "M1", 0.05) for k in series]
    nothing = [math.nan]
    trace = Trace(
        domains,
        {
            names[k]: Series(
                np.array([int((100 + t) * SECOND) for t, _, _ in rows]),
                *np.array([[w, j] for _, w, j in rows], np.float64).T,
                *(np.array(nothing * len(rows)) for _ in range(3)),
            )
            for k, rows in series.items()
        },
        facts={"rate_hz": 10.0},
    )  # fmt: skip
    trace.write_parquet(folder / "trace.parquet")
    events = [{"event": "window_start", "t_ns": 100 * SECOND}, *evals]
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    phases = [
        Phase(
            name=n, start_s=s, duration_s=d, energy_j=dict.fromkeys((names[k] for k in series), j)
        )
        for n, s, d, j in (("train", 0, 10, 500.0), ("evaluate", 10, 10, 100.0))
    ]
    domains_of = [make_domain(1e3, kind=k, method="integral") for k in series]
    return make_record(duration_s=20.0, domains=domains_of, phases=phases, energy_j=None)


def tenths(watts: float, start: float = 0.0, stop: float = 20.0) -> list[tuple[float, ...]]:
    return [(t / 10, watts, math.nan) for t in range(int(10 * start), int(10 * stop) + 1)]


def power_of(folder: Path, record: Record) -> list[float | None]:
    found = drawn(folder, record)["power"]
    assert not isinstance(found, str), found
    return list(found["power_w"])


def drawn(folder: Path, record: Record) -> dict[str, Any]:
    return rundata.facts_of(record, readings.read(folder, record), "entry")


def test_power_is_of_all_that_is_charged(tmp_path: Path) -> None:
    slow = [(float(t), 5.0, math.nan) for t in range(0, 21)]
    watts = power_of(tmp_path, traced(tmp_path, gpu=tenths(100.0), cpu=slow))
    assert watts == [105.0] * 200


def test_a_counter_without_power_gives_its_slope(tmp_path: Path) -> None:
    counted = [(t / 10, math.nan, 3.0 * t / 10) for t in range(-5, 206)]
    watts = power_of(tmp_path, traced(tmp_path, cpu=counted))
    assert watts == pytest.approx([3.0] * 200)


def test_where_one_meter_was_not_read_there_is_no_sum(tmp_path: Path) -> None:
    cpu = [*tenths(5.0, 0, 5), *tenths(5.0, 15, 20)]
    watts = power_of(tmp_path, traced(tmp_path, gpu=tenths(100.0), cpu=cpu))
    assert watts[20] == watts[180] == 105.0
    assert set(watts[60:140]) == {None}


def test_where_a_meter_came_late_or_ended_early_nothing_is_made_up(tmp_path: Path) -> None:
    watts = power_of(tmp_path, traced(tmp_path, gpu=tenths(100.0, 3, 17)))
    assert set(watts[:20]) == set(watts[-20:]) == {None}
    assert set(watts[30:170]) == {100.0}


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda f: (f / "trace.parquet").unlink(), "it has no trace"),
        (lambda f: (f / "trace.parquet").write_text("PAR1"), "its trace can't be read"),
        (lambda f: (f / "events.jsonl").write_text('{"event": 7}\n{'), "when the window began"),
    ],
)
def test_why_there_is_no_trace_is_said(tmp_path: Path, spoil: Any, why: str) -> None:
    record = traced(tmp_path, gpu=tenths(100.0))
    spoil(tmp_path)
    assert why in drawn(tmp_path, record)["power"]


def evaluation(at_s: float, value: Any, **facts: Any) -> dict[str, Any]:
    t_ns = int((100 + at_s) * SECOND)
    event = {"event": "eval", "t_ns": t_ns, "step": 1, "split": "tune", "metric": "accuracy"}
    return {**event, "value": value, **facts}


def test_learning_goes_over_the_energy_that_was_read(tmp_path: Path) -> None:
    evals = [evaluation(5, 0.5), evaluation(6, math.inf), evaluation(7, "x"), evaluation(15, 0.75)]
    evals += [evaluation(3, 0.1, split="scored"), evaluation(4, 0.2, metric="f1")]
    steep = [*tenths(150.0, 0, 9.9), *tenths(50.0, 10, 20)]  # 1,500 J, then 500
    record = traced(tmp_path, evals, gpu=steep)
    points = drawn(tmp_path, record)["learning"]["points"]
    assert [value for _, value in points] == [0.5, 0.75]
    assert [energy_j for energy_j, _ in points] == pytest.approx([375, 875], rel=0.01)


def test_a_thousand_evaluations_are_thinned_and_the_last_one_stays(tmp_path: Path) -> None:
    evals = [evaluation(i / 50, i / 1000) for i in range(1000)]
    record = traced(tmp_path, evals, gpu=tenths(100.0))
    points = drawn(tmp_path, record)["learning"]["points"]
    assert len(points) <= readings.MOST_SCORES
    assert points[-1][1] == 0.999


def test_of_very_many_phases_a_ruler_shows_the_longest() -> None:
    phases = [
        Phase(name="train", start_s=i, duration_s=1 + i / 1e4, energy_j={}) for i in range(900)
    ]
    found = rundata.spans(make_record(phases=phases))
    assert len(found) == rundata.MOST_SPANS
    assert found[-1][1] == 899


def test_right_answers_that_a_record_says_in_too_many_bytes_are_cut() -> None:
    bits = [True, False, True] * 3
    metric = make_metric(bits=bits)
    longer = metric.model_copy(update={"correct": pack_bits([*bits, *[True] * 40])})
    score = drawn(Path("nowhere"), make_record(metric=longer))["score"]
    assert score["correct"][:1] == pack_bits(bits)[:1]
    assert len(score["correct"]) == len(pack_bits(bits))


def test_another_trace_or_another_repeat_makes_a_runs_data_anew(contents: Contents) -> None:
    keys = {p.files[1]: p.key for p in runs.pieces(contents)}
    gone = next(r for r in contents.runs if sum(q.key == r.key for q in contents.runs) > 2)
    fewer = replace(contents, runs=tuple(r for r in contents.runs if r is not gone))
    after = {p.files[1]: p.key for p in runs.pieces(fewer)}
    changed = {f for f, key in after.items() if keys[f] != key}
    mates = {r.record.run_id for r in contents.runs if r.key == gone.key and r is not gone}
    assert changed == {paths.run_data(i) for i in mates}
