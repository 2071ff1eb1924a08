"""The arithmetic of the page that compares runs is that of Python, and so are its words."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench import record as records
from bench import units
from bench.rank import compare, notation, score
from bench.record import Record, RunCost
from bench.site import readings, rundata
from tests.rank.records import CPU, make_data, make_domain, make_entry, make_metric, make_record
from tests.site import making

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.site.browser import Visitor

pytest_plugins = ("tests.site.comparing",)

NEAR = 1e-10  # relative; what is asked for is 1e-9


@pytest.fixture
def page(open_compare: Visitor) -> Page:
    return open_compare("compare.html")


def asked(page: Page, function: str, *arguments: list[Any]) -> list[Any]:
    """What a function of the page's arithmetic says for each list of arguments."""
    found: list[Any] = page.evaluate(f"each => each.map(a => {function}(...a))", list(arguments))
    return found


def test_mcnemar_is_exact_for_few_and_for_many(page: Page) -> None:
    draw = random.Random(7)
    pairs = [[0, 0], [0, 1], [9, 0], [5, 5], [6, 5], [1000, 1100], [20000, 21000], [0, 900]]
    pairs += [[draw.randrange(400), draw.randrange(400)] for _ in range(300)]
    pairs += [[draw.randrange(9000), draw.randrange(9000)] for _ in range(30)]
    for pair, found in zip(pairs, asked(page, "bench.statistics.mcnemar", *pairs), strict=True):
        assert found == pytest.approx(score.mcnemar(*pair), rel=1e-9, abs=1e-300), pair


def test_students_quantile_takes_any_degrees_of_freedom(page: Page) -> None:
    draw = random.Random(8)
    cases = [[df, 0.975] for df in (1, 1.0000001, 1.5, 2, 3, 10, 59.5, 1e3, 1e6)]
    cases += [[10 ** draw.uniform(0, 4), draw.uniform(0.6, 0.9995)] for _ in range(300)]
    for case, found in zip(cases, asked(page, "bench.statistics.tQuantile", *cases), strict=True):
        assert found == pytest.approx(score._t_quantile(*case), rel=NEAR), case


def test_intervals_of_ratios_are_pythons(page: Page) -> None:
    draw = random.Random(9)

    def scatter() -> list[float]:
        return [10 ** draw.uniform(-3, 0), draw.randrange(2, 30)]

    cases: list[list[Any]] = [
        [10 ** draw.uniform(-3, 3), [scatter() for _ in range(draw.choice((1, 2)))]]
        for _ in range(300)
    ]
    found = asked(page, "bench.statistics.ratioInterval", *cases)
    for (ratio, scatters), ends in zip(cases, found, strict=True):
        wanted = score.ratio_interval(ratio, *((s, int(n)) for s, n in scatters))
        assert ends == pytest.approx(wanted, rel=NEAR)


def test_numbers_are_written_as_python_writes_them_halves_too(page: Page) -> None:
    draw = random.Random(10)
    values = [0.0, 1.0, 0.125, 2.125, 2.135, 999.5, 1125.0, 1135.0, 99.95, 1e-7, 1e-30, 123456.5]
    values += [draw.randrange(1, 4096) / 2 ** draw.randrange(12) for _ in range(400)]
    values += [10 ** draw.uniform(-9, 12) for _ in range(400)]
    said = asked(page, "bench.statistics.significant", *([v] for v in values))
    assert said == [units.significant(v) for v in values]
    said = asked(page, "bench.statistics.significant", *([v, 4] for v in values))
    assert said == [units.significant(v, 4) for v in values]
    said = asked(page, "bench.statistics.energy", *([v] for v in values))
    assert said == [units.show_energy(v) for v in values]
    said = asked(page, "bench.statistics.energy", *([v, 5e3] for v in values))
    assert said == [units.show_energy(v, 5e3) for v in values]
    times = [*values, 59.949, 59.95, 60.5, 3599.5, 3600.0, 5430.0, 7170.0]
    said = asked(page, "bench.statistics.duration", *([v] for v in times))
    assert said == [units.show_duration(v) for v in times]


