"""The one live line of a running job; on anything but a terminal, a plain line now and then."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from bench.child import Progress
from bench.rank import notation
from bench.units import g_co2e, show_duration, show_emissions, show_energy, significant

PLAIN_EVERY_S = 30.0


def fields(progress: Progress, g_per_kwh: float) -> list[str]:
    """What the line says, the most important first after the phase."""
    p = progress
    said = [p.phase if not p.stopping else f"{p.phase} (budget spent)"]
    if p.text:
        said.append(p.text)
    if p.step:
        total = f"/{p.total_steps}" if p.total_steps else ""
        said.append(f"step {p.step}{total}")
    if p.loss is not None:
        said.append(f"loss {p.loss:.3f}")
    if p.score is not None:
        said.append(notation.named(*p.score))
    about = "~" if p.estimated else ""
    if p.power_w:
        said.append(f"{about}{significant(sum(p.power_w.values()))} W")
    if p.energy_j:
        said.append(f"{about}{significant(p.energy_j / 3600)} Wh")
        said.append(f"{about}{show_emissions(g_co2e(p.energy_j, g_per_kwh))}")
    if p.elapsed_s:
        said.append(show_duration(p.elapsed_s))
    if ahead := p.forecast():
        seconds, joules = ahead
        said.append(f"-> {show_duration(seconds)}, {about}{show_energy(joules)} in all")
    return said


def fit(said: list[str], width: int) -> str:
    """The fields that fit into `width` columns: the middle ones go first, then the end is cut."""
    said = list(said)
    while len(said) > 2 and len(" · ".join(said)) > width:
        del said[-2 if len(said) > 4 else -1]
    line = " · ".join(said)
    return line if len(line) <= width else (line[: width - 1] + "…" if width else "")


class Line:
    """Draws `Progress` on `stream`; use as a context manager so that the line is cleared."""

    def __init__(self, g_per_kwh: float, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._g_per_kwh = g_per_kwh
        self._terminal = self._stream.isatty()
        self._next_s = 0.0
        self.lead = ""  # before all that is known of the run

    def __enter__(self) -> Line:
        return self

    def __call__(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (0.2 if self._terminal else PLAIN_EVERY_S)
        said = [*([self.lead] if self.lead else []), *fields(progress, self._g_per_kwh)]
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r\x1b[K{fit(said, width)}")
        else:
            self._write(" · ".join(said) + "\n")

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Make room for other lines."""
        if self._terminal:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone; the run goes on
            self._terminal = False
            self._next_s = float("inf")
