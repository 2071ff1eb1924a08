"""The simulated card shows what its truth says, and the NVML probe reads what cards give."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.power.conftest import MakeGpus
from tests.power.simulated import (
    Constant,
    Curve,
    Ramp,
    Recorded,
    SimulatedGpu,
    Square,
)

pytestmark = pytest.mark.compiler

# --- the simulated card itself, looked at as any tool would, through pynvml

_LOOK = """
import json, sys, time
import pynvml as n
n.nvmlInit()
print(json.dumps(eval(sys.argv[1])))
"""
_POLL = """(lambda h, end: [
    (time.monotonic_ns(), n.nvmlDeviceGetTotalEnergyConsumption(h), n.nvmlDeviceGetPowerUsage(h),
     [v.value.uiVal for v in n.nvmlDeviceGetFieldValues(h, [185, 186])], time.monotonic_ns())
    for _ in iter(lambda: time.sleep(0.003) or time.monotonic() < end, False)
])(n.nvmlDeviceGetHandleByIndex(0), time.monotonic() + SECONDS)"""


def look(expression: str) -> Any:
    """What an expression gives in a process that sees the simulated boards; `n` is pynvml."""
    command = [sys.executable, "-c", _LOOK, expression]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def poll(seconds: float = 0.5) -> list[tuple[int, int, int, list[int], int]]:
    """Rows of (before ns, counter mJ, PowerUsage mW, [field 185, field 186] mW, after ns)."""
    return look(_POLL.replace("SECONDS", str(seconds)))


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    path = tmp_path / "watts.csv"
    path.write_text("t,watts\n10.0,100\n10.2,300\n10.25,50\n10.6,50\n10.7,400\n")
    return Recorded(str(path))


@pytest.mark.parametrize(
    "curve", [Constant(400), Square(100, 400, 0.23), Ramp(80, 700, 0.31), None], ids=str
)
def test_card_and_truth_agree(make_gpus: MakeGpus, recorded: Recorded, curve: Curve | None) -> None:
    gpus = make_gpus(SimulatedGpu(curve or recorded, tick_s=0, start_j=1e6))
    truth = gpus.gpus[0].curve
    for before_ns, energy_mj, power_mw, _, after_ns in poll():
        first, last = (ns / 1e9 - gpus.boot_s for ns in (before_ns, after_ns))
        least, most = truth.energy_j(first) + 1e6, truth.energy_j(last) + 1e6
        assert least - 0.002 <= energy_mj / 1e3 <= most + 0.002
        between = [truth.power_w(first + k / 20 * (last - first)) for k in range(21)]
        assert min(between) - 1 <= power_mw / 1e3 <= max(between) + 1


@pytest.mark.parametrize("curve", [Square(100, 400, 0.7), Ramp(80, 700, 3.1), None], ids=str)
def test_the_truth_is_the_integral_of_its_power(recorded: Recorded, curve: Curve | None) -> None:
    curve = curve or recorded
    steps = 20_000
    by_sum = sum(curve.power_w(0.1 + (k + 0.5) / steps * 2.0) for k in range(steps)) * 2.0 / steps
    assert curve.energy_j(2.1) - curve.energy_j(0.1) == pytest.approx(by_sum, rel=1e-3)


def test_registers_of_a_hopper(make_gpus: MakeGpus) -> None:
    """Field 186: a 25 ms mean each 100 ms; field 185 and PowerUsage: the last second's mean."""
    gpus = make_gpus(SimulatedGpu.of("h100", Ramp(0, 700, 10)))
    curve = gpus.gpus[0].curve
    for before_ns, _, usage_mw, (average_mw, instant_mw), after_ns in poll():
        renewed = [int((ns / 1e9 - gpus.boot_s) * 10) / 10 for ns in (before_ns, after_ns)]
        if renewed[0] != renewed[1]:
            continue  # it was renewed in between
        t = renewed[0]
        instant_w = (curve.energy_j(t) - curve.energy_j(t - 0.025)) / 0.025
        average_w = curve.energy_j(t) - curve.energy_j(t - 1)
        assert instant_mw / 1e3 == pytest.approx(instant_w, abs=0.01)
        assert average_mw / 1e3 == pytest.approx(average_w, abs=0.01)
        assert usage_mw == average_mw


def test_an_a100_gives_no_average(make_gpus: MakeGpus) -> None:
    make_gpus(SimulatedGpu.of("a100", Ramp(0, 400, 10)))
    assert all(usage == instant for _, _, usage, (_, instant), _ in poll(0.2)[:1])


def test_noise_comes_again_with_the_seed(make_gpus: MakeGpus) -> None:
    gpu = SimulatedGpu(Constant(200), refresh_s=1e6, noise_w=5)

    def seen(seed: int) -> int:
        make_gpus(gpu, seed=seed)
        return look("n.nvmlDeviceGetPowerUsage(n.nvmlDeviceGetHandleByIndex(0))")

    assert seen(1) == seen(1) != seen(2)


def test_noise_and_jitter(make_gpus: MakeGpus) -> None:
    make_gpus(
        SimulatedGpu(Constant(200), refresh_s=0.02, noise_w=5, tick_s=0.05, tick_jitter_s=0.01)
    )
    rows = poll(1.0)
    watts = [mw / 1e3 for mw in {row[2] for row in rows}]
    assert len(watts) > 20  # one value for each renewal
    assert 195 < sum(watts) / len(watts) < 205
    assert any(abs(w - 200) > 5 for w in watts)
    counts = sorted({row[1] for row in rows})
    ticks_s = [(b - a) / 200e3 for a, b in pairwise(counts)]
    assert 0.029 <= min(ticks_s) < 0.048
    assert max(ticks_s) > 0.052


def test_gains(make_gpus: MakeGpus) -> None:
    make_gpus(SimulatedGpu(Constant(200), gain=1.1, counter_gain=0.9, tick_s=0))
    first, *_, last = poll()
    assert first[2] == 220_000
    seconds = (last[0] - first[0]) / 1e9
    assert (last[1] - first[1]) / 1e3 / seconds == pytest.approx(180, rel=0.02)
