"""A project's ledger is added up: each run once, measured and estimated apart, and how many times
one training all of it is."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UsageError
from bench.footprint import project, timeline
from bench.footprint.case import of_study
from bench.footprint.project import Project
from bench.footprint.quantity import explained
from bench.power import carbon
from bench.run import Request
from bench.study import ledger
from bench.study.job import Job

RESULTS = Path(__file__).parents[2] / "results"
GPU = RESULTS / "sst2" / "bert-base-baseline-batch-2048-h200" / "14cfc33668e4b4af"
TUNED = RESULTS / "sst2" / "transformer-small-baseline-half-epoch-tuned"

Make = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a run of a made-up ledger: measured (M1) on one GPU, 1 kWh in an hour, unless said."""
    template = json.loads((GPU / "record.json").read_bytes())

    def made(number: int, *, kwh: float | None = 1.0, level: str = "M1", **facts: Any) -> str:
        record = copy.deepcopy(template)
        run_id = f"{number:016x}"
        record |= {"run_id": run_id, "duration_s": 3600.0, "started_at": "2026-03-02T10:00:00Z"}
        record |= {"phases": [], "charged_runs": []}
        domain = next(d for d in record["domains"] if d["charged"])
        domain |= {"energy_j": None if kwh is None else kwh * 3.6e6, "level": level}
        domain |= {"uncertainty_j": None if kwh is None else 0.1 * kwh * 3.6e6}
        record["spec"] |= facts.pop("spec", {})
        folder = tmp_path / facts.pop("folder", "runs") / "sst2" / run_id
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record | facts))
        return run_id

    return made


def added(*folders: Path, **options: Any) -> Project:
    return project.read(
        folders, carbon.asked(options.pop("region", "DE"), options.pop("pue", None)), **options
    )


# --- sums


def test_every_run_counts_whatever_became_of_it(make: Make, tmp_path: Path) -> None:
    make(1)
    make(2, kwh=2.0, trial="a sweep")
    make(3, kwh=0.5, status="failed", failure="out of memory")
    make(4, kwh=0.25, status="interrupted", trial="a sweep")
    last = make(5, kwh=4.0, started_at="2026-03-04T10:00:00Z")
    found = added(tmp_path, pue="1.5")
    assert found.whole.jobs == 5
    assert found.whole.kwh == {"measured": pytest.approx(7.75)}
    assert found.whole.device_hours == pytest.approx(5)
    cost = found.costs["measured"]
    assert cost.emissions.value == pytest.approx(7.75 * 1.5 * 344.1 / 1000)
    assert cost.electricity.value == pytest.approx(7.75 * 1.5 * 0.12)
    assert cost.energy.uncertainty == pytest.approx(0.775)
    assert (found.first.date(), found.last.date()) == (date(2026, 3, 2), date(2026, 3, 4))
    assert (found.days, found.searches) == (3, 1)
    assert found.finals == (last,)
    kwh = {r: sum(j.kwh for j in found.of_role(r)) for r in project.ROLES}
    assert kwh == {
        "final": 4, "other training": 1, "tuning": 2, "failed": 0.75, "profile": 0,
        "measurement": 0,
    }  # fmt: skip


def test_the_multiple_is_all_over_one_training(make: Make, tmp_path: Path) -> None:
    for number in range(1, 20):
        make(number, kwh=2.0, trial="sweep")
    make(99, kwh=4.0, started_at="2026-03-05T00:00:00Z", duration_s=7200.0)
    found = added(tmp_path)
    share, multiple = found.share("measured"), found.multiple("measured")
    assert share
    assert share.value == pytest.approx(4 / 42)
    assert multiple
    assert multiple.value == pytest.approx(42 / 4)
    hours = found.multiple("hours")
    assert hours
    assert hours.value == pytest.approx(21 / 2)
    tuning = found.tuning("hours")
    assert tuning
    assert tuning.value == pytest.approx(19 / 2)


def test_several_finals_are_one_training_each(make: Make, tmp_path: Path) -> None:
    first, second = make(0xA1, kwh=1.0), make(0xB2, kwh=3.0)
    make(3, kwh=4.0)
    found = added(tmp_path, finals=[first, second])
    multiple = found.multiple("measured")
    assert multiple
    assert multiple.value == pytest.approx(8 / 2)
    assert found.rule == "as named"


