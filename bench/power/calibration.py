"""Calibration of the meters of a machine against a reference meter, by MLPerf's procedure.

Idle and two loads, five windows of a minute each: what this machine's meters say beside what the
reference says. A line through the windows gives gain and offset, and what is left of the scatter
the uncertainty. Each domain has to move with the loads: of one that stands still, the line says
nothing. Against a node's meter the sum of all domains is calibrated; against a meter of one
kind, such as a shunt in a GPU's supply, the sum of the domains of that kind. Source: MLCommons
power measurement rules, SPEC PTDaemon.

It is kept in `wattbench/calibration.json` of the user's configuration folder; `BENCH_CALIBRATION`
names another file. This module is imported by the sampler, so it imports little.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.errors import BenchError, UsageError
from bench.power.probes import Domain
from bench.power.processor import text_of

if TYPE_CHECKING:
    from bench.power.meter import Meter, Started
    from bench.power.trace import Trace

VERSION = 2
WINDOW_S, WINDOWS = 60.0, 5
VALID_DAYS = 365
_SETTLE_S = 5.0  # after a load has started; no longer than a quarter of a window
_LEAST_SPREAD = 0.1  # of the mean power: between idle and load a meter has to move
_MOST_OFF = 0.5  # a gain further than this from 1 is a mistake, not a calibration
_IDENTITY = ("driver", "power_source", "energy_source")  # facts of a domain that must not change
_MARGIN = 0.1  # of power: so far outside of what was calibrated the line still holds
_BUSY = """import os
parent, block = os.getppid(), bytes(1 << 23)
while os.getppid() == parent:
    sum(range(100_000))
    bytearray(block)
"""  # a processor and its memory


class Load(NamedTuple):
    """What the machine does while it is compared: `command`, as many times at once."""

    name: str
    command: tuple[str, ...] = ()
    times: int = 1


class Point(NamedTuple):
    """One window: mean power by this machine's meters and by the reference, W."""

    load: str
    meter_w: float
    reference_w: float


@dataclass(frozen=True)
class Calibration:
    """reference_w = gain * meter_w + offset_w, for the sum of `domains`."""

    date: str  # UTC, ISO 8601
    reference: dict[str, Any]  # probe, domain, device, gain (its own uncertainty, k = 2)
    protocol: dict[str, Any]  # window_s, windows, loads
    machine: dict[str, Any]
    machine_ids: dict[str, str]  # digests, which name nobody, of what tells machines apart
    domains: dict[str, dict[str, Any]]  # name -> device, uuid and facts that must not have changed
    range_w: dict[str, tuple[float, float]]  # name -> between which powers it was calibrated
    gain: float
    offset_w: float
    uncertainty: float  # relative, k = 2: the scatter about the line, and the reference's own
    points: list[Point] = field(default_factory=list)

    def write(self, path: Path | None = None) -> Path:
        """Keep it; returns where."""
        path = path or where()
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        scratch.write_text(
            json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n", "utf-8"
        )
        scratch.replace(path)
        return path

    @classmethod
    def read(cls, path: Path | None = None) -> Calibration:
        """BenchError when there is none or it can't be used."""
        path = path or where()
        try:
            kept = json.loads(path.read_text("utf-8"))
            if kept.pop("version") != VERSION:
                raise ValueError("it is of another version of bench")
            points = [Point(*p) for p in kept.pop("points")]
            range_w = {name: (low, high) for name, (low, high) in kept.pop("range_w").items()}
            found = cls(**kept, points=points, range_w=range_w)
            if datetime.fromisoformat(found.date).tzinfo is None:
                raise ValueError("its date has no time zone")
            if not found.domains or found.domains.keys() != range_w.keys():
                raise ValueError("it names no domains, or others than it gives ranges of")
            if not all(isinstance(f, dict) for f in (found.machine_ids, *found.domains.values())):
                raise ValueError("what it was made with is no JSON object")
            if not {"device", "probe"} <= found.reference.keys():
                raise ValueError("it does not name its reference")
            numbers = [found.gain, found.offset_w, found.uncertainty, found.protocol["window_s"],
                       *(w for both in range_w.values() for w in both)]  # fmt: skip
            if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
                raise ValueError("its numbers are not finite")
            if abs(found.gain - 1) > _MOST_OFF or found.uncertainty < 0:
                raise ValueError(f"a gain of {found.gain:g} is no calibration")
        except FileNotFoundError:
            raise BenchError(f"there is no calibration {path}", "bench power calibrate") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            text = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
            raise BenchError(f"the calibration {path} can't be used: {text}",
                             "bench power calibrate") from None  # fmt: skip
        return found


