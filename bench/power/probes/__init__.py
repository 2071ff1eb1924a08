"""Probes read power. One file each, holding one class `Probe`; the file's name is the probe's.

A probe is built with the process tree that is being metered and with the text after the colon in
`name:argument`. `why_not` is asked first and answers None when the probe works here. `read` is
called some ten times a second from a thread of the probe's own; it may block, and a domain that
could not be read gets a reading with an error, never a zero. A probe of several devices may have
`stuck_s`, which says for how long it has waited for one of them: another thread then reads on.
This module is imported by the sampler, so it imports nothing heavy.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from bench import registry
from bench.errors import UsageError
from bench.power.processes import Tree

PACKAGE, GROUP = "bench.power.probes", "bench.probes"
Answer = TypeVar("Answer")
# Not used unless asked for.
NEEDS_ARGUMENT = {"replay", "command", "ipmitool", "prometheus", "shelly"}
_OWN = {"nvml", "rapl", "estimate", "replay", "prometheus", "shelly"}  # arguments but for logins


class Refusal(NamedTuple):
    """Why a probe can't be used here, and the command that mends it."""

    reason: str
    fix: str | None = None
    kinds: tuple[str, ...] | None = None  # what goes unmetered; None: all that the probe is for


class Domain(NamedTuple):
    """Something whose energy is metered apart."""

    name: str  # gpu:GPU-<uuid>, cpu:package-0, dram:package-0, cpu:estimate
    kind: str  # gpu, cpu, dram, node
    device: str  # the device's name
    level: str  # M0 estimated, M1 software counter, M2 node or wall meter, M3 calibrated
    gain: float  # relative expanded uncertainty (k = 2) of the meter itself
    uuid: str | None = None  # of an accelerator
    reason: str | None = None  # of an estimate: its formula and inputs
    facts: dict[str, Any] = {}  # noqa: RUF012  limits, driver, ECC, MIG: whatever describes it


KINDS, LEVELS = ("gpu", "cpu", "dram", "node"), ("M0", "M1", "M2", "M3")


def why_unusable(domain: Domain) -> str | None:
    """Why a domain of somebody else's making can't be recorded; None when it can."""
    name, kind, _, level, gain, *_ = domain
    if kind not in KINDS or level not in LEVELS:
        return f"{name} is of kind {kind!r} and level {level!r}: not of {KINDS} and {LEVELS}"
    if not isinstance(gain, int | float) or not 0 <= gain < float("inf"):
        return f"{name} has a gain of {gain!r}, which is no uncertainty"
    try:
        json.dumps(domain._asdict())
    except (TypeError, ValueError) as error:
        return f"{name} can't be recorded: {error}"
    texts = (name, domain.device, domain.uuid or "", domain.reason or "")
    if not all(isinstance(text, str) for text in texts) or not isinstance(domain.facts, dict):
        return f"{name!r}: name, device, uuid and reason are texts, and facts a dict"
    return None


class Reading(NamedTuple):
    """One look at one domain. What could not be read is None; all None with an error: a failure."""

    domain: str
    t_ns: int  # CLOCK_MONOTONIC
    power_w: float | None = None
    energy_j: float | None = None  # cumulative, from any origin
    utilisation: float | None = None  # 0 to 1
    clock_mhz: float | None = None
    temperature_c: float | None = None
    error: str | None = None
    took_s: float | None = None  # to ask; None: as long as the whole look


class Mark(NamedTuple):
    """Something that happened and may matter: `id` is stable, `message` is for people."""

    t_ns: int
    id: str  # contended, lost, reset, ...
    message: str
    domain: str | None = None
    value: float | None = None


class ProbeLike(Protocol):
    kinds: tuple[str, ...]  # what it is for: gpu, cpu, dram, node

    def why_not(self) -> Refusal | None: ...

    def domains(self) -> list[Domain]: ...

    def read(self) -> Iterable[Reading | Mark]: ...

    def close(self) -> None: ...


class Timed:
    """Asks for a value and says when it was given: the middle of the call, CLOCK_MONOTONIC in ns.
    `took_s` is how long the last call took.

    On a busy machine a call may be held up for some milliseconds, and then the middle is off by as
    much: it is asked again, once. A driver that is slow by itself is not.
    """

    _HELD_UP_NS, _SLOW_NS = 2_000_000, 50_000_000

    def __init__(self) -> None:
        self._quickest_ns = self._SLOW_NS
        self.took_s = 0.0

    def __call__(self, ask: Callable[[], Answer]) -> tuple[Answer, int]:
        for _ in range(2):
            before_ns = time.monotonic_ns()
            answer = ask()
            took_ns = time.monotonic_ns() - before_ns
            self._quickest_ns = min(self._quickest_ns, took_ns)
            if not self._HELD_UP_NS + 3 * self._quickest_ns < took_ns < self._SLOW_NS:
                break
        self.took_s = took_ns / 1e9
        return answer, before_ns + took_ns // 2


class Found(NamedTuple):
    """A probe as it was asked for, and where its module is."""

    text: str  # name, name:argument, ./file.py or ./file.py:argument
    module: str  # or the full path of a file

    @property
    def argument(self) -> str:
        return self.text.partition(":")[2]

    @property
    def shown(self) -> str:
        return shown(self.text)


_OPTIONS = re.compile(r"((kind|name|gain|every|timeout|lines|unit|id)=\S+(\s+|$))*")
_LOGIN = re.compile(r"^(\w+://)?.*@", re.DOTALL)  # up to the last @: a password may hold one


def shown(text: str) -> str:
    """A probe as it may be stored: without logins in addresses, and without the arguments of
    programs and of probes that bench doesn't know."""
    name, colon, argument = text.partition(":")
    options = _OPTIONS.match(argument)[0]  # type: ignore[index]  # it matches nothing, too
    what = argument[len(options) :]
    if name == "command":
        program, _, more = what.partition(" ")
        what = f"{program} …" if more else program
    elif name in _OWN or "/" in name:
        what = _LOGIN.sub(r"\1…@", what)
    elif what:
        what = "…"
    return f"{name}{colon}{options}{what}"


def names() -> list[str]:
    """The probes that are tried when none is asked for by name."""
    return [n for n in registry.names(PACKAGE, GROUP) if n not in NEEDS_ARGUMENT]


def with_found(asked: Sequence[str]) -> list[str] | None:
    """The probes that are tried by default and those asked for; None: just the default."""
    return list(dict.fromkeys([*names(), *asked])) if asked else None


def find(text: str) -> Found:
    """Where the probe is; UsageError with near names if there is none. Nothing is imported."""
    name = text.partition(":")[0]
    return Found(text, registry.find(PACKAGE, GROUP, name, "probe", "bench doctor"))


def build(found: Found, tree: Tree) -> ProbeLike:
    """The probe; UsageError when its module can't be imported or holds none."""
    module = registry.open_module(found.module)
    if not hasattr(module, "Probe"):
        raise UsageError(f"{found.module} has no class called Probe")
    probe: ProbeLike = module.Probe(tree, found.argument)
    return probe
