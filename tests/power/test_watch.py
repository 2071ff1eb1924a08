"""`bench power watch`: what it shows of a machine, however its meters behave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.power import watch as watching
from bench.power.counting import counted
from bench.power.meter import Live, Refused, Started
from bench.power.probes import Domain
from bench.power.watch import Seen, Watch, rows_of, sparkline
from tests.power.simulated import Constant, SimulatedGpu, Square

GPUS = [Domain(f"gpu:GPU-{i}", "gpu", "H100", "M1", 0.1, f"GPU-{i}") for i in range(2)]
PACKAGE = Domain("cpu:package-0", "cpu", "EPYC", "M1", 0.1)
ESTIMATES = [Domain(f"{k}:estimate", k, "EPYC", "M0", 0.4) for k in ("cpu", "dram")]
NODE = Domain("node:shelly", "node", "Shelly", "M2", 0.02)
REFUSED = [Refused("rapl", "no powercap tree", None, ["cpu", "dram"])]


def watched(domains: list[Domain], seconds: float, power_w: float = 300.0) -> Watch:
    """Ten looks a second at domains that draw `power_w` each."""
    seen = Watch(Started(domains, REFUSED, {}), 10.0, 1000.0)
    for tick in range(1, round(seconds * 10) + 1):
        look(seen, {d.name: power_w for d in domains}, power_w * tick / 10, tick / 10)
    return seen


def look(seen: Watch, power_w: dict[str, float], energy_j: float, t_s: float) -> None:
    joules = {d.name: energy_j for d in seen.started.domains}
    seen.look(Live(power_w, joules, 0.0), 1000.0 + t_s)


# --- what is shown


@pytest.mark.parametrize("width", [40, 71, 72, 100, 200])
def test_the_screen_fits_any_terminal(width: int) -> None:
    rows = [text for text, _ in rows_of(watched([*GPUS, PACKAGE], 90), width)]
    assert all(len(row) <= width for row in rows)
    text = "\n".join(rows)
    for said in ("GPU 0", "GPU 1", "CPU package-0", "total", "300 W", "900 W", "7.50 Wh", "█"):
        assert said in text
    assert "no meter" in text
    assert "powercap" in text


def test_mean_and_peak() -> None:
    seen = Seen()
    for tick, power_w in enumerate([100.0] * 50 + [500.0] * 50):
        seen.look(power_w, min(tick, 50) * 10.0 + max(0, tick - 50) * 50.0, tick / 10)
    assert seen.now_w == seen.peak_w == 500
    assert seen.mean_w == pytest.approx(300, rel=0.02)


def test_what_can_not_be_read_is_missing_and_no_part_of_a_sum() -> None:
    seen = watched(GPUS, 3)
    assert seen.total.now_w == 600
    look(seen, {"gpu:GPU-0": 300.0}, 930.0, 3.1)
    assert seen.seen["gpu:GPU-1"].now_w is None
    assert seen.total.now_w is None, "the rest is not the total"
    assert seen.total.energy_j is seen.total.mean_w is None
    assert ("no reading: GPU 1", "red") in seen.notes()
    row = next(text for text, _ in rows_of(seen, 80) if text.startswith("GPU 1"))
    assert "–" in row
    look(seen, {d.name: 300.0 for d in GPUS}, 960.0, 3.2)
    assert seen.total.energy_j == 1920
    assert seen.total.mean_w == pytest.approx(600, rel=0.05)


def test_what_was_never_read_has_no_energy(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Watch(Started(GPUS, [], {}), 10.0, 1000.0)
    for tick in range(1, 30):
        seen.look(Live({GPUS[0].name: 300.0}, {GPUS[0].name: 30.0 * tick}, 0.0), 1000 + tick / 10)
    watching.JsonLines().draw(seen)
    said = json.loads(capsys.readouterr().out)
    assert said["energy_j"] == {GPUS[0].name: 870.0, GPUS[1].name: None}
    assert said["total_j"] is said["total_w"] is None
    watching.Plain().draw(seen)
    assert "total – " in capsys.readouterr().out
    watching.JsonLines().closed(seen, watching.Summary(3.0, [], []))
    assert json.loads(capsys.readouterr().out)["peak_w"] == {
        GPUS[0].name: 300.0,
        GPUS[1].name: None,
    }


def test_a_meter_that_hangs_is_not_shown_as_if_it_went_on() -> None:
    seen = watched(GPUS, 3)
    for tick in range(60):  # the watts of the last reading stay; its joules don't rise
        look(seen, {d.name: 300.0 for d in GPUS}, 900.0, 3 + tick / 10)
    assert seen.seen["gpu:GPU-0"].now_w is None
    assert seen.seen["gpu:GPU-0"].mean_w == pytest.approx(300, rel=0.05), "while it was read"


def test_a_calibrated_meter_is_shown_as_calibrated() -> None:
    line = {"gain": 1.1, "offset_w": 20.0}
    seen = watched([PACKAGE._replace(level="M3", facts={"calibration": line})], 10, 100.0)
    package = seen.seen["cpu:package-0"]
    assert package.now_w == package.peak_w == pytest.approx(130)
    assert package.mean_w == pytest.approx(130)
    assert list(package.minute) == pytest.approx([130.0] * len(package.minute))


def test_a_node_meter_is_the_total_and_estimates_are_in_no_sum() -> None:
    assert counted([*GPUS, NODE]) == ["node:shelly"]
    assert counted([*GPUS, *ESTIMATES]) == ["gpu:GPU-0", "gpu:GPU-1"]
    assert counted(ESTIMATES) == ["cpu:estimate", "dram:estimate"]
    assert watched([*GPUS, NODE], 2, 100.0).total.now_w == 100
    mixed = watched([*GPUS, *ESTIMATES], 2)
    assert not any("estimate" in text for text, _ in rows_of(mixed, 80))


def test_an_estimate_says_that_it_is_one() -> None:
    rows = "\n".join(text for text, _ in rows_of(watched(ESTIMATES, 2, 10.0), 80))
    assert "M0 (estimated)" in rows
    assert "no meter works here" in rows
    assert "total, about" in rows


def test_a_sparkline_is_the_last_minute() -> None:
    assert sparkline([1.0, None, 8.0], 60) == f"{'▂ █':>60}"
    rising = sparkline([float(i) for i in range(60)], 20)
    assert len(rising) == 20
    assert rising[0] == "▁"
    assert rising[-1] == "█"
    assert list(rising) == sorted(rising)
    assert sparkline([], 10).strip() == ""
    seen = watched([PACKAGE], 100)
    assert len(seen.seen["cpu:package-0"].minute) == 60


# --- the command

COMMAND = [sys.executable, "-m", "bench", "power", "watch"]


def lines(*options: str, **environment: str) -> list[dict]:
    done = subprocess.run(
        [*COMMAND, "--json", *options],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_json_line_a_second_and_the_sum_at_the_end(make_gpus) -> None:
    gpus = make_gpus(SimulatedGpu(Square(100, 300, 0.5)), SimulatedGpu(Constant(50)))
    start, *seen, stop = lines("--for", "3s", "--probe", "nvml")
    assert start["event"] == "start"
    assert start["level"] == "M1"
    assert [d["domain"] for d in start["domains"] if d["counted"]] == [
        gpus.domain(0), gpus.domain(1)
    ]  # fmt: skip
    assert {line["event"] for line in seen} == {"power"}
    assert 2 <= len(seen) <= 4
    assert seen[-1]["power_w"][gpus.domain(1)] == pytest.approx(50, rel=0.01)
    assert stop["event"] == "stop"
    first, second = stop["energies"][:2]
    assert first["energy_j"] == pytest.approx(200 * stop["elapsed_s"], rel=0.1)
    assert second["energy_j"] == pytest.approx(50 * stop["elapsed_s"], rel=0.02)
    assert second["uncertainty_j"] > 0


def test_a_lost_board_is_missing_in_the_sum(make_gpus) -> None:
    make_gpus(SimulatedGpu(Constant(100)), SimulatedGpu(faults=[("code", 9, 1e9, 15)]))
    *_, last, stop = lines("--for", "12s", "--probe", "nvml")
    assert last["total_w"] is None
    assert stop["energies"][1]["energy_j"] is None
    assert any(not w["rankable"] for w in stop["warnings"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_with_a_summary(tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    watch = subprocess.Popen(COMMAND, env=environment, stdout=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    for line in watch.stdout:
        if " s  total" in line:
            break
    watch.send_signal(number)
    said, _ = watch.communicate(timeout=30)
    assert watch.returncode == 0
    assert "watched" in said
    assert "estimated (M0)" in said
    assert "at most" in said
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_a_reader_that_has_enough_ends_it() -> None:
    pipe = subprocess.PIPE
    watch = subprocess.Popen([*COMMAND, "--json"], stdout=pipe, stderr=pipe, text=True)
    assert watch.stdout is not None
    assert watch.stderr is not None
    watch.stdout.readline()
    watch.stdout.close()
    watch.wait(30)
    assert watch.stderr.read() == ""
    watch.stderr.close()


def test_a_log_that_grows_too_long_is_emptied_and_the_summary_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_LOG_BYTES", 2000)
    watching.watch(watching.Plain(), ["estimate"], 20.0, 2.5)
    said = capsys.readouterr().out
    assert "without uncertainty" in said
    assert "±" not in said.partition("watched")[2]


def test_wrong_use_is_told(bench) -> None:
    said = bench("power", "watch", "--for", "10J")
    assert said.code == 2
    assert "not a time" in said.err
    assert bench("power", "watch", "--rate", "1000").code == 2
    with pytest.raises(BenchError, match="nothing can be metered"):
        watching.watch(watching.Plain(), ["rapl:/nowhere"], 10.0, 1.0)


def test_a_terminal_is_redrawn_in_place(tmp_path: Path) -> None:
    """In a pseudo-terminal of 40 columns: drawn again and again, and left with the summary."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", COLUMNS="40", LINES="30", TMPDIR=str(tmp_path))
        os.execv(COMMAND[0], COMMAND)
    said, sent, deadline = b"", False, time.monotonic() + 40
    while time.monotonic() < deadline:
        try:
            said += os.read(terminal, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not sent and said.count(b"energy") > 3:
            os.write(terminal, b"\x03")
            sent = True
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"\x1b[2K" in said, "lines are redrawn, the screen is not cleared"
    assert b"\x1b[2J" not in said
    assert b"watched" in said
