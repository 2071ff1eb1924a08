"""NVIDIA GPUs through NVML: energy counter and power, by UUID. Level M1.

Both come from one `nvmlDeviceGetFieldValues` where the driver has the fields (83 energy, mJ since
the driver was loaded; 186 power now, mW; scope 0: the board). Others fall back to
`nvmlDeviceGetTotalEnergyConsumption`, and to `nvmlDeviceGetPowerUsage`, which is an average over a
second on Ampere and newer except GA100. Field 191 is the counter of field 83 once more, and is
asked where there is no 83: in a call for nine fields, driver 580.159 gave it the type of those
beside it, 32 bits, which 4.3 MJ fill. What a device can do is found by asking it. Sources: the
header of NVML; Yang, Adamek and Armour, arXiv 2312.02741; an H200.

A reading that fails is a reading with an error. Codes 15 and 16 (lost, reset required) are final.
A device that hangs keeps the thread that asks it; another thread reads the others on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from ctypes import byref, c_uint, c_ulonglong
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple

from bench.power import gpus, nvml
from bench.power.nvml import Answer, Fields, Handle, Library, Number, NvmlError
from bench.power.probes import Domain, Mark, Reading, Refusal, Timed
from bench.power.processes import Tree, all_seen

GAIN = 0.10  # twelve boards against an external meter: -8.0 to +12.9 %, mean 4.4 %
_ENERGY_FIELDS, _POWER_NOW, _POWER_AVERAGE = (83, 191), 186, 185
_ASK_NS = 200_000_000  # one of five questions that matter less than energy and power
_THICK_NS = 8_000_000
_DENSE_S = 0.03  # an H200 is silent for up to 15 ms after a tick: readings are 20 to 26 ms apart
_STILL_NS = 2_000_000_000  # a counter that has not moved for so long is none
_LAG_NS = 1_000_000_000  # utilisation is of up to so long ago, when a process may still have run
_SILENT = "the driver has not answered for this GPU"
_FINAL = (nvml.GPU_IS_LOST, nvml.RESET_REQUIRED)
_ABSURD_MW = 1e7  # no board draws so much; 0xffffffff stands for "not available"
_TRIES = 3  # a device may say "not supported" once when it is asked for the first time
_POWER_CAP, _BRAKE, _SLOWDOWN, _THERMAL = 0x04, 0x80, 0x08, 0x20 | 0x40  # clock event reasons


class _Source(NamedTuple):
    """A way to ask for energy or power."""

    name: str | None
    field: int | None  # its number, where it is one
    ask: Callable[[], list[Answer]]


_NONE = _Source(None, None, lambda: [(None, 0)])


class _Device:
    """One GPU: its handle and where its energy and power come from."""

    def __init__(self, library: Library, handle: Handle) -> None:
        self._library, self._handle = library, handle
        self.gpu = gpus.identify(library, handle)
        self.name = f"gpu:{self.gpu.uuid}"
        self.lost: str | None = None
        self._timed = Timed()
        self._state = _State(self.name, library, handle)
        self._counters = [
            *(self._field(number) for number in _ENERGY_FIELDS),
            self._function("nvmlDeviceGetTotalEnergyConsumption", c_ulonglong),
        ]
        self._energy = _first_that_works(self._counters)
        self._power = _first_that_works([
            self._field(_POWER_NOW), self._function("nvmlDeviceGetPowerUsage"),
            self._field(_POWER_AVERAGE),
        ])  # fmt: skip
        self._asks = self._together()
        self._first: tuple[float, int] | None = None  # what the counter read, and when
        self._moved = False

    def _field(self, number: int) -> _Source:
        return _Source(f"field {number}", number, Fields(self._library, self._handle, [number]))

    def _function(self, name: str, kind: Any = c_uint) -> _Source:
        ask = Number(self._library, name, self._handle, kind=kind)
        return _Source(name.removeprefix("nvmlDeviceGet"), None, ask)

    def _together(self) -> list[Callable[[], list[Answer]]]:
        """Energy and power in one call where both are fields."""
        if self._energy.field and self._power.field:
            return [Fields(self._library, self._handle, [self._energy.field, self._power.field])]
        return [self._energy.ask, self._power.ask]

    def domain(self) -> Domain:
        facts = {
            **self.gpu.facts,
            "energy_source": self._energy.name,
            "power_source": self._power.name,
            "power_average_s": self._average_s(),
            "counter_dense_s": _DENSE_S,
        }
        return Domain(self.name, "gpu", self.gpu.name, "M1", GAIN, self.gpu.uuid, None, facts)

    def _average_s(self) -> float:
        """Over how long readings of power are means, as NVML's header has it; unknown is a mean."""
        facts = self.gpu.facts
        old = facts["architecture"] in ("Kepler", "Maxwell", "Pascal", "Volta", "Turing")
        ga100 = (facts["pci_device"] or "").startswith("20")
        at_once = self._power.name == "PowerUsage" and (old or ga100)
        return 0.0 if at_once or self._power.field == _POWER_NOW else 1.0

    def read(self, tree: Tree) -> list[Reading | Mark]:
        if self.lost:
            return [Reading(self.name, time.monotonic_ns(), error=self.lost)]
        (energy_mj, power_mw, code, partly), t_ns = self._timed(self._energy_and_power)
        if code in _FINAL:
            self.lost = nvml.explain(code)
            return [Mark(t_ns, "lost", self.lost, self.name),
                    Reading(self.name, t_ns, error=self.lost)]  # fmt: skip
        if energy_mj is None and power_mw is None:
            error = nvml.explain(code) if code else "neither energy nor power was given"
            return [Reading(self.name, t_ns, error=error)]
        marks = [] if self._moved or energy_mj is None else self._prove(energy_mj, t_ns)
        power_w = None if power_mw is None else power_mw / 1e3
        energy_j = energy_mj / 1e3 if energy_mj is not None and self._moved else None
        use, clock_mhz, heat_c = self._state.news()
        failed = nvml.explain(partly) if partly else None
        took_s = self._timed.took_s
        reading = Reading(
            self.name, t_ns, power_w, energy_j, use, clock_mhz, heat_c, failed, took_s
        )
        return [reading, *marks, *self._state.ask(t_ns, tree)]

    def _energy_and_power(self) -> tuple[float | None, float | None, int, int]:
        """(mJ, mW, a code if one failed, and if one did that is known to work); no power at all,
        or absurdly much, is no reading."""
        (energy_mj, first), (power_mw, second) = [a for ask in self._asks for a in ask()]
        sound = power_mw is not None and 0 < power_mw < _ABSURD_MW
        partly = (self._energy.name and first) or (self._power.name and second) or 0
        return energy_mj, power_mw if sound else None, first or second, partly

    def _prove(self, energy_mj: float, t_ns: int) -> list[Mark]:
        """A counter counts once it has moved; another takes the place of one that never does."""
        first_mj, since_ns = self._first = self._first or (energy_mj, t_ns)
        self._moved = energy_mj != first_mj
        if self._moved or t_ns - since_ns <= _STILL_NS:
            return []
        still = self._energy
        self._counters = [c for c in self._counters if c.ask is not still.ask]
        self._energy = _first_that_works(self._counters) if self._counters else _NONE
        self._asks, self._first = self._together(), None
        instead = f"{self._energy.name} takes its place" if self._energy.name else "power is all"
        text = f"the energy counter ({still.name or 'late'}) stands still: {instead}"
        return [Mark(t_ns, "counter-still", text, self.name)]


