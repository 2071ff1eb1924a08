"""Predictions of some rows that stand for those of all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.learn import sampling


class Rows:
    """`count` rows of one length."""

    def __init__(self, count: int) -> None:
        self.lengths = np.full(count, 10)

    def __len__(self) -> int:
        return len(self.lengths)


class Device:
    """A clock that a prediction moves: by 3 s once, and by `row_s` a row."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, row_s: float) -> None:
        self.now_s, self._row_s, self._cold = 0.0, row_s, True
        self.phases: list[tuple[str, float]] = []
        self.training: Any = SimpleNamespace(
            objective=self, model=SimpleNamespace(device=SimpleNamespace(type="cpu"))
        )
        monkeypatch.setattr(sampling, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def predict(self, model: Any, rows: Rows, chosen: np.ndarray) -> None:
        assert len(set(chosen.tolist())) == len(chosen)
        self.now_s += self._row_s * len(chosen) + (3.0 if self._cold else 0.0)
        self._cold = False

    def send(self, event: str, phase: str) -> None:
        self.phases.append((f"{event} {phase}", self.now_s))

    def predicted_s(self) -> float:
        """Of the phase that counts."""
        at = dict(self.phases)
        assert [name for name, _ in self.phases][1:] == [
            "phase_start predict",
            "phase_stop predict",
        ]
        return at["phase_stop predict"] - at["phase_start predict"]


@pytest.mark.parametrize("row_s", [1e-4, 2e-3, 0.05, 0.4])
def test_what_some_rows_take_says_what_all_would(
    monkeypatch: pytest.MonkeyPatch, row_s: float
) -> None:
    """The first call, which is slow, is in no phase that counts."""
    device = Device(monkeypatch, row_s)
    share = sampling.predict(device.training, Rows(5000), device)
    assert device.predicted_s() / share == pytest.approx(5000 * row_s)


def test_a_fast_device_predicts_for_long_enough_to_be_metered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(monkeypatch, 1e-3)
    assert sampling.predict(device.training, Rows(100_000), device) < 0.1
    assert 1 <= device.predicted_s() <= 4


def test_a_slow_device_predicts_a_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, 1.0)
    assert sampling.predict(device.training, Rows(800), device) == pytest.approx(0.01)
    assert device.now_s == pytest.approx(3 + 3 * 8)


def test_of_few_rows_all_are_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, 1e-4)
    assert sampling.predict(device.training, Rows(5), device) == 1
