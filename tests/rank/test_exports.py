"""What others read of a run or an entry."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import record
from bench.errors import BenchError, UsageError
from bench.power import carbon
from bench.rank import exports
from bench.record import DomainEnergy, Measurement, Record, RunCost, Warn
from tests.command import Command
from tests.rank.records import SST2, make_data, make_domain, make_entry, make_record
from tests.rank.test_standing import entry as entry_file

US = carbon.asked("US")
GERMANY = carbon.asked("DE", "1.5")
HOSTILE = "a\": b\n- c # d\x1b[31m \u202e é 😀 \u2028 --- 'e' {f: [g]}"


def entry(n: int = 3, **facts: Any) -> list[Record]:
    return [r.record for r in make_entry(n, **facts)]


def front_matter(text: str) -> dict[str, Any]:
    """As the Hub takes it: between two lines of three hyphens, and nothing after."""
    before, block, after = text.split("---\n")
    assert before == after == ""
    found = yaml.safe_load(block)
    assert isinstance(found, dict)
    return found


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- the model card


def test_emissions_are_grams() -> None:
    found = front_matter(exports.model_card([make_record(energy_j=3.6e6)], US))
    said = found["co2_eq_emissions"]
    assert said["emissions"] == 384, "383.5 g for a kilowatt hour, to three digits"
    assert said["hardware_used"] == "1 x NVIDIA H100 80GB HBM3"
    assert said["training_type"] == "fine-tuning"
    assert said["geographical_location"] == "United States"
    for text in (
        "measured by software counters (M1), of gpu, ± 10 %", "1.00 kWh x 384 g CO2e/kWh",
        "United States 2024, Ember, life-cycle, location-based", "PUE 1: none",
    ):  # fmt: skip
        assert text in said["source"]
    assert set(said) == {
        "emissions", "source", "training_type", "geographical_location", "hardware_used"
    }  # fmt: skip


def test_the_building_is_in_the_emissions() -> None:
    found = front_matter(exports.model_card([make_record(energy_j=3.6e6)], GERMANY))
    assert found["co2_eq_emissions"]["emissions"] == 516, "344.1 x 1.5"
    assert "PUE 1.5 (as given)" in found["co2_eq_emissions"]["source"]


def test_small_emissions_are_numbers_for_every_reader() -> None:
    """YAML 1.1 takes 1e-05 for a text."""
    text = exports.model_card([make_record(energy_j=0.1)], US)
    assert "emissions: 0.0000107\n" in text
    assert front_matter(text)["co2_eq_emissions"]["emissions"] == pytest.approx(1.07e-05)


def test_an_estimate_says_that_it_is_one() -> None:
    estimated = make_record(level="M0", hardware="CPU AMD EPYC 9B14, 2 cores")
    source = front_matter(exports.model_card([estimated], US))["co2_eq_emissions"]["source"]
    assert "estimated, not measured (M0), of cpu, ± 40 %" in source
    assert "measured by" not in source


def test_a_grid_that_nobody_named_is_no_location() -> None:
    found = front_matter(exports.model_card([make_record()], carbon.asked(None)))
    location = found["co2_eq_emissions"]["geographical_location"]
    assert location == "not stated; the grid of United States is assumed"


def test_accuracy_is_an_eval_result_of_the_dataset() -> None:
    found = front_matter(exports.model_card(entry(), US, SST2))
    (model,) = found["model-index"]
    (result,) = model["results"]
    assert model["name"] == "all-minilm-l6 baseline"
    assert result["task"] == {"type": "text-classification", "name": "SST-2"}
    assert result["dataset"]["type"] == "nyu-mll/glue"
    assert result["dataset"]["split"] == "validation"
    (metric,) = result["metrics"]
    assert (metric["type"], metric["name"]) == ("accuracy", "accuracy, mean of 3 seeds")
    assert metric["value"] == pytest.approx(0.92, abs=0.005)
    assert found["datasets"] == ["nyu-mll/glue"]


def test_the_hub_library_reads_the_eval_result() -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(exports.model_card(entry(), US, SST2))
    (result,) = card.data.eval_results
    assert (result.metric_type, result.dataset_config) == ("accuracy", "sst2")
    assert card.data.co2_eq_emissions["training_type"] == "fine-tuning"


def test_other_data_are_not_called_the_dataset() -> None:
    other = make_record(data=make_data(official=False))
    found = front_matter(exports.model_card([other], US, SST2))
    assert "datasets" not in found
    assert found["model-index"][0]["results"][0]["dataset"] == {
        "type": "sst2", "name": "NOT SST-2: embedded"
    }  # fmt: skip


def test_names_are_quoted_whatever_is_in_them() -> None:
    hostile = make_record(model=HOSTILE, recipe="yes", hardware=HOSTILE)
    found = front_matter(exports.model_card([hostile], US, SST2))
    shown = "a\": b - c # d[31m  é 😀 --- 'e' {f: [g]}"
    assert found["co2_eq_emissions"]["hardware_used"] == shown
    assert found["model-index"][0]["name"] == f"{shown} yes"


def test_a_mean_says_of_how_many_and_what_is_left_out() -> None:
    runs = entry(3, energy_j=3.6e6)
    lost = make_record(energy_j=None, spec={"seed": 1})
    failed = make_record(energy_j=3.6e9, status="failed", spec={"seed": 2})
    found = front_matter(exports.model_card([*runs, lost, failed], US))["co2_eq_emissions"]
    assert "mean of 3 of 5 runs (" in found["source"]
    assert 370 < found["emissions"] < 400


# --- SCI


def sci(*runs: Record | Measurement, **options: Any) -> dict[str, Any]:
    scenario = options.pop("scenario", US)
    found = json.loads(exports.sci(runs, scenario, **options))
    assert isinstance(found, dict)
    return found


def test_the_score_is_of_its_terms() -> None:
    made = exports.Embodied(kg=1000.0, lifetime_years=4.0)
    found = sci(make_record(energy_j=3.6e6), scenario=GERMANY, made=made)
    e, i, m = (found[term]["value"] for term in "EIM")
    assert e == pytest.approx(1.5), "with what the building adds"
    assert i == pytest.approx(344.1)
    assert m == pytest.approx(1e6 * 95 / (4 * 365 * 24 * 3600))
    assert found["sci"]["value"] == pytest.approx(e * i + m)
    assert found["sci"]["unit"] == "gCO2eq per training run"
    assert found["sci"]["embodied_included"] is True
    assert (found["E"]["unit"], found["I"]["unit"], found["M"]["unit"]) == (
        "kWh", "gCO2eq/kWh", "gCO2eq"
    )  # fmt: skip
    assert (found["E"]["year"], found["I"]["year"], found["I"]["source"]) == (2026, 2024, "Ember")
    assert "no market-based" in found["I"]["basis"]


def test_what_was_not_stated_is_not_included_and_said() -> None:
    found = sci(make_record())
    assert (found["M"]["value"], found["M"]["included"]) == (0.0, False)
    assert found["M"]["source"].startswith("not included")
    assert "(without M)" in exports.sci_text([make_record()], US)
    wide = exports.sci_text([make_record()], US, width=200)
    assert max(map(len, exports.sci_text([make_record()], US, width=60).splitlines())) <= 60
    assert len(wide.splitlines()) == 7
    with pytest.raises(UsageError, match="kilograms over a lifetime"):
        exports.embodied(1000.0, None)
    with pytest.raises(UsageError, match="is no number"):
        exports.embodied(float("nan"), 4.0)


def test_r_may_be_a_thousand_predictions() -> None:
    made = exports.Embodied(kg=1000.0, lifetime_years=4.0)
    found = sci(make_record(energy_j=20_000.0), per="1000-predictions", made=made)
    assert found["R"] == {"value": 1, "unit": "1,000 predictions"}
    assert found["E"]["value"] * 3.6e6 == pytest.approx(20_000 * 0.05 * 1000 / 872)
    assert found["M"]["value"] == pytest.approx(made.grams(5 * 1000 / 872))
    with pytest.raises(UsageError, match="no metered prediction"):
        sci(make_record(phases=[]), per="1000-predictions")


def test_an_entry_has_a_mean_and_each_run() -> None:
    runs = entry(3)
    found = sci(*runs)
    assert [r["run"] for r in found["runs"]] == [r.run_id for r in runs]
    assert found["sci"]["value"] == pytest.approx(sum(r["sci"] for r in found["runs"]) / 3)
    assert found["of"] == "mean of 3 runs"


def test_an_estimate_is_one_in_the_score() -> None:
    runs = [make_record(), make_record(level="M0")]
    e = sci(*runs)["E"]
    assert (e["estimated"], e["level"]) == (True, "M0")
    assert "estimated, not measured" in exports.sci_text(runs, US)


def test_a_teacher_is_charged() -> None:
    teacher = RunCost(
        role="teacher", run_id="b" * 16, record_sha256=None, task="sst2", model="m", hardware="h",
        level="M1", coverage="gpu", energy_j=80_000.0, uncertainty_j=8_000.0, duration_s=100.0,
    )  # fmt: skip
    runs = [make_record(energy_j=20_000.0, charged_runs=[teacher])]
    assert sci(*runs)["E"]["value"] * 3.6e6 == pytest.approx(100_000)
    (row,) = rows(exports.codecarbon(runs, US))
    assert float(row["energy_consumed"]) * 3.6e6 == pytest.approx(100_000)
    assert (row["gpu_energy"], row["duration"]) == ("", "195.0"), "of what kinds is not told"


# --- CodeCarbon's columns


def test_one_row_a_run_in_codecarbons_units() -> None:
    parts = [make_domain(1.8e6), make_domain(0.9e6, kind="cpu"), make_domain(0.9e6, kind="dram")]
    run = make_record(domains=parts)
    (row,) = rows(exports.codecarbon([run], GERMANY))
    assert float(row["energy_consumed"]) == pytest.approx(1.5), "kWh, with the PUE in it"
    assert float(row["gpu_energy"]) == pytest.approx(0.75)
    assert float(row["cpu_energy"]) == float(row["ram_energy"]) == pytest.approx(0.375)
    assert float(row["gpu_power"]) == pytest.approx(1.5 * 1.8e6 / 95)
    assert float(row["emissions"]) == pytest.approx(1.5 * 0.3441), "kg"
    assert float(row["emissions_rate"]) == pytest.approx(1.5 * 0.3441 / 95)
    assert (row["duration"], row["pue"]) == ("95.0", "1.5")
    assert (row["country_name"], row["country_iso_code"], row["region"]) == ("Germany", "DEU", "")
    assert (row["gpu_count"], row["gpu_model"]) == ("1", "NVIDIA H100 80GB HBM3")
    assert row["tracking_mode"].startswith("bench: measured by software counters (M1)")


def test_a_state_is_a_region() -> None:
    (row,) = rows(exports.codecarbon([make_record()], carbon.asked("US-CA")))
    named = (row["country_name"], row["country_iso_code"], row["region"])
    assert named == ("United States", "USA", "california")


def test_what_is_not_known_is_empty_and_estimates_say_so() -> None:
    missing = make_record(energy_j=None)
    estimated = make_record(level="M0", hardware="CPU AMD EPYC 9B14, 2 cores")
    first, second = rows(exports.codecarbon([missing, estimated], US))
    for column in ("energy_consumed", "emissions", "gpu_energy", "gpu_power", "cpu_energy"):
        assert first[column] == "", column
    assert "estimated, not measured (M0)" in second["tracking_mode"]
    assert second["gpu_energy"] == ""
    assert float(second["cpu_energy"]) > 0


def test_a_spreadsheet_runs_nothing() -> None:
    (row,) = rows(exports.codecarbon([make_record(task="=cmd|' /C calc'!A0")], US))
    assert row["project_name"].startswith("'=cmd")


def test_the_columns_are_codecarbons() -> None:
    """In its order, as CodeCarbon's `EmissionsData` has them in 3.3.2."""
    header = exports.codecarbon([make_record()], US).splitlines()[0].split(",")
    assert len(header) == 38
    assert header[:4] == ["timestamp", "project_name", "run_id", "experiment_id"]
    assert header[10:15] == [
        "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "water_consumed"
    ]  # fmt: skip
    assert header[30:] == [
        "tracking_mode", "cpu_utilization_percent", "gpu_utilization_percent",
        "ram_utilization_percent", "ram_used_gb", "on_cloud", "pue", "wue",
    ]  # fmt: skip