@pytest.mark.parametrize("name", ["accuracy", "bleu", "perplexity", "accuracy,mismatched", "new"])
def test_metrics_and_their_differences_are_written_as_python_writes_them(
    page: Page, name: str
) -> None:
    how = notation.of(name)
    draw = random.Random(11)
    values = [0.5, 0.0005, -0.0003125, *(draw.uniform(-1, 1) for _ in range(100))]
    listed = rundata.as_list(how)
    said = asked(page, "bench.statistics.difference", *([listed, v] for v in values))
    assert said == [how.difference(v) for v in values]
    said = asked(page, "bench.statistics.metric", *([listed, abs(v)] for v in values))
    assert said == [notation.named(name, abs(v)) for v in values]


# --- whole comparisons -------------------------------------------------------------------------


def by_python(runs: list[Record], ledger: list[Record]) -> dict[str, Any]:
    keys = {r.entry_key() for r in runs}
    found = compare.compare(runs, [r for r in ledger if r.entry_key() in keys])
    metric = found.runs[0].metric or "metric"
    return {
        "settings": {n: [plainly(v) for v in values] for n, values in found.settings.items()},
        "pairs": [
            (
                vars(p.score) if isinstance(p.score, compare.Score) else p.score,
                vars(p.energy) if isinstance(p.energy, compare.Energy) else p.energy,
                p.duration_ratio,
                compare._score_text(p.score, name, metric),
                compare._energy_text(p.energy),
            )
            for name, p in zip("BCD", found.pairs, strict=False)
        ],
    }  # fmt: skip


def plainly(value: Any) -> Any:
    odd = isinstance(value, int) and abs(value) >= 2**53
    return str(value) if odd or value != value else value


IN_THE_BROWSER = """([facts, groups]) => groups.map(ids => {
    const runs = ids.map(id => facts[id]);
    const c = bench.comparison, found = c.compare(runs);
    const metric = runs[0].side.metric || "metric";
    const how = runs[0].score ? runs[0].score.notation : [metric, "", 1, null];
    return {
        settings: Object.fromEntries(found.settings.map(([name, values]) =>
            [name, values.map(v => Array.isArray(v) ? v[0] : v)])),
        pairs: found.pairs.map((p, i) => [p.score, p.energy, p.duration_ratio,
            c.scoreText(p.score, how, "BCD"[i], metric), c.energyText(p.energy)]),
    };
})"""


def told(page: Page, groups: list[list[Record]], ledger: list[Record], folders: Any) -> None:
    """Fails unless the page says of each group what Python does."""
    members = {r.run_id: r for group in groups for r in group}.values()
    facts = {}
    for r in members:
        mates = [q for q in ledger if q.entry_key() == r.entry_key()]
        scatter = compare.repeats(r, mates)
        seen = readings.read(folders(r), r)
        facts[r.run_id] = rundata.facts_of(r, seen, r.entry_key(), scatter)
    ids = [[r.run_id for r in group] for group in groups]
    found = page.evaluate(IN_THE_BROWSER, [facts, ids])
    for group, said in zip(groups, found, strict=True):
        wanted = by_python(group, ledger)
        assert said["settings"] == wanted["settings"]
        for mine, its in zip(said["pairs"], wanted["pairs"], strict=True):
            assert not unlike(flat(mine), flat(its)), (group, mine, its)
            assert mine[3:] == list(its[3:])