def where() -> Path:
    """The file that holds this user's calibration, whether it is there or not."""
    named = os.environ.get("BENCH_CALIBRATION")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / (
        "wattbench/calibration.json"
    )


_MACHINES = {"system": "/etc/machine-id", "board": "/sys/class/dmi/id/product_uuid"}

_NOTHING_TELLS = f"nothing tells this machine from others: no {' and no '.join(_MACHINES.values())}"


def _machine_ids() -> dict[str, str]:
    """What tells this machine from others, as far as it may be read: a container may have no id of
    its own, a cloned system has another's, and the board's is root's to read."""
    texts = {name: text_of(path) for name, path in _MACHINES.items()}
    return {
        name: hashlib.sha256(text.encode()).hexdigest()[:16]
        for name, text in texts.items()
        if text not in ("", "uninitialized")
    }


# --- using one


class Correction(NamedTuple):
    """Makes what the meter of one domain says what the reference would; changes nothing where no
    calibration counts."""

    gain: float = 1.0
    offset_w: float = 0.0

    @classmethod
    def of(cls, domain: Domain) -> Correction:
        stated = domain.facts.get("calibration") or {}
        return cls(float(stated.get("gain", 1.0)), float(stated.get("offset_w", 0.0)))

    def watts(self, power_w: float) -> float:
        return self.gain * power_w + self.offset_w

    def joules(self, energy_j: float, duration_s: float) -> float:
        return self.gain * energy_j + self.offset_w * duration_s


def apply(domains: list[Domain], now: datetime | None = None) -> list[Domain]:
    """The domains that the calibration is for, at level M3, with its residual as their gain.

    All of them must be there and be what they were when they were calibrated; else none is
    calibrated, and `facts["not_calibrated"]` says why. Without a calibration they are as they are.
    """
    path = where()
    if not path.exists():
        return domains
    try:
        calibration = Calibration.read(path)
    except BenchError as error:
        return [d if d.level == "M0" else _refused(d, error.message) for d in domains]
    concerned = [d for d in domains if d.name in calibration.domains]
    why = _why_not(calibration, concerned, now or datetime.now(UTC))
    if why is not None:
        return [_refused(d, f"not calibrated: {why}") if d in concerned else d for d in domains]
    return [_calibrated(d, calibration) if d in concerned else d for d in domains]


def _why_not(calibration: Calibration, concerned: list[Domain], now: datetime) -> str | None:
    date = datetime.fromisoformat(calibration.date)
    if why := _why_another(calibration):
        return why
    if calibration.protocol["window_s"] < WINDOW_S:
        return f"its windows were of {calibration.protocol['window_s']:g} s, not {WINDOW_S:g} s"
    if now - date > timedelta(days=VALID_DAYS):
        return f"the calibration of {date:%Y-%m-%d} is older than a year"
    missing = sorted(calibration.domains.keys() - {d.name for d in concerned})
    if missing:
        return f"{missing[0]} was calibrated and is not read now"
    for domain in concerned:
        for key, then in calibration.domains[domain.name].items():
            if (is_now := _identity(domain).get(key)) != then:
                return f"{key} was {then} when it was calibrated and is {is_now} now"
    return None