# --- from a folder, by the command


def written(folder: Path, *runs: Record | Measurement) -> Path:
    for run in runs:
        (folder / run.run_id).mkdir(parents=True)
        record.write(run, folder / run.run_id)
    return folder


def test_an_entry_is_a_folder_of_runs(bench: Command, tmp_path: Path) -> None:
    runs, mine = entry(3), tmp_path / "results" / "sst2" / "mine"
    written(mine, *runs)
    (mine / "entry.json").write_bytes(entry_file(runs=[r.run_id for r in runs]))
    found = json.loads(bench("export", "sst2/mine", "--format", "sci").out)
    assert found["of"] == "mean of 3 runs"
    card = bench("export", "results/sst2/mine", "--format", "model-card", "--region", "DE").out
    assert front_matter(card)["model-index"][0]["results"][0]["dataset"]["name"] == "SST-2"
    assert len(rows(bench("export", "sst2/mine", "--format", "codecarbon").out)) == 3


def test_a_folder_of_several_entries_is_refused(bench: Command, tmp_path: Path) -> None:
    written(tmp_path / "all", *entry(2), *entry(1, model="bert-small"))
    said = bench("export", "all", "--format", "sci")
    assert (said.code, "runs of 2 entries" in said.err) == (2, True)
    (tmp_path / "none").mkdir()
    assert "holds no run" in bench("export", "none", "--format", "sci").err


