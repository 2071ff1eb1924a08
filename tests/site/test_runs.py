"""The page of a run, as a visitor sees it."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import record as records
from bench.record import Record
from bench.site import paths, readings, runs
from bench.site.checked import Checked, Said
from bench.site.contents import Contents
from bench.units import show_duration, show_energy
from tests.site import making

MEASURED = ("sst2", "all-minilm-l6-baseline-h200")
ESTIMATED = ("copa", "all-minilm-l6-baseline-10-epochs")
PAGE_BYTES, SVG_BYTES = 80_000, 25_000


def copied(tmp_path: Path, task: str, name: str) -> list[Path]:
    """An entry below `tmp_path`; the folders of its runs."""
    shutil.copytree(making.RESULTS / task / name, tmp_path / task / name)
    return sorted(p.parent for p in (tmp_path / task / name).glob("*/record.json"))


def written(folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """Change what a record says; its run's id."""
    path = folder / "record.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    return str(facts["run_id"])


def page_of(contents: Contents, run_id: str) -> str:
    found = [p for p in runs.pieces(contents) if p.files[0] == paths.run(run_id)]
    assert len(found) == 1
    text = found[0].make()[paths.run(run_id)]
    assert isinstance(text, str)
    return text


def text_of(page: str) -> str:
    """As it is read."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.fixture(scope="module")
def real() -> Contents:
    return making.read()


@pytest.fixture
def measured(real: Contents) -> tuple[Record, str]:
    folder = next((making.RESULTS.joinpath(*MEASURED)).glob("*/record.json")).parent
    record = records.read(folder)
    return record, page_of(real, record.run_id)


def keys(results: Path) -> dict[str, str]:
    return {piece.files[0]: piece.key for piece in runs.pieces(making.read(results))}


# --- what it says ------------------------------------------------------------------------------


def test_every_submitted_run_has_a_page(real: Contents) -> None:
    pages = {piece.files[0] for piece in runs.pieces(real)}
    found = {paths.run(p.parent.name) for p in making.RESULTS.glob("*/*/*/record.json")}
    assert pages == found


def test_numbers_are_those_of_the_record(measured: tuple[Record, str]) -> None:
    record, page = measured
    text = text_of(page)
    assert record.metric
    assert record.energy_j
    assert record.uncertainty_j
    assert f"{100 * record.metric.value:.1f} %" in text
    assert f"± {show_energy(record.uncertainty_j, record.energy_j)}" in text
    assert show_energy(record.energy_j) in text
    assert show_duration(record.duration_s) in text
    for sha256 in (
        record.spec.sha256(),
        record.code_sha256,
        *record.spec.data.fingerprints.values(),
    ):
        assert sha256 in text
    for name, value in record.spec.settings.items():
        assert value is None or f"{name} {value}" in text
    for name, value in record.software.items():
        assert f"{name} {value}" in text


def test_phases_of_one_name_share_a_row_that_has_their_sum(measured: tuple[Record, str]) -> None:
    record, page = measured
    text = text_of(page)
    for name in {p.name for p in record.phases}:
        energy_j = record.phase_energy_j(name)
        assert energy_j is not None
        times = sum(p.name == name for p in record.phases)
        shown = f"{name} {times} times" if times > 1 else name
        assert f"{shown} {show_energy(energy_j, record.window_energy_j)} ±" in text


def test_a_phase_is_no_surer_than_the_window(measured: tuple[Record, str]) -> None:
    record, _ = measured
    every = runs._unsure_j(record, record.phases)
    assert every is not None
    assert record.window_uncertainty_j is not None
    assert every >= record.window_uncertainty_j


def test_an_estimate_says_that_it_is_one(real: Contents) -> None:
    folder = next((making.RESULTS.joinpath(*ESTIMATED)).glob("*/record.json")).parent
    page = page_of(real, folder.name)
    assert 'class="headline estimated"' in page
    assert 'class="estimated-ground"' in page
    assert "estimated, not measured" in page
    assert "≈" in page
    assert ">measured<" not in page


def test_where_its_entry_stands_is_linked(real: Contents, measured: tuple[Record, str]) -> None:
    record, page = measured
    seat = real.seats[record.run_id]
    assert seat.entry.rank
    assert seat.entry.tier
    assert f"{seat.entry.tier.capitalize()}, rank {seat.entry.rank[0]}" in page
    tier = [e for e in seat.cell.entries if e.tier == seat.entry.tier]
    assert f" of {len(tier)}</b>" in page
    assert f"../{paths.entry('/'.join(MEASURED))}" in page
    assert f"../{paths.board('sst2')}#" in page
    assert f"../{paths.COMPARE}#{record.run_id}" in page


def test_pages_are_as_small_as_they_ought_to_be(real: Contents) -> None:
    for piece in runs.pieces(real):
        page, data = piece.make().values()
        assert isinstance(page, str)
        assert len(data) < 12_000
        assert len(page.encode()) < PAGE_BYTES
        drawn = re.findall(r'<svg class="drawing.*?(?=</div>|<figcaption>)', page, re.DOTALL)
        assert all(1000 < len(svg.encode()) < SVG_BYTES for svg in drawn)
        assert " style=" not in page
        assert "<style" not in page
        assert str(making.RESULTS) not in page


def test_its_trace_has_each_of_its_phases(measured: tuple[Record, str]) -> None:
    record, page = measured
    drawn = page.partition('<svg class="drawing power"')[2].partition("<figcaption>")[0]
    shades = re.findall(r'<rect class="p-(\w+)"', drawn)
    assert len(shades) == len(record.phases)
    assert [s for s in shades if s != "other"] == [
        p.name for p in record.phases if p.name != "other"
    ]


# --- the learning curve ------------------------------------------------------------------------


def test_scores_stand_above_the_energy_that_they_took(measured: tuple[Record, str]) -> None:
    record, _ = measured
    folder = making.RESULTS.joinpath(*MEASURED, record.run_id)
    learned = readings.read(folder, record).scores
    assert learned
    assert learned.final
    assert record.metric
    assert record.energy_j
    assert learned.unit == "Wh"
    assert learned.end == pytest.approx(record.energy_j / 3600)
    spent = [score.energy for score in learned.scores]
    assert spent == sorted(spent)
    assert spent[0] > 0
    assert spent[-1] < learned.end
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    evals = [e for e in told if e["event"] == "eval"]
    assert [s.step for s in learned.scores] == [e["step"] for e in evals]
    assert [s.value for s in learned.scores] == pytest.approx([100 * e["value"] for e in evals])
    assert learned.final.value == pytest.approx(100 * record.metric.value)


def test_energy_on_the_way_agrees_with_the_phases(measured: tuple[Record, str]) -> None:
    record, _ = measured
    folder = making.RESULTS.joinpath(*MEASURED, record.run_id)
    part = readings._part(folder, readings.events(folder))
    stops_ns = [part.opened_ns + 1e9 * (p.start_s + p.duration_s) for p in record.phases]
    taken_j = readings._taken_j(record, {0: part}, np.array(stops_ns))
    assert taken_j is not None
    assert record.energy_j
    sums_j = np.cumsum([record.energy_of(p) for p in record.phases])
    assert np.abs(taken_j - sums_j).max() < 0.03 * record.energy_j
    assert taken_j[-1] == pytest.approx(record.energy_j)


# --- runs that came to nothing, and files that hold nothing ------------------------------------


def test_a_failed_run_without_a_trace_has_a_page(tmp_path: Path) -> None:
    first, *_ = copied(tmp_path, *MEASURED)
    for name in ("trace.parquet", "predictions.parquet", "events.jsonl"):
        (first / name).unlink()
    run_id = written(
        first,
        lambda r: r.update(status="failed", failure="out of memory", metric=None, phases=[]),
    )
    text = text_of(page_of(making.read(tmp_path), run_id))
    assert "Failed. out of memory" in text
    assert "On no board : failed: out of memory" in text
    assert "No trace is drawn: is not there" in text
    assert "none: no predictions" not in text


def test_a_run_that_never_began_has_taken_nothing_that_is_known(real: Contents) -> None:
    folder = making.RESULTS / "rte" / "all-minilm-l6-baseline-5-epochs" / "e341729ecc1e4305"
    text = text_of(page_of(real, folder.name))
    assert "energy none no meter saw any in the window" in text
    assert "g CO2e" not in text
    assert "Interrupted. interrupted by SIGTERM. It is counted" in text


@pytest.mark.parametrize(
    "content", [b"", b"PAR1 and nothing else", b"PAR1" + 900 * b"\0" + b"PAR1"]
)
def test_a_damaged_trace_has_a_page_that_says_so(tmp_path: Path, content: bytes) -> None:
    first, *_ = copied(tmp_path, *MEASURED)
    (first / "trace.parquet").write_bytes(content)
    page = page_of(making.read(tmp_path), first.name)
    assert "No trace is drawn: " in page
    assert str(tmp_path) not in page


def test_a_file_that_the_checks_refuse_is_not_read(
    real: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = next(making.RESULTS.joinpath(*MEASURED).glob("*/record.json")).parent
    said = (Said("S7", "outline", "error", folder.name, "claims <too> much"),)
    monkeypatch.setattr(readings, "_trace", lambda folder: pytest.fail("read"))
    checked = {"/".join(MEASURED): Checked("T0", said)}
    text = text_of(page_of(replace(real, checked=checked), folder.name))
    assert "No trace is drawn: the checks refuse it, S7: claims <too> much." in text


def test_what_another_machine_did_not_hand_over_is_said_without_a_path(tmp_path: Path) -> None:
    first, *_ = copied(tmp_path, *MEASURED)
    nodes = [{"number": n, "machine": {}, "software": {}, "duration_s": 1.0} for n in (0, 1)]
    run_id = written(first, lambda r: r.update(nodes=nodes))
    page = page_of(making.read(tmp_path), run_id)
    assert "No trace is drawn: " in page
    assert str(tmp_path) not in page


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    first, second, *_ = copied(tmp_path, *MEASURED)
    (first / "trace.parquet").unlink()
    (first / "trace.parquet").symlink_to(second / "trace.parquet")
    text = text_of(page_of(making.read(tmp_path), first.name))
    assert "No trace is drawn: can't be opened" in text


def test_odd_events_are_no_scores(tmp_path: Path) -> None:
    first, *_ = copied(tmp_path, *MEASURED)
    odd: list[Any] = [
        '{"event": "eval"}', '"eval"', '{"event": "eval", "t_ns": "soon"}', '{"eval"',
        '{"event": "eval", "t_ns": 1, "split": 3, "metric": [], "step": 1, "value": 1}',
        '{"event": "eval", "t_ns": 1, "split": "x", "metric": "y", "step": 1, "value": NaN}',
        '{"event": "eval", "t_ns": 1, "split": "x", "metric": "y", "step": 1, "value": 1e999}',
    ]  # fmt: skip
    path = first / "events.jsonl"
    path.write_text("\n".join([*odd, path.read_text()]))
    record = records.read(first)
    learned = readings.read(first, record).scores
    assert learned
    assert len(learned.scores) == 3


def test_hostile_names_stay_harmless_text(tmp_path: Path) -> None:
    first, *_ = copied(tmp_path, *MEASURED)
    script, long, turned = "<script>alert(1)</script>", 10_000 * "x", "a\u202eb\u2066c\u0000d"

    def attack(record: dict[str, Any]) -> None:
        spec = record["spec"]
        spec |= {"model": script, "recipe": turned, "hardware": long, "budget": "=1+1"}
        spec["settings"] = {script: long, turned: script, "'\"><img src=x onerror=a>": "=cmd|x"}
        record["machine"] = {script: [script, {turned: long}], "gpus": [{"name": script}, 3]}
        record["software"] = {long: script}
        record["phases"][1]["name"] = script
        record["phases"][2]["name"] = "]]>" + turned + long
        record["domains"][0] |= {"device": script, "reason": turned + long}
        record["warnings"] = [{"id": script, "message": turned + long, "rankable": False}]
        record["not_covered"] = [script]

    run_id = written(first, attack)
    page = page_of(making.read(tmp_path), run_id)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert not set("\u202e\u2066\x00") & set(page)
    assert len(page) < 2 * PAGE_BYTES
    assert 3000 * "x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_many_phases_are_drawn_within_bounds(tmp_path: Path) -> None:
    first, *_ = copied(tmp_path, *MEASURED)

    def cut(record: dict[str, Any]) -> None:
        whole = record["phases"][0]
        record["phases"] = [
            {**whole, "name": f"p{n}", "start_s": n / 200, "duration_s": 1 / 200}
            for n in range(500)
        ]

    page = page_of(making.read(tmp_path), written(first, cut))
    assert len(page.encode()) < 2 * PAGE_BYTES
    assert "380 more of the shortest phases are not drawn." in page


# --- what others say of it ---------------------------------------------------------------------


def _speaks(results: Path, name: str, **about: Any) -> None:
    """Another entry that says something of the one that was copied."""
    own = json.loads((results.joinpath(*MEASURED) / "entry.json").read_text())
    facts = {k: own[k] for k in ("edition", "bench_version", "submitted_at", "task", "authors")}
    folder = results / "sst2" / name
    folder.mkdir(exist_ok=True)
    (folder / "entry.json").write_text(json.dumps({**facts, "title": name, **about}))


def test_a_retracted_run_says_so_and_why(tmp_path: Path) -> None:
    first, *_ = copied(tmp_path, *MEASURED)
    place = "/".join(MEASURED)
    _speaks(tmp_path, "back", kind="retraction", retracts=place, reason="a <b>wrong</b> meter")
    page = page_of(making.read(tmp_path), first.name)
    assert "<strong>Retracted.</strong> a &lt;b&gt;wrong&lt;/b&gt; meter" in page
    assert "On no board" in page


def test_a_superseded_run_links_to_its_heir(tmp_path: Path) -> None:
    first, *_ = copied(tmp_path, *MEASURED)
    heir = tmp_path / "sst2" / "heir"
    shutil.copytree(making.RESULTS / "sst2" / "all-minilm-l6-bf16-h200", heir)
    entry = json.loads((heir / "entry.json").read_text())
    (heir / "entry.json").write_text(json.dumps({**entry, "supersedes": "/".join(MEASURED)}))
    page = page_of(making.read(tmp_path), first.name)
    assert "<strong>Superseded</strong>" in page
    assert "../entries/sst2/heir.html" in page


def test_what_the_checks_say_is_in_full(real: Contents, measured: tuple[Record, str]) -> None:
    record, unchecked = measured
    assert "Not checked here" in unchecked
    said = (
        Said("S1", "files are there", "pass", None, ""),
        Said("P10", "power is possible", "pass", record.run_id, ""),
        Said("P2", "energy follows", "error", record.run_id, "2 J <are> missing"),
        Said("P3", "idle", "warning", "another run", "of another"),
        Said("W1", "weights", "skipped", record.run_id, "none"),
    )
    place = "/".join(MEASURED)
    page = page_of(replace(real, checked={place: Checked("T0", said)}), record.run_id)
    text = text_of(page)
    assert "2 rules passed, and 1 verdict is otherwise: T0" in text
    assert "error, P2 energy follows: 2 J <are> missing" in text
    assert "of another" not in text
    assert text.index("P10 power is possible") < text.index("S1 files are there")
    assert "1 rule that had nothing" in text
    assert "W1 weights" in text


# --- what recomputes it ------------------------------------------------------------------------


def test_the_command_trains_the_same(measured: tuple[Record, str]) -> None:
    record, page = measured
    commands = [html.unescape(c) for c in re.findall(r"<code>(bench .*?)</code>", page)]
    place = "/".join(MEASURED)
    assert f"bench check results/{place}" in commands
    assert f"bench verify {place}" in commands
    (run,) = [shlex.split(c) for c in commands if c.startswith("bench run ")]
    s = record.spec
    assert run[run.index("--model") + 1] == s.model
    assert "--pretrained" in run
    assert run[run.index("--task") + 1] == s.task
    assert run[run.index("--recipe") + 1] == s.recipe
    settings = dict(run[i + 1].split("=", 1) for i, word in enumerate(run) if word == "--set")
    assert settings == {n: str(v) for n, v in s.settings.items() if v is not None}
    assert "--seed" not in run


def test_a_program_of_ones_own_has_no_such_command(tmp_path: Path) -> None:
    first, *_ = copied(tmp_path, *MEASURED)
    run_id = written(first, lambda r: r["spec"].update(recipe="mine; rm -rf ~"))
    text = text_of(page_of(making.read(tmp_path), run_id))
    assert "bench run --task" not in text
    assert "No command here trains the same: its recipe" in text


def test_what_a_setting_says_is_one_word_of_the_command(tmp_path: Path) -> None:
    first, *_ = copied(tmp_path, *MEASURED)
    odd = "linear; rm -rf ~ 'x' $(id)"
    run_id = written(first, lambda r: r["spec"]["settings"].update(schedule=odd))
    page = page_of(making.read(tmp_path), run_id)
    (command,) = re.findall(r"<code>(bench run .*?)</code>", page)
    assert f"schedule={odd}" in shlex.split(html.unescape(command))


def test_files_are_offered_where_they_are(measured: tuple[Record, str]) -> None:
    record, page = measured
    place = "/".join(MEASURED)
    for name in ("record.json", "events.jsonl", "trace.parquet", "predictions.parquet"):
        assert f"../{paths.file(place, record.run_id, name)}" in page


# --- made again only where something changed ---------------------------------------------------


def test_a_page_follows_from_its_own_files_alone(tmp_path: Path) -> None:
    first, second, *_ = copied(tmp_path, *MEASURED)
    before = keys(tmp_path)
    assert keys(tmp_path) == before
    with (first / "events.jsonl").open("a") as file:
        file.write("\n")
    after = keys(tmp_path)
    assert {file for file in after if after[file] != before[file]} == {paths.run(first.name)}
    (second / "log.txt").write_text("more")
    assert keys(tmp_path)[paths.run(second.name)] != before[paths.run(second.name)]


def test_a_page_follows_from_what_others_say(tmp_path: Path) -> None:
    copied(tmp_path, *MEASURED)
    before = keys(tmp_path)
    _speaks(tmp_path, "back", kind="retraction", retracts="/".join(MEASURED), reason="why")
    assert not set(before.values()) & set(keys(tmp_path).values())


def test_a_page_follows_from_what_the_checks_say(real: Contents) -> None:
    place = "/".join(MEASURED)

    def checked(level: str) -> set[str]:
        known = replace(real, checked={place: Checked(level, ())})
        return {piece.key for piece in runs.pieces(known)}

    assert len(checked("T0") ^ checked("T1")) == 2 * len(real.by_place[place])


def test_no_file_is_read_to_know_what_to_make(
    real: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(real.seats), list(real.by_place)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("read")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert list(runs.pieces(real))


def test_a_page_is_the_same_twice(real: Contents, measured: tuple[Record, str]) -> None:
    record, page = measured
    assert page_of(real, record.run_id) == page
