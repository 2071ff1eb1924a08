"""Fixtures that every test may use. Real corpora: BENCH_TEST_DATA, else ../shared/data."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest

# Ignored under nohup and in the background of a script, and then by what tests start as well.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
REPOSITORY = Path(__file__).parent.parent
SHARED = Path(os.environ.get("BENCH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real corpora; the test is skipped, aloud, where there is none."""
    if not (SHARED / "glue").is_dir():
        pytest.skip(f"no real corpora at {SHARED}")
    return SHARED


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> None:
    """No test sees the user's data, caches or the network."""
    for name in [n for n in os.environ if n.startswith("BENCH_") and n != "BENCH_TEST_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.getbasetemp() / "hf-home"))
    for kind in ("cache", "config", "data"):
        place = tmp_path_factory.getbasetemp() / kind
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(place))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config"))
    monkeypatch.setenv("BENCH_LOCK", str(tmp_path_factory.getbasetemp() / f"turn-{uuid.uuid4()}"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # tests run side by side: threads would only spin
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: refuses at once


@pytest.fixture
def bench(capfd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The `bench` command, in an empty folder; see tests/command.py."""
    from tests.command import Command

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return Command(capfd, monkeypatch)