def test_the_study_s_case_comes_out_of_its_inputs() -> None:
    case = of_study()
    assert case.multiple.value == pytest.approx(239942 / 120)
    assert case.tuning.value == pytest.approx(24)
    assert case.energy.value == pytest.approx(9870 / 0.12, rel=0.001)
    assert case.emissions.value / 0.45359237 == pytest.approx(78468, rel=0.0005)
    assert (case.jobs, case.searches, case.days) == (4789, 123, 172)


def test_measured_estimated_and_unknown_stay_apart(make: Make, tmp_path: Path) -> None:
    make(1, kwh=1.0)
    make(2, kwh=2.0, level="M0")
    make(3, kwh=None)
    found = added(tmp_path)
    assert found.whole.kwh == {"measured": pytest.approx(1), "estimated": pytest.approx(2)}
    assert found.whole.unknown == 1
    assert set(found.costs) == {"measured", "estimated"}
    assert {s.level for s in timeline.slices_of(found)} == {"measured", "estimated"}


def test_devices_count_in_device_hours(make: Make, tmp_path: Path) -> None:
    make(1, spec={"hardware": "8 x NVIDIA H200"})
    make(2, spec={"hardware": "2 nodes of 4 x NVIDIA H200"})
    make(3, spec={"hardware": "CPU AMD EPYC, 4 cores"})
    assert added(tmp_path).whole.device_hours == pytest.approx(8 + 8 + 1)


# --- each run once


def charge(run_id: str, kwh: float, role: str = "teacher") -> dict[str, Any]:
    return {
        "role": role, "run_id": run_id, "record_sha256": None, "task": "sst2", "model": "bert-base",
        "hardware": "1 x NVIDIA H200", "level": "M1", "coverage": "gpu", "energy_j": kwh * 3.6e6,
        "uncertainty_j": kwh * 3.6e5, "duration_s": 3600.0,
    }  # fmt: skip


def test_a_teacher_is_counted_once_however_many_are_charged_for_it(
    make: Make, tmp_path: Path
) -> None:
    teacher = make(1, kwh=5.0)
    make(2, charged_runs=[charge(teacher, 6.0)])  # its own record knows better
    make(3, charged_runs=[charge(teacher, 6.0)])
    assert added(tmp_path).whole.kwh["measured"] == pytest.approx(7)


def test_a_teacher_whose_record_lies_elsewhere_is_added_once_and_said(
    make: Make, tmp_path: Path
) -> None:
    make(2, charged_runs=[charge("f" * 16, 5.0)])
    make(3, charged_runs=[charge("f" * 16, 5.0)])
    found = added(tmp_path)
    assert found.whole.kwh["measured"] == pytest.approx(7)
    assert any("whose records lie elsewhere" in note for note in found.notes)


def test_a_final_training_is_with_what_it_rests_on(make: Make, tmp_path: Path) -> None:
    part = make(1, kwh=5.0)
    final = make(2, kwh=1.0, charged_runs=[charge(part, 5.0, "part")])
    make(3, kwh=6.0)
    share = added(tmp_path, finals=[final]).share("measured")
    assert share
    assert share.value == pytest.approx(0.5)


def test_a_copy_in_another_folder_is_the_same_run(make: Make, tmp_path: Path) -> None:
    make(1)
    shutil.copytree(tmp_path / "runs", tmp_path / "results")
    found = added(tmp_path / "runs", tmp_path / "results")
    assert found.whole.jobs == 1
    assert any("more than once" in note for note in found.notes)


def test_a_sweep_whose_trials_lie_elsewhere_is_added_once() -> None:
    """Three runs say what the same sweep took that chose their settings."""
    found = added(TUNED)
    records = [json.loads(p.read_bytes()) for p in sorted(TUNED.glob("*/record.json"))]
    tuning = records[0]["tuning"]
    assert [r["tuning"]["energy_j"] for r in records] == [tuning["energy_j"]] * 3
    own = sum(d["energy_j"] for r in records for d in r["domains"] if d["charged"])
    assert found.whole.kwh["estimated"] == pytest.approx((own + tuning["energy_j"]) / 3.6e6)
    assert found.whole.jobs == 3 + tuning["attempts"]
    assert found.searches == 1


def test_the_trials_of_a_sweep_that_lie_here_take_the_place_of_what_it_says(
    make: Make, tmp_path: Path
) -> None:
    record = json.loads(next(TUNED.glob("*/record.json")).read_bytes())
    tuning = record["tuning"]
    make(1, kwh=1.0, level="M0", trial=tuning["sweep"])
    make(2, kwh=1.0, level="M0", tuning=tuning)
    assert added(tmp_path).whole.kwh["estimated"] == pytest.approx(2)