def test_a_file_is_written_whole_and_never_over_another(bench: Command, tmp_path: Path) -> None:
    (run,) = entry(1)
    written(tmp_path / "runs" / "sst2", run)
    words = ["export", run.run_id[:8], "--format", "model-card", "-o", "README.md"]
    assert bench(*words).out == "wrote README.md\n"
    before = Path("README.md").read_text()
    said = bench(*words)
    assert (said.code, "is there already" in said.err) == (2, True)
    assert Path("README.md").read_text() == before


def test_options_of_a_score_are_of_no_other_format(bench: Command, tmp_path: Path) -> None:
    written(tmp_path / "mine", *entry(1))
    for words in (["--per", "1000-predictions"], ["--embodied-kg", "1", "--lifetime-years", "4"]):
        said = bench("export", "mine", "--format", "codecarbon", *words)
        assert (said.code, "are of an SCI" in said.err) == (2, True)
        assert bench("export", "mine", "--format", "sci-text", *words).code == 0


def test_a_program_of_ones_own_is_exported_too() -> None:
    measured = Measurement(
        bench_version="0.1.0", run_id="a" * 16, nonce="n", started_at="2026-03-01T10:00:00.000Z",
        status="complete", machine={}, software={}, duration_s=10.0, domains=[make_domain(3.6e6)],
        phases=[], command=["python", "train.py"], exit_code=0,
        warnings=[Warn(id="gap", message="no reading for 4 s", rankable=False)],
    )  # fmt: skip
    found = front_matter(exports.model_card([measured], US))
    assert "training_type" not in found["co2_eq_emissions"]
    assert sci(measured)["R"]["unit"] == "execution of the program"
    (row,) = rows(exports.codecarbon([measured], US))
    assert (row["project_name"], row["timestamp"]) == ("python train.py", "2026-03-01T10:00:10")


