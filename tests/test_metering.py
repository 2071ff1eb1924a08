"""`with bench.meter() as m`: a part of a Python program under the meter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import bench
from bench import measure, record
from bench.errors import UsageError
from bench.power import calibration
from bench.power.calibration import Calibration
from bench.power.meter import Meter
from tests.power.simulated import (
    Constant,
    SimulatedGpu,
    SimulatedGpus,
    Square,
    agrees,
    build_nvml,
)
from tests.test_measure import no_process_of, wait_for

ESTIMATE = ["estimate"]


def burn(cpu_s: float) -> None:
    end_s = time.process_time() + cpu_s
    while time.process_time() < end_s:
        pass


def test_a_block_and_its_phases() -> None:
    with bench.meter(probes=ESTIMATE) as m:
        with m.phase("train"):
            burn(0.6)
        m.phase("evaluate")
        time.sleep(0.6)
    found = m.result
    assert found.status == "complete"
    assert m.energy_kwh == pytest.approx((found.energy_j or 0) / 3.6e6)
    assert m.emissions_g
    train, evaluate = (next(p for p in found.phases if p.name == n) for n in ("train", "evaluate"))
    cpu = "cpu:estimate"
    assert train.energy_j[cpu] / train.duration_s > evaluate.energy_j[cpu] / evaluate.duration_s
    assert sum(sum(p.energy_j.values()) for p in found.phases) == pytest.approx(found.energy_j)
    assert sum(p.duration_s for p in found.phases) == pytest.approx(found.duration_s)


BUSY = """
import json, threading, time, bench

def burn():
    end_s = time.process_time() + 1.6
    while time.process_time() < end_s:
        pass

