"""Watts as they are now, by domain: on a screen, in plain lines, or as JSON for other programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.interrupts import Interrupted, interrupts_raise
from bench.power import log
from bench.power.calibration import Correction, as_counted
from bench.power.counting import counted
from bench.power.meter import Live, Meter, Started
from bench.power.naming import short_names
from bench.units import show_duration, show_energy, significant

if TYPE_CHECKING:
    from bench.power.trace import Trace
    from bench.record import DomainEnergy, Warn

_LOOK_S = 0.1
_SILENT_S = 5.0  # joules that stand still for so long: nothing is read; slow meters take seconds
_MINUTE = 60  # seconds of a sparkline
_LOG_BYTES = 64 << 20  # of the sampler's log before it is emptied: about two hours of eight GPUs
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDE = 72  # columns from which a domain fits into one line


# --- what is seen


@dataclass
class Seen:
    """One domain, or the total, so far; as calibrated, where it is."""

    correction: Correction = field(default_factory=Correction)
    now_w: float | None = None
    peak_w: float | None = None
    is_sum: bool = False  # unknown while a part of it is
    since_s: float | None = None  # the first reading, and the joules then
    first_j: float = 0.0
    moved_s: float = 0.0  # when the joules last rose
    _energy_j: float = 0.0
    _read_j: float = 0.0  # as they were read
    minute: deque[float | None] = field(default_factory=lambda: deque(maxlen=_MINUTE))
    _second: tuple[float, float] = (0.0, 0.0)  # when the last one was over, and the joules then

    def look(self, power_w: float | None, energy_j: float, now_s: float) -> None:
        """Take the newest watts, None when they could not be read, and joules since the start."""
        if self.since_s is None:
            self.since_s = self.moved_s = now_s
            self._read_j = energy_j
            self._energy_j = self.first_j = self.correction.joules(energy_j, 0.0)
            self._second = now_s, self._energy_j
        if energy_j > self._read_j:
            self._read_j, self.moved_s = energy_j, now_s
            self._energy_j = self.correction.joules(energy_j, now_s - self.since_s)
        silent = now_s - self.moved_s > _SILENT_S
        known = power_w is not None and not silent
        self.now_w = self.correction.watts(power_w or 0.0) if known else None
        self.peak_w = max((w for w in (self.peak_w, self.now_w) if w is not None), default=None)
        self._count_second(now_s)

    def _count_second(self, now_s: float) -> None:
        """When a second is over, its mean goes to the sparkline."""
        before_s, before_j = self._second
        if now_s - before_s >= 1:
            joules, self._second = self._energy_j - before_j, (now_s, self._energy_j)
            read = self.now_w is not None or joules > 0
            self.minute.append(joules / (now_s - before_s) if read else None)

    @property
    def energy_j(self) -> float | None:
        """Since it was first read; None when it never was, or a part of a sum is not read now."""
        unknown = self.since_s is None or (self.is_sum and self.now_w is None)
        return None if unknown else self._energy_j

    @property
    def mean_w(self) -> float | None:
        """From the first reading to the last."""
        span_s = self.moved_s - (self.since_s or 0.0)
        energy_j = self.energy_j
        if energy_j is None or span_s <= 0.5:
            return self.now_w
        return (energy_j - self.first_j) / span_s


class Watch:
    """What was seen of every domain since `start_s`, CLOCK_MONOTONIC. Estimates are shown only
    where nothing is measured."""

    def __init__(self, started: Started, rate_hz: float, start_s: float) -> None:
        self.started, self.rate_hz = started, rate_hz
        self.start_s = self.now_s = start_s
        self.counted = counted(started.domains)
        self.estimated = all(d.level == "M0" for d in started.domains)
        domains = as_counted(started.domains, self.counted)
        shown = [d for d in domains if self.estimated or d.level != "M0"]
        self.domains = {d.name: d for d in shown}
        self.short = short_names(shown)
        self.seen = {d.name: Seen(Correction.of(d)) for d in shown}
        self.total = Seen(is_sum=True)

    @property
    def elapsed_s(self) -> float:
        return self.now_s - self.start_s

    @property
    def level(self) -> str | None:
        return min((self.domains[name].level for name in self.counted), default=None)

    def look(self, live: Live, now_s: float) -> None:
        self.now_s = now_s
        for name, seen in self.seen.items():
            if name in live.energy_j:
                seen.look(live.power_w.get(name), live.energy_j[name], now_s)
        parts = [self.seen[name] for name in self.counted]
        known = [s.now_w for s in parts if s.now_w is not None]
        whole = sum(known) if len(known) == len(parts) else None  # a part of a sum is no sum
        joules = [s.energy_j for s in parts if s.energy_j is not None]
        if len(joules) == len(parts):
            self.total.look(whole, sum(joules), now_s)

    def notes(self) -> list[tuple[str, str]]:
        """What has to be said, and the style it is said in."""
        said = []
        if self.estimated:
            said.append(("estimated from the load of all processes: no meter works here", "yellow"))
        silent = [
            self.short[name]
            for name, seen in self.seen.items()
            if seen.now_w is None and self.elapsed_s > 1
        ]
        if silent:
            said.append((f"no reading: {', '.join(silent)}", "red"))
        left_out = [self.short[n] for n in self.domains if n not in self.counted]
        if left_out:
            said.append((f"not in the total: {', '.join(left_out)}", "dim"))
        return said + [(f"no meter  {r.text}", "dim") for r in self.started.refusals]


# --- watching


class View(Protocol):
    every_s: float

    def opened(self, watch: Watch) -> AbstractContextManager[None]: ...

    def draw(self, watch: Watch) -> None: ...

    def closed(self, watch: Watch, summary: Summary) -> None: ...


@dataclass(frozen=True)
class Summary:
    """The whole of what was watched, from the trace; no energies when it grew too long to keep."""

    duration_s: float
    energies: list[DomainEnergy]
    warnings: list[Warn]


def watch(view: View, probes: Sequence[str] | None, rate_hz: float, for_s: float | None) -> None:
    """Show the power of this machine until an interrupt, or for so many seconds; then sum up."""
    with tempfile.TemporaryDirectory(prefix="bench-watch-") as folder, interrupts_raise():
        meter = Meter(Path(folder), rate_hz=rate_hz, probes=probes)
        seen, start_ns, stop_ns = None, 0, 0
        try:
            started = meter.start()
            if not started.domains:
                return _nothing(started)
            start_ns = meter.edge()
            seen = Watch(started, rate_hz, start_ns / 1e9)
            if seen.estimated:
                meter.follow(1)  # an estimate is of processes: all of them
            with view.opened(seen):
                _look(meter, seen, view, for_s, Path(folder) / log.NAME)
        except Interrupted:
            pass
        finally:
            stop_ns = meter.edge() if meter.alive else time.monotonic_ns()
            trace = meter.stop()
        if seen is not None:
            view.closed(seen, _summary(seen, trace, start_ns, stop_ns))


def _summary(seen: Watch, trace: Trace, start_ns: int, stop_ns: int) -> Summary:
    counts = seen.counted.__contains__
    energies = [e for e in trace.energy(start_ns, stop_ns, counts) if e.domain in seen.domains]
    warnings = trace.warnings(start_ns, stop_ns, counts) if energies else []
    return Summary((stop_ns - start_ns) / 1e9, energies, warnings)


def _look(meter: Meter, seen: Watch, view: View, for_s: float | None, log_path: Path) -> None:
    due_s = seen.start_s + view.every_s
    while meter.alive:
        now_s = time.monotonic()
        seen.look(meter.live(), now_s)
        over = for_s is not None and seen.elapsed_s >= for_s
        if now_s >= due_s or over:
            due_s = max(due_s + view.every_s, now_s)
            view.draw(seen)
            _keep_short(log_path)
        if over:
            return
        time.sleep(_LOOK_S)


def _keep_short(path: Path) -> None:
    """Empty a log that would fill the disk: one may watch for days."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        os.truncate(path, 0)


