"""Comparisons that are made, and those that are refused with the reason."""

from __future__ import annotations

import io
import json
import math
import random
import statistics
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from scipy import stats

from bench.errors import UsageError
from bench.rank import compare
from bench.rank.compare import Energy, Score
from bench.record import Phase, Record, RunCost
from tests.rank.records import CPU, make_data, make_domain, make_entry, make_metric, make_record

LEFT = [i % 10 != 0 for i in range(872)]  # 784 right
RIGHT = [i % 10 != 0 and i % 100 != 1 for i in range(872)]  # nine of those wrong


def accuracy(first: Record, other: Record) -> Score | str:
    return compare.compare([first, other]).pairs[0].score


def energy(first: Record, other: Record, ledger: list[Record] | None = None) -> Energy | str:
    return compare.compare([first, other], ledger or []).pairs[0].energy


def with_bits(bits: list[bool], **changes: Any) -> Record:
    return make_record(metric=make_metric(bits=bits).model_copy(update=changes))


def printed(comparison: compare.Comparison, width: int = 80) -> str:
    out = io.StringIO()
    compare.render(comparison, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_mcnemar_counts_the_examples_that_only_one_got_right() -> None:
    found = accuracy(with_bits(LEFT), with_bits(RIGHT))
    assert isinstance(found, Score)
    assert (found.only_first, found.only_this) == (9, 0)
    assert found.difference == pytest.approx(-9 / 872)
    assert found.p == pytest.approx(2 / 2**9)


def test_equal_predictions_cannot_be_told_apart() -> None:
    found = accuracy(with_bits(LEFT), with_bits(LEFT))
    assert isinstance(found, Score)
    assert (found.only_first, found.only_this, found.p) == (0, 0, 1.0)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"data": make_data(False)}, "fingerprints"),
        ({"task": "rte"}, "the tasks differ"),
        ({"metric": make_metric(bits=LEFT[:800])}, "the scored examples differ"),
        (
            {"metric": make_metric().model_copy(update={"name": "f1"})},
            "scored by accuracy, the other by f1",
        ),
        ({"metric": make_metric().model_copy(update={"correct": None})}, "does not say"),
        ({"metric": make_metric().model_copy(update={"correct": "AAAA"})}, "does not say"),
        ({"metric": make_metric().model_copy(update={"correct": "#"})}, "does not say"),
        ({"status": "failed"}, "no metric"),
    ],
)
def test_accuracy_is_refused_with_the_reason(other: dict[str, Any], reason: str) -> None:
    found = accuracy(make_record(), make_record(**other))
    assert isinstance(found, str)
    assert reason in found


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"level": "M0"}, "one is measured, the other estimated"),
        ({"energy_j": None}, "not known"),
        ({"status": "interrupted"}, "did not reach its end"),
        ({"domains": [make_domain(1e4), make_domain(1e3, kind="cpu")]}, "gpu and gpu+cpu"),
    ],
)
def test_energy_is_refused_with_the_reason(other: dict[str, Any], reason: str) -> None:
    found = energy(make_record(), make_record(**other))
    assert isinstance(found, str)
    assert reason in found


def test_on_two_meters_both_uncertainties_count() -> None:
    there = make_record(energy_j=30_000, domains=[make_domain(30_000, domain="gpu:GPU-2")])
    found = energy(make_record(energy_j=20_000), there)
    assert isinstance(found, Energy)
    assert (found.basis, found.ratio) == ("meters", 1.5)
    assert found.interval == pytest.approx((1.5 / (1 + 0.02**0.5), 1.5 * (1 + 0.02**0.5)))


def test_estimates_of_two_machines_are_not_called_meters() -> None:
    one, other = (make_record(level="M0", hardware=f"CPU AMD EPYC, {n} cores") for n in (1, 2))
    found = energy(one, other)
    assert isinstance(found, Energy)
    assert found.basis == "meters"
    assert found.note.startswith("estimates of two machines, not measured:")


def test_what_is_not_known_of_a_run_is_said() -> None:
    record = make_record()
    lost = RunCost(
        role="part", run_id="0" * 16, record_sha256=None, task=None, model=None, hardware=None,
        level=None, coverage=None, energy_j=None, uncertainty_j=None, duration_s=None,
    )  # fmt: skip
    phases = [Phase(name="train", start_s=0, duration_s=80, energy_j={})]
    found = compare.compare([record, make_record(charged_runs=[lost], phases=phases)])
    assert found.runs[1].duration_s is None
    said = [" ".join(line.split()) for line in printed(found, 100).splitlines()]
    assert "time 1 min 35 s not known" in said
    assert "train 1 min 20 s, 4.72 Wh 1 min 20 s, energy not known" in said


