"""Each rule of the board with a case that trips it."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from bench import record as records
from bench.cards import Card, Pinned
from bench.errors import UsageError
from bench.rank import board, costs
from bench.rank.board import Filters, build
from bench.rank.entry import Cell, Entry, Run
from bench.record import Warn
from tests.rank.records import (
    CPU,
    GPU,
    SST2,
    make_data,
    make_domain,
    make_entry,
    make_metric,
    make_record,
    make_run,
)

CARDS = {"sst2": SST2}


def entries(cells: list[Cell]) -> list[Entry]:
    return [e for c in cells for e in c.entries]


def only(runs: list[Run], **cards: Card) -> Entry:
    """The one entry that the runs form."""
    (entry,) = entries(build(runs, cards or CARDS))
    return entry


def ranks(cells: list[Cell]) -> dict[str, tuple[int, int] | None]:
    return {e.title: e.rank for e in entries(cells)}


# --- entries and seeds -------------------------------------------------------------------------


def test_three_runs_of_one_spec_are_a_ranked_entry() -> None:
    entry = only(make_entry(3))
    assert (entry.status, entry.tier, entry.rank) == ("ranked", "gold", (1, 1))
    assert (entry.counted, entry.attempts, entry.reasons) == (3, 3, ())


def test_fewer_than_three_runs_are_provisional() -> None:
    for n in (1, 2):
        entry = only(make_entry(n))
        assert (entry.status, entry.rank) == ("provisional", None)


def test_every_started_run_is_an_attempt() -> None:
    runs = [
        *make_entry(3),
        make_run(status="failed", energy_j=None, domains=[], started_at="2026-01-01T00:00Z"),
        make_run(status="interrupted"),
    ]
    entry = only(runs)
    assert (entry.status, entry.counted, entry.attempts) == ("ranked", 3, 5)
    assert entry.reasons == (
        "1 run failed: MemoryError: out of memory",
        "1 run interrupted",
    )


def test_an_entry_that_only_failed_is_shown() -> None:
    entry = only([make_run(status="failed", energy_j=None, domains=[])])
    assert (entry.status, entry.counted, entry.attempts) == ("unranked", 0, 1)
    assert entry.score is None


def test_a_replay_never_counts() -> None:
    entry = only([*make_entry(2), make_run(replay=True)])
    assert (entry.status, entry.counted, entry.attempts) == ("provisional", 2, 2)
    alone = only([make_run(replay=True)])
    assert (alone.status, alone.reasons) == (
        "unranked",
        ("1 run replayed a given seed (--seed): never ranked",),
    )


def test_a_repeated_seed_is_no_further_run_and_the_first_one_counts() -> None:
    first = make_run(seed=5, accuracy=0.92, started_at="2026-01-01T00:00:00Z")
    better = make_run(seed=5, accuracy=0.95, started_at="2026-01-02T00:00:00Z")
    entry = only([better, first, make_run(seed=6)])
    assert (entry.status, entry.counted, entry.attempts) == ("provisional", 2, 3)
    assert first in entry.runs
    assert better not in entry.runs


def test_other_settings_or_other_code_are_other_entries() -> None:
    runs = [make_run(), make_run(settings={"epochs": 4}), make_run(code_sha256="0" * 64)]
    assert len(entries(build(runs, CARDS))) == 3


def test_local_and_submitted_runs_stay_apart() -> None:
    found = entries(build([*make_entry(3), *make_entry(2, origin="local")], CARDS))
    assert {(e.origin, e.counted) for e in found} == {("results", 3), ("local", 2)}


def test_titles_say_what_tells_entries_apart() -> None:
    runs = [
        make_run(),
        make_run(settings={"epochs": 4}),
        make_run(recipe="bf16"),
        make_run(recipe="bf16", code_sha256="0" * 64),
    ]
    titles = [e.title for e in entries(build(runs, CARDS))]
    assert {"all-minilm-l6 · baseline · epochs=3", "all-minilm-l6 · baseline · epochs=4"} < set(
        titles
    )
    assert len(set(titles)) == 4


def test_titles_say_how_many_processes_trained() -> None:
    titles = {e.title for e in entries(build([make_run(), make_run(spec={"processes": 2})], CARDS))}
    assert titles == {f"all-minilm-l6 · baseline · processes={n}" for n in (1, 2)}


# --- what is not rankable ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"energy_j": None}, "without energy: gpu:GPU-1 could not be read"),
        ({"energy_j": 0.0}, "without energy"),
        ({"domains": []}, "without energy: no meter was read"),
        ({"metric": None}, "without a usable metric"),
        ({"metric": make_metric().model_copy(update={"value": float("nan")})}, "usable metric"),
        ({"metric": make_metric().model_copy(update={"best": 0.5, "chance": 0.5})}, "usable"),
        ({"metric": make_metric().model_copy(update={"name": "f1"})}, "scored by f1"),
        ({"warnings": [Warn(id="contended", message="two users", rankable=False)]}, "two users"),
        ({"status": "interrupted"}, "interrupted"),
    ],
)
def test_a_run_that_cannot_be_ranked_says_why(facts: dict[str, Any], reason: str) -> None:
    runs = [make_run(**facts) for _ in range(3)]
    (entry,) = entries(build(runs, CARDS))
    assert (entry.status, entry.counted, entry.rank) == ("unranked", 0, None)
    assert reason in entry.reasons[0]


def test_a_warning_alone_does_not_unrank() -> None:
    runs = make_entry(3, warnings=[Warn(id="tail", message="power did not fall in the tail")])
    assert only(runs).status == "ranked"


def test_a_run_that_spent_its_budget_counts() -> None:
    assert only(make_entry(3, status="budget")).status == "ranked"


def test_a_collapsed_run_makes_an_entry_unrankable_and_not_infinite() -> None:
    good = [make_run(accuracy=0.93 + 0.0001 * i) for i in range(60)]
    entry = only([*good, make_run(accuracy=0.5)])
    assert entry.status == "unranked"
    assert "at or below chance" in entry.reasons[-1]


def test_a_task_without_its_card_is_shown_and_not_ranked() -> None:
    (entry,) = entries(build(make_entry(3), {}))
    assert (entry.status, entry.reasons) == (
        "unranked",
        ("no task card of sst2 version 1 is at hand",),
    )
    newer = SST2.model_copy(update={"version": 2})
    (entry,) = entries(build(make_entry(3), {"sst2": newer}))
    assert entry.status == "unranked"


# --- tiers and ranks ---------------------------------------------------------------------------


def test_each_tier_is_its_own_table() -> None:
    runs = [
        *make_entry(accuracy=0.925, recipe="gold"),
        *make_entry(accuracy=0.890, recipe="silver"),
        *make_entry(accuracy=0.800, recipe="bronze"),
        *make_entry(accuracy=0.700, energy_j=10.0, recipe="below"),
        *make_entry(1, recipe="provisional"),
        *make_entry(replay=True, recipe="unranked"),
    ]
    (cell,) = build(runs, CARDS)
    assert [s.name for s in cell.sections] == list(board.SECTIONS)
    for section in cell.sections:
        (entry,) = section.entries
        assert entry.spec.recipe == section.name
        assert entry.rank == ((1, 1) if section.name in ("gold", "silver", "bronze") else None)
    assert [round(s.threshold or 0, 3) for s in cell.sections[:3]] == [0.914, 0.877, 0.760]


def test_the_tier_is_that_of_the_bound_over_runs() -> None:
    steady = [make_run(accuracy=a) for a in (0.920, 0.921, 0.922)]
    lucky = [make_run(accuracy=a, recipe="lucky") for a in (0.880, 0.921, 0.962)]
    tiers = {e.spec.recipe: e.tier for e in entries(build([*steady, *lucky], CARDS))}
    assert tiers == {"baseline": "gold", "lucky": "bronze"}


def test_less_energy_at_equal_accuracy_ranks_higher() -> None:
    draw = random.Random(1)
    runs = [
        r for i, j in enumerate((40_000, 20_000, 80_000))
        for r in make_entry(energy_j=j, recipe=f"r{i}", draw=draw)
    ]  # fmt: skip
    found = ranks(build(runs, CARDS))
    assert [found[f"all-minilm-l6 · r{i}"] for i in (1, 0, 2)] == [(1, 1), (2, 2), (3, 3)]


def test_entries_that_cannot_be_told_apart_share_ranks() -> None:
    draw = random.Random(2)
    runs = [
        *make_entry(energy_j=20_000, recipe="a", scatter=0.05, draw=draw),
        *make_entry(energy_j=20_100, recipe="b", scatter=0.05, draw=draw),
        *make_entry(energy_j=90_000, recipe="c", scatter=0.05, draw=draw),
    ]
    assert sorted(ranks(build(runs, CARDS)).values()) == [(1, 2), (1, 2), (3, 3)]  # type: ignore[type-var]


# --- cells -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "facts",
    [
        {"spec": {"edition": "1.1"}},
        {"spec": {"task_version": 2}},
        {"track": "open"},
        {"hardware": CPU},
        {"level": "M2"},
        {"level": "M0"},
        {"data": make_data(False)},
        {"domains": [make_domain(2e4), make_domain(900.0, kind="cpu")]},
    ],
)
def test_what_separates_cells(facts: dict[str, Any]) -> None:
    cells = build([*make_entry(3), *make_entry(3, **facts)], CARDS)
    assert len(cells) == 2
    assert [len(list(c.entries)) for c in cells] == [1, 1]


def test_one_core_is_one_however_a_record_spells_it() -> None:
    runs = [make_run(hardware=f"CPU AMD EPYC, {n}") for n in ("1 core", "1 cores", "11 cores")]
    places = [cell.place.hardware for cell in build(runs, CARDS)]
    assert places == ["CPU AMD EPYC, 1 core", "CPU AMD EPYC, 11 cores"]
    (cost, _) = costs.of(SST2, runs)
    assert (cost.hardware, cost.runs) == ("CPU AMD EPYC, 1 core", 2)


def test_an_estimate_never_stands_in_a_measured_table_and_comes_last() -> None:
    runs = [
        *make_entry(3, level="M0", energy_j=1.0),
        *make_entry(3, level="M1"),
        *make_entry(3, level="M0", track="scratch", model="a"),
        *make_entry(3, level="M2", track="scratch", model="z"),
    ]
    cells = build(runs, CARDS)
    assert [c.place.estimated for c in cells] == [False, False, True, True]
    for cell in cells:
        assert {r.record.level for e in cell.entries for r in e.runs} == {cell.place.level}
        assert cell.title.startswith("ESTIMATES, not measured") == cell.place.estimated
        assert bool(cell.notes) == cell.place.estimated


def test_one_estimated_domain_makes_the_whole_an_estimate() -> None:
    domains = [make_domain(2e4), make_domain(900.0, level="M0", kind="cpu")]
    (cell,) = build(make_entry(3, domains=domains), CARDS)
    assert cell.place.estimated


def test_other_data_has_a_board_of_its_own_and_says_so() -> None:
    official, other = build([*make_entry(3), *make_entry(3, data=make_data(False))], CARDS)
    assert (official.place.data, official.notes) == ("official", ())
    assert other.place.data == make_data(False).board()
    assert other.title.startswith("NOT SST-2")
    assert "embedded corpus" in other.notes[0]


def test_data_is_official_by_its_fingerprints_and_not_by_its_word() -> None:
    card = SST2.model_copy(
        update={"fingerprints": Pinned(train="1" * 64, scored="2" * 64, labels="3" * 64)}
    )
    true = {"train": "1" * 64, "scored": "2" * 64}
    false = {"train": "1" * 64, "scored": "4" * 64}
    for said in (True, False):
        (cell,) = build(
            [make_run(data=make_data(official=said, fingerprints=true))], {"sst2": card}
        )
        assert cell.place.data == "official"
        (cell,) = build(
            [make_run(data=make_data(official=said, fingerprints=false))], {"sst2": card}
        )
        assert cell.place.data not in ("official", "")
        unpinned = card.model_copy(update={"fingerprints": None})
        (cell,) = build([make_run(data=make_data(official=said))], {"sst2": unpinned})
        assert cell.place.data not in ("official", "")


def test_a_failure_without_a_meter_is_an_attempt_where_the_entry_stands() -> None:
    runs = [*make_entry(3), make_run(status="failed", energy_j=None, domains=[])]
    (cell,) = build(runs, CARDS)
    assert cell.place.coverage == "gpu"


def test_a_reference_no_better_than_chance_ranks_nobody() -> None:
    metric = make_metric(0.98).model_copy(update={"chance": 0.95})
    entry = only([make_run(metric=metric) for _ in range(3)])
    assert "no better than chance" in entry.reasons[-1]


# --- filters and order -------------------------------------------------------------------------


def zoo() -> list[Run]:
    draw = random.Random(3)
    return [
        *make_entry(energy_j=10_000, recipe="bf16", draw=draw),
        *make_entry(energy_j=20_000, recipe="baseline", draw=draw, origin="local"),
        *make_entry(energy_j=40_000, model="distilbert", draw=draw, started_at="2026-07-01T00:00Z"),
        *make_entry(hardware=CPU, track="scratch", level="M0", draw=draw),
        *make_entry(hardware=GPU.replace("1 x", "8 x"), draw=draw),
    ]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, 5),
        ({"task": "sst2"}, 5),
        ({"task": "rte"}, 0),
        ({"track": "scratch"}, 1),
        ({"hardware": "h100"}, 4),
        ({"hardware": "8 x nvidia"}, 1),
        ({"access": "one-device"}, 4),
        ({"access": "cluster"}, 1),
        ({"level": "M0"}, 1),
        ({"recipe": "bf16"}, 1),
        ({"model": "DistilBERT"}, 1),
        ({"origin": "local"}, 1),
        ({"since": "2026-07-01"}, 1),
        ({"until": "2026-06-30"}, 4),
    ],
)
def test_filters(filters: dict[str, str], expected: int) -> None:
    assert len(entries(build(zoo(), CARDS, Filters(**filters)))) == expected


@pytest.mark.parametrize(
    "filters",
    [
        {"track": "scrach"},
        {"access": "two"},
        {"level": "M9"},
        {"origin": "mine"},
        {"since": "yesterday"},
        {"until": "20260101"},
    ],
)
def test_a_wrong_filter_is_one_clear_error(filters: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        Filters(**filters)
    assert caught.value.hint


def test_hiding_competitors_changes_no_rank() -> None:
    everything = ranks(build(zoo(), CARDS))
    for filters in ({"model": "distilbert"}, {"recipe": "baseline"}, {"since": "2026-07-01"}):
        for title, rank in ranks(build(zoo(), CARDS, Filters(**filters))).items():
            assert everything[title] == rank


def test_the_submitted_board_is_ranked_without_local_entries() -> None:
    cells = build(zoo(), CARDS, Filters(origin="results", hardware="1 x"))
    assert ranks(cells)["all-minilm-l6 · bf16"] == (1, 1)
    assert ranks(cells)["distilbert · baseline"] == (2, 2)


def test_by_orders_rows_and_keeps_ranks() -> None:
    plain = build(zoo(), CARDS)
    for by in ("energy", "metric", "entry", "runs", "plain_ratio", "emissions"):
        assert ranks(build(zoo(), CARDS, by=by)) == ranks(plain)
    section = build(zoo(), CARDS, by="entry")[0].sections[0]
    assert [e.title for e in section.entries] == sorted(e.title for e in section.entries)
    section = build(zoo(), CARDS, by="emissions")[0].sections[0]
    assert [e.rank for e in section.entries] == [(1, 1), (2, 2), (3, 3)]


def test_an_unknown_column_is_answered_with_the_near_ones() -> None:
    with pytest.raises(UsageError, match="enrgy") as caught:
        build(zoo(), CARDS, by="enrgy")
    assert "energy" in (caught.value.hint or "")


# --- reading -----------------------------------------------------------------------------------


def lay(root: Path, run: Run) -> Path:
    folder = root / run.record.spec.task / run.record.run_id
    folder.mkdir(parents=True)
    records.write(run.record, folder)
    return folder


def test_load_marks_where_a_run_lies_and_takes_a_submitted_copy_once(tmp_path: Path) -> None:
    mine, shared = make_run(), make_run()
    lay(tmp_path / "runs", mine)
    lay(tmp_path / "runs", shared)
    lay(tmp_path / "results", shared)
    runs, broken = board.load([(tmp_path / "runs", "local"), (tmp_path / "results", "results")])
    assert {(r.record.run_id, r.origin) for r in runs} == {
        (mine.record.run_id, "local"),
        (shared.record.run_id, "results"),
    }
    assert broken == []


def test_a_root_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert board.load([(tmp_path / "nowhere", "local")]) == ([], [])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 99}', b"[" * 100_000],
)
def test_a_broken_folder_is_one_line_and_the_others_go_on(tmp_path: Path, content: bytes) -> None:
    lay(tmp_path, make_run())
    (lay(tmp_path, make_run()) / "record.json").write_bytes(content)
    (tmp_path / "sst2" / "folder" / "record.json").mkdir(parents=True)
    runs, broken = board.load([(tmp_path, "local")])
    assert len(runs) == 1
    assert len(broken) == 2
    assert all("\n" not in line for line in broken)


def test_a_record_with_missing_or_unknown_fields_is_left_out(tmp_path: Path) -> None:
    path = lay(tmp_path, make_run()) / "record.json"
    facts = json.loads(path.read_text())
    for broken_facts in ({**facts, "extra": 1}, {k: v for k, v in facts.items() if k != "spec"}):
        path.write_text(json.dumps(broken_facts))
        runs, broken = board.load([(tmp_path, "local")])
        assert (runs, len(broken)) == ([], 1)


def test_a_thousand_runs_load_and_rank_quickly(tmp_path: Path) -> None:
    for i in range(250):
        for run in make_entry(4, energy_j=10_000 + 100 * i, recipe=f"r{i}"):
            folder = tmp_path / run.record.run_id
            folder.mkdir()
            (folder / "record.json").write_text(run.record.model_dump_json())
    began = time.process_time()
    runs, _ = board.load([(tmp_path, "local")])
    cells = build(runs, CARDS)
    assert len(entries(cells)) == 250
    assert time.process_time() - began < 3  # 0.5 when it was written


def test_the_board_does_not_depend_on_the_order_of_runs() -> None:
    runs = zoo()
    expected = [dataclasses.astuple(e)[:3] for e in entries(build(runs, CARDS))]
    random.Random(9).shuffle(runs)
    assert [dataclasses.astuple(e)[:3] for e in entries(build(runs, CARDS))] == expected


def test_records_are_not_changed() -> None:
    record = make_record()
    before = record.model_dump_json()
    build([Run(record, Path("x"), "local")], CARDS)
    assert record.model_dump_json() == before