with bench.meter(probes=["nvml"]) as m:
    start_ns = time.monotonic_ns()
    threads = [threading.Thread(target=burn) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live_j = sum(m.live().energy_j.values())
    stop_ns = time.monotonic_ns()
print(json.dumps([start_ns, stop_ns, live_j, m.result.model_dump()]))
"""


@pytest.mark.compiler
def test_gpus_are_measured_while_threads_hold_the_interpreter(tmp_path: Path) -> None:
    gpus = SimulatedGpus(
        tmp_path / "nvml.conf", build_nvml(tmp_path / "lib"),
        [SimulatedGpu(Square(100, 400, 0.7)), SimulatedGpu(Constant(250))],
    )  # fmt: skip
    environment = {**os.environ, **gpus.environment()}
    said = subprocess.run(
        [sys.executable, "-c", BUSY], env=environment, capture_output=True, text=True, check=True
    )
    start_ns, stop_ns, live_j, result = json.loads(said.stdout)
    found = record.Measurement.model_validate(result)
    for i, gpu in enumerate(gpus.gpus):
        (domain,) = [d for d in found.domains if d.domain == f"gpu:{gpu.uuid}"]
        assert agrees(domain, gpus.energy_j(i, start_ns, stop_ns), rel=0.05)
        assert domain.samples > 5
    assert live_j == pytest.approx(found.energy_j, rel=0.5)


LIVE = """
import json, time, bench

with bench.meter(probes=["nvml"]) as m:
    time.sleep(2)
    live = m.live()
print(json.dumps([live.power_w, m.live().power_w, m.live().energy_j, m.result.model_dump()]))
"""


@pytest.mark.compiler
def test_what_is_live_is_calibrated_and_known_after_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = SimulatedGpus(
        tmp_path / "nvml.conf", build_nvml(tmp_path / "lib"), [SimulatedGpu(Constant(400))]
    )
    for name, value in gpus.environment().items():
        monkeypatch.setenv(name, value)
    once = Meter(tmp_path, probes=["nvml"])
    (gpu,) = once.start().domains
    once.stop()
    kept = Calibration(
        date=datetime.now(UTC).isoformat(), reference={"probe": "shunt", "device": "a shunt"},
        protocol={"window_s": 60.0}, machine={}, machine_ids={},
        domains={gpu.name: calibration._identity(gpu)}, range_w={gpu.name: (50.0, 700.0)},
        gain=1.2, offset_w=20.0, uncertainty=0.02,
    )  # fmt: skip
    monkeypatch.setenv("BENCH_CALIBRATION", str(kept.write(tmp_path / "calibration.json")))
    said = subprocess.run([sys.executable, "-c", LIVE], capture_output=True, text=True, check=True)
    power_w, last_w, last_j, result = json.loads(said.stdout)
    found = record.Measurement.model_validate(result)
    assert {d.domain: d.level for d in found.charged} == {gpu.name: "M3"}
    assert found.energy_j == pytest.approx(500 * found.duration_s, rel=0.02)
    assert power_w == last_w == {gpu.name: pytest.approx(500, rel=0.01)}
    assert last_j == {gpu.name: pytest.approx(found.energy_j, rel=0.5)}


def test_work_before_the_block_is_not_in_it() -> None:
    burn(1.0)
    with bench.meter(probes=ESTIMATE) as m:
        time.sleep(0.5)
    cpu = next(d for d in m.result.domains if d.kind == "cpu")
    with bench.meter(probes=ESTIMATE) as busy:
        burn(0.5)
    other = next(d for d in busy.result.domains if d.kind == "cpu")
    assert (cpu.energy_j or 0) < (other.energy_j or 0)


def test_a_folder_keeps_everything(tmp_path: Path) -> None:
    with bench.meter(tmp_path / "kept", probes=ESTIMATE, region="France", idle_s=0.2) as m:
        time.sleep(0.2)
    names = {p.name for p in (tmp_path / "kept").iterdir()}
    assert names == {"events.jsonl", "measurement.json", "manifest.json", "trace.parquet"}
    assert record.read_any(tmp_path / "kept") == m.result
    assert m.result.region == "France"
    assert m.result.idle_before
    assert m.result.idle_after
    with (
        pytest.raises(UsageError, match="not empty"),
        bench.meter(tmp_path / "kept", probes=ESTIMATE),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [(ValueError("no good"), "failed", "ValueError: no good"),
     (KeyboardInterrupt(), "interrupted", "Ctrl-C")],
)  # fmt: skip
def test_an_error_is_raised_and_what_was_measured_is_kept(
    error: BaseException, status: str, says: str
) -> None:
    m = bench.meter(probes=ESTIMATE)

    def fail() -> None:
        with m:
            time.sleep(0.2)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert m.result.status == status
    assert says in (m.result.failure or "")
    assert m.result.energy_j


def test_the_result_is_asked_for_too_early() -> None:
    with bench.meter(probes=ESTIMATE) as m:
        assert samplers()
        with pytest.raises(UsageError, match="has not ended"):
            _ = m.energy_kwh
    assert not samplers()


def samplers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [p for p in children if "sampler.main" in " ".join(p.cmdline())]


class Cuda:
    """torch.cuda after a kernel has failed."""

    @staticmethod
    def is_available() -> bool:
        return True

    is_initialized = is_available

    @staticmethod
    def synchronize() -> None:
        raise RuntimeError("CUDA error: an illegal memory access\nmore")


def test_a_gpu_that_failed_is_said_and_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=Cuda))
    m = bench.meter(tmp_path / "kept", probes=ESTIMATE)

    def fail() -> None:
        with m, m.phase("train"):
            raise ValueError("the program's own")

    with pytest.raises(ValueError, match="own"):
        fail()
    assert m.result.status == "failed"
    assert any("illegal memory access" in w.message for w in m.result.warnings)
    assert not samplers()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_full_disk_does_not_end_a_program_that_has_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, bench.meter(tmp_path / "a" / "b", probes=ESTIMATE) as m:
        time.sleep(0.2)
        patch.setattr(record, "write_file", full)
    assert m.result.energy_j
    assert any("No space left" in w.message for w in m.result.warnings)
    assert not samplers()
    assert list(measure.recover(tmp_path)) == [(tmp_path / "a" / "b", None)], "nothing is lost"


def test_an_interrupt_at_the_end_stops_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = time.sleep

    def interrupted(seconds: float) -> None:
        monkeypatch.setattr(time, "sleep", sleep)
        raise KeyboardInterrupt

    m = bench.meter(probes=ESTIMATE, idle_s=0.1)

    def end() -> None:
        with m:
            monkeypatch.setattr(time, "sleep", interrupted)

    with pytest.raises(KeyboardInterrupt):
        end()
    assert not samplers()


KILLED = """
import sys, time, bench
with bench.meter(sys.argv[1], probes=["estimate"]) as m:
    m.phase("train")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_kill_leaves_what_can_be_recovered_and_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(1.2)
        os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: no_process_of(folder))
    wait_for(lambda: list(measure.recover(tmp_path)) == [(folder, None)])
    found = record.read_any(folder)
    assert found.status == "interrupted"
    assert found.phase_energy_j("train")