def unlike(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of what differs, by more than 1e-9 of a number."""
    return [
        name
        for name in {**found, **wanted}
        if (a := found.get(name)) != (b := wanted.get(name))
        and not (isinstance(a, float | int) and isinstance(b, float) and math.isclose(a, b))
    ]


def flat(pair: Any) -> dict[str, Any]:
    """Numbers and texts of a pair by name, without what is not there."""
    found: dict[str, Any] = {}
    for name, part in zip(("score", "energy", "time"), pair, strict=False):
        parts = part if isinstance(part, dict) else {"": part}
        for key, value in parts.items():
            values = value if isinstance(value, list | tuple) else [value]
            found |= {f"{name}.{key}.{i}": v for i, v in enumerate(values) if v is not None}
    return found


def test_pairs_of_what_was_submitted_compare_as_in_a_terminal(page: Page) -> None:
    runs = {r.record.run_id: r for r in making.read().runs}
    draw = random.Random(12)
    several = [i for i, r in runs.items() if sum(q.key == r.key for q in runs.values()) > 1]
    ids = [[draw.choice(several), draw.choice(list(runs))] for _ in range(60)]
    ids += [draw.sample(list(runs), 4) for _ in range(10)]
    whole = {i: records.read(runs[i].folder) for i in {i for group in ids for i in group}}
    told(
        page, [[whole[i] for i in group] for group in ids if len({*group}) == len(group)],
        [r.record for r in runs.values()], lambda r: runs[r.run_id].folder,
    )  # fmt: skip


BITS = [i % 10 != 0 for i in range(872)]


def odd_records() -> list[Record]:
    """Each trips one of the reasons not to compare, or one of the notes."""
    metric = make_metric()
    lost = RunCost(
        role="part", run_id="0" * 16, record_sha256=None, task=None, model=None, hardware=None,
        level=None, coverage=None, energy_j=None, uncertainty_j=None, duration_s=None,
    )  # fmt: skip
    perplexity = metric.model_copy(
        update={"name": "perplexity", "value": 30.5, "chance": 100.0, "best": 1.0, "correct": None}
    )
    return [
        make_record(),
        make_record(metric=make_metric(bits=BITS), duration_s=190.0),
        make_record(metric=make_metric(bits=[*BITS[:-1], not BITS[-1]])),
        make_record(metric=make_metric(bits=BITS[:800])),
        make_record(task="rte"),
        make_record(data=make_data(False)),
        make_record(metric=metric.model_copy(update={"name": "f1"})),
        make_record(metric=metric.model_copy(update={"name": "f1", "value": 0.7})),
        make_record(metric=metric.model_copy(update={"correct": None})),
        make_record(metric=metric.model_copy(update={"correct": "AAAA"})),
        make_record(metric=metric.model_copy(update={"correct": "#"})),
        make_record(metric=perplexity),
        make_record(metric=perplexity.model_copy(update={"value": 28.25})),
        make_record(status="failed"),
        make_record(status="interrupted"),
        make_record(status="budget"),
        make_record(energy_j=None),
        make_record(level="M0", hardware=CPU),
        make_record(level="M0", hardware="CPU AMD EPYC 9B14, 4 cores"),
        make_record(energy_j=30_000, domains=[make_domain(30_000, domain="gpu:GPU-2")]),
        make_record(domains=[make_domain(1e4, domain="gpu:GPU-3", uncertainty_j=None)]),
        make_record(domains=[make_domain(1e4), make_domain(1e3, kind="cpu")]),
        make_record(charged_runs=[lost]),
        make_record(settings={"big": 2**60, "flag": True, "bad": math.nan, "text": "x"}),
        make_record(settings={"big": 2**60 + 1, "flag": 1, "bad": math.nan, "epochs": 3.0}),
    ]


def test_every_reason_and_every_note_is_pythons(page: Page, tmp_path: Path) -> None:
    odd = odd_records()
    groups = [list(pair) for pair in itertools.permutations(odd, 2)]
    told(page, groups, odd, lambda r: tmp_path)


def test_repeats_of_entries_give_the_intervals_that_python_gives(
    page: Page, tmp_path: Path
) -> None:
    draw = random.Random(13)
    ledger: list[Record] = []
    for number in range(8):
        many = draw.randrange(1, 6)
        drawn = make_entry(
            many, energy_j=draw.uniform(1e3, 1e5), recipe=f"r{number}", draw=draw,
            scatter=10 ** draw.uniform(-4, -1),
        )  # fmt: skip
        ledger += [r.record for r in drawn]
    groups = [draw.sample(ledger, 2) for _ in range(120)]
    told(page, groups, ledger, lambda r: tmp_path)