def _why_another(calibration: Calibration) -> str | None:
    """Why the calibration may be of another machine than this one."""
    then, now = calibration.machine_ids, _machine_ids()
    both = then.keys() & now.keys()
    if any(then[name] != now[name] for name in both):
        return "the calibration is another machine's"
    if not both and not all(known.get("uuid") for known in calibration.domains.values()):
        return _NOTHING_TELLS
    return None


def _identity(domain: Domain) -> dict[str, Any]:
    """What makes a domain the one that was calibrated."""
    facts = {key: domain.facts[key] for key in _IDENTITY if domain.facts.get(key) is not None}
    return {"device": domain.device, "uuid": domain.uuid, **facts}


def _calibrated(domain: Domain, calibration: Calibration) -> Domain:
    stated = {
        "gain": calibration.gain,
        "offset_w": calibration.offset_w / len(calibration.domains),  # of the sum
        "uncertainty": calibration.uncertainty,
        "date": calibration.date,
        "reference": calibration.reference["device"],
        "range_w": calibration.range_w[domain.name],
        "without": {"level": uncalibrated(domain).level, "gain": uncalibrated(domain).gain},
    }
    facts = {**uncalibrated(domain).facts, "calibration": stated}
    return domain._replace(level="M3", gain=calibration.uncertainty, facts=facts)


def as_counted(domains: list[Domain], counted: Collection[str]) -> list[Domain]:
    """The domains as they are where only those `counted` count: a calibration is of a sum, and
    says nothing of a part of it."""
    calibrated = [d.name for d in domains if "calibration" in d.facts]
    left_out = sorted(set(calibrated) - set(counted))
    if not left_out:
        return domains
    return _none(domains, f"that is of a sum with {left_out[0]}, which does not count here")


def as_read(domains: list[Domain], replaced: Collection[str]) -> list[Domain]:
    """The domains as they are where other sources took the place of some counters meanwhile: what
    was calibrated is not what was read."""
    concerned = [d.name for d in domains if d.name in replaced and "calibration" in d.facts]
    if not concerned:
        return domains
    return _none(domains, f"another source took the place of the counter of {concerned[0]}")


def _none(domains: list[Domain], why: str) -> list[Domain]:
    """The same domains, none of them calibrated."""
    why = f"not calibrated: {why}"
    return [_refused(uncalibrated(d), why) if "calibration" in d.facts else d for d in domains]


def of_counted(domains: list[Domain], counts: Callable[[str], bool]) -> list[Domain]:
    """Those of the domains that count, as they are where only these do."""
    names = {d.name for d in domains if counts(d.name)}
    return [d for d in as_counted(domains, names) if d.name in names]


def uncalibrated(domain: Domain) -> Domain:
    """The domain as its meter gives it."""
    before = (domain.facts.get("calibration") or {}).get("without", {})
    facts = {k: v for k, v in domain.facts.items() if k not in ("calibration", "not_calibrated")}
    return domain._replace(facts=facts, **before)


def doubt(domain: Domain, energy_j: float, duration_s: float) -> str | None:
    """What there is to say of the calibration of an energy."""
    if why := domain.facts.get("not_calibrated"):
        return str(why)
    line = domain.facts.get("calibration")
    if not line or "range_w" not in line or duration_s <= 0:
        return None
    power_w = (energy_j / duration_s - line["offset_w"]) / line["gain"]
    low_w, high_w = line["range_w"]
    if (1 - _MARGIN) * low_w <= power_w <= (1 + _MARGIN) * high_w:
        return None
    return f"calibrated between {low_w:.3g} and {high_w:.3g} W, and {power_w:.3g} W were read"


def _refused(domain: Domain, why: str) -> Domain:
    return domain._replace(facts={**domain.facts, "not_calibrated": why})


# --- making one


