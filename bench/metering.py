"""Meter a part of a Python program: `with bench.meter() as m: …`, with `m.phase("train")` in it.

The sampler is a process of its own here too: what the program does, however it holds up its
threads, does not disturb the readings.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bench import account, measure
from bench.child import Journal, Outcome
from bench.errors import UsageError
from bench.power import calibration, carbon, machine
from bench.power.meter import Meter
from bench.power.probes import with_found
from bench.record import Measurement, Warn
from bench.units import NS_PER_S, kwh_from_j

if TYPE_CHECKING:
    from bench.power.meter import Live


class Metering:
    """What `bench.meter` gives. After the block, `result` holds everything that was measured.

    With a `folder`, it holds trace, events and `measurement.json` afterwards, as `bench measure`
    leaves them, and what was measured up to a kill can be recovered; without one nothing is kept.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        region: str | None = None,
        pue: str | None = None,
        rate_hz: float = 10.0,
        probes: Sequence[str] | None = None,
        idle_s: float = 0.0,
    ) -> None:
        self._kept = None if folder is None else Path(folder)
        self._region, self._pue = region, pue
        self.scenario = carbon.asked(region, pue)
        self._rate_hz, self._idle_s = rate_hz, idle_s
        self._probes = with_found(probes or [])
        self._result: Measurement | None = None
        self._closed_ns: int | None = None

    def __enter__(self) -> Metering:
        with ExitStack() as stack:
            folder = self._folder(stack)
            visible = machine.visible_gpus(os.environ)
            self._start = account.begin(
                visible, self._region, pue=self._pue, notes=machine.unmetered(os.environ)
            )
            if self._kept:
                stack.enter_context(measure.opened(folder, self._start))
            self._journal = Journal(folder / "events.jsonl")
            stack.callback(self._journal.close)
            self._meter = Meter(folder, rate_hz=self._rate_hz, probes=self._probes)
            stack.callback(self._stop_if_left)
            started = self._meter.start()
            self._meter.follow(os.getpid())
            charges = account.charged(self._start, started.domains)
            counted = calibration.of_counted(started.domains, charges)
            self._corrections = {d.name: calibration.Correction.of(d) for d in counted}
            self._journal.write("meter", refused=[r.as_dict() for r in started.refusals])
            self._idle("idle_before")
            self._opened_ns = self._meter.opening()
            self._journal.write("window_start", t_ns=self._opened_ns)
            self._before_j = dict(self._meter.live().energy_j)
            self._open = stack.pop_all()
        return self

    def _folder(self, stack: ExitStack) -> Path:
        if self._kept is None:
            folder = Path(tempfile.mkdtemp(prefix="bench-meter-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            return folder
        self._kept.mkdir(parents=True, exist_ok=True)
        if any(self._kept.iterdir()):
            raise UsageError(f"{self._kept} is not empty", "give each measurement its own folder")
        return self._kept

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._open:
            self._synchronise()
            self._closed_ns = self._meter.edge()
            self._journal.write("window_stop", t_ns=self._closed_ns)
            self._idle("idle_after")
            self._finish(_outcome(kind, error))

    def _finish(self, outcome: Outcome) -> None:
        readings = self._meter.stop()
        measure.settle(self._journal, outcome)
        folder = self._journal.path.parent
        record = measure.concluded(folder, self._start, readings, None, outcome)
        assert isinstance(record, Measurement)
        self._result = record
        if self._kept:
            try:
                measure.keep(folder, readings, record)
            except OSError as error:  # no reason to end a program that has trained
                doubt = Warn(id="not-kept", message=f"{folder} does not hold the result: {error}")
                warnings.warn(doubt.message, RuntimeWarning, stacklevel=3)
                several = [*record.warnings, doubt]
                self._result = record.model_copy(update={"warnings": several})

    def _stop_if_left(self) -> None:
        if self._meter.alive:
            self._meter.stop()

    def _synchronise(self) -> None:
        """Wait for the GPU where the program uses torch with one."""
        torch = sys.modules.get("torch")
        if torch is None or not (torch.cuda.is_available() and torch.cuda.is_initialized()):
            return
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:  # of the program's making: it has been told, or will be
            text = f"the GPU could not be waited for: {_first_line(error)}"
            self._journal.write("warning", id="not-synchronised", message=text)

    def _idle(self, name: str) -> None:
        if self._idle_s:
            self._journal.write(f"{name}_start")
            time.sleep(self._idle_s)
            self._journal.write(f"{name}_stop")

    # --- inside the block

    def phase(self, name: str) -> Phase:
        """Begin a phase; it ends with its `with` block, or where the next one begins.

        Work that was given to a GPU is waited for, so that it falls into the right phase.
        """
        self._synchronise()
        self._journal.write("phase_start", t_ns=self._meter.phase(), phase=name)
        return Phase(self, name)

    def end_phase(self, name: str) -> None:
        self._synchronise()
        self._journal.write("phase_stop", t_ns=self._meter.phase(), phase=name)

    def live(self) -> Live:
        """The newest watts and the joules so far, of the domains that are charged. Never waits: up
        to half a second late, and `age_s` says how old the newest reading is."""
        live = self._meter.live()
        stop_ns = self._closed_ns or time.monotonic_ns()
        elapsed_s = (stop_ns - self._opened_ns) / NS_PER_S
        corrections, before_j = self._corrections, self._before_j
        return replace(
            live,
            power_w={
                d: corrections[d].watts(w) for d, w in live.power_w.items() if d in corrections
            },
            energy_j={
                d: corrections[d].joules(j - before_j.get(d, 0.0), elapsed_s)
                for d, j in live.energy_j.items()
                if d in corrections
            },
            domain_age_s={d: s for d, s in live.domain_age_s.items() if d in corrections},
        )

    # --- after it

    @property
    def result(self) -> Measurement:
        """What was measured: energy by domain and phase, how, how sure, and what makes it doubtful.
        UsageError before the block has ended."""
        if self._result is None:
            raise UsageError("the block that is metered has not ended", "ask after the with block")
        return self._result

    @property
    def energy_kwh(self) -> float | None:
        """Gross energy of the block; None when a meter that counts could not be read."""
        energy_j = self.result.energy_j
        return None if energy_j is None else kwh_from_j(energy_j)

    @property
    def emissions_g(self) -> float | None:
        """g CO2e in the scenario of region and PUE; None when the energy is not known."""
        energy_j = self.result.energy_j
        return None if energy_j is None else self.scenario.emissions_g(energy_j)


class Phase:
    """A phase that has begun; as a context manager it ends with the block."""

    def __init__(self, metering: Metering, name: str) -> None:
        self._metering, self._name = metering, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._metering.end_phase(self._name)


def _outcome(kind: type[BaseException] | None, error: BaseException | None) -> Outcome:
    if kind is None:
        return Outcome("complete")
    if issubclass(kind, KeyboardInterrupt):
        return Outcome("interrupted", "interrupted by Ctrl-C")
    return Outcome("failed", f"{kind.__name__}: {_first_line(error)}".rstrip(": "))


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or [""])[0]
