"""Meters that answer slowly: a wall plug, a board controller, a database. Level M2.

They are written `name:option=value … what`, options first, and are tried only when asked for:

    kind=node        what is metered: node, gpu, cpu or dram; a node meter is the machine's total
    name=psu1        of the domain, to tell two meters of a kind apart; of a GPU: its UUID
    every=1          seconds between two questions, on average
    timeout=10       seconds after which a question counts as unanswered
    gain=0.1         the meter's relative expanded uncertainty (k = 2)

A thread asks and `read` takes what has come since, so that a slow answer is not a sampler held up.
What a meter does not say is a reading with an error.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from random import random
from typing import Any

from bench.errors import near_names
from bench.power.probes import Domain, Reading, Refusal
from bench.power.processes import Tree
from bench.units import J_PER_KWH, J_PER_WH

_KINDS = ("node", "gpu", "cpu", "dram")
_UNITS = {
    "": ("power_w", 1.0), "W": ("power_w", 1.0), "Watts": ("power_w", 1.0),
    "mW": ("power_w", 1e-3), "uW": ("power_w", 1e-6), "kW": ("power_w", 1e3),
    "J": ("energy_j", 1.0), "uJ": ("energy_j", 1e-6), "mJ": ("energy_j", 1e-3),
    "kJ": ("energy_j", 1e3), "MJ": ("energy_j", 1e6),
    "mWh": ("energy_j", J_PER_WH / 1e3), "Wh": ("energy_j", J_PER_WH),
    "kWh": ("energy_j", J_PER_KWH),
}  # fmt: skip
_NUMBER = r"(\d+\.?\d*(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)"
_LINE = re.compile(rf"\s*{_NUMBER}(?:[\s,;]+{_NUMBER})?\s*\.?\s*")
_SHOWN = 60  # characters of what a meter said, where it was not understood


class Unread(Exception):
    """A meter gave no reading: why, and what mends it."""

    def __init__(self, reason: str, fix: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


@dataclass(frozen=True)
class Options:
    name: str
    kind: str = "node"
    gain: float = 0.10
    every_s: float = 1.0
    timeout_s: float = 10.0
    unit: str = "W"  # of a number that stands alone
    id: int = 0  # of several in one device
    lines: bool = False  # it keeps running and prints a line `every_s`

    @property
    def domain(self) -> str:
        return f"{self.kind}:{self.name}"


def options(argument: str, defaults: Options, also: tuple[str, ...] = ()) -> tuple[Options, str]:
    """The options in front of an argument, and what follows them; Unread when one is unusable."""
    known = ("kind", "name", "gain", "every", "timeout", *also)
    found, rest = defaults, argument.strip()
    while match := re.match(r"([a-z]+)=(\S+)\s*", rest):
        key, value = match.groups()
        if key not in known:
            near = near_names(key, known) or known
            raise Unread(f"no option is called '{key}'", f"did you mean {' or '.join(near)}?")
        found = replace(found, **_option(key, value))
        rest = rest[match.end() :]
    return found, rest


def _option(key: str, value: str) -> dict[str, Any]:
    if key == "name":
        return {"name": value}
    if key == "kind" and value in _KINDS:
        return {"kind": value}
    if key == "unit" and value in _UNITS:
        return {"unit": value}
    if key == "id" and value.isdigit():
        return {"id": int(value)}
    if key in ("gain", "every", "timeout", "lines"):
        number = _positive(value)
        if key == "lines" and number:
            return {"lines": True, "every_s": number}
        if number:
            return {key if key == "gain" else f"{key}_s": number}
    choices = {"kind": " or ".join(_KINDS), "unit": " or ".join(u for u in _UNITS if u)}
    raise Unread(f"{key}={value} can't be used", f"give {choices.get(key, 'a number above 0')}")


def _positive(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def quantity(number: float, unit: str) -> dict[str, float]:
    """`power_w` or `energy_j` of a number with its unit; Unread where it is no such thing."""
    name, factor = _UNITS[unit]
    if not 0 <= number < float("inf"):
        raise Unread(f"{number:g} {unit} is no power or energy")
    return {name: number * factor}


def quantities(line: str) -> dict[str, float]:
    """`power_w` and `energy_j` of a line such as `123.4`, `123.4 W` or `123.4 W, 56.7 kWh`."""
    match = _LINE.fullmatch(line)
    if not match or any(unit not in _UNITS for unit in match.group(2, 4) if unit):
        raise Unread(f"said {line.strip()[:_SHOWN]!r}, which is not a number of watts or joules")
    found = quantity(float(match[1]), match[2])
    if match[3] and not match[2]:  # 12 345 J is one number, and so is 1,5 kWh
        raise Unread(
            f"said {line.strip()[:_SHOWN]!r}, which is one number or two: the first of two "
            "needs its unit"
        )
    if match[3]:
        second = quantity(float(match[3]), match[4])
        if second.keys() == found.keys():
            raise Unread(f"said {line.strip()[:_SHOWN]!r}, which is two numbers of one kind")
        found |= second
    return found


class SlowMeter:
    """A probe of one domain. What a meter adds: `open`, `ask`, `shut`, and how it is written."""

    kinds: tuple[str, ...] = ("node",)
    usage = ""  # as it is typed
    about = ""  # what it is, in a few words: the device's name
    needs_more = True  # its name alone does not say what to ask
    defaults: Options
    also: tuple[str, ...] = ()  # options of its own

    def __init__(self, tree: Tree, argument: str = "") -> None:
        self._argument = argument
        self.options = self.defaults
        self._said: deque[Reading] = deque()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._took_s = 0.0
        self._opened = False
        self._broken: Exception | None = None

    def open(self, what: str) -> None:
        """Look at what follows the options; Unread when it can't be used."""
        raise NotImplementedError

    def ask(self) -> Reading | None:
        """One reading, or None when there is nothing new; Unread when there is none. May wait."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        return {}

    def pause_s(self) -> float:
        """From one question to the next."""
        return 0.0 if self.options.lines else self.options.every_s

    def shut(self) -> None:
        """End what `ask` may be waiting for."""

    # --- a probe

    def why_not(self) -> Refusal | None:
        before_s = time.monotonic()
        try:
            self.options, what = options(self._argument, self.defaults, self.also)
            self.kinds = (self.options.kind,)
            if not what and self.needs_more:
                raise Unread("it needs to be told more", f"--probe '{self.usage}'")
            self.open(what)
            self._opened = True
            self._keep(self.ask())
        except Unread as error:
            self.close()
            return Refusal(error.reason, error.fix)
        self._took_s = time.monotonic() - before_s
        self._thread = threading.Thread(target=self._go_on_asking, daemon=True)
        self._thread.start()
        return None

    def domains(self) -> list[Domain]:
        asked = self.options
        facts = {"period_s": max(asked.every_s, self._took_s), **self.facts()}
        uuid = asked.name if asked.kind == "gpu" and asked.name.startswith("GPU-") else None
        return [Domain(asked.domain, asked.kind, self.about, "M2", asked.gain, uuid, facts=facts)]

    def read(self) -> list[Reading]:
        if self._broken is not None:
            raise self._broken
        return [self._said.popleft() for _ in range(len(self._said))]

    def close(self) -> None:
        self._closing.set()
        if self._opened:
            self.shut()
        if self._thread is not None:
            self._thread.join(0.3)

    # --- the thread

    def _go_on_asking(self) -> None:
        """Ask once in every period, at a moment of it that is drawn: power that swings in step with
        the questions would look as if it stood still."""
        period_s = self.pause_s()
        begins_s = time.monotonic()
        while not self._closing.wait(self._until(begins_s + random() * period_s)):
            try:
                self._keep(self.ask())
            except Unread as error:
                self._keep(Reading(self.options.domain, time.monotonic_ns(), error=error.reason))
                if not period_s:  # it has to be started anew: not as fast as it fails
                    self._closing.wait(self.options.every_s)
            except Exception as error:  # not understood: `read` raises it where it is seen
                self._broken = error
                return
            begins_s = max(begins_s + period_s, time.monotonic() - period_s)

    @staticmethod
    def _until(due_s: float) -> float:
        return max(0.0, due_s - time.monotonic())

    def _keep(self, reading: Reading | None) -> None:
        if reading is not None and not self._closing.is_set():
            self._said.append(reading)

    def reading(self, t_ns: int, **values: float) -> Reading:
        return Reading(self.options.domain, t_ns, values.get("power_w"), values.get("energy_j"))
