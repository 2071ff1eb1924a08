"""`bench import`, and what other commands make of what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import importing
from bench import record as records
from bench.power.trace import Trace
from bench.record import Measurement
from tests.command import Command
from tests.power.test_imports import emissions, node, result, table

NODE = ["mlperf-power", "node_0.txt"]


def imported(folder: Path) -> Measurement:
    found = records.read_any(folder)
    assert isinstance(found, Measurement)
    return found


def test_an_import_is_a_folder_as_measure_leaves_it(bench: Command, tmp_path: Path) -> None:
    node(tmp_path / "node_0.txt")
    said = bench("import", *NODE)
    assert said.code == 0
    (folder,) = (tmp_path / "runs" / "measure").iterdir()
    assert sorted(p.name for p in folder.iterdir()) == [
        "events.jsonl", "manifest.json", "measurement.json", "trace.parquet"
    ]  # fmt: skip
    found = imported(folder)
    assert found.run_id == folder.name
    assert (found.level, found.coverage) == ("M2", "node")
    assert found.started_at == "2024-05-09T12:22:00.000+00:00"
    assert found.command == ["bench", "import", "mlperf-power", "node_0.txt"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["trace.parquet"] == records.file_sha256(folder / "trace.parquet")
    first = json.loads((folder / "events.jsonl").read_text().splitlines()[0])
    assert first["files"] == {"node_0.txt": records.file_sha256(tmp_path / "node_0.txt")}


def test_its_energy_comes_of_its_trace_again(bench: Command, tmp_path: Path) -> None:
    node(tmp_path / "node_0.txt")
    bench("import", *NODE, "-o", "mine")
    found, trace = imported(Path("mine")), Trace.read_parquet(Path("mine/trace.parquet"))
    start_ns = 1_715_257_320_000 * 10**6
    (energy,) = trace.energy(start_ns, start_ns + round(found.duration_s * 1e9))
    assert [energy] == found.domains


def test_show_plot_and_export_take_it(bench: Command, tmp_path: Path) -> None:
    node(tmp_path / "node_0.txt")
    said = bench("import", *NODE, "--region", "DE", "--pue", "1.5")
    shown = bench("show", said.out.split()[1])
    assert shown.out == said.out
    assert "Germany 2024" in shown.out
    assert "PUE 1.5" in shown.out
    drawn = bench("power", "plot", said.out.split()[1])
    assert drawn.code == 0
    assert "integral of power (M2)" in drawn.out
    card = bench("export", said.out.split()[1], "--format", "model-card").out
    assert "measured at the node or wall (M2), of node" in card
    assert 'geographical_location: "Germany"' in card


def test_the_same_files_are_imported_once(bench: Command, tmp_path: Path) -> None:
    node(tmp_path / "node_0.txt")
    assert bench("import", *NODE).code == 0
    again = bench("import", *NODE)
    assert (again.code, "is there already" in again.err) == (2, True)
    result(tmp_path / "result_0.txt")
    assert bench("import", *NODE, "--result-log", "result_0.txt").code == 0, "another window"
    assert len(list((tmp_path / "runs" / "measure").iterdir())) == 2


def test_totals_have_no_trace_and_say_so(bench: Command, tmp_path: Path) -> None:
    emissions(tmp_path / "emissions.csv")
    said = bench("import", "codecarbon", "emissions.csv", "-o", "cc")
    assert "totals, no readings" in " ".join(said.out.split())
    assert "24.0 Wh ± 2.40 Wh, measured by software counters" in said.out
    found = imported(Path("cc"))
    assert {d.kind: (d.level, d.method, d.charged) for d in found.domains} == {
        "gpu": ("M1", "counter", True), "cpu": ("M0", "modelled", False),
        "dram": ("M0", "modelled", False),
    }  # fmt: skip
    assert not Path("cc/trace.parquet").exists()
    drawn = bench("power", "plot", "cc")
    assert (drawn.code, drawn.out) == (1, "")
    assert "has no trace" in drawn.err


def test_estimates_alone_stay_estimates(bench: Command, tmp_path: Path) -> None:
    none = {"gpu_model": "", "gpu_count": "", "gpu_energy": "0", "energy_consumed": "0.0048"}
    emissions(tmp_path / "emissions.csv", none)
    said = bench("import", "codecarbon", "emissions.csv", "-o", "cc")
    assert "about 4.80 Wh (2.88 to 6.72 Wh), estimated, not measured" in said.out
    assert imported(Path("cc")).energy_j == pytest.approx(0.0048 * 3.6e6)


def test_what_codecarbon_could_not_read_leaves_no_energy(bench: Command, tmp_path: Path) -> None:
    emissions(tmp_path / "emissions.csv", {"gpu_energy": "0", "energy_consumed": "0.0048"})
    said = bench("import", "codecarbon", "emissions.csv", "-o", "cc")
    assert "unknown: a meter that counts could not be read" in said.out
    assert imported(Path("cc")).energy_j is None
    refused = bench("export", "cc", "--format", "model-card")
    assert (refused.code, "no run's energy is known" in refused.err) == (1, True)


def test_several_runs_make_several_folders(bench: Command, tmp_path: Path) -> None:
    emissions(tmp_path / "emissions.csv", {}, {"run_id": "7c-2"})
    said = bench("import", "codecarbon", "emissions.csv", "-o", "cc")
    folders = sorted(Path("cc").iterdir())
    assert len(folders) == len(said.out.splitlines()) == 2
    assert {imported(f).run_id for f in folders} == {f.name for f in folders}


def test_a_bad_file_leaves_nothing_behind(bench: Command, tmp_path: Path) -> None:
    (tmp_path / "node_0.txt").write_text(':::MLLOG {"time_ms": "\x1b[31m", "key": 1}\n')
    said = bench("import", *NODE)
    assert said.code == 1
    assert len(said.err.splitlines()) == 1
    assert "\x1b" not in said.err
    assert not (tmp_path / "runs").exists()


def test_a_disk_that_fails_leaves_nothing_behind(
    bench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node(tmp_path / "node_0.txt")

    def full(record: object, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing.measure.records, "write", full)
    assert bench("import", *NODE).code == 1
    assert list((tmp_path / "runs" / "measure").iterdir()) == []


def test_wrong_use_is_answered(bench: Command, tmp_path: Path) -> None:
    table(tmp_path / "a.csv", "time_s,watts", lambda k: f"{k},200")
    for words, says in (
        (["nothing", "a.csv"], "no format is called 'nothing'"),
        (["csv", "b.csv"], "b.csv is no file"),
        (["csv", "a.csv", "--run", "x"], "--run is not of csv"),
        (["csv", "a.csv", "--kind", "cpu", "--region", "Atlantis"], "no grid region"),
        (["csv", "a.csv", "--kind", "cpu", "a.csv"], "hold the same"),
    ):
        said = bench("import", *words)
        assert said.code == 2, words
        assert says in said.err
    assert not (tmp_path / "runs").exists()