def test_a_record_that_makes_no_sense_is_no_traceback() -> None:
    odd = make_record(started_at="soon", duration_s=float("inf"))
    assert sci(odd)["E"]["year"] is None
    (row,) = rows(exports.codecarbon([odd], US))
    assert row["timestamp"] == ""
    endless = make_record(domains=[make_domain(1.0, uncertainty_j=float("inf"))])
    with pytest.raises(BenchError, match="a number that is none"):
        exports.sci([endless], US)


def test_nothing_known_is_nothing_exported() -> None:
    with pytest.raises(BenchError, match="no run's energy is known"):
        exports.model_card([make_record(energy_j=None)], US)
    zero: DomainEnergy = make_domain(0.0)
    with pytest.raises(BenchError, match="no run's energy is known"):
        exports.sci([make_record(domains=[zero])], US)


def test_a_teacher_beside_an_entry_is_no_run_of_it(tmp_path: Path) -> None:
    runs = [run.record for run in make_entry(2)]
    teacher = make_record(recipe="other")
    for one in (*runs, teacher):
        (tmp_path / one.run_id).mkdir()
        (tmp_path / one.run_id / "record.json").write_text(one.model_dump_json())
    text = entry_file(runs=[r.run_id for r in runs], charged=[teacher.run_id])
    (tmp_path / "entry.json").write_bytes(text)
    assert {r.run_id for r in exports.gather(tmp_path)} == {r.run_id for r in runs}
    (tmp_path / "entry.json").unlink()
    with pytest.raises(UsageError, match="runs of 2 entries"):
        exports.gather(tmp_path)