def test_on_one_meter_the_gain_cancels_and_repeats_tell_the_scatter() -> None:
    draw = random.Random(1)
    a = [r.record for r in make_entry(4, energy_j=20_000, scatter=0.01, draw=draw)]
    b = [r.record for r in make_entry(4, energy_j=24_000, recipe="b", scatter=0.01, draw=draw)]
    found = energy(a[0], b[0], a + b)
    assert isinstance(found, Energy)
    assert found.basis == "repeats"
    assert found.interval is not None
    assert 1.1 < found.interval[0] < found.ratio < found.interval[1] < 1.3
    assert "gain cancels" in found.note
    assert "4 and 4 runs" in found.note


def test_without_repeats_the_scatter_is_not_known_and_no_interval_is_made_up() -> None:
    found = energy(make_record(), make_record(recipe="b"))
    assert isinstance(found, Energy)
    assert (found.interval, found.basis) == (None, "none")
    assert "not known" in found.note


def test_a_run_without_repeats_borrows_the_others_scatter_and_says_so() -> None:
    a = [r.record for r in make_entry(3)]
    found = energy(a[0], make_record(recipe="b"), a)
    assert isinstance(found, Energy)
    assert found.basis == "repeats"
    assert "(3 runs, of one of the two entries alone)" in found.note
    assert half_width(found) == pytest.approx(one_scatter(a))


def test_two_runs_of_one_entry_have_one_scatter_which_is_known_no_better_for_it() -> None:
    a = [r.record for r in make_entry(3)]
    found = energy(a[0], a[1], a)
    assert isinstance(found, Energy)
    assert "(3 runs)" in found.note
    assert half_width(found) == pytest.approx(one_scatter(a))


def half_width(found: Energy) -> float:
    """Of the logarithm."""
    assert found.interval
    return math.log(found.interval[1] / found.ratio)


def one_scatter(runs: list[Record]) -> float:
    """The t-interval's half width for the difference of two runs: n - 1 degrees of freedom."""
    spread = statistics.stdev(math.log(r.energy_j or 0) for r in runs)
    return float(stats.t.ppf(0.975, len(runs) - 1)) * spread * math.sqrt(2)


def test_repeats_that_do_not_count_tell_nothing() -> None:
    a = make_record()
    copies = [make_record(seed=a.spec.seed), make_record(status="interrupted")]
    found = energy(a, make_record(recipe="b"), copies)
    assert isinstance(found, Energy)
    assert found.basis == "none"


def test_processors_of_other_hardware_are_other_meters() -> None:
    found = energy(make_record(hardware=CPU), make_record(hardware="CPU AMD EPYC 9B14, 4 cores"))
    assert isinstance(found, Energy)
    assert found.basis == "meters"


def test_settings_that_differ_and_no_others() -> None:
    one = make_record(seed=1)
    other = make_record(seed=2, settings={"epochs": 4, "warmup": 0.1}, software={"torch": "2.12.0"})
    assert compare.compare([one, other]).settings == {
        "seed": [1, 2],
        "settings.epochs": [3, 4],
        "settings.warmup": [None, 0.1],
        "software.python": ["3.11.9", None],
        "software.torch": ["2.13.0", "2.12.0"],
    }


def test_more_than_two_are_each_set_beside_the_first() -> None:
    runs = [make_record(recipe=r) for r in "abc"]
    found = compare.compare(runs)
    assert [p.run_id for p in found.pairs] == [r.run_id for r in runs[1:]]
    assert found.settings["recipe"] == ["a", "b", "c"]


def test_one_run_is_not_a_comparison() -> None:
    with pytest.raises(UsageError):
        compare.compare([make_record()])


def test_a_run_that_did_not_end_has_no_time_to_compare() -> None:
    failed = make_record(status="failed", energy_j=None, domains=[])
    assert compare.compare([make_record(), failed]).pairs[0].duration_ratio is None
    assert compare.compare([make_record(), make_record(duration_s=190.0)]).pairs[
        0
    ].duration_ratio == pytest.approx(2)


def test_it_is_json() -> None:
    found = compare.compare([make_record(), make_record(level="M0"), make_record(status="failed")])
    document = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert list(document) == ["schema", "runs", "settings", "pairs"]
    assert document["runs"][0]["phases"]["train"]["duration_s"] == 80


def test_it_reads_well() -> None:
    a, b = with_bits(LEFT), with_bits(RIGHT)
    text = " ".join(printed(compare.compare([a, b])).split())
    assert "-1.03 points: 0 examples only B got right, 9 only A; these two models differ" in text
    assert "(McNemar's exact test, p = 0.0039)" in text
    assert "energy 1.00 times A's" in text
    assert "energy 5.56 Wh ±10% (M1, gpu)" in text
    assert "Nothing that was asked for differs" not in text


@pytest.mark.parametrize("name", ["\x1b[31m", "[bold]x[/bold]", "\u202e", "x" * 10_000, "a\nb"])
def test_hostile_names_stay_harmless(name: str) -> None:
    runs = [make_record(model=name), make_record(recipe=name, settings={name: name})]
    text = printed(compare.compare(runs))
    assert not set(text) & {"\x1b", "\u202e"}
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert len(text.splitlines()) < 80