def _first_that_works(sources: Sequence[_Source]) -> _Source:
    """The first that gives more than 0, or else 0; else one without a name, which says why."""
    silent = None
    for source in sources:
        for _ in range(_TRIES):
            number = source.ask()[0][0]
            if number:
                return source
            silent = silent or (source if number is not None else None)
    return silent or sources[-1]._replace(name=None)


class _State:
    """What changes slowly: asked one by one, five times a second, and told with the readings."""

    def __init__(self, name: str, library: Library, handle: Handle) -> None:
        self._name = name
        self._processes = nvml.Processes(library, handle)
        self._rates = library.layouts.c_nvmlUtilization_t()
        self._ask_rates = partial(
            library.function("nvmlDeviceGetUtilizationRates"), handle, byref(self._rates)
        )
        self._clock = Number(library, "nvmlDeviceGetClockInfo", handle, nvml.SM)
        self._temperature = Number(library, "nvmlDeviceGetTemperature", handle, 0)
        self._reasons = _reasons(library, handle)
        self._capped = False
        self._busy_ns = 0  # when it was last seen to be used
        self._unlisted_ns: int | None = None  # since when no process is listed
        self._next_ns = self._read_ns = self._processes_ns = 0
        self._seen: list[float | None] = [None, None, None]  # utilisation, clock, temperature
        self._questions = cycle((
            self._ask_processes, self._ask_utilisation, self._ask_clock, self._ask_reasons,
            self._ask_limit,
        ))  # fmt: skip
        power_limit = Number(library, "nvmlDeviceGetEnforcedPowerLimit", handle)
        clock = Number(library, "nvmlDeviceGetApplicationsClock", handle, nvml.SM)
        limits = (power_limit, "power limit", "W", 1e3), (clock, "application clock", "MHz", 1)
        self._known = {what: ask.given() for ask, what, _, _ in limits}
        self._limits = cycle(limits)

    def news(self) -> list[float | None]:
        """Utilisation, clock and temperature, where they were asked since the last time."""
        news, self._seen = self._seen, [None, None, None]
        return news

    def ask(self, t_ns: int, tree: Tree) -> Iterable[Mark]:
        """One question, if it is time for one. Readings come thick where a window begins or ends:
        who uses the GPU is asked there."""
        thick, self._read_ns = t_ns - self._read_ns < _THICK_NS, t_ns
        if thick and t_ns - self._processes_ns > _ASK_NS:
            return self._ask_processes(t_ns, tree)
        if t_ns < self._next_ns:
            return ()
        self._next_ns = t_ns + _ASK_NS
        return next(self._questions)(t_ns, tree)

    def _ask_utilisation(self, t_ns: int, tree: Tree) -> Iterable[Mark]:
        self._seen[0] = None if self._ask_rates() else self._rates.gpu / 100
        if self._seen[0]:
            self._busy_ns = t_ns
        return ()

    def _ask_clock(self, t_ns: int, tree: Tree) -> Iterable[Mark]:
        self._seen[1:] = self._clock.given(), self._temperature.given()
        return ()

    def _ask_processes(self, t_ns: int, tree: Tree) -> Iterable[Mark]:
        self._processes_ns = t_ns
        try:
            pids = self._processes()
        except NvmlError as error:
            return self._hidden(t_ns, f"can't be listed ({error})")
        self._unlisted_ns = None if pids else self._unlisted_ns or t_ns
        known = (os.getpid(), os.getppid())
        others = [p for p in pids if p not in known and p not in tree]
        foreign = [p for p in others if tree.exists(p)]
        if foreign:
            text = f"{len(foreign)} other process(es) used the GPU"
            return [Mark(t_ns, "contended", text, self._name, float(len(foreign)))]
        if others or (self._used_by_nobody() and tree.followed and not all_seen()):
            return self._hidden(t_ns, "may be hidden by a container")
        return ()

    def _used_by_nobody(self) -> bool:
        """Whether it was used when none of its processes had been listed for a while."""
        return self._unlisted_ns is not None and self._busy_ns - self._unlisted_ns > _LAG_NS

    def _hidden(self, t_ns: int, why: str) -> Iterable[Mark]:
        text = f"processes on this GPU {why}: others can't be ruled out"
        return [Mark(t_ns, "processes-hidden", text, self._name)]

    def _ask_reasons(self, t_ns: int, tree: Tree) -> Iterable[Mark]:
        reasons = int(self._reasons.given() or 0)
        if reasons & _THERMAL or (reasons & _SLOWDOWN and not reasons & _BRAKE):
            text = "the GPU slowed down because of heat"
            yield Mark(t_ns, "throttled", text, self._name)
        if reasons & _BRAKE:
            text = "the GPU slowed down because its power supply told it to"
            yield Mark(t_ns, "power-brake", text, self._name)
        if self._capped != bool(reasons & _POWER_CAP):
            self._capped = not self._capped
            text = f"the power limit {'began' if self._capped else 'ceased'} to slow the GPU down"
            yield Mark(t_ns, "power-capped", text, self._name, float(self._capped))

    def _ask_limit(self, t_ns: int, tree: Tree) -> Iterable[Mark]:
        ask, what, unit, per = next(self._limits)
        number = ask.given()
        if number is None:
            return
        before = self._known[what] or number
        self._known[what] = number
        if number != before:
            text = f"the {what} changed from {before / per:g} to {number / per:g} {unit}"
            yield Mark(t_ns, f"{what.replace(' ', '-')}-changed", text, self._name)