def test_the_real_results_add_up_to_what_their_records_say() -> None:
    found = added(RESULTS)
    measured = estimated = 0.0
    sweeps = {}
    for path in RESULTS.glob("**/record.json"):
        record = json.loads(path.read_bytes())
        charged = [d for d in record["domains"] if d["charged"]]
        energy_j = sum(d["energy_j"] or 0 for d in charged)
        if charged and min(d["level"] for d in charged) != "M0":
            measured += energy_j
        else:
            estimated += energy_j
        if record.get("tuning"):
            sweeps[record["tuning"]["journal_sha256"]] = record["tuning"]["energy_j"]
    assert found.whole.kwh["measured"] == pytest.approx(measured / 3.6e6)
    assert found.whole.kwh["estimated"] == pytest.approx((estimated + sum(sweeps.values())) / 3.6e6)
    assert not found.broken


def test_the_folder_of_a_study_is_its_own_runs_alone(make: Make, tmp_path: Path) -> None:
    mine, lost = make(1, kwh=2.0), "0" * 15 + "7"
    make(2)  # another's
    folder = tmp_path / "runs" / "studies" / "first"
    jobs = [Job(f"cell {n}", 1, Request(task="sst2")) for n in range(3)]
    with ledger.opened(folder, {"task": "sst2"}) as journal:
        journal.plan(jobs)
        journal.end(journal.begin(jobs[0]), "complete", run=f"sst2/{mine}")
        journal.end(journal.begin(jobs[1]), "complete", run=f"sst2/{lost}")
        journal.end(journal.begin(jobs[2]), "failed", failure="no memory")
    found = added(folder)
    assert [j.run_id for j in found.jobs] == [mine]
    assert found.broken == (f"left out: the run sst2/{lost} is not there any more",)
    assert "1 job of a journal that left no run: not counted" in found.notes
    assert added(tmp_path / "runs").whole.jobs == 2


# --- where, when and what else


def test_a_run_s_own_region_and_building_come_first(make: Make, tmp_path: Path) -> None:
    make(1, region="FR", pue="1.2")
    make(2)
    make(3, region="Atlantis")
    found = added(tmp_path, region="DE", pue="1.5")
    expected = (1.2 * 44.18 + 2 * 1.5 * 344.1) / 1000
    assert found.costs["measured"].emissions.value == pytest.approx(expected, rel=1e-3)
    assert "no grid region is called 'Atlantis'" in found.broken[0]


def test_a_job_over_midnight_is_on_both_days(make: Make, tmp_path: Path) -> None:
    make(1, started_at="2026-03-02T18:00:00Z", duration_s=24 * 3600.0, kwh=4.0)
    found = added(tmp_path)
    days = {s.start: s.kwh for s in timeline.slices_of(found)}
    assert days == {date(2026, 3, 2): pytest.approx(1), date(2026, 3, 3): pytest.approx(3)}
    (week,) = timeline.slices_of(found, "week")
    assert (week.start, week.kwh) == (date(2026, 3, 2), pytest.approx(4))


def test_the_parts_of_a_bar_are_as_long_as_their_sum(make: Make, tmp_path: Path) -> None:
    make(1, kwh=1.0)
    make(2, kwh=1.0, trial="s")
    make(3, kwh=2.0, started_at="2026-03-05T10:00:00Z")
    found = added(tmp_path)
    first, *rows = timeline.bars(found, 44)
    assert first == "kWh a day, measured: █ final, ▓ tuning, ▒ other training"
    assert [row.split()[0] for row in rows] == [f"2026-03-0{n}" for n in (2, 3, 4, 5)]
    assert [row.count("█") for row in rows] == [0, 0, 0, 20]
    assert (rows[0].count("▓"), rows[0].count("▒")) == (10, 10)


def test_measurements_of_other_programs_count(make: Make, tmp_path: Path) -> None:
    make(1)
    record = json.loads((GPU / "record.json").read_bytes())
    left = ("spec", "code_sha256", "model_facts", "metric", "reference", "saved", "charged_runs",
            "upstream", "trial", "tuning")  # fmt: skip
    facts = {k: v for k, v in record.items() if k not in left} | {"command": ["python", "x.py"]}
    folder = tmp_path / "runs" / "measurements" / "a"
    folder.mkdir(parents=True)
    (folder / "measurement.json").write_text(json.dumps(facts))
    found = added(tmp_path)
    (job,) = found.of_role("measurement")
    assert job.energy_j == pytest.approx(7159.99, abs=0.01)


