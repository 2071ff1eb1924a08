"""`bench power calibrate`: from a reference meter to a file that the sampler uses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench.power import calibration
from tests.power.simulated import Ramp, SimulatedRapl
from tests.power.test_calibration import reference

SLEEPER = f"{sys.executable} -c 'import time; time.sleep(60)'"


@pytest.mark.skipif(not calibration._machine_ids(), reason="nothing tells this machine apart")
def test_a_calibration_is_made_shown_kept_and_used(
    bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "calibration.json"
    rapl = SimulatedRapl(tmp_path / "powercap", {"package-0": Ramp(20, 120, 12)})
    monkeypatch.setenv("BENCH_POWERCAP_ROOT", str(rapl.root))
    monkeypatch.setenv("BENCH_CALIBRATION", str(kept))
    monkeypatch.setattr(calibration, "WINDOW_S", 0.6)
    with rapl:
        wall = reference(tmp_path, rapl, 1.25, 15.0)
        said = bench("power", "calibrate", "--reference", wall, "--load", SLEEPER)
        assert said.code == 0, said.err
        assert "idle: 5 of 5 windows of 0.6 s" in said.err
        shown = " ".join(said.out.split())
        assert "a wall meter" in shown
        assert "cpu:package-0" in shown
        assert "(k = 2): level M3 from now on" in shown
        assert kept.name in shown.replace(" ", "")
        gain = json.loads(kept.read_text())["gain"]
        assert gain == pytest.approx(1.25, rel=0.2)
        assert f"reference = {gain:.4f} x meters" in shown
        as_after_an_hour(kept)
        report = json.loads(bench("doctor", "--json").out)
        seen = " ".join(bench("doctor").out.split())
    assert "M3" in next(item["what"] for item in report["meters"] if item["name"] == "rapl")
    assert "against a wall meter" in report["calibration"]
    assert "against a wall meter" in seen


def as_after_an_hour(kept: Path) -> None:
    """As if the windows had been whole ones."""
    made = json.loads(kept.read_text())
    made["protocol"]["window_s"] = 60.0
    kept.write_text(json.dumps(made))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--reference", "shely:plug"], "shely"),
        (["--reference", "shelly:plug", "--minutes", "0.1"], "--minutes 15 or more"),
        (["--reference", "command:false", "--load", "'"], "can't be read"),
        ([], "--reference"),
    ],
)
def test_what_can_not_be_done_is_told(bench, options: list[str], says: str) -> None:
    said = bench("power", "calibrate", *options)
    assert said.code != 0
    assert says in said.err
    assert "Traceback" not in said.err