def _reasons(library: Library, handle: Handle) -> Number:
    """The question why the clocks are what they are; it had another name before driver 535."""
    now = Number(library, "nvmlDeviceGetCurrentClocksEventReasons", handle, kind=c_ulonglong)
    if now()[0][1] != nvml.FUNCTION_NOT_FOUND:
        return now
    return Number(library, "nvmlDeviceGetCurrentClocksThrottleReasons", handle, kind=c_ulonglong)


class Probe:
    kinds = ("gpu",)

    def __init__(self, tree: Tree, argument: str = "") -> None:
        self._tree = tree
        self._devices: list[_Device] = []
        self._stuck: set[_Device] = set()  # each with a thread that waits for it
        self._items: list[Reading | Mark] = []  # of the look that goes on
        self._asked: _Device | None = None  # now
        self._since_s = 0.0

    def why_not(self) -> Refusal | None:
        try:
            self._library = Library()
            self._devices, unopened = gpus.opened(self._library, partial(_Device, self._library))
        except OSError as error:
            return _no_library(str(error))
        except NvmlError as error:
            return Refusal(str(error), nvml.mending(error.code))
        for device in self._devices:
            device.gpu.facts["unopened"] = unopened
        if unopened and not self._devices:
            return Refusal("; ".join(unopened), "if `nvidia-smi` hangs as well, reboot")
        if not self._devices:
            return Refusal("the driver shows no GPU", "in a container: docker run --gpus all …")
        return None

    def domains(self) -> list[Domain]:
        return [d.domain() for d in self._devices]

    def read(self) -> Iterable[Reading | Mark]:
        items = self._items = self._left_behind()
        for device in self._devices:
            if device in self._stuck:
                items.append(Reading(device.name, time.monotonic_ns(), error=_SILENT))
                continue
            self._since_s, self._asked = time.monotonic(), device
            found = device.read(self._tree)
            if items is not self._items:  # another thread reads on, and may read this one again
                self._stuck.discard(device)
                return []
            self._asked = None
            items += found
        self._items = []
        return items

    def _left_behind(self) -> list[Reading | Mark]:
        """What a thread had read when a device began to hold it up, and that it does."""
        if self._asked is None:
            return []
        device, self._asked = self._asked, None
        self._stuck.add(device)
        waited_s = time.monotonic() - self._since_s
        return [*self._items, Mark(time.monotonic_ns(), "hung", _SILENT, device.name, waited_s)]

    def stuck_s(self) -> float:
        """For how long a device has been asked; another thread may `read` without it meanwhile."""
        return 0.0 if self._asked is None else time.monotonic() - self._since_s

    def close(self) -> None:
        if not self._stuck:  # else closing would wait, too
            self._library.close()


def _no_library(error: str) -> Refusal:
    present = gpus.makers()
    if "No such file" not in error:
        return Refusal(f"the driver's library can't be loaded: {error}", "install the driver anew")
    if "NVIDIA" in present:
        return Refusal(
            f"an NVIDIA GPU is here, but not its driver's library ({nvml.LIBRARY})",
            nvml.mending(12),
        )
    if present:
        return Refusal(f"a GPU of {present[0]} is here, which bench can't read", None)
    return Refusal("no NVIDIA GPU here", None, ())
