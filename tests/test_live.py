from __future__ import annotations

import io
from dataclasses import replace

from bench.child import Progress
from bench.live import Line, fields, fit

RUNNING = Progress(
    phase="train", elapsed_s=30.0, step=50, total_steps=200, loss=0.4321, score=("accuracy", 0.812),
    power_w={"gpu:a": 300.0, "cpu:package-0": 50.0}, energy_j=10_500.0, train_started=(10.0, 500.0),
)  # fmt: skip


def test_the_line_says_where_the_run_is_and_what_it_will_come_to() -> None:
    line = " · ".join(fields(RUNNING, g_per_kwh=400))
    assert "step 50/200" in line
    assert "loss 0.432" in line
    assert "accuracy 81.2 %" in line
    assert "350 W" in line
    assert "2.92 Wh" in line
    assert "1.17 g CO2e" in line
    assert "-> 1 min 30 s, 11.2 Wh in all" in line


def test_an_estimate_is_marked() -> None:
    assert "~350 W" in fields(replace(RUNNING, estimated=True), 400)


def test_no_forecast_before_training_shows_its_pace() -> None:
    assert Progress(step=1, total_steps=9, elapsed_s=1.0, train_started=(0.5, 0)).forecast() is None
    assert Progress(elapsed_s=100.0).forecast() is None


def test_the_line_fits_any_terminal() -> None:
    said = fields(RUNNING, 400)
    for width in (0, 1, 10, 40, 80, 200):
        assert len(fit(said, width)) <= width
    assert fit(said, 40).startswith("train · step 50/200")
    assert "in all" in fit(said, 80)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_redrawn_and_left_clean() -> None:
    stream = Terminal()
    with Line(400, stream=stream) as line:
        line(RUNNING)
    assert stream.getvalue().startswith("\r\x1b[K")
    assert stream.getvalue().endswith("\r\x1b[K")


def test_a_log_gets_a_plain_line_now_and_then() -> None:
    stream = io.StringIO()
    with Line(400, stream=stream) as line:
        line(RUNNING)
        line(RUNNING)
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_a_killed_terminal_does_not_end_the_run() -> None:
    stream = Terminal()
    line = Line(400, stream=stream)
    stream.close()
    line(RUNNING)
    line(RUNNING)