def _nothing(started: Started) -> None:
    from bench.errors import BenchError

    why = "; ".join(r.text for r in started.refusals) or "no probe was named"
    raise BenchError(f"nothing can be metered: {why}", "`bench doctor` says what mends it")


# --- views


class Screen:
    """Redraws in place on a terminal."""

    every_s = 0.25

    @contextmanager
    def opened(self, watch: Watch) -> Iterator[None]:
        from rich.console import Console
        from rich.live import Live as Redrawn

        console = Console(highlight=False)
        with Redrawn(console=console, auto_refresh=False, transient=True) as redrawn:
            self._redrawn = redrawn
            yield

    def draw(self, watch: Watch) -> None:
        from rich.text import Text

        size = shutil.get_terminal_size()
        rows = rows_of(watch, size.columns)[: max(3, size.lines - 1)]
        text = Text("\n", no_wrap=True, overflow="ellipsis").join(Text(t, s) for t, s in rows)
        text.no_wrap, text.overflow = True, "ellipsis"
        self._redrawn.update(text, refresh=True)

    def closed(self, watch: Watch, summary: Summary) -> None:
        _print(summary_lines(watch, summary))


class Plain:
    """A line a second, for logs."""

    every_s = 1.0

    @contextmanager
    def opened(self, watch: Watch) -> Iterator[None]:
        _print([_headline(watch), *(text for text, _ in watch.notes())])
        yield

    def draw(self, watch: Watch) -> None:
        parts = [f"{watch.short[name]} {_watts(s.now_w)}" for name, s in watch.seen.items()]
        total = f"total {_about(watch)}{_watts(watch.total.now_w)}"
        so_far = _joules(watch.total.energy_j)
        _print([f"{watch.elapsed_s:6.0f} s  {total}  {so_far}  {'  '.join(parts)}"])

    def closed(self, watch: Watch, summary: Summary) -> None:
        _print(summary_lines(watch, summary))