def test_broken_records_are_a_line_each_and_the_rest_counts(make: Make, tmp_path: Path) -> None:
    make(1)
    make(2, duration_s=-5.0)
    make(3, started_at="yesterday")
    make(4, duration_s=1e12)
    make(5, started_at="0001-01-01T00:00:00Z")
    (tmp_path / "runs" / "sst2" / f"{2:016x}" / "start.json").write_text("{}")
    for name, text in (("x", "{"), ("y", "[]"), (".hidden", "{")):
        folder = tmp_path / "runs" / "sst2" / name
        folder.mkdir()
        (folder / "record.json").write_text(text)
    (tmp_path / "runs" / "sst2" / "z").mkdir()
    (tmp_path / "runs" / "sst2" / "z" / "start.json").write_text("{}")
    found = added(tmp_path)
    assert found.whole.jobs == 1
    assert len(found.broken) == 6
    assert any("have not ended" in note for note in found.notes)


def test_every_sum_is_explained(make: Make, tmp_path: Path) -> None:
    make(1, region="FR")
    make(2)
    said = "\n".join(explained(added(tmp_path).costs["measured"].emissions))
    for word in ("sum over grids", "France 2024, Ember", "Germany 2024, Ember", "1 job in France"):
        assert word in said


def test_an_energy_that_is_no_amount_is_not_known(make: Make, tmp_path: Path) -> None:
    make(1, kwh=-1.0, charged_runs=[charge("e" * 16, -3.0), charge("f" * 16, 1.0)])
    make(2)
    found = added(tmp_path)
    assert found.whole.unknown == 2
    assert found.whole.kwh["measured"] == pytest.approx(2)


# --- the command


def command(*words: str) -> str:
    result = CliRunner().invoke(app, ["footprint", "project", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_shows_the_ledger_beside_the_study(make: Make, tmp_path: Path) -> None:
    make(1, trial="sweep")
    make(2, level="M0")
    said = " ".join(command(str(tmp_path), "--region", "DE").split())
    for words in (
        "the study", "4,789", "172", "239,942", "2,000 x", "Final: 00000000",
        "the last training that could be ranked", "ESTIMATED energy was not measured", "about ",
    ):  # fmt: skip
        assert words in said, words


def test_the_command_answers_in_json_and_explains(make: Make, tmp_path: Path) -> None:
    make(1, trial="sweep")
    make(2)
    facts = json.loads(command(str(tmp_path), "--json"))
    assert facts["whole"]["kwh"] == {"measured": pytest.approx(2)}
    assert facts["multiple"]["measured"]["value"] == pytest.approx(2)
    assert facts["statuses"]["trial/complete"]["jobs"] == 1
    assert "all over one training, hours" in command(str(tmp_path), "--explain")


def test_the_timeline_is_a_picture_with_both_kinds_apart(make: Make, tmp_path: Path) -> None:
    make(1, trial="sweep")
    make(2, level="M0")
    command(str(tmp_path), "-o", str(tmp_path / "t.svg"))
    text = (tmp_path / "t.svg").read_text()
    for words in ("kWh a day, measured", "kWh a day, estimated", "tuning", "2026-03-02"):
        assert words in text, words


@pytest.mark.parametrize(
    ("words", "wrong", "hint"),
    [
        (["nowhere"], "there is no folder nowhere", "runs"),
        (["empty"], "no run lies in", "a folder of runs"),
        (["{}", "--region", "Germny"], "no grid region", "Germany"),
        (["{}", "--pue", "0.9"], "no PUE", "from 1 up"),
        (["{}", "--final", "dead"], "no run here is called 'dead'", "head of a run's id"),
        (["{}", "--final", "0000"], "may be 2 runs", "such as"),
        (["{}", "--usd-per-kwh", "-1"], "no price", "--usd-per-kwh"),
        (["{}", "-o", "plot.docx"], "names no kind of picture", ".svg"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(
    words: list[str], wrong: str, hint: str, make: Make, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make(1)
    make(2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    asked = [w.replace("{}", "runs") for w in words]
    result = CliRunner().invoke(app, ["footprint", "project", *asked])
    assert isinstance(result.exception, UsageError), result.output
    assert wrong in result.exception.message
    assert hint in (result.exception.hint or "")
