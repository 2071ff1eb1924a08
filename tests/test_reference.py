"""The reference job: what is kept of it, when it speaks for this machine, and that it runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import record, reference
from bench.child import Outcome
from bench.errors import BenchError
from bench.record import Idle, Warn
from bench.reference import Reference, Repetition
from tests.command import write_reviews
from tests.rank.records import make_domain, make_record


def made(**changes) -> Reference:
    facts = {
        "bench_version": "0.1.0", "measured_at": "2026-01-02T03:04:05+00:00",
        "hardware": "1 x NVIDIA H100", "device": "cuda", "level": "M1", "coverage": "gpu+cpu",
        "workload": reference.workload(), "code_sha256": reference.code_sha256(),
        "repetitions": [
            Repetition(energy_j=joules, uncertainty_j=100.0, duration_s=5.0)
            for joules in (990.0, 1000.0, 1010.0)
        ],
        "idle": Idle(duration_s=5.0, power_w={"gpu:GPU-1": 60.0, "cpu:package-0": 40.0}),
        "machine": {}, "software": reference.machine.software(), "warnings": [],
    }  # fmt: skip
    return Reference(**{**facts, **changes})


# --- what it says


def test_mean_scatter_and_uncertainty() -> None:
    kept = made()
    assert kept.energy_j == 1000
    assert kept.scatter_j == pytest.approx(10)
    assert kept.uncertainty_j == pytest.approx(math.hypot(100, 20 / math.sqrt(3)))
    assert kept.power_w == 200
    assert kept.idle_w == 100


def test_idle_power_is_of_all_that_counts_or_of_nothing() -> None:
    gpu, cpu = make_domain(1e3), make_domain(1e2, kind="cpu")
    power_w = {gpu.domain: 60.0, cpu.domain: 40.0, "gpu:another": 9.0}

    def idle_w(**power_w: float) -> float | None:
        idle = Idle(duration_s=5.0, power_w=power_w)
        records = [make_record(domains=[gpu, cpu], idle_before=idle) for _ in range(3)]
        return reference._reference(records[0], records).idle_w

    assert idle_w(**power_w) == 100.0
    del power_w[cpu.domain]
    assert idle_w(**power_w) is None


def test_repeating_does_not_make_a_meter_right() -> None:
    many = [Repetition(energy_j=1000.0 + i % 2, uncertainty_j=100.0, duration_s=5.0) for i in
            range(100)]  # fmt: skip
    assert made(repetitions=many).uncertainty_j == pytest.approx(100, rel=0.01)
    unknown = [Repetition(energy_j=1.0, uncertainty_j=None, duration_s=1.0)] * 3
    assert made(repetitions=unknown).uncertainty_j is None


# --- keeping


def test_one_of_each_hardware_device_level_and_coverage_is_kept() -> None:
    reference.store(made())
    reference.store(made(coverage="gpu"))
    file = reference.store(made(measured_at="2026-02-02T00:00:00+00:00"))
    assert file == reference.path()
    assert [(r.coverage, r.measured_at[:7]) for r in reference.stored()] == [
        ("gpu+cpu", "2026-02"), ("gpu", "2026-01")
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reference.path() == tmp_path / "data" / "wattbench" / "reference.json"
    monkeypatch.setenv("BENCH_REFERENCE", str(tmp_path / "mine.json"))
    assert reference.path() == tmp_path / "mine.json"
    monkeypatch.delenv("BENCH_REFERENCE")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert reference.path() == tmp_path / ".local" / "share" / "wattbench" / "reference.json"


def test_those_of_this_hardware_and_device_are_current_the_newest_first() -> None:
    assert reference.current("1 x NVIDIA H100", "cuda") == []
    newer = made(level="M0", measured_at="2026-03-01")
    for kept in (newer, made(), made(hardware="CPU", device="cpu")):
        reference.store(kept)
    assert reference.current("1 x NVIDIA H100", "cuda") == [newer, made()]
    assert reference.current("1 x NVIDIA H100", "cpu") == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"code_sha256": "0" * 64}, "the code that trains or meters has changed since bench 0.1.0"),
        ({"software": {"torch": "1.0"}}, "it was made with torch 1.0"),
    ],
)
def test_a_stale_one_is_shown_as_such_and_not_used(bench, changes: dict, says: str) -> None:
    reference.store(made(**changes))
    assert reference.current("1 x NVIDIA H100", "cuda") == []
    said = bench("reference", "--show")
    assert said.code == 0
    assert f"stale: {says}" in " ".join(said.out.split())


def test_one_by_meters_that_were_calibrated_since_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    made_at = "2026-01-02T03:04:05+00:00"
    for date, stale in (("2026-01-03T00:00:00+00:00", True), ("2026-01-01T00:00:00+00:00", False)):
        made_then = SimpleNamespace(date=date)
        monkeypatch.setattr(reference.calibration.Calibration, "read", lambda: made_then)  # noqa: B023
        assert bool(reference.why_stale(made(level="M3", measured_at=made_at))) is stale
        assert reference.why_stale(made(level="M1", measured_at=made_at)) is None


def test_the_workload_makes_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reference.code_sha256()
    assert before == reference.code_sha256()
    monkeypatch.setitem(reference.SETTINGS, "epochs", "2")
    assert reference.code_sha256() != before


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        ("learn/loop.py", True), ("recipes/baseline.py", True), ("power/counter.py", True),
        ("power/probes/nvml.py", True), ("account.py", True), ("show.py", False),
    ],
)  # fmt: skip
def test_the_code_that_trains_and_meters_makes_the_hash(
    monkeypatch: pytest.MonkeyPatch, file: str, matters: bool
) -> None:
    before, changed = reference.code_sha256(), Path(reference.__file__).parent / file
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda p: real(p) + b"\n" * (p == changed))
    assert changed.is_file()
    assert (reference.code_sha256() != before) is matters


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 9, "references": []}', "[1]"])
def test_a_file_that_is_none_is_told(bench, text: str) -> None:
    file = reference.path()
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(BenchError, match="holds no references"):
        reference.stored()
    assert reference.current("x", "cpu") == [], "no reason not to run"
    said = bench("reference", "--show")
    assert said.code == 1
    assert "hint: move it away" in said.err


def test_show_without_any_says_how_to_make_one(bench) -> None:
    said = bench("reference", "--show")
    assert said.code == 1
    assert "`bench reference` makes one" in said.err


# --- measuring


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same job, on little data."""
    reviews = write_reviews(tmp_path / "data" / "reviews")
    settings = {**reference.SETTINGS, "vocabulary_size": "300", "epochs": "0.2"}
    job = replace(reference.REQUEST, data=str(reviews), settings=settings, idle_s=0.5)
    monkeypatch.setattr(reference, "REQUEST", job)
    monkeypatch.setattr(reference, "FILL_S", 0.0)
    monkeypatch.setattr(reference, "LEAST", 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.usefixtures("quick")
def test_the_job_runs_and_is_kept(bench, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs the extra 'train'")
    said = bench("reference", "--device", "cpu", "--json")
    assert said.code == 0, said.err
    assert [line for line in said.err.splitlines() if "repetition" in line or "warm" in line] == [
        "warm-up", "repetition 1", "repetition 2"
    ]  # fmt: skip
    (facts,) = json.loads(said.out)
    assert len(facts["repetitions"]) == 2
    assert facts["energy_j"] > 0
    assert facts["scatter_j"] >= 0
    assert facts["idle_w"] > 0
    assert facts["stale"] is None
    assert facts["workload"]["seed"] == 1
    (kept,) = reference.current(facts["hardware"], "cpu")
    assert kept.energy_j == facts["energy_j"]
    shown = " ".join(bench("reference", "--show").out.split())
    assert "standard deviation of 2 repetitions" in shown
    assert "epochs=0.2" in shown


class Ended:
    """A run that ended so."""

    def __init__(
        self, status: str, energy_j: float | None = 1.0, warnings: Sequence[Warn] = ()
    ) -> None:
        self.status, self.energy_j, self.failure = status, energy_j, "out of memory"
        self.charged: list[record.DomainEnergy] = []
        self.warnings = warnings


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (Ended("failed"), "the reference job failed: out of memory"),
        (Ended("complete", None), "could not be read"),
        (
            Ended(
                "complete",
                warnings=[
                    Warn(id="slow", message="a slow answer"),
                    Warn(id="contended", message="another process used it", rankable=False),
                ],
            ),
            "nothing compares with such a run: another process used it",
        ),
    ],
)
def test_a_job_that_fails_is_not_kept(
    bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Ended, says: str
) -> None:
    outcome = Outcome("complete")
    monkeypatch.setattr(reference.running, "run", lambda *_, **__: (ended, tmp_path, outcome))
    said = bench("reference", "--device", "cpu")
    assert said.code == 1
    assert says in said.err
    assert not reference.path().exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status", ["interrupted", "complete"])
def test_an_interrupt_ends_it_and_nothing_is_kept(
    bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    ran = (Ended(status), tmp_path, Outcome(status, end_asked=True))
    monkeypatch.setattr(reference.running, "run", lambda *_, **__: ran)
    assert bench("reference", "--device", "cpu").code != 0
    assert not reference.path().exists()


def test_without_torch_the_install_line_is_named(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference.running.importlib.util, "find_spec", lambda name: None)
    said = bench("reference", "--device", "cpu")
    assert said.code == 1
    assert "pip install 'wattbench[train]'" in said.err