class JsonLines:
    """One JSON object a line: `start` with the domains, `power` once a second, `stop`."""

    every_s = 1.0

    @contextmanager
    def opened(self, watch: Watch) -> Iterator[None]:
        domains = [
            {"domain": d.name, "kind": d.kind, "device": d.device, "level": d.level,
             "gain": d.gain, "counted": d.name in watch.counted}
            for d in watch.domains.values()
        ]  # fmt: skip
        refused = [r.as_dict() for r in watch.started.refusals]
        self._send("start", rate_hz=watch.rate_hz, level=watch.level, domains=domains,
                   refused=refused)  # fmt: skip
        yield

    def draw(self, watch: Watch) -> None:
        self._send(
            "power",
            elapsed_s=round(watch.elapsed_s, 3),
            total_w=watch.total.now_w,
            total_j=watch.total.energy_j,
            power_w={name: s.now_w for name, s in watch.seen.items()},
            energy_j={name: s.energy_j for name, s in watch.seen.items()},
        )

    def closed(self, watch: Watch, summary: Summary) -> None:
        self._send(
            "stop",
            elapsed_s=round(summary.duration_s, 3),
            peak_w={name: s.peak_w for name, s in watch.seen.items()},
            energies=[e.model_dump(mode="json") for e in summary.energies],
            warnings=[w.model_dump(mode="json") for w in summary.warnings],
        )

    def _send(self, event: str, **fields: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        _print([json.dumps({"event": event, "time": now, **fields})])


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()


# --- rows


def rows_of(watch: Watch, width: int) -> list[tuple[str, str]]:
    """What the screen shows: (text, style) of each row, none longer than `width`."""
    rows = [(_headline(watch), "bold")]
    draw: Callable[[str, Seen, int], list[str]] = _wide if width >= _WIDE else _narrow
    rows.append((_titles(width), "dim"))
    for name, seen in watch.seen.items():
        style = "red" if seen.now_w is None else "" if name in watch.counted else "dim"
        rows += [(text, style) for text in draw(watch.short[name], seen, width)]
    if len(watch.counted) > 1:
        name = "total, about" if watch.estimated else "total"
        rows += [(text, "bold") for text in draw(name, watch.total, width)]
    for note, style in [*watch.notes(), ("Ctrl-C ends and sums up", "dim")]:
        rows += [(text, style) for text in textwrap.wrap(note, width)]
    return [(_cut(text, width), style) for text, style in rows]


def _headline(watch: Watch) -> str:
    what = "estimated" if watch.estimated else "measured"
    return f"power, {watch.level} ({what})  {show_duration(watch.elapsed_s)}"


def _titles(width: int) -> str:
    heads = "".join(f"{head:>9}" for head in ("now", "mean", "peak", "energy"))
    return f"{'':18}{heads}  the last minute" if width >= _WIDE else f"  {heads}"


def _wide(name: str, seen: Seen, width: int) -> list[str]:
    room = min(_MINUTE, width - 18 - 4 * 9 - 2)
    return [f"{_cut(name, 17):18}{_numbers(seen)}  {sparkline(seen.minute, room)}"]


def _narrow(name: str, seen: Seen, width: int) -> list[str]:
    room = max(5, min(_MINUTE, width - 18))
    return [f"{_cut(name, 17):18}{sparkline(seen.minute, room)}", f"  {_numbers(seen)}"]


def _numbers(seen: Seen) -> str:
    watts = [_watts(seen.now_w), _watts(seen.mean_w), _watts(seen.peak_w)]
    return "".join(f"{text:>9}" for text in [*watts, _joules(seen.energy_j)])


def _watts(power_w: float | None) -> str:
    return "–" if power_w is None else f"{significant(power_w)} W"


def _joules(energy_j: float | None) -> str:
    return "–" if energy_j is None else show_energy(energy_j)


def _about(watch: Watch) -> str:
    return "~" if watch.estimated else ""


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The newest of a minute's seconds on the right, from 0 to the highest; blank where nothing
    was read. In less than 60 columns each is the mean of several seconds."""
    several = max(1, -(-_MINUTE // max(1, width)))
    chunks = [list(values)[max(0, i - several) : i] for i in range(len(values), 0, -several)]
    means = [_mean([v for v in chunk if v is not None]) for chunk in reversed(chunks)]
    top = max((m for m in means if m is not None), default=0.0) or 1.0
    drawn = "".join(" " if m is None else _BLOCKS[min(7, int(8 * m / top))] for m in means)
    return drawn[-width:].rjust(min(width, -(-_MINUTE // several)))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def summary_lines(watch: Watch, summary: Summary) -> list[str]:
    """What it came to, with its uncertainty, and what makes it doubtful."""
    said = [f"watched {show_duration(summary.duration_s)}"]
    if not summary.energies:
        said.append("too long to keep: sums of the live readings, without uncertainty")
    known = {e.domain: e for e in summary.energies}
    for name, seen in watch.seen.items():
        what, mean_w = _joules(seen.energy_j), seen.mean_w
        if name in known:
            what, joules = _energy(known[name]), known[name].energy_j
            mean_w = None if joules is None else joules / summary.duration_s
        watts = f"mean {_watts(mean_w)}, peak {_watts(seen.peak_w)}"
        said.append(f"{watch.short[name]:17} {what}, {watts}")
    if len(watch.counted) > 1:
        said.append(f"{'total':17} {_total(watch, known)}")
    return [*said, *(f"warning: {w.message}" for w in summary.warnings)]


def _energy(e: DomainEnergy) -> str:
    if e.energy_j is None:
        return f"missing ({e.reason})"
    unsure = "" if e.uncertainty_j is None else f" ± {show_energy(e.uncertainty_j, e.energy_j)}"
    how = "estimated" if e.method == "modelled" else f"by {e.method}"
    return f"{show_energy(e.energy_j)}{unsure} {how} ({e.level})"


def _total(watch: Watch, known: dict[str, DomainEnergy]) -> str:
    if not known:
        return _joules(watch.total.energy_j)
    parts = [known[name] for name in watch.counted]
    joules = [e.energy_j for e in parts if e.energy_j is not None]
    if len(joules) < len(parts):
        return "unknown: a meter that counts could not be read"
    total_j = sum(joules)
    most_j = sum(e.expanded_j or 0.0 for e in parts)  # as if all were wrong the same way
    return f"{_about(watch)}{show_energy(total_j)} ± {show_energy(most_j, total_j)} at most"
