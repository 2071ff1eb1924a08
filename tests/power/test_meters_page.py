"""What the page about meters says, against what there is."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from bench import registry
from bench.power import probes
from bench.power.meter import Meter
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "bench" / "docs" / "meters.md").read_text(encoding="utf-8")


def test_every_probe_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(registry.names(probes.PACKAGE, "no.such.group"))


def test_the_example_of_a_probe_works(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    meter = Meter(tmp_path, probes=[f"{tmp_path}/mine.py:250"])
    started = meter.start()
    assert [d.name for d in started.domains] == ["node:mine"]
    start_ns = meter.edge()
    time.sleep(0.7)
    stop_ns = meter.edge()
    (energy,) = meter.stop().energy(start_ns, stop_ns)
    assert energy.energy_j == pytest.approx(250 * (stop_ns - start_ns) / 1e9, rel=0.001)
    assert energy.level == "M2"
