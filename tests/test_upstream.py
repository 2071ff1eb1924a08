"""What was published of listed checkpoints can be declared without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench import upstream


def test_every_listed_checkpoint_has_a_source() -> None:
    for name, checkpoint in upstream.checkpoints().items():
        if checkpoint.sha256 is None:
            continue
        found = upstream.proposed(checkpoint.sha256)
        assert found is not None
        assert name in found.what
        assert found.checkpoint_sha256 == checkpoint.sha256
        assert found.energy_kwh is None or found.energy_kwh > 0
    assert set(upstream._OF) == set(upstream.checkpoints())


def test_a_published_energy_is_of_the_machines_alone() -> None:
    (found,) = (upstream.proposed(s) for s, n in upstream.allowed().items() if n == "bert-base")
    assert found is not None
    assert found.energy_kwh == pytest.approx(12_041.51 * 79.2 / 1e3, rel=1e-3)  # W, h of table 3
    assert found.energy_kwh == pytest.approx(1507 / 1.58, rel=1e-3)


def test_of_unknown_weights_nothing_is_proposed() -> None:
    assert upstream.proposed("f" * 64) is None


def test_no_torch_is_imported() -> None:
    code = "import sys, bench.upstream as u; u.allowed(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
