"""What each column holds, and that a missing reading stays missing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bench.errors import UsageError
from bench.rank import columns
from bench.rank.board import build
from bench.rank.columns import COLUMNS, Value, named
from bench.rank.entry import Entry, Place, Run
from bench.record import Idle, Phase, Warn
from tests.rank.records import CHANCE, CPU, GPU, SST2, make_domain, make_run
from tests.test_reference import made


@dataclass(frozen=True)
class Grid:
    name: str = "United States"
    year: int = 2024
    source: str = "Ember"
    kind: str = "life-cycle"
    g_per_kwh: float = 400.0


@dataclass(frozen=True)
class Building:
    value: float = 1.0


@dataclass(frozen=True)
class Scenario:
    region: Grid = Grid()
    pue: Building = Building()

    def emissions_g(self, energy_j: float) -> float:
        return energy_j / 3.6e6 * self.pue.value * self.region.g_per_kwh


def entry_of(*runs: Run) -> Entry:
    (cell,) = build(runs, {"sst2": SST2})
    (entry,) = cell.entries
    return entry


def value(key: str, entry: Entry) -> Value:
    return named(key).value(entry, Scenario())


def spread(key: str, entry: Entry) -> float | None:
    of = named(key).spread
    return of(entry) if of else None


def test_numbers_of_an_entry() -> None:
    entry = entry_of(*(make_run(accuracy=800 / 872, energy_j=j) for j in (16e3, 18e3, 20e3)))
    skill = (800 / 872 - CHANCE) / (1 - CHANCE)
    assert value("metric", entry) == pytest.approx(800 / 872)
    assert value("skill", entry) == pytest.approx(skill)
    assert value("energy", entry) == pytest.approx(0.005)
    assert value("score", entry) == pytest.approx(skill / 0.0055)
    assert value("plain_ratio", entry) == pytest.approx(800 / 872 / 0.005)
    assert value("emissions", entry) == pytest.approx(2.0)
    assert value("duration", entry) == 95.0
    assert value("prediction_energy", entry) == pytest.approx(1000 * 0.05 * 18e3 / 872)
    assert value("idle_power", entry) == pytest.approx(71.3)
    assert value("energy_scatter", entry) == pytest.approx(100 * 2 / 18)
    assert (value("runs", entry), value("attempts", entry), value("warnings", entry)) == (3, 3, 0)


def test_the_meters_uncertainty_does_not_shrink_with_more_runs() -> None:
    assert spread("energy", entry_of(make_run(energy_j=18e3))) == pytest.approx(0.0005)
    assert spread("energy", entry_of(*(make_run(energy_j=18e3) for _ in range(9)))) == (
        pytest.approx(0.0005)
    )


def test_an_estimates_uncertainty_is_its_band() -> None:
    assert spread("energy", entry_of(make_run(energy_j=18e3, level="M0"))) == pytest.approx(0.002)


def test_independent_meters_add_in_squares() -> None:
    domains = [
        make_domain(20e3, uncertainty_j=300.0),
        make_domain(2e3, kind="cpu", uncertainty_j=400.0),
    ]
    assert spread("energy", entry_of(make_run(domains=domains))) == pytest.approx(500 / 3.6e6)


def test_an_unknown_uncertainty_is_not_zero() -> None:
    domains = [make_domain(20e3), make_domain(2e3, kind="cpu", uncertainty_j=None)]
    assert spread("energy", entry_of(make_run(domains=domains))) is None
    of_one = [make_run(domains=d, energy_j=22e3) for d in (domains, domains)]
    known = [domains[0], make_domain(2e3, kind="cpu")]
    assert spread("energy", entry_of(make_run(domains=known), *of_one)) is None


def test_one_run_says_nothing_about_scatter() -> None:
    entry = entry_of(make_run())
    assert spread("metric", entry) is None
    assert spread("score", entry) is None
    assert value("energy_scatter", entry) is None


def test_what_could_not_be_read_is_missing_and_never_zero() -> None:
    unread = make_run(energy_j=None)
    for key in ("energy", "score", "plain_ratio", "emissions", "prediction_energy"):
        assert value(key, entry_of(unread)) is None
    no_phases = make_run(phases=[Phase(name="predict", start_s=0, duration_s=1, energy_j={})])
    assert value("prediction_energy", entry_of(no_phases)) is None
    no_idle = make_run(idle_before=Idle(duration_s=3, power_w={"gpu:another": 70.0}))
    assert value("idle_power", entry_of(no_idle)) is None
    assert value("idle_power", entry_of(make_run(idle_before=None))) is None


def test_an_entry_without_any_number_has_a_value_or_none_in_every_column() -> None:
    entry = entry_of(make_run(status="failed", energy_j=None, domains=[], phases=[]))
    found = {c.key: c.value(entry, None) for c in COLUMNS}
    assert found["model"] == "all-minilm-l6"
    assert found["score"] is None
    assert all(c.show(found[c.key]) is not None for c in COLUMNS)


def test_warnings_are_counted_once_by_id() -> None:
    twice = [Warn(id="tail", message="a"), Warn(id="idle", message="b")]
    assert value("warnings", entry_of(make_run(warnings=twice), make_run(warnings=twice))) == 2


def test_emissions_need_a_grid() -> None:
    assert named("emissions").value(entry_of(make_run()), None) is None


@pytest.mark.parametrize(
    ("hardware", "access"),
    [
        (GPU, "one-device"),
        (CPU, "one-device"),
        ("8 x NVIDIA H100 80GB HBM3", "cluster"),
        ("2 nodes of 1 x NVIDIA A100", "cluster"),
        ("12 x", "cluster"),
        ("", "one-device"),
    ],
)
def test_access(hardware: str, access: str) -> None:
    assert Place("t", 1, "official", "1.0", "open", hardware, "M1", "gpu").access == access


def test_keys_are_unique_and_headings_have_units() -> None:
    assert len({c.key for c in COLUMNS}) == len(COLUMNS)
    assert len({c.heading for c in COLUMNS}) == len(COLUMNS)
    assert named("energy").heading == "energy (kWh)"


def test_sorting_puts_the_better_first_and_the_unknown_last() -> None:
    runs = [
        make_run(recipe="a", energy_j=3e4, accuracy=0.92),
        make_run(recipe="b", energy_j=1e4, accuracy=0.90),
        make_run(recipe="c", energy_j=2e4, accuracy=0.94),
    ]
    cells = build(runs, {"sst2": SST2})

    def order(by: str) -> str:
        (cell,) = columns.sort(cells, by)
        return "".join(e.spec.recipe for e in cell.sections[0].entries)

    assert (order("energy"), order("emissions"), order("metric")) == ("bca", "bca", "cab")
    assert (order("recipe"), order("plain_ratio")) == ("abc", "bca")
    assert order("energy_scatter") == order("score")  # nothing known: as they were


def test_no_column_of_that_name() -> None:
    with pytest.raises(UsageError, match="no column is called 'scor'"):
        named("scor")


def test_boards_of_one_kind_share_their_gain() -> None:
    domains = [make_domain(20e3, uncertainty_j=300.0), make_domain(20e3, uncertainty_j=400.0)]
    assert spread("energy", entry_of(make_run(domains=domains))) == pytest.approx(700 / 3.6e6)


def test_energy_over_the_reference_job_compares_across_machines() -> None:
    job = made()
    entry = entry_of(*[make_run(seed=i, energy_j=9_000, reference=job) for i in range(3)])
    assert named("reference").value(entry, None) == pytest.approx(9_000 / job.energy_j)
    assert named("reference").value(entry_of(make_run()), None) is None