def default_loads() -> list[Load]:
    """Idle, and busy processes on half and on all of the processors at hand."""
    processors = len(os.sched_getaffinity(0))
    busy = (sys.executable, "-c", _BUSY)
    return [
        Load("idle"),
        Load("half of the processors", busy, max(1, processors // 2)),
        Load("all processors", busy, processors),
    ]


def load_of(command: str) -> Load:
    """A command of the user's own as a load; UsageError when it can't be read."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the load '{command}' can't be read: {error}") from None
    if not words:
        raise UsageError("a load is a command", "such as --load './train.sh'")
    return Load(command, tuple(words))


def calibrate(
    reference: str,
    probes: Sequence[str] | None = None,
    loads: Sequence[Load] | None = None,
    window_s: float = WINDOW_S,
    windows: int = WINDOWS,
    on_progress: Callable[[str, int, int], None] = lambda load, done, windows: None,
) -> Calibration:
    """Compare what `probes` read (None: all that work here) with the probe `reference`.

    Takes the number of loads x windows x window_s. `on_progress` is told the load and how many of
    its windows are done. BenchError when the reference or a meter was not read throughout.
    """
    from bench.interrupts import Interrupted, interrupts_raise
    from bench.power import machine
    from bench.power import probes as known
    from bench.power.meter import Meter

    loads = default_loads() if loads is None else list(loads)
    if len(loads) < 2 or windows < 2:
        raise UsageError("a calibration needs idle and a load, and two windows of each at least")
    names = known.names() if probes is None else list(probes)
    shown = known.shown(reference)  # without a password
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, interrupts_raise():
            meter = Meter(Path(folder), probes=[reference, *(n for n in names if n != reference)])
            started = meter.start()
            try:
                found = _reference(started, shown)
                calibrated = [d.name for d in _to_calibrate(started.domains, found)]
                meter.follow(os.getpid())  # the loads are its own, not others on the GPU
                spans = list(_spans(meter, loads, window_s, windows, on_progress))
            finally:
                trace = meter.stop()
    except Interrupted as interrupt:
        raise BenchError(f"interrupted by {interrupt}: nothing is calibrated") from None
    trace.domains = [uncalibrated(d) for d in trace.domains]
    watts = [_watts(trace, calibrated, span) for span in spans]
    references = [_watts(trace, [d.name for d in found], span) for span in spans]
    points = [
        Point(span[0], sum(mine.values()), sum(theirs.values()))
        for span, mine, theirs in zip(spans, watts, references, strict=True)
    ]
    range_w = _ranges_w(watts)
    gain, offset_w, uncertainty = fit(points, max(d.gain for d in found))
    return Calibration(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        reference={"probe": shown, "domain": found[0].name, "device": found[0].device,
                   "gain": max(d.gain for d in found)},
        protocol={"window_s": window_s, "windows": windows, "loads": [load.name for load in loads]},
        machine=machine.facts(), machine_ids=_machine_ids(),
        domains={d.name: _identity(d) for d in trace.domains if d.name in calibrated},
        range_w=range_w,
        gain=gain, offset_w=offset_w, uncertainty=uncertainty, points=points,
    )  # fmt: skip


def _reference(started: Started, shown: str) -> list[Domain]:
    """What the reference reads; BenchError where that can't be used."""
    found = started.by_probe.get(shown, [])
    if not found:
        reasons = [r.reason for r in started.refusals if r.probe == shown]
        raise BenchError(f"the reference {shown} can't be read: {' '.join(reasons)}")
    if any(d.level == "M0" for d in found):
        raise UsageError(f"the reference {shown} is an estimate", "give a meter")
    return found


def fit(points: Sequence[Point], reference_gain: float) -> tuple[float, float, float]:
    """(gain, offset in W, relative uncertainty k = 2) of the line through the points.

    Least squares of relative deviations. The uncertainty is that of one window about the line, and
    the reference's own. BenchError when the loads don't move the meter, or gain is no gain.
    """
    import numpy as np

    meter_w, reference_w = (np.array([getattr(p, f) for p in points]) for f in Point._fields[1:])
    if reference_w.min() <= 0 or np.ptp(meter_w) < _LEAST_SPREAD * meter_w.mean():
        raise BenchError(
            f"the loads hardly move the meters: {meter_w.min():.3g} to {meter_w.max():.3g} W",
            "give a load of your own that uses what is to be calibrated",
        )
    rows = np.stack([meter_w, np.ones(len(points))], axis=1) / reference_w[:, None]
    (gain, offset_w), *_ = np.linalg.lstsq(rows, np.ones(len(points)), rcond=None)
    if abs(gain - 1) > _MOST_OFF:
        raise BenchError(
            f"a gain of {gain:.3g} is no calibration: the two don't meter the same thing",
            "a node's meter sees what no other meter does: its share must not grow with the load",
        )
    off = rows @ np.array([gain, offset_w]) - 1
    scatter = 2 * math.sqrt(float(np.sum(off**2)) / max(1, len(points) - 2))
    return float(gain), float(offset_w), math.hypot(scatter, reference_gain)


def _spans(
    meter: Meter,
    loads: Sequence[Load],
    window_s: float,
    windows: int,
    on_progress: Callable[[str, int, int], None],
) -> Iterator[tuple[str, int, int]]:
    """(load, start_ns, stop_ns) of each window."""
    for load in loads:
        on_progress(load.name, 0, windows)
        with _running(load) as check:
            time.sleep(min(_SETTLE_S, window_s / 4))
            for done in range(1, windows + 1):
                start_ns = meter.opening()
                time.sleep(window_s)
                stop_ns = meter.edge()
                check()
                yield load.name, start_ns, stop_ns
                on_progress(load.name, done, windows)


@contextmanager
def _running(load: Load) -> Iterator[Callable[[], None]]:
    """Run a load's processes; what it gives raises BenchError once one of them has ended."""
    from bench.power.keeper import kept

    if not load.command:
        yield lambda: None
        return
    with kept(load.command, load.times) as why_over:

        def check() -> None:
            if why := why_over():
                raise BenchError(
                    f"the load '{load.name}' {why}",
                    "give one that can be run, and runs on until it is ended",
                )

        check()
        yield check


def _to_calibrate(domains: list[Domain], reference: list[Domain]) -> list[Domain]:
    """The domains whose sum is what the reference meters."""
    kinds, names = {d.kind for d in reference}, {d.name for d in reference}
    others = [d for d in domains if d.name not in names and d.level != "M0"]
    found = [d for d in others if d.kind in kinds or ("node" in kinds and d.kind != "node")]
    if not found:
        raise BenchError("there is nothing to calibrate: no other meter was read",
                         "bench doctor")  # fmt: skip
    if not _machine_ids() and not all(d.uuid for d in found):
        raise BenchError(_NOTHING_TELLS, "in a container: -v /etc/machine-id:/etc/machine-id:ro")
    return found


def _watts(trace: Trace, names: list[str], span: tuple[str, int, int]) -> dict[str, float]:
    """Domain -> mean power in a window; BenchError where that is missing or would not rank."""
    load, start_ns, stop_ns = span
    counts = names.__contains__
    energies = [e for e in trace.energy(start_ns, stop_ns, counts) if e.domain in names]
    for energy in energies:
        if energy.energy_j is None:
            raise BenchError(f"{energy.domain} was not read throughout: {energy.reason}")
    for warn in trace.warnings(start_ns, stop_ns, counts):
        if not warn.rankable and warn.id != "node-omits":  # that is what gain and offset are for
            raise BenchError(f"a window of the load '{load}' can't be used: {warn.message}")
    return {e.domain: (e.energy_j or 0.0) / ((stop_ns - start_ns) / 1e9) for e in energies}


def _ranges_w(watts: Sequence[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Domain -> the lowest and the highest power; BenchError where one has hardly moved."""
    found = {}
    for name in watts[0]:
        several = [w[name] for w in watts]
        low_w, high_w = found[name] = min(several), max(several)
        if high_w - low_w < _LEAST_SPREAD * sum(several) / len(several):
            raise BenchError(
                f"the loads hardly move {name}: {low_w:.3g} to {high_w:.3g} W",
                "give loads that use all that is calibrated: --load COMMAND, as often as needed",
            )
    return found
