"""Simulated meters for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.power.simulated import SimulatedGpu, SimulatedGpus, build_nvml

MakeGpus = Callable[..., SimulatedGpus]


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def make_gpus(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeGpus:
    """Makes simulated boards that every process started from now on sees."""

    def make(*gpus: SimulatedGpu, **options: Any) -> SimulatedGpus:
        library = options.pop("library", nvml_library)
        simulated = SimulatedGpus(tmp_path / "nvml.conf", library, gpus, **options)
        for name, value in simulated.environment().items():
            monkeypatch.setenv(name, value)
        return simulated

    return make
